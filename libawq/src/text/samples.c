/* Documents to calibration samples, chosen by seed. */
#include "text/builder.h"

#include <stdlib.h>
#include <string.h>

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

static size_t wanted_of(const awq__builder *b, size_t count)
{
    return b->options->samples ? (size_t)b->options->samples : count;
}

static int compare_numbers(const void *a, const void *b)
{
    size_t left = *(const size_t *)a, right = *(const size_t *)b;
    return (left > right) - (left < right);
}

static int compare_spans(const void *a, const void *b)
{
    size_t left = ((const awq__span *)a)->order, right = ((const awq__span *)b)->order;
    return (left > right) - (left < right);
}

/* ---- parts ---- */

/* What may become a sequence: a document, a piece of a row, or ids of all texts from number `piece`
   on. */
typedef struct part {
    size_t document;
    int64_t piece;
} part;

typedef struct part_list {
    part *items;
    size_t count, capacity;
} part_list;

static awq_status add_to_list(awq_context *ctx, part_list *list, size_t document, int64_t piece)
{
    AWQ__CHECK(awq__grow(ctx, &list->items, &list->capacity, list->count + 1, sizeof *list->items,
                         "the parts of a corpus"));
    list->items[list->count++] = (part){document, piece};
    return AWQ_OK;
}

/* All pieces of a document. */
static awq_status list_pieces(const awq__builder *b, size_t document, part_list *list)
{
    int64_t pieces = awq__builder_pieces(b, &b->documents.items[document]);
    for (int64_t piece = 0; piece < pieces; piece++)
        AWQ__CHECK(add_to_list(b->ctx, list, document, piece));
    return AWQ_OK;
}

static awq_status add_piece_of_row(awq__builder *b, const part *p, size_t order)
{
    int64_t length = b->options->sequence_length;
    return awq__builder_add_row(b, &b->documents.items[p->document], order, p->piece * length,
                                length);
}

/* ---- one document, one sequence ---- */

/* Makes a part a sequence, if it has ids enough. */
static awq_status add_part(awq__builder *b, const part *p, size_t order)
{
    const awq__document *document = &b->documents.items[p->document];
    if (awq__builder_kind(b, document) == AWQ__DOCUMENT_ROW)
        return add_piece_of_row(b, p, order);
    b->loose.count = 0;
    AWQ__CHECK(awq__builder_read(b, document, (size_t)b->options->sequence_length));
    if (b->loose.count < AWQ__MIN_SEQUENCE)
        return AWQ_OK;
    return awq__builder_add(b, order, -1, 0, b->loose.count);
}

/*
 * Documents are drawn before they are read, so that a few samples of a huge corpus cost little; one
 * that turns out to be too short is replaced by the next drawn.
 */
static awq_status cut_documents(awq__builder *b)
{
    part_list parts = {0};
    size_t *order = NULL;
    uint64_t random = b->options->seed;
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < b->documents.count; i++)
        AWQ__TRY(list_pieces(b, i, &parts));
    size_t count = parts.count, wanted = wanted_of(b, count);
    order = rising(b->ctx, count);
    AWQ__TRY_ALLOC(order);
    for (size_t i = 0; i < count && b->span_count < wanted; i++) {
        size_t drawn = wanted < count ? draw(order, count, i, &random) : i;
        AWQ__TRY(add_part(b, &parts.items[drawn], drawn));
    }
    if (b->span_count)
        qsort(b->spans, b->span_count, sizeof *b->spans, compare_spans);
done:
    awq__free(order);
    awq__free(parts.items);
    return status;
}

/* ---- texts packed into full sequences ---- */

/*
 * Which sequences are chosen is known only once all are counted, and they are few: all texts are
 * tokenized to be counted, on all threads, and those that chosen sequences lie in once more. Of the
 * first texts of a file, and of a file that is one text, the ids are kept instead.
 */

