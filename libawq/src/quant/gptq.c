/*
 * Error-compensated rounding of blocks of rows. All work is on the transposed block, [columns in
 * the order of rounding][ROWS], so that rows lie side by side in every loop. A block of fewer rows
 * is filled up with zeros: all products then have one shape, and a row's bits depend on that row
 * alone.
 */
#include "quant/gptq.h"
#include "quant/gptq_blocks.h"
#include "quant/rounding.h"
#include "compute/nf4.h"
#include "core/half.h"

#include <math.h>
#include <string.h>

#define ROWS AWQ__GPTQ_ROWS
#define LEAF 16         /* columns that are rounded one after the other without a product */
#define SWEEP_BLOCK 128 /* columns of a sweep between two products with the whole Hessian */
#define WIDEST_FIT 512  /* groups whose scale is fitted again */
#define RANGE_STEP 0.05f

/* The work space of a block of rows, cut out of one allocation. */
typedef struct tile {
    float *w, *e;          /* [K][ROWS]: weights, and what is left of them: w - q */
    float *x;              /* [K][ROWS]: what compensation has gathered; weights as they are read */
    float *scales, *zeros; /* [K/g][ROWS] */
    float *block;          /* [S,S]: part of the Hessian */
    float *change;         /* [S][ROWS]: of e */
    float *values, *moves; /* [S][ROWS]: q / scale, and its product with the Hessian */
    uint8_t *codes;        /* [K][ROWS] */
} tile;

/* S: columns of a sweep's block. Whole groups, unless they are too wide to be fitted. */
static int64_t sweep_block(const awq__gptq *gptq)
{
    int64_t g = gptq->group;
    if (g > WIDEST_FIT)
        return SWEEP_BLOCK;
    return g > SWEEP_BLOCK ? g : SWEEP_BLOCK / g * g;
}

static int64_t cut_tile(const awq__gptq *gptq, float *base, tile *t)
{
    int64_t whole = gptq->cols * ROWS, groups = gptq->cols / gptq->group * ROWS;
    int64_t S = sweep_block(gptq), part = S * ROWS, at = 0;
    int64_t sizes[] = {whole, whole, whole, groups, groups, S * S, part, part, part, whole / 4};
    float *codes, **parts[] = {&t->w,     &t->e,      &t->x,      &t->scales, &t->zeros,
                               &t->block, &t->change, &t->values, &t->moves,  &codes};
    for (int i = 0; i < 10; i++) {
        *parts[i] = base ? base + at : NULL;
        at += (sizes[i] + 15) / 16 * 16;
    }
    t->codes = (uint8_t *)(void *)codes;
    return at;
}

int64_t awq__gptq_work(const awq__gptq *gptq)
{
    tile t;
    return cut_tile(gptq, NULL, &t);
}

/* ---- one column: ROWS values with a scale and a zero each ---- */

/* The E2M1 value nearest to x, ties to even, never -0: the step is 0.5 below 2, 1 below 4, and 2.
 */
static inline float round_e2m1(float x)
{
    float value = awq__clamp(x, -6, 6);
    float power = awq__f32_from_bits(awq__f32_bits(value) & 0x7f800000u);
    float magic = (power > 1 ? power : 1) * 0x1.8p22f;
    return (value + magic) - magic;
}

static inline float e2m1_code(float value)
{
    float magnitude = fabsf(value), code = magnitude * 2;
    code = magnitude + 2 < code ? magnitude + 2 : code;
    code = magnitude * 0.5f + 4 < code ? magnitude * 0.5f + 4 : code;
    return value < 0 ? code + 8 : code;
}

static float top_code(const awq__scheme *scheme)
{
    return (float)((1 << scheme->bits) - 1);
}

/* target -> value = q / scale, and the code of it */
static void round_column(const awq__scheme *scheme, const float *target, const float *scale,
                         const float *zero, float *value, uint8_t *code)
{
    const float top = top_code(scheme);
    if (scheme->code == AWQ__CODE_E2M1)
        for (int r = 0; r < ROWS; r++) {
            value[r] = round_e2m1(target[r] * (1 / scale[r])); /* exact: a power of two */
            code[r] = (uint8_t)(int)e2m1_code(value[r]);
        }
    else if (scheme->code == AWQ__CODE_NF4)
        for (int r = 0; r < ROWS; r++) {
            float share = target[r] * awq__nf4_inverse(scale[r]);
            value[r] = awq__nf4_value(share);
            code[r] = awq__nf4_code(share);
        }
    else
        for (int r = 0; r < ROWS; r++) {
            float c = awq__clamp(awq__round_even(target[r] / scale[r]) + zero[r], 0, top);
            value[r] = c - zero[r];
            code[r] = (uint8_t)(int)c;
        }
}

