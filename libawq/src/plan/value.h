/* The values of options: text, and what it means. */
#ifndef AWQ__VALUE_H
#define AWQ__VALUE_H

#include "core/core.h"
#include "awq/awq.h"

/* A whole number, also with a minus, of at most 63 bits. */
bool awq__value_integer(const char *text, int64_t *number);
/* A decimal number with digits and at most one point: 4, 4.25. */
bool awq__value_number(const char *text, double *number);
/* Bytes: 1048576, 500MB, 5GB, 2GiB. */
bool awq__value_size(const char *text, int64_t *bytes);
/* Removes "." steps, doubled slashes and a slash at the end, in place. */
void awq__value_tidy_path(char *path);
/* AWQ_ERROR_ARGUMENT if the text is no value of the option: the message says what is allowed. */
awq_status awq__value_check(awq_context *ctx, const awq_option *option, const char *value);

/* ---- sets of numbers: "0-3,-1", "even", "::2" ---- */

/* Is it a comma-separated list of numbers, from-to ranges, from:to:step slices, even and odd? */
bool awq__index_set_valid(const char *text);
/* Is index, of `count` things, in the set? Negative numbers count from the end. */
bool awq__index_set_has(const char *text, int64_t index, int64_t count);

/* ---- sets of words ---- */

/* Is the word one of those between the separators? */
bool awq__word_in(const char *words, char separator, const char *word);
/* The same for a value such as "attention, router", which may have spaces at the commas. */
bool awq__value_lists(const char *text, const char *word);

#endif
