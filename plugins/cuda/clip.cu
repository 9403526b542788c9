/*
 * Clip ranges. A warp has 16 rows of one group of columns: the errors of the range that is tried
 * are in its registers. The weights and the group's block of x^T x lie in shared memory, and e G
 * comes from the tensor cores, in TF32, a tile of 8 columns at a time.
 *
 * A lane l = 4 r + q has rows r and r + 8 and, of each 8 columns, 2 q and 2 q + 1. That is how
 * mma.m16n8k8 lays out its result. Its left operand wants columns q and q + 4; since the order of
 * terms of a sum is free, columns 2 q and 2 q + 1 stand there, and the right operand's rows are
 * taken in the same order. So the same registers are the operand and the other side of e G e^T. G
 * is symmetric: tiles left of the diagonal count twice, those right of it are left out.
 */
#include "rounding.h"

#define WARPS 4
#define ROWS 16    /* of a warp */
#define PASSES 8   /* WARPS * ROWS rows each by a block of threads, at most, for one load of G */
#define BLOCKS 792 /* that keep a large device busy twice over */

typedef struct clip_job {
    awq__cuda_weight weight;
    awq__cuda_scheme scheme;
    const float *blocks; /* [K/g][g,g] */
    awq__cuda_range *range;
    int passes;
} clip_job;

/* ---- what is tried, in the order of the CPU's search ---- */

/* A group of a row: the range of its weights, where the search stands, the best so far. */
typedef struct group_search {
    awq__cuda_range whole, base, best;
    float least;
} group_search;

static __device__ inline float larger_end(awq__cuda_range r)
{
    return -r.low > r.high ? -r.low : r.high;
}

static __device__ inline awq__cuda_range cut_to(awq__cuda_range w, float share)
{
    float end = share * larger_end(w);
    return {w.low < -end ? -end : w.low, w.high > end ? end : w.high};
}

static __device__ inline void begin_from_best(group_search *s)
{
    s->base = s->best.high < INFINITY ? s->best : s->whole;
}

#define STEPS_WHOLE 1
#define STEPS_CUT 11
#define STEPS_MOVED 2
#define STEPS_ENDS 12 /* two rounds, two ends, three moves */

static __device__ inline int integer_steps(const awq__cuda_scheme &scheme)
{
    return STEPS_WHOLE + STEPS_CUT + STEPS_MOVED + (scheme.symmetric ? 0 : STEPS_ENDS);
}

static __device__ const float end_moves[2][3] = {{0.9f, 0.95f, 1.05f}, {0.97f, 0.985f, 1.025f}};

/* The range of a step; moves the base where a round of moves begins. */
static __device__ inline awq__cuda_range integer_step(int step, group_search *s)
{
    if (step < STEPS_WHOLE)
        return {-INFINITY, INFINITY};
    if (step <= STEPS_CUT)
        return cut_to(s->whole, 1 - 0.05f * (float)step);
    step -= STEPS_WHOLE + STEPS_CUT;
    if (step == 0 || (step >= STEPS_MOVED && (step - STEPS_MOVED) % 3 == 0))
        begin_from_best(s);
    float low = step == 0 ? 0.975f : 1.025f, high = low;
    if (step >= STEPS_MOVED) {
        int round = (step - STEPS_MOVED) / 6, end = (step - STEPS_MOVED) / 3 % 2;
        float move = end_moves[round][(step - STEPS_MOVED) % 3];
        low = end ? 1 : move;
        high = end ? move : 1;
    }
    return {s->base.low * low, s->base.high * high};
}

static __device__ inline awq__cuda_range e2m1_step(int step, const group_search *s)
{
    if (step == 0)
        return {-INFINITY, INFINITY};
    float end = (step == 1 ? 2 : 0.5f) * larger_end(s->whole);
    return {-end, end};
}

static __device__ inline int step_count(const awq__cuda_scheme &scheme)
{
    return scheme.code == AWQ__CUDA_CODE_E2M1 ? 3 : integer_steps(scheme);
}

static __device__ inline awq__cuda_range step_range(const awq__cuda_scheme &scheme, int step,
                                                    group_search *s)
{
    return scheme.code == AWQ__CUDA_CODE_E2M1 ? e2m1_step(step, s) : integer_step(step, s);
}

