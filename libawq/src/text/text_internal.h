/* What the files of src/text share: Unicode, hash tables, patterns and the steps of a tokenizer. */
#ifndef AWQ__TEXT_INTERNAL_H
#define AWQ__TEXT_INTERNAL_H

#include "core/json.h"
#include "core/utf8.h"
#include "text/text.h"

/* PCRE2's header is for pattern.c alone. */
struct pcre2_real_code_8;

/* ---- unicode.c ---- */

/* White_Space; N*; and what a single_word token regards as a letter of a word. */
bool awq__is_space(uint32_t code_point);
bool awq__is_number(uint32_t code_point);
bool awq__is_word(uint32_t code_point);
/* True where normalization must do nothing: see unicode.c. */
bool awq__is_inert(uint32_t code_point);
/* Appends to a PCRE2 class the characters that \p{category} has in Unicode 16 but not in 14. */
awq_status awq__append_newer(awq_context *ctx, const char *category, awq__text *out);

/* ---- table.c ---- */

/* From 64-bit keys to values below UINT64_MAX. Zero-initialise. Iteration is not offered, so that
   no result can depend on the order of keys. */
typedef struct awq__map_slot {
    uint64_t key, value;
} awq__map_slot;
typedef struct awq__map {
    awq__map_slot *slots;
    size_t slot_count, count; /* slot_count is 0 or a power of two */
} awq__map;
void awq__map_free(awq__map *map);
/* Inserts or replaces. AWQ_ERROR_FORMAT if keys are made to collide: looking up stays fast whatever
   a file holds. `name` is the file. */
awq_status awq__map_set(awq_context *ctx, const char *name, awq__map *map, uint64_t key,
                        uint64_t value);
bool awq__map_get(const awq__map *map, uint64_t key, uint64_t *value);

/* From strings of bytes to ids. Zero-initialise. */
typedef struct awq__name {
    size_t offset, length;
    int32_t id;
} awq__name;
typedef struct awq__names {
    awq__text bytes;
    awq__name *items;
    size_t count, capacity;
    awq__map index; /* hash -> item; see table.c where two strings have the same hash */
    size_t longest;
} awq__names;
void awq__names_free(awq__names *names);
/* AWQ_ERROR_FORMAT if the string is there already. */
awq_status awq__names_add(awq_context *ctx, const char *file, awq__names *names, const char *string,
                          size_t length, int32_t id);
/* -1 if absent. */
int32_t awq__names_find(const awq__names *names, const char *string, size_t length);

/* ---- fields.c: members of JSON objects, with messages that name the component ---- */

typedef struct awq__source {
    awq_context *ctx;
    const char *file;
} awq__source;
/* Refuses what is no object (AWQ_ERROR_FORMAT) and members that are not among the space-separated
   names (AWQ_ERROR_UNSUPPORTED). */
awq_status awq__field_names(const awq__source *source, const cJSON *object, const char *what,
                            const char *allowed);
/* NULL where absent or null. */
const cJSON *awq__field(const cJSON *object, const char *name);
/* Absent or null gives the fallback; a fallback of -1 makes that an error. */
awq_status awq__field_bool(const awq__source *source, const cJSON *object, const char *what,
                           const char *name, int fallback, bool *out);
/* Absent or null is NULL if optional, else an error. Borrowed from the object. */
awq_status awq__field_string(const awq__source *source, const cJSON *object, const char *what,
                             const char *name, bool optional, const char **out);
/* A whole number from 0 to INT32_MAX - 1. */
awq_status awq__field_id(const awq__source *source, const cJSON *item, const char *what,
                         int32_t *out);
/* "type" of a component, which must be an object. */
awq_status awq__field_type(const awq__source *source, const cJSON *object, const char *what,
                           const char **out);

/* ---- regex.c ---- */

/*
 * Rewrites a regular expression from the dialect of tokenizer.json (Oniguruma) to PCRE2, with
 * classes that mean the same on all of Unicode. What has no exact equal is
 * AWQ_ERROR_UNSUPPORTED and named.
 */
awq_status awq__regex_translate(const awq__source *source, const char *regex, awq__text *out);

/* ---- pattern.c: {"String": ...} or {"Regex": ...} ---- */

typedef struct awq__pattern {
    char *literal; /* NULL for a regular expression */
    size_t literal_bytes;
    struct pcre2_real_code_8 *code;
} awq__pattern;
void awq__pattern_free(awq__pattern *pattern);
awq_status awq__pattern_regex(const awq__source *source, const char *regex, awq__pattern *pattern);
awq_status awq__pattern_literal(const awq__source *source, const char *literal,
                                awq__pattern *pattern);
awq_status awq__pattern_load(const awq__source *source, const cJSON *item, const char *what,
                             awq__pattern *pattern);

/* Work space for matching, of one thread; free with awq__match_data_free, which takes NULL. */
typedef struct awq__match_data awq__match_data;
awq__match_data *awq__match_data_create(awq_context *ctx);
void awq__match_data_free(awq__match_data *data);

