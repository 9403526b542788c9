/* Values that codes and stored scales can have. */
#include "compute/compute.h"
#include "core/half.h"

const float awq__e2m1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                             -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

float awq__e2m1_scale(float range)
{
    if (range == 0)
        return 1;
    /* The exponent bits alone are 2^floor(log2(range)); 0 where range is subnormal, and infinity
       where it is not finite. */
    float power = awq__f32_from_bits(awq__f32_bits(range) & 0x7f800000u);
    return power > 0x1p-125f ? power * 0.25f : 0x1p-127f;
}

float awq__round_scale(awq__scale_grid grid, float s)
{
    if (grid == AWQ__GRID_BF16)
        s = awq__bf16_to_f32(awq__f32_to_bf16(s));
    if (grid == AWQ__GRID_F32_127)
        s = s * 127 / 127; /* each operation rounds */
    if (grid == AWQ__GRID_F32 || grid == AWQ__GRID_BF16 || grid == AWQ__GRID_F32_127)
        return s > 0x1p-126f ? s : 0x1p-126f;
    /* From 2^-16 on all values of BF16 are values of F16; below, it is the other way round. */
    if (grid == AWQ__GRID_BF16_F16 && s >= 0x1p-16f)
        s = awq__bf16_to_f32(awq__f32_to_bf16(s));
    s = awq__f16_to_f32(awq__f32_to_f16(s));
    return s > 0x1p-24f ? s : 0x1p-24f;
}
