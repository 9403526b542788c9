/* How fast a device multiplies, for estimates. */
#include "backend/gpu.h"
#include "core/convert.h"

#define SIZE ((int64_t)4096)
#define SECONDS 0.05

/* Values that are no zeros, whose products are faster on some devices. */
static void fill(int64_t count, float *values)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(i % 251 - 125) / 128;
}

static void multiply(const awq__frame *f, const float *x, const awq__device_matrix *matrix,
                     float *y)
{
    f->run->linear(f->d, AWQ__DEVICE_EXACT, SIZE, x, 1, matrix, &y);
}

static awq_status measure(awq__frame *f, const float *values, const awq__weight *weight,
                          double *rate)
{
    const float *x;
    float *y;
    int64_t count = 0;
    double seconds = 0;
    awq__device_matrix matrix;
    AWQ__CHECK(awq__frame_vector(f, values, SIZE * SIZE, &x));
    AWQ__CHECK(awq__frame_floats(f, SIZE * SIZE, "a measurement", &y));
    AWQ__CHECK(awq__gpu_matrix_once(f, weight, &matrix));
    multiply(f, x, &matrix, y); /* wakes it up */
    AWQ__CHECK(awq__gpu_finish(f->ctx, f->gpu));
    double start = awq__now_seconds();
    while (seconds < SECONDS) {
        multiply(f, x, &matrix, y);
        AWQ__CHECK(awq__gpu_finish(f->ctx, f->gpu));
        seconds = awq__now_seconds() - start;
        count++;
    }
    *rate = (double)count * 2 * (double)(SIZE * SIZE * SIZE) / seconds;
    return AWQ_OK;
}

awq_status awq__device_rate(awq_context *ctx, double *operations_per_second)
{
    awq_status status;
    size_t count = (size_t)(SIZE * SIZE);
    awq__frame f = awq__frame_begin(ctx);
    float *values = awq__alloc_host(ctx, count, sizeof *values, "a measurement");
    uint16_t *narrow = awq__alloc_host(ctx, count, sizeof *narrow, "a measurement");
    AWQ__TRY_ALLOC(values && narrow);
    fill(SIZE * SIZE, values);
    AWQ__TRY(awq__narrow(ctx, AWQ_BF16, values, count, narrow));
    const awq__weight weight = awq__weight_plain("a measurement", AWQ_BF16, narrow, SIZE, SIZE);
    AWQ__TRY(measure(&f, values, &weight, operations_per_second));
done:
    awq__free_aligned(values);
    awq__free_aligned(narrow);
    return awq__frame_end(&f, status);
}
