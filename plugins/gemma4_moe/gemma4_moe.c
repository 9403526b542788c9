/*
 * Gemma 4 with experts (Google), its text model: a norm before and after each block, an MLP beside
 * the experts with norms of its own, and a router that reads the residual stream. Layers with a
 * window and those with all keys differ in heads and rotary embedding. Facts from transformers'
 * configuration and modeling of model_types "gemma4" and "gemma4_text".
 */
#include "describe.h"

#include <math.h>

/* Variants that are not described. */
static awq_status refuse_variants(const awq_host *host)
{
    const int64_t none = 0;
    const char *no = "", *bidirectional;
    int64_t inputs, shared;
    int32_t experts;
    awq_status status;
    if ((status = expect_text(host, "hidden_activation", "gelu_pytorch_tanh")) ||
        (status = read_flag(host, "enable_moe_block", 0, &experts)) ||
        (status = host->config_int(host, "hidden_size_per_layer_input", NULL, &inputs)) ||
        (status = host->config_int(host, "num_kv_shared_layers", &none, &shared)) ||
        (status = host->config_string(host, "use_bidirectional_attention", &no, &bidirectional)))
        return status;
    if (!experts)
        return host->fail(host, "enable_moe_block is not true: the model has no experts");
    if (inputs || shared)
        return host->fail(host, "hidden_size_per_layer_input or num_kv_shared_layers is not 0, "
                                "which the plugin does not describe");
    return strcmp(bidirectional, "all") ? AWQ_OK : host->fail(host, "its attention is not causal");
}

/* A size of layer n, one with all keys: releases have it by one key for all of these, newer files
   by layer. */
static awq_status read_global(const awq_host *host, int64_t n, const char *key,
                              const char *release_key, int64_t usual, int64_t *size)
{
    char path[96];
    int64_t of_release;
    awq_status status = read_size(host, release_key, &usual, &of_release);
    snprintf(path, sizeof path, "per_layer_config.%" PRId64 ".%s", n, key);
    return status == AWQ_OK ? read_size(host, path, &of_release, size) : status;
}

static awq_status read_global_head_dim(const awq_host *host, int64_t n, int64_t *head_dim)
{
    return read_global(host, n, "head_dim", "global_head_dim", 512, head_dim);
}

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    int64_t head_dim, global = 0;
    awq_status status;
    if ((status = refuse_variants(host)) || (status = describe_sizes(host, 1e-6, 1, model)) ||
        (status = read_size(host, "head_dim", NULL, &head_dim)) ||
        (status = read_global_head_dim(host, model->layer_count - 1, &global)) ||
        (status = host->config_rope_at(host, "rope_parameters.sliding_attention", head_dim,
                                       &model->rope)) ||
        (status = host->config_rope_at(host, "rope_parameters.full_attention", global,
                                       &model->other_ropes[0])))
        return status;
    model->embedding_multiplier = sqrt((double)model->hidden_size);
    return read_number(host, "final_logit_softcapping", 0, &model->logits_cap);
}

/* ---- attention ---- */

/* Every sixth layer where nothing is said, and the last one in any case. */
static awq_status is_global(const awq_host *host, int64_t n, int *global)
{
    const char *usual = n % 6 == 5 ? "full_attention" : "sliding_attention", *kind;
    int64_t layers;
    char key[64];
    awq_status status;
    snprintf(key, sizeof key, "layer_types.%" PRId64, n);
    if ((status = read_size(host, "num_hidden_layers", NULL, &layers)) ||
        (status = host->config_string(host, key, &usual, &kind)))
        return status;
    *global = !strcmp(kind, "full_attention") || n == layers - 1;
    return *global || !strcmp(kind, "sliding_attention")
               ? AWQ_OK
               : host->fail(host, "layer_types has a kind that is neither full_attention nor "
                                  "sliding_attention");
}

