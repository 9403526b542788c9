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

static const char *describe(char *text, size_t bytes, awq_dtype dtype, int rank,
                            const int64_t *shape)
{
    int at = snprintf(text, bytes, "%s [", awq_dtype_name(dtype));
    for (int i = 0; i < rank; i++)
        at += snprintf(text + at, bytes - (size_t)at, "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(text + at, bytes - (size_t)at, "]");
    return text;
}

awq_status awq__spec_find(awq_context *ctx, const awq__checkpoint *checkpoint, const char *module,
                          const awq__spec *spec, const awq__tensor **tensor)
{
    char *name = awq__format(ctx, "%s%s", module, spec->suffix);
    AWQ__CHECK_ALLOC(name);
    const awq__tensor *found = *tensor = awq__checkpoint_find(checkpoint, name);
    char expected[256], actual[256]; /* room for 8 numbers of 64 bits */
    awq_status status = AWQ_OK;
    if (!found)
        status = awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: the tensor %s is missing",
                           awq__checkpoint_directory(checkpoint), name);
    else if (found->dtype != spec->dtype || found->rank != spec->rank ||
             memcmp(found->shape, spec->shape, (size_t)spec->rank * sizeof *spec->shape))
        status = awq__fail(
            ctx, AWQ_ERROR_FORMAT,
            "%s: %s is not %s, which the architecture and quantization_config ask for, but %s",
            found->file, name,
            describe(expected, sizeof expected, spec->dtype, spec->rank, spec->shape),
            describe(actual, sizeof actual, found->dtype, found->rank, found->shape));
    awq__free(name);
    return status;
}
