/* A layer with the multipliers of its folds. */
#include "layer/quantize.h"
#include "core/convert.h"

#include <string.h>

awq_status awq__folded_create(awq_context *ctx, const awq__layer *layer, awq__folded *folded)
{
    size_t E = (size_t)layer->moe.expert_count, H = (size_t)layer->hidden;
    *folded = (awq__folded){.layer = *layer};
    folded->experts = awq__alloc(ctx, E, sizeof *folded->experts, "folded experts");
    folded->attention_norm = awq__alloc_aligned(ctx, H, sizeof(float), "a folded norm");
    folded->moe_norm = awq__alloc_aligned(ctx, H, sizeof(float), "a folded norm");
    if (!folded->experts || !folded->attention_norm || !folded->moe_norm) {
        awq__folded_free(folded);
        return AWQ_ERROR_MEMORY;
    }
    memcpy(folded->experts, layer->moe.experts, E * sizeof *folded->experts);
    memcpy(folded->attention_norm, layer->attention.norm, H * sizeof(float));
    memcpy(folded->moe_norm, layer->moe.norm, H * sizeof(float));
    folded->layer.moe.experts = folded->experts;
    folded->layer.moe.norm = folded->moe_norm;
    folded->layer.attention.norm = folded->attention_norm;
    return AWQ_OK;
}

void awq__folded_free(awq__folded *folded)
{
    float *floats[] = {folded->attention_norm,    folded->moe_norm,    folded->attention_scale,
                       folded->attention_unscale, folded->value_scale, folded->value_unscale,
                       folded->value_row_unscale, folded->moe_scale,   folded->moe_unscale,
                       folded->down_scale,        folded->down_unscale};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        awq__free_aligned(floats[i]);
    awq__free(folded->experts);
    *folded = (awq__folded){0};
}

float awq__fold_norm(awq_dtype dtype, float weight, float s)
{
    return awq__round_to_dtype(dtype, weight / s);
}

void awq__report_ratio(awq__json_builder *b, cJSON *object, const char *name,
                       const awq__found_scale *found, int64_t steps)
{
    if (found->candidate)
        awq__json_add_number(b, object, name, (double)(found->candidate - 1) / (double)steps);
    else
        awq__json_add_text(b, object, name, "identity");
}
