/*
 * The CPU's table of operations on bulk data.
 *
 * Each operation runs on the calling thread; parallel work is cut into tasks by the
 * caller. Matrices are F32, row-major; `ld` names are row strides in elements. The
 * reference table is the definition: plain loops, kept for ever, and what tests compare
 * every other table with.
 */
#ifndef AWQ__COMPUTE_H
#define AWQ__COMPUTE_H

#include "core/core.h"

#include <math.h>

/* Which values a group's scale may take: those that the stored scale can hold exactly. */
typedef enum awq__scale_grid {
    AWQ__GRID_F32,
    AWQ__GRID_F16,
    AWQ__GRID_BF16_F16, /* exact in both, for engines that cast F16 scales to BF16 */
    AWQ__GRID_BF16,
    AWQ__GRID_F32_127, /* a value of F32 divided by 127 */
    AWQ__GRID_NESTED,  /* codes of 8 bits with scales of their own: nested.h */
} awq__scale_grid;

/* The nearest positive value of the grid, never 0; may be infinite where s is too large. Not for
   NESTED: there a scale depends on others of the matrix. */
float awq__round_scale(awq__scale_grid grid, float s);

/* What a code stands for. */
typedef enum awq__code {
    AWQ__CODE_INTEGER, /* scale * (code - zero) */
    AWQ__CODE_E2M1,    /* scale * awq__e2m1[code], scale a power of two: MXFP4 (OCP MX v1.0) */
    AWQ__CODE_NF4,     /* scale * awq__nf4[code] (nf4.h), scale 0 for a group of zeros */
    AWQ__CODE_E4M3,    /* floats of 8 bits (e4m3.h), which are kept, but nothing is rounded to */
} awq__code;
extern const float awq__e2m1[16];

struct awq__block_type;

/* How a matrix is rounded: one scale and zero for `group` columns of a row. */
typedef struct awq__scheme {
    awq__code code;
    int bits;      /* 2 to 8; 4 for E2M1 and NF4 */
    int64_t group; /* columns; divides K */
    bool symmetric;
    awq__scale_grid grid; /* of INTEGER; of NF4 F32 or NESTED */
    /* Blocks of GGUF that are written (blocks.h); the rest is the scheme that comes nearest, by
       which scales are searched. NULL: none. */
    const struct awq__block_type *blocks;
    int64_t rows; /* of E4M3: that share a scale, -1 for all; a group of -1 is all columns */
} awq__scheme;

/* The scale of an E2M1 group whose largest magnitude is `range`: 2^(floor(log2(range)) - 2),
   between 2^-127 and 2^127; 1 for a range of 0, INFINITY for one that is not finite. Values above 6
   times the scale become that. */
float awq__e2m1_scale(float range);

/* What the codes of a group of weights cover; a weight outside takes the nearest end. low <= 0 <=
   high; high INFINITY: as wide as the group's weights and 0. Symmetric codes and NF4 cover the
   larger side; E2M1 takes its scale from high. NF4 takes any number as its scale: {-s, s} gives s.
 */
typedef struct awq__range {
    float low, high;
} awq__range;
static inline awq__range awq__whole_range(void)
{
    return (awq__range){-INFINITY, INFINITY};
}

/* a(g, u) = (clamp(u, -limit, limit) + up_offset) * g' * sigmoid(alpha * g'), g' = min(g, limit),
   or with the GELU of g' in place of g' * sigmoid(alpha * g') */
typedef struct awq__activation {
    float alpha, limit, up_offset; /* limit is INFINITY for none */
    int kind;                      /* awq_activation_kind */
} awq__activation;

/* How a router's logits become experts and weights (awq_arch_router). */
typedef struct awq__routing {
    int scoring; /* awq_scoring */
    bool renormalize;
    float scaling, weight_floor;
    int64_t groups, groups_kept; /* 0: no groups */
    int group_score;             /* awq_group_score */
    /* [E] or NULL: added to the scores for the choice; multiplies the weights. */
    const float *correction, *expert_scale;
} awq__routing;

