/* What tests see of stored tensors. */
#ifndef TENSOR_BYTES_H
#define TENSOR_BYTES_H

#include "checkpoint/checkpoint.h"

#include <string.h>

/* All bytes of a tensor; the caller frees them with awq__free. NULL, and the context has a message,
   where they cannot be read. */
static inline uint8_t *tensor_bytes(awq_context *ctx, const awq__tensor *tensor)
{
    uint8_t *bytes;
    awq__tensor_copy(ctx, tensor, tensor->bytes, &bytes);
    return bytes;
}

/* Are these the same bytes? Those of `expected` are `count`. */
static inline bool tensor_is(awq_context *ctx, const awq__tensor *tensor, const void *expected,
                             size_t count)
{
    uint8_t *bytes = tensor_bytes(ctx, tensor);
    bool is = bytes && tensor->bytes == count && (!count || !memcmp(bytes, expected, count));
    awq__free(bytes);
    return is;
}

static inline bool same_bytes(awq_context *ctx, const awq__tensor *a, const awq__tensor *b)
{
    uint8_t *bytes = tensor_bytes(ctx, a);
    bool same = bytes && tensor_is(ctx, b, bytes, a->bytes);
    awq__free(bytes);
    return same;
}

#endif
