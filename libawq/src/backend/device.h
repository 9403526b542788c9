/*
 * What a device with memory of its own must do for the backend that works on it (gpu.c and its
 * neighbours): memory, and operations on arrays in that memory. A plugin, awq-compute-NAME.so,
 * brings them.
 *
 * The header stands by itself and is C++ too, since compilers for devices are. A plugin is built
 * with the library and has its version exactly.
 *
 * Operations run one after the other in the order of the calls, and may return before they are
 * done. The first that fails is remembered, and those after it do nothing; `finish` waits and
 * tells. All pointers are the device's but where `host` is said. Matrices are F32, row-major, one
 * row after the other. The same call with the same values must give the same bits: sums have a
 * fixed order.
 */
#ifndef AWQ__DEVICE_H
#define AWQ__DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum awq__device_type {
    AWQ__DEVICE_F32,
    AWQ__DEVICE_BF16,
} awq__device_type;

/* How exact a product is. */
typedef enum awq__device_grade {
    AWQ__DEVICE_EXACT, /* as in F32: largest error 1e-5 of the largest output */
    AWQ__DEVICE_FAST,  /* as in TF32: 1e-3 */
} awq__device_grade;

/* W[N,K]: the value is data[n,k] * row_scale[n] * col_scale[k], and bias[n] * bias_scale[n]; NULL
   means 1, and no bias. As awq__weight. */
typedef struct awq__device_matrix {
    int64_t rows, cols;
    awq__device_type type;
    const void *data;
    const float *row_scale, *col_scale, *bias, *bias_scale;
} awq__device_matrix;

/* As awq__scheme. */
typedef struct awq__device_scheme {
    int code; /* awq__code */
    int bits;
    int64_t group;
    int symmetric;
    int grid; /* awq__scale_grid, but for NESTED */
} awq__device_scheme;

/* As awq__stats: rows 0: values[K/g][g,g]; else a sketch values[rows,K]. */
typedef struct awq__device_gram {
    int64_t cols, group, rows;
    float *values;
} awq__device_gram;

/* As awq__activation. */
typedef struct awq__device_activation {
    float alpha, limit, up_offset;
} awq__device_activation;

/* Causal attention of each sequence by itself. */
typedef struct awq__device_attention {
    int64_t sequences;
    const int64_t *offsets; /* host, [sequences+1] tokens of them, from offsets[0] on */
    int64_t heads, kv_heads, head_dim, window;
    float scale;
    const float *sinks; /* [heads], or NULL */
} awq__device_attention;

