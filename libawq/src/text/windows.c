/* Documents to windows of an evaluation. */
#include "text/builder.h"

/* Between documents of an evaluation text. */
#define SEPARATOR "\n\n"

static size_t wanted_of(const awq__builder *b)
{
    return b->options->samples ? (size_t)b->options->samples : SIZE_MAX;
}

/* Of a text, for the windows that are still wanted. */
static size_t most_ids(const awq__builder *b)
{
    size_t ids, length = (size_t)b->options->sequence_length;
    return awq__mul_overflows(wanted_of(b) - b->span_count, length, &ids) ? SIZE_MAX : ids;
}

/* Documents first .. last-1 as one text. */
static awq_status window_texts(awq__builder *b, size_t first, size_t last)
{
    awq__text joined = {0};
    const awq__text *whole = last - first > 1 ? &joined : &b->work; /* one text needs no copy */
    AWQ__CHECK(awq__builder_need_tokenizer(b));
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
    AWQ__TRY(
        awq__builder_encode(b, &b->documents.items[first], whole, false, most_ids(b), &b->loose));
    b->seen += b->loose.count;
    AWQ__TRY(awq__builder_add_all(b, awq__tokenizer_bos(b->tokenizer)));
done:
    awq__text_free(&joined);
    return status;
}

static awq_status window_row(awq__builder *b, const awq__document *document)
{
    if (b->documents.files[document->file].row_length < AWQ__MIN_SEQUENCE)
        return awq__fail(b->ctx, AWQ_ERROR_FORMAT, "%s: rows of one id, a window needs two",
                         b->documents.paths[document->file]);
    return awq__builder_add_row(b, document, b->span_count, 0, INT64_MAX);
}

static awq_status make_windows(awq__builder *b)
{
    const awq__document *items = b->documents.items;
    size_t wanted = wanted_of(b), last;
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < b->documents.count && b->span_count < wanted; i = last) {
        last = i + 1;
        if (awq__builder_kind(b, &items[i]) == AWQ__DOCUMENT_ROW) {
            AWQ__TRY(window_row(b, &items[i]));
            continue;
        }
        while (last < b->documents.count && awq__builder_kind(b, &items[last]) != AWQ__DOCUMENT_ROW)
            last++;
        AWQ__TRY(window_texts(b, i, last));
    }
done:
    if (b->span_count > wanted)
        b->span_count = wanted;
    return status;
}

awq_status awq__windows_load(awq_context *ctx, const awq__corpus_options *options,
                             const char *tokenizer_path, int64_t vocabulary, awq__sequences *out)
{
    return awq__builder_load(ctx, options, tokenizer_path, vocabulary, make_windows, out);
}
