/* Running a test body for every table of operations, and arrays at odd places. */
#ifndef TABLES_H
#define TABLES_H

#include "compute/compute.h"
#include "numbers.h"

static const int64_t odd_sizes[] = {1, 2, 7, 31, 32, 33, 64, 100, 257};
enum { ODD_SIZES = sizeof odd_sizes / sizeof *odd_sizes };

#define FOR_EACH_TABLE(table)                                                                      \
    for (const awq__compute *const *next_table = awq__compute_all(), *table = *next_table; table;  \
         table = *++next_table)

/* A copy of x that begins `offset` floats after an aligned place; free `base`. */
typedef struct shifted {
    float *base, *x;
} shifted;

static inline shifted shift(const float *x, int64_t count, int offset)
{
    shifted s = {.base = aligned_alloc(64, (size_t)((count + offset) * 4 / 64 + 1) * 64)};
    assert_non_null(s.base);
    s.x = s.base + offset;
    memcpy(s.x, x, (size_t)count * sizeof *x);
    return s;
}

#endif
