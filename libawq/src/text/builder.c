/* Sequences in the making: ids of documents, and which of them are one sequence. */
#include "text/builder.h"

#include <string.h>

void awq__sequences_free(awq__sequences *sequences)
{
    awq__free(sequences->offsets);
    awq__free(sequences->ids);
    *sequences = (awq__sequences){0};
}

static awq_status check_options(awq_context *ctx, const awq__corpus_options *options)
{
    if (!options->file_count)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "a corpus needs at least one file");
    if (options->sequence_length < AWQ__MIN_SEQUENCE || options->sequence_length > INT32_MAX)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "sequence length: %lld is not in %d to %d",
                         (long long)options->sequence_length, AWQ__MIN_SEQUENCE, INT32_MAX);
    if (options->samples < 0)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "samples: %lld is negative",
                         (long long)options->samples);
    return AWQ_OK;
}

awq_status awq__builder_open(awq_context *ctx, const awq__corpus_options *options,
                             const char *tokenizer_path, int64_t vocabulary, awq__builder *b)
{
    *b = (awq__builder){.ctx = ctx,
                        .options = options,
                        .field = options->field ? options->field : "text",
                        .tokenizer_path = tokenizer_path,
                        .vocabulary = vocabulary};
    AWQ__CHECK(check_options(ctx, options));
    return awq__documents_open(ctx, options->files, options->file_count, vocabulary, &b->documents);
}

void awq__builder_close(awq__builder *b)
{
    awq__documents_close(&b->documents);
    awq__tokenizer_free(b->tokenizer);
    awq__text_free(&b->work);
    awq__free(b->ids.data);
    awq__free(b->loose.data);
    awq__free(b->spans);
    *b = (awq__builder){0};
}

awq__document_kind awq__builder_kind(const awq__builder *b, const awq__document *document)
{
    return b->documents.files[document->file].kind;
}

int64_t awq__builder_pieces(const awq__builder *b, const awq__document *document)
{
    if (awq__builder_kind(b, document) != AWQ__DOCUMENT_ROW)
        return 1;
    int64_t length = b->documents.files[document->file].row_length;
    int64_t rest = length % b->options->sequence_length;
    return length / b->options->sequence_length + (rest >= AWQ__MIN_SEQUENCE);
}

/* ---- ids of documents ---- */

awq_status awq__builder_need_tokenizer(awq__builder *b)
{
    if (b->tokenizer)
        return AWQ_OK;
    if (!b->tokenizer_path)
        return awq__fail(b->ctx, AWQ_ERROR_ARGUMENT, "a text corpus needs a tokenizer.json");
    AWQ__CHECK(awq__tokenizer_load(b->ctx, b->tokenizer_path, &b->tokenizer));
    if (awq__tokenizer_bos(b->tokenizer) >= b->vocabulary)
        return awq__fail(b->ctx, AWQ_ERROR_FORMAT, "%s: the BOS is %d, the model has ids 0 to %lld",
                         b->tokenizer_path, awq__tokenizer_bos(b->tokenizer),
                         (long long)b->vocabulary - 1);
    return AWQ_OK;
}

awq_status awq__builder_encode(const awq__builder *b, const awq__document *document,
                               const awq__text *text, bool special, size_t most, awq__ids *ids)
{
    size_t start = ids->count, bytes = text->length;
    if (b->most && bytes > b->most)
        bytes = b->most;
    AWQ__CHECK(awq__tokenizer_encode_first(b->tokenizer, text->data, bytes, special, most, ids));
    for (size_t i = start; i < ids->count; i++)
        if (ids->data[i] >= b->vocabulary)
            return awq__fail(b->ctx, AWQ_ERROR_FORMAT,
                             "%s:%lld: token %zu has the id %d, the model has 0 to %lld: is the "
                             "tokenizer of another model?",
                             b->documents.paths[document->file], (long long)document->number,
                             i - start, ids->data[i], (long long)b->vocabulary - 1);
    return AWQ_OK;
}

awq_status awq__builder_encode_document(const awq__builder *b, const awq__document *document,
                                        size_t most, awq__text *work, awq__ids *ids)
{
    awq__document part = *document;
    if (awq__builder_kind(b, document) == AWQ__DOCUMENT_TEXT && b->most && part.bytes > b->most)
        part.bytes = b->most;
    AWQ__CHECK(awq__document_text(&b->documents, &part, b->field, work));
    return awq__builder_encode(b, document, work, true, most, ids);
}

