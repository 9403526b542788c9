/*
 * How an existing directory gives way to a new one.
 *
 * Where the file system can, the two exchange their names in one step, so that the output is never
 * missing. Elsewhere the old one is moved to DIRECTORY.replaced first. A marker file in the old one
 * tells a later run that it is ours to put back or to remove, wherever a kill has left it.
 */
#define _GNU_SOURCE /* renameat2 */

#include "awq/awq.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MARKER_FILE AWQ__PRIVATE_PREFIX "replaced"

static awq_status set_marker(const awq__output *output, const char *directory)
{
    char *path = awq__path_join(output->ctx, directory, MARKER_FILE);
    AWQ__CHECK_ALLOC(path);
    awq_status status = AWQ_OK;
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0 || close(fd) != 0)
        AWQ__TRY(awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be created: %s", path,
                           strerror(errno)));
    AWQ__TRY(awq__sync_directory(output->ctx, directory));
done:
    awq__free(path);
    return status;
}

static awq_status remove_marker(const awq__output *output, const char *directory)
{
    return awq__remove_file(output->ctx, directory, MARKER_FILE);
}

/* The marker goes last, so that an interrupted removal can be finished. */
static awq_status remove_replaced(const awq__output *output)
{
    AWQ__CHECK(awq__clear_directory(output->ctx, output->replaced, MARKER_FILE));
    AWQ__CHECK(remove_marker(output, output->replaced));
    if (rmdir(output->replaced) != 0)
        return awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be removed: %s", output->replaced,
                         strerror(errno));
    return AWQ_OK;
}

awq_status awq__drop_replaced(const awq__output *output)
{
    if (awq__holds_file(output->partial, MARKER_FILE) &&
        rename(output->partial, output->replaced) != 0)
        return awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be moved to %s: %s",
                         output->partial, output->replaced, strerror(errno));
    return awq__holds_file(output->replaced, MARKER_FILE) ? remove_replaced(output) : AWQ_OK;
}

awq_status awq__check_replaced(const awq__output *output)
{
    bool empty;
    if (!awq__exists(output->directory) || !awq__exists(output->replaced) ||
        awq__holds_file(output->replaced, MARKER_FILE))
        return AWQ_OK;
    AWQ__CHECK(awq__holds_nothing_but(output->ctx, output->replaced, NULL, &empty));
    if (!empty) /* else it gives way to a rename */
        return awq__fail(output->ctx, AWQ_ERROR_EXISTS,
                         "%s: in the way, since %s would be moved there", output->replaced,
                         output->directory);
    return AWQ_OK;
}

bool awq__is_replaced(const char *directory)
{
    return awq__holds_file(directory, MARKER_FILE);
}

awq_status awq__recover_replaced(const awq__output *output)
{
    if (awq__holds_file(output->replaced, MARKER_FILE)) {
        if (awq__exists(output->directory))
            return remove_replaced(output);
        if (rename(output->replaced, output->directory) != 0)
            return awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be put back: %s",
                             output->replaced, strerror(errno));
    }
    AWQ__CHECK(awq__check_replaced(output));
    /* The old directory is back in its place: put there just now, or never moved because the run
     * was killed. */
    return remove_marker(output, output->directory);
}

/* Moves the old directory away and the new one into its place. For an instant the name does not
 * exist. */
static awq_status move_both(const awq__output *output)
{
    if (rename(output->directory, output->replaced) != 0)
        return awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be moved to %s: %s",
                         output->directory, output->replaced, strerror(errno));
    if (rename(output->partial, output->directory) == 0)
        return AWQ_OK;
    awq_status status = awq__fail(output->ctx, AWQ_ERROR_IO, "%s: cannot be renamed to %s: %s",
                                  output->partial, output->directory, strerror(errno));
    rename(output->replaced, output->directory);
    return status;
}

awq_status awq__replace(const awq__output *output)
{
    AWQ__CHECK(awq__recover_replaced(output));
    AWQ__CHECK(set_marker(output, output->directory));
    if (renameat2(AT_FDCWD, output->partial, AT_FDCWD, output->directory, RENAME_EXCHANGE) == 0)
        return AWQ_OK;
    /* Some file systems and kernels cannot exchange names. The renames report any other error. */
    awq_status status = move_both(output);
    if (status != AWQ_OK && awq__holds_file(output->directory, MARKER_FILE))
        remove_marker(output, output->directory);
    return status;
}
