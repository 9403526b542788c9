#include "quant/quant.h"

#include <string.h>

#define STRIP 512 /* columns of the whole x^T x that are a task */

/* Allocates the sums and the gram of [height, width], cleared. */
static awq_status create(awq_context *ctx, int64_t height, int64_t width, awq__stats *stats)
{
    size_t floats;
    if (awq__mul_overflows((size_t)height, (size_t)width, &floats))
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: statistics of %lld columns",
                         (long long)stats->cols);
    stats->abs_sums = awq__alloc(ctx, (size_t)stats->cols, sizeof *stats->abs_sums, "statistics");
    stats->gram = awq__alloc_aligned(ctx, floats, sizeof *stats->gram, "statistics");
    if (!stats->abs_sums || !stats->gram) {
        awq__stats_free(stats);
        return AWQ_ERROR_MEMORY;
    }
    memset(stats->gram, 0, floats * sizeof *stats->gram);
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
    awq__free_aligned(stats->gram);
    *stats = (awq__stats){0};
}

void awq__stats_add(const awq__compute *compute, awq__stats *stats, int64_t T, const float *x,
                    int64_t ldx)
{
    compute->add_abs(T, stats->cols, x, ldx, stats->abs_sums);
    compute->gram(T, stats->cols, stats->group, x, ldx, stats->gram);
    stats->tokens += T;
}

typedef struct whole_job {
    const awq__compute *compute;
    awq__stats *stats;
    int64_t T;
    const float *x;
    int64_t ldx;
} whole_job;

/* Columns of the strip against themselves and all after them. */
static awq_status add_strip(void *arg, int64_t index, int worker)
{
    const whole_job *j = arg;
    (void)worker;
    int64_t K = j->stats->cols, first = index * STRIP, count = awq__min(STRIP, K - first);
    const float *x = j->x + first;
    j->compute->add_abs(j->T, count, x, j->ldx, j->stats->abs_sums + first);
    j->compute->multiply_tn(count, K - first, j->T, x, j->ldx, x, j->ldx, 1,
                            j->stats->gram + first * (K + 1), K);
    return AWQ_OK;
}

awq_status awq__stats_add_whole(awq_context *ctx, const awq__compute *compute, awq__stats *stats,
                                int64_t T, const float *x, int64_t ldx)
{
    whole_job j = {.compute = compute, .stats = stats, .T = T, .x = x, .ldx = ldx};
    stats->tokens += T;
    return awq__parallel_for(ctx, awq__ceil_div(stats->cols, STRIP), add_strip, &j);
}

void awq__stats_mirror(const awq__compute *compute, awq__stats *stats)
{
    compute->mirror(stats->cols, stats->gram);
}

void awq__stats_sketch(const awq__compute *compute, awq__stats *stats, int64_t first, int64_t count,
                       uint64_t seed, int64_t T, const float *x, int64_t ldx)
{
    int64_t K = stats->cols;
    compute->sketch(T, K, x, ldx, seed, count, stats->gram + first * K);
}

void awq__stats_rescale(const awq__compute *compute, awq__stats *stats, const float *factor)
{
    int64_t g = stats->group, K = stats->cols;
    for (int64_t k = 0; k < K; k++)
        stats->abs_sums[k] *= (double)factor[k];
    if (stats->rows)
        compute->scale(stats->rows, K, NULL, factor, stats->gram);
    for (int64_t k = 0; k < K && !stats->rows; k += g)
        compute->scale(g, g, factor + k, factor + k, stats->gram + k * g);
}

awq_status awq__stats_blocks(awq_context *ctx, const awq__compute *compute, const awq__stats *whole,
                             int64_t group, awq__stats *blocks)
{
    int64_t K = whole->cols;
    AWQ__CHECK(awq__stats_create(ctx, K, group, blocks));
    blocks->tokens = whole->tokens;
    memcpy(blocks->abs_sums, whole->abs_sums, (size_t)K * sizeof *blocks->abs_sums);
    if (whole->rows)
        compute->gram(whole->rows, K, group, whole->gram, K, blocks->gram);
    for (int64_t k = 0; k < K && !whole->rows; k++)
        memcpy(blocks->gram + k * group, whole->gram + k * K + k / group * group,
               (size_t)group * sizeof *blocks->gram);
    return AWQ_OK;
}

void awq__stats_diagonal(const awq__stats *stats, float *diagonal)
{
    int64_t K = stats->cols, g = stats->group;
    for (int64_t k = 0; k < K; k++) {
        double sum = 0;
        for (int64_t r = 0; r < stats->rows; r++)
            sum += (double)stats->gram[r * K + k] * (double)stats->gram[r * K + k];
        diagonal[k] = stats->rows ? (float)sum : stats->gram[k * g + k % g];
    }
}
