#include "arch/arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* The plugin's own functions know nothing of what is described beside them. */
static awq_status check_functions(awq_context *ctx, const awq_plugin *plugin, int64_t n,
                                  const awq_arch_layer *layer)
{
    if (!plugin->route || !(layer->router.scales_input || layer->router_correction[0] ||
                            layer->router.groups || layer->router_expert_scale[0]))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_PLUGIN,
                     "plugin %s: layer %lld: the router has a correction, groups or scales beside "
                     "the plugin's own route, expected one of both",
                     plugin->id, (long long)n);
}

static awq_status describe(awq_context *ctx, awq__arch *arch)
{
    const awq_plugin *plugin = &arch->plugin->table;
    awq__host host;
    awq__wrapped_find(arch, plugin->wrapped);
    awq__host_init(&host, ctx, arch->config_path, arch->text_config, arch->checkpoint);
    host.whole_config = arch->config;
    host.wrapped = arch->wrapped;
    arch->model.struct_size = sizeof arch->model;
    AWQ__CHECK(described(ctx, plugin->id, "describe_model",
                         plugin->describe_model(&host.table, &arch->model)));
    AWQ__CHECK(awq__wrapped_model(ctx, arch));
    AWQ__CHECK(awq__check_model(ctx, plugin->id, &arch->model));
    int64_t layers = arch->model.layer_count;
    arch->layers = awq__alloc(ctx, (size_t)layers, sizeof *arch->layers, "layer descriptions");
    arch->layer_first =
        awq__alloc(ctx, (size_t)layers + 1, sizeof *arch->layer_first, "layer index");
    AWQ__CHECK_ALLOC(arch->layers && arch->layer_first);
    for (int64_t n = 0; n < layers; n++) {
        arch->layers[n].struct_size = sizeof arch->layers[n];
        AWQ__CHECK(described(ctx, plugin->id, "describe_layer",
                             plugin->describe_layer(&host.table, n, &arch->layers[n])));
        AWQ__CHECK(awq__wrapped_layer(ctx, arch, &arch->layers[n]));
        AWQ__CHECK(awq__check_layer(ctx, plugin->id, n, &arch->model, &arch->layers[n]));
        AWQ__CHECK(check_functions(ctx, plugin, n, &arch->layers[n]));
    }
    return awq__host_misspelt(&host, &arch->misspelt);
}

/* ---- the list of modules ---- */

typedef struct lister {
    awq__arch *arch;
    size_t at;
} lister;

static awq__module *list_module(lister *l, const char *name, awq__part part, awq_role role,
                                int64_t layer, int64_t rows, int64_t cols)
{
    size_t index = l->at++;
    awq__module *module = &l->arch->modules[index];
    *module = (awq__module){.suffix = ".weight",
                            .part = part,
                            .role = role,
                            .layer = layer,
                            .expert = -1,
                            .rows = rows,
                            .cols = cols};
    memcpy(module->name, name, AWQ_NAME_BYTES);
    if (layer >= 0 && part < AWQ__PART_GATE)
        l->arch->parts[layer * (AWQ__PART_GATE + 1) + part] = index;
    return module;
}

static void list_vector(lister *l, const char *name, awq__part part, awq_role role, int64_t layer,
                        int64_t rows)
{
    if (!*name)
        return;
    awq__module *module = list_module(l, name, part, role, layer, rows, 1);
    module->vector = true;
    module->plus_one = role == AWQ_ROLE_NORM && l->arch->model.norms_plus_one;
}

/* A tensor by its own name. */
static void list_parameter(lister *l, const char *name, awq__part part, int64_t layer, int64_t rows)
{
    list_vector(l, name, part, AWQ_ROLE_OTHER, layer, rows);
    if (*name)
        l->arch->modules[l->at - 1].suffix = "";
}

