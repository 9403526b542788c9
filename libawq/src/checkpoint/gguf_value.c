/* Key values as numbers and texts. */
#include "checkpoint/gguf_internal.h"

#include <string.h>

static awq_status wrong_kind(awq_context *ctx, const awq__gguf_value *value, const char *expected)
{
    return awq__gguf_fail(ctx, value->file, value->offset, "the key \"%s\" has %s%s, expected %s",
                          value->key, value->is_array ? "an array of " : "a value of the type ",
                          awq__gguf_kind_name(value->kind), expected);
}

static awq_status check_index(awq_context *ctx, const awq__gguf_value *value, uint64_t index)
{
    if (index < value->count)
        return AWQ_OK;
    return awq__gguf_fail(ctx, value->file, value->offset,
                          "the key \"%s\" has %llu elements, expected at least %llu", value->key,
                          (unsigned long long)value->count, (unsigned long long)index + 1);
}

/* Reads a value of a C type at an index. */
#define READ(type)                                                                                 \
    do {                                                                                           \
        type read;                                                                                 \
        memcpy(&read, value->data + index * sizeof read, sizeof read);                             \
        *out = read;                                                                               \
    } while (0)

awq_status awq__gguf_integer(awq_context *ctx, const awq__gguf_value *value, uint64_t index,
                             int64_t *out)
{
    uint64_t large;
    AWQ__CHECK(check_index(ctx, value, index));
    switch (value->kind) {
    case AWQ__GGUF_U8:
        READ(uint8_t);
        return AWQ_OK;
    case AWQ__GGUF_I8: /* of two's complement */
        *out = (value->data[index] ^ 0x80) - 0x80;
        return AWQ_OK;
    case AWQ__GGUF_U16:
        READ(uint16_t);
        return AWQ_OK;
    case AWQ__GGUF_I16:
        READ(int16_t);
        return AWQ_OK;
    case AWQ__GGUF_U32:
        READ(uint32_t);
        return AWQ_OK;
    case AWQ__GGUF_I32:
        READ(int32_t);
        return AWQ_OK;
    case AWQ__GGUF_I64:
        READ(int64_t);
        return AWQ_OK;
    case AWQ__GGUF_U64:
        memcpy(&large, value->data + index * sizeof large, sizeof large);
        *out = (int64_t)large;
        return large <= INT64_MAX ? AWQ_OK : wrong_kind(ctx, value, "a number below 2^63");
    default:
        return wrong_kind(ctx, value, "a whole number");
    }
}

awq_status awq__gguf_number(awq_context *ctx, const awq__gguf_value *value, uint64_t index,
                            double *out)
{
    int64_t whole = 0;
    AWQ__CHECK(check_index(ctx, value, index));
    switch (value->kind) {
    case AWQ__GGUF_F32:
        READ(float);
        return AWQ_OK;
    case AWQ__GGUF_F64:
        READ(double);
        return AWQ_OK;
    case AWQ__GGUF_BOOL:
    case AWQ__GGUF_STRING:
        return wrong_kind(ctx, value, "a number");
    default:
        AWQ__CHECK(awq__gguf_integer(ctx, value, index, &whole));
        *out = (double)whole;
        return AWQ_OK;
    }
}

bool awq__gguf_next_text(const awq__gguf_value *value, size_t *at, awq__gguf_string *out)
{
    uint64_t length;
    if (*at >= value->bytes)
        return false;
    memcpy(&length, value->data + *at, sizeof length);
    *out = (awq__gguf_string){.data = (const char *)value->data + *at + sizeof length,
                              .bytes = (size_t)length};
    *at += sizeof length + (size_t)length;
    return true;
}

awq_status awq__gguf_text(awq_context *ctx, const awq__gguf_value *value, awq__gguf_string *out)
{
    size_t at = 0;
    if (value->is_array || value->kind != AWQ__GGUF_STRING)
        return wrong_kind(ctx, value, "string");
    awq__gguf_next_text(value, &at, out);
    return AWQ_OK;
}
