/* Products and Gram matrices, by cuBLAS. Its matrices are column-major: what is row-major here is
   transposed there, so that y[T,N] = x w^T is its y'[N,T] = w' ^T x'. */
#include "inside.h"

#include <string.h>

#define GRAM_TOKENS 4096 /* tensor cores truncate in long sums: more tokens are more error */

/* ---- which algorithm: looked for once for all T of about a size. Looking takes the processor
   longer than the product takes the device, and each expert has another T. ---- */

/* y[T,N] = x[T,K] w[N,K]^T + beta y of BF16. */
typedef struct product_job {
    int64_t T, N, K, ldx, ldw, ldy;
    const uint16_t *x, *w;
    float beta, *y;
} product_job;

/* Matrices as cuBLASLt has them. */
typedef struct layouts {
    cublasLtMatmulDescOpaque_t how;
    cublasLtMatrixLayoutOpaque_t w, x, y;
} layouts;

static cublasStatus_t describe(const product_job *j, int64_t T, layouts *l)
{
    cublasOperation_t turned = CUBLAS_OP_T;
    cublasLtMatmulDescInit(&l->how, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatrixLayoutInit(&l->w, CUDA_R_16BF, (uint64_t)j->K, (uint64_t)j->N, j->ldw);
    cublasLtMatrixLayoutInit(&l->x, CUDA_R_16BF, (uint64_t)j->K, (uint64_t)T, j->ldx);
    cublasLtMatrixLayoutInit(&l->y, CUDA_R_32F, (uint64_t)j->N, (uint64_t)T, j->ldy);
    return cublasLtMatmulDescSetAttribute(&l->how, CUBLASLT_MATMUL_DESC_TRANSA, &turned,
                                          sizeof turned);
}

/* The least power of two that is no less. */
static int64_t bucket_of(int64_t T)
{
    int64_t bucket = 16;
    while (bucket < T)
        bucket *= 2;
    return bucket;
}

static cublasStatus_t look_for(const awq__cuda_queue *queue, const product_job *j, int64_t bucket,
                               cublasLtMatmulAlgo_t *algorithm)
{
    size_t bytes = QUEUE_BLAS_BYTES;
    uint32_t alignment = 16;
    int count = 0;
    layouts l;
    cublasLtMatmulPreferenceOpaque_t limits;
    cublasLtMatmulHeuristicResult_t found;
    describe(j, bucket, &l);
    cublasLtMatmulPreferenceInit(&limits);
    const cublasLtMatmulPreferenceAttributes_t sides[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    cublasLtMatmulPreferenceSetAttribute(&limits, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                         sizeof bytes);
    for (int i = 0; i < 4; i++)
        cublasLtMatmulPreferenceSetAttribute(&limits, sides[i], &alignment, sizeof alignment);
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        (cublasLtHandle_t)queue->blas, &l.how, &l.w, &l.x, &l.y, &l.y, &limits, 1, &found, &count);
    if (status == CUBLAS_STATUS_SUCCESS && count == 0)
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    *algorithm = found.algo;
    return status;
}

/* NULL where there is none. */
static const cublasLtMatmulAlgo_t *algorithm_of(const awq__cuda_queue *queue, const product_job *j)
{
    algorithms *known = queue->known;
    const int64_t key[] = {bucket_of(j->T), j->N, j->K, j->ldx, j->ldw, j->ldy, j->beta != 0};
    for (int i = 0; i < known->count; i++)
        if (!memcmp(known->of[i].key, key, sizeof key))
            return &known->of[i].algorithm;
    if (known->count == MOST_ALGORITHMS)
        known->count = 0; /* begins anew: what is looked for again is found again */
    kept_algorithm *next = &known->of[known->count];
    if (look_for(queue, j, key[0], &next->algorithm) != CUBLAS_STATUS_SUCCESS)
        return NULL;
    memcpy(next->key, key, sizeof key);
    known->count++;
    return &next->algorithm;
}

static cublasStatus_t multiply_by_known(const awq__cuda_queue *queue, const product_job *j)
{
    const float one = 1;
    layouts l;
    uintptr_t all = (uintptr_t)j->x | (uintptr_t)j->w | (uintptr_t)j->y;
    bool aligned = all % 16 == 0 && (j->ldx | j->ldw) % 8 == 0 && j->ldy % 4 == 0;
    const cublasLtMatmulAlgo_t *algorithm = aligned ? algorithm_of(queue, j) : NULL;
    if (!algorithm)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    describe(j, j->T, &l);
    return cublasLtMatmul((cublasLtHandle_t)queue->blas, &l.how, &one, j->w, &l.w, j->x, &l.x,
                          &j->beta, j->y, &l.y, j->y, &l.y, algorithm, queue->blas_space,
                          QUEUE_BLAS_BYTES, queue->stream);
}

static int multiply_terms(const awq__cuda_queue *queue, const awq__cuda_terms *x,
                          const uint16_t *x_term, const awq__cuda_terms *w, const uint16_t *w_term,
                          float beta, float *y, int64_t ldy)
{
    const float one = 1;
    product_job j = {x->rows, w->rows, w->cols, x->ld, w->ld, ldy, x_term, w_term, beta, y};
    if (multiply_by_known(queue, &j) == CUBLAS_STATUS_SUCCESS)
        return 0;
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
