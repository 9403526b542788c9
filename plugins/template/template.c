/*
 * A starting point for a new architecture: copy this file, and change what your model does
 * differently. As it stands it is a whole plugin, for a made-up model family "demo_moe":
 * Mixtral's kind of attention, with norms of queries and keys in some of the models, and in every
 * layer a block of experts whose modules are named mlp.gate and
 * mlp.experts.E.{gate,up,down}_proj. README.md, one folder up, tells what each member means and
 * what the library checks.
 */
#include "awq/plugin.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Read for the model, which needs head_dim for its rotary embedding, and for each layer. A status
   other than AWQ_OK, which is 0, is handed back as it is: the host has recorded the message. */
static awq_status read_attention(const awq_host *host, awq_arch_attention *attention)
{
    int64_t hidden;
    awq_status status;
    if ((status = host->config_int(host, "hidden_size", NULL, &hidden)) ||
        (status = host->config_int(host, "num_attention_heads", NULL, &attention->heads)))
        return status;
    if (attention->heads < 1)
        return host->fail(host, "num_attention_heads is not positive");
    const int64_t kv_heads = attention->heads, head_dim = hidden / attention->heads, window = 0;
    if ((status = host->config_int(host, "num_key_value_heads", &kv_heads, &attention->kv_heads)) ||
        (status = host->config_int(host, "head_dim", &head_dim, &attention->head_dim)))
        return status;
    return host->config_int(host, "sliding_window", &window, &attention->window);
}

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    const int untied = 0;
    int tied;
    awq_arch_attention attention = {0};
    awq_status status;
    if ((status = host->config_int(host, "num_hidden_layers", NULL, &model->layer_count)) ||
        (status = host->config_int(host, "hidden_size", NULL, &model->hidden_size)) ||
        (status = host->config_int(host, "vocab_size", NULL, &model->vocabulary_size)) ||
        (status = host->config_number(host, "rms_norm_eps", NULL, &model->norm_epsilon)) ||
        (status = host->config_bool(host, "tie_word_embeddings", &untied, &tied)) ||
        (status = read_attention(host, &attention)))
        return status;
    snprintf(model->embedding, AWQ_NAME_BYTES, "model.embed_tokens");
    snprintf(model->final_norm, AWQ_NAME_BYTES, "model.norm");
    if (!tied)
        snprintf(model->head, AWQ_NAME_BYTES, "lm_head");
    return host->config_rope(host, attention.head_dim, &model->rope);
}

/* What this plugin cannot describe it refuses: a wrong description gives a wrong model. */
static awq_status refuse_unknown(const awq_host *host)
{
    const char *silu = "silu", *activation;
    awq_status status = host->config_string(host, "hidden_act", &silu, &activation);
    if (status != AWQ_OK)
        return status;
    if (strcmp(activation, silu))
        return host->fail(host, "hidden_act is not silu");
    if (host->has_tensor(host, "model.layers.0.mlp.experts.0.gate_proj.bias"))
        return host->fail(host, "the experts have biases, which this plugin does not describe");
    return AWQ_OK;
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
    /* In some models; without weights on disk it is described as those that have none. */
    if (host->has_tensor(host, "model.layers.0.self_attn.q_norm.weight")) {
        name(layer->attention.q_norm, n, "self_attn.q_norm");
        name(layer->attention.k_norm, n, "self_attn.k_norm");
    }
    name(layer->moe_norm.name, n, "post_attention_layernorm");
    name(layer->router.name, n, "mlp.gate");
    awq_arch_experts *experts = &layer->experts;
    name(experts->gate, n, "mlp.experts." AWQ_EXPERT_PLACEHOLDER ".gate_proj");
    name(experts->up, n, "mlp.experts." AWQ_EXPERT_PLACEHOLDER ".up_proj");
    name(experts->down, n, "mlp.experts." AWQ_EXPERT_PLACEHOLDER ".down_proj");

    int sum_is_one;
    awq_status status;
    if ((status = refuse_unknown(host)) || (status = read_attention(host, &layer->attention)) ||
        (status = host->config_int(host, "num_experts", NULL, &experts->count)) ||
        (status = host->config_int(host, "num_experts_per_tok", NULL, &experts->per_token)) ||
        (status =
             host->config_int(host, "moe_intermediate_size", NULL, &experts->intermediate_size)) ||
        (status = host->config_bool(host, "norm_topk_prob", NULL, &sum_is_one)))
        return status;
    /* The k weights sum to 1 where the softmax is over the k chosen logits alone. */
    layer->router.scoring = sum_is_one ? AWQ_SCORING_TOPK_SOFTMAX : AWQ_SCORING_SOFTMAX_TOPK;
    return AWQ_OK;
}

static const char *const model_types[] = {"demo_moe", NULL};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "demo",
    .version = "1.0",
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
};
