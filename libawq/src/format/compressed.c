/* clang-format off */
/*
 * The compressed-tensors layout "pack-quantized", which vLLM, SGLang and transformers 5 load. For a
 * linear [N,K], group g, codes of b bits, 2, 4 or 8:
 *   weight_packed      I32 [N, K*b/32]    code k of a row at bit k*b of the row
 *   weight_scale       [N, K/g]           BF16, F16 or F32
 *   weight_shape       I64 [2]            N, K
 *   weight_zero_point  I32 [N*b/32, K/g]  along N; 2^(b-1), and not stored, of symmetric codes
 *   w = scale * (code - zero)
 * Words are little-endian, so that bit i of a row lies in its byte i/8.
 */
/* clang-format on */
#include "format/format.h"
#include "core/convert.h"

#include <stdio.h>
#include <string.h>

#define LAYOUT "pack-quantized"
#define FLOATS "float-quantized"
#define WORD_BITS 32

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

static awq_dtype scale_dtype(awq__scale_grid scale_grid)
{
    switch (scale_grid) {
    case AWQ__GRID_BF16:
        return AWQ_BF16;
    case AWQ__GRID_F32:
        return AWQ_F32;
    default:
        return AWQ_F16;
    }
}

static awq_status check(awq_context *ctx, const char *module, int64_t rows, int64_t cols,
                        const awq__scheme *scheme)
{
    if (scheme->code != AWQ__CODE_INTEGER)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: E2M1 codes, but the compressed-tensors format stores only integers",
                         module);
    if (scheme->bits != 2 && scheme->bits != 4 && scheme->bits != 8)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %d bits, but the compressed-tensors format stores only 2, 4 and 8",
                         module, scheme->bits);
    int pack = WORD_BITS / scheme->bits;
    if (cols % pack)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %lld input features (of %lld outputs), but the compressed-tensors "
                         "format packs %d to a word and needs a multiple of that",
                         module, (long long)cols, (long long)rows, pack);
    if (!scheme->symmetric && rows % pack)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %lld output features (of %lld inputs), but the compressed-tensors "
                         "format packs the zero points of %d to a word and needs a multiple of "
                         "that, or symmetric codes",
                         module, (long long)rows, (long long)cols, pack);
    return AWQ_OK;
}

/* Words that hold `count` codes. */
static int64_t words_for(int64_t count, int bits)
{
    return awq__ceil_div(count, WORD_BITS / bits);
}

enum { PACKED, SCALE, SHAPE, ZERO_POINT };

static int specs(int64_t rows, int64_t cols, const awq__scheme *scheme,
                 awq__spec out[AWQ__MAX_SPECS])
{
    int64_t groups = cols / scheme->group;
    int bits = scheme->bits;
    out[PACKED] = (awq__spec){".weight_packed", AWQ_I32, 2, {rows, words_for(cols, bits)}};
    out[SCALE] = (awq__spec){".weight_scale", scale_dtype(scheme->grid), 2, {rows, groups}};
    out[SHAPE] = (awq__spec){".weight_shape", AWQ_I64, 1, {2}};
    out[ZERO_POINT] =
        (awq__spec){".weight_zero_point", AWQ_I32, 2, {words_for(rows, bits), groups}};
    return scheme->symmetric ? ZERO_POINT : ZERO_POINT + 1;
}

/* ---- packing ---- */

/* Each row of codes -> words_for(K) words. */
static void pack_rows(const awq__codes *codes, uint32_t *words)
{
    int bits = codes->scheme.bits, pack = WORD_BITS / bits;
    int64_t K = codes->cols;
    for (int64_t n = 0; n < codes->rows; n++)
        for (int64_t k = 0; k < K; k += pack) {
            const uint8_t *code = codes->codes + n * K + k;
            uint32_t word = 0;
            for (int64_t i = 0; i < awq__min(pack, K - k); i++)
                word |= (uint32_t)code[i] << (i * bits);
            *words++ = word;
        }
}

