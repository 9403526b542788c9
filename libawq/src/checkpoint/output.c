/* The files of a checkpoint being written. How it begins and ends is in transaction.c. */
#include "checkpoint/internal.h"
#include "core/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- declaring ---- */

static awq_status declared_bytes(awq_context *ctx, const char *name, awq_dtype dtype, int rank,
                                 const int64_t *shape, size_t *bytes)
{
    int64_t bits = awq_dtype_bits(dtype);
    if (!bits)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": %d is no dtype", name,
                         (int)dtype);
    if (rank < 0 || rank > AWQ__MAX_RANK)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": rank %d is not in 0 to %d", name,
                         rank, AWQ__MAX_RANK);
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(bits, shape[i], &bits) ||
            shape[i] > AWQ__MAX_JSON_INT)
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "tensor \"%s\": size %lld of dimension %d cannot be stored", name,
                             (long long)shape[i], i);
    if (bits % 8)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "tensor \"%s\": %lld bits of %s do not fill whole bytes", name,
                         (long long)bits, awq_dtype_name(dtype));
    *bytes = (size_t)(bits / 8);
    return AWQ_OK;
}

awq_status awq__output_add(awq__output *output, const char *name, awq_dtype dtype, int rank,
                           const int64_t *shape, awq__entry **out)
{
    awq_context *ctx = output->ctx;
    awq__layout *layout = &output->layout;
    size_t bytes = 0;
    if (output->laid_out)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": declared after the layout", name);
    if (!awq__is_utf8(name, strlen(name)) || !strcmp(name, "__metadata__"))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "tensor \"%s\": the name is reserved or not UTF-8", name);
    AWQ__CHECK(declared_bytes(ctx, name, dtype, rank, shape, &bytes));
    AWQ__CHECK(awq__grow(ctx, &layout->entries, &layout->capacity, layout->count + 1,
                         sizeof *layout->entries, "tensors to write"));
    awq__entry *entry = &layout->entries[layout->count];
    *entry = (awq__entry){.dtype = dtype, .rank = rank, .bytes = bytes};
    atomic_init(&entry->written, 0);
    if (rank)
        memcpy(entry->shape, shape, (size_t)rank * sizeof *shape);
    entry->name = awq__strdup(ctx, name);
    AWQ__CHECK_ALLOC(entry->name);
    layout->count++;
    *out = entry;
    return AWQ_OK;
}

awq_status awq__output_declare(awq__output *output, const char *name, awq_dtype dtype, int rank,
                               const int64_t *shape)
{
    awq__entry *entry;
    if (output->layout.gguf)
        return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT,
                         "tensor \"%s\": declared without a type of GGUF", name);
    return awq__output_add(output, name, dtype, rank, shape, &entry);
}

/* ---- laying out ---- */

static bool begins_with(const char *text, const char *start)
{
    return !strncmp(text, start, strlen(start));
}

/* Is a file in the partial directory left from another layout or an interrupted write? */
static bool is_stale(const awq__layout *layout, const char *name)
{
    if (begins_with(name, AWQ__PRIVATE_PREFIX))
        return awq__ends_with(name, AWQ__TEMPORARY_SUFFIX);
    if (!strcmp(name, AWQ__INDEX_FILE))
        return layout->shard_count == 1 || layout->gguf;
    if ((!begins_with(name, "model") && !begins_with(name, "imatrix")) ||
        (!awq__ends_with(name, ".safetensors") && !awq__ends_with(name, ".gguf")))
        return false;
    for (size_t i = 0; i < layout->shard_count; i++)
        if (!strcmp(layout->shards[i].name, name))
            return false;
    return true;
}

static awq_status remove_if_stale(void *user, const char *name)
{
    const awq__output *output = user;
    return is_stale(&output->layout, name) ? awq__remove_file(output->ctx, output->partial, name)
                                           : AWQ_OK;
}