/* The document of a part that is ids of all texts. */
#define ALL_TEXTS SIZE_MAX
/* Documents of one task. A longer one than so many bytes is alone, since its copies are many. */
#define TASK_DOCUMENTS 16
#define LONG_DOCUMENT_BYTES ((size_t)1 << 20)

/* The ids of a document; none of a row. */
typedef struct counted {
    size_t count;
    int32_t *ids; /* NULL: not kept */
} counted;

/* What one worker tokenizes with. */
typedef struct space {
    awq__text work;
    awq__ids ids;
} space;

typedef struct packer {
    awq__builder *b;
    counted *documents;
    space *spaces; /* of each thread */
    /* Where the copying stands: ids before the document `at`, and that whose ids are loose. */
    size_t at, before, loose;
} packer;

static bool is_text(const packer *p, size_t index)
{
    return awq__builder_kind(p->b, &p->b->documents.items[index]) != AWQ__DOCUMENT_ROW;
}

static bool is_kept(const packer *p, const awq__document *document)
{
    return document->offset < AWQ__KEPT_TEXT_BYTES ||
           awq__builder_kind(p->b, document) == AWQ__DOCUMENT_TEXT;
}

static awq_status count_document(packer *p, size_t index, space *own)
{
    const awq__document *document = &p->b->documents.items[index];
    counted *c = &p->documents[index];
    own->ids.count = 0;
    AWQ__CHECK(awq__builder_encode_document(p->b, document, SIZE_MAX, &own->work, &own->ids));
    c->count = own->ids.count;
    if (!is_kept(p, document))
        return AWQ_OK;
    c->ids = awq__alloc(p->b->ctx, c->count, sizeof *c->ids, "the ids of a document");
    AWQ__CHECK_ALLOC(c->ids);
    if (c->count)
        memcpy(c->ids, own->ids.data, c->count * sizeof *c->ids);
    return AWQ_OK;
}

static bool is_long(const packer *p, size_t index)
{
    return p->b->documents.items[index].bytes > LONG_DOCUMENT_BYTES;
}

static awq_status count_task(void *arg, int64_t task, int worker)
{
    packer *p = arg;
    size_t first = (size_t)task * TASK_DOCUMENTS, count = p->b->documents.count;
    for (size_t i = first; i < count && i < first + TASK_DOCUMENTS; i++)
        if (is_text(p, i) && !is_long(p, i))
            AWQ__CHECK(count_document(p, i, &p->spaces[worker]));
    return AWQ_OK;
}

static awq_status count_texts(packer *p)
{
    size_t count = p->b->documents.count, first = 0;
    while (first < count && !is_text(p, first))
        first++;
    if (first == count)
        return AWQ_OK;
    AWQ__CHECK(awq__builder_need_tokenizer(p->b));
    AWQ__CHECK(
        awq__parallel_for(p->b->ctx, (int64_t)((count - 1) / TASK_DOCUMENTS + 1), count_task, p));
    for (size_t i = 0; i < count; i++)
        if (is_text(p, i) && is_long(p, i))
            AWQ__CHECK(count_document(p, i, &p->spaces[0]));
    return AWQ_OK;
}

/* Rows stay as they are; texts on both sides of them are still joined. A sequence of texts has its
   place where its last id is. */
static awq_status list_sequences(packer *p, part_list *list)
{
    awq__builder *b = p->b;
    int64_t packed = 0, texts = 0, length = b->options->sequence_length;
    for (size_t i = 0; i < b->documents.count; i++) {
        if (!is_text(p, i))
            AWQ__CHECK(list_pieces(b, i, list));
        texts += (int64_t)p->documents[i].count;
        for (; texts - packed >= length; packed += length)
            AWQ__CHECK(add_to_list(b->ctx, list, ALL_TEXTS, packed));
    }
    b->seen = (size_t)texts;
    return AWQ_OK;
}

