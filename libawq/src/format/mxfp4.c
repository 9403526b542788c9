/*
 * The MXFP4 layout of GPT-OSS, which vLLM, SGLang and transformers load. For a matrix [N,K] of one
 * expert:
 *   _blocks  U8 [N, K/32, 16]  byte j of a block: code 2j below, code 2j+1 above
 *   _scales  U8 [N, K/32]      e, for 2^(e - 127): E8M0 of OCP MX v1.0
 *   w = 2^(e - 127) * awq__e2m1[code]
 * The experts of a layer share a tensor; awq__weight_mxfp4 reads it.
 */
#include "format/format.h"
#include "core/half.h"

#define GROUP 32
#define BLOCK_BYTES 16

static void defaults(int bits, bool *symmetric, int64_t *group)
{
    (void)bits;
    *symmetric = true;
    *group = GROUP;
}

/* E2M1 scales are powers of two whatever the grid. */
static void complete(awq__scheme *scheme, awq_dtype dtype)
{
    (void)dtype;
    scheme->code = AWQ__CODE_E2M1;
    scheme->grid = AWQ__GRID_F32;
}

static awq_status check(awq_context *ctx, const char *module, int64_t rows, int64_t cols,
                        const awq__scheme *scheme)
{
    if (scheme->code != AWQ__CODE_E2M1)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: integer codes, but the mxfp4 format stores only E2M1", module);
    if (scheme->bits != 4 || scheme->group != GROUP || !scheme->symmetric)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %s codes of %d bits in groups of %lld, but the mxfp4 format stores "
                         "only symmetric ones of 4 bits in groups of 32",
                         module, scheme->symmetric ? "symmetric" : "asymmetric", scheme->bits,
                         (long long)scheme->group);
    if (cols % GROUP)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: %lld input features (of %lld outputs), but the mxfp4 format needs a "
                         "multiple of 32",
                         module, (long long)cols, (long long)rows);
    return AWQ_OK;
}

static int specs(int64_t rows, int64_t cols, const awq__scheme *scheme,
                 awq__spec out[AWQ__MAX_SPECS])
{
    (void)scheme;
    out[0] = (awq__spec){"_blocks", AWQ_U8, 3, {rows, cols / GROUP, BLOCK_BYTES}};
    out[1] = (awq__spec){"_scales", AWQ_U8, 2, {rows, cols / GROUP}};
    return 2;
}

static void pack(const awq__codes *codes, int index, void *out)
{
    uint8_t *bytes = out;
    int64_t count = codes->rows * codes->cols;
    if (index == 0)
        for (int64_t i = 0; i < count / 2; i++)
            bytes[i] = (uint8_t)(codes->codes[2 * i] | codes->codes[2 * i + 1] << 4);
    else
        /* A power of two in F32 has no more than its exponent, biased like E8M0; 2^-127 is
           subnormal, with an exponent of 0 as well. */
        for (int64_t i = 0; i < count / GROUP; i++)
            bytes[i] = (uint8_t)(awq__f32_bits(codes->scales[i]) >> 23);
}

void awq__mxfp4_unpack(awq__codes *codes, const uint8_t *blocks, const uint8_t *scales)
{
    int64_t count = codes->rows * codes->cols;
    for (int64_t i = 0; i < count; i++)
        codes->codes[i] = blocks[i / 2] >> (i % 2 * 4) & 15;
    for (int64_t i = 0; i < count / GROUP; i++) {
        codes->scales[i] = awq__e8m0_to_f32(scales[i]);
        codes->zeros[i] = 0;
    }
}

static awq_status list_kept(awq_context *ctx, const awq__treated *modules, size_t module_count,
                            char ***list, size_t *count)
{
    awq__partition kept;
    awq_status status;
    AWQ__TRY(awq__partition_create(ctx, modules, module_count, NULL, &kept));
    AWQ__TRY(awq__star_list(ctx, kept.in, kept.in_count, kept.out, kept.out_count, list, count));
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
    cJSON *object = cJSON_CreateObject();
    cJSON *method = object ? cJSON_AddStringToObject(object, "quant_method", "mxfp4") : NULL;
    /* Of no object this fails and still frees the list. */
    if (awq__config_names(ctx, method ? object : NULL, "modules_to_not_convert", list, count) ==
        AWQ_OK)
        return object;
    cJSON_Delete(object);
    return NULL;
}

/* The method says it all. */
static awq_status read_config(awq_context *ctx, const char *file, const cJSON *config_item,
                              awq__stored *stored)
{
    (void)ctx;
    (void)file;
    (void)config_item;
    *stored =
        (awq__stored){.has_rest = true, .rest = {.bits = 4, .group = GROUP, .symmetric = true}};
    return AWQ_OK;
}

/* Only experts are packed, and the reader of the architecture's fused tensors finds those. */
static awq_status open_packed(awq_context *ctx, const awq__checkpoint *checkpoint, awq__held *held,
                              const awq__stored_scheme *stored, const char *module, int64_t rows,
                              int64_t cols, awq__weight *weight, bool *found)
{
    (void)ctx;
    (void)checkpoint;
    (void)held;
    (void)stored;
    (void)module;
    (void)rows;
    (void)cols;
    (void)weight;
    *found = false;
    return AWQ_OK;
}

const awq__disk_format awq__disk_format_mxfp4 = {
    .name = "mxfp4",
    .method = "mxfp4",
    .defaults = defaults,
    .complete = complete,
    .fused = true,
    .source = true,
    .check = check,
    .specs = specs,
    .pack = pack,
    .config = config,
    .read_config = read_config,
    .open = open_packed,
};
