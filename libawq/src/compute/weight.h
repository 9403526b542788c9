/* A matrix as it is stored, read as F32 in blocks of rows, and the product with it. */
#ifndef AWQ__WEIGHT_H
#define AWQ__WEIGHT_H

#include "compute/compute.h"

/*
 * The scales of weights in E4M3 (e4m3.h): one for each block of `rows` rows and `cols` columns of
 * what the matrix is a part of, the blocks at its edges being smaller. The whole of it, or a row,
 * may be a block.
 */
typedef struct awq__fp8_scales {
    const uint8_t *data;            /* may be unaligned */
    awq_dtype dtype;                /* BF16, F16, F32, or E8M0 as F8_E8M0 or U8 */
    int64_t rows, cols;             /* of a block; rows 0: the weight is none of E4M3 */
    int64_t row_stride, col_stride; /* elements to the scale of the block below, and beside */
    int64_t first, step;            /* row n of the matrix is row first + n * step of the whole */
    int64_t offset;                 /* bytes of the tensor before the matrix, for messages */
} awq__fp8_scales;

/*
 * W[N,K] with optional multipliers: the value is stored(n, k) * row_scale[n] * col_scale[k]. A fold
 * sets the multipliers; the stored weights stay as they are. All pointers are borrowed.
 */
typedef struct awq__weight awq__weight;
struct awq__weight {
    int64_t rows, cols; /* N, K */
    /* Stored rows first .. first+count-1 -> out[count,K], without the multipliers. */
    void (*read)(const awq__weight *weight, int64_t first, int64_t count, float *out);
    /* The same of columns col .. col+cols-1 alone -> out[count,cols]; NULL where rows are read
     * whole.
     */
    void (*read_panel)(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                       int64_t cols, float *out);
    const uint8_t *data; /* plain: of dtype, strided; packed: the codes, layout known to `read` */
    awq_dtype dtype;     /* of the floats; of packed weights, what they become where they are stored
                            as floats */
    int64_t row_stride, col_stride; /* plain: in elements; MXFP4: row_stride in stored rows */
    const uint8_t *scales, *zeros;  /* packed */
    const uint8_t *group_of;        /* packed: U32 [K], group of a column; NULL: k / group */
    awq_dtype scale_dtype;          /* packed */
    int bits;                       /* packed */
    int64_t group;                  /* packed: columns of a scale */
    const float *bias;              /* [N], or NULL for none */
    const float *col_scale;         /* [K], or NULL for 1 */
    const float *row_scale;         /* [N], or NULL for 1 */
    const float *bias_scale;        /* [N] multiplies the bias, or NULL for 1 */
    const char *name;               /* of the module, for messages */
    /* Packed, scales that are codes themselves (nested.h): F32 [256], F32 [groups]; else NULL. */
    const uint8_t *nested_map, *nested_scales;
    float nested_offset;
    const struct awq__block_type *blocks; /* of awq__weight_blocks; else NULL */
    int64_t paired_head;                  /* see there */
    awq__fp8_scales fp8;                  /* of awq__weight_fp8 */
};

/* A plain matrix of F32, F16 or BF16. data may be unaligned. */
awq__weight awq__weight_plain(const char *name, awq_dtype dtype, const void *data, int64_t rows,
                              int64_t cols);
/* The same, element (n, k) lying at n * row_stride + k * col_stride. */
awq__weight awq__weight_strided(const char *name, awq_dtype dtype, const void *data, int64_t rows,
                                int64_t cols, int64_t row_stride, int64_t col_stride);
/* MXFP4. Row n has its blocks of 16 bytes at blocks + n * row_stride * cols/2, and its E8M0 bytes
   at scales + n * row_stride * cols/32. cols is a multiple of 32. */
awq__weight awq__weight_mxfp4(const char *name, const uint8_t *blocks, const uint8_t *scales,
                              int64_t rows, int64_t cols, int64_t row_stride);
