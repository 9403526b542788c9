/*
 * Qwen's mixtures of experts of two generations. qwen2_moe: q, k and v have biases, and beside the
 * experts stands a shared one with a gate of its own. qwen3_moe: queries and keys are normed. In
 * both, some layers may have one dense MLP in place of experts. qwen3_vl_moe has a text model that
 * is a qwen3_moe. Facts from transformers' configuration and modeling of these model types.
 */
#include "describe.h"

#include <stdbool.h>

/* Reads into *is the answer to: does the model_type begin so? */
static awq_status is_of_type(const awq_host *host, const char *beginning, int *is)
{
    const char *type;
    awq_status status = host->config_string(host, "model_type", NULL, &type);
    if (status == AWQ_OK)
        *is = !strncmp(type, beginning, strlen(beginning));
    return status;
}

/* Qwen3-VL was released with fused experts the other way round. */
static awq_status read_layout(const awq_host *host, int64_t hidden, awq_arch_experts *experts)
{
    int64_t I = experts->intermediate_size;
    int vision;
    awq_status status = is_of_type(host, "qwen3_vl_moe", &vision);
    if (status != AWQ_OK || !host->has_tensor(host, experts->fused_gate_up))
        return status; /* separate, as without weights on disk */
    bool turned = hidden != I ? host->tensor_size(host, experts->fused_down, 1) == I
                              : host->tensor_size(host, experts->fused_gate_up, 2) == 2 * I;
    experts->layout = vision && turned ? AWQ_EXPERTS_FUSED_TRANSPOSED : AWQ_EXPERTS_FUSED;
    return AWQ_OK;
}

/* ---- attention ---- */

/* Is this a layer with a window, in a qwen2_moe that uses windows if `used`? */
static awq_status is_sliding_qwen2(const awq_host *host, int64_t n, int used, int *sliding)
{
    const int64_t default_window_layers = 28;
    int64_t window_layers;
    const char *none = NULL, *first, *kind;
    char key[64];
    awq_status status = host->config_string(host, "layer_types.0", &none, &first);
    if (status != AWQ_OK)
        return status;
    if (!first) {
        int64_t not_there = 0, other; /* an empty list would be read as none */
        if (host->config_int(host, "layer_types", &not_there, &other) != AWQ_OK)
            return host->fail(host, "layer_types is not a list with the kind of each layer");
        status =
            host->config_int(host, "max_window_layers", &default_window_layers, &window_layers);
        *sliding = status == AWQ_OK && used && n % 2 == 0 && n < window_layers;
        return status;
    }
    snprintf(key, sizeof key, "layer_types.%" PRId64, n);
    if ((status = host->config_string(host, key, NULL, &kind)))
        return status;
    *sliding = !strcmp(kind, "sliding_attention");
    if (!*sliding && strcmp(kind, "full_attention"))
        return host->fail(host, "layer_types has a kind that is neither full_attention nor "
                                "sliding_attention");
    return *sliding && !used
               ? host->fail(host, "layer_types has sliding_attention, but use_sliding_window is "
                                  "not true, so that there is no window")
               : AWQ_OK;
}

static awq_status read_window(const awq_host *host, int64_t n, int qwen3, int64_t *window)
{
    const int unused = 0;
    int used, sliding;
    awq_status status = host->config_bool(host, "use_sliding_window", &unused, &used);
    if (status != AWQ_OK)
        return status;
    if (qwen3)
        sliding = used;
    else if ((status = is_sliding_qwen2(host, n, used, &sliding)))
        return status;
    if (!sliding)
        return AWQ_OK;
    return read_size(host, "sliding_window", NULL, window);
}

static awq_status describe_generation(const awq_host *host, int64_t n, int qwen3,
                                      awq_arch_attention *attention)
{
    const int with = 1, without = 0;
    int bias;
    awq_status status;
    name(attention->q, n, "self_attn.q_proj");
    name(attention->k, n, "self_attn.k_proj");
    name(attention->v, n, "self_attn.v_proj");
    name(attention->o, n, "self_attn.o_proj");
    if (qwen3) {
        name(attention->q_norm, n, "self_attn.q_norm");
        name(attention->k_norm, n, "self_attn.k_norm");
    }
    if ((status = read_given_heads(host, attention)) ||
        (status = read_window(host, n, qwen3, &attention->window)) ||
        (status = qwen3 ? host->config_bool(host, "attention_bias", &without, &bias)
                        : host->config_bool(host, "qkv_bias", &with, &bias)))
        return status;
    attention->qkv_bias = bias;
    attention->o_bias = qwen3 && bias;
    return AWQ_OK;
}

/* ---- experts, or one dense MLP ---- */

/* Newer files call it num_local_experts. */
static awq_status read_expert_count(const awq_host *host, int64_t *count)
{
    const int64_t absent = -1;
    int64_t local;
    awq_status status = host->config_int(host, "num_local_experts", &absent, &local);
    return status == AWQ_OK
               ? host->config_int(host, "num_experts", local == absent ? NULL : &local, count)
               : status;
}

