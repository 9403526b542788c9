/* Sums of columns and of all elements. Rows are cut into parts by shape alone; parts are added in
   their order. */
#include "inside.h"

#define PART_ROWS 128 /* of a part, or more where there would be too many parts */
#define MOST_PARTS 128
#define TOTAL_PARTS 1024

/* ---- sums of parts ---- */

static __global__ void join(int64_t count, int64_t K, const double *parts, double *sums)
{
    FOR_EACH (k, K) {
        double sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += parts[i * K + k];
        sums[k] += sum;
    }
}

int awq__cuda_join(const awq__cuda_queue *queue, int64_t count, int64_t K, const double *parts,
                   double *sums)
{
    join<<<blocks_for(K), THREADS, 0, queue->stream>>>(count, K, parts, sums);
    return LAUNCHED();
}

static __global__ void total(int64_t count, const double *parts, double *sum, bool add)
{
    double own = 0;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x)
        own += parts[i];
    own = block_sum(own);
    if (threadIdx.x == 0)
        *sum = add ? *sum + own : own;
}

int awq__cuda_total(const awq__cuda_queue *queue, int64_t count, const double *parts, double *sum,
                    bool add)
{
    total<<<1, 1024, 0, queue->stream>>>(count, parts, sum, add);
    return LAUNCHED();
}

/* How K columns of T rows are cut. */
typedef struct cut {
    int64_t parts, rows; /* of a part */
    dim3 grid;
} cut;

static cut cut_rows(int64_t T, int64_t K)
{
    int64_t room = (int64_t)(QUEUE_SUM_BYTES / sizeof(double)) / K;
    int64_t parts = least(least(ceil_div(T, PART_ROWS), MOST_PARTS), room > 1 ? room : 1);
    int64_t rows = ceil_div(T, parts);
    parts = ceil_div(T, rows);
    return {parts, rows, dim3((unsigned)ceil_div(K, THREADS), (unsigned)parts)};
}

/* A thread's column k and its rows first .. end-1. */
#define FOR_ROWS(t, T, rows)                                                                       \
    for (int64_t t = blockIdx.y * (rows), end_ = t + (rows) < (T) ? t + (rows) : (T); t < end_; t++)
#define COLUMN ((int64_t)blockIdx.x * blockDim.x + threadIdx.x)

/* ---- columns of arrays ---- */

static __global__ void sum_abs(int64_t T, int64_t K, int64_t rows, const float *x, int64_t ldx,
                               const float *factor, double *parts)
{
    int64_t k = COLUMN;
    double sum = 0;
    if (k >= K)
        return;
    FOR_ROWS (t, T, rows)
        sum += (double)fabsf(factor ? x[t * ldx + k] * factor[t] : x[t * ldx + k]);
    parts[blockIdx.y * K + k] = sum;
}

int awq__cuda_add_abs(const awq__cuda_queue *queue, int64_t T, int64_t K, const float *x,
                      int64_t ldx, const float *factor, double *sums)
{
    if (T == 0)
        return 0;
    cut c = cut_rows(T, K);
    sum_abs<<<c.grid, THREADS, 0, queue->stream>>>(T, K, c.rows, x, ldx, factor, queue->sums);
    CHECK(LAUNCHED());
    return awq__cuda_join(queue, c.parts, K, queue->sums, sums);
}

typedef struct slopes_job {
    int64_t T, I, rows;
    awq__cuda_activation activation;
    float step;
    const float *gate, *up;
    int64_t ld;
    const float *factor;
    double *parts; /* [parts][2][I] */
} slopes_job;

static __device__ inline double square_of(float moved, float before, float factor)
{
    float d = (moved - before) * factor;
    return (double)(d * d);
}

static __global__ void sum_slopes(slopes_job j)
{
    int64_t k = COLUMN;
    double gate_sum = 0, up_sum = 0;
    if (k >= j.I)
        return;
    FOR_ROWS (t, j.T, j.rows) {
        float g = j.gate[t * j.ld + k], u = j.up[t * j.ld + k];
        float factor = (j.factor ? j.factor[t] : 1) / j.step;
        float at = activation_value(j.activation, g, u);
        gate_sum += square_of(activation_value(j.activation, g + j.step, u), at, factor);
        up_sum += square_of(activation_value(j.activation, g, u + j.step), at, factor);
    }
    j.parts[blockIdx.y * 2 * j.I + k] = gate_sum;
    j.parts[blockIdx.y * 2 * j.I + j.I + k] = up_sum;
}

int awq__cuda_add_slopes(const awq__cuda_queue *queue, int64_t T, int64_t I,
                         const awq__cuda_activation *activation, float step, const float *gate,
                         const float *up, int64_t ld, const float *factor, double *sums)
{
    if (T == 0)
        return 0;
    cut c = cut_rows(T, 2 * I);
    slopes_job j = {T, I, c.rows, *activation, step, gate, up, ld, factor, queue->sums};
    c.grid.x = (unsigned)ceil_div(I, THREADS);
    sum_slopes<<<c.grid, THREADS, 0, queue->stream>>>(j);
    CHECK(LAUNCHED());
    return awq__cuda_join(queue, c.parts, 2 * I, queue->sums, sums);
}

/* ---- columns of weights ---- */

/* absmax[N, K/g] of rows first and on, a warp a group. */
static __global__ void group_largest(awq__cuda_weight w, int64_t g, int64_t first, int64_t count,
                                     float *absmax)
{
    int64_t groups = w.cols / g;
    int64_t warp = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (warp >= count * groups)
        return;
    int64_t n = first + warp / groups, from = warp % groups * g;
    float largest = 0;
    for (int64_t k = from + threadIdx.x % WARP; k < from + g; k += WARP)
        largest = fmaxf(largest, fabsf(weight_value(w, n, k)));
    largest = warp_largest(largest);
    if (threadIdx.x % WARP == 0)
        absmax[warp] = largest;
}

