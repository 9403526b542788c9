/* Reading files: whole, or mapped. */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
    *size = (size_t)info.st_size;
    return fd;
}

awq_status awq__map_file(awq_context *ctx, const char *path, awq__mapping *mapping)
{
    *mapping = (awq__mapping){0};
    size_t size;
    int fd = awq__open_file(ctx, path, &size);
    if (fd < 0)
        return AWQ_ERROR_IO;
    awq_status status = AWQ_OK;
    if (size) {
        /* Shared, so that what another descriptor writes later is seen: the output is read back. */
        void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status =
                awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        else
            *mapping = (awq__mapping){data, size};
    }
    close(fd);
    return status;
}

void awq__unmap(awq__mapping *mapping)
{
    if (mapping->data)
        munmap((void *)(uintptr_t)mapping->data, mapping->size);
    *mapping = (awq__mapping){0};
}

awq_status awq__read_text_file(awq_context *ctx, const char *path, size_t limit, char **text,
                               size_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    size_t size;
    int fd = awq__open_file(ctx, path, &size);
    if (fd < 0)
        return AWQ_ERROR_IO;
    if (size > limit) {
        close(fd);
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %zu bytes, more than the %zu allowed", path,
                         size, limit);
    }
    char *data = awq__alloc(ctx, size + 1, 1, path);
    if (!data) {
        close(fd);
        return AWQ_ERROR_MEMORY;
    }
    size_t done = 0;
    while (done < size) {
        ssize_t count = read(fd, data + done, size - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    close(fd);
    if (done < size) {
        awq__free(data);
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: only %zu of %zu bytes could be read", path, done,
                         size);
    }
    *text = data;
    *bytes = size;
    return AWQ_OK;
}

bool awq__is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
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
