/* Documents to sequences: calibration samples chosen by seed, and evaluation windows. */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>

#define MIN_SEQUENCE 2
/* Few texts have longer tokens in the mean. */
#define LONG_TOKEN_BYTES 64
/* Between documents of an evaluation text. */
#define SEPARATOR "\n\n"

/* A sequence found so far: where it lies in the builder's ids, and its place in the order. */
typedef struct span {
    size_t order, start, count;
} span;

typedef struct builder {
    awq_context *ctx;
    const awq__corpus_options *options;
    const char *field;
    const char *tokenizer_path;
    int64_t vocabulary;
    awq__documents documents;
    awq__tokenizer *tokenizer; /* NULL until a text needs it */
    awq__text work;
    awq__ids ids;   /* of sequences */
    awq__ids loose; /* of texts, before they are cut */
    size_t seen;    /* ids there were, for a message */
    size_t most;    /* bytes of a text that are looked at, from its beginning; 0: all */
    span *spans;
    size_t span_count, span_capacity;
} builder;

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
    if (options->sequence_length < MIN_SEQUENCE || options->sequence_length > INT32_MAX)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "sequence length: %lld is not in %d to %d",
                         (long long)options->sequence_length, MIN_SEQUENCE, INT32_MAX);
    if (options->samples < 0)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "samples: %lld is negative",
                         (long long)options->samples);
    return AWQ_OK;
}

static awq_status open_builder(awq_context *ctx, const awq__corpus_options *options,
                               const char *tokenizer_path, int64_t vocabulary, builder *b)
{
    *b = (builder){.ctx = ctx,
                   .options = options,
                   .field = options->field ? options->field : "text",
                   .tokenizer_path = tokenizer_path,
                   .vocabulary = vocabulary};
    AWQ__CHECK(check_options(ctx, options));
    return awq__documents_open(ctx, options->files, options->file_count, vocabulary, &b->documents);
}

static void close_builder(builder *b)
{
    awq__documents_close(&b->documents);
    awq__tokenizer_free(b->tokenizer);
    awq__text_free(&b->work);
    awq__free(b->ids.data);
    awq__free(b->loose.data);
    awq__free(b->spans);
    *b = (builder){0};
}

static awq__document_kind kind_of(const builder *b, const awq__document *document)
{
    return b->documents.files[document->file].kind;
}

static awq_status need_tokenizer(builder *b)
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

/* Tokenizes a text to the end of the loose ids. `path` and `line` are where it begins. */
static awq_status append_text(builder *b, const char *text, size_t bytes, bool special,
                              const char *path, int64_t line)
{
    size_t start = b->loose.count;
    AWQ__CHECK(awq__tokenizer_encode(b->tokenizer, text, bytes, special, &b->loose));
    b->seen += b->loose.count - start;
    for (size_t i = start; i < b->loose.count; i++)
        if (b->loose.data[i] >= b->vocabulary)
            return awq__fail(b->ctx, AWQ_ERROR_FORMAT,
                             "%s:%lld: token %zu has the id %d, the model has 0 to %lld: is the "
                             "tokenizer of another model?",
                             path, (long long)line, i - start, b->loose.data[i],
                             (long long)b->vocabulary - 1);
    return AWQ_OK;
}

static size_t at_most(const builder *b, size_t bytes)
{
    return b->most && bytes > b->most ? b->most : bytes;
}

static awq_status append_document(builder *b, const awq__document *document)
{
    awq__document part = *document;
    if (kind_of(b, document) == AWQ__DOCUMENT_TEXT)
        part.bytes = at_most(b, part.bytes);
    AWQ__CHECK(need_tokenizer(b));
    AWQ__CHECK(awq__document_text(&b->documents, &part, b->field, &b->work));
    return append_text(b, b->work.data, at_most(b, b->work.length), true,
                       b->documents.paths[document->file], document->number);
}

static awq_status add_span(builder *b, size_t order, size_t start)
{
    AWQ__CHECK(awq__grow(b->ctx, &b->spans, &b->span_capacity, b->span_count + 1, sizeof *b->spans,
                         "sequences"));
    b->spans[b->span_count++] = (span){order, start, b->ids.count - start};
    return AWQ_OK;
}

