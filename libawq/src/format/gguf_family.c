/* Which models llama.cpp's graphs compute, and why it does not compute others. */
#include "arch/rope.h"
#include "format/gguf_model.h"

#include <stdio.h>
#include <string.h>

#define MOST_LAYERS 512

static const awq__gguf_family families[] = {
    {.model_type = "mixtral",
     .name = "llama",
     .moe_norm = "ffn_norm",
     .pairs_heads = true,
     .sums_to_one = true},
    {.model_type = "qwen2_moe",
     .name = "qwen2moe",
     .moe_norm = "ffn_norm",
     .has_qkv_bias = true,
     .has_shared = true,
     .needs_head = true,
     .whole_heads = true,
     .expert_width = true},
    {.model_type = "qwen3_moe",
     .name = "qwen3moe",
     .moe_norm = "ffn_norm",
     .sums_to_one = true,
     .has_qk_norms = true,
     .expert_width = true},
    {.model_type = "gpt_oss",
     .name = "gpt-oss",
     .moe_norm = "post_attention_norm",
     .sums_to_one = true,
     .has_qkv_bias = true,
     .has_o_bias = true,
     .has_sinks = true,
     .has_expert_bias = true,
     .clamps = true,
     .has_windows = true,
     .needs_head = true,
     .expert_width = true},
};

const awq__gguf_family *awq__gguf_family_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].name, name))
            return &families[i];
    return NULL;
}

const awq__gguf_family *awq__gguf_family_by_model(const char *model_type)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].model_type, model_type))
            return &families[i];
    return NULL;
}

/* ---- one layer ---- */

void awq__gguf_key(const awq__gguf_family *family, const char *key, char text[AWQ__GGUF_KEY_BYTES])
{
    snprintf(text, AWQ__GGUF_KEY_BYTES, "%s.%s", family->name, key);
}

static const char *wrong_attention(const awq__gguf_family *family, const awq_arch_attention *a,
                                   const awq_arch_model *model)
{
    if ((a->qkv_bias != 0) != family->has_qkv_bias)
        return family->has_qkv_bias ? "q, k and v without biases" : "q, k and v with biases";
    if ((a->o_bias != 0) != family->has_o_bias)
        return family->has_o_bias ? "an o without a bias" : "an o with a bias";
    if ((a->q_norm[0] || a->k_norm[0]) != family->has_qk_norms || a->norm_across_heads)
        return "other norms of queries and keys";
    if ((a->sinks[0] != 0) != family->has_sinks)
        return "attention with sinks, or without";
    if (family->whole_heads && a->heads * a->head_dim != model->hidden_size)
        return "heads that are not as wide as the hidden state, all together";
    if (model->rope.pairs * 2 != a->head_dim)
        return "a rotary embedding of a part of each head";
    return NULL;
}

static bool is_silu(const awq_arch_activation *a)
{
    return (a->alpha == 0 || a->alpha == 1) && a->limit == 0 && a->up_offset == 0;
}

static bool is_clamped(const awq_arch_activation *a)
{
    return a->alpha == 1.702 && a->limit == 7 && a->up_offset == 1;
}

static const char *wrong_experts(const awq__gguf_family *family, const awq_arch_layer *layer)
{
    const awq_arch_experts *x = &layer->experts;
    const awq_arch_router *router = &layer->router;
    bool sums = router->renormalize || router->scoring == AWQ_SCORING_TOPK_SOFTMAX;
    if (!x->count)
        return "a dense MLP in place of experts";
    if (x->count > AWQ__GGUF_MOST_EXPERTS)
        return "more than 1024 experts";
    if (router->scoring == AWQ_SCORING_SIGMOID_TOPK ||
        (router->scaling != 0 && router->scaling != 1))
        return "a router with sigmoids or a factor";
    if (sums != family->sums_to_one)
        return sums ? "weights of experts that are renormalized (norm_topk_prob)"
                    : "weights of experts that are not renormalized (norm_topk_prob)";
    if (!(family->clamps ? is_clamped(&x->activation) : is_silu(&x->activation)))
        return "another activation";
    if ((x->bias != 0) != family->has_expert_bias)
        return "experts with biases, or without";
    if ((layer->shared.intermediate_size > 0) != family->has_shared)
        return family->has_shared ? "no shared expert" : "a shared expert";
    return NULL;
}

