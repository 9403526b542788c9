/* A device for tests of kernels: arrays that go there and back, and comparisons that NaN fails. */
#ifndef ON_DEVICE_H
#define ON_DEVICE_H

#include "kernels.h"

#include "context.h"
#include "numbers.h"

#define MOST_ARRAYS 256

/* Of a test: a queue, and the arrays that it made. */
typedef struct device {
    awq__cuda_queue *queue;
    void *arrays[MOST_ARRAYS];
    int count;
} device;

static inline void done(int error)
{
    if (error)
        fail_msg("%s", awq__cuda_error_text(error));
}

/* NULL where there is no device: the test is skipped. */
static inline int open_device(void **state)
{
    static device d;
    int count = 0;
    *state = NULL;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0)
        return 0;
    d = (device){0};
    if (awq__cuda_queue_create(&d.queue))
        return 1;
    *state = &d;
    return 0;
}

static inline int close_device(void **state)
{
    device *d = *state;
    if (!d)
        return 0;
    for (int i = 0; i < d->count; i++)
        cudaFree(d->arrays[i]);
    awq__cuda_queue_free(d->queue);
    return 0;
}

static inline device *device_of(void **state)
{
    if (!*state)
        skip();
    return *state;
}

/* Filled with NaN, so that what nobody writes is seen. */
static inline void *room(device *d, int64_t count, size_t size)
{
    void *array = NULL;
    size_t bytes = ((size_t)count + 1) * size;
    assert_true(d->count < MOST_ARRAYS);
    done((int)cudaMalloc(&array, bytes));
    done((int)cudaMemset(array, 0xff, bytes));
    d->arrays[d->count++] = array;
    return array;
}

static inline float *room_for(device *d, int64_t count)
{
    return room(d, count, sizeof(float));
}

static inline void *sent(device *d, const void *from, int64_t count, size_t size)
{
    void *array = room(d, count, size);
    done((int)cudaMemcpy(array, from, (size_t)count * size, cudaMemcpyHostToDevice));
    return array;
}

static inline float *sent_floats(device *d, const float *from, int64_t count)
{
    return sent(d, from, count, sizeof *from);
}

/* The caller's to free. */
static inline void *back(const device *d, const void *from, int64_t count, size_t size)
{
    void *array = space_for(count, size);
    done((int)cudaStreamSynchronize(awq__cuda_queue_stream(d->queue)));
    done((int)cudaMemcpy(array, from, (size_t)count * size, cudaMemcpyDeviceToHost));
    return array;
}

/* The largest difference, against the largest magnitude that is expected. */
static inline double distance(const float *found, const float *expected, int64_t count)
{
    double largest = 1e-30, most = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)found[i] - (double)expected[i]);
        largest = fmax(largest, fabs((double)expected[i]));
        most = d > most || isnan(d) ? d : most;
        if (isnan(d))
            break;
    }
    return most / largest;
}

static inline void near_array(const device *d, const float *found, const float *expected,
                              int64_t count, double bound, const char *what, int line)
{
    float *copy = back(d, found, count, sizeof *copy);
    double error = distance(copy, expected, count);
    free(copy);
    print_message("    %-40s %.2g (bound %.2g)\n", what, error, bound);
    if (!(error <= bound))
        fail_msg("line %d: %s is off by %.3g of the largest, allowed %.3g", line, what, error,
                 bound);
}
#define assert_array(d, found, expected, count, bound)                                             \
    near_array(d, found, expected, count, bound, #found, __LINE__)

/* Bytes are the same. */
static inline void same_array(const device *d, const void *found, const void *expected,
                              int64_t count, size_t size, const char *what, int line)
{
    uint8_t *copy = back(d, found, count, size);
    int64_t at = 0, bytes = count * (int64_t)size;
    while (at < bytes && copy[at] == ((const uint8_t *)expected)[at])
        at++;
    free(copy);
    if (at < bytes)
        fail_msg("line %d: %s differs first in element %lld of %lld", line, what,
                 (long long)(at / (int64_t)size), (long long)count);
}
#define assert_same(d, found, expected, count)                                                     \
    same_array(d, found, expected, count, sizeof *(expected), #found, __LINE__)

#endif
