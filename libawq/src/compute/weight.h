/* A matrix as it is stored, read as F32 in blocks of rows, and the product with it. */
#ifndef AWQ__WEIGHT_H
#define AWQ__WEIGHT_H

#include "compute/compute.h"

/*
 * W[N,K] with optional multipliers: the value is stored(n, k) * row_scale[n] * col_scale[k]. A fold
 * sets the multipliers; the stored weights stay as they are. All pointers are borrowed.
 */
typedef struct awq__weight awq__weight;
struct awq__weight {
    int64_t rows, cols; /* N, K */
    /* Stored rows first .. first+count-1 -> out[count,K], without the multipliers. */
    void (*read)(const awq__weight *weight, int64_t first, int64_t count, float *out);
    const uint8_t *data; /* plain: [N,K] of dtype; packed: the codes, layout known to `read` */
    awq_dtype dtype;
    const uint8_t *scales, *zeros; /* packed */
    int64_t group;                 /* packed: columns of a scale */
    const float *col_scale;        /* [K], or NULL for 1 */
    const float *row_scale;        /* [N], or NULL for 1 */
    const char *name;              /* of the module, for messages */
};

/* A plain matrix of F32, F16 or BF16. data may be unaligned. */
awq__weight awq__weight_plain(const char *name, awq_dtype dtype, const void *data, int64_t rows,
                              int64_t cols);
/* Rows first .. first+count-1 -> out[count,K], with the multipliers. */
void awq__weight_read(const awq__weight *weight, int64_t first, int64_t count, float *out);
/* AWQ_ERROR_NUMERIC, naming module and position, if a weight is NaN or infinite. work: see below.
 */
awq_status awq__weight_check(awq_context *ctx, const awq__weight *weight, float *work);

/* How many rows are widened at a time: a block that stays in the cache. */
int64_t awq__weight_block(const awq__weight *weight);
/* Floats of work space for the functions that take `work`. */
int64_t awq__weight_work(const awq__weight *weight);

/* y[T,N] = x[T,K] W^T; rows of x ldx apart, of y ldy. */
void awq__linear(const awq__compute *compute, const awq__weight *weight, int64_t T, const float *x,
                 int64_t ldx, float *y, int64_t ldy, float *work);

#endif