/* Makes `count` loose ids from `first` on a sequence, after `bos` if that is an id. */
static awq_status add_loose(builder *b, size_t order, int32_t bos, size_t first, size_t count)
{
    size_t start = b->ids.count;
    AWQ__CHECK(awq__grow(b->ctx, &b->ids.data, &b->ids.capacity, start + count + 1,
                         sizeof *b->ids.data, "sequences"));
    if (bos >= 0)
        b->ids.data[b->ids.count++] = bos;
    memcpy(b->ids.data + b->ids.count, b->loose.data + first, count * sizeof *b->ids.data);
    b->ids.count += count;
    return add_span(b, order, start);
}

/* Makes all full sequences there are, and keeps the rest. */
static awq_status add_all_loose(builder *b, int32_t bos)
{
    size_t length = (size_t)b->options->sequence_length - (bos >= 0), first = 0;
    for (; b->loose.count - first >= length; first += length)
        AWQ__CHECK(add_loose(b, b->span_count, bos, first, length));
    if (!first)
        return AWQ_OK;
    b->loose.count -= first;
    memmove(b->loose.data, b->loose.data + first, b->loose.count * sizeof *b->loose.data);
    return AWQ_OK;
}

/* Makes part of a row a sequence. */
static awq_status add_row(builder *b, const awq__document *document, size_t order, int64_t first,
                          int64_t most)
{
    size_t start = b->ids.count;
    int64_t left = b->documents.files[document->file].row_length - first;
    AWQ__CHECK(awq__document_row(&b->documents, document, (size_t)first,
                                 (size_t)awq__min(left, most), &b->ids));
    b->seen += b->ids.count - start;
    return add_span(b, order, start);
}

/* ---- choosing ---- */

/* The first steps of a Fisher-Yates shuffle: swaps into place `step` one of those not yet drawn. */
static size_t draw(size_t *order, size_t count, size_t step, uint64_t *random)
{
    size_t other = step + (size_t)(awq__random(random) % (count - step));
    size_t drawn = order[other];
    order[other] = order[step];
    order[step] = drawn;
    return drawn;
}

static size_t *rising(awq_context *ctx, size_t count)
{
    size_t *order = awq__alloc(ctx, count, sizeof *order, "the order of a corpus");
    for (size_t i = 0; order && i < count; i++)
        order[i] = i;
    return order;
}

static int compare_spans(const void *a, const void *b)
{
    size_t left = ((const span *)a)->order, right = ((const span *)b)->order;
    return (left > right) - (left < right);
}

/* Keeps `samples` spans, chosen by seed. */
static awq_status choose_spans(builder *b)
{
    size_t wanted = (size_t)b->options->samples, count = b->span_count;
    uint64_t random = b->options->seed;
    if (!wanted || count <= wanted)
        return AWQ_OK;
    size_t *order = rising(b->ctx, count);
    span *chosen = awq__alloc(b->ctx, wanted, sizeof *chosen, "sequences");
    if (order && chosen) {
        for (size_t i = 0; i < count && i < wanted; i++)
            chosen[i] = b->spans[draw(order, count, i, &random)];
        memcpy(b->spans, chosen, wanted * sizeof *chosen);
        b->span_count = wanted;
        qsort(b->spans, wanted, sizeof *b->spans, compare_spans);
    }
    awq_status status = order && chosen ? AWQ_OK : AWQ_ERROR_MEMORY;
    awq__free(order);
    awq__free(chosen);
    return status;
}

/* ---- calibration ---- */

/* What may become a sequence: a text, or a piece of a row. */
typedef struct part {
    size_t document;
    int64_t piece;
} part;

/* A row has one part for each started sequence_length; a rest of one id is none. */
static int64_t parts_of(const builder *b, const awq__document *document)
{
    if (kind_of(b, document) != AWQ__DOCUMENT_ROW)
        return 1;
    int64_t length = b->documents.files[document->file].row_length;
    int64_t rest = length % b->options->sequence_length;
    return length / b->options->sequence_length + (rest >= MIN_SEQUENCE);
}

