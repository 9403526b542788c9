/*
 * The arithmetic of the CUDA backend: what one device does with arrays in its memory.
 *
 * Each function queues work and returns without waiting. Pointers are to device memory unless the
 * comment says "host". Matrices are row-major; `ld` names are row strides in elements. T tokens,
 * H hidden, I intermediate, E experts, N out features, K in features, G group size (g).
 *
 * Nothing here allocates, but for queues. The caller owns all arrays. An array that is read is not
 * changed; one that is written must not overlap one that is read, unless the comment allows it.
 * Results depend on shapes and values alone: sums have a fixed order, and there are no atomics
 * whose order matters. What the CPU's reference table (compute/compute.h) defines is computed here
 * with the errors that the comments state.
 *
 * Every function returns 0 or an error for awq__cuda_error_text. Errors of kernels themselves come
 * with a later call or when the stream is waited for, as CUDA has it.
 */
#ifndef AWQ__CUDA_KERNELS_H
#define AWQ__CUDA_KERNELS_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- queues (queue.cu) ---- */

/* A cudaError_t, or a cuBLAS or cuSOLVER status with its base added. */
#define AWQ__CUDA_BLAS_BASE 20000
#define AWQ__CUDA_SOLVER_BASE 30000
/* Shapes that a function does not serve: see its comment. */
#define AWQ__CUDA_UNSERVED 40000
const char *awq__cuda_error_text(int error);

/*
 * A stream with the libraries' handles and work space of its own. One thread uses it at a time; two
 * queues run side by side. Work on one queue is done in order.
 */
typedef struct awq__cuda_queue awq__cuda_queue;
/* On the current device. *queue is NULL after a failure. */
int awq__cuda_queue_create(awq__cuda_queue **queue);
/* Waits for its work first. Takes NULL. */
void awq__cuda_queue_free(awq__cuda_queue *queue);
cudaStream_t awq__cuda_queue_stream(const awq__cuda_queue *queue);
/* Device memory that a queue takes for itself. */
#define AWQ__CUDA_QUEUE_BYTES ((size_t)96 << 20)

/* ---- stored weights (weights.cu) ---- */

typedef enum awq__cuda_dtype {
    AWQ__CUDA_F32,
    AWQ__CUDA_F16,
    AWQ__CUDA_BF16,
    AWQ__CUDA_MXFP4, /* blocks of 32 E2M1 codes, two in a byte, the lower half first */
} awq__cuda_dtype;

/* W[N,K], as awq__weight: the value is stored(n, k) * col_scale[k] * row_scale[n]. */
typedef struct awq__cuda_weight {
    awq__cuda_dtype dtype;
    int64_t rows, cols; /* N, K */
    const void *data;
    /* In elements; of MXFP4 row_stride is in stored rows, and col_stride is not used. */
    int64_t row_stride, col_stride;
    const uint8_t *scales; /* MXFP4: E8M0, [.., K/32]; rows as far apart as those of data */
    const float *row_scale, *col_scale; /* [N], [K], or NULL for 1 */
} awq__cuda_weight;

/* Rows first .. first+count-1 with their multipliers -> out[count,K]. Exact, as on the CPU. */
int awq__cuda_widen(const awq__cuda_queue *queue, const awq__cuda_weight *weight, int64_t first,
                    int64_t count, float *out);
/* hidden[T,K]: row t is row ids[t] of the weight, with its multipliers. */
int awq__cuda_embed(const awq__cuda_queue *queue, const awq__cuda_weight *weight, int64_t T,
                    const int32_t *ids, float *hidden);

/*
 * A matrix as the tensor cores take it: the sum of one or two BF16 terms. BF16 and MXFP4 are exact
 * in one term, F16 in two; F32 keeps 16 bits in two (2^-17 of the value is lost).
 */
typedef struct awq__cuda_terms {
    int64_t rows, cols, ld;
    const uint16_t *high, *low; /* BF16 [rows,cols], rows `ld` apart; low NULL: one term */
} awq__cuda_terms;

/* Bytes for the next function; 0 where the stored bytes serve as they are. */
size_t awq__cuda_weight_terms_bytes(const awq__cuda_weight *weight);
/* Terms of the stored values, WITHOUT the multipliers: col_scale belongs into the terms of the
   input (awq__cuda_split), row_scale into awq__cuda_finish. *terms points to `space` or to the
   weight's own data. */
int awq__cuda_weight_terms(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                           void *space, awq__cuda_terms *terms);

/*
 * Two BF16 terms of x: row t is row index[t] / step of x[..,K], times factor[t], times column[k];
 * index, factor and column may be NULL. high, low [T,K].
 */
