#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/name_pattern.h"

#include <fnmatch.h>
#include <pcre2.h>
#include <string.h>

#define REGEX_PREFIX "re:"
/* Names are short: an honest expression takes a few hundred steps. */
#define MATCH_LIMIT 100000

awq_status awq__name_pattern_create(awq_context *ctx, const char *where, const char *text,
                                    awq__name_kind other, awq__name_pattern *pattern)
{
    *pattern = (awq__name_pattern){.kind = other};
    if (!strncmp(text, REGEX_PREFIX, strlen(REGEX_PREFIX)))
        pattern->kind = AWQ__NAME_REGEX;
    pattern->text = awq__strdup(ctx, text);
    AWQ__CHECK_ALLOC(pattern->text);
    if (pattern->kind != AWQ__NAME_REGEX)
        return AWQ_OK;
    int error = 0;
    size_t offset = 0;
    const char *regex = text + strlen(REGEX_PREFIX);
    pattern->code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED,
                                  PCRE2_ANCHORED | PCRE2_UTF, &error, &offset, NULL);
    if (pattern->code)
        return AWQ_OK;
    char reason[128] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)reason, sizeof reason);
    awq__name_pattern_free(pattern);
    return awq__fail(ctx, error == PCRE2_ERROR_HEAP_FAILED ? AWQ_ERROR_MEMORY : AWQ_ERROR_FORMAT,
                     "%s: the regular expression \"%s\" does not compile at character %zu: %s",
                     where, regex, offset, reason);
}

void awq__name_pattern_free(awq__name_pattern *pattern)
{
    awq__free(pattern->text);
    pcre2_code_free(pattern->code);
    *pattern = (awq__name_pattern){0};
}

static awq_status match_regex(awq_context *ctx, const awq__name_pattern *pattern, const char *name,
                              bool *matches)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int code = PCRE2_ERROR_NOMEMORY;
    if (data && limits) {
        pcre2_set_match_limit(limits, MATCH_LIMIT);
        pcre2_set_depth_limit(limits, MATCH_LIMIT);
        code = pcre2_match(pattern->code, (PCRE2_SPTR)name, strlen(name), 0, 0, data, limits);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    *matches = code >= 0;
    if (code >= 0 || code == PCRE2_ERROR_NOMATCH)
        return AWQ_OK;
    char reason[128] = "";
    pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
    return awq__fail(ctx, code == PCRE2_ERROR_NOMEMORY ? AWQ_ERROR_MEMORY : AWQ_ERROR_UNSUPPORTED,
                     "\"%s\" cannot be matched with the name \"%s\": %s", pattern->text, name,
                     reason);
}

/* Does the glob match the name, or what follows one of its dots? */
static bool match_glob(const char *glob, const char *name)
{
    for (;;) {
        if (!fnmatch(glob, name, 0))
            return true;
        name = strchr(name, '.');
        if (!name)
            return false;
        name++;
    }
}

awq_status awq__name_pattern_match(awq_context *ctx, const awq__name_pattern *pattern,
                                   const char *name, bool *matches)
{
    if (pattern->kind == AWQ__NAME_REGEX)
        return match_regex(ctx, pattern, name, matches);
    *matches = pattern->kind == AWQ__NAME_GLOB ? match_glob(pattern->text, name)
                                               : !strcmp(pattern->text, name);
    return AWQ_OK;
}
