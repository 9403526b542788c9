/* GGUF files as an output, by the same transaction as safetensors. */
#include "checkpoint/gguf_internal.h"

#include <string.h>

awq_status awq__output_gguf(awq__output *output, const char *name, awq__gguf_values *values)
{
    if (output->layout.count || output->layout.gguf)
        return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT, "%s: tensors were declared already",
                         output->partial);
    output->layout.gguf = awq__alloc(output->ctx, 1, sizeof *values, "the values of a GGUF file");
    output->layout.name = awq__strdup(output->ctx, name);
    AWQ__CHECK_ALLOC(output->layout.gguf && output->layout.name);
    *output->layout.gguf = *values;
    *values = (awq__gguf_values){0};
    return AWQ_OK;
}

static awq_status check_declared(awq_context *ctx, const char *name, const awq__ggml_type *type,
                                 int rank, const int64_t *shape)
{
    if (strlen(name) >= AWQ__GGUF_NAME_BYTES || !*name)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": GGUF has names of 1 to %d bytes",
                         name, AWQ__GGUF_NAME_BYTES - 1);
    if (rank < 0 || rank > AWQ__GGUF_MAX_RANK)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": rank %d is not in 0 to %d", name,
                         rank, AWQ__GGUF_MAX_RANK);
    int64_t cols = rank ? shape[rank - 1] : 1;
    if (cols % type->block)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "tensor \"%s\": %lld columns are no whole blocks of %d, which %s has",
                         name, (long long)cols, type->block, type->name);
    return AWQ_OK;
}

awq_status awq__output_declare_typed(awq__output *output, const char *name,
                                     const awq__ggml_type *type, int rank, const int64_t *shape)
{
    awq__entry *entry;
    int64_t stored[AWQ__GGUF_MAX_RANK] = {0};
    awq_dtype dtype;
    if (!output->layout.gguf)
        return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": not an output of GGUF",
                         name);
    AWQ__CHECK(check_declared(output->ctx, name, type, rank, shape));
    if (!awq__ggml_stored(type, rank, shape, &dtype, stored))
        return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": too large", name);
    AWQ__CHECK(awq__output_add(output, name, dtype, rank, stored, &entry));
    entry->type = type;
    for (int i = 0; i < rank; i++)
        entry->shape[i] = shape[i];
    return AWQ_OK;
}
