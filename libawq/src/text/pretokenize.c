/* Pre-tokenizers: each step cuts a piece into smaller ones, or writes it anew, and hands on. */
#include "text/text_internal.h"

#include <string.h>

/* The pattern that ByteLevel stands for, unless use_regex is false (GPT-2). */
#define BYTE_LEVEL_REGEX                                                                           \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

void awq__pretokenizer_free(awq__pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++)
        awq__pattern_free(&pretokenizer->steps[i].pattern);
    *pretokenizer = (awq__pretokenizer){0};
}

/* ---- loading ---- */

static awq_status add_step(const awq__source *source, awq__pretokenizer *pretokenizer,
                           awq__piece_kind kind, awq__piece_step **step)
{
    if (pretokenizer->count == AWQ__MAX_PIECE_STEPS)
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED, "%s: more than %d pre-tokenizers",
                         source->file, AWQ__MAX_PIECE_STEPS);
    *step = &pretokenizer->steps[pretokenizer->count++];
    **step = (awq__piece_step){.kind = kind};
    return AWQ_OK;
}

/* The place of `name` in the list, or count. */
static int find_word(const char *name, const char *const *words, int count)
{
    int i = 0;
    while (i < count && strcmp(name, words[i]))
        i++;
    return i;
}

static awq_status load_split(const awq__source *source, const cJSON *item,
                             awq__pretokenizer *pretokenizer)
{
    static const char what[] = "pre-tokenizer Split";
    static const char *const behaviors[] = {"Isolated", "Removed", "MergedWithPrevious",
                                            "MergedWithNext", "Contiguous"};
    awq__piece_step *step = NULL;
    const char *behavior;
    AWQ__CHECK(awq__field_names(source, item, what, "type pattern behavior invert"));
    AWQ__CHECK(awq__field_string(source, item, what, "behavior", false, &behavior));
    AWQ__CHECK(add_step(source, pretokenizer, AWQ__PIECE_SPLIT, &step));
    AWQ__CHECK(awq__field_bool(source, item, what, "invert", -1, &step->invert));
    AWQ__CHECK(awq__pattern_load(source, awq__field(item, "pattern"), what, &step->pattern));
    int index = find_word(behavior, behaviors, 5);
    if (index == 5)
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s: the behavior \"%s\" is not supported", source->file, what,
                         behavior);
    step->behavior = (awq__behavior)index;
    return AWQ_OK;
}

static awq_status load_byte_level(const awq__source *source, const cJSON *item,
                                  awq__pretokenizer *pretokenizer)
{
    static const char what[] = "pre-tokenizer ByteLevel";
    awq__piece_step *step = NULL;
    bool space, regex;
    AWQ__CHECK(
        awq__field_names(source, item, what, "type add_prefix_space trim_offsets use_regex"));
    AWQ__CHECK(awq__field_bool(source, item, what, "add_prefix_space", -1, &space));
    AWQ__CHECK(awq__field_bool(source, item, what, "use_regex", true, &regex));
    if (space)
        AWQ__CHECK(add_step(source, pretokenizer, AWQ__PIECE_SPACE, &step));
    if (regex) {
        AWQ__CHECK(add_step(source, pretokenizer, AWQ__PIECE_SPLIT, &step));
        AWQ__CHECK(awq__pattern_regex(source, BYTE_LEVEL_REGEX, &step->pattern));
    }
    return add_step(source, pretokenizer, AWQ__PIECE_BYTES, &step);
}

static awq_status load_digits(const awq__source *source, const cJSON *item,
                              awq__pretokenizer *pretokenizer)
{
    static const char what[] = "pre-tokenizer Digits";
    awq__piece_step *step = NULL;
    bool each;
    AWQ__CHECK(awq__field_names(source, item, what, "type individual_digits"));
    AWQ__CHECK(awq__field_bool(source, item, what, "individual_digits", -1, &each));
    AWQ__CHECK(add_step(source, pretokenizer, AWQ__PIECE_DIGITS, &step));
    step->behavior = each ? AWQ__ISOLATED : AWQ__CONTIGUOUS;
    return AWQ_OK;
}

/* The scheme, which old files say with add_prefix_space too. */
static awq_status load_prepend_scheme(const awq__source *source, const cJSON *item,
                                      awq__prepend *prepend)
{
    static const char what[] = "pre-tokenizer Metaspace";
    static const char *const schemes[] = {"always", "first", "never"};
    const char *scheme;
    bool prefix;
    AWQ__CHECK(awq__field_string(source, item, what, "prepend_scheme", true, &scheme));
    AWQ__CHECK(awq__field_bool(source, item, what, "add_prefix_space", true, &prefix));
    int index = scheme ? find_word(scheme, schemes, 3) : AWQ__PREPEND_ALWAYS;
    if (index == 3)
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s: the prepend_scheme \"%s\" is not supported", source->file, what,
                         scheme);
    *prepend = (awq__prepend)index;
    if (!prefix && *prepend != AWQ__PREPEND_NEVER)
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s: add_prefix_space contradicts prepend_scheme", source->file, what);
    return AWQ_OK;
}

