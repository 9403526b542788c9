/* The proof that a folded float layer computes what the original does, before anything is rounded.
 */
#include "core/convert.h"
#include "backend/cpu.h"

#include <math.h>
#include <string.h>

#define TOLERANCE 1e-4 /* of the block output's largest magnitude: F32 noise is 100 times less */
#define NEAR_TIE 1e-4  /* of a token's largest logit: closer choices may change places by noise */

/* ---- comparing ---- */

/* NaN if one is. */
static double larger(double a, double b)
{
    return a > b || isnan(a) ? a : b;
}

/* What errors are relative to. */
static double largest_magnitude(const awq__compute *compute, const float *a, int64_t count)
{
    return larger(1e-30, compute->largest_difference(count, a, NULL));
}

static bool near_tie(const awq__moe *moe, const awq__routes *routes, int64_t t)
{
    int64_t shared = moe->expert_count - moe->routed_count;
    return awq__route_near_tie(routes->routed, &moe->routing, routes->logits + t * routes->routed,
                               routes->per_token - shared, routes->index + t * routes->per_token,
                               NEAR_TIE);
}

/* ---- the experts ---- */

void awq__proof_output_free(awq__proof_output *o)
{
    awq__free_aligned(o->out);
    awq__routes_free(&o->routes);
    *o = (awq__proof_output){0};
}

/* Free *normed also after a failure. */
static awq_status normed_create(awq_context *ctx, const awq__layer *layer, int64_t T,
                                awq__normed *normed)
{
    size_t floats = (size_t)(T * layer->hidden);
    *normed = (awq__normed){0};
    normed->x = awq__alloc_aligned(ctx, floats, sizeof(float), "the proof");
    AWQ__CHECK_ALLOC(normed->x);
    if (!layer->moe.shared_norm)
        return AWQ_OK;
    normed->shared = awq__alloc_aligned(ctx, floats, sizeof(float), "the proof");
    return normed->shared ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static void normed_free(const awq__normed *normed)
{
    awq__free_aligned(normed->x);
    awq__free_aligned(normed->shared);
}

/* Free *o also after a failure. */
static awq_status run_experts(const awq__forward *forward, const awq__layer *layer,
                              const float *hidden, int64_t T, awq__proof_output *o)
{
    awq_status status;
    size_t floats = (size_t)(T * layer->hidden);
    awq__normed normed;
    AWQ__TRY(normed_create(forward->ctx, layer, T, &normed));
    o->out = awq__alloc_aligned(forward->ctx, floats, sizeof(float), "the proof");
    AWQ__TRY_ALLOC(o->out);
    memset(o->out, 0, floats * sizeof *o->out);
    AWQ__TRY(awq__moe_input(forward, layer, T, hidden, &normed));
    AWQ__TRY(awq__moe_route(forward, layer, T, hidden, normed.x, &o->routes));
    AWQ__TRY(awq__moe_experts(forward, layer, &normed, &o->routes, o->out, NULL, NULL));
done:
    normed_free(&normed);
    return status;
}

/* norm [H] and router [E,H] of a folded layer as they will be stored. */
void awq__round_stored(const awq__compute *compute, const awq__layer *folded, float *norm,
                       float *router)
{
    const awq__weight *weight = &folded->moe.router;
    for (int64_t h = 0; h < folded->hidden; h++)
        norm[h] =
            awq__round_shifted(folded->moe.norm_dtype, folded->moe.norm_shift, folded->moe.norm[h]);
    awq__weight_read(compute, weight, 0, weight->rows, router);
    for (int64_t i = 0; i < weight->rows * folded->hidden; i++)
        router[i] = awq__round_to_dtype(weight->dtype, router[i]);
}

/* The share of tokens that keep their experts when norm and router are rounded as they will be
 * stored. */
static awq_status stored_agreement(const awq__forward *forward, const awq__layer *folded,
                                   const float *hidden, const awq__routes *before,
                                   double *agreement)
{
    awq_status status;
    awq_context *ctx = forward->ctx;
    const awq__weight *router = &folded->moe.router;
    int64_t H = folded->hidden, E = router->rows, T = before->tokens;
    awq__layer stored = *folded;
    awq__routes after = {0};
    float *norm = awq__alloc_aligned(ctx, (size_t)H, sizeof *norm, "the proof");
    float *values = awq__alloc_aligned(ctx, (size_t)(E * H), sizeof *values, "the proof");
    awq__normed normed;
    AWQ__TRY(normed_create(ctx, folded, T, &normed));
    AWQ__TRY_ALLOC(norm && values);
    awq__round_stored(forward->compute, folded, norm, values);
    stored.moe.norm = norm;
    stored.moe.router = awq__weight_plain(router->name, AWQ_F32, values, E, H);
    stored.moe.router.bias = router->bias;
    AWQ__TRY(awq__moe_input(forward, &stored, T, hidden, &normed));
    AWQ__TRY(awq__moe_route(forward, &stored, T, hidden, normed.x, &after));
    *agreement = (double)awq__routes_same_count(before, &after) / (double)T;
done:
    awq__routes_free(&after);
    awq__free_aligned(norm);
    awq__free_aligned(values);
    normed_free(&normed);
    return status;
}

float *awq__proof_sample(awq_context *ctx, const awq__states *states, int64_t *count)
{
    int64_t H = states->width, T = states->tokens, stride = awq__ceil_div(T, AWQ__SAMPLE_TOKENS);
    *count = awq__ceil_div(T, stride);
    float *out = awq__alloc_aligned(ctx, (size_t)(*count * H), sizeof *out, "the proof");
    for (int64_t i = 0; out && i < *count; i++)
        memcpy(out + i * H, states->hidden + i * stride * H, (size_t)H * sizeof *out);
    return out;
}

static void compare_experts(const awq__compute *compute, const awq__layer *layer,
                            const awq__proof_output *a, const awq__proof_output *b,
                            awq__proof *proof)
{
    const awq__moe *moe = &layer->moe;
    int64_t T = a->routes.tokens, H = layer->hidden;
    double largest = largest_magnitude(compute, a->out, T * H);
    proof->tokens = T;
    for (int64_t t = 0; t < T; t++) {
        if (!awq__routes_same(&a->routes, &b->routes, t)) {
            proof->rerouted += !near_tie(moe, &a->routes, t);
            continue;
        }
        double error = compute->largest_difference(H, a->out + t * H, b->out + t * H) / largest;
        proof->largest_error = larger(proof->largest_error, error);
    }
}

static awq_status check_experts(awq_context *ctx, int64_t layer, const awq__proof *proof)
{
    if (proof->largest_error <= TOLERANCE && !proof->rerouted)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_PROOF,
                     "layer %lld: the folded experts differ from the original ones by %.3g of the "
                     "largest output (allowed %.3g), and %lld of %lld tokens chose other experts "
                     "(allowed 0): a consumer of the norm is not compensated",
                     (long long)layer, proof->largest_error, TOLERANCE, (long long)proof->rerouted,
                     (long long)proof->tokens);
}

