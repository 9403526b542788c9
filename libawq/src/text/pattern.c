/* Literal strings and regular expressions, and the search for their matches. */
#define _GNU_SOURCE /* memmem */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/text_internal.h"

#include <pcre2.h>
#include <string.h>

#define MAX_LITERAL_BYTES 4096
/* Generous for any honest pattern, also on a run of spaces as long as the text; a pattern
   that backtracks without end becomes an error. */
#define MATCH_LIMIT 10000000
#define MATCH_LIMIT_PER_BYTE 4
#define HEAP_LIMIT_KIB (256 << 10)

struct awq__match_data {
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

void awq__pattern_free(awq__pattern *pattern)
{
    awq__free(pattern->literal);
    pcre2_code_free(pattern->code);
    *pattern = (awq__pattern){0};
}

awq_status awq__pattern_literal(const awq__source *source, const char *literal,
                                awq__pattern *pattern)
{
    size_t bytes = strlen(literal);
    if (!bytes || bytes > MAX_LITERAL_BYTES)
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: a String pattern of %zu bytes, supported are 1 to %d", source->file,
                         bytes, MAX_LITERAL_BYTES);
    pattern->literal = awq__strdup(source->ctx, literal);
    pattern->literal_bytes = bytes;
    return pattern->literal ? AWQ_OK : AWQ_ERROR_MEMORY;
}

awq_status awq__pattern_regex(const awq__source *source, const char *regex, awq__pattern *pattern)
{
    awq__text translated = {0};
    awq_status status;
    AWQ__TRY(awq__regex_translate(source, regex, &translated));
    int error = 0;
    size_t offset = 0;
    pattern->code = pcre2_compile((PCRE2_SPTR)(translated.data ? translated.data : ""),
                                  translated.length, PCRE2_UTF, &error, &offset, NULL);
    if (!pattern->code) {
        char reason[128] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
        AWQ__TRY(awq__fail(
            source->ctx, error == PCRE2_ERROR_HEAP_FAILED ? AWQ_ERROR_MEMORY : AWQ_ERROR_FORMAT,
            "%s: the regular expression \"%s\" does not compile: %s", source->file, regex, reason));
    }
    /* Where there is no just-in-time compiler the interpreter gives the same matches. */
    pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);
done:
    awq__text_free(&translated);
    return status;
}

awq_status awq__pattern_load(const awq__source *source, const cJSON *item, const char *what,
                             awq__pattern *pattern)
{
    const char *literal, *regex;
    AWQ__CHECK(awq__field_names(source, item, what, "String Regex"));
    AWQ__CHECK(awq__field_string(source, item, what, "String", true, &literal));
    AWQ__CHECK(awq__field_string(source, item, what, "Regex", true, &regex));
    if (!literal == !regex)
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s needs one of \"String\" and \"Regex\"", source->file, what);
    return literal ? awq__pattern_literal(source, literal, pattern)
                   : awq__pattern_regex(source, regex, pattern);
}

awq__match_data *awq__match_data_create(awq_context *ctx)
{
    awq__match_data *data = awq__alloc(ctx, 1, sizeof *data, "matching");
    if (!data)
        return NULL;
    data->match = pcre2_match_data_create(1, NULL);
    data->limits = pcre2_match_context_create(NULL);
    if (!data->match || !data->limits) {
        awq__match_data_free(data);
        awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory for matching");
        return NULL;
    }
    pcre2_set_heap_limit(data->limits, HEAP_LIMIT_KIB);
    return data;
}

void awq__match_data_free(awq__match_data *data)
{
    if (!data)
        return;
    pcre2_match_data_free(data->match);
    pcre2_match_context_free(data->limits);
    awq__free(data);
}

static awq_status match_failure(const awq__scan *scan, int code)
{
    char reason[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
    return awq__fail(scan->source->ctx,
                     code == PCRE2_ERROR_NOMEMORY ? AWQ_ERROR_MEMORY : AWQ_ERROR_UNSUPPORTED,
                     "%s: a regular expression cannot be matched in a text of %zu bytes: %s",
                     scan->source->file, scan->bytes, reason);
}

/* *code is the result of PCRE2: negative if there is no match. */
static awq_status search(awq__scan *scan, int *code)
{
    awq__match_data *data = scan->data;
    PCRE2_SPTR text = (PCRE2_SPTR)scan->text;
    uint32_t options = PCRE2_NO_UTF_CHECK;
    size_t limit = scan->bytes < UINT32_MAX / 2 / MATCH_LIMIT_PER_BYTE
                       ? MATCH_LIMIT + MATCH_LIMIT_PER_BYTE * scan->bytes
                       : UINT32_MAX;
    pcre2_set_match_limit(data->limits, (uint32_t)limit);
    pcre2_set_depth_limit(data->limits, (uint32_t)limit);
    *code = pcre2_match(scan->pattern->code, text, scan->bytes, scan->at, options, data->match,
                        data->limits);
    if (*code == PCRE2_ERROR_JIT_STACKLIMIT)
        *code = pcre2_match(scan->pattern->code, text, scan->bytes, scan->at,
                            options | PCRE2_NO_JIT, data->match, data->limits);
    return *code < 0 && *code != PCRE2_ERROR_NOMATCH ? match_failure(scan, *code) : AWQ_OK;
}

static awq_status next_regex(awq__scan *scan, bool *found, size_t *start, size_t *end)
{
    while (scan->at <= scan->bytes) {
        int code;
        AWQ__CHECK(search(scan, &code));
        if (code < 0)
            return AWQ_OK;
        const size_t *offsets = pcre2_get_ovector_pointer(scan->data->match);
        *start = offsets[0];
        *end = offsets[1];
        if (*start != *end || !scan->matched || scan->last_end != *end) {
            scan->at = scan->last_end = *end;
            scan->matched = *found = true;
            return AWQ_OK;
        }
        uint32_t skipped;
        scan->at += scan->at < scan->bytes ? awq__utf8_next(scan->text + scan->at, &skipped) : 1;
    }
    return AWQ_OK;
}

static void next_literal(awq__scan *scan, bool *found, size_t *start, size_t *end)
{
    const awq__pattern *pattern = scan->pattern;
    const char *match = memmem(scan->text + scan->at, scan->bytes - scan->at, pattern->literal,
                               pattern->literal_bytes);
    *found = match != NULL;
    if (!match)
        return;
    *start = (size_t)(match - scan->text);
    *end = scan->at = *start + pattern->literal_bytes;
}

awq_status awq__scan_next(awq__scan *scan, bool *found, size_t *start, size_t *end)
{
    awq_status status = AWQ_OK;
    *found = false;
    if (scan->done || !scan->bytes)
        return AWQ_OK;
    if (scan->pattern->literal)
        next_literal(scan, found, start, end);
    else
        status = next_regex(scan, found, start, end);
    scan->done = !*found;
    return status;
}