static awq_status list_parts(const builder *b, part **out, size_t *count)
{
    part *parts = NULL;
    size_t capacity = 0;
    awq_status status = AWQ_OK;
    *count = 0;
    for (size_t i = 0; i < b->documents.count; i++) {
        int64_t pieces = parts_of(b, &b->documents.items[i]);
        for (int64_t piece = 0; piece < pieces; piece++) {
            AWQ__TRY(awq__grow(b->ctx, &parts, &capacity, *count + 1, sizeof *parts,
                               "the parts of a corpus"));
            parts[(*count)++] = (part){i, piece};
        }
    }
done:
    *out = parts;
    return status;
}

/* Makes a part a sequence, if it has ids enough. */
static awq_status add_part(builder *b, const part *p, size_t order)
{
    const awq__document *document = &b->documents.items[p->document];
    int64_t length = b->options->sequence_length;
    if (kind_of(b, document) == AWQ__DOCUMENT_ROW)
        return add_row(b, document, order, p->piece * length, length);
    b->loose.count = 0;
    AWQ__CHECK(append_document(b, document));
    if (b->loose.count < MIN_SEQUENCE)
        return AWQ_OK;
    return add_loose(b, order, -1, 0, (size_t)awq__min((int64_t)b->loose.count, length));
}

/*
 * Documents are drawn before they are read, so that a few samples of a huge corpus cost little; one
 * that turns out to be too short is replaced by the next drawn.
 */
static awq_status cut_documents(builder *b)
{
    part *parts;
    size_t count;
    uint64_t random = b->options->seed;
    size_t *order = NULL;
    awq_status status;
    AWQ__TRY(list_parts(b, &parts, &count));
    size_t wanted = b->options->samples ? (size_t)b->options->samples : count;
    order = rising(b->ctx, count);
    AWQ__TRY_ALLOC(order);
    for (size_t i = 0; i < count && b->span_count < wanted; i++) {
        size_t drawn = wanted < count ? draw(order, count, i, &random) : i;
        AWQ__TRY(add_part(b, &parts[drawn], drawn));
    }
    if (b->span_count)
        qsort(b->spans, b->span_count, sizeof *b->spans, compare_spans);
done:
    awq__free(order);
    awq__free(parts);
    return status;
}

/* Rows stay as they are; texts on both sides of them are still joined. */
static awq_status pack_documents(builder *b)
{
    int64_t length = b->options->sequence_length;
    for (size_t i = 0; i < b->documents.count; i++) {
        const awq__document *document = &b->documents.items[i];
        if (kind_of(b, document) == AWQ__DOCUMENT_ROW) {
            int64_t pieces = parts_of(b, document);
            for (int64_t piece = 0; piece < pieces; piece++)
                AWQ__CHECK(add_row(b, document, b->span_count, piece * length, length));
            continue;
        }
        AWQ__CHECK(append_document(b, document));
        AWQ__CHECK(add_all_loose(b, -1));
    }
    return choose_spans(b);
}

/* ---- evaluation ---- */

/* Documents first .. last-1 as one text. */
static awq_status window_texts(builder *b, size_t first, size_t last)
{
    awq__text joined = {0};
    const awq__text *whole = last - first > 1 ? &joined : &b->work; /* one text needs no copy */
    AWQ__CHECK(need_tokenizer(b));
    awq_status status;
    for (size_t i = first; i < last; i++) {
        AWQ__TRY(awq__document_text(&b->documents, &b->documents.items[i], b->field, &b->work));
        if (whole == &joined) {
            AWQ__TRY(awq__text_append_bytes(b->ctx, &joined, SEPARATOR,
                                            i > first ? sizeof SEPARATOR - 1 : 0));
            AWQ__TRY(awq__text_append_bytes(b->ctx, &joined, b->work.data, b->work.length));
        }
    }
    b->loose.count = 0;
    AWQ__TRY(append_text(b, whole->data, whole->length, false,
                         b->documents.paths[b->documents.items[first].file],
                         b->documents.items[first].number));
    AWQ__TRY(add_all_loose(b, awq__tokenizer_bos(b->tokenizer)));
done:
    awq__text_free(&joined);
    return status;
}

