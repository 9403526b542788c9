/*
 * Error-compensated rounding of blocks of rows. All work is on the transposed block, [columns in
 * the order of rounding][ROWS], so that rows lie side by side in every loop. A block of fewer rows
 * is filled up with zeros: all products then have one shape, and a row's bits depend on that row
 * alone.
 */
#include "quant/gptq.h"
#include "quant/gptq_blocks.h"

#include <math.h>
#include <string.h>

#define ROWS AWQ__GPTQ_ROWS
#define LEAF 16 /* columns that are rounded one after the other without a product */
#define SIDE 32 /* columns that are transposed at a time */
#define WIDEST_FIT AWQ__GPTQ_WIDEST_FIT
#define RANGE_STEP 0.05f

/* The work space of a block of rows, cut out of one allocation. */
typedef struct tile {
    float *w, *e;          /* [K][ROWS]: weights, and what is left of them: w - q */
    float *x;              /* [K][ROWS]: what compensation has gathered; weights as they are read */
    float *scales, *zeros; /* [K/g][ROWS] */
    float *gradient, *change, *before, *kept; /* [S][ROWS] of the loss; of e */
    float *values, *moves;                    /* [S][ROWS]: q, and its product with the Hessian */
    uint8_t *codes;                           /* [K][ROWS] */
} tile;

static int64_t cut_tile(const awq__gptq *gptq, float *base, tile *t)
{
    int64_t whole = gptq->cols * ROWS, groups = gptq->cols / gptq->group * ROWS;
    int64_t part = gptq->block * ROWS, at = 0;
    int64_t sizes[] = {whole, whole, whole, groups, groups, part,
                       part,  part,  part,  part,   part,   whole / 4};
    float *codes,
        **parts[] = {&t->w,      &t->e,      &t->x,    &t->scales, &t->zeros, &t->gradient,
                     &t->change, &t->before, &t->kept, &t->values, &t->moves, &codes};
    for (int i = 0; i < 12; i++) {
        *parts[i] = base ? base + at : NULL;
        at += (sizes[i] + 15) / 16 * 16;
    }
    t->codes = (uint8_t *)(void *)codes;
    return at;
}

int64_t awq__gptq_work(int64_t cols, int64_t group)
{
    tile t;
    const awq__gptq gptq = {.cols = cols, .group = group, .block = awq__gptq_block(cols, group)};
    return cut_tile(&gptq, NULL, &t);
}

static inline float clamp(float value, float low, float high)
{
    return value > low ? value < high ? value : high : low; /* NaN gives low */
}

/* Nearest integer, ties to even, for |x| < 2^22. */
static inline float round_even(float x)
{
    const float magic = 0x1.8p23f;
    return (x + magic) - magic;
}

/* ---- ranges ---- */

typedef struct range {
    float low[ROWS], high[ROWS]; /* of a group's weights and 0 */
} range;

static void group_range(int64_t g, const float *w, range *out)
{
    memset(out, 0, sizeof *out);
    for (int64_t k = 0; k < g; k++)
        for (int r = 0; r < ROWS; r++) {
            float value = w[k * ROWS + r];
            out->low[r] = value < out->low[r] ? value : out->low[r];
            out->high[r] = value > out->high[r] ? value : out->high[r];
        }
}

/* The scale and zero of a range of which a share is used, as awq__compute.quantize has it. */
static void scale_of(const awq__scheme *scheme, float low, float high, float share, float *scale,
                     float *zero)
{
    const float top = (float)((1 << scheme->bits) - 1), half = (float)(1 << (scheme->bits - 1));
    float largest = -low > high ? -low : high;
    float width = (scheme->symmetric ? largest : high - low) * share;
    if (scheme->code == AWQ__CODE_E2M1) {
        *scale = awq__e2m1_scale(largest * share);
        *zero = 0;
        return;
    }
    if (scheme->code == AWQ__CODE_NF4) {
        *scale = largest * share;
        *zero = 0;
        return;
    }
    *zero = scheme->symmetric ? half : 0;
    *scale = 1;
    if (width == 0)
        return;
    *scale = awq__round_scale(scheme->grid, width / (scheme->symmetric ? half - 1 : top));
    if (!scheme->symmetric)
        *zero = clamp(round_even(-low * share / *scale), 0, top);
}

