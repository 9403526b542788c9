#include "arch/arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTS_BEFORE_EXPERTS (AWQ__PART_GATE - AWQ__PART_ATTENTION_NORM)
#define PARTS_OF_EXPERT 3
/* 1 GB of list: a description that asks for more is not one of a model. */
#define MAX_MODULES ((size_t)1 << 22)

/* What a describe function returned, as a failure of ours that has a message. */
static awq_status described(awq_context *ctx, const char *plugin, const char *function,
                            awq_status status)
{
    if (!strcmp(awq_status_name(status), "AWQ_UNKNOWN"))
        return awq__fail(ctx, AWQ_ERROR_PLUGIN, "plugin %s: %s returned %d, which is no status",
                         plugin, function, (int)status);
    if (status != AWQ_OK && !awq_context_message(ctx)[0])
        return awq__fail(ctx, AWQ_ERROR_PLUGIN,
                         "plugin %s: %s returned %d without a message; expected what a function of "
                         "the host returned",
                         plugin, function, (int)status);
    return status;
}

static awq_status describe(awq_context *ctx, awq__arch *arch)
{
    const awq_plugin *plugin = &arch->plugin->table;
    awq__host host;
    awq__host_init(&host, ctx, arch->config_path, arch->config, arch->checkpoint);
    arch->model.struct_size = sizeof arch->model;
    awq_status status = described(ctx, plugin->id, "describe_model",
                                  plugin->describe_model(&host.table, &arch->model));
    if (status == AWQ_OK)
        status = awq__check_model(ctx, plugin->id, &arch->model);
    if (status != AWQ_OK)
        return status;
    int64_t layers = arch->model.layer_count;
    arch->layers = awq__alloc(ctx, (size_t)layers, sizeof *arch->layers, "layer descriptions");
    arch->layer_first =
        awq__alloc(ctx, (size_t)layers + 1, sizeof *arch->layer_first, "layer index");
    if (!arch->layers || !arch->layer_first)
        return AWQ_ERROR_MEMORY;
    for (int64_t n = 0; n < layers && status == AWQ_OK; n++) {
        arch->layers[n].struct_size = sizeof arch->layers[n];
        status = described(ctx, plugin->id, "describe_layer",
                           plugin->describe_layer(&host.table, n, &arch->layers[n]));
        if (status == AWQ_OK)
            status = awq__check_layer(ctx, plugin->id, n, &arch->model, &arch->layers[n]);
    }
    return status;
}

typedef struct lister {
    awq__arch *arch;
    size_t at;
} lister;

static awq__module *next(lister *l, awq__part part, awq_role role, int64_t layer, int64_t rows,
                         int64_t cols)
{
    awq__module *module = &l->arch->modules[l->at++];
    *module = (awq__module){.part = part,
                            .role = role,
                            .layer = layer,
                            .expert = -1,
                            .rows = rows,
                            .cols = cols,
                            .vector = role == AWQ_ROLE_NORM};
    return module;
}

static void list_named(lister *l, const char *name, awq__part part, awq_role role, int64_t layer,
                       int64_t rows, int64_t cols)
{
    awq__module *module = next(l, part, role, layer, rows, cols);
    memcpy(module->name, name, AWQ_NAME_BYTES);
}

static void list_expert(lister *l, const char *name, awq__part part, int64_t layer, int64_t expert,
                        int64_t rows, int64_t cols)
{
    awq__module *module = next(l, part, AWQ_ROLE_EXPERT, layer, rows, cols);
    const char *hole = strstr(name, AWQ_EXPERT_PLACEHOLDER); /* checked: there is one */
    snprintf(module->name, sizeof module->name, "%.*s%lld%s", (int)(hole - name), name,
             (long long)expert, hole + strlen(AWQ_EXPERT_PLACEHOLDER));
    module->expert = expert;
}

static void list_layer(lister *l, int64_t n)
{
    const awq_arch_layer *layer = &l->arch->layers[n];
    const awq_arch_attention *a = &layer->attention;
    const awq_arch_experts *x = &layer->experts;
    int64_t H = l->arch->model.hidden_size, Q = a->heads * a->head_dim;
    int64_t KV = a->kv_heads * a->head_dim, I = x->intermediate_size;
    l->arch->layer_first[n] = l->at;
    list_named(l, layer->attention_norm.name, AWQ__PART_ATTENTION_NORM, AWQ_ROLE_NORM, n, H, 1);
    list_named(l, a->q, AWQ__PART_Q, AWQ_ROLE_ATTENTION, n, Q, H);
    list_named(l, a->k, AWQ__PART_K, AWQ_ROLE_ATTENTION, n, KV, H);
    list_named(l, a->v, AWQ__PART_V, AWQ_ROLE_ATTENTION, n, KV, H);
    list_named(l, a->o, AWQ__PART_O, AWQ_ROLE_ATTENTION, n, H, Q);
    list_named(l, layer->moe_norm.name, AWQ__PART_MOE_NORM, AWQ_ROLE_NORM, n, H, 1);
    list_named(l, layer->router.name, AWQ__PART_ROUTER, AWQ_ROLE_ROUTER, n, x->count, H);
    for (int64_t e = 0; e < x->count; e++) {
        list_expert(l, x->gate, AWQ__PART_GATE, n, e, I, H);
        list_expert(l, x->up, AWQ__PART_UP, n, e, I, H);
        list_expert(l, x->down, AWQ__PART_DOWN, n, e, H, I);
    }
}

