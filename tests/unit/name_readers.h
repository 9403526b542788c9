/* The readers of the lists of kept modules, by their rules, which are written here anew. */
#ifndef NAME_READERS_H
#define NAME_READERS_H

#include "context.h"
#include "format/format.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONGEST = 160 };

typedef struct names {
    const char **list;
    size_t count, capacity;
} names;

static void add(awq_context *ctx, names *n, const char *name)
{
    succeeds(ctx,
             awq__grow(ctx, &n->list, &n->capacity, n->count + 1, sizeof *n->list, "test names"));
    n->list[n->count] = awq__strdup(ctx, name);
    assert_non_null(n->list[n->count]);
    n->count++;
}

static void clear(names *n)
{
    for (size_t i = 0; i < n->count; i++)
        awq__free((char *)(uintptr_t)n->list[i]);
    awq__free(n->list);
    *n = (names){0};
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_out(names *n)
{
    if (n->count)
        qsort(n->list, n->count, sizeof *n->list, compare);
    size_t kept = 0;
    for (size_t i = 0; i < n->count; i++)
        if (kept && !strcmp(n->list[kept - 1], n->list[i]))
            awq__free((char *)(uintptr_t)n->list[i]);
        else
            n->list[kept++] = n->list[i];
    n->count = kept;
}

/* The length of the name that all experts of this one's layer have; 0: it is none. */
static size_t experts_length(const char *name)
{
    static const char word[] = "experts";
    for (const char *at = name; (at = strstr(at, word)); at++) {
        const char *end = at + strlen(word);
        if (at > name && at[-1] != '.')
            continue;
        size_t digits = *end ? strspn(end + 1, "0123456789") : 0;
        if (!*end || (*end == '.' && digits && (!end[1 + digits] || end[1 + digits] == '.')))
            return (size_t)(end - name);
    }
    return 0;
}

static void add_experts(awq_context *ctx, names *to, const names *from)
{
    for (size_t i = 0; i < from->count; i++) {
        size_t length = experts_length(from->list[i]);
        char name[LONGEST];
        snprintf(name, sizeof name, "%.*s", (int)length, from->list[i]);
        if (length && !(to->count && !strcmp(to->list[to->count - 1], name)))
            add(ctx, to, name);
    }
    sort_out(to);
}

static bool has(const names *n, const char *name)
{
    return n->count && bsearch(&name, n->list, n->count, sizeof *n->list, compare);
}

/* What engines ask for besides: experts of a layer by one name, kept only if all are. */
static void ask(awq_context *ctx, const names *kept, const names *quantized, names *asked_kept,
                names *asked_quantized)
{
    names experts = {0};
    add_experts(ctx, asked_quantized, quantized);
    add_experts(ctx, &experts, kept);
    for (size_t i = 0; i < experts.count; i++)
        if (!has(asked_quantized, experts.list[i]))
            add(ctx, asked_kept, experts.list[i]);
    clear(&experts);
}

/* ---- AWQ ---- */

static bool ends_with(const char *name, const char *entry)
{
    size_t length = strlen(name), part = strlen(entry);
    return part <= length && !strcmp(name + length - part, entry);
}

static bool in_name(const char *entry, const char *name)
{
    return strstr(name, entry) != NULL;
}

/* re.match: a dot stands for any byte. */
static bool starts(const char *entry, const char *name)
{
    for (; *entry; entry++, name++)
        if (!*name || (*entry != '.' && *entry != *name))
            return false;
    return true;
}

static bool starts_or_ends(const char *entry, const char *name)
{
    return starts(entry, name) || ends_with(name, entry);
}

static bool starts_whole_or_ends(const char *entry, const char *name)
{
    size_t end = strlen(entry);
    return ends_with(name, entry) || (starts(entry, name) && (!name[end] || name[end] == '.' ||
                                                              (end && name[end - 1] == '.')));
}

static bool (*const awq_readers[])(const char *, const char *) = {in_name, starts_or_ends,
                                                                  starts_whole_or_ends};
enum { AWQ_READERS = sizeof awq_readers / sizeof *awq_readers };

static bool any_skips(int reader, char *const *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (awq_readers[reader](list[i], name))
            return true;
    return false;
}

static void check_skips(char *const *list, size_t count, const names *n, bool expected)
{
    for (size_t i = 0; i < n->count; i++)
        for (int reader = 0; reader < AWQ_READERS; reader++)
            if (any_skips(reader, list, count, n->list[i]) != expected)
                fail_msg("%s is %s, but reader %d thinks otherwise", n->list[i],
                         expected ? "kept" : "quantized", reader);
}

/* Is every ending of a name, for some reader, a part of another's? */
static bool awq_confuses(const names *kept, const names *quantized)
{
    for (size_t k = 0; k < kept->count; k++)
        for (size_t q = 0; q < quantized->count; q++)
            if (in_name(kept->list[k], quantized->list[q]) ||
                starts(kept->list[k], quantized->list[q]))
                return true;
    return false;
}

static inline size_t check_skip_list(awq_context *ctx, const names *kept, const names *quantized)
{
    names asked = {0}, others = {0};
    ask(ctx, kept, quantized, &asked, &others);
    char **list;
    size_t count;
    awq_status status = awq__skip_list(ctx, kept->list, kept->count, quantized->list,
                                       quantized->count, &list, &count);
    if (status != AWQ_OK) {
        fails(ctx, status, AWQ_ERROR_RECIPE, ": is kept");
        assert_true(awq_confuses(kept, quantized) || awq_confuses(&asked, quantized));
        assert_null(list);
    } else {
        check_skips(list, count, kept, true);
        check_skips(list, count, &asked, true);
        check_skips(list, count, quantized, false);
        check_skips(list, count, &others, false);
    }
    awq__name_list_free(list, count);
    clear(&asked);
    clear(&others);
    return count;
}

/* ---- compressed-tensors ---- */

/* A name as readers spell it: as it is, with their names of components, or with those of Mixtral's
   matrices. */
static const char *const renamed[][2] = {
    {"block_sparse_moe", "mlp"}, {"mlp", "block_sparse_moe"}, {"self_attn", "attn"},
    {"attn", "self_attn"},       {"w1", "gate_proj"},         {"w2", "down_proj"},
    {"w3", "up_proj"},
};
static const int spellings[] = {0, 1, 1 << 4 | 1 << 5 | 1 << 6, 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6,
                                1 << 1 | 1 << 3};
enum { SPELLINGS = sizeof spellings / sizeof *spellings };
/* All that engines could confuse as one. */
enum { CANONICAL = 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 };

static void spell(const char *name, int which, char out[LONGEST])
{
    size_t at = 0;
    for (;;) {
        size_t length = strcspn(name, "."), word_length = length;
        const char *word = name;
        for (int i = 0; i < (int)(sizeof renamed / sizeof *renamed); i++)
            if (which >> i & 1 && strlen(renamed[i][0]) == length &&
                !strncmp(renamed[i][0], name, length)) {
                word = renamed[i][1];
                word_length = strlen(word);
            }
        assert_true(at + word_length + 2 < LONGEST);
        memcpy(out + at, word, word_length);
        at += word_length;
        name += length;
        if (!*name)
            break;
        out[at++] = *name++;
    }
    out[at] = 0;
}

/* An entry: a name, or what Python's re.match would do. */
typedef struct matcher {
    const char *name;
    pcre2_code *regex;
    pcre2_match_data *data;
} matcher;

static matcher *make_matchers(char *const *list, size_t count)
{
    matcher *matchers = calloc(count + 1, sizeof *matchers);
    assert_non_null(matchers);
    for (size_t i = 0; i < count; i++) {
        matchers[i].name = list[i];
        if (strncmp(list[i], "re:", 3) != 0)
            continue;
        int error;
        PCRE2_SIZE offset;
        matchers[i].regex = pcre2_compile((PCRE2_SPTR)(list[i] + 3), PCRE2_ZERO_TERMINATED,
                                          PCRE2_ANCHORED, &error, &offset, NULL);
        if (!matchers[i].regex)
            fail_msg("\"%s\" is no regular expression", list[i]);
        pcre2_jit_compile(matchers[i].regex, PCRE2_JIT_COMPLETE); /* it may do without */
        matchers[i].data = pcre2_match_data_create_from_pattern(matchers[i].regex, NULL);
        assert_non_null(matchers[i].data);
    }
    return matchers;
}

static void free_matchers(matcher *matchers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pcre2_match_data_free(matchers[i].data);
        pcre2_code_free(matchers[i].regex);
    }
    free(matchers);
}

