/* A text model inside a multimodal one: its keys in config.json, and the prefix of its names. */
#include "arch/arch.h"

#include <stdio.h>
#include <string.h>

void awq__wrapped_find(awq__arch *arch, const awq_wrapped *wrapped)
{
    arch->text_config = arch->config;
    for (; wrapped && wrapped->model_type; wrapped++) {
        const cJSON *text = awq__json_at(arch->config, wrapped->config);
        if (strcmp(wrapped->model_type, arch->model_type) != 0 || !cJSON_IsObject(text))
            continue;
        arch->wrapped = wrapped;
        arch->text_config = text;
    }
}

bool awq__wrapped_name(const awq_wrapped *wrapped, const char *name, char *out, size_t size)
{
    size_t length = strlen(wrapped->described);
    if (strncmp(name, wrapped->described, length) != 0)
        return (size_t)snprintf(out, size, "%s", name) < size;
    return (size_t)snprintf(out, size, "%s%s", wrapped->stored, name + length) < size;
}

/* ---- all names of a description ---- */

typedef struct names {
    char *items[64]; /* each of AWQ_NAME_BYTES */
    int count;
} names;

static void add(names *list, char *name)
{
    list->items[list->count++] = name;
}

static void list_model(names *list, awq_arch_model *model)
{
    add(list, model->embedding);
    add(list, model->final_norm);
    add(list, model->head);
}

static void list_attention(names *list, awq_arch_attention *attention)
{
    add(list, attention->q);
    add(list, attention->k);
    add(list, attention->v);
    add(list, attention->o);
    add(list, attention->q_norm);
    add(list, attention->k_norm);
    add(list, attention->sinks);
}

static void list_delta(names *list, awq_arch_delta *delta)
{
    add(list, delta->qkv);
    add(list, delta->z);
    add(list, delta->b);
    add(list, delta->a);
    add(list, delta->conv);
    add(list, delta->a_log);
    add(list, delta->dt_bias);
    add(list, delta->norm);
    add(list, delta->out);
}

static void list_latent(names *list, awq_arch_latent *latent)
{
    add(list, latent->q_a);
    add(list, latent->q_a_norm);
    add(list, latent->q_b);
    add(list, latent->kv_a);
    add(list, latent->kv_a_norm);
    add(list, latent->kv_b);
}

static void list_norms(names *list, awq_arch_layer *layer)
{
    add(list, layer->attention_norm.name);
    add(list, layer->moe_norm.name);
    add(list, layer->attention_post_norm.name);
    add(list, layer->moe_post_norm.name);
    add(list, layer->shared_norm.name);
    add(list, layer->shared_post_norm.name);
    add(list, layer->experts_post_norm.name);
}

static void list_mlps(names *list, awq_arch_experts *experts, awq_arch_shared *shared)
{
    add(list, experts->gate);
    add(list, experts->up);
    add(list, experts->down);
    add(list, experts->fused_gate_up);
    add(list, experts->fused_down);
    add(list, shared->gate);
    add(list, shared->up);
    add(list, shared->down);
    add(list, shared->token_gate);
}

static void list_layer(names *list, awq_arch_layer *layer)
{
    list_attention(list, &layer->attention);
    list_delta(list, &layer->delta);
    list_latent(list, &layer->latent);
    list_norms(list, layer);
    list_mlps(list, &layer->experts, &layer->shared);
    add(list, layer->router.name);
    add(list, layer->layer_scalar);
    add(list, layer->router_correction);
    add(list, layer->router_input_scale);
    add(list, layer->router_expert_scale);
}

/* ---- renaming them ---- */

static awq_status rename_all(awq_context *ctx, const awq__arch *arch, const names *list)
{
    char text[AWQ_NAME_BYTES];
    for (int i = 0; i < list->count; i++) {
        char *name = list->items[i];
        if (!memchr(name, 0, AWQ_NAME_BYTES)) /* what checks the description says so */
            return AWQ_OK;
        if (!*name) /* there is none, whatever its beginning would be */
            continue;
        if (!awq__wrapped_name(arch->wrapped, name, text, sizeof text))
            return awq__fail(ctx, AWQ_ERROR_PLUGIN,
                             "plugin %s: %s is too long a name with %s in front, expected at most "
                             "%d bytes",
                             arch->plugin->table.id, name, arch->wrapped->stored,
                             AWQ_NAME_BYTES - 1);
        memcpy(name, text, sizeof text);
    }
    return AWQ_OK;
}

static bool has_embedding(const awq__arch *arch, const char *embedding)
{
    char name[AWQ_NAME_BYTES + 8];
    snprintf(name, sizeof name, "%.*s.weight", AWQ_NAME_BYTES - 1, embedding);
    return arch->checkpoint && awq__checkpoint_find(arch->checkpoint, name);
}

awq_status awq__wrapped_model(awq_context *ctx, awq__arch *arch)
{
    names list = {0};
    if (!arch->wrapped)
        return AWQ_OK;
    arch->renames = !has_embedding(arch, arch->model.embedding);
    list_model(&list, &arch->model);
    return arch->renames ? rename_all(ctx, arch, &list) : AWQ_OK;
}

awq_status awq__wrapped_layer(awq_context *ctx, awq__arch *arch, awq_arch_layer *layer)
{
    names list = {0};
    list_layer(&list, layer);
    return arch->renames ? rename_all(ctx, arch, &list) : AWQ_OK;
}
