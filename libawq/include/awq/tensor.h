/*
 * awq/tensor.h - quantizes matrices in memory: search scales and clip ranges, round to codes, pack,
 * unpack. Knows no models and no files.
 *
 * Letters: a linear computes y[T,N] = x[T,K] W[N,K]^T; W is row-major, one row for an output
 * feature. Weights are rounded in groups of G columns of a row: W[n,k] ~ scale[n, k/G] * (code[n,k]
 * - zero[n, k/G]), or scale[n, k/G] * e(code[n,k]) for E2M1 codes.
 *
 * The order of work: gather statistics of x; search scales s[K]; divide the producer of x by s;
 * search clip ranges; quantize W with the scales (its columns are multiplied by s before rounding);
 * pack. README.md has a glossary of the terms.
 *
 * Threads and errors are those of awq/awq.h. Arrays that are passed in are read during the call
 * only.
 */
#ifndef AWQ_TENSOR_H
#define AWQ_TENSOR_H

#include "awq/awq.h"

#ifdef __cplusplus
extern "C" {
#endif

/* W[rows, columns], borrowed. dtype is AWQ_BF16, AWQ_F16 or AWQ_F32. */
typedef struct awq_matrix {
    const void *data;
    awq_dtype dtype;
    int64_t rows, columns; /* N, K */
} awq_matrix;

/* Which values a group's scale may take. */
typedef enum awq_scale_type {
    AWQ_SCALE_F32,
    AWQ_SCALE_F16,
    AWQ_SCALE_BF16_F16, /* exact in both: for engines that cast F16 scales to BF16 */
    AWQ_SCALE_BF16,
} awq_scale_type;

/* What a code stands for. */
typedef enum awq_code {
    AWQ_CODE_INTEGER, /* scale * (code - zero) */
    /* MXFP4 (OCP Microscaling Formats v1.0): scale * e(code), where e is 0, 0.5, 1, 1.5, 2, 3, 4, 6
       and from code 8 on the same below 0. 4 bits in groups of 32; scales are powers of two, from
       2^-127 to 2^127; zero points are 0. `symmetric` and `scale_type` are not looked at. */
    AWQ_CODE_E2M1,
} awq_code;

typedef struct awq_scheme {
    int bits;           /* 2 to 8 */
    int64_t group_size; /* G, a divisor of K; -1: the whole row */
    bool symmetric;     /* the zero point is the middle code; else the range is that of the group's
                           weights and 0 */
    awq_scale_type scale_type;
    awq_code code;
} awq_scheme;

/* Of the inputs x of a linear: the salience (mean |x| of each channel) and the Gram matrix x^T x,
   GPTQ's Hessian but for a factor. Memory: 4 K^2 bytes. */
typedef struct awq_statistics awq_statistics;
AWQ_API awq_status awq_statistics_create(awq_context *ctx, int64_t columns, awq_statistics **out);
AWQ_API void awq_statistics_free(awq_statistics *statistics);
/* Adds x[tokens, columns]; tokens may be 0. AWQ_ERROR_NUMERIC if a value is not finite; nothing is
 * added then. */
AWQ_API awq_status awq_statistics_add(awq_statistics *statistics, const float *x, int64_t tokens);
/* salience[columns]; 0 before any token. */
AWQ_API void awq_statistics_salience(const awq_statistics *statistics, float *salience);

typedef struct awq_scale_result {
    double ratio;    /* the exponent r of the chosen candidate, 0 to 1; -1 for the identity */
    double rtn_loss; /* sum over tokens and outputs of the squared error with no scales */
    double loss;     /* the same with the chosen ones; never more */
} awq_scale_result;

/*
 * Searches one scale vector (pre_quant_scale, smooth scale) for matrices that share an input: q, k
 * and v, or gate and up. Candidates are the identity and, for the ratios r = 0, 1/steps, ... 1,
 *   s = a^r / (w^(1-r) + 1e-4), normalized by sqrt(max(s) min(s)).
 * a is the salience. w (x_mean and w_mean elsewhere) is the mean over rows of |W| / (largest |W| of
 * its group + 1e-6). This is the AWQ paper's search (arXiv 2306.00978) in the form that its
 * implementations use. The loss is exact for linears. steps is 1 to 1000. scales[K] is set. result
 * may be NULL.
 */
AWQ_API awq_status awq_search_scales(awq_context *ctx, const awq_matrix *matrices, size_t count,
                                     const awq_scheme *scheme, const awq_statistics *statistics,
                                     int steps, float *scales, awq_scale_result *result);

/* The clip range: what the codes of a group cover. A weight outside it takes the nearest end.
   low <= 0 <= high. high INFINITY: as wide as the group's weights and 0. 0 to 0: a group of zeros.
   Symmetric codes cover the larger side. For E2M1 codes the scale is
   2^(floor(log2(high)) - 2). */
typedef struct awq_range {
    float low, high;
} awq_range;

/*
 * Searches the clip range of each group of each row: the range of the scaled weights with the least
 * error of the output. ranges[N, K/G] is set. scales[K], positive, may be NULL. With scales, the
 * statistics are still those of the input before it is divided by them.
 */
AWQ_API awq_status awq_search_clips(awq_context *ctx, const awq_matrix *matrix,
                                    const awq_scheme *scheme, const awq_statistics *statistics,
                                    const float *scales, awq_range *ranges);

/* Codes, scales and zero points of one matrix. */
typedef struct awq_quantized awq_quantized;
/* Rounds W * diag(scales) within the ranges of awq_search_clips; both may be NULL.
   AWQ_ERROR_ARGUMENT for a scale that is not positive and finite or a range without 0;
   AWQ_ERROR_NUMERIC for a weight that is not finite or a group scale that the type cannot hold. */
AWQ_API awq_status awq_quantized_create(awq_context *ctx, const awq_matrix *matrix,
                                        const awq_scheme *scheme, const float *scales,
                                        const awq_range *ranges, awq_quantized **out);
AWQ_API void awq_quantized_free(awq_quantized *quantized);
/* Its scheme, with group_size resolved, and sizes. */
AWQ_API void awq_quantized_describe(const awq_quantized *quantized, awq_scheme *scheme,
                                    int64_t *rows, int64_t *columns);
AWQ_API const uint8_t *awq_quantized_codes(const awq_quantized *quantized); /* [N,K] */
AWQ_API const float *awq_quantized_scales(const awq_quantized *quantized);  /* [N,K/G] */
AWQ_API const uint8_t *awq_quantized_zeros(const awq_quantized *quantized); /* [N,K/G] */
/* out[N,K]: what the codes stand for, still multiplied by the column scales. */
AWQ_API void awq_quantized_values(const awq_quantized *quantized, float *out);

/*
 * The AutoAWQ "gemm" layout: qweight[K, N/8] and qzeros[K/G, N/8] of eight codes a word,
 * scales[K/G, N] as F16 bits. Integers of 4 bits, scales of AWQ_SCALE_F16 or AWQ_SCALE_BF16_F16 and
 * N a multiple of 8, else AWQ_ERROR_ARGUMENT.
 */
AWQ_API awq_status awq_pack_gemm(awq_context *ctx, const awq_quantized *quantized,
                                 uint32_t *qweight, uint32_t *qzeros, uint16_t *scales);
AWQ_API awq_status awq_unpack_gemm(awq_context *ctx, int64_t rows, int64_t columns,
                                   int64_t group_size, const uint32_t *qweight,
                                   const uint32_t *qzeros, const uint16_t *scales,
                                   awq_quantized **out);

/*
 * The compressed-tensors "pack-quantized" layout. Codes have b bits, 4 or 8; P = 32/b of them make
 * a word, the first lowest. weight_packed[N, K/P] is packed along K, weight_zero_point[N/P, K/G]
 * along N. Symmetric codes have no zero points; the pointer may be NULL then. weight_scale[N, K/G]
 * is BF16 for AWQ_SCALE_BF16, F32 for AWQ_SCALE_F32, else F16. (The layout's weight_shape is I64
 * {N, K}.) AWQ_ERROR_ARGUMENT for other codes, if P does not divide K, or N of asymmetric codes.
 */
AWQ_API awq_status awq_pack_compressed(awq_context *ctx, const awq_quantized *quantized,
                                       uint32_t *weight_packed, void *weight_scale,
                                       uint32_t *weight_zero_point);
/* The scheme is what is stored: integers of 4 or 8 bits. */
AWQ_API awq_status awq_unpack_compressed(awq_context *ctx, int64_t rows, int64_t columns,
                                         const awq_scheme *scheme, const uint32_t *weight_packed,
                                         const void *weight_scale,
                                         const uint32_t *weight_zero_point, awq_quantized **out);

/*
 * The GPTQ layout. Codes have b bits, 2, 4 or 8; P = 32/b of them make a word, the first lowest.
 * qweight[K/P, N] is packed along K, qzeros[K/G, N/P] along N; scales[K/G, N] are F16 bits. (The
 * layout's g_idx is I32 [K], k / G.) Version 1, "gptq", stores a zero point less one, and so cannot
 * store 0; most engines read its symmetric codes. Version 2, "gptq_v2", stores zero points as they
 * are. AWQ_ERROR_ARGUMENT for other codes and versions, if P does not divide K and N, and for
 * scales of other types than AWQ_SCALE_F16 and AWQ_SCALE_BF16_F16.
 */
AWQ_API awq_status awq_pack_gptq(awq_context *ctx, const awq_quantized *quantized, int version,
                                 uint32_t *qweight, uint32_t *qzeros, uint16_t *scales);
/* The scheme is what is stored; zero points are read even if it is symmetric. In version 1 a stored
   zero point of 2^b - 1 is 0: some writers wrap it so. */
AWQ_API awq_status awq_unpack_gptq(awq_context *ctx, int64_t rows, int64_t columns,
                                   const awq_scheme *scheme, int version, const uint32_t *qweight,
                                   const uint32_t *qzeros, const uint16_t *scales,
                                   awq_quantized **out);

/*
 * The MXFP4 layout of one expert: blocks[N, K/32, 16] of two codes a byte, the first lower, and
 * scales[N, K/32]. A scale is 2^(byte - 127); 255 is NaN. E2M1 codes, else AWQ_ERROR_ARGUMENT.
 */
AWQ_API awq_status awq_pack_mxfp4(awq_context *ctx, const awq_quantized *quantized, uint8_t *blocks,
                                  uint8_t *scales);
AWQ_API awq_status awq_unpack_mxfp4(awq_context *ctx, int64_t rows, int64_t columns,
                                    const uint8_t *blocks, const uint8_t *scales,
                                    awq_quantized **out);

#ifdef __cplusplus
}
#endif
#endif