/* Does a file of the shard's size begin as the shard does? */
static awq_status has_header(awq_context *ctx, const awq__shard *shard, bool *same)
{
    awq__file file;
    char *header = awq__alloc(ctx, shard->header.length, 1, "a header");
    awq_status status;
    AWQ__TRY(awq__file_find(ctx, shard->path, &file));
    AWQ__TRY_ALLOC(header);
    AWQ__TRY(awq__file_read(ctx, &file, 0, shard->header.length, header));
    *same = !memcmp(header, shard->header.data, shard->header.length);
done:
    awq__file_free(&file);
    awq__free(header);
    return status;
}

/* Opens a shard of an earlier run if its size and header are those of this layout. */
static awq_status open_kept(awq_context *ctx, awq__shard *shard)
{
    struct stat info;
    if (lstat(shard->path, &info) != 0 || !S_ISREG(info.st_mode) ||
        (uint64_t)info.st_size != shard->file_bytes)
        return AWQ_OK;
    bool same;
    AWQ__CHECK(has_header(ctx, shard, &same));
    if (!same)
        return AWQ_OK;
    shard->fd = open(shard->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (shard->fd < 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: %s", shard->path, strerror(errno));
    shard->kept = true;
    return AWQ_OK;
}

/* Sets the size, with the space reserved where the file system can. Returns an errno. */
static int reserve(int fd, uint64_t bytes)
{
    int error;
    do
        error = posix_fallocate(fd, 0, (off_t)bytes);
    while (error == EINTR);
    if (error == EOPNOTSUPP || error == EINVAL)
        error = ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
    return error;
}

static awq_status no_space(awq__output *output, const awq__shard *shard, int error)
{
    uint64_t total = 0;
    char problem[AWQ__PROBLEM_BYTES];
    for (size_t i = 0; i < output->layout.shard_count; i++)
        total += output->layout.shards[i].file_bytes;
    return awq__fail(output->ctx, AWQ_ERROR_IO,
                     "%s: cannot have its %llu bytes: %s; all shards need %llu bytes%s",
                     shard->path, (unsigned long long)shard->file_bytes,
                     awq__write_problem(error, problem), (unsigned long long)total,
                     error == EFBIG ? ", and a smaller shard_size makes them smaller" : "");
}

static awq_status create_shard(awq__output *output, awq__shard *shard)
{
    awq_context *ctx = output->ctx;
    /* Makes a new file: a process that still has the old one open must not see it shrink. */
    if (unlink(shard->path) != 0 && errno != ENOENT)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be replaced: %s", shard->path,
                         strerror(errno));
    shard->fd = open(shard->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (shard->fd < 0)
        return awq__fail(ctx, AWQ_ERROR_IO, "%s: cannot be created: %s", shard->path,
                         strerror(errno));
    int error = reserve(shard->fd, shard->file_bytes);
    if (error) {
        unlink(shard->path);
        return no_space(output, shard, error);
    }
    return awq__write_at(ctx, shard->path, shard->fd, shard->header.data, shard->header.length, 0);
}

static awq_status write_index(awq__output *output)
{
    awq__text index = {0};
    awq_status status;
    AWQ__TRY(awq__layout_index(output->ctx, &output->layout, &index));
    AWQ__TRY(awq__output_json(output, AWQ__INDEX_FILE, index.data, index.length));
done:
    awq__text_free(&index);
    return status;
}

awq_status awq__output_layout(awq__output *output, uint64_t shard_bytes)
{
    awq_context *ctx = output->ctx;
    awq__layout *layout = &output->layout;
    if (layout->by_name || !shard_bytes)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: %s", output->partial,
                         shard_bytes ? "laid out twice" : "shards of 0 bytes");
    AWQ__CHECK(awq__output_wait(output)); /* it has a temporary file */
    AWQ__CHECK(awq__layout_cut(ctx, layout, output->partial, shard_bytes));
    AWQ__CHECK(awq__list_directory(ctx, output->partial, remove_if_stale, output));
    for (size_t i = 0; i < layout->shard_count; i++) {
        awq__shard *shard = &layout->shards[i];
        AWQ__CHECK(open_kept(ctx, shard));
        if (!shard->kept)
            AWQ__CHECK(create_shard(output, shard));
        awq__text_free(&shard->header);
    }
    if (layout->shard_count > 1 && !layout->gguf)
        AWQ__CHECK(write_index(output));
    AWQ__CHECK(awq__output_sync(output));
    output->laid_out = true;
    return AWQ_OK;
}

uint64_t awq__output_bytes(const awq__output *output)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < output->layout.count; i++)
        bytes += output->layout.entries[i].bytes;
    return bytes;
}

