/* Small files of an output. Each gets its name only when it is whole. */
#include "checkpoint/internal.h"
#include "core/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES 65536

typedef struct small_file {
    char *path, *temporary;
    int fd;
    bool exists; /* by its temporary name */
} small_file;

/* A link in its place would lead the written bytes out of the output. */
static awq_status make_template_folder(const awq__output *output)
{
    char *path = awq__path_join(output->ctx, output->partial, AWQ__TEMPLATE_FOLDER);
    AWQ__CHECK_ALLOC(path);
    awq_status status = awq__is_link(path)
                            ? awq__fail(output->ctx, AWQ_ERROR_IO, "%s: is a link", path)
                            : awq__make_directories(output->ctx, path);
    awq__free(path);
    return status;
}

static awq_status open_small(awq__output *output, const char *name, small_file *file)
{
    awq_context *ctx = output->ctx;
    *file = (small_file){.fd = -1};
    if (!awq__is_output_name(name) ||
        !strncmp(name, AWQ__PRIVATE_PREFIX, strlen(AWQ__PRIVATE_PREFIX)))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%s: \"%s\" is not the plain name of a file, or reserved", output->partial,
                         name);
    if (strchr(name, '/'))
        AWQ__CHECK(make_template_folder(output));
    file->path = awq__path_join(ctx, output->partial, name);
    file->temporary = awq__format(ctx, "%s/" AWQ__PRIVATE_PREFIX "%s" AWQ__TEMPORARY_SUFFIX,
                                  output->partial, awq__base_name(name));
    if (!file->path || !file->temporary)
        return AWQ_ERROR_MEMORY;
    file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file->fd < 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be created: %s", file->temporary,
                         strerror(errno));
    file->exists = true;
    return AWQ_OK;
}

/* Gives the whole file its name. */
static awq_status place_small(awq__output *output, small_file *file)
{
    awq_context *ctx = output->ctx;
    AWQ__CHECK(awq__sync_file(ctx, file->path, file->fd));
    int closed = close(file->fd);
    file->fd = -1;
    if (closed != 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be closed: %s", file->path,
                         strerror(errno));
    if (rename(file->temporary, file->path) != 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be replaced: %s", file->path,
                         strerror(errno));
    file->exists = false;
    return awq__sync_parent(ctx, file->path);
}

static void free_small(small_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->exists)
        unlink(file->temporary);
    awq__free(file->path);
    awq__free(file->temporary);
    *file = (small_file){.fd = -1};
}

awq_status awq__output_text(awq__output *output, const char *file_name, const char *text,
                            size_t bytes)
{
    small_file file;
    awq_status status;
    AWQ__TRY(open_small(output, file_name, &file));
    AWQ__TRY(awq__write_at(output->ctx, file.path, file.fd, text, bytes, 0));
    AWQ__TRY(place_small(output, &file));
done:
    free_small(&file);
    return status;
}

awq_status awq__output_json(awq__output *output, const char *file_name, const char *text,
                            size_t bytes)
{
    awq__json_source source = {.name = file_name};
    AWQ__CHECK(awq__json_check(output->ctx, &source, text, bytes));
    return awq__output_text(output, file_name, text, bytes);
}

static awq_status copy_bytes(awq_context *ctx, int source, const char *source_path,
                             const small_file *file)
{
    char *buffer = awq__alloc(ctx, COPY_BYTES, 1, "a copy buffer");
    awq_status status;
    uint64_t at = 0;
    AWQ__TRY_ALLOC(buffer);
    for (;;) {
        ssize_t count = read(source, buffer, COPY_BYTES);
        if (count < 0 && errno == EINTR)
            continue;
        if (count == 0)
            break;
        if (count < 0)
            AWQ__TRY(awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be read: %s", source_path,
                               strerror(errno)));
        AWQ__TRY(awq__write_at(ctx, file->path, file->fd, buffer, (size_t)count, at));
        at += (uint64_t)count;
    }
done:
    awq__free(buffer);
    return status;
}

static awq_status copy_open(awq__output *output, int source, const char *source_path,
                            const char *file_name)
{
    small_file file;
    awq_status status;
    AWQ__TRY(open_small(output, file_name, &file));
    AWQ__TRY(copy_bytes(output->ctx, source, source_path, &file));
    AWQ__TRY(place_small(output, &file));
done:
    free_small(&file);
    return status;
}

awq_status awq__output_copy(awq__output *output, const char *source_path)
{
    return awq__output_copy_as(output, source_path, awq__base_name(source_path));
}

awq_status awq__output_copy_as(awq__output *output, const char *source_path, const char *file_name)
{
    int source = open(source_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (source < 0 && errno == ENOENT)
        return AWQ_OK;
    if (source < 0)
        return awq__fail(output->ctx, AWQ_ERROR_IO, "%s: %s", source_path, strerror(errno));
    struct stat info;
    awq_status status =
        fstat(source, &info) == 0 && S_ISREG(info.st_mode)
            ? copy_open(output, source, source_path, file_name)
            : awq__fail(output->ctx, AWQ_ERROR_IO, "%s: not a regular file", source_path);
    close(source);
    return status;
}
