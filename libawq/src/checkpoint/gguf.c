/* A GGUF model of one file or several parts. */
#include "checkpoint/gguf_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_PARTS 99999 /* part numbers have five digits */
#define SUFFIX_BYTES sizeof "-00001-of-00001.gguf"

struct awq__gguf {
    awq__gguf_part **parts;
    size_t part_count, part_capacity;
    awq__gguf_tensor *tensors; /* of all parts, sorted by name */
    size_t count;
};

/* ---- one file ---- */

static void free_part(awq__gguf_part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    awq__file_free(&part->file);
    awq__free(part->head);
    awq__free(part->values);
    awq__free(part->tensors);
    awq__free(part);
}

static awq_status read_head(awq__gguf_part *part)
{
    AWQ__CHECK(awq__file_open(part->ctx, &part->file, &part->fd));
    AWQ__CHECK(awq__gguf_read_values(part));
    AWQ__CHECK(awq__gguf_read_tensors(part));
    close(part->fd);
    part->fd = -1;
    AWQ__CHECK(awq__gguf_settle_values(part));
    return awq__gguf_settle_tensors(part);
}

static awq_status add_part(awq_context *ctx, awq__gguf *gguf, const char *path)
{
    AWQ__CHECK(awq__grow(ctx, &gguf->parts, &gguf->part_capacity, gguf->part_count + 1,
                         sizeof *gguf->parts, "parts of a model"));
    awq__gguf_part *part = awq__alloc(ctx, 1, sizeof *part, "a GGUF file");
    AWQ__CHECK_ALLOC(part);
    part->ctx = ctx;
    part->fd = -1;
    gguf->parts[gguf->part_count++] = part;
    AWQ__CHECK(awq__file_find(ctx, path, &part->file));
    return read_head(part);
}

/* ---- several ---- */

static awq_status read_split_key(awq_context *ctx, const awq__gguf_part *part, const char *key,
                                 int64_t absent, int64_t *out)
{
    const awq__gguf_value *value = awq__gguf_part_find(part, key);
    *out = absent;
    return value ? awq__gguf_integer(ctx, value, 0, out) : AWQ_OK;
}

/* The name of part `number` of `count`, from 1, after that of the first. */
static awq_status name_part(awq_context *ctx, const char *first, int64_t number, int64_t count,
                            char **path)
{
    char suffix[64];
    size_t length = strlen(first), stem = length - (SUFFIX_BYTES - 1);
    snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", 1, (int)count);
    if (length < SUFFIX_BYTES || strcmp(first + stem, suffix))
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: the first of %lld parts, but its name does not end in %s, so that "
                         "the others cannot be found",
                         first, (long long)count, suffix);
    *path = awq__format(ctx, "%.*s-%05d-of-%05d.gguf", (int)stem, first, (int)number, (int)count);
    return *path ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static awq_status check_number(awq_context *ctx, const awq__gguf_part *part, int64_t expected)
{
    int64_t number;
    AWQ__CHECK(read_split_key(ctx, part, AWQ__GGUF_SPLIT_NO, 0, &number));
    if (number == expected)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_FORMAT,
                     "%s: part %lld by its " AWQ__GGUF_SPLIT_NO ", expected %lld%s",
                     part->file.path, (long long)number, (long long)expected,
                     expected ? "" : ": a model is opened by its first part");
}

static awq_status add_others(awq_context *ctx, awq__gguf *gguf, int64_t count)
{
    awq_status status = AWQ_OK;
    char *path = NULL;
    for (int64_t i = 1; i < count; i++) {
        awq__free(path);
        path = NULL;
        AWQ__TRY(name_part(ctx, gguf->parts[0]->file.path, i + 1, count, &path));
        AWQ__TRY(add_part(ctx, gguf, path));
        AWQ__TRY(check_number(ctx, gguf->parts[i], i));
    }
done:
    awq__free(path);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const awq__gguf_tensor *)a)->stored.name,
                  ((const awq__gguf_tensor *)b)->stored.name);
}

static awq_status check_twice(awq_context *ctx, const awq__gguf *gguf)
{
    for (size_t i = 1; i < gguf->count; i++)
        if (!compare_names(&gguf->tensors[i - 1], &gguf->tensors[i]))
            return awq__gguf_fail(ctx, gguf->tensors[i].stored.file, gguf->tensors[i].info,
                                  "the tensor \"%s\" stands twice", gguf->tensors[i].stored.name);
    return AWQ_OK;
}