static void list_latent(lister *l, int64_t n)
{
    const awq_arch_attention *a = &l->arch->layers[n].attention;
    const awq_arch_latent *m = &l->arch->layers[n].latent;
    const awq_role role = AWQ_ROLE_ATTENTION;
    int64_t H = l->arch->model.hidden_size, Q = a->heads * a->head_dim;
    int64_t kv_rows = a->heads * (m->nope_dim + m->value_dim);
    if (!m->q_rank)
        list_module(l, a->q, AWQ__PART_Q, role, n, Q, H)->bias = a->qkv_bias != 0;
    if (m->q_rank)
        list_module(l, m->q_a, AWQ__PART_Q_A, role, n, m->q_rank, H)->bias = m->a_bias != 0;
    list_module(l, m->kv_a, AWQ__PART_KV_A, role, n, m->kv_rank + m->rope_dim, H)->bias =
        m->a_bias != 0;
    if (m->q_rank)
        list_module(l, m->q_b, AWQ__PART_Q_B, role, n, Q, m->q_rank);
    list_module(l, m->kv_b, AWQ__PART_KV_B, role, n, kv_rows, m->kv_rank);
    list_module(l, a->o, AWQ__PART_O, role, n, H, a->heads * m->value_dim)->bias = a->o_bias != 0;
    list_vector(l, m->q_a_norm, AWQ__PART_Q_A_NORM, AWQ_ROLE_NORM, n, m->q_rank);
    list_vector(l, m->kv_a_norm, AWQ__PART_KV_A_NORM, AWQ_ROLE_NORM, n, m->kv_rank);
}

static void list_attention(lister *l, int64_t n)
{
    const awq_arch_layer *layer = &l->arch->layers[n];
    const awq_arch_attention *a = &layer->attention;
    int64_t H = l->arch->model.hidden_size, Q = a->heads * a->head_dim;
    int64_t KV = a->kv_heads * a->head_dim;
    int64_t q_rows = a->output_gate ? 2 * Q : Q;
    list_module(l, a->q, AWQ__PART_Q, AWQ_ROLE_ATTENTION, n, q_rows, H)->bias = a->qkv_bias != 0;
    list_module(l, a->k, AWQ__PART_K, AWQ_ROLE_ATTENTION, n, KV, H)->bias = a->qkv_bias != 0;
    if (!a->value_is_key)
        list_module(l, a->v, AWQ__PART_V, AWQ_ROLE_ATTENTION, n, KV, H)->bias = a->qkv_bias != 0;
    list_module(l, a->o, AWQ__PART_O, AWQ_ROLE_ATTENTION, n, H, Q)->bias = a->o_bias != 0;
    int64_t q_normed = a->norm_across_heads ? Q : a->head_dim;
    int64_t k_normed = a->norm_across_heads ? KV : a->head_dim;
    list_vector(l, a->q_norm, AWQ__PART_Q_NORM, AWQ_ROLE_NORM, n, q_normed);
    list_vector(l, a->k_norm, AWQ__PART_K_NORM, AWQ_ROLE_NORM, n, k_normed);
    list_parameter(l, a->sinks, AWQ__PART_SINKS, n, a->heads);
}

static void list_delta(lister *l, int64_t n)
{
    const awq_arch_delta *d = &l->arch->layers[n].delta;
    int64_t H = l->arch->model.hidden_size, N = d->value_heads, V = N * d->value_dim;
    int64_t C = 2 * d->key_heads * d->key_dim + V;
    list_module(l, d->qkv, AWQ__PART_DELTA_QKV, AWQ_ROLE_ATTENTION, n, d->grouped ? C + V : C, H);
    if (!d->grouped)
        list_module(l, d->z, AWQ__PART_DELTA_Z, AWQ_ROLE_ATTENTION, n, V, H);
    list_module(l, d->b, AWQ__PART_DELTA_B, AWQ_ROLE_OTHER, n, d->grouped ? 2 * N : N, H);
    if (!d->grouped)
        list_module(l, d->a, AWQ__PART_DELTA_A, AWQ_ROLE_OTHER, n, N, H);
    list_module(l, d->conv, AWQ__PART_DELTA_CONV, AWQ_ROLE_OTHER, n, C, d->conv_width)
        ->convolution = true;
    list_parameter(l, d->a_log, AWQ__PART_DELTA_A_LOG, n, N);
    list_parameter(l, d->dt_bias, AWQ__PART_DELTA_DT_BIAS, n, N);
    list_vector(l, d->norm, AWQ__PART_DELTA_NORM, AWQ_ROLE_NORM, n, d->value_dim);
    l->arch->modules[l->at - 1].plus_one = false;
    list_module(l, d->out, AWQ__PART_O, AWQ_ROLE_ATTENTION, n, H, V);
}

