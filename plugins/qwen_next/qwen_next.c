/*
 * Qwen3-Next and the mixtures of experts of Qwen3.5 and Qwen3.6: three of four layers have a gated
 * delta net, the fourth an attention with an output gate; norms multiply by 1 + weight. The two
 * generations differ in the linears of the delta net. Facts from transformers' configuration and
 * modeling of qwen3_next and qwen3_5_moe; the latter is the text part of a multimodal model.
 */
#include "describe.h"

#define NEXT "qwen3_next"

/* Reads into *is the answer to: is it a Qwen3-Next? */
static awq_status is_next(const awq_host *host, int *is)
{
    const char *type;
    awq_status status = host->config_string(host, "model_type", NULL, &type);
    if (status == AWQ_OK)
        *is = !strcmp(type, NEXT);
    return status;
}

/* ---- the model ---- */

/* Of how many channels of a head the rotary embedding turns pairs. */
static awq_status read_rotated(const awq_host *host, int64_t head_dim, int64_t *rotated)
{
    double usual, factor;
    awq_status status;
    if ((status = read_number(host, "partial_rotary_factor", 0.25, &usual)) ||
        (status = read_number(host, "rope_parameters.partial_rotary_factor", usual, &factor)))
        return status;
    if (!(factor > 0 && factor <= 1))
        return host->fail(host, "partial_rotary_factor is not more than 0 and at most 1");
    *rotated = (int64_t)((double)head_dim * factor);
    return AWQ_OK;
}

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    awq_arch_attention attention = {0};
    int64_t rotated = 0;
    awq_status status;
    if ((status = describe_sizes(host, 1e-6, 0, model)) ||
        (status = read_heads(host, &attention)) ||
        (status = read_rotated(host, attention.head_dim, &rotated)))
        return status;
    model->norms_plus_one = 1;
    return host->config_rope(host, rotated, &model->rope);
}

/* ---- attention, or a delta net ---- */

/* Every full_attention_interval-th layer has an attention, unless layer_types says it. */
static awq_status has_attention(const awq_host *host, int64_t n, int *has)
{
    const int64_t usual = 4;
    const char *none = NULL, *kind;
    int64_t interval;
    char key[64];
    awq_status status;
    snprintf(key, sizeof key, "layer_types.%" PRId64, n);
    if ((status = host->config_string(host, key, &none, &kind)) ||
        (status = read_size(host, "full_attention_interval", &usual, &interval)))
        return status;
    *has = kind ? !strcmp(kind, "full_attention") : (n + 1) % interval == 0;
    return !kind || *has || !strcmp(kind, "linear_attention")
               ? AWQ_OK
               : host->fail(host, "layer_types has a kind that is neither full_attention nor "
                                  "linear_attention");
}

static awq_status describe_gated_attention(const awq_host *host, int64_t n,
                                           awq_arch_attention *attention)
{
    awq_status status = describe_attention(host, n, attention);
    name(attention->q_norm, n, "self_attn.q_norm");
    name(attention->k_norm, n, "self_attn.k_norm");
    attention->output_gate = 1;
    if (status == AWQ_OK)
        status = read_flag(host, "attention_bias", 0, &attention->qkv_bias);
    attention->o_bias = attention->qkv_bias;
    return status;
}

static void name_delta(awq_arch_delta *delta, int64_t n)
{
    name(delta->qkv, n, delta->grouped ? "linear_attn.in_proj_qkvz" : "linear_attn.in_proj_qkv");
    name(delta->b, n, delta->grouped ? "linear_attn.in_proj_ba" : "linear_attn.in_proj_b");
    if (!delta->grouped) {
        name(delta->z, n, "linear_attn.in_proj_z");
        name(delta->a, n, "linear_attn.in_proj_a");
    }
    name(delta->conv, n, "linear_attn.conv1d");
    name(delta->a_log, n, "linear_attn.A_log");
    name(delta->dt_bias, n, "linear_attn.dt_bias");
    name(delta->norm, n, "linear_attn.norm");
    name(delta->out, n, "linear_attn.out_proj");
}

