/* Matrices in E4M3 with a scale for each block, read as F32. */
#include "compute/e4m3.h"
#include "compute/weight.h"
#include "core/convert.h"
#include "core/half.h"

#include <math.h>

#define GATHERED 256 /* columns of a transposed matrix at a time */

static float scale_at(const awq__fp8_scales *scales, int64_t index)
{
    float scale = 0;
    if (scales->dtype == AWQ_F8_E8M0 || scales->dtype == AWQ_U8)
        return awq__e8m0_to_f32(scales->data[index]);
    awq__widen(NULL, scales->dtype, scales->data + index * (awq_dtype_bits(scales->dtype) / 8), 1,
               &scale);
    return scale;
}

static float scale_of(const awq__fp8_scales *scales, int64_t n, int64_t k)
{
    int64_t row = scales->first + n * scales->step;
    return scale_at(scales, row / scales->rows * scales->row_stride +
                                k / scales->cols * scales->col_stride);
}

/* Columns that have one scale, of one row. */
static void read_run(const awq__weight *weight, const uint8_t *from, int64_t count, float scale,
                     float *out)
{
    uint8_t codes[GATHERED];
    if (weight->col_stride == 1) {
        awq__e4m3_widen(from, (size_t)count, scale, out);
        return;
    }
    for (int64_t at = 0, some; at < count; at += some) {
        some = awq__min(GATHERED, count - at);
        for (int64_t i = 0; i < some; i++)
            codes[i] = from[(at + i) * weight->col_stride];
        awq__e4m3_widen(codes, (size_t)some, scale, out + at);
    }
}

static void read_panel(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                       int64_t cols, float *out)
{
    const awq__fp8_scales *scales = &weight->fp8;
    for (int64_t n = first; n < first + count; n++)
        for (int64_t k = col, run; k < col + cols; k += run, out += run) {
            run = awq__min(scales->cols - k % scales->cols, col + cols - k);
            read_run(weight, weight->data + n * weight->row_stride + k * weight->col_stride, run,
                     scale_of(scales, n, k), out);
        }
}

static void read_rows(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_panel(weight, first, count, 0, weight->cols, out);
}

awq__weight awq__weight_fp8(const char *name, const uint8_t *data, int64_t rows, int64_t cols,
                            int64_t row_stride, int64_t col_stride, const awq__fp8_scales *scales)
{
    return (awq__weight){.rows = rows,
                         .cols = cols,
                         .read = read_rows,
                         .read_panel = read_panel,
                         .data = data,
                         .dtype = AWQ_BF16,
                         .row_stride = row_stride,
                         .col_stride = col_stride,
                         .fp8 = *scales,
                         .name = name};
}

awq_status awq__weight_fp8_fail(awq_context *ctx, const awq__weight *weight, int64_t row,
                                int64_t col)
{
    int64_t at = row * weight->row_stride + col * weight->col_stride;
    float scale = scale_of(&weight->fp8, row, col);
    return awq__fail(ctx, AWQ_ERROR_NUMERIC,
                     "%s: row %lld, column %lld is byte 0x%02x of F8_E4M3, at offset %lld of its "
                     "tensor, times the scale %g: expected a finite number",
                     weight->name, (long long)row, (long long)col, weight->data[at],
                     (long long)(weight->fp8.offset + at), (double)scale);
}
