/* The head of a GGUF file that is written. The same values and tensors give the same bytes. */
#include "checkpoint/gguf_internal.h"

#include <string.h>

/* ---- values ---- */

static awq_status append_u32(awq_context *ctx, awq__text *bytes, uint32_t number)
{
    return awq__text_append_bytes(ctx, bytes, (const char *)&number, sizeof number);
}

static awq_status append_u64(awq_context *ctx, awq__text *bytes, uint64_t number)
{
    return awq__text_append_bytes(ctx, bytes, (const char *)&number, sizeof number);
}

static awq_status append_text(awq_context *ctx, awq__text *bytes, const char *text)
{
    AWQ__CHECK(append_u64(ctx, bytes, strlen(text)));
    return awq__text_append_bytes(ctx, bytes, text, strlen(text));
}

static awq_status append_key(awq_context *ctx, awq__gguf_values *values, const char *key,
                             awq__gguf_kind kind)
{
    values->count++;
    AWQ__CHECK(append_text(ctx, &values->bytes, key));
    return append_u32(ctx, &values->bytes, kind);
}

static awq_status append_array(awq_context *ctx, awq__gguf_values *values, const char *key,
                               awq__gguf_kind kind, size_t count)
{
    AWQ__CHECK(append_key(ctx, values, key, AWQ__GGUF_ARRAY));
    AWQ__CHECK(append_u32(ctx, &values->bytes, kind));
    return append_u64(ctx, &values->bytes, count);
}

static awq_status add_plain(awq_context *ctx, awq__gguf_values *values, const char *key,
                            awq__gguf_kind kind, const void *data)
{
    AWQ__CHECK(append_key(ctx, values, key, kind));
    return awq__text_append_bytes(ctx, &values->bytes, data, awq__gguf_kind_bytes(kind));
}

awq_status awq__gguf_add_u32(awq_context *ctx, awq__gguf_values *values, const char *key,
                             uint32_t number)
{
    return add_plain(ctx, values, key, AWQ__GGUF_U32, &number);
}

awq_status awq__gguf_add_f32(awq_context *ctx, awq__gguf_values *values, const char *key,
                             float number)
{
    return add_plain(ctx, values, key, AWQ__GGUF_F32, &number);
}

awq_status awq__gguf_add_bool(awq_context *ctx, awq__gguf_values *values, const char *key,
                              bool truth)
{
    uint8_t byte = truth;
    return add_plain(ctx, values, key, AWQ__GGUF_BOOL, &byte);
}

awq_status awq__gguf_add_text(awq_context *ctx, awq__gguf_values *values, const char *key,
                              const char *text)
{
    AWQ__CHECK(append_key(ctx, values, key, AWQ__GGUF_STRING));
    return append_text(ctx, &values->bytes, text);
}

awq_status awq__gguf_add_texts(awq_context *ctx, awq__gguf_values *values, const char *key,
                               const char *const *texts, size_t count)
{
    AWQ__CHECK(append_array(ctx, values, key, AWQ__GGUF_STRING, count));
    for (size_t i = 0; i < count; i++)
        AWQ__CHECK(append_text(ctx, &values->bytes, texts[i]));
    return AWQ_OK;
}

awq_status awq__gguf_add_array(awq_context *ctx, awq__gguf_values *values, const char *key,
                               awq__gguf_kind kind, const void *numbers, size_t count)
{
    AWQ__CHECK(append_array(ctx, values, key, kind, count));
    return awq__text_append_bytes(ctx, &values->bytes, numbers, count * awq__gguf_kind_bytes(kind));
}

/* ---- a file ---- */

/* Which of several parts this is. */
static awq_status add_split(awq_context *ctx, awq__gguf_values *values, size_t index,
                            const awq__layout *layout)
{
    uint16_t number = (uint16_t)index, count = (uint16_t)layout->shard_count;
    int32_t tensors = (int32_t)layout->count;
    if (layout->shard_count > UINT16_MAX || layout->count > INT32_MAX)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%zu tensors in %zu GGUF files, more than their keys tell: make larger "
                         "shards",
                         layout->count, layout->shard_count);
    AWQ__CHECK(add_plain(ctx, values, AWQ__GGUF_SPLIT_NO, AWQ__GGUF_U16, &number));
    AWQ__CHECK(add_plain(ctx, values, AWQ__GGUF_SPLIT_COUNT, AWQ__GGUF_U16, &count));
    return add_plain(ctx, values, AWQ__GGUF_SPLIT_TENSORS, AWQ__GGUF_I32, &tensors);
}

/* Only the first part has the key values of the model. */
static awq_status part_values(awq_context *ctx, size_t index, const awq__layout *layout,
                              awq__gguf_values *values)
{
    const awq__gguf_values *model = layout->gguf;
    if (index == 0) {
        values->count = model->count;
        AWQ__CHECK(
            awq__text_append_bytes(ctx, &values->bytes, model->bytes.data, model->bytes.length));
    }
    return layout->shard_count > 1 ? add_split(ctx, values, index, layout) : AWQ_OK;
}

static awq_status append_start(awq_context *ctx, awq__text *head, size_t tensors,
                               const awq__gguf_values *values)
{
    AWQ__CHECK(awq__text_append_bytes(ctx, head, AWQ__GGUF_MAGIC, 4));
    AWQ__CHECK(append_u32(ctx, head, AWQ__GGUF_VERSION));
    AWQ__CHECK(append_u64(ctx, head, tensors));
    AWQ__CHECK(append_u64(ctx, head, values->count));
    return awq__text_append_bytes(ctx, head, values->bytes.data, values->bytes.length);
}

/* A scalar is a vector of one. */
static awq_status append_tensor(awq_context *ctx, awq__text *head, const awq__entry *entry,
                                uint64_t offset)
{
    int rank = entry->rank ? entry->rank : 1;
    AWQ__CHECK(append_text(ctx, head, entry->name));
    AWQ__CHECK(append_u32(ctx, head, (uint32_t)rank));
    for (int i = rank - 1; i >= 0; i--)
        AWQ__CHECK(append_u64(ctx, head, entry->rank ? (uint64_t)entry->shape[i] : 1));
    AWQ__CHECK(append_u32(ctx, head, entry->type->id));
    return append_u64(ctx, head, offset);
}

static awq_status append_padding(awq_context *ctx, awq__text *head)
{
    static const char zeros[AWQ__GGUF_ALIGNMENT];
    return awq__text_append_bytes(ctx, head, zeros,
                                  (size_t)awq__gguf_align(head->length, AWQ__GGUF_ALIGNMENT) -
                                      head->length);
}

awq_status awq__gguf_place(awq_context *ctx, awq__layout *layout, size_t index)
{
    awq_status status;
    awq__gguf_values values = {0};
    awq__shard *shard = &layout->shards[index];
    uint64_t next = 0;
    AWQ__TRY(part_values(ctx, index, layout, &values));
    AWQ__TRY(append_start(ctx, &shard->header, shard->count, &values));
    for (size_t i = 0; i < shard->count; i++) {
        awq__entry *entry = shard->entries[i];
        AWQ__TRY(append_tensor(ctx, &shard->header, entry, next));
        entry->offset = next;
        next = awq__gguf_align(next + entry->bytes, AWQ__GGUF_ALIGNMENT);
    }
    AWQ__TRY(append_padding(ctx, &shard->header));
    for (size_t i = 0; i < shard->count; i++)
        shard->entries[i]->offset += shard->header.length;
    shard->file_bytes = shard->header.length + next;
done:
    awq__text_free(&values.bytes);
    return status;
}
