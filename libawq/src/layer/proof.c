/* The proof that a folded float layer computes what the original does, before anything is rounded.
 */
#include "layer/quantize.h"
#include "core/convert.h"

#include <math.h>
#include <string.h>

#define PROOF_TOKENS 4096
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

static bool same_set(const int32_t *a, const int32_t *b, int64_t k)
{
    int64_t shared = 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++)
            shared += a[i] == b[j];
    return shared == k;
}

/* Is the last chosen expert of token t so close to the first one left out that noise may swap them?
 */
static bool near_tie(const awq__routes *routes, int64_t t)
{
    const float *logits = routes->logits + t * routes->routed;
    const int32_t *chosen = routes->index + t * routes->per_token;
    double last = INFINITY, next = -INFINITY, largest = 0;
    for (int64_t e = 0; e < routes->routed; e++) {
        bool in = false;
        for (int64_t i = 0; i < routes->per_token; i++)
            in |= chosen[i] == e;
        largest = fmax(largest, fabs((double)logits[e]));
        if (in)
            last = fmin(last, (double)logits[e]);
        else
            next = fmax(next, (double)logits[e]);
    }
    return fabs(last - next) <= NEAR_TIE * largest;
}

/* ---- the experts ---- */

typedef struct experts_output {
    float *out;
    awq__routes routes;
} experts_output;

static void free_output(experts_output *o)
{
    awq__free_aligned(o->out);
    awq__routes_free(&o->routes);
    *o = (experts_output){0};
}

static awq_status run_experts(awq__quantizer *job, const awq__layer *layer, const float *hidden,
                              int64_t T, experts_output *o)
{
    size_t floats = (size_t)(T * layer->hidden);
    const awq__forward *forward = &job->calibration.forward;
    *o = (experts_output){0};
    float *x = awq__alloc_aligned(job->ctx, floats, sizeof *x, "the proof");
    o->out = awq__alloc_aligned(job->ctx, floats, sizeof(float), "the proof");
    awq_status status = x && o->out ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        memset(o->out, 0, floats * sizeof *o->out);
    if (status == AWQ_OK)
        status = awq__moe_input(forward, layer, T, hidden, x);
    if (status == AWQ_OK)
        status = awq__moe_route(forward, layer, T, x, &o->routes);
    if (status == AWQ_OK)
        status = awq__moe_experts(forward, layer, x, &o->routes, o->out, NULL, NULL);
    awq__free_aligned(x);
    if (status != AWQ_OK)
        free_output(o);
    return status;
}

/* The share of tokens that keep their experts when norm and router are rounded as they will be
 * stored. */
static awq_status stored_agreement(awq__quantizer *job, const awq__layer *folded,
                                   const float *hidden, int64_t T, const awq__routes *before,
                                   double *agreement)
{
    awq_context *ctx = job->ctx;
    const awq__forward *forward = &job->calibration.forward;
    const awq__weight *router = &folded->moe.router;
    int64_t H = folded->hidden, E = router->rows;
    awq__layer stored = *folded;
    awq__routes after = {0};
    float *norm = awq__alloc_aligned(ctx, (size_t)H, sizeof *norm, "the proof");
    float *values = awq__alloc_aligned(ctx, (size_t)(E * H), sizeof *values, "the proof");
    float *x = awq__alloc_aligned(ctx, (size_t)(T * H), sizeof *x, "the proof");
    awq_status status = norm && values && x ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK) {
        for (int64_t h = 0; h < H; h++)
            norm[h] = awq__round_to_dtype(folded->moe.norm_dtype, folded->moe.norm[h]);
        awq__weight_read(forward->compute, router, 0, E, values);
        for (int64_t i = 0; i < E * H; i++)
            values[i] = awq__round_to_dtype(router->dtype, values[i]);
        stored.moe.norm = norm;
        stored.moe.router = awq__weight_plain(router->name, AWQ_F32, values, E, H);
        stored.moe.router.bias = router->bias;
        status = awq__moe_input(forward, &stored, T, hidden, x);
    }
    if (status == AWQ_OK)
        status = awq__moe_route(forward, &stored, T, x, &after);
    if (status == AWQ_OK) {
        int64_t same = 0, k = before->per_token;
        for (int64_t t = 0; t < T; t++)
            same += same_set(before->index + t * k, after.index + t * k, k);
        *agreement = (double)same / (double)T;
    }
    awq__routes_free(&after);
    awq__free_aligned(norm);
    awq__free_aligned(values);
    awq__free_aligned(x);
    return status;
}