/* zeros[N,G] -> words[N*b/32, G] */
static void pack_zeros(const awq__codes *codes, uint32_t *words)
{
    int bits = codes->scheme.bits, pack = WORD_BITS / bits;
    int64_t G = codes->cols / codes->scheme.group;
    memset(words, 0, (size_t)(words_for(codes->rows, bits) * G) * sizeof *words);
    for (int64_t n = 0; n < codes->rows; n++)
        for (int64_t b = 0; b < G; b++)
            words[n / pack * G + b] |= (uint32_t)codes->zeros[n * G + b] << (n % pack * bits);
}

static void pack(const awq__codes *codes, int index, void *out)
{
    int64_t N = codes->rows, K = codes->cols;
    if (index == PACKED)
        pack_rows(codes, out);
    else if (index == SCALE)
        /* Cannot fail: the dtype is a float. */
        awq__narrow(NULL, scale_dtype(codes->scheme.grid), codes->scales,
                    (size_t)(N * (K / codes->scheme.group)), out);
    else if (index == SHAPE)
        memcpy(out, (int64_t[]){N, K}, 2 * sizeof(int64_t));
    else
        pack_zeros(codes, out);
}

/* ---- unpacking ---- */

/* How codes follow one another in words: whole codes in each, with bits left over where 3 bits are
   10 codes, or, from compressed-tensors 0.18 on, without a gap. */
typedef struct packing {
    int bits;
    bool dense;
} packing;

static int64_t packed_words(packing p, int64_t count)
{
    return p.dense ? awq__ceil_div(count * p.bits, WORD_BITS) : words_for(count, p.bits);
}

static uint32_t load_word(const uint8_t *words, int64_t index)
{
    uint32_t word;
    memcpy(&word, words + index * (WORD_BITS / 8), sizeof word);
    return word;
}

/* Code number `index` of words that lie `stride` words apart. */
static uint8_t code_at(const uint8_t *words, packing p, int64_t stride, int64_t index)
{
    int pack = WORD_BITS / p.bits;
    int64_t bit = p.dense ? index * p.bits : index / pack * WORD_BITS + index % pack * p.bits;
    int64_t word = bit / WORD_BITS, shift = bit % WORD_BITS;
    uint64_t both = load_word(words, word * stride);
    if (shift + p.bits > WORD_BITS)
        both |= (uint64_t)load_word(words, (word + 1) * stride) << WORD_BITS;
    return (uint8_t)(both >> shift & ((1u << p.bits) - 1));
}

/* The zero point of row n and group b, in words[N*b/32, G]; words NULL is symmetric. */
static uint8_t zero_at(const uint8_t *words, packing p, int64_t G, int64_t n, int64_t b)
{
    return words ? code_at(words + b * (WORD_BITS / 8), p, G, n) : (uint8_t)(1 << (p.bits - 1));
}

static const uint8_t *packed_row(const void *words, packing p, int64_t K, int64_t n)
{
    return (const uint8_t *)words + n * packed_words(p, K) * (WORD_BITS / 8);
}

void awq__compressed_unpack(awq__codes *codes, const uint32_t *weight_packed,
                            const void *weight_scale, const uint32_t *weight_zero_point)
{
    const packing p = {codes->scheme.bits, .dense = true}; /* of 2, 4 or 8 there are no gaps */
    int64_t N = codes->rows, K = codes->cols, G = K / codes->scheme.group;
    const void *zeros = codes->scheme.symmetric ? NULL : weight_zero_point;
    for (int64_t n = 0; n < N; n++) {
        const uint8_t *row = packed_row(weight_packed, p, K, n);
        for (int64_t k = 0; k < K; k++)
            codes->codes[n * K + k] = code_at(row, p, 1, k);
        for (int64_t b = 0; b < G; b++)
            codes->zeros[n * G + b] = zero_at(zeros, p, G, n, b);
    }
    /* Cannot fail: the dtype is a float. */
    awq__widen(NULL, scale_dtype(codes->scheme.grid), weight_scale, (size_t)(N * G), codes->scales);
}

/* Codes first .. first+count-1 of a row that have one scale. Of 4 bits, as most are, two lie in a
   byte. */
