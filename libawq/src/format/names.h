/* What the lists of names share. */
#ifndef AWQ__NAMES_H
#define AWQ__NAMES_H

#include "core/core.h"

/* ---- trie.c: sequences of symbols, with common beginnings stored once ---- */

/* A sequence: that of its parent and one symbol. */
typedef struct awq__trie_node {
    uint32_t parent, symbol;
    uint32_t count; /* these three are for the caller */
    uint32_t entry;
    bool taken;
} awq__trie_node;

/* nodes[0] is the empty sequence. */
typedef struct awq__trie {
    awq__trie_node *nodes;
    size_t count, capacity;
    uint32_t *table; /* numbers of nodes by a hash of parent and symbol; 0: free */
    size_t table_size;
} awq__trie;

awq_status awq__trie_create(awq_context *ctx, awq__trie *trie);
/* Takes a cleared one too. */
void awq__trie_free(awq__trie *trie);
/* The node of the sequence that is one symbol longer; 0 if there is none. */
uint32_t awq__trie_find(const awq__trie *trie, uint32_t node, uint32_t symbol);
/* The same, made where there is none; 0, with the failure recorded, when memory is short. Numbers
   of nodes are below 2^31. */
uint32_t awq__trie_add(awq_context *ctx, awq__trie *trie, uint32_t node, uint32_t symbol);

/* ---- expert_names.c: engines hold the experts of a layer as one module ---- */

/* The length of "a.mlp.experts" in that name or one of an expert or its part; 0 for other names. */
size_t awq__experts_length(const char *name);

/* Names, and before the first expert of a layer the name of all. */
typedef struct awq__name_set {
    const char **names;
    bool *made; /* is the name of all, and the set's own text? */
    size_t count;
} awq__name_set;
/* Of layers with an expert among `others` there is no name of all. `names` are not copied. */
awq_status awq__name_set_create(awq_context *ctx, const char *const *names, size_t count,
                                const char *const *others, size_t other_count, awq__name_set *set);
/* Takes a cleared one too. */
void awq__name_set_free(awq__name_set *set);

/* Is there a component that is a number, as those of layers and experts are? */
bool awq__has_index(const char *text, size_t length);
bool awq__is_index(const char *text, size_t length);

#endif