int awq__cuda_split(const awq__cuda_queue *queue, int64_t T, int64_t K, const float *x, int64_t ldx,
                    const int32_t *index, int64_t step, const float *factor, const float *column,
                    uint16_t *high, uint16_t *low);

/* ---- products (products.cu): cuBLAS, sums in F32 ---- */

/* y[T,N] = x[T,K] w[N,K]^T, + y if `add`: every product of two terms but low times low. With x in
   two terms and a w that is exact in one the error is 6e-6 of the largest output at K 2048, 2e-5 at
   14336: less than a tenth of what golden activations are allowed. */
int awq__cuda_product(const awq__cuda_queue *queue, const awq__cuda_terms *x,
                      const awq__cuda_terms *w, bool add, float *y, int64_t ldy);
/* y[t,n] = y[t,n] * row_scale[n] + bias[n] * bias_scale[n]; each may be NULL. */
int awq__cuda_finish(const awq__cuda_queue *queue, int64_t T, int64_t N, const float *row_scale,
                     const float *bias, const float *bias_scale, float *y, int64_t ldy);
/* y[T,N] = x[T,K] w[N,K]^T, + y if `add`, of F32: in F32 (routers), or, with `tf32`, in TF32. */
int awq__cuda_product_f32(const awq__cuda_queue *queue, int64_t T, int64_t N, int64_t K,
                          const float *x, int64_t ldx, const float *w, int64_t ldw, bool tf32,
                          bool add, float *y, int64_t ldy);

/*
 * Gram matrices. gram[b][g,g] += x_b^T x_b for each block b of g columns; g divides K, and g == K
 * is the whole. Tokens are taken 4096 at a time, whose sums are added in F32. The largest error of
 * an element, against sqrt(Gii Gjj), is below 2e-5. What is kept until awq__cuda_gram_finish has
 * both triangles, but is not symmetric.
 */
int awq__cuda_gram(const awq__cuda_queue *queue, const awq__cuda_terms *x, int64_t g, float *gram);
/* Makes each of the K/g blocks symmetric: the mean of both triangles. Once, when all tokens are in.
 */
int awq__cuda_gram_finish(const awq__cuda_queue *queue, int64_t K, int64_t g, float *gram);
/* As if column k of every x had been multiplied by factor[k]. */
int awq__cuda_gram_rescale(const awq__cuda_queue *queue, int64_t K, int64_t g, const float *factor,
                           float *gram);
/* blocks[K/g][g,g]: the diagonal blocks of gram[K,K]. */
int awq__cuda_gram_blocks(const awq__cuda_queue *queue, int64_t K, int64_t g, const float *gram,
                          float *blocks);
/* diagonal[K] of blocks of g. */
int awq__cuda_gram_diagonal(const awq__cuda_queue *queue, int64_t K, int64_t g, const float *gram,
                            float *diagonal);

/* ---- rows of F32 (rows.cu) ---- */

/* out[T,H] = x / sqrt(mean(x^2) + epsilon) * (weight + offset); offset 1 for norms that are stored
   less 1, else 0; weight NULL: 1. out may be x. The mean is an F64 sum. */
int awq__cuda_rms_norm(const awq__cuda_queue *queue, int64_t T, int64_t H, const float *x,
                       const float *weight, float offset, double epsilon, float *out);
/* Turns channels (i, i + pairs), or (2i, 2i + 1) of `adjacent` ones, of each head of x[T, heads,
   D], rows ldx apart, by the angle of cos_sin[position[t]][2 * pairs]: cosines, then sines. Each
   operation rounds, as on the CPU. */
int awq__cuda_rotate(const awq__cuda_queue *queue, int64_t T, int64_t heads, int64_t D,
                     int64_t pairs, bool adjacent, const int32_t *position, const float *cos_sin,
                     float *x, int64_t ldx);
/* out[i] = activation(gate[i], up[i]), see awq__activation. out[T,I] may be gate, or NULL; rows of
   gate and up are ld apart. high, low [T,I]: its two BF16 terms, times column[i] (or NULL for 1);
   both may be NULL. */
typedef struct awq__cuda_activation {
    float alpha, limit, up_offset; /* limit is INFINITY for none */
} awq__cuda_activation;
int awq__cuda_activate(const awq__cuda_queue *queue, int64_t T, int64_t I,
                       const awq__cuda_activation *activation, const float *gate, const float *up,
                       int64_t ld, const float *column, float *out, uint16_t *high, uint16_t *low);
/* out[T,K]: row t is row index[t] / step of x[..,K]. */
int awq__cuda_gather(const awq__cuda_queue *queue, int64_t T, int64_t K, const int32_t *index,
                     int64_t step, const float *x, float *out);
