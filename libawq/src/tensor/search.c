/* Scales and ranges of matrices that share an input. */
#include "tensor/matrix.h"

#define MAX_STEPS 1000

static awq_status check_search(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme,
                               const awq_statistics *statistics)
{
    AWQ__CHECK(awq__check_matrix(ctx, matrix, scheme));
    if (matrix->columns != statistics->stats.cols)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "matrix: %lld columns, but the statistics are of %lld",
                         (long long)matrix->columns, (long long)statistics->stats.cols);
    return AWQ_OK;
}

static awq_status search(awq_context *ctx, const awq__weight *const *weights, int64_t count,
                         const awq__scheme *scheme, const awq__stats *stats, int steps,
                         float *scales, awq__found_scale *found)
{
    const awq__compute *compute = awq__compute_of(ctx);
    int64_t K = stats->cols, work = 0;
    for (int64_t i = 0; i < count; i++)
        work = awq__max(work, awq__weight_work(weights[i]));
    awq_status status;
    double *salience = awq__alloc(ctx, 2 * (size_t)K, sizeof *salience, "salience");
    float *space = awq__alloc_host(ctx, (size_t)(work + K), sizeof *space, "work space");
    AWQ__TRY_ALLOC(salience && space);
    for (int64_t k = 0; k < K; k++)
        salience[k] = stats->abs_sums[k] / (double)awq__max(stats->tokens, 1);
    awq__w_mean(compute, weights, count, scheme->group, salience + K, space);
    awq__candidates candidates = {
        .cols = K, .salience = salience, .w_mean = salience + K, .steps = steps};
    AWQ__TRY(awq__search_linear(ctx, compute, weights, count, scheme, &candidates, stats, scales,
                                space + work, found));
done:
    awq__free(salience);
    awq__free_aligned(space);
    return status;
}

awq_status awq_search_scales(awq_context *ctx, const awq_matrix *matrices, size_t count,
                             const awq_scheme *scheme, const awq_statistics *statistics, int steps,
                             float *scales, awq_scale_result *result)
{
    AWQ__CHECK(awq__enter(ctx, "awq_search_scales",
                          (awq__argument[]){{"matrices", matrices},
                                            {"scheme", scheme},
                                            {"statistics", statistics},
                                            {"scales", scales},
                                            {0}}));
    if (!count || steps < 1 || steps > MAX_STEPS)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%zu matrices and %d steps, expected 1 or more and 1 to %d", count, steps,
                         MAX_STEPS);
    awq_status status;
    awq__scheme inner;
    awq__found_scale found;
    awq__weight *weights = awq__alloc(ctx, count, sizeof *weights, "matrices");
    const awq__weight **list = awq__alloc(ctx, count, sizeof *list, "matrices");
    AWQ__TRY_ALLOC(weights && list);
    for (size_t i = 0; i < count; i++) {
        AWQ__TRY(check_search(ctx, &matrices[i], scheme, statistics));
        weights[i] = awq__inner_weight(&matrices[i], NULL);
        list[i] = &weights[i];
        AWQ__TRY(awq__check_values(ctx, &weights[i]));
    }
    inner = awq__inner_scheme(scheme, matrices[0].columns);
    AWQ__TRY(search(ctx, list, (int64_t)count, &inner, &statistics->stats, steps, scales, &found));
    if (result)
        *result = (awq_scale_result){
            .ratio = found.candidate ? (double)(found.candidate - 1) / (double)steps : -1,
            .rtn_loss = found.identity_loss,
            .loss = found.loss};
done:
    awq__free(weights);
    awq__free(list);
    return status;
}

awq_status awq_search_clips(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme,
                            const awq_statistics *statistics, const float *scales,
                            awq_range *ranges)
{
    AWQ__CHECK(awq__enter(ctx, "awq_search_clips",
                          (awq__argument[]){{"matrix", matrix},
                                            {"scheme", scheme},
                                            {"statistics", statistics},
                                            {"ranges", ranges},
                                            {0}}));
    AWQ__CHECK(check_search(ctx, matrix, scheme, statistics));
    AWQ__CHECK(awq__check_arrays(ctx, matrix, scheme, scales, NULL));
    awq__weight weight = awq__inner_weight(matrix, scales);
    AWQ__CHECK(awq__check_values(ctx, &weight));
    const awq__compute *compute = awq__compute_of(ctx);
    int64_t K = matrix->columns;
    awq__scheme inner = awq__inner_scheme(scheme, K);
    awq_status status;
    awq__stats blocks = {0};
    float *unscale = awq__alloc_host(ctx, (size_t)K, sizeof *unscale, "scales");
    AWQ__TRY_ALLOC(unscale);
    AWQ__TRY(awq__stats_blocks(ctx, compute, &statistics->stats, inner.group, &blocks));
    for (int64_t k = 0; k < K && scales; k++)
        unscale[k] = 1 / scales[k];
    if (scales)
        awq__stats_rescale(compute, &blocks, unscale);
    AWQ__TRY(awq__search_clip(ctx, compute, &weight, &inner, &blocks, (awq__range *)ranges));
done:
    awq__stats_free(&blocks);
    awq__free_aligned(unscale);
    return status;
}
