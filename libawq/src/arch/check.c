/* A plugin is other people's code: what it says is checked before anything is built on it. */
#include "arch/arch.h"
#include "compute/compute.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_LAYERS 65536
#define MAX_SIZE ((int64_t)1 << 24) /* of any dimension */
#define MAX_EXPERTS 65536
#define MAX_PER_TOKEN 256
#define NUMBER_DIGITS 5 /* of the last expert's number */
#define SUFFIX_BYTES 7  /* "_blocks" and "_scales", which are put behind a fused name */
#define MXFP4_BLOCK 32

typedef struct checker {
    awq_context *ctx;
    const char *plugin;
    int64_t layer; /* -1: the model */
    awq_status status;
} checker;

static void refuse(checker *c, const char *what, const char *found, const char *expected)
{
    if (c->status != AWQ_OK)
        return;
    if (c->layer < 0)
        c->status = awq__fail(c->ctx, AWQ_ERROR_PLUGIN, "plugin %s: %s is %s, expected %s",
                              c->plugin, what, found, expected);
    else
        c->status =
            awq__fail(c->ctx, AWQ_ERROR_PLUGIN, "plugin %s: layer %lld: %s is %s, expected %s",
                      c->plugin, (long long)c->layer, what, found, expected);
}

static void check_range(checker *c, const char *what, int64_t value, int64_t low, int64_t high)
{
    if (value >= low && value <= high)
        return;
    char found[32], expected[64];
    snprintf(found, sizeof found, "%lld", (long long)value);
    snprintf(expected, sizeof expected, "%lld to %lld", (long long)low, (long long)high);
    refuse(c, what, found, expected);
}

static void check_finite(checker *c, const char *what, double value)
{
    if (!(value >= 0 && value < INFINITY))
        refuse(c, what, "negative or not finite", "a finite number");
}

static void check_name(checker *c, const char *what, const char *name, int placeholders)
{
    if (!memchr(name, 0, AWQ_NAME_BYTES)) {
        refuse(c, what, "a name without an end", "a name shorter than AWQ_NAME_BYTES");
        return;
    }
    if (!*name)
        refuse(c, what, "empty", "a module name");
    if (placeholders && strlen(name) + NUMBER_DIGITS >= AWQ_NAME_BYTES)
        refuse(c, what, "too long", "room for an expert's number");
    int found = 0;
    for (const char *at = name; (at = strstr(at, AWQ_EXPERT_PLACEHOLDER)); at++)
        found++;
    if (found != placeholders)
        refuse(c, what, name,
               placeholders ? "one " AWQ_EXPERT_PLACEHOLDER " in it"
                            : "no " AWQ_EXPERT_PLACEHOLDER " in it");
}

static void check_optional_name(checker *c, const char *what, const char *name)
{
    if (*name)
        check_name(c, what, name, 0);
}

static void check_fused_name(checker *c, const char *what, const char *name)
{
    check_name(c, what, name, 0);
    if (c->status == AWQ_OK && strlen(name) + SUFFIX_BYTES >= AWQ_NAME_BYTES)
        refuse(c, what, "too long", "room for _blocks and _scales");
}

/* Nonzero is true, but what is neither 0 nor 1 was most likely meant for another member. */
static void check_flag(checker *c, const char *what, int32_t value)
{
    check_range(c, what, value, 0, 1);
}

static void check_reserved(checker *c, const char *what, const uint64_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (words[i])
            refuse(c, what, "not zero in its reserved space", "zeros");
}

static void check_rope(checker *c, const char *what, const awq_rope *rope)
{
    char member[64];
    snprintf(member, sizeof member, "%s.pairs", what);
    check_range(c, member, rope->pairs, 0, AWQ_ROPE_MAX_PAIRS);
    if (c->status != AWQ_OK)
        return;
    snprintf(member, sizeof member, "%s.attention_factor", what);
    check_finite(c, member, rope->attention_factor);
    if (rope->pairs && rope->attention_factor == 0) /* would clear every query and key */
        refuse(c, member, "0", "more than 0 where there are pairs");
    snprintf(member, sizeof member, "%s.inverse_frequency", what);
    for (int64_t i = 0; i < rope->pairs; i++)
        check_finite(c, member, rope->inverse_frequency[i]);
}

