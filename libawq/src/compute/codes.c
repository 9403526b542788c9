#include "compute/block_codes.h"
#include "compute/codes.h"
#include "compute/nf4.h"

awq_status awq__codes_create(awq_context *ctx, int64_t rows, int64_t cols,
                             const awq__scheme *scheme, awq__codes *codes)
{
    size_t groups = (size_t)(rows * (cols / scheme->group));
    *codes = (awq__codes){.rows = rows, .cols = cols, .scheme = *scheme};
    if (scheme->blocks)
        return awq__block_codes_create(ctx, codes);
    codes->codes = awq__alloc_host(ctx, (size_t)rows * (size_t)cols, 1, "codes");
    codes->scales = awq__alloc_host(ctx, groups, sizeof(float), "group scales");
    codes->zeros = awq__alloc_host(ctx, groups, 1, "zero points");
    bool whole = codes->codes && codes->scales && codes->zeros;
    if (whole && scheme->grid == AWQ__GRID_NESTED) {
        awq__nested *nested = &codes->nested;
        size_t nested_groups = (size_t)awq__nested_groups((int64_t)groups);
        nested->codes = awq__alloc(ctx, groups, 1, "codes of scales");
        nested->scales = awq__alloc(ctx, nested_groups, sizeof(float), "scales of scales");
        whole = nested->codes && nested->scales;
    }
    if (whole)
        return AWQ_OK;
    awq__codes_free(codes);
    return AWQ_ERROR_MEMORY;
}

void awq__codes_free(awq__codes *codes)
{
    awq__free_aligned(codes->codes);
    awq__free_aligned(codes->scales);
    awq__free_aligned(codes->zeros);
    awq__free_aligned(codes->blocks);
    awq__free(codes->nested.codes);
    awq__free(codes->nested.scales);
    *codes = (awq__codes){0};
}

const char *awq__scale_type(const awq__scheme *scheme)
{
    static const char *const names[] = {
        [AWQ__GRID_F32] = "F32",
        [AWQ__GRID_F16] = "F16, which ends at 65504",
        [AWQ__GRID_BF16_F16] =
            "F16, which ends at 65504; format: compressed-tensors stores it in BF16",
        [AWQ__GRID_BF16] = "BF16",
        [AWQ__GRID_F32_127] = "F32",
        [AWQ__GRID_NESTED] = "F32"};
    return scheme->code == AWQ__CODE_E2M1 ? "E8M0, which ends at 2^127" : names[scheme->grid];
}

void awq__codes_nest(awq__codes *codes)
{
    awq__nested_quantize(codes->rows * (codes->cols / codes->scheme.group), codes->scales,
                         &codes->nested);
}

typedef struct rounding {
    awq_context *ctx;
    const awq__compute *compute;
    const awq__weight *weight;
    const awq__range *range;
    awq__codes *codes;
    awq__scratch scratch;
} rounding;

static awq_status round_block(void *arg, int64_t index, int worker)
{
    rounding *r = arg;
    const awq__codes *codes = r->codes;
    int64_t K = codes->cols, G = K / codes->scheme.group, block = awq__weight_block(r->weight);
    int64_t first = index * block, count = awq__min(block, codes->rows - first);
    float *work = awq__scratch_get(&r->scratch, worker, (size_t)awq__weight_work(r->weight));
    AWQ__CHECK_ALLOC(work);
    awq__weight_read(r->compute, r->weight, first, count, work);
    if (r->compute->quantize(count, K, &codes->scheme, work, r->range ? r->range + first * G : NULL,
                             codes->codes + first * K, codes->scales + first * G,
                             codes->zeros + first * G))
        return AWQ_OK;
    return awq__fail(r->ctx, AWQ_ERROR_NUMERIC,
                     "%s: a group scale in rows %lld to %lld does not fit its stored type, %s",
                     r->weight->name, (long long)first, (long long)(first + count - 1),
                     awq__scale_type(&codes->scheme));
}

static awq_status round_blocks(awq_context *ctx, const awq__compute *compute,
                               const awq__weight *weight, const awq__range *range,
                               awq__codes *codes)
{
    rounding r = {.ctx = ctx, .compute = compute, .weight = weight, .range = range, .codes = codes};
    int64_t blocks = awq__ceil_div(codes->rows, awq__weight_block(weight));
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "rounding work space", &r.scratch));
    AWQ__TRY(awq__parallel_scratch(&r.scratch, (size_t)awq__weight_work(weight), blocks,
                                   round_block, &r));
done:
    awq__scratch_free(&r.scratch);
    return status;
}

/* Codes for the scales as they are stored, which differ from those that rounding chose. */
static awq_status round_nested(awq_context *ctx, const awq__compute *compute,
                               const awq__weight *weight, awq__codes *codes)
{
    int64_t groups = codes->rows * (codes->cols / codes->scheme.group);
    awq__range *range = awq__alloc(ctx, (size_t)groups, sizeof *range, "ranges of groups");
    AWQ__CHECK_ALLOC(range);
    awq__codes_nest(codes);
    for (int64_t i = 0; i < groups; i++)
        range[i] = (awq__range){-codes->scales[i], codes->scales[i]};
    awq_status status = round_blocks(ctx, compute, weight, range, codes);
    awq__free(range);
    return status;
}

awq_status awq__codes_round(awq_context *ctx, const awq__compute *compute,
                            const awq__weight *weight, const awq__range *range, awq__codes *codes)
{
    if (codes->blocks)
        return awq__block_codes_round(ctx, compute, weight, codes);
    AWQ__CHECK(round_blocks(ctx, compute, weight, range, codes));
    if (codes->scheme.grid == AWQ__GRID_NESTED)
        AWQ__CHECK(round_nested(ctx, compute, weight, codes));
    return AWQ_OK;
}

/* The values of `count` codes of group i. */
static void read_group(const awq__codes *codes, int64_t i, const uint8_t *code, int64_t count,
                       float *out)
{
    float scale = codes->scales[i], zero = codes->zeros[i];
    if (codes->scheme.code == AWQ__CODE_E2M1)
        for (int64_t k = 0; k < count; k++)
            out[k] = scale * awq__e2m1[code[k] & 15];
    else if (codes->scheme.code == AWQ__CODE_NF4)
        for (int64_t k = 0; k < count; k++)
            out[k] = scale * awq__nf4[code[k] & 15];
    else
        for (int64_t k = 0; k < count; k++)
            out[k] = scale * ((float)code[k] - zero);
}

void awq__codes_read_panel(const awq__codes *codes, int64_t first, int64_t count, int64_t col,
                           int64_t cols, float *out)
{
    if (codes->blocks) {
        awq__block_codes_read(codes, first, count, col, cols, out);
        return;
    }
    int64_t g = codes->scheme.group, K = codes->cols, G = K / g, end = col + cols;
    for (int64_t n = first; n < first + count; n++, out += cols)
        for (int64_t b = col / g; b * g < end; b++) {
            int64_t from = awq__max(b * g, col), to = awq__min((b + 1) * g, end);
            read_group(codes, n * G + b, codes->codes + n * K + from, to - from, out + from - col);
        }
}

void awq__codes_read(const awq__codes *codes, int64_t first, int64_t count, float *out)
{
    awq__codes_read_panel(codes, first, count, 0, codes->cols, out);
}
