/* The strict pass over the bytes of a JSON text (RFC 8259), before anything is built from it. */
#ifndef AWQ__JSON_SCAN_H
#define AWQ__JSON_SCAN_H

#include "core/core.h"

#define AWQ__JSON_MAX_NESTING 100

/* NaN, Infinity or -Infinity: which number of the text it is, counted from 0, and where it stands.
 */
typedef struct awq__json_literal {
    size_t number;
    const char *at;
    size_t bytes;
    double value;
} awq__json_literal;

typedef struct awq__json_scan {
    const char *at, *end; /* what is left; where the problem is, if there is one */
    unsigned allowed;     /* AWQ__JSON_... of json.h */
    size_t numbers;       /* passed, with the literals */
    size_t keys;          /* passed, of all objects */
    size_t refused_key;   /* the problem is this one, counted from 1; 0: none */
    size_t literal_count;
    awq__json_literal *literals; /* filled in where it is not NULL */
    const char *problem;         /* NULL: none */
    bool misplaced;              /* the problem is what stands at `at`: "X stands " problem */
} awq__json_scan;

void awq__json_skip_space(awq__json_scan *scan);
/* Each passes over what begins at `at`, and is false with the problem said where that is none. */
bool awq__json_skip_string(awq__json_scan *scan);
bool awq__json_skip_value(awq__json_scan *scan, int depth);
/* The whole text: one value, with space around it. */
bool awq__json_scan_text(awq__json_scan *scan);

#endif