static __device__ inline group_scale scale_of_step(const awq__cuda_scheme &scheme,
                                                   const group_search &s, awq__cuda_range tried)
{
    return tried.high < INFINITY ? scale_of_given(scheme, tried)
                                 : scale_of_range(scheme, s.whole.low, s.whole.high);
}

static __device__ inline void take_if_better(int step, float loss, awq__cuda_range tried,
                                             group_search *s)
{
    if (step == 0 || loss < s->least) {
        s->least = loss;
        s->best = tried;
    }
}

/* ---- groups of 8 * tiles columns on the tensor cores ---- */

/* 10 bits of mantissa, the nearest. */
static __device__ inline float tf32(float value)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
}

/* sum[16,8] += a[16,8] b[8,8]; the left operand is rows r, r + 8 of the first column, then of the
   second. */
static __device__ inline void multiply_tile(const float a[2][2], float2 b, float sum[4])
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(__float_as_uint(a[0][0])), "r"(__float_as_uint(a[1][0])),
          "r"(__float_as_uint(a[0][1])), "r"(__float_as_uint(a[1][1])), "r"(__float_as_uint(b.x)),
          "r"(__float_as_uint(b.y)));
}

/* Errors of a lane: [tile][row r or r + 8][column 2q or 2q + 1]. */
template <int tiles> struct lane_errors {
    float at[tiles][2][2];
};

static __device__ inline float quad_sum(float value)
{
    value += __shfl_xor_sync(0xffffffffu, value, 1);
    return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

/* Rows r and r + 8 of e G, columns of tile n, and the row of e: what they add to the losses. */
static __device__ inline void add_dots(const float sum[4], const float e[2][2], float loss[2])
{
    loss[0] = fmaf(sum[0], e[0][0], fmaf(sum[1], e[0][1], loss[0]));
    loss[1] = fmaf(sum[2], e[1][0], fmaf(sum[3], e[1][1], loss[1]));
}

/* Tiles of 8 x 8 of G on its diagonal and left of it: a lane's two numbers lie side by side. */
static __host__ __device__ inline constexpr int tile_at(int n, int k)
{
    return n * (n + 1) / 2 + k;
}

template <int tiles> static __device__ inline void load_gram(const float *from, float2 *gram)
{
    const int g = tiles * 8;
    for (int i = threadIdx.x; i < g * g / 2; i += blockDim.x) {
        int row = i / (g / 2), col = i % (g / 2) * 2, n = row / 8, k = col / 8;
        if (k <= n)
            gram[tile_at(n, k) * WARP + row % 8 * 4 + col % 8 / 2] =
                make_float2(tf32(from[row * g + col]), tf32(from[row * g + col + 1]));
    }
}

/* loss[0], loss[1] = e G e^T of rows r and r + 8; e and gram are rounded to TF32. Two tiles at a
   time: neither waits for the other's sum. */
template <int tiles>
static __device__ inline void quadratic(const lane_errors<tiles> &e, const float2 *gram,
                                        float loss[2])
{
    const float2 *from = gram + threadIdx.x % WARP;
    loss[0] = loss[1] = 0;
#pragma unroll
    for (int n = 0; n < tiles; n += 2) {
        float left[4] = {0, 0, 0, 0}, right[4] = {0, 0, 0, 0};
#pragma unroll
        for (int k = 0; k < n; k++) {
            multiply_tile(e.at[k], from[tile_at(n, k) * WARP], left);
            multiply_tile(e.at[k], from[tile_at(n + 1, k) * WARP], right);
        }
        multiply_tile(e.at[n], from[tile_at(n + 1, n) * WARP], right);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            left[i] *= 2;
            right[i] *= 2;
        }
        multiply_tile(e.at[n], from[tile_at(n, n) * WARP], left);
        multiply_tile(e.at[n + 1], from[tile_at(n + 1, n + 1) * WARP], right);
        add_dots(left, e.at[n], loss);
        add_dots(right, e.at[n + 1], loss);
    }
    loss[0] = quad_sum(loss[0]);
    loss[1] = quad_sum(loss[1]);
}

