/* JSON over cJSON, with errors that name the file, the key and what was expected. */
#ifndef AWQ__JSON_H
#define AWQ__JSON_H

#include "core/core.h"

#include <cjson/cJSON.h>

/* Parses `bytes` of text. `name` is the file for messages, which give line and column.
   Text after the value, duplicate keys in any object, and nesting over 100 are refused. */
awq_status awq__json_parse(awq_context *ctx, const char *name, const char *text, size_t bytes,
                           cJSON **root);
/* Reads and parses a file of at most 256 MiB. Free with cJSON_Delete. */
awq_status awq__json_read(awq_context *ctx, const char *path, cJSON **root);

/* Makes of out, which is empty, the text of an object, already parsed without an error, with a
   member that has this value (a JSON text): in place of the one with the same key, else at the end.
   All else stays as it is written. AWQ_ERROR_FORMAT if the result is no JSON. */
awq_status awq__json_set_member(awq_context *ctx, const char *name, const char *text,
                                const char *key, const char *value, awq__text *out);

/* Looks up "a.b.c", each step an object key. NULL where absent. A key may hold no dot. */
const cJSON *awq__json_at(const cJSON *root, const char *path);
/* True, and *out set, iff item is a number that is exactly an int64 (magnitude <= 2^53). */
bool awq__json_int(const cJSON *item, int64_t *out);

/* Is it a text, and this one? NULL is not. */
bool awq__json_is_text(const cJSON *item, const char *text);

#endif
