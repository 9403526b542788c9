/* Rounding to codes and back, and the errors of rounding. A warp has a group of a row. */
#include "rounding.h"

/* The row and group of a warp; false past the end. */
typedef struct group_place {
    int64_t row, group, at; /* at: of all groups */
} group_place;

static __device__ inline bool find_group(int64_t rows, int64_t groups, group_place *p)
{
    p->at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    p->row = p->at / groups;
    p->group = p->at % groups;
    return p->at < rows * groups;
}

static __device__ inline int lane(void)
{
    return (int)(threadIdx.x % WARP);
}

/* Group b of row n, each value times factor[k], or 1. */
static __device__ awq__cuda_range extent_of(const awq__cuda_weight &w, int64_t n, int64_t first,
                                            int64_t g, const float *factor)
{
    int low = 0, high = 0;
    for (int64_t k = first + lane(); k < first + g; k += WARP) {
        float value = weight_value(w, n, k);
        widen_extent(factor ? value * factor[k] : value, &low, &high);
    }
    return warp_extent(low, high);
}

static __device__ inline bool is_given(const awq__cuda_range *range, int64_t at)
{
    return range && range[at].high < INFINITY;
}

/* ---- codes ---- */

typedef struct codes_job {
    awq__cuda_weight weight;
    awq__cuda_scheme scheme;
    int64_t first, count;
    const awq__cuda_range *range;
    uint8_t *codes;
    float *scales;
    uint8_t *zeros;
} codes_job;

static __global__ void quantize(codes_job j)
{
    int64_t g = j.scheme.group, K = j.weight.cols;
    group_place p;
    if (!find_group(j.count, K / g, &p))
        return;
    int64_t n = j.first + p.row, first = p.group * g;
    awq__cuda_range own = {0, 0};
    bool given = is_given(j.range, p.at);
    if (!given)
        own = extent_of(j.weight, n, first, g, NULL);
    group_scale s = given ? scale_of_given(j.scheme, j.range[p.at])
                          : scale_of_range(j.scheme, own.low, own.high);
    for (int64_t k = first + lane(); k < first + g; k += WARP)
        j.codes[p.row * K + k] = (uint8_t)rounded_code(j.scheme, s, weight_value(j.weight, n, k));
    if (lane() == 0) {
        j.scales[p.at] = s.scale;
        j.zeros[p.at] = (uint8_t)s.zero;
    }
}

static unsigned warps_for(int64_t count)
{
    return (unsigned)ceil_div(count, THREADS / WARP);
}

int awq__cuda_quantize(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                       const awq__cuda_scheme *scheme, int64_t first, int64_t count,
                       const awq__cuda_range *range, uint8_t *codes, float *scales, uint8_t *zeros)
{
    codes_job j = {*weight, *scheme, first, count, range, codes, scales, zeros};
    if (count == 0)
        return 0;
    quantize<<<warps_for(count * (weight->cols / scheme->group)), THREADS, 0, queue->stream>>>(j);
    return LAUNCHED();
}

typedef struct read_job {
    awq__cuda_scheme scheme;
    int64_t N, K;
    const uint8_t *codes;
    const float *scales;
    const uint8_t *zeros;
    const float *column;
    float *out;
    uint16_t *high, *low;
} read_job;

static __global__ void dequantize(read_job j)
{
    int64_t g = j.scheme.group;
    group_place p;
    if (!find_group(j.N, j.K / g, &p))
        return;
    float scale = j.scales[p.at], zero = (float)j.zeros[p.at];
    for (int64_t k = p.group * g + lane(); k < (p.group + 1) * g; k += WARP) {
        int64_t at = p.row * j.K + k;
        float value = scale * value_of_code(j.scheme, j.codes[at], zero);
        if (j.column)
            value *= j.column[k];
        if (j.out)
            j.out[at] = value;
        uint16_t high = bf16_bits(value);
        if (j.high)
            j.high[at] = high;
        if (j.low)
            j.low[at] = bf16_bits(value - bf16_value(high));
    }
}

int awq__cuda_dequantize(const awq__cuda_queue *queue, const awq__cuda_scheme *scheme, int64_t N,
                         int64_t K, const uint8_t *codes, const float *scales, const uint8_t *zeros,
                         const float *column, float *out, uint16_t *high, uint16_t *low)
{
    read_job j = {*scheme, N, K, codes, scales, zeros, column, out, high, low};
    if (N == 0)
        return 0;
    dequantize<<<warps_for(N * (K / scheme->group)), THREADS, 0, queue->stream>>>(j);
    return LAUNCHED();
}

/* ---- errors ---- */

typedef struct errors_job {
    awq__cuda_weight weight;
    awq__cuda_scheme scheme;
    int64_t first, count, candidates;
    const float *scale, *unscale; /* [candidates][K] */
    const awq__cuda_range *range;
    float *error;          /* [candidates][count,K]; NULL: */
    uint16_t *short_error; /* BF16 */
} errors_job;

static __device__ inline float error_of(const errors_job &j, const group_scale &s, float w,
                                        float scaled, float unscale)
{
    return rounded_value(j.scheme, s, scaled) * s.scale * unscale - w;
}

