/* What stands at the output's path, and whether the output may replace it. */
#define _GNU_SOURCE /* statx */

#include "awq/awq.h"
#include "checkpoint/internal.h"
#include "core/json.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool awq__exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool awq__holds_file(const char *path, const char *name)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool found = fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode);
    close(fd);
    return found;
}

typedef struct others {
    const char *name;
    bool any;
} others;

static awq_status see_other(void *user, const char *name)
{
    others *o = user;
    o->any |= !o->name || strcmp(name, o->name) != 0;
    return AWQ_OK;
}

awq_status awq__holds_nothing_but(awq_context *ctx, const char *path, const char *name,
                                  bool *nothing)
{
    struct stat info;
    others o = {.name = name};
    *nothing = false;
    if (lstat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return AWQ_OK;
    AWQ__CHECK(awq__list_directory(ctx, path, see_other, &o));
    *nothing = !o.any;
    return AWQ_OK;
}

awq_status awq__is_result(awq_context *ctx, const char *directory, bool *result)
{
    *result = false;
    if (!awq__holds_file(directory, AWQ__PROVENANCE_FILE))
        return AWQ_OK;
    char *path = awq__path_join(ctx, directory, AWQ__PROVENANCE_FILE);
    cJSON *root = NULL;
    awq_status status = path ? awq__json_read(ctx, path, &root) : AWQ_ERROR_MEMORY;
    *result = awq__json_is_text(awq__json_at(root, "producer"), AWQ__PRODUCER);
    cJSON_Delete(root);
    awq__free(path);
    if (status == AWQ_ERROR_MEMORY)
        return status;
    awq__clear(ctx); /* an unreadable directory is not one of ours */
    return AWQ_OK;
}

/* A mount point cannot be renamed. */
static awq_status check_mount(awq_context *ctx, const char *directory)
{
    struct statx info;
    if (statx(AT_FDCWD, directory, AT_SYMLINK_NOFOLLOW, 0, &info) == 0 &&
        (info.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        return awq__fail(ctx, AWQ_ERROR_EXISTS,
                         "%s: a file system is mounted there, and an output takes its place by a "
                         "rename; name a directory in it",
                         directory);
    return AWQ_OK;
}

static awq_status refuse(awq_context *ctx, const char *directory)
{
    if (awq__holds_file(directory, AWQ__LOCK_FILE))
        return awq__fail(ctx, AWQ_ERROR_EXISTS,
                         "%s: exists already, and is the unfinished work of a run under a new "
                         "name: it goes on as %s.partial",
                         directory, directory);
    return awq__fail(ctx, AWQ_ERROR_EXISTS,
                     "%s: exists already, the whole result of an earlier run; it is replaced only "
                     "where that is asked for (force)",
                     directory);
}

/* The first file in a result that its checksums do not list: someone has added it. */
static awq_status check_added(awq_context *ctx, const char *directory)
{
    awq__sums listed = {0}, there = {0};
    if (!awq__holds_file(directory, AWQ__SUMS_FILE))
        return AWQ_OK; /* results of version 0.1 have none */
    awq_status status = awq__sums_read(ctx, directory, &listed);
    if (status == AWQ_ERROR_FORMAT)
        status = awq__fail(ctx, AWQ_ERROR_EXISTS,
                           "%s: is not replaced, since its " AWQ__SUMS_FILE " is damaged, which "
                           "would tell the result from what others have added; remove the "
                           "directory by hand, or name another output",
                           directory);
    AWQ__TRY(status);
    AWQ__TRY(awq__sums_list(ctx, directory, AWQ__JOURNAL_FILE, &there));
    for (size_t i = 0; i < there.count; i++)
        if (!awq__sums_find(&listed, there.list[i].name))
            AWQ__TRY(awq__fail(ctx, AWQ_ERROR_EXISTS,
                               "%s: is not replaced, since it holds %s, which is no part of the "
                               "result (its " AWQ__SUMS_FILE " does not list it); move that away "
                               "first",
                               directory, there.list[i].name));
done:
    awq__sums_free(&listed);
    awq__sums_free(&there);
    return status;
}

awq_status awq__check_target(awq_context *ctx, const char *directory, bool force)
{
    bool result, empty;
    if (!awq__exists(directory))
        return AWQ_OK;
    AWQ__CHECK(awq__holds_nothing_but(ctx, directory, NULL, &empty));
    if (empty)
        return check_mount(ctx, directory);
    AWQ__CHECK(awq__is_result(ctx, directory, &result));
    if (!result)
        return awq__fail(ctx, AWQ_ERROR_EXISTS,
                         "%s: exists already, and is no result of libawq (a directory with "
                         "its " AWQ__PROVENANCE_FILE "), so it is never replaced; remove it by "
                         "hand, or name another output",
                         directory);
    if (!force)
        return refuse(ctx, directory);
    AWQ__CHECK(check_mount(ctx, directory));
    return check_added(ctx, directory);
}
