/* Results in GGUF: the values of their tensors. */
#include "compute/block_codes.h"
#include "core/convert.h"
#include "write/gguf.h"

#include <string.h>

/* Rows of heads, as pairs: the inverse of what awq__weight_blocks reads. */
static void pair_rows(const awq__gguf_place *place, int64_t rows, size_t row_bytes,
                      const uint8_t *from, uint8_t *to)
{
    for (int64_t n = 0; n < rows; n++) {
        size_t at = (size_t)awq__paired_row(place->paired_head, n);
        memcpy(to + at * row_bytes, from + (size_t)n * row_bytes, row_bytes);
    }
}

/* Writes rows of a matrix from `offset` bytes on, or a whole vector, to its part of a tensor. */
static awq_status write_rows(const awq__writer *writer, const awq__module *module, const char *name,
                             size_t offset, const uint8_t *data, size_t bytes)
{
    AWQ__CHECK(awq__output_write_part(writer->output, name, offset, data, bytes));
    if (awq__gguf_copies_embedding(writer->plan, module))
        AWQ__CHECK(awq__output_write_part(writer->output, AWQ__GGUF_HEAD, offset, data, bytes));
    return AWQ_OK;
}

/* Writes a whole matrix or vector. */
static awq_status write_part(const awq__writer *writer, const awq__module *module,
                             const awq__gguf_place *place, const uint8_t *data, size_t bytes)
{
    awq_status status;
    uint8_t *paired = NULL;
    if (place->paired_head) {
        paired = awq__alloc(writer->ctx, bytes, 1, "rows in pairs");
        AWQ__TRY_ALLOC(paired);
        pair_rows(place, module->rows, bytes / (size_t)module->rows, data, paired);
        data = paired;
    }
    AWQ__TRY(write_rows(writer, module, place->name, (size_t)place->index * bytes, data, bytes));
done:
    awq__free(paired);
    return status;
}

/* Floats as a type of floats, of rows as many as there are. */
static awq_status narrow(const awq__writer *writer, const awq__module *module,
                         const awq__gguf_target *to, const float *values, int64_t count,
                         uint8_t *stored)
{
    return awq__store_narrow(writer->ctx, module->name, to->type->dtype, values, count, stored);
}

static awq_status write_floats(const awq__writer *writer, const awq__module *module,
                               const awq__gguf_target *to, const float *values, int64_t count)
{
    awq_status status;
    size_t bytes = (size_t)count * (size_t)to->type->block_bytes;
    uint8_t *stored = awq__alloc(writer->ctx, bytes, 1, module->name);
    AWQ__TRY_ALLOC(stored);
    AWQ__TRY(narrow(writer, module, to, values, count, stored));
    AWQ__TRY(write_part(writer, module, &to->place, stored, bytes));
done:
    awq__free(stored);
    return status;
}

static awq_status store_bias(const awq__writer *writer, const awq__module *module,
                             const awq__weight *weight)
{
    awq_status status;
    awq__gguf_target to;
    if (!weight->bias)
        return AWQ_OK;
    float *values = awq__alloc(writer->ctx, (size_t)weight->rows, sizeof *values, module->name);
    AWQ__TRY_ALLOC(values);
    for (int64_t n = 0; n < weight->rows; n++)
        values[n] = awq__bias_of(weight, n);
    AWQ__TRY(awq__gguf_target_of(writer->plan, module, true, &to));
    AWQ__TRY(write_floats(writer, module, &to, values, weight->rows));
done:
    awq__free(values);
    return status;
}

/* ---- what the files of this room call ---- */

