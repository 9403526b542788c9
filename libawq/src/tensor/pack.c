/* Codes in the tensors of formats, and read from them. */
#include "tensor/matrix.h"
#include "format/format.h"

#define GEMM_PACK 8 /* rows that share a word */

awq_status awq_pack_gemm(awq_context *ctx, const awq_quantized *quantized, uint32_t *qweight,
                         uint32_t *qzeros, uint16_t *scales)
{
    AWQ__CHECK(awq__enter(ctx, "awq_pack_gemm",
                          (awq__argument[]){{"quantized", quantized},
                                            {"qweight", qweight},
                                            {"qzeros", qzeros},
                                            {"scales", scales},
                                            {0}}));
    const awq__codes *codes = &quantized->codes;
    if (codes->scheme.code != AWQ__CODE_INTEGER)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "quantized: E2M1 codes, expected integers");
    if (codes->scheme.bits != 4 || codes->rows % GEMM_PACK)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "quantized: %d bits and %lld rows, expected 4 bits and a multiple of 8",
                         codes->scheme.bits, (long long)codes->rows);
    if (codes->scheme.grid != AWQ__GRID_F16 && codes->scheme.grid != AWQ__GRID_BF16_F16)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "quantized: scales of %s, expected AWQ_SCALE_F16 or AWQ_SCALE_BF16_F16",
                         codes->scheme.grid == AWQ__GRID_F32 ? "AWQ_SCALE_F32" : "AWQ_SCALE_BF16");
    void *parts[] = {qweight, qzeros, scales};
    for (int i = 0; i < 3; i++)
        awq__disk_format_awq.pack(codes, i, parts[i]);
    return AWQ_OK;
}

awq_status awq_unpack_gemm(awq_context *ctx, int64_t rows, int64_t columns, int64_t group_size,
                           const uint32_t *qweight, const uint32_t *qzeros, const uint16_t *scales,
                           awq_quantized **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(
        ctx, "awq_unpack_gemm",
        (awq__argument[]){
            {"qweight", qweight}, {"qzeros", qzeros}, {"scales", scales}, {"out", out}, {0}}));
    if (rows < 1 || rows % GEMM_PACK || columns < 1 ||
        (group_size != -1 && (group_size < 1 || columns % group_size)))
        return awq__fail(
            ctx, AWQ_ERROR_ARGUMENT,
            "[%lld, %lld] in groups of %lld: expected rows in eights, and groups that divide "
            "the columns",
            (long long)rows, (long long)columns, (long long)group_size);
    awq__scheme scheme = {
        .bits = 4, .group = group_size < 0 ? columns : group_size, .grid = AWQ__GRID_F16};
    AWQ__CHECK(awq__quantized_create(ctx, rows, columns, &scheme, out));
    awq__gemm_unpack(&(*out)->codes, qweight, qzeros, scales);
    return AWQ_OK;
}

static awq_status check_size(awq_context *ctx, int64_t rows, int64_t columns)
{
    if (rows < 1 || columns < 1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "[%lld, %lld]: expected a positive size",
                         (long long)rows, (long long)columns);
    return AWQ_OK;
}

/* Whether words of codes fill up: P = 32/bits divides K, and N where there are zero points. */
static awq_status check_words(awq_context *ctx, const char *what, int64_t rows, int64_t columns,
                              int bits, bool symmetric)
{
    int pack = 32 / bits;
    if (columns % pack || (!symmetric && rows % pack))
        return awq__fail(
            ctx, AWQ_ERROR_ARGUMENT, "%s: [%lld, %lld] of %s codes, expected %s in multiples of %d",
            what, (long long)rows, (long long)columns, symmetric ? "symmetric" : "asymmetric",
            symmetric ? "columns" : "rows and columns", pack);
    return AWQ_OK;
}

static awq_status no_zeros(awq_context *ctx)
{
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                     "weight_zero_point: is NULL, which only symmetric codes allow");
}