static awq_status load_metaspace(const awq__source *source, const cJSON *item,
                                 awq__pretokenizer *pretokenizer)
{
    static const char what[] = "pre-tokenizer Metaspace";
    awq__piece_step *step = NULL;
    const char *sign;
    bool split;
    AWQ__CHECK(awq__field_names(source, item, what,
                                "type replacement prepend_scheme split add_prefix_space str_rep"));
    AWQ__CHECK(awq__field_string(source, item, what, "replacement", false, &sign));
    AWQ__CHECK(awq__field_bool(source, item, what, "split", true, &split));
    AWQ__CHECK(add_step(source, pretokenizer, AWQ__PIECE_METASPACE, &step));
    AWQ__CHECK(load_prepend_scheme(source, item, &step->prepend));
    uint32_t code_point;
    if (!*sign || sign[awq__utf8_next(sign, &code_point)])
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s: \"replacement\" is not one character", source->file, what);
    memcpy(step->sign, sign, strlen(sign) + 1);
    if (step->prepend == AWQ__PREPEND_FIRST) {
        /* Where a piece began in the text is not kept through earlier steps. */
        if (pretokenizer->count > 1)
            return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: %s with prepend_scheme \"first\" after another pre-tokenizer",
                             source->file, what);
        pretokenizer->needs_origin = true;
    }
    if (!split)
        return AWQ_OK;
    AWQ__CHECK(add_step(source, pretokenizer, AWQ__PIECE_SPLIT, &step));
    step->behavior = AWQ__MERGED_WITH_NEXT;
    return awq__pattern_literal(source, sign, &step->pattern);
}

static awq_status load_sequence(const awq__source *source, const cJSON *item,
                                awq__pretokenizer *pretokenizer)
{
    static const char what[] = "pre-tokenizer Sequence";
    AWQ__CHECK(awq__field_names(source, item, what, "type pretokenizers"));
    const cJSON *steps = awq__field(item, "pretokenizers"), *step;
    if (!cJSON_IsArray(steps))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: %s: \"pretokenizers\" is not an array",
                         source->file, what);
    cJSON_ArrayForEach(step, steps)
    {
        AWQ__CHECK(awq__pretokenizer_load(source, step, pretokenizer));
    }
    return AWQ_OK;
}

awq_status awq__pretokenizer_load(const awq__source *source, const cJSON *item,
                                  awq__pretokenizer *pretokenizer)
{
    static const char *const types[] = {"Split", "ByteLevel", "Digits", "Metaspace", "Sequence"};
    static awq_status (*const loaders[])(const awq__source *, const cJSON *,
                                         awq__pretokenizer *) = {
        load_split, load_byte_level, load_digits, load_metaspace, load_sequence};
    const char *type;
    if (!item || cJSON_IsNull(item))
        return AWQ_OK;
    AWQ__CHECK(awq__field_type(source, item, "pre-tokenizer", &type));
    int index = find_word(type, types, 5);
    if (index == 5)
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: the pre-tokenizer \"%s\" is not supported", source->file, type);
    return loaders[index](source, item, pretokenizer);
}

/* ---- cutting ---- */

static awq_status run_step(awq__cutter *cutter, size_t index, const char *text, size_t bytes,
                           bool first);

/* Takes the matches and what is between them, in order, and hands on pieces by the behavior. */
typedef struct splitter {
    awq__cutter *cutter;
    const awq__piece_step *step;
    const char *text;
    bool first;
    bool holding, held_match; /* a part that the next one may join */
    size_t start, end;
} splitter;

static awq_status give(const splitter *s, size_t start, size_t end)
{
    size_t index = (size_t)(s->step - s->cutter->pretokenizer->steps);
    return run_step(s->cutter, index + 1, s->text + start, end - start, s->first && !start);
}

/* Whether a part joins the one before it. */
static bool joins(const splitter *s, bool match)
{
    switch (s->step->behavior) {
    case AWQ__CONTIGUOUS:
        return match == s->held_match;
    case AWQ__MERGED_WITH_PREVIOUS:
        return match && !s->held_match;
    case AWQ__MERGED_WITH_NEXT:
        return !match && s->held_match;
    default:
        return false;
    }
}

static awq_status take(splitter *s, size_t start, size_t end, bool match)
{
    awq_status status = AWQ_OK;
    match ^= s->step->invert;
    if (s->holding && joins(s, match)) {
        s->end = end;
    } else {
        if (s->holding)
            status = give(s, s->start, s->end);
        s->start = start;
        s->end = end;
        s->holding = !(match && s->step->behavior == AWQ__REMOVED);
    }
    s->held_match = match;
    return status;
}

static awq_status finish(splitter *s)
{
    return s->holding ? give(s, s->start, s->end) : AWQ_OK;
}

