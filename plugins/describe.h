/* What the descriptions of many models have in common: sizes, names, and the usual attention. */
#ifndef DESCRIBE_H
#define DESCRIBE_H

#include "awq/plugin.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPERT(part) "experts." AWQ_EXPERT_PLACEHOLDER "." part
#define ALL_FOLDS (AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM | AWQ_FOLD_UP)

/* ---- values of config.json ---- */

/* A size, which is at least 1; fallback NULL: it must be there. */
static inline awq_status read_size(const awq_host *host, const char *key, const int64_t *fallback,
                                   int64_t *size)
{
    char text[160];
    awq_status status = host->config_int(host, key, fallback, size);
    if (status != AWQ_OK || *size > 0)
        return status;
    snprintf(text, sizeof text, "%s is %" PRId64 ", expected 1 or more", key, *size);
    return host->fail(host, text);
}

/* True or false; false where nothing is said. */
static inline awq_status read_flag(const awq_host *host, const char *key, int fallback,
                                   int32_t *flag)
{
    int value;
    awq_status status = host->config_bool(host, key, &fallback, &value);
    if (status == AWQ_OK)
        *flag = value;
    return status;
}

/* A number; the fallback where nothing is said. */
static inline awq_status read_number(const awq_host *host, const char *key, double fallback,
                                     double *number)
{
    return host->config_number(host, key, &fallback, number);
}

/* Refuses a text other than the one that the family is known with, which is that where nothing is
   said, too. */
static inline awq_status expect_text(const awq_host *host, const char *key, const char *expected)
{
    char text[192];
    const char *found;
    awq_status status = host->config_string(host, key, &expected, &found);
    if (status != AWQ_OK || !strcmp(found, expected))
        return status;
    snprintf(text, sizeof text, "%s is %.64s, expected %s", key, found, expected);
    return host->fail(host, text);
}

/* Refuses a model that leaves its rotary base to a default which is not 10000. */
static inline awq_status expect_theta(const awq_host *host)
{
    const double absent = -1;
    double outer, inner = absent;
    awq_status status = host->config_number(host, "rope_theta", &absent, &outer);
    if (status == AWQ_OK)
        status = host->config_number(host, "rope_parameters.rope_theta", &absent, &inner);
    if (status != AWQ_OK || outer > 0 || inner > 0)
        return status;
    return host->fail(host, "rope_theta is missing");
}

/* How much of a head turns: partial_rotary_factor, at the top or in rope_parameters. */
static inline awq_status read_turning(const awq_host *host, double fallback, int64_t head_dim,
                                      int64_t *channels)
{
    double outer, part = 1;
    awq_status status = read_number(host, "partial_rotary_factor", fallback, &outer);
    if (status == AWQ_OK)
        status = read_number(host, "rope_parameters.partial_rotary_factor", outer, &part);
    if (status != AWQ_OK)
        return status;
    if (!(part > 0 && part <= 1))
        return host->fail(host, "partial_rotary_factor is not in (0, 1]");
    *channels = (int64_t)(part * (double)head_dim);
    return AWQ_OK;
}

/* Is layer n in the list mlp_only_layers, whose layers have one dense MLP? */
static inline awq_status is_in_mlp_only_layers(const awq_host *host, int64_t n, int *found)
{
    const int64_t end = INT64_MIN;
    int64_t layers, listed = 0;
    char key[64];
    awq_status status = read_size(host, "num_hidden_layers", NULL, &layers);
    *found = 0;
    for (int64_t i = 0; status == AWQ_OK && listed != end; i++) {
        if (i > layers)
            return host->fail(host, "mlp_only_layers has more members than there are layers");
        snprintf(key, sizeof key, "mlp_only_layers.%" PRId64, i);
        status = host->config_int(host, key, &end, &listed);
        *found |= status == AWQ_OK && listed == n;
    }
    return status;
}

/* ---- names ---- */

static inline void name(char *out, int64_t layer, const char *module)
{
    snprintf(out, AWQ_NAME_BYTES, "model.layers.%" PRId64 ".%s", layer, module);
}

/* BLOCK.gate_proj and so on. */
static inline void name_mlp(awq_arch_shared *mlp, int64_t layer, const char *block)
{
    char module[64];
    char *const names[] = {mlp->gate, mlp->up, mlp->down};
    const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    for (int i = 0; i < 3; i++) {
        snprintf(module, sizeof module, "%s.%s", block, parts[i]);
        name(names[i], layer, module);
    }
}

