/* Matrices in codes. */
#include "tensor/matrix.h"

awq_status awq__quantized_create(awq_context *ctx, int64_t rows, int64_t columns,
                                 const awq__scheme *scheme, awq_quantized **out)
{
    awq_quantized *quantized = awq__alloc(ctx, 1, sizeof *quantized, "a quantized matrix");
    AWQ__CHECK_ALLOC(quantized);
    awq_status status = awq__codes_create(ctx, rows, columns, scheme, &quantized->codes);
    if (status == AWQ_OK)
        *out = quantized;
    else
        awq__free(quantized);
    return status;
}

awq_status awq_quantized_create(awq_context *ctx, const awq_matrix *matrix,
                                const awq_scheme *scheme, const float *scales,
                                const awq_range *ranges, awq_quantized **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(
        awq__enter(ctx, "awq_quantized_create",
                   (awq__argument[]){{"matrix", matrix}, {"scheme", scheme}, {"out", out}, {0}}));
    AWQ__CHECK(awq__check_matrix(ctx, matrix, scheme));
    AWQ__CHECK(awq__check_arrays(ctx, matrix, scheme, scales, ranges));
    awq__weight weight = awq__inner_weight(matrix, scales);
    awq__scheme inner = awq__inner_scheme(scheme, matrix->columns);
    AWQ__CHECK(awq__check_values(ctx, &weight));
    awq_quantized *quantized;
    AWQ__CHECK(awq__quantized_create(ctx, matrix->rows, matrix->columns, &inner, &quantized));
    awq_status status = awq__codes_round(ctx, awq__compute_of(ctx), &weight,
                                         (const awq__range *)ranges, &quantized->codes);
    if (status == AWQ_OK)
        *out = quantized;
    else
        awq_quantized_free(quantized);
    return status;
}

void awq_quantized_free(awq_quantized *quantized)
{
    if (quantized)
        awq__codes_free(&quantized->codes);
    awq__free(quantized);
}

void awq_quantized_describe(const awq_quantized *quantized, awq_scheme *scheme, int64_t *rows,
                            int64_t *columns)
{
    if (!quantized)
        return;
    static const awq_scale_type types[] = {AWQ_SCALE_F32, AWQ_SCALE_F16, AWQ_SCALE_BF16_F16,
                                           AWQ_SCALE_BF16};
    const awq__scheme *inner = &quantized->codes.scheme;
    if (scheme)
        *scheme =
            (awq_scheme){.bits = inner->bits,
                         .group_size = inner->group,
                         .symmetric = inner->symmetric,
                         .scale_type = types[inner->grid],
                         .code = inner->code == AWQ__CODE_E2M1 ? AWQ_CODE_E2M1 : AWQ_CODE_INTEGER};
    if (rows)
        *rows = quantized->codes.rows;
    if (columns)
        *columns = quantized->codes.cols;
}

const uint8_t *awq_quantized_codes(const awq_quantized *quantized)
{
    return quantized ? quantized->codes.codes : NULL;
}

const float *awq_quantized_scales(const awq_quantized *quantized)
{
    return quantized ? quantized->codes.scales : NULL;
}

const uint8_t *awq_quantized_zeros(const awq_quantized *quantized)
{
    return quantized ? quantized->codes.zeros : NULL;
}

void awq_quantized_values(const awq_quantized *quantized, float *out)
{
    if (quantized && out)
        awq__codes_read(&quantized->codes, 0, quantized->codes.rows, out);
}
