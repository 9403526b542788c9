/* The `modules_to_not_convert` list of AWQ. */
#include "format/format.h"
#include "format/names.h"

#include <string.h>

/* One of several places to go on from. */
typedef struct place {
    uint32_t node;
    size_t step;
} place;

/* What to find in quantized names: endings of kept names from the last byte on, or beginnings. */
typedef struct tree {
    awq__trie trie;
    bool backwards;
} tree;

typedef struct builder {
    awq_context *ctx;
    tree endings, beginnings;
    size_t *ending_at; /* where the entry begins in each kept name */
    place *places;
    size_t place_capacity;
} builder;

static uint32_t symbol_at(const tree *t, const char *name, size_t length, size_t step)
{
    return (unsigned char)name[t->backwards ? length - 1 - step : step];
}

static awq_status add_name(awq_context *ctx, tree *t, const char *name)
{
    size_t length = strlen(name);
    uint32_t node = 0;
    for (size_t step = 0; step < length; step++) {
        node = awq__trie_add(ctx, &t->trie, node, symbol_at(t, name, length, step));
        AWQ__CHECK_ALLOC(node);
        t->trie.nodes[node].count++;
    }
    return AWQ_OK;
}

static void take_contained(tree *t, const char *name, size_t length)
{
    uint32_t node = 0;
    for (size_t step = 0; step < length; step++) {
        if (!(node = awq__trie_find(&t->trie, node, symbol_at(t, name, length, step))))
            return;
        t->trie.nodes[node].taken = true;
    }
}

/* An entry that matches the name from its first to its last byte is taken, whose dots stand for any
   byte; of beginnings those that match less of it as well. */
static awq_status take_matched(builder *b, tree *t, const char *name, size_t length)
{
    size_t count = 0;
    place at = {0};
    for (;;) {
        if (at.step == length || (at.step && !t->backwards))
            t->trie.nodes[at.node].taken = true;
        if (at.step < length) {
            uint32_t symbol = symbol_at(t, name, length, at.step);
            const uint32_t next[] = {
                awq__trie_find(&t->trie, at.node, symbol),
                symbol == '.' ? 0 : awq__trie_find(&t->trie, at.node, '.'),
            };
            AWQ__CHECK(awq__grow(b->ctx, &b->places, &b->place_capacity, count + 2,
                                 sizeof *b->places, "the skip list"));
            for (int i = 0; i < 2; i++)
                if (next[i])
                    b->places[count++] = (place){next[i], at.step + 1};
        }
        if (!count)
            return AWQ_OK;
        at = b->places[--count];
    }
}

/* What some reader would find in the name: an entry anywhere in it, or at its beginning as a
   regular expression. */
static awq_status take_name(builder *b, tree *t, const char *name)
{
    size_t length = strlen(name);
    t->trie.nodes[0].taken = true;
    for (size_t i = 0; i < length; i++)
        if (t->backwards) {
            take_contained(t, name, length - i);
            AWQ__CHECK(take_matched(b, t, name, length - i));
        } else {
            take_contained(t, name + i, length - i);
        }
    return t->backwards ? AWQ_OK : take_matched(b, t, name, length);
}

/* Regular expressions give the other characters a meaning. */
static bool is_plain(const char *text)
{
    return !strpbrk(text, "\\^$*+?{}[]|()");
}

/* Where the shortest ending of whole components begins that no reader finds in a quantized name;
 *found false if there is none. */
static size_t shortest_ending(const builder *b, const char *name, bool *found)
{
    const awq__trie *trie = &b->endings.trie;
    size_t at = strlen(name);
    uint32_t node = 0;
    *found = true;
    for (;; at--) {
        if ((at == 0 || name[at - 1] == '.') && !trie->nodes[node].taken && is_plain(name + at))
            return at;
        if (at == 0)
            break;
        node = awq__trie_find(trie, node, (unsigned char)name[at - 1]);
    }
    *found = false;
    return 0;
}

static awq_status find_endings(builder *b, const awq__name_set *kept, const char *const *quantized,
                               size_t quantized_count)
{
    for (size_t i = 0; i < kept->count; i++)
        AWQ__CHECK(add_name(b->ctx, &b->endings, kept->names[i]));
    for (size_t i = 0; i < quantized_count; i++)
        AWQ__CHECK(take_name(b, &b->endings, quantized[i]));

    for (size_t i = 0; i < kept->count; i++) {
        bool found;
        b->ending_at[i] = shortest_ending(b, kept->names[i], &found);
        if (!found)
            return awq__fail(b->ctx, AWQ_ERROR_RECIPE,
                             "%s: is kept, but its name is part of a quantized module's or holds "
                             "a special character, so no skip list can tell them apart",
                             kept->names[i]);
    }
    return AWQ_OK;
}

static bool has_number(const char *text)
{
    return awq__has_index(text, strlen(text));
}

