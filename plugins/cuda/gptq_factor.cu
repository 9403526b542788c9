/*
 * The Hessian of error-compensated rounding: its factors, and what is left of it in each block of
 * columns. Factors are those of the reversed matrix by Cholesky.
 */
#include "inside.h"

/* ---- factors ---- */

static __global__ void reorder(int64_t K, const float *gram, const int32_t *order, float *out)
{
    FOR_EACH (i, K * K)
        out[i] = gram[order[i / K] * K + order[i % K]];
}

static __global__ void damp(int64_t K, double damping, double mean, bool again, float *gram,
                            float *raw)
{
    FOR_EACH (k, K) {
        if (!again)
            raw[k] = gram[k * K + k];
        float value = mean > 0 ? (float)((double)raw[k] + damping * mean) : 1;
        gram[k * K + k] = value;
    }
}

static __global__ void reverse(int64_t K, const float *gram, float *out)
{
    FOR_EACH (i, K * K)
        out[i] = gram[K * K - 1 - i];
}

/* L of the reversed matrix, below the diagonal, becomes V above it: the two do not overlap. */
static __global__ void take_factors(int64_t K, float *factor, float *pivots, int *failed)
{
    FOR_EACH (i, K * K) {
        int64_t row = i / K, col = i % K, last = K * K - 1;
        float pivot = factor[last - col * (K + 1)];
        if (row == col) {
            pivots[col] = pivot * pivot;
            if (!(pivot > 0 && isfinite(pivot)))
                *failed = (int)K + 1;
        }
        if (row < col)
            factor[i] = factor[last - i] / pivot;
    }
}

/* ---- blocks ---- */

/* Of each block of S columns: v = I + V and half = (I + V) D, and of that the transpose. What is
   past the last column is 0. */
static __global__ void cut_blocks(int64_t K, int64_t S, int64_t count, const float *factor,
                                  const float *pivots, float *v, float *half, float *turned)
{
    FOR_EACH (at, count * S * S) {
        int64_t first = at / (S * S) * S, i = at / S % S, j = at % S;
        bool inside = first + i < K && first + j < K;
        float value = !inside || j < i ? 0 : j > i ? factor[(first + i) * K + first + j] : 1;
        v[at] = value;
        half[at] = inside ? value * pivots[first + j] : 0;
        turned[at + (j - i) * (S - 1)] = half[at];
    }
}

static __global__ void take_curves(int64_t K, int64_t S, const float *blocks, float *curves)
{
    FOR_EACH (k, K)
        curves[k] = blocks[k / S * S * S + k % S * (S + 1)];
}

int64_t awq__cuda_gptq_block(int64_t cols, int64_t group)
{
    int64_t block = group > 512 ? 128 : group > 128 ? group : 128 / group * group;
    return least(block, cols);
}

static int64_t block_floats(int64_t cols, int64_t group)
{
    int64_t S = awq__cuda_gptq_block(cols, group);
    return ceil_div(cols, S) * S * S;
}

size_t awq__cuda_gptq_blocks_bytes(int64_t cols, int64_t group)
{
    return (size_t)block_floats(cols, group) * sizeof(float);
}

/* (I + V) D (I + V)^T. space: two times so many bytes. */
static int make_blocks(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq, float *space)
{
    const float one = 1, zero = 0;
    int64_t K = gptq->cols, S = awq__cuda_gptq_block(K, gptq->group), count = ceil_div(K, S);
    float *v = space, *half = v + block_floats(K, gptq->group);
    cut_blocks<<<blocks_for(count * S * S), THREADS, 0, queue->stream>>>(
        K, S, count, gptq->factor, gptq->pivots, v, half, gptq->halves);
    CHECK(LAUNCHED());
    CHECK(blas_error(cublasSgemmStridedBatched(
        queue->blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)S, (int)S, (int)S, &one, v, (int)S, S * S, half,
        (int)S, S * S, &zero, gptq->blocks, (int)S, S * S, (int)count)));
    take_curves<<<blocks_for(K), THREADS, 0, queue->stream>>>(K, S, gptq->blocks, gptq->curves);
    return LAUNCHED();
}

/* ---- all of it ---- */

static int factor_room(const awq__cuda_queue *queue, int64_t K, float *factor, int *floats)
{
    return solver_error(cusolverDnSpotrf_bufferSize(queue->solver, CUBLAS_FILL_MODE_UPPER, (int)K,
                                                    factor, (int)K, floats));
}

size_t awq__cuda_gptq_factor_bytes(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq)
{
    size_t blocks = 2 * awq__cuda_gptq_blocks_bytes(gptq->cols, gptq->group);
    int floats = 0;
    if (factor_room(queue, gptq->cols, NULL, &floats))
        return 0;
    return blocks > (size_t)floats * sizeof(float) ? blocks : (size_t)floats * sizeof(float);
}

/* Rows of C are columns of cuSOLVER: its upper triangle is the lower one here. */
int awq__cuda_gptq_factor(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq, double damping,
                          double mean, bool again, float *raw, void *space, int *failed)
{
    int64_t K = gptq->cols;
    unsigned blocks = blocks_for(K * K);
    cudaStream_t stream = queue->stream;
    int floats = 0;
    CHECK(factor_room(queue, K, gptq->factor, &floats));
    if (!again) {
        reorder<<<blocks, THREADS, 0, stream>>>(K, gptq->gram, gptq->order, gptq->factor);
        CHECK(cudaMemcpyAsync(gptq->gram, gptq->factor, (size_t)(K * K) * sizeof(float),
                              cudaMemcpyDeviceToDevice, stream));
    }
    damp<<<blocks_for(K), THREADS, 0, stream>>>(K, damping, mean, again, gptq->gram, raw);
    reverse<<<blocks, THREADS, 0, stream>>>(K, gptq->gram, gptq->factor);
    CHECK(solver_error(cusolverDnSpotrf(queue->solver, CUBLAS_FILL_MODE_UPPER, (int)K, gptq->factor,
                                        (int)K, (float *)space, floats, failed)));
    take_factors<<<blocks, THREADS, 0, stream>>>(K, gptq->factor, gptq->pivots, failed);
    return make_blocks(queue, gptq, (float *)space);
}
