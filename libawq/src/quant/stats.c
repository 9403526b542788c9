#include "quant/quant.h"

#include <string.h>

/* Allocates the sums and moments of [height, width], cleared. */
static awq_status create(awq_context *ctx, int64_t height, int64_t width, awq__stats *stats)
{
    size_t floats;
    if (awq__mul_overflows((size_t)height, (size_t)width, &floats))
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: statistics of %lld columns",
                         (long long)stats->cols);
    stats->abs_sums = awq__alloc(ctx, (size_t)stats->cols, sizeof *stats->abs_sums, "statistics");
    stats->moments = awq__alloc_aligned(ctx, floats, sizeof *stats->moments, "statistics");
    if (!stats->abs_sums || !stats->moments) {
        awq__stats_free(stats);
        return AWQ_ERROR_MEMORY;
    }
    memset(stats->moments, 0, floats * sizeof *stats->moments);
    return AWQ_OK;
}

awq_status awq__stats_create(awq_context *ctx, int64_t cols, int64_t group, awq__stats *stats)
{
    *stats = (awq__stats){.cols = cols, .group = group};
    return create(ctx, cols, group, stats);
}

awq_status awq__stats_create_sketch(awq_context *ctx, int64_t cols, int64_t rows, awq__stats *stats)
{
    *stats = (awq__stats){.cols = cols, .group = cols, .rows = rows};
    return create(ctx, rows, cols, stats);
}

void awq__stats_free(awq__stats *stats)
{
    awq__free(stats->abs_sums);
    awq__free(stats->moments);
    *stats = (awq__stats){0};
}

void awq__stats_add(const awq__compute *compute, awq__stats *stats, int64_t T, const float *x,
                    int64_t ldx)
{
    compute->add_abs(T, stats->cols, x, ldx, stats->abs_sums);
    compute->gram(T, stats->cols, stats->group, x, ldx, stats->moments);
    stats->tokens += T;
}

void awq__stats_sketch(awq__stats *stats, int64_t first, int64_t count, uint64_t seed, int64_t T,
                       const float *x, int64_t ldx)
{
    int64_t K = stats->cols;
    for (int64_t t = 0; t < T; t++) {
        uint64_t state = seed + (uint64_t)t;
        uint64_t random = awq__random(&state);
        float sign = random & 1 ? 1 : -1;
        float *row = stats->moments + (first + (int64_t)((random >> 1) % (uint64_t)count)) * K;
        for (int64_t k = 0; k < K; k++)
            row[k] += sign * x[t * ldx + k];
    }
}

void awq__stats_merge(awq__stats *into, const awq__stats *from)
{
    int64_t floats = into->cols * (into->rows ? into->rows : into->group);
    for (int64_t k = 0; k < into->cols; k++)
        into->abs_sums[k] += from->abs_sums[k];
    for (int64_t i = 0; i < floats; i++)
        into->moments[i] += from->moments[i];
    into->tokens += from->tokens;
}

void awq__stats_rescale(awq__stats *stats, const float *factor)
{
    int64_t g = stats->group, K = stats->cols;
    for (int64_t k = 0; k < K; k++)
        stats->abs_sums[k] *= (double)factor[k];
    for (int64_t r = 0; r < stats->rows; r++)
        for (int64_t k = 0; k < K; k++)
            stats->moments[r * K + k] *= factor[k];
    for (int64_t k = 0; k < K && !stats->rows; k++) {
        const float *block_factor = factor + k / g * g;
        float *row = stats->moments + k * g;
        for (int64_t j = 0; j < g; j++)
            row[j] *= factor[k] * block_factor[j];
    }
}

awq_status awq__stats_blocks(awq_context *ctx, const awq__compute *compute, const awq__stats *whole,
                             int64_t group, awq__stats *blocks)
{
    int64_t K = whole->cols;
    awq_status status = awq__stats_create(ctx, K, group, blocks);
    if (status != AWQ_OK)
        return status;
    blocks->tokens = whole->tokens;
    memcpy(blocks->abs_sums, whole->abs_sums, (size_t)K * sizeof *blocks->abs_sums);
    if (whole->rows)
        compute->gram(whole->rows, K, group, whole->moments, K, blocks->moments);
    for (int64_t k = 0; k < K && !whole->rows; k++)
        memcpy(blocks->moments + k * group, whole->moments + k * K + k / group * group,
               (size_t)group * sizeof *blocks->moments);
    return AWQ_OK;
}