/* The same to what the code stands for. Blocks have a min in the place of a zero. */
static void round_to_weights(const awq__scheme *scheme, const float *target, const float *scale,
                             const float *zero, float *weight, uint8_t *code)
{
    if (scheme->blocks) {
        awq__gptq_block_column(scheme->blocks, target, scale, zero, weight, code);
        return;
    }
    round_column(scheme, target, scale, zero, weight, code);
    for (int r = 0; r < ROWS; r++)
        weight[r] = scale[r] * weight[r];
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
    const float top = top_code(scheme), half = (float)(1 << (scheme->bits - 1));
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
        *zero = awq__clamp(awq__round_even(-low * share / *scale), 0, top);
}

static float share_of(const awq__scheme *scheme, int step)
{
    if (scheme->code == AWQ__CODE_E2M1)
        return step == 0 ? 1 : step == 1 ? 2 : 0.5f;
    return 1 - RANGE_STEP * (float)step;
}

/* sum over the group of D (w - q)^2 with nearest rounding */
static void range_loss(const awq__scheme *scheme, const float *w, const float *h, int64_t ldh,
                       const float *scale, const float *zero, float *loss)
{
    const float top = top_code(scheme);
    float inverse[ROWS];
    for (int r = 0; r < ROWS; r++) {
        inverse[r] = scheme->code == AWQ__CODE_NF4 ? awq__nf4_inverse(scale[r]) : 1 / scale[r];
        loss[r] = 0;
    }
    for (int64_t k = 0; k < scheme->group; k++, w += ROWS) {
        const float weight = h[k * ldh + k];
        if (scheme->code == AWQ__CODE_E2M1)
            for (int r = 0; r < ROWS; r++) {
                float error = w[r] - scale[r] * round_e2m1(w[r] * inverse[r]);
                loss[r] += weight * error * error;
            }
        else if (scheme->code == AWQ__CODE_NF4)
            for (int r = 0; r < ROWS; r++) {
                float error = w[r] - scale[r] * awq__nf4_value(w[r] * inverse[r]);
                loss[r] += weight * error * error;
            }
        else
            for (int r = 0; r < ROWS; r++) {
                float code = awq__clamp(awq__round_even(w[r] * inverse[r]) + zero[r], 0, top);
                float error = w[r] - scale[r] * (code - zero[r]);
                loss[r] += weight * error * error;
            }
    }
}