/*
 * Blocks of GGUF (blocks.h), rows one after the other; cols is whole blocks. Where paired_head is
 * not 0, rows come in heads of so many, which lie as awq__paired_row says.
 */
awq__weight awq__weight_blocks(const char *name, const struct awq__block_type *blocks,
                               const void *data, int64_t rows, int64_t cols, int64_t paired_head);
/* The same of floats. */
awq__weight awq__weight_paired(const char *name, awq_dtype dtype, const void *data, int64_t rows,
                               int64_t cols, int64_t paired_head);
/* E4M3 with scales, element (n, k) lying at n * row_stride + k * col_stride: the value is the
   code's times the scale, rounded to F32. */
awq__weight awq__weight_fp8(const char *name, const uint8_t *data, int64_t rows, int64_t cols,
                            int64_t row_stride, int64_t col_stride, const awq__fp8_scales *scales);
/* AWQ_ERROR_NUMERIC for an element that is not finite: what is stored, and where. */
awq_status awq__weight_fp8_fail(awq_context *ctx, const awq__weight *weight, int64_t row,
                                int64_t col);
/* Where a row lies: of a head of 2 * p rows, row s * p + i as 2 * i + s, so that what is rotated
   together lies together. The last row of an odd head stays, and so do all rows with a head of 0.
 */
static inline int64_t awq__paired_row(int64_t head, int64_t row)
{
    int64_t pairs = head / 2, in_head = head ? row % head : 0;
    if (in_head >= 2 * pairs)
        return row;
    return row - in_head + in_head % pairs * 2 + in_head / pairs;
}
/* Are the stored bytes [N,K] of dtype, one row after the other, with nothing to multiply? */
bool awq__weight_is_plain(const awq__weight *weight);
/* Rows first .. first+count-1 -> out[count,K], with the multipliers. */
void awq__weight_read(const awq__compute *compute, const awq__weight *weight, int64_t first,
                      int64_t count, float *out);
/* The same by panels of columns, one after the other: [count,panel] each, the last one of what is
   left. row: [K] of work space. */
void awq__weight_read_panels(const awq__compute *compute, const awq__weight *weight, int64_t first,
                             int64_t count, int64_t panel, float *out, float *row);
/* AWQ_ERROR_NUMERIC, naming module and position, if a weight is NaN or infinite. work: see below.
 */
awq_status awq__weight_check(awq_context *ctx, const awq__weight *weight, float *work);

/* How many rows are widened at a time: a block that stays in the cache. */
int64_t awq__weight_block(const awq__weight *weight);
/* Floats of work space for the functions that take `work`. */
int64_t awq__weight_work(const awq__weight *weight);

/* y[T,N] = x[T,K] W^T + bias * bias_scale; rows of x ldx apart, of y ldy. */
void awq__linear(const awq__compute *compute, const awq__weight *weight, int64_t T, const float *x,
                 int64_t ldx, float *y, int64_t ldy, float *work);
/* Columns start .. start+rows-1 of that: y[T,rows]. */
void awq__linear_rows(const awq__compute *compute, const awq__weight *weight, int64_t start,
                      int64_t rows, int64_t T, const float *x, int64_t ldx, float *y, int64_t ldy,
                      float *work);
/* The whole y in a parallel loop over blocks of rows. */
awq_status awq__linear_parallel(awq_context *ctx, const awq__compute *compute,
                                const awq__weight *weight, int64_t T, const float *x, int64_t ldx,
                                float *y, int64_t ldy);
/* Of row n, where there is a bias. */
static inline float awq__bias_of(const awq__weight *weight, int64_t n)
{
    return weight->bias[n] * (weight->bias_scale ? weight->bias_scale[n] : 1);
}
/* y[T,N] += bias * bias_scale, if there is a bias. */
void awq__add_bias(const awq__compute *compute, const awq__weight *weight, int64_t T, float *y,
                   int64_t ldy);

#endif