static awq_status ids_of(packer *p, size_t index, const int32_t **ids)
{
    awq__builder *b = p->b;
    const counted *c = &p->documents[index];
    const awq__document *document = &b->documents.items[index];
    *ids = c->ids;
    if (c->ids)
        return AWQ_OK;
    if (p->loose != index) {
        b->loose.count = 0;
        AWQ__CHECK(
            awq__builder_encode_document(b, document, SIZE_MAX, &p->spaces[0].work, &b->loose));
        p->loose = index;
    }
    *ids = b->loose.data;
    if (b->loose.count == c->count)
        return AWQ_OK;
    return awq__fail(b->ctx, AWQ_ERROR_IO,
                     "%s:%lld: gave %zu ids, and %zu when it was read again: it was changed",
                     b->documents.paths[document->file], (long long)document->number, c->count,
                     b->loose.count);
}

/* Makes the ids from number `first` of all texts a sequence; `first` rises from call to call. */
static awq_status add_packed(packer *p, size_t order, size_t first)
{
    size_t start = p->b->ids.count, end = first + (size_t)p->b->options->sequence_length;
    while (first < end) {
        size_t next = p->before + p->documents[p->at].count;
        if (first < next) {
            const int32_t *ids;
            size_t until = next < end ? next : end;
            AWQ__CHECK(ids_of(p, p->at, &ids));
            AWQ__CHECK(awq__builder_append(p->b, ids + (first - p->before), until - first));
            first = until;
        } else {
            p->before = next;
            p->at++;
        }
    }
    return awq__builder_end(p->b, order, start);
}

/* The numbers of those sequences that are kept, rising. */
static awq_status choose(const awq__builder *b, size_t count, size_t **chosen, size_t *kept)
{
    uint64_t random = b->options->seed;
    *kept = wanted_of(b, count);
    *chosen = rising(b->ctx, count);
    AWQ__CHECK_ALLOC(*chosen);
    if (*kept >= count) {
        *kept = count;
        return AWQ_OK;
    }
    for (size_t i = 0; i < *kept; i++)
        draw(*chosen, count, i, &random);
    qsort(*chosen, *kept, sizeof **chosen, compare_numbers);
    return AWQ_OK;
}

static awq_status add_chosen(packer *p, const part_list *list)
{
    size_t *chosen, kept;
    awq_status status;
    AWQ__TRY(choose(p->b, list->count, &chosen, &kept));
    for (size_t i = 0; i < kept; i++) {
        const part *sequence = &list->items[chosen[i]];
        if (sequence->document == ALL_TEXTS)
            AWQ__TRY(add_packed(p, i, (size_t)sequence->piece));
        else
            AWQ__TRY(add_piece_of_row(p->b, sequence, i));
    }
done:
    awq__free(chosen);
    return status;
}

static awq_status pack_documents(awq__builder *b)
{
    packer p = {.b = b, .loose = SIZE_MAX};
    part_list list = {0};
    size_t count = b->documents.count, threads = (size_t)awq__threads(b->ctx);
    awq_status status;
    p.documents = awq__alloc(b->ctx, count, sizeof *p.documents, "the documents of a corpus");
    p.spaces = awq__alloc(b->ctx, threads, sizeof *p.spaces, "the documents of a corpus");
    AWQ__TRY_ALLOC(p.documents && p.spaces);
    AWQ__TRY(count_texts(&p));
    AWQ__TRY(list_sequences(&p, &list));
    AWQ__TRY(add_chosen(&p, &list));
done:
    for (size_t i = 0; p.documents && i < count; i++)
        awq__free(p.documents[i].ids);
    for (size_t i = 0; p.spaces && i < threads; i++) {
        awq__text_free(&p.spaces[i].work);
        awq__free(p.spaces[i].ids.data);
    }
    awq__free(p.documents);
    awq__free(p.spaces);
    awq__free(list.items);
    return status;
}

awq_status awq__corpus_load(awq_context *ctx, const awq__corpus_options *options,
                            const char *tokenizer_path, int64_t vocabulary, awq__sequences *out)
{
    return awq__builder_load(ctx, options, tokenizer_path, vocabulary,
                             options->cut ? cut_documents : pack_documents, out);
}
