/* Memory of a device, and pinned memory on the way to and from it. */
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

/* ---- work space ---- */

/* Work space has few sizes, so that what was released fits again: steps of an eighth. */
static size_t rounded_size(size_t bytes)
{
    size_t step = 1;
    while (step * 16 <= bytes)
        step *= 2;
    return (bytes + step - 1) / step * step;
}

void *awq__cuda_work(awq__cuda_device *device, size_t bytes)
{
    void *space = device->error ? NULL : awq__cuda_allocate(device, rounded_size(bytes));
    if (!space && !device->error) {
        device->error = (int)cudaErrorMemoryAllocation;
        snprintf(device->failure, sizeof device->failure,
                 "out of memory: %.1f MB of work space are needed, %.1f MB are free",
                 (double)bytes / 1e6, (double)awq__cuda_free_bytes(device) / 1e6);
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
    int error = awq__cuda_arena_create(&device->arena, bytes);
    if (!error)
        error = create_stage(&device->up);
    return error ? error : create_stage(&device->down);
}

void awq__cuda_memory_free(awq__cuda_device *device)
{
    awq__cuda_arena_free(&device->arena);
    free_stage(&device->up);
    free_stage(&device->down);
}
