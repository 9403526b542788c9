/* The `ignore` list of compressed-tensors. */
#include "format/format.h"

#include <string.h>

/* A component within a name. */
typedef struct word {
    const char *text;
    size_t length;
} word;

#define WORD(text)                                                                                 \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

/*
 * Components that engines and checkpoints spell differently. transformers 5 renames
 * block_sparse_moe, GPT-OSS has attn in vLLM and self_attn on disk; Mixtral's experts have w1, w2,
 * w3 on disk, and vLLM asks for the treatment of gate_proj, down_proj and up_proj.
 */
static const struct spelling {
    word word, other;
    bool both_ways;
} spellings[] = {
    {WORD("block_sparse_moe"), WORD("mlp"), true}, {WORD("self_attn"), WORD("attn"), true},
    {WORD("w1"), WORD("gate_proj"), false},        {WORD("w2"), WORD("down_proj"), false},
    {WORD("w3"), WORD("up_proj"), false},
};

/* The component that ends before `end`. */
static word word_before(const char *name, const char *end)
{
    const char *begin = end;
    while (begin > name && begin[-1] != '.')
        begin--;
    return (word){begin, (size_t)(end - begin)};
}

static bool same_word(word a, word b)
{
    return a.length == b.length && !memcmp(a.text, b.text, a.length);
}

/* NULL if the word is spelled one way alone. */
static const struct spelling *spelling_of(word w)
{
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
        if (same_word(w, spellings[i].word) ||
            (spellings[i].both_ways && same_word(w, spellings[i].other)))
            return &spellings[i];
    return NULL;
}

/* Does what an entry has for `entry` match `w` and every other spelling of w? */
static bool covers_word(word entry, word w)
{
    if (same_word(entry, w))
        return true;
    const struct spelling *spelling = spelling_of(entry);
    return spelling && (same_word(w, spelling->word) || same_word(w, spelling->other));
}

/* Could they be one word in some engine's spelling? */
static bool confusable(word a, word b)
{
    return covers_word(a, b) || covers_word(b, a);
}

/* One entry: an ending of a kept name, or all of it. */
typedef struct ending {
    const char *begin;
    bool whole;
} ending;

static bool covers(ending entry, const char *name)
{
    const char *at = name + strlen(name), *entry_at = entry.begin + strlen(entry.begin);
    for (;;) {
        word w = word_before(name, at), e = word_before(entry.begin, entry_at);
        if (!covers_word(e, w))
            return false;
        if (e.text == entry.begin)
            return (w.text == name) == entry.whole;
        if (w.text == name)
            return false;
        at = w.text - 1;
        entry_at = e.text - 1;
    }
}

/*
 * Where in the kept name the longest ending begins that, as an entry, could match the quantized
 * one; one past the NUL if none does. An ending that is all of the quantized name matches only as
 * a whole name.
 */
static const char *common_ending(const char *kept, const char *quantized)
{
    const char *at = kept + strlen(kept), *other_at = quantized + strlen(quantized);
    const char *common = at + 1;
    for (;;) {
        word w = word_before(kept, at), other = word_before(quantized, other_at);
        if (!confusable(w, other))
            return common;
        if (w.text == kept || other.text == quantized)
            return w.text == kept && other.text == quantized ? kept : common;
        common = w.text;
        at = w.text - 1;
        other_at = other.text - 1;
    }
}

/* The shortest ending of the name that matches no quantized name; begin is NULL if there is none.
 */
static ending tell_apart(const char *name, const char *const *quantized, size_t count)
{
    const char *common = name + strlen(name) + 1;
    for (size_t i = 0; i < count; i++) {
        const char *begin = common_ending(name, quantized[i]);
        if (begin < common)
            common = begin;
    }
    if (common == name)
        return (ending){0};
    const char *begin = word_before(name, common - 1).text;
    return (ending){begin, begin == name};
}

static awq_status append_word(awq_context *ctx, awq__text *text, word w)
{
    const struct spelling *spelling = spelling_of(w);
    if (spelling)
        return awq__text_append(ctx, text, "(%s|%s)", spelling->word.text, spelling->other.text);
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < w.length && status == AWQ_OK; i++)
        status = awq__text_append(ctx, text, strchr("\\^$*+?{}[]|()", w.text[i]) ? "\\%c" : "%c",
                                  w.text[i]);
    return status;
}

/* "lm_head" as it is, all else as a regular expression. NULL when memory is short. */
static char *write_entry(awq_context *ctx, ending entry)
{
    if (entry.whole && !strchr(entry.begin, '.'))
        return awq__strdup(ctx, entry.begin);
    awq__text text = {0};
    awq_status status = awq__text_append(ctx, &text, entry.whole ? "re:" : "re:.*\\.");
    for (const char *at = entry.begin;; at++) {
        word w = {at, strcspn(at, ".")};
        if (status == AWQ_OK)
            status = append_word(ctx, &text, w);
        at += w.length;
        if (status == AWQ_OK)
            status = awq__text_append(ctx, &text, *at ? "\\." : "$");
        if (!*at)
            break;
    }
    char *copy = status == AWQ_OK ? awq__strdup(ctx, text.data) : NULL;
    awq__text_free(&text);
    return copy;
}

static awq_status add(awq_context *ctx, const char *name, const char *const *quantized,
                      size_t quantized_count, ending *entries, char **list, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        if (covers(entries[i], name))
            return AWQ_OK;
    ending entry = tell_apart(name, quantized, quantized_count);
    if (!entry.begin)
        return awq__fail(
            ctx, AWQ_ERROR_RECIPE,
            "%s: is kept, but engines have the same name for a quantized module, so no "
            "ignore list can tell them apart",
            name);
    if (!(list[*count] = write_entry(ctx, entry)))
        return AWQ_ERROR_MEMORY;
    entries[(*count)++] = entry;
    return AWQ_OK;
}

awq_status awq__ignore_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                            const char *const *quantized, size_t quantized_count, char ***list,
                            size_t *count)
{
    *count = 0;
    *list = awq__alloc(ctx, kept_count, sizeof **list, "the ignore list");
    ending *entries = awq__alloc(ctx, kept_count, sizeof *entries, "the ignore list");
    awq_status status = *list && entries ? AWQ_OK : AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < kept_count && status == AWQ_OK; i++)
        status = add(ctx, kept[i], quantized, quantized_count, entries, *list, count);
    awq__free(entries);
    if (status == AWQ_OK)
        return status;
    awq__name_list_free(*list, *count);
    *list = NULL;
    *count = 0;
    return status;
}
