/* The error record and the log: lines that are fit for a terminal. */
#include "core/context.h"
#include "core/task.h"
#include "core/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_OPTIONS_BYTES 1024

_Thread_local int64_t awq__current_task = AWQ__NO_TASK;

const char *awq_context_message(const awq_context *ctx)
{
    return ctx ? ctx->message : "";
}

/* One line that is fit for a terminal, whatever hostile names are in it. */
static void format_line(char line[AWQ__MESSAGE_BYTES], const char *format, va_list arguments)
{
    int length = vsnprintf(line, AWQ__MESSAGE_BYTES, format, arguments);
    awq__clean_line(line, AWQ__MESSAGE_BYTES, length >= AWQ__MESSAGE_BYTES);
}

awq_status awq__fail(awq_context *ctx, awq_status status, const char *format, ...)
{
    pthread_mutex_lock(&ctx->lock);
    bool earlier_task_failed =
        awq__current_task != AWQ__NO_TASK && ctx->message_task < awq__current_task;
    if (!earlier_task_failed) {
        va_list arguments;
        va_start(arguments, format);
        format_line(ctx->message, format, arguments);
        va_end(arguments);
        ctx->failure = status;
        ctx->message_task = awq__current_task;
    }
    pthread_mutex_unlock(&ctx->lock);
    return status;
}

void awq__clear(awq_context *ctx)
{
    ctx->message[0] = 0;
    ctx->failure = AWQ_OK;
}

awq_status awq__failure(const awq_context *ctx)
{
    return ctx->failure;
}

awq_status awq__enter(awq_context *ctx, const char *function, const awq__argument *arguments)
{
    if (!ctx)
        return AWQ_ERROR_ARGUMENT;
    awq__clear(ctx);
    ctx->latest.stage = NULL;
    for (; arguments && arguments->name; arguments++)
        if (!arguments->value)
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: %s is NULL, which it may not be",
                             function, arguments->name);
    return AWQ_OK;
}

awq_status awq__leave(awq_context *ctx, awq_status status)
{
    if (status == AWQ_OK)
        awq__clear(ctx);
    return status;
}

awq_status awq__read_options(awq_context *ctx, const char *name, const void *given, size_t size,
                             void *options)
{
    size_t found;
    memcpy(&found, given, sizeof found);
    if (found <= sizeof found || found % sizeof found || found > MAX_OPTIONS_BYTES)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%s: struct_size is %zu, expected %zu, or that of another version", name,
                         found, size);
    for (size_t i = size; i < found; i++)
        if (((const char *)given)[i])
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "%s: struct_size is %zu, and something is set behind the %zu bytes "
                             "that this version knows",
                             name, found, size);
    memset(options, 0, size);
    memcpy(options, given, found < size ? found : size);
    return AWQ_OK;
}

void awq__begin_tasks(awq_context *ctx)
{
    ctx->message_task = INT64_MAX;
}

void awq__log(awq_context *ctx, awq_log_level level, const char *format, ...)
{
    if (!ctx->log)
        return;
    char line[AWQ__MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_line(line, format, arguments);
    va_end(arguments);
    ctx->log(ctx->log_user, level, line);
}
