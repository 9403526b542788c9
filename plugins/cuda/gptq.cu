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
#define WIDEST_FIT 512
#define RANGE_STEP 0.05f
#define TILE 32

/* ---- the Hessian (its factors: the reversed matrix by Cholesky) ---- */

static __global__ void reorder(int64_t K, const float *gram, const int32_t *order, float *out)
{
    FOR_EACH(i, K * K)
    out[i] = gram[order[i / K] * K + order[i % K]];
}

static __global__ void damp(int64_t K, double damping, double mean, bool again, float *gram,
                            float *raw, float *diagonal)
{
    FOR_EACH(k, K)
    {
        if (!again)
            raw[k] = gram[k * K + k];
        float value = mean > 0 ? (float)((double)raw[k] + damping * mean) : 1;
        gram[k * K + k] = diagonal[k] = value;
    }
}

static __global__ void reverse(int64_t K, const float *gram, float *out)
{
    FOR_EACH(i, K * K)
    out[i] = gram[K * K - 1 - i];
}

/* L of the reversed matrix, below the diagonal, becomes V above it: the two do not overlap. */
static __global__ void take_factors(int64_t K, float *factor, float *pivots, int *failed)
{
    FOR_EACH(i, K * K)
    {
        int64_t row = i / K, col = i % K, last = K * K - 1;
        float pivot = factor[last - col * (K + 1)];
        if (row == col) {
            pivots[col] = pivot * pivot;
            if (!(pivot > 0 && isfinite(pivot)))
                *failed = (int)K + 1;
        }
        if (row < col)
            factor[i] = factor[last - i] / pivot;
    }
}

static int factor_room(const awq__cuda_queue *queue, int64_t K, float *factor, int *floats)
{
    return solver_error(cusolverDnSpotrf_bufferSize(queue->solver, CUBLAS_FILL_MODE_UPPER, (int)K,
                                                    factor, (int)K, floats));
}

size_t awq__cuda_gptq_factor_bytes(const awq__cuda_queue *queue, int64_t K)
{
    int floats = 0;
    return factor_room(queue, K, NULL, &floats) ? 0 : (size_t)floats * sizeof(float);
}

/* Rows of C are columns of cuSOLVER: its upper triangle is the lower one here. */
int awq__cuda_gptq_factor(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq, double damping,
                          double mean, bool again, float *raw, void *space, int *failed)
{
    int64_t K = gptq->cols;
    unsigned blocks = blocks_for(K * K);
    cudaStream_t stream = queue->stream;
    int floats = 0;
    CHECK(factor_room(queue, K, gptq->factor, &floats));
    if (!again) {
        reorder<<<blocks, THREADS, 0, stream>>>(K, gptq->gram, gptq->order, gptq->factor);
        CHECK(cudaMemcpyAsync(gptq->gram, gptq->factor, (size_t)(K * K) * sizeof(float),
                              cudaMemcpyDeviceToDevice, stream));
    }
    damp<<<blocks_for(K), THREADS, 0, stream>>>(K, damping, mean, again, gptq->gram, raw,
                                                gptq->diagonal);
    reverse<<<blocks, THREADS, 0, stream>>>(K, gptq->gram, gptq->factor);
    CHECK(solver_error(cusolverDnSpotrf(queue->solver, CUBLAS_FILL_MODE_UPPER, (int)K, gptq->factor,
                                        (int)K, (float *)space, floats, failed)));
    take_factors<<<blocks, THREADS, 0, stream>>>(K, gptq->factor, gptq->pivots, failed);
    return LAUNCHED();
}

/* ---- work space ---- */

/* Of R rows; S columns of a sweep's block. */
typedef struct tile {
    int64_t K, R, S;
    float *w, *e;          /* [K][R]: weights, and what is left of them: w - q */
    float *x;              /* [S][R]: what compensation has gathered */
    float *change;         /* [S][R] of e, in a sweep */
    float *values, *moves; /* [S][R] */
    float *scales, *zeros; /* [K/g][R] */
    uint8_t *codes;        /* [K][R] */
} tile;

/* Whole groups, unless they are too wide to be fitted. */
static int64_t sweep_block(int64_t g)
{
    if (g > WIDEST_FIT)
        return BLOCK;
    return g > BLOCK ? g : BLOCK / g * g;
}

