/* Memory of a device: one arena that is cut up here, and pinned memory on the way to and from it.
 */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT ((size_t)256)
/* What several threads copy: less is done sooner by one. */
#define PARALLEL_BYTES ((size_t)1 << 20)
#define COPY_THREADS 8

bool awq__cuda_did(awq__cuda_device *device, int error, const char *what)
{
    if (error && !device->error) {
        device->error = error;
        snprintf(device->failure, sizeof device->failure, "%s: %s", what,
                 awq__cuda_error_text(error));
    }
    return !device->error;
}

/* ---- the arena ---- */

static awq__cuda_span *new_span(size_t first, size_t bytes, bool used)
{
    awq__cuda_span *span = calloc(1, sizeof *span);
    if (span) {
        span->first = first;
        span->bytes = bytes;
        span->used = used;
    }
    return span;
}

/* The rest of a span behind its first bytes becomes one of its own. */
static bool split(awq__cuda_span *span, size_t bytes)
{
    if (span->bytes == bytes)
        return true;
    awq__cuda_span *rest = new_span(span->first + bytes, span->bytes - bytes, false);
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

/* What is large is taken from the front, what is small from the back, so that small arrays do not
   cut up the room of large ones. */
#define SMALL ((size_t)1 << 20)

static awq__cuda_span *take_front(awq__cuda_device *device, size_t bytes)
{
    awq__cuda_span *span = device->spans;
    while (span && (span->used || span->bytes < bytes))
        span = span->after;
    return span && split(span, bytes) ? span : NULL;
}

static awq__cuda_span *take_back(awq__cuda_device *device, size_t bytes)
{
    awq__cuda_span *span = device->spans, *last = NULL;
    for (; span; span = span->after)
        last = !span->used && span->bytes >= bytes ? span : last;
    if (!last || last->bytes == bytes)
        return last;
    return split(last, last->bytes - bytes) ? last->after : NULL;
}

void *awq__cuda_allocate(void *d, size_t bytes)
{
    awq__cuda_device *device = d;
    size_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    awq__cuda_span *span = whole < SMALL ? take_back(device, whole) : take_front(device, whole);
    if (!span)
        return NULL;
    span->used = true;
    device->free_bytes -= whole;
    return device->arena + span->first;
}

/* A free span takes in a free one behind it. */
static void join_after(awq__cuda_span *span)
{
    awq__cuda_span *next = span->after;
    if (!next || next->used)
        return;
    span->bytes += next->bytes;
    span->after = next->after;
    if (span->after)
        span->after->before = span;
    free(next);
}

/* What is queued may still use it: what uses it next is queued behind that. */
void awq__cuda_release(void *d, void *array)
{
    awq__cuda_device *device = d;
    size_t first = (size_t)((char *)array - device->arena);
    awq__cuda_span *span = device->spans;
    while (span && span->first != first)
        span = span->after;
    if (!array || !span)
        return;
    span->used = false;
    device->free_bytes += span->bytes;
    join_after(span);
    if (span->before && !span->before->used)
        join_after(span->before);
}

size_t awq__cuda_free_bytes(void *d)
{
    const awq__cuda_device *device = d;
    return device->free_bytes;
}

void *awq__cuda_work(awq__cuda_device *device, size_t bytes)
{
    void *space = device->error ? NULL : awq__cuda_allocate(device, bytes);
    if (!space && !device->error) {
        device->error = (int)cudaErrorMemoryAllocation;
        snprintf(device->failure, sizeof device->failure,
                 "out of memory: %.1f MB of work space are needed, %.1f MB are free",
                 (double)bytes / 1e6, (double)device->free_bytes / 1e6);
    }
    return space;
}

/* ---- crossing ---- */

static void copy_bytes(char *to, const char *from, size_t bytes)
{
    if (bytes < PARALLEL_BYTES) {
        memcpy(to, from, bytes);
        return;
    }
    size_t part = (bytes + COPY_THREADS - 1) / COPY_THREADS;
#pragma omp parallel for num_threads(COPY_THREADS) schedule(static)
    for (int i = 0; i < COPY_THREADS; i++) {
        size_t first = (size_t)i * part, count = first < bytes ? bytes - first : 0;
        memcpy(to + first, from + first, count < part ? count : part);
    }
}

static int create_stage(awq__cuda_stage *stage)
{
    int error = 0;
    for (int i = 0; i < 2 && !error; i++) {
        error = (int)cudaMallocHost((void **)&stage->halves[i], AWQ__CUDA_STAGE_BYTES);
        if (!error)
            error = (int)cudaEventCreateWithFlags(&stage->crossed[i], cudaEventDisableTiming);
    }
    return error;
}

static void free_stage(awq__cuda_stage *stage)
{
    for (int i = 0; i < 2; i++) {
        if (stage->crossed[i])
            cudaEventDestroy(stage->crossed[i]);
        cudaFreeHost(stage->halves[i]);
    }
}

/* Goes to the other half, once all that it had has crossed. */
static void turn(awq__cuda_device *device, awq__cuda_stage *stage)
{
    awq__cuda_did(device, (int)cudaEventRecord(stage->crossed[stage->half], device->stream),
                  "upload");
    stage->half = !stage->half;
    stage->used = 0;
    awq__cuda_did(device, (int)cudaEventSynchronize(stage->crossed[stage->half]), "upload");
}

void awq__cuda_upload(void *d, void *to, const void *from, size_t bytes)
{
    awq__cuda_device *device = d;
    awq__cuda_stage *stage = &device->up;
    for (size_t at = 0, count; at < bytes && !device->error; at += count) {
        if (stage->used == AWQ__CUDA_STAGE_BYTES)
            turn(device, stage);
        size_t room = AWQ__CUDA_STAGE_BYTES - stage->used;
        count = bytes - at < room ? bytes - at : room;
        char *pinned = stage->halves[stage->half] + stage->used;
        copy_bytes(pinned, (const char *)from + at, count);
        awq__cuda_did(device,
                      (int)cudaMemcpyAsync((char *)to + at, pinned, count, cudaMemcpyHostToDevice,
                                           device->stream),
                      "upload");
        size_t whole = (count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        stage->used = stage->used + whole;
    }
}

/* Queues the crossing of a part into a half. */
static size_t fetch(awq__cuda_device *device, int half, const char *from, size_t left)
{
    awq__cuda_stage *stage = &device->down;
    size_t count = left < AWQ__CUDA_STAGE_BYTES ? left : AWQ__CUDA_STAGE_BYTES;
    if (count)
        awq__cuda_did(device,
                      (int)cudaMemcpyAsync(stage->halves[half], from, count, cudaMemcpyDeviceToHost,
                                           device->stream),
                      "download");
    awq__cuda_did(device, (int)cudaEventRecord(stage->crossed[half], device->stream), "download");
    return count;
}

void awq__cuda_download(void *d, void *to, const void *from, size_t bytes)
{
    awq__cuda_device *device = d;
    awq__cuda_stage *stage = &device->down;
    int half = 0;
    size_t count = device->error ? 0 : fetch(device, half, from, bytes);
    for (size_t at = 0; at < bytes && !device->error; half = !half) {
        size_t end = at + count;
        size_t next = fetch(device, !half, (const char *)from + end, bytes - end);
        if (!awq__cuda_did(device, (int)cudaEventSynchronize(stage->crossed[half]), "download"))
            break;
        copy_bytes((char *)to + at, stage->halves[half], count);
        at = end;
        count = next;
    }
    if (device->error)
        memset(to, 0, bytes); /* nobody reads what nobody wrote: finish tells the failure */
}

/* ---- both ---- */

int awq__cuda_memory_create(awq__cuda_device *device, size_t bytes)
{
    bytes = bytes / ALIGNMENT * ALIGNMENT;
    device->spans = new_span(0, bytes, false);
    if (!device->spans)
        return (int)cudaErrorMemoryAllocation;
    int error = (int)cudaMalloc((void **)&device->arena, bytes);
    device->free_bytes = error ? 0 : bytes;
    if (!error)
        error = create_stage(&device->up);
    return error ? error : create_stage(&device->down);
}

void awq__cuda_memory_free(awq__cuda_device *device)
{
    while (device->spans) {
        awq__cuda_span *next = device->spans->after;
        free(device->spans);
        device->spans = next;
    }
    cudaFree(device->arena);
    free_stage(&device->up);
    free_stage(&device->down);
}
