/* Opening a checkpoint, and the list of modules for people. */
#include "run/model.h"

#include <stdio.h>

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
        return awq__fail(
            model->ctx, AWQ_ERROR_UNSUPPORTED,
            "%s: quantization_config.quant_method \"%s\", expected awq, compressed-tensors, "
            "mxfp4 or bitsandbytes",
            file, method->valuestring);
    return model->format->read_config(model->ctx, file, config, &model->stored);
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
    if (!found.packed)
        model->texts[index] = awq__format(model->ctx, "%s", awq_dtype_name(found.weight.dtype));
    else if (found.scheme.code == AWQ__CODE_E2M1)
        model->texts[index] = awq__strdup(model->ctx, "mxfp4");
    else if (found.scheme.code == AWQ__CODE_NF4)
        model->texts[index] = awq__strdup(model->ctx, "nf4");
    else
        model->texts[index] = awq__format(model->ctx, "int%d g%lld", found.scheme.bits,
                                          (long long)found.scheme.group);
    module->bytes = found.bytes;
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
    awq__stored_free(&model->stored);
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
        .bytes = awq__checkpoint_bytes(arch->checkpoint),
    };
    for (int64_t n = 0; n < arch->model.layer_count; n++) {
        const awq_arch_experts *experts = &arch->layers[n].experts;
        if (experts->count <= info->expert_count)
            continue;
        info->expert_count = experts->count;
        info->experts_per_token = experts->per_token;
    }
    for (size_t i = 0; i < arch->module_count; i++)
        info->weights += (uint64_t)arch->modules[i].rows * (uint64_t)arch->modules[i].cols;
}

static const char *const role_names[] = {"other",  "embedding",     "norm", "attention", "router",
                                         "expert", "shared_expert", "mlp",  "head"};

const char *awq_role_name(awq_role role)
{
    return (size_t)role < sizeof role_names / sizeof *role_names ? role_names[role] : "?";
}
