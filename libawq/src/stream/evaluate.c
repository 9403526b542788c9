/* Perplexity, and how far a model is from its reference. */
#include "stream/evaluate.h"

#include <math.h>

/* ---- the layers ---- */

static awq_status check_alike(awq_context *ctx, const awq_model *judged, const awq_model *reference)
{
    const awq_arch_model *a = &judged->arch->model, *b = &reference->arch->model;
    if (a->layer_count == b->layer_count && a->vocabulary_size == b->vocabulary_size)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                     "%s: %lld layers and a vocabulary of %lld, but the reference %s has %lld and "
                     "%lld: they are not the same model",
                     judged->directory, (long long)a->layer_count, (long long)a->vocabulary_size,
                     reference->directory, (long long)b->layer_count,
                     (long long)b->vocabulary_size);
}

awq_status awq__evaluation_begin(awq_context *ctx, const awq_model *judged,
                                 const awq_model *reference, awq__sequences *windows,
                                 awq__evaluation *evaluation)
{
    *evaluation =
        (awq__evaluation){.ctx = ctx, .windows = *windows, .has_reference = reference != NULL};
    *windows = (awq__sequences){0};
    awq_status status;
    if (reference)
        AWQ__TRY(check_alike(ctx, judged, reference));
    AWQ__TRY(awq__stream_begin(ctx, judged, &evaluation->windows, &evaluation->judged));
    if (reference)
        AWQ__TRY(awq__stream_begin(ctx, reference, &evaluation->windows, &evaluation->reference));
done:
    if (status != AWQ_OK)
        awq__evaluation_free(evaluation);
    return status;
}

void awq__evaluation_free(awq__evaluation *evaluation)
{
    awq__stream_free(&evaluation->judged);
    awq__stream_free(&evaluation->reference);
    awq__sequences_free(&evaluation->windows);
    *evaluation = (awq__evaluation){0};
}

static awq_status through(awq__stream *stream, int64_t n, awq__routes *routes)
{
    awq__loaded_layer loaded;
    awq_status status;
    AWQ__TRY(awq__model_layer(stream->model, n, &loaded));
    AWQ__TRY(awq__stream_layer(stream, &loaded.layer, routes));
done:
    awq__loaded_layer_free(&loaded);
    return status;
}

awq_status awq__evaluation_layer(awq__evaluation *evaluation, int64_t n)
{
    awq__routes judged = {0}, reference = {0};
    awq_status status;
    AWQ__TRY(through(&evaluation->judged, n, &judged));
    if (evaluation->has_reference) {
        AWQ__TRY(through(&evaluation->reference, n, &reference));
        if (judged.per_token != reference.per_token || judged.experts != reference.experts) {
            AWQ__TRY(awq__fail(evaluation->ctx, AWQ_ERROR_ARGUMENT,
                               "%s: layer %lld routes otherwise than the reference's",
                               evaluation->judged.model->directory, (long long)n));
        } else if (judged.routed) {
            evaluation->same_routes += awq__routes_same_count(&judged, &reference);
            evaluation->routes += judged.tokens;
        }
    }
done:
    awq__routes_free(&judged);
    awq__routes_free(&reference);
    return status;
}

/* ---- the logits ---- */

/* The last norm and the head of a model, and its hidden states. */
typedef struct last {
    awq__loaded_module head;
    float *norm; /* [H] */
    awq__head made;
} last;

static awq_status load_last(const awq__stream *stream, last *l)
{
    AWQ__CHECK(awq__model_end(stream->model, AWQ__PART_HEAD, &l->head));
    AWQ__CHECK(awq__model_final_norm(stream->model, &l->norm));
    const awq_arch_model *model = &stream->model->arch->model;
    l->made = (awq__head){.states = stream->states,
                          .weight = &l->head.found.weight,
                          .norm = l->norm,
                          .epsilon = model->norm_epsilon,
                          .multiplier =
                              model->logits_multiplier != 0 ? (float)model->logits_multiplier : 1,
                          .cap = (float)model->logits_cap};
    return AWQ_OK;
}

static void free_last(last *l)
{
    awq__loaded_module_free(&l->head);
    awq__free_aligned(l->norm);
    *l = (last){0};
}

/* The id after each token of a window; -1 after its last. Returns how many there are. */
static int64_t set_targets(const awq__sequences *windows, int32_t *targets)
{
    int64_t scored = 0;
    for (int64_t i = 0; i < windows->count; i++) {
        for (int64_t t = windows->offsets[i]; t + 1 < windows->offsets[i + 1]; t++, scored++)
            targets[t] = windows->ids[t + 1];
        targets[windows->offsets[i + 1] - 1] = -1;
    }
    return scored;
}

static void summarize(const awq__evaluation *evaluation, const awq__logit_stats *total,
                      int64_t scored, awq_eval_result *result)
{
    double tokens = (double)evaluation->judged.tokens;
    *result = (awq_eval_result){.perplexity = exp(total->nll / (double)scored),
                                .tokens = scored,
                                .has_reference = evaluation->has_reference};
    if (!evaluation->has_reference)
        return;
    result->reference_perplexity = exp(total->reference_nll / (double)scored);
    result->kl = total->kl / tokens;
    result->top1_agreement = (double)total->same_top1 / tokens;
    result->router_topk_agreement =
        evaluation->routes ? (double)evaluation->same_routes / (double)evaluation->routes : 1;
}

awq_status awq__evaluation_finish(awq__evaluation *evaluation, awq_eval_result *result)
{
    awq_status status;
    awq_context *ctx = evaluation->ctx;
    const awq__stream *stream = &evaluation->judged;
    bool both = evaluation->has_reference;
    last judged = {0}, reference = {0};
    awq__logit_stats total;
    int32_t *targets = awq__alloc(ctx, (size_t)stream->tokens, sizeof *targets, "targets");
    AWQ__TRY_ALLOC(targets);
    AWQ__TRY(load_last(stream, &judged));
    if (both)
        AWQ__TRY(load_last(&evaluation->reference, &reference));
    int64_t scored = set_targets(&evaluation->windows, targets);
    AWQ__TRY(stream->backend->compare_logits(&judged.made, both ? &reference.made : NULL, targets,
                                             &total));
    summarize(evaluation, &total, scored, result);
    if (!isfinite(result->perplexity) || !isfinite(result->kl)) {
        bool other = both && isfinite(result->perplexity);
        const awq_model *model = other ? evaluation->reference.model : stream->model;
        AWQ__TRY(
            awq__fail(ctx, AWQ_ERROR_NUMERIC, "%s: its logits are not finite", model->directory));
    }
done:
    awq__free(targets);
    free_last(&judged);
    free_last(&reference);
    return status;
}
