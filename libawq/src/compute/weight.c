#include "compute/weight.h"
#include "core/convert.h"

#include <math.h>

#define BLOCK_FLOATS ((int64_t)1 << 18) /* 1 MB: within a core's second-level cache */
#define SMALLEST_BLOCK 16

static void read_plain(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    size_t K = (size_t)weight->cols, size = (size_t)awq_dtype_bits(weight->dtype) / 8;
    awq__widen(NULL, weight->dtype, weight->data + (size_t)first * K * size, (size_t)count * K,
               out);
}

awq__weight awq__weight_plain(const char *name, awq_dtype dtype, const void *data, int64_t rows,
                              int64_t cols)
{
    return (awq__weight){
        .rows = rows, .cols = cols, .read = read_plain, .data = data, .dtype = dtype, .name = name};
}

void awq__weight_read(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    int64_t K = weight->cols;
    weight->read(weight, first, count, out);
    for (int64_t n = 0; n < count && (weight->row_scale || weight->col_scale); n++) {
        float *row = out + n * K, scale = weight->row_scale ? weight->row_scale[first + n] : 1;
        if (weight->col_scale)
            for (int64_t k = 0; k < K; k++)
                row[k] = row[k] * weight->col_scale[k] * scale;
        else
            for (int64_t k = 0; k < K; k++)
                row[k] *= scale;
    }
}

awq_status awq__weight_check(awq_context *ctx, const awq__weight *weight, float *work)
{
    int64_t K = weight->cols, block = awq__weight_block(weight);
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t count = awq__min(block, weight->rows - first);
        weight->read(weight, first, count, work);
        float sum = 0; /* stays 0 unless something is not finite: then it becomes NaN */
        for (int64_t i = 0; i < count * K; i++)
            sum += work[i] * 0;
        if (sum == 0)
            continue;
        int64_t at = 0;
        while (isfinite(work[at]))
            at++;
        return awq__fail(ctx, AWQ_ERROR_NUMERIC,
                         "%s: row %lld, column %lld is %s, expected a finite number", weight->name,
                         (long long)(first + at / K), (long long)(at % K),
                         isnan(work[at]) ? "NaN" : "infinite");
    }
    return AWQ_OK;
}

int64_t awq__weight_block(const awq__weight *weight)
{
    int64_t rows = BLOCK_FLOATS / weight->cols / SMALLEST_BLOCK * SMALLEST_BLOCK;
    return awq__min(awq__max(rows, SMALLEST_BLOCK), weight->rows);
}

int64_t awq__weight_work(const awq__weight *weight)
{
    return awq__weight_block(weight) * weight->cols;
}

void awq__linear(const awq__compute *compute, const awq__weight *weight, int64_t T, const float *x,
                 int64_t ldx, float *y, int64_t ldy, float *work)
{
    int64_t K = weight->cols, block = awq__weight_block(weight);
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t count = awq__min(block, weight->rows - first);
        awq__weight_read(weight, first, count, work);
        compute->multiply_nt(T, count, K, x, ldx, work, K, 0, y + first, ldy);
    }
}