static float share_of(const awq__scheme *scheme, int step)
{
    if (scheme->code == AWQ__CODE_E2M1)
        return step == 0 ? 1 : step == 1 ? 2 : 0.5f;
    return 1 - RANGE_STEP * (float)step;
}

/* False if the scale of one of the first `rows` rows is not finite. */
static bool choose_ranges(const awq__compute *compute, const awq__gptq *gptq,
                          const awq__scheme *scheme, int steps, int64_t rows, const tile *t)
{
    int64_t K = gptq->cols, g = scheme->group;
    bool finite = true;
    range span;
    float scale[ROWS], zero[ROWS], loss[ROWS], least[ROWS];
    if (scheme->code == AWQ__CODE_E2M1)
        steps = (int)awq__min(steps, 3);
    for (int64_t b = 0; b < K / g; b++) {
        const float *w = t->w + b * g * ROWS;
        float *best_scale = t->scales + b * ROWS, *best_zero = t->zeros + b * ROWS;
        group_range(g, w, &span);
        for (int step = 0; step < steps; step++) {
            for (int r = 0; r < ROWS; r++)
                scale_of(scheme, span.low[r], span.high[r], share_of(scheme, step), &scale[r],
                         &zero[r]);
            compute->range_losses(scheme, w, gptq->pivots + b * g, scale, zero, loss);
            for (int r = 0; r < ROWS; r++)
                if (step == 0 || loss[r] < least[r]) {
                    least[r] = loss[r];
                    best_scale[r] = scale[r];
                    best_zero[r] = zero[r];
                }
        }
        for (int64_t r = 0; r < rows; r++)
            finite &= isfinite(best_scale[r]) != 0;
    }
    return finite;
}

/* ---- rounding with compensation ---- */

/* Columns begin .. end-1 of those: the first half, its effect on the second in one product, the
   second half. */
static void round_columns(const awq__compute *compute, const awq__columns *c, int64_t begin,
                          int64_t end)
{
    if (end - begin <= LEAF) {
        awq__columns leaf = *c;
        leaf.first += begin;
        leaf.count = end - begin;
        leaf.w += begin * ROWS;
        leaf.e += begin * ROWS;
        leaf.x += begin * ROWS;
        leaf.change += begin * ROWS;
        leaf.codes += begin * ROWS;
        leaf.matrix += begin * (c->ld + 1);
        leaf.diagonal = c->diagonal ? c->diagonal + begin : NULL;
        compute->round_columns(&leaf);
        return;
    }
    int64_t middle = begin + awq__ceil_div(end - begin, INT64_C(2) * LEAF) * LEAF;
    round_columns(compute, c, begin, middle);
    compute->multiply_tn(end - middle, ROWS, middle - begin, c->matrix + begin * c->ld + middle,
                         c->ld, c->change + begin * ROWS, ROWS, 1, c->x + middle * ROWS, ROWS);
    round_columns(compute, c, middle, end);
}

/* A block of rows in work. */
typedef struct pass {
    const awq__compute *compute;
    const awq__gptq *gptq;
    const awq__scheme *scheme;
    const tile *t;
    int sweeps;
} pass;

/* S columns of the weight and what lies beside them, to be rounded by what compensation has
   gathered. */
static awq__columns columns_at(const pass *p, int64_t first, int64_t S)
{
    const tile *t = p->t;
    return (awq__columns){.scheme = p->scheme,
                          .first = first,
                          .count = S,
                          .scales = t->scales,
                          .zeros = t->zeros,
                          .w = t->w + first * ROWS,
                          .e = t->e + first * ROWS,
                          .x = t->x + first * ROWS,
                          .change = t->change,
                          .codes = t->codes + first * ROWS,
                          .matrix = p->gptq->h + first * (p->gptq->cols + 1),
                          .ld = p->gptq->cols};
}

/* ---- blocks ---- */

/* gradient[S][ROWS] = (u D)(I + V)^T of the columns: half of what the loss that is left changes by
   with e. u = e + x is what their rounding has added. */
