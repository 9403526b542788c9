/*
 * Causal attention without T x T scores. A block of threads has TILE queries of a head, passes over
 * the keys TILE at a time, and keeps for each query the largest score so far, the sum of
 * exponentials relative to it, and the weighted sum of values (Milakov and Gimelshein, arXiv
 * 1805.02867; Dao et al., arXiv 2205.14135). F32 arithmetic, in one order whatever the device.
 *
 * Thread (ty, tx) of 16 x 16 computes scores of queries ty + 16 i and keys tx + 16 j, and outputs
 * of the same queries and columns 4 tx + 64 c, ...: neighbours read neighbouring words of shared
 * memory.
 */
#include "inside.h"

#define TILE 64
#define SIDE 16
#define EACH (TILE / SIDE) /* queries and keys of a thread */
#define SCORES_LD (TILE + 4)
#define WIDEST 256 /* D, Dv */

/* Where a block of threads works. */
typedef struct place {
    int64_t begin, length; /* of the sequence */
    int64_t head, kv_head;
    int64_t first; /* query, in the sequence */
} place;

static __device__ inline place place_of_block(const awq__cuda_attention &a)
{
    place p;
    int64_t sequence = blockIdx.z;
    p.begin = a.offsets[sequence];
    p.length = a.offsets[sequence + 1] - p.begin;
    p.head = blockIdx.y;
    p.kv_head = p.head / (a.heads / a.kv_heads);
    p.first = (int64_t)(gridDim.x - 1 - blockIdx.x) * TILE; /* those with most keys first */
    return p;
}

/* tile[TILE][ld] = rows first .. of x[..,D] at `from`, 0 from `length` on. */
static __device__ inline void load_tile(const float *from, int64_t ldx, int64_t first,
                                        int64_t length, int D, int ld, float *tile)
{
    int quarters = D / 4;
    for (int i = threadIdx.x; i < TILE * quarters; i += THREADS) {
        int row = i / quarters, d = i % quarters * 4;
        float4 value = make_float4(0, 0, 0, 0);
        if (first + row < length)
            value = *(const float4 *)(from + (first + row) * ldx + d);
        *(float4 *)(tile + row * ld + d) = value;
    }
}

/* s[i][j] = q[ty + 16 i] . k[tx + 16 j] */
static __device__ inline void multiply_scores(const float *q, const float *k, int D, int ld,
                                              float s[EACH][EACH])
{
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++)
            s[i][j] = 0;
    for (int d = 0; d < D; d += 4) {
        float4 a[EACH], b[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            a[i] = *(const float4 *)(q + (ty + SIDE * i) * ld + d);
            b[i] = *(const float4 *)(k + (tx + SIDE * i) * ld + d);
        }
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int j = 0; j < EACH; j++) {
                s[i][j] = fmaf(a[i].x, b[j].x, s[i][j]);
                s[i][j] = fmaf(a[i].y, b[j].y, s[i][j]);
                s[i][j] = fmaf(a[i].z, b[j].z, s[i][j]);
                s[i][j] = fmaf(a[i].w, b[j].w, s[i][j]);
            }
    }
}

