/*
 * The GPTQ layout, which vLLM, SGLang and GPTQModel load. (The rounding of that name is in
 * quant/gptq.c and goes with any layout.) For a linear [N,K], group g, codes of b bits, 2, 4 or 8,
 * P = 32/b of them to a word, the first lowest:
 *   qweight I32 [K/P, N]    code j of word r in column n is that of row n, column r*P + j
 *   qzeros  I32 [K/g, N/P]  zero points along N; version 1 of the layout stores them less one
 *   scales  F16 [K/g, N]
 *   g_idx   I32 [K]         the group of each column: k / g, but for an order of activations
 *   w = scale * (code - zero)
 * Version 1 is written for symmetric codes: it is what engines load, and they load no others.
 * Asymmetric codes are written as version 2, with zero points as they are, which GPTQModel reads:
 * version 1 has no zero point of 0, which every group without negative weights has.
 */
#include "format/format.h"
#include "core/half.h"

#include <string.h>
#include <strings.h>

#define WORD_BITS 32
/* Rows and columns that are packed and read at a time, so that what is strided stays in the
   first-level cache. */
#define TILE_ROWS 64
#define TILE_COLS 32

static const char v1_name[] = "gptq", v2_name[] = "gptq_v2";

static void defaults(int bits, bool *symmetric, int64_t *group)
{
    (void)bits;
    *symmetric = true;
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
                         "%s: E2M1 codes, but the gptq format stores only integers", module);
    if (scheme->bits != 2 && scheme->bits != 4 && scheme->bits != 8)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %d bits, but the gptq format stores only 2, 4 and 8", module,
                         scheme->bits);
    int pack = WORD_BITS / scheme->bits;
    if (rows % pack || cols % pack)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %lld output and %lld input features, but the gptq format packs %d "
                         "codes of %d bits to a word and needs multiples of that",
                         module, (long long)rows, (long long)cols, pack, scheme->bits);
    return AWQ_OK;
}

enum { QWEIGHT, QZEROS, SCALES, G_IDX, SPEC_COUNT };

static int specs(int64_t rows, int64_t cols, const awq__scheme *scheme,
                 awq__spec out[AWQ__MAX_SPECS])
{
    int64_t pack = WORD_BITS / scheme->bits, groups = cols / scheme->group;
    out[QWEIGHT] = (awq__spec){".qweight", AWQ_I32, 2, {cols / pack, rows}};
    out[QZEROS] = (awq__spec){".qzeros", AWQ_I32, 2, {groups, rows / pack}};
    out[SCALES] = (awq__spec){".scales", AWQ_F16, 2, {groups, rows}};
    out[G_IDX] = (awq__spec){".g_idx", AWQ_I32, 1, {cols}};
    return SPEC_COUNT;
}

/* ---- packing ---- */

/* codes[N,K] -> words[K/P, N] */
static void pack_weights(const awq__codes *codes, uint32_t *words)
{
    int64_t N = codes->rows, K = codes->cols;
    int bits = codes->scheme.bits, pack = WORD_BITS / bits;
    for (int64_t first = 0; first < N; first += TILE_ROWS) {
        int64_t end = awq__min(first + TILE_ROWS, N);
        for (int64_t r = 0; r < K / pack; r++)
            for (int64_t n = first; n < end; n++) {
                const uint8_t *from = codes->codes + n * K + r * pack;
                uint32_t word = 0;
                for (int j = 0; j < pack; j++)
                    word |= (uint32_t)from[j] << (bits * j);
                words[r * N + n] = word;
            }
    }
}

/* zeros[N,G] -> words[G, N/P] */
static void pack_zeros(const awq__codes *codes, bool less_one, uint32_t *words)
{
    int64_t N = codes->rows, G = codes->cols / codes->scheme.group;
    int bits = codes->scheme.bits, pack = WORD_BITS / bits;
    memset(words, 0, (size_t)(G * (N / pack)) * sizeof *words);
    for (int64_t n = 0; n < N; n++)
        for (int64_t b = 0; b < G; b++)
            words[b * (N / pack) + n / pack] |= (uint32_t)(codes->zeros[n * G + b] - less_one)
                                                << (n % pack * bits);
}

static void pack_scales(const awq__codes *codes, uint16_t *halves)
{
    int64_t N = codes->rows, G = codes->cols / codes->scheme.group;
    for (int64_t n = 0; n < N; n++)
        for (int64_t b = 0; b < G; b++)
            halves[b * N + n] = awq__f32_to_f16(codes->scales[n * G + b]);
}