static awq_status describe_delta(const awq_host *host, int64_t n, int next, awq_arch_delta *delta)
{
    const struct {
        const char *key;
        int64_t usual, *size;
    } sizes[] = {{"linear_num_value_heads", 32, &delta->value_heads},
                 {"linear_num_key_heads", 16, &delta->key_heads},
                 {"linear_key_head_dim", 128, &delta->key_dim},
                 {"linear_value_head_dim", 128, &delta->value_dim},
                 {"linear_conv_kernel_dim", 4, &delta->conv_width}};
    awq_status status = AWQ_OK;
    delta->grouped = next;
    name_delta(delta, n);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && status == AWQ_OK; i++)
        status = read_size(host, sizes[i].key, &sizes[i].usual, sizes[i].size);
    return status;
}

/* ---- experts, or one dense MLP ---- */

/* Only a Qwen3-Next may have layers without. */
static awq_status has_experts(const awq_host *host, int64_t n, int next, int *has)
{
    const int64_t every = 1;
    int64_t step = 1;
    int dense = 0;
    awq_status status = AWQ_OK;
    if (next && ((status = read_size(host, "decoder_sparse_step", &every, &step)) ||
                 (status = is_in_mlp_only_layers(host, n, &dense))))
        return status;
    *has = !dense && (n + 1) % step == 0;
    return AWQ_OK;
}

/* Without weights: as the releases have them, which are fused from Qwen3.5 on. */
static void choose_layout(const awq_host *host, int next, awq_arch_experts *experts)
{
    if (!next && !host->has_tensor(host, "model.embed_tokens.weight"))
        experts->layout = AWQ_EXPERTS_FUSED;
}

static awq_status describe_experts(const awq_host *host, int64_t n, int next, awq_arch_layer *layer)
{
    awq_arch_experts *experts = &layer->experts;
    awq_arch_shared *shared = &layer->shared;
    awq_status status;
    name(layer->router.name, n, "mlp.gate");
    name_experts(host, experts, n);
    choose_layout(host, next, experts);
    name_mlp(shared, n, "mlp.shared_expert");
    name(shared->token_gate, n, "mlp.shared_expert_gate");
    layer->router.renormalize = 1;
    if ((status = read_size(host, "num_experts", NULL, &experts->count)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)) ||
        (status = read_size(host, "moe_intermediate_size", NULL, &experts->intermediate_size)) ||
        (status =
             read_size(host, "shared_expert_intermediate_size", NULL, &shared->intermediate_size)))
        return status;
    return next ? read_flag(host, "norm_topk_prob", 1, &layer->router.renormalize) : AWQ_OK;
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    int next, attention, sparse;
    awq_status status;
    name_norms(layer, n);
    if ((status = is_next(host, &next)) || (status = expect_text(host, "hidden_act", "silu")) ||
        (status = has_attention(host, n, &attention)) ||
        (status = has_experts(host, n, next, &sparse)))
        return status;
    layer->folds = attention ? ALL_FOLDS : (ALL_FOLDS & ~AWQ_FOLD_VALUE) | AWQ_FOLD_DELTA;
    status = attention ? describe_gated_attention(host, n, &layer->attention)
                       : describe_delta(host, n, next, &layer->delta);
    if (status != AWQ_OK)
        return status;
    if (sparse)
        return describe_experts(host, n, next, layer);
    name_mlp(&layer->shared, n, "mlp");
    return read_size(host, "intermediate_size", NULL, &layer->shared.intermediate_size);
}

static const char *const model_types[] = {NEXT, "qwen3_5_moe", "qwen3_5_moe_text", NULL};
static const awq_wrapped wrapped[] = {
    {"qwen3_5_moe", "text_config", "model.", "model.language_model."}, {0}};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("qwen_next", model_types), .wrapped = wrapped};
