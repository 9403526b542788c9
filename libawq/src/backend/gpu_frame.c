/* Arrays on a device, and what fails there. */
#include "backend/gpu.h"

#include <string.h>

awq_status awq__gpu_finish(awq_context *ctx, const awq__gpu *gpu)
{
    const char *failure = gpu->run->finish(gpu->d);
    return failure ? awq__fail(ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s", gpu->name, failure) : AWQ_OK;
}

/* Arrays are given by the address of a pointer of any type. */
static void set_pointer(void *pointer, void *value)
{
    memcpy(pointer, &value, sizeof value);
}

awq_status awq__gpu_alloc(awq_context *ctx, awq__gpu *gpu, size_t bytes, const char *what,
                          void *array)
{
    void *made = gpu->run->allocate(gpu->d, bytes ? bytes : 1);
    set_pointer(array, made);
    if (made)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_MEMORY,
                     "%s: out of memory: %s needs %.1f MB, and %.1f MB are free: fewer calibration "
                     "tokens, a larger device_memory or device: cpu work",
                     gpu->name, what, (double)bytes / 1e6,
                     (double)gpu->run->free_bytes(gpu->d) / 1e6);
}

void awq__gpu_free(const awq__gpu *gpu, void *array)
{
    if (array)
        gpu->run->release(gpu->d, array);
}

/* ---- frames ---- */

awq__frame awq__frame_begin(awq_context *ctx)
{
    awq__gpu *gpu = awq__context_device(ctx);
    gpu->run->enter(gpu->d);
    return (awq__frame){.ctx = ctx, .gpu = gpu, .run = gpu->run, .d = gpu->d};
}

void awq__frame_back(awq__frame *frame, size_t count)
{
    while (frame->count > count)
        awq__gpu_free(frame->gpu, frame->arrays[--frame->count]);
}

awq_status awq__frame_end(awq__frame *frame, awq_status status)
{
    awq__frame_back(frame, 0);
    awq__free(frame->arrays);
    frame->arrays = NULL;
    frame->capacity = 0;
    AWQ__CHECK(status);
    return awq__gpu_finish(frame->ctx, frame->gpu);
}

awq_status awq__frame_bytes(awq__frame *frame, size_t bytes, const char *what, void *array)
{
    void *made = NULL;
    AWQ__CHECK(awq__grow(frame->ctx, &frame->arrays, &frame->capacity, frame->count + 1,
                         sizeof *frame->arrays, "arrays of a device"));
    AWQ__CHECK(awq__gpu_alloc(frame->ctx, frame->gpu, bytes, what, &made));
    frame->arrays[frame->count++] = made;
    set_pointer(array, made);
    return AWQ_OK;
}

awq_status awq__frame_floats(awq__frame *frame, int64_t count, const char *what, float **array)
{
    return awq__frame_bytes(frame, (size_t)count * sizeof **array, what, array);
}

awq_status awq__frame_copy(awq__frame *frame, const void *from, size_t bytes, void *array)
{
    void *made = NULL;
    if (from) {
        AWQ__CHECK(awq__frame_bytes(frame, bytes, "values of the host", &made));
        frame->run->upload(frame->d, made, from, bytes);
    }
    set_pointer(array, made);
    return AWQ_OK;
}

awq_status awq__frame_vector(awq__frame *frame, const float *from, int64_t count,
                             const float **array)
{
    return awq__frame_copy(frame, from, (size_t)count * sizeof *from, array);
}