static awq_status gather_tensors(awq_context *ctx, awq__gguf *gguf)
{
    size_t total = 0;
    for (size_t i = 0; i < gguf->part_count; i++)
        total += (size_t)gguf->parts[i]->tensor_count;
    gguf->tensors = awq__alloc(ctx, total, sizeof *gguf->tensors, "tensors of a model");
    AWQ__CHECK_ALLOC(gguf->tensors);
    for (size_t i = 0; i < gguf->part_count; i++) {
        const awq__gguf_part *part = gguf->parts[i];
        if (part->tensor_count)
            memcpy(gguf->tensors + gguf->count, part->tensors,
                   (size_t)part->tensor_count * sizeof *part->tensors);
        gguf->count += (size_t)part->tensor_count;
    }
    qsort(gguf->tensors, gguf->count, sizeof *gguf->tensors, compare_names);
    return check_twice(ctx, gguf);
}

static awq_status open_parts(awq_context *ctx, const char *path, awq__gguf *gguf)
{
    int64_t count, tensors;
    AWQ__CHECK(add_part(ctx, gguf, path));
    AWQ__CHECK(check_number(ctx, gguf->parts[0], 0));
    AWQ__CHECK(read_split_key(ctx, gguf->parts[0], AWQ__GGUF_SPLIT_COUNT, 1, &count));
    if (count < 0 || count > MAX_PARTS)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: a model of %lld parts, expected at most %d",
                         path, (long long)count, MAX_PARTS);
    AWQ__CHECK(add_others(ctx, gguf, count));
    AWQ__CHECK(gather_tensors(ctx, gguf));
    AWQ__CHECK(read_split_key(ctx, gguf->parts[0], AWQ__GGUF_SPLIT_TENSORS, (int64_t)gguf->count,
                              &tensors));
    if (tensors != (int64_t)gguf->count)
        return awq__fail(ctx, AWQ_ERROR_FORMAT,
                         "%s: %zu tensors in all parts, but " AWQ__GGUF_SPLIT_TENSORS " is %lld",
                         path, gguf->count, (long long)tensors);
    return AWQ_OK;
}

awq_status awq__gguf_open(awq_context *ctx, const char *path, awq__gguf **out)
{
    *out = NULL;
    awq__gguf *gguf = awq__alloc(ctx, 1, sizeof *gguf, "a GGUF model");
    AWQ__CHECK_ALLOC(gguf);
    awq_status status = open_parts(ctx, path, gguf);
    if (status == AWQ_OK)
        *out = gguf;
    else
        awq__gguf_free(gguf);
    return status;
}

void awq__gguf_free(awq__gguf *gguf)
{
    if (!gguf)
        return;
    for (size_t i = 0; i < gguf->part_count; i++)
        free_part(gguf->parts[i]);
    awq__free(gguf->parts);
    awq__free(gguf->tensors);
    awq__free(gguf);
}

/* ---- what is in it ---- */

const char *awq__gguf_path(const awq__gguf *gguf)
{
    return gguf->parts[0]->file.path;
}

size_t awq__gguf_value_count(const awq__gguf *gguf)
{
    return (size_t)gguf->parts[0]->value_count;
}

const awq__gguf_value *awq__gguf_value_at(const awq__gguf *gguf, size_t index)
{
    return index < awq__gguf_value_count(gguf) ? &gguf->parts[0]->values[index] : NULL;
}

const awq__gguf_value *awq__gguf_find(const awq__gguf *gguf, const char *key)
{
    return awq__gguf_part_find(gguf->parts[0], key);
}

size_t awq__gguf_count(const awq__gguf *gguf)
{
    return gguf->count;
}

const awq__gguf_tensor *awq__gguf_at(const awq__gguf *gguf, size_t index)
{
    return index < gguf->count ? &gguf->tensors[index] : NULL;
}

const awq__gguf_tensor *awq__gguf_find_tensor(const awq__gguf *gguf, const char *name)
{
    awq__gguf_tensor wanted = {.stored = {.name = name}};
    return gguf->count ? bsearch(&wanted, gguf->tensors, gguf->count, sizeof wanted, compare_names)
                       : NULL;
}
