/*
 * How an output directory comes to be: worked on under another name, by one run at a time, and
 * renamed when it is whole.
 *
 * Replacing an existing directory takes two renames, between which it is missing. A marker
 * file in it tells a later run that DIRECTORY.replaced is ours to put back or to remove.
 */
#define _DEFAULT_SOURCE /* flock */

#include "awq/awq.h"
#include "checkpoint/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_FILE AWQ__PRIVATE_PREFIX "lock"
#define MARKER_FILE AWQ__PRIVATE_PREFIX "replaced"

/* ---- what is there ---- */

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* Whether path is a directory (no link to one) that holds a regular file of this name. */
static bool holds_file(const char *path, const char *name)
{
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return false;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool found = fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode);
    close(fd);
    return found;
}

static bool is_empty_directory(const char *path)
{
    struct stat info;
    DIR *directory = lstat(path, &info) == 0 && S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    if (!directory)
        return false;
    const struct dirent *entry;
    bool empty = true;
    while (empty && (entry = readdir(directory)))
        empty = !awq__is_plain_name(entry->d_name);
    closedir(directory);
    return empty;
}

static awq_status check_target(const awq__output *output)
{
    const char *directory = output->directory;
    if (!exists(directory))
        return AWQ_OK;
    if (!output->force)
        return awq__fail(output->ctx, AWQ_ERROR_EXISTS,
                         "%s: exists already, and it was not said that it may be replaced",
                         directory);
    if (!holds_file(directory, "config.json"))
        return awq__fail(output->ctx, AWQ_ERROR_EXISTS,
                         "%s: does not look like a checkpoint (a directory with a config.json), so "
                         "it is not replaced",
                         directory);
    return AWQ_OK;
}

/* ---- the existing directory, moved aside ---- */

static awq_status marker_path(const awq__output *output, const char *directory, char **path)
{
    *path = awq__path_join(output->ctx, directory, MARKER_FILE);
    return *path ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static awq_status set_marker(const awq__output *output, const char *directory)
{
    char *path;
    awq_status status = marker_path(output, directory, &path);
    if (status != AWQ_OK)
        return status;
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0 || close(fd) != 0)
        status = awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be created: %s", path,
                           strerror(errno));
    awq__free(path);
    return status == AWQ_OK ? awq__sync_directory(output->ctx, directory) : status;
}

static awq_status remove_marker(const awq__output *output, const char *directory)
{
    char *path;
    awq_status status = marker_path(output, directory, &path);
    if (status != AWQ_OK)
        return status;
    if (unlink(path) != 0)
        status = awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be removed: %s", path,
                           strerror(errno));
    awq__free(path);
    return status;
}

/* The marker goes last, so that an interrupted removal can be finished. */
static awq_status remove_replaced(const awq__output *output)
{
    awq_status status = awq__clear_directory(output->ctx, output->replaced, MARKER_FILE);
    if (status == AWQ_OK)
        status = remove_marker(output, output->replaced);
    if (status == AWQ_OK && rmdir(output->replaced) != 0)
        status = awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be removed: %s", output->replaced,
                           strerror(errno));
    return status;
}

/* Ends what a run that was killed between its renames, or after them, has left undone. */
static awq_status recover_replaced(const awq__output *output)
{
    if (!holds_file(output->replaced, MARKER_FILE)) {
        /* An empty directory gives way to a rename. */
        if (exists(output->directory) && exists(output->replaced) &&
            !is_empty_directory(output->replaced))
            return awq__fail(output->ctx, AWQ_ERROR_EXISTS,
                             "%s: in the way, since %s would be moved there", output->replaced,
                             output->directory);
        return AWQ_OK;
    }
    if (exists(output->directory))
        return remove_replaced(output);
    if (rename(output->replaced, output->directory) != 0)
        return awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be put back: %s", output->replaced,
                         strerror(errno));
    return remove_marker(output, output->directory);
}