/* absmax NULL: squares. */
static __global__ void sum_weights(awq__cuda_weight w, int64_t g, int64_t first, int64_t count,
                                   int64_t rows, const float *absmax, double *parts)
{
    int64_t k = COLUMN, groups = absmax ? w.cols / g : 0;
    double sum = 0;
    if (k >= w.cols)
        return;
    FOR_ROWS (n, count, rows) {
        float value = weight_value(w, first + n, k);
        sum += absmax ? (double)(fabsf(value) / (absmax[n * groups + k / g] + 1e-6f))
                      : (double)(value * value);
    }
    parts[blockIdx.y * w.cols + k] = sum;
}

/* The last quarter of the queue's space is for the groups, as many rows at a time as fit. */
int awq__cuda_add_w_mean(const awq__cuda_queue *queue, const awq__cuda_weight *weight, int64_t g,
                         double *sums)
{
    int64_t groups = weight->cols / g, K = weight->cols;
    float *absmax = (float *)queue->sums + QUEUE_SUM_BYTES / sizeof(float) / 4 * 3;
    int64_t most = (int64_t)(QUEUE_SUM_BYTES / sizeof(float) / 4) / groups;
    for (int64_t first = 0; first < weight->rows; first += most) {
        int64_t count = least(most, weight->rows - first);
        cut c = cut_rows(count, 2 * K); /* of K: no more than half of the space */
        group_largest<<<(unsigned)ceil_div(count * groups, THREADS / WARP), THREADS, 0,
                        queue->stream>>>(*weight, g, first, count, absmax);
        c.grid.x = (unsigned)ceil_div(K, THREADS);
        sum_weights<<<c.grid, THREADS, 0, queue->stream>>>(*weight, g, first, count, c.rows, absmax,
                                                           queue->sums);
        CHECK(LAUNCHED());
        CHECK(awq__cuda_join(queue, c.parts, K, queue->sums, sums));
    }
    return 0;
}

int awq__cuda_add_squares(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                          double *sums)
{
    cut c = cut_rows(weight->rows, weight->cols);
    sum_weights<<<c.grid, THREADS, 0, queue->stream>>>(*weight, 1, 0, weight->rows, c.rows, NULL,
                                                       queue->sums);
    CHECK(LAUNCHED());
    return awq__cuda_join(queue, c.parts, weight->cols, queue->sums, sums);
}

/* ---- all elements ---- */

static __global__ void sum_products(int64_t count, const float *a, const float *b, double *parts)
{
    double sum = 0;
    FOR_EACH (i, count)
        sum += (double)a[i] * (double)b[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

int awq__cuda_dot(const awq__cuda_queue *queue, int64_t count, const float *a, const float *b,
                  double *sum)
{
    sum_products<<<TOTAL_PARTS, THREADS, 0, queue->stream>>>(count, a, b, queue->sums);
    CHECK(LAUNCHED());
    return awq__cuda_total(queue, TOTAL_PARTS, queue->sums, sum, false);
}

static __global__ void sum_errors(int64_t T, int64_t N, const float *a, const float *b,
                                  const float *weight, double *parts)
{
    double all = 0;
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        double sum = 0;
        for (int64_t n = threadIdx.x; n < N; n += blockDim.x) {
            double d = (double)a[t * N + n] - (double)b[t * N + n];
            sum += d * d;
        }
        all += weight ? sum * (double)weight[t] * (double)weight[t] : sum;
    }
    all = block_sum(all);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = all;
}

int awq__cuda_squared_error(const awq__cuda_queue *queue, int64_t T, int64_t N, const float *a,
                            const float *b, const float *weight, double *sum)
{
    sum_errors<<<TOTAL_PARTS, THREADS, 0, queue->stream>>>(T, N, a, b, weight, queue->sums);
    CHECK(LAUNCHED());
    return awq__cuda_total(queue, TOTAL_PARTS, queue->sums, sum, false);
}

/* NaN if there is one. */
static __device__ inline float larger(float a, float b)
{
    return b > a || b != b ? b : a;
}

static __global__ void differ(int64_t T, int64_t N, const float *a, const float *b, float *largest,
                              float *parts)
{
    float most = 0;
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        float row = 0;
        for (int64_t n = threadIdx.x; n < N; n += blockDim.x)
            row = larger(row, fabsf(a[t * N + n] - (b ? b[t * N + n] : 0)));
        row = block_largest(row);
        if (largest && threadIdx.x == 0)
            largest[t] = row;
        most = larger(most, row);
    }
    if (threadIdx.x == 0)
        parts[blockIdx.x] = most;
}

static __global__ void largest_of(int64_t count, const float *parts, float *all)
{
    float most = 0;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x)
        most = larger(most, parts[i]);
    most = block_largest(most);
    if (threadIdx.x == 0)
        *all = most;
}

int awq__cuda_largest_difference(const awq__cuda_queue *queue, int64_t T, int64_t N, const float *a,
                                 const float *b, float *largest, float *all)
{
    float *parts = (float *)queue->sums;
    differ<<<TOTAL_PARTS, THREADS, 0, queue->stream>>>(T, N, a, b, largest, parts);
    largest_of<<<1, THREADS, 0, queue->stream>>>(TOTAL_PARTS, parts, all);
    return LAUNCHED();
}
