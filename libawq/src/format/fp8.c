/*
 * Weights in F8_E4M3 as DeepSeek, Qwen, MiniMax and others release them, which vLLM, SGLang and
 * transformers load. A weight [N,K] has one scale for each block of weight_block_size, or one in
 * all, or one for each row:
 *   weight            F8_E4M3 [N, K]
 *   weight_scale_inv  or weight_scale: F32, BF16 or F16, or E8M0 as F8_E8M0 or U8;
 *                     [ceil(N/128), ceil(K/128)], [], [1], [N] or [N, 1]
 *   w = code * scale
 * Experts that share tensors have E of all these in front, and the scales follow the tensor's name.
 * compressed-tensors calls the same "float-quantized".
 */
#include "format/format.h"

#include <string.h>

#define CODES (1u << AWQ_F8_E4M3)
#define SCALES (1u << AWQ_F32 | 1u << AWQ_BF16 | 1u << AWQ_F16 | 1u << AWQ_F8_E8M0 | 1u << AWQ_U8)

/* ---- config.json ---- */

/* Null, or two positive numbers. */
static bool read_blocks(const cJSON *item, awq__stored_scheme *scheme)
{
    if (!item || cJSON_IsNull(item))
        return true;
    return cJSON_IsArray(item) && cJSON_GetArraySize(item) == 2 &&
           awq__json_int(cJSON_GetArrayItem(item, 0), &scheme->block_rows) &&
           awq__json_int(cJSON_GetArrayItem(item, 1), &scheme->block_cols) &&
           scheme->block_rows > 0 && scheme->block_cols > 0;
}

/* Readers take an entry for a module, or for all that lie under it, with or without the first
   components of their names. */
static awq_status add_kept(awq_context *ctx, const char *file, const char *name,
                           awq__stored *stored)
{
    AWQ__CHECK(awq__stored_add_pattern(ctx, stored, file, name, AWQ__NAME_GLOB));
    char *under = awq__format(ctx, "%s.*", name);
    AWQ__CHECK_ALLOC(under);
    awq_status status = awq__stored_add_pattern(ctx, stored, file, under, AWQ__NAME_GLOB);
    awq__free(under);
    return status;
}

static awq_status read_kept(awq_context *ctx, const char *file, const cJSON *config,
                            const char *key, awq__stored *stored)
{
    const cJSON *list = awq__json_at(config, key), *name;
    if (!list || cJSON_IsNull(list))
        return AWQ_OK;
    if (!cJSON_IsArray(list))
        return awq__stored_refuse(ctx, file, key, list, "null or an array of names");
    if (list->child)
        AWQ__CHECK(awq__stored_add_group(ctx, stored, false, &(awq__stored_scheme){0}));
    cJSON_ArrayForEach(name, list)
    {
        if (!cJSON_IsString(name))
            return awq__stored_refuse(ctx, file, key, name, "an array of names");
        AWQ__CHECK(add_kept(ctx, file, name->valuestring, stored));
    }
    return AWQ_OK;
}

static awq_status read_config(awq_context *ctx, const char *file, const cJSON *config,
                              awq__stored *stored)
{
    const cJSON *type = awq__json_at(config, "fmt");
    const cJSON *blocks = awq__json_at(config, "weight_block_size");
    *stored = (awq__stored){.has_rest = true,
                            .rest = {.bits = 8, .group = -1, .symmetric = true, .fp8 = true}};
    if (type && !cJSON_IsNull(type) && !awq__json_is_text(type, "e4m3"))
        return awq__stored_refuse(ctx, file, "fmt", type, "\"e4m3\"");
    if (!read_blocks(blocks, &stored->rest))
        return awq__stored_refuse(ctx, file, "weight_block_size", blocks,
                                  "null or two positive numbers");
    AWQ__CHECK(read_kept(ctx, file, config, "modules_to_not_convert", stored));
    return read_kept(ctx, file, config, "ignored_layers", stored);
}

/* ---- tensors ---- */

static awq_status find_scale(awq_context *ctx, const awq__checkpoint *checkpoint, const char *name,
                             const awq__tensor **scale)
{
    const awq__tensor *other;
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, name, "_scale_inv", scale));
    AWQ__CHECK(awq__suffix_find(ctx, checkpoint, name, "_scale", &other));
    if (*scale && other)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: %s and %s are there, expected one of them alone", other->file,
                         (*scale)->name, other->name);
    *scale = *scale ? *scale : other;
    return AWQ_OK;
}

/* Of one of the dtypes, a set of bits? */
static awq_status check_dtype(awq_context *ctx, const awq__tensor *tensor, unsigned dtypes,
                              const char *expected)
{
    if (dtypes & 1u << tensor->dtype)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s is %s, expected %s", tensor->file,
                     tensor->name, awq_dtype_name(tensor->dtype), expected);
}

static bool has_shape(const awq__tensor *tensor, int rank, const int64_t *shape)
{
    return tensor->rank == rank &&
           (!rank || !memcmp(tensor->shape, shape, (size_t)rank * sizeof *shape));
}

static awq_status check_weight(awq_context *ctx, const awq__tensor *weight, int rank,
                               const int64_t *shape)
{
    char found[AWQ__SHAPE_BYTES], expected[AWQ__SHAPE_BYTES];
    if (has_shape(weight, rank, shape))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %s is F8_E4M3 %s, expected %s", weight->file,
                     weight->name, awq__shape_text(weight->rank, weight->shape, found),
                     awq__shape_text(rank, shape, expected));
}

