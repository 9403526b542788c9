/*
 * What libawq says a checkpoint's weights are, as F32, to set beside what others read from it.
 *
 *   dump_weights DIR OUT.safetensors PLUGIN_DIR
 *
 * One tensor NAME for each module, [rows, cols] or [rows], and NAME:bias for its bias.
 */
#include "core/json.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Safetensors headers are padded to this, so that the data behind them is aligned. */
#define ALIGNMENT 8

static int complain(const char *what)
{
    fprintf(stderr, "dump_weights: %s\n", what);
    return 1;
}

/* Declares the next tensor, whose data begins at *offset. */
static bool declare(cJSON *header, const char *name, int64_t rows, int64_t cols, bool vector,
                    int64_t *offset)
{
    cJSON *tensor = cJSON_AddObjectToObject(header, name);
    cJSON *shape = cJSON_CreateArray(), *offsets = cJSON_CreateArray();
    if (!tensor || !shape || !offsets)
        return false;
    cJSON_AddStringToObject(tensor, "dtype", "F32");
    cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)rows));
    if (!vector)
        cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)cols));
    cJSON_AddItemToObject(tensor, "shape", shape);
    cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*offset));
    *offset += rows * cols * (int64_t)sizeof(float);
    cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*offset));
    cJSON_AddItemToObject(tensor, "data_offsets", offsets);
    return true;
}

static bool declare_all(const awq_model *model, cJSON *header)
{
    int64_t offset = 0;
    char name[AWQ_NAME_BYTES + sizeof ":bias"];
    for (size_t i = 0; i < model->arch->module_count; i++) {
        const awq__module *module = &model->arch->modules[i];
        if (!declare(header, module->name, module->rows, module->cols, module->vector, &offset))
            return false;
        snprintf(name, sizeof name, "%s:bias", module->name);
        if (module->bias && !declare(header, name, module->rows, 1, true, &offset))
            return false;
    }
    return true;
}

static bool write_header(const awq_model *model, FILE *file)
{
    cJSON *header = cJSON_CreateObject();
    char *text = header && declare_all(model, header) ? cJSON_PrintUnformatted(header) : NULL;
    cJSON_Delete(header);
    if (!text)
        return false;
    uint64_t length = strlen(text);
    uint64_t padded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    bool written = fwrite(&padded, sizeof padded, 1, file) == 1 &&
                   fprintf(file, "%s%*s", text, (int)(padded - length), "") == (int)padded;
    cJSON_free(text);
    return written;
}

static bool write_matrix(const awq__weight *weight, FILE *file)
{
    size_t count = (size_t)(weight->rows * weight->cols);
    float *values = malloc(count * sizeof *values);
    if (!values)
        return false;
    awq__weight_read(awq__compute_fastest(), weight, 0, weight->rows, values);
    bool written = fwrite(values, sizeof *values, count, file) == count;
    free(values);
    return written;
}

static awq_status write_module(const awq_model *model, size_t index, FILE *file)
{
    const awq__module *module = &model->arch->modules[index];
    awq__loaded_module loaded;
    awq_status status = awq__model_module(model, index, &loaded);
    if (status != AWQ_OK)
        return status;
    const awq__found *found = &loaded.found;
    bool written = write_matrix(&found->weight, file);
    if (written && module->bias) {
        awq__weight bias = awq__weight_strided(module->name, found->bias_dtype, found->bias,
                                               module->rows, 1, found->bias_stride, 1);
        written = write_matrix(&bias, file);
    }
    awq__loaded_module_free(&loaded);
    return written ? AWQ_OK : awq__fail(model->ctx, AWQ_ERROR_IO, "%s: not written", module->name);
}

static awq_status dump(const awq_model *model, FILE *file)
{
    awq_status status = awq__model_require_weights(model, "dumped");
    if (status == AWQ_OK && !write_header(model, file))
        status = awq__fail(model->ctx, AWQ_ERROR_IO, "the header: not written");
    for (size_t i = 0; i < model->arch->module_count && status == AWQ_OK; i++)
        status = write_module(model, i, file);
    return status;
}

int main(int count, char **arguments)
{
    awq_context *ctx;
    awq_model *model = NULL;
    if (count != 4)
        return complain("DIR OUT.safetensors PLUGIN_DIR");
    if (awq_context_create(&ctx) != AWQ_OK)
        return complain("out of memory");
    awq_status status = awq_context_add_plugin_path(ctx, arguments[3]);
    if (status == AWQ_OK)
        status = awq_model_open(ctx, arguments[1], NULL, &model);
    FILE *file = status == AWQ_OK ? fopen(arguments[2], "wb") : NULL;
    if (file)
        status = dump(model, file);
    bool closed = file && !fclose(file);
    int result = 0;
    if (status != AWQ_OK)
        result = complain(awq_context_message(ctx));
    else if (!closed)
        result = complain("the output cannot be written");
    awq_model_free(model);
    awq_context_free(ctx);
    return result;
}