static void check_preferred_format(checker *c, const awq_arch_model *model)
{
    const char *name = model->preferred_format;
    const char *known[] = {"", "awq", "compressed-tensors", "mxfp4"};
    if (!memchr(name, 0, sizeof model->preferred_format)) {
        refuse(c, "preferred_format", "a text without an end", "a shorter one");
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i]))
            return;
    refuse(c, "preferred_format", name, "awq, compressed-tensors, mxfp4 or nothing");
}

awq_status awq__check_model(awq_context *ctx, const char *plugin, const awq_arch_model *model)
{
    checker c = {.ctx = ctx, .plugin = plugin, .layer = -1, .status = AWQ_OK};
    check_range(&c, "layer_count", model->layer_count, 1, MAX_LAYERS);
    check_range(&c, "hidden_size", model->hidden_size, 1, MAX_SIZE);
    check_range(&c, "vocabulary_size", model->vocabulary_size, 1, MAX_SIZE);
    check_finite(&c, "norm_epsilon", model->norm_epsilon);
    check_rope(&c, "rope", &model->rope);
    for (int i = 0; i < AWQ_OTHER_ROPES; i++)
        check_rope(&c, "other_ropes", &model->other_ropes[i]);
    check_name(&c, "embedding", model->embedding, 0);
    check_name(&c, "final_norm", model->final_norm, 0);
    check_optional_name(&c, "head", model->head);
    check_preferred_format(&c, model);
    check_flag(&c, "norms_plus_one", model->norms_plus_one);
    check_finite(&c, "embedding_multiplier", model->embedding_multiplier);
    check_finite(&c, "logits_multiplier", model->logits_multiplier);
    check_finite(&c, "logits_cap", model->logits_cap);
    return c.status;
}

/* What minor 2 has brought. */
static void check_variant(checker *c, const awq_arch_model *model, const awq_arch_layer *layer)
{
    const awq_arch_attention *a = &layer->attention;
    int64_t rotated = awq__arch_has_latents(layer) ? layer->latent.rope_dim : a->head_dim;
    const int32_t bare = AWQ_BARE_NORM_Q | AWQ_BARE_NORM_K | AWQ_BARE_NORM_V;
    check_finite(c, "attention.logit_scale", a->logit_scale);
    check_range(c, "attention.chunk", a->chunk, 0, INT64_MAX);
    check_finite(c, "attention.clip", a->clip);
    check_finite(c, "attention.temperature_floor", a->temperature_floor);
    check_finite(c, "attention.temperature_scale", a->temperature_scale);
    check_range(c, "attention.rope", a->rope, -1, AWQ_OTHER_ROPES);
    check_flag(c, "attention.adjacent_pairs", a->adjacent_pairs);
    check_flag(c, "attention.norm_after_rope", a->norm_after_rope);
    check_flag(c, "attention.value_is_key", a->value_is_key);
    check_range(c, "attention.norm_without_weight", a->norm_without_weight, 0, bare);
    if (a->q_norm[0] && (a->norm_without_weight & (AWQ_BARE_NORM_Q | AWQ_BARE_NORM_K)))
        refuse(c, "attention.norm_without_weight", "of q or k beside q_norm and k_norm", "of v");
    if (a->window && a->chunk)
        refuse(c, "attention.window", "more than 0 beside a chunk", "0");
    if (c->status != AWQ_OK || a->rope < 0)
        return;
    const awq_rope *rope = a->rope ? &model->other_ropes[a->rope - 1] : &model->rope;
    if (a->rope && !rope->pairs)
        refuse(c, "attention.rope", "one of the other_ropes that is not there", "one that is");
    if (2 * rope->pairs > rotated)
        refuse(c, "attention.head_dim", "too small for rope.pairs", "at least twice as much");
}

/* Names that belong to a part which is there, or is not. */
static void check_name_if(checker *c, bool there, const char *what, const char *name)
{
    if (there)
        check_name(c, what, name, 0);
    else if (name[0])
        refuse(c, what, "a name", "none in this kind of attention");
}