/* What an opened device does. `d` is what open gave. */
typedef struct awq__device_operations {
    uint32_t struct_size;

    /* The calling thread will call what follows. One thread at a time does. */
    void (*enter)(void *d);

    /* ---- memory ---- */

    void *(*allocate)(void *d, size_t bytes); /* aligned to 256 bytes; NULL: there is no more */
    void (*release)(void *d, void *array);    /* once what was called before is done */
    size_t (*free_bytes)(void *d);
    /* from: host, and free to be changed when the call returns. */
    void (*upload)(void *d, void *to, const void *from, size_t bytes);
    /* to: host. Waits until it is there. */
    void (*download)(void *d, void *to, const void *from, size_t bytes);
    void (*copy)(void *d, void *to, const void *from, size_t bytes);
    void (*clear)(void *d, void *array, size_t bytes);
    /* Waits for all calls. NULL, or what failed since the device was opened: host. */
    const char *(*finish)(void *d);

    /* ---- products ---- */

    /* y[i][T,N_i] = x[T,K] w[i]^T + bias, for matrices of one K. */
    void (*linear)(void *d, awq__device_grade grade, int64_t T, const float *x, int count,
                   const awq__device_matrix *w, float *const *y);
    /* gram [K/g][g,g] += x_b^T x_b of each block b of g columns of x[T,K]: exact, for any T; whole
       ones, g == K, above and below the diagonal. */
    void (*gram)(void *d, int64_t T, int64_t K, int64_t g, const float *x, float *gram);
    /* Adds each row t of x[T,K], or its negative, to one of rows[count,K]: awq__sketch_place. */
    void (*sketch)(void *d, int64_t T, int64_t K, const float *x, uint64_t seed, int64_t count,
                   float *rows);
    /* c[T,heads*D] of rotated q[T,heads*D] and k, v [T,kv_heads*D]: exact. */
    void (*attention)(void *d, const awq__device_attention *how, const float *q, const float *k,
                      const float *v, float *c);

    /* ---- rows ---- */

    /* out[T,H] = x / sqrt(mean(x^2) + epsilon) * weight; out may be x */
    void (*rms_norm)(void *d, int64_t T, int64_t H, const float *x, const float *weight,
                     double epsilon, float *out);
    /* As awq__compute, the row of cos_sin being position[t]. */
    void (*rotate)(void *d, int64_t T, int64_t heads, int64_t D, int64_t pairs,
                   const int32_t *position, const float *cos_sin, float *x);
    /* out = a(gate, up); out may be gate */
    void (*activate)(void *d, int64_t count, const awq__device_activation *a, const float *gate,
                     const float *up, float *out);
    /* out[t] = x[index[t]], rows of K */
    void (*gather)(void *d, int64_t T, int64_t K, const int32_t *index, const float *x, float *out);
    /* x[t] *= weight[t] */
    void (*scale_rows)(void *d, int64_t T, int64_t K, const float *weight, float *x);
    /* out[index[t]] += weight[t] * x[t], rows of H. No index comes twice. index NULL: t; weight
       NULL: 1. */
    void (*add_rows)(void *d, int64_t T, int64_t H, const int32_t *index, const float *weight,
                     const float *x, float *out);
    /* *counter += how many values are infinite or no number. */
    void (*count_special)(void *d, int64_t count, const float *x, int32_t *counter);

    /* ---- sums, F64 on the device; all add to what is there ---- */

    /* sums[K] of |x[T,K]| over rows */
    void (*add_abs)(void *d, int64_t T, int64_t K, const float *x, double *sums);
    /* sums[2][I] of (weight[t] * (a(moved) - a(gate, up)) / step)^2 over rows, where gate, and then
       up, is greater by step. Each square is an F32. */
    void (*add_slopes)(void *d, int64_t T, int64_t I, const awq__device_activation *a, float step,
                       const float *gate, const float *up, const float *weight, double *sums);
    /* sums[K] of w^2 over rows; each square is an F32 */
    void (*add_column_squares)(void *d, const awq__device_matrix *w, double *sums);
    /* sums[K] of |w| / (absmax of its group + 1e-6) over rows */
    void (*add_w_mean)(void *d, const awq__device_matrix *w, int64_t group, double *sums);
    /* *sum of (a - b)^2; b NULL means 0 */
    void (*add_squared_error)(void *d, int64_t count, const float *a, const float *b, double *sum);
    /* *largest |a - b|, NaN if there is one; b NULL means 0. Does not add. */
    void (*largest_difference)(void *d, int64_t count, const float *a, const float *b,
                               float *largest);
    /* stats[4]: nll, nll of the reference, kl, same top-1, as awq__compute.compare_logits.
       reference may be NULL. */
    void (*compare_logits)(void *d, int64_t rows, int64_t V, const float *logits,
                           const float *reference, const int32_t *targets, double *stats);

    /* ---- rounding ---- */

    /* losses[c] += sum over rows n of row_weight[n] * e G e^T, e = Q(w * scale[c]) * unscale[c] -
       w, for each c of `count` of scale[count,K] and unscale. Both NULL: one without. ranges
       [N,K/g] pairs of low and high, or NULL: awq__range. row_weight NULL: 1. G is whole or a
       sketch. */
    void (*losses)(void *d, const awq__device_matrix *w, const awq__device_scheme *scheme,
                   const float *ranges, const awq__device_gram *gram, const float *row_weight,
                   int count, const float *scale, const float *unscale, double *losses);
    /* ranges [N,K/g] pairs of low and high, as awq__search_clip; gram has blocks of the scheme's
       group. */
    void (*clip)(void *d, const awq__device_matrix *w, const awq__device_scheme *scheme,
                 const awq__device_gram *gram, float *ranges);
    /* codes [N,K], scales and zeros [N,K/g], as awq__compute.quantize. *bad += scales that are not
       finite. */
    void (*quantize)(void *d, const awq__device_matrix *w, const awq__device_scheme *scheme,
                     const float *ranges, uint8_t *codes, float *scales, uint8_t *zeros,
                     int32_t *bad);
    /* out[N,K] = what w becomes there and back, times unscale[k] or NULL */
    void (*fake_quantize)(void *d, const awq__device_matrix *w, const awq__device_scheme *scheme,
                          const float *ranges, const float *unscale, float *out);
    /* As if column k of every input had been multiplied by factor[k]. */
    void (*rescale_gram)(void *d, const awq__device_gram *gram, const float *factor);
    /* Diagonal blocks of whole or sketched ones: to->values is overwritten. */
    void (*gram_blocks)(void *d, const awq__device_gram *from, const awq__device_gram *to);

    /* out[N,K] = what codes stand for, times unscale[k] or NULL */
    void (*read_codes)(void *d, int64_t N, int64_t K, const awq__device_scheme *scheme,
                       const uint8_t *codes, const float *scales, const uint8_t *zeros,
                       const float *unscale, float *out);

    /* ---- GPTQ ---- */

    /* diagonal[K] of blocks */
    void (*diagonal)(void *d, const awq__device_gram *gram, float *diagonal);
    /* Bytes of a factorized Hessian. */
    size_t (*hessian_bytes)(void *d, int64_t K, int64_t g);
    /* Factorizes x^T x gram[K,K] as awq__gptq_create, with the share `damping` of the mean of its
       diagonal, 0 for a gram of zeros, and columns in this order (host). The gram is work space:
       with `again`, after a failure, it is what the failed call left. Waits; false: it is not
       positive definite. */
    bool (*factorize)(void *d, int64_t K, int64_t g, const int32_t *order, double damping,
                      double mean, bool again, float *gram, void *hessian);
    /* codes [N,K], scales and zeros [N,K/g] as awq__gptq_round. *bad as in quantize. */
    void (*gptq)(void *d, const void *hessian, const awq__device_matrix *w,
                 const awq__device_scheme *scheme, int ranges, int sweeps, uint8_t *codes,
                 float *scales, uint8_t *zeros, int32_t *bad);

    /* ---- stored weights ---- */

    /* MXFP4 as in awq__weight_mxfp4, rows one after the other, to BF16 [rows,cols] */
    void (*decode_mxfp4)(void *d, int64_t rows, int64_t cols, const uint8_t *blocks,
                         const uint8_t *scales, void *out);
} awq__device_operations;

