/*
 * Losses e G e^T of candidates, by one product of all their errors. Errors are rounded to BF16:
 * that changes each by 2^-9 of its own at random, which leaves the sum over a matrix where it is.
 * What is known of the input is the same for all errors, so that its own errors would not cancel:
 * it has two terms.
 */
#include "inside.h"

/* Errors and products in work at a time: about what the second-level cache holds. */
#define WORK_BYTES ((int64_t)64 << 20)

/* Columns of the product. */
static int64_t width_of(const awq__cuda_stats *stats)
{
    return stats->rows ? stats->rows : stats->cols;
}

static int64_t row_bytes(const awq__cuda_stats *stats)
{
    return stats->cols * (int64_t)sizeof(uint16_t) + width_of(stats) * (int64_t)sizeof(float);
}

/* Parts of the same size. */
static int64_t rows_at_once(const awq__cuda_weight *weight, const awq__cuda_stats *stats, int64_t C)
{
    int64_t parts = ceil_div(weight->rows * C * row_bytes(stats), WORK_BYTES);
    return ceil_div(weight->rows, least(parts, ceil_div(weight->rows, 64)));
}

typedef struct losses_work {
    double *sums;         /* [C][n] */
    float *product;       /* [C][n,K], or [C][n,r] of a sketch */
    uint16_t *high, *low; /* of the gram [K,K] or [r,K] */
    uint16_t *error;      /* BF16 [C][n,K] */
} losses_work;

static size_t cut_work(const awq__cuda_weight *weight, const awq__cuda_stats *stats, int64_t C,
                       void *space, losses_work *work)
{
    size_t rows = (size_t)(rows_at_once(weight, stats, C) * C), width = (size_t)width_of(stats);
    size_t K = (size_t)stats->cols, at[5] = {0};
    at[1] = at[0] + ceil_div(rows * sizeof(double), 256) * 256;
    at[2] = at[1] + ceil_div(rows * width * sizeof(float), 256) * 256;
    at[3] = at[2] + ceil_div(K * width * sizeof(uint16_t), 256) * 256;
    at[4] = at[3] + ceil_div(K * width * sizeof(uint16_t), 256) * 256;
    char *base = (char *)space;
    *work = {(double *)base, (float *)(base + at[1]), (uint16_t *)(base + at[2]),
             (uint16_t *)(base + at[3]), (uint16_t *)(base + at[4])};
    return at[4] + rows * K * sizeof(uint16_t);
}

size_t awq__cuda_losses_bytes(const awq__cuda_weight *weight, const awq__cuda_stats *stats,
                              int64_t C)
{
    losses_work work;
    return cut_work(weight, stats, C, NULL, &work);
}

/* sums[r] = weight[r % n] * sum over k of product[r,k] * other: the product itself, or the error. A
   warp has a row. */
static __global__ void dot_rows(int64_t rows, int64_t n, int64_t K, const float *product,
                                const uint16_t *error, const float *weight, double *sums)
{
    int64_t r = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    double sum = 0;
    if (r >= rows)
        return;
    for (int64_t k = threadIdx.x % WARP; k < K; k += WARP) {
        float a = product[r * K + k];
        sum += (double)a * (double)(error ? bf16_value(error[r * K + k]) : a);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0)
        sums[r] = weight ? (double)weight[r % n] * sum : sum;
}

/* losses[c] += sums[c][0] + .. + sums[c][n-1], a block a candidate. */
static __global__ void add_rows(int64_t n, const double *sums, double *losses)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += sums[blockIdx.x * n + i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        losses[blockIdx.x] += sum;
}

/* The losses of n rows whose errors are there. */
static int add_block(const awq__cuda_queue *queue, const awq__cuda_stats *stats, int64_t C,
                     int64_t n, const float *row_weight, const losses_work *work, double *losses)
{
    int64_t K = stats->cols, width = width_of(stats), rows = C * n;
    awq__cuda_terms error = {rows, K, K, work->error, NULL};
    awq__cuda_terms gram = {width, K, K, work->high, work->low};
    CHECK(awq__cuda_product(queue, &error, &gram, false, work->product, width));
    dot_rows<<<(unsigned)ceil_div(rows, THREADS / WARP), THREADS, 0, queue->stream>>>(
        rows, n, width, work->product, stats->rows ? NULL : work->error, row_weight, work->sums);
    add_rows<<<(unsigned)C, THREADS, 0, queue->stream>>>(n, work->sums, losses);
    return LAUNCHED();
}

int awq__cuda_add_losses(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                         const awq__cuda_scheme *scheme, const awq__cuda_stats *stats, int64_t C,
                         const float *scale, const float *unscale, const awq__cuda_range *range,
                         const float *row_weight, void *space, double *losses)
{
    int64_t most = rows_at_once(weight, stats, C), G = weight->cols / scheme->group;
    losses_work work;
    cut_work(weight, stats, C, space, &work);
    CHECK(awq__cuda_split(queue, width_of(stats), stats->cols, stats->gram, stats->cols, NULL, 1,
                          NULL, NULL, work.high, work.low));
    for (int64_t first = 0; first < weight->rows && C; first += most) {
        int64_t n = least(most, weight->rows - first);
        CHECK(awq__cuda_short_errors(queue, weight, scheme, first, n, C, scale, unscale,
                                     range ? range + first * G : NULL, work.error));
        CHECK(add_block(queue, stats, C, n, row_weight ? row_weight + first : NULL, &work, losses));
    }
    return 0;
}