/* mlp.experts.E.gate_proj and so on, or fused where the checkpoint has that. */
static inline void name_experts(const awq_host *host, awq_arch_experts *experts, int64_t layer)
{
    name(experts->gate, layer, "mlp." EXPERT("gate_proj"));
    name(experts->up, layer, "mlp." EXPERT("up_proj"));
    name(experts->down, layer, "mlp." EXPERT("down_proj"));
    name(experts->fused_gate_up, layer, "mlp.experts.gate_up_proj");
    name(experts->fused_down, layer, "mlp.experts.down_proj");
    experts->layout =
        host->has_tensor(host, experts->fused_gate_up) ? AWQ_EXPERTS_FUSED : AWQ_EXPERTS_SEPARATE;
}

/* The two norms of a layer. */
static inline void name_norms(awq_arch_layer *layer, int64_t n)
{
    name(layer->attention_norm.name, n, "input_layernorm");
    name(layer->moe_norm.name, n, "post_attention_layernorm");
}

/* ---- the usual attention and model ---- */

static inline awq_status read_heads(const awq_host *host, awq_arch_attention *attention)
{
    int64_t hidden;
    awq_status status;
    if ((status = read_size(host, "hidden_size", NULL, &hidden)) ||
        (status = read_size(host, "num_attention_heads", NULL, &attention->heads)) ||
        (status = read_size(host, "num_key_value_heads", &attention->heads, &attention->kv_heads)))
        return status;
    const int64_t head_dim = hidden / attention->heads;
    return read_size(host, "head_dim", &head_dim, &attention->head_dim);
}

/* The same of a family whose default for num_key_value_heads is not the number of heads. */
static inline awq_status read_given_heads(const awq_host *host, awq_arch_attention *attention)
{
    awq_status status = read_size(host, "num_key_value_heads", NULL, &attention->kv_heads);
    return status == AWQ_OK ? read_heads(host, attention) : status;
}

/* self_attn.{q,k,v,o}_proj without biases. */
static inline awq_status describe_attention(const awq_host *host, int64_t n,
                                            awq_arch_attention *attention)
{
    name(attention->q, n, "self_attn.q_proj");
    name(attention->k, n, "self_attn.k_proj");
    name(attention->v, n, "self_attn.v_proj");
    name(attention->o, n, "self_attn.o_proj");
    return read_heads(host, attention);
}

/* All but the rotary embedding. tied: where tie_word_embeddings says nothing. */
static inline awq_status describe_sizes(const awq_host *host, double epsilon, int tied,
                                        awq_arch_model *model)
{
    awq_status status;
    int32_t is_tied;
    if ((status = read_size(host, "num_hidden_layers", NULL, &model->layer_count)) ||
        (status = read_size(host, "hidden_size", NULL, &model->hidden_size)) ||
        (status = read_size(host, "vocab_size", NULL, &model->vocabulary_size)) ||
        (status = read_number(host, "rms_norm_eps", epsilon, &model->norm_epsilon)) ||
        (status = read_flag(host, "tie_word_embeddings", tied, &is_tied)))
        return status;
    snprintf(model->embedding, AWQ_NAME_BYTES, "model.embed_tokens");
    snprintf(model->final_norm, AWQ_NAME_BYTES, "model.norm");
    if (!is_tied)
        snprintf(model->head, AWQ_NAME_BYTES, "lm_head");
    return AWQ_OK;
}

/* With a rotary embedding of whole heads. */
static inline awq_status describe_usual_model(const awq_host *host, double epsilon, int tied,
                                              awq_arch_model *model)
{
    awq_arch_attention attention = {0};
    awq_status status = describe_sizes(host, epsilon, tied, model);
    if (status == AWQ_OK)
        status = read_heads(host, &attention);
    return status == AWQ_OK ? host->config_rope(host, attention.head_dim, &model->rope) : status;
}

#define AWQ_DESCRIBE(plugin_id, plugin_model_types)                                                \
    .magic = AWQ_PLUGIN_MAGIC, .struct_size = sizeof(awq_plugin),                                  \
    .abi_minor = AWQ_PLUGIN_ABI_MINOR, .id = plugin_id, .version = AWQ_VERSION_STRING,             \
    .model_types = plugin_model_types, .describe_model = describe_model,                           \
    .describe_layer = describe_layer

#endif
