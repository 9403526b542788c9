/* The `ignore` list of compressed-tensors. */
#include "format/format.h"
#include "format/names.h"

#include <stdlib.h>
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

/* The component that begins at `begin`. */
static word word_at(const char *begin)
{
    return (word){begin, strcspn(begin, ".")};
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

/* One text for all that some engine could take for the same component. */
static word canonical(word w)
{
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
        if (same_word(w, spellings[i].word) || same_word(w, spellings[i].other))
            return spellings[i].word;
    return w;
}

/* ---- what there is ---- */

/* One entry: some components of a kept name, from `begin` to `end`. */
typedef struct entry {
    const char *begin, *end;
    enum kind {
        ENDING, /* of longer names */
        WHOLE,  /* all of a name */
        INSIDE, /* of names that have more before them, and what lies under such names */
        FIRST   /* the same, also where a name begins with them */
    } kind;
} entry;

/* How many components an INSIDE entry may have: no name has more between its layer and a matrix. */
enum { LONGEST_INSIDE = 8 };

typedef struct builder {
    awq_context *ctx;
    awq__trie ids;     /* canonical components by their bytes; a component's node is its id */
    awq__trie endings; /* of kept names: components from the last to the first, which is marked */
    awq__trie insides; /* components from any that is no number */
    /* The name in hand. */
    word *words;
    uint32_t *word_ids;
    size_t word_count, word_capacity, id_capacity;
    entry *entries;
    size_t entry_count;
} builder;

static awq_status add_word(builder *b, word w)
{
    size_t count = b->word_count + 1;
    AWQ__CHECK(awq__grow(b->ctx, &b->words, &b->word_capacity, count, sizeof w, "a module's name"));
    AWQ__CHECK(awq__grow(b->ctx, &b->word_ids, &b->id_capacity, count, sizeof *b->word_ids,
                         "a module's name"));
    word text = canonical(w);
    uint32_t id = 0;
    for (size_t i = 0; i < text.length; i++) {
        id = awq__trie_add(b->ctx, &b->ids, id, (unsigned char)text.text[i]);
        AWQ__CHECK_ALLOC(id);
    }
    b->words[b->word_count] = w;
    b->word_ids[b->word_count++] = id;
    return AWQ_OK;
}

static awq_status take_in_hand(builder *b, const char *name)
{
    b->word_count = 0;
    for (const char *at = name;; at++) {
        word w = word_at(at);
        AWQ__CHECK(add_word(b, w));
        at += w.length;
        if (!*at)
            return AWQ_OK;
    }
}

/* An ending that is all of a name matches only as a whole name. */
static uint32_t ending_symbol(const builder *b, size_t i)
{
    return 2 * b->word_ids[i] + (i == 0);
}

static awq_status add_endings(builder *b)
{
    uint32_t node = 0;
    for (size_t i = b->word_count; i-- > 0;) {
        node = awq__trie_add(b->ctx, &b->endings, node, ending_symbol(b, i));
        AWQ__CHECK_ALLOC(node);
        b->endings.nodes[node].count++;
    }
    return AWQ_OK;
}

static void take_endings(builder *b)
{
    uint32_t node = 0;
    for (size_t i = b->word_count; i-- > 0;) {
        if (!(node = awq__trie_find(&b->endings, node, ending_symbol(b, i))))
            return;
        b->endings.nodes[node].taken = true;
    }
}

static bool may_begin(const builder *b, size_t i)
{
    return !awq__is_index(b->words[i].text, b->words[i].length);
}

static size_t inside_limit(const builder *b, size_t begin)
{
    size_t count = b->word_count - begin;
    return begin + (count < LONGEST_INSIDE ? count : LONGEST_INSIDE);
}

static awq_status add_insides(builder *b)
{
    for (size_t begin = 0; begin < b->word_count; begin++) {
        uint32_t node = 0;
        for (size_t i = begin; i < inside_limit(b, begin) && may_begin(b, begin); i++) {
            node = awq__trie_add(b->ctx, &b->insides, node, b->word_ids[i]);
            AWQ__CHECK_ALLOC(node);
            b->insides.nodes[node].count++;
        }
    }
    return AWQ_OK;
}

static void take_insides(builder *b)
{
    for (size_t begin = 0; begin < b->word_count; begin++) {
        uint32_t node = 0;
        for (size_t i = begin; i < inside_limit(b, begin); i++) {
            if (!(node = awq__trie_find(&b->insides, node, b->word_ids[i])))
                break;
            b->insides.nodes[node].taken = true;
        }
    }
}

/* ---- the choice ---- */

/* A possible entry: components of the name in hand. */
typedef struct choice {
    awq__trie_node *node; /* NULL: there is none */
    size_t begin, end;
    enum kind kind;
} choice;

/* The shortest ending that matches no quantized name. */
static choice choose_ending(builder *b)
{
    uint32_t node = 0;
    for (size_t i = b->word_count; i-- > 0;) {
        node = awq__trie_find(&b->endings, node, ending_symbol(b, i));
        if (!b->endings.nodes[node].taken)
            return (choice){&b->endings.nodes[node], i, b->word_count, i ? ENDING : WHOLE};
    }
    return (choice){0};
}

/* May a part of names that covers more of them replace the ending? Not if the ending is a kind of
   module, such as "q_proj". */
static bool may_give_way(const builder *b, const choice *ending, bool is_made)
{
    bool may = is_made && ending->node;
    for (size_t i = ending->begin; i < ending->end && !may; i++)
        may = awq__is_index(b->words[i].text, b->words[i].length);
    return may;
}

/* The shortest part from this component on that is in no quantized name. */
static choice choose_inside(builder *b, size_t begin)
{
    uint32_t node = 0;
    for (size_t i = begin; i < inside_limit(b, begin) && may_begin(b, begin); i++) {
        if (!(node = awq__trie_find(&b->insides, node, b->word_ids[i])))
            break;
        /* The first component of a name tells too little. */
        if (!b->insides.nodes[node].taken && i > 0)
            return (choice){&b->insides.nodes[node], begin, i + 1, begin ? INSIDE : FIRST};
    }
    return (choice){0};
}

/* Does the entry of this node match, whose components may be other spellings? */
static bool is_covered(const builder *b, const choice *c)
{
    if (!c->node || !c->node->entry)
        return false;
    const entry *e = &b->entries[c->node->entry - 1];
    if (c->kind == FIRST && e->kind != FIRST)
        return false;
    const char *at = e->begin;
    for (size_t i = c->begin; i < c->end; i++) {
        word w = word_at(at);
        if (!covers_word(w, b->words[i]))
            return false;
        at += w.length + 1;
    }
    return true;
}

static void add_entry(builder *b, const choice *c)
{
    const word *last = &b->words[c->end - 1];
    b->entries[b->entry_count] =
        (entry){b->words[c->begin].text, last->text + last->length, c->kind};
    c->node->entry = (uint32_t)++b->entry_count;
}

/* Is `c`, a part of names, better than the best so far? Of two as good the later says more. */
static bool is_better(const choice *c, const choice *best, bool is_made)
{
    if (!c->node || c->node->count != best->node->count)
        return c->node && c->node->count > best->node->count;
    return best->kind < INSIDE ? is_made : c->end - c->begin <= best->end - best->begin;
}

/*
 * Chooses an ending if it is a kind of module, such as "q_proj". An ending with the number of a
 * layer or an expert, or of the name of all experts, is replaced by a part that more kept names
 * have.
 */
static void choose(builder *b, bool is_made)
{
    choice best = choose_ending(b);
    bool gives_way = may_give_way(b, &best, is_made), covered = is_covered(b, &best);
    for (size_t begin = 0; begin < b->word_count && !covered; begin++) {
        choice inside = choose_inside(b, begin);
        covered = is_covered(b, &inside);
        if (gives_way && is_better(&inside, &best, is_made))
            best = inside;
    }
    if (best.node && !covered)
        add_entry(b, &best);
}

/* Fills the tree of endings. AWQ_ERROR_RECIPE if a name has none; that of all experts of a layer
   may have none, where one spelling is kept and another quantized. */
static awq_status find_endings(builder *b, const awq__name_set *kept,
                               const awq__name_set *quantized)
{
    for (size_t i = 0; i < kept->count; i++) {
        AWQ__CHECK(take_in_hand(b, kept->names[i]));
        AWQ__CHECK(add_endings(b));
    }
    for (size_t i = 0; i < quantized->count; i++) {
        AWQ__CHECK(take_in_hand(b, quantized->names[i]));

        take_endings(b);
    }
    for (size_t i = 0; i < kept->count; i++) {
        AWQ__CHECK(take_in_hand(b, kept->names[i]));
        if (!kept->made[i] && !choose_ending(b).node)
            return awq__fail(
                b->ctx, AWQ_ERROR_RECIPE,
                "%s: is kept, but engines have the same name for a quantized module, so no "
                "ignore list can tell them apart",
                kept->names[i]);
    }
    return AWQ_OK;
}

/* Fills the tree of parts, with those of names whose ending may give way. */
static awq_status find_insides(builder *b, const awq__name_set *kept,
                               const awq__name_set *quantized)
{
    bool any = false;
    for (size_t i = 0; i < kept->count; i++) {
        AWQ__CHECK(take_in_hand(b, kept->names[i]));
        choice ending = choose_ending(b);
        if (may_give_way(b, &ending, kept->made[i])) {
            any = true;
            AWQ__CHECK(add_insides(b));
        }
    }
    for (size_t i = 0; any && i < quantized->count; i++) {
        AWQ__CHECK(take_in_hand(b, quantized->names[i]));
        take_insides(b);
    }
    return AWQ_OK;
}

static awq_status choose_all(builder *b, const awq__name_set *kept, const awq__name_set *quantized)
{
    AWQ__CHECK(find_endings(b, kept, quantized));
    AWQ__CHECK(find_insides(b, kept, quantized));
    for (size_t i = 0; i < kept->count; i++) {
        AWQ__CHECK(take_in_hand(b, kept->names[i]));
        choose(b, kept->made[i]);
    }
    return AWQ_OK;
}

/* ---- the texts ---- */

/* An entry in which the last number has been left out. */
typedef struct pattern {
    char *text;
    size_t gap;  /* where it was */
    word number; /* of no length: there was none */
    size_t order;
} pattern;

static awq_status append(awq_context *ctx, awq__text *text, const char *part)
{
    return awq__text_append_bytes(ctx, text, part, strlen(part));
}

static awq_status append_word(awq_context *ctx, awq__text *text, word w)
{
    const struct spelling *spelling = spelling_of(w);
    if (spelling)
        return awq__text_append(ctx, text, "(%s|%s)", spelling->word.text, spelling->other.text);
    for (size_t i = 0; i < w.length; i++) {
        if (strchr("\\^$*+?{}[]|()", w.text[i]))
            AWQ__CHECK(append(ctx, text, "\\"));
        AWQ__CHECK(awq__text_append_bytes(ctx, text, &w.text[i], 1));
    }
    return AWQ_OK;
}

static word last_number(const entry *e)
{
    word last = {e->end, 0};
    for (const char *at = e->begin; at < e->end; at++) {
        word w = word_at(at);
        if (awq__is_index(w.text, w.length))
            last = w;
        at += w.length;
    }
    return last;
}

static awq_status append_words(awq_context *ctx, awq__text *text, const entry *e, pattern *p)
{
    for (const char *at = e->begin;; at++) {
        word w = word_at(at);
        if (w.text == p->number.text && w.length)
            p->gap = text->length;
        else
            AWQ__CHECK(append_word(ctx, text, w));
        at += w.length;
        if (at == e->end)
            break;
        AWQ__CHECK(append(ctx, text, "\\."));
    }
    return AWQ_OK;
}

/* "lm_head" as it is, all else as a regular expression. NULL when memory is short. */
static awq_status write_pattern(awq_context *ctx, const entry *e, pattern *p)
{
    static const char *const before[] = {
        [ENDING] = "re:.*\\.", [WHOLE] = "re:", [INSIDE] = "re:.*\\.", [FIRST] = "re:(.*\\.)?"};
    if (e->kind == WHOLE && !strchr(e->begin, '.')) {
        p->text = awq__strdup(ctx, e->begin);
        return p->text ? AWQ_OK : AWQ_ERROR_MEMORY;
    }
    awq__text text = {0};
    p->number = last_number(e);
    awq_status status;
    AWQ__TRY(append(ctx, &text, before[e->kind]));
    AWQ__TRY(append_words(ctx, &text, e, p));
    AWQ__TRY(append(ctx, &text, e->kind < INSIDE ? "$" : "(\\..*)?$"));
    p->text = awq__strdup(ctx, text.data);
    AWQ__TRY_ALLOC(p->text);
done:
    awq__text_free(&text);
    return status;
}

static int compare_but_number(const pattern *p, const pattern *q)
{
    int order = strcmp(p->text, q->text);
    if (!order)
        order = (p->number.length > 0) - (q->number.length > 0);
    return order ? order : (p->gap > q->gap) - (p->gap < q->gap);
}

static int compare(const void *a, const void *b)
{
    const pattern *p = a, *q = b;
    int order = compare_but_number(p, q);
    return order ? order : (p->order > q->order) - (p->order < q->order);
}

/* A new text of patterns that differ in their number alone. */
static char *join(awq_context *ctx, const pattern *patterns, size_t count)
{
    const pattern *first = patterns;
    if (!first->number.length)
        return awq__strdup(ctx, first->text);
    awq__text text = {0};
    awq_status status;
    AWQ__TRY(awq__text_append_bytes(ctx, &text, first->text, first->gap));
    for (size_t i = 0; i < count; i++) {
        if (count > 1)
            AWQ__TRY(append(ctx, &text, i ? "|" : "("));
        AWQ__TRY(
            awq__text_append_bytes(ctx, &text, patterns[i].number.text, patterns[i].number.length));
    }
    if (count > 1)
        AWQ__TRY(append(ctx, &text, ")"));
    AWQ__TRY(append(ctx, &text, first->text + first->gap));
done:
    if (status != AWQ_OK)
        awq__text_free(&text);
    return text.data;
}

/* Joined patterns stand where the first of them was. */
static awq_status join_all(awq_context *ctx, pattern *patterns, size_t pattern_count, char **list,
                           size_t *count)
{
    qsort(patterns, pattern_count, sizeof *patterns, compare);
    awq_status status = AWQ_OK;
    for (size_t i = 0, end; i < pattern_count; i = end) {
        for (end = i + 1; end < pattern_count && !compare_but_number(&patterns[i], &patterns[end]);)
            end++;
        AWQ__TRY_ALLOC(list[patterns[i].order] = join(ctx, patterns + i, end - i));
    }
done:
    for (size_t i = 0; i < pattern_count; i++)
        if (list[i]) {
            char *text = list[i];
            list[i] = NULL;
            list[(*count)++] = text;
        }
    return status;
}

static awq_status write_all(awq_context *ctx, const entry *entries, size_t entry_count, char **list,
                            size_t *count)
{
    pattern *patterns = awq__alloc(ctx, entry_count, sizeof *patterns, "the ignore list");
    size_t written = 0;
    awq_status status;
    AWQ__TRY_ALLOC(patterns);
    while (written < entry_count) {
        patterns[written].order = written;
        AWQ__TRY(write_pattern(ctx, &entries[written], &patterns[written]));
        written++;
    }
    AWQ__TRY(join_all(ctx, patterns, entry_count, list, count));
done:
    for (size_t i = 0; i < written; i++)
        awq__free(patterns[i].text);
    awq__free(patterns);
    return status;
}

static awq_status make_list(builder *b, const awq__name_set *kept, const awq__name_set *quantized,
                            char ***list, size_t *count)
{
    AWQ__CHECK(awq__trie_create(b->ctx, &b->ids));
    AWQ__CHECK(awq__trie_create(b->ctx, &b->endings));
    AWQ__CHECK(awq__trie_create(b->ctx, &b->insides));
    *list = awq__alloc(b->ctx, kept->count, sizeof **list, "the ignore list");
    b->entries = awq__alloc(b->ctx, kept->count, sizeof *b->entries, "the ignore list");
    AWQ__CHECK_ALLOC(*list && b->entries);
    AWQ__CHECK(choose_all(b, kept, quantized));
    return write_all(b->ctx, b->entries, b->entry_count, *list, count);
}

awq_status awq__ignore_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                            const char *const *quantized, size_t quantized_count, char ***list,
                            size_t *count)
{
    builder b = {.ctx = ctx};
    awq__name_set kept_set, quantized_set = {0};
    *list = NULL;
    *count = 0;
    awq_status status;
    AWQ__TRY(awq__name_set_create(ctx, kept, kept_count, quantized, quantized_count, &kept_set));
    AWQ__TRY(awq__name_set_create(ctx, quantized, quantized_count, NULL, 0, &quantized_set));
    AWQ__TRY(make_list(&b, &kept_set, &quantized_set, list, count));
done:
    awq__trie_free(&b.ids);
    awq__trie_free(&b.endings);
    awq__trie_free(&b.insides);
    awq__free(b.words);
    awq__free(b.word_ids);
    awq__free(b.entries);
    awq__name_set_free(&kept_set);
    awq__name_set_free(&quantized_set);
    if (status != AWQ_OK) {
        awq__name_list_free(*list, *count);
        *list = NULL;
        *count = 0;
    }
    return status;
}
