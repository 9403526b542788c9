/*
 * Error-compensated rounding: see quant/gptq.h for the mathematics. Arrays of a weight lie
 * transposed, [columns in the order of rounding][R rows], so that neighbouring threads, which have
 * a row each, read neighbouring words. Columns are rounded BLOCK at a time: what all blocks before
 * have left comes in one product, what the columns of the block itself leave stays in the threads.
 */
#include "rounding.h"

#define BLOCK 128
#define LEAF 16
#define ROW_THREADS 64
#define MOST_ROWS 8192 /* of a weight, in work at a time */
#define WIDEST_FIT 512 /* wider groups keep the scale that was chosen before rounding */
#define RANGE_STEP 0.05f
#define TILE 32

/* ---- work space ---- */

/* Of R rows; S columns of a block, which are rounded BLOCK at a time. */
typedef struct tile {
    int64_t K, R, S;
    float *w, *e;           /* [K][R]: weights, and what is left of them: w - q */
    float *x;               /* [K][R]: what compensation has gathered */
    float *gradient, *kept; /* [S][R] of the loss; as it was before a sweep */
    float *before, *change; /* [S][R] of e */
    float *values, *moves;  /* [S][R] */
    float *scales, *zeros;  /* [K/g][R] */
    uint8_t *codes;         /* [K][R] */
} tile;

static size_t cut_tile(const awq__cuda_gptq *gptq, int64_t N, void *space, tile *t)
{
    int64_t K = gptq->cols, R = least(N, MOST_ROWS), g = gptq->group;
    int64_t S = awq__cuda_gptq_block(K, g), part = S * R, groups = K / g * R;
    int64_t sizes[] = {K * R, K * R, K * R, part,   part,   part,
                       part,  part,  part,  groups, groups, ceil_div(K * R, 4)};
    float *codes, *base = (float *)space;
    float **parts[] = {&t->w,      &t->e,      &t->x,     &t->gradient, &t->kept,  &t->before,
                       &t->change, &t->values, &t->moves, &t->scales,   &t->zeros, &codes};
    size_t at = 0;
    for (int i = 0; i < 12; i++) {
        *parts[i] = base ? base + at : NULL;
        at += (size_t)ceil_div(sizes[i], 64) * 64;
    }
    t->codes = (uint8_t *)codes;
    t->K = K;
    t->R = R;
    t->S = S;
    return at * sizeof(float);
}

size_t awq__cuda_gptq_bytes(const awq__cuda_gptq *gptq, int64_t N)
{
    tile t;
    return cut_tile(gptq, N, NULL, &t);
}

/* ---- between rows and columns, by tiles in shared memory ---- */

/* w[p][r] = row first + r, column order[p]; rows from `rows` on are 0. */
static __global__ void read_rows(awq__cuda_weight weight, const int32_t *order, int64_t first,
                                 int64_t rows, tile t)
{
    __shared__ float part[TILE][TILE + 1];
    int64_t p0 = (int64_t)blockIdx.x * TILE, r0 = (int64_t)blockIdx.y * TILE;
    for (int i = threadIdx.y; i < TILE; i += blockDim.y) {
        int64_t p = p0 + threadIdx.x, r = r0 + i;
        bool inside = p < t.K && r < rows;
        part[i][threadIdx.x] = inside ? weight_value(weight, first + r, order[p]) : 0;
    }
    __syncthreads();
    for (int i = threadIdx.y; i < TILE; i += blockDim.y) {
        int64_t p = p0 + i, r = r0 + threadIdx.x;
        if (p < t.K && r < t.R)
            t.w[p * t.R + r] = part[threadIdx.x][i];
    }
}

static __global__ void write_codes(const int32_t *order, int64_t first, int64_t rows, tile t,
                                   uint8_t *codes)
{
    __shared__ uint8_t part[TILE][TILE + 4];
    int64_t p0 = (int64_t)blockIdx.x * TILE, r0 = (int64_t)blockIdx.y * TILE;
    for (int i = threadIdx.y; i < TILE; i += blockDim.y) {
        int64_t p = p0 + i, r = r0 + threadIdx.x;
        if (p < t.K && r < rows)
            part[i][threadIdx.x] = t.codes[p * t.R + r];
    }
    __syncthreads();
    for (int i = threadIdx.y; i < TILE; i += blockDim.y) {
        int64_t p = p0 + threadIdx.x, r = r0 + i;
        if (p < t.K && r < rows)
            codes[(first + r) * t.K + order[p]] = part[threadIdx.x][i];
    }
}