/* Whole names are put into the engine's spelling as well, regular expressions are not. */
static bool matches(const matcher *m, int spelling, const char *name)
{
    if (!m->regex) {
        char entry[LONGEST];
        spell(m->name, spelling, entry);
        return !strcmp(entry, name);
    }
    int found = pcre2_match(m->regex, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, m->data, NULL);
    assert_true(found >= 0 || found == PCRE2_ERROR_NOMATCH);
    return found >= 0;
}

static void check_ignored(const matcher *matchers, size_t count, const names *n, bool expected)
{
    for (size_t i = 0; i < n->count; i++)
        for (int s = 0; s < SPELLINGS; s++) {
            char name[LONGEST];
            spell(n->list[i], spellings[s], name);
            if (s && !strcmp(name, n->list[i]))
                continue;
            bool found = false;
            for (size_t m = 0; m < count && !found; m++)
                found = matches(&matchers[m], spellings[s], name);
            if (found != expected)
                fail_msg("%s is %s, but readers think otherwise", name,
                         expected ? "kept" : "quantized");
        }
}

static bool compressed_confuses(const names *kept, const names *quantized)
{
    for (size_t k = 0; k < kept->count; k++)
        for (size_t q = 0; q < quantized->count; q++) {
            char a[LONGEST], b[LONGEST];
            spell(kept->list[k], CANONICAL, a);
            spell(quantized->list[q], CANONICAL, b);
            if (!strcmp(a, b))
                return true;
        }
    return false;
}

