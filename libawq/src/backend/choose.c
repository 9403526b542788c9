/* Choosing what a context computes on. */
#include "backend/gpu.h"

#include <stdio.h>
#include <string.h>

/* ---- what is wanted ---- */

static bool read_index(const char *text, int *index)
{
    *index = 0;
    for (; *text >= '0' && *text <= '9' && *index < 1000; text++)
        *index = *index * 10 + (*text - '0');
    return !*text;
}

awq_status awq__device_parse(awq_context *ctx, const char *text, awq__device_choice *choice)
{
    size_t letters = strspn(text, "abcdefghijklmnopqrstuvwxyz");
    *choice = (awq__device_choice){.index = -1};
    bool good = letters && letters < sizeof choice->id && (!text[letters] || text[letters] == ':');
    if (good && text[letters])
        good = text[letters + 1] && read_index(text + letters + 1, &choice->index);
    if (!good)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "device: \"%s\", expected auto, cpu, or a kind of device as cuda, also "
                         "with its number as cuda:1",
                         text);
    memcpy(choice->id, text, letters);
    return AWQ_OK;
}

/* In this version auto is the processor, wherever there is a device. */
static bool is_processor(const awq__device_choice *choice)
{
    return !strcmp(choice->id, "cpu") || !strcmp(choice->id, "auto");
}

/* ---- what there is ---- */

/* The first that was refused. */
static const awq__driver *refused_of(const awq__drivers *drivers)
{
    for (size_t i = 0; i < drivers->count; i++)
        if (drivers->items[i].error)
            return &drivers->items[i];
    return NULL;
}

static awq_status no_driver(awq_context *ctx, const char *wanted, const awq__drivers *drivers)
{
    const awq__driver *refused = refused_of(drivers);
    return awq__fail(
        ctx, AWQ_ERROR_UNSUPPORTED,
        "device %s: no awq-compute-%.*s.so that works is in the %zu plugin paths%s%s%s%s", wanted,
        (int)strcspn(wanted, ":"), wanted, awq__context_plugins(ctx)->path_count,
        refused ? "; refused: " : "", refused ? refused->path : "", refused ? ": " : "",
        refused ? refused->error : "");
}

static awq_status find_driver(awq_context *ctx, const char *wanted,
                              const awq__device_choice *choice, const awq__drivers *drivers,
                              const awq__driver **found)
{
    for (size_t i = 0; i < drivers->count; i++) {
        *found = &drivers->items[i];
        if (!(*found)->error && !strcmp((*found)->table->id, choice->id))
            return choice->index < (*found)->count
                       ? AWQ_OK
                       : awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                                   "device %s: %s has %d devices, numbered from 0", wanted,
                                   (*found)->path, (*found)->count);
    }
    return no_driver(ctx, wanted, drivers);
}

/* ---- opening it ---- */

static awq_status describe(awq_context *ctx, awq__gpu *gpu, const char *wanted, int index,
                           uint64_t memory)
{
    char reason[AWQ__REASON_BYTES] = "";
    awq__device_info info = {0};
    if (!gpu->driver->describe(index, &info, reason, sizeof reason))
        return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "device %s: %s", wanted, reason);
    snprintf(gpu->name, sizeof gpu->name, "%s:%d, %s", gpu->driver->id, index, info.name);
    if (memory > info.memory_bytes)
        return awq__fail(ctx, AWQ_ERROR_MEMORY,
                         "device_memory: %llu bytes, but %s has %llu, of which %llu are free",
                         (unsigned long long)memory, gpu->name,
                         (unsigned long long)info.memory_bytes,
                         (unsigned long long)info.free_bytes);
    return AWQ_OK;
}

static awq_status open_device(awq_context *ctx, awq__gpu *gpu, const char *wanted, uint64_t memory)
{
    char reason[AWQ__REASON_BYTES] = "";
    awq__device_choice choice;
    const awq__driver *driver = NULL;
    AWQ__CHECK(awq__device_parse(ctx, wanted, &choice));
    AWQ__CHECK(awq__drivers_load(ctx, &gpu->drivers));
    AWQ__CHECK(find_driver(ctx, wanted, &choice, &gpu->drivers, &driver));
    int index = choice.index < 0 ? 0 : choice.index;
    gpu->driver = driver->table;
    gpu->run = driver->table->operations;
    AWQ__CHECK(describe(ctx, gpu, wanted, index, memory));
    gpu->d = gpu->driver->open(index, memory, reason, sizeof reason);
    return gpu->d ? AWQ_OK : awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "device %s: %s", wanted, reason);
}

static void free_gpu(awq__gpu *gpu)
{
    awq__gpu_forget_all(gpu);
    if (gpu->d)
        gpu->driver->close(gpu->d);
    awq__drivers_free(&gpu->drivers);
    pthread_mutex_destroy(&gpu->lock);
    awq__free(gpu);
}

awq_status awq__device_begin(awq_context *ctx, const char *device, uint64_t memory)
{
    awq_status status;
    awq__device_choice choice;
    AWQ__CHECK(awq__device_parse(ctx, device && *device ? device : "auto", &choice));
    if (is_processor(&choice))
        return AWQ_OK;
    awq__gpu *gpu = awq__alloc(ctx, 1, sizeof *gpu, "a device");
    AWQ__CHECK_ALLOC(gpu);
    pthread_mutex_init(&gpu->lock, NULL);
    AWQ__TRY(open_device(ctx, gpu, device, memory));
    awq__backend_use(ctx, &awq__backend_gpu);
    awq__context_set_device(ctx, gpu);
    awq__log(ctx, AWQ_LOG_INFO, "computing on %s", gpu->name);
done:
    if (status != AWQ_OK)
        free_gpu(gpu);
    return status;
}

void awq__device_end(awq_context *ctx)
{
    awq__gpu *gpu = awq__context_device(ctx);
    if (!gpu)
        return;
    awq__context_set_device(ctx, NULL);
    awq__backend_use(ctx, &awq__backend_cpu);
    free_gpu(gpu);
}

const char *awq__device_name(const awq_context *ctx)
{
    const awq__gpu *gpu = awq__context_device(ctx);
    return gpu ? gpu->name : NULL;
}
