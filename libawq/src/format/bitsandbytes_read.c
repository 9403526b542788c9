/* Reading what bitsandbytes.c and bitsandbytes itself write. */
#include "format/format.h"
#include "compute/nf4.h"

#include <math.h>
#include <string.h>

#define MAX_STATE_BYTES ((size_t)1 << 20)

/* ---- config.json ---- */

static bool is_true(const cJSON *config, const char *key)
{
    return cJSON_IsTrue(awq__json_at(config, key)) != 0;
}

static awq_status need_text(awq_context *ctx, const char *file, const cJSON *config,
                            const char *key, const char *fits)
{
    const cJSON *item = awq__json_at(config, key);
    if (awq__json_is_text(item, fits))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: quantization_config.%s is not \"%s\", which alone can be read", file, key,
                     fits);
}

awq_status awq__bitsandbytes_read_config(awq_context *ctx, const char *file, const cJSON *config,
                                         awq__stored *stored)
{
    bool four = is_true(config, "load_in_4bit"), eight = is_true(config, "load_in_8bit");
    *stored = (awq__stored){0};
    if (four == eight)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: quantization_config: %s of load_in_4bit and load_in_8bit true, "
                         "expected one",
                         file, four ? "both" : "none");
    if (four)
        AWQ__CHECK(need_text(ctx, file, config, "bnb_4bit_quant_type", "nf4"));
    if (four && awq__json_at(config, "bnb_4bit_quant_storage"))
        AWQ__CHECK(need_text(ctx, file, config, "bnb_4bit_quant_storage", "uint8"));
    stored->has_rest = true;
    stored->rest = four
                       ? (awq__stored_scheme){.bits = 4, .group = AWQ__NF4_GROUP, .symmetric = true}
                       : (awq__stored_scheme){.bits = 8, .group = -1, .symmetric = true};
    return AWQ_OK;
}

/* ---- values ---- */

static float load_float(const uint8_t *data, int64_t index)
{
    float value;
    memcpy(&value, data + index * (int64_t)sizeof value, sizeof value);
    return value;
}

/* The scale of block i. */
static float scale_at(const awq__weight *weight, int64_t i)
{
    if (!weight->nested_map)
        return load_float(weight->scales, i);
    return load_float(weight->nested_map, weight->scales[i]) *
               load_float(weight->nested_scales, i / AWQ__NESTED_GROUP) +
           weight->nested_offset;
}

static void read_nf4(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    int64_t begin = first * weight->cols, end = begin + count * weight->cols;
    for (int64_t i = begin; i < end; i += AWQ__NF4_GROUP) {
        float scale = scale_at(weight, i / AWQ__NF4_GROUP);
        for (int64_t k = i; k < i + AWQ__NF4_GROUP; k += 2) {
            uint8_t pair = weight->data[k / 2];
            *out++ = scale * awq__nf4[pair >> 4];
            *out++ = scale * awq__nf4[pair & 15];
        }
    }
}

static void read_int8(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    int64_t K = weight->cols;
    for (int64_t n = first; n < first + count; n++) {
        float scale = load_float(weight->scales, n) / 127;
        for (int64_t k = 0; k < K; k++) {
            int8_t code;
            memcpy(&code, weight->data + n * K + k, 1);
            *out++ = scale * (float)code;
        }
    }
}

/* ---- tensors on disk ---- */

/* As of a checkpoint in the making, before the module is written. */
static bool is_blank(const awq__tensor *tensor, const uint8_t *data, const awq__spec *spec)
{
    if (tensor->bytes != awq__spec_bytes(spec))
        return false;
    for (uint64_t i = 0; i < tensor->bytes; i++)
        if (data[i])
            return false;
    return true;
}

static awq_status refuse(awq_context *ctx, const awq__tensor *state, const char *key,
                         const char *fits)
{
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s: %s is not %s, which alone can be read",
                     state->file, state->name, key, fits);
}

static bool is_int(const cJSON *item, int64_t expected)
{
    int64_t value;
    return awq__json_int(item, &value) && value == expected;
}

/* What the JSON beside NF4 codes says. */
typedef struct nf4_state {
    awq_dtype dtype; /* of the weights */
    float offset;    /* of nested scales */
} nf4_state;