static void read_run(const uint8_t *row, packing p, int64_t first, int64_t count, float scale,
                     float zero, float *out)
{
    float values[16];
    if (p.bits != 4) {
        for (int64_t i = 0; i < count; i++)
            out[i] = scale * ((float)code_at(row, p, 1, first + i) - zero);
        return;
    }
    for (int code = 0; code < 16; code++)
        values[code] = scale * ((float)code - zero);
    for (int64_t i = 0; i < count; i++)
        out[i] = values[row[(first + i) / 2] >> (first + i) % 2 * 4 & 15];
}

static void read_packed(const awq__weight *weight, packing p, int64_t first, int64_t count,
                        float *out)
{
    int64_t K = weight->cols, g = weight->group, G = K / g;
    size_t scale_bytes = (size_t)awq_dtype_bits(weight->scale_dtype) / 8;
    for (int64_t n = first; n < first + count; n++) {
        const uint8_t *row = packed_row(weight->data, p, K, n);
        float *to = out + (n - first) * K;
        for (int64_t b = 0; b < G; b++) {
            float scale = 0, zero = zero_at(weight->zeros, p, G, n, b);
            awq__widen(NULL, weight->scale_dtype,
                       weight->scales + (size_t)(n * G + b) * scale_bytes, 1, &scale);
            read_run(row, p, b * g, g, scale, zero, to + b * g);
        }
    }
}

static void read_rows(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_packed(weight, (packing){.bits = weight->bits}, first, count, out);
}

static void read_dense(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_packed(weight, (packing){weight->bits, .dense = true}, first, count, out);
}

/* ---- config.json ---- */

/* Readers refuse keys that their version does not know: these are known to all. */
static char *codes_text(awq_context *ctx, const awq__scheme *scheme)
{
    char group_size[32] = "null";
    if (scheme->group >= 0)
        snprintf(group_size, sizeof group_size, "%lld", (long long)scheme->group);
    return awq__format(ctx,
                       "{\"targets\": [], \"format\": \"" LAYOUT "\", \"weights\": {"
                       "   \"num_bits\": %d, \"type\": \"int\", \"symmetric\": %s,"
                       "   \"strategy\": \"%s\", \"group_size\": %s, \"dynamic\": false,"
                       "   \"actorder\": null, \"block_structure\": null,"
                       "   \"observer\": \"minmax\", \"observer_kwargs\": {}},"
                       "  \"input_activations\": null, \"output_activations\": null}",
                       scheme->bits, scheme->symmetric ? "true" : "false",
                       scheme->group < 0 ? "channel" : "group", group_size);
}

/* Activations are rounded as they come, which is what the engines of the source do as well. */
static char *floats_text(awq_context *ctx, const awq__scheme *scheme)
{
    bool blocks = scheme->group > 0;
    char structure[64] = "null", group_size[32] = "null";
    if (blocks) {
        snprintf(structure, sizeof structure, "[%lld, %lld]", (long long)scheme->rows,
                 (long long)scheme->group);
        snprintf(group_size, sizeof group_size, "%lld", (long long)scheme->group);
    }
    return awq__format(ctx,
                       "{\"targets\": [], \"format\": \"" FLOATS "\", \"weights\": {"
                       "   \"num_bits\": 8, \"type\": \"float\", \"symmetric\": true,"
                       "   \"strategy\": \"%s\", \"block_structure\": %s, \"dynamic\": false,"
                       "   \"group_size\": null, \"actorder\": null,"
                       "   \"observer\": \"minmax\", \"observer_kwargs\": {}},"
                       "  \"input_activations\": {"
                       "   \"num_bits\": 8, \"type\": \"float\", \"symmetric\": true,"
                       "   \"strategy\": \"%s\", \"group_size\": %s, \"dynamic\": true},"
                       "  \"output_activations\": null}",
                       blocks             ? "block"
                       : scheme->rows > 0 ? "channel"
                                          : "tensor",
                       structure, blocks ? "group" : "token", group_size);
}