float *awq__proof_sample(awq_context *ctx, const awq__stream *stream, int64_t H, int64_t *count)
{
    const float *hidden = stream->hidden;
    int64_t T = stream->tokens, stride = awq__ceil_div(T, PROOF_TOKENS);
    *count = awq__ceil_div(T, stride);
    float *out = awq__alloc_aligned(ctx, (size_t)(*count * H), sizeof *out, "the proof");
    for (int64_t i = 0; out && i < *count; i++)
        memcpy(out + i * H, hidden + i * stride * H, (size_t)H * sizeof *out);
    return out;
}

static void compare_experts(const awq__compute *compute, const experts_output *a,
                            const experts_output *b, int64_t H, awq__proof *proof)
{
    int64_t T = a->routes.tokens, k = a->routes.per_token;
    double largest = largest_magnitude(compute, a->out, T * H);
    proof->tokens = T;
    for (int64_t t = 0; t < T; t++) {
        if (!same_set(a->routes.index + t * k, b->routes.index + t * k, k)) {
            proof->rerouted += !near_tie(&a->routes, t);
            continue;
        }
        double error = compute->largest_difference(H, a->out + t * H, b->out + t * H) / largest;
        proof->largest_error = larger(proof->largest_error, error);
    }
}

awq_status awq__prove_experts(awq__quantizer *job, const awq__layer *original,
                              const awq__layer *folded, const float *hidden, int64_t T,
                              awq__proof *proof)
{
    int64_t H = original->hidden;
    experts_output before = {0}, after = {0};
    *proof = (awq__proof){0};
    awq_status status = run_experts(job, original, hidden, T, &before);
    if (status == AWQ_OK)
        status = run_experts(job, folded, hidden, T, &after);
    if (status == AWQ_OK) {
        compare_experts(job->calibration.forward.compute, &before, &after, H, proof);
        if (!(proof->largest_error <= TOLERANCE) || proof->rerouted)
            status = awq__fail(
                job->ctx, AWQ_ERROR_PROOF,
                "layer %lld: the folded experts differ from the original ones by %.3g of the "
                "largest output (allowed %.3g), and %lld of %lld tokens chose other experts "
                "(allowed 0): a consumer of the norm is not compensated",
                (long long)original->number, proof->largest_error, TOLERANCE,
                (long long)proof->rerouted, (long long)T);
    }
    proof->stored_agreement = 1;
    if (status == AWQ_OK && original->moe.routed_count)
        status = stored_agreement(job, folded, hidden, T, &before.routes, &proof->stored_agreement);
    free_output(&before);
    free_output(&after);
    return status;
}

/* ---- the attention ---- */

awq_status awq__prove_attention(awq__quantizer *job, const awq__layer *original,
                                const awq__layer *folded, const float *hidden, awq__proof *proof)
{
    awq__sequences sequences =
        awq__some_sequences(job->calibration.forward.sequences, 0, PROOF_TOKENS);
    awq__forward forward = job->calibration.forward;
    forward.sequences = &sequences;
    int64_t count = awq__token_count(&sequences) * original->hidden;
    *proof = (awq__proof){.tokens = awq__token_count(&sequences)};
    float *before = awq__alloc_aligned(job->ctx, (size_t)count, sizeof *before, "the proof");
    float *after = awq__alloc_aligned(job->ctx, (size_t)count, sizeof *after, "the proof");
    awq_status status = before && after ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = awq__attention_forward(&forward, original, hidden, false, before, NULL, NULL);
    if (status == AWQ_OK)
        status = awq__attention_forward(&forward, folded, hidden, false, after, NULL, NULL);
    if (status == AWQ_OK) {
        proof->largest_error = forward.compute->largest_difference(count, before, after) /
                               largest_magnitude(forward.compute, before, count);
        if (!(proof->largest_error <= TOLERANCE))
            status = awq__fail(
                job->ctx, AWQ_ERROR_PROOF,
                "layer %lld: the folded attention differs from the original one by %.3g of "
                "the largest output (allowed %.3g)",
                (long long)original->number, proof->largest_error, TOLERANCE);
    }
    awq__free_aligned(before);
    awq__free_aligned(after);
    return status;
}