static bool read_dtype(const cJSON *item, awq_dtype *dtype)
{
    static const struct {
        const char *name;
        awq_dtype dtype;
    } types[] = {{"bfloat16", AWQ_BF16}, {"float16", AWQ_F16}, {"float32", AWQ_F32}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (awq__json_is_text(item, types[i].name)) {
            *dtype = types[i].dtype;
            return true;
        }
    return false;
}

static awq_status read_state(awq_context *ctx, const awq__tensor *tensor, const cJSON *json,
                             int64_t rows, int64_t cols, bool nested, nf4_state *state)
{
    const cJSON *shape = awq__json_at(json, "shape"), *offset = awq__json_at(json, "nested_offset");
    bool is_shape = cJSON_IsArray(shape) && cJSON_GetArraySize(shape) == 2 &&
                    is_int(cJSON_GetArrayItem(shape, 0), rows) &&
                    is_int(cJSON_GetArrayItem(shape, 1), cols);
    if (!awq__json_is_text(awq__json_at(json, "quant_type"), "nf4"))
        return refuse(ctx, tensor, "quant_type", "\"nf4\"");
    if (!is_int(awq__json_at(json, "blocksize"), AWQ__NF4_GROUP))
        return refuse(ctx, tensor, "blocksize", "64");
    if (!read_dtype(awq__json_at(json, "dtype"), &state->dtype))
        return refuse(ctx, tensor, "dtype", "\"bfloat16\", \"float16\" or \"float32\"");
    if (!is_shape)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %s: shape is not [%lld, %lld]", tensor->file,
                         tensor->name, (long long)rows, (long long)cols);
    if (nested != (offset != NULL))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %s: %s, but the tensor nested_absmax is %s",
                         tensor->file, tensor->name, offset ? "nested_offset" : "no nested_offset",
                         nested ? "there" : "missing");
    if (!nested)
        return AWQ_OK;
    if (!is_int(awq__json_at(json, "nested_blocksize"), AWQ__NESTED_GROUP))
        return refuse(ctx, tensor, "nested_blocksize", "256");
    if (!awq__json_is_text(awq__json_at(json, "nested_dtype"), "float32"))
        return refuse(ctx, tensor, "nested_dtype", "\"float32\"");
    if (!cJSON_IsNumber(offset) || !(fabs(offset->valuedouble) <= 0x1p127))
        return refuse(ctx, tensor, "nested_offset", "a number that F32 holds");
    state->offset = (float)offset->valuedouble;
    return AWQ_OK;
}

/* Kernels have the table in themselves, so that no other is of use. */
static awq_status check_table(awq_context *ctx, const awq__tensor *tensor)
{
    float table[sizeof awq__nf4 / sizeof *awq__nf4];
    AWQ__CHECK(awq__tensor_read(ctx, tensor, 0, sizeof table, table));
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): these very bits */
    if (!memcmp(table, awq__nf4, sizeof table))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s is not the table of NF4", tensor->file,
                     tensor->name);
}

static awq_status find_all(awq_context *ctx, const awq__checkpoint *checkpoint, const char *module,
                           const awq__spec *wanted, int count, int except,
                           const awq__tensor **tensors)
{
    for (int i = 0; i < count; i++)
        if (i != except)
            AWQ__CHECK(awq__spec_find(ctx, checkpoint, module, &wanted[i], &tensors[i]));
    return AWQ_OK;
}

/* One that is blank keeps the state as it was. */
static awq_status check_state(awq_context *ctx, const awq__tensor *const *tensors,
                              const awq__spec *wanted, int64_t rows, int64_t cols, bool nested,
                              nf4_state *state)
{
    const awq__tensor *tensor = tensors[AWQ__NF4_STATE];
    cJSON *json = NULL;
    if (tensor->dtype != AWQ_U8)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %s is %s, expected U8", tensor->file,
                         tensor->name, awq_dtype_name(tensor->dtype));
    uint8_t *text;
    awq_status status;
    AWQ__TRY(awq__tensor_copy(ctx, tensor, MAX_STATE_BYTES, &text));
    if (is_blank(tensor, text, &wanted[AWQ__NF4_STATE]))
        goto done;
    AWQ__TRY(awq__json_parse(ctx, tensor->name, (const char *)text, tensor->bytes, &json));
    AWQ__TRY(read_state(ctx, tensor, json, rows, cols, nested, state));
    AWQ__TRY(check_table(ctx, tensors[AWQ__NF4_MAP]));
done:
    awq__free(text);
    cJSON_Delete(json);
    return status;
}