static size_t cut_tile(const awq__cuda_gptq *gptq, int64_t N, void *space, tile *t)
{
    int64_t K = gptq->cols, R = least(N, MOST_ROWS), S = sweep_block(gptq->group);
    int64_t part = (S > BLOCK ? S : BLOCK) * R, groups = K / gptq->group * R;
    int64_t sizes[] = {K * R, K * R, part, part, part, part, groups, groups, ceil_div(K * R, 4)};
    float *codes, *base = (float *)space;
    float **parts[] = {&t->w,     &t->e,      &t->x,     &t->change, &t->values,
                       &t->moves, &t->scales, &t->zeros, &codes};
    size_t at = 0;
    for (int i = 0; i < 9; i++) {
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
    FOR_EACH(at, G * rows)
    {
        int64_t i = at / rows, r = at % rows, to = (first + r) * G + order[i * g] / g;
        scales[to] = t.scales[i * t.R + r];
        zeros[to] = (uint8_t)t.zeros[i * t.R + r];
    }
}

static __global__ void read_scales(const int32_t *order, int64_t g, int64_t first, int64_t rows,
                                   tile t, const float *scales)
{
    int64_t G = t.K / g;
    FOR_EACH(at, G * t.R)
    {
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
    FOR_EACH(at, t.K / g * t.R)
    {
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

/* ---- one block of columns: a thread a row ---- */

typedef struct pass {
    awq__cuda_scheme scheme;
    tile t;
    int64_t first, count; /* columns, at most BLOCK */
    const float *matrix;  /* [count,count] from column `first` on, above its diagonal */
    int64_t ld;
    const float *x;        /* [count][R] */
    const float *diagonal; /* [count] 1 / inverse; NULL: 1 */
    float *change;         /* [count][R]; NULL: it is e */
} pass;

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

/* Rounds a column of this thread's row; what e changes by. */
static __device__ inline float round_one(const pass &p, int64_t i, int64_t r, float x)
{
    int64_t at = (p.first + i) * p.t.R + r, group = (p.first + i) / p.scheme.group * p.t.R + r;
    float w = p.t.w[at], e = p.t.e[at];
    float target = (w - e) + x * (p.diagonal ? 1 / p.diagonal[i] : 1);
    uint8_t code;
    float value = round_target(p.scheme, target, p.t.scales[group], p.t.zeros[group], &code);
    p.t.codes[at] = code;
    p.t.e[at] = w - value;
    return (w - value) - e;
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

static __device__ inline void round_leaf(const pass &p, const float *matrix, float *change,
                                         int begin, int64_t r)
{
    float x[LEAF];
#pragma unroll
    for (int i = 0; i < LEAF; i++)
        x[i] = begin + i < p.count ? p.x[(begin + i) * p.t.R + r] : 0;
    add_changes(matrix, change, begin, x);
#pragma unroll
    for (int i = 0; i < LEAF; i++) {
        if (begin + i >= p.count)
            break;
        float c = round_one(p, begin + i, r, x[i]);
        change[(begin + i) * ROW_THREADS] = c;
        if (p.change)
            p.change[(begin + i) * p.t.R + r] = c;
#pragma unroll
        for (int j = i + 1; j < LEAF; j++)
            x[j] = fmaf(c, matrix[(begin + i) * BLOCK + begin + j], x[j]);
    }
}

static __global__ void __launch_bounds__(ROW_THREADS) round_columns(pass p)
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

static int launch_columns(const awq__cuda_queue *queue, const pass *p)
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

/* The first pass: all columns, with V. */
static int compensate(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                      const awq__cuda_scheme *scheme, const tile *t)
{
    int64_t K = t->K, R = t->R;
    CHECK(cudaMemsetAsync(t->e, 0, (size_t)(K * R) * sizeof(float), queue->stream));
    CHECK(cudaMemsetAsync(t->x, 0, (size_t)(BLOCK * R) * sizeof(float), queue->stream));
    for (int64_t first = 0; first < K; first += BLOCK) {
        int64_t count = least(BLOCK, K - first);
        pass p = {*scheme, *t, first, count, gptq->factor + first * (K + 1), K, t->x, NULL, NULL};
        if (first)
            CHECK(multiply(queue, R, count, first, gptq->factor + first, K, t->e, 0, t->x));
        CHECK(launch_columns(queue, &p));
    }
    return 0;
}

/* ---- sweeps ---- */

static __global__ void take_values(int64_t g, int64_t at, tile t)
{
    FOR_EACH(i, g * t.R)
    t.values[i] = (float)t.codes[at * t.R + i] - t.zeros[at / g * t.R + i % t.R];
}

/* How far the scale moves to the least loss with the codes as they are; 0 where that is no gain. */
static __device__ inline float fitted_step(const awq__cuda_scheme &scheme, float scale,
                                           double slope, double curve)
{
    float fitted = (float)((double)scale + slope / curve);
    if (!(curve > 0 && fitted > 0 && isfinite(fitted)))
        return 0;
    fitted = round_scale(scheme.grid, fitted);
    double change = (double)fitted - (double)scale;
    if (!isfinite(fitted) || !(change * curve * change < 2 * change * slope))
        return 0;
    return fitted - scale;
}

/* Columns first + at .. of group g, in a block of S columns: a thread a row. */
static __global__ void fit_group(awq__cuda_scheme scheme, int64_t first, int64_t S, int64_t at,
                                 tile t)
{
    int64_t g = scheme.group, R = t.R;
    FOR_EACH(r, R)
    {
        float *scale = t.scales + (first + at) / g * R + r;
        double slope = 0, curve = 0;
        for (int64_t i = 0; i < g; i++) {
            double value = (double)t.values[i * R + r];
            slope += value * (double)t.x[(at + i) * R + r];
            curve += value * (double)t.moves[(at + i) * R + r];
        }
        float step = fitted_step(scheme, *scale, slope, curve);
        if (step == 0)
            continue;
        *scale += step;
        for (int64_t i = 0; i < g; i++)
            t.e[(first + at + i) * R + r] -= step * t.values[i * R + r];
        for (int64_t i = 0; i < S; i++)
            t.x[i * R + r] -= step * t.moves[i * R + r];
    }
}

static int fit_groups(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                      const awq__cuda_scheme *scheme, int64_t first, int64_t S, const tile *t)
{
    int64_t g = scheme->group, K = t->K;
    for (int64_t at = 0; at < S; at += g) {
        const float *matrix = gptq->gram + (first + at) * K + first;
        take_values<<<blocks_for(g * t->R), THREADS, 0, queue->stream>>>(g, first + at, *t);
        CHECK(multiply(queue, t->R, S, g, matrix, K, t->values, 0, t->moves));
        fit_group<<<(unsigned)ceil_div(t->R, ROW_THREADS), ROW_THREADS, 0, queue->stream>>>(
            *scheme, first, S, at, *t);
        CHECK(LAUNCHED());
    }
    return 0;
}

/* Rounds S columns again, BLOCK at a time. */
static int sweep_columns(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                         const awq__cuda_scheme *scheme, int64_t first, int64_t S, const tile *t)
{
    int64_t K = t->K, R = t->R;
    const float *matrix = gptq->gram + first * (K + 1);
    for (int64_t at = 0; at < S; at += BLOCK) {
        int64_t count = least(BLOCK, S - at);
        float *x = t->x + at * R;
        pass p = {*scheme,
                  *t,
                  first + at,
                  count,
                  matrix + at * (K + 1),
                  K,
                  x,
                  gptq->diagonal + first + at,
                  t->change + at * R};
        if (at)
            CHECK(multiply(queue, R, count, at, matrix + at, K, t->change, 1, x));
        CHECK(launch_columns(queue, &p));
    }
    return 0;
}

static int sweep(const awq__cuda_queue *queue, const awq__cuda_gptq *gptq,
                 const awq__cuda_scheme *scheme, const tile *t)
{
    int64_t K = t->K;
    bool fits = scheme->code == AWQ__CUDA_CODE_INTEGER && scheme->group <= WIDEST_FIT;
    for (int64_t first = 0; first < K; first += t->S) {
        int64_t S = least(t->S, K - first);
        CHECK(multiply(queue, t->R, S, K, gptq->gram + first, K, t->e, 0, t->x));
        if (fits)
            CHECK(fit_groups(queue, gptq, scheme, first, S, t));
        CHECK(sweep_columns(queue, gptq, scheme, first, S, t));
    }
    return 0;
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
    CHECK(compensate(queue, gptq, scheme, t));
    for (int i = 0; i < sweeps; i++)
        CHECK(sweep(queue, gptq, scheme, t));
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
