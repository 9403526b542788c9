/* Where tokens go. */
#include "inside.h"

#define GROUP_THREADS 1024

/* ---- choices ---- */

/* The best expert among those that come after (score, expert) in the order of choices: falling
   scores, equal ones by rising expert. */
static __device__ inline int next_best(int64_t E, const float *logits, float score, int expert)
{
    int best = -1;
    for (int e = 0; e < E; e++) {
        bool after = expert < 0 || logits[e] < score || (logits[e] == score && e > expert);
        if (after && (best < 0 || logits[e] > logits[best]))
            best = e;
    }
    return best < 0 ? 0 : best;
}

static __device__ inline double score_of(const awq__cuda_routing &routing, double logit,
                                         double largest, double total)
{
    if (routing.scoring == AWQ__CUDA_SIGMOID_TOPK)
        return 1 / (1 + exp(-logit));
    return exp(logit - largest) / total;
}

/* What softmax divides by: over all experts, or over those that were chosen. */
static __device__ double softmax_total(int64_t E, int64_t k, const awq__cuda_routing &routing,
                                       const float *logits, const int32_t *index, double largest)
{
    double total = 0;
    if (routing.scoring == AWQ__CUDA_SOFTMAX_TOPK)
        for (int64_t e = 0; e < E; e++)
            total += exp((double)logits[e] - largest);
    else
        for (int64_t i = 0; i < k; i++)
            total += exp((double)logits[index[i]] - largest);
    return total;
}

static __device__ void route_token(int64_t E, int64_t k, const awq__cuda_routing &routing,
                                   const float *logits, int32_t *index, float *weight)
{
    for (int64_t i = 0; i < k; i++)
        index[i] = i ? next_best(E, logits, logits[index[i - 1]], index[i - 1])
                     : next_best(E, logits, 0, -1);
    double largest = (double)logits[index[0]], sum = 0;
    double total = softmax_total(E, k, routing, logits, index, largest);
    for (int64_t i = 0; i < k; i++) {
        double score = score_of(routing, (double)logits[index[i]], largest, total);
        sum += score;
        weight[i] = (float)score;
    }
    for (int64_t i = 0; i < k; i++)
        weight[i] =
            (float)((double)weight[i] / (routing.renormalize ? sum : 1) * (double)routing.scaling);
}

/* A thread a token: the sums have the CPU's order. */
static __global__ void route(int64_t T, int64_t E, int64_t k, awq__cuda_routing routing,
                             const float *logits, int64_t ld, int32_t *index, float *weight)
{
    FOR_EACH (t, T)
        route_token(E, k, routing, logits + t * E, index + t * ld, weight + t * ld);
}

int awq__cuda_route(const awq__cuda_queue *queue, int64_t T, int64_t E, int64_t k,
                    const awq__cuda_routing *routing, const float *logits, int64_t ld,
                    int32_t *index, float *weight)
{
    if (T == 0)
        return 0;
    route<<<(unsigned)ceil_div(T, 64), 64, 0, queue->stream>>>(T, E, k, *routing, logits, ld, index,
                                                               weight);
    return LAUNCHED();
}

static __global__ void route_shared(int64_t T, int64_t ld, int64_t j, int32_t expert,
                                    const float *gate, int32_t *index, float *weight)
{
    FOR_EACH (t, T) {
        index[t * ld + j] = expert;
        weight[t * ld + j] = gate ? (float)(1 / (1 + exp(-(double)gate[t]))) : 1;
    }
}

int awq__cuda_route_shared(const awq__cuda_queue *queue, int64_t T, int64_t ld, int64_t j,
                           int32_t expert, const float *gate, int32_t *index, float *weight)
{
    if (T == 0)
        return 0;
    route_shared<<<blocks_for(T), THREADS, 0, queue->stream>>>(T, ld, j, expert, gate, index,
                                                               weight);
    return LAUNCHED();
}

/* ---- groups: a block an expert, which passes over all choices ---- */

/* first[e] = how many choices are e's; the block of E: 0. */
static __global__ void count_choices(int64_t count, int64_t E, const int32_t *index, int32_t *first)
{
    int e = (int)blockIdx.x;
    int own = 0;
    for (int64_t i = threadIdx.x; e < E && i < count; i += blockDim.x)
        own += index[i] == e;
    double sum = block_sum((double)own);
    if (threadIdx.x == 0)
        first[e] = (int32_t)sum;
}

/* Counts become where groups begin. */
static __global__ void add_up(int64_t E, int32_t *first)
{
    int32_t at = 0;
    for (int64_t e = 0; e <= E; e++) {
        int32_t own = first[e];
        first[e] = at;
        at += own;
    }
}

/* How many threads before this one have `mine`, and in *all how many of the block have. */
static __device__ int rank_of(bool mine, int *all)
{
    __shared__ int counts[GROUP_THREADS / WARP];
    unsigned votes = __ballot_sync(0xffffffffu, mine);
    int warp = threadIdx.x / WARP, before = __popc(votes & ((1u << threadIdx.x % WARP) - 1));
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        counts[warp] = __popc(votes);
    __syncthreads();
    *all = 0;
    for (int i = 0; i < GROUP_THREADS / WARP; i++) {
        before += i < warp ? counts[i] : 0;
        *all += counts[i];
    }
    return before;
}

static __global__ void list_choices(int64_t count, const int32_t *index, const int32_t *first,
                                    int32_t *slots, int32_t *place)
{
    int e = (int)blockIdx.x, all;
    int64_t at = first[e];
    for (int64_t begin = 0; begin < count; begin += GROUP_THREADS, at += all) {
        int64_t i = begin + threadIdx.x;
        bool mine = i < count && index[i] == e;
        int64_t to = at + rank_of(mine, &all);
        if (!mine)
            continue;
        slots[to] = (int32_t)i;
        if (place)
            place[i] = (int32_t)to;
    }
}

int awq__cuda_group(const awq__cuda_queue *queue, int64_t count, int64_t E, const int32_t *index,
                    int32_t *first, int32_t *slots, int32_t *place)
{
    cudaStream_t stream = queue->stream;
    count_choices<<<(unsigned)E + 1, GROUP_THREADS, 0, stream>>>(count, E, index, first);
    add_up<<<1, 1, 0, stream>>>(E, first);
    list_choices<<<(unsigned)E, GROUP_THREADS, 0, stream>>>(count, index, first, slots, place);
    return LAUNCHED();
}
