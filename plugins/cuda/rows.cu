/* Operations on rows of F32. A block of threads works on a row, or a warp where rows are short. */
#include "inside.h"

#define SHORT_ROW 512

/* ---- norm ---- */

typedef struct norm_job {
    int64_t T, H;
    const float *x, *weight;
    float offset;
    double epsilon;
    float *out;
} norm_job;

/* What is left of the CPU's formula once the mean of the squares is known. */
static __device__ inline float normed(const norm_job &j, float x, double factor, int64_t h)
{
    float value = (float)((double)x * factor);
    return j.weight ? value * (j.weight[h] + j.offset) : value;
}

static __global__ void norm_long(norm_job j)
{
    for (int64_t t = blockIdx.x; t < j.T; t += gridDim.x) {
        const float *x = j.x + t * j.H;
        double sum = 0;
        for (int64_t h = threadIdx.x; h < j.H; h += blockDim.x)
            sum += (double)x[h] * (double)x[h];
        double factor = 1 / sqrt(block_sum(sum) / (double)j.H + j.epsilon);
        for (int64_t h = threadIdx.x; h < j.H; h += blockDim.x)
            j.out[t * j.H + h] = normed(j, x[h], factor, h);
    }
}

static __global__ void norm_short(norm_job j)
{
    int64_t warps = (int64_t)gridDim.x * (blockDim.x / WARP);
    int64_t warp = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    for (int64_t t = warp; t < j.T; t += warps) {
        const float *x = j.x + t * j.H;
        double sum = 0;
        for (int64_t h = threadIdx.x % WARP; h < j.H; h += WARP)
            sum += (double)x[h] * (double)x[h];
        double factor = 1 / sqrt(warp_sum(sum) / (double)j.H + j.epsilon);
        for (int64_t h = threadIdx.x % WARP; h < j.H; h += WARP)
            j.out[t * j.H + h] = normed(j, x[h], factor, h);
    }
}

int awq__cuda_rms_norm(const awq__cuda_queue *queue, int64_t T, int64_t H, const float *x,
                       const float *weight, float offset, double epsilon, float *out)
{
    norm_job j = {T, H, x, weight, offset, epsilon, out};
    if (T == 0)
        return 0;
    if (H <= SHORT_ROW)
        norm_short<<<blocks_for(T * WARP), THREADS, 0, queue->stream>>>(j);
    else
        norm_long<<<(unsigned)least(T, 1 << 20), THREADS, 0, queue->stream>>>(j);
    return LAUNCHED();
}

/* ---- rotary embedding ---- */

static __global__ void rotate(int64_t T, int64_t heads, int64_t D, int64_t pairs, bool adjacent,
                              const int32_t *position, const float *cos_sin, float *x, int64_t ldx)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        const float *turn = cos_sin + position[t] * 2 * pairs;
        for (int64_t at = threadIdx.x; at < heads * pairs; at += blockDim.x) {
            int64_t i = (int)at % (int)pairs;
            float c = turn[i], s = turn[pairs + i];
            float *head = x + t * ldx + (int)at / (int)pairs * D;
            float *a = head + (adjacent ? 2 * i : i), *b = a + (adjacent ? 1 : pairs);
            float turned_a = *a * c - *b * s, turned_b = *b * c + *a * s;
            *a = turned_a;
            *b = turned_b;
        }
    }
}

int awq__cuda_rotate(const awq__cuda_queue *queue, int64_t T, int64_t heads, int64_t D,
                     int64_t pairs, bool adjacent, const int32_t *position, const float *cos_sin,
                     float *x, int64_t ldx)
{
    if (T == 0 || pairs == 0)
        return 0;
    rotate<<<(unsigned)least(T, 1 << 20), THREADS, 0, queue->stream>>>(T, heads, D, pairs, adjacent,
                                                                       position, cos_sin, x, ldx);
    return LAUNCHED();
}

/* ---- activation ---- */

typedef struct activate_job {
    int64_t T, I;
    awq__cuda_activation activation;
    const float *gate, *up;
    int64_t ld;
    const float *column;
    float *out;
    uint16_t *high, *low;
} activate_job;

static __device__ inline void activate_one(const activate_job &j, int64_t t, int64_t i)
{
    float value = activation_value(j.activation, j.gate[t * j.ld + i], j.up[t * j.ld + i]);
    if (j.out)
        j.out[t * j.I + i] = value;
    if (!j.high)
        return;
    float scaled = j.column ? value * j.column[i] : value;
    uint16_t high = bf16_bits(scaled);
    j.high[t * j.I + i] = high;
    j.low[t * j.I + i] = bf16_bits(scaled - bf16_value(high));
}

/* grid: rows, parts of a row. */
static __global__ void activate(activate_job j)
{
    int64_t step = (int64_t)gridDim.y * blockDim.x;
    for (int64_t t = blockIdx.x; t < j.T; t += gridDim.x)
        for (int64_t i = (int64_t)blockIdx.y * blockDim.x + threadIdx.x; i < j.I; i += step)
            activate_one(j, t, i);
}

