/* What the .cu files share: queues from inside, launches, sums in a fixed order. */
#ifndef AWQ__CUDA_INSIDE_H
#define AWQ__CUDA_INSIDE_H

#include "kernels.h"

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cusolverDn.h>

#define QUEUE_BLAS_BYTES ((size_t)64 << 20) /* cuBLAS's own, fixed: it decides about algorithms */
#define QUEUE_SUM_BYTES (AWQ__CUDA_QUEUE_BYTES - QUEUE_BLAS_BYTES)

/* What products.cu has found out about shapes. */
#define MOST_ALGORITHMS 256
typedef struct kept_algorithm {
    int64_t key[7];
    cublasLtMatmulAlgo_t algorithm;
} kept_algorithm;
typedef struct algorithms {
    int count;
    kept_algorithm of[MOST_ALGORITHMS];
} algorithms;

struct awq__cuda_queue {
    cudaStream_t stream;
    cublasHandle_t blas;
    cusolverDnHandle_t solver;
    void *blas_space;
    double *sums; /* QUEUE_SUM_BYTES of partial sums */
    algorithms *known;
};

#define WARP 32
#define THREADS 256 /* of a block, where nothing speaks for another number */

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Blocks for `count` threads; loops take what is more than the largest grid. */
static inline unsigned blocks_for(int64_t count)
{
    return (unsigned)least(ceil_div(count, THREADS), 1 << 20);
}

static inline int blas_error(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? 0 : AWQ__CUDA_BLAS_BASE + (int)status;
}

static inline int solver_error(cusolverStatus_t status)
{
    return status == CUSOLVER_STATUS_SUCCESS ? 0 : AWQ__CUDA_SOLVER_BASE + (int)status;
}

/* Returns the error of what was just launched, or of a call. */
#define LAUNCHED() ((int)cudaGetLastError())
#define CHECK(call)                                                                                \
    do {                                                                                           \
        int error_ = (int)(call);                                                                  \
        if (error_)                                                                                \
            return error_;                                                                         \
    } while (0)

/* A loop over 0 .. count-1 by all threads of the grid. */
#define FOR_EACH(i, count)                                                                         \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (count);                  \
         i += (int64_t)gridDim.x * blockDim.x)

/* ---- sums over threads: butterflies, so that every thread has the same bits ---- */

template <typename number> static __device__ inline number warp_sum(number value)
{
    for (int step = WARP / 2; step; step /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

static __device__ inline float warp_largest(float value)
{
    for (int step = WARP / 2; step; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

/* Over all threads of a block of whole warps, in the order of warps. Every thread gets it. */
static __device__ inline double block_sum(double value)
{
    __shared__ double parts[WARP];
    int warps = blockDim.x / WARP;
    value = warp_sum(value);
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        parts[threadIdx.x / WARP] = value;
    __syncthreads();
    double sum = 0;
    for (int i = 0; i < warps; i++)
        sum += parts[i];
    return sum;
}

/* NaN if there is one. */
static __device__ inline float block_largest(float value)
{
    __shared__ float parts[WARP];
    int warps = blockDim.x / WARP;
    for (int step = WARP / 2; step; step /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, value, step);
        value = other > value || other != other ? other : value;
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        parts[threadIdx.x / WARP] = value;
    __syncthreads();
    for (int i = 0; i < warps; i++)
        value = parts[i] > value || parts[i] != parts[i] ? parts[i] : value;
    return value;
}

/* ---- sums over blocks (sums.cu) ---- */

/* sums[K] += parts[count][K], in their order. */
int awq__cuda_join(const awq__cuda_queue *queue, int64_t count, int64_t K, const double *parts,
                   double *sums);
/* *sum = parts[0] + .. + parts[count-1], in their order, by one thread of fixed strides. */
int awq__cuda_total(const awq__cuda_queue *queue, int64_t count, const double *parts, double *sum,
                    bool add);

/* ---- errors (round.cu) ---- */

/* awq__cuda_errors in BF16. */
int awq__cuda_short_errors(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                           const awq__cuda_scheme *scheme, int64_t first, int64_t count, int64_t C,
                           const float *scale, const float *unscale, const awq__cuda_range *range,
                           uint16_t *error);

/* ---- activations ---- */

/* awq__activation; exp in F32 is within 2 units of its last place. NaN stays NaN. */
static __device__ inline float activation_value(const awq__cuda_activation &a, float gate, float up)
{
    float g = gate > a.limit ? a.limit : gate;
    float u = up > a.limit ? a.limit : up < -a.limit ? -a.limit : up;
    return (u + a.up_offset) * g / (1 + expf(-a.alpha * g));
}

/* ---- stored weights ---- */

static __device__ inline float bf16_value(uint16_t bits)
{
    return __uint_as_float((uint32_t)bits << 16);
}

/* Round to nearest even, NaN stays. */
static __device__ inline uint16_t bf16_bits(float value)
{
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

static __device__ inline float e2m1_value_of(unsigned code)
{
    /* 0, 0.5, 1, 1.5, 2, 3, 4, 6, in halves a digit each */
    float magnitude = (float)((0xC8643210u >> (4 * (code & 7))) & 15) * 0.5f;
    return code & 8 ? -magnitude : magnitude;
}

/* 2^(byte - 127); 255 is NaN. */
static __device__ inline float e8m0_value(uint8_t byte)
{
    return byte == 255 ? __uint_as_float(0x7fc00000u)
           : byte      ? __uint_as_float((uint32_t)byte << 23)
                       : 0x1p-127f;
}

/* Element (n, k) as it is stored. */
static __device__ inline float stored_value(const awq__cuda_weight &w, int64_t n, int64_t k)
{
    if (w.dtype == AWQ__CUDA_MXFP4) {
        int64_t row = n * w.row_stride * w.cols;
        uint8_t pair = ((const uint8_t *)w.data)[row / 2 + k / 2];
        return e2m1_value_of(k % 2 ? pair >> 4 : pair & 15) * e8m0_value(w.scales[(row + k) / 32]);
    }
    int64_t at = n * w.row_stride + k * w.col_stride;
    if (w.dtype == AWQ__CUDA_BF16)
        return bf16_value(((const uint16_t *)w.data)[at]);
    if (w.dtype == AWQ__CUDA_F16)
        return __half2float(((const __half *)w.data)[at]);
    return ((const float *)w.data)[at];
}

/* With its multipliers, in the order of the CPU. */
static __device__ inline float weight_value(const awq__cuda_weight &w, int64_t n, int64_t k)
{
    float value = stored_value(w, n, k);
    if (w.col_scale)
        value *= w.col_scale[k];
    if (w.row_scale)
        value *= w.row_scale[n];
    return value;
}

#endif