/* With a correction or groups there are no more experts than this. */
#define AWQ__MOST_CORRECTED 4096
#define AWQ__MOST_GROUPS 256
/* Are the last of the k chosen experts and the first one left out, or two groups, so near to one
   another that noise may swap them? tolerance: of the largest that the choice is by. */
bool awq__route_near_tie(int64_t E, const awq__routing *routing, const float *logits, int64_t k,
                         const int32_t *chosen, double tolerance);

/* What comparing two rows of logits gives, added up over rows. */
typedef struct awq__logit_stats {
    double nll;           /* of the targets under `logits`, over rows with a target */
    double reference_nll; /* under the reference */
    double kl;            /* KL(reference || logits) */
    int64_t same_top1;
} awq__logit_stats;

/* What rounding runs of weights gives, for each: sums over the weights x of the run with what each
   counts, h, and the value v of its code, before scale and min. */
#define AWQ__RUNS 32
typedef struct awq__run_sums {
    float xv[AWQ__RUNS], vv[AWQ__RUNS], v[AWQ__RUNS]; /* of h x v, h v v, h v */
} awq__run_sums;

/* Columns of AWQ__COLUMN_ROWS rows of weights, which lie side by side: arrays are
   [columns][AWQ__COLUMN_ROWS]. A group of columns has a scale and a zero for each row; blocks have
   a min in the place of a zero. */
#define AWQ__COLUMN_ROWS 128
typedef struct awq__columns {
    const awq__scheme *scheme;
    int64_t first, count;        /* column 0 below is number `first` of its matrix */
    const float *scales, *zeros; /* of the matrix: [K/g] */
    const float *w;              /* the weights */
    float *e;                    /* what is left of them: w - q */
    float *x;                    /* what compensation has gathered */
    float *change;               /* of e */
    uint8_t *codes;
    const float *matrix; /* [count,count] above its diagonal, of stride ld */
    int64_t ld;
    const float *diagonal; /* [count]; NULL: 1 */
} awq__columns;