/* Group i in the order of rounding is group order[i * g] / g of the weight. */
static __global__ void write_scales(const int32_t *order, int64_t g, int64_t first, int64_t rows,
                                    tile t, float *scales, uint8_t *zeros)
{
    int64_t G = t.K / g;
    FOR_EACH (at, G * rows) {
        int64_t i = at / rows, r = at % rows, to = (first + r) * G + order[i * g] / g;
        scales[to] = t.scales[i * t.R + r];
        zeros[to] = (uint8_t)t.zeros[i * t.R + r];
    }
}

static __global__ void read_scales(const int32_t *order, int64_t g, int64_t first, int64_t rows,
                                   tile t, const float *scales)
{
    int64_t G = t.K / g;
    FOR_EACH (at, G * t.R) {
        int64_t i = at / t.R, r = at % t.R;
        t.zeros[at] = 0;
        t.scales[at] = r < rows ? scales[(first + r) * G + order[i * g] / g] : 0;
    }
}

static dim3 tiles_of(int64_t K, int64_t R)
{
    return dim3((unsigned)ceil_div(K, TILE), (unsigned)ceil_div(R, TILE));
}

/* ---- ranges: a thread a group of a row ---- */

/* The scale and zero of a range of which a share is used. */
static __device__ group_scale scale_of_share(const awq__cuda_scheme &scheme, float low, float high,
                                             float share)
{
    float top = top_code(scheme), half = (float)(1 << (scheme.bits - 1));
    float largest = -low > high ? -low : high;
    float width = (scheme.symmetric ? largest : high - low) * share;
    group_scale s = {1, 0, scheme.symmetric ? half : 0};
    if (scheme.code == AWQ__CUDA_CODE_E2M1)
        s = {e2m1_scale(largest * share), 0, 0};
    else if (scheme.code == AWQ__CUDA_CODE_NF4)
        s = {largest * share, 0, 0};
    else if (width != 0) {
        s.scale = round_scale(scheme.grid, width / (scheme.symmetric ? half - 1 : top));
        if (!scheme.symmetric)
            s.zero = clamp(rintf(-low * share / s.scale), 0, top);
    }
    s.inverse = scheme.code == AWQ__CUDA_CODE_NF4 ? nf4_inverse(s.scale) : 1 / s.scale;
    return s;
}

static __device__ inline float share_of(const awq__cuda_scheme &scheme, int step)
{
    if (scheme.code == AWQ__CUDA_CODE_E2M1)
        return step == 0 ? 1 : step == 1 ? 2 : 0.5f;
    return 1 - RANGE_STEP * (float)step;
}

static __device__ inline float error_with(const awq__cuda_scheme &scheme, const group_scale &s,
                                          float w)
{
    if (scheme.code == AWQ__CUDA_CODE_E2M1)
        return w - s.scale * e2m1_value(w * s.inverse);
    if (scheme.code == AWQ__CUDA_CODE_NF4)
        return w - s.scale * nf4_value(w * s.inverse);
    float code = clamp(rintf(w * s.inverse) + s.zero, 0, top_code(scheme));
    return w - s.scale * (code - s.zero);
}

static __global__ void choose_ranges(awq__cuda_scheme scheme, int steps, const float *pivots,
                                     tile t)
{
    int64_t g = scheme.group;
    FOR_EACH (at, t.K / g * t.R) {
        const float *w = t.w + at / t.R * g * t.R + at % t.R, *h = pivots + at / t.R * g;
        float low = 0, high = 0, least_loss = 0;
        for (int64_t k = 0; k < g; k++) {
            low = fminf(low, w[k * t.R]);
            high = fmaxf(high, w[k * t.R]);
        }
        for (int step = 0; step < steps; step++) {
            group_scale s = scale_of_share(scheme, low, high, share_of(scheme, step));
            float loss = 0;
            for (int64_t k = 0; k < g; k++) {
                float error = error_with(scheme, s, w[k * t.R]);
                loss += h[k] * error * error;
            }
            if (step && !(loss < least_loss))
                continue;
            least_loss = loss;
            t.scales[at] = s.scale;
            t.zeros[at] = s.zero;
        }
    }
}

