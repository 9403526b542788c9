/* Sketches of inputs. A block of threads has a row of the sketch, and passes over all tokens. */
#include "inside.h"

#define LISTED 1024 /* tokens that are looked through at a time */

/* awq__random, a step from the state `seed`. */
static __device__ inline uint64_t random_of(uint64_t seed)
{
    uint64_t z = seed + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

typedef struct sketch_job {
    int64_t T, K, ldx;
    const float *x, *factor;
    uint64_t seed;
    int64_t count;
    float *rows;
} sketch_job;

/* A token of the list: its number, and whether its sign is changed. */
typedef struct listed {
    int count;
    int tokens[LISTED];
    float factors[LISTED];
} listed;

/* Tokens first .. that belong to this row, in their order. */
static __device__ void list_tokens(const sketch_job &j, int64_t first, listed *list)
{
    __shared__ int counts[THREADS / WARP];
    int warp = threadIdx.x / WARP;
    if (threadIdx.x == 0)
        list->count = 0;
    __syncthreads();
    for (int64_t begin = first; begin < first + LISTED && begin < j.T; begin += THREADS) {
        int64_t t = begin + threadIdx.x;
        uint64_t random = random_of(j.seed + (uint64_t)t);
        bool mine = t < j.T && (random >> 1) % (uint64_t)j.count == blockIdx.x;
        unsigned votes = __ballot_sync(0xffffffffu, mine);
        int at = list->count + __popc(votes & ((1u << threadIdx.x % WARP) - 1)), all = 0;
        if (threadIdx.x % WARP == 0)
            counts[warp] = __popc(votes);
        __syncthreads();
        for (int i = 0; i < THREADS / WARP; i++) {
            at += i < warp ? counts[i] : 0;
            all += counts[i];
        }
        if (mine) {
            list->tokens[at] = (int)t;
            list->factors[at] = (random & 1 ? 1 : -1) * (j.factor ? j.factor[t] : 1);
        }
        if (threadIdx.x == 0)
            list->count += all;
        __syncthreads();
    }
}

static __global__ void __launch_bounds__(THREADS) sketch(sketch_job j)
{
    __shared__ listed list;
    float *row = j.rows + blockIdx.x * j.K;
    for (int64_t first = 0; first < j.T; first += LISTED) {
        list_tokens(j, first, &list);
        for (int64_t k = threadIdx.x; k < j.K && list.count; k += THREADS) {
            float sum = row[k];
            for (int i = 0; i < list.count; i++)
                sum += list.factors[i] * j.x[list.tokens[i] * j.ldx + k];
            row[k] = sum;
        }
        __syncthreads();
    }
}

static __global__ void own_rows(sketch_job j)
{
    int64_t t = blockIdx.x;
    float *row = j.rows + (j.seed + (uint64_t)t) * j.K;
    for (int64_t k = threadIdx.x; k < j.K; k += blockDim.x)
        row[k] += j.factor ? j.factor[t] * j.x[t * j.ldx + k] : j.x[t * j.ldx + k];
}

int awq__cuda_sketch(const awq__cuda_queue *queue, int64_t T, int64_t K, const float *x,
                     int64_t ldx, const float *factor, uint64_t seed, int64_t count, bool own,
                     float *rows)
{
    sketch_job j = {T, K, ldx, x, factor, seed, count, rows};
    if (T == 0)
        return 0;
    if (own)
        own_rows<<<(unsigned)T, THREADS, 0, queue->stream>>>(j);
    else
        sketch<<<(unsigned)count, THREADS, 0, queue->stream>>>(j);
    return LAUNCHED();
}