/* An entry of config_groups, without its targets. */
static cJSON *make_group(awq_context *ctx, const awq__scheme *scheme)
{
    char *text =
        scheme->code == AWQ__CODE_E4M3 ? floats_text(ctx, scheme) : codes_text(ctx, scheme);
    cJSON *object = NULL;
    if (text && awq__json_parse(ctx, "quantization_config", text, strlen(text), &object) != AWQ_OK)
        object = NULL;
    awq__free(text);
    return object;
}

/* Patterns that match the names of one scheme (NULL: of kept modules) and no others. */
static awq_status list_names(awq_context *ctx, const awq__treated *modules, size_t count,
                             const awq__scheme *scheme, cJSON *parent, const char *key)
{
    awq__partition names;
    char **list = NULL;
    size_t list_count = 0;
    awq_status status;
    AWQ__TRY(awq__partition_create(ctx, modules, count, scheme, &names));
    AWQ__TRY(awq__ignore_list(ctx, names.in, names.in_count, names.out, names.out_count, &list,
                              &list_count));
    AWQ__TRY(awq__config_names(ctx, parent, key, list, list_count));
done:
    awq__partition_free(&names);
    return status;
}

/* The most used scheme is that of "Linear", whatever no other group names; others name theirs. */
static awq_status add_groups(awq_context *ctx, const awq__treated *modules, size_t count,
                             cJSON *config)
{
    awq__scheme_use *uses = NULL;
    size_t use_count = 0;
    cJSON *groups = cJSON_AddObjectToObject(config, "config_groups");
    if (!groups)
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: config_groups");
    awq_status status;
    AWQ__TRY(awq__scheme_uses(ctx, modules, count, &uses, &use_count));
    for (size_t i = 0; i < use_count; i++) {
        char name[32];
        snprintf(name, sizeof name, "group_%zu", i);
        cJSON *group = make_group(ctx, uses[i].scheme);
        if (!group || !cJSON_AddItemToObject(groups, name, group))
            AWQ__TRY(awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: config_groups"));
        if (i == 0) {
            cJSON *all = cJSON_CreateString("Linear");
            if (!all || !cJSON_AddItemToArray(cJSON_GetObjectItem(group, "targets"), all))
                AWQ__TRY(awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: config_groups"));
            continue;
        }

        cJSON_DeleteItemFromObject(group, "targets");
        AWQ__TRY(list_names(ctx, modules, count, uses[i].scheme, group, "targets"));
    }
done:
    awq__free(uses);
    return status;
}

/* One layout for all, or that each group has its own. */
static const char *layout_of(const awq__treated *modules, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (modules[i].scheme && modules[i].scheme->code == AWQ__CODE_E4M3)
            return "mixed-precision";
    return LAYOUT;
}

static cJSON *config(awq_context *ctx, const awq__treated *modules, size_t count)
{
    char head[256];
    cJSON *object = NULL;
    awq_status status;
    snprintf(head, sizeof head,
             "{\"quant_method\": \"compressed-tensors\", \"format\": \"%s\","
             " \"quantization_status\": \"compressed\", \"version\": \"0.11.0\","
             " \"global_compression_ratio\": null, \"kv_cache_scheme\": null}",
             layout_of(modules, count));
    AWQ__TRY(awq__json_parse(ctx, "quantization_config", head, strlen(head), &object));
    AWQ__TRY(add_groups(ctx, modules, count, object));
    AWQ__TRY(list_names(ctx, modules, count, NULL, object, "ignore"));
    return object;
done:
    cJSON_Delete(object);
    return NULL;
}

/* ---- tensors on disk ---- */

/* weight_shape, if there is one, says the same as weight_packed. */
static awq_status check_shape(awq_context *ctx, const awq__tensor *tensor, const char *module,
                              int64_t rows, int64_t cols)
{
    int64_t shape[2];
    AWQ__CHECK(awq__tensor_read(ctx, tensor, 0, sizeof shape, shape));
    if (shape[0] == rows && shape[1] == cols)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_FORMAT,
                     "%s: %s.weight_shape says [%lld, %lld], expected [%lld, %lld]", tensor->file,
                     module, (long long)shape[0], (long long)shape[1], (long long)rows,
                     (long long)cols);
}

/* A tensor that would change what the others mean. */
static awq_status check_absent(awq_context *ctx, const awq__checkpoint *checkpoint,
                               const char *module, const char *suffix, const char *why)
{
    const awq__tensor *tensor;
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, module, suffix, &tensor));
    if (tensor)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %s is there, but quantization_config says %s",
                         tensor->file, tensor->name, why);
    return AWQ_OK;
}

