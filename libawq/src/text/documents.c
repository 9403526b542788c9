/* The files of a corpus, and the documents in them. Texts are read when they are asked for. */
#include "text/text_internal.h"
#include "checkpoint/checkpoint.h"

#include <string.h>
#include <unistd.h>

#define SCAN_BYTES ((size_t)1 << 20)
#define MAX_TEXT_BYTES ((size_t)4 << 30)
#define MAX_LINE_BYTES ((size_t)256 << 20)

void awq__documents_close(awq__documents *documents)
{
    for (size_t i = 0; documents->files && i < documents->file_count; i++) {
        awq__document_file *file = &documents->files[i];
        if (file->fd >= 0)
            close(file->fd);
        awq__file_free(&file->file);
        awq__free(file->rows);
    }
    awq__free(documents->files);
    awq__free(documents->items);
    *documents = (awq__documents){0};
}

static awq_status add_document(awq__documents *documents, awq__document document)
{
    AWQ__CHECK(awq__grow(documents->ctx, &documents->items, &documents->capacity,
                         documents->count + 1, sizeof *documents->items,
                         "the documents of a corpus"));
    documents->items[documents->count++] = document;
    return AWQ_OK;
}

/* Finds and opens a file of text. */
static awq_status open_source(awq__documents *documents, size_t index)
{
    awq__document_file *file = &documents->files[index];
    AWQ__CHECK(awq__file_find(documents->ctx, documents->paths[index], &file->file));
    return awq__file_open(documents->ctx, &file->file, &file->fd);
}

static awq_status open_text(awq__documents *documents, size_t index)
{
    AWQ__CHECK(open_source(documents, index));
    uint64_t size = documents->files[index].file.size;
    if (size > MAX_TEXT_BYTES)
        return awq__fail(documents->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %llu bytes, a text may have %zu", documents->paths[index],
                         (unsigned long long)size, MAX_TEXT_BYTES);
    return add_document(documents, (awq__document){index, 0, (size_t)size, 1});
}

/* The line that a scan of a file is in. */
typedef struct line_scan {
    awq__documents *documents;
    size_t file, begin;
    int64_t number;
    bool blank; /* so far */
} line_scan;

static awq_status end_line(line_scan *scan, size_t end)
{
    awq__document line = {scan->file, scan->begin, end - scan->begin, scan->number};
    awq_status status = scan->blank ? AWQ_OK : add_document(scan->documents, line);
    scan->begin = end + 1;
    scan->number++;
    scan->blank = true;
    return status;
}

/* at: where the bytes begin in the file. */
static awq_status scan_bytes(line_scan *scan, const char *text, size_t bytes, size_t at)
{
    size_t i = 0;
    /* Some editors begin a file with a byte order mark, which is no part of its first line. */
    if (at == 0 && bytes >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3))
        scan->begin = i = 3;
    for (; i < bytes; i++) {
        if (text[i] == '\n')
            AWQ__CHECK(end_line(scan, at + i));
        else if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            scan->blank = false;
    }
    return AWQ_OK;
}

static awq_status open_lines(awq__documents *documents, size_t index)
{
    awq_context *ctx = documents->ctx;
    const awq__document_file *file = &documents->files[index];
    line_scan scan = {.documents = documents, .file = index, .number = 1, .blank = true};
    AWQ__CHECK(open_source(documents, index));
    size_t size = (size_t)file->file.size;
    char *block = awq__alloc(ctx, SCAN_BYTES, 1, "lines of a corpus");
    awq_status status;
    AWQ__TRY_ALLOC(block);
    for (size_t at = 0; at < size; at += SCAN_BYTES) {
        size_t bytes = size - at < SCAN_BYTES ? size - at : SCAN_BYTES;
        AWQ__TRY(awq__read_at(ctx, file->file.path, file->fd, at, bytes, block));
        AWQ__TRY(scan_bytes(&scan, block, bytes, at));
    }
    if (size > scan.begin)
        AWQ__TRY(end_line(&scan, size));
done:
    awq__free(block);
    return status;
}

typedef struct array_reader {
    awq__documents *documents;
    size_t file;
} array_reader;

