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
#define PANEL 256 /* columns: 512 rows of them are half a second-level cache */
#define TILE_ROWS 128
#define TILE_COLS 32
#define CACHE_LINE 64
#define COLUMNS_AHEAD 4
#define ROWS_AHEAD 8
#define MXFP4_GROUP 32

/* Rows of a panel lie far apart in memory, so that the processor does not prefetch them by itself.
 */
static void fetch(const uint8_t *from, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += CACHE_LINE)
        __builtin_prefetch(from + at);
}

static void read_panel(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                       int64_t cols, float *out)
{
    int64_t size = awq_dtype_bits(weight->dtype) / 8, stride = weight->row_stride * size;
    const uint8_t *row = weight->data + first * stride + col * size;
    for (int64_t n = 0; n < count; n++, row += stride, out += cols) {
        if (n + ROWS_AHEAD < count && cols < weight->cols)
            fetch(row + ROWS_AHEAD * stride, cols * size);
        awq__widen(NULL, weight->dtype, row, (size_t)cols, out);
    }
}

static void read_plain(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    size_t K = (size_t)weight->cols, size = (size_t)awq_dtype_bits(weight->dtype) / 8;
    awq__widen(NULL, weight->dtype, weight->data + (size_t)first * K * size, (size_t)count * K,
               out);
}

