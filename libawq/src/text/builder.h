/* Sequences in the making, for the files that make them of documents. */
#ifndef AWQ__BUILDER_H
#define AWQ__BUILDER_H

#include "text/text_internal.h"

#define AWQ__MIN_SEQUENCE 2

/* A sequence found so far: where it lies in the builder's ids, and its place in the order. */
typedef struct awq__span {
    size_t order, start, count;
} awq__span;

typedef struct awq__builder {
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
    awq__span *spans;
    size_t span_count, span_capacity;
} awq__builder;

/* To be closed, also after a failure. */
awq_status awq__builder_open(awq_context *ctx, const awq__corpus_options *options,
                             const char *tokenizer_path, int64_t vocabulary, awq__builder *b);
void awq__builder_close(awq__builder *b);
/* Opens a builder, makes sequences with it and gives them out. AWQ_ERROR_FORMAT if there are none.
 */
awq_status awq__builder_load(awq_context *ctx, const awq__corpus_options *options,
                             const char *tokenizer_path, int64_t vocabulary,
                             awq_status (*make)(awq__builder *b), awq__sequences *out);

awq__document_kind awq__builder_kind(const awq__builder *b, const awq__document *document);
/* A row has one piece for each started sequence_length, but none for a rest of one id; a text is
   one. */
int64_t awq__builder_pieces(const awq__builder *b, const awq__document *document);

/* Before any text is encoded. */
awq_status awq__builder_need_tokenizer(awq__builder *b);
/* Appends the first `most` ids of a text that begins where the document does. Any number of threads
   may encode, each with ids of its own. */
awq_status awq__builder_encode(const awq__builder *b, const awq__document *document,
                               const awq__text *text, bool special, size_t most, awq__ids *ids);
/* The same for the text of the document, which is read into *work. */
awq_status awq__builder_encode_document(const awq__builder *b, const awq__document *document,
                                        size_t most, awq__text *work, awq__ids *ids);
/* Appends the first `most` ids of a document to the loose ones. */
awq_status awq__builder_read(awq__builder *b, const awq__document *document, size_t most);

awq_status awq__builder_append(awq__builder *b, const int32_t *ids, size_t count);
/* Makes the ids from `start` on a sequence. */
awq_status awq__builder_end(awq__builder *b, size_t order, size_t start);
/* Makes `count` loose ids from `first` on a sequence, after `bos` if that is an id. */
awq_status awq__builder_add(awq__builder *b, size_t order, int32_t bos, size_t first, size_t count);
/* Makes all full sequences there are of loose ids, and keeps the rest. */
awq_status awq__builder_add_all(awq__builder *b, int32_t bos);
/* Makes at most `most` ids of a row from `first` on a sequence. */
awq_status awq__builder_add_row(awq__builder *b, const awq__document *document, size_t order,
                                int64_t first, int64_t most);

#endif