void awq__gptq_pack(const awq__codes *codes, bool less_one, uint32_t *qweight, uint32_t *qzeros,
                    uint16_t *scales)
{
    pack_weights(codes, qweight);
    pack_zeros(codes, less_one, qzeros);
    pack_scales(codes, scales);
}

static void pack(const awq__codes *codes, int index, void *out)
{
    if (index == QWEIGHT)
        pack_weights(codes, out);
    else if (index == QZEROS)
        pack_zeros(codes, codes->scheme.symmetric, out);
    else if (index == SCALES)
        pack_scales(codes, out);
    else
        for (int64_t k = 0; k < codes->cols; k++)
            ((int32_t *)out)[k] = (int32_t)(k / codes->scheme.group);
}

/* ---- unpacking ---- */

static uint32_t load_word(const void *words, int64_t index)
{
    uint32_t word;
    memcpy(&word, (const uint8_t *)words + index * (int64_t)sizeof word, sizeof word);
    return word;
}

/* The zero point of row n and group b, in words[G, N/P]. 0 is stored in version 1 as what is below
   it modulo 2^b. */
static int zero_at(const void *words, int bits, bool less_one, int64_t N, int64_t n, int64_t b)
{
    int pack = WORD_BITS / bits;
    uint32_t stored = load_word(words, b * (N / pack) + n / pack) >> (n % pack * bits);
    return (int)((stored + less_one) & ((1u << bits) - 1));
}

void awq__gptq_unpack(awq__codes *codes, bool less_one, const uint32_t *qweight,
                      const uint32_t *qzeros, const uint16_t *scales)
{
    int64_t N = codes->rows, K = codes->cols, G = K / codes->scheme.group;
    int bits = codes->scheme.bits, pack = WORD_BITS / bits;
    for (int64_t n = 0; n < N; n++) {
        for (int64_t k = 0; k < K; k++)
            codes->codes[n * K + k] =
                (uint8_t)(qweight[k / pack * N + n] >> (k % pack * bits) & ((1u << bits) - 1));
        for (int64_t b = 0; b < G; b++) {
            codes->zeros[n * G + b] = (uint8_t)zero_at(qzeros, bits, less_one, N, n, b);
            codes->scales[n * G + b] = awq__f16_to_f32(scales[b * N + n]);
        }
    }
}

static int64_t group_of(const awq__weight *weight, int64_t k)
{
    return weight->group_of ? load_word(weight->group_of, k) : k / weight->group;
}

/* Some rows of a matrix, with the scales and zero points of the group that was met last. */
typedef struct tile {
    int64_t first, rows; /* up to TILE_ROWS */
    int64_t group;       /* -1: none yet */
    float scales[TILE_ROWS], zeros[TILE_ROWS];
} tile;

static void load_group(const awq__weight *weight, bool less_one, int64_t group, tile *t)
{
    int64_t N = weight->rows;
    t->group = group;
    for (int64_t i = 0; i < t->rows; i++) {
        int64_t n = t->first + i;
        uint16_t half;
        memcpy(&half, weight->scales + (group * N + n) * (int64_t)sizeof half, sizeof half);
        t->scales[i] = awq__f16_to_f32(half);
        t->zeros[i] = (float)zero_at(weight->zeros, weight->bits, less_one, N, n, group);
    }
}

/* Columns k .. k+count-1 of the tile's rows -> out, K apart. */
static void read_columns(const awq__weight *weight, bool less_one, int64_t k, int64_t count,
                         tile *t, float *out)
{
    float values[TILE_ROWS][TILE_COLS];
    int bits = weight->bits, pack = WORD_BITS / bits;
    for (int64_t j = 0; j < count; j++) {
        int64_t group = group_of(weight, k + j), word = (k + j) / pack * weight->rows + t->first;
        int shift = (int)((k + j) % pack) * bits;
        if (group != t->group)
            load_group(weight, less_one, group, t);
        for (int64_t i = 0; i < t->rows; i++) {
            uint32_t code = load_word(weight->data, word + i) >> shift & ((1u << bits) - 1);
            values[i][j] = t->scales[i] * ((float)code - t->zeros[i]);
        }
    }
    for (int64_t i = 0; i < t->rows; i++)
        memcpy(out + i * weight->cols + k, values[i], (size_t)count * sizeof **values);
}

static void read_rows(const awq__weight *weight, bool less_one, int64_t first, int64_t count,
                      float *out)
{
    int64_t K = weight->cols;
    for (int64_t n = 0; n < count; n += TILE_ROWS) {
        tile t = {.first = first + n, .rows = awq__min(TILE_ROWS, count - n), .group = -1};
        for (int64_t k = 0; k < K; k += TILE_COLS)
            read_columns(weight, less_one, k, awq__min(TILE_COLS, K - k), &t, out + n * K);
    }
}