/* Norms around the experts, and what else is a vector of theirs. */
static void list_vectors(lister *l, int64_t n)
{
    const awq_arch_layer *layer = &l->arch->layers[n];
    int64_t H = l->arch->model.hidden_size, E = layer->experts.count;
    list_vector(l, layer->attention_post_norm.name, AWQ__PART_ATTENTION_POST_NORM, AWQ_ROLE_NORM, n,
                H);
    list_vector(l, layer->moe_norm.name, AWQ__PART_MOE_NORM, AWQ_ROLE_NORM, n, H);
    list_vector(l, layer->shared_norm.name, AWQ__PART_SHARED_NORM, AWQ_ROLE_NORM, n, H);
    list_vector(l, layer->experts_post_norm.name, AWQ__PART_EXPERTS_POST_NORM, AWQ_ROLE_NORM, n, H);
    list_vector(l, layer->shared_post_norm.name, AWQ__PART_SHARED_POST_NORM, AWQ_ROLE_NORM, n, H);
    list_vector(l, layer->moe_post_norm.name, AWQ__PART_MOE_POST_NORM, AWQ_ROLE_NORM, n, H);
    list_parameter(l, layer->layer_scalar, AWQ__PART_LAYER_SCALAR, n, 1);
    list_parameter(l, layer->router_correction, AWQ__PART_ROUTER_CORRECTION, n, E);
    list_parameter(l, layer->router_input_scale, AWQ__PART_ROUTER_INPUT_SCALE, n, H);
    list_parameter(l, layer->router_expert_scale, AWQ__PART_ROUTER_EXPERT_SCALE, n, E);
}

static void list_expert(lister *l, const char *name, awq__part part, int64_t layer, int64_t expert,
                        int64_t rows, int64_t cols)
{
    const awq_arch_experts *x = &l->arch->layers[layer].experts;
    awq__module *module = list_module(l, name, part, AWQ_ROLE_EXPERT, layer, rows, cols);
    const char *hole = strstr(name, AWQ_EXPERT_PLACEHOLDER); /* checked: there is one */
    snprintf(module->name, sizeof module->name, "%.*s%lld%s", (int)(hole - name), name,
             (long long)expert, hole + strlen(AWQ_EXPERT_PLACEHOLDER));
    module->expert = expert;
    module->bias = x->bias != 0;
    module->fused = x->layout != AWQ_EXPERTS_SEPARATE;
}

static void list_shared(lister *l, int64_t n)
{
    const awq_arch_layer *layer = &l->arch->layers[n];
    const awq_arch_shared *s = &layer->shared;
    int64_t H = l->arch->model.hidden_size, I = s->intermediate_size;
    awq_role role = layer->experts.count ? AWQ_ROLE_SHARED_EXPERT : AWQ_ROLE_MLP;
    list_module(l, s->gate, AWQ__PART_GATE, role, n, I, H)->expert = layer->experts.count;
    list_module(l, s->up, AWQ__PART_UP, role, n, I, H)->expert = layer->experts.count;
    list_module(l, s->down, AWQ__PART_DOWN, role, n, H, I)->expert = layer->experts.count;
}

static void list_layer(lister *l, int64_t n)
{
    const awq_arch_layer *layer = &l->arch->layers[n];
    const awq_arch_experts *x = &layer->experts;
    int64_t H = l->arch->model.hidden_size, I = x->intermediate_size;
    size_t *parts = l->arch->parts + n * (AWQ__PART_GATE + 1);
    for (int part = 0; part < AWQ__PART_GATE; part++)
        parts[part] = SIZE_MAX;
    l->arch->layer_first[n] = l->at;
    list_vector(l, layer->attention_norm.name, AWQ__PART_ATTENTION_NORM, AWQ_ROLE_NORM, n, H);
    (layer->delta.value_heads       ? list_delta
     : awq__arch_has_latents(layer) ? list_latent
                                    : list_attention)(l, n);
    list_vectors(l, n);
    if (x->count)
        list_module(l, layer->router.name, AWQ__PART_ROUTER, AWQ_ROLE_ROUTER, n, x->count, H)
            ->bias = layer->router.bias != 0;
    if (layer->shared.token_gate[0])
        list_module(l, layer->shared.token_gate, AWQ__PART_TOKEN_GATE, AWQ_ROLE_ROUTER, n, 1, H);
    parts[AWQ__PART_GATE] = l->at;
    for (int64_t e = 0; e < x->count; e++) {
        list_expert(l, x->gate, AWQ__PART_GATE, n, e, I, H);
        list_expert(l, x->up, AWQ__PART_UP, n, e, I, H);
        list_expert(l, x->down, AWQ__PART_DOWN, n, e, H, I);
    }
    if (layer->shared.intermediate_size)
        list_shared(l, n);
}

