/* What the operations need beside the kernels. */
extern "C" {
#include "device.h"
}
#include "inside.h"

static __global__ void add_rows(int64_t T, int64_t H, const int32_t *index, const float *weight,
                                const float *x, float *out)
{
    FOR_EACH (i, T * H) {
        int64_t t = i / H, row = index ? index[t] : t;
        out[row * H + i % H] += (weight ? weight[t] : 1) * x[i];
    }
}

int awq__cuda_add_rows(const awq__cuda_queue *queue, int64_t T, int64_t H, const int32_t *index,
                       const float *weight, const float *x, float *out)
{
    if (T * H > 0)
        add_rows<<<blocks_for(T * H), THREADS, 0, queue->stream>>>(T, H, index, weight, x, out);
    return LAUNCHED();
}

/* Whole numbers: in any order they add up to the same. */
static __global__ void count_special(int64_t count, const float *x, int32_t *counter)
{
    int32_t found = 0;
    FOR_EACH (i, count)
        found += !isfinite(x[i]);
    if (found)
        atomicAdd(counter, found);
}

int awq__cuda_count_special(const awq__cuda_queue *queue, int64_t count, const float *x,
                            int32_t *counter)
{
    unsigned blocks = (unsigned)least(blocks_for(count), 4096);
    if (count)
        count_special<<<blocks, THREADS, 0, queue->stream>>>(count, x, counter);
    return LAUNCHED();
}

static __global__ void add_doubles(int64_t count, const double *from, double *to)
{
    FOR_EACH (i, count)
        to[i] += from[i];
}

int awq__cuda_add_doubles(const awq__cuda_queue *queue, int64_t count, const double *from,
                          double *to)
{
    add_doubles<<<blocks_for(count), THREADS, 0, queue->stream>>>(count, from, to);
    return LAUNCHED();
}

static __global__ void add_stats(const awq__cuda_logit_stats *stats, double *to)
{
    to[0] += stats->nll;
    to[1] += stats->reference_nll;
    to[2] += stats->kl;
    to[3] += (double)stats->same_top1;
}

int awq__cuda_add_stats(const awq__cuda_queue *queue, const awq__cuda_logit_stats *stats,
                        double *to)
{
    add_stats<<<1, 1, 0, queue->stream>>>(stats, to);
    return LAUNCHED();
}