/* out[t] += sum over i = 0 .. k-1, in this order, of weight[t,i] * y[place[t,i] - first], out[T,H]
   and y[..,H]; weight NULL: 1. place NULL: t*k + i. Parts before `first` or from `end` on are left
   out: they have been, or will be, added by another call. */
int awq__cuda_combine(const awq__cuda_queue *queue, int64_t T, int64_t k, int64_t H,
                      const float *weight, const int32_t *place, int64_t first, int64_t end,
                      const float *y, float *out);
/* out[index[t] / step] += weight[index[t]] * y[t] for t < T, y[T,H]; no row may come twice in one
   call. With calls in a fixed order the sums are fixed, and no outputs wait. weight NULL: 1. */
int awq__cuda_scatter_add(const awq__cuda_queue *queue, int64_t T, int64_t H, const int32_t *index,
                          int64_t step, const float *weight, const float *y, float *out);
/* out[i] += factor * x[i] */
int awq__cuda_add(const awq__cuda_queue *queue, int64_t count, float factor, const float *x,
                  float *out);
/* x[N,K] *= col[k], then *= row[n]; NULL means 1 */
int awq__cuda_scale(const awq__cuda_queue *queue, int64_t N, int64_t K, const float *row,
                    const float *col, float *x);
/* *found = the least i with x[i] infinite or NaN, count if there is none. */
int awq__cuda_first_unbounded(const awq__cuda_queue *queue, int64_t count, const float *x,
                              int64_t *found);

/* ---- attention (attention.cu) ---- */

/*
 * Causal attention of sequences that lie one after the other: c[t, h] = sum over keys j of
 * softmax_j(scale * q[t,h] . k[j, h / (heads / kv_heads)]) v[j, ..], over positions
 * position - window < j <= position of the same sequence (window 0: all before). exp(sinks[h])
 * joins the sum; sinks NULL: none. F32 throughout, one pass with a running maximum: no scores are
 * kept. D is a multiple of 4, up to 256, and so is Dv.
 */
typedef struct awq__cuda_attention {
    int64_t sequences;      /* how many */
    const int32_t *offsets; /* [sequences+1] tokens */
    int64_t longest;        /* tokens of the longest */
    int64_t heads, kv_heads, D, Dv, window;
    float scale;
    const float *q, *k, *v; /* [T,heads,D] [T,kv_heads,D] [T,kv_heads,Dv], rows ld apart */
    int64_t ldq, ldk, ldv;
    const float *sinks; /* [heads] */
    float *c;           /* [T,heads,Dv] */
    int64_t ldc;
} awq__cuda_attention;
int awq__cuda_attend(const awq__cuda_queue *queue, const awq__cuda_attention *attention);

/* ---- routing (route.cu) ---- */

/* As awq__routing without corrections, groups and a floor; the values of awq_scoring. */
typedef enum awq__cuda_scoring {
    AWQ__CUDA_SOFTMAX_TOPK,
    AWQ__CUDA_TOPK_SOFTMAX,
    AWQ__CUDA_SIGMOID_TOPK,
} awq__cuda_scoring;
typedef struct awq__cuda_routing {
    awq__cuda_scoring scoring;
    bool renormalize;
    float scaling;
} awq__cuda_routing;
/* logits[T,E] -> index[T,ld], weight[T,ld]: the first k of each row, falling. Equal scores go to
   the lower expert. Choices are the CPU's; weights differ in the last place at most. */
int awq__cuda_route(const awq__cuda_queue *queue, int64_t T, int64_t E, int64_t k,
                    const awq__cuda_routing *routing, const float *logits, int64_t ld,
                    int32_t *index, float *weight);
/* Column j of index[T,ld] = expert, of weight = sigmoid(gate[t]), or 1 where gate is NULL. */
int awq__cuda_route_shared(const awq__cuda_queue *queue, int64_t T, int64_t ld, int64_t j,
                           int32_t expert, const float *gate, int32_t *index, float *weight);
/*
 * Groups `count` choices by expert. first[E+1] into slots[count]: numbers of choices, rising in
 * each group. place[i] (or NULL) is where choice i stands in slots.
 */
int awq__cuda_group(const awq__cuda_queue *queue, int64_t count, int64_t E, const int32_t *index,
                    int32_t *first, int32_t *slots, int32_t *place);

/* ---- sums (sums.cu): F64 results, F64 sums of F32 terms in a fixed order ---- */

/* sums[K] += sum over rows of |x[T,K]| * |factor[t]|; factor NULL: 1 */
int awq__cuda_add_abs(const awq__cuda_queue *queue, int64_t T, int64_t K, const float *x,
                      int64_t ldx, const float *factor, double *sums);
