/*
 * Hunyuan-A13B (Tencent): every layer has experts and a shared MLP; queries and keys are normed
 * after they are turned. Facts from transformers' configuration and modeling of model_type
 * "hunyuan_v1_moe".
 */
#include "describe.h"

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    return describe_usual_model(host, 1e-5, 0, model);
}

/* A number, or a list with one for each layer. */
static awq_status read_of_layer(const awq_host *host, const char *key, int64_t n, int64_t *value)
{
    char path[64];
    if (host->config_int(host, key, NULL, value) == AWQ_OK)
        return AWQ_OK;
    snprintf(path, sizeof path, "%s.%" PRId64, key, n);
    return host->config_int(host, path, NULL, value);
}

static awq_status describe_experts(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_experts *experts = &layer->experts;
    awq_status status;
    name(layer->router.name, n, "mlp.gate.wg");
    layer->router.scoring = AWQ_SCORING_SOFTMAX_TOPK;
    layer->router.renormalize = 1;
    name_experts(host, experts, n);
    name_mlp(&layer->shared, n, "mlp.shared_mlp");
    if ((status = read_of_layer(host, "num_experts", n, &experts->count)) ||
        (status = read_of_layer(host, "moe_topk", n, &experts->per_token)) ||
        (status = read_size(host, "intermediate_size", NULL, &experts->intermediate_size)))
        return status;
    layer->shared.intermediate_size = experts->intermediate_size;
    return AWQ_OK;
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_attention *attention = &layer->attention;
    awq_status status;
    layer->folds = ALL_FOLDS;
    name_norms(layer, n);
    name(attention->q_norm, n, "self_attn.query_layernorm");
    name(attention->k_norm, n, "self_attn.key_layernorm");
    attention->norm_after_rope = 1;
    if ((status = expect_text(host, "hidden_act", "silu")) ||
        (status = describe_attention(host, n, attention)) ||
        (status = read_flag(host, "attention_bias", 0, &attention->qkv_bias)))
        return status;
    attention->o_bias = attention->qkv_bias;
    return describe_experts(host, n, layer);
}

static const char *const model_types[] = {"hunyuan_v1_moe", NULL};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("hunyuan_moe", model_types)};
