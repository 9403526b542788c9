/*
 * The AutoAWQ "gemm" layout, which vLLM, SGLang and transformers 4 load. For a linear [N,K], group
 * g: qweight I32 [K, N/8]    nibble i of word c in row k is the code of row 8c + order[i], column k
 *   qzeros  I32 [K/g, N/8]  zero points in the same order
 *   scales  F16 [K/g, N]
 *   w = scale * (code - zero)
 * Symmetric codes are written with a zero point of 8 everywhere: readers of this layout want
 * zero points.
 */
#include "format/format.h"
#include "format/names.h"
#include "core/half.h"

#include <string.h>
#include <strings.h>

#define PACK 8 /* codes of a word */

static const int order[PACK] = {0, 2, 4, 6, 1, 3, 5, 7};
static const int nibble_of[PACK] = {0, 4, 1, 5, 2, 6, 3, 7}; /* the inverse */

static void defaults(int bits, bool *symmetric, int64_t *group)
{
    (void)bits;
    *symmetric = false;
    *group = 0;
}

static void complete(awq__scheme *scheme, awq_dtype dtype)
{
    scheme->code = AWQ__CODE_INTEGER;
    scheme->grid = dtype == AWQ_BF16 ? AWQ__GRID_BF16_F16 : AWQ__GRID_F16;
}

static awq_status check(awq_context *ctx, const char *module, int64_t rows, int64_t cols,
                        const awq__scheme *scheme)
{
    if (scheme->code != AWQ__CODE_INTEGER)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: E2M1 codes, but the awq format stores only integers", module);
    if (scheme->bits != 4)
        return awq__fail(ctx, AWQ_ERROR_RECIPE, "%s: %d bits, but the awq format stores only 4",
                         module, scheme->bits);
    if (rows % PACK)
        return awq__fail(
            ctx, AWQ_ERROR_RECIPE,
            "%s: %lld output features (of %lld inputs), but the awq format packs 8 to a "
            "word and needs a multiple of 8",
            module, (long long)rows, (long long)cols);
    return AWQ_OK;
}

static int specs(int64_t rows, int64_t cols, const awq__scheme *scheme,
                 awq__spec out[AWQ__MAX_SPECS])
{
    int64_t groups = cols / scheme->group;
    out[0] = (awq__spec){".qweight", AWQ_I32, 2, {cols, rows / PACK}};
    out[1] = (awq__spec){".qzeros", AWQ_I32, 2, {groups, rows / PACK}};
    out[2] = (awq__spec){".scales", AWQ_F16, 2, {groups, rows}};
    return 3;
}

/* values[N,K] -> words[K, N/8] */
static void pack_words(const uint8_t *values, int64_t N, int64_t K, uint32_t *words)
{
    for (int64_t c = 0; c < N / PACK; c++)
        for (int64_t k = 0; k < K; k++) {
            uint32_t word = 0;
            for (int i = 0; i < PACK; i++)
                word |= (uint32_t)values[(c * PACK + order[i]) * K + k] << (4 * i);
            words[k * (N / PACK) + c] = word;
        }
}

static void pack(const awq__codes *codes, int index, void *out)
{
    int64_t N = codes->rows, K = codes->cols, G = K / codes->scheme.group;
    if (index == 0)
        pack_words(codes->codes, N, K, out);
    else if (index == 1)
        pack_words(codes->zeros, N, G, out);
    else
        for (int64_t n = 0; n < N; n++)
            for (int64_t b = 0; b < G; b++)
                ((uint16_t *)out)[b * N + n] = awq__f32_to_f16(codes->scales[n * G + b]);
}

/* words[K, N/8] -> values[N,K] */
static void unpack_words(const uint32_t *words, int64_t N, int64_t K, uint8_t *values)
{
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++)
            values[n * K + k] =
                (words[k * (N / PACK) + n / PACK] >> (4 * nibble_of[n % PACK])) & 15;
}

void awq__gemm_unpack(awq__codes *codes, const uint32_t *qweight, const uint32_t *qzeros,
                      const uint16_t *scales)
{
    int64_t N = codes->rows, K = codes->cols, G = K / codes->scheme.group;
    unpack_words(qweight, N, K, codes->codes);
    unpack_words(qzeros, N, G, codes->zeros);
    for (int64_t n = 0; n < N; n++)
        for (int64_t b = 0; b < G; b++)
            codes->scales[n * G + b] = awq__f16_to_f32(scales[b * N + n]);
}

