/*
 * MiniMax-M2: every layer has experts alone, behind a router by sigmoid that is corrected for the
 * choice; norms of queries and keys go over all heads, of which a part turns. Facts from
 * transformers' configuration and modeling of model_type "minimax_m2".
 */
#include "describe.h"

#define BLOCK "block_sparse_moe."

/* Releases say rotary_dim, newer files partial_rotary_factor. */
static awq_status read_turning_channels(const awq_host *host, int64_t head_dim, int64_t *channels)
{
    const int64_t absent = 0;
    awq_status status = host->config_int(host, "rotary_dim", &absent, channels);
    return status != AWQ_OK || *channels > 0 ? status : read_turning(host, 1, head_dim, channels);
}

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    awq_arch_attention attention = {0};
    int64_t turning = 0;
    awq_status status;
    if ((status = describe_sizes(host, 1e-6, 0, model)) ||
        (status = read_heads(host, &attention)) || (status = expect_theta(host)) ||
        (status = read_turning_channels(host, attention.head_dim, &turning)))
        return status;
    return host->config_rope(host, turning, &model->rope);
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
    name(layer->router.name, n, BLOCK "gate");
    name(layer->router_correction, n, BLOCK "e_score_correction_bias");
    layer->router.scoring = AWQ_SCORING_SIGMOID_TOPK;
    layer->router.renormalize = 1;
    name(experts->gate, n, BLOCK EXPERT("w1"));
    name(experts->up, n, BLOCK EXPERT("w3"));
    name(experts->down, n, BLOCK EXPERT("w2"));
    if ((status = expect_text(host, "hidden_act", "silu")) ||
        (status = describe_attention(host, n, attention)) ||
        (status = read_size(host, "num_local_experts", NULL, &experts->count)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)))
        return status;
    return read_size(host, "intermediate_size", NULL, &experts->intermediate_size);
}

static const char *const model_types[] = {"minimax_m2", NULL};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("minimax_m2", model_types)};