/* Blocks of this size, if the scales are theirs. `lead` dimensions come before rows and columns,
   and of the others `left_out` are not written, being 1. */
static bool fits(awq__fp8_tensors *t, int lead, int left_out, int64_t block_rows,
                 int64_t block_cols)
{
    const int64_t *shape = t->weight->shape;
    int64_t grid[3] = {shape[0]}, R = shape[lead], C = shape[lead + 1];
    grid[lead] = awq__ceil_div(R, block_rows);
    grid[lead + 1] = awq__ceil_div(C, block_cols);
    t->block_rows = block_rows;
    t->block_cols = block_cols;
    t->grid_rows = grid[lead];
    t->grid_cols = grid[lead + 1];
    return has_shape(t->scale, lead + 2 - left_out, grid);
}

/* One scale, [1, 1] or less of it, or one for each row; of transposed experts, for each column. */
static bool fits_without_blocks(awq__fp8_tensors *t, int lead)
{
    int64_t R = t->weight->shape[lead], C = t->weight->shape[lead + 1];
    for (int left_out = 0; left_out <= 2; left_out++)
        if (fits(t, lead, left_out, R, C))
            return true;
    return (lead && fits(t, lead, 0, R, 1)) || fits(t, lead, 1, 1, C) || fits(t, lead, 0, 1, C);
}

static awq_status check_scale(awq_context *ctx, const awq__stored_scheme *stored,
                              awq__fp8_tensors *t, int lead)
{
    char found[AWQ__SHAPE_BYTES], of[AWQ__SHAPE_BYTES], grid[AWQ__SHAPE_BYTES];
    bool blocks = stored->block_rows > 0;
    AWQ__CHECK(check_dtype(ctx, t->scale, SCALES, "F32, BF16, F16, F8_E8M0 or U8"));
    if (blocks ? fits(t, lead, 0, stored->block_rows, stored->block_cols)
               : fits_without_blocks(t, lead))
        return AWQ_OK;
    int64_t expected[3] = {t->weight->shape[0]};
    expected[lead] = t->grid_rows;
    expected[lead + 1] = t->grid_cols;
    awq__shape_text(t->scale->rank, t->scale->shape, found);
    awq__shape_text(t->weight->rank, t->weight->shape, of);
    awq__shape_text(lead + 2, expected, grid);
    if (blocks)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: %s is %s %s, expected %s, a scale for each block of %lld x %lld of "
                         "%s, which is %s",
                         t->scale->file, t->scale->name, awq_dtype_name(t->scale->dtype), found,
                         grid, (long long)stored->block_rows, (long long)stored->block_cols,
                         t->weight->name, of);
    return awq__fail(
        ctx, AWQ_ERROR_FORMAT,
        "%s: %s is %s %s, expected one scale of all of %s, which is %s, or %s, one for "
        "each row: quantization_config has no size of blocks",
        t->scale->file, t->scale->name, awq_dtype_name(t->scale->dtype), found, t->weight->name, of,
        grid);
}

awq_status awq__fp8_find(awq_context *ctx, const awq__checkpoint *checkpoint,
                         const awq__stored_scheme *stored, const char *name, int rank,
                         const int64_t *shape, awq__fp8_tensors *t, bool *found)
{
    *t = (awq__fp8_tensors){.weight = awq__checkpoint_find(checkpoint, name)};
    *found = false;
    if (!t->weight)
        return AWQ_OK; /* a failure of who looks for it as floats */
    AWQ__CHECK(find_scale(ctx, checkpoint, name, &t->scale));
    if (!t->scale && t->weight->dtype != AWQ_F8_E4M3)
        return AWQ_OK;
    AWQ__CHECK(check_dtype(ctx, t->weight, CODES, "F8_E4M3, of which there are scales"));
    if (!t->scale)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: the tensor %s_scale_inv, or %s_scale, is missing: %s is F8_E4M3",
                         awq__checkpoint_directory(checkpoint), name, name, name);
    AWQ__CHECK(check_weight(ctx, t->weight, rank, shape));
    *found = true;
    return check_scale(ctx, stored, t, rank - 2);
}

int awq__fp8_specs(int64_t rows, int64_t cols, const awq__scheme *scheme, awq_dtype dtype,
                   awq__spec specs[AWQ__MAX_SPECS])
{
    bool exponents = dtype == AWQ_F8_E8M0 || dtype == AWQ_U8, whole = scheme->rows < 0;
    int64_t grid_rows = whole ? 1 : awq__ceil_div(rows, scheme->rows);
    int64_t grid_cols = scheme->group < 0 ? 1 : awq__ceil_div(cols, scheme->group);
    specs[0] = (awq__spec){".weight", AWQ_F8_E4M3, 2, {rows, cols}};
    specs[1] = (awq__spec){
        ".weight_scale", exponents ? AWQ_F32 : dtype, whole ? 1 : 2, {grid_rows, grid_cols}};
    return 2;
}

const awq__disk_format awq__disk_format_fp8 = {
    .name = "fp8",
    .method = "fp8",
    .source = true,
    .read_config = read_config,
};