static awq_status add_element(void *user, size_t begin, size_t bytes, int64_t line)
{
    const array_reader *reader = user;
    return add_document(reader->documents, (awq__document){reader->file, begin, bytes, line});
}

static awq_status open_array(awq__documents *documents, size_t index)
{
    const awq__document_file *file = &documents->files[index];
    array_reader reader = {documents, index};
    AWQ__CHECK(open_source(documents, index));
    return awq__scan_array(documents->ctx, &file->file, file->fd, add_element, &reader);
}

static bool holds_ids(const awq__tensor *tensor)
{
    return (tensor->dtype == AWQ_I32 || tensor->dtype == AWQ_I64) && tensor->rank == 2;
}

/* `input_ids`, or the only tensor that can be meant. */
static const awq__tensor *find_rows(const awq__safetensors *tensors)
{
    const awq__tensor *found = awq__safetensors_find(tensors, "input_ids");
    if (found)
        return found;
    for (size_t i = 0; i < awq__safetensors_count(tensors); i++) {
        const awq__tensor *tensor = awq__safetensors_at(tensors, i);
        if (!holds_ids(tensor))
            continue;
        if (found)
            return NULL;
        found = tensor;
    }
    return found;
}

/* Makes I32 of I64, in place. */
static awq_status narrow_ids(awq_context *ctx, const char *path, const awq__tensor *tensor,
                             uint8_t *ids)
{
    size_t count = tensor->bytes / sizeof(int64_t);
    for (size_t i = 0; i < count; i++) {
        int64_t wide;
        memcpy(&wide, ids + i * sizeof wide, sizeof wide);
        int32_t id = (int32_t)wide;
        if (id != wide)
            return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %s has %lld, which is no id of any model",
                             path, tensor->name, (long long)wide);
        memcpy(ids + i * sizeof id, &id, sizeof id);
    }
    return AWQ_OK;
}

static awq_status read_rows(awq__documents *documents, size_t index,
                            const awq__safetensors *tensors)
{
    awq__document_file *file = &documents->files[index];
    const char *path = documents->paths[index];
    const awq__tensor *tensor = find_rows(tensors);
    if (!tensor)
        return awq__fail(documents->ctx, AWQ_ERROR_FORMAT,
                         "%s: neither a tensor input_ids nor a single I32 or I64 tensor of rank 2",
                         path);
    if (!holds_ids(tensor))
        return awq__fail(documents->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s is %s of rank %d, expected I32 or I64 of rank 2", path,
                         tensor->name, awq_dtype_name(tensor->dtype), tensor->rank);
    uint8_t *rows;
    AWQ__CHECK(awq__tensor_copy(documents->ctx, tensor, tensor->bytes, &rows));
    file->rows = (int32_t *)(void *)rows;
    if (tensor->dtype == AWQ_I64)
        AWQ__CHECK(narrow_ids(documents->ctx, path, tensor, rows));
    file->row_count = tensor->shape[0];
    file->row_length = tensor->shape[1];
    /* A row without ids would be a document of no size, as many of them as the header likes. */
    for (int64_t row = 0; file->row_length && row < file->row_count; row++)
        AWQ__CHECK(add_document(documents, (awq__document){.file = index, .number = row}));
    return AWQ_OK;
}

static awq_status open_rows(awq__documents *documents, size_t index)
{
    awq__safetensors *tensors;
    AWQ__CHECK(awq__safetensors_open(documents->ctx, documents->paths[index], &tensors));
    awq_status status = read_rows(documents, index, tensors);
    awq__safetensors_free(tensors);
    return status;
}