/* At least as many modules as there are. */
static size_t bound_modules(const awq__arch *arch)
{
    size_t count = 3;
    for (int64_t n = 0; n < arch->model.layer_count; n++)
        count += AWQ__PART_GATE - AWQ__PART_ATTENTION_NORM +
                 PARTS_OF_EXPERT * (size_t)awq__arch_experts(arch, n);
    return count;
}

static awq_status list_modules(awq_context *ctx, awq__arch *arch)
{
    const awq_arch_model *model = &arch->model;
    size_t count = bound_modules(arch);
    if (count > MAX_MODULES)
        return awq__fail(ctx, AWQ_ERROR_PLUGIN,
                         "plugin %s: describes up to %zu modules, expected at most %zu",
                         arch->plugin->table.id, count, MAX_MODULES);
    arch->modules = awq__alloc(ctx, count, sizeof *arch->modules, "the list of modules");
    arch->parts = awq__alloc(ctx, (size_t)model->layer_count * (AWQ__PART_GATE + 1),
                             sizeof *arch->parts, "the list of modules");
    AWQ__CHECK_ALLOC(arch->modules && arch->parts);
    lister l = {arch, 0};
    int64_t H = model->hidden_size, V = model->vocabulary_size;
    list_module(&l, model->embedding, AWQ__PART_EMBEDDING, AWQ_ROLE_EMBEDDING, -1, V, H);
    for (int64_t n = 0; n < model->layer_count; n++)
        list_layer(&l, n);
    arch->layer_first[model->layer_count] = l.at;
    list_vector(&l, model->final_norm, AWQ__PART_FINAL_NORM, AWQ_ROLE_NORM, -1, H);
    if (model->head[0])
        list_module(&l, model->head, AWQ__PART_HEAD, AWQ_ROLE_HEAD, -1, V, H);
    arch->module_count = l.at;
    return AWQ_OK;
}

static int compare_names(const void *a, const void *b)
{
    const awq__module *const *x = a, *const *y = b;
    return strcmp(awq__stored_name(*x), awq__stored_name(*y));
}

static awq_status sort_names(awq_context *ctx, awq__arch *arch)
{
    arch->by_name =
        awq__alloc(ctx, arch->module_count, sizeof *arch->by_name, "the list of modules");
    AWQ__CHECK_ALLOC(arch->by_name);
    for (size_t i = 0; i < arch->module_count; i++)
        arch->by_name[i] = &arch->modules[i];
    qsort(arch->by_name, arch->module_count, sizeof *arch->by_name, compare_names);
    return AWQ_OK;
}

/* ---- opening ---- */

/* Opens the checkpoint if any file of it is there: a damaged checkpoint is not an absent one. */
static awq_status open_weights(awq_context *ctx, awq__arch *arch, const char *path)
{
    bool absent = awq__is_file(path);
    AWQ__CHECK(absent ? AWQ_OK : awq__checkpoint_is_absent(ctx, path, &absent));
    return absent ? AWQ_OK : awq__checkpoint_open(ctx, path, &arch->checkpoint);
}

static awq_status choose_plugin(awq_context *ctx, awq__arch *arch, const char *plugin)
{
    const cJSON *type = awq__json_at(arch->config, "model_type");
    if (!cJSON_IsString(type))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: \"model_type\" is missing or not a text",
                         arch->config_path);
    arch->model_type = type->valuestring;
    AWQ__CHECK(awq__plugins_load(ctx, &arch->plugins));
    return awq__plugins_choose(ctx, &arch->plugins, arch->model_type, plugin, &arch->plugin);
}

