/*
 * The layouts of bitsandbytes, which transformers loads: NF4 for 4 bits, LLM.int8 for 8. For a
 * linear [N,K], NF4 with double quantization, n = N*K:
 *   weight                      U8 [n/2, 1]   byte j: code 2j above, code 2j+1 below
 *   weight.absmax               U8 [n/64]     codes of the scales of blocks of 64
 *   weight.quant_map            F32 [16]      what a code stands for
 *   weight.nested_absmax        F32 [n/64/256, rounded up]
 *   weight.nested_quant_map     F32 [256]     what a code of a scale stands for
 *   weight.quant_state.bitsandbytes__nf4  U8  JSON: sizes, types, the offset of the scales
 *   w = (nested_quant_map[absmax] * nested_absmax + offset) * quant_map[code]
 * Without it absmax is F32 [n/64] and is the scale; that is read, not written. LLM.int8:
 *   weight         I8 [N,K]
 *   SCB            F32 [N]   w = weight * (SCB / 127)
 *   weight_format  U8 []     0: in rows
 */
#include "format/format.h"
#include "compute/nf4.h"

#include <string.h>

static bool is_int8(const awq__scheme *scheme)
{
    return scheme->bits == 8;
}

static void defaults(int bits, bool *symmetric, int64_t *group)
{
    *symmetric = true;
    *group = bits == 8 ? -1 : AWQ__NF4_GROUP;
}

/* The type of the weights is said beside the codes; scales do not depend on it. */
static void complete(awq__scheme *scheme, awq_dtype dtype)
{
    (void)dtype;
    scheme->code = is_int8(scheme) ? AWQ__CODE_INTEGER : AWQ__CODE_NF4;
    scheme->grid = is_int8(scheme) ? AWQ__GRID_F32_127 : AWQ__GRID_NESTED;
}

static awq_status check(awq_context *ctx, const char *module, int64_t rows, int64_t cols,
                        const awq__scheme *scheme)
{
    if (scheme->bits != 4 && scheme->bits != 8)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %d bits, but the bitsandbytes format stores only 4 (NF4) and 8 "
                         "(LLM.int8)",
                         module, scheme->bits);
    if (scheme->code != (is_int8(scheme) ? AWQ__CODE_INTEGER : AWQ__CODE_NF4) || !scheme->symmetric)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: codes with zero points, or of another kind, but the bitsandbytes "
                         "format stores 4 bits as NF4 and 8 as symmetric integers",
                         module);
    if (scheme->group != (is_int8(scheme) ? cols : AWQ__NF4_GROUP))
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: groups of %lld, but the bitsandbytes format stores %s", module,
                         (long long)scheme->group,
                         is_int8(scheme) ? "8 bits with a scale a row: quantize.group_size -1"
                                         : "NF4 in groups of 64");
    if (cols % scheme->group)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %lld input features (of %lld outputs), but the bitsandbytes format "
                         "cuts the matrix into blocks of 64, which must not cross rows: a multiple "
                         "of 64 is needed",
                         module, (long long)cols, (long long)rows);
    return AWQ_OK;
}

/* ---- packing ---- */

static void pack_nf4(const awq__codes *codes, int index, void *out)
{
    int64_t count = codes->rows * codes->cols, groups = count / AWQ__NF4_GROUP;
    char state[AWQ__NF4_STATE_BYTES];
    uint8_t *bytes = out;
    switch (index) {
    case AWQ__NF4_WEIGHT:
        for (int64_t i = 0; i < count / 2; i++)
            bytes[i] = (uint8_t)(codes->codes[2 * i] << 4 | codes->codes[2 * i + 1]);
        break;
    case AWQ__NF4_ABSMAX:
        memcpy(out, codes->nested.codes, (size_t)groups);
        break;
    case AWQ__NF4_MAP:
        memcpy(out, awq__nf4, sizeof awq__nf4);
        break;
    case AWQ__NF4_STATE:
        memset(out, ' ', (size_t)awq__nf4_state_bytes(codes->rows, codes->cols));
        memcpy(out, state,
               (size_t)awq__nf4_print_state(codes->rows, codes->cols, codes->dtype,
                                            codes->nested.offset, state));
        break;
    case AWQ__NF4_NESTED_ABSMAX:
        memcpy(out, codes->nested.scales, (size_t)awq__nested_groups(groups) * sizeof(float));
        break;
    default:
        awq__nested_map(out);
    }
}