/* Over the four lanes of a row. */
static __device__ inline awq__cuda_range quad_extent(int low, int high)
{
    for (int step = 1; step < 4; step *= 2) {
        low = min(low, __shfl_xor_sync(0xffffffffu, low, step));
        high = max(high, __shfl_xor_sync(0xffffffffu, high, step));
    }
    return extent_of_keys(low, high);
}

/* w[tile] = the lane's weights: row r, columns 2q and 2q + 1, then row r + 8. Only the lane itself
   reads them. Finds the extents of both rows. */
template <int tiles>
static __device__ inline void load_weights(const clip_job &j, int64_t row, int64_t column,
                                           float4 *w, group_search s[2])
{
    int low[2] = {0, 0}, high[2] = {0, 0};
    float value[4];
    for (int t = 0; t < tiles; t++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int64_t n = row + i / 2 * 8;
            value[i] = n < j.weight.rows ? weight_value(j.weight, n, column + t * 8 + i % 2) : 0;
            widen_extent(value[i], &low[i / 2], &high[i / 2]);
        }
        w[t * WARPS * WARP] = make_float4(value[0], value[1], value[2], value[3]);
    }
    for (int half = 0; half < 2; half++)
        s[half].whole = quad_extent(low[half], high[half]);
}

static __device__ inline float error_of(const awq__cuda_scheme &scheme, const group_scale &s,
                                        float w)
{
    return tf32(rounded_value(scheme, s, w) * s.scale - w);
}

/* `code` is a constant where this is inlined. */
template <int tiles, int code>
static __device__ inline void try_ranges(const awq__cuda_scheme &given, const float4 *w,
                                         const float2 *gram, group_search s[2])
{
    awq__cuda_scheme scheme = given;
    scheme.code = (awq__cuda_code)code;
    int steps = step_count(scheme);
    for (int step = 0; step < steps; step++) {
        lane_errors<tiles> e;
        awq__cuda_range tried[2];
        group_scale scale[2];
        float loss[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            tried[half] = step_range(scheme, step, &s[half]);
            scale[half] = scale_of_step(scheme, s[half], tried[half]);
        }
#pragma unroll
        for (int t = 0; t < tiles; t++) {
            float4 x = w[t * WARPS * WARP];
            e.at[t][0][0] = error_of(scheme, scale[0], x.x);
            e.at[t][0][1] = error_of(scheme, scale[0], x.y);
            e.at[t][1][0] = error_of(scheme, scale[1], x.z);
            e.at[t][1][1] = error_of(scheme, scale[1], x.w);
        }
        quadratic<tiles>(e, gram, loss);
#pragma unroll
        for (int half = 0; half < 2; half++)
            take_if_better(step, loss[half], tried[half], &s[half]);
    }
}

/* The 16 rows of a warp. */
template <int tiles, int code>
static __device__ inline void search_rows(const clip_job &j, int64_t first, int64_t group,
                                          float4 *w, const float2 *gram)
{
    int lane = (int)(threadIdx.x % WARP);
    int64_t row = first + lane / 4, groups = j.weight.cols / (tiles * 8);
    group_search s[2];
    load_weights<tiles>(j, row, group * tiles * 8 + lane % 4 * 2, w, s);
    try_ranges<tiles, code>(j.scheme, w, gram, s);
#pragma unroll
    for (int half = 0; half < 2; half++)
        if (lane % 4 == 0 && row + half * 8 < j.weight.rows)
            j.range[(row + half * 8) * groups + group] = s[half].best;
}

/* grid: groups of columns, parts of the rows. */
template <int tiles, int code>
static __global__ void __launch_bounds__(WARPS *WARP, 3) clip(clip_job j)
{
    extern __shared__ float4 shared[];
    float4 *w = shared + threadIdx.x;
    float2 *gram = (float2 *)(shared + tiles * WARPS * WARP);
    int64_t group = blockIdx.x, first = (int64_t)blockIdx.y * j.passes * WARPS * ROWS;
    load_gram<tiles>(j.blocks + group * tiles * 8 * tiles * 8, gram);
    __syncthreads();
    for (int pass = 0; pass < j.passes; pass++) {
        int64_t row = first + (pass * WARPS + threadIdx.x / WARP) * ROWS;
        if (row < j.weight.rows)
            search_rows<tiles, code>(j, row, group, w, gram);
    }
}

