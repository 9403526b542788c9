/* Between stored floats and F32. */
#ifndef AWQ__CONVERT_H
#define AWQ__CONVERT_H

#include "core/core.h"

/* src (unaligned, little-endian) -> out[count], exact. BF16, F16, F32 only; else
 * AWQ_ERROR_UNSUPPORTED. */
awq_status awq__widen(awq_context *ctx, awq_dtype dtype, const void *src, size_t count, float *out);
/* src[count] -> out, round to nearest even. BF16, F16, F32 only. */
awq_status awq__narrow(awq_context *ctx, awq_dtype dtype, const float *src, size_t count,
                       void *out);
/* The value that storing in dtype and reading back gives. BF16, F16, F32 only. */
float awq__round_to_dtype(awq_dtype dtype, float value);
/* The same of a value that is stored less `shift`, as norms of 1 + weight are. */
static inline float awq__round_shifted(awq_dtype dtype, float shift, float value)
{
    return shift + awq__round_to_dtype(dtype, value - shift);
}

#endif
