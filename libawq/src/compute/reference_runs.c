/* The reference of round_runs. */
#include "compute/blocks.h"
#include "compute/cpu.h"

#include <math.h>
#include <string.h>

/* Of E2M1, doubled: the nearest, and of two equally near the even code. -0 is 0. */
static int e2m1_code(const awq__block_type *type, float share)
{
    int best = 0;
    float magnitude = fabsf(share);
    for (int code = 1; code < 8; code++) {
        float less = magnitude - type->values[best], more = type->values[code] - magnitude;
        if (more < less || (more == less && code % 2 == 0))
            best = code;
    }
    return share < 0 && best ? best + 8 : best;
}

static int table_code(const awq__block_type *type, float share)
{
    int code = 0;
    while (code < 15 && share > (type->values[code] + type->values[code + 1]) * 0.5f)
        code++;
    return code;
}

static int line_code(const awq__block_type *type, float share)
{
    float least = (float)-type->zero, most = (float)(type->codes - 1 - type->zero);
    float inside = share > least ? share < most ? share : most : least;
    return (int)rintf(inside) + type->zero;
}

int awq__reference_block_code(const awq__block_type *type, float share)
{
    switch (awq__block_values_of(type)) {
    case AWQ__VALUES_E2M1:
        return e2m1_code(type, share);
    case AWQ__VALUES_TABLE:
        return table_code(type, share);
    default:
        return line_code(type, share);
    }
}

/* The code of a weight, at a scale that may have no inverse. */
static int code_of(const awq__block_type *type, float shifted, float scale)
{
    float inverse = fabsf(scale) >= 0x1p-126f ? 1 / scale : 0;
    return awq__reference_block_code(type, shifted * inverse);
}

void awq__reference_round_runs(const awq__block_type *type, int length, const float *x,
                               const float *h, const float scale[AWQ__RUNS],
                               const float min[AWQ__RUNS], awq__run_sums *sums, uint8_t *codes)
{
    *sums = (awq__run_sums){0};
    for (int i = 0; i < length; i++)
        for (int r = 0; r < AWQ__RUNS; r++) {
            float weight = x[i * AWQ__RUNS + r];
            int code = code_of(type, weight + min[r], scale[r]);
            float v = awq__block_value(type, code), weighted = h[i * AWQ__RUNS + r] * v;
            sums->xv[r] += weighted * weight;
            sums->vv[r] += weighted * v;
            sums->v[r] += weighted;
            if (codes)
                codes[i * AWQ__RUNS + r] = (uint8_t)code;
        }
}

void awq__reference_run_errors(const awq__block_type *type, int length, const float *x,
                               const float *h, const float scale[AWQ__RUNS],
                               const float min[AWQ__RUNS], float error[AWQ__RUNS])
{
    memset(error, 0, AWQ__RUNS * sizeof *error);
    for (int i = 0; i < length; i++)
        for (int r = 0; r < AWQ__RUNS; r++) {
            float shifted = x[i * AWQ__RUNS + r] + min[r];
            float value = awq__block_value(type, code_of(type, shifted, scale[r]));
            float off = shifted - scale[r] * value;
            error[r] += h[i * AWQ__RUNS + r] * off * off;
        }
}