typedef struct awq__compute {
    const char *name;

    /* y[T,N] = x[T,K] w[N,K]^T + beta * y */
    void (*multiply_nt)(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy);
    /* y[T,N] = x[T,K] w[K,N] + beta * y */
    void (*multiply_nn)(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy);
    /* y[T,N] = x[K,T]^T w[K,N] + beta * y */
    void (*multiply_tn)(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy);
    /* gram[b] [g,g] += x_b^T x_b for each block b of g columns of x[T,K]; g divides K */
    void (*gram)(int64_t T, int64_t K, int64_t g, const float *x, int64_t ldx, float *gram);
    /* The factors of a symmetric h[K,K] = (I + V) D (I + V)^T, V strictly upper triangular and D
       diagonal: V takes the place of what is above the diagonal and D that of the diagonal; what is
       below stays. False, with nothing of value above, if h is not positive definite in F32. */
    bool (*factor)(int64_t K, float *h);

    /* out[T,H] = x / sqrt(mean(x^2) + epsilon) * weight; out may be x */
    void (*rms_norm)(int64_t T, int64_t H, const float *x, const float *weight, double epsilon,
                     float *out);
    /* Turns channels (i, i + pairs), or (2i, 2i + 1) of `adjacent` ones, of each head of x[T,
       heads*D] by the angle whose cosine and sine are cos_sin[t][i] and cos_sin[t][pairs + i]. */
    void (*rotate)(int64_t T, int64_t heads, int64_t D, int64_t pairs, bool adjacent,
                   const float *cos_sin, float *x);
    /* In place on scores[T,S], row t being the query at position first + t and columns keys 0 ..
       S-1: softmax(scale * scores) over keys j with position - window < j <= position; 0 elsewhere.
       exp(sink) joins each row's sum; -INFINITY for no sink. */
    void (*causal_softmax)(int64_t T, int64_t S, int64_t first, int64_t window, float scale,
                           float sink, float *scores);
    /* The gated delta rule of one head, token by token, with a state S[K,V] that begins as 0:
         S *= exp(decay[t]); S += k[t] (beta[t] (v[t] - S^T k[t]))^T; out[t] = S^T q[t]
       q and k [T,K], v and out [T,V]. decay is at most 0. work: awq__delta_rule_work floats. */
    void (*delta_rule)(int64_t T, int64_t K, int64_t V, const float *q, const float *k,
                       const float *v, int64_t ld, const float *decay, const float *beta,
                       float *work, float *out, int64_t ldo);
    /* out = activation(gate, up); out may be gate */
    void (*activate)(int64_t count, const awq__activation *activation, const float *gate,
                     const float *up, float *out);
    /* logits[T,E] -> index[T,k], weight[T,k], falling; equal scores go to the lower expert */
    void (*route)(int64_t T, int64_t E, int64_t k, const awq__routing *routing, const float *logits,
                  int32_t *index, float *weight);

    /* out[T,K]: row t is row index[t] / step of x */
    void (*gather)(int64_t T, int64_t K, const int64_t *index, int64_t step, const float *x,
                   float *out);
    /* Row index[t] - first of out is row t of x[T,K]. */
    void (*scatter)(int64_t T, int64_t K, const int64_t *index, int64_t first, const float *x,
                    float *out);
    /* out[t] += sum over i, in their order, of weight[t,i] * parts[t,i], out[T,H] and parts[T,k,H];
       weight NULL means 1 */
    void (*combine)(int64_t T, int64_t k, int64_t H, const float *weight, const float *parts,
                    float *out);
    /* y[T,N] += row[n] * scale[n]; scale NULL means 1 */
    void (*add_row)(int64_t T, int64_t N, const float *row, const float *scale, float *y,
                    int64_t ldy);
    /* out = x + amount; out may be x */
    void (*shift)(int64_t count, float amount, const float *x, float *out);
    /* m[K,K]: what is above the diagonal also below it */
    void (*mirror)(int64_t K, float *m);
    /* Adds each row t of x[T,K], or its negative, to one of rows[count,K]: which of both, and to
       which, seed + t alone says. */
    void (*sketch)(int64_t T, int64_t K, const float *x, int64_t ldx, uint64_t seed, int64_t count,
                   float *rows);
    /* The largest |a[i] - b[i]|, NaN if there is one; b NULL means 0 */
    double (*largest_difference)(int64_t count, const float *a, const float *b);

    /* sums[K] += sum over rows of |x[T,K]| */
    void (*add_abs)(int64_t T, int64_t K, const float *x, int64_t ldx, double *sums);
    /* sums[K] += sum over rows of |w| / (absmax of its group + 1e-6), w[N,K] */
    void (*add_w_mean)(int64_t N, int64_t K, int64_t g, const float *w, double *sums);
    /* sums[K] += sum over rows of (weight[t] * (a[t,k] - b[t,k]))^2, a and b [T,K]; b NULL means 0,
       weight NULL 1. Each square is an F32. */
    void (*add_squares)(int64_t T, int64_t K, const float *a, const float *b, const float *weight,
                        double *sums);
    /* sum over t of weight[t]^2 * |a[t] - b[t]|^2, a and b [T,N]; weight NULL means 1 */
    double (*squared_error)(int64_t T, int64_t N, const float *a, const float *b,
                            const float *weight);
    /* sum over n of weight[n] * sum over k of a[n,k] * b[n,k]; weight NULL means 1 */
    double (*weighted_dot)(int64_t N, int64_t K, const float *a, const float *b,
                           const float *weight);
    /* sum of a[i] * b[i] */
    double (*dot)(int64_t count, const float *a, const float *b);
    /* sums[n] = e[n] m e[n]^T for the rows of e[N,K] and a symmetric m[K,K]; product is [N,K] of
       work space. */
    void (*quadratic)(int64_t N, int64_t K, const float *e, const float *m, float *product,
                      double *sums);

    /* range[N,K/g]: the least and the largest of each group of w[N,K] and 0; high is NaN if a
       weight is. */
    void (*group_extents)(int64_t N, int64_t K, int64_t g, const float *w, awq__range *range);

    /* x[N,K] *= row[n] * col[k], by col first; NULL means 1 */
    void (*scale)(int64_t N, int64_t K, const float *row, const float *col, float *x);
    /* w[N,K] -> codes[N,K], scales[N,K/g], zeros[N,K/g]. range[N,K/g], or NULL for the whole. False
       if a scale is not finite. */
    bool (*quantize)(int64_t N, int64_t K, const awq__scheme *scheme, const float *w,
                     const awq__range *range, uint8_t *codes, float *scales, uint8_t *zeros);
    /* error[N,K] = what w[N,K] becomes, times scale[k], there and back, times unscale[k], less w.
       scale and unscale NULL mean 1. */
    void (*quantize_error)(int64_t N, int64_t K, const awq__scheme *scheme, const awq__range *range,
                           const float *scale, const float *unscale, const float *w, float *error);
    /* Rounds AWQ__RUNS runs of a block type (blocks.h), side by side: x, h and codes are [length,
       AWQ__RUNS]. The code is that of the value nearest to (x + min) / scale; a scale that
       has no inverse, as 0, gives what is nearest to 0. codes NULL: the sums alone. */
    void (*round_runs)(const struct awq__block_type *type, int length, const float *x,
                       const float *h, const float scale[AWQ__RUNS], const float min[AWQ__RUNS],
                       awq__run_sums *sums, uint8_t *codes);
    /* The errors of the same: of each run the sum of h (x - scale v + min)^2. */
    void (*run_errors)(const struct awq__block_type *type, int length, const float *x,
                       const float *h, const float scale[AWQ__RUNS], const float min[AWQ__RUNS],
                       float error[AWQ__RUNS]);
    /* Rounds columns in their order: column i from (w - e) + x / diagonal[i] to q, whose code is
       the nearest, so that e becomes w - q. By what e changes, times matrix[i,j], x of each column
       j behind grows. */
    void (*round_columns)(const awq__columns *columns);
    /* loss[r] = sum over the columns of a group w[g][AWQ__COLUMN_ROWS] of weight[k] (w - q)^2 with
       nearest rounding. Not for blocks. */
    void (*range_losses)(const awq__scheme *scheme, const float *w, const float *weight,
                         const float *scale, const float *zero, float *loss);

    /* Adds up over rows. targets[r] is a column, or -1 for no target; reference NULL: nll alone. */
    void (*compare_logits)(int64_t rows, int64_t V, const float *logits, const float *reference,
                           const int32_t *targets, awq__logit_stats *stats);
} awq__compute;

int64_t awq__delta_rule_work(int64_t K, int64_t V);
/* Additions and multiplications of all matrix products of the fast tables so far, on all threads.
 */
uint64_t awq__product_operations(void);
const awq__compute *awq__compute_reference(void);
/* What the reference's quantize gives, and back again in place: w = value of the code * unscale[k];
   unscale NULL means 1. */
void awq__fake_quantize(int64_t N, int64_t K, const awq__scheme *scheme, const awq__range *range,
                        const float *unscale, float *w);
/* The fastest table for this machine: OpenBLAS, and loops for the widest vectors there are. */
const awq__compute *awq__compute_fastest(void);
/* The table that computes for this context: the fastest, unless it was given another. */
const awq__compute *awq__compute_of(const awq_context *ctx);
/* Gives it one. */
void awq__compute_use(awq_context *ctx, const awq__compute *table);
/* All tables that this machine can run, for tests; ends with NULL. */
const awq__compute *const *awq__compute_all(void);

#endif