static awq_status open_nf4(awq_context *ctx, const awq__checkpoint *checkpoint, awq__held *held,
                           const char *module, int64_t rows, int64_t cols, awq__weight *weight,
                           bool *found)
{
    const awq__tensor *tensors[AWQ__MAX_SPECS] = {0}, *nested;
    awq__spec wanted[AWQ__MAX_SPECS];
    nf4_state state = {.dtype = AWQ_BF16};
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, module, ".weight.quant_state.bitsandbytes__nf4",
                                &tensors[AWQ__NF4_STATE]));
    *found = tensors[AWQ__NF4_STATE];
    if (!*found)
        return AWQ_OK;
    if (cols % AWQ__NF4_GROUP)
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s has rows of %lld, which its blocks of 64 cross; only whole blocks "
                         "in a row can be read",
                         awq__checkpoint_directory(checkpoint), module, (long long)cols);
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, module, ".weight.nested_absmax", &nested));
    awq__scheme scheme = {.code = AWQ__CODE_NF4,
                          .bits = 4,
                          .group = AWQ__NF4_GROUP,
                          .symmetric = true,
                          .grid = nested ? AWQ__GRID_NESTED : AWQ__GRID_F32};
    int count = awq__bitsandbytes_specs(rows, cols, &scheme, wanted);
    AWQ__CHECK(find_all(ctx, checkpoint, module, wanted, count, AWQ__NF4_STATE, tensors));
    AWQ__CHECK(check_state(ctx, tensors, wanted, rows, cols, nested != NULL, &state));
    *weight = (awq__weight){.rows = rows,
                            .cols = cols,
                            .read = read_nf4,
                            .data = awq__held_at(held, tensors[AWQ__NF4_WEIGHT]),
                            .dtype = state.dtype,
                            .scales = awq__held_at(held, tensors[AWQ__NF4_ABSMAX]),
                            .scale_dtype = nested ? AWQ_U8 : AWQ_F32,
                            .bits = 4,
                            .group = AWQ__NF4_GROUP,
                            .nested_map =
                                nested ? awq__held_at(held, tensors[AWQ__NF4_NESTED_MAP]) : NULL,
                            .nested_scales = nested ? awq__held_at(held, nested) : NULL,
                            .nested_offset = state.offset,
                            .name = module};
    return AWQ_OK;
}

static awq_status open_int8(awq_context *ctx, const awq__checkpoint *checkpoint, awq__held *held,
                            const char *module, int64_t rows, int64_t cols, awq__weight *weight,
                            bool *found)
{
    const awq__tensor *tensors[AWQ__MAX_SPECS] = {0};
    awq__spec wanted[AWQ__MAX_SPECS];
    awq__scheme scheme = {.bits = 8, .group = cols, .symmetric = true};
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, module, ".SCB", &tensors[AWQ__INT8_ROW_MAXIMA]));
    *found = tensors[AWQ__INT8_ROW_MAXIMA];
    if (!*found)
        return AWQ_OK;
    int count = awq__bitsandbytes_specs(rows, cols, &scheme, wanted);
    AWQ__CHECK(find_all(ctx, checkpoint, module, wanted, count, -1, tensors));
    const awq__tensor *layout = tensors[AWQ__INT8_LAYOUT];
    uint8_t order;
    AWQ__CHECK(awq__tensor_read(ctx, layout, 0, sizeof order, &order));
    if (order)
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s is %d, expected 0: codes in rows, which alone can be read",
                         layout->file, layout->name, order);
    *weight = (awq__weight){.rows = rows,
                            .cols = cols,
                            .read = read_int8,
                            .data = awq__held_at(held, tensors[AWQ__INT8_WEIGHT]),
                            .dtype = AWQ_BF16,
                            .scales = awq__held_at(held, tensors[AWQ__INT8_ROW_MAXIMA]),
                            .scale_dtype = AWQ_F32,
                            .bits = 8,
                            .group = cols,
                            .name = module};
    return AWQ_OK;
}

awq_status awq__bitsandbytes_open(awq_context *ctx, const awq__checkpoint *checkpoint,
                                  awq__held *held, const awq__stored_scheme *stored,
                                  const char *module, int64_t rows, int64_t cols,
                                  awq__weight *weight, bool *found)
{
    return (stored->bits == 8 ? open_int8 : open_nf4)(ctx, checkpoint, held, module, rows, cols,
                                                      weight, found);
}
