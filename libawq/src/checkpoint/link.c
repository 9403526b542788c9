/* Where symbolic links of a checkpoint lead. */
#define _DEFAULT_SOURCE /* realpath */
#include "checkpoint/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The part of path[0..length) behind its last slash; *length is that before the slash. */
static const char *last_part(const char *path, size_t *length)
{
    while (*length && path[*length - 1] != '/')
        --*length;
    const char *part = path + *length;
    *length -= *length > 0;
    return part;
}

/* Is it .../models--ORGANIZATION--NAME/blobs/HASH, where Hugging Face's cache keeps the files that
   its snapshots link to? */
static bool is_in_cache(const char *path)
{
    static const char blobs[] = "blobs/", models[] = "models--";
    size_t length = strlen(path);
    last_part(path, &length);
    bool in_blobs = !strncmp(last_part(path, &length), blobs, sizeof blobs - 1);
    return in_blobs && !strncmp(last_part(path, &length), models, sizeof models - 1);
}

static bool is_inside(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    return !strncmp(path, directory, length) && (path[length] == '/' || length == 1);
}

awq_status awq__check_link(awq_context *ctx, const char *directory, const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISLNK(info.st_mode))
        return AWQ_OK; /* opening it tells what is wrong with it */
    char *from = realpath(directory, NULL), *to = realpath(path, NULL);
    awq_status status = AWQ_OK;
    if (!from || !to)
        status = awq__fail(ctx, awq__system_status(errno), "%s: a link that leads nowhere: %s",
                           path, strerror(errno));
    else if (!is_inside(to, from) && !is_in_cache(to))
        status =
            awq__fail(ctx, AWQ_ERROR_IO,
                      "%s: a link to %s, outside the model's directory; it would be copied into "
                      "the output: put the file itself in its place, or remove the link",
                      path, to);
    free(from);
    free(to);
    return status;
}
