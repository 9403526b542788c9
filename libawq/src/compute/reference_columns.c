/* The reference of round_columns and range_losses. */
#include "compute/blocks.h"
#include "compute/cpu.h"
#include "compute/nf4.h"

#define ROWS AWQ__COLUMN_ROWS

static float clamp(float value, float low, float high)
{
    return value > low ? value < high ? value : high : low; /* NaN gives low */
}

/* The nearest, and of two equally near the even code. -0 is 0. */
static int e2m1_code(float share)
{
    int best = 0;
    float magnitude = clamp(fabsf(share), 0, 6);
    for (int code = 1; code < 8; code++) {
        float less = magnitude - awq__e2m1[best], more = awq__e2m1[code] - magnitude;
        if (more < less || (more == less && code % 2 == 0))
            best = code;
    }
    return share < 0 && best ? best + 8 : best;
}

static float block_weight(const awq__block_type *type, float target, float scale, float min,
                          uint8_t *code)
{
    float inverse = fabsf(scale) >= 0x1p-126f ? 1 / scale : 0;
    *code = (uint8_t)awq__reference_block_code(type, (target + min) * inverse);
    return scale * awq__block_value(type, *code) - min;
}

/* `share` is the target in scales. */
static float value_of(const awq__scheme *scheme, float share, float zero, uint8_t *code)
{
    const float top = (float)((1 << scheme->bits) - 1);
    switch (scheme->code) {
    case AWQ__CODE_E2M1:
        *code = (uint8_t)e2m1_code(share);
        return awq__e2m1[*code];
    case AWQ__CODE_NF4:
        *code = awq__nf4_code(share);
        return awq__nf4_value(share);
    default:
        *code = (uint8_t)(int)clamp(rintf(share) + zero, 0, top);
        return (float)*code - zero;
    }
}

/* What has an exact inverse, or none, is multiplied. */
static float share_of(const awq__scheme *scheme, float target, float scale)
{
    switch (scheme->code) {
    case AWQ__CODE_E2M1:
        return target * (1 / scale);
    case AWQ__CODE_NF4:
        return target * awq__nf4_inverse(scale);
    default:
        return target / scale;
    }
}

static float nearest(const awq__scheme *scheme, float target, float scale, float zero,
                     uint8_t *code)
{
    if (scheme->blocks)
        return block_weight(scheme->blocks, target, scale, zero, code);
    return scale * value_of(scheme, share_of(scheme, target, scale), zero, code);
}

void awq__reference_round_columns(const awq__columns *c)
{
    for (int64_t i = 0; i < c->count; i++)
        for (int64_t r = 0; r < ROWS; r++) {
            int64_t at = i * ROWS + r, group = (c->first + i) / c->scheme->group * ROWS + r;
            float inverse = c->diagonal ? 1 / c->diagonal[i] : 1;
            float target = (c->w[at] - c->e[at]) + c->x[at] * inverse;
            float error = c->w[at] - nearest(c->scheme, target, c->scales[group], c->zeros[group],
                                             &c->codes[at]);
            c->change[at] = error - c->e[at];
            c->e[at] = error;
            for (int64_t j = i + 1; j < c->count; j++)
                c->x[j * ROWS + r] += c->change[at] * c->matrix[i * c->ld + j];
        }
}

void awq__reference_range_losses(const awq__scheme *scheme, const float *w, const float *weight,
                                 const float *scale, const float *zero, float *loss)
{
    for (int64_t r = 0; r < ROWS; r++) {
        float inverse = scheme->code == AWQ__CODE_NF4 ? awq__nf4_inverse(scale[r]) : 1 / scale[r];
        uint8_t code;
        loss[r] = 0;
        for (int64_t k = 0; k < scheme->group; k++) {
            float value = value_of(scheme, w[k * ROWS + r] * inverse, zero[r], &code);
            float error = w[k * ROWS + r] - scale[r] * value;
            loss[r] += weight[k] * error * error;
        }
    }
}