static awq_status describe_and_list(awq_context *ctx, awq__arch *arch)
{
    AWQ__CHECK(describe(ctx, arch));
    AWQ__CHECK(list_modules(ctx, arch));
    AWQ__CHECK(awq__find_other_names(ctx, arch));
    return sort_names(ctx, arch);
}

static awq_status open_parts(awq_context *ctx, awq__arch *arch, const char *path,
                             const char *plugin)
{
    AWQ__CHECK(awq__check_hub_name(ctx, path));
    arch->config_path =
        awq__is_file(path) ? awq__strdup(ctx, path) : awq__path_join(ctx, path, "config.json");
    AWQ__CHECK_ALLOC(arch->config_path);
    AWQ__CHECK(awq__json_read_python(ctx, arch->config_path, &arch->config));
    AWQ__CHECK(choose_plugin(ctx, arch, plugin));
    AWQ__CHECK(open_weights(ctx, arch, path));
    return describe_and_list(ctx, arch);
}

awq_status awq__arch_open(awq_context *ctx, const char *path, const char *plugin, awq__arch **out)
{
    *out = NULL;
    awq__arch *arch = awq__alloc(ctx, 1, sizeof *arch, "a model");
    AWQ__CHECK_ALLOC(arch);
    awq_status status = open_parts(ctx, arch, path, plugin);
    if (status == AWQ_OK)
        *out = arch;
    else
        awq__arch_free(arch);
    return status;
}

static awq_status open_config(awq_context *ctx, awq__arch *arch, const char *path,
                              const char *plugin)
{
    arch->config_path = awq__strdup(ctx, path);
    AWQ__CHECK_ALLOC(arch->config_path);
    AWQ__CHECK(choose_plugin(ctx, arch, plugin));
    return describe_and_list(ctx, arch);
}

awq_status awq__arch_open_config(awq_context *ctx, const char *path, cJSON *config,
                                 const char *plugin, awq__arch **out)
{
    *out = NULL;
    awq_status status;
    awq__arch *arch = awq__alloc(ctx, 1, sizeof *arch, "a model");
    if (!arch)
        cJSON_Delete(config);
    AWQ__CHECK_ALLOC(arch);
    arch->config = config;
    AWQ__TRY(open_config(ctx, arch, path, plugin));
    *out = arch;
done:
    if (status != AWQ_OK)
        awq__arch_free(arch);
    return status;
}

void awq__arch_free(awq__arch *arch)
{
    if (!arch)
        return;
    for (size_t i = 0; i < arch->module_count; i++)
        awq__free(arch->modules[i].stored);
    awq__free(arch->modules);
    awq__free(arch->by_name);
    awq__free(arch->parts);
    awq__free(arch->layer_first);
    awq__free(arch->layers);
    awq__checkpoint_free(arch->checkpoint);
    awq__plugins_free(&arch->plugins);
    cJSON_Delete(arch->config);
    awq__free(arch->config_path);
    awq__text_free(&arch->misspelt);
    awq__free(arch);
}

/* ---- asking ---- */

size_t awq__arch_index(const awq__arch *arch, int64_t layer, awq__part part, int64_t expert)
{
    if (part == AWQ__PART_EMBEDDING)
        return 0;
    if (part == AWQ__PART_FINAL_NORM || part == AWQ__PART_HEAD)
        return arch->layer_first[arch->model.layer_count] + (part == AWQ__PART_HEAD);
    const size_t *parts = arch->parts + layer * (AWQ__PART_GATE + 1);
    if (part < AWQ__PART_GATE)
        return parts[part];
    return parts[AWQ__PART_GATE] + PARTS_OF_EXPERT * (size_t)expert +
           (size_t)(part - AWQ__PART_GATE);
}

bool awq__arch_has(const awq__arch *arch, int64_t layer, awq__part part)
{
    return part >= AWQ__PART_GATE || arch->parts[layer * (AWQ__PART_GATE + 1) + part] != SIZE_MAX;
}