/* ---- what a plugin exports ---- */

#define AWQ__DEVICE_SYMBOL "awq_device_driver_v1"
#define AWQ__DEVICE_MAGIC UINT64_C(0x5645445f51574100)
#define AWQ__DEVICE_TEXT 256

typedef struct awq__device_info {
    char name[AWQ__DEVICE_TEXT];       /* "NVIDIA H100 80GB HBM3" */
    char capability[AWQ__DEVICE_TEXT]; /* "compute capability 9.0" */
    uint64_t memory_bytes, free_bytes;
} awq__device_info;

typedef struct awq__device_driver {
    uint64_t magic;
    uint32_t struct_size;
    const char *library; /* AWQ_VERSION_STRING of the library that it was built with */
    const char *id;      /* "cuda" */
    const char *version; /* of what it stands on: "CUDA 13.0" */
    /* How many devices there are; -1, and why none can be used, in one line. */
    int (*count)(char *reason, size_t size);
    /* False, and why the device cannot be used. */
    bool (*describe)(int index, awq__device_info *info, char *reason, size_t size);
    /* Takes no more than so many bytes; 0: what is free. NULL, and why not. */
    void *(*open)(int index, uint64_t memory_bytes, char *reason, size_t size);
    void (*close)(void *d); /* takes NULL */
    const awq__device_operations *operations;
} awq__device_driver;

#ifdef __cplusplus
}
#endif

#endif
