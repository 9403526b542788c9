/*
 * The layout of NVIDIA ModelOpt's W4A16_AWQ. For a linear [N,K], group g:
 *   weight           U8 [N/2, K]    rows 2r (low nibble) and 2r+1 (high), two's complement
 *   weight_scale     BF16, F16 or F32 [N, K/g]
 *   pre_quant_scale  BF16, F16 or F32 [K]   what the linear's input is multiplied by
 *   y = (x * pre_quant_scale) (weight_scale * weight)^T
 * All linears that are written have a pre_quant_scale, of ones where nothing is scaled: readers
 * ask for it where a linear is not joined with others. Those without one are read too. What is
 * read has pre_quant_scale in the columns of the weight, which is the same.
 *
 * config.json tells that a checkpoint is quantized, hf_quant_config.json beside it how.
 */
#include "format/format.h"
#include "core/convert.h"

#include <string.h>

#define ALGORITHM "W4A16_AWQ"
#define ZERO 8

static void defaults(int bits, bool *symmetric, int64_t *group)
{
    (void)bits;
    *symmetric = true;
    *group = 0;
}

static void complete(awq__scheme *scheme, awq_dtype dtype)
{
    scheme->code = AWQ__CODE_INTEGER;
    scheme->grid = dtype == AWQ_BF16 ? AWQ__GRID_BF16 : AWQ__GRID_F16;
}

static awq_status check(awq_context *ctx, const char *module, int64_t rows, int64_t cols,
                        const awq__scheme *scheme)
{
    if (scheme->code != AWQ__CODE_INTEGER || scheme->bits != 4)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %s of %d bits, but the modelopt format stores only integers of 4",
                         module, scheme->code == AWQ__CODE_INTEGER ? "integers" : "codes",
                         scheme->bits);
    if (!scheme->symmetric)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: asymmetric codes, but the modelopt format has no zero points: "
                         "quantize.symmetric: true",
                         module);
    if (rows % 2)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %lld output features (of %lld inputs), but the modelopt format packs "
                         "two rows to a byte and needs an even number",
                         module, (long long)rows, (long long)cols);
    return AWQ_OK;
}

enum { WEIGHT, SCALE, INPUT_SCALE, PARTS };

/* Of both kinds of scales. */
static awq_dtype scale_dtype(const awq__scheme *scheme)
{
    return scheme->grid == AWQ__GRID_BF16 ? AWQ_BF16 : AWQ_F16;
}

static int specs(int64_t rows, int64_t cols, const awq__scheme *scheme,
                 awq__spec out[AWQ__MAX_SPECS])
{
    awq_dtype dtype = scale_dtype(scheme);
    out[WEIGHT] = (awq__spec){".weight", AWQ_U8, 2, {rows / 2, cols}};
    out[SCALE] = (awq__spec){".weight_scale", dtype, 2, {rows, cols / scheme->group}};
    out[INPUT_SCALE] = (awq__spec){".pre_quant_scale", dtype, 1, {cols}};
    return PARTS;
}

/* ---- packing ---- */

/* Each pair of rows -> K bytes. Less 8, the zero point, is its highest bit turned over. */
static void pack_pairs(const awq__codes *codes, uint8_t *bytes)
{
    int64_t K = codes->cols;
    for (int64_t n = 0; n < codes->rows; n += 2) {
        const uint8_t *low = codes->codes + n * K, *high = low + K;
        for (int64_t k = 0; k < K; k++)
            *bytes++ = (uint8_t)((low[k] ^ ZERO) | (high[k] ^ ZERO) << 4);
    }
}

/* Cannot fail: the dtype is a float. */
static void pack_input_scale(const awq__codes *codes, awq_dtype dtype, uint8_t *out)
{
    const float one = 1;
    size_t size = (size_t)awq_dtype_bits(dtype) / 8;
    if (codes->input_scale)
        awq__narrow(NULL, dtype, codes->input_scale, (size_t)codes->cols, out);
    else
        for (int64_t k = 0; k < codes->cols; k++)
            awq__narrow(NULL, dtype, &one, 1, out + (size_t)k * size);
}