static void find_gradient(const pass *p, const awq__columns *c)
{
    int64_t S = c->count;
    for (int64_t i = 0; i < S * ROWS; i++)
        p->t->values[i] = c->e[i] + c->x[i];
    p->compute->multiply_nn(S, ROWS, S, p->gptq->halves + c->first * p->gptq->block, S,
                            p->t->values, ROWS, 0, p->t->gradient, ROWS);
}

/* By what share of its scale each row of a group is better: the least loss with the codes as they
   are, where the sums over the group are values * gradient and values * moves. */
static void fit_scales(const awq__scheme *scheme, const float *slope, const float *curve,
                       float *scale, float *share)
{
    for (int r = 0; r < ROWS; r++) {
        float fitted = scale[r] + scale[r] * (slope[r] / curve[r]);
        share[r] = 0;
        if (!(curve[r] > 0 && fitted > 0 && isfinite(fitted)))
            continue;
        fitted = awq__round_scale(scheme->grid, fitted);
        float change = fitted / scale[r] - 1;
        if (!isfinite(fitted) || !(change * curve[r] * change < 2 * change * slope[r]))
            continue;
        share[r] = change;
        scale[r] = fitted;
    }
}

/* to -= share * x, both [count][ROWS] */
static void subtract(int64_t count, const float *share, const float *x, float *to)
{
    for (int64_t i = 0; i < count; i++)
        for (int r = 0; r < ROWS; r++)
            to[i * ROWS + r] -= share[r] * x[i * ROWS + r];
}

/* Moves the scales of one group, columns `at` and on of those. */
static void fit_group(const pass *p, const awq__columns *c, int64_t at)
{
    const tile *t = p->t;
    int64_t g = p->scheme->group, S = c->count, first = at * ROWS;
    float slope[ROWS] = {0}, curve[ROWS] = {0}, share[ROWS];
    for (int64_t i = 0; i < g * ROWS; i++)
        t->values[i] = c->w[first + i] - c->e[first + i];
    p->compute->multiply_tn(S, ROWS, g, c->matrix + at * S, S, t->values, ROWS, 0, t->moves, ROWS);
    for (int64_t i = 0; i < g; i++)
        for (int r = 0; r < ROWS; r++) {
            int64_t k = i * ROWS + r;
            slope[r] += t->values[k] * t->gradient[first + k];
            curve[r] += t->values[k] * t->moves[first + k];
        }
    fit_scales(p->scheme, slope, curve, t->scales + (c->first + at) / g * ROWS, share);
    subtract(g, share, t->values, c->e + first);
    subtract(S, share, t->moves, t->gradient);
}

/* Rounds each column again, as it is best for the others and for what columns behind take back.
   The gradient, which is that of before, becomes that of after where `again`. */
static void sweep(const pass *p, const awq__columns *c, bool again)
{
    const tile *t = p->t;
    const awq__scheme *scheme = p->scheme;
    size_t bytes = (size_t)(c->count * ROWS) * sizeof(float);
    int64_t S = c->count;
    memcpy(t->before, c->e, bytes);
    memcpy(t->kept, t->gradient, bytes);
    if (scheme->code == AWQ__CODE_INTEGER && !scheme->blocks && scheme->group <= WIDEST_FIT)
        for (int64_t at = 0; at < S; at += scheme->group)
            fit_group(p, c, at);
    round_columns(p->compute, c, 0, S);
    for (int64_t i = 0; i < S * ROWS && again; i++)
        t->change[i] = c->e[i] - t->before[i];
    memcpy(t->gradient, t->kept, bytes);
    if (again)
        p->compute->multiply_nn(S, ROWS, S, c->matrix, S, t->change, ROWS, 1, t->gradient, ROWS);
}

static void round_block_columns(const pass *p, int64_t first, int64_t S)
{
    awq__columns c = columns_at(p, first, S);
    round_columns(p->compute, &c, 0, S);
    if (p->sweeps)
        find_gradient(p, &c);
    c.x = p->t->gradient;
    c.matrix = p->gptq->blocks + first * p->gptq->block;
    c.ld = S;
    c.diagonal = p->gptq->curves + first;
    for (int i = 1; i <= p->sweeps; i++)
        sweep(p, &c, i < p->sweeps);
}

/* Columns begin .. end-1, in whole blocks: the first half, its effect on the second, the second
   half. */
