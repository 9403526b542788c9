/* What can be known of a corpus without reading it all. */
#include "text/builder.h"

/* Few texts have longer tokens in the mean. */
#define LONG_TOKEN_BYTES 64

/* The loose ids, if they are enough. */
static awq_status add_looked_at(awq__builder *b)
{
    if (!b->options->cut)
        return awq__builder_add_all(b, -1);
    size_t count = (size_t)awq__min((int64_t)b->loose.count, b->options->sequence_length);
    awq_status status = count < AWQ__MIN_SEQUENCE ? AWQ_OK : awq__builder_add(b, 0, -1, 0, count);
    b->loose.count = 0;
    return status;
}

/* The first document of each file, and as many others as make a sequence. */
static awq_status look_at_documents(awq__builder *b)
{
    size_t file = SIZE_MAX;
    for (size_t i = 0; i < b->documents.count; i++) {
        const awq__document *document = &b->documents.items[i];
        if (b->span_count && document->file == file)
            continue;
        file = document->file;
        if (awq__builder_kind(b, document) != AWQ__DOCUMENT_ROW) {
            AWQ__CHECK(awq__builder_read(b, document, SIZE_MAX));
            AWQ__CHECK(add_looked_at(b));
        } else if (awq__builder_pieces(b, document)) {
            AWQ__CHECK(awq__builder_add_row(b, document, 0, 0, b->options->sequence_length));
        }
    }
    return AWQ_OK;
}

awq_status awq__corpus_look(awq_context *ctx, const awq__corpus_options *options,
                            const char *tokenizer_path, int64_t vocabulary, bool *found)
{
    awq__builder b;
    *found = false;
    awq_status status;
    AWQ__TRY(awq__builder_open(ctx, options, tokenizer_path, vocabulary, &b));
    b.most = (size_t)options->sequence_length * LONG_TOKEN_BYTES;
    AWQ__TRY(look_at_documents(&b));
    *found = b.span_count;
done:
    awq__builder_close(&b);
    return status;
}
