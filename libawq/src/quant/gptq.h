/*
 * Error-compensated rounding (GPTQ, Frantar et al., arXiv 2210.17323). Rounding a column makes an
 * error in the output. The columns after it are rounded from changed values, which take that error
 * back as far as the inputs allow.
 *
 * No inverse is needed. Let the Hessian be H = (I + V) D (I + V)^T, V strictly upper triangular.
 * Then column k is rounded from w_k + sum over j < k of (w_j - q_j) V_jk. The loss of a row,
 * (w - q) H (w - q)^T, is the sum over k of D_k times the square of what rounding column k adds.
 * This equals the paper's updates by the Cholesky factor of the inverse of H.
 */
#ifndef AWQ__GPTQ_H
#define AWQ__GPTQ_H

#include "compute/codes.h"

/* Rows that are worked on at a time: row blocks begin at multiples of it. */
#define AWQ__GPTQ_ROWS AWQ__COLUMN_ROWS
/* Wider groups keep the scale that was chosen before rounding. */
#define AWQ__GPTQ_WIDEST_FIT 512

/* Columns of a block: whole groups, unless they are wider than that. */
static inline int64_t awq__gptq_block(int64_t cols, int64_t group)
{
    const int64_t usual = 128;
    int64_t block = group > AWQ__GPTQ_WIDEST_FIT ? usual
                    : group > usual              ? group
                                                 : usual / group * group;
    return awq__min(block, cols);
}

/* While a Hessian is not positive definite it gets more damping, at most so many times. */
#define AWQ__GPTQ_RETRIES 3
static inline double awq__gptq_more_damping(double damping)
{
    return damping > 0 ? 10 * damping : 1e-3;
}

/* A factorized Hessian, for any number of weights that share an input. */
typedef struct awq__gptq {
    int64_t cols, group; /* K, g */
    double damping;      /* the share that was added */
    float *h;      /* [K,K] in the order of rounding: V above the diagonal, D on it, the damped
                      Hessian below */
    int64_t block; /* S: columns that are rounded again before those behind them are */
    /* Of each block, in the order of rounding, from [first * S] on: [S,S] (I + V) D (I + V)^T, what
       is left of the Hessian where columns behind take back all they can, and (I + V) D. */
    float *blocks, *halves;
    float *pivots;  /* [K] D */
    float *curves;  /* [K] the diagonal of blocks */
    int64_t *order; /* [K] which column comes when; groups stay together */
} awq__gptq;

/*
 * gram[K,K] is the sum over tokens of x^T x, where x is the input as the folded weight sees it. It
 * is borrowed and factorized in place. damping is the share of the mean diagonal that is added to
 * the diagonal. While H is not positive definite it is raised ten-fold, at most three times. A gram
 * of zeros stands for the identity. Groups are rounded by falling sum of their diagonals, columns
 * of a group by falling diagonal. AWQ_ERROR_NUMERIC names `name`, a module.
 */
awq_status awq__gptq_create(awq_context *ctx, const awq__compute *compute, const char *name,
                            float *gram, int64_t cols, int64_t group, double damping,
                            awq__gptq *gptq);
void awq__gptq_free(awq__gptq *gptq);
/* order[K] of rounding by a diagonal whose values are `stride` apart. */
awq_status awq__gptq_order(awq_context *ctx, int64_t cols, int64_t group, const float *diagonal,
                           int64_t stride, int64_t *order);

typedef struct awq__gptq_effort {
    /* Ranges to choose from for each group of each row, by the sum over k of D_k (w_k - q_k)^2 with
       nearest rounding: 1, 0.95, ... of the smallest and largest weight; E2M1: the scale, its
       double and its half. From 1 to 10; 1: what awq__codes_round takes. */
    int ranges;
    /* Passes over each block after its first: each column is rounded again, best for what the others
       of the block are now and for what columns behind it can take back. INTEGER scales are fitted
       to the codes in between, where a group is not wider than AWQ__GPTQ_WIDEST_FIT. A pass never
       makes the loss that a block leaves greater. */
    int sweeps;
} awq__gptq_effort;

/* Floats of work space. */
int64_t awq__gptq_work(int64_t cols, int64_t group);
/* Chooses the scales of these rows and nothing else, else like awq__gptq_round. With a grid of
   NESTED, awq__codes_nest follows, and awq__gptq_round then takes the stored scales. */
awq_status awq__gptq_choose(awq_context *ctx, const awq__compute *compute, const awq__gptq *gptq,
                            const awq__gptq_effort *effort, const awq__weight *weight,
                            int64_t first, int64_t count, float *work, awq__codes *codes);
/*
 * Rounds rows first .. first+count-1 of the weight (with its multipliers); first is a multiple of
 * AWQ__GPTQ_ROWS. A row's codes depend on nothing but the row and the Hessian. scheme.group of
 * codes is the Hessian's. AWQ_ERROR_NUMERIC names the module if a scale does not fit the stored
 * type.
 */
awq_status awq__gptq_round(awq_context *ctx, const awq__compute *compute, const awq__gptq *gptq,
                           const awq__gptq_effort *effort, const awq__weight *weight, int64_t first,
                           int64_t count, float *work, awq__codes *codes);

/* All rows, in parallel where the caller is not a task itself. */
awq_status awq__gptq_round_all(awq_context *ctx, const awq__compute *compute, const awq__gptq *gptq,
                               const awq__gptq_effort *effort, const awq__weight *weight,
                               awq__codes *codes);

#endif