static inline size_t check_ignore_list(awq_context *ctx, const names *kept, const names *quantized)
{
    names asked = {0}, others = {0};
    ask(ctx, kept, quantized, &asked, &others);
    char **list;
    size_t count;
    awq_status status = awq__ignore_list(ctx, kept->list, kept->count, quantized->list,
                                         quantized->count, &list, &count);
    if (status != AWQ_OK) {
        fails(ctx, status, AWQ_ERROR_RECIPE, ": is kept");
        assert_true(compressed_confuses(kept, quantized) || compressed_confuses(kept, &others));
        assert_null(list);
    } else {
        matcher *matchers = make_matchers(list, count);
        check_ignored(matchers, count, kept, true);
        check_ignored(matchers, count, &asked, true);
        check_ignored(matchers, count, quantized, false);
        check_ignored(matchers, count, &others, false);
        free_matchers(matchers, count);
    }
    awq__name_list_free(list, count);
    clear(&asked);
    clear(&others);
    return count;
}

/* ---- MXFP4 ---- */

/* Is an entry the beginning of the name? A star stands for a number. */
static bool begins(const char *entry, const char *name)
{
    for (; *entry; entry++)
        if (*entry == '*') {
            size_t digits = strspn(name, "0123456789");
            if (!digits)
                return false;
            name += digits;
        } else if (*entry != *name++)
            return false;
    return !*name || *name == '.';
}

static void check_begun(char *const *list, size_t count, const names *n, bool expected)
{
    for (size_t i = 0; i < n->count; i++) {
        bool found = false;
        for (size_t j = 0; j < count && !found; j++)
            found = begins(list[j], n->list[i]);
        if (found != expected)
            fail_msg("%s is %s, but readers think otherwise", n->list[i],
                     expected ? "kept" : "quantized");
    }
}

static inline size_t check_star_list(awq_context *ctx, const names *kept, const names *quantized)
{
    char **list;
    size_t count;
    awq_status status = awq__star_list(ctx, kept->list, kept->count, quantized->list,
                                       quantized->count, &list, &count);
    if (status != AWQ_OK) {
        fails(ctx, status, AWQ_ERROR_RECIPE, ": is kept");
        assert_null(list);
    } else {
        check_begun(list, count, kept, true);
        check_begun(list, count, quantized, false);
    }
    awq__name_list_free(list, count);
    return count;
}

#endif
