/*
 * Activation-aware weight quantization of linears (Lin et al., arXiv 2306.00978): statistics of
 * inputs, candidate scales, their losses, clipping. Works on matrices; knows no files and no
 * plugins.
 */
#ifndef AWQ__QUANT_H
#define AWQ__QUANT_H

#include "compute/codes.h"
#include "forward/layer.h"

/* ---- stats.c: what a linear's loss needs to know of its input x[T,K] ---- */

typedef struct awq__stats {
    int64_t cols, group; /* K, g */
    int64_t tokens;
    double *abs_sums; /* [K] sum over tokens of |x| */
    float *gram;      /* [K/g][g,g] sum over tokens of x_b^T x_b; g == K: the whole x^T x */
} awq__stats;

awq_status awq__stats_create(awq_context *ctx, int64_t cols, int64_t group, awq__stats *stats);
void awq__stats_free(awq__stats *stats);
void awq__stats_add(const awq__compute *compute, awq__stats *stats, int64_t T, const float *x,
                    int64_t ldx);
/* into += from; same shape. */
void awq__stats_merge(awq__stats *into, const awq__stats *from);
/* What the statistics would be had column k of every x been multiplied by factor[k]. */
void awq__stats_rescale(awq__stats *stats, const float *factor);
/* The blocks of `group` columns of whole (whose group is K): *blocks is made. */
awq_status awq__stats_blocks(awq_context *ctx, const awq__stats *whole, int64_t group,
                             awq__stats *blocks);

/* ---- scales.c: candidates ---- */

/* relative[k] = mean over the rows of all weights of |W| / (absmax of its group + 1e-6). work:
   awq__weight_work of the largest. relative is cleared first. */
void awq__mean_relative(const awq__compute *compute, const awq__weight *const *weights,
                        int64_t count, int64_t group, double *relative, float *work);

typedef enum awq__scale_rounding {
    AWQ__ROUNDING_NONE,
    AWQ__ROUNDING_NORM, /* so that norm / s is a value of norm_dtype, but for F32's rounding */
    AWQ__ROUNDING_POWER_OF_TWO, /* so that every product with s is exact */
} awq__scale_rounding;

/*
 * Candidate 0 is the identity; candidate 1 + i has ratio r = i/steps:
 *   s = a^r / (w^(1-r) + 1e-4), at least 1e-4, divided by sqrt(max(s) min(s)), 1 where not finite,
 * a being the mean |x| of a channel and w the mean relative weight. Then s is rounded.
 */
typedef struct awq__candidates {
    int64_t cols;
    const double *salience; /* [K] a */
    const double *relative; /* [K] w */
    int64_t steps;
    awq__scale_rounding rounding;
    const float *norm; /* [K] stored weights of the norm that is folded; NULL: none is */
    awq_dtype norm_dtype;
} awq__candidates;

static inline int64_t awq__candidate_count(const awq__candidates *candidates)
{
    return candidates->steps + 2;
}
void awq__candidate(const awq__candidates *candidates, int64_t index, float *scale);

/* What a search found. Losses are sums of squared errors of outputs. */
typedef struct awq__found_scale {
    int64_t candidate; /* 0: the identity */
    double identity_loss, loss;
} awq__found_scale;

/* The candidate with the least loss; the first of equals, and never one whose loss is not finite.
   AWQ_ERROR_NUMERIC, naming `name`, if the identity's is not. */
awq_status awq__choose(awq_context *ctx, const char *name, const double *losses, int64_t count,
                       awq__found_scale *found);

/* ---- linear_search.c: loss from x^T x ---- */

/* sum over rows of (w - q) G (w - q)^T for q = Q(w * scale) / scale, G = gram [K,K]. limit as in
   awq__compute.quantize, scale NULL for 1; else the weight has no col_scale. space:
   awq__linear_loss_space floats. */
double awq__linear_loss(const awq__compute *compute, const awq__weight *weight,
                        const awq__scheme *scheme, const float *scale, const float *unscale,
                        const float *limit, const float *gram, float *space);
int64_t awq__linear_loss_space(const awq__weight *weight);
/* Best scale for weights that share an input and have no col_scale; stats are whole. scale[K] is
 * set, unscale[K] to 1/scale. */
awq_status awq__search_linear(awq_context *ctx, const awq__compute *compute,
                              const awq__weight *const *weights, int64_t count,
                              const awq__scheme *scheme, const awq__candidates *candidates,
                              const awq__stats *stats, float *scale, float *unscale,
                              awq__found_scale *found);

/* ---- block_search.c: loss from the output of the experts ---- */

typedef struct awq__block_search {
    const awq__forward *forward;
    const awq__layer *layer;
    const float *x;            /* [T,H] normed input of the experts */
    const awq__routes *routes; /* of these T tokens */
    const bool *gate, *up;     /* [E] which matrices will be quantized */
    awq__scheme scheme;
    const awq__candidates *candidates;
    int64_t stride; /* every stride-th token is used */
} awq__block_search;
/*
 * Best scale for the input of all experts of a layer: the least sum over experts and their tokens
 * of routing weight^2 * |expert(x) - quantized expert(x)|^2. Errors of different experts are taken
 * as independent, so that experts can be worked on one by one.
 */
awq_status awq__search_block(const awq__block_search *search, float *scale, float *unscale,
                             awq__found_scale *found);

/* y[T,N] = x Q(W * scale)^T / scale, by blocks of rows; the weight has no col_scale. */
void awq__linear_fake(const awq__compute *compute, const awq__weight *weight,
                      const awq__scheme *scheme, const float *scale, const float *unscale,
                      int64_t T, const float *x, int64_t ldx, float *y, int64_t ldy, float *work);

/* ---- clip.c ---- */

/*
 * limit[N,K/g]: for each group of each row the limit (see awq__compute.quantize), of 1, 0.95, ...
 * 0.55 times its largest magnitude, that gives the least (w - q) G_b (w - q)^T with the block G_b
 * of stats (whose group is the scheme's); INFINITY where 1 is best. E2M1 schemes have three
 * choices: 1, 2 (the next power of two as scale, with which nothing is cut off) and 0.5. weight and
 * stats are in folded coordinates.
 */
awq_status awq__search_clip(awq_context *ctx, const awq__compute *compute,
                            const awq__weight *weight, const awq__scheme *scheme,
                            const awq__stats *stats, float *limit);

#endif