/* Over the 16 threads that have the same queries; all of them get it. */
static __device__ inline float row_largest(float value)
{
    for (int step = SIDE / 2; step; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

static __device__ inline float row_sum(float value)
{
    for (int step = SIDE / 2; step; step /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

/* What is known of a thread's queries. */
typedef struct known {
    float largest[EACH], sum[EACH];
} known;

/* Scores of keys first .. become exponentials in p[TILE][SCORES_LD]; shrink[i] is by what the sums
   so far are smaller now. */
static __device__ inline void exponentiate(const awq__cuda_attention &a, int64_t query,
                                           int64_t first, float s[EACH][EACH], known *so_far,
                                           float *p, float shrink[EACH])
{
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int64_t position = query + ty + SIDE * i;
        int64_t begin = a.window ? position - a.window + 1 : 0;
        float largest = so_far->largest[i], sum = 0;
        for (int j = 0; j < EACH; j++) {
            int64_t key = first + tx + SIDE * j;
            s[i][j] = key >= begin && key <= position ? a.scale * s[i][j] : -INFINITY;
            largest = fmaxf(largest, s[i][j]);
        }
        largest = row_largest(largest);
        bool none = largest == -INFINITY; /* no key has come yet */
        for (int j = 0; j < EACH; j++) {
            float e = none ? 0 : expf(s[i][j] - largest);
            p[(ty + SIDE * i) * SCORES_LD + tx + SIDE * j] = e;
            sum += e;
        }
        shrink[i] = none ? 1 : expf(so_far->largest[i] - largest);
        so_far->sum[i] = so_far->sum[i] * shrink[i] + row_sum(sum);
        so_far->largest[i] = largest;
    }
}

/* out[i][c] += p[ty + 16 i] v[.., 4 tx + 64 c ...] */
template <int chunks>
static __device__ inline void add_values(const float *p, const float *v, int Dv, int ld,
                                         float4 out[EACH][chunks])
{
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    for (int key = 0; key < TILE; key += 4) {
        float4 weights[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++)
            weights[i] = *(const float4 *)(p + (ty + SIDE * i) * SCORES_LD + key);
#pragma unroll
        for (int step = 0; step < 4; step++)
#pragma unroll
            for (int c = 0; c < chunks; c++) {
                int column = tx * 4 + c * 64;
                if (column >= Dv)
                    continue;
                float4 value = *(const float4 *)(v + (key + step) * ld + column);
#pragma unroll
                for (int i = 0; i < EACH; i++) {
                    float w = (&weights[i].x)[step];
                    out[i][c].x = fmaf(w, value.x, out[i][c].x);
                    out[i][c].y = fmaf(w, value.y, out[i][c].y);
                    out[i][c].z = fmaf(w, value.z, out[i][c].z);
                    out[i][c].w = fmaf(w, value.w, out[i][c].w);
                }
            }
    }
}

template <int chunks>
static __device__ inline void shrink_outputs(const float shrink[EACH], float4 out[EACH][chunks])
{
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int c = 0; c < chunks; c++) {
            out[i][c].x *= shrink[i];
            out[i][c].y *= shrink[i];
            out[i][c].z *= shrink[i];
            out[i][c].w *= shrink[i];
        }
}

template <int chunks>
static __device__ inline void store_outputs(const awq__cuda_attention &a, const place &p,
                                            const known *all, float4 out[EACH][chunks])
{
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int64_t t = p.first + ty + SIDE * i;
        float inverse = 1 / all->sum[i];
        float *to = a.c + (p.begin + t) * a.ldc + p.head * a.Dv;
#pragma unroll
        for (int c = 0; c < chunks; c++) {
            int column = tx * 4 + c * 64;
            float4 o = out[i][c];
            if (t < p.length && column < a.Dv)
                *(float4 *)(to + column) =
                    make_float4(o.x * inverse, o.y * inverse, o.z * inverse, o.w * inverse);
        }
    }
}

static __device__ inline void begin_known(const awq__cuda_attention &a, int64_t head, known *k)
{
    float sink = a.sinks ? a.sinks[head] : -INFINITY;
    for (int i = 0; i < EACH; i++) {
        k->largest[i] = sink;
        k->sum[i] = a.sinks ? 1 : 0;
    }
}

/* Keys and values take turns in one part of the shared memory. */
template <int chunks>
static __global__ void __launch_bounds__(THREADS) attend(awq__cuda_attention a)
{
    extern __shared__ float4 shared[];
    int D = (int)a.D, Dv = (int)a.Dv, ld = D + 4, ldv = Dv + 4;
    float *q = (float *)shared, *keys = q + TILE * ld;
    float *p = keys + TILE * (ld > ldv ? ld : ldv);
    float s[EACH][EACH], shrink[EACH];
    float4 out[EACH][chunks] = {};
    known so_far;
    place at = place_of_block(a);
    if (at.first >= at.length)
        return;
    const float *from_k = a.k + at.begin * a.ldk + at.kv_head * D;
    const float *from_v = a.v + at.begin * a.ldv + at.kv_head * Dv;
    int64_t key = a.window && at.first >= a.window ? (at.first - a.window + 1) / TILE * TILE : 0;
    begin_known(a, at.head, &so_far);
    load_tile(a.q + at.begin * a.ldq + at.head * D, a.ldq, at.first, at.length, D, ld, q);
    for (; key <= at.first; key += TILE) {
        __syncthreads();
        load_tile(from_k, a.ldk, key, at.length, D, ld, keys);
        __syncthreads();
        multiply_scores(q, keys, D, ld, s);
        exponentiate(a, at.first, key, s, &so_far, p, shrink);
        shrink_outputs<chunks>(shrink, out);
        __syncthreads();
        load_tile(from_v, a.ldv, key, at.length, Dv, ldv, keys);
        __syncthreads();
        add_values<chunks>(p, keys, Dv, ldv, out);
    }
    store_outputs<chunks>(a, at, &so_far, out);
}

template <int chunks> static int launch(const awq__cuda_queue *queue, const awq__cuda_attention *a)
{
    int64_t wider = a->D > a->Dv ? a->D : a->Dv;
    size_t bytes = (size_t)TILE * (size_t)(a->D + 4 + wider + 4 + SCORES_LD) * sizeof(float);
    dim3 grid((unsigned)ceil_div(a->longest, TILE), (unsigned)a->heads, (unsigned)a->sequences);
    CHECK(cudaFuncSetAttribute(attend<chunks>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               (int)bytes));
    attend<chunks><<<grid, THREADS, bytes, queue->stream>>>(*a);
    return LAUNCHED();
}

/* Rows of q, k, v and c begin at 16 bytes. */
static bool serves(const awq__cuda_attention *a)
{
    int64_t strides = a->D | a->Dv | a->ldq | a->ldk | a->ldv | a->ldc;
    return strides % 4 == 0 && a->D <= WIDEST && a->Dv <= WIDEST && a->sequences < 65536;
}

int awq__cuda_attend(const awq__cuda_queue *queue, const awq__cuda_attention *attention)
{
    if (attention->sequences == 0 || attention->longest == 0)
        return 0;
    if (!serves(attention))
        return AWQ__CUDA_UNSERVED;
    switch (ceil_div(attention->Dv, 64)) {
    case 1:
        return launch<1>(queue, attention);
    case 2:
        return launch<2>(queue, attention);
    case 3:
        return launch<3>(queue, attention);
    default:
        return launch<4>(queue, attention);
    }
}