static awq_status open_packed(awq_context *ctx, const awq__checkpoint *checkpoint, awq__held *held,
                              const awq__stored_scheme *stored, const char *module, int64_t rows,
                              int64_t cols, awq__weight *weight, bool *found)
{
    const awq__tensor *tensors[AWQ__MAX_SPECS] = {0};
    *found = false;
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, module, ".weight_packed", &tensors[PACKED]));
    if (!tensors[PACKED])
        return AWQ_OK;
    *found = true;
    int64_t group = stored->group < 0 ? cols : stored->group;
    if (cols % group)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: %s is [%lld, %lld], which groups of %lld do not divide",
                         awq__checkpoint_directory(checkpoint), module, (long long)rows,
                         (long long)cols, (long long)group);
    AWQ__CHECK(check_absent(ctx, checkpoint, module, ".weight_g_idx", "no actorder \"group\""));
    if (stored->symmetric)
        AWQ__CHECK(check_absent(ctx, checkpoint, module, ".weight_zero_point", "symmetric true"));
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, module, ".weight_scale", &tensors[SCALE]));
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, module, ".weight_shape", &tensors[SHAPE]));
    awq__scheme scheme = {.bits = stored->bits, .group = group, .symmetric = stored->symmetric};
    awq__spec wanted[AWQ__MAX_SPECS];
    int count = specs(rows, cols, &scheme, wanted);
    const packing dense = {stored->bits, .dense = true};
    bool is_dense =
        tensors[PACKED]->rank == 2 && tensors[PACKED]->shape[1] == packed_words(dense, cols);
    if (is_dense) {
        wanted[PACKED].shape[1] = packed_words(dense, cols);
        wanted[ZERO_POINT].shape[0] = packed_words(dense, rows);
    }
    const awq__tensor *scale = tensors[SCALE];
    wanted[SCALE].dtype =
        scale && (scale->dtype == AWQ_F16 || scale->dtype == AWQ_F32) ? scale->dtype : AWQ_BF16;
    for (int i = 0; i < count; i++) {
        if (i == SHAPE && !tensors[SHAPE])
            continue;
        AWQ__CHECK(awq__spec_find(ctx, checkpoint, module, &wanted[i], &tensors[i]));
    }
    *weight = (awq__weight){
        .rows = rows,
        .cols = cols,
        .read = is_dense ? read_dense : read_rows,
        .data = awq__held_at(held, tensors[PACKED]),
        .dtype = tensors[SCALE]->dtype == AWQ_BF16 ? AWQ_BF16 : AWQ_F16,
        .scales = awq__held_at(held, tensors[SCALE]),
        .scale_dtype = tensors[SCALE]->dtype,
        .zeros = stored->symmetric ? NULL : awq__held_at(held, tensors[ZERO_POINT]),
        .bits = stored->bits,
        .group = group,
        .name = module,
    };
    return tensors[SHAPE] ? check_shape(ctx, tensors[SHAPE], module, rows, cols) : AWQ_OK;
}

const awq__disk_format awq__disk_format_compressed = {
    .name = "compressed-tensors",
    .method = "compressed-tensors",
    .defaults = defaults,
    .complete = complete,
    .mixed = true,
    .keeps_fp8 = true,
    .source = true,
    .check = check,
    .specs = specs,
    .constant = 1U << SHAPE,
    .pack = pack,
    .config = config,
    .read_config = awq__compressed_read_config,
    .open = open_packed,
};
