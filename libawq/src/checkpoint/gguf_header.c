/* The first half of a GGUF file's head: what it is, and its key values. */
#include "checkpoint/gguf_internal.h"
#include "core/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BLOCK ((size_t)1 << 20)
#define MAX_HEAD_BYTES ((size_t)1 << 28) /* heads of large vocabularies have 20 MB */
#define MAX_KEY_BYTES 65536
#define NEWEST_VERSION AWQ__GGUF_VERSION
#define OLDEST_VERSION 2

static const struct kind {
    const char *name;
    size_t bytes;
} kinds[AWQ__GGUF_KINDS] = {
    [AWQ__GGUF_U8] = {"u8", 1},       [AWQ__GGUF_I8] = {"i8", 1},
    [AWQ__GGUF_U16] = {"u16", 2},     [AWQ__GGUF_I16] = {"i16", 2},
    [AWQ__GGUF_U32] = {"u32", 4},     [AWQ__GGUF_I32] = {"i32", 4},
    [AWQ__GGUF_F32] = {"f32", 4},     [AWQ__GGUF_BOOL] = {"bool", 1},
    [AWQ__GGUF_U64] = {"u64", 8},     [AWQ__GGUF_I64] = {"i64", 8},
    [AWQ__GGUF_F64] = {"f64", 8},     [AWQ__GGUF_STRING] = {"string", 0},
    [AWQ__GGUF_ARRAY] = {"array", 0},
};

size_t awq__gguf_kind_bytes(awq__gguf_kind kind)
{
    return kinds[kind].bytes;
}

const char *awq__gguf_kind_name(awq__gguf_kind kind)
{
    return kinds[kind].name;
}

awq_status awq__gguf_fail(awq_context *ctx, const char *file, uint64_t offset, const char *format,
                          ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: byte %llu: %s", file, (unsigned long long)offset,
                     text);
}

/* ---- bytes of the head ---- */

/* Reads on until the head has at least `wanted` bytes. The file is that long. */
static awq_status read_on(awq__gguf_part *part, size_t wanted)
{
    size_t size = (size_t)part->file.size, goal = part->have * 2;
    goal = goal > FIRST_BLOCK ? goal : FIRST_BLOCK;
    goal = goal > wanted ? goal : wanted;
    goal = goal < size ? goal : size;
    AWQ__CHECK(awq__grow(part->ctx, &part->head, &part->capacity, goal, 1, "the head of a file"));
    AWQ__CHECK(awq__read_at(part->ctx, part->file.path, part->fd, part->have, goal - part->have,
                            part->head + part->have));
    part->have = goal;
    return AWQ_OK;
}

awq_status awq__gguf_take(awq__gguf_part *part, uint64_t bytes, const char *what, size_t *from)
{
    *from = part->at;
    if (bytes > part->file.size - part->at)
        return awq__gguf_fail(part->ctx, part->file.path, part->at,
                              "%s of %llu bytes passes the end of the file, which has %llu", what,
                              (unsigned long long)bytes, (unsigned long long)part->file.size);
    if (bytes > MAX_HEAD_BYTES || part->at > MAX_HEAD_BYTES - (size_t)bytes)
        return awq__gguf_fail(part->ctx, part->file.path, part->at,
                              "%s ends more than %zu bytes from the beginning", what,
                              MAX_HEAD_BYTES);
    size_t end = part->at + (size_t)bytes;
    if (end > part->have)
        AWQ__CHECK(read_on(part, end));
    part->at = end;
    return AWQ_OK;
}

awq_status awq__gguf_take_u32(awq__gguf_part *part, const char *what, uint32_t *out)
{
    size_t from;
    AWQ__CHECK(awq__gguf_take(part, sizeof *out, what, &from));
    memcpy(out, part->head + from, sizeof *out);
    return AWQ_OK;
}

awq_status awq__gguf_take_u64(awq__gguf_part *part, const char *what, uint64_t *out)
{
    size_t from;
    AWQ__CHECK(awq__gguf_take(part, sizeof *out, what, &from));
    memcpy(out, part->head + from, sizeof *out);
    return AWQ_OK;
}

awq_status awq__gguf_take_name(awq__gguf_part *part, const char *what, size_t limit, size_t *from)
{
    uint64_t bytes;
    size_t at = part->at;
    AWQ__CHECK(awq__gguf_take_u64(part, what, &bytes));
    if (!bytes || bytes >= limit)
        return awq__gguf_fail(part->ctx, part->file.path, at, "%s of %llu bytes, expected 1 to %zu",
                              what, (unsigned long long)bytes, limit - 1);
    AWQ__CHECK(awq__gguf_take(part, bytes, what, from));
    uint8_t *name = part->head + *from;
    if (memchr(name, 0, (size_t)bytes) || !awq__is_utf8(name, (size_t)bytes))
        return awq__gguf_fail(part->ctx, part->file.path, *from, "%s is not UTF-8 without NUL",
                              what);
    *from -= sizeof bytes;
    memmove(part->head + *from, name, (size_t)bytes);
    part->head[*from + bytes] = 0;
    return AWQ_OK;
}

/* ---- values ---- */

static awq_status take_kind(awq__gguf_part *part, const char *what, bool may_be_array,
                            awq__gguf_kind *kind)
{
    uint32_t number;
    size_t at = part->at;
    AWQ__CHECK(awq__gguf_take_u32(part, what, &number));
    if (number >= AWQ__GGUF_KINDS || (number == AWQ__GGUF_ARRAY && !may_be_array))
        return awq__gguf_fail(part->ctx, part->file.path, at, "%s is %u, expected 0 to %d%s", what,
                              number, AWQ__GGUF_KINDS - 1,
                              may_be_array ? "" : " other than 9, since arrays hold no arrays");
    *kind = (awq__gguf_kind)number;
    return AWQ_OK;
}