static void pack(const awq__codes *codes, int index, void *out)
{
    awq_dtype dtype = scale_dtype(&codes->scheme);
    if (index == WEIGHT)
        pack_pairs(codes, out);
    else if (index == SCALE)
        awq__narrow(NULL, dtype, codes->scales,
                    (size_t)(codes->rows * (codes->cols / codes->scheme.group)), out);
    else
        pack_input_scale(codes, dtype, out);
}

/* ---- config.json, and hf_quant_config.json ---- */

/* Every reader knows the head by this name, also where the embedding is the head. */
static const char head[] = "lm_head";

static awq_status list_kept(awq_context *ctx, const awq__treated *modules, size_t count,
                            cJSON *object)
{
    awq__partition kept;
    char **list = NULL;
    size_t list_count = 0;
    awq_status status = awq__partition_create(ctx, modules, count, NULL, &kept);
    const char **names = status == AWQ_OK
                             ? awq__alloc(ctx, kept.in_count + 1, sizeof *names, "the ignore list")
                             : NULL;
    bool quantized = false;
    for (size_t i = 0; i < kept.out_count; i++)
        quantized |= !strcmp(kept.out[i], head);
    if (names) {
        memcpy(names, kept.in, kept.in_count * sizeof *names);
        names[kept.in_count] = head;
        status = awq__glob_list(ctx, names, kept.in_count + !quantized, kept.out, kept.out_count,
                                &list, &list_count);
    } else {
        status = AWQ_ERROR_MEMORY;
    }
    awq__free(names);
    awq__partition_free(&kept);
    return status == AWQ_OK ? awq__config_names(ctx, object, "ignore", list, list_count) : status;
}

/* Readers tell the layout by the producer's name; the version is of the form that they parse. */
static bool add_producer(cJSON *object)
{
    char version[64] = "0.0.0+libawq.";
    cJSON *producer = cJSON_AddObjectToObject(object, "producer");
    strncat(version, awq_version(), sizeof version - strlen(version) - 1);
    return producer && cJSON_AddStringToObject(producer, "name", "modelopt") &&
           cJSON_AddStringToObject(producer, "version", version);
}

static bool add_groups(cJSON *object, int64_t group)
{
    cJSON *groups = cJSON_AddObjectToObject(object, "config_groups");
    cJSON *first = groups ? cJSON_AddObjectToObject(groups, "group_0") : NULL;
    cJSON *weights = first ? cJSON_AddObjectToObject(first, "weights") : NULL;
    cJSON *targets = first ? cJSON_AddArrayToObject(first, "targets") : NULL;
    cJSON *linear = targets ? cJSON_CreateString("Linear") : NULL;
    return weights && linear && cJSON_AddItemToArray(targets, linear) &&
           cJSON_AddBoolToObject(weights, "dynamic", false) &&
           cJSON_AddNumberToObject(weights, "num_bits", 4) &&
           cJSON_AddStringToObject(weights, "type", "int") &&
           cJSON_AddNumberToObject(weights, "group_size", (double)group);
}

static cJSON *config(awq_context *ctx, const awq__treated *modules, size_t count)
{
    size_t first = 0;
    while (!modules[first].scheme)
        first++;
    int64_t group = modules[first].scheme->group;
    if (group < 0) {
        awq__fail(ctx, AWQ_ERROR_RECIPE,
                  "%s: a group a row, but the modelopt format has one number for the groups of all "
                  "modules: quantize.group_size 128, 64 or 32",
                  modules[first].name);
        return NULL;
    }
    cJSON *object = cJSON_CreateObject();
    bool whole = object && cJSON_AddStringToObject(object, "quant_method", "modelopt") &&
                 cJSON_AddStringToObject(object, "quant_algo", ALGORITHM) &&
                 add_groups(object, group) && add_producer(object);
    awq_status status = whole ? list_kept(ctx, modules, count, object)
                              : awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: config.json");
    if (status == AWQ_OK)
        return object;
    cJSON_Delete(object);
    return NULL;
}

