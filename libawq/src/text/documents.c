/* The files of a corpus, and the documents in them. Nothing is copied until it is asked for. */
#include "text/text_internal.h"
#include "checkpoint/checkpoint.h"

#include <string.h>

#define MAX_TEXT_BYTES ((size_t)4 << 30)
#define MAX_LINE_BYTES ((size_t)256 << 20)

void awq__documents_close(awq__documents *documents)
{
    for (size_t i = 0; documents->files && i < documents->file_count; i++) {
        awq__unmap(&documents->files[i].mapping);
        awq__safetensors_free(documents->files[i].tensors);
    }
    awq__free(documents->files);
    awq__free(documents->items);
    *documents = (awq__documents){0};
}

static bool ends_with(const char *path, const char *end)
{
    size_t length = strlen(path), end_length = strlen(end);
    return length > end_length && !strcmp(path + length - end_length, end);
}

static awq_status add_document(awq__documents *documents, awq__document document)
{
    awq_status status =
        awq__grow(documents->ctx, &documents->items, &documents->capacity, documents->count + 1,
                  sizeof *documents->items, "the documents of a corpus");
    if (status == AWQ_OK)
        documents->items[documents->count++] = document;
    return status;
}

static awq_status open_text(awq__documents *documents, size_t index)
{
    awq__document_file *file = &documents->files[index];
    const char *path = documents->paths[index];
    awq_status status = awq__map_file(documents->ctx, path, &file->mapping);
    if (status == AWQ_OK && file->mapping.size > MAX_TEXT_BYTES)
        return awq__fail(documents->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %zu bytes, a text may have %zu", path, file->mapping.size,
                         MAX_TEXT_BYTES);
    return status == AWQ_OK
               ? add_document(documents, (awq__document){index, 0, file->mapping.size, 1})
               : status;
}

static bool is_blank(const uint8_t *line, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r'))
        i++;
    return i == bytes;
}

static awq_status open_lines(awq__documents *documents, size_t index)
{
    awq__document_file *file = &documents->files[index];
    awq_status status = awq__map_file(documents->ctx, documents->paths[index], &file->mapping);
    const uint8_t *text = file->mapping.data;
    size_t size = file->mapping.size;
    int64_t number = 1;
    for (size_t at = 0, bytes; at < size && status == AWQ_OK; at += bytes + 1, number++) {
        const uint8_t *end = memchr(text + at, '\n', size - at);
        bytes = end ? (size_t)(end - text) - at : size - at;
        if (!is_blank(text + at, bytes))
            status = add_document(documents, (awq__document){index, at, bytes, number});
    }
    return status;
}

/* `input_ids`, or the only tensor that can be meant. */
static const awq__tensor *find_rows(const awq__safetensors *tensors)
{
    const awq__tensor *found = awq__safetensors_find(tensors, "input_ids");
    if (found)
        return found;
    for (size_t i = 0; i < awq__safetensors_count(tensors); i++) {
        const awq__tensor *tensor = awq__safetensors_at(tensors, i);
        if (tensor->dtype != AWQ_I32 || tensor->rank != 2)
            continue;
        if (found)
            return NULL;
        found = tensor;
    }
    return found;
}

static awq_status open_rows(awq__documents *documents, size_t index)
{
    awq__document_file *file = &documents->files[index];
    const char *path = documents->paths[index];
    awq_status status = awq__safetensors_open(documents->ctx, path, &file->tensors);
    if (status != AWQ_OK)
        return status;
    const awq__tensor *tensor = find_rows(file->tensors);
    if (!tensor)
        return awq__fail(documents->ctx, AWQ_ERROR_FORMAT,
                         "%s: neither a tensor input_ids nor a single I32 tensor of rank 2", path);
    if (tensor->dtype != AWQ_I32 || tensor->rank != 2)
        return awq__fail(documents->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s is %s of rank %d, expected I32 of rank 2", path, tensor->name,
                         awq_dtype_name(tensor->dtype), tensor->rank);
    file->rows = tensor->data;
    file->row_count = tensor->shape[0];
    file->row_length = tensor->shape[1];
    /* A row without ids would be a document of no size, as many of them as the header likes. */
    for (int64_t row = 0; file->row_length && row < file->row_count && status == AWQ_OK; row++)
        status = add_document(documents, (awq__document){.file = index, .number = row});
    return status;
}

