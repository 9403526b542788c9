/* Rounding of groups of weights: what compute/cpu_quantize.h has for the CPU, with the same bits.
   Every operation rounds by itself: these files are compiled without contraction. */
#ifndef AWQ__CUDA_ROUNDING_H
#define AWQ__CUDA_ROUNDING_H

#include "inside.h"

/* What a group is rounded with. */
typedef struct group_scale {
    float scale, inverse, zero;
} group_scale;

static __device__ inline float clamp(float value, float low, float high)
{
    return value > low ? value < high ? value : high : low; /* NaN gives low */
}

static __device__ inline float top_code(const awq__cuda_scheme &scheme)
{
    return (float)((1 << scheme.bits) - 1);
}

/* ---- scales ---- */

static __device__ inline float round_to_bf16(float s)
{
    return bf16_value(bf16_bits(s));
}

static __device__ inline float round_to_f16(float s)
{
    return __half2float(__float2half_rn(s));
}

/* awq__round_scale */
static __device__ inline float round_scale(awq__cuda_grid grid, float s)
{
    if (grid == AWQ__CUDA_GRID_BF16)
        s = round_to_bf16(s);
    if (grid == AWQ__CUDA_GRID_F32_127)
        s = s * 127 / 127;
    if (grid == AWQ__CUDA_GRID_F16 || grid == AWQ__CUDA_GRID_BF16_F16) {
        if (grid == AWQ__CUDA_GRID_BF16_F16 && s >= 0x1p-16f)
            s = round_to_bf16(s);
        s = round_to_f16(s);
        return s > 0x1p-24f ? s : 0x1p-24f;
    }
    return s > 0x1p-126f ? s : 0x1p-126f;
}

static __device__ inline float e2m1_scale(float range)
{
    if (range == 0)
        return 1;
    float power = __uint_as_float(__float_as_uint(range) & 0x7f800000u);
    return power > 0x1p-125f ? power * 0.25f : 0x1p-127f;
}

static __device__ inline float nf4_inverse(float scale)
{
    return fabsf(scale) >= 0x1p-126f ? 1 / scale : 0;
}

/* Of the range that codes cover; NaN or infinite ends give an infinite scale. */
static __device__ inline group_scale integer_scale(const awq__cuda_scheme &scheme, float low,
                                                   float high)
{
    float top = top_code(scheme), middle = (float)(1 << (scheme.bits - 1));
    float width = scheme.symmetric ? (-low > high ? -low : high) : high - low;
    float step = width / (scheme.symmetric ? middle - 1 : top);
    group_scale s;
    s.scale = low == high ? 1 : step < INFINITY ? round_scale(scheme.grid, step) : INFINITY;
    s.inverse = 1 / s.scale;
    s.zero = scheme.symmetric ? middle : clamp(rintf(clamp(-low / s.scale, 0, 512)), 0, top);
    return s;
}

static __device__ inline group_scale scale_of_range(const awq__cuda_scheme &scheme, float low,
                                                    float high)
{
    float larger = -low > high ? -low : high;
    group_scale s = {0, 0, 0};
    if (scheme.code == AWQ__CUDA_CODE_INTEGER)
        return integer_scale(scheme, low, high);
    if (scheme.code == AWQ__CUDA_CODE_E2M1) {
        s.scale = e2m1_scale(larger);
        s.inverse = 1 / s.scale;
        return s;
    }
    s.scale = larger < INFINITY ? larger : INFINITY;
    s.inverse = nf4_inverse(s.scale);
    return s;
}

/* E2M1 takes its scale from the high end of a range that is given. */
static __device__ inline group_scale scale_of_given(const awq__cuda_scheme &scheme,
                                                    awq__cuda_range range)
{
    return scale_of_range(scheme, scheme.code == AWQ__CUDA_CODE_E2M1 ? 0 : range.low, range.high);
}

