/* Where paths lead, and whether one place lies within another, whatever links and mounts are
 * between them. */
#define _DEFAULT_SOURCE /* realpath */

#include "checkpoint/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- where a path leads ---- */

void awq__climb(char *path)
{
    char *slash = strrchr(path, '/');
    slash[slash == path] = 0;
}

/* Appends one component to an absolute path; ".." removes the last one, "." does nothing. */
static awq_status walk(awq_context *ctx, awq__text *path, const char *name, size_t length)
{
    if (!length || (length == 1 && name[0] == '.'))
        return AWQ_OK;
    if (length == 2 && !memcmp(name, "..", 2)) {
        awq__climb(path->data);
        path->length = strlen(path->data);
        return AWQ_OK;
    }
    const char *slash = path->length > 1 ? "/" : "";
    return awq__text_append(ctx, path, "%s%.*s", slash, (int)length, name);
}

/* The length of the longest leading part of a path that exists; *real is where that part leads.
 * *real is NULL, with errno set, if that cannot be found out. */
static size_t find_real(const char *path, char *part, char **real)
{
    size_t length = strlen(path);
    while (length) {
        memcpy(part, path, length);
        part[length] = 0;
        *real = realpath(part, NULL);
        if (*real || errno == ENOMEM || (length == 1 && path[0] == '/'))
            return length;
        while (length && path[length - 1] != '/')
            length--;
        while (length > 1 && path[length - 1] == '/')
            length--;
    }
    *real = realpath(".", NULL);
    return 0;
}

static awq_status unresolved(awq_context *ctx, const char *path, int error)
{
    awq_status status = awq__system_status(error);
    const char *what = path[0] == '/' ? "where it leads" : "the working directory";
    return awq__fail(ctx, status, "%s: %s: %s", path, what, strerror(error));
}

/* Resolves the part of a path that exists; the rest is appended component by component. */
static awq_status resolve_once(awq_context *ctx, const char *path, awq__text *out)
{
    char *real = NULL, *part = awq__strdup(ctx, path);
    AWQ__CHECK_ALLOC(part);
    const char *rest = path + find_real(path, part, &real);
    awq_status status;
    AWQ__TRY(real ? awq__text_append(ctx, out, "%s", real) : unresolved(ctx, path, errno));
    while (*rest) {
        size_t length = strcspn(rest, "/");
        AWQ__TRY(walk(ctx, out, rest, length));
        rest += length + (rest[length] == '/');
    }
done:
    awq__free(part);
    free(real);
    return status;
}

awq_status awq__resolve(awq_context *ctx, const char *path, char **real)
{
    awq__text first = {0}, second = {0};
    awq_status status;
    AWQ__TRY(resolve_once(ctx, path, &first));
    /* A ".." in the missing part may lead to links again. */
    AWQ__TRY(resolve_once(ctx, first.data, &second));
done:
    awq__text_free(&first);
    if (status != AWQ_OK)
        awq__text_free(&second);
    *real = second.data;
    return status;
}

awq_status awq__resolve_name(awq_context *ctx, const char *path, char **real)
{
    const char *slash = strrchr(path, '/');
    char *parent = awq__strdup(ctx, slash ? path : "."), *resolved = NULL;
    *real = NULL;
    AWQ__CHECK_ALLOC(parent);
    if (slash)
        parent[slash - path + 1] = 0;
    awq_status status;
    AWQ__TRY(awq__resolve(ctx, parent, &resolved));
    *real = awq__path_join(ctx, resolved, slash ? slash + 1 : path);
    AWQ__TRY_ALLOC(*real);
done:
    awq__free(resolved);
    awq__free(parent);
    return status;
}

/* ---- does one place lie within another? ---- */

static bool is_same(const char *a, const char *b)
{
    struct stat first, second;
    return !strcmp(a, b) || (stat(a, &first) == 0 && stat(b, &second) == 0 &&
                             first.st_dev == second.st_dev && first.st_ino == second.st_ino);
}

/* Is `outer` an ancestor of `path`? Shortens `path` on the way. */
static bool is_above(const char *outer, char *path)
{
    while (strcmp(path, "/")) {
        awq__climb(path);
        if (is_same(outer, path))
            return true;
    }
    return false;
}

awq_status awq__place_of(awq_context *ctx, const char *a, const char *b, awq__place *place)
{
    char *first = NULL, *second = NULL, *copy = NULL;
    *place = AWQ__PLACE_APART;
    awq_status status;
    AWQ__TRY(awq__resolve(ctx, a, &first));
    AWQ__TRY(awq__resolve(ctx, b, &second));
    copy = awq__strdup(ctx, first);
    AWQ__TRY_ALLOC(copy);
    if (is_same(first, second))
        *place = AWQ__PLACE_SAME;
    else if (is_above(second, copy))
        *place = AWQ__PLACE_WITHIN;
    else if (is_above(first, second))
        *place = AWQ__PLACE_HOLDS;
done:
    awq__free(first);
    awq__free(second);
    awq__free(copy);
    return status;
}
