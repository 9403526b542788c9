/*
 * The normalizer and pre-tokenizer of a tokenizer.json, as one object with both, and a text. What
 * comes out is UTF-8; pieces are not empty, and steps that only cut leave all of the text.
 */
#include "fuzz.h"
#include "text/text_internal.h"

#include <string.h>

static awq_status collect(void *arg, const char *piece, size_t bytes)
{
    awq__text *pieces = arg;
    MUST(bytes && awq__utf8_valid(piece, bytes) == bytes);
    return awq__text_append_bytes(fuzz_context(), pieces, piece, bytes);
}

static bool only_cuts(const awq__pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++) {
        const awq__piece_step *step = &pretokenizer->steps[i];
        if ((step->kind != AWQ__PIECE_SPLIT && step->kind != AWQ__PIECE_DIGITS) ||
            step->behavior == AWQ__REMOVED)
            return false;
    }
    return true;
}

static void cut(const awq__source *source, const awq__pretokenizer *pretokenizer,
                awq__match_data *data, const char *text, size_t bytes)
{
    awq__text pieces = {0};
    awq__cutter cutter = {.source = source,
                          .pretokenizer = pretokenizer,
                          .data = data,
                          .piece = collect,
                          .arg = &pieces};
    awq_status status = bytes ? awq__cut(&cutter, text, bytes, true) : AWQ_OK;
    fuzz_judge(status);
    if (status == AWQ_OK && bytes && only_cuts(pretokenizer))
        MUST(pieces.length == bytes && !memcmp(pieces.data, text, bytes));
    for (size_t i = 0; i < AWQ__MAX_PIECE_STEPS; i++)
        awq__text_free(&cutter.work[i]);
    awq__text_free(&pieces);
}

static void run(const awq__source *source, const awq__normalizer *normalizer,
                const awq__pretokenizer *pretokenizer, const fuzz_part *part)
{
    awq__text whole = {0}, work[2] = {{0}, {0}};
    awq__match_data *data = awq__match_data_create(source->ctx);
    MUST(data);
    MUST(awq__utf8_repair(source->ctx, part->data, part->size, &whole) == AWQ_OK);
    const char *text = whole.data;
    size_t bytes = whole.length;
    awq_status status =
        bytes ? awq__normalize(source, normalizer, data, work, &text, &bytes) : AWQ_OK;
    fuzz_judge(status);
    if (status == AWQ_OK && bytes) {
        MUST(awq__utf8_valid(text, bytes) == bytes);
        cut(source, pretokenizer, data, text, bytes);
    }
    awq__match_data_free(data);
    awq__text_free(&whole);
    awq__text_free(&work[0]);
    awq__text_free(&work[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part parts[2];
    fuzz_split(data, size, parts, 2);
    awq__source source = {fuzz_context(), "tokenizer.json"};
    awq__normalizer normalizer = {0};
    static awq__pretokenizer pretokenizer;
    cJSON *root;
    awq_status status =
        awq__json_parse(source.ctx, source.file, parts[0].data, parts[0].size, &root);
    if (status == AWQ_OK)
        status = awq__normalizer_load(&source, awq__field(root, "normalizer"), &normalizer);
    if (status == AWQ_OK)
        status = awq__pretokenizer_load(&source, awq__field(root, "pre_tokenizer"), &pretokenizer);
    fuzz_judge(status);
    if (status == AWQ_OK)
        run(&source, &normalizer, &pretokenizer, &parts[1]);
    awq__normalizer_free(&normalizer);
    awq__pretokenizer_free(&pretokenizer);
    cJSON_Delete(root);
    fuzz_free(parts, 2);
    return 0;
}