awq_status awq__proof_compare(const awq__forward *forward, const awq__layer *layer,
                              const awq__proof_output *before, const awq__proof_output *after,
                              awq__proof *proof)
{
    *proof = (awq__proof){.stored_agreement = 1};
    compare_experts(forward->compute, layer, before, after, proof);
    return check_experts(forward->ctx, layer->number, proof);
}

static awq_status prove_experts(const awq__forward *forward, const awq__layer *original,
                                const awq__layer *folded, const float *hidden, int64_t T,
                                awq__proof *proof)
{
    awq_status status;
    awq__proof_output before = {0}, after = {0};
    AWQ__TRY(run_experts(forward, original, hidden, T, &before));
    AWQ__TRY(run_experts(forward, folded, hidden, T, &after));
    AWQ__TRY(awq__proof_compare(forward, original, &before, &after, proof));
    if (original->moe.routed_count)
        AWQ__TRY(
            stored_agreement(forward, folded, hidden, &before.routes, &proof->stored_agreement));
done:
    awq__proof_output_free(&before);
    awq__proof_output_free(&after);
    return status;
}

/* ---- the attention ---- */

awq_status awq__proof_check_attention(awq_context *ctx, int64_t layer, const awq__proof *proof)
{
    if (proof->largest_error <= TOLERANCE)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_PROOF,
                     "layer %lld: the folded attention differs from the original one by %.3g of "
                     "the largest output (allowed %.3g)",
                     (long long)layer, proof->largest_error, TOLERANCE);
}

static awq_status prove_attention(const awq__forward *all, const awq__layer *original,
                                  const awq__layer *folded, const float *hidden, awq__proof *proof)
{
    awq_status status;
    awq__sequences sequences = awq__some_sequences(all->sequences, 0, AWQ__SAMPLE_TOKENS);
    awq__forward forward = *all;
    forward.sequences = &sequences;
    int64_t count = awq__token_count(&sequences) * original->hidden;
    *proof = (awq__proof){.tokens = awq__token_count(&sequences)};
    float *before = awq__alloc_aligned(all->ctx, (size_t)count, sizeof *before, "the proof");
    float *after = awq__alloc_aligned(all->ctx, (size_t)count, sizeof *after, "the proof");
    AWQ__TRY_ALLOC(before && after);
    AWQ__TRY(awq__attention_forward(&forward, original, hidden, false, before, NULL, NULL));
    AWQ__TRY(awq__attention_forward(&forward, folded, hidden, false, after, NULL, NULL));
    proof->largest_error = forward.compute->largest_difference(count, before, after) /
                           largest_magnitude(forward.compute, before, count);
    AWQ__TRY(awq__proof_check_attention(all->ctx, original->number, proof));
done:
    awq__free_aligned(before);
    awq__free_aligned(after);
    return status;
}

awq_status awq__cpu_prove_attention(awq__block *block, awq__proof *proof)
{
    return prove_attention(&block->states->forward, block->layer, &block->folded,
                           block->states->hidden, proof);
}

awq_status awq__cpu_prove_experts(awq__block *block, awq__proof *proof)
{
    awq__block_data *data = block->data;
    AWQ__CHECK(prove_experts(&block->states->forward, block->layer, &block->folded, data->sample,
                             data->sampled, proof));
    awq__free_aligned(data->sample);
    data->sample = NULL;
    return AWQ_OK;
}
