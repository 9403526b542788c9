/* Opening a checkpoint, finding its weights, and the list of modules for people. */
#include "run/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static awq_status read_quantization(awq_model *model)
{
    const cJSON *config = awq__json_at(model->arch->config, "quantization_config");
    if (!config || cJSON_IsNull(config))
        return AWQ_OK;
    const cJSON *method = awq__json_at(config, "quant_method");
    const char *file = model->arch->config_path;
    if (!cJSON_IsString(method))
        return awq__fail(model->ctx, AWQ_ERROR_FORMAT,
                         "%s: quantization_config.quant_method is missing or not a text", file);
    model->format = awq__disk_format_by_method(method->valuestring);
    if (!model->format)
        return awq__fail(model->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: quantization_config.quant_method \"%s\", expected awq", file,
                         method->valuestring);
    return model->format->read_config(model->ctx, file, config, &model->stored);
}

static awq_status wrong_shape(const awq_model *model, const awq__module *module,
                              const awq__tensor *tensor)
{
    char found[256] = ""; /* room for 8 numbers of 64 bits */
    size_t at = 0;
    for (int i = 0; i < tensor->rank; i++)
        at += (size_t)snprintf(found + at, sizeof found - at, "%s%lld", i ? ", " : "",
                               (long long)tensor->shape[i]);
    if (module->vector)
        return awq__fail(model->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s is %s [%s], expected a float vector [%lld]", tensor->file,
                         tensor->name, awq_dtype_name(tensor->dtype), found,
                         (long long)module->rows);
    return awq__fail(model->ctx, AWQ_ERROR_FORMAT, "%s: %s is %s [%s], expected [%lld, %lld]",
                     tensor->file, tensor->name, awq_dtype_name(tensor->dtype), found,
                     (long long)module->rows, (long long)module->cols);
}

static awq_status find_plain(const awq_model *model, const awq__module *module, awq__found *found)
{
    char *name = awq__format(model->ctx, "%s.weight", module->name);
    if (!name)
        return AWQ_ERROR_MEMORY;
    const awq__tensor *tensor = awq__checkpoint_find(model->arch->checkpoint, name);
    awq_status status = AWQ_OK;
    if (!tensor) {
        status = awq__fail(model->ctx, AWQ_ERROR_FORMAT,
                           "%s: the tensor %s is missing, which the %s architecture has",
                           model->directory, name, model->arch->plugin->table.id);
    } else if (tensor->dtype != AWQ_BF16 && tensor->dtype != AWQ_F16 && tensor->dtype != AWQ_F32) {
        status =
            awq__fail(model->ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s is %s, expected BF16, F16 or F32",
                      tensor->file, name, awq_dtype_name(tensor->dtype));
    } else if (tensor->rank != (module->vector ? 1 : 2) || tensor->shape[0] != module->rows ||
               (!module->vector && tensor->shape[1] != module->cols)) {
        status = wrong_shape(model, module, tensor);
    } else {
        found->plain = tensor;
        found->weight = awq__weight_plain(module->name, tensor->dtype, tensor->data, module->rows,
                                          module->cols);
    }
    awq__free(name);
    return status;
}

awq_status awq__model_find(const awq_model *model, const awq__module *module, awq__found *found)
{
    *found = (awq__found){0};
    if (model->format && !module->vector) {
        awq_status status =
            model->format->open(model->ctx, model->arch->checkpoint, &model->stored, module->name,
                                module->rows, module->cols, &found->weight, &found->packed);
        if (status != AWQ_OK || found->packed)
            return status;
    }
    return find_plain(model, module, found);
}

/* ---- layers ---- */

static awq_status find_part(const awq_model *model, int64_t layer, awq__part part, int64_t expert,
                            awq__weight *weight)
{
    awq__found found;
    const awq__arch *arch = model->arch;
    awq_status status =
        awq__model_find(model, &arch->modules[awq__arch_index(arch, layer, part, expert)], &found);
    if (status == AWQ_OK)
        *weight = found.weight;
    return status;
}

static awq_status check_whole(awq_context *ctx, const awq__weight *weight)
{
    float *work = awq__alloc_aligned(ctx, (size_t)awq__weight_work(weight), sizeof *work,
                                     "work space to check weights");
    awq_status status = work ? awq__weight_check(ctx, weight, work) : AWQ_ERROR_MEMORY;
    awq__free(work);
    return status;
}

static awq_status read_norm(const awq_model *model, int64_t layer, awq__part part, float **norm,
                            awq_dtype *dtype)
{
    awq__weight weight;
    awq_status status = find_part(model, layer, part, -1, &weight);
    if (status != AWQ_OK)
        return status;
    *norm = awq__alloc_aligned(model->ctx, (size_t)weight.rows, sizeof(float), weight.name);
    if (!*norm)
        return AWQ_ERROR_MEMORY;
    *dtype = weight.dtype;
    awq__weight_read(&weight, 0, weight.rows, *norm);
    return check_whole(model->ctx, &weight);
}