/* Writes rows of a matrix, which begins at `at`: each in its place where they lie in pairs. */
static awq_status write_block(const awq__writer *writer, const awq__module *module,
                              const awq__gguf_place *place, size_t at, int64_t first, int64_t count,
                              const uint8_t *stored, size_t row_bytes)
{
    if (!place->paired_head)
        return write_rows(writer, module, place->name, at + (size_t)first * row_bytes, stored,
                          (size_t)count * row_bytes);
    for (int64_t n = 0; n < count; n++) {
        size_t row = (size_t)awq__paired_row(place->paired_head, first + n);
        AWQ__CHECK(write_rows(writer, module, place->name, at + row * row_bytes,
                              stored + (size_t)n * row_bytes, row_bytes));
    }
    return AWQ_OK;
}

/* Writes a matrix block by block: an embedding is large. */
static awq_status write_matrix(const awq__writer *writer, const awq__module *module,
                               const awq__gguf_target *to, const awq__weight *weight, float *values,
                               uint8_t *stored)
{
    int64_t block = awq__weight_block(weight), K = weight->cols;
    size_t row_bytes = (size_t)(K * to->type->block_bytes);
    size_t at = (size_t)(to->place.index * weight->rows) * row_bytes;
    for (int64_t first = 0; first < weight->rows; first += block) {
        int64_t count = awq__min(block, weight->rows - first);
        awq__weight_read(awq__compute_of(writer->ctx), weight, first, count, values);
        AWQ__CHECK(narrow(writer, module, to, values, count * K, stored));
        AWQ__CHECK(write_block(writer, module, &to->place, at, first, count, stored, row_bytes));
    }
    return AWQ_OK;
}

awq_status awq__gguf_store_weight(const awq__writer *writer, const awq__module *module,
                                  const awq__weight *weight)
{
    awq_status status;
    awq__gguf_target to;
    float *values = NULL;
    uint8_t *stored = NULL;
    size_t floats = (size_t)awq__weight_work(weight);
    AWQ__TRY(awq__gguf_target_of(writer->plan, module, false, &to));
    values = awq__alloc_host(writer->ctx, floats, sizeof *values, module->name);
    stored = awq__alloc_host(writer->ctx, floats, (size_t)to.type->block_bytes, module->name);
    AWQ__TRY_ALLOC(values && stored);
    AWQ__TRY(write_matrix(writer, module, &to, weight, values, stored));
    AWQ__TRY(store_bias(writer, module, weight));
done:
    awq__free_aligned(values);
    awq__free_aligned(stored);
    return status;
}

awq_status awq__gguf_store_vector(const awq__writer *writer, const awq__module *module,
                                  const float *values)
{
    awq__gguf_target to;
    AWQ__CHECK(awq__gguf_target_of(writer->plan, module, false, &to));
    return write_floats(writer, module, &to, values, module->rows);
}

awq_status awq__gguf_store_codes(const awq__writer *writer, const awq__module *module,
                                 const awq__weight *weight, const awq__codes *codes)
{
    awq__gguf_target to;
    AWQ__CHECK(awq__gguf_target_of(writer->plan, module, false, &to));
    size_t bytes = (size_t)(codes->rows * awq__block_row_bytes(codes->scheme.blocks, codes->cols));
    AWQ__CHECK(write_part(writer, module, &to.place, codes->blocks, bytes));
    return store_bias(writer, module, weight);
}

awq_status awq__gguf_write_end(const awq__writer *writer, size_t index, const awq__weight *weight)
{
    awq_status status;
    const awq__module *module = &writer->plan->model->arch->modules[index];
    const awq__treatment *treatment = writer->plan->rules.of[index];
    awq__codes codes = {0};
    if (!treatment)
        return awq__gguf_store_weight(writer, module, weight);
    AWQ__TRY(
        awq__codes_create(writer->ctx, weight->rows, weight->cols, &treatment->scheme, &codes));
    AWQ__TRY(awq__codes_round(writer->ctx, awq__compute_of(writer->ctx), weight, NULL, &codes));
    AWQ__TRY(awq__gguf_store_codes(writer, module, weight, &codes));
done:
    awq__codes_free(&codes);
    return status;
}
