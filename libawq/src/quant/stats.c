#include "quant/quant.h"

#include <string.h>

awq_status awq__stats_create(awq_context *ctx, int64_t cols, int64_t group, awq__stats *stats)
{
    *stats = (awq__stats){.cols = cols, .group = group};
    size_t floats;
    if (awq__mul_overflows((size_t)cols, (size_t)group, &floats))
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: statistics of %lld columns",
                         (long long)cols);
    stats->abs_sums = awq__alloc(ctx, (size_t)cols, sizeof *stats->abs_sums, "statistics");
    stats->gram = awq__alloc_aligned(ctx, floats, sizeof *stats->gram, "statistics");
    if (!stats->abs_sums || !stats->gram) {
        awq__stats_free(stats);
        return AWQ_ERROR_MEMORY;
    }
    memset(stats->gram, 0, floats * sizeof *stats->gram);
    return AWQ_OK;
}

void awq__stats_free(awq__stats *stats)
{
    awq__free(stats->abs_sums);
    awq__free(stats->gram);
    *stats = (awq__stats){0};
}

void awq__stats_add(const awq__compute *compute, awq__stats *stats, int64_t T, const float *x,
                    int64_t ldx)
{
    compute->add_abs(T, stats->cols, x, ldx, stats->abs_sums);
    compute->gram(T, stats->cols, stats->group, x, ldx, stats->gram);
    stats->tokens += T;
}

void awq__stats_merge(awq__stats *into, const awq__stats *from)
{
    for (int64_t k = 0; k < into->cols; k++)
        into->abs_sums[k] += from->abs_sums[k];
    for (int64_t i = 0; i < into->cols * into->group; i++)
        into->gram[i] += from->gram[i];
    into->tokens += from->tokens;
}

void awq__stats_rescale(awq__stats *stats, const float *factor)
{
    int64_t g = stats->group;
    for (int64_t k = 0; k < stats->cols; k++) {
        const float *block_factor = factor + k / g * g;
        float *row = stats->gram + k * g;
        stats->abs_sums[k] *= (double)factor[k];
        for (int64_t j = 0; j < g; j++)
            row[j] *= factor[k] * block_factor[j];
    }
}

awq_status awq__stats_blocks(awq_context *ctx, const awq__stats *whole, int64_t group,
                             awq__stats *blocks)
{
    int64_t K = whole->cols;
    awq_status status = awq__stats_create(ctx, K, group, blocks);
    if (status != AWQ_OK)
        return status;
    blocks->tokens = whole->tokens;
    memcpy(blocks->abs_sums, whole->abs_sums, (size_t)K * sizeof *blocks->abs_sums);
    for (int64_t k = 0; k < K; k++)
        memcpy(blocks->gram + k * group, whole->gram + k * K + k / group * group,
               (size_t)group * sizeof *blocks->gram);
    return AWQ_OK;
}