static void round_blocks(const pass *p, int64_t begin, int64_t end)
{
    const tile *t = p->t;
    int64_t S = p->gptq->block, K = p->gptq->cols;
    if (end - begin <= S) {
        round_block_columns(p, begin, end - begin);
        return;
    }
    int64_t middle = begin + awq__ceil_div(end - begin, 2 * S) * S;
    round_blocks(p, begin, middle);
    p->compute->multiply_tn(end - middle, ROWS, middle - begin, p->gptq->h + begin * K + middle, K,
                            t->e + begin * ROWS, ROWS, 1, t->x + middle * ROWS, ROWS);
    round_blocks(p, middle, end);
}

/* ---- a block of rows ---- */

static void read_tile(const awq__compute *compute, const awq__gptq *gptq, const awq__weight *weight,
                      int64_t first, int64_t rows, const tile *t)
{
    int64_t K = gptq->cols;
    awq__weight_read(compute, weight, first, rows, t->x);
    memset(t->x + rows * K, 0, (size_t)((ROWS - rows) * K) * sizeof *t->x);
    for (int64_t begin = 0; begin < K; begin += SIDE)
        for (int r = 0; r < ROWS; r++)
            for (int64_t p = begin; p < awq__min(begin + SIDE, K); p++)
                t->w[p * ROWS + r] = t->x[r * K + gptq->order[p]];
    memset(t->x, 0, (size_t)(K * ROWS) * sizeof *t->x);
    memset(t->e, 0, (size_t)(K * ROWS) * sizeof *t->e);
}

static void write_scales(const awq__gptq *gptq, const tile *t, int64_t first, int64_t rows,
                         awq__codes *codes)
{
    int64_t g = gptq->group, G = gptq->cols / g;
    for (int64_t i = 0; i < G; i++)
        for (int64_t r = 0; r < rows; r++) {
            int64_t to = (first + r) * G + gptq->order[i * g] / g;
            codes->scales[to] = t->scales[i * ROWS + r];
            codes->zeros[to] = (uint8_t)t->zeros[i * ROWS + r];
        }
}

static void write_codes(const awq__gptq *gptq, const tile *t, int64_t first, int64_t rows,
                        awq__codes *codes)
{
    int64_t K = gptq->cols;
    for (int64_t begin = 0; begin < K; begin += SIDE)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t p = begin; p < awq__min(begin + SIDE, K); p++)
                codes->codes[(first + r) * K + gptq->order[p]] = t->codes[p * ROWS + r];
}

/* The scales of codes with a grid of NESTED, which are stored already; rows that fill up the block
 * get 0. */
static void load_scales(const awq__gptq *gptq, const awq__codes *codes, int64_t first, int64_t rows,
                        const tile *t)
{
    int64_t g = gptq->group, G = gptq->cols / g;
    memset(t->zeros, 0, (size_t)(G * ROWS) * sizeof *t->zeros);
    for (int64_t i = 0; i < G; i++)
        for (int64_t r = 0; r < ROWS; r++)
            t->scales[i * ROWS + r] =
                r < rows ? codes->scales[(first + r) * G + gptq->order[i * g] / g] : 0;
}

static awq_status choose_scales(awq_context *ctx, const awq__compute *compute,
                                const awq__gptq *gptq, const awq__scheme *scheme,
                                const awq__gptq_effort *effort, const char *name, int64_t first,
                                int64_t rows, const tile *t)
{
    if (choose_ranges(compute, gptq, scheme, effort->ranges, rows, t))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_NUMERIC,
                     "%s: a group scale in rows %lld to %lld does not fit its stored type, %s",
                     name, (long long)first, (long long)(first + rows - 1),
                     awq__scale_type(scheme));
}

awq_status awq__gptq_choose(awq_context *ctx, const awq__compute *compute, const awq__gptq *gptq,
                            const awq__gptq_effort *effort, const awq__weight *weight,
                            int64_t first, int64_t count, float *work, awq__codes *codes)
{
    int64_t end = first + count;
    tile t;
    cut_tile(gptq, work, &t);
    for (; first < end; first += ROWS) {
        int64_t rows = awq__min(ROWS, end - first);
        read_tile(compute, gptq, weight, first, rows, &t);
        AWQ__CHECK(choose_scales(ctx, compute, gptq, &codes->scheme, effort, weight->name, first,
                                 rows, &t));
        write_scales(gptq, &t, first, rows, codes);
    }
    return AWQ_OK;
}