/* What divided by 127 gives the scale, which is a value of that grid. */
static float row_maximum(float scale)
{
    float maximum = scale * 127;
    while (maximum / 127 < scale)
        maximum = nextafterf(maximum, INFINITY);
    while (maximum / 127 > scale)
        maximum = nextafterf(maximum, 0);
    return maximum;
}

static void pack(const awq__codes *codes, int index, void *out)
{
    if (!is_int8(&codes->scheme))
        pack_nf4(codes, index, out);
    else if (index == AWQ__INT8_WEIGHT)
        for (int64_t i = 0; i < codes->rows * codes->cols; i++)
            ((uint8_t *)out)[i] = codes->codes[i] ^ 0x80; /* less the zero point, 128 */
    else if (index == AWQ__INT8_ROW_MAXIMA)
        for (int64_t n = 0; n < codes->rows; n++)
            ((float *)out)[n] = row_maximum(codes->scales[n]);
    else
        *(uint8_t *)out = 0;
}

/* ---- config.json ---- */

/* Every reader knows the head by this name, and takes it for a linear also where the embedding is
   the head. */
static const char head[] = "lm_head";

static awq_status list_kept(awq_context *ctx, const awq__treated *modules, size_t count,
                            char ***list, size_t *list_count)
{
    awq__partition kept;
    const char **names = NULL;
    awq_status status;
    AWQ__TRY(awq__partition_create(ctx, modules, count, NULL, &kept));
    names = awq__alloc(ctx, kept.in_count + 1, sizeof *names, "the skip list");
    AWQ__TRY_ALLOC(names);
    memcpy(names, kept.in, kept.in_count * sizeof *names);
    names[kept.in_count] = head;
    AWQ__TRY(
        awq__leaf_list(ctx, names, kept.in_count + 1, kept.out, kept.out_count, list, list_count));
done:
    awq__free(names);
    awq__partition_free(&kept);
    return status;
}

static cJSON *config(awq_context *ctx, const awq__treated *modules, size_t module_count)
{
    char **list;
    size_t count, first = 0;
    if (list_kept(ctx, modules, module_count, &list, &count) != AWQ_OK)
        return NULL;
    while (!modules[first].scheme)
        first++;
    bool int8 = is_int8(modules[first].scheme);
    cJSON *object = cJSON_CreateObject();
    /* Readers refuse a threshold that is written as an integer. What is said of 4 bits beside 8
       are the readers' defaults. */
    bool whole =
        object && cJSON_AddStringToObject(object, "quant_method", "bitsandbytes") &&
        cJSON_AddBoolToObject(object, "_load_in_4bit", !int8) &&
        cJSON_AddBoolToObject(object, "_load_in_8bit", int8) &&
        cJSON_AddBoolToObject(object, "load_in_4bit", !int8) &&
        cJSON_AddBoolToObject(object, "load_in_8bit", int8) &&
        cJSON_AddStringToObject(object, "bnb_4bit_quant_type", int8 ? "fp4" : "nf4") &&
        cJSON_AddBoolToObject(object, "bnb_4bit_use_double_quant", !int8) &&
        cJSON_AddStringToObject(object, "bnb_4bit_compute_dtype", int8 ? "float32" : "bfloat16") &&
        cJSON_AddStringToObject(object, "bnb_4bit_quant_storage", "uint8") &&
        cJSON_AddRawToObject(object, "llm_int8_threshold", "6.0") &&
        cJSON_AddBoolToObject(object, "llm_int8_enable_fp32_cpu_offload", false) &&
        cJSON_AddBoolToObject(object, "llm_int8_has_fp16_weight", false);
    /* Of an object that is not whole, NULL included, this fails and still frees the list. */
    if (awq__config_names(ctx, whole ? object : NULL, "llm_int8_skip_modules", list, count) ==
        AWQ_OK)
        return object;
    cJSON_Delete(object);
    return NULL;
}

const awq__disk_format awq__disk_format_bitsandbytes = {
    .name = "bitsandbytes",
    .method = "bitsandbytes",
    .defaults = defaults,
    .complete = complete,
    .check = check,
    .specs = awq__bitsandbytes_specs,
    .pack = pack,
    .config = config,
    .read_config = awq__bitsandbytes_read_config,
    .open = awq__bitsandbytes_open,
};
