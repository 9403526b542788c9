/* UTF-8: decoding what is valid, repairing what is not. */
#ifndef AWQ__UTF8_H
#define AWQ__UTF8_H

#include "core/core.h"

/*
 * The length of the sequence that begins at text[0] if it is valid; else 0, and *bad is the length
 * of the maximal subpart: as many bytes as begin some valid sequence, at least one (Unicode 16,
 * chapter 3, table 3-7 and "U+FFFD substitution of maximal subparts").
 */
size_t awq__utf8_sequence(const char *text, size_t bytes, size_t *bad);
/* Longest part of `text` from its start that is valid UTF-8. */
size_t awq__utf8_valid(const char *text, size_t bytes);
/* Is all of it? */
bool awq__is_utf8(const void *text, size_t bytes);
/* Decodes the character at the start of valid, non-empty UTF-8; returns its length. */
size_t awq__utf8_next(const char *text, uint32_t *code_point);
/* Encodes; returns the length, 1 to 4. */
size_t awq__utf8_put(uint32_t code_point, char out[4]);
/* string.c: appends a character. */
awq_status awq__utf8_append(awq_context *ctx, awq__text *text, uint32_t code_point);
/* Appends text to *out with each maximal invalid subpart replaced by U+FFFD. */
awq_status awq__utf8_repair(awq_context *ctx, const char *text, size_t bytes, awq__text *out);

/*
 * Makes a message's buffer of `size` bytes one line that cannot command a terminal, in place. A '?'
 * replaces each control character (C0 or C1), each byte that is not UTF-8, and each character that
 * changes the direction of writing or breaks a line. A text that was cut to fit ends in "...".
 */
void awq__clean_line(char *text, size_t size, bool cut);

#endif
