/* Where each tensor goes: shards, order within them, their headers and the index. Pure: no file
   is touched. The same declarations give the same bytes. */
#include "checkpoint/gguf_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int compare_names(const void *a, const void *b)
{
    const awq__entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Larger elements first, so that each tensor begins at a multiple of its element size. */
static int compare_stored(const void *a, const void *b)
{
    const awq__entry *const *x = a, *const *y = b;
    int bits = awq_dtype_bits((*y)->dtype) - awq_dtype_bits((*x)->dtype);
    if (bits)
        return bits;
    if ((*x)->dtype != (*y)->dtype)
        return (*x)->dtype < (*y)->dtype ? 1 : -1;
    return compare_names(a, b);
}

awq__entry *awq__layout_find(const awq__layout *layout, const char *name)
{
    if (!layout->count)
        return NULL;
    awq__entry key = {.name = (char *)(uintptr_t)name};
    const awq__entry *pointer = &key;
    awq__entry **found =
        bsearch(&pointer, layout->by_name, layout->count, sizeof *layout->by_name, compare_names);
    return found ? *found : NULL;
}

static awq_status sort_names(awq_context *ctx, awq__layout *layout)
{
    layout->by_name = awq__alloc(ctx, layout->count, sizeof *layout->by_name, "tensors to write");
    AWQ__CHECK_ALLOC(layout->by_name);
    for (size_t i = 0; i < layout->count; i++)
        layout->by_name[i] = &layout->entries[i];
    qsort(layout->by_name, layout->count, sizeof *layout->by_name, compare_names);
    for (size_t i = 1; i < layout->count; i++)
        if (!strcmp(layout->by_name[i - 1]->name, layout->by_name[i]->name))
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "tensor \"%s\": declared twice",
                             layout->by_name[i]->name);
    return AWQ_OK;
}

/* Gives each entry its shard and returns the number of shards, at least 1. */
static size_t assign_shards(awq__layout *layout, uint64_t shard_bytes)
{
    size_t shard = 0;
    uint64_t used = 0;
    for (size_t i = 0; i < layout->count; i++) {
        awq__entry *entry = &layout->entries[i];
        bool fits = !entry->bytes || (used <= shard_bytes && entry->bytes <= shard_bytes - used);
        bool first = i == 0 || layout->entries[i - 1].shard != shard;
        if (!fits && !first) {
            shard++;
            used = 0;
        }
        entry->shard = shard;
        used += entry->bytes;
    }
    return shard + 1;
}

/* A JSON string. UTF-8 stands for itself. */
static awq_status append_string(awq_context *ctx, awq__text *text, const char *string)
{
    AWQ__CHECK(awq__text_append_bytes(ctx, text, "\"", 1));
    while (*string) {
        size_t plain = 0;
        while ((unsigned char)string[plain] >= 0x20 && string[plain] != '"' &&
               string[plain] != '\\')
            plain++;
        AWQ__CHECK(awq__text_append_bytes(ctx, text, string, plain));
        string += plain;
        if (*string) {
            bool control = (unsigned char)*string < 0x20;
            AWQ__CHECK(awq__text_append(ctx, text, control ? "\\u%04x" : "\\%c", *string));
            string++;
        }
    }
    return awq__text_append_bytes(ctx, text, "\"", 1);
}

/* One tensor of a header; `begin` counts from the beginning of the data. */
static awq_status append_entry(awq_context *ctx, awq__text *header, const awq__entry *entry,
                               uint64_t begin)
{
    AWQ__CHECK(awq__text_append(ctx, header, ","));
    AWQ__CHECK(append_string(ctx, header, entry->name));
    AWQ__CHECK(awq__text_append(ctx, header, ":{\"dtype\":\"%s\",\"shape\":[",
                                awq_dtype_name(entry->dtype)));
    for (int i = 0; i < entry->rank; i++)
        AWQ__CHECK(
            awq__text_append(ctx, header, "%s%lld", i ? "," : "", (long long)entry->shape[i]));
    return awq__text_append(ctx, header, "],\"data_offsets\":[%llu,%llu]}",
                            (unsigned long long)begin, (unsigned long long)(begin + entry->bytes));
}

/* Closes the JSON, pads it to a multiple of 8 and puts its length in front. */
static awq_status finish_header(awq_context *ctx, awq__shard *shard)
{
    uint64_t length;
    awq__text *header = &shard->header;
    AWQ__CHECK(awq__text_append(ctx, header, "}"));
    while (header->length % 8)
        AWQ__CHECK(awq__text_append_bytes(ctx, header, " ", 1));
    length = header->length - sizeof length;
    if (length > AWQ__MAX_HEADER_BYTES)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%s: so many tensors that the header takes %llu bytes; at most %d are "
                         "allowed: make smaller shards",
                         shard->path, (unsigned long long)length, AWQ__MAX_HEADER_BYTES);
    memcpy(header->data, &length, sizeof length);
    return AWQ_OK;
}