static void check_latent(checker *c, const awq_arch_layer *layer)
{
    const awq_arch_attention *attention = &layer->attention;
    const awq_arch_latent *latent = &layer->latent;
    bool there = awq__arch_has_latents(layer), both = there && latent->q_rank;
    check_range(c, "latent.kv_rank", latent->kv_rank, 0, MAX_SIZE);
    check_range(c, "latent.q_rank", latent->q_rank, 0, there ? MAX_SIZE : 0);
    check_name_if(c, there, "latent.kv_a", latent->kv_a);
    check_name_if(c, there, "latent.kv_a_norm", latent->kv_a_norm);
    check_name_if(c, there, "latent.kv_b", latent->kv_b);
    check_name_if(c, both, "latent.q_a", latent->q_a);
    check_name_if(c, both, "latent.q_a_norm", latent->q_a_norm);
    check_name_if(c, both, "latent.q_b", latent->q_b);
    check_finite(c, "latent.norm_epsilon", latent->norm_epsilon);
    check_flag(c, "latent.a_bias", latent->a_bias);
    check_reserved(c, "latent", latent->reserved, 8);
    if (latent->reserved_flag)
        refuse(c, "latent", "not zero in its reserved space", "zeros");
    if (!there || c->status != AWQ_OK)
        return;
    check_range(c, "latent.nope_dim", latent->nope_dim, 1, attention->head_dim);
    check_range(c, "latent.rope_dim", latent->rope_dim, 1, attention->head_dim);
    check_range(c, "latent.value_dim", latent->value_dim, 1, 65536);
    check_range(c, "attention.head_dim, nope_dim + rope_dim", attention->head_dim,
                latent->nope_dim + latent->rope_dim, latent->nope_dim + latent->rope_dim);
    check_range(c, "attention.kv_heads, heads", attention->kv_heads, attention->heads,
                attention->heads);
    check_range(c, "heads * (nope_dim + value_dim)",
                attention->heads * (latent->nope_dim + latent->value_dim), 1, MAX_SIZE);
    if (attention->q_norm[0] || attention->sinks[0] || attention->norm_without_weight ||
        attention->clip != 0 || attention->temperature_floor != 0 || attention->value_is_key)
        refuse(c, "attention",
               "with norms of heads, sinks, a clip, a temperature or value_is_key beside latents",
               "none of them");
}

static void check_attention(checker *c, const awq_arch_model *model, const awq_arch_layer *layer)
{
    const awq_arch_attention *attention = &layer->attention;
    bool latents = awq__arch_has_latents(layer);
    check_name_if(c, !latents || !layer->latent.q_rank, "attention.q", attention->q);
    check_name_if(c, !latents, "attention.k", attention->k);
    check_name_if(c, !latents && !attention->value_is_key, "attention.v", attention->v);
    check_name(c, "attention.o", attention->o, 0);
    check_range(c, "attention.heads", attention->heads, 1, MAX_EXPERTS);
    check_range(c, "attention.kv_heads", attention->kv_heads, 1, attention->heads);
    check_range(c, "attention.head_dim", attention->head_dim, 1, 65536);
    check_range(c, "attention.window", attention->window, 0, INT64_MAX);
    check_flag(c, "attention.qkv_bias", attention->qkv_bias);
    check_flag(c, "attention.o_bias", attention->o_bias);
    check_flag(c, "attention.norm_across_heads", attention->norm_across_heads);
    check_optional_name(c, "attention.q_norm", attention->q_norm);
    check_optional_name(c, "attention.k_norm", attention->k_norm);
    if (!attention->q_norm[0] != !attention->k_norm[0])
        refuse(c, "attention", "with one of q_norm and k_norm", "both or none");
    check_optional_name(c, "attention.sinks", attention->sinks);
    check_flag(c, "attention.output_gate", attention->output_gate);
    if (c->status != AWQ_OK)
        return;
    check_range(c, "heads * head_dim", attention->heads * attention->head_dim, 1, MAX_SIZE);
    if (attention->heads % attention->kv_heads)
        refuse(c, "attention.kv_heads", "not a divisor of heads", "one");
    check_variant(c, model, layer);
}

static void check_delta_names(checker *c, const awq_arch_delta *delta)
{
    const struct {
        const char *what, *name;
    } names[] = {{"delta.qkv", delta->qkv},
                 {"delta.b", delta->b},
                 {"delta.conv", delta->conv},
                 {"delta.a_log", delta->a_log},
                 {"delta.dt_bias", delta->dt_bias},
                 {"delta.norm", delta->norm},
                 {"delta.out", delta->out},
                 {"delta.z", delta->z},
                 {"delta.a", delta->a}};
    int count = delta->grouped ? 7 : 9;
    for (int i = 0; i < count; i++)
        check_name(c, names[i].what, names[i].name, 0);
    if (delta->grouped && (delta->z[0] || delta->a[0]))
        refuse(c, "delta.grouped", "1 where there is z or a", "0, or neither of them");
}