static __device__ inline void store_error(const errors_job &j, int64_t at, float error)
{
    if (j.error)
        j.error[at] = error;
    else
        j.short_error[at] = bf16_bits(error);
}

/* The scales of a group for up to a warp of candidates: lane c finds that of candidate c. */
template <int kept>
static __device__ inline group_scale scales_of(const errors_job &j, const group_place &p,
                                               int64_t candidate, int count, int64_t first,
                                               const float w[kept])
{
    awq__cuda_range mine = {0, 0};
    for (int c = 0; c < count; c++) {
        int low = 0, high = 0;
        const float *scale = j.scale ? j.scale + (candidate + c) * j.weight.cols + first : NULL;
        for (int i = 0; i < kept; i++)
            widen_extent(scale ? w[i] * scale[i * WARP] : w[i], &low, &high);
        awq__cuda_range own = warp_extent(low, high);
        if (lane() == c)
            mine = own;
    }
    return is_given(j.range, p.at) ? scale_of_given(j.scheme, j.range[p.at])
                                   : scale_of_range(j.scheme, mine.low, mine.high);
}

static __device__ inline group_scale scale_of_lane(const group_scale &s, int from)
{
    return {__shfl_sync(0xffffffffu, s.scale, from), __shfl_sync(0xffffffffu, s.inverse, from),
            __shfl_sync(0xffffffffu, s.zero, from)};
}

/* The group's weights stay in registers for all candidates: `kept` of a lane. */
template <int kept> static __global__ void errors_kept(errors_job j)
{
    int64_t g = j.scheme.group, K = j.weight.cols;
    group_place p;
    if (!find_group(j.count, K / g, &p))
        return;
    int64_t first = p.group * g + lane();
    float w[kept];
    for (int i = 0; i < kept; i++)
        w[i] = weight_value(j.weight, j.first + p.row, first + i * WARP);
    for (int64_t begin = 0; begin < j.candidates; begin += WARP) {
        int count = j.candidates - begin < WARP ? (int)(j.candidates - begin) : WARP;
        group_scale all = scales_of<kept>(j, p, begin, count, first, w);
        for (int c = 0; c < count; c++) {
            group_scale s = scale_of_lane(all, c);
            int64_t from = (begin + c) * K + first;
            int64_t to = ((begin + c) * j.count + p.row) * K + first;
            for (int i = 0; i < kept; i++) {
                float x = j.scale ? w[i] * j.scale[from + i * WARP] : w[i];
                float unscale = j.unscale ? j.unscale[from + i * WARP] : 1;
                store_error(j, to + i * WARP, error_of(j, s, w[i], x, unscale));
            }
        }
    }
}

/* Any group. */
static __global__ void errors_read(errors_job j)
{
    int64_t g = j.scheme.group, K = j.weight.cols;
    group_place p;
    if (!find_group(j.count, K / g, &p))
        return;
    int64_t n = j.first + p.row, first = p.group * g;
    for (int64_t c = 0; c < j.candidates; c++) {
        const float *scale = j.scale ? j.scale + c * K : NULL;
        const float *unscale = j.unscale ? j.unscale + c * K : NULL;
        awq__cuda_range own = extent_of(j.weight, n, first, g, scale);
        group_scale s = is_given(j.range, p.at) ? scale_of_given(j.scheme, j.range[p.at])
                                                : scale_of_range(j.scheme, own.low, own.high);
        for (int64_t k = first + lane(); k < first + g; k += WARP) {
            float w = weight_value(j.weight, n, k);
            store_error(j, (c * j.count + p.row) * K + k,
                        error_of(j, s, w, scale ? w * scale[k] : w, unscale ? unscale[k] : 1));
        }
    }
}

static int launch_errors(const awq__cuda_queue *queue, const errors_job *j)
{
    unsigned blocks = warps_for(j->count * (j->weight.cols / j->scheme.group));
    if (j->count == 0 || j->candidates == 0)
        return 0;
    if (j->scheme.group == WARP)
        errors_kept<1><<<blocks, THREADS, 0, queue->stream>>>(*j);
    else if (j->scheme.group == 2 * WARP)
        errors_kept<2><<<blocks, THREADS, 0, queue->stream>>>(*j);
    else if (j->scheme.group == 4 * WARP)
        errors_kept<4><<<blocks, THREADS, 0, queue->stream>>>(*j);
    else
        errors_read<<<blocks, THREADS, 0, queue->stream>>>(*j);
    return LAUNCHED();
}

int awq__cuda_errors(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                     const awq__cuda_scheme *scheme, int64_t first, int64_t count, int64_t C,
                     const float *scale, const float *unscale, const awq__cuda_range *range,
                     float *error)
{
    errors_job j = {*weight, *scheme, first, count, C, scale, unscale, range, error, NULL};
    return launch_errors(queue, &j);
}

int awq__cuda_short_errors(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                           const awq__cuda_scheme *scheme, int64_t first, int64_t count, int64_t C,
                           const float *scale, const float *unscale, const awq__cuda_range *range,
                           uint16_t *error)
{
    errors_job j = {*weight, *scheme, first, count, C, scale, unscale, range, NULL, error};
    return launch_errors(queue, &j);
}
