/* What range each group's codes cover; for E2M1 codes, which power of two is the scale. */
#include "quant/quant.h"

#include <string.h>

/* A block of rows in work. Arrays of groups are [block,K/g]. */
typedef struct clip {
    const awq__compute *compute;
    const awq__scheme *scheme;
    const awq__stats *stats; /* in blocks of the group */
    int64_t rows;
    float *weight, *error, *product; /* [block,K] */
    awq__range *whole;               /* of the group's weights and 0 */
    awq__range *base, *tried;
    awq__range *best; /* of these rows in the result */
    double *least;
} clip;

static int64_t group_count(const clip *c)
{
    return c->rows * (c->stats->cols / c->stats->group);
}

static void measure_groups(clip *c)
{
    int64_t g = c->stats->group;
    for (int64_t i = 0; i < group_count(c); i++) {
        awq__range range = {0, 0};
        for (int64_t k = 0; k < g; k++) {
            float w = c->weight[i * g + k];
            range.low = w < range.low ? w : range.low;
            range.high = w > range.high ? w : range.high;
        }
        c->whole[i] = range;
    }
}

/* The error with the tried ranges, weighed by each group's block of x^T x: keeps what is better
   than the best so far. */
static void evaluate(clip *c, bool first)
{
    int64_t K = c->stats->cols, g = c->stats->group, G = K / g, n = c->rows;
    c->compute->quantize_error(n, K, c->scheme, c->tried, NULL, NULL, c->weight, c->error);
    for (int64_t b = 0; b < G; b++)
        c->compute->multiply_nn(n, g, g, c->error + b * g, K, c->stats->moments + b * g * g, g, 0,
                                c->product + b * g, K);
    for (int64_t i = 0; i < n * G; i++) {
        double loss = c->compute->dot(g, c->product + i * g, c->error + i * g);
        if (first || loss < c->least[i]) {
            c->least[i] = loss;
            c->best[i] = c->tried[i];
        }
    }
}

/* Both ends cut to `share` of the larger magnitude of the group. */
static void cut_to(clip *c, float share)
{
    for (int64_t i = 0; i < group_count(c); i++) {
        awq__range w = c->whole[i];
        float end = share * (-w.low > w.high ? -w.low : w.high);
        c->tried[i] = (awq__range){w.low < -end ? -end : w.low, w.high > end ? end : w.high};
    }
    evaluate(c, false);
}

/* The best range so far with its ends moved. */
static void move_ends(clip *c, float low, float high)
{
    for (int64_t i = 0; i < group_count(c); i++)
        c->tried[i] = (awq__range){c->base[i].low * low, c->base[i].high * high};
    evaluate(c, false);
}

static void begin_from_best(clip *c)
{
    for (int64_t i = 0; i < group_count(c); i++) {
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
        for (int64_t i = 0; i < group_count(c); i++) {
            awq__range w = c->whole[i];
            float end = shares[step] * (-w.low > w.high ? -w.low : w.high);
            c->tried[i] = (awq__range){-end, end};
        }
        evaluate(c, false);
    }
}

static void search_rows(clip *c)
{
    measure_groups(c);
    for (int64_t i = 0; i < group_count(c); i++)
        c->tried[i] = awq__whole_range();
    evaluate(c, true);
    if (c->scheme->code == AWQ__CODE_E2M1)
        search_e2m1(c);
    else
        search_integer(c);
}

awq_status awq__search_clip(awq_context *ctx, const awq__compute *compute,
                            const awq__weight *weight, const awq__scheme *scheme,
                            const awq__stats *stats, awq__range *range)
{
    int64_t K = weight->cols, G = K / scheme->group, block = awq__weight_block(weight);
    size_t whole = (size_t)(block * K), groups = (size_t)(block * G);
    float *floats = awq__alloc_aligned(ctx, 3 * whole, sizeof *floats, "clip search");
    awq__range *ranges = awq__alloc_aligned(ctx, 3 * groups, sizeof *ranges, "clip search");
    double *least = awq__alloc_aligned(ctx, groups, sizeof *least, "clip search");
    if (floats && ranges && least) {
        clip c = {.compute = compute,
                  .scheme = scheme,
                  .stats = stats,
                  .weight = floats,
                  .error = floats + whole,
                  .product = floats + 2 * whole,
                  .whole = ranges,
                  .base = ranges + groups,
                  .tried = ranges + 2 * groups,
                  .least = least};
        for (int64_t first = 0; first < weight->rows; first += block) {
            c.rows = awq__min(block, weight->rows - first);
            c.best = range + first * G;
            awq__weight_read(weight, first, c.rows, c.weight);
            search_rows(&c);
        }
    }
    awq_status status = floats && ranges && least ? AWQ_OK : AWQ_ERROR_MEMORY;
    awq__free(floats);
    awq__free(ranges);
    awq__free(least);
    return status;
}