static void check_delta(checker *c, const awq_arch_delta *delta,
                        const awq_arch_attention *attention)
{
    check_range(c, "delta.value_heads", delta->value_heads, 1, MAX_EXPERTS);
    check_range(c, "delta.key_heads", delta->key_heads, 1, delta->value_heads);
    check_range(c, "delta.key_dim", delta->key_dim, 1, 65536);
    check_range(c, "delta.value_dim", delta->value_dim, 1, 65536);
    check_range(c, "delta.conv_width", delta->conv_width, 1, 65536);
    check_flag(c, "delta.grouped", delta->grouped);
    check_delta_names(c, delta);
    check_reserved(c, "delta", delta->reserved, 8);
    if (attention->heads || attention->q[0])
        refuse(c, "attention", "there in a layer with a delta net", "nothing");
    if (c->status != AWQ_OK)
        return;
    check_range(c, "value_heads * value_dim", delta->value_heads * delta->value_dim, 1, MAX_SIZE);
    check_range(c, "key_heads * key_dim", delta->key_heads * delta->key_dim, 1, MAX_SIZE);
    if (delta->value_heads % delta->key_heads)
        refuse(c, "delta.key_heads", "not a divisor of value_heads", "one");
}

static void check_activation(checker *c, const char *block, const awq_arch_activation *activation)
{
    const struct {
        const char *member;
        double value;
    } numbers[] = {{"alpha", activation->alpha},
                   {"limit", activation->limit},
                   {"up_offset", activation->up_offset}};
    char what[64];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(what, sizeof what, "%s.activation.%s", block, numbers[i].member);
        check_finite(c, what, numbers[i].value);
    }
    snprintf(what, sizeof what, "%s.activation.kind", block);
    check_range(c, what, activation->kind, AWQ_ACTIVATION_SILU, AWQ_ACTIVATION_GELU);
    snprintf(what, sizeof what, "%s.activation", block);
    if (activation->kind != AWQ_ACTIVATION_SILU && activation->alpha != 0)
        refuse(c, what, "GELU with an alpha", "none");
    check_reserved(c, what, activation->reserved, 1);
    if (activation->reserved_flag)
        refuse(c, what, "not zero in its reserved space", "zeros");
}

/* Of E experts. */
static void check_groups(checker *c, const awq_arch_router *router, const awq_arch_experts *experts)
{
    int64_t E = experts->count;
    check_range(c, "router.groups", router->groups, 0, awq__min(E, AWQ__MOST_GROUPS));
    check_range(c, "router.group_score", router->group_score, AWQ_GROUP_MAX, AWQ_GROUP_TOP2_SUM);
    check_range(c, "router.groups_kept", router->groups_kept, router->groups ? 1 : 0,
                router->groups);
    if (c->status != AWQ_OK || !router->groups)
        return;
    if (E % router->groups)
        refuse(c, "router.groups", "not a divisor of experts.count", "one");
    else if (E / router->groups * router->groups_kept < experts->per_token)
        refuse(c, "router.groups_kept", "so small that fewer experts than experts.per_token stay",
               "more groups");
}

/* What minor 2 has brought. */
static void check_choice(checker *c, const awq_arch_layer *layer)
{
    const awq_arch_router *router = &layer->router;
    bool corrected = layer->router_correction[0] || router->groups;
    check_finite(c, "router.weight_floor", router->weight_floor);
    check_groups(c, router, &layer->experts);
    check_flag(c, "router.scales_input", router->scales_input);
    check_flag(c, "router.reads_residual", router->reads_residual);
    if (router->weight_floor != 0 && !router->renormalize)
        refuse(c, "router.weight_floor", "more than 0 without renormalize", "0");
    if (corrected && router->scoring == AWQ_SCORING_TOPK_SOFTMAX)
        refuse(c, "router.scoring", "AWQ_SCORING_TOPK_SOFTMAX with a correction or groups",
               "softmax or sigmoid of all logits");
    if (corrected)
        check_range(c, "experts.count", layer->experts.count, 1, AWQ__MOST_CORRECTED);
    if (router->scales_input && (router->scoring != AWQ_SCORING_SIGMOID_TOPK ||
                                 router->renormalize || layer->router_expert_scale[0]))
        refuse(c, "router.scales_input", "1 with more than a sigmoid and scaling", "0");
    if (layer->router_input_scale[0] && !router->reads_residual)
        refuse(c, "router_input_scale", "there without router.reads_residual", "none");
}

