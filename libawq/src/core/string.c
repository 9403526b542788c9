/* Texts that are allocated: copies, growing ones, paths. */
#include "core/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

char *awq__strdup(awq_context *ctx, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = awq__alloc(ctx, bytes, 1, "a string");
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

bool awq__ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && !strcmp(text + length - end_length, end);
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

awq_status awq__utf8_append(awq_context *ctx, awq__text *text, uint32_t code_point)
{
    char encoded[4];
    return awq__text_append_bytes(ctx, text, encoded, awq__utf8_put(code_point, encoded));
}

awq_status awq__utf8_repair(awq_context *ctx, const char *text, size_t bytes, awq__text *out)
{
    size_t at = 0;
    while (at < bytes) {
        size_t valid = awq__utf8_valid(text + at, bytes - at), bad;
        AWQ__CHECK(awq__text_append_bytes(ctx, out, text + at, valid));
        at += valid;
        if (at < bytes) {
            awq__utf8_sequence(text + at, bytes - at, &bad);
            at += bad;
            AWQ__CHECK(awq__text_append_bytes(ctx, out, REPLACEMENT, sizeof REPLACEMENT - 1));
        }
    }
    return AWQ_OK;
}