static bool add_copy(cJSON *object, const char *key, const cJSON *item)
{
    cJSON *copy = cJSON_Duplicate(item, true);
    if (cJSON_AddItemToObject(object, key, copy))
        return true;
    cJSON_Delete(copy);
    return false;
}

/* The same, as ModelOpt says it beside config.json. */
static cJSON *side_file(const cJSON *from)
{
    const cJSON *size = awq__json_at(from, "config_groups.group_0.weights.group_size");
    cJSON *object = cJSON_CreateObject();
    bool whole = add_copy(object, "producer", awq__json_at(from, "producer"));
    cJSON *said = whole ? cJSON_AddObjectToObject(object, "quantization") : NULL;
    whole = said && cJSON_AddStringToObject(said, "quant_algo", ALGORITHM) &&
            cJSON_AddNullToObject(said, "kv_cache_quant_algo") &&
            add_copy(said, "group_size", size) &&
            cJSON_AddBoolToObject(said, "has_zero_point", false) &&
            cJSON_AddBoolToObject(said, "pre_quant_scale", true) &&
            add_copy(said, "exclude_modules", awq__json_at(from, "ignore"));
    if (whole)
        return object;
    cJSON_Delete(object);
    return NULL;
}

/* ModelOpt's own config.json may say nothing of groups: then the scales tell their number. */
#define GROUP_UNSAID 0

static awq_status read_config(awq_context *ctx, const char *file, const cJSON *from,
                              awq__stored *stored)
{
    const cJSON *algorithm = awq__json_at(from, "quant_algo");
    const cJSON *size = awq__json_at(from, "config_groups.group_0.weights.group_size");
    int64_t group = GROUP_UNSAID;
    *stored = (awq__stored){0};
    if (!awq__json_is_text(algorithm, ALGORITHM))
        return awq__stored_refuse(ctx, file, "quant_algo", algorithm, "\"" ALGORITHM "\"");
    if (size && !(awq__json_int(size, &group) && group > 0))
        return awq__stored_refuse(ctx, file, "group_size", size, "a positive integer");
    stored->has_rest = true;
    stored->rest = (awq__stored_scheme){.bits = 4, .group = group, .symmetric = true};
    return AWQ_OK;
}

/* ---- values ---- */

static float float_at(const uint8_t *data, awq_dtype dtype, int64_t index)
{
    float value;
    /* Cannot fail: opening the tensors has looked at the dtype. */
    awq__widen(NULL, dtype, data + (size_t)index * (size_t)awq_dtype_bits(dtype) / 8, 1, &value);
    return value;
}

static void read_rows(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    int64_t K = weight->cols, g = weight->group, G = K / g;
    for (int64_t n = first; n < first + count; n++) {
        const uint8_t *pairs = weight->data + n / 2 * K;
        int shift = n % 2 ? 4 : 0;
        float *to = out + (n - first) * K;
        for (int64_t b = 0; b < G; b++) {
            float scale = float_at(weight->scales, weight->scale_dtype, n * G + b);
            for (int64_t k = b * g; k < (b + 1) * g; k++)
                to[k] = scale * (float)(((pairs[k] >> shift & 15) ^ ZERO) - ZERO);
        }
    }
    if (!weight->input_scales)
        return;
    for (int64_t k = 0; k < K; k++) {
        float factor = float_at(weight->input_scales, weight->input_dtype, k);
        for (int64_t n = 0; n < count; n++)
            out[n * K + k] *= factor;
    }
}

/* ---- tensors on disk ---- */