/* Goes through the matches of a pattern in valid UTF-8, from left to right. */
typedef struct awq__scan {
    const awq__source *source;
    const awq__pattern *pattern;
    awq__match_data *data; /* work space; any scan may use it in between */
    const char *text;
    size_t bytes;
    size_t at, last_end;
    bool matched, done;
} awq__scan;
/* *found is false after the last match. An empty match right after another match is not one. */
awq_status awq__scan_next(awq__scan *scan, bool *found, size_t *start, size_t *end);

/* ---- normalize.c ---- */

typedef enum awq__normal_kind {
    AWQ__NORMAL_PREPEND,
    AWQ__NORMAL_REPLACE,
    AWQ__NORMAL_UNICODE,
} awq__normal_kind;

typedef struct awq__normal_step {
    awq__normal_kind kind;
    awq__pattern pattern; /* of a replacement */
    char *content;        /* of a replacement or a prefix */
    bool compose, compatible;
} awq__normal_step;

typedef struct awq__normalizer {
    awq__normal_step *steps;
    size_t count, capacity;
} awq__normalizer;
void awq__normalizer_free(awq__normalizer *normalizer);
awq_status awq__normalizer_load(const awq__source *source, const cJSON *item,
                                awq__normalizer *normalizer);
/* Normalizes one segment. *out is `text` itself or lies in one of the two work texts. */
awq_status awq__normalize(const awq__source *source, const awq__normalizer *normalizer,
                          awq__match_data *data, awq__text work[2], const char **text,
                          size_t *bytes);

/* ---- pretokenize.c ---- */

typedef enum awq__piece_kind {
    AWQ__PIECE_SPLIT,     /* by a pattern */
    AWQ__PIECE_DIGITS,    /* by runs of numbers, or each number */
    AWQ__PIECE_SPACE,     /* " " before what does not begin with it */
    AWQ__PIECE_METASPACE, /* " " to a sign, and the sign before what does not begin with it */
    AWQ__PIECE_BYTES,     /* each byte to a printable character */
} awq__piece_kind;

typedef enum awq__behavior {
    AWQ__ISOLATED,
    AWQ__REMOVED,
    AWQ__MERGED_WITH_PREVIOUS,
    AWQ__MERGED_WITH_NEXT,
    AWQ__CONTIGUOUS,
} awq__behavior;

typedef enum awq__prepend {
    AWQ__PREPEND_ALWAYS,
    AWQ__PREPEND_FIRST,
    AWQ__PREPEND_NEVER,
} awq__prepend;

typedef struct awq__piece_step {
    awq__piece_kind kind;
    awq__pattern pattern;
    awq__behavior behavior;
    bool invert;
    awq__prepend prepend;
    char sign[5]; /* of Metaspace */
} awq__piece_step;

#define AWQ__MAX_PIECE_STEPS 32
typedef struct awq__pretokenizer {
    awq__piece_step steps[AWQ__MAX_PIECE_STEPS];
    size_t count;
    bool needs_origin; /* some step asks whether a piece is the first of the text */
} awq__pretokenizer;
void awq__pretokenizer_free(awq__pretokenizer *pretokenizer);
awq_status awq__pretokenizer_load(const awq__source *source, const cJSON *item,
                                  awq__pretokenizer *pretokenizer);

/* Receives the pieces in their order; none is empty. */
typedef awq_status (*awq__piece_fn)(void *arg, const char *piece, size_t bytes);
typedef struct awq__cutter {
    const awq__source *source;
    const awq__pretokenizer *pretokenizer;
    awq__match_data *data;
    awq__text work[AWQ__MAX_PIECE_STEPS];
    awq__piece_fn piece;
    void *arg;
    bool full; /* set by `piece` to have no more of them */
} awq__cutter;
/* `first`: the segment begins where the text begins. */
awq_status awq__cut(awq__cutter *cutter, const char *text, size_t bytes, bool first);

/* ---- bpe.c ---- */

typedef struct awq__bpe {
    awq__names vocabulary;
    awq__map characters; /* code point -> id */
    awq__map merges;     /* (left id, right id) -> (rank, new id) */
    awq__map joints;     /* (last, first code point) of every merge's two sides */
    bool has_joints;     /* no merge can join two characters that are no joint */
    int32_t byte_ids[256];
    int32_t unknown;      /* -1: characters without a token vanish */
    bool unknown_missing; /* or are an error: unk_token is not in the vocabulary */
    bool byte_fallback, fuse_unknown, ignore_merges;
    int32_t largest;
} awq__bpe;
void awq__bpe_free(awq__bpe *bpe);
awq_status awq__bpe_load(const awq__source *source, const cJSON *item, awq__bpe *bpe);

/* A symbol of the word in work; neighbours by index, -1 at the ends. */
typedef struct awq__symbol {
    int32_t id, previous, next;
} awq__symbol;
/* A merge that was possible when it was queued. */
typedef struct awq__merge_candidate {
    uint64_t order; /* rank, then position: the smallest is merged first */
    int32_t new_id;
} awq__merge_candidate;
typedef struct awq__bpe_work {
    awq__symbol *symbols;
    size_t symbol_count, symbol_capacity;
    awq__merge_candidate *heap;
    size_t heap_count, heap_capacity;
} awq__bpe_work;
void awq__bpe_work_free(awq__bpe_work *work);
/* Appends the ids of one piece. */
awq_status awq__bpe_encode(const awq__source *source, const awq__bpe *bpe, awq__bpe_work *work,
                           const char *piece, size_t bytes, awq__ids *ids);