/* ---- writing tensors ---- */

static awq_status find_entry(const awq__output *output, const char *name, awq__entry **entry)
{
    *entry = output->laid_out ? awq__layout_find(&output->layout, name) : NULL;
    if (!*entry)
        return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": %s", name,
                         output->laid_out ? "not declared" : "written before the layout");
    return AWQ_OK;
}

awq_status awq__output_write(awq__output *output, const char *name, const void *data, size_t bytes)
{
    awq__entry *entry;
    AWQ__CHECK(find_entry(output, name, &entry));
    if (bytes != entry->bytes)
        return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT,
                         "tensor \"%s\": %zu bytes written, %zu declared", name, bytes,
                         entry->bytes);
    awq__shard *shard = &output->layout.shards[entry->shard];
    AWQ__CHECK(awq__write_at(output->ctx, shard->path, shard->fd, data, bytes, entry->offset));
    if (atomic_exchange(&entry->written, bytes))
        atomic_store(&shard->replaced, true);
    return AWQ_OK;
}

awq_status awq__output_write_part(awq__output *output, const char *name, size_t offset,
                                  const void *data, size_t bytes)
{
    awq__entry *entry;
    AWQ__CHECK(find_entry(output, name, &entry));
    if (offset > entry->bytes || bytes > entry->bytes - offset)
        return awq__fail(output->ctx, AWQ_ERROR_ARGUMENT,
                         "tensor \"%s\": %zu bytes written at %zu, %zu declared", name, bytes,
                         offset, entry->bytes);
    awq__shard *shard = &output->layout.shards[entry->shard];
    AWQ__CHECK(
        awq__write_at(output->ctx, shard->path, shard->fd, data, bytes, entry->offset + offset));
    if (atomic_fetch_add(&entry->written, bytes) >= entry->bytes)
        atomic_store(&shard->replaced, true);
    return AWQ_OK;
}

awq_status awq__output_write_from(awq__output *output, const char *name, size_t offset,
                                  const awq__tensor *tensor, uint64_t from, size_t bytes)
{
    size_t block = bytes < AWQ__READ_BLOCK ? bytes : AWQ__READ_BLOCK;
    uint8_t *data = awq__alloc(output->ctx, block, 1, "a copy buffer");
    awq_status status;
    AWQ__TRY_ALLOC(data);
    for (size_t at = 0; at < bytes; at += block) {
        size_t count = bytes - at < block ? bytes - at : block;
        AWQ__TRY(awq__tensor_read(output->ctx, tensor, from + at, count, data));
        AWQ__TRY(awq__output_write_part(output, name, offset + at, data, count));
    }
done:
    awq__free(data);
    return status;
}

awq_status awq__output_keep(awq__output *output, const char *name)
{
    awq__entry *entry;
    AWQ__CHECK(find_entry(output, name, &entry));
    const awq__shard *shard = &output->layout.shards[entry->shard];
    if (!shard->kept)
        return awq__fail(output->ctx, AWQ_ERROR_FORMAT,
                         "%s: tensor \"%s\": no earlier run has left its data here", shard->path,
                         name);
    atomic_store(&entry->written, entry->bytes);
    return AWQ_OK;
}

awq_status awq__output_array(const awq__output *output, const char *name, awq__hashed *array)
{
    awq__entry *entry;
    AWQ__CHECK(find_entry(output, name, &entry));
    const awq__shard *shard = &output->layout.shards[entry->shard];
    *array = (awq__hashed){
        .fd = shard->fd, .path = shard->path, .offset = entry->offset, .bytes = entry->bytes};
    return AWQ_OK;
}
