/*
 * OLMoE (AllenAI): every layer has experts alone, and norms of queries and keys go over all heads.
 * Facts from transformers' configuration and modeling of model_type "olmoe".
 */
#include "describe.h"

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    return describe_usual_model(host, 1e-5, 0, model);
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_attention *attention = &layer->attention;
    awq_arch_experts *experts = &layer->experts;
    awq_status status;
    layer->folds = ALL_FOLDS;
    name_norms(layer, n);
    name(attention->q_norm, n, "self_attn.q_norm");
    name(attention->k_norm, n, "self_attn.k_norm");
    attention->norm_across_heads = 1;
    name(layer->router.name, n, "mlp.gate");
    layer->router.scoring = AWQ_SCORING_SOFTMAX_TOPK;
    name_experts(host, experts, n);
    if ((status = expect_text(host, "hidden_act", "silu")) ||
        (status = describe_attention(host, n, attention)) ||
        (status = read_flag(host, "attention_bias", 0, &attention->qkv_bias)) ||
        (status = read_number(host, "clip_qkv", 0, &attention->clip)) ||
        (status = read_size(host, "num_experts", NULL, &experts->count)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)) ||
        (status = read_size(host, "intermediate_size", NULL, &experts->intermediate_size)) ||
        (status = read_flag(host, "norm_topk_prob", 0, &layer->router.renormalize)))
        return status;
    attention->o_bias = attention->qkv_bias;
    if (attention->clip != 0)
        layer->folds &= ~(uint32_t)AWQ_FOLD_VALUE; /* values are clamped */
    return AWQ_OK;
}

static const char *const model_types[] = {"olmoe", NULL};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("olmoe", model_types)};
