#include "compute/weight.h"
#include "core/convert.h"
#include "core/half.h"

#include <math.h>
#include <string.h>

/* Products of fewer rows than LARGEST_BLOCK spend their time on packing (measured: 27 GFLOP/s with
   18 rows, 86 with 128, 111 with 512); BLOCK_FLOATS bounds the memory, 16 MB. */
#define BLOCK_FLOATS ((int64_t)1 << 22)
#define LARGEST_BLOCK 512
#define SMALLEST_BLOCK 16
#define TILE_ROWS 128
#define TILE_COLS 32
#define CACHE_LINE 64
#define COLUMNS_AHEAD 4
#define MXFP4_GROUP 32

static void read_plain(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    size_t K = (size_t)weight->cols, size = (size_t)awq_dtype_bits(weight->dtype) / 8;
    awq__widen(NULL, weight->dtype, weight->data + (size_t)first * K * size, (size_t)count * K,
               out);
}

static void read_rows(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    int64_t K = weight->cols, row_bytes = weight->row_stride * awq_dtype_bits(weight->dtype) / 8;
    for (int64_t n = 0; n < count; n++)
        awq__widen(NULL, weight->dtype, weight->data + (first + n) * row_bytes, (size_t)K,
                   out + n * K);
}

/* A part of a strided matrix, strides in bytes. */
typedef struct part {
    const uint8_t *from;
    int64_t rows, cols, row_bytes, col_bytes;
    int64_t cols_left; /* of the matrix, from `from` on */
} part;

/* Asks for column k of the part. Each column is on a page of its own as a rule, so that processors
   do not see it coming. */
static void fetch_column(const part *p, int64_t k)
{
    int64_t step = awq__max(p->row_bytes, CACHE_LINE), last = (p->rows - 1) * p->row_bytes;
    for (int64_t at = 0; at <= last; at += step)
        __builtin_prefetch(p->from + k * p->col_bytes + at);
}

/* Elements of the given size -> to[rows][TILE_COLS], down the columns: where a matrix lies
   transposed, these are what is contiguous. Inlined for each size. */
static inline void gather(const part *p, size_t size, uint8_t *to)
{
    const int64_t rows = p->rows, row_bytes = p->row_bytes; /* `to` could alias them */
    for (int64_t k = 0; k < p->cols; k++) {
        if (k + COLUMNS_AHEAD < p->cols_left)
            fetch_column(p, k + COLUMNS_AHEAD);
        const uint8_t *column = p->from + k * p->col_bytes;
        for (int64_t n = 0; n < rows; n++)
            memcpy(to + (size_t)(n * TILE_COLS + k) * size, column + n * row_bytes, size);
    }
}

/* By tiles that stay in the first-level cache, so that the lines of both sides are used up. */
static void read_strided(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    uint8_t tile[TILE_ROWS * TILE_COLS * sizeof(float)];
    int64_t K = weight->cols, size = awq_dtype_bits(weight->dtype) / 8;
    part p = {.row_bytes = weight->row_stride * size, .col_bytes = weight->col_stride * size};
    for (int64_t n = 0; n < count; n += TILE_ROWS)
        for (int64_t k = 0; k < K; k += TILE_COLS) {
            p.from = weight->data + (first + n) * p.row_bytes + k * p.col_bytes;
            p.rows = awq__min(TILE_ROWS, count - n);
            p.cols_left = K - k;
            p.cols = awq__min(TILE_COLS, p.cols_left);
            if (size == 2)
                gather(&p, 2, tile);
            else
                gather(&p, 4, tile);
            for (int64_t i = 0; i < p.rows; i++)
                awq__widen(NULL, weight->dtype, tile + i * TILE_COLS * size, (size_t)p.cols,
                           out + (n + i) * K + k);
        }
}

awq__weight awq__weight_strided(const char *name, awq_dtype dtype, const void *data, int64_t rows,
                                int64_t cols, int64_t row_stride, int64_t col_stride)
{
    bool in_rows = col_stride == 1, contiguous = in_rows && row_stride == cols;
    return (awq__weight){.rows = rows,
                         .cols = cols,
                         .read = contiguous ? read_plain
                                 : in_rows  ? read_rows
                                            : read_strided,
                         .data = data,
                         .dtype = dtype,
                         .row_stride = row_stride,
                         .col_stride = col_stride,
                         .name = name};
}

awq__weight awq__weight_plain(const char *name, awq_dtype dtype, const void *data, int64_t rows,
                              int64_t cols)
{
    return awq__weight_strided(name, dtype, data, rows, cols, cols, 1);
}

/* 2^(e - 127); e = 255 is NaN. */
static float e8m0_to_f32(uint8_t e)
{
    return e == 255 ? NAN : e ? awq__f32_from_bits((uint32_t)e << 23) : 0x1p-127f;
}

static void read_mxfp4(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    int64_t groups = weight->cols / MXFP4_GROUP;
    for (int64_t n = first; n < first + count; n++) {
        const uint8_t *block = weight->data + n * weight->row_stride * (weight->cols / 2);
        const uint8_t *scale = weight->scales + n * weight->row_stride * groups;
        for (int64_t i = 0; i < groups; i++, block += MXFP4_GROUP / 2, out += MXFP4_GROUP) {
            float values[16];
            for (int code = 0; code < 16; code++)
                values[code] = awq__e2m1[code] * e8m0_to_f32(scale[i]);
            for (int j = 0; j < MXFP4_GROUP / 2; j++) {
                out[2 * j] = values[block[j] & 15];
                out[2 * j + 1] = values[block[j] >> 4];
            }
        }
    }
}

awq__weight awq__weight_mxfp4(const char *name, const uint8_t *blocks, const uint8_t *scales,
                              int64_t rows, int64_t cols, int64_t row_stride)
{
    return (awq__weight){.rows = rows,
                         .cols = cols,
                         .read = read_mxfp4,
                         .data = blocks,
                         .dtype = AWQ_BF16,
                         .row_stride = row_stride,
                         .scales = scales,
                         .scale_dtype = AWQ_F8_E8M0,
                         .bits = 4,
                         .group = MXFP4_GROUP,
                         .name = name};
}

bool awq__weight_is_plain(const awq__weight *weight)
{
    return weight->read == read_plain && !weight->row_scale && !weight->col_scale;
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
        uint32_t special = 0; /* exponents of all ones: infinite, or NaN */
        for (int64_t i = 0; i < count * K; i++)
            special |= (awq__f32_bits(work[i]) & 0x7f800000u) == 0x7f800000u;
        if (!special)
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
    rows = awq__min(awq__max(rows, SMALLEST_BLOCK), LARGEST_BLOCK);
    return awq__min(rows, weight->rows);
}

int64_t awq__weight_work(const awq__weight *weight)
{
    return awq__weight_block(weight) * weight->cols;
}

void awq__add_bias(const awq__weight *weight, int64_t T, float *y, int64_t ldy)
{
    const float *bias = weight->bias, *scale = weight->bias_scale;
    if (!bias)
        return;
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < weight->rows; n++)
            y[t * ldy + n] += scale ? bias[n] * scale[n] : bias[n];
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
    awq__add_bias(weight, T, y, ldy);
}