awq_status awq_pack_compressed(awq_context *ctx, const awq_quantized *quantized,
                               uint32_t *weight_packed, void *weight_scale,
                               uint32_t *weight_zero_point)
{
    AWQ__CHECK(awq__enter(ctx, "awq_pack_compressed",
                          (awq__argument[]){{"quantized", quantized},
                                            {"weight_packed", weight_packed},
                                            {"weight_scale", weight_scale},
                                            {0}}));
    const awq__codes *codes = &quantized->codes;
    const awq__scheme *scheme = &codes->scheme;
    if (scheme->code != AWQ__CODE_INTEGER)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "quantized: E2M1 codes, expected integers");
    if (scheme->bits != 4 && scheme->bits != 8)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "quantized: %d bits, expected 4 or 8",
                         scheme->bits);
    AWQ__CHECK(
        check_words(ctx, "quantized", codes->rows, codes->cols, scheme->bits, scheme->symmetric));
    if (!scheme->symmetric && !weight_zero_point)
        return no_zeros(ctx);
    /* Number 2 is weight_shape. */
    awq__disk_format_compressed.pack(codes, 0, weight_packed);
    awq__disk_format_compressed.pack(codes, 1, weight_scale);
    if (!scheme->symmetric)
        awq__disk_format_compressed.pack(codes, 3, weight_zero_point);
    return AWQ_OK;
}

awq_status awq_unpack_compressed(awq_context *ctx, int64_t rows, int64_t columns,
                                 const awq_scheme *scheme, const uint32_t *weight_packed,
                                 const void *weight_scale, const uint32_t *weight_zero_point,
                                 awq_quantized **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_unpack_compressed",
                          (awq__argument[]){{"scheme", scheme},
                                            {"weight_packed", weight_packed},
                                            {"weight_scale", weight_scale},
                                            {"out", out},
                                            {0}}));
    AWQ__CHECK(check_size(ctx, rows, columns));
    AWQ__CHECK(awq__check_scheme(ctx, scheme, columns));
    if (scheme->code != AWQ_CODE_INTEGER || (scheme->bits != 4 && scheme->bits != 8))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "scheme: %s of %d bits, expected integers of 4 or 8",
                         scheme->code == AWQ_CODE_E2M1 ? "E2M1 codes" : "integers", scheme->bits);
    AWQ__CHECK(check_words(ctx, "weight_packed", rows, columns, scheme->bits, scheme->symmetric));
    if (!scheme->symmetric && !weight_zero_point)
        return no_zeros(ctx);
    awq__scheme inner = awq__inner_scheme(scheme, columns);
    AWQ__CHECK(awq__quantized_create(ctx, rows, columns, &inner, out));
    awq__compressed_unpack(&(*out)->codes, weight_packed, weight_scale, weight_zero_point);
    return AWQ_OK;
}

/* What both directions ask of a matrix in the GPTQ layout. */
static awq_status check_gptq(awq_context *ctx, const char *what, int64_t rows, int64_t columns,
                             const awq__scheme *scheme, int version)
{
    if (version != 1 && version != 2)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "version: %d, expected 1 or 2", version);
    if (scheme->code != AWQ__CODE_INTEGER ||
        (scheme->bits != 2 && scheme->bits != 4 && scheme->bits != 8))
        return awq__fail(
            ctx, AWQ_ERROR_ARGUMENT, "%s: %s of %d bits, expected integers of 2, 4 or 8", what,
            scheme->code == AWQ__CODE_INTEGER ? "integers" : "E2M1 codes", scheme->bits);
    if (scheme->grid != AWQ__GRID_F16 && scheme->grid != AWQ__GRID_BF16_F16)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%s: scales of %s, expected AWQ_SCALE_F16 or AWQ_SCALE_BF16_F16", what,
                         scheme->grid == AWQ__GRID_F32 ? "AWQ_SCALE_F32" : "AWQ_SCALE_BF16");
    /* Zero points are stored for symmetric codes too. */
    return check_words(ctx, what, rows, columns, scheme->bits, false);
}