static void check_router(checker *c, const awq_arch_router *router)
{
    check_name(c, "router", router->name, 0);
    check_flag(c, "router.bias", router->bias);
    check_range(c, "router.scoring", router->scoring, AWQ_SCORING_SOFTMAX_TOPK,
                AWQ_SCORING_SIGMOID_TOPK);
    check_finite(c, "router.scaling", router->scaling);
    check_reserved(c, "router", router->reserved, 4);
    if (router->reserved_flag)
        refuse(c, "router", "not zero in its reserved space", "zeros");
}

static void check_layout(checker *c, const awq_arch_model *model, const awq_arch_experts *experts)
{
    check_range(c, "experts.layout", experts->layout, AWQ_EXPERTS_SEPARATE,
                AWQ_EXPERTS_FUSED_MXFP4);
    check_flag(c, "experts.interleaved", experts->interleaved);
    check_flag(c, "experts.bias", experts->bias);
    check_flag(c, "experts.mxfp4", experts->mxfp4);
    bool fused = experts->layout != AWQ_EXPERTS_SEPARATE || experts->mxfp4;
    if (fused || experts->fused_gate_up[0])
        check_fused_name(c, "experts.fused_gate_up", experts->fused_gate_up);
    if (fused || experts->fused_down[0])
        check_fused_name(c, "experts.fused_down", experts->fused_down);
    if (experts->layout != AWQ_EXPERTS_FUSED_MXFP4)
        return;
    if (model->hidden_size % MXFP4_BLOCK)
        refuse(c, "experts.layout", "of MXFP4", "a hidden_size that is a multiple of 32 with it");
    if (experts->intermediate_size % MXFP4_BLOCK)
        refuse(c, "experts.layout", "of MXFP4",
               "an intermediate_size that is a multiple of 32 with it");
}

static void check_experts(checker *c, const awq_arch_model *model, const awq_arch_experts *experts)
{
    check_range(c, "experts.per_token", experts->per_token, 1,
                awq__min(experts->count, MAX_PER_TOKEN));
    check_range(c, "experts.intermediate_size", experts->intermediate_size, 1, MAX_SIZE);
    check_name(c, "experts.gate", experts->gate, 1);
    check_name(c, "experts.up", experts->up, 1);
    check_name(c, "experts.down", experts->down, 1);
    check_activation(c, "experts", &experts->activation);
    check_layout(c, model, experts);
    check_reserved(c, "experts", experts->reserved, 16);
}

static void check_shared(checker *c, const awq_arch_shared *shared, bool dense)
{
    check_range(c, "shared.intermediate_size", shared->intermediate_size, 0, MAX_SIZE);
    check_reserved(c, "shared", shared->reserved, 8);
    if (!shared->intermediate_size) {
        if (dense)
            refuse(c, "shared.intermediate_size", "0", "more in a layer whose experts.count is 0");
        if (shared->gate[0] || shared->up[0] || shared->down[0] || shared->token_gate[0])
            refuse(c, "shared.intermediate_size", "0", "more where shared has names");
        return;
    }
    check_name(c, "shared.gate", shared->gate, 0);
    check_name(c, "shared.up", shared->up, 0);
    check_name(c, "shared.down", shared->down, 0);
    check_optional_name(c, "shared.token_gate", shared->token_gate);
    if (dense && shared->token_gate[0])
        refuse(c, "shared.token_gate", "there in a layer whose experts.count is 0", "none");
    check_activation(c, "shared", &shared->activation);
}

static bool linear_in_up(const awq_arch_activation *activation)
{
    return activation->limit == 0 && activation->up_offset == 0;
}

