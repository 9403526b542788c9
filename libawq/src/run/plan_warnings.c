/* Warnings of settings that are legal but hardly meant. */
#include "run/job.h"

#include <math.h>

static awq_status warn_about_undescribed(awq_context *ctx, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    const char *first = NULL;
    size_t count = 0, widened = 0;
    for (size_t i = 0; arch->checkpoint && i < awq__checkpoint_count(arch->checkpoint); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(arch->checkpoint, i);
        awq__copying copying;
        AWQ__CHECK(awq__result_copies(ctx, plan->model, tensor, &copying));
        if (copying == AWQ__NOT_COPIED)
            continue;
        plan->undescribed_before += tensor->bytes;
        plan->undescribed_bytes += awq__copied_bytes(tensor, copying);
        widened += copying == AWQ__WIDENED;
        if (copying != AWQ__TAKEN_IN)
            first = count++ ? first : tensor->name;
    }
    if (widened)
        AWQ__CHECK(awq__rules_warn(ctx, &plan->rules,
                                   "%zu tensors in F8_E4M3 that the %s architecture does not "
                                   "describe become BF16",
                                   widened, arch->plugin->table.id));
    if (count == 1)
        return awq__rules_warn(ctx, &plan->rules,
                               "%s: the %s architecture does not describe it; copied as it is, and "
                               "without a part in the forward pass",
                               first, arch->plugin->table.id);
    if (!count)
        return AWQ_OK;
    return awq__rules_warn(ctx, &plan->rules,
                           "%s and %zu more tensors: the %s architecture does not describe them; "
                           "copied as they are, and without a part in the forward pass",
                           first, count - 1, arch->plugin->table.id);
}

/* config.json makes the embedding the head, and another head is stored beside it. */
static awq_status warn_about_head(awq_context *ctx, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    awq__copying copying = AWQ__NOT_COPIED;
    const awq__tensor *head = arch->checkpoint && !arch->model.head[0]
                                  ? awq__checkpoint_find(arch->checkpoint, "lm_head.weight")
                                  : NULL;
    if (head)
        AWQ__CHECK(awq__result_copies(ctx, plan->model, head, &copying));
    if (copying == AWQ__NOT_COPIED)
        return AWQ_OK;
    return awq__rules_warn(ctx, &plan->rules,
                           "lm_head.weight: is stored and not the embedding, which %s makes the "
                           "head (tie_word_embeddings): the model is taken with the embedding, and "
                           "an engine that reads the stored head predicts something else",
                           arch->config_path);
}

/* An expert that sees few tokens has little to be searched on. */
static awq_status warn_about_tokens(awq_context *ctx, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    const awq__settings *s = &plan->settings;
    double samples = (double)s->calibration.samples;
    double tokens = samples * (double)s->calibration.sequence_length;
    double least = (double)s->calibration.min_expert_tokens;
    for (int64_t n = 0; n < arch->model.layer_count && plan->rules.calibrate; n++) {
        const awq_arch_experts *experts = &arch->layers[n].experts;
        double seen = experts->count ? tokens * (double)experts->per_token / (double)experts->count
                                     : INFINITY;
        if (seen < least)
            return awq__rules_warn(
                ctx, &plan->rules,
                "calibration: of %.0f tokens an expert of layer %lld sees %.0f in the mean, fewer "
                "than calibration.min_expert_tokens %.0f: most borrow those of others; %.0f "
                "samples would do",
                tokens, (long long)n, seen, least, ceil(least / seen * samples));
    }
    return AWQ_OK;
}

awq_status awq__model_plan_warn(awq_context *ctx, awq__model_plan *plan)
{
    AWQ__CHECK(warn_about_undescribed(ctx, plan));
    AWQ__CHECK(warn_about_head(ctx, plan));
    return warn_about_tokens(ctx, plan);
}
