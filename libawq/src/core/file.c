/* Reading files: whole, or in parts. */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Is it what git-LFS puts in the place of a file that was not fetched? */
static bool is_lfs_pointer(int fd, off_t size)
{
    static const char begin[] = "version https://git-lfs.github.com/spec/";
    enum { LARGEST = 1024, LENGTH = sizeof begin - 1 };
    char text[LENGTH];
    return size <= LARGEST && pread(fd, text, LENGTH, 0) == LENGTH && !memcmp(text, begin, LENGTH);
}

int awq__open_file(awq_context *ctx, const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not make it wait */
    if (fd < 0) {
        awq__fail(ctx, AWQ_ERROR_IO, "%s: %s", path, strerror(errno));
        return -1;
    }
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        awq__fail(ctx, AWQ_ERROR_IO, "%s: not a regular file", path);
        close(fd);
        return -1;
    }
    if (is_lfs_pointer(fd, info.st_size)) {
        awq__fail(ctx, AWQ_ERROR_IO,
                  "%s: a pointer of git-LFS, not the file itself; \"git lfs pull\" fetches it",
                  path);
        close(fd);
        return -1;
    }
    *size = (size_t)info.st_size;
    return fd;
}

awq_status awq__file_find(awq_context *ctx, const char *path, awq__file *file)
{
    size_t size;
    *file = (awq__file){.path = awq__strdup(ctx, path)};
    AWQ__CHECK_ALLOC(file->path);
    int fd = awq__open_file(ctx, path, &size);
    if (fd < 0)
        return AWQ_ERROR_IO;
    close(fd);
    file->size = size;
    return AWQ_OK;
}

void awq__file_free(awq__file *file)
{
    awq__free(file->path);
    *file = (awq__file){0};
}

awq_status awq__file_open(awq_context *ctx, const awq__file *file, int *fd)
{
    size_t size;
    *fd = awq__open_file(ctx, file->path, &size);
    if (*fd < 0)
        return AWQ_ERROR_IO;
    if (size == file->size)
        return AWQ_OK;
    close(*fd);
    *fd = -1;
    return awq__fail(ctx, AWQ_ERROR_IO,
                     "%s: has %zu bytes, but had %llu when it was opened: it was changed meanwhile",
                     file->path, size, (unsigned long long)file->size);
}

awq_status awq__read_at(awq_context *ctx, const char *path, int fd, uint64_t offset, size_t bytes,
                        void *to)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t count = pread(fd, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return awq__fail(ctx, AWQ_ERROR_IO,
                             "%s: only %zu of the %zu bytes from byte %llu on could be read: %s",
                             path, done, bytes, (unsigned long long)offset,
                             count ? strerror(errno) : "the file ends there");
        done += (size_t)count;
    }
    return AWQ_OK;
}

awq_status awq__file_read(awq_context *ctx, const awq__file *file, uint64_t offset, size_t bytes,
                          void *to)
{
    int fd;
    AWQ__CHECK(awq__file_open(ctx, file, &fd));
    awq_status status = awq__read_at(ctx, file->path, fd, offset, bytes, to);
    close(fd);
    return status;
}

awq_status awq__read_text_file(awq_context *ctx, const char *path, size_t limit, char **text,
                               size_t *bytes)
{
    awq_status status;
    char *data = NULL;
    size_t size;
    *text = NULL;
    *bytes = 0;
    int fd = awq__open_file(ctx, path, &size);
    if (fd < 0)
        return AWQ_ERROR_IO;
    if (size > limit)
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %zu bytes, more than the %zu allowed", path,
                           size, limit));
    data = awq__alloc(ctx, size + 1, 1, path);
    AWQ__TRY_ALLOC(data);
    AWQ__TRY(awq__read_at(ctx, path, fd, 0, size, data));
    *text = data;
    *bytes = size;
    data = NULL;
done:
    close(fd);
    awq__free(data);
    return status;
}

bool awq__is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

int64_t awq__file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : 0;
}

bool awq__is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool awq__is_link(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}
