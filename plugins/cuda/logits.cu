/* What two sets of logits have in common. A block of threads compares a row. */
#include "inside.h"

#define MOST_ROWS 65536

/* The largest of a row, the lowest place of those that are as large, and the sum of exponentials
   relative to it. */
typedef struct row_facts {
    float largest;
    int64_t place;
    double norm; /* log of the sum of exponentials */
} row_facts;

static __device__ inline void take_larger(float value, int64_t place, float *largest, int64_t *at)
{
    if (value > *largest || (value == *largest && place < *at)) {
        *largest = value;
        *at = place;
    }
}

static __device__ inline void block_argmax(float *largest, int64_t *at)
{
    __shared__ float values[WARP];
    __shared__ int64_t places[WARP];
    for (int step = WARP / 2; step; step /= 2) {
        float value = __shfl_xor_sync(0xffffffffu, *largest, step);
        int64_t place = __shfl_xor_sync(0xffffffffu, *at, step);
        take_larger(value, place, largest, at);
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        values[threadIdx.x / WARP] = *largest;
        places[threadIdx.x / WARP] = *at;
    }
    __syncthreads();
    for (int i = 0; i < (int)blockDim.x / WARP; i++)
        take_larger(values[i], places[i], largest, at);
}

/* Exponentials in F32, summed in F64. */
static __device__ row_facts facts_of(int64_t V, const float *row)
{
    row_facts f = {-INFINITY, V, 0};
    double sum = 0;
    for (int64_t v = threadIdx.x; v < V; v += blockDim.x)
        take_larger(row[v], v, &f.largest, &f.place);
    block_argmax(&f.largest, &f.place);
    for (int64_t v = threadIdx.x; v < V; v += blockDim.x)
        sum += (double)expf(row[v] - f.largest);
    f.norm = (double)f.largest + log(block_sum(sum));
    return f;
}

typedef struct compare_job {
    int64_t V, ld;
    const float *logits, *reference;
    const int32_t *targets;
    awq__cuda_logit_stats *rows;
} compare_job;

static __device__ double divergence(int64_t V, const float *p, double p_norm, const float *q,
                                    double q_norm)
{
    double sum = 0;
    for (int64_t v = threadIdx.x; v < V; v += blockDim.x) {
        double log_p = (double)p[v] - p_norm, log_q = (double)q[v] - q_norm;
        sum += (double)expf((float)log_p) * (log_p - log_q);
    }
    return block_sum(sum);
}

static __global__ void compare(compare_job j)
{
    const float *q = j.logits + blockIdx.x * j.ld;
    const float *p = j.reference ? j.reference + blockIdx.x * j.ld : NULL;
    int32_t target = j.targets[blockIdx.x];
    awq__cuda_logit_stats row = {0, 0, 0, 0};
    row_facts of_q = facts_of(j.V, q);
    if (target >= 0)
        row.nll = of_q.norm - (double)q[target];
    if (p) {
        row_facts of_p = facts_of(j.V, p);
        if (target >= 0)
            row.reference_nll = of_p.norm - (double)p[target];
        row.kl = divergence(j.V, p, of_p.norm, q, of_q.norm);
        row.same_top1 = of_p.place == of_q.place;
    }
    if (threadIdx.x == 0)
        j.rows[blockIdx.x] = row;
}

static __global__ void add_rows(int64_t count, const awq__cuda_logit_stats *rows,
                                awq__cuda_logit_stats *stats)
{
    awq__cuda_logit_stats own = {0, 0, 0, 0};
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        own.nll += rows[i].nll;
        own.reference_nll += rows[i].reference_nll;
        own.kl += rows[i].kl;
        own.same_top1 += rows[i].same_top1;
    }
    own.nll = block_sum(own.nll);
    own.reference_nll = block_sum(own.reference_nll);
    own.kl = block_sum(own.kl);
    double same = block_sum((double)own.same_top1);
    if (threadIdx.x)
        return;
    stats->nll += own.nll;
    stats->reference_nll += own.reference_nll;
    stats->kl += own.kl;
    stats->same_top1 += (int64_t)same;
}

int awq__cuda_compare_logits(const awq__cuda_queue *queue, int64_t rows, int64_t V,
                             const float *logits, const float *reference, int64_t ld,
                             const int32_t *targets, awq__cuda_logit_stats *stats)
{
    compare_job j = {V, ld, logits, reference, targets, (awq__cuda_logit_stats *)queue->sums};
    if (rows == 0)
        return 0;
    if (rows > MOST_ROWS)
        return AWQ__CUDA_UNSERVED;
    compare<<<(unsigned)rows, 512, 0, queue->stream>>>(j);
    add_rows<<<1, 512, 0, queue->stream>>>(rows, j.rows, stats);
    return LAUNCHED();
}