static void read_v1(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_rows(weight, true, first, count, out);
}

static void read_v2(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_rows(weight, false, first, count, out);
}

/* ---- config.json ---- */

/* The version is that of the checkpoint, and with it what zero points mean. */
static awq_status check_symmetry(awq_context *ctx, const awq__treated *modules,
                                 const awq__scheme_use *uses, size_t use_count)
{
    for (size_t i = 1; i < use_count; i++)
        if (uses[i].scheme->symmetric != uses[0].scheme->symmetric)
            return awq__fail(ctx, AWQ_ERROR_RECIPE,
                             "%s and %s: one is symmetric and one is not, but the gptq format has "
                             "one symmetry for all; format compressed-tensors can mix them",
                             modules[uses[0].first].name, modules[uses[i].first].name);
    return AWQ_OK;
}

/* False when memory is short, as for no object. */
static bool add_scheme(cJSON *object, const awq__scheme *scheme)
{
    /* All statistics are those of the model as it was: nothing is sequential within a layer. */
    return object && cJSON_AddStringToObject(object, "quant_method", "gptq") &&
           cJSON_AddNumberToObject(object, "bits", scheme->bits) &&
           cJSON_AddNumberToObject(object, "group_size", (double)scheme->group) &&
           cJSON_AddBoolToObject(object, "desc_act", false) &&
           cJSON_AddBoolToObject(object, "sym", scheme->symmetric) &&
           cJSON_AddBoolToObject(object, "lm_head", false) &&
           cJSON_AddStringToObject(object, "checkpoint_format",
                                   scheme->symmetric ? v1_name : v2_name) &&
           cJSON_AddBoolToObject(object, "true_sequential", false);
}

static cJSON *config(awq_context *ctx, const awq__treated *modules, size_t count)
{
    awq__scheme_use *uses = NULL;
    size_t use_count = 0;
    cJSON *object = cJSON_CreateObject();
    awq_status status;
    AWQ__TRY(awq__scheme_uses(ctx, modules, count, &uses, &use_count));
    AWQ__TRY(check_symmetry(ctx, modules, uses, use_count));
    if (!add_scheme(object, uses[0].scheme))
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: quantization_config"));
    AWQ__TRY(awq__dynamic_rules(ctx, modules, count, uses, use_count, object));
done:
    awq__free(uses);
    if (status == AWQ_OK)
        return object;
    cJSON_Delete(object);
    return NULL;
}

/* Changes what the object says of the scheme; `all` of it must be said. */
static awq_status read_scheme(awq_context *ctx, const char *file, const cJSON *object, bool all,
                              awq__stored_scheme *scheme)
{
    const cJSON *bits = awq__json_at(object, "bits"), *group = awq__json_at(object, "group_size");
    const cJSON *symmetric = awq__json_at(object, "sym");
    const cJSON *order = awq__json_at(object, "desc_act");
    int64_t bit_count = scheme->bits, group_size = scheme->group;
    const struct {
        const char *key;
        const cJSON *item;
        bool right;
        const char *fits;
    } checks[] = {
        {"bits", bits,
         awq__json_int(bits, &bit_count) && (bit_count == 2 || bit_count == 4 || bit_count == 8),
         "2, 4 or 8"},
        {"group_size", group,
         awq__json_int(group, &group_size) && (group_size > 0 || group_size == -1),
         "a positive integer or -1"},
        {"sym", symmetric, cJSON_IsBool(symmetric), "true or false"},
        {"desc_act", order, cJSON_IsBool(order), "true or false"},
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i].right && (all || checks[i].item))
            return awq__stored_refuse(ctx, file, checks[i].key, checks[i].item, checks[i].fits);
    scheme->bits = (int)bit_count;
    scheme->group = group_size;
    if (symmetric)
        scheme->symmetric = cJSON_IsTrue(symmetric) != 0;
    if (order)
        scheme->ordered = cJSON_IsTrue(order) != 0;
    return AWQ_OK;
}

/* One member of `dynamic`: "+:REGEX", or REGEX alone, changes the scheme, "-:REGEX" keeps. */
static awq_status read_rule(awq_context *ctx, const char *file, const cJSON *rule,
                            awq__stored *stored)
{
    const char *regex = rule->string;
    bool keeps = !strncmp(regex, "-:", 2);
    awq__stored_scheme scheme = stored->rest;
    if (!cJSON_IsObject(rule))
        return awq__stored_refuse(ctx, file, "a rule of dynamic", rule, "an object");
    if (keeps || !strncmp(regex, "+:", 2))
        regex += 2;
    if (!keeps)
        AWQ__CHECK(read_scheme(ctx, file, rule, false, &scheme));
    AWQ__CHECK(awq__stored_add_group(ctx, stored, !keeps, &scheme));
    char *pattern = awq__format(ctx, "re:%s", regex);
    AWQ__CHECK_ALLOC(pattern);
    awq_status status = awq__stored_add_pattern(ctx, stored, file, pattern, AWQ__NAME_EXACT);
    awq__free(pattern);
    return status;
}

