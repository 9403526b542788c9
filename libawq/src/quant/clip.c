/* How far each group's range may shrink; for E2M1 codes, which power of two is its scale. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

#define STEP 0.05f

static int step_count(const awq__scheme *scheme)
{
    return scheme->code == AWQ__CODE_E2M1 ? 3 : 10;
}

/* Step 0 is no limit. */
static float limit_at(const awq__scheme *scheme, int step, float largest)
{
    if (step == 0)
        return INFINITY;
    if (scheme->code == AWQ__CODE_E2M1)
        return largest * (step == 1 ? 2 : 0.5f);
    return largest * (1 - STEP * (float)step);
}

typedef struct space {
    float *weight, *rounded, *product; /* [block,K] */
    float *largest, *limit;            /* [block,K/g] */
    double *least;                     /* [block,K/g] */
} space;

static void group_maxima(int64_t count, int64_t g, const float *w, float *largest)
{
    for (int64_t i = 0; i < count; i++) {
        largest[i] = 0;
        for (int64_t k = 0; k < g; k++)
            largest[i] = fmaxf(largest[i], fabsf(w[i * g + k]));
    }
}

/* One step for all groups of a block of n rows: keeps it where it is better than what was tried.
 */
static void try_step(const awq__compute *compute, const awq__scheme *scheme,
                     const awq__stats *stats, int64_t n, int step, const space *s, float *best)
{
    int64_t K = stats->cols, g = scheme->group, G = K / g;
    for (int64_t i = 0; i < n * G; i++)
        s->limit[i] = limit_at(scheme, step, s->largest[i]);
    memcpy(s->rounded, s->weight, (size_t)(n * K) * sizeof *s->rounded);
    compute->fake_quantize(n, K, scheme, s->limit, NULL, s->rounded);
    for (int64_t i = 0; i < n * K; i++)
        s->rounded[i] -= s->weight[i];
    for (int64_t b = 0; b < G; b++)
        compute->multiply_nn(n, g, g, s->rounded + b * g, K, stats->gram + b * g * g, g, 0,
                             s->product + b * g, K);
    for (int64_t i = 0; i < n * G; i++) {
        double loss = compute->dot(g, s->product + i * g, s->rounded + i * g);
        if (step == 0 || loss < s->least[i]) {
            s->least[i] = loss;
            best[i] = s->limit[i];
        }
    }
}

awq_status awq__search_clip(awq_context *ctx, const awq__compute *compute,
                            const awq__weight *weight, const awq__scheme *scheme,
                            const awq__stats *stats, float *limit)
{
    int64_t K = weight->cols, G = K / scheme->group, block = awq__weight_block(weight);
    size_t whole = (size_t)(block * K), groups = (size_t)(block * G);
    float *floats = awq__alloc_aligned(ctx, 3 * whole + 2 * groups, sizeof *floats, "clip search");
    double *least = awq__alloc_aligned(ctx, groups, sizeof *least, "clip search");
    if (floats && least) {
        space s = {.weight = floats,
                   .rounded = floats + whole,
                   .product = floats + 2 * whole,
                   .largest = floats + 3 * whole,
                   .limit = floats + 3 * whole + groups,
                   .least = least};
        for (int64_t first = 0; first < weight->rows; first += block) {
            int64_t n = awq__min(block, weight->rows - first);
            awq__weight_read(weight, first, n, s.weight);
            group_maxima(n * G, scheme->group, s.weight, s.largest);
            for (int step = 0; step < step_count(scheme); step++)
                try_step(compute, scheme, stats, n, step, &s, limit + first * G);
        }
    }
    awq_status status = floats && least ? AWQ_OK : AWQ_ERROR_MEMORY;
    awq__free(floats);
    awq__free(least);
    return status;
}