static awq_status find_attention(const awq_model *model, int64_t n, awq__loaded_layer *loaded)
{
    const awq_arch_attention *source = &model->arch->layers[n].attention;
    awq__attention *attention = &loaded->layer.attention;
    attention->heads = source->heads;
    attention->kv_heads = source->kv_heads;
    attention->head_dim = source->head_dim;
    attention->window = source->window;
    awq_status status = read_norm(model, n, AWQ__PART_ATTENTION_NORM, &loaded->attention_norm,
                                  &attention->norm_dtype);
    attention->norm = loaded->attention_norm;
    if (status == AWQ_OK)
        status = find_part(model, n, AWQ__PART_Q, -1, &attention->q);
    if (status == AWQ_OK)
        status = find_part(model, n, AWQ__PART_K, -1, &attention->k);
    if (status == AWQ_OK)
        status = find_part(model, n, AWQ__PART_V, -1, &attention->v);
    if (status == AWQ_OK)
        status = find_part(model, n, AWQ__PART_O, -1, &attention->o);
    return status;
}

static awq_status find_moe(const awq_model *model, int64_t n, awq__loaded_layer *loaded)
{
    const awq_arch_layer *source = &model->arch->layers[n];
    const awq_arch_activation *a = &source->experts.activation;
    awq__moe *moe = &loaded->layer.moe;
    moe->expert_count = source->experts.count;
    moe->per_token = source->experts.per_token;
    moe->intermediate = source->experts.intermediate_size;
    moe->routing =
        (awq__routing){.scoring = source->router.scoring,
                       .renormalize = source->router.renormalize != 0,
                       .scaling = source->router.scaling != 0 ? (float)source->router.scaling : 1};
    moe->activation = (awq__activation){.alpha = a->alpha != 0 ? (float)a->alpha : 1,
                                        .limit = a->limit != 0 ? (float)a->limit : INFINITY,
                                        .up_offset = (float)a->up_offset};
    moe->route = model->arch->plugin->table.route;
    moe->activate = model->arch->plugin->table.activate;
    awq_status status =
        read_norm(model, n, AWQ__PART_MOE_NORM, &loaded->moe_norm, &moe->norm_dtype);
    moe->norm = loaded->moe_norm;
    if (status == AWQ_OK)
        status = find_part(model, n, AWQ__PART_ROUTER, -1, &moe->router);
    if (status != AWQ_OK)
        return status;
    loaded->experts =
        awq__alloc(model->ctx, (size_t)moe->expert_count, sizeof *loaded->experts, "experts");
    if (!loaded->experts)
        return AWQ_ERROR_MEMORY;
    moe->experts = loaded->experts;
    for (int64_t e = 0; e < moe->expert_count && status == AWQ_OK; e++) {
        status = find_part(model, n, AWQ__PART_GATE, e, &loaded->experts[e].gate);
        if (status == AWQ_OK)
            status = find_part(model, n, AWQ__PART_UP, e, &loaded->experts[e].up);
        if (status == AWQ_OK)
            status = find_part(model, n, AWQ__PART_DOWN, e, &loaded->experts[e].down);
    }
    return status;
}

typedef struct check_job {
    awq_context *ctx;
    const awq__layer *layer;
} check_job;

/* Tasks 0 to 4 are q, k, v, o and the router, the rest the experts' matrices. */
static awq_status check_matrix(void *arg, int64_t index, int worker)
{
    check_job *j = arg;
    (void)worker;
    const awq__attention *a = &j->layer->attention;
    const awq__weight *weight;
    if (index < 5) {
        const awq__weight *fixed[] = {&a->q, &a->k, &a->v, &a->o, &j->layer->moe.router};
        weight = fixed[index];
    } else {
        const awq__expert *expert = &j->layer->moe.experts[(index - 5) / 3];
        const awq__weight *parts[] = {&expert->gate, &expert->up, &expert->down};
        weight = parts[(index - 5) % 3];
    }
    return check_whole(j->ctx, weight);
}

awq_status awq__model_layer(const awq_model *model, int64_t number, awq__loaded_layer *loaded)
{
    *loaded = (awq__loaded_layer){0};
    loaded->layer.number = number;
    loaded->layer.hidden = model->arch->model.hidden_size;
    loaded->layer.epsilon = model->arch->model.norm_epsilon;
    awq_status status = find_attention(model, number, loaded);
    if (status == AWQ_OK)
        status = find_moe(model, number, loaded);
    if (status == AWQ_OK) {
        check_job j = {model->ctx, &loaded->layer};
        status =
            awq__parallel_for(model->ctx, 5 + 3 * loaded->layer.moe.expert_count, check_matrix, &j);
    }
    if (status != AWQ_OK)
        awq__loaded_layer_free(loaded);
    return status;
}

void awq__loaded_layer_free(awq__loaded_layer *loaded)
{
    awq__free(loaded->attention_norm);
    awq__free(loaded->moe_norm);
    awq__free(loaded->experts);
    *loaded = (awq__loaded_layer){0};
}