static awq_status check_bools(const awq__gguf_part *part, size_t from)
{
    for (size_t at = from; at < part->at; at++)
        if (part->head[at] > 1)
            return awq__gguf_fail(part->ctx, part->file.path, at, "a bool is %d, expected 0 or 1",
                                  part->head[at]);
    return AWQ_OK;
}

static awq_status take_strings(awq__gguf_part *part, uint64_t count)
{
    size_t from;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t bytes;
        AWQ__CHECK(awq__gguf_take_u64(part, "the length of a string", &bytes));
        AWQ__CHECK(awq__gguf_take(part, bytes, "a string", &from));
    }
    return AWQ_OK;
}

/* `count` elements of a kind that is no array. */
static awq_status take_elements(awq__gguf_part *part, awq__gguf_kind kind, uint64_t count)
{
    size_t from;
    uint64_t bytes;
    if (kind == AWQ__GGUF_STRING)
        return take_strings(part, count);
    if (__builtin_mul_overflow(count, awq__gguf_kind_bytes(kind), &bytes))
        return awq__gguf_fail(part->ctx, part->file.path, part->at,
                              "an array of %llu elements is longer than any file",
                              (unsigned long long)count);
    AWQ__CHECK(awq__gguf_take(part, bytes, "a value", &from));
    return kind == AWQ__GGUF_BOOL ? check_bools(part, from) : AWQ_OK;
}

/* Offsets of key and data: the head may move in memory until it is whole. */
static awq_status take_value(awq__gguf_part *part, awq__gguf_value *value)
{
    size_t key;
    *value = (awq__gguf_value){.file = part->file.path, .count = 1};
    AWQ__CHECK(awq__gguf_take_name(part, "a key", MAX_KEY_BYTES, &key));
    AWQ__CHECK(take_kind(part, "the type of a value", true, &value->kind));
    value->is_array = value->kind == AWQ__GGUF_ARRAY;
    if (value->is_array) {
        AWQ__CHECK(take_kind(part, "the type of an array's elements", false, &value->kind));
        AWQ__CHECK(awq__gguf_take_u64(part, "the length of an array", &value->count));
    }
    value->offset = part->at;
    AWQ__CHECK(take_elements(part, value->kind, value->count));
    value->bytes = part->at - (size_t)value->offset;
    value->key_offset = key;
    return AWQ_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const awq__gguf_value *)a)->key, ((const awq__gguf_value *)b)->key);
}

const awq__gguf_value *awq__gguf_part_find(const awq__gguf_part *part, const char *key)
{
    awq__gguf_value wanted = {.key = key};
    return part->value_count ? bsearch(&wanted, part->values, (size_t)part->value_count,
                                       sizeof *part->values, compare_keys)
                             : NULL;
}

awq_status awq__gguf_settle_values(awq__gguf_part *part)
{
    for (uint64_t i = 0; i < part->value_count; i++) {
        awq__gguf_value *value = &part->values[i];
        value->key = (const char *)part->head + value->key_offset;
        value->data = part->head + value->offset;
    }
    if (!part->value_count)
        return AWQ_OK;
    qsort(part->values, (size_t)part->value_count, sizeof *part->values, compare_keys);
    for (uint64_t i = 1; i < part->value_count; i++)
        if (!strcmp(part->values[i - 1].key, part->values[i].key))
            return awq__gguf_fail(part->ctx, part->file.path, part->values[i].key_offset,
                                  "the key \"%s\" stands twice", part->values[i].key);
    return AWQ_OK;
}

static awq_status check_version(const awq__gguf_part *part, uint32_t version)
{
    if (version >= OLDEST_VERSION && version <= NEWEST_VERSION)
        return AWQ_OK;
    bool swapped = version && !(version & 0xffff);
    return awq__gguf_fail(part->ctx, part->file.path, 4, "version %u, expected %d or %d%s", version,
                          OLDEST_VERSION, NEWEST_VERSION,
                          swapped ? ": the file is big-endian" : "");
}

/* Refuses a count that the file has no room for. */
static awq_status take_count(awq__gguf_part *part, const char *what, uint64_t least_bytes,
                             uint64_t *count)
{
    size_t at = part->at;
    AWQ__CHECK(awq__gguf_take_u64(part, what, count));
    if (*count > part->file.size / least_bytes)
        return awq__gguf_fail(part->ctx, part->file.path, at,
                              "%s is %llu, more than a file of %llu bytes has room for", what,
                              (unsigned long long)*count, (unsigned long long)part->file.size);
    return AWQ_OK;
}

static awq_status take_start(awq__gguf_part *part, uint64_t *values)
{
    size_t from;
    uint32_t version;
    AWQ__CHECK(awq__gguf_take(part, 4, "the magic number", &from));
    if (memcmp(part->head + from, AWQ__GGUF_MAGIC, 4))
        return awq__gguf_fail(part->ctx, part->file.path, 0, "no GGUF file begins like this");
    AWQ__CHECK(awq__gguf_take_u32(part, "the version", &version));
    AWQ__CHECK(check_version(part, version));
    AWQ__CHECK(take_count(part, "the number of tensors", 32, &part->tensor_count));
    return take_count(part, "the number of values", 13, values);
}

awq_status awq__gguf_read_values(awq__gguf_part *part)
{
    uint64_t count;
    AWQ__CHECK(take_start(part, &count));
    for (; part->value_count < count; part->value_count++) {
        AWQ__CHECK(awq__grow(part->ctx, &part->values, &part->value_capacity,
                             (size_t)part->value_count + 1, sizeof *part->values, "key values"));
        AWQ__CHECK(take_value(part, &part->values[part->value_count]));
    }
    return AWQ_OK;
}