/* Of names whose ending has a number. */
static awq_status find_beginnings(builder *b, const awq__name_set *kept,
                                  const char *const *quantized, size_t quantized_count)
{
    bool any = false;
    for (size_t i = 0; i < kept->count; i++)
        if (has_number(kept->names[i] + b->ending_at[i]) && is_plain(kept->names[i])) {
            any = true;
            AWQ__CHECK(add_name(b->ctx, &b->beginnings, kept->names[i]));
        }
    for (size_t i = 0; any && i < quantized_count; i++)
        AWQ__CHECK(take_name(b, &b->beginnings, quantized[i]));
    return AWQ_OK;
}

/* Some readers want a beginning to be of whole components. */
static bool is_boundary(const char *name, size_t at)
{
    return !name[at] || name[at] == '.' || (at > 0 && name[at - 1] == '.');
}

/* Does the name begin, or end, with an entry? */
static bool is_covered(const tree *t, const char *name)
{
    size_t length = strlen(name);
    uint32_t node = 0;
    for (size_t step = 0;; step++) {
        if (t->trie.nodes[node].entry && (t->backwards || is_boundary(name, step)))
            return true;
        if (step == length ||
            !(node = awq__trie_find(&t->trie, node, symbol_at(t, name, length, step))))
            return false;
    }
}

/* The length of the shortest beginning that no reader finds in a quantized name; 0 if there is
   none. It has two components or more, with the dot behind them, or is the whole name. */
static size_t shortest_beginning(const builder *b, const char *name, uint32_t *node)
{
    const awq__trie *trie = &b->beginnings.trie;
    int dots = 0;
    *node = 0;
    for (size_t i = 0; name[i]; i++) {
        if (!(*node = awq__trie_find(trie, *node, (unsigned char)name[i])))
            return 0;
        dots += name[i] == '.';
        bool is_end = name[i] == '.' ? dots > 1 : !name[i + 1] && dots > 0;
        if (is_end && !trie->nodes[*node].taken)
            return i + 1;
    }
    return 0;
}

/* The node of an ending, all of whose bytes are in the tree. */
static uint32_t ending_node(const builder *b, const char *ending)
{
    uint32_t node = 0;
    for (size_t i = strlen(ending); i-- > 0;)
        node = awq__trie_find(&b->endings.trie, node, (unsigned char)ending[i]);
    return node;
}

/* An ending if it tells a kind of module, as "q_proj" does; one with the number of a layer or an
   expert gives way to a beginning that more kept names have. NULL when memory is short. */
static char *choose(builder *b, const char *name, const char *ending)
{
    awq__trie_node *end = &b->endings.trie.nodes[ending_node(b, ending)];
    uint32_t node;
    size_t length = has_number(ending) ? shortest_beginning(b, name, &node) : 0;
    if (length && b->beginnings.trie.nodes[node].count > end->count) {
        char *text = awq__alloc(b->ctx, length + 1, 1, "the skip list");
        if (text)
            memcpy(text, name, length);
        b->beginnings.trie.nodes[node].entry = 1;
        return text;
    }
    end->entry = 1;
    return awq__strdup(b->ctx, ending);
}

static awq_status make_list(builder *b, const awq__name_set *kept, const char *const *quantized,
                            size_t quantized_count, char ***list, size_t *count)
{
    AWQ__CHECK(awq__trie_create(b->ctx, &b->endings.trie));
    AWQ__CHECK(awq__trie_create(b->ctx, &b->beginnings.trie));
    *list = awq__alloc(b->ctx, kept->count, sizeof **list, "the skip list");
    b->ending_at = awq__alloc(b->ctx, kept->count, sizeof *b->ending_at, "the skip list");
    AWQ__CHECK_ALLOC(*list && b->ending_at);
    AWQ__CHECK(find_endings(b, kept, quantized, quantized_count));
    AWQ__CHECK(find_beginnings(b, kept, quantized, quantized_count));
    for (size_t i = 0; i < kept->count; i++) {
        const char *name = kept->names[i];
        if (is_covered(&b->endings, name) || is_covered(&b->beginnings, name))
            continue;
        AWQ__CHECK_ALLOC((*list)[*count] = choose(b, name, name + b->ending_at[i]));
        ++*count;
    }
    return AWQ_OK;
}

awq_status awq__skip_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count)
{
    builder b = {.ctx = ctx, .endings.backwards = true};
    awq__name_set set;
    *list = NULL;
    *count = 0;
    awq_status status;
    AWQ__TRY(awq__name_set_create(ctx, kept, kept_count, quantized, quantized_count, &set));
    AWQ__TRY(make_list(&b, &set, quantized, quantized_count, list, count));
done:
    awq__trie_free(&b.endings.trie);
    awq__trie_free(&b.beginnings.trie);
    awq__free(b.ending_at);
    awq__free(b.places);
    awq__name_set_free(&set);
    if (status != AWQ_OK) {
        awq__name_list_free(*list, *count);
        *list = NULL;
        *count = 0;
    }
    return status;
}