awq_status awq__ids_append(awq_context *ctx, awq__ids *ids, int32_t id);

/* ---- added.c: tokens that are found before all else ---- */

typedef struct awq__added_token {
    int32_t id;
    bool single_word, strip_left, strip_right;
} awq__added_token;

typedef struct awq__added {
    awq__added_token *tokens;
    size_t count, capacity;
    awq__map edges;       /* (node, byte) -> node of a trie; 0 is the root */
    int32_t *node_tokens; /* token that ends in the node, or -1 */
    size_t node_count, node_capacity;
    bool begins[256]; /* bytes that a token begins with */
} awq__added;
void awq__added_free(awq__added *added);
/* The first of two tokens with the same content is found. */
awq_status awq__added_insert(const awq__source *source, awq__added *added, const char *content,
                             size_t bytes, awq__added_token token);

/* Cuts a text into added tokens and what is between them. */
typedef struct awq__added_scan {
    const awq__added *added;
    const char *text;
    size_t bytes;
    size_t at;       /* where the next token is looked for */
    size_t consumed; /* end of the last part that was found */
    size_t token_start, token_end;
    int32_t token_id; /* a token found with text before it that was given out first; or -1 */
} awq__added_scan;
void awq__added_begin(awq__added_scan *scan, const awq__added *added, const char *text,
                      size_t bytes);
/* False at the end. *id is -1 for text between tokens. */
bool awq__added_next(awq__added_scan *scan, size_t *start, size_t *end, int32_t *id);

/* ---- template.c: what the post-processor puts around a text ---- */

typedef struct awq__template {
    awq__ids before, after;
} awq__template;
void awq__template_free(awq__template *around);
awq_status awq__template_load(const awq__source *source, const cJSON *item, awq__template *around);

/* ---- escape.c: JSON whose strings hold NUL ---- */

/* Whether \u0000 stands in a JSON text (and not \\u0000, which is six characters). */
bool awq__json_has_nul(const char *text, size_t bytes);
/*
 * cJSON ends a string at \u0000. This parses a document in which NULs are kept as two
 * characters that awq__json_unescape turns back; *escaped says whether that is needed.
 */
awq_status awq__json_parse_nul(awq_context *ctx, const awq__json_source *source, const char *text,
                               size_t bytes, cJSON **root, bool *escaped);
/* Appends the real bytes of a string of such a document. */
awq_status awq__json_unescape(awq_context *ctx, const char *string, bool escaped, awq__text *out);

/* ---- documents.c: the files of a corpus ---- */

typedef enum awq__document_kind {
    AWQ__DOCUMENT_TEXT,
    AWQ__DOCUMENT_LINE, /* or an element of a JSON array */
    AWQ__DOCUMENT_ROW,
} awq__document_kind;

typedef struct awq__document_file {
    awq__document_kind kind;
    awq__file file; /* of text and lines */
    int fd;         /* of that; -1 of rows */
    int32_t *rows;  /* [row_count, row_length] */
    int64_t row_count, row_length;
} awq__document_file;

/* A text file, a line of a .jsonl file, an element of a .json file, or a row of ids. */
typedef struct awq__document {
    size_t file;
    size_t offset, bytes; /* within the file */
    int64_t number;       /* of the line where it begins, from 1, or of the row, from 0 */
} awq__document;

/* ---- json_array.c ---- */

/* An element: where it begins in the file, its bytes, and the line of its first byte, from 1. */
typedef awq_status (*awq__element_fn)(void *user, size_t begin, size_t bytes, int64_t line);
/* Calls `see` for each element of the array that an opened file holds. AWQ_ERROR_FORMAT if it is no
   array, or one that does not end; what the elements are is not looked at. */
awq_status awq__scan_array(awq_context *ctx, const awq__file *file, int fd, awq__element_fn see,
                           void *user);

/* ---- documents.c ---- */

typedef struct awq__documents {
    awq_context *ctx;
    const char *const *paths;
    awq__document_file *files;
    size_t file_count;
    awq__document *items; /* in the order of files, lines and rows */
    size_t count, capacity;
} awq__documents;
void awq__documents_close(awq__documents *documents);
/* Opens all files and checks ids against [0, vocabulary). */
awq_status awq__documents_open(awq_context *ctx, const char *const *paths, size_t count,
                               int64_t vocabulary, awq__documents *documents);
/* Reads the text of a document that is no row, in place of what *text holds. */
awq_status awq__document_text(const awq__documents *documents, const awq__document *document,
                              const char *field, awq__text *text);
/* Appends ids first .. first+count-1 of a row. */
awq_status awq__document_row(const awq__documents *documents, const awq__document *document,
                             size_t first, size_t count, awq__ids *ids);

#endif
