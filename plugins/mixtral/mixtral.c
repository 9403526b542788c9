/*
 * Mixtral (Mistral AI): every layer has grouped-query attention without biases and a block of
 * experts. Facts from transformers' configuration and modeling of model_type "mixtral".
 */
#include "awq/plugin.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A size, which is at least 1. */
static awq_status read_size(const awq_host *host, const char *key, int64_t *size)
{
    char text[96];
    awq_status status = host->config_int(host, key, NULL, size);
    if (status != AWQ_OK || *size > 0)
        return status;
    snprintf(text, sizeof text, "%s is %" PRId64 ", expected 1 or more", key, *size);
    return host->fail(host, text);
}

static awq_status attention_sizes(const awq_host *host, awq_arch_attention *attention)
{
    int64_t hidden, head_dim;
    awq_status status = read_size(host, "hidden_size", &hidden);
    if (status == AWQ_OK)
        status = read_size(host, "num_attention_heads", &attention->heads);
    if (status != AWQ_OK)
        return status;
    status = host->config_int(host, "num_key_value_heads", &attention->heads, &attention->kv_heads);
    head_dim = hidden / attention->heads;
    if (status == AWQ_OK)
        status = host->config_int(host, "head_dim", &head_dim, &attention->head_dim);
    const int64_t everything = 0;
    if (status == AWQ_OK)
        status = host->config_int(host, "sliding_window", &everything, &attention->window);
    return status;
}

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    const double default_epsilon = 1e-5;
    const int untied = 0;
    int tied = 0;
    awq_arch_attention attention = {0};
    awq_status status = read_size(host, "num_hidden_layers", &model->layer_count);
    if (status == AWQ_OK)
        status = read_size(host, "hidden_size", &model->hidden_size);
    if (status == AWQ_OK)
        status = read_size(host, "vocab_size", &model->vocabulary_size);
    if (status == AWQ_OK)
        status = host->config_number(host, "rms_norm_eps", &default_epsilon, &model->norm_epsilon);
    if (status == AWQ_OK)
        status = host->config_bool(host, "tie_word_embeddings", &untied, &tied);
    if (status == AWQ_OK)
        status = attention_sizes(host, &attention);
    if (status == AWQ_OK)
        status = host->config_rope(host, attention.head_dim, &model->rope);
    snprintf(model->embedding, AWQ_NAME_BYTES, "model.embed_tokens");
    snprintf(model->final_norm, AWQ_NAME_BYTES, "model.norm");
    if (!tied)
        snprintf(model->head, AWQ_NAME_BYTES, "lm_head");
    snprintf(model->preferred_format, sizeof model->preferred_format, "awq");
    return status;
}

static void name(char *out, int64_t layer, const char *module)
{
    snprintf(out, AWQ_NAME_BYTES, "model.layers.%" PRId64 ".%s", layer, module);
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    layer->folds = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM | AWQ_FOLD_UP;
    name(layer->attention_norm.name, n, "input_layernorm");
    name(layer->attention.q, n, "self_attn.q_proj");
    name(layer->attention.k, n, "self_attn.k_proj");
    name(layer->attention.v, n, "self_attn.v_proj");
    name(layer->attention.o, n, "self_attn.o_proj");
    name(layer->moe_norm.name, n, "post_attention_layernorm");
    name(layer->router.name, n, "block_sparse_moe.gate");
    layer->router.scoring = AWQ_SCORING_SOFTMAX_TOPK;
    layer->router.renormalize = 1;
    awq_arch_experts *experts = &layer->experts;
    name(experts->gate, n, "block_sparse_moe.experts." AWQ_EXPERT_PLACEHOLDER ".w1");
    name(experts->up, n, "block_sparse_moe.experts." AWQ_EXPERT_PLACEHOLDER ".w3");
    name(experts->down, n, "block_sparse_moe.experts." AWQ_EXPERT_PLACEHOLDER ".w2");
    name(experts->fused_gate_up, n, "mlp.experts.gate_up_proj");
    name(experts->fused_down, n, "mlp.experts.down_proj");
    experts->layout =
        host->has_tensor(host, experts->fused_gate_up) ? AWQ_EXPERTS_FUSED : AWQ_EXPERTS_SEPARATE;

    const char *silu = "silu", *activation = NULL;
    awq_status status = attention_sizes(host, &layer->attention);
    if (status == AWQ_OK)
        status = host->config_string(host, "hidden_act", &silu, &activation);
    if (status != AWQ_OK)
        return status;
    if (strcmp(activation, silu))
        return host->fail(host, "hidden_act is not silu, the only one Mixtral is known with");
    status = read_size(host, "num_local_experts", &experts->count);
    if (status == AWQ_OK)
        status = read_size(host, "num_experts_per_tok", &experts->per_token);
    if (status == AWQ_OK)
        status = read_size(host, "intermediate_size", &experts->intermediate_size);
    return status;
}

static const char *const model_types[] = {"mixtral", NULL};

/* As transformers 5 calls them in memory, and tools that store what it has. */
static const awq_other_name other_names[] = {{".block_sparse_moe.", ".mlp."},
                                             {".w1", ".gate_proj"},
                                             {".w2", ".down_proj"},
                                             {".w3", ".up_proj"},
                                             {NULL, NULL}};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "mixtral",
    .version = AWQ_VERSION_STRING,
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
    .other_names = other_names,
};