/* ---- begin ---- */

/* The directory without slashes at its end. */
static awq_status set_names(awq__output *output, const char *directory)
{
    awq_context *ctx = output->ctx;
    size_t length = strlen(directory);
    while (length && directory[length - 1] == '/')
        length--;
    output->directory = awq__strdup(ctx, directory);
    if (!output->directory)
        return AWQ_ERROR_MEMORY;
    output->directory[length] = 0;
    if (!awq__is_plain_name(awq__base_name(output->directory)))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "\"%s\": names no new directory", directory);
    output->partial = awq__format(ctx, "%s.partial", output->directory);
    output->replaced = awq__format(ctx, "%s.replaced", output->directory);
    output->lock_path = awq__format(ctx, "%s.partial/" LOCK_FILE, output->directory);
    bool all = output->partial && output->replaced && output->lock_path;
    return all ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* The directory in which the output will stand; NULL without memory. */
static char *parent_of(const awq__output *output)
{
    const char *name = awq__base_name(output->directory);
    size_t length = (size_t)(name - output->directory);
    if (!length)
        return awq__strdup(output->ctx, ".");
    char *parent = awq__strdup(output->ctx, output->directory);
    if (parent)
        parent[length > 1 ? length - 1 : length] = 0;
    return parent;
}

static awq_status create_partial(awq__output *output)
{
    awq_context *ctx = output->ctx;
    char *parent = parent_of(output);
    awq_status status = parent ? awq__make_directories(ctx, parent) : AWQ_ERROR_MEMORY;
    awq__free(parent);
    if (status != AWQ_OK)
        return status;
    output->created = mkdir(output->partial, 0777) == 0;
    if (!output->created && errno != EEXIST)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be created: %s", output->partial,
                         strerror(errno));
    /* Ours always holds a lock file, but for the instant after its creation. */
    if (!holds_file(output->partial, LOCK_FILE) && !is_empty_directory(output->partial))
        return awq__fail(ctx, AWQ_ERROR_EXISTS, "%s: in the way, and no earlier run has left it",
                         output->partial);
    return AWQ_OK;
}

static awq_status take_lock(awq__output *output)
{
    awq_context *ctx = output->ctx;
    int fd = open(output->lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: %s", output->lock_path, strerror(errno));
    output->lock = fd;
    bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno != EWOULDBLOCK)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be locked: %s", output->lock_path,
                         strerror(errno));
    /* A run that ended meanwhile has moved or removed the file that we have open. */
    struct stat ours, there;
    if (!locked || fstat(fd, &ours) != 0 || lstat(output->lock_path, &there) != 0 ||
        ours.st_ino != there.st_ino || ours.st_dev != there.st_dev)
        return awq__fail(ctx, AWQ_ERROR_EXISTS, "%s: another run is writing it", output->partial);
    return AWQ_OK;
}

static void release_lock(awq__output *output)
{
    if (output->lock >= 0)
        close(output->lock);
    output->lock = -1;
}

static awq_status begin(awq__output *output, const char *directory, bool resume)
{
    awq_status status = set_names(output, directory);
    if (status == AWQ_OK)
        status = check_target(output);
    if (status == AWQ_OK)
        status = create_partial(output);
    if (status == AWQ_OK)
        status = take_lock(output);
    bool locked = status == AWQ_OK;
    if (status == AWQ_OK)
        status = recover_replaced(output);
    if (status == AWQ_OK)
        status = check_target(output);
    if (status == AWQ_OK && !resume)
        status = awq__clear_directory(output->ctx, output->partial, LOCK_FILE);
    if (status != AWQ_OK && locked && output->created) {
        unlink(output->lock_path);
        rmdir(output->partial);
    }
    return status;
}