static awq_status split(splitter *s, size_t bytes)
{
    awq__scan scan = {.source = s->cutter->source,
                      .pattern = &s->step->pattern,
                      .data = s->cutter->data,
                      .text = s->text,
                      .bytes = bytes};
    size_t done = 0, start, end;
    for (;;) {
        bool found;
        AWQ__CHECK(awq__scan_next(&scan, &found, &start, &end));
        if (!found)
            start = bytes;
        if (start > done)
            AWQ__CHECK(take(s, done, start, false));
        if (found)
            AWQ__CHECK(take(s, start, end, true));
        if (!found || s->cutter->full)
            return finish(s);
        done = end;
    }
}

static awq_status split_digits(splitter *s, size_t bytes)
{
    size_t done = 0, at = 0;
    while (at < bytes && !s->cutter->full) {
        uint32_t code_point;
        size_t start = at;
        at += awq__utf8_next(s->text + at, &code_point);
        if (!awq__is_number(code_point))
            continue;
        if (start > done)
            AWQ__CHECK(take(s, done, start, false));
        AWQ__CHECK(take(s, start, at, true));
        done = at;
    }
    if (done < bytes)
        AWQ__CHECK(take(s, done, bytes, false));
    return finish(s);
}

static awq_status write_space(awq_context *ctx, const char *text, size_t bytes, awq__text *out)
{
    AWQ__CHECK(awq__text_append_bytes(ctx, out, " ", text[0] != ' '));
    return awq__text_append_bytes(ctx, out, text, bytes);
}

static awq_status write_metaspace(awq_context *ctx, const awq__piece_step *step, const char *text,
                                  size_t bytes, bool first, awq__text *out)
{
    size_t sign_bytes = strlen(step->sign);
    bool has_sign =
        text[0] == ' ' || (bytes >= sign_bytes && !memcmp(text, step->sign, sign_bytes));
    bool wanted =
        step->prepend == AWQ__PREPEND_ALWAYS || (step->prepend == AWQ__PREPEND_FIRST && first);
    if (wanted && !has_sign)
        AWQ__CHECK(awq__text_append_bytes(ctx, out, step->sign, sign_bytes));
    while (bytes) {
        const char *space = memchr(text, ' ', bytes);
        size_t plain = space ? (size_t)(space - text) : bytes;
        AWQ__CHECK(awq__text_append_bytes(ctx, out, text, plain));
        if (space)
            AWQ__CHECK(awq__text_append_bytes(ctx, out, step->sign, sign_bytes));
        plain += space != NULL;
        text += plain;
        bytes -= plain;
    }
    return AWQ_OK;
}

/* GPT-2's bytes: printable ones of Latin-1 stand for themselves, the others follow from U+0100. */
static uint32_t byte_character(uint8_t byte)
{
    if (byte <= 32)
        return 0x100u + byte;
    if (byte >= 127 && byte <= 160)
        return 0x100u + 33 + (byte - 127u);
    return byte == 173 ? 0x100u + 67 : byte;
}

static awq_status write_bytes(awq_context *ctx, const char *text, size_t bytes, awq__text *out)
{
    size_t most;
    if (awq__mul_overflows(bytes, 2, &most))
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory for %zu bytes of text", bytes);
    AWQ__CHECK(awq__grow(ctx, &out->data, &out->capacity, most, 1, "a text"));
    for (size_t i = 0; i < bytes; i++) {
        char encoded[4];
        size_t length = awq__utf8_put(byte_character((uint8_t)text[i]), encoded);
        memcpy(out->data + out->length, encoded, length);
        out->length += length;
    }
    return AWQ_OK;
}

static awq_status run_step(awq__cutter *cutter, size_t index, const char *text, size_t bytes,
                           bool first)
{
    if (!bytes || cutter->full)
        return AWQ_OK;
    if (index == cutter->pretokenizer->count)
        return cutter->piece(cutter->arg, text, bytes);
    const awq__piece_step *step = &cutter->pretokenizer->steps[index];
    splitter s = {.cutter = cutter, .step = step, .text = text, .first = first};
    awq_context *ctx = cutter->source->ctx;
    awq__text *out = &cutter->work[index];
    out->length = 0;
    switch (step->kind) {
    case AWQ__PIECE_SPLIT:
        return split(&s, bytes);
    case AWQ__PIECE_DIGITS:
        return split_digits(&s, bytes);
    case AWQ__PIECE_SPACE:
        AWQ__CHECK(write_space(ctx, text, bytes, out));
        break;
    case AWQ__PIECE_METASPACE:
        AWQ__CHECK(write_metaspace(ctx, step, text, bytes, first, out));
        break;
    case AWQ__PIECE_BYTES:
        AWQ__CHECK(write_bytes(ctx, text, bytes, out));
        break;
    }
    return run_step(cutter, index + 1, out->data, out->length, first);
}

awq_status awq__cut(awq__cutter *cutter, const char *text, size_t bytes, bool first)
{
    return run_step(cutter, 0, text, bytes, first);
}