/* The version, under one of two names that are in use; the first version had none. */
static awq_status read_version(awq_context *ctx, const char *file, const cJSON *config_item,
                               bool *less_one)
{
    const cJSON *version = awq__json_at(config_item, "checkpoint_format");
    const cJSON *marlin = awq__json_at(config_item, "is_marlin_format");
    const cJSON *words = awq__json_at(config_item, "pack_dtype");
    if (!version)
        version = awq__json_at(config_item, "format");
    const char *text = version ? cJSON_GetStringValue(version) : v1_name;
    bool second = text && !strcasecmp(text, v2_name);
    *less_one = !second;
    if (!text || (!second && strcasecmp(text, v1_name) != 0))
        return awq__stored_refuse(ctx, file, "checkpoint_format", version,
                                  "\"gptq\" or \"gptq_v2\"");
    if (cJSON_IsTrue(marlin))
        return awq__stored_refuse(ctx, file, "is_marlin_format", marlin, "false");
    if (words && (!cJSON_IsString(words) || strcmp(words->valuestring, "int32") != 0))
        return awq__stored_refuse(ctx, file, "pack_dtype", words, "\"int32\"");
    return AWQ_OK;
}

static awq_status read_config(awq_context *ctx, const char *file, const cJSON *config_item,
                              awq__stored *stored)
{
    const cJSON *dynamic = awq__json_at(config_item, "dynamic"), *rule;
    *stored = (awq__stored){.has_rest = true};
    AWQ__CHECK(read_version(ctx, file, config_item, &stored->rest.zeros_less_one));
    AWQ__CHECK(read_scheme(ctx, file, config_item, true, &stored->rest));
    if (dynamic && !cJSON_IsNull(dynamic) && !cJSON_IsObject(dynamic))
        AWQ__CHECK(awq__stored_refuse(ctx, file, "dynamic", dynamic, "an object or null"));
    cJSON_ArrayForEach(rule, dynamic)
    {
        AWQ__CHECK(read_rule(ctx, file, rule, stored));
    }
    return AWQ_OK;
}

/* ---- tensors on disk ---- */

/* Whether g_idx says what desc_act does. *natural: the groups are k / group. */
static awq_status check_order(awq_context *ctx, const awq__tensor *tensor, const uint8_t *data,
                              const awq__stored_scheme *stored, int64_t group, bool *natural)
{
    int64_t K = tensor->shape[0], G = K / group, other = -1;
    bool filled = false;
    for (int64_t k = 0; k < K; k++) {
        int32_t found = (int32_t)load_word(data, k);
        if (found < 0 || found >= G)
            return awq__fail(
                ctx, AWQ_ERROR_FORMAT, "%s: %s puts column %lld in group %d, expected 0 to %lld",
                tensor->file, tensor->name, (long long)k, (int)found, (long long)(G - 1));
        filled |= found != 0;
        if (found != k / group && other < 0)
            other = k;
    }
    /* Without an order engines do not look at g_idx, and some writers leave it zero, as does a
       checkpoint in the making. */
    *natural = other < 0 || (!filled && !stored->ordered);
    if (*natural || stored->ordered)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_FORMAT,
                     "%s: %s puts column %lld in group %d, but quantization_config says desc_act "
                     "false, with which it is in group %lld",
                     tensor->file, tensor->name, (long long)other, (int)load_word(data, other),
                     (long long)(other / group));
}

/* Engines take the middle code for the zero point of symmetric codes, whatever is stored. Zeros
   are what a checkpoint in the making holds, before the module is written. */
static awq_status check_middle(awq_context *ctx, const awq__tensor *tensor, const uint8_t *data,
                               const awq__stored_scheme *stored)
{
    uint32_t middle = (1u << (stored->bits - 1)) - stored->zeros_less_one, expected = 0;
    int64_t words = awq__tensor_elements(tensor), first = 0;
    for (int shift = 0; shift < WORD_BITS; shift += stored->bits)
        expected |= middle << shift;
    while (first < words && load_word(data, first) == 0)
        first++;
    if (first == words)
        return AWQ_OK;
    for (int64_t i = 0; i < words; i++)
        if (load_word(data, i) != expected)
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: %s has the word 0x%08x, but quantization_config says sym true "
                             "and checkpoint_format %s, with which all are 0x%08x",
                             tensor->file, tensor->name, load_word(data, i),
                             stored->zeros_less_one ? v1_name : v2_name, expected);
    return AWQ_OK;
}

