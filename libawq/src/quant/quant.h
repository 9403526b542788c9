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

/*
 * The gram of x: the whole Gram matrix x^T x, its diagonal blocks, or a sketch R[r,K] with
 * R^T R ~ x^T x. A sketch adds each token, with a random sign, to one of its r rows: the expected
 * value of R^T R is x^T x.
 */
typedef struct awq__stats {
    int64_t cols, group; /* K, g; g == K: the whole x^T x, or a sketch */
    int64_t rows;        /* r of a sketch, or 0 */
    int64_t tokens;
    double *abs_sums; /* [K] sum over tokens of |x| */
    float *gram;      /* [K/g][g,g] sum over tokens of x_b^T x_b; or R[r,K] */
} awq__stats;

awq_status awq__stats_create(awq_context *ctx, int64_t cols, int64_t group, awq__stats *stats);
awq_status awq__stats_create_sketch(awq_context *ctx, int64_t cols, int64_t rows,
                                    awq__stats *stats);
void awq__stats_free(awq__stats *stats);
/* Not for sketches. */
void awq__stats_add(const awq__compute *compute, awq__stats *stats, int64_t T, const float *x,
                    int64_t ldx);
/* The same for the whole x^T x, in a parallel loop. It takes half the operations, because it leaves
   what is below the diagonal to awq__stats_mirror. */
awq_status awq__stats_add_whole(awq_context *ctx, const awq__compute *compute, awq__stats *stats,
                                int64_t T, const float *x, int64_t ldx);
void awq__stats_mirror(const awq__compute *compute, awq__stats *stats);
/* Adds x[T,K] to rows first .. first+count-1 of a sketch; token t's row and sign depend on seed + t
   alone. abs_sums and tokens are left to the caller. */
void awq__stats_sketch(const awq__compute *compute, awq__stats *stats, int64_t first, int64_t count,
                       uint64_t seed, int64_t T, const float *x, int64_t ldx);
/* Changes the statistics as if column k of every x had been multiplied by factor[k]. */
void awq__stats_rescale(const awq__compute *compute, awq__stats *stats, const float *factor);
/* diagonal[K] of the gram, whatever is kept of it. */
void awq__stats_diagonal(const awq__stats *stats, float *diagonal);
/* Makes *blocks of whole or sketched statistics: their diagonal blocks of `group` columns. */
awq_status awq__stats_blocks(awq_context *ctx, const awq__compute *compute, const awq__stats *whole,
                             int64_t group, awq__stats *blocks);

/* ---- scales.c: candidates ---- */

/* w_mean[k] = mean over the rows of all weights of |W| / (absmax of its group + 1e-6). work:
   awq__weight_work of the largest. w_mean is cleared first. */
void awq__w_mean(const awq__compute *compute, const awq__weight *const *weights, int64_t count,
                 int64_t group, double *w_mean, float *work);

/*
 * Candidate 0 is the identity; candidate 1 + i has ratio r = i/steps:
 *   s = a^r / (w^(1-r) + 1e-4), at least 1e-4, divided by sqrt(max(s) min(s)), 1 where not finite.
 * a is the mean |x| of a channel, w its w_mean. If a norm is folded, s is rounded so that norm / s
 * is what stored weights can stand for: norm_shift + a value of norm_dtype, but for F32's rounding.
 */
typedef struct awq__candidates {
    int64_t cols;
    const double *salience; /* [K] a */
    const double *w_mean;   /* [K] w */
    int64_t steps;
    const float *norm; /* what the norm that is folded multiplies by; NULL: none is */
    int64_t norm_cols; /* of these, which serve columns k, k + norm_cols, ...; 0: K */
    awq_dtype norm_dtype;
    float norm_shift;
} awq__candidates;

static inline int64_t awq__candidate_count(const awq__candidates *candidates)
{
    return candidates->steps + 2;
}
void awq__candidate(const awq__candidates *candidates, int64_t index, float *scale);

/* ---- salience.c ---- */

/* A channel whose mean |x| is so many times the median of all is an outlier. */
#define AWQ__OUTLIER 8.0
#define AWQ__MOST_OUTLIERS 16

/* The mean |x| of an input's channels, in short. */
typedef struct awq__salience {
    double median, largest;
    int64_t outlier_count;                /* all of them */
    int64_t outliers[AWQ__MOST_OUTLIERS]; /* the first of them, rising */
} awq__salience;
awq_status awq__salience_summarize(awq_context *ctx, const double *salience, int64_t K,
                                   awq__salience *summary);

/* What a search found. Losses are sums of squared errors of outputs. */
typedef struct awq__found_scale {
    int64_t candidate; /* 0: the identity */
    double identity_loss, loss;
    awq__salience salience;
} awq__found_scale;