/* ---- some columns: a thread a row ---- */

typedef struct columns {
    awq__cuda_scheme scheme;
    tile t;
    int64_t first, count; /* at most BLOCK */
    const float *matrix;  /* [count,count] above its diagonal */
    int64_t ld;
    const float *diagonal; /* [count]; NULL: 1 */
    float *x, *change;     /* [count][R] */
} columns;

/* target -> what its code stands for */
static __device__ inline float round_target(const awq__cuda_scheme &scheme, float target,
                                            float scale, float zero, uint8_t *code)
{
    if (scheme.code == AWQ__CUDA_CODE_E2M1) {
        float value = e2m1_value(target * (1 / scale));
        *code = (uint8_t)e2m1_code(value);
        return scale * value;
    }
    if (scheme.code == AWQ__CUDA_CODE_NF4) {
        float share = target * nf4_inverse(scale);
        *code = (uint8_t)nf4_code(share);
        return scale * nf4_value(share);
    }
    float c = clamp(rintf(target / scale) + zero, 0, top_code(scheme));
    *code = (uint8_t)(int)c;
    return scale * (c - zero);
}

/* x[LEAF] += what the columns before `begin` have changed, times the matrix. */
static __device__ inline void add_changes(const float *matrix, const float *change, int begin,
                                          float x[LEAF])
{
    for (int j = 0; j < begin; j++) {
        float c = change[j * ROW_THREADS];
        const float4 *row = (const float4 *)(matrix + j * BLOCK + begin);
#pragma unroll
        for (int i = 0; i < LEAF / 4; i++) {
            float4 m = row[i];
            x[4 * i] = fmaf(c, m.x, x[4 * i]);
            x[4 * i + 1] = fmaf(c, m.y, x[4 * i + 1]);
            x[4 * i + 2] = fmaf(c, m.z, x[4 * i + 2]);
            x[4 * i + 3] = fmaf(c, m.w, x[4 * i + 3]);
        }
    }
}

/* A thread's values of LEAF columns, all read at once: one after the other, each would be waited
   for. */
typedef struct leaf {
    float x[LEAF], w[LEAF], e[LEAF], inverse[LEAF];
    float scale, zero; /* of the first column's group */
} leaf;

static __device__ inline void load_group(const columns &p, int64_t i, int64_t r, leaf *l)
{
    int64_t group = (p.first + i) / p.scheme.group * p.t.R + r;
    l->scale = p.t.scales[group];
    l->zero = p.t.zeros[group];
}

static __device__ inline void load_leaf(const columns &p, int begin, int64_t r, leaf *l)
{
    const float *w = p.t.w + p.first * p.t.R, *e = p.t.e + p.first * p.t.R;
#pragma unroll
    for (int i = 0; i < LEAF; i++) {
        bool inside = begin + i < p.count;
        int64_t at = (begin + i) * p.t.R + r;
        l->x[i] = inside ? p.x[at] : 0;
        l->w[i] = inside ? w[at] : 0;
        l->e[i] = inside ? e[at] : 0;
        l->inverse[i] = inside && p.diagonal ? 1 / p.diagonal[begin + i] : 1;
    }
    load_group(p, begin, r, l);
}

/* Rounds column i of the leaf; what e changes by. x of a column ends as it was when the column was
   rounded: later columns add nothing. */
static __device__ inline float round_one(const columns &p, int begin, int i, int64_t r, leaf *l)
{
    int64_t at = (begin + i) * p.t.R + r, whole = p.first * p.t.R + at;
    float target = (l->w[i] - l->e[i]) + l->x[i] * l->inverse[i];
    uint8_t code;
    float error = l->w[i] - round_target(p.scheme, target, l->scale, l->zero, &code);
    float change = error - l->e[i];
    p.t.codes[whole] = code;
    p.t.e[whole] = error;
    p.change[at] = change;
    p.x[at] = l->x[i];
    return change;
}

