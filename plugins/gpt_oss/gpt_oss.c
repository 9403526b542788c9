/*
 * GPT-OSS (OpenAI): attention with biases and sinks, every second layer with a window; experts with
 * biases and a clamped activation, whose matrices a checkpoint stores fused, mostly as MXFP4.
 * Facts from transformers' configuration and modeling of model_type "gpt_oss".
 */
#include "describe.h"

#define EMBEDDING "model.embed_tokens"

/* Every second layer from the first on, where layer_types does not tell. */
static awq_status read_window(const awq_host *host, int64_t n, int64_t *window)
{
    const char *none = NULL, *first, *kind = n % 2 == 0 ? "sliding_attention" : "full_attention";
    char key[64];
    awq_status status = host->config_string(host, "layer_types.0", &none, &first);
    snprintf(key, sizeof key, "layer_types.%" PRId64, n);
    int64_t not_there = 0, other; /* an empty list would be read as none */
    if (status == AWQ_OK && first)
        status = host->config_string(host, key, NULL, &kind);
    else if (status == AWQ_OK &&
             host->config_int(host, "layer_types", &not_there, &other) != AWQ_OK)
        status = host->fail(host, "layer_types is not a list with the kind of each layer");
    if (status != AWQ_OK || !strcmp(kind, "full_attention"))
        return status;
    if (strcmp(kind, "sliding_attention"))
        return host->fail(host, "layer_types has a kind that is neither full_attention nor "
                                "sliding_attention");
    return read_size(host, "sliding_window", NULL, window);
}

static awq_status describe_sinks(const awq_host *host, int64_t n, awq_arch_attention *attention)
{
    const int with = 1;
    int bias;
    awq_status status;
    name(attention->q, n, "self_attn.q_proj");
    name(attention->k, n, "self_attn.k_proj");
    name(attention->v, n, "self_attn.v_proj");
    name(attention->o, n, "self_attn.o_proj");
    name(attention->sinks, n, "self_attn.sinks");
    if ((status = read_given_heads(host, attention)) ||
        (status = read_window(host, n, &attention->window)) ||
        (status = host->config_bool(host, "attention_bias", &with, &bias)))
        return status;
    attention->qkv_bias = attention->o_bias = bias;
    return AWQ_OK;
}

/* Without weights on disk config.json tells what they would be: as the hub has them, as
   transformers writes them in BF16, or as the formats with one tensor a matrix. */
static awq_status layout_of_config(const awq_host *host, int32_t *layout)
{
    const char *none = NULL, *method;
    awq_status status =
        host->config_string(host, "quantization_config.quant_method", &none, &method);
    if (status == AWQ_OK)
        *layout = !method                    ? AWQ_EXPERTS_FUSED_TRANSPOSED
                  : !strcmp(method, "mxfp4") ? AWQ_EXPERTS_FUSED_MXFP4
                                             : AWQ_EXPERTS_SEPARATE;
    return status;
}

/* As the hub has it, as transformers writes it, or with one tensor a matrix. */
static awq_status read_layout(const awq_host *host, const char *fused_gate_up, int32_t *layout)
{
    char blocks[AWQ_NAME_BYTES + 8];
    snprintf(blocks, sizeof blocks, "%s_blocks", fused_gate_up);
    if (!host->has_tensor(host, EMBEDDING ".weight")) /* which all checkpoints have */
        return layout_of_config(host, layout);
    *layout = host->has_tensor(host, blocks)          ? AWQ_EXPERTS_FUSED_MXFP4
              : host->has_tensor(host, fused_gate_up) ? AWQ_EXPERTS_FUSED_TRANSPOSED
                                                      : AWQ_EXPERTS_SEPARATE;
    return AWQ_OK;
}

static awq_status read_activation(const awq_host *host, awq_arch_activation *activation)
{
    const double alpha = 1.702, limit = 7;
    awq_status status = host->config_number(host, "swiglu_alpha", &alpha, &activation->alpha);
    if (status == AWQ_OK)
        status = host->config_number(host, "swiglu_limit", &limit, &activation->limit);
    if (status != AWQ_OK)
        return status;
    if (!(activation->alpha > 0 && activation->limit > 0)) /* 0 has another meaning here */
        return host->fail(host, "swiglu_alpha or swiglu_limit is not positive");
    activation->up_offset = 1;
    return AWQ_OK;
}