awq_status awq__model_ends(const awq_model *model, awq__ends *ends)
{
    *ends = (awq__ends){0};
    bool tied = !model->arch->model.head[0];
    awq_dtype norm_dtype;
    awq__part head = tied ? AWQ__PART_EMBEDDING : AWQ__PART_HEAD;
    awq_status status = find_part(model, -1, AWQ__PART_EMBEDDING, -1, &ends->embedding);
    if (status == AWQ_OK)
        status = find_part(model, -1, head, -1, &ends->head);
    if (status == AWQ_OK)
        status = read_norm(model, -1, AWQ__PART_FINAL_NORM, &ends->norm, &norm_dtype);
    if (status == AWQ_OK)
        status = check_whole(model->ctx, &ends->embedding);
    if (status == AWQ_OK && !tied)
        status = check_whole(model->ctx, &ends->head);
    if (status != AWQ_OK)
        awq__ends_free(ends);
    return status;
}

void awq__ends_free(awq__ends *ends)
{
    awq__free(ends->norm);
    *ends = (awq__ends){0};
}

/* ---- the public model ---- */

static awq_status describe_module(awq_model *model, size_t index)
{
    const awq__module *source = &model->arch->modules[index];
    awq_module *module = &model->modules[index];
    awq__found found;
    awq_status status = awq__model_find(model, source, &found);
    if (status != AWQ_OK)
        return status;
    double weights = (double)source->rows * (double)source->cols;
    if (found.packed) {
        awq__scheme scheme = {.bits = model->stored.bits, .group = found.weight.group};
        awq__spec specs[AWQ__MAX_SPECS];
        int count = model->format->specs(source->rows, source->cols, &scheme, specs);
        for (int i = 0; i < count; i++)
            module->bytes += awq__spec_bytes(&specs[i]);
        model->texts[index] =
            awq__format(model->ctx, "int%d g%lld", scheme.bits, (long long)found.weight.group);
    } else {
        module->bytes = found.plain->bytes;
        model->texts[index] = awq__format(model->ctx, "%s", awq_dtype_name(found.plain->dtype));
    }
    module->name = source->name;
    module->role = source->role;
    module->layer = source->layer;
    module->rows = source->rows;
    module->columns = source->cols;
    module->storage = model->texts[index];
    module->bits_per_weight = 8.0 * (double)module->bytes / weights;
    module->quantized = found.packed;
    return module->storage ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static awq_status open_model(awq_model *model, const char *plugin)
{
    awq_context *ctx = model->ctx;
    awq_status status = awq__arch_open(ctx, model->directory, plugin, &model->arch);
    if (status == AWQ_OK)
        status = read_quantization(model);
    if (status != AWQ_OK)
        return status;
    size_t count = model->arch->module_count;
    model->modules = awq__alloc(ctx, count, sizeof *model->modules, "the list of modules");
    model->texts = awq__alloc(ctx, count, sizeof *model->texts, "the list of modules");
    if (!model->modules || !model->texts)
        return AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < count && status == AWQ_OK; i++)
        status = describe_module(model, i);
    return status;
}

awq_status awq_model_open(awq_context *ctx, const char *directory, const char *plugin,
                          awq_model **out)
{
    awq__clear(ctx);
    *out = NULL;
    awq_model *model = awq__alloc(ctx, 1, sizeof *model, "a model");
    if (!model)
        return AWQ_ERROR_MEMORY;
    model->ctx = ctx;
    model->directory = awq__strdup(ctx, directory);
    awq_status status = model->directory ? open_model(model, plugin) : AWQ_ERROR_MEMORY;
    if (status != AWQ_OK) {
        awq_model_free(model);
        return status;
    }
    *out = model;
    return AWQ_OK;
}

void awq_model_free(awq_model *model)
{
    if (!model)
        return;
    for (size_t i = 0; model->texts && i < model->arch->module_count; i++)
        awq__free(model->texts[i]);
    awq__free(model->texts);
    awq__free(model->modules);
    awq__arch_free(model->arch);
    awq__free(model->directory);
    awq__free(model);
}

size_t awq_model_module_count(const awq_model *model)
{
    return model->arch->module_count;
}

const awq_module *awq_model_module(const awq_model *model, size_t index)
{
    return index < model->arch->module_count ? &model->modules[index] : NULL;
}

void awq_model_describe(const awq_model *model, awq_model_info *info)
{
    const awq__arch *arch = model->arch;
    *info = (awq_model_info){
        .directory = model->directory,
        .model_type = arch->model_type,
        .plugin = arch->plugin->table.id,
        .quantization = model->format ? model->format->name : "",
        .layer_count = arch->model.layer_count,
        .hidden_size = arch->model.hidden_size,
        .vocabulary_size = arch->model.vocabulary_size,
        .expert_count = arch->layers[0].experts.count,
        .experts_per_token = arch->layers[0].experts.per_token,
        .bytes = awq__checkpoint_bytes(arch->checkpoint),
    };
    for (size_t i = 0; i < arch->module_count; i++)
        info->weights += (uint64_t)arch->modules[i].rows * (uint64_t)arch->modules[i].cols;
}

static const char *const role_names[] = {"other",  "embedding",     "norm", "attention", "router",
                                         "expert", "shared_expert", "mlp",  "head"};

const char *awq_role_name(awq_role role)
{
    return (size_t)role < sizeof role_names / sizeof *role_names ? role_names[role] : "?";
}
