/*
 * How an output directory comes to be: worked on under another name, by one run at a time, and
 * renamed when it is whole.
 *
 * The lock file comes along with the rename and goes last. Where a kill has left it in a finished
 * output, a later run ends what was left to do.
 */
#define _DEFAULT_SOURCE /* flock */

#include "awq/awq.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the lock ---- */

/* AWQ_ERROR_EXISTS while another run holds the lock file in the directory, where it is created. */
static awq_status take_lock(awq__output *output, const char *directory, int *lock)
{
    awq_context *ctx = output->ctx;
    char *path = awq__path_join(ctx, directory, AWQ__LOCK_FILE);
    AWQ__CHECK_ALLOC(path);
    struct stat ours, there;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    *lock = -1;
    awq_status status;
    if (fd < 0 || (!locked && errno != EWOULDBLOCK))
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be locked: %s", path, strerror(errno)));
    /* Another run that has just ended moved or removed the file that we have open. */
    if (!locked || fstat(fd, &ours) != 0 || lstat(path, &there) != 0 ||
        ours.st_ino != there.st_ino || ours.st_dev != there.st_dev)
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_EXISTS, "%s: another run is writing it", directory));
    *lock = fd;
    status = AWQ_OK;
done:
    if (status != AWQ_OK && fd >= 0)
        close(fd);
    awq__free(path);
    return status;
}

static void release_lock(awq__output *output)
{
    if (output->lock >= 0)
        close(output->lock);
    output->lock = -1;
}

/* ---- begin ---- */

/* Where the output will stand: a path through no link and no "..", so that no rename moves what it
   leads through. It is as short as the given one: from the working directory if that was. */