/* Engines ask for gate and up by one name, which contains neither's: each gate adds it. Gates of
   experts do not, because engines make one module of all experts. The caller frees *names, and
   *fused with its texts. */
static awq_status add_fused_names(awq_context *ctx, const char *const *given, size_t given_count,
                                  const char ***names, size_t *count, char ***fused)
{
    static const char gate[] = ".gate_proj";
    *names = awq__alloc(ctx, 2 * given_count, sizeof **names, "the skip list");
    *fused = awq__alloc(ctx, given_count, sizeof **fused, "the skip list");
    AWQ__CHECK_ALLOC(*names && *fused);
    *count = 0;
    for (size_t i = 0; i < given_count; i++) {
        size_t length = strlen(given[i]), end = sizeof gate - 1;
        (*names)[(*count)++] = given[i];
        if (length < end || strcmp(given[i] + length - end, gate) || awq__experts_length(given[i]))
            continue;
        (*fused)[i] = awq__format(ctx, "%.*s.gate_up_proj", (int)(length - end), given[i]);
        AWQ__CHECK_ALLOC((*fused)[i]);
        (*names)[(*count)++] = (*fused)[i];
    }
    return AWQ_OK;
}

/* Names with those that engines ask for besides, in memory of its own. */
typedef struct name_set {
    const char **names;
    size_t count;
    char **fused;
    size_t fused_count;
} name_set;

static awq_status make_set(awq_context *ctx, const char *const *names, size_t count, name_set *set)
{
    *set = (name_set){.fused_count = count};
    return add_fused_names(ctx, names, count, &set->names, &set->count, &set->fused);
}

static void free_set(name_set *set)
{
    for (size_t i = 0; set->fused && i < set->fused_count; i++)
        awq__free(set->fused[i]);
    awq__free(set->fused);
    awq__free(set->names);
    *set = (name_set){0};
}

static awq_status list_skipped(awq_context *ctx, const char *const *kept, size_t kept_count,
                               const char *const *quantized, size_t quantized_count, char ***list,
                               size_t *count)
{
    name_set skipped, others = {0};
    awq_status status;
    AWQ__TRY(make_set(ctx, kept, kept_count, &skipped));
    AWQ__TRY(make_set(ctx, quantized, quantized_count, &others));
    AWQ__TRY(
        awq__skip_list(ctx, skipped.names, skipped.count, others.names, others.count, list, count));
done:
    free_set(&skipped);
    free_set(&others);
    return status;
}

static awq_status list_kept(awq_context *ctx, const awq__treated *modules, size_t module_count,
                            char ***list, size_t *count)
{
    awq__partition kept;
    awq_status status;
    AWQ__TRY(awq__partition_create(ctx, modules, module_count, NULL, &kept));
    AWQ__TRY(list_skipped(ctx, kept.in, kept.in_count, kept.out, kept.out_count, list, count));
done:
    awq__partition_free(&kept);
    return status;
}

static cJSON *config(awq_context *ctx, const awq__treated *modules, size_t module_count)
{
    char **list;
    size_t count;
    if (list_kept(ctx, modules, module_count, &list, &count) != AWQ_OK)
        return NULL;
    const awq__scheme *scheme = NULL; /* of all: the format is not mixed */
    for (size_t i = 0; i < module_count && !scheme; i++)
        scheme = modules[i].scheme;
    cJSON *object = cJSON_CreateObject();
    bool whole = object && scheme && cJSON_AddStringToObject(object, "quant_method", "awq") &&
                 cJSON_AddNumberToObject(object, "bits", scheme->bits) &&
                 cJSON_AddNumberToObject(object, "group_size", (double)scheme->group) &&
                 cJSON_AddBoolToObject(object, "zero_point", true) &&
                 cJSON_AddStringToObject(object, "version", "gemm");
    /* Of an object that is not whole, NULL included, this fails and still frees the list. */
    if (awq__config_names(ctx, whole ? object : NULL, "modules_to_not_convert", list, count) ==
        AWQ_OK)
        return object;
    cJSON_Delete(object);
    return NULL;
}

/* An integer under one of two names that have been in use. */
static bool get_int(const cJSON *config, const char *name, const char *old_name, int64_t *value)
{
    return awq__json_int(awq__json_at(config, name), value) ||
           awq__json_int(awq__json_at(config, old_name), value);
}