static void check_folds(checker *c, const awq_arch_layer *layer)
{
    uint32_t known = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM | AWQ_FOLD_UP |
                     AWQ_FOLD_DELTA | AWQ_FOLD_SHARED_NORM | AWQ_FOLD_LATENT_Q | AWQ_FOLD_LATENT_KV;
    if (layer->folds & ~known)
        refuse(c, "folds", "of unknown bits", "the AWQ_FOLD_ bits of this version");
    const awq_arch_attention *a = &layer->attention;
    if ((layer->folds & AWQ_FOLD_VALUE) &&
        (a->clip != 0 || a->value_is_key || (a->norm_without_weight & AWQ_BARE_NORM_V)))
        refuse(c, "folds", "with AWQ_FOLD_VALUE",
               "none where values are clipped, normed or made by k");
    if ((layer->folds & AWQ_FOLD_SHARED_NORM) && !layer->shared_norm.name[0])
        refuse(c, "folds", "with AWQ_FOLD_SHARED_NORM", "none without a shared_norm");
    if ((layer->folds & AWQ_FOLD_LATENT_Q && !layer->latent.q_rank) ||
        (layer->folds & AWQ_FOLD_LATENT_KV && !layer->latent.kv_rank))
        refuse(c, "folds", "with a bit of a latent", "none where there is no such latent");
    if ((layer->folds & AWQ_FOLD_UP) &&
        ((layer->experts.count && !linear_in_up(&layer->experts.activation)) ||
         (layer->shared.intermediate_size && !linear_in_up(&layer->shared.activation))))
        refuse(c, "folds", "with AWQ_FOLD_UP",
               "none where an activation has a limit or up_offset: it is not linear in up");
}

static void check_norm(checker *c, const char *what, const awq_arch_norm *norm)
{
    check_optional_name(c, what, norm->name);
    check_reserved(c, what, norm->reserved, 2);
}

/* Norms and numbers that a layer may have since minor 2. */
static void check_branches(checker *c, const awq_arch_layer *layer, bool dense)
{
    check_norm(c, "attention_post_norm", &layer->attention_post_norm);
    check_norm(c, "moe_post_norm", &layer->moe_post_norm);
    check_norm(c, "shared_norm", &layer->shared_norm);
    check_norm(c, "shared_post_norm", &layer->shared_post_norm);
    check_norm(c, "experts_post_norm", &layer->experts_post_norm);
    check_finite(c, "residual_multiplier", layer->residual_multiplier);
    check_optional_name(c, "layer_scalar", layer->layer_scalar);
    check_optional_name(c, "router_correction", layer->router_correction);
    check_optional_name(c, "router_input_scale", layer->router_input_scale);
    check_optional_name(c, "router_expert_scale", layer->router_expert_scale);
    if (dense && (layer->router_correction[0] || layer->router_input_scale[0] ||
                  layer->router_expert_scale[0] || layer->experts_post_norm.name[0]))
        refuse(c, "the router", "corrected or scaled, or experts normed, in a dense layer",
               "nothing of that");
    if (layer->shared_norm.name[0] && (dense || !layer->shared.intermediate_size))
        refuse(c, "shared_norm", "there without both experts and a shared MLP",
               "none: moe_norm is the norm");
    if (layer->shared_post_norm.name[0] && !layer->shared.intermediate_size)
        refuse(c, "shared_post_norm", "there without a shared MLP", "none");
    if (layer->shared_norm.name[0] && layer->shared.token_gate[0])
        refuse(c, "shared.token_gate", "there beside a shared_norm", "none");
}

awq_status awq__check_layer(awq_context *ctx, const char *plugin, int64_t n,
                            const awq_arch_model *model, const awq_arch_layer *layer)
{
    checker c = {.ctx = ctx, .plugin = plugin, .layer = n, .status = AWQ_OK};
    bool dense = layer->experts.count == 0;
    check_name(&c, "attention_norm", layer->attention_norm.name, 0);
    check_reserved(&c, "attention_norm", layer->attention_norm.reserved, 2);
    if (layer->delta.value_heads)
        check_delta(&c, &layer->delta, &layer->attention);
    else
        check_attention(&c, model, layer);
    check_latent(&c, layer);
    check_name(&c, "moe_norm", layer->moe_norm.name, 0);
    check_reserved(&c, "moe_norm", layer->moe_norm.reserved, 2);
    check_range(&c, "experts.count", layer->experts.count, 0, MAX_EXPERTS);
    if (!dense) {
        check_router(&c, &layer->router);
        check_experts(&c, model, &layer->experts);
        check_choice(&c, layer);
    }
    check_branches(&c, layer, dense);
    check_shared(&c, &layer->shared, dense);
    check_folds(&c, layer);
    return c.status;
}