static awq_status real_name(awq_context *ctx, const char *given, char **name)
{
    char *real, *here = NULL;
    awq_status status;
    AWQ__TRY(awq__resolve_name(ctx, given, &real));
    if (given[0] != '/')
        AWQ__TRY(awq__resolve(ctx, ".", &here));
    size_t length = here && strcmp(here, "/") ? strlen(here) : 0;
    bool within = here && !strncmp(real, here, length) && real[length] == '/';
    *name = awq__strdup(ctx, within ? real + length + 1 : real);
    AWQ__TRY_ALLOC(*name);
done:
    awq__free(here);
    awq__free(real);
    return status;
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

static awq_status set_names(awq__output *output, const char *directory)
{
    awq_context *ctx = output->ctx;
    size_t length = strlen(directory);
    while (length && directory[length - 1] == '/')
        length--;
    char *given = awq__format(ctx, "%.*s", (int)length, directory);
    AWQ__CHECK_ALLOC(given);
    awq_status status =
        awq__is_plain_name(awq__base_name(given))
            ? real_name(ctx, given, &output->directory)
            : awq__fail(ctx, AWQ_ERROR_ARGUMENT, "\"%s\": names no new directory", directory);
    awq__free(given);
    AWQ__CHECK(status);
    output->partial = awq__format(ctx, "%s.partial", output->directory);
    output->replaced = awq__format(ctx, "%s.replaced", output->directory);
    output->parent = parent_of(output);
    bool all = output->partial && output->replaced && output->parent;
    return all ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static void free_names(awq__output *output)
{
    awq__free(output->directory);
    awq__free(output->partial);
    awq__free(output->replaced);
    awq__free(output->parent);
    output->directory = output->partial = output->replaced = output->parent = NULL;
}

/* Ours always holds a lock file, but for the instant after its creation. */
static awq_status check_partial(const awq__output *output)
{
    bool empty;
    if (!awq__exists(output->partial) || awq__holds_file(output->partial, AWQ__LOCK_FILE))
        return AWQ_OK;
    AWQ__CHECK(awq__holds_nothing_but(output->ctx, output->partial, NULL, &empty));
    if (empty)
        return AWQ_OK;
    return awq__fail(output->ctx, AWQ_ERROR_EXISTS,
                     "%s: in the way, and no earlier run has left it", output->partial);
}

static awq_status create_partial(awq__output *output)
{
    awq_context *ctx = output->ctx;
    AWQ__CHECK(awq__make_directories(ctx, output->parent));
    if (mkdir(output->partial, 0777) != 0 && errno != EEXIST)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be created: %s", output->partial,
                         strerror(errno));
    /* Makes the directory's own name durable: a crash could lose it with all its files. */
    AWQ__CHECK(awq__sync_directory(ctx, output->parent));
    return check_partial(output);
}

/* Removes the run's own files from a finished result. The lock goes last: while it exists, a later
 * run repeats this step. */
static awq_status remove_leftovers(const awq__output *output)
{
    AWQ__CHECK(awq__drop_replaced(output));
    AWQ__CHECK(awq__remove_file(output->ctx, output->directory, AWQ__JOURNAL_FILE));
    AWQ__CHECK(awq__remove_file(output->ctx, output->directory, AWQ__LOCK_FILE));
    return awq__sync_directory(output->ctx, output->directory);
}

/* Cleans up once the output is in place. Lack of memory is no failure then. */
static awq_status clean_up(const awq__output *output)
{
    awq_context *ctx = output->ctx;
    AWQ__CHECK(awq__sync_directory(ctx, output->directory));
    AWQ__CHECK(awq__sync_directory(ctx, output->parent));
    if (remove_leftovers(output) != AWQ_OK) {
        /* The output is whole all the same. */
        awq__log(ctx, AWQ_LOG_WARNING, "%s", awq_context_message(ctx));
        awq__clear(ctx);
    }
    return AWQ_OK;
}

/* Finishes the cleaning up of a run that was killed after its output was in place. The checksums,
 * written last, distinguish that from unfinished work that someone has renamed. */
static awq_status finish_earlier(awq__output *output)
{
    const char *directory = output->directory;
    bool result;
    if (!awq__holds_file(directory, AWQ__SUMS_FILE) ||
        (!awq__holds_file(directory, AWQ__LOCK_FILE) &&
         !awq__holds_file(directory, AWQ__JOURNAL_FILE)))
        return AWQ_OK;
    AWQ__CHECK(awq__is_result(output->ctx, directory, &result));
    if (!result)
        return AWQ_OK;
    int lock;
    AWQ__CHECK(take_lock(output, directory, &lock));
    awq_status status = clean_up(output);
    close(lock);
    AWQ__CHECK(status);
    awq__log(output->ctx, AWQ_LOG_INFO,
             "%s: is whole; what the run that made it had left beside it was removed", directory);
    return AWQ_OK;
}

awq_status awq__output_empty(awq__output *output)
{
    return awq__clear_directory(output->ctx, output->partial, AWQ__LOCK_FILE);
}

static awq_status begin(awq__output *output, const char *directory)
{
    AWQ__CHECK(set_names(output, directory));
    AWQ__CHECK(finish_earlier(output));
    AWQ__CHECK(awq__check_target(output->ctx, output->directory, output->force));
    AWQ__CHECK(create_partial(output));
    AWQ__CHECK(take_lock(output, output->partial, &output->lock));
    AWQ__CHECK(awq__recover_replaced(output));
    return awq__check_target(output->ctx, output->directory, output->force);
}

awq_status awq__output_begin(awq_context *ctx, const char *directory, bool force, awq__output **out)
{
    *out = NULL;
    awq__output *output = awq__alloc(ctx, 1, sizeof *output, "an output");
    AWQ__CHECK_ALLOC(output);
    output->ctx = ctx;
    output->lock = -1;
    output->force = force;
    awq_status status = begin(output, directory);
    if (status == AWQ_OK)
        *out = output;
    else
        awq__output_free(output);
    return status;
}

/* Is there something to be replaced? */
static awq_status replaces(const awq__output *output, bool *there)
{
    bool empty;
    *there = awq__exists(output->directory);
    AWQ__CHECK(awq__holds_nothing_but(output->ctx, output->directory, NULL, &empty));
    *there &= !empty;
    return AWQ_OK;
}

/* The nearest existing parent of the output must be a directory in which files can be created. */
static awq_status look_around(const awq__output *output, awq__place_found *found)
{
    char *around;
    AWQ__CHECK(awq__resolve(output->ctx, output->directory, &around));
    do {
        awq__climb(around);
    } while (!awq__exists(around));
    awq_status status = AWQ_OK;
    if (!awq__is_directory(around))
        status = awq__fail(output->ctx, AWQ_ERROR_IO,
                           "%s: cannot be created, since %s is no "
                           "directory",
                           output->directory, around);
    else if (access(around, W_OK | X_OK) != 0)
        found->unwritable = errno;
    awq__free(around);
    return status;
}

awq_status awq__output_look(awq_context *ctx, const char *directory, awq__place_found *found)
{
    awq__output output = {.ctx = ctx, .lock = -1};
    awq_status status;
    *found = (awq__place_found){0};
    AWQ__TRY(set_names(&output, directory));
    AWQ__TRY(awq__check_target(ctx, output.directory, true));
    if (!awq__is_replaced(output.partial))
        AWQ__TRY(check_partial(&output));
    AWQ__TRY(awq__check_replaced(&output));
    AWQ__TRY(look_around(&output, found));
    AWQ__TRY(replaces(&output, &found->replaces));
done:
    free_names(&output);
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

/* The one step that makes the output appear. */
static awq_status put_in_place(const awq__output *output)
{
    bool there;
    AWQ__CHECK(replaces(output, &there));
    if (there)
        return awq__replace(output);
    if (rename(output->partial, output->directory) == 0)
        return AWQ_OK;
    return awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be renamed to %s: %s", output->partial,
                     output->directory, strerror(errno));
}

awq_status awq__output_commit(awq__output *output)
{
    AWQ__CHECK(awq__output_wait(output));
    AWQ__CHECK(check_written(output));
    AWQ__CHECK(awq__output_close_shards(output));
    AWQ__CHECK(awq__check_target(output->ctx, output->directory, output->force));
    AWQ__CHECK(put_in_place(output));
    AWQ__CHECK(clean_up(output));
    release_lock(output);
    return AWQ_OK;
}

/* Removes a partial directory in which there is no work. What cannot be listed stays. */
static void remove_if_empty(const awq__output *output)
{
    bool empty = false;
    if (output->lock >= 0)
        (void)awq__holds_nothing_but(output->ctx, output->partial, AWQ__LOCK_FILE, &empty);
    if (!empty)
        return;
    (void)awq__remove_file(output->ctx, output->partial, AWQ__LOCK_FILE);
    rmdir(output->partial);
}

void awq__output_free(awq__output *output)
{
    if (!output)
        return;
    awq__output_abandon(output);
    remove_if_empty(output);
    awq__layout_free(&output->layout);
    release_lock(output);
    free_names(output);
    awq__free(output);
}