/* The module has tensors of the right shapes. tensors[G_IDX] is NULL where there need be none. */
static awq_status find_tensors(awq_context *ctx, const awq__checkpoint *checkpoint,
                               const awq__stored_scheme *stored, const char *module, int64_t rows,
                               int64_t cols, const awq__tensor *tensors[SPEC_COUNT])
{
    int64_t group = stored->group < 0 ? cols : stored->group, words = WORD_BITS / stored->bits;
    if (cols % group || cols % words || rows % words)
        return awq__fail(
            ctx, AWQ_ERROR_FORMAT,
            "%s: %s is [%lld, %lld], which groups of %lld and words of %lld do not divide",
            awq__checkpoint_directory(checkpoint), module, (long long)rows, (long long)cols,
            (long long)group, (long long)words);
    awq__scheme scheme = {.bits = stored->bits, .group = group};
    awq__spec wanted[AWQ__MAX_SPECS];
    specs(rows, cols, &scheme, wanted);
    char *order = awq__format(ctx, "%s%s", module, wanted[G_IDX].suffix);
    AWQ__CHECK_ALLOC(order);
    bool needs_order = stored->ordered || awq__checkpoint_find(checkpoint, order);

    awq__free(order);
    for (int i = 0; i < (needs_order ? SPEC_COUNT : G_IDX); i++)
        AWQ__CHECK(awq__spec_find(ctx, checkpoint, module, &wanted[i], &tensors[i]));
    return AWQ_OK;
}

/* Looks at what is constant in the tensors. */
static awq_status check_constants(awq_context *ctx, awq__held *held,
                                  const awq__tensor *const *tensors,
                                  const awq__stored_scheme *stored, int64_t group, bool *natural)
{
    uint8_t *order = NULL, *zeros = NULL;
    const uint8_t *data;
    awq_status status = AWQ_OK;
    *natural = true;
    if (tensors[G_IDX]) {
        AWQ__TRY(awq__held_look(ctx, held, tensors[G_IDX], AWQ__MAX_LOOK_BYTES, &order, &data));
        AWQ__TRY(check_order(ctx, tensors[G_IDX], data, stored, group, natural));
    }
    if (stored->symmetric) {
        AWQ__TRY(awq__held_look(ctx, held, tensors[QZEROS], AWQ__MAX_LOOK_BYTES, &zeros, &data));
        AWQ__TRY(check_middle(ctx, tensors[QZEROS], data, stored));
    }
done:
    awq__free(order);
    awq__free(zeros);
    return status;
}

static awq_status open_packed(awq_context *ctx, const awq__checkpoint *checkpoint, awq__held *held,
                              const awq__stored_scheme *stored, const char *module, int64_t rows,
                              int64_t cols, awq__weight *weight, bool *found)
{
    const awq__tensor *tensors[SPEC_COUNT] = {0};
    int64_t group = stored->group < 0 ? cols : stored->group;
    bool natural;
    char *name = awq__format(ctx, "%s.qweight", module);
    AWQ__CHECK_ALLOC(name);
    *found = awq__checkpoint_find(checkpoint, name) != NULL;

    awq__free(name);
    if (!*found)
        return AWQ_OK;
    AWQ__CHECK(find_tensors(ctx, checkpoint, stored, module, rows, cols, tensors));
    AWQ__CHECK(check_constants(ctx, held, tensors, stored, group, &natural));
    *weight = (awq__weight){.rows = rows,
                            .cols = cols,
                            .read = stored->zeros_less_one ? read_v1 : read_v2,
                            .data = awq__held_at(held, tensors[QWEIGHT]),
                            .dtype = AWQ_F16,
                            .zeros = awq__held_at(held, tensors[QZEROS]),
                            .scales = awq__held_at(held, tensors[SCALES]),
                            .scale_dtype = AWQ_F16,
                            .bits = stored->bits,
                            .group = group,
                            .group_of = natural ? NULL : awq__held_at(held, tensors[G_IDX]),
                            .name = module};
    return AWQ_OK;
}

const awq__disk_format awq__disk_format_gptq = {
    .name = "gptq",
    .method = "gptq",
    .defaults = defaults,
    .complete = complete,
    .mixed = true,
    .check = check,
    .specs = specs,
    .pack = pack,
    .config = config,
    .read_config = read_config,
    .open = open_packed,
};
