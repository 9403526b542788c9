/* Statistics of the inputs of linears. */
#include "tensor/matrix.h"
#include "compute/begin.h"

#include <math.h>

awq_status awq_statistics_create(awq_context *ctx, int64_t columns, awq_statistics **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_statistics_create", (awq__argument[]){{"out", out}, {0}}));
    if (columns < 1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "columns: %lld is not positive",
                         (long long)columns);
    AWQ__CHECK(awq__compute_begin(ctx));
    awq_statistics *statistics = awq__alloc(ctx, 1, sizeof *statistics, "statistics");
    AWQ__CHECK_ALLOC(statistics);
    statistics->ctx = ctx;
    awq_status status = awq__stats_create(ctx, columns, columns, &statistics->stats);
    if (status == AWQ_OK)
        *out = statistics;
    else
        awq__free(statistics);
    return status;
}

void awq_statistics_free(awq_statistics *statistics)
{
    if (statistics)
        awq__stats_free(&statistics->stats);
    awq__free(statistics);
}

awq_status awq_statistics_add(awq_statistics *statistics, const float *x, int64_t tokens)
{
    AWQ__CHECK(awq__enter(statistics ? statistics->ctx : NULL, "awq_statistics_add", NULL));
    int64_t K = statistics->stats.cols;
    if (tokens && !x)
        return awq__fail(statistics->ctx, AWQ_ERROR_ARGUMENT, "x: is NULL, expected %lld tokens",
                         (long long)tokens);
    if (tokens < 0)
        return awq__fail(statistics->ctx, AWQ_ERROR_ARGUMENT, "x: %lld tokens, expected 0 or more",
                         (long long)tokens);
    for (int64_t i = 0; i < tokens * K; i++)
        if (!isfinite(x[i]))
            return awq__fail(statistics->ctx, AWQ_ERROR_NUMERIC,
                             "x: token %lld, channel %lld is not finite", (long long)(i / K),
                             (long long)(i % K));
    if (!tokens)
        return AWQ_OK;
    const awq__compute *compute = awq__compute_of(statistics->ctx);
    awq_status status =
        awq__stats_add_whole(statistics->ctx, compute, &statistics->stats, tokens, x, K);
    awq__stats_mirror(compute, &statistics->stats);
    return status;
}

void awq_statistics_salience(const awq_statistics *statistics, float *salience)
{
    if (!statistics || !salience)
        return;
    double tokens = (double)awq__max(statistics->stats.tokens, 1);
    for (int64_t k = 0; k < statistics->stats.cols; k++)
        salience[k] = (float)(statistics->stats.abs_sums[k] / tokens);
}