/* The candidate with the least loss; the first of equals, and never one whose loss is not finite.
   AWQ_ERROR_NUMERIC, naming `name`, if the identity's is not. */
awq_status awq__choose(awq_context *ctx, const char *name, const double *losses, int64_t count,
                       awq__found_scale *found);

/* ---- scale_search.c: loss from the gram ---- */

/* sum over rows of e G e^T for e = Q(w) - w and the G of stats, whole or a sketch; the weight with
   its multipliers. range as in awq__compute.quantize. space: awq__gram_loss_space floats. */
double awq__gram_loss(const awq__compute *compute, const awq__weight *weight,
                      const awq__scheme *scheme, const awq__range *range, const awq__stats *stats,
                      float *space);
int64_t awq__gram_loss_space(const awq__weight *weight, const awq__stats *stats);

/* sum over the n rows of row_weight[row] * e G e^T for the errors e[n,K]; product has n times the
   larger of K and the rows of a sketch. */
double awq__error_loss(const awq__compute *compute, const awq__stats *stats, int64_t n,
                       const float *error, const float *row_weight, float *product);

/* Scales to be found for an input. */
typedef struct awq__search_set {
    awq__candidates candidates;
    const char *name;       /* of a module, for messages */
    float *scale, *unscale; /* [K] set to the best, and 1/scale */
    awq__found_scale found;
} awq__search_set;

/* A matrix that is scaled by a set. It has no col_scale. */
typedef struct awq__search_item {
    const awq__weight *weight;
    const awq__stats *stats; /* of its input, whole or a sketch */
    const float *row_weight; /* [N] what the squared error of each output counts, or NULL for 1 */
    awq__scheme scheme;
    int64_t set;
    const void *of; /* the caller's */
} awq__search_item;

/* Scales that are tried of a set in one round. */
typedef struct awq__search_trial {
    int64_t count;
    const float *scale, *unscale; /* [count,K] */
} awq__search_trial;
/* losses[items][most] of each item with each of its set's trials. */
typedef awq_status (*awq__search_losses)(void *user, const awq__search_item *items,
                                         int64_t item_count, const awq__search_trial *trials,
                                         int64_t set_count, int64_t most, double *losses);

/*
 * Finds for each set the scale with the least loss: the sum over its items and their rows n of
 * row_weight[n] * e_n G e_n^T, where e = Q(w * scale) / scale - w. Ratios are tried from coarse to
 * fine.
 */
awq_status awq__search_sets(awq_context *ctx, const awq__compute *compute,
                            const awq__search_item *items, int64_t item_count,
                            awq__search_set *sets, int64_t set_count);

/* The same with losses found by a function, for items without stats; NULL: here. */
awq_status awq__search_sets_by(awq_context *ctx, const awq__compute *compute,
                               const awq__search_item *items, int64_t item_count,
                               awq__search_set *sets, int64_t set_count, awq__search_losses losses,
                               void *user);

/* The same for weights that share scheme, input and scales, each row counting 1. */
awq_status awq__search_linear(awq_context *ctx, const awq__compute *compute,
                              const awq__weight *const *weights, int64_t count,
                              const awq__scheme *scheme, const awq__candidates *candidates,
                              const awq__stats *stats, float *scale, float *unscale,
                              awq__found_scale *found);

/* ---- scheme_losses.c ---- */

/* A matrix whose columns are multiplied by scale, and 1/scale; both may be NULL. */
typedef struct awq__scheme_item {
    const awq__weight *weight; /* without multipliers of columns */
    const awq__stats *stats;
    const float *row_weight; /* [N]; NULL: each row counts 1 */
    const float *scale, *unscale;
    const awq__scheme *schemes; /* [scheme_count] to choose from */
} awq__scheme_item;
/* losses[items,schemes]: as awq__gram_loss, with rows weighed, of rounding by each scheme. */
awq_status awq__scheme_losses(awq_context *ctx, const awq__compute *compute,
                              const awq__scheme_item *items, int64_t item_count,
                              int64_t scheme_count, double *losses);

/* ---- clip.c ---- */

/*
 * range[N,K/g]: the clip range of each group of each row (see awq__compute.quantize). It has the
 * least (w - q) G_b (w - q)^T with the block G_b of stats, whose group is the scheme's. First the
 * whole range is tried, and both ends cut to 0.95, 0.9, ... 0.45 of the larger magnitude. Then come
 * smaller changes of the best of these; asymmetric codes also change each end alone. E2M1 schemes
 * have three choices: the power of two of the largest magnitude, the one above, which cuts nothing
 * off, and the one below. weight and stats are in folded coordinates.
 */
awq_status awq__search_clip(awq_context *ctx, const awq__compute *compute,
                            const awq__weight *weight, const awq__scheme *scheme,
                            const awq__stats *stats, awq__range *range);

#endif
