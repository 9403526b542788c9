/* The second half of a GGUF file's head: its tensors, and where they lie. */
#include "checkpoint/gguf_internal.h"

#include <string.h>

static awq_status take_type(awq__gguf_part *part, awq__gguf_tensor *tensor)
{
    uint32_t id;
    size_t at = part->at;
    AWQ__CHECK(awq__gguf_take_u32(part, "the type of a tensor", &id));
    tensor->type = awq__ggml_type_of(id);
    return tensor->type ? AWQ_OK
                        : awq__gguf_fail(part->ctx, part->file.path, at,
                                         "%u is no known type of a tensor", id);
}

/* Files have the fastest dimension first. */
static awq_status take_shape(awq__gguf_part *part, awq__gguf_tensor *tensor)
{
    uint32_t rank;
    size_t at = part->at;
    AWQ__CHECK(awq__gguf_take_u32(part, "the rank of a tensor", &rank));
    if (!rank || rank > AWQ__GGUF_MAX_RANK)
        return awq__gguf_fail(part->ctx, part->file.path, at,
                              "a tensor of %u dimensions, expected 1 to %d", rank,
                              AWQ__GGUF_MAX_RANK);
    tensor->rank = (int)rank;
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t size;
        at = part->at;
        AWQ__CHECK(awq__gguf_take_u64(part, "a dimension of a tensor", &size));
        if (size > INT64_MAX)
            return awq__gguf_fail(part->ctx, part->file.path, at,
                                  "a dimension of %llu elements, which is negative as int64",
                                  (unsigned long long)size);
        tensor->shape[rank - 1 - i] = (int64_t)size;
    }
    return AWQ_OK;
}

/* The shape in bytes, and their number. */
static awq_status size_tensor(const awq__gguf_part *part, awq__gguf_tensor *tensor)
{
    awq__tensor *stored = &tensor->stored;
    const awq__ggml_type *type = tensor->type;
    int64_t cols = tensor->shape[tensor->rank - 1], bytes = type->block_bytes;
    if (cols % type->block)
        return awq__gguf_fail(part->ctx, part->file.path, tensor->info,
                              "rows of %lld elements are no whole blocks of %d, which %s has",
                              (long long)cols, type->block, type->name);
    stored->rank = tensor->rank;
    bool overflows =
        !awq__ggml_stored(type, tensor->rank, tensor->shape, &stored->dtype, stored->shape);
    overflows |= __builtin_mul_overflow(bytes, cols / type->block, &bytes);
    for (int i = 0; i < tensor->rank - 1; i++)
        overflows |= __builtin_mul_overflow(bytes, tensor->shape[i], &bytes);
    if (overflows)
        return awq__gguf_fail(part->ctx, part->file.path, tensor->info,
                              "a tensor has more bytes than 64 bits tell");
    stored->bytes = (size_t)bytes;
    return AWQ_OK;
}

static awq_status take_tensor(awq__gguf_part *part, awq__gguf_tensor *tensor)
{
    size_t name;
    *tensor = (awq__gguf_tensor){.stored = {.file = part->file.path, .source = &part->file}};
    AWQ__CHECK(awq__gguf_take_name(part, "the name of a tensor", AWQ__GGUF_NAME_BYTES, &name));
    tensor->info = name;
    AWQ__CHECK(take_shape(part, tensor));
    AWQ__CHECK(take_type(part, tensor));
    AWQ__CHECK(awq__gguf_take_u64(part, "the offset of a tensor", &tensor->stored.offset));
    return size_tensor(part, tensor);
}

awq_status awq__gguf_read_tensors(awq__gguf_part *part)
{
    for (uint64_t i = 0; i < part->tensor_count; i++) {
        AWQ__CHECK(awq__grow(part->ctx, &part->tensors, &part->tensor_capacity, (size_t)i + 1,
                             sizeof *part->tensors, "tensors of a file"));
        AWQ__CHECK(take_tensor(part, &part->tensors[i]));
    }
    return AWQ_OK;
}

static awq_status find_alignment(awq__gguf_part *part)
{
    const awq__gguf_value *value = awq__gguf_part_find(part, AWQ__GGUF_ALIGNMENT_KEY);
    part->alignment = AWQ__GGUF_ALIGNMENT;
    if (value)
        AWQ__CHECK(awq__gguf_integer(part->ctx, value, 0, &part->alignment));
    int64_t alignment = part->alignment;
    if (alignment < 1 || alignment > UINT32_MAX || (alignment & (alignment - 1)))
        return awq__gguf_fail(part->ctx, part->file.path, value->offset,
                              AWQ__GGUF_ALIGNMENT_KEY
                              " is %lld, expected a power of two of 32 bits",
                              (long long)alignment);
    return AWQ_OK;
}

/* Tensors follow one another, each at a multiple of the alignment. */
static awq_status place_tensor(const awq__gguf_part *part, awq__tensor *stored, uint64_t info,
                               uint64_t begin, uint64_t *next)
{
    uint64_t room = part->file.size - begin;
    if (stored->offset != *next)
        return awq__gguf_fail(part->ctx, part->file.path, info,
                              "the tensor \"%s\" begins at byte %llu of the data, expected %llu",
                              stored->name, (unsigned long long)stored->offset,
                              (unsigned long long)*next);
    if (*next > room || stored->bytes > room - *next)
        return awq__gguf_fail(part->ctx, part->file.path, info,
                              "the tensor \"%s\" of %zu bytes from byte %llu on passes the end of "
                              "the file, which has %llu",
                              stored->name, stored->bytes, (unsigned long long)(begin + *next),
                              (unsigned long long)part->file.size);
    stored->offset = begin + *next;
    *next = awq__gguf_align(*next + stored->bytes, part->alignment);
    return AWQ_OK;
}

awq_status awq__gguf_settle_tensors(awq__gguf_part *part)
{
    AWQ__CHECK(find_alignment(part));
    uint64_t begin = awq__gguf_align(part->at, part->alignment), next = 0;
    if (!part->tensor_count)
        return AWQ_OK;
    if (begin > part->file.size)
        return awq__gguf_fail(part->ctx, part->file.path, part->at,
                              "the data of the tensors begins behind the end of the file");
    for (uint64_t i = 0; i < part->tensor_count; i++) {
        awq__gguf_tensor *tensor = &part->tensors[i];
        tensor->stored.name = (const char *)part->head + tensor->info;
        AWQ__CHECK(place_tensor(part, &tensor->stored, tensor->info, begin, &next));
    }
    if (part->file.size - begin > next)
        return awq__gguf_fail(part->ctx, part->file.path, begin + next,
                              "the file goes on behind its last tensor");
    return AWQ_OK;
}
