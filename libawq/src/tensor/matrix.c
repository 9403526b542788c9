/* Matrices and schemes of callers: checked, and as the rest of the library knows them. */
#include "tensor/matrix.h"

#include <math.h>

const awq__scheme awq__mx_scheme = {.code = AWQ__CODE_E2M1,
                                    .bits = 4,
                                    .group = AWQ__MX_GROUP,
                                    .symmetric = true,
                                    .grid = AWQ__GRID_F32};

awq_status awq__check_scheme(awq_context *ctx, const awq_scheme *scheme, int64_t columns)
{
    if (scheme->bits < 2 || scheme->bits > 8)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "scheme: %d bits, expected 2 to 8", scheme->bits);
    if (scheme->group_size != -1 && (scheme->group_size < 1 || columns % scheme->group_size))
        return awq__fail(
            ctx, AWQ_ERROR_ARGUMENT,
            "scheme: group_size %lld does not divide %lld columns (-1 is the whole row)",
            (long long)scheme->group_size, (long long)columns);
    if ((unsigned)scheme->scale_type > AWQ_SCALE_BF16)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "scheme: scale_type %d is none of awq_scale_type",
                         (int)scheme->scale_type);
    if ((unsigned)scheme->code > AWQ_CODE_E2M1)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "scheme: code %d is none of awq_code",
                         (int)scheme->code);
    if (scheme->code == AWQ_CODE_E2M1 && (scheme->bits != 4 || scheme->group_size != AWQ__MX_GROUP))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "scheme: E2M1 codes of %d bits in groups of %lld, expected 4 bits in "
                         "groups of 32",
                         scheme->bits, (long long)scheme->group_size);
    return AWQ_OK;
}

awq_status awq__check_matrix(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme)
{
    if (!matrix->data || matrix->rows < 1 || matrix->columns < 1 ||
        (matrix->dtype != AWQ_BF16 && matrix->dtype != AWQ_F16 && matrix->dtype != AWQ_F32))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "matrix: %s [%lld, %lld], expected BF16, F16 or F32 data of positive size",
                         awq_dtype_name(matrix->dtype), (long long)matrix->rows,
                         (long long)matrix->columns);
    return awq__check_scheme(ctx, scheme, matrix->columns);
}

awq_status awq__check_arrays(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme,
                             const float *scales, const awq_range *ranges)
{
    int64_t K = matrix->columns, groups = scheme->group_size < 0 ? 1 : K / scheme->group_size;
    for (int64_t k = 0; k < K && scales; k++)
        if (!(scales[k] > 0) || isinf(scales[k]))
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "scales: %g in column %lld, expected positive and finite",
                             (double)scales[k], (long long)k);
    for (int64_t i = 0; i < matrix->rows * groups && ranges; i++)
        if (!(ranges[i].low <= 0 && ranges[i].high >= 0))
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "ranges: %g to %g in row %lld, group %lld, expected one with 0 in it",
                             (double)ranges[i].low, (double)ranges[i].high, (long long)(i / groups),
                             (long long)(i % groups));
    return AWQ_OK;
}

awq__scheme awq__inner_scheme(const awq_scheme *scheme, int64_t columns)
{
    static const awq__scale_grid grids[] = {AWQ__GRID_F32, AWQ__GRID_F16, AWQ__GRID_BF16_F16,
                                            AWQ__GRID_BF16};
    if (scheme->code == AWQ_CODE_E2M1)
        return awq__mx_scheme;
    return (awq__scheme){.code = AWQ__CODE_INTEGER,
                         .bits = scheme->bits,
                         .group = scheme->group_size < 0 ? columns : scheme->group_size,
                         .symmetric = scheme->symmetric,
                         .grid = grids[scheme->scale_type]};
}

awq__weight awq__inner_weight(const awq_matrix *matrix, const float *scales)
{
    awq__weight weight =
        awq__weight_plain("matrix", matrix->dtype, matrix->data, matrix->rows, matrix->columns);
    weight.col_scale = scales;
    return weight;
}

awq_status awq__check_values(awq_context *ctx, const awq__weight *weight)
{
    float *work =
        awq__alloc_host(ctx, (size_t)awq__weight_work(weight), sizeof *work, "work space");
    AWQ__CHECK_ALLOC(work);
    awq_status status = awq__weight_check(ctx, weight, work);
    awq__free_aligned(work);
    return status;
}