awq_status awq__gptq_round(awq_context *ctx, const awq__compute *compute, const awq__gptq *gptq,
                           const awq__gptq_effort *effort, const awq__weight *weight, int64_t first,
                           int64_t count, float *work, awq__codes *codes)
{
    const awq__scheme *scheme = &codes->scheme;
    const bool nested = scheme->grid == AWQ__GRID_NESTED;
    int64_t K = gptq->cols, end = first + count;
    tile t;
    cut_tile(gptq, work, &t);
    for (; first < end; first += ROWS) {
        int64_t rows = awq__min(ROWS, end - first);
        read_tile(compute, gptq, weight, first, rows, &t);
        if (scheme->blocks)
            awq__gptq_load_blocks(gptq, codes, first, rows, t.scales, t.zeros);
        else if (nested)
            load_scales(gptq, codes, first, rows, &t);
        else
            AWQ__CHECK(
                choose_scales(ctx, compute, gptq, scheme, effort, weight->name, first, rows, &t));
        pass p = {
            .compute = compute, .gptq = gptq, .scheme = scheme, .t = &t, .sweeps = effort->sweeps};
        round_blocks(&p, 0, K);
        if (!nested && !scheme->blocks)
            write_scales(gptq, &t, first, rows, codes);
        if (scheme->blocks)
            awq__gptq_store_blocks(gptq, t.codes, first, rows, (uint8_t *)(void *)t.x, codes);
        else
            write_codes(gptq, &t, first, rows, codes);
    }
    return AWQ_OK;
}

typedef struct rows_job {
    awq_context *ctx;
    const awq__compute *compute;
    const awq__gptq *gptq;
    const awq__gptq_effort *effort;
    const awq__weight *weight;
    awq__codes *codes;
    awq__scratch scratch;
} rows_job;

static awq_status choose_block(void *arg, int64_t index, int worker)
{
    rows_job *j = arg;
    int64_t first = index * ROWS, count = awq__min(ROWS, j->weight->rows - first);
    float *work = awq__scratch_get(&j->scratch, worker,
                                   (size_t)awq__gptq_work(j->gptq->cols, j->gptq->group));
    return work ? awq__gptq_choose(j->ctx, j->compute, j->gptq, j->effort, j->weight, first, count,
                                   work, j->codes)
                : AWQ_ERROR_MEMORY;
}

static awq_status round_block(void *arg, int64_t index, int worker)
{
    rows_job *j = arg;
    int64_t first = index * ROWS, count = awq__min(ROWS, j->weight->rows - first);
    float *work = awq__scratch_get(&j->scratch, worker,
                                   (size_t)awq__gptq_work(j->gptq->cols, j->gptq->group));
    return work ? awq__gptq_round(j->ctx, j->compute, j->gptq, j->effort, j->weight, first, count,
                                  work, j->codes)
                : AWQ_ERROR_MEMORY;
}

awq_status awq__gptq_round_all(awq_context *ctx, const awq__compute *compute, const awq__gptq *gptq,
                               const awq__gptq_effort *effort, const awq__weight *weight,
                               awq__codes *codes)
{
    rows_job j = {.ctx = ctx,
                  .compute = compute,
                  .gptq = gptq,
                  .effort = effort,
                  .weight = weight,
                  .codes = codes};
    int64_t blocks = awq__ceil_div(weight->rows, ROWS);
    size_t floats = (size_t)awq__gptq_work(gptq->cols, gptq->group);
    bool nested = codes->scheme.grid == AWQ__GRID_NESTED;
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "rounding work space", &j.scratch));
    if (nested) {
        AWQ__TRY(awq__parallel_scratch(&j.scratch, floats, blocks, choose_block, &j));
        awq__codes_nest(codes);
    }
    if (codes->scheme.blocks)
        AWQ__TRY(awq__gptq_choose_blocks(ctx, compute, gptq, weight, codes));
    AWQ__TRY(awq__parallel_scratch(&j.scratch, floats, blocks, round_block, &j));
done:
    awq__scratch_free(&j.scratch);
    return status;
}
