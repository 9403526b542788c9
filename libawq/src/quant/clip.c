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
    const float *moments; /* [g,g] */
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
    c->compute->quadratic(c->rows, g, c->error, c->moments, c->product, c->loss);
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
    c->moments = stats->moments + b * g * g;
    for (int64_t n = 0; n < c->rows; n++)
        memcpy(c->weight + n * g, values + n * K + b * g, (size_t)g * sizeof *values);
    search_group(c);
    for (int64_t n = 0; n < c->rows; n++)
        range[n * G + b] = c->best[n];
}

awq_status awq__search_clip(awq_context *ctx, const awq__compute *compute,
                            const awq__weight *weight, const awq__scheme *scheme,
                            const awq__stats *stats, awq__range *range)
{
    int64_t K = weight->cols, g = scheme->group, G = K / g;
    int64_t rows = awq__min(ROWS, weight->rows), part = rows * g;
    float *floats =
        awq__alloc_aligned(ctx, (size_t)(rows * K + 3 * part), sizeof *floats, "clip search");
    awq__range *ranges = awq__alloc_aligned(ctx, 4 * (size_t)rows, sizeof *ranges, "clip search");
    double *losses = awq__alloc_aligned(ctx, 2 * (size_t)rows, sizeof *losses, "clip search");
    awq_status status = floats && ranges && losses ? AWQ_OK : AWQ_ERROR_MEMORY;
    for (int64_t first = 0; status == AWQ_OK && first < weight->rows; first += rows) {
        float *values = floats + 3 * part;
        clip c = {.compute = compute,
                  .scheme = scheme,
                  .rows = awq__min(rows, weight->rows - first),
                  .weight = floats,
                  .error = floats + part,
                  .product = floats + 2 * part,
                  .whole = ranges,
                  .base = ranges + rows,
                  .tried = ranges + 2 * rows,
                  .best = ranges + 3 * rows,
                  .loss = losses,
                  .least = losses + rows};
        awq__weight_read(weight, first, c.rows, values);
        for (int64_t b = 0; b < G; b++)
            search_column(&c, stats, b, values, range + first * G);
    }
    awq__free_aligned(floats);
    awq__free_aligned(ranges);
    awq__free_aligned(losses);
    return status;
}