static awq_status open_file(awq__documents *documents, size_t index)
{
    const char *path = documents->paths[index];
    awq__document_file *file = &documents->files[index];
    if (ends_with(path, ".txt")) {
        file->kind = AWQ__DOCUMENT_TEXT;
        return open_text(documents, index);
    }
    if (ends_with(path, ".jsonl")) {
        file->kind = AWQ__DOCUMENT_LINE;
        return open_lines(documents, index);
    }
    if (ends_with(path, ".safetensors")) {
        file->kind = AWQ__DOCUMENT_ROW;
        return open_rows(documents, index);
    }
    return awq__fail(documents->ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: the name ends in none of .txt, .jsonl and .safetensors", path);
}

/* Refuses ids that the model has no embedding for, also in rows that will not be chosen. */
static awq_status check_rows(const awq__documents *documents, size_t index, int64_t vocabulary)
{
    const awq__document_file *file = &documents->files[index];
    int64_t count = file->row_count * file->row_length;
    for (int64_t i = 0; i < count; i++) {
        int32_t id;
        memcpy(&id, file->rows + (size_t)i * sizeof id, sizeof id);
        if (id < 0 || id >= vocabulary)
            return awq__fail(documents->ctx, AWQ_ERROR_FORMAT,
                             "%s: id %d at position %lld of row %lld is not in 0 to %lld",
                             documents->paths[index], id, (long long)(i % file->row_length),
                             (long long)(i / file->row_length), (long long)vocabulary - 1);
    }
    return AWQ_OK;
}

awq_status awq__documents_open(awq_context *ctx, const char *const *paths, size_t count,
                               int64_t vocabulary, awq__documents *documents)
{
    *documents = (awq__documents){.ctx = ctx, .paths = paths, .file_count = count};
    documents->files = awq__alloc(ctx, count, sizeof *documents->files, "the files of a corpus");
    awq_status status = documents->files ? AWQ_OK : AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < count && status == AWQ_OK; i++)
        status = open_file(documents, i);
    for (size_t i = 0; i < count && status == AWQ_OK; i++)
        status = check_rows(documents, i, vocabulary);
    if (status != AWQ_OK)
        awq__documents_close(documents);
    return status;
}

/* The string `field` of a line. `place` is file:line, for messages. */
static awq_status line_text(awq_context *ctx, const char *place, const char *line, size_t bytes,
                            const char *field, awq__text *work)
{
    cJSON *root;
    bool escaped;
    if (bytes > MAX_LINE_BYTES)
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "%s: a line of %zu bytes, at most %zu", place,
                         bytes, MAX_LINE_BYTES);
    awq_status status = awq__json_parse_nul(ctx, place, line, bytes, &root, &escaped);
    if (status != AWQ_OK)
        return status;
    const cJSON *item = awq__field(root, field);
    if (!cJSON_IsObject(root))
        status = awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: the line is not an object", place);
    else if (!cJSON_IsString(item))
        status = awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: \"%s\" is %s, expected a string", place,
                           field, item ? "of another type" : "missing");
    else
        status = awq__json_unescape(ctx, item->valuestring, escaped, work);
    cJSON_Delete(root);
    return status;
}

awq_status awq__document_text(const awq__documents *documents, const awq__document *document,
                              const char *field, awq__text *work, const char **text, size_t *bytes)
{
    const awq__document_file *file = &documents->files[document->file];
    *text = document->bytes ? (const char *)file->mapping.data + document->offset : "";
    *bytes = document->bytes;
    if (file->kind == AWQ__DOCUMENT_TEXT)
        return AWQ_OK;
    char *place = awq__format(documents->ctx, "%s:%lld", documents->paths[document->file],
                              (long long)document->number);
    if (!place)
        return AWQ_ERROR_MEMORY;
    work->length = 0;
    awq_status status = line_text(documents->ctx, place, *text, *bytes, field, work);
    awq__free(place);
    *text = work->data;
    *bytes = work->length;
    return status;
}

awq_status awq__document_row(const awq__documents *documents, const awq__document *document,
                             size_t first, size_t count, awq__ids *ids)
{
    const awq__document_file *file = &documents->files[document->file];
    size_t at = (size_t)document->number * (size_t)file->row_length + first;
    awq_status status = awq__grow(documents->ctx, &ids->data, &ids->capacity, ids->count + count,
                                  sizeof *ids->data, "a row of ids");
    if (status != AWQ_OK)
        return status;
    memcpy(ids->data + ids->count, file->rows + at * sizeof *ids->data, count * sizeof *ids->data);
    ids->count += count;
    return AWQ_OK;
}
