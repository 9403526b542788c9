#include "compute/e4m3.h"
#include "compute/processor.h"
#include "core/half.h"

void awq__e4m3_widen_reference(const uint8_t *codes, size_t count, float scale, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = awq__e4m3_to_f32(codes[i]) * scale;
}

static inline uint32_t all_ones_if(int condition)
{
    return 0u - (uint32_t)condition;
}

/* As in core/half.h, but computing every case and selecting by mask, so that it vectorizes. */
static inline float value_of(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, magnitude = code & 0x7fu;
    uint32_t is_small = all_ones_if(magnitude < 8u);
    uint32_t is_nan = all_ones_if(magnitude == 0x7fu);
    uint32_t subnormal = awq__f32_bits((float)(int32_t)magnitude * 0x1p-9f);
    uint32_t normal = (magnitude << 20) + 0x3c000000u;
    return awq__f32_from_bits(sign | (subnormal & is_small) | (normal & ~is_small) |
                              (is_nan & 0x7fc00000u));
}

static inline void widen(const uint8_t *codes, size_t count, float scale, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = value_of(codes[i]) * scale;
}

static void widen_base(const uint8_t *codes, size_t count, float scale, float *out)
{
    widen(codes, count, scale, out);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void widen_avx2(const uint8_t *codes, size_t count,
                                                           float scale, float *out)
{
    widen(codes, count, scale, out);
}

__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) static void
widen_avx512(const uint8_t *codes, size_t count, float scale, float *out)
{
    widen(codes, count, scale, out);
}
#endif

#define MAX_LOOPS 5

awq__e4m3_loop *const *awq__e4m3_loops(void)
{
    static awq__e4m3_loop *loops[MAX_LOOPS];
    int count = 0;
    loops[count++] = awq__e4m3_widen_reference;
    loops[count++] = widen_base;
#if defined(__x86_64__)
    awq__processor here = awq__processor_here();
    if (here.avx2)
        loops[count++] = widen_avx2;
    if (here.avx512)
        loops[count++] = widen_avx512;
#endif
    return loops;
}

void awq__e4m3_widen(const uint8_t *codes, size_t count, float scale, float *out)
{
#if defined(__x86_64__)
    awq__processor here = awq__processor_here();
    if (here.avx512)
        widen_avx512(codes, count, scale, out);
    else if (here.avx2)
        widen_avx2(codes, count, scale, out);
    else
#endif
        widen_base(codes, count, scale, out);
}