static __device__ inline void round_leaf(const columns &p, const float *matrix, float *change,
                                         int begin, int64_t r)
{
    bool one_group = p.scheme.group % LEAF == 0;
    leaf l;
    load_leaf(p, begin, r, &l);
    add_changes(matrix, change, begin, l.x);
#pragma unroll
    for (int i = 0; i < LEAF; i++) {
        if (begin + i >= p.count)
            break;
        if (!one_group)
            load_group(p, begin + i, r, &l);
        float c = round_one(p, begin, i, r, &l);
        change[(begin + i) * ROW_THREADS] = c;
#pragma unroll
        for (int j = i + 1; j < LEAF; j++)
            l.x[j] = fmaf(c, matrix[(begin + i) * BLOCK + begin + j], l.x[j]);
    }
}

static __global__ void __launch_bounds__(ROW_THREADS) round_columns(columns p)
{
    extern __shared__ float4 shared[];
    float *matrix = (float *)shared, *change = matrix + BLOCK * BLOCK + threadIdx.x;
    for (int i = threadIdx.x; i < BLOCK * BLOCK; i += ROW_THREADS) {
        int row = i / BLOCK, col = i % BLOCK;
        bool inside = row < col && col < p.count;
        matrix[i] = inside ? p.matrix[row * p.ld + col] : 0;
    }
    __syncthreads();
    int64_t r = (int64_t)blockIdx.x * ROW_THREADS + threadIdx.x;
    for (int begin = 0; begin < p.count && r < p.t.R; begin += LEAF)
        round_leaf(p, matrix, change, begin, r);
}

static int launch_columns(const awq__cuda_queue *queue, const columns *p)
{
    size_t bytes = (size_t)(BLOCK * (BLOCK + ROW_THREADS)) * sizeof(float);
    CHECK(cudaFuncSetAttribute(round_columns, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               (int)bytes));
    round_columns<<<(unsigned)ceil_div(p->t.R, ROW_THREADS), ROW_THREADS, bytes, queue->stream>>>(
        *p);
    return LAUNCHED();
}

/* out[S][R] = m[count,S]^T in[count][R] + beta out, rows of m ld apart. */
static int multiply(const awq__cuda_queue *queue, int64_t R, int64_t S, int64_t count,
                    const float *m, int64_t ld, const float *in, float beta, float *out)
{
    const float one = 1;
    return blas_error(cublasSgemm(queue->blas, CUBLAS_OP_N, CUBLAS_OP_T, (int)R, (int)S, (int)count,
                                  &one, in, (int)R, m, (int)ld, &beta, out, (int)R));
}

/* ---- a block of columns ---- */

/* Columns first .. first+S-1 in work. */
typedef struct block {
    const awq__cuda_queue *queue;
    const awq__cuda_gptq *gptq;
    const awq__cuda_scheme *scheme;
    const tile *t;
    int64_t first, S;
} block;

/* Rounds the columns, BLOCK at a time, by a matrix [S,S] above its diagonal. */
static int round_part(const block *b, const float *matrix, int64_t ld, const float *diagonal,
                      float *x)
{
    const tile *t = b->t;
    for (int64_t at = 0; at < b->S; at += BLOCK) {
        int64_t count = least(BLOCK, b->S - at);
        columns c = {*b->scheme,
                     *t,
                     b->first + at,
                     count,
                     matrix + at * (ld + 1),
                     ld,
                     diagonal ? diagonal + at : NULL,
                     x + at * t->R,
                     t->change + at * t->R};
        if (at)
            CHECK(multiply(b->queue, t->R, count, at, matrix + at, ld, t->change, 1, c.x));
        CHECK(launch_columns(b->queue, &c));
    }
    return 0;
}

/* The Hessian that is left of the block's columns. */
static const float *matrix_of(const block *b)
{
    return b->gptq->blocks + b->first * b->t->S;
}

static __global__ void add_arrays(int64_t count, const float *a, const float *b, float *out)
{
    FOR_EACH (i, count)
        out[i] = a[i] + b[i];
}

static __global__ void subtract_arrays(int64_t count, const float *a, const float *b, float *out)
{
    FOR_EACH (i, count)
        out[i] = a[i] - b[i];
}

/* gradient[S][R] = (I + V) D u for u = e + x, what rounding has added: half of what the loss that
   is left changes by with e. */
