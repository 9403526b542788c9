/* What the public functions on matrices share. */
#ifndef AWQ__MATRIX_H
#define AWQ__MATRIX_H

#include "awq/tensor.h"
#include "quant/quant.h"

#define AWQ__MX_GROUP 32
extern const awq__scheme awq__mx_scheme;

struct awq_statistics {
    awq_context *ctx;
    awq__stats stats; /* whole: one group */
};

struct awq_quantized {
    awq__codes codes;
};

/* All of these fail with AWQ_ERROR_ARGUMENT. A scheme of a matrix with so many columns. */
awq_status awq__check_scheme(awq_context *ctx, const awq_scheme *scheme, int64_t columns);
awq_status awq__check_matrix(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme);
/* Of a matrix and a scheme that have been found right; either array may be NULL. */
awq_status awq__check_arrays(awq_context *ctx, const awq_matrix *matrix, const awq_scheme *scheme,
                             const float *scales, const awq_range *ranges);
/* AWQ_ERROR_NUMERIC if a value is not finite. */
awq_status awq__check_values(awq_context *ctx, const awq__weight *weight);

awq__scheme awq__inner_scheme(const awq_scheme *scheme, int64_t columns);
/* scales [K] multiply the columns; NULL: nothing does. */
awq__weight awq__inner_weight(const awq_matrix *matrix, const float *scales);

/* quantized.c: codes that are yet to be filled. */
awq_status awq__quantized_create(awq_context *ctx, int64_t rows, int64_t columns,
                                 const awq__scheme *scheme, awq_quantized **out);

#endif
