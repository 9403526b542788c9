/* A config.json from the key values of a GGUF file, as transformers would have written it. */
#include "arch/rope.h"
#include "format/gguf_model.h"

#include <stdio.h>
#include <string.h>

/* What is read, and the config that it becomes. */
typedef struct reader {
    awq_context *ctx;
    const awq__gguf *gguf;
    const awq__gguf_family *family;
    awq__json_builder builder;
    cJSON *config;
} reader;

static const awq__gguf_value *find(const reader *r, const char *key)
{
    char text[AWQ__GGUF_KEY_BYTES];
    awq__gguf_key(r->family, key, text);
    return awq__gguf_find(r->gguf, text);
}

static awq_status missing(const reader *r, const char *key)
{
    return awq__fail(r->ctx, AWQ_ERROR_FORMAT, "%s: the key %s.%s is missing",
                     awq__gguf_path(r->gguf), r->family->name, key);
}

/* A size; `absent` where the key is not there, and a failure where that is negative. Of a list, for
   files that have one number a layer, the first. */
static awq_status read_size(const reader *r, const char *key, int64_t absent, int64_t *size)
{
    const awq__gguf_value *value = find(r, key);
    *size = absent;
    if (value)
        return awq__gguf_integer(r->ctx, value, 0, size);
    return absent < 0 ? missing(r, key) : AWQ_OK;
}

static awq_status copy_size(reader *r, const char *key, int64_t absent, const char *name)
{
    int64_t size;
    AWQ__CHECK(read_size(r, key, absent, &size));
    awq__json_add_number(&r->builder, r->config, name, (double)size);
    return AWQ_OK;
}

/* A number, where the key is there. */
static awq_status copy_number(reader *r, const char *key, cJSON *to, const char *name)
{
    double number;
    const awq__gguf_value *value = find(r, key);
    if (!value)
        return AWQ_OK;
    AWQ__CHECK(awq__gguf_number(r->ctx, value, 0, &number));
    awq__json_add_number(&r->builder, to, name, number);
    return AWQ_OK;
}

/* ---- parts ---- */

static awq_status copy_attention(reader *r)
{
    int64_t hidden, heads;
    AWQ__CHECK(read_size(r, "embedding_length", -1, &hidden));
    AWQ__CHECK(read_size(r, "attention.head_count", -1, &heads));
    if (heads < 1)
        return missing(r, "attention.head_count");
    AWQ__CHECK(copy_size(r, "embedding_length", -1, "hidden_size"));
    AWQ__CHECK(copy_size(r, "attention.head_count", -1, "num_attention_heads"));
    AWQ__CHECK(copy_size(r, "attention.head_count_kv", heads, "num_key_value_heads"));
    AWQ__CHECK(copy_size(r, "attention.key_length", hidden / heads, "head_dim"));
    if (r->family->has_windows)
        AWQ__CHECK(copy_size(r, "attention.sliding_window", -1, "sliding_window"));
    awq__json_add_bool(&r->builder, r->config, "attention_bias", r->family->has_o_bias);
    if (!find(r, "attention.layer_norm_rms_epsilon"))
        return missing(r, "attention.layer_norm_rms_epsilon");
    return copy_number(r, "attention.layer_norm_rms_epsilon", r->config, "rms_norm_eps");
}

/* Both names that transformers has had for the number of experts. */
static awq_status copy_experts(reader *r)
{
    int64_t width;
    AWQ__CHECK(read_size(r, "feed_forward_length", 0, &width));
    AWQ__CHECK(read_size(r, "expert_feed_forward_length", width, &width));
    AWQ__CHECK(copy_size(r, "expert_count", -1, "num_local_experts"));
    AWQ__CHECK(copy_size(r, "expert_count", -1, "num_experts"));
    AWQ__CHECK(copy_size(r, "expert_used_count", -1, "num_experts_per_tok"));
    awq__json_add_number(&r->builder, r->config, "moe_intermediate_size", (double)width);
    awq__json_add_number(&r->builder, r->config, "intermediate_size", (double)width);
    awq__json_add_bool(&r->builder, r->config, "norm_topk_prob", r->family->sums_to_one);
    return r->family->has_shared ? copy_size(r, "expert_shared_feed_forward_length", width,
                                             "shared_expert_intermediate_size")
                                 : AWQ_OK;
}

/* llama.cpp's attn_factor multiplies what the factor gives. Other tools say the product. */
static awq_status copy_attention_factor(reader *r, cJSON *rope)
{
    double attention, factor;
    const awq__gguf_value *value = find(r, "rope.scaling.attn_factor");
    const awq__gguf_value *scaling = find(r, "rope.scaling.factor");
    if (!value || !scaling)
        return copy_number(r, "rope.scaling.yarn_attn_factor", rope, "attention_factor");
    AWQ__CHECK(awq__gguf_number(r->ctx, value, 0, &attention));
    AWQ__CHECK(awq__gguf_number(r->ctx, scaling, 0, &factor));
    awq__json_add_number(&r->builder, rope, "attention_factor",
                         attention * awq__yarn_attention_factor(factor));
    return AWQ_OK;
}

