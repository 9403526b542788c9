/* Opening a checkpoint, and the list of modules for people. */
#include "compute/blocks.h"
#include "model/model.h"

#include <string.h>

/* Does some layer have its experts in the tensors of MXFP4? */
static bool has_mxfp4(const awq__arch *arch)
{
    for (int64_t n = 0; n < arch->model.layer_count; n++)
        if (arch->layers[n].experts.count &&
            arch->layers[n].experts.layout == AWQ_EXPERTS_FUSED_MXFP4)
            return true;
    return false;
}

/* Where there are no tensors, only formats are known that the architecture describes, or whose
   lists name the modules that they leave out. */
static awq_status check_described_format(const awq_model *model)
{
    const awq__disk_format *format = model->format;
    bool listed = format->source && !format->fused;
    if (awq__model_has_weights(model) || listed || (format->fused && has_mxfp4(model->arch)))
        return AWQ_OK;
    return awq__fail(model->ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: quantization_config.quant_method \"%s\", but only tensors could tell "
                     "which modules are stored so, and none are on disk; what config.json alone "
                     "describes is plain, in fp8 or compressed-tensors, or GPT-OSS in mxfp4",
                     model->arch->config_path, model->format->method);
}

/* ModelOpt says beside config.json what it has done. */
static awq_status check_modelopt(awq_model *model)
{
    static const char name[] = "hf_quant_config.json";
    awq_status status = AWQ_OK;
    cJSON *root = NULL;
    char *path = NULL;
    if (!awq__model_has_weights(model))
        return AWQ_OK;
    AWQ__TRY_ALLOC(path = awq__path_join(model->ctx,
                                         awq__checkpoint_directory(model->arch->checkpoint), name));
    if (!awq__is_file(path))
        goto done;
    AWQ__TRY(awq__json_read(model->ctx, path, &root));
    const cJSON *algorithm = awq__json_at(awq__json_at(root, "quantization"), "quant_algo");
    if (cJSON_IsString(algorithm))
        status = awq__fail(model->ctx, AWQ_ERROR_UNSUPPORTED,
                           "%s: quantization.quant_algo is \"%s\": a model that ModelOpt has "
                           "quantized cannot be read",
                           path, algorithm->valuestring);
done:
    cJSON_Delete(root);
    awq__free(path);
    return status;
}

static awq_status read_quantization(awq_model *model)
{
    const cJSON *config = awq__json_at(model->arch->config, "quantization_config");
    if (!config || cJSON_IsNull(config))
        return check_modelopt(model);
    const cJSON *method = awq__json_at(config, "quant_method");
    const char *file = model->arch->config_path;
    if (!cJSON_IsString(method))
        return awq__fail(model->ctx, AWQ_ERROR_FORMAT,
                         "%s: quantization_config.quant_method is missing or not a text", file);
    if (awq__is_auto_round(method->valuestring)) {
        AWQ__CHECK(awq__auto_round_read(model->ctx, file, config, &model->format, &model->stored));
        return check_described_format(model);
    }
    model->format = awq__disk_format_by_method(method->valuestring);
    if (!model->format)
        return awq__fail(
            model->ctx, AWQ_ERROR_UNSUPPORTED,
            "%s: quantization_config.quant_method \"%s\", expected awq, compressed-tensors, "
            "gptq, mxfp4, bitsandbytes, fp8 or auto-round",
            file, method->valuestring);
    AWQ__CHECK(check_described_format(model));
    return model->format->read_config(model->ctx, file, config, &model->stored);
}

/* ---- a model without weights ---- */

/* What transformers would write, under its newer name or the older one. */
static awq_status read_dtype(awq_model *model)
{
    static const struct {
        const char *name;
        awq_dtype dtype;
    } known[] = {{"bfloat16", AWQ_BF16}, {"float16", AWQ_F16}, {"float32", AWQ_F32}};
    const char *const keys[] = {"dtype", "torch_dtype"};
    model->dtype = AWQ_BF16;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const cJSON *item = awq__json_at(model->arch->config, keys[k]);
        if (!item || cJSON_IsNull(item))
            continue;
        for (size_t i = 0; cJSON_IsString(item) && i < sizeof known / sizeof *known; i++)
            if (!strcmp(item->valuestring, known[i].name)) {
                model->dtype = known[i].dtype;
                return AWQ_OK;
            }
        return awq__fail(model->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s is \"%s\", expected bfloat16, float16 or float32",
                         model->arch->config_path, keys[k],
                         cJSON_IsString(item) ? item->valuestring : "not a text");
    }
    return AWQ_OK;
}

/* The sizes are those of config.json, which no file bounds. */
static awq_status add_bytes(awq_model *model, uint64_t bytes)
{
    model->bytes += bytes;
    if (model->bytes <= AWQ__MAX_MODEL_BYTES)
        return AWQ_OK;
    return awq__fail(model->ctx, AWQ_ERROR_FORMAT, "%s: the model would be larger than 2^53 bytes",
                     model->arch->config_path);
}

