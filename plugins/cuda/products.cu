/* Products and Gram matrices, by cuBLAS. Its matrices are column-major: what is row-major here is
   transposed there, so that y[T,N] = x w^T is its y'[N,T] = w' ^T x'. */
#include "inside.h"

#define GRAM_TOKENS 4096 /* tensor cores truncate in long sums: more tokens are more error */

/* y[T,N] = x[T,K] w[N,K]^T + beta y of BF16. */
static int multiply_terms(const awq__cuda_queue *queue, const awq__cuda_terms *x,
                          const uint16_t *x_term, const awq__cuda_terms *w, const uint16_t *w_term,
                          float beta, float *y, int64_t ldy)
{
    const float one = 1;
    return blas_error(cublasGemmEx(queue->blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)w->rows,
                                   (int)x->rows, (int)w->cols, &one, w_term, CUDA_R_16BF,
                                   (int)w->ld, x_term, CUDA_R_16BF, (int)x->ld, &beta, y,
                                   CUDA_R_32F, (int)ldy, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

int awq__cuda_product(const awq__cuda_queue *queue, const awq__cuda_terms *x,
                      const awq__cuda_terms *w, bool add, float *y, int64_t ldy)
{
    float beta = add ? 1 : 0;
    if (x->rows == 0)
        return 0;
    if (x->low) { /* small terms first */
        CHECK(multiply_terms(queue, x, x->low, w, w->high, beta, y, ldy));
        beta = 1;
    }
    if (w->low) {
        CHECK(multiply_terms(queue, x, x->high, w, w->low, beta, y, ldy));
        beta = 1;
    }
    return multiply_terms(queue, x, x->high, w, w->high, beta, y, ldy);
}

static __global__ void finish(int64_t T, int64_t N, const float *row_scale, const float *bias,
                              const float *bias_scale, float *y, int64_t ldy)
{
    FOR_EACH (i, T * N) {
        int64_t n = i % N;
        float *to = y + i / N * ldy + n, value = *to;
        if (row_scale)
            value *= row_scale[n];
        if (bias)
            value += bias_scale ? bias[n] * bias_scale[n] : bias[n];
        *to = value;
    }
}

int awq__cuda_finish(const awq__cuda_queue *queue, int64_t T, int64_t N, const float *row_scale,
                     const float *bias, const float *bias_scale, float *y, int64_t ldy)
{
    if (T == 0 || (!row_scale && !bias))
        return 0;
    finish<<<blocks_for(T * N), THREADS, 0, queue->stream>>>(T, N, row_scale, bias, bias_scale, y,
                                                             ldy);
    return LAUNCHED();
}

int awq__cuda_product_f32(const awq__cuda_queue *queue, int64_t T, int64_t N, int64_t K,
                          const float *x, int64_t ldx, const float *w, int64_t ldw, bool tf32,
                          bool add, float *y, int64_t ldy)
{
    const float one = 1, beta = add ? 1 : 0;
    if (T == 0)
        return 0;
    return blas_error(cublasGemmEx(
        queue->blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)N, (int)T, (int)K, &one, w, CUDA_R_32F,
        (int)ldw, x, CUDA_R_32F, (int)ldx, &beta, y, CUDA_R_32F, (int)ldy,
        tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

/* ---- Gram matrices ---- */

/* gram[b] += alpha * high_b^T other_b for all blocks b of g columns of T tokens. */
static int add_gram(const awq__cuda_queue *queue, int64_t T, const awq__cuda_terms *x,
                    const uint16_t *high, const uint16_t *other, float alpha, int64_t g,
                    float *gram)
{
    const float one = 1;
    return blas_error(cublasGemmStridedBatchedEx(
        queue->blas, CUBLAS_OP_N, CUBLAS_OP_T, (int)g, (int)g, (int)T, &alpha, other, CUDA_R_16BF,
        (int)x->ld, g, high, CUDA_R_16BF, (int)x->ld, g, &one, gram, CUDA_R_32F, (int)g, g * g,
        (int)(x->cols / g), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

/* x^T x = h^T h + h^T l + (h^T l)^T but for l^T l: 2 h^T l gives the same once the triangles are
   joined. */
int awq__cuda_gram(const awq__cuda_queue *queue, const awq__cuda_terms *x, int64_t g, float *gram)
{
    for (int64_t first = 0; first < x->rows; first += GRAM_TOKENS) {
        int64_t T = least(GRAM_TOKENS, x->rows - first), at = first * x->ld;
        if (x->low)
            CHECK(add_gram(queue, T, x, x->high + at, x->low + at, 2, g, gram));
        CHECK(add_gram(queue, T, x, x->high + at, x->high + at, 1, g, gram));
    }
    return 0;
}

static __global__ void join_triangles(int64_t blocks, int64_t g, float *gram)
{
    FOR_EACH (i, blocks * g * g) {
        int64_t row = i / g % g, col = i % g;
        float *block = gram + i / (g * g) * g * g;
        if (row >= col)
            continue;
        float mean = 0.5f * (block[row * g + col] + block[col * g + row]);
        block[row * g + col] = block[col * g + row] = mean;
    }
}

int awq__cuda_gram_finish(const awq__cuda_queue *queue, int64_t K, int64_t g, float *gram)
{
    join_triangles<<<blocks_for(K * g), THREADS, 0, queue->stream>>>(K / g, g, gram);
    return LAUNCHED();
}

static __global__ void rescale(int64_t K, int64_t g, const float *factor, float *gram)
{
    FOR_EACH (i, K * g) {
        int64_t row = i / g;
        gram[i] = gram[i] * factor[row / g * g + i % g] * factor[row];
    }
}

int awq__cuda_gram_rescale(const awq__cuda_queue *queue, int64_t K, int64_t g, const float *factor,
                           float *gram)
{
    rescale<<<blocks_for(K * g), THREADS, 0, queue->stream>>>(K, g, factor, gram);
    return LAUNCHED();
}

static __global__ void cut_blocks(int64_t K, int64_t g, const float *gram, float *blocks)
{
    FOR_EACH (i, K * g) {
        int64_t row = i / g;
        blocks[i] = gram[row * K + row / g * g + i % g];
    }
}

int awq__cuda_gram_blocks(const awq__cuda_queue *queue, int64_t K, int64_t g, const float *gram,
                          float *blocks)
{
    cut_blocks<<<blocks_for(K * g), THREADS, 0, queue->stream>>>(K, g, gram, blocks);
    return LAUNCHED();
}

static __global__ void take_diagonal(int64_t K, int64_t g, const float *gram, float *diagonal)
{
    FOR_EACH (k, K)
        diagonal[k] = gram[k * g + k % g];
}

int awq__cuda_gram_diagonal(const awq__cuda_queue *queue, int64_t K, int64_t g, const float *gram,
                            float *diagonal)
{
    take_diagonal<<<blocks_for(K), THREADS, 0, queue->stream>>>(K, g, gram, diagonal);
    return LAUNCHED();
}
