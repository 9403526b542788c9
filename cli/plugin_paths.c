/* Where architecture plugins are looked for. */
#include "cli.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int add_path(awq_context *ctx, const char *path)
{
    awq_status status = awq_context_add_plugin_path(ctx, path);
    return status == AWQ_OK ? DONE : report_failure(ctx, status);
}

/* The directories of AWQ_PLUGIN_PATH. Empty ones are passed over: the working directory is never
   searched unasked. */
static int add_environment(awq_context *ctx)
{
    const char *rest = getenv("AWQ_PLUGIN_PATH");
    int code = DONE;
    while (rest && *rest && code == DONE) {
        size_t length = strcspn(rest, ":");
        if (length) {
            char *path = must_copy(rest, length);
            code = add_path(ctx, path);
            free(path);
        }
        rest += length + (rest[length] == ':');
    }
    return code;
}

/* The plugins that were installed, or built, with this program. */
static int add_installed(awq_context *ctx)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0)
        return DONE;
    program[length] = 0;
    char *slash = strrchr(program, '/');
    if (!slash)
        return DONE;
    slash[1] = 0;
    char path[PATH_MAX + sizeof AWQ_PLUGIN_RELATIVE];
    snprintf(path, sizeof path, "%s%s", program, AWQ_PLUGIN_RELATIVE);
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return DONE;
    return add_path(ctx, path);
}

int add_plugin_paths(awq_context *ctx, const cli_globals *globals)
{
    int code = DONE;
    for (size_t i = 0; i < globals->plugin_path_count && code == DONE; i++)
        code = add_path(ctx, globals->plugin_paths[i]);
    if (code == DONE)
        code = add_environment(ctx);
    return code == DONE ? add_installed(ctx) : code;
}