int awq__cuda_activate(const awq__cuda_queue *queue, int64_t T, int64_t I,
                       const awq__cuda_activation *activation, const float *gate, const float *up,
                       int64_t ld, const float *column, float *out, uint16_t *high, uint16_t *low)
{
    activate_job j = {T, I, *activation, gate, up, ld, column, out, high, low};
    if (T == 0)
        return 0;
    dim3 grid((unsigned)least(T, 1 << 20), (unsigned)least(ceil_div(I, 4 * THREADS), 4096));
    activate<<<grid, THREADS, 0, queue->stream>>>(j);
    return LAUNCHED();
}

/* ---- rows to and fro ---- */

static __global__ void gather(int64_t T, int64_t K, const int32_t *index, int64_t step,
                              const float *x, float *out)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t k = threadIdx.x; k < K; k += blockDim.x)
            out[t * K + k] = x[index[t] / step * K + k];
}

int awq__cuda_gather(const awq__cuda_queue *queue, int64_t T, int64_t K, const int32_t *index,
                     int64_t step, const float *x, float *out)
{
    if (T == 0)
        return 0;
    gather<<<(unsigned)least(T, 1 << 20), THREADS, 0, queue->stream>>>(T, K, index, step, x, out);
    return LAUNCHED();
}

typedef struct combine_job {
    int64_t T, k, H;
    const float *weight;
    const int32_t *place;
    int64_t first, end;
    const float *y;
    float *out;
} combine_job;

static __global__ void combine(combine_job j)
{
    for (int64_t t = blockIdx.x; t < j.T; t += gridDim.x)
        for (int64_t h = threadIdx.x; h < j.H; h += blockDim.x) {
            float sum = j.out[t * j.H + h];
            for (int64_t i = t * j.k; i < (t + 1) * j.k; i++) {
                int64_t at = j.place ? j.place[i] : i;
                if (at >= j.first && at < j.end)
                    sum += (j.weight ? j.weight[i] : 1) * j.y[(at - j.first) * j.H + h];
            }
            j.out[t * j.H + h] = sum;
        }
}

int awq__cuda_combine(const awq__cuda_queue *queue, int64_t T, int64_t k, int64_t H,
                      const float *weight, const int32_t *place, int64_t first, int64_t end,
                      const float *y, float *out)
{
    combine_job j = {T, k, H, weight, place, first, end, y, out};
    if (T == 0)
        return 0;
    combine<<<(unsigned)least(T, 1 << 20), THREADS, 0, queue->stream>>>(j);
    return LAUNCHED();
}

static __global__ void scatter_add(int64_t T, int64_t H, const int32_t *index, int64_t step,
                                   const float *weight, const float *y, float *out)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        int64_t row = index[t] / step;
        float factor = weight ? weight[index[t]] : 1;
        for (int64_t h = threadIdx.x; h < H; h += blockDim.x)
            out[row * H + h] += factor * y[t * H + h];
    }
}

int awq__cuda_scatter_add(const awq__cuda_queue *queue, int64_t T, int64_t H, const int32_t *index,
                          int64_t step, const float *weight, const float *y, float *out)
{
    if (T == 0)
        return 0;
    scatter_add<<<(unsigned)least(T, 1 << 20), THREADS, 0, queue->stream>>>(T, H, index, step,
                                                                            weight, y, out);
    return LAUNCHED();
}

/* ---- elements ---- */

static __global__ void add(int64_t count, float factor, const float *x, float *out)
{
    FOR_EACH (i, count)
        out[i] += factor * x[i];
}

int awq__cuda_add(const awq__cuda_queue *queue, int64_t count, float factor, const float *x,
                  float *out)
{
    if (count == 0)
        return 0;
    add<<<blocks_for(count), THREADS, 0, queue->stream>>>(count, factor, x, out);
    return LAUNCHED();
}

static __global__ void scale(int64_t N, int64_t K, const float *row, const float *col, float *x)
{
    for (int64_t n = blockIdx.x; n < N; n += gridDim.x)
        for (int64_t k = threadIdx.x; k < K; k += blockDim.x) {
            float value = col ? x[n * K + k] * col[k] : x[n * K + k];
            x[n * K + k] = row ? value * row[n] : value;
        }
}

int awq__cuda_scale(const awq__cuda_queue *queue, int64_t N, int64_t K, const float *row,
                    const float *col, float *x)
{
    if (N == 0)
        return 0;
    scale<<<(unsigned)least(N, 1 << 20), THREADS, 0, queue->stream>>>(N, K, row, col, x);
    return LAUNCHED();
}

/* The least place does not depend on who comes first. */
static __global__ void find_unbounded(int64_t count, const float *x, unsigned long long *found)
{
    FOR_EACH (i, count)
        if (!isfinite(x[i]))
            atomicMin(found, (unsigned long long)i);
}

static __global__ void set_place(int64_t value, int64_t *found)
{
    *found = value;
}

int awq__cuda_first_unbounded(const awq__cuda_queue *queue, int64_t count, const float *x,
                              int64_t *found)
{
    set_place<<<1, 1, 0, queue->stream>>>(count, found);
    if (count)
        find_unbounded<<<blocks_for(count), THREADS, 0, queue->stream>>>(
            count, x, (unsigned long long *)found);
    return LAUNCHED();
}