/* Files have had both names. */
static awq_status read_expert_count(const awq_host *host, int64_t *count)
{
    const int64_t absent = -1;
    int64_t other;
    awq_status status = host->config_int(host, "num_experts", &absent, &other);
    if (status == AWQ_OK)
        status =
            host->config_int(host, "num_local_experts", other == absent ? NULL : &other, count);
    return status == AWQ_OK && *count < 1 ? host->fail(host, "num_local_experts is not positive")
                                          : status;
}

static awq_status describe_experts(const awq_host *host, int64_t n, awq_arch_experts *experts)
{
    awq_status status;
    name(experts->gate, n, "mlp." EXPERT("gate_proj"));
    name(experts->up, n, "mlp." EXPERT("up_proj"));
    name(experts->down, n, "mlp." EXPERT("down_proj"));
    name(experts->fused_gate_up, n, "mlp.experts.gate_up_proj");
    name(experts->fused_down, n, "mlp.experts.down_proj");
    experts->interleaved = 1;
    experts->bias = 1;
    experts->mxfp4 = 1;
    if ((status = read_layout(host, experts->fused_gate_up, &experts->layout)) ||
        (status = read_expert_count(host, &experts->count)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)) ||
        (status = read_size(host, "intermediate_size", NULL, &experts->intermediate_size)))
        return status;
    return read_activation(host, &experts->activation);
}

/* Where config.json is silent, transformers assumes yarn with numbers of its own and a theta of
   150000, and the host no scaling and 10000. */
static awq_status refuse_silent_rope(const awq_host *host)
{
    const char *types[] = {"rope_parameters.rope_type", "rope_parameters.type",
                           "rope_scaling.rope_type", "rope_scaling.type"};
    const char *thetas[] = {"rope_parameters.rope_theta", "rope_scaling.rope_theta", "rope_theta"};
    const char *type = NULL;
    double theta = 0;
    awq_status status = AWQ_OK;
    for (int i = 0; i < 4 && status == AWQ_OK; i++)
        status = host->config_string(host, types[i], &type, &type);
    for (int i = 0; i < 3 && status == AWQ_OK; i++)
        status = host->config_number(host, thetas[i], &theta, &theta);
    if (status != AWQ_OK)
        return status;
    if (!type)
        return host->fail(host, "neither rope_parameters nor rope_scaling has a rope_type; GPT-OSS "
                                "needs it to be said, with all of yarn's parameters");
    if (theta == 0)
        return host->fail(host, "rope_theta is missing, which GPT-OSS needs to be said");
    return AWQ_OK;
}

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    const double default_epsilon = 1e-5;
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
        (status = read_given_heads(host, &attention)) || (status = refuse_silent_rope(host)))
        return status;
    snprintf(model->embedding, AWQ_NAME_BYTES, EMBEDDING);
    snprintf(model->final_norm, AWQ_NAME_BYTES, "model.norm");
    if (!tied)
        snprintf(model->head, AWQ_NAME_BYTES, "lm_head");
    snprintf(model->preferred_format, sizeof model->preferred_format, "mxfp4");
    return host->config_rope(host, attention.head_dim, &model->rope);
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    /* Not AWQ_FOLD_UP: the activation clamps up, and adds to it. */
    layer->folds = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM;
    name(layer->attention_norm.name, n, "input_layernorm");
    name(layer->moe_norm.name, n, "post_attention_layernorm");
    name(layer->router.name, n, "mlp.router");
    layer->router.bias = 1;
    layer->router.scoring = AWQ_SCORING_TOPK_SOFTMAX;
    awq_status status = describe_sinks(host, n, &layer->attention);
    return status == AWQ_OK ? describe_experts(host, n, &layer->experts) : status;
}

static const char *const model_types[] = {"gpt_oss", NULL};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "gpt_oss",
    .version = AWQ_VERSION_STRING,
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
};