static awq_status has_experts(const awq_host *host, int64_t n, int64_t count, int *sparse)
{
    const int64_t every = 1;
    int64_t step;
    int listed;
    awq_status status;
    *sparse = 0;
    if ((status = host->config_int(host, "decoder_sparse_step", &every, &step)) ||
        (status = is_in_mlp_only_layers(host, n, &listed)))
        return status;
    if (step < 1)
        return host->fail(host, "decoder_sparse_step is not positive");
    *sparse = !listed && count != 0 && (n + 1) % step == 0;
    return AWQ_OK;
}

static awq_status describe_dense(const awq_host *host, int64_t n, awq_arch_shared *mlp)
{
    name(mlp->gate, n, "mlp.gate_proj");
    name(mlp->up, n, "mlp.up_proj");
    name(mlp->down, n, "mlp.down_proj");
    return read_size(host, "intermediate_size", NULL, &mlp->intermediate_size);
}

static awq_status describe_shared(const awq_host *host, int64_t n, awq_arch_shared *shared)
{
    name(shared->gate, n, "mlp.shared_expert.gate_proj");
    name(shared->up, n, "mlp.shared_expert.up_proj");
    name(shared->down, n, "mlp.shared_expert.down_proj");
    name(shared->token_gate, n, "mlp.shared_expert_gate");
    return read_size(host, "shared_expert_intermediate_size", NULL, &shared->intermediate_size);
}

static awq_status describe_experts(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    const int no = 0;
    int64_t hidden;
    int renormalize;
    awq_status status;
    awq_arch_experts *experts = &layer->experts;
    name(layer->router.name, n, "mlp.gate");
    layer->router.scoring = AWQ_SCORING_SOFTMAX_TOPK;
    name(experts->gate, n, "mlp." EXPERT("gate_proj"));
    name(experts->up, n, "mlp." EXPERT("up_proj"));
    name(experts->down, n, "mlp." EXPERT("down_proj"));
    name(experts->fused_gate_up, n, "mlp.experts.gate_up_proj");
    name(experts->fused_down, n, "mlp.experts.down_proj");
    if ((status = read_size(host, "hidden_size", NULL, &hidden)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)) ||
        (status = read_size(host, "moe_intermediate_size", NULL, &experts->intermediate_size)) ||
        (status = read_layout(host, hidden, experts)) ||
        (status = host->config_bool(host, "norm_topk_prob", &no, &renormalize)))
        return status;
    layer->router.renormalize = renormalize;
    return AWQ_OK;
}

/* ---- the two functions of a plugin ---- */

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    const double default_epsilon = 1e-6;
    const int untied = 0;
    int tied;
    awq_arch_attention attention = {0};
    awq_status status;
    if ((status = read_size(host, "num_hidden_layers", NULL, &model->layer_count)) ||
        (status = read_size(host, "hidden_size", NULL, &model->hidden_size)) ||
        (status = read_size(host, "vocab_size", NULL, &model->vocabulary_size)) ||
        (status =
             host->config_number(host, "rms_norm_eps", &default_epsilon, &model->norm_epsilon)) ||
        (status = host->config_bool(host, "tie_word_embeddings", &untied, &tied)) ||
        (status = read_given_heads(host, &attention)))
        return status;
    snprintf(model->embedding, AWQ_NAME_BYTES, "model.embed_tokens");
    snprintf(model->final_norm, AWQ_NAME_BYTES, "model.norm");
    if (!tied)
        snprintf(model->head, AWQ_NAME_BYTES, "lm_head");
    snprintf(model->preferred_format, sizeof model->preferred_format, "compressed-tensors");
    return host->config_rope(host, attention.head_dim, &model->rope);
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    const char *silu = "silu", *activation;
    int qwen3, sparse;
    int64_t count;
    awq_status status;
    layer->folds = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM | AWQ_FOLD_UP;
    name(layer->attention_norm.name, n, "input_layernorm");
    name(layer->moe_norm.name, n, "post_attention_layernorm");
    if ((status = host->config_string(host, "hidden_act", &silu, &activation)))
        return status;
    if (strcmp(activation, silu))
        return host->fail(host, "hidden_act is not silu, the only one that Qwen is known with");
    if ((status = is_of_type(host, "qwen3", &qwen3)) ||
        (status = describe_generation(host, n, qwen3, &layer->attention)) ||
        (status = read_expert_count(host, &count)) ||
        (status = has_experts(host, n, count, &sparse)))
        return status;
    if (!sparse)
        return describe_dense(host, n, &layer->shared);
    layer->experts.count = count;
    if ((status = describe_experts(host, n, layer)))
        return status;
    return qwen3 ? AWQ_OK : describe_shared(host, n, &layer->shared);
}

static const char *const model_types[] = {"qwen2_moe", "qwen3_moe", "qwen3_vl_moe",
                                          "qwen3_vl_moe_text", NULL};

static const awq_wrapped wrapped[] = {
    {"qwen3_vl_moe", "text_config", "model.", "model.language_model."}, {NULL, NULL, NULL, NULL}};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "qwen_moe",
    .version = AWQ_VERSION_STRING,
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
    .wrapped = wrapped,
};
