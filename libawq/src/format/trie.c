/* Sequences of symbols. Children are found by hashing: a node may have as many as there are names.
 */
#include "format/names.h"

#include <string.h>

#define MOST_NODES ((size_t)1 << 31)

static size_t place_of(const awq__trie *trie, uint32_t node, uint32_t symbol)
{
    uint64_t state = (uint64_t)node << 32 | symbol;
    size_t mask = trie->table_size - 1, place = (size_t)awq__random(&state) & mask;
    for (; trie->table[place]; place = (place + 1) & mask) {
        const awq__trie_node *found = &trie->nodes[trie->table[place]];
        if (found->parent == node && found->symbol == symbol)
            break;
    }
    return place;
}

/* The table is at most half full. */
static awq_status enlarge(awq_context *ctx, awq__trie *trie, size_t table_size)
{
    uint32_t *table = awq__alloc(ctx, table_size, sizeof *table, "a list of names");
    AWQ__CHECK_ALLOC(table);

    awq__free(trie->table);
    trie->table = table;
    trie->table_size = table_size;
    for (size_t i = 1; i < trie->count; i++)
        table[place_of(trie, trie->nodes[i].parent, trie->nodes[i].symbol)] = (uint32_t)i;
    return AWQ_OK;
}

awq_status awq__trie_create(awq_context *ctx, awq__trie *trie)
{
    *trie = (awq__trie){0};
    AWQ__CHECK(
        awq__grow(ctx, &trie->nodes, &trie->capacity, 1, sizeof *trie->nodes, "a list of names"));
    trie->nodes[trie->count++] = (awq__trie_node){0};
    return enlarge(ctx, trie, 64);
}

void awq__trie_free(awq__trie *trie)
{
    awq__free(trie->nodes);
    awq__free(trie->table);
    *trie = (awq__trie){0};
}

uint32_t awq__trie_find(const awq__trie *trie, uint32_t node, uint32_t symbol)
{
    return trie->table[place_of(trie, node, symbol)];
}

uint32_t awq__trie_add(awq_context *ctx, awq__trie *trie, uint32_t node, uint32_t symbol)
{
    uint32_t found = awq__trie_find(trie, node, symbol);
    if (found)
        return found;
    if (trie->count >= MOST_NODES) {
        awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: a list of names needs over %zu parts",
                  MOST_NODES);
        return 0;
    }
    if (awq__grow(ctx, &trie->nodes, &trie->capacity, trie->count + 1, sizeof *trie->nodes,
                  "a list of names") != AWQ_OK ||
        (2 * (trie->count + 1) > trie->table_size &&
         enlarge(ctx, trie, 2 * trie->table_size) != AWQ_OK))
        return 0;
    uint32_t made = (uint32_t)trie->count++;
    trie->nodes[made] = (awq__trie_node){.parent = node, .symbol = symbol};
    return trie->table[place_of(trie, node, symbol)] = made;
}
