/*
 * What searches of scales are measured by: the exact loss, from the output of the experts. Many
 * times slower than the library's own, by second moments.
 */
#ifndef BLOCK_SEARCH_H
#define BLOCK_SEARCH_H

#include "quant/quant.h"

typedef struct block_search {
    const awq__forward *forward;
    const awq__layer *layer;
    const float *x;             /* [T,H] normed input of the experts */
    const awq__routes *routes;  /* of these T tokens */
    const bool *gate, *up;      /* [E] which matrices will be quantized */
    const awq__scheme *schemes; /* [E] of gate and up, where they will be */
    const awq__candidates *candidates;
    double *losses; /* NULL, or [candidates]: set to their losses */
} block_search;
/*
 * Best scale for the input of all experts of a layer: the least sum over experts and their tokens
 * of routing weight^2 * |expert(x) - quantized expert(x)|^2. Errors of different experts are taken
 * as independent, so that experts can be worked on one by one. scale [H] and unscale [H] are set.
 */
awq_status search_block(const block_search *search, float *scale, float *unscale,
                        awq__found_scale *found);

/* y[T,N] = x Q(W * scale)^T / scale, by blocks of rows; the weight has no col_scale. */
void linear_fake(const awq__compute *compute, const awq__weight *weight, const awq__scheme *scheme,
                 const float *scale, const float *unscale, int64_t T, const float *x, int64_t ldx,
                 float *y, int64_t ldy, float *work);

#endif