/* Layers with all keys may have fewer key heads, whose outputs are the values too. */
static awq_status describe_global(const awq_host *host, int64_t n, awq_arch_attention *attention)
{
    awq_status status;
    attention->rope = 1;
    if ((status = read_flag(host, "attention_k_eq_v", 0, &attention->value_is_key)) ||
        (status = read_global_head_dim(host, n, &attention->head_dim)) || !attention->value_is_key)
        return status;
    attention->v[0] = 0;
    return read_global(host, n, "num_key_value_heads", "num_global_key_value_heads",
                       attention->kv_heads, &attention->kv_heads);
}

static awq_status describe_heads(const awq_host *host, int64_t n, awq_arch_attention *attention)
{
    const int64_t usual = 512;
    int global;
    awq_status status;
    name(attention->q_norm, n, "self_attn.q_norm");
    name(attention->k_norm, n, "self_attn.k_norm");
    attention->norm_without_weight = AWQ_BARE_NORM_V;
    attention->logit_scale = 1;
    if ((status = describe_attention(host, n, attention)) ||
        (status = read_flag(host, "attention_bias", 0, &attention->qkv_bias)) ||
        (status = is_global(host, n, &global)))
        return status;
    attention->o_bias = attention->qkv_bias;
    return global ? describe_global(host, n, attention)
                  : read_size(host, "sliding_window", &usual, &attention->window);
}

/* ---- experts, and the MLP beside them ---- */

static void name_parts(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_experts *experts = &layer->experts;
    name(layer->attention_norm.name, n, "input_layernorm");
    name(layer->attention_post_norm.name, n, "post_attention_layernorm");
    name(layer->moe_norm.name, n, "pre_feedforward_layernorm_2");
    name(layer->experts_post_norm.name, n, "post_feedforward_layernorm_2");
    name(layer->shared_norm.name, n, "pre_feedforward_layernorm");
    name(layer->shared_post_norm.name, n, "post_feedforward_layernorm_1");
    name(layer->moe_post_norm.name, n, "post_feedforward_layernorm");
    name(layer->layer_scalar, n, "layer_scalar");
    name(layer->router.name, n, "router.proj");
    name(layer->router_input_scale, n, "router.scale");
    name(layer->router_expert_scale, n, "router.per_expert_scale");
    name(experts->gate, n, EXPERT("gate_proj"));
    name(experts->up, n, EXPERT("up_proj"));
    name(experts->down, n, EXPERT("down_proj"));
    name(experts->fused_gate_up, n, "experts.gate_up_proj");
    name(experts->fused_down, n, "experts.down_proj");
    experts->layout = host->has_tensor(host, layer->layer_scalar) &&
                              !host->has_tensor(host, experts->fused_gate_up)
                          ? AWQ_EXPERTS_SEPARATE
                          : AWQ_EXPERTS_FUSED;
    name_mlp(&layer->shared, n, "mlp");
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_experts *experts = &layer->experts;
    awq_arch_shared *shared = &layer->shared;
    awq_status status;
    /* Values are normed, so that they cannot be divided; the router reads none of the norms. */
    layer->folds =
        AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_EXPERT_NORM | AWQ_FOLD_SHARED_NORM | AWQ_FOLD_UP;
    name_parts(host, n, layer);
    layer->router.scoring = AWQ_SCORING_SOFTMAX_TOPK;
    layer->router.renormalize = 1;
    layer->router.reads_residual = 1;
    experts->activation.kind = shared->activation.kind = AWQ_ACTIVATION_GELU_TANH;
    if ((status = describe_heads(host, n, &layer->attention)) ||
        (status = read_size(host, "num_experts", NULL, &experts->count)) ||
        (status = read_size(host, "top_k_experts", NULL, &experts->per_token)) ||
        (status = read_size(host, "moe_intermediate_size", NULL, &experts->intermediate_size)))
        return status;
    return read_size(host, "intermediate_size", NULL, &shared->intermediate_size);
}

static const char *const model_types[] = {"gemma4", "gemma4_text", NULL};

static const awq_wrapped wrapped[] = {{"gemma4", "text_config", "model.", "model.language_model."},
                                      {NULL, NULL, NULL, NULL}};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("gemma4_moe", model_types), .wrapped = wrapped};