/* ---- extents: least and largest of values and 0, as integers in the order of the floats ---- */

/* NaN lies beyond all; its own inverse. */
static __device__ inline int ordered(int bits)
{
    return bits ^ ((bits >> 31) & 0x7fffffff);
}

static __device__ inline void widen_extent(float value, int *low, int *high)
{
    int key = ordered(__float_as_int(value));
    *low = min(*low, key);
    *high = max(*high, key);
}

/* high is NaN if a value is. */
static __device__ inline awq__cuda_range extent_of_keys(int low, int high)
{
    float least_value = __int_as_float(ordered(low)), largest = __int_as_float(ordered(high));
    return {least_value, least_value != least_value ? least_value : largest};
}

/* Over the lanes of a warp. */
static __device__ inline awq__cuda_range warp_extent(int low, int high)
{
    return extent_of_keys(__reduce_min_sync(0xffffffffu, low),
                          __reduce_max_sync(0xffffffffu, high));
}

/* ---- values and codes ---- */

static __device__ const float nf4_values[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};
static __device__ const float nf4_limits[15] = {
    -0.8480964004993439f,  -0.6106329262256622f,  -0.4599952697753906f,   -0.33967943489551544f,
    -0.23460740596055984f, -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f,
    0.1202552504837513f,   0.2035212516784668f,   0.2920137718319893f,    0.3893125355243683f,
    0.5016634166240692f,   0.6427869200706482f,   0.8614784181118011f,
};

static __device__ inline int nf4_code(float share)
{
    int code = 0;
#pragma unroll
    for (int i = 0; i < 15; i++)
        code += share > nf4_limits[i];
    return code;
}

static __device__ inline float nf4_value(float share)
{
    float value = nf4_values[0];
#pragma unroll
    for (int i = 0; i < 15; i++)
        value = share > nf4_limits[i] ? nf4_values[i + 1] : value;
    return value;
}

/* The nearest E2M1 value, ties to even, never -0. */
static __device__ inline float e2m1_value(float x)
{
    float value = clamp(x, -6, 6);
    float power = __uint_as_float(__float_as_uint(value) & 0x7f800000u);
    float magic = (power > 1 ? power : 1) * 0x1.8p22f;
    return (value + magic) - magic;
}

static __device__ inline int e2m1_code(float value)
{
    float magnitude = fabsf(value), code = magnitude * 2;
    code = magnitude + 2 < code ? magnitude + 2 : code;
    code = magnitude * 0.5f + 4 < code ? magnitude * 0.5f + 4 : code;
    return (int)(value < 0 ? code + 8 : code);
}

/* What w becomes, before the scale. */
static __device__ inline float rounded_value(const awq__cuda_scheme &scheme, const group_scale &s,
                                             float w)
{
    if (scheme.code == AWQ__CUDA_CODE_E2M1)
        return e2m1_value(w * s.inverse);
    if (scheme.code == AWQ__CUDA_CODE_NF4)
        return nf4_value(w * s.inverse);
    return rintf(clamp(w * s.inverse, -s.zero, top_code(scheme) - s.zero));
}

static __device__ inline int rounded_code(const awq__cuda_scheme &scheme, const group_scale &s,
                                          float w)
{
    if (scheme.code == AWQ__CUDA_CODE_NF4)
        return nf4_code(w * s.inverse);
    float value = rounded_value(scheme, s, w);
    return scheme.code == AWQ__CUDA_CODE_E2M1 ? e2m1_code(value) : (int)(value + s.zero);
}

/* Before the scale. */
static __device__ inline float value_of_code(const awq__cuda_scheme &scheme, int code, float zero)
{
    if (scheme.code == AWQ__CUDA_CODE_E2M1)
        return e2m1_value_of((unsigned)code & 15);
    if (scheme.code == AWQ__CUDA_CODE_NF4)
        return nf4_values[code & 15];
    return (float)code - zero;
}

#endif
