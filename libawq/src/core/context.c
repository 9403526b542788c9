/* The context: callbacks, threads, plugin sources. */
#include "core/context.h"

#include <omp.h>
#include <stdlib.h>

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
