/* The plugin of NVIDIA's devices: which there are, and opening one. */
#include "device.h"

#include "awq/types.h"

#include <cublas_v2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What CUDA itself and other programs may still want of a device that is taken whole. */
#define LEFT_BYTES ((size_t)512 << 20)
#define LEAST_BYTES ((size_t)1 << 30)
#define LEAST_CAPABILITY 8 /* BF16 and TF32 on the tensor cores */

#define TEXT(number) #number
#define VERSION_TEXT(number) TEXT(number)

static int count(char *reason, size_t size)
{
    int driver = 0, found = 0;
    cudaError_t error = cudaDriverGetVersion(&driver);
    if (error == cudaSuccess && !driver) {
        snprintf(reason, size, "no NVIDIA driver is there (libcuda.so.1)");
        return -1;
    }
    if (error == cudaSuccess && driver / 1000 < CUDART_VERSION / 1000) {
        snprintf(reason, size, "the NVIDIA driver is for CUDA %d.%d, expected %d.0 or later",
                 driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000);
        return -1;
    }
    if (error == cudaSuccess)
        error = cudaGetDeviceCount(&found);
    if (error != cudaSuccess)
        snprintf(reason, size, "%s", cudaGetErrorString(error));
    return error == cudaSuccess ? found : -1;
}

static bool describe(int index, awq__device_info *info, char *reason, size_t size)
{
    struct cudaDeviceProp properties;
    size_t free_bytes = 0, all = 0;
    memset(info, 0, sizeof *info);
    cudaError_t error = cudaGetDeviceProperties(&properties, index);
    if (error == cudaSuccess)
        error = cudaSetDevice(index);
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&free_bytes, &all);
    if (error != cudaSuccess) {
        snprintf(reason, size, "%s", cudaGetErrorString(error));
        return false;
    }
    snprintf(info->name, sizeof info->name, "%s", properties.name);
    snprintf(info->capability, sizeof info->capability, "compute capability %d.%d",
             properties.major, properties.minor);
    info->memory_bytes = all;
    info->free_bytes = free_bytes;
    if (properties.major >= LEAST_CAPABILITY)
        return true;
    snprintf(reason, size, "%s has compute capability %d.%d, expected %d.0 or more",
             properties.name, properties.major, properties.minor, LEAST_CAPABILITY);
    return false;
}

static void close_device(void *device)
{
    awq__cuda_device *d = device;
    if (!d)
        return;
    awq__cuda_queue_free(d->queue);
    awq__cuda_memory_free(d);
    free(d);
}

/* Of what is free, how much the arena takes; 0: too little. */
static size_t arena_bytes(size_t free_bytes, uint64_t memory_bytes)
{
    size_t most = free_bytes > LEFT_BYTES ? free_bytes - LEFT_BYTES : 0;
    size_t wanted = memory_bytes ? (size_t)memory_bytes : most;
    if (wanted > most || wanted < LEAST_BYTES)
        return 0;
    return wanted;
}

static void *open_device(int index, uint64_t memory_bytes, char *reason, size_t size)
{
    awq__device_info info;
    if (!describe(index, &info, reason, size))
        return NULL;
    size_t bytes = arena_bytes((size_t)info.free_bytes, memory_bytes);
    if (!bytes) {
        snprintf(
            reason, size,
            "too little memory: of %.0f MB %.0f are free, and %.0f are wanted beside %.0f that "
            "CUDA takes, at least %.0f",
            (double)info.memory_bytes / 1e6, (double)info.free_bytes / 1e6,
            (double)memory_bytes / 1e6, (double)LEFT_BYTES / 1e6, (double)LEAST_BYTES / 1e6);
        return NULL;
    }
    awq__cuda_device *d = calloc(1, sizeof *d);
    if (d)
        d->index = index;
    int error = d ? awq__cuda_queue_create(&d->queue) : (int)cudaErrorMemoryAllocation;
    if (!error)
        error = awq__cuda_memory_create(d, bytes - AWQ__CUDA_QUEUE_BYTES);
    if (!error) {
        d->stream = awq__cuda_queue_stream(d->queue);
        return d;
    }
    snprintf(reason, size, "%s", awq__cuda_error_text(error));
    close_device(d);
    return NULL;
}

AWQ_API extern const awq__device_driver awq_device_driver_v1;
const awq__device_driver awq_device_driver_v1 = {
    .magic = AWQ__DEVICE_MAGIC,
    .struct_size = sizeof awq_device_driver_v1,
    .library = AWQ_VERSION_STRING,
    .id = "cuda",
    .version = "CUDA " VERSION_TEXT(CUDA_TOOLKIT),
    .count = count,
    .describe = describe,
    .open = open_device,
    .close = close_device,
    .operations = &awq__cuda_operations,
};
