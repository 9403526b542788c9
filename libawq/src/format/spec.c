/* The tensors that store a module. */
#include "format/format.h"

#include <stdio.h>
#include <string.h>

uint64_t awq__spec_bytes(const awq__spec *spec)
{
    uint64_t bytes = (uint64_t)awq_dtype_bits(spec->dtype) / 8;
    for (int i = 0; i < spec->rank; i++)
        bytes *= (uint64_t)spec->shape[i];
    return bytes;
}

awq_status awq__suffix_find(awq_context *ctx, const awq__checkpoint *checkpoint, const char *module,
                            const char *suffix, const awq__tensor **tensor)
{
    char *name = awq__format(ctx, "%s%s", module, suffix);
    AWQ__CHECK_ALLOC(name);
    *tensor = awq__checkpoint_find(checkpoint, name);

    awq__free(name);
    return AWQ_OK;
}

const char *awq__shape_text(int rank, const int64_t *shape, char text[AWQ__SHAPE_BYTES])
{
    int at = snprintf(text, AWQ__SHAPE_BYTES, "[");
    for (int i = 0; i < rank; i++)
        at += snprintf(text + at, (size_t)(AWQ__SHAPE_BYTES - at), "%s%lld", i ? ", " : "",
                       (long long)shape[i]);
    snprintf(text + at, (size_t)(AWQ__SHAPE_BYTES - at), "]");
    return text;
}

awq_status awq__spec_find(awq_context *ctx, const awq__checkpoint *checkpoint, const char *module,
                          const awq__spec *spec, const awq__tensor **tensor)
{
    char *name = awq__format(ctx, "%s%s", module, spec->suffix);
    AWQ__CHECK_ALLOC(name);
    const awq__tensor *found = *tensor = awq__checkpoint_find(checkpoint, name);
    char expected[AWQ__SHAPE_BYTES], actual[AWQ__SHAPE_BYTES];
    awq_status status = AWQ_OK;
    if (!found)
        status = awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: the tensor %s is missing",
                           awq__checkpoint_directory(checkpoint), name);
    else if (found->dtype != spec->dtype || found->rank != spec->rank ||
             memcmp(found->shape, spec->shape, (size_t)spec->rank * sizeof *spec->shape))
        status = awq__fail(ctx, AWQ_ERROR_FORMAT,
                           "%s: %s is not %s %s, which the architecture and quantization_config "
                           "ask for, but %s %s",
                           found->file, name, awq_dtype_name(spec->dtype),
                           awq__shape_text(spec->rank, spec->shape, expected),
                           awq_dtype_name(found->dtype),
                           awq__shape_text(found->rank, found->shape, actual));
    awq__free(name);
    return status;
}
