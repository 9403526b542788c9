/* Key values of a model, from its description and config.json. */
#include "arch/rope.h"
#include "format/gguf_model.h"

#include <string.h>

#define QUANTIZATION_VERSION 2 /* of the block types */

/* What keys are added to, and begin with. */
typedef struct adder {
    awq_context *ctx;
    const awq__arch *arch;
    const awq__gguf_family *family;
    awq__gguf_values *values;
} adder;

static awq_status add_size(const adder *a, const char *key, int64_t size)
{
    char text[AWQ__GGUF_KEY_BYTES];
    awq__gguf_key(a->family, key, text);
    if (size < 0 || size > INT32_MAX)
        return awq__fail(a->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s would be %lld, which GGUF's 32 bits cannot be",
                         a->arch->config_path, text, (long long)size);
    return awq__gguf_add_u32(a->ctx, a->values, text, (uint32_t)size);
}

static awq_status add_number(const adder *a, const char *key, double number)
{
    char text[AWQ__GGUF_KEY_BYTES];
    awq__gguf_key(a->family, key, text);
    return awq__gguf_add_f32(a->ctx, a->values, text, (float)number);
}

static awq_status add_word(const adder *a, const char *key, const char *word)
{
    char text[AWQ__GGUF_KEY_BYTES];
    awq__gguf_key(a->family, key, text);
    return awq__gguf_add_text(a->ctx, a->values, text, word);
}

/* A whole number of config.json that llama.cpp must know. */
static awq_status add_config_size(const adder *a, const char *key, const char *config_key)
{
    int64_t size;
    const cJSON *item = awq__json_at(a->arch->config, config_key);
    if (!awq__json_int(item, &size) || size < 1)
        return awq__fail(a->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s is missing or no positive whole number, which GGUF must say",
                         a->arch->config_path, config_key);
    return add_size(a, key, size);
}

/* ---- rotary embedding ---- */

/* llama.cpp multiplies its attn_factor by what the factor gives. It has betas of its own, which
   awq__gguf_family_of demands. */
static awq_status add_yarn(const adder *a, const awq__rope_numbers *rope)
{
    double attention = rope->attention_factor / awq__yarn_attention_factor(rope->factor);
    AWQ__CHECK(add_size(a, "rope.scaling.original_context_length", (int64_t)rope->positions));
    if (attention != 1)
        AWQ__CHECK(add_number(a, "rope.scaling.attn_factor", attention));
    AWQ__CHECK(add_number(a, "rope.scaling.yarn_beta_fast", rope->beta_fast));
    return add_number(a, "rope.scaling.yarn_beta_slow", rope->beta_slow);
}

static awq_status add_rope(const adder *a)
{
    awq__rope_numbers rope;
    AWQ__CHECK(awq__arch_rope(a->ctx, a->arch, &rope));
    AWQ__CHECK(add_size(a, "rope.dimension_count", a->arch->model.rope.pairs * 2));
    AWQ__CHECK(add_number(a, "rope.freq_base", rope.theta));
    if (!strcmp(rope.type, "default"))
        return AWQ_OK;
    AWQ__CHECK(add_word(a, "rope.scaling.type", rope.type));
    AWQ__CHECK(add_number(a, "rope.scaling.factor", rope.factor));
    return strcmp(rope.type, "yarn") ? AWQ_OK : add_yarn(a, &rope);
}

/* ---- all of it ---- */

static awq_status add_attention(const adder *a)
{
    const awq_arch_attention *attention = &a->arch->layers[0].attention;
    AWQ__CHECK(add_size(a, "attention.head_count", attention->heads));
    AWQ__CHECK(add_size(a, "attention.head_count_kv", attention->kv_heads));
    AWQ__CHECK(add_size(a, "attention.key_length", attention->head_dim));
    AWQ__CHECK(add_size(a, "attention.value_length", attention->head_dim));
    AWQ__CHECK(add_number(a, "attention.layer_norm_rms_epsilon", a->arch->model.norm_epsilon));
    return a->family->has_windows ? add_size(a, "attention.sliding_window", attention->window)
                                  : AWQ_OK;
}

static awq_status add_experts(const adder *a)
{
    const awq_arch_layer *layer = &a->arch->layers[0];
    AWQ__CHECK(add_size(a, "expert_count", layer->experts.count));
    AWQ__CHECK(add_size(a, "expert_used_count", layer->experts.per_token));
    if (a->family->expert_width)
        AWQ__CHECK(add_size(a, "expert_feed_forward_length", layer->experts.intermediate_size));
    return a->family->has_shared
               ? add_size(a, "expert_shared_feed_forward_length", layer->shared.intermediate_size)
               : AWQ_OK;
}

awq_status awq__gguf_add_model(awq_context *ctx, const awq__arch *arch,
                               const awq__gguf_family *family, awq__gguf_values *values)
{
    const adder a = {ctx, arch, family, values};
    AWQ__CHECK(awq__gguf_add_text(ctx, values, AWQ__GGUF_ARCHITECTURE, family->name));
    AWQ__CHECK(awq__gguf_add_text(ctx, values, "general.type", "model"));
    AWQ__CHECK(
        awq__gguf_add_u32(ctx, values, "general.quantization_version", QUANTIZATION_VERSION));
    AWQ__CHECK(add_size(&a, "block_count", arch->model.layer_count));
    AWQ__CHECK(add_size(&a, "embedding_length", arch->model.hidden_size));
    AWQ__CHECK(add_size(&a, "vocab_size", arch->model.vocabulary_size));
    AWQ__CHECK(add_config_size(&a, "context_length", "max_position_embeddings"));
    if (family->expert_width && awq__json_at(arch->config, "intermediate_size"))
        AWQ__CHECK(add_config_size(&a, "feed_forward_length", "intermediate_size"));
    else
        AWQ__CHECK(add_size(&a, "feed_forward_length", arch->layers[0].experts.intermediate_size));
    AWQ__CHECK(add_attention(&a));
    AWQ__CHECK(add_experts(&a));
    return add_rope(&a);
}
