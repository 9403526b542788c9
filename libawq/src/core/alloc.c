/* Allocation that fails with a message, and growing texts. */
#include "core/core.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

/* What lies before an array. */
typedef union header {
    struct {
        const awq__memory *memory;
        awq_context *ctx;
        int64_t bytes;
    } of;
    char space[ALIGNMENT];
} header;

static void *no_memory(awq_context *ctx, size_t count, size_t size, const char *what)
{
    awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: %s needs %zu x %zu bytes", what, count, size);
    return NULL;
}

void *awq__alloc(awq_context *ctx, size_t count, size_t size, const char *what)
{
    size_t bytes;
    void *pointer = NULL;
    if (!awq__mul_overflows(count, size, &bytes))
        pointer = calloc(1, bytes ? bytes : 1);
    return pointer ? pointer : no_memory(ctx, count, size, what);
}

void *awq__alloc_aligned(awq_context *ctx, size_t count, size_t size, const char *what)
{
    const awq__memory *memory = awq__context_memory(ctx);
    size_t bytes, padded;
    header *array = NULL;
    if (!awq__mul_overflows(count, size, &bytes) &&
        !awq__add_overflows(bytes, sizeof *array, &padded))
        array = memory->allocate(padded);
    if (!array)
        return no_memory(ctx, count, size, what);
    array->of.memory = memory;
    array->of.ctx = ctx;
    array->of.bytes = (int64_t)padded;
    awq__context_count(ctx, array->of.bytes);
    return array + 1;
}

void awq__free_aligned(void *array)
{
    header *begin = array;
    if (!begin)
        return;
    awq__context_count(begin[-1].of.ctx, -begin[-1].of.bytes);
    begin[-1].of.memory->release(begin - 1);
}

static void *allocate(size_t bytes)
{
    size_t padded;
    if (awq__add_overflows(bytes, ALIGNMENT - 1, &padded))
        return NULL;
    return aligned_alloc(ALIGNMENT, padded / ALIGNMENT * ALIGNMENT);
}

const awq__memory awq__system_memory = {.allocate = allocate, .release = free};

void awq__give_back(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void awq__free(void *pointer)
{
    free(pointer);
}

awq_status awq__grow(awq_context *ctx, void *array, size_t *capacity, size_t count, size_t size,
                     const char *what)
{
    if (count <= *capacity)
        return AWQ_OK;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < count)
        wanted = count;
    if (wanted < 16)
        wanted = 16;
    size_t bytes;
    void *old, *grown = NULL;
    memcpy(&old, array, sizeof old);
    if (!awq__mul_overflows(wanted, size, &bytes))
        grown = realloc(old, bytes);
    if (!grown) {
        no_memory(ctx, wanted, size, what);
        return AWQ_ERROR_MEMORY;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return AWQ_OK;
}

char *awq__strdup(awq_context *ctx, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = awq__alloc(ctx, bytes, 1, "a string");
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

static awq_status append_formatted(awq_context *ctx, awq__text *text, const char *format,
                                   va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "a text could not be formatted");
    AWQ__CHECK(awq__grow(ctx, &text->data, &text->capacity, text->length + (size_t)length + 1, 1,
                         "a text"));
    vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
    text->length += (size_t)length;
    return AWQ_OK;
}

awq_status awq__text_append(awq_context *ctx, awq__text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    awq_status status = append_formatted(ctx, text, format, arguments);
    va_end(arguments);
    return status;
}

awq_status awq__text_append_bytes(awq_context *ctx, awq__text *text, const char *data,
                                  size_t length)
{
    size_t needed;
    if (awq__add_overflows(text->length, length, &needed) || awq__add_overflows(needed, 1, &needed))
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: a text of %zu bytes", length);
    AWQ__CHECK(awq__grow(ctx, &text->data, &text->capacity, needed, 1, "a text"));
    if (length)
        memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = 0;
    return AWQ_OK;
}

void awq__text_free(awq__text *text)
{
    free(text->data);
    *text = (awq__text){0};
}

char *awq__format(awq_context *ctx, const char *format, ...)
{
    awq__text text = {0};
    va_list arguments;
    va_start(arguments, format);
    awq_status status = append_formatted(ctx, &text, format, arguments);
    va_end(arguments);
    return status == AWQ_OK ? text.data : NULL;
}

char *awq__path_join(awq_context *ctx, const char *dir, const char *name)
{
    if (name[0] == '/' || !dir || !dir[0])
        return awq__strdup(ctx, name);
    bool slash = dir[strlen(dir) - 1] == '/';
    return awq__format(ctx, "%s%s%s", dir, slash ? "" : "/", name);
}