/* False if the scale of one of the first `rows` rows is not finite. */
static bool choose_ranges(const awq__gptq *gptq, const awq__scheme *scheme, int steps, int64_t rows,
                          const tile *t)
{
    int64_t K = gptq->cols, g = scheme->group;
    bool finite = true;
    range span;
    float scale[ROWS], zero[ROWS], loss[ROWS], least[ROWS];
    if (scheme->code == AWQ__CODE_E2M1)
        steps = (int)awq__min(steps, 3);
    for (int64_t b = 0; b < K / g; b++) {
        const float *w = t->w + b * g * ROWS, *h = gptq->h + b * g * (K + 1);
        float *best_scale = t->scales + b * ROWS, *best_zero = t->zeros + b * ROWS;
        group_range(g, w, &span);
        for (int step = 0; step < steps; step++) {
            for (int r = 0; r < ROWS; r++)
                scale_of(scheme, span.low[r], span.high[r], share_of(scheme, step), &scale[r],
                         &zero[r]);
            range_loss(scheme, w, h, K, scale, zero, loss);
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

/* A pass over columns `first` and on. Column i is rounded from w - e + x[i] * inverse[i]; by what e
   changes, times the row of `matrix`, x of the columns behind it grows. */
typedef struct pass {
    const awq__compute *compute;
    const awq__scheme *scheme;
    const tile *t;
    int64_t first;
    const float *matrix; /* above its diagonal */
    int64_t ld;
    float *x, *change;     /* [columns][ROWS] */
    const float *diagonal; /* [columns] 1 / inverse; NULL: 1 */
} pass;

static void round_leaf(const pass *p, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        int64_t at = p->first + i, b = at / p->scheme->group;
        const float *x = p->x + i * ROWS, *w = p->t->w + at * ROWS;
        const float *scale = p->t->scales + b * ROWS;
        const float inverse = p->diagonal ? 1 / p->diagonal[i] : 1;
        const float *zero = p->t->zeros + b * ROWS;
        float *e = p->t->e + at * ROWS, target[ROWS], value[ROWS], change[ROWS];
        for (int r = 0; r < ROWS; r++)
            target[r] = (w[r] - e[r]) + x[r] * inverse;
        round_to_weights(p->scheme, target, scale, zero, value, p->t->codes + at * ROWS);
        for (int r = 0; r < ROWS; r++) {
            float error = w[r] - value[r];
            change[r] = error - e[r];
            e[r] = error;
        }
        memcpy(p->change + i * ROWS, change, sizeof change);
        for (int64_t j = i + 1; j < end; j++) {
            const float factor = p->matrix[i * p->ld + j];
            float *to = p->x + j * ROWS;
            for (int r = 0; r < ROWS; r++)
                to[r] += change[r] * factor;
        }
    }
}

/* The first half, its effect on the second in one product, the second half. */
static void round_columns(const pass *p, int64_t begin, int64_t end)
{
    if (end - begin <= LEAF) {
        round_leaf(p, begin, end);
        return;
    }
    int64_t middle = begin + awq__ceil_div(end - begin, INT64_C(2) * LEAF) * LEAF;
    round_columns(p, begin, middle);
    p->compute->multiply_tn(end - middle, ROWS, middle - begin, p->matrix + begin * p->ld + middle,
                            p->ld, p->change + begin * ROWS, ROWS, 1, p->x + middle * ROWS, ROWS);
    round_columns(p, middle, end);
}

/* ---- sweeps ---- */

/* block[S,S] = columns first .. first+S-1 of the damped Hessian; h has it below its diagonal */
static void copy_block(const awq__gptq *gptq, int64_t first, int64_t S, float *block)
{
    int64_t K = gptq->cols;
    for (int64_t i = 0; i < S; i++) {
        for (int64_t j = 0; j < i; j++)
            block[i * S + j] = block[j * S + i] = gptq->h[(first + i) * K + first + j];
        block[i * S + i] = gptq->diagonal[first + i];
    }
}

/* x[S][ROWS] = the product of those columns of the Hessian with e */
static void gather(const awq__compute *compute, const awq__gptq *gptq, const tile *t, int64_t first,
                   int64_t S)
{
    int64_t K = gptq->cols, end = first + S;
    compute->multiply_nn(S, ROWS, S, t->block, S, t->e + first * ROWS, ROWS, 0, t->x, ROWS);
    if (first > 0)
        compute->multiply_nn(S, ROWS, first, gptq->h + first * K, K, t->e, ROWS, 1, t->x, ROWS);
    if (end < K)
        compute->multiply_tn(S, ROWS, K - end, gptq->h + end * K + first, K, t->e + end * ROWS,
                             ROWS, 1, t->x, ROWS);
}

/* Moves the scales of one group, columns `at` and on of the block, to the least loss with the codes
   as they are. */
static void fit_group(const awq__compute *compute, const awq__scheme *scheme, const tile *t,
                      int64_t first, int64_t S, int64_t at)
{
    int64_t g = scheme->group, b = (first + at) / g;
    float *scale = t->scales + b * ROWS, *e = t->e + (first + at) * ROWS, step[ROWS];
    const float *zero = t->zeros + b * ROWS;
    const uint8_t *codes = t->codes + (first + at) * ROWS;
    double slope[ROWS] = {0}, curve[ROWS] = {0};
    for (int64_t i = 0; i < g; i++)
        for (int r = 0; r < ROWS; r++)
            t->values[i * ROWS + r] = (float)codes[i * ROWS + r] - zero[r];
    compute->multiply_tn(S, ROWS, g, t->block + at * S, S, t->values, ROWS, 0, t->moves, ROWS);
    for (int64_t i = 0; i < g; i++)
        for (int r = 0; r < ROWS; r++) {
            double value = (double)t->values[i * ROWS + r];
            slope[r] += value * (double)t->x[(at + i) * ROWS + r];
            curve[r] += value * (double)t->moves[(at + i) * ROWS + r];
        }
    for (int r = 0; r < ROWS; r++) {
        float fitted = (float)((double)scale[r] + slope[r] / curve[r]);
        step[r] = 0;
        if (!(curve[r] > 0 && fitted > 0 && isfinite(fitted)))
            continue;
        fitted = awq__round_scale(scheme->grid, fitted);
        double change = (double)fitted - (double)scale[r];
        if (!isfinite(fitted) || !(change * curve[r] * change < 2 * change * slope[r]))
            continue;
        step[r] = fitted - scale[r];
        scale[r] = fitted;
    }
    for (int64_t i = 0; i < g; i++)
        for (int r = 0; r < ROWS; r++)
            e[i * ROWS + r] -= step[r] * t->values[i * ROWS + r];
    for (int64_t i = 0; i < S; i++)
        for (int r = 0; r < ROWS; r++)
            t->x[i * ROWS + r] -= step[r] * t->moves[i * ROWS + r];
}

static void sweep(const awq__compute *compute, const awq__gptq *gptq, const awq__scheme *scheme,
                  const tile *t)
{
    int64_t K = gptq->cols, g = scheme->group, block = sweep_block(gptq);
    bool fits = scheme->code == AWQ__CODE_INTEGER && !scheme->blocks && g <= WIDEST_FIT;
    for (int64_t first = 0; first < K; first += block) {
        int64_t S = awq__min(block, K - first);
        copy_block(gptq, first, S, t->block);
        gather(compute, gptq, t, first, S);
        for (int64_t at = 0; at < S && fits; at += g)
            fit_group(compute, scheme, t, first, S, at);
        pass p = {.compute = compute,
                  .scheme = scheme,
                  .t = t,
                  .first = first,
                  .matrix = t->block,
                  .ld = S,
                  .x = t->x,
                  .change = t->change,
                  .diagonal = gptq->diagonal + first};
        round_columns(&p, 0, S);
    }
}

/* ---- a block of rows ---- */

static void read_tile(const awq__compute *compute, const awq__gptq *gptq, const awq__weight *weight,
                      int64_t first, int64_t rows, const tile *t)
{
    int64_t K = gptq->cols;
    awq__weight_read(compute, weight, first, rows, t->x);
    memset(t->x + rows * K, 0, (size_t)((ROWS - rows) * K) * sizeof *t->x);
    for (int r = 0; r < ROWS; r++)
        for (int64_t p = 0; p < K; p++)
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
    for (int64_t r = 0; r < rows; r++)
        for (int64_t p = 0; p < K; p++)
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

static awq_status choose_scales(awq_context *ctx, const awq__gptq *gptq, const awq__scheme *scheme,
                                const awq__gptq_effort *effort, const char *name, int64_t first,
                                int64_t rows, const tile *t)
{
    if (choose_ranges(gptq, scheme, effort->ranges, rows, t))
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
        AWQ__CHECK(choose_scales(ctx, gptq, &codes->scheme, effort, weight->name, first, rows, &t));
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
            AWQ__CHECK(choose_scales(ctx, gptq, scheme, effort, weight->name, first, rows, &t));
        pass p = {.compute = compute,
                  .scheme = scheme,
                  .t = &t,
                  .matrix = gptq->h,
                  .ld = K,
                  .x = t.x,
                  .change = t.e};
        round_columns(&p, 0, K);
        for (int i = 0; i < effort->sweeps; i++)
            sweep(compute, gptq, scheme, &t);
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
    float *work = awq__scratch_get(&j->scratch, worker, (size_t)awq__gptq_work(j->gptq));
    return work ? awq__gptq_choose(j->ctx, j->compute, j->gptq, j->effort, j->weight, first, count,
                                   work, j->codes)
                : AWQ_ERROR_MEMORY;
}

static awq_status round_block(void *arg, int64_t index, int worker)
{
    rows_job *j = arg;
    int64_t first = index * ROWS, count = awq__min(ROWS, j->weight->rows - first);
    float *work = awq__scratch_get(&j->scratch, worker, (size_t)awq__gptq_work(j->gptq));
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
    size_t floats = (size_t)awq__gptq_work(gptq);
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
