/* The context: error record, callbacks, threads, plugin sources. */
#include "core/core.h"
#include "core/task.h"
#include "core/utf8.h"
#include "awq/awq.h"

#include <omp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_OPTIONS_BYTES 1024
#define MESSAGE_BYTES 1024
#define REPEAT_SECONDS 0.2

struct awq_context {
    pthread_mutex_t lock; /* guards the error record */
    char message[MESSAGE_BYTES];
    awq_status failure;   /* of the message */
    int64_t message_task; /* the lowest task of the latest loop that failed */
    awq_log_fn log;
    void *log_user;
    awq_progress_fn progress;
    void *progress_user;
    awq_progress latest; /* stage NULL: none since a public function began */
    double told_seconds; /* when the callback was called */
    int threads;         /* 0: what OpenMP would use */
    int most_threads;    /* that there is room for */
    bool begun;          /* something was computed */
    awq__plugin_sources plugins;
    const struct awq__compute *compute;
    const awq__memory *memory;
    _Atomic int64_t bytes, most_bytes; /* of arrays */
    int64_t goal_bytes;                /* INT64_MAX: there is none */
    int64_t expected_bytes;
};

_Thread_local int64_t awq__current_task = AWQ__NO_TASK;

#define STATUS_NAME(symbol, value, text)                                                           \
    case symbol:                                                                                   \
        return #symbol;
#define STATUS_TEXT(symbol, value, text)                                                           \
    case symbol:                                                                                   \
        return text;

const char *awq_status_name(awq_status status)
{
    switch (status) {
        AWQ_STATUS_LIST(STATUS_NAME)
    }
    return "AWQ_UNKNOWN";
}

const char *awq_status_text(awq_status status)
{
    switch (status) {
        AWQ_STATUS_LIST(STATUS_TEXT)
    }
    return "unknown status";
}

const char *awq_version(void)
{
    return AWQ_VERSION_STRING;
}

awq_status awq_context_create(awq_context **out)
{
    if (!out)
        return AWQ_ERROR_ARGUMENT;
    *out = NULL;
    awq_context *ctx = calloc(1, sizeof *ctx);
    AWQ__CHECK_ALLOC(ctx);
    if (pthread_mutex_init(&ctx->lock, NULL)) {
        free(ctx);
        return AWQ_ERROR_MEMORY;
    }
    ctx->memory = &awq__system_memory;
    ctx->most_threads = AWQ__MAX_THREADS;
    ctx->goal_bytes = INT64_MAX;
    *out = ctx;
    return AWQ_OK;
}

void awq_context_free(awq_context *ctx)
{
    if (!ctx)
        return;
    for (size_t i = 0; i < ctx->plugins.path_count; i++)
        free(ctx->plugins.paths[i]);
    free(ctx->plugins.paths);
    free(ctx->plugins.linked);
    pthread_mutex_destroy(&ctx->lock);
    free(ctx);
}

const char *awq_context_message(const awq_context *ctx)
{
    return ctx ? ctx->message : "";
}

void awq_context_set_log(awq_context *ctx, awq_log_fn log, void *user)
{
    if (!ctx)
        return;
    ctx->log = log;
    ctx->log_user = user;
}

void awq_context_set_progress(awq_context *ctx, awq_progress_fn progress, void *user)
{
    if (!ctx)
        return;
    ctx->progress = progress;
    ctx->progress_user = user;
}

awq_status awq_context_set_threads(awq_context *ctx, int threads)
{
    AWQ__CHECK(awq__enter(ctx, "awq_context_set_threads", NULL));
    if (threads < 0 || threads > AWQ__MAX_THREADS)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "threads: %d is not in 0 to %d", threads,
                         AWQ__MAX_THREADS);
    ctx->threads = threads;
    return AWQ_OK;
}

int awq_context_threads(const awq_context *ctx)
{
    return ctx ? awq__threads(ctx) : 0;
}

int awq__threads(const awq_context *ctx)
{
    int threads = ctx->threads ? ctx->threads : omp_get_max_threads();
    return threads < 1 ? 1 : threads > ctx->most_threads ? ctx->most_threads : threads;
}

bool awq__context_begins(awq_context *ctx)
{
    bool first = !ctx->begun;
    ctx->begun = true;
    return first;
}

void awq__context_limit_threads(awq_context *ctx, int most_threads)
{
    ctx->most_threads = most_threads;
}

