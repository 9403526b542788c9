/* Scale search for linears by the loss that x^T x gives: its cost does not depend on the tokens. */
#include "quant/quant.h"

#include <string.h>

double awq__linear_loss(const awq__compute *compute, const awq__weight *weight,
                        const awq__scheme *scheme, const float *scale, const float *unscale,
                        const float *limit, const float *gram, float *space)
{
    int64_t K = weight->cols, block = awq__weight_block(weight), G = K / scheme->group;
    float *original = space, *rounded = space + block * K, *product = rounded + block * K;
    awq__weight scaled = *weight;
    scaled.col_scale = scale;
    double loss = 0;
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t n = awq__min(block, weight->rows - first);
        awq__weight_read(weight, first, n, original);
        awq__weight_read(scale ? &scaled : weight, first, n, rounded);
        compute->fake_quantize(n, K, scheme, limit ? limit + first * G : NULL, unscale, rounded);
        for (int64_t i = 0; i < n * K; i++)
            rounded[i] -= original[i];
        compute->multiply_nn(n, K, K, rounded, K, gram, K, 0, product, K);
        loss += compute->dot(n * K, product, rounded);
    }
    return loss;
}

int64_t awq__linear_loss_space(const awq__weight *weight)
{
    return 3 * awq__weight_work(weight);
}

typedef struct job {
    awq_context *ctx;
    const awq__compute *compute;
    const awq__weight *const *weights;
    int64_t count;
    const awq__scheme *scheme;
    const awq__candidates *candidates;
    const awq__stats *stats;
    double *losses;
    awq__scratch scratch;
} job;

/* The task of one candidate. */
static awq_status try_candidate(void *arg, int64_t index, int worker)
{
    job *j = arg;
    int64_t K = j->candidates->cols, space = 0;
    for (int64_t i = 0; i < j->count; i++)
        space = awq__max(space, awq__linear_loss_space(j->weights[i]));
    float *floats = awq__scratch_get(&j->scratch, worker, (size_t)(space + 2 * K));
    if (!floats)
        return AWQ_ERROR_MEMORY;
    float *scale = floats + space, *unscale = scale + K;
    awq__candidate(j->candidates, index, scale);
    for (int64_t k = 0; k < K; k++)
        unscale[k] = 1 / scale[k];
    j->losses[index] = 0;
    for (int64_t i = 0; i < j->count; i++)
        j->losses[index] += awq__linear_loss(j->compute, j->weights[i], j->scheme, scale, unscale,
                                             NULL, j->stats->gram, floats);
    return AWQ_OK;
}

awq_status awq__search_linear(awq_context *ctx, const awq__compute *compute,
                              const awq__weight *const *weights, int64_t count,
                              const awq__scheme *scheme, const awq__candidates *candidates,
                              const awq__stats *stats, float *scale, float *unscale,
                              awq__found_scale *found)
{
    int64_t tries = awq__candidate_count(candidates);
    job j = {.ctx = ctx,
             .compute = compute,
             .weights = weights,
             .count = count,
             .scheme = scheme,
             .candidates = candidates,
             .stats = stats};
    j.losses = awq__alloc(ctx, (size_t)tries, sizeof *j.losses, "losses");
    awq_status status = awq__scratch_create(ctx, "scale search work space", &j.scratch);
    if (status == AWQ_OK && !j.losses)
        status = AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = awq__parallel_for(ctx, tries, try_candidate, &j);
    if (status == AWQ_OK)
        status = awq__choose(ctx, weights[0]->name, j.losses, tries, found);
    if (status == AWQ_OK) {
        awq__candidate(candidates, found->candidate, scale);
        for (int64_t k = 0; k < candidates->cols; k++)
            unscale[k] = 1 / scale[k];
    }
    awq__scratch_free(&j.scratch);
    awq__free(j.losses);
    return status;
}
