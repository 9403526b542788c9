/*
 * Memory of a device: one allocation that is cut up. The same sizes come again and again, a hundred
 * times a second: what is released stays cut out, and is found by its size when the size comes
 * again. Only where nothing fits does all of that go back.
 */
#include "device.h"

#include <stdlib.h>

#define ALIGNMENT ((size_t)256)
/* What is large is taken from the front, what is small from the back, so that small arrays do not
   cut up the room of large ones. */
#define SMALL ((size_t)1 << 20)

struct awq__cuda_span {
    size_t first, bytes;
    bool cut, kept;                         /* out of the arena; but nobody has it */
    awq__cuda_span *before, *after;         /* by address */
    awq__cuda_span *next_place, *next_size; /* in the tables */
};

/* ---- tables ---- */

/* Of the product the high bits depend on all of the number. */
static size_t hash_of(size_t number)
{
    return (size_t)(((uint64_t)(number / ALIGNMENT) * UINT64_C(0x9e3779b97f4a7c15)) >> 52);
}

static awq__cuda_span **place_of(awq__cuda_arena *arena, size_t first)
{
    return &arena->by_place[hash_of(first)];
}

static awq__cuda_span **size_of(awq__cuda_arena *arena, size_t bytes)
{
    return &arena->by_size[hash_of(bytes)];
}

static awq__cuda_span *find_place(awq__cuda_arena *arena, size_t first)
{
    awq__cuda_span *span = *place_of(arena, first);
    while (span && span->first != first)
        span = span->next_place;
    return span;
}

static void forget_place(awq__cuda_arena *arena, awq__cuda_span *span)
{
    awq__cuda_span **at = place_of(arena, span->first);
    while (*at != span)
        at = &(*at)->next_place;
    *at = span->next_place;
}

/* The span of just this size that was released last, or NULL. */
static awq__cuda_span *take_kept(awq__cuda_arena *arena, size_t bytes)
{
    awq__cuda_span **at = size_of(arena, bytes);
    while (*at && (*at)->bytes != bytes)
        at = &(*at)->next_size;
    awq__cuda_span *span = *at;
    if (span)
        *at = span->next_size;
    return span;
}

/* ---- spans by address ---- */

static awq__cuda_span *new_span(size_t first, size_t bytes)
{
    awq__cuda_span *span = calloc(1, sizeof *span);
    if (span) {
        span->first = first;
        span->bytes = bytes;
    }
    return span;
}

/* The rest of a span behind its first bytes becomes one of its own. */
static bool split(awq__cuda_span *span, size_t bytes)
{
    if (span->bytes == bytes)
        return true;
    awq__cuda_span *rest = new_span(span->first + bytes, span->bytes - bytes);
    if (!rest)
        return false;
    rest->before = span;
    rest->after = span->after;
    if (rest->after)
        rest->after->before = rest;
    span->after = rest;
    span->bytes = bytes;
    return true;
}

static awq__cuda_span *cut_front(const awq__cuda_arena *arena, size_t bytes)
{
    awq__cuda_span *span = arena->spans;
    while (span && (span->cut || span->bytes < bytes))
        span = span->after;
    return span && split(span, bytes) ? span : NULL;
}

static awq__cuda_span *cut_back(const awq__cuda_arena *arena, size_t bytes)
{
    awq__cuda_span *span = arena->spans, *last = NULL;
    for (; span; span = span->after)
        last = !span->cut && span->bytes >= bytes ? span : last;
    if (!last || last->bytes == bytes)
        return last;
    return split(last, last->bytes - bytes) ? last->after : NULL;
}

static awq__cuda_span *cut_out(awq__cuda_arena *arena, size_t bytes)
{
    awq__cuda_span *span = bytes < SMALL ? cut_back(arena, bytes) : cut_front(arena, bytes);
    if (!span)
        return NULL;
    awq__cuda_span **place = place_of(arena, span->first);
    span->cut = true;
    span->next_place = *place;
    *place = span;
    return span;
}

/* A span that is not cut out takes in one like it behind it. */
static void join_after(awq__cuda_span *span)
{
    awq__cuda_span *next = span->after;
    if (!next || next->cut)
        return;
    span->bytes += next->bytes;
    span->after = next->after;
    if (span->after)
        span->after->before = span;
    free(next);
}

/* All that nobody has goes back. */
static void put_back(awq__cuda_arena *arena)
{
    for (int i = 0; i < AWQ__CUDA_PLACES; i++)
        arena->by_size[i] = NULL;
    for (awq__cuda_span *span = arena->spans; span; span = span->after)
        if (span->kept) {
            forget_place(arena, span);
            span->cut = span->kept = false;
        }
    for (awq__cuda_span *span = arena->spans; span; span = span->after)
        while (!span->cut && span->after && !span->after->cut)
            join_after(span);
}

/* ---- what others call ---- */

void *awq__cuda_allocate(void *device, size_t bytes)
{
    awq__cuda_arena *arena = &((awq__cuda_device *)device)->arena;
    size_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    awq__cuda_span *span = take_kept(arena, whole);
    if (!span)
        span = cut_out(arena, whole);
    if (!span) {
        put_back(arena);
        span = cut_out(arena, whole);
    }
    if (!span)
        return NULL;
    span->kept = false;
    arena->free_bytes -= whole;
    return arena->memory + span->first;
}

/* What is queued may still use it: what uses it next is queued behind that. */
void awq__cuda_release(void *device, void *array)
{
    awq__cuda_arena *arena = &((awq__cuda_device *)device)->arena;
    awq__cuda_span *span =
        array ? find_place(arena, (size_t)((char *)array - arena->memory)) : NULL;
    if (!span)
        return;
    awq__cuda_span **same = size_of(arena, span->bytes);
    span->kept = true;
    span->next_size = *same;
    *same = span;
    arena->free_bytes += span->bytes;
}

size_t awq__cuda_free_bytes(void *device)
{
    return ((const awq__cuda_device *)device)->arena.free_bytes;
}

int awq__cuda_arena_create(awq__cuda_arena *arena, size_t bytes)
{
    bytes = bytes / ALIGNMENT * ALIGNMENT;
    arena->spans = new_span(0, bytes);
    if (!arena->spans)
        return (int)cudaErrorMemoryAllocation;
    int error = (int)cudaMalloc((void **)&arena->memory, bytes);
    arena->free_bytes = error ? 0 : bytes;
    return error;
}

void awq__cuda_arena_free(awq__cuda_arena *arena)
{
    while (arena->spans) {
        awq__cuda_span *next = arena->spans->after;
        free(arena->spans);
        arena->spans = next;
    }
    cudaFree(arena->memory);
}
