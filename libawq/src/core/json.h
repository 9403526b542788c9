/* JSON over cJSON, with errors that name the file, the key and what was expected. */
#ifndef AWQ__JSON_H
#define AWQ__JSON_H

#include "core/core.h"

#include <cjson/cJSON.h>

/* What a text may hold that is not read elsewhere. */
enum {
    AWQ__JSON_LITERALS = 1, /* NaN, Infinity and -Infinity as numbers: Python's json writes them */
    AWQ__JSON_NUL = 2,      /* \u0000 in strings, at which cJSON ends them */
};

/* Where a text comes from. */
typedef struct awq__json_source {
    const char *name;    /* the file or tensor, for messages */
    size_t lines_before; /* of the file, before the text */
    unsigned allowed;    /* AWQ__JSON_... */
} awq__json_source;

/*
 * The strict pass. The text must be one JSON value of RFC 8259, in UTF-8 without a byte order mark,
 * nested at most 100 deep, with whole surrogate pairs. \u0000 and literals such as NaN must be
 * allowed. Else AWQ_ERROR_FORMAT with line and column.
 */
awq_status awq__json_check(awq_context *ctx, const awq__json_source *source, const char *text,
                           size_t bytes);
/* The strict pass, then the tree. A key that stands twice in an object is refused too. Free with
   cJSON_Delete. AWQ__JSON_NUL must not be allowed. */
awq_status awq__json_parse_from(awq_context *ctx, const awq__json_source *source, const char *text,
                                size_t bytes, cJSON **root);
/* The same for a text that begins its file; without what could be allowed. */
awq_status awq__json_parse(awq_context *ctx, const char *name, const char *text, size_t bytes,
                           cJSON **root);
/* Reads and parses a file of at most 256 MiB. Free with cJSON_Delete. */
awq_status awq__json_read(awq_context *ctx, const char *path, cJSON **root);
/* The same with AWQ__JSON_LITERALS: a config.json. */
awq_status awq__json_read_python(awq_context *ctx, const char *path, cJSON **root);

/* Makes of out, which is empty, the text of a JSON object with a member that has this value (a JSON
   text): in place of the one with the same key, else at the end. All else stays as it is written,
   literals too. AWQ_ERROR_FORMAT if the text is no object or the result no JSON. */
awq_status awq__json_set_member(awq_context *ctx, const char *name, const char *text, size_t bytes,
                                const char *key, const char *value, awq__text *out);

/* Looks up "a.b.c", each step an object key. NULL where absent. A key may hold no dot. */
const cJSON *awq__json_at(const cJSON *root, const char *path);
/* True, and *out set, iff item is a number that is exactly an int64 (magnitude <= 2^53). */
bool awq__json_int(const cJSON *item, int64_t *out);

/* Is it a text, and this one? NULL is not. */
bool awq__json_is_text(const cJSON *item, const char *text);

/* ---- json_build.c ---- */

/* Zero-initialise. Once an allocation has failed, what is added may be missing; awq__json_built
   says so, before anything of it is written. A NULL parent is one that could not be made. */
typedef struct awq__json_builder {
    bool failed;
} awq__json_builder;
/* An object that is in no other. Free with cJSON_Delete. */
cJSON *awq__json_root(awq__json_builder *builder);
/* The rest adds to a parent: an object, or, with key NULL, an array. */
cJSON *awq__json_add_object(awq__json_builder *builder, cJSON *parent, const char *key);
cJSON *awq__json_add_array(awq__json_builder *builder, cJSON *parent, const char *key);
void awq__json_add_number(awq__json_builder *builder, cJSON *parent, const char *key,
                          double number);
void awq__json_add_bool(awq__json_builder *builder, cJSON *parent, const char *key, bool truth);
void awq__json_add_text(awq__json_builder *builder, cJSON *parent, const char *key,
                        const char *text);
/* An item, which is taken over; NULL is one that could not be made. Returns it, or NULL. */
cJSON *awq__json_add_item(awq__json_builder *builder, cJSON *parent, const char *key, cJSON *item);
/* A text, object or array that stays its owner's, which must outlive it. */
void awq__json_add_reference(awq__json_builder *builder, cJSON *parent, const char *key,
                             const cJSON *item);
/* AWQ_ERROR_MEMORY if anything is missing; `what` names the whole. */
awq_status awq__json_built(awq_context *ctx, const awq__json_builder *builder, const char *what);
/* Appends an item as text. AWQ_ERROR_MEMORY for NULL too. */
awq_status awq__json_print(awq_context *ctx, const cJSON *item, const char *what, awq__text *out);

#endif