awq_status awq__builder_read(awq__builder *b, const awq__document *document, size_t most)
{
    size_t start = b->loose.count;
    AWQ__CHECK(awq__builder_need_tokenizer(b));
    AWQ__CHECK(awq__builder_encode_document(b, document, most, &b->work, &b->loose));
    b->seen += b->loose.count - start;
    return AWQ_OK;
}

/* ---- sequences ---- */

awq_status awq__builder_append(awq__builder *b, const int32_t *ids, size_t count)
{
    AWQ__CHECK(awq__grow(b->ctx, &b->ids.data, &b->ids.capacity, b->ids.count + count,
                         sizeof *b->ids.data, "sequences"));
    memcpy(b->ids.data + b->ids.count, ids, count * sizeof *ids);
    b->ids.count += count;
    return AWQ_OK;
}

awq_status awq__builder_end(awq__builder *b, size_t order, size_t start)
{
    AWQ__CHECK(awq__grow(b->ctx, &b->spans, &b->span_capacity, b->span_count + 1, sizeof *b->spans,
                         "sequences"));
    b->spans[b->span_count++] = (awq__span){order, start, b->ids.count - start};
    return AWQ_OK;
}

awq_status awq__builder_add(awq__builder *b, size_t order, int32_t bos, size_t first, size_t count)
{
    size_t start = b->ids.count;
    if (bos >= 0)
        AWQ__CHECK(awq__builder_append(b, &bos, 1));
    AWQ__CHECK(awq__builder_append(b, b->loose.data + first, count));
    return awq__builder_end(b, order, start);
}

awq_status awq__builder_add_all(awq__builder *b, int32_t bos)
{
    size_t length = (size_t)b->options->sequence_length - (bos >= 0), first = 0;
    for (; b->loose.count - first >= length; first += length)
        AWQ__CHECK(awq__builder_add(b, b->span_count, bos, first, length));
    if (!first)
        return AWQ_OK;
    b->loose.count -= first;
    memmove(b->loose.data, b->loose.data + first, b->loose.count * sizeof *b->loose.data);
    return AWQ_OK;
}

awq_status awq__builder_add_row(awq__builder *b, const awq__document *document, size_t order,
                                int64_t first, int64_t most)
{
    size_t start = b->ids.count;
    int64_t left = b->documents.files[document->file].row_length - first;
    AWQ__CHECK(awq__document_row(&b->documents, document, (size_t)first,
                                 (size_t)awq__min(left, most), &b->ids));
    b->seen += b->ids.count - start;
    return awq__builder_end(b, order, start);
}

/* ---- the result ---- */

static awq_status build(const awq__builder *b, awq__sequences *out)
{
    size_t total = 0;
    if (!b->span_count)
        return awq__fail(b->ctx, AWQ_ERROR_FORMAT,
                         "%s%s: no sequence of up to %lld ids, in %zu documents with %zu ids",
                         b->options->files[0], b->options->file_count > 1 ? " and others" : "",
                         (long long)b->options->sequence_length, b->documents.count, b->seen);
    for (size_t i = 0; i < b->span_count; i++)
        total += b->spans[i].count;
    out->offsets = awq__alloc(b->ctx, b->span_count + 1, sizeof *out->offsets, "sequences");
    out->ids = awq__alloc(b->ctx, total, sizeof *out->ids, "the ids of sequences");
    if (!out->offsets || !out->ids) {
        awq__sequences_free(out);
        return AWQ_ERROR_MEMORY;
    }
    for (size_t i = 0; i < b->span_count; i++) {
        const awq__span *s = &b->spans[i];
        memcpy(out->ids + out->offsets[i], b->ids.data + s->start, s->count * sizeof *out->ids);
        out->offsets[i + 1] = out->offsets[i] + (int64_t)s->count;
    }
    out->count = (int64_t)b->span_count;
    return AWQ_OK;
}

awq_status awq__builder_load(awq_context *ctx, const awq__corpus_options *options,
                             const char *tokenizer_path, int64_t vocabulary,
                             awq_status (*make)(awq__builder *b), awq__sequences *out)
{
    awq__builder b;
    *out = (awq__sequences){0};
    awq_status status;
    AWQ__TRY(awq__builder_open(ctx, options, tokenizer_path, vocabulary, &b));
    AWQ__TRY(make(&b));
    AWQ__TRY(build(&b, out));
done:
    awq__builder_close(&b);
    return status;
}