/* Keys are of the whole model. */
static const char *wrong_sizes(const awq_arch_layer *first, const awq_arch_layer *layer)
{
    const awq_arch_attention *a = &first->attention, *b = &layer->attention;
    const awq_arch_experts *x = &first->experts, *y = &layer->experts;
    if (a->heads != b->heads || a->kv_heads != b->kv_heads || a->head_dim != b->head_dim)
        return "other heads than layer 0";
    if (x->count != y->count || x->per_token != y->per_token ||
        x->intermediate_size != y->intermediate_size ||
        first->shared.intermediate_size != layer->shared.intermediate_size)
        return "other experts than layer 0";
    return NULL;
}

static const char *wrong_window(const awq__gguf_family *family, const awq_arch_layer *layers,
                                int64_t n)
{
    int64_t expected = family->has_windows && n % 2 == 0 ? layers[0].attention.window : 0;
    if (layers[n].attention.window == expected && (n || !family->has_windows || expected))
        return NULL;
    return family->has_windows ? "a window of attention where others have none, or none"
                               : "a window of attention";
}

static const char *wrong_layer(const awq__gguf_family *family, const awq__arch *arch, int64_t n)
{
    const awq_arch_layer *layer = &arch->layers[n];
    const char *wrong = wrong_attention(family, &layer->attention, &arch->model);
    wrong = wrong ? wrong : wrong_experts(family, layer);
    wrong = wrong ? wrong : wrong_sizes(&arch->layers[0], layer);
    return wrong ? wrong : wrong_window(family, arch->layers, n);
}

/* ---- the model ---- */

static awq_status cannot_have(awq_context *ctx, const awq__arch *arch,
                              const awq__gguf_family *family, const char *what)
{
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: the model has %s, which llama.cpp's %s cannot have, so that GGUF cannot "
                     "say it",
                     arch->config_path, what, family->name);
}

/* The ramp of YaRN is fixed there. */
static awq_status check_rope(awq_context *ctx, const awq__arch *arch,
                             const awq__gguf_family *family)
{
    awq__rope_numbers rope;
    AWQ__CHECK(awq__arch_rope(ctx, arch, &rope));
    if (strcmp(rope.type, "yarn"))
        return AWQ_OK;
    if (rope.beta_fast != 32 || rope.beta_slow != 1)
        return cannot_have(ctx, arch, family, "a beta_fast other than 32 or a beta_slow not 1");
    return rope.positions == (double)(int64_t)rope.positions
               ? AWQ_OK
               : cannot_have(ctx, arch, family, "a broken number of original positions");
}

awq_status awq__gguf_family_of(awq_context *ctx, const awq__arch *arch,
                               const awq__gguf_family **family)
{
    const awq_plugin *plugin = &arch->plugin->table;
    *family = awq__gguf_family_by_model(arch->model_type);
    if (!*family)
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: GGUF is written of mixtral, qwen2_moe, qwen3_moe and gpt_oss, not of "
                         "%s",
                         arch->config_path, arch->model_type);
    if (plugin->route || plugin->activate || arch->model.layer_count > MOST_LAYERS)
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: llama.cpp has neither functions of a plugin nor more than %d layers",
                         arch->config_path, MOST_LAYERS);
    for (int64_t n = 0; n < arch->model.layer_count; n++) {
        const char *wrong = wrong_layer(*family, arch, n);
        if (wrong)
            return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: layer %lld has %s, which llama.cpp's %s cannot have, so that "
                             "GGUF cannot say it",
                             arch->config_path, (long long)n, wrong, (*family)->name);
    }
    return check_rope(ctx, arch, *family);
}
