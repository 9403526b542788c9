/* The matrix products that the fast tables share, and their count. */
#include "compute/cpu.h"
#include "core/blas.h"

#include <cblas.h>
#include <stdatomic.h>

static _Atomic uint64_t operations;

uint64_t awq__product_operations(void)
{
    return atomic_load_explicit(&operations, memory_order_relaxed);
}

void awq__count_product(int64_t T, int64_t N, int64_t K)
{
    atomic_fetch_add_explicit(&operations, 2 * (uint64_t)(T * N * K), memory_order_relaxed);
}

/* y[T,N] = the product + beta * y; a and b say what is transposed. */
static void multiply(CBLAS_TRANSPOSE a, CBLAS_TRANSPOSE b, int64_t T, int64_t N, int64_t K,
                     const float *x, int64_t ldx, const float *w, int64_t ldw, float beta, float *y,
                     int64_t ldy)
{
    awq__count_product(T, N, K);
    int host_threads = awq__blas_enter();
    cblas_sgemm(CblasRowMajor, a, b, (blasint)T, (blasint)N, (blasint)K, 1, x, (blasint)ldx, w,
                (blasint)ldw, beta, y, (blasint)ldy);
    awq__blas_leave(host_threads);
}

void awq__blas_multiply_nt(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                           const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    multiply(CblasNoTrans, CblasTrans, T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

void awq__blas_multiply_nn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                           const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    multiply(CblasNoTrans, CblasNoTrans, T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

void awq__blas_multiply_tn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                           const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    multiply(CblasTrans, CblasNoTrans, T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

void awq__blas_gram(int64_t T, int64_t K, int64_t g, const float *x, int64_t ldx, float *gram)
{
    for (int64_t b = 0; b < K / g; b++)
        multiply(CblasTrans, CblasNoTrans, g, g, T, x + b * g, ldx, x + b * g, ldx, 1,
                 gram + b * g * g, g);
}
