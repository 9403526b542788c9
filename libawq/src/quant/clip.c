/* What range each group's codes cover; for E2M1 codes, which power of two is the scale. */
#include "quant/quant.h"

#include <string.h>

/* So many rows of a group of columns stay in the second-level cache with their errors, for all
   ranges that are tried. */
#define ROWS 256

/* One group of columns of some rows in work. Arrays of ranges and losses are [rows]. */
typedef struct clip {
    const awq__compute *compute;
    const awq__scheme *scheme;
    const float *gram; /* [g,g] */
    int64_t rows;
    float *weight, *error, *product; /* [rows,g] */
    awq__range *whole;               /* of the weights and 0 */
    awq__range *base, *tried, *best;
    double *loss, *least;
} clip;

/* The error with the tried ranges, weighed by the group's block of x^T x: keeps what is better than
   the best so far. */
static void evaluate(clip *c, bool first)
{
    int64_t g = c->scheme->group;
    c->compute->quantize_error(c->rows, g, c->scheme, c->tried, NULL, NULL, c->weight, c->error);
    c->compute->quadratic(c->rows, g, c->error, c->gram, c->product, c->loss);
    for (int64_t n = 0; n < c->rows; n++)
        if (first || c->loss[n] < c->least[n]) {
            c->least[n] = c->loss[n];
            c->best[n] = c->tried[n];
        }
}

/* Both ends cut to `share` of the larger magnitude of the group. */
static void cut_to(clip *c, float share)
{
    for (int64_t i = 0; i < c->rows; i++) {
        awq__range w = c->whole[i];
        float end = share * (-w.low > w.high ? -w.low : w.high);
        c->tried[i] = (awq__range){w.low < -end ? -end : w.low, w.high > end ? end : w.high};
    }
    evaluate(c, false);
}

/* The best range so far with its ends moved. */
static void move_ends(clip *c, float low, float high)
{
    for (int64_t i = 0; i < c->rows; i++)
        c->tried[i] = (awq__range){c->base[i].low * low, c->base[i].high * high};
    evaluate(c, false);
}

static void begin_from_best(clip *c)
{
    for (int64_t i = 0; i < c->rows; i++) {
        bool whole = !(c->best[i].high < INFINITY);
        c->base[i] = whole ? c->whole[i] : c->best[i];
    }
}

/* Smaller ranges first, both ends alike; then, where they are independent, each end by itself. */
static void search_integer(clip *c)
{
    static const float moves[][3] = {{0.9f, 0.95f, 1.05f}, {0.97f, 0.985f, 1.025f}};
    for (int step = 1; step <= 11; step++)
        cut_to(c, 1 - 0.05f * (float)step);
    begin_from_best(c);
    move_ends(c, 0.975f, 0.975f);
    move_ends(c, 1.025f, 1.025f);
    for (int round = 0; round < 2 && !c->scheme->symmetric; round++)
        for (int end = 0; end < 2; end++) {
            begin_from_best(c);
            for (int i = 0; i < 3; i++)
                move_ends(c, end ? 1 : moves[round][i], end ? moves[round][i] : 1);
        }
}

/* The exponent above, with which nothing is cut off, and the one below. */
static void search_e2m1(clip *c)
{
    static const float shares[] = {2, 0.5f};
    for (int step = 0; step < 2; step++) {
        for (int64_t i = 0; i < c->rows; i++) {
            awq__range w = c->whole[i];
            float end = shares[step] * (-w.low > w.high ? -w.low : w.high);
            c->tried[i] = (awq__range){-end, end};
        }
        evaluate(c, false);
    }
}

static void search_group(clip *c)
{
    c->compute->group_extents(c->rows, c->scheme->group, c->scheme->group, c->weight, c->whole);
    for (int64_t n = 0; n < c->rows; n++)
        c->tried[n] = awq__whole_range();
    evaluate(c, true);
    if (c->scheme->code == AWQ__CODE_E2M1)
        search_e2m1(c);
    else
        search_integer(c);
}

/* Group b of rows values[n,K]; range is that of its first row. */
static void search_column(clip *c, const awq__stats *stats, int64_t b, const float *values,
                          awq__range *range)
{
    int64_t g = stats->group, K = stats->cols, G = K / g;
    c->gram = stats->gram + b * g * g;
    for (int64_t n = 0; n < c->rows; n++)
        memcpy(c->weight + n * g, values + n * K + b * g, (size_t)g * sizeof *values);
    search_group(c);
    for (int64_t n = 0; n < c->rows; n++)
        range[n * G + b] = c->best[n];
}

typedef struct clip_job {
    const awq__compute *compute;
    const awq__weight *weight;
    const awq__scheme *scheme;
    const awq__stats *stats;
    awq__range *range;
    awq__scratch scratch;
} clip_job;

/* Divides a worker's space, arrays of [ROWS] first, so that all are aligned. Returns the rest. */
static float *cut_space(float *space, int64_t g, clip *c)
{
    c->loss = (double *)(void *)space;
    c->least = c->loss + ROWS;
    c->whole = (awq__range *)(void *)(c->least + ROWS);
    c->base = c->whole + ROWS;
    c->tried = c->base + ROWS;
    c->best = c->tried + ROWS;
    c->weight = (float *)(void *)(c->best + ROWS);
    c->error = c->weight + ROWS * g;
    c->product = c->error + ROWS * g;
    return c->product + ROWS * g;
}

static size_t space_floats(int64_t g, int64_t K)
{
    size_t losses = 2 * ROWS * sizeof(double), ranges = 4 * ROWS * sizeof(awq__range);
    return (losses + ranges) / sizeof(float) + (size_t)(ROWS * (3 * g + K));
}

static awq_status search_rows(void *arg, int64_t index, int worker)
{
    clip_job *j = arg;
    int64_t K = j->weight->cols, g = j->scheme->group, G = K / g, first = index * ROWS;
    float *space = awq__scratch_get(&j->scratch, worker, space_floats(g, K));
    AWQ__CHECK_ALLOC(space);
    clip c = {.compute = j->compute,
              .scheme = j->scheme,
              .rows = awq__min(ROWS, j->weight->rows - first)};
    float *values = cut_space(space, g, &c);
    awq__weight_read(j->compute, j->weight, first, c.rows, values);
    for (int64_t b = 0; b < G; b++)
        search_column(&c, j->stats, b, values, j->range + first * G);
    return AWQ_OK;
}

awq_status awq__search_clip(awq_context *ctx, const awq__compute *compute,
                            const awq__weight *weight, const awq__scheme *scheme,
                            const awq__stats *stats, awq__range *range)
{
    clip_job j = {
        .compute = compute, .weight = weight, .scheme = scheme, .stats = stats, .range = range};
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "clip search", &j.scratch));
    AWQ__TRY(awq__parallel_scratch(&j.scratch, space_floats(scheme->group, weight->cols),
                                   awq__ceil_div(weight->rows, ROWS), search_rows, &j));
done:
    awq__scratch_free(&j.scratch);
    return status;
}
