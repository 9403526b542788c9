/* Triangular factors of a symmetric matrix: plainly, and by LAPACK's Cholesky factorization. */
#include "compute/cpu.h"
#include "core/blas.h"

#include <cblas.h>
#include <math.h>

/* OpenBLAS holds LAPACK's routines, and has no header for them. */
void spotrf_(const char *triangle, const blasint *order, float *a, const blasint *lda,
             blasint *info);

bool awq__reference_factor(int64_t K, float *h)
{
    for (int64_t k = K - 1; k >= 0; k--)
        for (int64_t i = k; i >= 0; i--) {
            double sum = (double)h[i * K + k];
            for (int64_t m = k + 1; m < K; m++)
                sum -= (double)h[i * K + m] * (double)h[m * K + m] * (double)h[k * K + m];
            if (i < k)
                h[i * K + k] = (float)(sum / (double)h[k * K + k]);
            else if ((float)sum > 0 && isfinite((float)sum))
                h[k * K + k] = (float)sum;
            else
                return false;
        }
    return true;
}

/* Rows and columns in reverse order. */
static void reverse(int64_t count, float *h)
{
    for (int64_t i = 0, j = count - 1; i < j; i++, j--) {
        float value = h[i];
        h[i] = h[j];
        h[j] = value;
    }
}

/* h = R R^T with R upper triangular is the factorization by L L^T of the reversed matrix. */
bool awq__lapack_factor(int64_t K, float *h)
{
    blasint order = (blasint)K, info = 0;
    reverse(K * K, h);
    int host_threads = awq__blas_enter();
    spotrf_("U", &order, h, &order, &info); /* the lower triangle, of rows that follow each other */
    awq__blas_leave(host_threads);
    reverse(K * K, h);
    bool definite = info == 0;
    for (int64_t k = 0; k < K; k++) /* a NaN is no reason for spotrf to stop */
        definite &= h[k * K + k] > 0 && isfinite(h[k * K + k]);
    for (int64_t i = 0; i < K && definite; i++)
        for (int64_t k = i + 1; k < K; k++)
            h[i * K + k] /= h[k * K + k];
    for (int64_t k = 0; k < K; k++)
        h[k * K + k] *= h[k * K + k];
    return definite;
}