awq_status awq__output_begin(awq_context *ctx, const char *directory, bool force, bool resume,
                             awq__output **out)
{
    *out = NULL;
    awq__output *output = awq__alloc(ctx, 1, sizeof *output, "an output");
    if (!output)
        return AWQ_ERROR_MEMORY;
    output->ctx = ctx;
    output->lock = -1;
    output->force = force;
    awq_status status = begin(output, directory, resume);
    if (status == AWQ_OK)
        *out = output;
    else
        awq__output_free(output);
    return status;
}

const char *awq__output_partial(const awq__output *output)
{
    return output->partial;
}

/* ---- end ---- */

static awq_status check_written(const awq__output *output)
{
    if (!output->laid_out)
        return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT, "%s: committed before the layout",
                         output->partial);
    for (size_t i = 0; i < output->layout.count; i++)
        if (atomic_load(&output->layout.entries[i].written) < output->layout.entries[i].bytes)
            return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT,
                             "%s: tensor \"%s\": declared but not written", output->partial,
                             output->layout.entries[i].name);
    return AWQ_OK;
}

/* Moves the existing directory out of the way. */
static awq_status move_aside(const awq__output *output)
{
    awq_status status = recover_replaced(output);
    if (status == AWQ_OK)
        status = set_marker(output, output->directory);
    if (status == AWQ_OK && rename(output->directory, output->replaced) != 0) {
        status = awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be moved to %s: %s",
                           output->directory, output->replaced, strerror(errno));
        remove_marker(output, output->directory);
    }
    return status;
}

/* The one step that makes the output appear. */
static awq_status put_in_place(const awq__output *output, bool moved)
{
    if (rename(output->partial, output->directory) == 0)
        return AWQ_OK;
    awq_status status = awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be renamed to %s: %s",
                                  output->partial, output->directory, strerror(errno));
    if (moved && rename(output->replaced, output->directory) == 0)
        remove_marker(output, output->directory);
    return status;
}

/* Removes the lock file, which came along, and makes the new name durable. */
static awq_status settle(awq__output *output)
{
    awq_context *ctx = output->ctx;
    char *lock_path = awq__path_join(ctx, output->directory, LOCK_FILE);
    char *parent = parent_of(output);
    awq_status status = lock_path && parent ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK && unlink(lock_path) != 0)
        status =
            awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be removed: %s", lock_path, strerror(errno));
    if (status == AWQ_OK)
        status = awq__sync_directory(ctx, output->directory);
    if (status == AWQ_OK)
        status = awq__sync_directory(ctx, parent);
    awq__free(lock_path);
    awq__free(parent);
    return status;
}

awq_status awq__output_commit(awq__output *output)
{
    awq_status status = awq__output_wait(output);
    if (status == AWQ_OK)
        status = check_written(output);
    if (status == AWQ_OK)
        status = awq__output_close_shards(output);
    if (status == AWQ_OK)
        status = check_target(output);
    bool replace = exists(output->directory);
    if (status == AWQ_OK && replace)
        status = move_aside(output);
    if (status == AWQ_OK)
        status = put_in_place(output, replace);
    if (status == AWQ_OK)
        status = settle(output);
    if (status == AWQ_OK && replace && remove_replaced(output) != AWQ_OK) {
        /* The output is whole all the same. */
        awq__log(output->ctx, AWQ_LOG_WARNING, "%s", awq_context_message(output->ctx));
        awq__clear(output->ctx);
    }
    if (status == AWQ_OK)
        release_lock(output);
    return status;
}

void awq__output_discard(awq__output *output)
{
    awq__output_abandon(output);
    if (awq__clear_directory(output->ctx, output->partial, LOCK_FILE) == AWQ_OK) {
        unlink(output->lock_path);
        rmdir(output->partial);
    }
    release_lock(output);
}

void awq__output_free(awq__output *output)
{
    if (!output)
        return;
    awq__output_abandon(output);
    awq__layout_free(&output->layout);
    release_lock(output);
    awq__free(output->directory);
    awq__free(output->partial);
    awq__free(output->replaced);
    awq__free(output->lock_path);
    awq__free(output);
}