static awq_status open_file(awq__documents *documents, size_t index)
{
    const char *path = documents->paths[index];
    awq__document_file *file = &documents->files[index];
    if (awq__ends_with(path, ".txt")) {
        file->kind = AWQ__DOCUMENT_TEXT;
        return open_text(documents, index);
    }
    if (awq__ends_with(path, ".jsonl")) {
        file->kind = AWQ__DOCUMENT_LINE;
        return open_lines(documents, index);
    }
    if (awq__ends_with(path, ".json")) {
        file->kind = AWQ__DOCUMENT_LINE;
        return open_array(documents, index);
    }
    if (awq__ends_with(path, ".safetensors")) {
        file->kind = AWQ__DOCUMENT_ROW;
        return open_rows(documents, index);
    }
    return awq__fail(documents->ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: the name ends in none of .txt, .jsonl, .json and .safetensors", path);
}

/* Refuses ids that the model has no embedding for, also in rows that will not be chosen. */
static awq_status check_rows(const awq__documents *documents, size_t index, int64_t vocabulary)
{
    const awq__document_file *file = &documents->files[index];
    int64_t count = file->row_count * file->row_length;
    for (int64_t i = 0; i < count; i++) {
        int32_t id = file->rows[i];
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
    awq_status status;
    AWQ__TRY_ALLOC(documents->files);
    for (size_t i = 0; i < count; i++)
        documents->files[i].fd = -1;
    for (size_t i = 0; i < count; i++)
        AWQ__TRY(open_file(documents, i));
    for (size_t i = 0; i < count; i++)
        AWQ__TRY(check_rows(documents, i, vocabulary));
done:
    if (status != AWQ_OK)
        awq__documents_close(documents);
    return status;
}

static awq_status check_line(awq_context *ctx, const char *path, int64_t number, size_t bytes)
{
    if (bytes <= MAX_LINE_BYTES)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "%s:%lld: a line of %zu bytes, at most %zu", path,
                     (long long)number, bytes, MAX_LINE_BYTES);
}

/* The string `field` of a line, whose number counts from 1. */
static awq_status line_text(awq_context *ctx, const char *path, int64_t number, const char *line,
                            size_t bytes, const char *field, awq__text *work)
{
    const awq__json_source source = {path, (size_t)number - 1, AWQ__JSON_LITERALS};
    cJSON *root;
    bool escaped;
    AWQ__CHECK(awq__json_parse_nul(ctx, &source, line, bytes, &root, &escaped));
    const cJSON *item = awq__field(root, field);
    awq_status status;
    if (!cJSON_IsObject(root))
        status = awq__fail(ctx, AWQ_ERROR_FORMAT, "%s:%lld: the line is not an object", path,
                           (long long)number);
    else if (!cJSON_IsString(item))
        status = awq__fail(ctx, AWQ_ERROR_FORMAT, "%s:%lld: \"%s\" is %s, expected a string", path,
                           (long long)number, field, item ? "of another type" : "missing");
    else
        status = awq__json_unescape(ctx, item->valuestring, escaped, work);
    cJSON_Delete(root);
    return status;
}

/* Appends the document as it stands in its file. */
static awq_status read_document(const awq__documents *documents, const awq__document *document,
                                awq__text *text)
{
    const awq__document_file *file = &documents->files[document->file];
    size_t bytes = document->bytes;
    AWQ__CHECK(awq__grow(documents->ctx, &text->data, &text->capacity, text->length + bytes + 1, 1,
                         "a document"));
    AWQ__CHECK(awq__read_at(documents->ctx, file->file.path, file->fd, document->offset, bytes,
                            text->data + text->length));
    text->length += bytes;
    text->data[text->length] = 0;
    return AWQ_OK;
}

awq_status awq__document_text(const awq__documents *documents, const awq__document *document,
                              const char *field, awq__text *text)
{
    text->length = 0;
    if (documents->files[document->file].kind == AWQ__DOCUMENT_TEXT)
        return read_document(documents, document, text);
    awq__text line = {0};
    const char *path = documents->paths[document->file];
    awq_status status;
    AWQ__TRY(check_line(documents->ctx, path, document->number, document->bytes));
    AWQ__TRY(read_document(documents, document, &line));
    AWQ__TRY(
        line_text(documents->ctx, path, document->number, line.data, line.length, field, text));
done:
    awq__text_free(&line);
    return status;
}

awq_status awq__document_row(const awq__documents *documents, const awq__document *document,
                             size_t first, size_t count, awq__ids *ids)
{
    const awq__document_file *file = &documents->files[document->file];
    size_t at = (size_t)document->number * (size_t)file->row_length + first;
    AWQ__CHECK(awq__grow(documents->ctx, &ids->data, &ids->capacity, ids->count + count,
                         sizeof *ids->data, "a row of ids"));
    memcpy(ids->data + ids->count, file->rows + at, count * sizeof *ids->data);
    ids->count += count;
    return AWQ_OK;
}