static awq_status window_row(builder *b, const awq__document *document)
{
    if (b->documents.files[document->file].row_length < MIN_SEQUENCE)
        return awq__fail(b->ctx, AWQ_ERROR_FORMAT, "%s: rows of one id, a window needs two",
                         b->documents.paths[document->file]);
    return add_row(b, document, b->span_count, 0, INT64_MAX);
}

static awq_status make_windows(builder *b)
{
    const awq__document *items = b->documents.items;
    size_t wanted = b->options->samples ? (size_t)b->options->samples : SIZE_MAX, last;
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < b->documents.count && b->span_count < wanted; i = last) {
        last = i + 1;
        if (kind_of(b, &items[i]) == AWQ__DOCUMENT_ROW) {
            AWQ__TRY(window_row(b, &items[i]));
            continue;
        }
        while (last < b->documents.count && kind_of(b, &items[last]) != AWQ__DOCUMENT_ROW)
            last++;
        AWQ__TRY(window_texts(b, i, last));
    }
done:
    if (b->span_count > wanted)
        b->span_count = wanted;
    return status;
}

/* ---- a first look ---- */

/* The loose ids, if they are enough. */
static awq_status add_looked_at(builder *b)
{
    if (!b->options->cut)
        return add_all_loose(b, -1);
    size_t count = (size_t)awq__min((int64_t)b->loose.count, b->options->sequence_length);
    awq_status status = count < MIN_SEQUENCE ? AWQ_OK : add_loose(b, 0, -1, 0, count);
    b->loose.count = 0;
    return status;
}

/* The first document of each file, and as many others as make a sequence. */
static awq_status look_at_documents(builder *b)
{
    size_t file = SIZE_MAX;
    for (size_t i = 0; i < b->documents.count; i++) {
        const awq__document *document = &b->documents.items[i];
        if (b->span_count && document->file == file)
            continue;
        file = document->file;
        if (kind_of(b, document) != AWQ__DOCUMENT_ROW) {
            AWQ__CHECK(append_document(b, document));
            AWQ__CHECK(add_looked_at(b));
        } else if (parts_of(b, document)) {
            AWQ__CHECK(add_row(b, document, 0, 0, b->options->sequence_length));
        }
    }
    return AWQ_OK;
}

/* ---- the result ---- */

static awq_status build(const builder *b, awq__sequences *out)
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
        const span *s = &b->spans[i];
        memcpy(out->ids + out->offsets[i], b->ids.data + s->start, s->count * sizeof *out->ids);
        out->offsets[i + 1] = out->offsets[i] + (int64_t)s->count;
    }
    out->count = (int64_t)b->span_count;
    return AWQ_OK;
}

typedef awq_status (*make_fn)(builder *b);

static awq_status load(awq_context *ctx, const awq__corpus_options *options,
                       const char *tokenizer_path, int64_t vocabulary, make_fn make,
                       awq__sequences *out)
{
    builder b;
    *out = (awq__sequences){0};
    awq_status status;
    AWQ__TRY(open_builder(ctx, options, tokenizer_path, vocabulary, &b));
    AWQ__TRY(make(&b));
    AWQ__TRY(build(&b, out));
done:
    close_builder(&b);
    return status;
}

awq_status awq__corpus_look(awq_context *ctx, const awq__corpus_options *options,
                            const char *tokenizer_path, int64_t vocabulary, bool *found)
{
    builder b;
    *found = false;
    awq_status status;
    AWQ__TRY(open_builder(ctx, options, tokenizer_path, vocabulary, &b));
    b.most = (size_t)options->sequence_length * LONG_TOKEN_BYTES;
    AWQ__TRY(look_at_documents(&b));
    *found = b.span_count;
done:
    close_builder(&b);
    return status;
}

awq_status awq__corpus_load(awq_context *ctx, const awq__corpus_options *options,
                            const char *tokenizer_path, int64_t vocabulary, awq__sequences *out)
{
    return load(ctx, options, tokenizer_path, vocabulary,
                options->cut ? cut_documents : pack_documents, out);
}

awq_status awq__windows_load(awq_context *ctx, const awq__corpus_options *options,
                             const char *tokenizer_path, int64_t vocabulary, awq__sequences *out)
{
    return load(ctx, options, tokenizer_path, vocabulary, make_windows, out);
}
