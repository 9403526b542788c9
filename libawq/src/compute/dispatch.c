/* Choosing a table, and the matrix products that the fast ones share. */
#include "compute/cpu.h"
#include "compute/processor.h"
#include "core/blas.h"

#include <cblas.h>
#include <stdatomic.h>

#define MAX_TABLES 5

static _Atomic uint64_t operations;

uint64_t awq__product_operations(void)
{
    return atomic_load_explicit(&operations, memory_order_relaxed);
}

void awq__count_product(int64_t T, int64_t N, int64_t K)
{
    atomic_fetch_add_explicit(&operations, 2 * (uint64_t)(T * N * K), memory_order_relaxed);
}

const awq__compute *const *awq__compute_all(void)
{
    static const awq__compute *tables[MAX_TABLES];
    int count = 0;
    tables[count++] = awq__compute_reference();
    tables[count++] = awq__compute_cpu_base();
#if defined(__x86_64__)
    awq__processor here = awq__processor_here();
    if (here.avx2)
        tables[count++] = awq__compute_cpu_avx2();
    if (here.avx512)
        tables[count++] = awq__compute_cpu_avx512();
#endif
    return tables;
}

const awq__compute *awq__compute_fastest(void)
{
#if defined(__x86_64__)
    awq__processor here = awq__processor_here();
    if (here.avx512)
        return awq__compute_cpu_avx512();
    if (here.avx2)
        return awq__compute_cpu_avx2();
#endif
    return awq__compute_cpu_base();
}

const awq__compute *awq__compute_of(const awq_context *ctx)
{
    const awq__compute *given = awq__context_compute(ctx);
    return given ? given : awq__compute_fastest();
}

void awq__compute_use(awq_context *ctx, const awq__compute *table)
{
    awq__context_set_compute(ctx, table, table->memory);
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
