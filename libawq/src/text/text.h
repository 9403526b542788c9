/* Text to token ids: tokenizer.json, and corpora cut into sequences. */
#ifndef AWQ__TEXT_H
#define AWQ__TEXT_H

#include "core/core.h"

/* A growing list of ids. Zero-initialise; free with awq__free(ids.data). */
typedef struct awq__ids {
    int32_t *data;
    size_t count, capacity;
} awq__ids;

typedef struct awq__tokenizer awq__tokenizer;

/*
 * Loads a Hugging Face tokenizer.json of at most 256 MiB with a BPE model, of either family: byte
 * fallback (normalizers Prepend, Replace; or pre-tokenizer Metaspace) and byte level
 * (pre-tokenizers Split, ByteLevel, Digits; normalizers NFC, NFD, NFKC, NFKD). A component, a
 * member of one or a construct of a regular expression it does not know is AWQ_ERROR_UNSUPPORTED
 * and named: ids are right or refused. So is an added token whose id is not the one that its place
 * in the file gives it (AWQ_ERROR_FORMAT). "decoder", "truncation" and "padding" are passed over:
 * texts are never shortened. Characters are those of Unicode 16; unicode.c says what depends on
 * installed libraries.
 */
awq_status awq__tokenizer_load(awq_context *ctx, const char *path, awq__tokenizer **out);
/* Takes NULL. */
void awq__tokenizer_free(awq__tokenizer *tokenizer);
/*
 * Appends the ids of `bytes` bytes of text to *ids; on failure *ids is as before. NUL is a
 * character like others. Invalid UTF-8 is replaced by U+FFFD as the Unicode standard recommends
 * (maximal subparts). add_special adds what the post-processor does. Failures are recorded in the
 * context of the load. Any number of threads may encode with one tokenizer. Takes O(n log n) time,
 * unless a regular expression of the file backtracks; one that passes its limits is
 * AWQ_ERROR_UNSUPPORTED.
 */
awq_status awq__tokenizer_encode(const awq__tokenizer *tokenizer, const char *text, size_t bytes,
                                 bool add_special, awq__ids *ids);
/* The same for the first `most` of these ids: the text behind them costs little. */
awq_status awq__tokenizer_encode_first(const awq__tokenizer *tokenizer, const char *text,
                                       size_t bytes, bool add_special, size_t most, awq__ids *ids);
/* The first id that the post-processor puts before a single text, or -1: the BOS. */
int32_t awq__tokenizer_bos(const awq__tokenizer *tokenizer);
/* One more than the largest id. */
int64_t awq__tokenizer_size(const awq__tokenizer *tokenizer);

/* Sequences of ids. Sequence i is ids[offsets[i]] .. ids[offsets[i+1]-1]. */
typedef struct awq__sequences {
    int64_t count;
    int64_t *offsets; /* [count + 1] */
    int32_t *ids;
} awq__sequences;
void awq__sequences_free(awq__sequences *sequences);

typedef struct awq__corpus_options {
    const char *const *files; /* .txt, .jsonl, .safetensors; may be mixed */
    size_t file_count;
    const char *field;       /* of a .jsonl line; NULL is "text" */
    int64_t samples;         /* at most so many sequences; 0 is all */
    int64_t sequence_length; /* ids of a sequence at most, BOS included; at least 2 */
    uint64_t seed;
    bool cut; /* true: each document is one sequence, its end cut off (documents with
                 fewer than 2 ids are passed over); false: documents are joined, each
                 with its special tokens, and packed into full sequences */
} awq__corpus_options;

/*
 * For calibration. A document is a .txt file of up to 4 GiB, a .jsonl line of up to 256 MiB that is
 * not blank, or a row of a .safetensors file. Rows are those of `input_ids` I32 [n, length], or of
 * the only I32 tensor of rank 2. They are cut into pieces of sequence_length; a last piece of a
 * single id is passed over. Documents have the order of files, lines and rows.
 *
 * When there are more sequences than samples, `samples` of them are chosen by seed and kept in
 * their order. With `cut`, documents and pieces are drawn before they are tokenized, and lines that
 * are not drawn are not even parsed. A document that turns out too short is replaced by the next
 * drawn. Without `cut`, everything is tokenized to be counted, on the context's threads. The rest
 * of the texts at the end is dropped; a .safetensors file between texts does not part them.
 *
 * Ids outside [0, vocabulary) are an error that names file and position. tokenizer_path is opened
 * only if a text needs it. An empty result is an error (AWQ_ERROR_FORMAT).
 */
awq_status awq__corpus_load(awq_context *ctx, const awq__corpus_options *options,
                            const char *tokenizer_path, int64_t vocabulary, awq__sequences *out);
/* Of a .jsonl file the ids of so much text are kept while all are counted. */
#define AWQ__KEPT_TEXT_BYTES ((size_t)1 << 24)
/*
 * What can be known without reading it all: are there the files, of a kind that is read, and is the
 * beginning of each as it should be? *found: a sequence is there. If not, only the load can tell,
 * since no more than the beginnings of texts are tokenized. Errors are those of the load.
 */
awq_status awq__corpus_look(awq_context *ctx, const awq__corpus_options *options,
                            const char *tokenizer_path, int64_t vocabulary, bool *found);
/*
 * For evaluation. Documents that follow one another are joined with an empty line between ("\n\n")
 * and tokenized without special tokens. The ids are cut into windows of exactly sequence_length,
 * which begin with the BOS if there is one; the last partial window is dropped. Rows of a
 * .safetensors file are windows as they are; the file ends the text before it. There are at most
 * `samples` windows, from the start (0: all). seed and cut mean nothing here. Errors are as above.
 */
awq_status awq__windows_load(awq_context *ctx, const awq__corpus_options *options,
                             const char *tokenizer_path, int64_t vocabulary, awq__sequences *out);

#endif
