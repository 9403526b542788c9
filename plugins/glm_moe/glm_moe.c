/*
 * GLM-4.5, 4.6 and 4.7 (Z.ai): a half of each head turns, the first layers have a dense MLP, and in
 * the others a router by sigmoid, corrected for the choice, stands beside a shared expert. Facts
 * from transformers' configuration and modeling of model_type "glm4_moe". Prediction layers (MTP)
 * are not described.
 */
#include "describe.h"

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    awq_arch_attention attention = {0};
    int64_t turning = 0;
    awq_status status;
    if ((status = describe_sizes(host, 1e-5, 0, model)) ||
        (status = read_heads(host, &attention)) ||
        (status = read_turning(host, 0.5, attention.head_dim, &turning)))
        return status;
    return host->config_rope(host, turning, &model->rope);
}

static awq_status describe_heads(const awq_host *host, int64_t n, awq_arch_attention *attention)
{
    int32_t norms;
    awq_status status;
    if ((status = describe_attention(host, n, attention)) ||
        (status = read_flag(host, "attention_bias", 0, &attention->qkv_bias)) ||
        (status = read_flag(host, "use_qk_norm", 0, &norms)) || !norms)
        return status;
    name(attention->q_norm, n, "self_attn.q_norm");
    name(attention->k_norm, n, "self_attn.k_norm");
    return AWQ_OK;
}

/* {0, 0} for a single group. */
static awq_status read_groups(const awq_host *host, awq_arch_router *router)
{
    const int64_t one = 1;
    int64_t groups, kept;
    awq_status status;
    if ((status = read_size(host, "n_group", &one, &groups)) ||
        (status = read_size(host, "topk_group", &one, &kept)) || groups == 1)
        return status;
    if (groups > INT32_MAX || kept > groups)
        return host->fail(host, "topk_group is more than n_group");
    router->groups = (int32_t)groups;
    router->groups_kept = (int32_t)kept;
    router->group_score = AWQ_GROUP_TOP2_SUM;
    return AWQ_OK;
}

static awq_status describe_experts(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    const int64_t one = 1;
    int64_t shared;
    awq_arch_experts *experts = &layer->experts;
    awq_status status;
    name(layer->router.name, n, "mlp.gate");
    name(layer->router_correction, n, "mlp.gate.e_score_correction_bias");
    layer->router.scoring = AWQ_SCORING_SIGMOID_TOPK;
    name_experts(host, experts, n);
    name_mlp(&layer->shared, n, "mlp.shared_experts");
    if ((status = read_groups(host, &layer->router)) ||
        (status = read_flag(host, "norm_topk_prob", 1, &layer->router.renormalize)) ||
        (status = read_number(host, "routed_scaling_factor", 1, &layer->router.scaling)) ||
        (status = read_size(host, "n_routed_experts", NULL, &experts->count)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)) ||
        (status = read_size(host, "moe_intermediate_size", NULL, &experts->intermediate_size)) ||
        (status = read_size(host, "n_shared_experts", &one, &shared)))
        return status;
    layer->shared.intermediate_size = shared * experts->intermediate_size;
    return AWQ_OK;
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    const int64_t one = 1;
    int64_t dense;
    awq_status status;
    layer->folds = ALL_FOLDS;
    name_norms(layer, n);
    if ((status = expect_text(host, "hidden_act", "silu")) ||
        (status = describe_heads(host, n, &layer->attention)) ||
        (status = host->config_int(host, "first_k_dense_replace", &one, &dense)))
        return status;
    if (n >= dense)
        return describe_experts(host, n, layer);
    name_mlp(&layer->shared, n, "mlp");
    return read_size(host, "intermediate_size", NULL, &layer->shared.intermediate_size);
}

static const char *const model_types[] = {"glm4_moe", NULL};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("glm_moe", model_types)};