static awq_status read_config(awq_context *ctx, const char *file, const cJSON *config_item,
                              awq__stored *stored)
{
    int64_t bits, group;
    if (!get_int(config_item, "bits", "w_bit", &bits) || bits != 4)
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: quantization_config.bits is not 4, the only one the awq layout has",
                         file);
    if (!get_int(config_item, "group_size", "q_group_size", &group) || (group < 1 && group != -1))
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: quantization_config.group_size is not a positive integer or -1",
                         file);
    const cJSON *version = awq__json_at(config_item, "version");
    if (version && (!cJSON_IsString(version) || strcasecmp(version->valuestring, "gemm")))
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: quantization_config.version is %s, but only gemm can be read", file,
                         cJSON_IsString(version) ? version->valuestring : "not a text");
    *stored = (awq__stored){.has_rest = true, .rest = {.bits = (int)bits, .group = group}};
    return AWQ_OK;
}

static uint32_t load_word(const uint8_t *data, int64_t index)
{
    uint32_t word;
    memcpy(&word, data + index * 4, sizeof word);
    return word;
}

static void read_rows(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    int64_t N = weight->rows, K = weight->cols, words = N / PACK;
    for (int64_t n = first; n < first + count; n++) {
        int shift = 4 * nibble_of[n % PACK];
        for (int64_t b = 0; b < K / weight->group; b++) {
            uint16_t half;
            memcpy(&half, weight->scales + (b * N + n) * 2, sizeof half);
            float scale =
                weight->scale_dtype == AWQ_BF16 ? awq__bf16_to_f32(half) : awq__f16_to_f32(half);
            int zero = (load_word(weight->zeros, b * words + n / PACK) >> shift) & 15;
            for (int64_t k = b * weight->group; k < (b + 1) * weight->group; k++) {
                int code = (load_word(weight->data, k * words + n / PACK) >> shift) & 15;
                out[(n - first) * K + k] = scale * (float)(code - zero);
            }
        }
    }
}

static awq_status open_packed(awq_context *ctx, const awq__checkpoint *checkpoint, awq__held *held,
                              const awq__stored_scheme *stored, const char *module, int64_t rows,
                              int64_t cols, awq__weight *weight, bool *found)
{
    const awq__tensor *codes = NULL;
    awq_status found_status = awq__suffix_find(ctx, checkpoint, module, ".qweight", &codes);
    *found = codes != NULL;
    if (!*found)
        return found_status;
    int64_t group = stored->group < 0 ? cols : stored->group;
    if (cols % group || rows % PACK)
        return awq__fail(
            ctx, AWQ_ERROR_FORMAT,
            "%s: %s is [%lld, %lld], which groups of %lld and words of 8 do not divide",
            awq__checkpoint_directory(checkpoint), module, (long long)rows, (long long)cols,
            (long long)group);
    awq__scheme scheme = {.bits = stored->bits, .group = group};
    awq__spec wanted[AWQ__MAX_SPECS];
    const awq__tensor *tensors[3] = {0};
    specs(rows, cols, &scheme, wanted);
    /* GPTQModel leaves the scales of a BF16 model in its type. */
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, module, ".scales", &tensors[2]));
    if (tensors[2] && tensors[2]->dtype == AWQ_BF16)
        wanted[2].dtype = AWQ_BF16;
    for (int i = 0; i < 3; i++)
        AWQ__CHECK(awq__spec_find(ctx, checkpoint, module, &wanted[i], &tensors[i]));
    *weight = (awq__weight){.rows = rows,
                            .cols = cols,
                            .read = read_rows,
                            .data = awq__held_at(held, tensors[0]),
                            .dtype = tensors[2]->dtype,
                            .zeros = awq__held_at(held, tensors[1]),
                            .scales = awq__held_at(held, tensors[2]),
                            .scale_dtype = tensors[2]->dtype,
                            .bits = stored->bits,
                            .group = group,
                            .name = module};
    return AWQ_OK;
}

const awq__disk_format awq__disk_format_awq = {
    .name = "awq",
    .method = "awq",
    .defaults = defaults,
    .complete = complete,
    .check = check,
    .specs = specs,
    .pack = pack,
    .config = config,
    .read_config = read_config,
    .open = open_packed,
};