/* sums[K] += sum over rows of |w| / (absmax of its group + 1e-6) */
int awq__cuda_add_w_mean(const awq__cuda_queue *queue, const awq__cuda_weight *weight, int64_t g,
                         double *sums);
/* sums[K] += sum over rows of w^2 */
int awq__cuda_add_squares(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                          double *sums);
/* sums[0][I], sums[1][I] += sum over rows of (factor[t] / step * (a(g + step, u) - a(g, u)))^2, and
   of the same with a step of u; factor NULL: 1. */
int awq__cuda_add_slopes(const awq__cuda_queue *queue, int64_t T, int64_t I,
                         const awq__cuda_activation *activation, float step, const float *gate,
                         const float *up, int64_t ld, const float *factor, double *sums);
/* Adds each row t of x[T,K] times factor[t] (or 1), or its negative, to one of rows[count,K]:
   which, seed + t alone says, as on the CPU. With own_rows row t is added to row seed + t. */
int awq__cuda_sketch(const awq__cuda_queue *queue, int64_t T, int64_t K, const float *x,
                     int64_t ldx, const float *factor, uint64_t seed, int64_t count, bool own_rows,
                     float *rows);
/* *sum = sum of a[i] * b[i] */
int awq__cuda_dot(const awq__cuda_queue *queue, int64_t count, const float *a, const float *b,
                  double *sum);
/* *sum = sum of weight[t]^2 (a[t,n] - b[t,n])^2, a and b [T,N]; weight NULL: 1 */
int awq__cuda_squared_error(const awq__cuda_queue *queue, int64_t T, int64_t N, const float *a,
                            const float *b, const float *weight, double *sum);
/* largest[T] (or NULL): the largest |a - b| of each row, NaN if there is one; *all that of all
   rows. b NULL: 0 */
int awq__cuda_largest_difference(const awq__cuda_queue *queue, int64_t T, int64_t N, const float *a,
                                 const float *b, float *largest, float *all);

/* ---- rounding (round.cu) ---- */

/* As awq__scheme, with its values; no blocks of GGUF. */
typedef enum awq__cuda_code {
    AWQ__CUDA_CODE_INTEGER,
    AWQ__CUDA_CODE_E2M1,
    AWQ__CUDA_CODE_NF4,
} awq__cuda_code;
typedef enum awq__cuda_grid {
    AWQ__CUDA_GRID_F32,
    AWQ__CUDA_GRID_F16,
    AWQ__CUDA_GRID_BF16_F16,
    AWQ__CUDA_GRID_BF16,
    AWQ__CUDA_GRID_F32_127,
    AWQ__CUDA_GRID_NESTED, /* scales stay F32 here: the host nests them, and gives ranges */
} awq__cuda_grid;
typedef struct awq__cuda_scheme {
    awq__cuda_code code;
    int bits;
    int64_t group;
    bool symmetric;
    awq__cuda_grid grid;
} awq__cuda_scheme;
typedef struct awq__cuda_range {
    float low, high; /* high INFINITY: the group's own range */
} awq__cuda_range;

/* Rows first .. first+count-1 of the weight with its multipliers -> codes[count,K], scales and
   zeros [count,K/g], as awq__compute.quantize, to the bit of its fast tables. range[count,K/g] or
   NULL. A scale that is not finite is in `scales`: awq__cuda_first_unbounded finds it. */
int awq__cuda_quantize(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                       const awq__cuda_scheme *scheme, int64_t first, int64_t count,
                       const awq__cuda_range *range, uint8_t *codes, float *scales, uint8_t *zeros);
/* Back to floats: out[N,K] = the value of the code, times column[k] (or 1). out F32, or its two
   BF16 terms in high and low; NULL what is not wanted. */
int awq__cuda_dequantize(const awq__cuda_queue *queue, const awq__cuda_scheme *scheme, int64_t N,
                         int64_t K, const uint8_t *codes, const float *scales, const uint8_t *zeros,
                         const float *column, float *out, uint16_t *high, uint16_t *low);
/*
 * error[c][count,K] for C candidates: rows first .. of the weight, with its multipliers, times
 * scale[c][K], there and back, times unscale[c][K], less the weight. scale and unscale NULL: 1.
 * range[count,K/g] or NULL, the same for all.
 */
int awq__cuda_errors(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                     const awq__cuda_scheme *scheme, int64_t first, int64_t count, int64_t C,
                     const float *scale, const float *unscale, const awq__cuda_range *range,
                     float *error);

/* ---- losses (losses.cu) ---- */

