/* Errors and warnings on standard error, one line each. */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>

/* Names in a hostile file must neither break the line nor command the terminal. */
static void print_line(const char *kind, const char *text)
{
    char line[2048];
    snprintf(line, sizeof line, "%s", text);
    clean_line(line);
    progress_clear();
    fprintf(stderr, "awqc: %s%s\n", kind, line);
}

void print_error(const char *format, ...)
{
    char line[2048];
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    print_line("error: ", line);
}

void print_warning(const char *text)
{
    print_line("warning: ", text);
}

void show_log(void *user, awq_log_level level, const char *text)
{
    (void)user;
    if (level == AWQ_LOG_WARNING)
        print_warning(text);
    if (level == AWQ_LOG_INFO)
        print_line("", text);
}

int report_failure(const awq_context *ctx, awq_status status)
{
    const char *message = awq_context_message(ctx);
    print_error("%s", message[0] ? message : awq_status_text(status));
    switch (status) {
    case AWQ_ERROR_ARGUMENT:
    case AWQ_ERROR_RECIPE:
        return WRONG_USAGE;
    case AWQ_ERROR_CANCELLED:
        return INTERRUPTED;
    default:
        return FAILED;
    }
}
