/* Conversion between the 16-bit float formats and F32, round to nearest even; from those of 8 bits.
 */
#ifndef AWQ__HALF_H
#define AWQ__HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t awq__f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float awq__f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float awq__bf16_to_f32(uint16_t half)
{
    return awq__f32_from_bits((uint32_t)half << 16);
}

/* NaN stays NaN (quiet); overflow gives infinity, as IEEE rounding does. */
static inline uint16_t awq__f32_to_bf16(float value)
{
    uint32_t bits = awq__f32_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x0040u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float awq__f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) /* infinity and NaN */
        return awq__f32_from_bits(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude < 0x0400u) { /* zero and subnormal: magnitude * 2^-24, exact */
        float scaled = (float)magnitude * 0x1p-24f;
        return awq__f32_from_bits(sign | awq__f32_bits(scaled));
    }
    return awq__f32_from_bits(sign | ((magnitude << 13) + 0x38000000u));
}

static inline uint16_t awq__f32_to_f16(float value)
{
    uint32_t bits = awq__f32_bits(value);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: adding 0.5 aligns the last bit to 2^-24 */
        float aligned = awq__f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (awq__f32_bits(aligned) - 0x3f000000u));
    }
    magnitude += 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

/* E4M3 of OCP FP8 v1.0, sign, 4 bits of exponent with bias 7, 3 of mantissa: no infinities; all
   ones but the sign are NaN. */
static inline float awq__e4m3_to_f32(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, magnitude = code & 0x7fu;
    if (magnitude == 0x7fu)
        return awq__f32_from_bits(sign | 0x7fc00000u);
    if (magnitude < 8u) /* zero and subnormal: magnitude * 2^-9, exact */
        return awq__f32_from_bits(sign | awq__f32_bits((float)magnitude * 0x1p-9f));
    return awq__f32_from_bits(sign | ((magnitude << 20) + 0x3c000000u));
}

/* E8M0 of OCP MX v1.0: 2^(code - 127); 255 is NaN. */
static inline float awq__e8m0_to_f32(uint8_t code)
{
    return awq__f32_from_bits(code == 255 ? 0x7fc00000u
                              : code      ? (uint32_t)code << 23
                                          : 0x00400000u);
}

#endif