awq_status awq_context_add_plugin_path(awq_context *ctx, const char *path)
{
    AWQ__CHECK(
        awq__enter(ctx, "awq_context_add_plugin_path", (awq__argument[]){{"path", path}, {0}}));
    awq__plugin_sources *sources = &ctx->plugins;
    char *copy = awq__strdup(ctx, path);
    char **paths = realloc(sources->paths, (sources->path_count + 1) * sizeof *paths);
    if (paths)
        sources->paths = paths;
    if (!copy || !paths) {
        free(copy);
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory for a plugin path");
    }
    paths[sources->path_count++] = copy;
    return AWQ_OK;
}

awq_status awq_context_add_plugin(awq_context *ctx, const void *plugin)
{
    AWQ__CHECK(
        awq__enter(ctx, "awq_context_add_plugin", (awq__argument[]){{"plugin", plugin}, {0}}));
    awq__plugin_sources *sources = &ctx->plugins;
    const void **linked = realloc(sources->linked, (sources->linked_count + 1) * sizeof *linked);
    if (!linked)
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory for a linked plugin");
    sources->linked = linked;
    linked[sources->linked_count++] = plugin;
    return AWQ_OK;
}

awq__plugin_sources *awq__context_plugins(awq_context *ctx)
{
    return &ctx->plugins;
}

void awq__context_set_compute(awq_context *ctx, const struct awq__compute *compute,
                              const awq__memory *memory)
{
    ctx->compute = compute;
    ctx->memory = memory;
}

const struct awq__compute *awq__context_compute(const awq_context *ctx)
{
    return ctx->compute;
}

const awq__memory *awq__context_memory(const awq_context *ctx)
{
    return ctx->memory;
}

void awq__context_count(awq_context *ctx, int64_t bytes)
{
    int64_t now = atomic_fetch_add(&ctx->bytes, bytes) + bytes;
    int64_t most = atomic_load(&ctx->most_bytes);
    while (now > most && !atomic_compare_exchange_weak(&ctx->most_bytes, &most, now))
        continue;
}

int64_t awq__context_most_bytes(const awq_context *ctx)
{
    return atomic_load(&ctx->most_bytes);
}

void awq__context_limit_bytes(awq_context *ctx, int64_t bytes)
{
    ctx->goal_bytes = bytes;
}

void awq__context_expect_bytes(awq_context *ctx, int64_t bytes)
{
    ctx->expected_bytes = bytes;
}

int64_t awq__context_expected_bytes(const awq_context *ctx)
{
    return ctx->expected_bytes;
}

size_t awq__context_work_bytes(const awq_context *ctx)
{
    int64_t left = ctx->goal_bytes - atomic_load(&ctx->bytes);
    return left < 0 ? 0 : (size_t)awq__min(left, (int64_t)AWQ__WORK_BYTES);
}

/* One line that is fit for a terminal, whatever hostile names are in it. */
static void format_line(char line[MESSAGE_BYTES], const char *format, va_list arguments)
{
    int length = vsnprintf(line, MESSAGE_BYTES, format, arguments);
    awq__clean_line(line, MESSAGE_BYTES, length >= MESSAGE_BYTES);
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
    ctx->latest.stage = NULL;
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
    char line[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_line(line, format, arguments);
    va_end(arguments);
    ctx->log(ctx->log_user, level, line);
}

static bool goes_on(awq_context *ctx)
{
    ctx->told_seconds = awq__now_seconds();
    return !ctx->progress || !ctx->progress(ctx->progress_user, &ctx->latest);
}

awq_status awq__progress(awq_context *ctx, const awq_progress *progress)
{
    ctx->latest = *progress;
    return goes_on(ctx) ? AWQ_OK : awq__cancelled(ctx);
}

bool awq__progress_again(awq_context *ctx)
{
    double passed = awq__now_seconds() - ctx->told_seconds;
    if (!ctx->latest.stage || passed < REPEAT_SECONDS)
        return true;
    ctx->latest.elapsed_seconds += passed;
    return goes_on(ctx);
}

awq_status awq__cancelled(awq_context *ctx)
{
    return awq__fail(ctx, AWQ_ERROR_CANCELLED, "cancelled in layer %lld, %s",
                     (long long)ctx->latest.layer, ctx->latest.stage);
}

double awq__now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
