/* What a plan warns of: collected, and logged once someone listens. */
#include "core/utf8.h"
#include "plan/rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES 512

static awq_status add_line(awq_context *ctx, awq__rules *rules, const char *format,
                           va_list arguments)
{
    char line[LINE_BYTES];
    int length = vsnprintf(line, sizeof line, format, arguments);
    awq__clean_line(line, sizeof line, length >= (int)sizeof line);
    AWQ__CHECK(awq__grow(ctx, &rules->warnings, &rules->warning_capacity, rules->warning_count + 1,
                         sizeof *rules->warnings, "warnings"));
    char *copy = awq__strdup(ctx, line);
    AWQ__CHECK_ALLOC(copy);
    rules->warnings[rules->warning_count++] = copy;
    if (rules->told)
        awq__log(ctx, AWQ_LOG_WARNING, "%s", copy);
    return AWQ_OK;
}

awq_status awq__rules_warn(awq_context *ctx, awq__rules *rules, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    awq_status status = add_line(ctx, rules, format, arguments);
    va_end(arguments);
    return status;
}

/* The line of a kind tells how many more there are than its first. */
static awq_status count_more(awq_context *ctx, awq__rules *rules, awq__alike_lines *alike)
{
    char **line = &rules->warnings[alike->line];
    if (alike->count == 2)
        alike->length = strlen(*line);
    char *copy =
        awq__format(ctx, "%.*s (and %zu more)", (int)alike->length, *line, alike->count - 1);
    AWQ__CHECK_ALLOC(copy);

    awq__free(*line);
    *line = copy;
    return AWQ_OK;
}

awq_status awq__rules_warn_alike(awq_context *ctx, awq__rules *rules, awq__alike kind,
                                 const char *format, ...)
{
    awq__alike_lines *alike = &rules->alike[kind];
    if (alike->count++)
        return count_more(ctx, rules, alike);
    alike->line = rules->warning_count;
    va_list arguments;
    va_start(arguments, format);
    awq_status status = add_line(ctx, rules, format, arguments);
    va_end(arguments);
    return status;
}

void awq__rules_tell(awq_context *ctx, awq__rules *rules)
{
    for (size_t i = 0; i < rules->warning_count; i++)
        awq__log(ctx, AWQ_LOG_WARNING, "%s", rules->warnings[i]);
    rules->told = true;
}
