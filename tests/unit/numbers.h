/* Reproducible random numbers, and comparisons that NaN fails. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include "core/core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From 0 up to 1. */
static inline float uniform(uint64_t *state)
{
    return (float)(awq__random(state) >> 40) * 0x1p-24f;
}

static inline float between(uint64_t *state, float low, float high)
{
    return low + (high - low) * uniform(state);
}

/* Nearly normal, with mean 0 and variance 1: a sum of 12 uniform numbers. */
static inline float normal(uint64_t *state)
{
    float sum = -6;
    for (int i = 0; i < 12; i++)
        sum += uniform(state);
    return sum;
}

static inline void *space_for(int64_t count, size_t size)
{
    void *space = calloc((size_t)count + 1, size);
    assert_non_null(space);
    return space;
}

/* The caller's to free. */
static inline float *floats(int64_t count)
{
    return space_for(count, sizeof(float));
}

static inline float *normals(uint64_t *state, int64_t count)
{
    float *x = floats(count);
    for (int64_t i = 0; i < count; i++)
        x[i] = normal(state);
    return x;
}

static inline float *copy_of(const float *x, int64_t count)
{
    float *copy = floats(count);
    memcpy(copy, x, (size_t)count * sizeof *x);
    return copy;
}

static inline void near_at(double found, double expected, double tolerance, const char *what,
                           int64_t at, const char *file, int line)
{
    if (found == expected || fabs(found - expected) <= tolerance)
        return;
    print_error("%s[%lld] is %.9g, expected %.9g within %.3g\n", what, (long long)at, found,
                expected, tolerance);
    _fail(file, line);
}
#define assert_near(found, expected, tolerance)                                                    \
    near_at(found, expected, tolerance, #found, 0, __FILE__, __LINE__)
#define assert_near_at(found, expected, tolerance, what, at)                                       \
    near_at(found, expected, tolerance, what, at, __FILE__, __LINE__)

#endif