static bool is_float(const awq__tensor *tensor)
{
    return tensor->dtype == AWQ_BF16 || tensor->dtype == AWQ_F16 || tensor->dtype == AWQ_F32;
}

/* The columns of a group: what is said, or what the shape of the scales tells. */
static awq_status find_group(awq_context *ctx, const awq__tensor *scale, const char *module,
                             int64_t said, int64_t cols, int64_t *group)
{
    int64_t count = scale->rank == 2 ? scale->shape[1] : 0;
    *group = said != GROUP_UNSAID ? said : count > 0 ? cols / count : 0;
    if (*group > 0 && cols % *group == 0 && (said != GROUP_UNSAID || cols % count == 0))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_FORMAT,
                     "%s: %s has %lld columns, which the groups of its weight_scale do not divide",
                     scale->file, module, (long long)cols);
}

static awq_status open_packed(awq_context *ctx, const awq__checkpoint *checkpoint,
                              const awq__stored_scheme *stored, const char *module, int64_t rows,
                              int64_t cols, awq__weight *weight, bool *found)
{
    const awq__tensor *tensors[PARTS];
    awq__spec wanted[AWQ__MAX_SPECS];
    awq__scheme scheme = {.bits = 4, .symmetric = true, .grid = AWQ__GRID_BF16};
    awq_status status = awq__suffix_find(ctx, checkpoint, module, ".weight", &tensors[WEIGHT]);
    *found = status == AWQ_OK && tensors[WEIGHT] && tensors[WEIGHT]->dtype == AWQ_U8;
    if (!*found)
        return status;
    status = awq__suffix_find(ctx, checkpoint, module, ".weight_scale", &tensors[SCALE]);
    if (status == AWQ_OK)
        status =
            awq__suffix_find(ctx, checkpoint, module, ".pre_quant_scale", &tensors[INPUT_SCALE]);
    if (status != AWQ_OK)
        return status;
    if (rows % 2)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %s is U8, but of %lld rows, an odd number",
                         tensors[WEIGHT]->file, tensors[WEIGHT]->name, (long long)rows);
    scheme.group = cols;
    if (tensors[SCALE])
        status = find_group(ctx, tensors[SCALE], module, stored->group, cols, &scheme.group);
    if (status != AWQ_OK)
        return status;
    specs(rows, cols, &scheme, wanted);
    for (int i = 0; i < PARTS && status == AWQ_OK; i++) {
        if (i == INPUT_SCALE && !tensors[i])
            continue;
        if (i != WEIGHT && tensors[i] && is_float(tensors[i]))
            wanted[i].dtype = tensors[i]->dtype;
        status = awq__spec_find(ctx, checkpoint, module, &wanted[i], &tensors[i]);
    }
    if (status != AWQ_OK)
        return status;
    *weight = (awq__weight){
        .rows = rows,
        .cols = cols,
        .read = read_rows,
        .data = tensors[WEIGHT]->data,
        .dtype = tensors[SCALE]->dtype == AWQ_BF16 ? AWQ_BF16 : AWQ_F16,
        .scales = tensors[SCALE]->data,
        .scale_dtype = tensors[SCALE]->dtype,
        .input_scales = tensors[INPUT_SCALE] ? tensors[INPUT_SCALE]->data : NULL,
        .input_dtype = tensors[INPUT_SCALE] ? tensors[INPUT_SCALE]->dtype : AWQ_F32,
        .bits = 4,
        .group = scheme.group,
        .name = module,
    };
    return AWQ_OK;
}

const awq__disk_format awq__disk_format_modelopt = {
    .name = "modelopt",
    .method = "modelopt",
    .input_dtype = scale_dtype,
    .defaults = defaults,
    .complete = complete,
    .check = check,
    .specs = specs,
    .pack = pack,
    .config = config,
    .side_name = "hf_quant_config.json",
    .side_file = side_file,
    .read_config = read_config,
    .open = open_packed,
};
