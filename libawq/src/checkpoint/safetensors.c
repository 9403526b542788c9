/* Reading one safetensors file. Nothing in it is believed before it is checked. */
#include "checkpoint/internal.h"
#include "core/json.h"

#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES 8

struct awq__safetensors {
    awq__file file;
    const char *path;     /* its own */
    char *names;          /* of all tensors, one after the other */
    awq__tensor *tensors; /* sorted by name */
    size_t count;
    uint64_t data; /* where what follows the header begins */
    size_t data_bytes;
};

int64_t awq__tensor_elements(const awq__tensor *tensor)
{
    int64_t elements = 1;
    for (int i = 0; i < tensor->rank; i++)
        elements *= tensor->shape[i];
    return elements;
}

awq_status awq__tensor_read(awq_context *ctx, const awq__tensor *tensor, uint64_t offset,
                            size_t bytes, void *to)
{
    return awq__file_read(ctx, tensor->source, tensor->offset + offset, bytes, to);
}

awq_status awq__tensor_copy(awq_context *ctx, const awq__tensor *tensor, size_t limit,
                            uint8_t **data)
{
    *data = NULL;
    if (tensor->bytes > limit)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %s has %zu bytes, expected at most %zu",
                         tensor->file, tensor->name, tensor->bytes, limit);
    *data = awq__alloc(ctx, tensor->bytes, 1, tensor->name);
    AWQ__CHECK_ALLOC(*data);
    awq_status status = awq__tensor_read(ctx, tensor, 0, tensor->bytes, *data);
    if (status != AWQ_OK) {
        awq__free(*data);
        *data = NULL;
    }
    return status;
}

awq_status awq__tensor_compare(awq_context *ctx, const awq__tensor *a, const awq__tensor *b,
                               bool *same)
{
    size_t block = a->bytes < AWQ__READ_BLOCK ? a->bytes : AWQ__READ_BLOCK;
    uint8_t *x = awq__alloc(ctx, block, 1, a->name), *y = awq__alloc(ctx, block, 1, b->name);
    awq_status status;
    AWQ__TRY_ALLOC(x && y);
    *same = true;
    for (size_t at = 0; at < a->bytes && *same; at += block) {
        size_t bytes = a->bytes - at < block ? a->bytes - at : block;
        AWQ__TRY(awq__tensor_read(ctx, a, at, bytes, x));
        AWQ__TRY(awq__tensor_read(ctx, b, at, bytes, y));
        *same = !memcmp(x, y, bytes);
    }
done:
    awq__free(x);
    awq__free(y);
    return status;
}

/* ---- the header ---- */

static awq_status check_length(awq_context *ctx, const awq__safetensors *file, uint64_t length)
{
    uint64_t size = file->file.size;
    if (length > AWQ__MAX_HEADER_BYTES)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: a header of %llu bytes; at most %d are allowed", file->path,
                         (unsigned long long)length, AWQ__MAX_HEADER_BYTES);
    if (length > size - LENGTH_BYTES)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: a header of %llu bytes passes the end of the file, which has %llu",
                         file->path, (unsigned long long)length, (unsigned long long)size);
    return AWQ_OK;
}

static awq_status parse_header(awq_context *ctx, const char *path, const char *header,
                               size_t length, cJSON **root)
{
    if (!length || header[0] != '{')
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: the header does not begin with '{'", path);
    return awq__json_parse(ctx, path, header, length, root);
}

static awq_status read_header(awq_context *ctx, awq__safetensors *file, cJSON **root)
{
    uint64_t length;
    if (file->file.size < LENGTH_BYTES)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: %llu bytes are too few for a safetensors file, which begins with an "
                         "8-byte header length",
                         file->path, (unsigned long long)file->file.size);
    AWQ__CHECK(awq__file_read(ctx, &file->file, 0, sizeof length, &length));
    AWQ__CHECK(check_length(ctx, file, length));
    char *header = awq__alloc(ctx, (size_t)length, 1, "a header");
    awq_status status;
    AWQ__TRY_ALLOC(header);
    AWQ__TRY(awq__file_read(ctx, &file->file, LENGTH_BYTES, (size_t)length, header));
    AWQ__TRY(parse_header(ctx, file->path, header, (size_t)length, root));
    file->data = LENGTH_BYTES + length;
    file->data_bytes = (size_t)(file->file.size - file->data);
done:
    awq__free(header);
    return status;
}