/* What is known of an input: the whole x^T x[K,K], or a sketch R[rows,K]. */
typedef struct awq__cuda_stats {
    int64_t cols, rows; /* K; rows of a sketch, or 0 */
    const float *gram;
} awq__cuda_stats;
/* losses[c] += sum over the rows n of the weight of row_weight[n] * e G e^T for the errors e of C
   candidates; errors in BF16, G in two terms of it: within 1e-4 of the CPU's. row_weight [N] or
   NULL. space: awq__cuda_losses_bytes. */
int awq__cuda_add_losses(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                         const awq__cuda_scheme *scheme, const awq__cuda_stats *stats, int64_t C,
                         const float *scale, const float *unscale, const awq__cuda_range *range,
                         const float *row_weight, void *space, double *losses);
size_t awq__cuda_losses_bytes(const awq__cuda_weight *weight, const awq__cuda_stats *stats,
                              int64_t C);

/* ---- clip ranges (clip.cu) ---- */

/* range[N,K/g]: as awq__search_clip. blocks[K/g][g,g] of x^T x, symmetric; weight with its
   multipliers. Products in TF32. Groups of 32, 64 and 128 on the tensor cores; others, slowly, in
   F32. */
int awq__cuda_clip(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                   const awq__cuda_scheme *scheme, const float *blocks, awq__cuda_range *range);

/* ---- GPTQ (gptq_factor.cu, gptq.cu) ---- */

/*
 * A factorized Hessian, as awq__gptq. The caller sets cols and group, and all pointers, to device
 * memory: gram[K,K] the symmetric x^T x as the folded weight sees it, which becomes the damped
 * Hessian in the order of rounding, and may go once it is factorized.
 */
typedef struct awq__cuda_gptq {
    int64_t cols, group;
    float *gram;
    float *factor;          /* [K,K] V above the diagonal; the rest is work space */
    float *pivots, *curves; /* [K] D; the diagonal of blocks */
    float *blocks, *halves; /* awq__cuda_gptq_blocks_bytes each: (I + V) D (I + V)^T of each block
                               of columns, and (I + V) D, transposed */
    int32_t *order;         /* [K] which column comes when */
} awq__cuda_gptq;
/* S: columns of a block. */
int64_t awq__cuda_gptq_block(int64_t cols, int64_t group);
size_t awq__cuda_gptq_blocks_bytes(int64_t cols, int64_t group);
/* Bytes of work space of the next function. */
size_t awq__cuda_gptq_factor_bytes(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq);
/*
 * `order` is the caller's (of falling diagonals, which awq__cuda_gram_diagonal gives); mean is that
 * of the diagonal, 0 for a gram of zeros. *failed (device) is set to 0, or to another number if the
 * Hessian is not positive definite: then call again with more damping and `again`, with which gram
 * has its order already. raw[K]: the diagonal without damping, in the order of rounding; it is
 * written unless `again`.
 */
int awq__cuda_gptq_factor(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq, double damping,
                          double mean, bool again, float *raw, void *space, int *failed);
/* Bytes of work space for a weight of N rows. */
size_t awq__cuda_gptq_bytes(const awq__cuda_gptq *gptq, int64_t N);
/*
 * Rounds all rows of a weight, with its multipliers, as awq__gptq_round: choice of `ranges` ranges,
 * compensation, sweeps. Products in F32. scales and zeros are chosen, unless `given`: then scales
 * are there already (NESTED) and zeros are 0. codes[N,K], scales, zeros[N,K/g].
 */
int awq__cuda_gptq_round(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                         const awq__cuda_scheme *scheme, int ranges, int sweeps, bool given,
                         const awq__cuda_weight *weight, void *space, uint8_t *codes, float *scales,
                         uint8_t *zeros);
/* Chooses scales and zeros alone. */
int awq__cuda_gptq_choose(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                          const awq__cuda_scheme *scheme, int ranges,
                          const awq__cuda_weight *weight, void *space, float *scales,
                          uint8_t *zeros);

/* ---- logits (logits.cu) ---- */

/* As awq__logit_stats. */
typedef struct awq__cuda_logit_stats {
    double nll, reference_nll, kl;
    int64_t same_top1;
} awq__cuda_logit_stats;
/* *stats += what comparing these rows gives, one after the other; reference NULL: nll alone.
   targets[r] is a column, or -1. Rows are ld apart. At most 65,536 rows a call. */
int awq__cuda_compare_logits(const awq__cuda_queue *queue, int64_t rows, int64_t V,
                             const float *logits, const float *reference, int64_t ld,
                             const int32_t *targets, awq__cuda_logit_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
