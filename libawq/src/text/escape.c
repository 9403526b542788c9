/*
 * NUL in JSON strings. Before cJSON sees it, \u0000 becomes U+FDD0 "0", and U+FDD0 itself, a
 * noncharacter that hardly ever occurs, becomes U+FDD0 "1"; so every string can be told.
 */
#define _DEFAULT_SOURCE /* strncasecmp */
#include "text/text_internal.h"

#include <string.h>
#include <strings.h>

#define MARK "\xEF\xB7\x90"
#define MARK_BYTES 3
#define ESCAPE_BYTES 6

/* What stands at `at`: how many bytes, and what takes their place (NULL: they stay). */
static size_t token_at(const char *at, size_t left, const char **instead)
{
    *instead = NULL;
    if (left >= MARK_BYTES && !memcmp(at, MARK, MARK_BYTES)) {
        *instead = MARK "1";
        return MARK_BYTES;
    }
    if (*at != '\\' || left < 2)
        return 1;
    if (left < ESCAPE_BYTES || at[1] != 'u')
        return 2;
    if (!memcmp(at + 2, "0000", 4))
        *instead = MARK "0";
    else if (!strncasecmp(at + 2, "fdd0", 4))
        *instead = MARK "1";
    return *instead ? ESCAPE_BYTES : 2;
}

bool awq__json_has_nul(const char *text, size_t bytes)
{
    const char *instead, *end = text + bytes;
    for (const char *at = text; (at = memchr(at, '\\', (size_t)(end - at)));) {
        at += token_at(at, (size_t)(end - at), &instead);
        if (instead && instead[MARK_BYTES] == '0')
            return true;
    }
    return false;
}

static awq_status escape_all(awq_context *ctx, const char *text, size_t bytes, awq__text *out)
{
    size_t copied = 0, length;
    for (size_t at = 0; at < bytes; at += length) {
        const char *instead;
        length = token_at(text + at, bytes - at, &instead);
        if (!instead)
            continue;
        AWQ__CHECK(awq__text_append_bytes(ctx, out, text + copied, at - copied));
        AWQ__CHECK(awq__text_append_bytes(ctx, out, instead, strlen(instead)));
        copied = at + length;
    }
    return awq__text_append_bytes(ctx, out, text + copied, bytes - copied);
}

awq_status awq__json_parse_nul(awq_context *ctx, const awq__json_source *source, const char *text,
                               size_t bytes, cJSON **root, bool *escaped)
{
    *root = NULL;
    *escaped = awq__json_has_nul(text, bytes);
    if (!*escaped)
        return awq__json_parse_from(ctx, source, text, bytes, root);
    /* Checked as it is written, so that a message tells the column of the file. */
    awq__json_source with_nul = *source;
    with_nul.allowed |= AWQ__JSON_NUL;
    awq__text changed = {0};
    awq_status status;
    AWQ__TRY(awq__json_check(ctx, &with_nul, text, bytes));
    AWQ__TRY(escape_all(ctx, text, bytes, &changed));
    AWQ__TRY(awq__json_parse_from(ctx, source, changed.data, changed.length, root));
done:
    awq__text_free(&changed);
    return status;
}

awq_status awq__json_unescape(awq_context *ctx, const char *string, bool escaped, awq__text *out)
{
    const char *mark;
    while (escaped && (mark = strstr(string, MARK))) {
        bool nul = mark[MARK_BYTES] == '0';
        AWQ__CHECK(awq__text_append_bytes(ctx, out, string, (size_t)(mark - string)));
        AWQ__CHECK(awq__text_append_bytes(ctx, out, nul ? "" : MARK, nul ? 1 : MARK_BYTES));
        string = mark + MARK_BYTES + 1;
    }
    return awq__text_append_bytes(ctx, out, string, strlen(string));
}
