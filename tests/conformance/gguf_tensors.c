/*
 * What libawq reads from a GGUF file, and what it writes.
 *
 *   gguf_tensors IN.gguf OUT.f32 OUT_DIR SHARD_BYTES
 *
 * OUT.f32: all tensors as F32, in the order of their names. OUT_DIR: the same tensors, written as
 * an output, with a value of each kind that is written.
 */
#include "awq/awq.h"
#include "checkpoint/gguf.h"
#include "compute/blocks.h"
#include "core/convert.h"

#include <stdio.h>
#include <stdlib.h>

static awq_status write_weights(awq_context *ctx, const awq__gguf_tensor *tensor,
                                const uint8_t *bytes, FILE *out)
{
    awq_status status;
    const awq__block_type *blocks = awq__block_type_of(tensor->type->id);
    size_t count = 1;
    for (int i = 0; i < tensor->rank; i++)
        count *= (size_t)tensor->shape[i];
    float *weights = awq__alloc(ctx, count, sizeof *weights, "weights");
    AWQ__TRY_ALLOC(weights);
    if (blocks)
        awq__blocks_decode(blocks, (int64_t)count / blocks->block, bytes, weights);
    else
        AWQ__TRY(awq__widen(ctx, tensor->stored.dtype, bytes, count, weights));
    if (fwrite(weights, sizeof *weights, count, out) != count)
        status = awq__fail(ctx, AWQ_ERROR_IO, "cannot write weights");
done:
    awq__free(weights);
    return status;
}

/* To both. */
static awq_status copy_tensor(awq_context *ctx, const awq__gguf_tensor *tensor, FILE *out,
                              awq__output *output)
{
    awq_status status;
    uint8_t *bytes = NULL;
    AWQ__TRY(awq__tensor_copy(ctx, &tensor->stored, (size_t)1 << 30, &bytes));
    AWQ__TRY(write_weights(ctx, tensor, bytes, out));
    AWQ__TRY(awq__output_write(output, tensor->stored.name, bytes, tensor->stored.bytes));
done:
    awq__free(bytes);
    return status;
}

static awq_status add_values(awq_context *ctx, awq__gguf_values *values)
{
    static const char *const words[] = {"one", "", "\xc4\xa0two"};
    AWQ__CHECK(awq__gguf_add_text(ctx, values, AWQ__GGUF_ARCHITECTURE, "llama"));
    AWQ__CHECK(awq__gguf_add_u32(ctx, values, "number", 4000000000u));
    AWQ__CHECK(awq__gguf_add_f32(ctx, values, "float", 1e-6f));
    AWQ__CHECK(awq__gguf_add_bool(ctx, values, "truth", true));
    AWQ__CHECK(awq__gguf_add_texts(ctx, values, "words", words, 3));
    return awq__gguf_add_array(ctx, values, "kinds", AWQ__GGUF_I32, (const int32_t[]){1, -3}, 2);
}

static awq_status declare_all(const awq__gguf *gguf, awq__output *output)
{
    for (size_t i = 0; i < awq__gguf_count(gguf); i++) {
        const awq__gguf_tensor *tensor = awq__gguf_at(gguf, i);
        AWQ__CHECK(awq__output_declare_typed(output, tensor->stored.name, tensor->type,
                                             tensor->rank, tensor->shape));
    }
    return AWQ_OK;
}

static awq_status convert(awq_context *ctx, char **argv, FILE *out)
{
    awq_status status;
    awq__gguf *gguf = NULL;
    awq__output *output = NULL;
    awq__gguf_values values = {0};
    AWQ__TRY(awq__gguf_open(ctx, argv[1], &gguf));
    AWQ__TRY(awq__output_begin(ctx, argv[3], false, &output));
    AWQ__TRY(add_values(ctx, &values));
    AWQ__TRY(awq__output_gguf(output, "model", &values));
    AWQ__TRY(declare_all(gguf, output));
    AWQ__TRY(awq__output_layout(output, strtoull(argv[4], NULL, 10)));
    for (size_t i = 0; i < awq__gguf_count(gguf); i++)
        AWQ__TRY(copy_tensor(ctx, awq__gguf_at(gguf, i), out, output));
    AWQ__TRY(awq__output_commit(output));
done:
    awq__text_free(&values.bytes);
    awq__output_free(output);
    awq__gguf_free(gguf);
    return status;
}

int main(int argc, char **argv)
{
    awq_context *ctx;
    FILE *out = argc == 5 ? fopen(argv[2], "wb") : NULL;
    if (!out || awq_context_create(&ctx) != AWQ_OK) {
        fputs("usage: gguf_tensors IN.gguf OUT.f32 OUT_DIR SHARD_BYTES\n", stderr);
        return 2;
    }
    awq_status status = convert(ctx, argv, out);
    if (status != AWQ_OK)
        fprintf(stderr, "gguf_tensors: %s\n", awq_context_message(ctx));
    awq_context_free(ctx);
    return fclose(out) != 0 || status != AWQ_OK;
}