/* As many passes as leave enough blocks. */
static int choose_passes(int64_t groups, int64_t rows)
{
    int passes = PASSES;
    while (passes > 1 && groups * ceil_div(rows, passes * WARPS * ROWS) < BLOCKS)
        passes /= 2;
    return passes;
}

template <int tiles, int code> static int launch(const awq__cuda_queue *queue, clip_job *j)
{
    int64_t groups = j->weight.cols / (tiles * 8);
    size_t bytes =
        tiles * WARPS * WARP * sizeof(float4) + tile_at(tiles, 0) * WARP * sizeof(float2);
    j->passes = choose_passes(groups, j->weight.rows);
    dim3 grid((unsigned)groups, (unsigned)ceil_div(j->weight.rows, j->passes * WARPS * ROWS));
    CHECK(cudaFuncSetAttribute(clip<tiles, code>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               (int)bytes));
    clip<tiles, code><<<grid, WARPS * WARP, bytes, queue->stream>>>(*j);
    return LAUNCHED();
}

template <int tiles> static int launch_code(const awq__cuda_queue *queue, clip_job *j)
{
    if (j->scheme.code == AWQ__CUDA_CODE_INTEGER)
        return launch<tiles, AWQ__CUDA_CODE_INTEGER>(queue, j);
    if (j->scheme.code == AWQ__CUDA_CODE_E2M1)
        return launch<tiles, AWQ__CUDA_CODE_E2M1>(queue, j);
    return launch<tiles, AWQ__CUDA_CODE_NF4>(queue, j);
}

/* ---- any group: a block of threads a row's group, errors in shared memory ---- */

static __device__ float slow_loss(const float *e, const float *gram, int64_t g)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < g; i += blockDim.x) {
        float product = 0; /* column i of a symmetric matrix: neighbours read neighbours */
        for (int64_t k = 0; k < g; k++)
            product = fmaf(e[k], gram[k * g + i], product);
        sum += (double)product * (double)e[i];
    }
    return (float)block_sum(sum);
}

static __global__ void clip_any(clip_job j)
{
    extern __shared__ float4 shared[];
    int64_t g = j.scheme.group, G = j.weight.cols / g;
    int64_t n = blockIdx.x / G, b = blockIdx.x % G;
    float *w = (float *)shared, *e = w + g;
    int low = 0, high = 0;
    group_search s;
    for (int64_t k = threadIdx.x; k < g; k += blockDim.x)
        w[k] = weight_value(j.weight, n, b * g + k);
    __syncthreads();
    for (int64_t k = threadIdx.x % WARP; k < g; k += WARP)
        widen_extent(w[k], &low, &high);
    s.whole = warp_extent(low, high); /* each warp finds the same */
    for (int step = 0; step < step_count(j.scheme); step++) {
        awq__cuda_range tried = step_range(j.scheme, step, &s);
        group_scale scale = scale_of_step(j.scheme, s, tried);
        __syncthreads();
        for (int64_t k = threadIdx.x; k < g; k += blockDim.x)
            e[k] = rounded_value(j.scheme, scale, w[k]) * scale.scale - w[k];
        __syncthreads();
        take_if_better(step, slow_loss(e, j.blocks + b * g * g, g), tried, &s);
    }
    if (threadIdx.x == 0)
        j.range[blockIdx.x] = s.best;
}

static int launch_any(const awq__cuda_queue *queue, const clip_job *j)
{
    size_t bytes = 2 * (size_t)j->scheme.group * sizeof(float);
    int64_t blocks = j->weight.rows * (j->weight.cols / j->scheme.group);
    CHECK(cudaFuncSetAttribute(clip_any, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    clip_any<<<(unsigned)blocks, 128, bytes, queue->stream>>>(*j);
    return LAUNCHED();
}

int awq__cuda_clip(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                   const awq__cuda_scheme *scheme, const float *blocks, awq__cuda_range *range)
{
    clip_job j = {*weight, *scheme, blocks, range, 1};
    switch (scheme->group) {
    case 32:
        return launch_code<4>(queue, &j);
    case 64:
        return launch_code<8>(queue, &j);
    case 128:
        return launch_code<16>(queue, &j);
    default:
        return launch_any(queue, &j);
    }
}
