/*
 * A regular expression of a tokenizer and a text. Matches come from left to right, do not overlap,
 * and cut no character.
 */
#include "fuzz.h"
#include "text/text_internal.h"

#include <string.h>

static bool at_character(const awq__text *text, size_t at)
{
    return at == text->length || ((unsigned char)text->data[at] & 0xc0) != 0x80;
}

static void scan_all(const awq__source *source, const awq__pattern *pattern, const awq__text *text)
{
    awq__match_data *data = awq__match_data_create(source->ctx);
    MUST(data);
    awq__scan scan = {.source = source,
                      .pattern = pattern,
                      .data = data,
                      .text = text->data,
                      .bytes = text->length};
    size_t last = 0, start, end, matches = 0;
    for (;;) {
        bool found;
        awq_status status = awq__scan_next(&scan, &found, &start, &end);
        fuzz_judge(status);
        if (status != AWQ_OK || !found)
            break;
        MUST(last <= start && start <= end && end <= text->length);
        MUST(at_character(text, start) && at_character(text, end));
        MUST(++matches <= text->length + 1);
        last = end;
    }
    awq__match_data_free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part parts[2];
    fuzz_split(data, size, parts, 2);
    awq__source source = {fuzz_context(), "tokenizer.json"};
    awq__pattern pattern = {0};
    awq__text text = {0};
    char *regex = fuzz_string(&parts[0]);
    MUST(awq__utf8_repair(source.ctx, parts[1].data, parts[1].size, &text) == AWQ_OK);
    /* The text of a JSON string: valid UTF-8. */
    if (awq__utf8_valid(regex, strlen(regex)) == strlen(regex)) {
        awq_status status = awq__pattern_regex(&source, regex, &pattern);
        fuzz_judge(status);
        if (status == AWQ_OK && text.length)
            scan_all(&source, &pattern, &text);
    }
    awq__pattern_free(&pattern);
    awq__text_free(&text);
    free(regex);
    fuzz_free(parts, 2);
    return 0;
}