static awq_status check_metadata(awq_context *ctx, const char *path, const cJSON *metadata)
{
    if (!cJSON_IsObject(metadata))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: __metadata__ is not an object", path);
    for (const cJSON *item = metadata->child; item; item = item->next)
        if (!cJSON_IsString(item))
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: __metadata__: the value of \"%s\" is not a string", path,
                             item->string);
    return AWQ_OK;
}

/* The three items of a tensor's entry. */
typedef struct fields {
    const cJSON *dtype, *shape, *offsets;
} fields;

static awq_status find_fields(awq_context *ctx, const char *path, const cJSON *entry, fields *out)
{
    *out = (fields){0};
    if (!cJSON_IsObject(entry))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: tensor \"%s\": not an object", path,
                         entry->string);
    for (const cJSON *item = entry->child; item; item = item->next) {
        if (!strcmp(item->string, "dtype"))
            out->dtype = item;
        else if (!strcmp(item->string, "shape"))
            out->shape = item;
        else if (!strcmp(item->string, "data_offsets"))
            out->offsets = item;
        else
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: tensor \"%s\": key \"%s\" is not one of dtype, shape and "
                             "data_offsets",
                             path, entry->string, item->string);
    }
    const char *missing = !out->dtype     ? "dtype"
                          : !out->shape   ? "shape"
                          : !out->offsets ? "data_offsets"
                                          : NULL;
    if (missing)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: tensor \"%s\": no %s", path, entry->string,
                         missing);
    return AWQ_OK;
}

static awq_status read_dtype(awq_context *ctx, const char *path, const cJSON *item,
                             awq__tensor *tensor)
{
    if (!cJSON_IsString(item))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: tensor \"%s\": dtype is not a string", path,
                         tensor->name);
    tensor->dtype = awq__dtype_from_name(item->valuestring);
    if (tensor->dtype == AWQ_DTYPE_COUNT)
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: tensor \"%s\": dtype \"%s\" is none of the known ones", path,
                         tensor->name, item->valuestring);
    return AWQ_OK;
}

/* Sets shape, rank and the bytes that shape and dtype ask for. */
static awq_status read_shape(awq_context *ctx, const char *path, const cJSON *item,
                             awq__tensor *tensor)
{
    if (!cJSON_IsArray(item))
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: tensor \"%s\": shape is not an array", path,
                         tensor->name);
    int64_t bits = awq_dtype_bits(tensor->dtype);
    bool overflow = false;
    for (const cJSON *size = item->child; size; size = size->next) {
        int64_t value;
        if (!awq__json_int(size, &value) || value < 0)
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: tensor \"%s\": shape holds something else than whole numbers "
                             "from 0 to 2^53",
                             path, tensor->name);
        if (tensor->rank == AWQ__MAX_RANK)
            return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: tensor \"%s\": more than %d dimensions", path, tensor->name,
                             AWQ__MAX_RANK);
        tensor->shape[tensor->rank++] = value;
        overflow = overflow || __builtin_mul_overflow(bits, value, &bits);
    }
    if (overflow)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: tensor \"%s\": the product of its shape overflows 64 bits", path,
                         tensor->name);
    if (bits % 8)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: tensor \"%s\": %lld bits of %s do not fill whole bytes", path,
                         tensor->name, (long long)bits, awq_dtype_name(tensor->dtype));
    tensor->bytes = (size_t)(bits / 8);
    return AWQ_OK;
}

static awq_status read_offsets(awq_context *ctx, const awq__safetensors *file, const cJSON *item,
                               awq__tensor *tensor)
{
    const cJSON *first = cJSON_IsArray(item) ? item->child : NULL;
    const cJSON *second = first ? first->next : NULL;
    int64_t begin, end;
    if (!second || second->next || !awq__json_int(first, &begin) || !awq__json_int(second, &end) ||
        begin < 0 || end < 0)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: tensor \"%s\": data_offsets is not a pair of whole numbers from 0 to "
                         "2^53",
                         file->path, tensor->name);
    if (begin > end || (uint64_t)end > file->data_bytes)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: tensor \"%s\": data_offsets %lld to %lld do not lie, in this order, "
                         "within the %zu bytes of data",
                         file->path, tensor->name, (long long)begin, (long long)end,
                         file->data_bytes);
    if ((uint64_t)(end - begin) != tensor->bytes)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: tensor \"%s\": %lld bytes of data, but its shape and dtype %s make "
                         "%zu",
                         file->path, tensor->name, (long long)(end - begin),
                         awq_dtype_name(tensor->dtype), tensor->bytes);
    tensor->offset = file->data + (uint64_t)begin;
    return AWQ_OK;
}