static awq_status copy_scaling(reader *r, cJSON *rope)
{
    static const struct number {
        const char *key, *name;
    } numbers[] = {
        {"rope.scaling.factor", "factor"},
        {"rope.scaling.original_context_length", "original_max_position_embeddings"},
        {"rope.scaling.yarn_beta_fast", "beta_fast"},
        {"rope.scaling.yarn_beta_slow", "beta_slow"},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        AWQ__CHECK(copy_number(r, numbers[i].key, rope, numbers[i].name));
    return copy_attention_factor(r, rope);
}

static awq_status copy_rope(reader *r)
{
    char name[32] = "default";
    awq__gguf_string text;
    const awq__gguf_value *type = find(r, "rope.scaling.type");
    cJSON *rope = awq__json_add_object(&r->builder, r->config, "rope_parameters");
    if (type) {
        AWQ__CHECK(awq__gguf_text(r->ctx, type, &text));
        snprintf(name, sizeof name, "%.*s", (int)text.bytes, text.data);
    }
    bool plain = !strcmp(name, "none");
    awq__json_add_text(&r->builder, rope, "rope_type", plain ? "default" : name);
    if (find(r, "rope.freq_base"))
        AWQ__CHECK(copy_number(r, "rope.freq_base", rope, "rope_theta"));
    else
        awq__json_add_number(&r->builder, rope, "rope_theta", 10000);
    return plain || !strcmp(name, "default") ? AWQ_OK : copy_scaling(r, rope);
}

static awq_status copy_vocabulary(reader *r)
{
    const awq__gguf_tensor *embedding = awq__gguf_find_tensor(r->gguf, "token_embd.weight");
    if (!embedding || embedding->rank != 2)
        return awq__fail(r->ctx, AWQ_ERROR_FORMAT, "%s: token_embd.weight is missing or no matrix",
                         awq__gguf_path(r->gguf));
    awq__json_add_number(&r->builder, r->config, "vocab_size", (double)embedding->shape[0]);
    awq__json_add_bool(&r->builder, r->config, "tie_word_embeddings",
                       !awq__gguf_find_tensor(r->gguf, "output.weight"));
    return AWQ_OK;
}

/* ---- all of it ---- */

static awq_status find_family(awq_context *ctx, const awq__gguf *gguf,
                              const awq__gguf_family **family)
{
    char name[64];
    awq__gguf_string text;
    const awq__gguf_value *value = awq__gguf_find(gguf, AWQ__GGUF_ARCHITECTURE);
    if (!value)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: the key " AWQ__GGUF_ARCHITECTURE " is missing",
                         awq__gguf_path(gguf));
    AWQ__CHECK(awq__gguf_text(ctx, value, &text));
    snprintf(name, sizeof name, "%.*s", (int)text.bytes, text.data);
    *family = awq__gguf_family_by_name(name);
    return *family ? AWQ_OK
                   : awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                               "%s: " AWQ__GGUF_ARCHITECTURE " is \"%s\", but only llama (with "
                               "experts), qwen2moe, qwen3moe and gpt-oss can be read",
                               awq__gguf_path(gguf), name);
}

/* Each layer has tensors, and each expert is listed: numbers beyond what llama.cpp has are none of
   a model. */
static awq_status check_counts(const reader *r)
{
    int64_t layers, experts;
    AWQ__CHECK(read_size(r, "block_count", -1, &layers));
    AWQ__CHECK(read_size(r, "expert_count", -1, &experts));
    if (layers >= 1 && layers <= (int64_t)awq__gguf_count(r->gguf) && experts >= 1 &&
        experts <= AWQ__GGUF_MOST_EXPERTS)
        return AWQ_OK;
    return awq__fail(r->ctx, AWQ_ERROR_FORMAT,
                     "%s: %lld layers of %lld experts, expected no more layers than the %zu "
                     "tensors, and 1 to %d experts",
                     awq__gguf_path(r->gguf), (long long)layers, (long long)experts,
                     awq__gguf_count(r->gguf), AWQ__GGUF_MOST_EXPERTS);
}

static awq_status copy_all(reader *r)
{
    AWQ__CHECK(check_counts(r));
    awq__json_add_text(&r->builder, r->config, "model_type", r->family->model_type);
    awq__json_add_text(&r->builder, r->config, "dtype", "float32");
    AWQ__CHECK(copy_size(r, "block_count", -1, "num_hidden_layers"));
    AWQ__CHECK(copy_size(r, "context_length", 0, "max_position_embeddings"));
    AWQ__CHECK(copy_attention(r));
    AWQ__CHECK(copy_experts(r));
    AWQ__CHECK(copy_rope(r));
    AWQ__CHECK(copy_vocabulary(r));
    return awq__json_built(r->ctx, &r->builder, "config.json");
}

awq_status awq__gguf_config(awq_context *ctx, const awq__gguf *gguf,
                            const awq__gguf_family **family, cJSON **config)
{
    reader r = {.ctx = ctx, .gguf = gguf};
    *config = NULL;
    AWQ__CHECK(find_family(ctx, gguf, family));
    r.family = *family;
    r.config = awq__json_root(&r.builder);
    awq_status status = copy_all(&r);
    if (status == AWQ_OK)
        *config = r.config;
    else
        cJSON_Delete(r.config);
    return status;
}
