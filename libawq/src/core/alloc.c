/* Allocation that fails with a message. */
#include "core/core.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

/* What lies before an array. */
typedef union header {
    struct {
        const awq__memory *memory;
        awq_context *ctx;
        int64_t bytes;
    } of;
    char space[ALIGNMENT];
} header;

static void *no_memory(awq_context *ctx, size_t count, size_t size, const char *what)
{
    awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: %s needs %zu x %zu bytes", what, count, size);
    return NULL;
}

void *awq__alloc(awq_context *ctx, size_t count, size_t size, const char *what)
{
    size_t bytes;
    void *pointer = NULL;
    if (!awq__mul_overflows(count, size, &bytes))
        pointer = calloc(1, bytes ? bytes : 1);
    return pointer ? pointer : no_memory(ctx, count, size, what);
}

static void *alloc_in(awq_context *ctx, const awq__memory *memory, size_t count, size_t size,
                      const char *what)
{
    size_t bytes, padded;
    header *array = NULL;
    if (!awq__mul_overflows(count, size, &bytes) &&
        !awq__add_overflows(bytes, sizeof *array, &padded))
        array = memory->allocate(padded);
    if (!array)
        return no_memory(ctx, count, size, what);
    array->of.memory = memory;
    array->of.ctx = ctx;
    array->of.bytes = (int64_t)padded;
    awq__context_count(ctx, array->of.bytes);
    return array + 1;
}

void *awq__alloc_aligned(awq_context *ctx, size_t count, size_t size, const char *what)
{
    return alloc_in(ctx, awq__context_memory(ctx), count, size, what);
}

void *awq__alloc_host(awq_context *ctx, size_t count, size_t size, const char *what)
{
    return alloc_in(ctx, &awq__system_memory, count, size, what);
}

void awq__free_aligned(void *array)
{
    header *begin = array;
    if (!begin)
        return;
    awq__context_count(begin[-1].of.ctx, -begin[-1].of.bytes);
    begin[-1].of.memory->release(begin - 1);
}

static void *allocate(size_t bytes)
{
    size_t padded;
    if (awq__add_overflows(bytes, ALIGNMENT - 1, &padded))
        return NULL;
    return aligned_alloc(ALIGNMENT, padded / ALIGNMENT * ALIGNMENT);
}

const awq__memory awq__system_memory = {.allocate = allocate, .release = free};

void awq__give_back(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void awq__free(void *pointer)
{
    free(pointer);
}

awq_status awq__grow(awq_context *ctx, void *array, size_t *capacity, size_t count, size_t size,
                     const char *what)
{
    if (count <= *capacity)
        return AWQ_OK;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < count)
        wanted = count;
    if (wanted < 16)
        wanted = 16;
    size_t bytes;
    void *old, *grown = NULL;
    memcpy(&old, array, sizeof old);
    if (!awq__mul_overflows(wanted, size, &bytes))
        grown = realloc(old, bytes);
    if (!grown) {
        no_memory(ctx, wanted, size, what);
        return AWQ_ERROR_MEMORY;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return AWQ_OK;
}