static int find_gradient(const block *b)
{
    const tile *t = b->t;
    int64_t count = b->S * t->R;
    add_arrays<<<blocks_for(count), THREADS, 0, b->queue->stream>>>(
        count, t->e + b->first * t->R, t->x + b->first * t->R, t->values);
    return multiply(b->queue, t->R, b->S, b->S, b->gptq->halves + b->first * t->S, t->S, t->values,
                    0, t->gradient);
}

/* By what share of its scale a group is better: the least loss with the codes as they are; 0 where
   that is no gain. */
static __device__ inline float fitted_share(const awq__cuda_scheme &scheme, float *scale,
                                            float slope, float curve)
{
    float fitted = *scale + *scale * (slope / curve);
    if (!(curve > 0 && fitted > 0 && isfinite(fitted)))
        return 0;
    fitted = round_scale(scheme.grid, fitted);
    float change = fitted / *scale - 1;
    if (!isfinite(fitted) || !(change * curve * change < 2 * change * slope))
        return 0;
    *scale = fitted;
    return change;
}

/* Moves the scale of one group, columns `at` and on of the block's S: a thread a row. */
static __global__ void fit_group(awq__cuda_scheme scheme, int64_t first, int64_t S, int64_t at,
                                 tile t)
{
    int64_t g = scheme.group, R = t.R;
    FOR_EACH (r, R) {
        float slope = 0, curve = 0;
        for (int64_t i = 0; i < g; i++) {
            float value = t.values[i * R + r];
            slope += value * t.gradient[(at + i) * R + r];
            curve += value * t.moves[(at + i) * R + r];
        }
        float share = fitted_share(scheme, t.scales + (first + at) / g * R + r, slope, curve);
        for (int64_t i = 0; i < g && share != 0; i++)
            t.e[(first + at + i) * R + r] -= share * t.values[i * R + r];
        for (int64_t i = 0; i < S && share != 0; i++)
            t.gradient[i * R + r] -= share * t.moves[i * R + r];
    }
}

static int fit_groups(const block *b)
{
    const tile *t = b->t;
    int64_t g = b->scheme->group, count = g * t->R;
    for (int64_t at = 0; at < b->S; at += g) {
        int64_t from = (b->first + at) * t->R;
        subtract_arrays<<<blocks_for(count), THREADS, 0, b->queue->stream>>>(
            count, t->w + from, t->e + from, t->values);
        CHECK(multiply(b->queue, t->R, b->S, g, matrix_of(b) + at * t->S, t->S, t->values, 0,
                       t->moves));
        fit_group<<<(unsigned)ceil_div(t->R, ROW_THREADS), ROW_THREADS, 0, b->queue->stream>>>(
            *b->scheme, b->first, b->S, at, *t);
        CHECK(LAUNCHED());
    }
    return 0;
}

static int copy_columns(const block *b, const float *from, float *to)
{
    return (int)cudaMemcpyAsync(to, from, (size_t)(b->S * b->t->R) * sizeof *to,
                                cudaMemcpyDeviceToDevice, b->queue->stream);
}

/* gradient = kept + the matrix times what e has changed by. */
static int move_gradient(const block *b)
{
    const tile *t = b->t;
    int64_t count = b->S * t->R;
    subtract_arrays<<<blocks_for(count), THREADS, 0, b->queue->stream>>>(
        count, t->e + b->first * t->R, t->before, t->change);
    CHECK(copy_columns(b, t->kept, t->gradient));
    return multiply(b->queue, t->R, b->S, b->S, matrix_of(b), t->S, t->change, 1, t->gradient);
}

/* Rounds each column again, as it is best for the others and for what columns behind take back. */
static int sweep(const block *b, bool again)
{
    const tile *t = b->t;
    bool fits = b->scheme->code == AWQ__CUDA_CODE_INTEGER && b->scheme->group <= WIDEST_FIT;
    if (again) {
        CHECK(copy_columns(b, t->e + b->first * t->R, t->before));
        CHECK(copy_columns(b, t->gradient, t->kept));
    }
    if (fits)
        CHECK(fit_groups(b));
    CHECK(round_part(b, matrix_of(b), t->S, b->gptq->curves + b->first, t->gradient));
    return again ? move_gradient(b) : 0;
}

/* What it leaves goes to all columns behind it: products of few rows and many columns keep a device
   busier than those of many rows and few columns would, block by block. */