awq_status awq_pack_gptq(awq_context *ctx, const awq_quantized *quantized, int version,
                         uint32_t *qweight, uint32_t *qzeros, uint16_t *scales)
{
    AWQ__CHECK(awq__enter(ctx, "awq_pack_gptq",
                          (awq__argument[]){{"quantized", quantized},
                                            {"qweight", qweight},
                                            {"qzeros", qzeros},
                                            {"scales", scales},
                                            {0}}));
    const awq__codes *codes = &quantized->codes;
    int64_t G = codes->cols / codes->scheme.group;
    AWQ__CHECK(check_gptq(ctx, "quantized", codes->rows, codes->cols, &codes->scheme, version));
    for (int64_t i = 0; i < codes->rows * G && version == 1; i++)
        if (!codes->zeros[i])
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "quantized: the zero point of row %lld, group %lld is 0, which "
                             "version 1 cannot store; version 2 or symmetric codes fit",
                             (long long)(i / G), (long long)(i % G));
    awq__gptq_pack(codes, version == 1, qweight, qzeros, scales);
    return AWQ_OK;
}

awq_status awq_unpack_gptq(awq_context *ctx, int64_t rows, int64_t columns,
                           const awq_scheme *scheme, int version, const uint32_t *qweight,
                           const uint32_t *qzeros, const uint16_t *scales, awq_quantized **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_unpack_gptq",
                          (awq__argument[]){{"scheme", scheme},
                                            {"qweight", qweight},
                                            {"qzeros", qzeros},
                                            {"scales", scales},
                                            {"out", out},
                                            {0}}));
    AWQ__CHECK(check_size(ctx, rows, columns));
    AWQ__CHECK(awq__check_scheme(ctx, scheme, columns));
    awq__scheme inner = awq__inner_scheme(scheme, columns);
    AWQ__CHECK(check_gptq(ctx, "scheme", rows, columns, &inner, version));
    AWQ__CHECK(awq__quantized_create(ctx, rows, columns, &inner, out));
    awq__gptq_unpack(&(*out)->codes, version == 1, qweight, qzeros, scales);
    return AWQ_OK;
}

awq_status awq_pack_mxfp4(awq_context *ctx, const awq_quantized *quantized, uint8_t *blocks,
                          uint8_t *scales)
{
    AWQ__CHECK(awq__enter(
        ctx, "awq_pack_mxfp4",
        (awq__argument[]){{"quantized", quantized}, {"blocks", blocks}, {"scales", scales}, {0}}));
    const awq__codes *codes = &quantized->codes;
    if (codes->scheme.code != AWQ__CODE_E2M1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "quantized: integers of %d bits, expected E2M1",
                         codes->scheme.bits);
    awq__disk_format_mxfp4.pack(codes, 0, blocks);
    awq__disk_format_mxfp4.pack(codes, 1, scales);
    return AWQ_OK;
}

awq_status awq_unpack_mxfp4(awq_context *ctx, int64_t rows, int64_t columns, const uint8_t *blocks,
                            const uint8_t *scales, awq_quantized **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(
        awq__enter(ctx, "awq_unpack_mxfp4",
                   (awq__argument[]){{"blocks", blocks}, {"scales", scales}, {"out", out}, {0}}));
    AWQ__CHECK(check_size(ctx, rows, columns));
    if (columns % AWQ__MX_GROUP)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "[%lld, %lld]: expected columns in multiples of 32", (long long)rows,
                         (long long)columns);
    AWQ__CHECK(awq__quantized_create(ctx, rows, columns, &awq__mx_scheme, out));
    awq__mxfp4_unpack(&(*out)->codes, blocks, scales);
    return AWQ_OK;
}