int64_t awq__arch_experts(const awq__arch *arch, int64_t layer)
{
    const awq_arch_layer *described = &arch->layers[layer];
    return described->experts.count + (described->shared.intermediate_size > 0);
}

/* The module whose tensor with this suffix it is, or NULL. */
static const awq__module *module_of(const awq__arch *arch, const char *tensor, const char *suffix)
{
    awq__module wanted;
    wanted.stored = NULL;
    const awq__module *key = &wanted;
    size_t length = strlen(tensor), end = strlen(suffix);
    if (length <= end || strcmp(tensor + length - end, suffix) || length - end >= AWQ_NAME_BYTES)
        return NULL;
    memcpy(wanted.name, tensor, length - end);
    wanted.name[length - end] = 0;
    const awq__module **found =
        bsearch(&key, arch->by_name, arch->module_count, sizeof *arch->by_name, compare_names);
    return found ? *found : NULL;
}

bool awq__arch_stores(const awq__arch *arch, const char *tensor)
{
    static const char *const suffixes[] = {".weight", ""};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const awq__module *module = module_of(arch, tensor, suffixes[i]);
        if (module && !module->fused && !strcmp(module->suffix, suffixes[i]))
            return true;
    }
    const awq__module *module = module_of(arch, tensor, ".bias");
    if (module && module->bias && !module->fused)
        return true;
    for (int64_t n = 0; n < arch->model.layer_count; n++) {
        const awq_arch_experts *experts = &arch->layers[n].experts;
        char names[AWQ__MAX_FUSED][AWQ__FUSED_NAME_BYTES];
        int count = awq__fused_names(experts, experts->layout, names);
        for (int i = 0; i < count; i++)
            if (!strcmp(names[i], tensor))
                return true;
    }
    return false;
}

int awq__fused_names(const awq_arch_experts *experts, int32_t layout,
                     char names[AWQ__MAX_FUSED][AWQ__FUSED_NAME_BYTES])
{
    const char *const stems[] = {experts->fused_gate_up, experts->fused_down};
    int count = 0;
    if (!experts->count || layout == AWQ_EXPERTS_SEPARATE)
        return 0;
    for (int i = 0; i < 2; i++) {
        bool mxfp4 = layout == AWQ_EXPERTS_FUSED_MXFP4;
        snprintf(names[count++], AWQ__FUSED_NAME_BYTES, "%s%s", stems[i], mxfp4 ? "_blocks" : "");
        if (mxfp4)
            snprintf(names[count++], AWQ__FUSED_NAME_BYTES, "%s_scales", stems[i]);
    }
    for (int i = 0; i < 2 && experts->bias; i++)
        snprintf(names[count++], AWQ__FUSED_NAME_BYTES, "%s_bias", stems[i]);
    return count;
}

/* The number of the layer in a tensor's name, and where it stands: the first part that is a number.
   -1 if no part is one of up to 5 digits. */
static int64_t layer_in(const char *name, const char **at, size_t *length)
{
    *length = 0;
    for (*at = name; **at; *at += *length + ((*at)[*length] == '.')) {
        *length = strcspn(*at, ".");
        if (*length && *length <= 5 && strspn(*at, "0123456789") >= *length)
            return strtol(*at, NULL, 10);
    }
    return -1;
}

int64_t awq__arch_layer_beyond(const awq__arch *arch, const char **tensor)
{
    int64_t beyond = -1, layers = arch->model.layer_count;
    for (size_t i = 0; arch->checkpoint && i < awq__checkpoint_count(arch->checkpoint); i++) {
        const char *name = awq__checkpoint_at(arch->checkpoint, i)->name, *at;
        char last[AWQ__FUSED_NAME_BYTES + 8];
        size_t length;
        int64_t layer = layer_in(name, &at, &length);
        if (layer < layers || layer <= beyond || strlen(name) >= AWQ__FUSED_NAME_BYTES)
            continue;
        /* Of a layer like the last one? */
        snprintf(last, sizeof last, "%.*s%lld%s", (int)(at - name), name, (long long)layers - 1,
                 at + length);
        if (!awq__arch_stores(arch, last))
            continue;
        beyond = layer;
        *tensor = name;
    }
    return beyond;
}