static awq_status list_modules(awq_context *ctx, awq__arch *arch)
{
    const awq_arch_model *model = &arch->model;
    size_t count = 2 + (model->head[0] != 0);
    for (int64_t n = 0; n < model->layer_count; n++)
        count += PARTS_BEFORE_EXPERTS + PARTS_OF_EXPERT * (size_t)arch->layers[n].experts.count;
    if (count > MAX_MODULES)
        return awq__fail(ctx, AWQ_ERROR_PLUGIN,
                         "plugin %s: describes %zu modules, expected at most %zu",
                         arch->plugin->table.id, count, MAX_MODULES);
    arch->modules = awq__alloc(ctx, count, sizeof *arch->modules, "the list of modules");
    if (!arch->modules)
        return AWQ_ERROR_MEMORY;
    lister l = {arch, 0};
    int64_t H = model->hidden_size, V = model->vocabulary_size;
    list_named(&l, model->embedding, AWQ__PART_EMBEDDING, AWQ_ROLE_EMBEDDING, -1, V, H);
    for (int64_t n = 0; n < model->layer_count; n++)
        list_layer(&l, n);
    arch->layer_first[model->layer_count] = l.at;
    list_named(&l, model->final_norm, AWQ__PART_FINAL_NORM, AWQ_ROLE_NORM, -1, H, 1);
    if (model->head[0])
        list_named(&l, model->head, AWQ__PART_HEAD, AWQ_ROLE_HEAD, -1, V, H);
    arch->module_count = l.at;
    return AWQ_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static awq_status sort_names(awq_context *ctx, awq__arch *arch)
{
    arch->names = awq__alloc(ctx, arch->module_count, sizeof *arch->names, "names of modules");
    if (!arch->names)
        return AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < arch->module_count; i++)
        arch->names[i] = arch->modules[i].name;
    qsort(arch->names, arch->module_count, sizeof *arch->names, compare_names);
    return AWQ_OK;
}

static awq_status open_parts(awq_context *ctx, awq__arch *arch, const char *directory,
                             const char *plugin)
{
    arch->config_path = awq__path_join(ctx, directory, "config.json");
    if (!arch->config_path)
        return AWQ_ERROR_MEMORY;
    awq_status status = awq__json_read(ctx, arch->config_path, &arch->config);
    if (status != AWQ_OK)
        return status;
    const cJSON *type = awq__json_at(arch->config, "model_type");
    if (!cJSON_IsString(type))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: \"model_type\" is missing or not a text",
                         arch->config_path);
    arch->model_type = type->valuestring;
    status = awq__plugins_load(ctx, &arch->plugins);
    if (status == AWQ_OK)
        status = awq__plugins_choose(ctx, &arch->plugins, arch->model_type, plugin, &arch->plugin);
    if (status == AWQ_OK)
        status = awq__checkpoint_open(ctx, directory, &arch->checkpoint);
    if (status == AWQ_OK)
        status = describe(ctx, arch);
    if (status == AWQ_OK)
        status = list_modules(ctx, arch);
    if (status == AWQ_OK)
        status = sort_names(ctx, arch);
    return status;
}

awq_status awq__arch_open(awq_context *ctx, const char *directory, const char *plugin,
                          awq__arch **out)
{
    *out = NULL;
    awq__arch *arch = awq__alloc(ctx, 1, sizeof *arch, "a model");
    if (!arch)
        return AWQ_ERROR_MEMORY;
    awq_status status = open_parts(ctx, arch, directory, plugin);
    if (status != AWQ_OK) {
        awq__arch_free(arch);
        return status;
    }
    *out = arch;
    return AWQ_OK;
}

void awq__arch_free(awq__arch *arch)
{
    if (!arch)
        return;
    awq__free(arch->modules);
    awq__free(arch->names);
    awq__free(arch->layer_first);
    awq__free(arch->layers);
    awq__checkpoint_free(arch->checkpoint);
    awq__plugins_free(&arch->plugins);
    cJSON_Delete(arch->config);
    awq__free(arch->config_path);
    awq__free(arch);
}

size_t awq__arch_index(const awq__arch *arch, int64_t layer, awq__part part, int64_t expert)
{
    if (part == AWQ__PART_EMBEDDING)
        return 0;
    if (part == AWQ__PART_FINAL_NORM || part == AWQ__PART_HEAD)
        return arch->layer_first[arch->model.layer_count] + (part == AWQ__PART_HEAD);
    size_t first = arch->layer_first[layer];
    if (part < AWQ__PART_GATE)
        return first + (size_t)(part - AWQ__PART_ATTENTION_NORM);
    return first + PARTS_BEFORE_EXPERTS + PARTS_OF_EXPERT * (size_t)expert +
           (size_t)(part - AWQ__PART_GATE);
}

bool awq__arch_stores(const awq__arch *arch, const char *tensor)
{
    static const char suffix[] = ".weight";
    char name[AWQ_NAME_BYTES];
    size_t length = strlen(tensor), end = sizeof suffix - 1;
    if (length <= end || strcmp(tensor + length - end, suffix) || length - end >= sizeof name)
        return false;
    memcpy(name, tensor, length - end);
    name[length - end] = 0;
    const char *key = name;
    return bsearch(&key, arch->names, arch->module_count, sizeof *arch->names, compare_names);
}
