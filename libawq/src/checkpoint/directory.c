/* Files and directories: create, empty, write, make durable. */
#include "checkpoint/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 32

const char *awq__base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool awq__is_plain_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

bool awq__is_output_name(const char *name)
{
    static const char folder[] = AWQ__TEMPLATE_FOLDER "/";
    size_t length = sizeof folder - 1;
    return awq__is_plain_name(strncmp(name, folder, length) ? name : name + length);
}

/* A directory to be created, and its name within its parent. */
static awq_status make_directory(awq_context *ctx, const char *path)
{
    if (mkdir(path, 0777) == 0)
        return awq__sync_parent(ctx, path);
    if (awq__is_directory(path))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_IO, "%s: the directory cannot be created: %s", path,
                     strerror(errno));
}

awq_status awq__make_directories(awq_context *ctx, const char *path)
{
    char *part = awq__strdup(ctx, path);
    AWQ__CHECK_ALLOC(part);
    awq_status status = AWQ_OK;
    size_t length = strlen(path);
    for (size_t end = 1; end <= length; end++) {
        if (path[end] != '/' && path[end] != 0)
            continue;
        part[end] = 0;
        AWQ__TRY(make_directory(ctx, part));
        part[end] = path[end];
    }
done:
    awq__free(part);
    return status;
}

static awq_status clear_open(awq_context *ctx, int fd, const char *path, const char *keep,
                             int depth);

static awq_status cannot_remove(awq_context *ctx, const char *path, const char *name,
                                const char *why)
{
    return awq__fail(ctx, AWQ_ERROR_IO, "%s: \"%s\" cannot be removed: %s", path, name, why);
}

/* `path` is the directory at the top, for messages. */
static awq_status remove_one(awq_context *ctx, int directory, const char *path, const char *name,
                             int depth)
{
    struct stat info;
    if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return cannot_remove(ctx, path, name, strerror(errno));
    int flags = 0;
    if (S_ISDIR(info.st_mode)) {
        if (depth == MAX_DEPTH)
            return cannot_remove(ctx, path, name, "too many directories in directories");
        int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return cannot_remove(ctx, path, name, strerror(errno));
        AWQ__CHECK(clear_open(ctx, fd, path, NULL, depth + 1));
        flags = AT_REMOVEDIR;
    } else if (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode)) {
        return cannot_remove(ctx, path, name, "neither a file nor a directory");
    }
    if (unlinkat(directory, name, flags) != 0)
        return cannot_remove(ctx, path, name, strerror(errno));
    return AWQ_OK;
}

/* Takes the descriptor. */
static awq_status clear_open(awq_context *ctx, int fd, const char *path, const char *keep,
                             int depth)
{
    DIR *directory = fdopendir(fd);
    if (!directory) {
        int error = errno;
        close(fd);
        return awq__cannot_list(ctx, path, error);
    }
    awq_status status = AWQ_OK;
    bool again = true;
    while (again) { /* a pass may miss names while others are removed */
        again = false;
        rewinddir(directory);
        const struct dirent *entry;
        while ((errno = 0, entry = readdir(directory))) {
            const char *name = entry->d_name;
            if (!awq__is_plain_name(name) || (keep && !strcmp(name, keep)))
                continue;
            AWQ__TRY(remove_one(ctx, dirfd(directory), path, name, depth));
            again = true;
        }
        if (errno)
            AWQ__TRY(awq__cannot_list(ctx, path, errno));
    }
done:
    closedir(directory);
    return status;
}

awq_status awq__clear_directory(awq_context *ctx, const char *path, const char *keep)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be emptied: %s", path, strerror(errno));
    return clear_open(ctx, fd, path, keep, 0);
}

awq_status awq__remove_file(awq_context *ctx, const char *directory, const char *name)
{
    char *path = awq__path_join(ctx, directory, name);
    AWQ__CHECK_ALLOC(path);
    awq_status status = AWQ_OK;
    if (unlink(path) != 0 && errno != ENOENT)
        status = awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be removed: %s", path, strerror(errno));
    awq__free(path);
    return status;
}

awq_status awq__sync_file(awq_context *ctx, const char *path, int fd)
{
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    if (result != 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be made durable: %s", path,
                         strerror(errno));
    return AWQ_OK;
}

awq_status awq__sync_directory(awq_context *ctx, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: %s", path, strerror(errno));
    awq_status status = AWQ_OK;
    /* Some file systems have no such operation on a directory and say EINVAL. */
    if (fsync(fd) != 0 && errno != EINVAL)
        status =
            awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be made durable: %s", path, strerror(errno));
    close(fd);
    return status;
}

awq_status awq__sync_parent(awq_context *ctx, const char *path)
{
    char *parent = awq__strdup(ctx, path);
    AWQ__CHECK_ALLOC(parent);
    size_t end = strlen(parent);
    while (end && parent[end - 1] == '/')
        end--;
    while (end && parent[end - 1] != '/')
        end--;
    parent[end] = 0;
    awq_status status = awq__sync_directory(ctx, end ? parent : ".");
    awq__free(parent);
    return status;
}

const char *awq__write_problem(int error, char text[AWQ__PROBLEM_BYTES])
{
    struct rlimit limit;
    if (error == EFBIG && getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        snprintf(text, AWQ__PROBLEM_BYTES,
                 "this process may write files of %llu bytes at most (RLIMIT_FSIZE, ulimit -f)",
                 (unsigned long long)limit.rlim_cur);
    else
        snprintf(text, AWQ__PROBLEM_BYTES, "%s", strerror(error));
    return text;
}

awq_status awq__write_at(awq_context *ctx, const char *path, int fd, const void *data, size_t bytes,
                         uint64_t offset)
{
    const char *from = data;
    char problem[AWQ__PROBLEM_BYTES];
    size_t done = 0;
    while (done < bytes) {
        ssize_t count = pwrite(fd, from + done, bytes - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return awq__fail(ctx, AWQ_ERROR_IO, "%s: only %zu of %zu bytes could be written: %s",
                             path, done, bytes,
                             count < 0 ? awq__write_problem(errno, problem) : "no progress");
        done += (size_t)count;
    }
    return AWQ_OK;
}
