/* Moving rows, and what else is the same in every table. */
#include "compute/cpu.h"

#include <string.h>

#define TILE 64 /* of a transposition, so that both sides stay in the cache */

void awq__reference_gather(int64_t T, int64_t K, const int64_t *index, int64_t step, const float *x,
                           float *out)
{
    for (int64_t t = 0; t < T; t++)
        memcpy(out + t * K, x + index[t] / step * K, (size_t)K * sizeof *out);
}

void awq__reference_scatter(int64_t T, int64_t K, const int64_t *index, int64_t first,
                            const float *x, float *out)
{
    for (int64_t t = 0; t < T; t++)
        memcpy(out + (index[t] - first) * K, x + t * K, (size_t)K * sizeof *out);
}

void awq__tiled_mirror(int64_t K, float *m)
{
    for (int64_t top = 0; top < K; top += TILE)
        for (int64_t left = top; left < K; left += TILE)
            for (int64_t i = top; i < awq__min(top + TILE, K); i++)
                for (int64_t k = awq__max(left, i + 1); k < awq__min(left + TILE, K); k++)
                    m[k * K + i] = m[i * K + k];
}

int64_t awq__sketch_place(uint64_t seed, int64_t count, bool *negative)
{
    uint64_t random = awq__random(&seed);
    *negative = !(random & 1);
    return (int64_t)((random >> 1) % (uint64_t)count);
}

double awq__reference_largest_difference(int64_t count, const float *a, const float *b)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (b ? (double)b[i] : 0));
        if (isnan(difference))
            return NAN;
        largest = fmax(largest, difference);
    }
    return largest;
}
