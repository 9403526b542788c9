/* Between stored elements and F32. All weights pass through here: plain loops that vectorize. */
#include "core/convert.h"
#include "core/half.h"

#include <string.h>

static awq_status no_conversion(awq_context *ctx, awq_dtype dtype)
{
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                     "dtype %s: not a float that is converted, which are BF16, F16 and F32",
                     awq_dtype_name(dtype));
}

static uint16_t load_u16(const uint8_t *src, size_t index)
{
    uint16_t value;
    memcpy(&value, src + index * sizeof value, sizeof value);
    return value;
}

static void store_u16(uint8_t *out, size_t index, uint16_t value)
{
    memcpy(out + index * sizeof value, &value, sizeof value);
}

static uint32_t all_ones_if(bool condition)
{
    return 0u - (uint32_t)condition;
}

/* As in core/half.h, but computing every case and selecting by mask, so that it vectorizes. */
static float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    int32_t magnitude = half & 0x7fff;
    uint32_t subnormal = awq__f32_bits((float)magnitude * 0x1p-24f);
    uint32_t normal = ((uint32_t)magnitude << 13) + 0x38000000u;
    uint32_t is_small = all_ones_if(magnitude < 0x0400);
    uint32_t is_special = all_ones_if(magnitude >= 0x7c00);
    return awq__f32_from_bits(sign | (subnormal & is_small) | (normal & ~is_small) |
                              (is_special & 0x7f800000u));
}

awq_status awq__widen(awq_context *ctx, awq_dtype dtype, const void *src, size_t count, float *out)
{
    const uint8_t *from = src;
    switch ((int)dtype) {
    case AWQ_BF16:
        for (size_t i = 0; i < count; i++)
            out[i] = awq__bf16_to_f32(load_u16(from, i));
        return AWQ_OK;
    case AWQ_F16:
        for (size_t i = 0; i < count; i++)
            out[i] = f16_to_f32(load_u16(from, i));
        return AWQ_OK;
    case AWQ_F32:
        if (count)
            memcpy(out, src, count * sizeof *out);
        return AWQ_OK;
    default:
        return no_conversion(ctx, dtype);
    }
}

awq_status awq__narrow(awq_context *ctx, awq_dtype dtype, const float *src, size_t count, void *out)
{
    uint8_t *to = out;
    switch ((int)dtype) {
    case AWQ_BF16:
        for (size_t i = 0; i < count; i++)
            store_u16(to, i, awq__f32_to_bf16(src[i]));
        return AWQ_OK;
    case AWQ_F16:
        for (size_t i = 0; i < count; i++)
            store_u16(to, i, awq__f32_to_f16(src[i]));
        return AWQ_OK;
    case AWQ_F32:
        if (count)
            memcpy(out, src, count * sizeof *src);
        return AWQ_OK;
    default:
        return no_conversion(ctx, dtype);
    }
}

float awq__round_to_dtype(awq_dtype dtype, float value)
{
    switch ((int)dtype) {
    case AWQ_BF16:
        return awq__bf16_to_f32(awq__f32_to_bf16(value));
    case AWQ_F16:
        return awq__f16_to_f32(awq__f32_to_f16(value));
    default:
        return value;
    }
}