static awq_status name_shard(awq_context *ctx, awq__layout *layout, const char *directory,
                             size_t index)
{
    awq__shard *shard = &layout->shards[index];
    size_t count = layout->shard_count;
    const char *name = layout->gguf ? layout->name : "model";
    const char *end = layout->gguf ? "gguf" : "safetensors";
    shard->name = count == 1
                      ? awq__format(ctx, "%s.%s", name, end)
                      : awq__format(ctx, "%s-%05zu-of-%05zu.%s", name, index + 1, count, end);
    shard->path = shard->name ? awq__path_join(ctx, directory, shard->name) : NULL;
    return shard->path ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* Orders the tensors of one shard and gives them their places. */
static awq_status place_entries(awq_context *ctx, awq__shard *shard)
{
    awq__entry **entries = shard->entries;
    size_t count = shard->count;
    qsort(entries, count, sizeof *entries, compare_stored);
    AWQ__CHECK(awq__text_append_bytes(ctx, &shard->header, "\0\0\0\0\0\0\0\0", 8));
    AWQ__CHECK(awq__text_append(ctx, &shard->header, "{\"__metadata__\":{\"format\":\"pt\"}"));
    uint64_t begin = 0;
    for (size_t i = 0; i < count; i++) {
        AWQ__CHECK(append_entry(ctx, &shard->header, entries[i], begin));
        entries[i]->offset = begin;
        begin += entries[i]->bytes;
    }
    AWQ__CHECK(finish_header(ctx, shard));
    for (size_t i = 0; i < count; i++)
        entries[i]->offset += shard->header.length;
    shard->file_bytes = begin + shard->header.length;
    return AWQ_OK;
}

/* The sum of all sizes must be a file offset, whatever the shards. */
static awq_status check_total(awq_context *ctx, const awq__layout *layout)
{
    int64_t total = 0;
    for (size_t i = 0; i < layout->count; i++)
        if (__builtin_add_overflow(total, layout->entries[i].bytes, &total) ||
            total > AWQ__MAX_JSON_INT)
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "tensor \"%s\": all tensors up to it are larger than 2^53 bytes",
                             layout->entries[i].name);
    return AWQ_OK;
}

awq_status awq__layout_cut(awq_context *ctx, awq__layout *layout, const char *directory,
                           uint64_t shard_bytes)
{
    AWQ__CHECK(check_total(ctx, layout));
    AWQ__CHECK(sort_names(ctx, layout));
    size_t shard_count = assign_shards(layout, shard_bytes);
    layout->shards = awq__alloc(ctx, shard_count, sizeof *layout->shards, "shards");
    layout->stored = awq__alloc(ctx, layout->count, sizeof *layout->stored, "tensors to write");
    AWQ__CHECK_ALLOC(layout->shards && layout->stored);
    layout->shard_count = shard_count;
    size_t end = 0;
    for (size_t i = 0; i < layout->shard_count; i++) {
        awq__shard *shard = &layout->shards[i];
        shard->fd = -1;
        awq__sha256_begin(&shard->sha);
        shard->entries = layout->stored + end;
        for (; end < layout->count && layout->entries[end].shard == i; end++)
            shard->entries[shard->count++] = &layout->entries[end];
    }
    for (size_t i = 0; i < shard_count; i++) {
        AWQ__CHECK(name_shard(ctx, layout, directory, i));
        AWQ__CHECK(layout->gguf ? awq__gguf_place(ctx, layout, i)
                                : place_entries(ctx, &layout->shards[i]));
    }
    return AWQ_OK;
}

awq_status awq__layout_index(awq_context *ctx, const awq__layout *layout, awq__text *index)
{
    uint64_t total = 0;
    for (size_t i = 0; i < layout->count; i++)
        total += layout->entries[i].bytes;
    AWQ__CHECK(awq__text_append(
        ctx, index, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
        (unsigned long long)total));
    for (size_t i = 0; i < layout->count; i++) {
        const awq__entry *entry = layout->by_name[i];
        AWQ__CHECK(awq__text_append(ctx, index, "%s\n    ", i ? "," : ""));
        AWQ__CHECK(append_string(ctx, index, entry->name));
        AWQ__CHECK(awq__text_append(ctx, index, ": \"%s\"", layout->shards[entry->shard].name));
    }
    return awq__text_append(ctx, index, "\n  }\n}\n");
}

void awq__layout_free(awq__layout *layout)
{
    for (size_t i = 0; i < layout->count; i++)
        awq__free(layout->entries[i].name);
    for (size_t i = 0; i < layout->shard_count; i++) {
        awq__shard *shard = &layout->shards[i];
        if (shard->fd >= 0)
            close(shard->fd);
        awq__free(shard->name);
        awq__free(shard->path);
        awq__text_free(&shard->header);
    }
    awq__free(layout->entries);
    awq__free(layout->by_name);
    awq__free(layout->stored);
    awq__free(layout->shards);
    if (layout->gguf)
        awq__text_free(&layout->gguf->bytes);
    awq__free(layout->gguf);
    awq__free(layout->name);
    *layout = (awq__layout){0};
}
