/* Deterministic mutations of inputs, for replaying without a fuzzing engine. */
#ifndef MUTATE_H
#define MUTATE_H

#include <stddef.h>
#include <stdint.h>

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

typedef struct byte_list {
    bytes *items;
    size_t count;
} byte_list;

/* Takes the data. */
void byte_list_add(byte_list *list, bytes item);
void byte_list_free(byte_list *list);
/* The words of a dictionary in libFuzzer's format: "..." at the end of a line, with \\, \" and
   \xAB. */
void read_dictionary(const bytes *text, byte_list *words);
/* A few changes of a seed: bits, bytes, numbers, words, and parts left out, doubled, or taken from
   other seeds. The same state gives the same. The caller frees the data. */
bytes mutate(const bytes *seed, const byte_list *seeds, const byte_list *words, uint64_t *state);

#endif