static int round_block(const block *b, int sweeps)
{
    const tile *t = b->t;
    int64_t end = b->first + b->S, K = t->K;
    const float *factor = b->gptq->factor + b->first * K;
    float *e = t->e + b->first * t->R;
    CHECK(round_part(b, factor + b->first, K, NULL, t->x + b->first * t->R));
    if (sweeps)
        CHECK(find_gradient(b));
    for (int i = 1; i <= sweeps; i++)
        CHECK(sweep(b, i < sweeps));
    return end < K
               ? multiply(b->queue, t->R, K - end, b->S, factor + end, K, e, 1, t->x + end * t->R)
               : 0;
}

/* ---- a weight ---- */

static void read_tile(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                      const awq__cuda_weight *weight, int64_t first, int64_t rows, const tile *t)
{
    read_rows<<<tiles_of(t->K, t->R), dim3(TILE, 8), 0, queue->stream>>>(*weight, gptq->order,
                                                                         first, rows, *t);
}

static void choose(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                   const awq__cuda_scheme *scheme, int ranges, const tile *t)
{
    int steps = scheme->code == AWQ__CUDA_CODE_E2M1 ? (int)least(ranges, 3) : ranges;
    unsigned blocks = blocks_for(t->K / scheme->group * t->R);
    choose_ranges<<<blocks, THREADS, 0, queue->stream>>>(*scheme, steps, gptq->pivots, *t);
}

static void store_scales(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq, int64_t first,
                         int64_t rows, const tile *t, float *scales, uint8_t *zeros)
{
    int64_t g = gptq->group;
    write_scales<<<blocks_for(t->K / g * rows), THREADS, 0, queue->stream>>>(
        gptq->order, g, first, rows, *t, scales, zeros);
}

int awq__cuda_gptq_choose(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                          const awq__cuda_scheme *scheme, int ranges,
                          const awq__cuda_weight *weight, void *space, float *scales,
                          uint8_t *zeros)
{
    tile t;
    cut_tile(gptq, weight->rows, space, &t);
    for (int64_t first = 0; first < weight->rows; first += t.R) {
        int64_t rows = least(t.R, weight->rows - first);
        read_tile(queue, gptq, weight, first, rows, &t);
        choose(queue, gptq, scheme, ranges, &t);
        store_scales(queue, gptq, first, rows, &t, scales, zeros);
        CHECK(LAUNCHED());
    }
    return 0;
}

static int round_tile(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                      const awq__cuda_scheme *scheme, int sweeps, const tile *t)
{
    CHECK(LAUNCHED());
    CHECK(cudaMemsetAsync(t->e, 0, (size_t)(t->K * t->R) * sizeof *t->e, queue->stream));
    CHECK(cudaMemsetAsync(t->x, 0, (size_t)(t->K * t->R) * sizeof *t->x, queue->stream));
    for (int64_t first = 0; first < t->K; first += t->S) {
        block b = {queue, gptq, scheme, t, first, least(t->S, t->K - first)};
        CHECK(round_block(&b, sweeps));
    }
    return 0;
}

int awq__cuda_gptq_round(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                         const awq__cuda_scheme *scheme, int ranges, int sweeps, bool given,
                         const awq__cuda_weight *weight, void *space, uint8_t *codes, float *scales,
                         uint8_t *zeros)
{
    int64_t g = gptq->group;
    tile t;
    cut_tile(gptq, weight->rows, space, &t);
    for (int64_t first = 0; first < weight->rows; first += t.R) {
        int64_t rows = least(t.R, weight->rows - first);
        read_tile(queue, gptq, weight, first, rows, &t);
        if (given)
            read_scales<<<blocks_for(t.K / g * t.R), THREADS, 0, queue->stream>>>(
                gptq->order, g, first, rows, t, scales);
        else
            choose(queue, gptq, scheme, ranges, &t);
        CHECK(round_tile(queue, gptq, scheme, sweeps, &t));
        if (!given)
            store_scales(queue, gptq, first, rows, &t, scales, zeros);
        write_codes<<<tiles_of(t.K, t.R), dim3(TILE, 8), 0, queue->stream>>>(gptq->order, first,
                                                                             rows, t, codes);
        CHECK(LAUNCHED());
    }
    return 0;
}
