/* A plugin is other people's code: what it says is checked before anything is built on it. */
#include "arch/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_LAYERS 65536
#define MAX_SIZE ((int64_t)1 << 24) /* of any dimension */
#define MAX_EXPERTS 65536
#define MAX_PER_TOKEN 256
#define NUMBER_DIGITS 5 /* of the last expert's number */

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

static void check_reserved(checker *c, const char *what, const uint64_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (words[i])
            refuse(c, what, "not zero in its reserved space", "zeros");
}

static void check_rope(checker *c, const awq_rope *rope)
{
    check_range(c, "rope.pairs", rope->pairs, 0, AWQ_ROPE_MAX_PAIRS);
    if (c->status != AWQ_OK)
        return;
    check_finite(c, "rope.attention_factor", rope->attention_factor);
    if (rope->pairs && rope->attention_factor == 0) /* would clear every query and key */
        refuse(c, "rope.attention_factor", "0", "more than 0 where there are pairs");
    for (int64_t i = 0; i < rope->pairs; i++)
        check_finite(c, "rope.inverse_frequency", rope->inverse_frequency[i]);
}

awq_status awq__check_model(awq_context *ctx, const char *plugin, const awq_arch_model *model)
{
    checker c = {.ctx = ctx, .plugin = plugin, .layer = -1, .status = AWQ_OK};
    check_range(&c, "layer_count", model->layer_count, 1, MAX_LAYERS);
    check_range(&c, "hidden_size", model->hidden_size, 1, MAX_SIZE);
    check_range(&c, "vocabulary_size", model->vocabulary_size, 1, MAX_SIZE);
    check_finite(&c, "norm_epsilon", model->norm_epsilon);
    check_rope(&c, &model->rope);
    check_name(&c, "embedding", model->embedding, 0);
    check_name(&c, "final_norm", model->final_norm, 0);
    if (model->head[0])
        check_name(&c, "head", model->head, 0);
    return c.status;
}

static void check_attention(checker *c, const awq_arch_model *model,
                            const awq_arch_attention *attention)
{
    check_name(c, "attention.q", attention->q, 0);
    check_name(c, "attention.k", attention->k, 0);
    check_name(c, "attention.v", attention->v, 0);
    check_name(c, "attention.o", attention->o, 0);
    check_range(c, "attention.heads", attention->heads, 1, MAX_EXPERTS);
    check_range(c, "attention.kv_heads", attention->kv_heads, 1, attention->heads);
    check_range(c, "attention.head_dim", attention->head_dim, 1, 65536);
    check_range(c, "attention.window", attention->window, 0, INT64_MAX);
    check_reserved(c, "attention", attention->reserved, 8);
    if (c->status != AWQ_OK)
        return;
    check_range(c, "heads * head_dim", attention->heads * attention->head_dim, 1, MAX_SIZE);
    if (attention->heads % attention->kv_heads)
        refuse(c, "attention.kv_heads", "not a divisor of heads", "one");
    if (2 * model->rope.pairs > attention->head_dim)
        refuse(c, "attention.head_dim", "too small for rope.pairs", "at least twice as much");
}

static void check_experts(checker *c, const awq_arch_experts *experts)
{
    check_range(c, "experts.count", experts->count, 1, MAX_EXPERTS);
    check_range(c, "experts.per_token", experts->per_token, 1,
                awq__min(experts->count, MAX_PER_TOKEN));
    check_range(c, "experts.intermediate_size", experts->intermediate_size, 1, MAX_SIZE);
    check_name(c, "experts.gate", experts->gate, 1);
    check_name(c, "experts.up", experts->up, 1);
    check_name(c, "experts.down", experts->down, 1);
    check_finite(c, "activation.alpha", experts->activation.alpha);
    check_finite(c, "activation.limit", experts->activation.limit);
    check_finite(c, "activation.up_offset", experts->activation.up_offset);
    check_reserved(c, "activation", experts->activation.reserved, 2);
    check_reserved(c, "experts", experts->reserved, 16);
}

awq_status awq__check_layer(awq_context *ctx, const char *plugin, int64_t n,
                            const awq_arch_model *model, const awq_arch_layer *layer)
{
    checker c = {.ctx = ctx, .plugin = plugin, .layer = n, .status = AWQ_OK};
    uint32_t known = AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM | AWQ_FOLD_UP;
    if (layer->folds & ~known)
        refuse(&c, "folds", "of unknown bits", "the AWQ_FOLD_ bits of this version");
    check_name(&c, "attention_norm", layer->attention_norm.name, 0);
    check_reserved(&c, "attention_norm", layer->attention_norm.reserved, 2);
    check_attention(&c, model, &layer->attention);
    check_name(&c, "moe_norm", layer->moe_norm.name, 0);
    check_reserved(&c, "moe_norm", layer->moe_norm.reserved, 2);
    check_name(&c, "router", layer->router.name, 0);
    check_range(&c, "router.scoring", layer->router.scoring, AWQ_SCORING_SOFTMAX_TOPK,
                AWQ_SCORING_SIGMOID_TOPK);
    check_finite(&c, "router.scaling", layer->router.scaling);
    check_reserved(&c, "router", layer->router.reserved, 8);
    check_experts(&c, &layer->experts);
    const awq_arch_activation *activation = &layer->experts.activation;
    if ((layer->folds & AWQ_FOLD_UP) && (activation->limit != 0 || activation->up_offset != 0))
        refuse(&c, "folds", "with AWQ_FOLD_UP",
               "none where the activation has a limit or up_offset: it is not linear in up");
    return c.status;
}