static awq_status read_tensor(awq_context *ctx, const awq__safetensors *file, const cJSON *entry,
                              awq__tensor *tensor)
{
    fields found;
    AWQ__CHECK(find_fields(ctx, file->path, entry, &found));
    AWQ__CHECK(read_dtype(ctx, file->path, found.dtype, tensor));
    AWQ__CHECK(read_shape(ctx, file->path, found.shape, tensor));
    return read_offsets(ctx, file, found.offsets, tensor);
}

/* Orders by place; an empty tensor comes before the one that begins at the same byte. */
static int compare_places(const void *a, const void *b)
{
    const awq__tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const awq__tensor *)a)->name, ((const awq__tensor *)b)->name);
}

/* Every byte of data belongs to exactly one tensor. Sorts the tensors by place. */
static awq_status check_places(awq_context *ctx, awq__safetensors *file)
{
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_places);
    size_t covered = 0;
    for (size_t i = 0; i < file->count; i++) {
        const awq__tensor *tensor = &file->tensors[i];
        size_t begin = (size_t)(tensor->offset - file->data);
        if (begin != covered)
            return awq__fail(ctx, AWQ_ERROR_FORMAT,
                             "%s: tensor \"%s\": begins at byte %zu of the data, but the one "
                             "before it ends at %zu: %s",
                             file->path, tensor->name, begin, covered,
                             begin > covered ? "a hole" : "they overlap");
        covered = begin + tensor->bytes;
    }
    if (covered != file->data_bytes)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %zu bytes of data, but the tensors end at %zu",
                         file->path, file->data_bytes, covered);
    return AWQ_OK;
}

/* Copies a name behind those already in the pool, which has room for all. */
static const char *keep_name(char **pool, const char *name)
{
    size_t bytes = strlen(name) + 1;
    char *kept = memcpy(*pool, name, bytes);
    *pool += bytes;
    return kept;
}

static awq_status read_tensors(awq_context *ctx, awq__safetensors *file, const cJSON *root)
{
    size_t entries = 0, name_bytes = 0;
    for (const cJSON *entry = root->child; entry; entry = entry->next) {
        entries++;
        name_bytes += strlen(entry->string) + 1;
    }
    file->tensors = awq__alloc(ctx, entries, sizeof *file->tensors, "tensors of a file");
    char *pool = file->names = awq__alloc(ctx, name_bytes, 1, "names of tensors");
    AWQ__CHECK_ALLOC(file->tensors && file->names);
    for (const cJSON *entry = root->child; entry; entry = entry->next) {
        if (!strcmp(entry->string, "__metadata__")) {
            AWQ__CHECK(check_metadata(ctx, file->path, entry));
        } else {
            awq__tensor *tensor = &file->tensors[file->count++];
            tensor->name = keep_name(&pool, entry->string);
            tensor->file = file->path;
            tensor->source = &file->file;
            AWQ__CHECK(read_tensor(ctx, file, entry, tensor));
        }
    }
    AWQ__CHECK(check_places(ctx, file));
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_names);
    return AWQ_OK;
}

awq_status awq__safetensors_open(awq_context *ctx, const char *path, awq__safetensors **out)
{
    *out = NULL;
    awq__safetensors *file = awq__alloc(ctx, 1, sizeof *file, "a safetensors file");
    AWQ__CHECK_ALLOC(file);
    cJSON *root = NULL;
    awq_status status;
    AWQ__TRY(awq__file_find(ctx, path, &file->file));
    file->path = file->file.path;
    AWQ__TRY(read_header(ctx, file, &root));
    AWQ__TRY(read_tensors(ctx, file, root));
    *out = file;
done:
    cJSON_Delete(root);
    if (status != AWQ_OK)
        awq__safetensors_free(file);
    return status;
}

void awq__safetensors_free(awq__safetensors *file)
{
    if (!file)
        return;
    awq__file_free(&file->file);
    awq__free(file->names);
    awq__free(file->tensors);
    awq__free(file);
}

size_t awq__safetensors_count(const awq__safetensors *file)
{
    return file->count;
}

const awq__tensor *awq__safetensors_at(const awq__safetensors *file, size_t index)
{
    return index < file->count ? &file->tensors[index] : NULL;
}

const awq__tensor *awq__safetensors_find(const awq__safetensors *file, const char *name)
{
    awq__tensor key = {.name = name};
    return bsearch(&key, file->tensors, file->count, sizeof key, compare_names);
}
