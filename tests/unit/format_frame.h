/* What the tests of the formats on disk share. */
#ifndef FORMAT_FRAME_H
#define FORMAT_FRAME_H

#include "context.h"
#include "format/format.h"
#include "numbers.h"

/* A matrix that a format is asked to store. */
typedef struct asked_to_store {
    int64_t rows, cols;
    awq__scheme scheme;
    const char *message; /* NULL: it can be stored */
} asked_to_store;

static inline void check_refusals(awq_context *ctx, const awq__disk_format *format,
                                  const asked_to_store *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ends(ctx, format->check(ctx, "m.w", cases[i].rows, cases[i].cols, &cases[i].scheme),
             AWQ_ERROR_RECIPE, cases[i].message);
}

/* The open weight [N,K] reads as expected: at once, and from row 1 on, `step` apart, as many rows
   as there are up to `most`. */
static inline void check_rows(const awq__weight *weight, const float *expected, int64_t step,
                              int64_t most)
{
    int64_t N = weight->rows, K = weight->cols;
    float *values = floats(N * K);
    weight->read(weight, 0, N, values);
    assert_memory_equal(values, expected, (size_t)(N * K) * sizeof *values);
    for (int64_t n = 1; n < N; n += step) {
        int64_t count = awq__min(most, N - n);
        weight->read(weight, n, count, values);
        assert_memory_equal(values, expected + n * K, (size_t)(count * K) * sizeof *values);
    }
    free(values);
}

/* A copy of memory that is aligned to nothing; free `base`. */
typedef struct unaligned {
    uint8_t *base, *data;
} unaligned;

static inline unaligned unaligned_copy(const uint8_t *data, int64_t bytes)
{
    unaligned u = {.base = space_for(bytes + 1, 1)};
    u.data = u.base + 1;
    memcpy(u.data, data, (size_t)bytes);
    return u;
}

#endif