static void read_rows(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_panel(weight, first, count, 0, weight->cols, out);
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
static void read_strided_panel(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                               int64_t cols, float *out)
{
    uint8_t tile[TILE_ROWS * TILE_COLS * sizeof(float)];
    int64_t size = awq_dtype_bits(weight->dtype) / 8;
    part p = {.row_bytes = weight->row_stride * size, .col_bytes = weight->col_stride * size};
    for (int64_t n = 0; n < count; n += TILE_ROWS)
        for (int64_t k = 0; k < cols; k += TILE_COLS) {
            p.from = weight->data + (first + n) * p.row_bytes + (col + k) * p.col_bytes;
            p.rows = awq__min(TILE_ROWS, count - n);
            p.cols_left = weight->cols - col - k;
            p.cols = awq__min(TILE_COLS, cols - k);
            if (size == 2)
                gather(&p, 2, tile);
            else
                gather(&p, 4, tile);
            for (int64_t i = 0; i < p.rows; i++)
                awq__widen(NULL, weight->dtype, tile + i * TILE_COLS * size, (size_t)p.cols,
                           out + (n + i) * cols + k);
        }
}

static void read_strided(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_strided_panel(weight, first, count, 0, weight->cols, out);
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
                         .read_panel = in_rows ? read_panel : read_strided_panel,
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

/* The part of a group from `from` on. */
static void read_mxfp4_group(const uint8_t *block, float scale, int64_t from, int64_t count,
                             float *out)
{
    float values[16], group[MXFP4_GROUP];
    for (int code = 0; code < 16; code++)
        values[code] = awq__e2m1[code] * scale;
    for (int j = 0; j < MXFP4_GROUP / 2; j++) {
        group[2 * j] = values[block[j] & 15];
        group[2 * j + 1] = values[block[j] >> 4];
    }
    memcpy(out, group + from, (size_t)count * sizeof *out);
}

static void read_mxfp4_panel(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                             int64_t cols, float *out)
{
    int64_t groups = weight->cols / MXFP4_GROUP;
    for (int64_t n = 0; n < count; n++) {
        int64_t row = (first + n) * weight->row_stride * groups;
        for (int64_t k = col, part_cols; k < col + cols; k += part_cols) {
            int64_t group = row + k / MXFP4_GROUP, from = k % MXFP4_GROUP;
            part_cols = awq__min(MXFP4_GROUP - from, col + cols - k);
            read_mxfp4_group(weight->data + group * (MXFP4_GROUP / 2),
                             awq__e8m0_to_f32(weight->scales[group]), from, part_cols,
                             out + n * cols + k - col);
        }
    }
}

static void read_mxfp4(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_mxfp4_panel(weight, first, count, 0, weight->cols, out);
}

awq__weight awq__weight_mxfp4(const char *name, const uint8_t *blocks, const uint8_t *scales,
                              int64_t rows, int64_t cols, int64_t row_stride)
{
    return (awq__weight){.rows = rows,
                         .cols = cols,
                         .read = read_mxfp4,
                         .read_panel = read_mxfp4_panel,
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

/* Multiplies columns col .. col+cols-1 of rows from `first` on. */
static void multiply(const awq__compute *compute, const awq__weight *weight, int64_t first,
                     int64_t count, int64_t col, int64_t cols, float *values)
{
    if (weight->row_scale || weight->col_scale)
        compute->scale(count, cols, weight->row_scale ? weight->row_scale + first : NULL,
                       weight->col_scale ? weight->col_scale + col : NULL, values);
}

void awq__weight_read(const awq__compute *compute, const awq__weight *weight, int64_t first,
                      int64_t count, float *out)
{
    weight->read(weight, first, count, out);
    multiply(compute, weight, first, count, 0, weight->cols, out);
}

static void read_scaled_panel(const awq__compute *compute, const awq__weight *weight, int64_t first,
                              int64_t count, int64_t col, int64_t cols, float *out)
{
    weight->read_panel(weight, first, count, col, cols, out);
    multiply(compute, weight, first, count, col, cols, out);
}

void awq__weight_read_panels(const awq__compute *compute, const awq__weight *weight, int64_t first,
                             int64_t count, int64_t panel, float *out, float *row)
{
    int64_t K = weight->cols;
    for (int64_t col = 0; col < K && weight->read_panel; col += panel)
        read_scaled_panel(compute, weight, first, count, col, awq__min(panel, K - col),
                          out + count * col);
    for (int64_t n = 0; n < count && !weight->read_panel; n++) {
        awq__weight_read(compute, weight, first + n, 1, row);
        for (int64_t col = 0; col < K; col += panel) {
            int64_t cols = awq__min(panel, K - col);
            memcpy(out + count * col + n * cols, row + col, (size_t)cols * sizeof *out);
        }
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
        if (weight->fp8.rows)
            return awq__weight_fp8_fail(ctx, weight, first + at / K, at % K);
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

void awq__add_bias(const awq__compute *compute, const awq__weight *weight, int64_t T, float *y,
                   int64_t ldy)
{
    if (weight->bias)
        compute->add_row(T, weight->rows, weight->bias, weight->bias_scale, y, ldy);
}

/* x[T,K] and y[T,N] of a linear, or of its rows from `start` on. */
typedef struct linear {
    const awq__compute *compute;
    const awq__weight *weight;
    int64_t T, start;
    const float *x;
    int64_t ldx;
    float *y;
    int64_t ldy;
    awq__scratch scratch;
} linear;

/* Rows of the weight that are a block at most, by panels of columns, which are in the cache when
   they are multiplied; whole where it is not read by panels. */
static void multiply_rows(const linear *l, int64_t first, int64_t count, float *work)
{
    const awq__weight *weight = l->weight;
    int64_t K = weight->cols, panel = weight->read_panel ? PANEL : K;
    for (int64_t col = 0; col < K; col += panel) {
        int64_t cols = awq__min(panel, K - col);
        if (weight->read_panel)
            read_scaled_panel(l->compute, weight, first, count, col, cols, work);
        else
            awq__weight_read(l->compute, weight, first, count, work);
        l->compute->multiply_nt(l->T, count, cols, l->x + col, l->ldx, work, cols, col ? 1 : 0,
                                l->y + first - l->start, l->ldy);
    }
}

static void multiply_block(const linear *l, int64_t index, float *work)
{
    int64_t block = awq__weight_block(l->weight), first = index * block;
    multiply_rows(l, first, awq__min(block, l->weight->rows - first), work);
}

static int64_t block_count(const awq__weight *weight)
{
    return awq__ceil_div(weight->rows, awq__weight_block(weight));
}

void awq__linear(const awq__compute *compute, const awq__weight *weight, int64_t T, const float *x,
                 int64_t ldx, float *y, int64_t ldy, float *work)
{
    const linear l = {
        .compute = compute, .weight = weight, .T = T, .x = x, .ldx = ldx, .y = y, .ldy = ldy};
    for (int64_t i = 0; i < block_count(weight); i++)
        multiply_block(&l, i, work);
    awq__add_bias(compute, weight, T, y, ldy);
}

void awq__linear_rows(const awq__compute *compute, const awq__weight *weight, int64_t start,
                      int64_t rows, int64_t T, const float *x, int64_t ldx, float *y, int64_t ldy,
                      float *work)
{
    const linear l = {.compute = compute,
                      .weight = weight,
                      .T = T,
                      .start = start,
                      .x = x,
                      .ldx = ldx,
                      .y = y,
                      .ldy = ldy};
    int64_t block = awq__weight_block(weight), end = start + rows;
    for (int64_t first = start; first < end; first += block)
        multiply_rows(&l, first, awq__min(block, end - first), work);
    if (weight->bias)
        compute->add_row(T, rows, weight->bias + start,
                         weight->bias_scale ? weight->bias_scale + start : NULL, y, ldy);
}

static awq_status run_block(void *arg, int64_t index, int worker)
{
    linear *l = arg;
    float *work = awq__scratch_get(&l->scratch, worker, (size_t)awq__weight_work(l->weight));
    AWQ__CHECK_ALLOC(work);
    multiply_block(l, index, work);
    return AWQ_OK;
}

awq_status awq__linear_parallel(awq_context *ctx, const awq__compute *compute,
                                const awq__weight *weight, int64_t T, const float *x, int64_t ldx,
                                float *y, int64_t ldy)
{
    linear l = {
        .compute = compute, .weight = weight, .T = T, .x = x, .ldx = ldx, .y = y, .ldy = ldy};
    awq_status status;
    AWQ__TRY(awq__scratch_create(ctx, "blocks of weights", &l.scratch));
    AWQ__TRY(awq__parallel_scratch(&l.scratch, (size_t)awq__weight_work(weight),
                                   block_count(weight), run_block, &l));
    awq__add_bias(compute, weight, T, y, ldy);
done:
    awq__scratch_free(&l.scratch);
    return status;
}