awq_status awq__model_require_weights(const awq_model *model, const char *undone)
{
    if (awq__model_has_weights(model))
        return AWQ_OK;
    return awq__fail(model->ctx, AWQ_ERROR_IO, "%s: %s, so it can be planned but not %s",
                     model->directory,
                     awq__is_directory(model->directory)
                         ? "has a config.json but no safetensors files"
                         : "is a config.json by itself, without safetensors files",
                     undone);
}

/* ---- the public model ---- */

static awq_status describe_module(awq_model *model, size_t index)
{
    const awq__module *source = &model->arch->modules[index];
    awq_module *module = &model->modules[index];
    awq__found found;
    AWQ__CHECK(awq__model_find(model, source, NULL, &found));
    double weights = (double)source->rows * (double)source->cols;
    if (!found.packed)
        model->texts[index] =
            awq__strdup(model->ctx, awq_dtype_name(found.fp8 ? AWQ_F8_E4M3 : found.weight.dtype));
    else if (found.scheme.blocks)
        model->texts[index] =
            awq__strdup(model->ctx, awq__ggml_type_of(found.scheme.blocks->id)->name);
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
    model->has_codes |= found.packed || found.fp8;
    return module->storage ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static awq_status describe_modules(awq_model *model)
{
    awq_context *ctx = model->ctx;
    size_t count = model->arch->module_count;
    model->modules = awq__alloc(ctx, count, sizeof *model->modules, "the list of modules");
    model->texts = awq__alloc(ctx, count, sizeof *model->texts, "the list of modules");
    AWQ__CHECK_ALLOC(model->modules && model->texts);
    for (size_t i = 0; i < count; i++) {
        AWQ__CHECK(describe_module(model, i));
        if (!awq__model_has_weights(model))
            AWQ__CHECK(add_bytes(model, model->modules[i].bytes));
    }
    if (model->format && !model->has_codes && awq__model_has_weights(model))
        awq__log(ctx, AWQ_LOG_WARNING,
                 "%s: quantization_config says %s, but no weight is stored so: it is read as plain",
                 model->arch->config_path, model->format->method);
    return AWQ_OK;
}

static awq_status open_checkpoint(awq_model *model, const char *plugin)
{
    AWQ__CHECK(awq__arch_open(model->ctx, model->directory, plugin, &model->arch));
    AWQ__CHECK(read_quantization(model));
    if (awq__model_has_weights(model))
        model->bytes = awq__checkpoint_bytes(model->arch->checkpoint);
    else
        AWQ__CHECK(read_dtype(model));
    return AWQ_OK;
}

static awq_status open_model(awq_model *model, const char *plugin, bool whole)
{
    char *file;
    AWQ__CHECK(awq__model_gguf_file(model->ctx, model->directory, &file));
    awq_status status =
        file ? awq__model_open_gguf(model, file, plugin) : open_checkpoint(model, plugin);
    awq__free(file);
    AWQ__CHECK(status);
    return whole ? describe_modules(model) : AWQ_OK;
}

static awq_status open_path(awq_context *ctx, const char *path, const char *plugin, bool whole,
                            awq_model **out)
{
    *out = NULL;
    awq_model *model = awq__alloc(ctx, 1, sizeof *model, "a model");
    AWQ__CHECK_ALLOC(model);
    model->ctx = ctx;
    model->directory = awq__strdup(ctx, path);
    awq_status status;
    AWQ__TRY_ALLOC(model->directory);
    AWQ__TRY(open_model(model, plugin, whole));
    *out = model;
done:
    if (status != AWQ_OK)
        awq_model_free(model);
    return status;
}

awq_status awq_model_open(awq_context *ctx, const char *path, const char *plugin, awq_model **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(
        awq__enter(ctx, "awq_model_open", (awq__argument[]){{"path", path}, {"out", out}, {0}}));
    AWQ__CHECK(open_path(ctx, path, plugin, true, out));
    return awq__leave(ctx, AWQ_OK);
}

awq_status awq__model_open_partial(awq_context *ctx, const char *path, const char *plugin,
                                   awq_model **out)
{
    return open_path(ctx, path, plugin, false, out);
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
    awq__gguf_free(model->gguf);
    awq__arch_free(model->arch);
    awq__free(model->directory);
    awq__free(model);
}

size_t awq_model_module_count(const awq_model *model)
{
    return model ? model->arch->module_count : 0;
}

const awq_module *awq_model_module(const awq_model *model, size_t index)
{
    return model && index < model->arch->module_count ? &model->modules[index] : NULL;
}

static const awq_model_info nothing_known = {
    .directory = "", .model_type = "", .plugin = "", .quantization = ""};

void awq_model_describe(const awq_model *model, awq_model_info *info)
{
    if (!model || !info) {
        if (info)
            *info = nothing_known;
        return;
    }
    const awq__arch *arch = model->arch;
    *info = (awq_model_info){
        .directory = model->directory,
        .model_type = arch->model_type,
        .plugin = arch->plugin->table.id,
        .quantization = model->gguf     ? "gguf"
                        : model->format ? model->format->name
                                        : "",
        .layer_count = arch->model.layer_count,
        .hidden_size = arch->model.hidden_size,
        .vocabulary_size = arch->model.vocabulary_size,
        .bytes = model->bytes,
        .described = !awq__model_has_weights(model),
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
