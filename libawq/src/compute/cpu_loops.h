/*
 * The loops of the fast tables, included once for each instruction set with
 *   AWQ__TARGET  the function attribute that selects it
 *   AWQ__TABLE   the name of the function that gives the table
 *   AWQ__LABEL   the table's name
 *
 * Plain C, written so that compilers vectorize it without reordering: sums and maxima
 * run in LANES independent lanes that are joined in a fixed order, so all instruction sets
 * give the same bits. Operations that must match the reference exactly (quantize, fake_quantize) do
 * the same float operations as it, or others that are exact.
 */
#include "compute/compute.h"
#include "compute/cpu.h"
#include "compute/nf4.h"
#include "core/half.h"

#include <math.h>
#include <string.h>

#define LANES 32
#define ACTIVATION_BLOCK 512
#define INLINE AWQ__TARGET static inline
#define FUNCTION AWQ__TARGET static

/* Nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 drops the fraction. */
INLINE float round_even(float x)
{
    const float magic = 0x1.8p23f;
    return (x + magic) - magic;
}

/* e^x within 2 units in the last place for -87 <= x <= 60, clamped outside: Taylor series of
   degree 7 on |r| <= ln(2)/2, ln(2) in two parts (Cody and Waite). Above 60 quotients by it would
   be subnormal, which is slow, and a sigmoid is 1 or 0 long before. */
INLINE float exponential(float x)
{
    x = x < -87.0f ? -87.0f : x;
    x = x > 60.0f ? 60.0f : x;
    const float magic = 0x1.8p23f;
    float shifted = x * 0x1.715476p+0f + magic;
    float n = shifted - magic;
    float r = (x - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t power = (awq__f32_bits(shifted) + 127u) << 23; /* the low bits of `shifted` are n */
    return p * awq__f32_from_bits(power);
}

INLINE double join_sums(const double *lane)
{
    double sum = 0;
    for (int l = 0; l < LANES; l++)
        sum += lane[l];
    return sum;
}

INLINE float join_largest(const float *lane)
{
    float largest = lane[0];
    for (int l = 1; l < LANES; l++)
        largest = lane[l] > largest ? lane[l] : largest;
    return largest;
}

INLINE float largest_of(int64_t count, const float *x)
{
    float lane[LANES];
    for (int l = 0; l < LANES; l++)
        lane[l] = -INFINITY;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (; i < count; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    return join_largest(lane);
}

FUNCTION double dot(int64_t count, const float *a, const float *b)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)a[i + l] * (double)b[i + l];
    for (; i < count; i++)
        lane[0] += (double)a[i] * (double)b[i];
    return join_sums(lane);
}

FUNCTION double weighted_dot(int64_t N, int64_t K, const float *a, const float *b,
                             const float *weight)
{
    double sum = 0;
    for (int64_t n = 0; n < N; n++)
        sum += (weight ? (double)weight[n] : 1) * dot(K, a + n * K, b + n * K);
    return sum;
}

FUNCTION void rms_norm(int64_t T, int64_t H, const float *x, const float *weight, double epsilon,
                       float *out)
{
    for (int64_t t = 0; t < T; t++) {
        double factor = 1 / sqrt(dot(H, x + t * H, x + t * H) / (double)H + epsilon);
        for (int64_t h = 0; h < H; h++)
            out[t * H + h] = (float)((double)x[t * H + h] * factor) * weight[h];
    }
}

FUNCTION void rotate(int64_t T, int64_t heads, int64_t D, int64_t pairs, const float *cos_sin,
                     float *x)
{
    for (int64_t t = 0; t < T; t++) {
        const float *restrict c = cos_sin + t * 2 * pairs, *restrict s = c + pairs;
        for (int64_t head = 0; head < heads; head++) {
            float *restrict a = x + (t * heads + head) * D, *restrict b = a + pairs;
            for (int64_t i = 0; i < pairs; i++) {
                float turned_a = a[i] * c[i] - b[i] * s[i];
                float turned_b = b[i] * c[i] + a[i] * s[i];
                a[i] = turned_a;
                b[i] = turned_b;
            }
        }
    }
}

/* x = e^(scale * x - offset) in place; returns the sum. */
INLINE double exponentials(int64_t count, float scale, float offset, float *x)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++) {
            x[i + l] = exponential(scale * x[i + l] - offset);
            lane[l] += (double)x[i + l];
        }
    for (; i < count; i++) {
        x[i] = exponential(scale * x[i] - offset);
        lane[0] += (double)x[i];
    }
    return join_sums(lane);
}

FUNCTION void causal_softmax(int64_t T, int64_t S, int64_t first, int64_t window, float scale,
                             float sink, float *scores)
{
    for (int64_t t = 0; t < T; t++) {
        float *row = scores + t * S;
        int64_t end = awq__min(first + t + 1, S);
        int64_t begin = window ? awq__max(0, awq__min(first + t - window + 1, end)) : 0;
        float largest = scale * largest_of(end - begin, row + begin); /* scale is positive */
        largest = sink > largest ? sink : largest;
        double sum = exponentials(end - begin, scale, largest, row + begin);
        if (sink > -INFINITY)
            sum += (double)exponential(sink - largest);
        float factor = (float)(1 / sum);
        memset(row, 0, (size_t)begin * sizeof *row);
        for (int64_t j = begin; j < end; j++)
            row[j] *= factor;
        memset(row + end, 0, (size_t)(S - end) * sizeof *row);
    }
}

/* By blocks through a buffer: out may be gate, which compilers must otherwise expect at every step.
 */
FUNCTION void activate(int64_t count, const awq__activation *activation, const float *gate,
                       const float *up, float *out)
{
    const float alpha = activation->alpha, limit = activation->limit;
    const float offset = activation->up_offset;
    float result[ACTIVATION_BLOCK];
    for (int64_t first = 0; first < count; first += ACTIVATION_BLOCK) {
        int64_t n = awq__min(ACTIVATION_BLOCK, count - first);
        for (int64_t i = 0; i < n; i++) {
            float g = gate[first + i] > limit ? limit : gate[first + i]; /* NaN stays NaN */
            float u = up[first + i] > limit ? limit : up[first + i];
            u = (u < -limit ? -limit : u) + offset;
            result[i] = u * g / (1.0f + exponential(-alpha * g));
        }
        memcpy(out + first, result, (size_t)n * sizeof *out);
    }
}

FUNCTION void add_abs(int64_t T, int64_t K, const float *x, int64_t ldx, double *restrict sums)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++)
            sums[k] += (double)fabsf(x[t * ldx + k]);
}

FUNCTION void add_group_relative(int64_t N, int64_t K, int64_t g, const float *w,
                                 double *restrict sums)
{
    for (int64_t n = 0; n < N; n++)
        for (int64_t b = 0; b < K; b += g) {
            const float *x = w + n * K + b;
            float low[LANES] = {0}, largest;
            int64_t i = 0;
            for (; i + LANES <= g; i += LANES)
                for (int l = 0; l < LANES; l++)
                    low[l] = fabsf(x[i + l]) > low[l] ? fabsf(x[i + l]) : low[l];
            for (; i < g; i++)
                low[0] = fabsf(x[i]) > low[0] ? fabsf(x[i]) : low[0];
            largest = join_largest(low) + 1e-6f;
            for (int64_t k = 0; k < g; k++)
                sums[b + k] += (double)(fabsf(x[k]) / largest);
        }
}

FUNCTION double squared_error(int64_t T, int64_t N, const float *a, const float *b,
                              const float *weight)
{
    double total = 0;
    for (int64_t t = 0; t < T; t++) {
        const float *p = a + t * N, *q = b + t * N;
        double lane[LANES] = {0};
        int64_t n = 0;
        for (; n + LANES <= N; n += LANES)
            for (int l = 0; l < LANES; l++) {
                double d = (double)p[n + l] - (double)q[n + l];
                lane[l] += d * d;
            }
        for (; n < N; n++)
            lane[0] += ((double)p[n] - (double)q[n]) * ((double)p[n] - (double)q[n]);
        double w = weight ? (double)weight[t] : 1;
        total += join_sums(lane) * w * w;
    }
    return total;
}

INLINE float clamp(float value, float low, float high)
{
    return value > low ? value < high ? value : high : low; /* NaN gives low */
}

/* Bits of floats as integers in the order of their values, NaN beyond all; its own inverse. Integer
   minima and maxima vectorize without lanes. */
INLINE int32_t ordered(int32_t bits)
{
    return bits ^ ((bits >> 31) & 0x7fffffff);
}

INLINE float from_ordered(int32_t key)
{
    return awq__f32_from_bits((uint32_t)ordered(key));
}

INLINE void group_range(const awq__scheme *scheme, int64_t g, const float *w,
                        const awq__range *given, float *scale, float *zero)
{
    float top = (float)((1 << scheme->bits) - 1), middle = (float)(1 << (scheme->bits - 1));
    bool is_given = given && given->high < INFINITY;
    int32_t lowest = 0, highest = 0; /* the range includes 0 */
    for (int64_t k = 0; k < g && !is_given; k++) {
        int32_t key = ordered((int32_t)awq__f32_bits(w[k]));
        lowest = key < lowest ? key : lowest;
        highest = key > highest ? key : highest;
    }
    float low = is_given ? given->low : from_ordered(lowest);
    float high = is_given ? given->high : from_ordered(highest);
    high = isnan(low) ? low : high;
    float range = high - low;
    if (scheme->symmetric)
        range = -low > high ? -low : high;
    *zero = scheme->symmetric ? middle : 0;
    *scale = 1;
    if (range == 0)
        return;
    range /= scheme->symmetric ? middle - 1 : top;
    *scale = isfinite(range) ? awq__round_scale(scheme->grid, range) : INFINITY;
    if (!scheme->symmetric)
        *zero = clamp(round_even(clamp(-low / *scale, 0, 512)), 0, top);
}

INLINE float code_of(float w, float inverse, float zero, float top)
{
    return clamp(round_even(clamp(w * inverse, -512, 512)) + zero, 0, top);
}

/* Bits of magnitudes are in the order of their values, NaN above all. */
INLINE float largest_magnitude(int64_t g, const float *w)
{
    int32_t largest = 0;
    for (int64_t k = 0; k < g; k++) {
        int32_t magnitude = (int32_t)(awq__f32_bits(w[k]) & 0x7fffffffu);
        largest = magnitude > largest ? magnitude : largest;
    }
    return awq__f32_from_bits((uint32_t)largest);
}

/* The scale of one group of weights for E2M1 codes. */
INLINE float group_power(int64_t g, const float *w, const awq__range *range)
{
    bool is_given = range && range->high < INFINITY;
    return awq__e2m1_scale(is_given ? range->high : largest_magnitude(g, w));
}

/* And for NF4 codes. */
INLINE float group_share(int64_t g, const float *w, const awq__range *range)
{
    if (range && range->high < INFINITY)
        return -range->low > range->high ? -range->low : range->high;
    float largest = largest_magnitude(g, w);
    return isfinite(largest) ? largest : INFINITY;
}

/* The E2M1 value nearest to w times a power of two, ties to even, never -0. Values are multiples of
   a half below 2, of 1 below 4 and of 2 from there on: adding 1.5 * 2^22 times the power of two
   below drops what is finer. */
INLINE float e2m1_value(float w, float inverse)
{
    float value = clamp(w * inverse, -6, 6);
    float power = awq__f32_from_bits(awq__f32_bits(value) & 0x7f800000u);
    float magic = (power > 1 ? power : 1) * 0x1.8p22f;
    return (value + magic) - magic;
}

/* The code of an E2M1 value: the magnitudes 0 to 1.5, 2 and 3, 4 and 6 lie on three lines, each the
   lowest where it counts. */
INLINE float e2m1_code(float value)
{
    float magnitude = fabsf(value), code = magnitude * 2;
    code = magnitude + 2 < code ? magnitude + 2 : code;
    code = magnitude * 0.5f + 4 < code ? magnitude * 0.5f + 4 : code;
    return value < 0 ? code + 8 : code;
}

INLINE void quantize_e2m1(int64_t g, const float *w, float inverse, uint8_t *codes)
{
    for (int64_t k = 0; k < g; k++)
        codes[k] = (uint8_t)(int)e2m1_code(e2m1_value(w[k], inverse));
}

INLINE void quantize_nf4(int64_t g, const float *w, float inverse, uint8_t *codes)
{
    for (int64_t k = 0; k < g; k++)
        codes[k] = awq__nf4_code(w[k] * inverse);
}

INLINE void quantize_integer(int64_t g, const float *w, float scale, float zero, float top,
                             uint8_t *codes)
{
    float inverse = 1 / scale;
    for (int64_t k = 0; k < g; k++)
        codes[k] = (uint8_t)(int)code_of(w[k], inverse, zero, top);
}

FUNCTION bool quantize(int64_t N, int64_t K, const awq__scheme *scheme, const float *w,
                       const awq__range *range, uint8_t *codes, float *scales, uint8_t *zeros)
{
    const int64_t g = scheme->group;
    const float top = (float)((1 << scheme->bits) - 1);
    bool finite = true;
    for (int64_t i = 0; i < N * K / g; i++) {
        const awq__range *given = range ? &range[i] : NULL;
        float scale, zero = 0;
        if (scheme->code == AWQ__CODE_E2M1) {
            scale = group_power(g, w + i * g, given);
            quantize_e2m1(g, w + i * g, 1 / scale, codes + i * g);
        } else if (scheme->code == AWQ__CODE_NF4) {
            scale = group_share(g, w + i * g, given);
            quantize_nf4(g, w + i * g, awq__nf4_inverse(scale), codes + i * g);
        } else {
            group_range(scheme, g, w + i * g, given, &scale, &zero);
            quantize_integer(g, w + i * g, scale, zero, top, codes + i * g);
        }
        scales[i] = scale;
        zeros[i] = (uint8_t)zero;
        finite &= isfinite(scale) != 0;
    }
    return finite;
}

/* The values of one group, there and back. */
INLINE void round_group(const awq__scheme *scheme, int64_t g, const awq__range *given, float top,
                        const float *unscale, float *x)
{
    float scale, zero;
    if (scheme->code == AWQ__CODE_E2M1) {
        scale = group_power(g, x, given);
        float inverse = 1 / scale; /* exact */
        for (int64_t k = 0; k < g; k++)
            x[k] = scale * e2m1_value(x[k], inverse);
    } else if (scheme->code == AWQ__CODE_NF4) {
        scale = group_share(g, x, given);
        float inverse = awq__nf4_inverse(scale);
        for (int64_t k = 0; k < g; k++)
            x[k] = scale * awq__nf4_value(x[k] * inverse);
    } else {
        group_range(scheme, g, x, given, &scale, &zero);
        float inverse = 1 / scale;
        for (int64_t k = 0; k < g; k++)
            x[k] = scale * (code_of(x[k], inverse, zero, top) - zero);
    }
    if (unscale)
        for (int64_t k = 0; k < g; k++)
            x[k] *= unscale[k];
}

FUNCTION void fake_quantize(int64_t N, int64_t K, const awq__scheme *scheme,
                            const awq__range *range, const float *unscale, float *w)
{
    const int64_t g = scheme->group, groups = K / g;
    const float top = (float)((1 << scheme->bits) - 1);
    for (int64_t i = 0; i < N * groups; i++)
        round_group(scheme, g, range ? &range[i] : NULL, top,
                    unscale ? unscale + i % groups * g : NULL, w + i * g);
}

FUNCTION void quantize_error(int64_t N, int64_t K, const awq__scheme *scheme,
                             const awq__range *range, const float *scale, const float *unscale,
                             const float *w, float *error)
{
    const int64_t g = scheme->group, groups = K / g;
    const float top = (float)((1 << scheme->bits) - 1);
    for (int64_t i = 0; i < N * groups; i++) {
        const float *from = w + i * g, *factor = scale ? scale + i % groups * g : NULL;
        float *to = error + i * g;
        for (int64_t k = 0; k < g; k++)
            to[k] = factor ? from[k] * factor[k] : from[k];
        round_group(scheme, g, range ? &range[i] : NULL, top,
                    unscale ? unscale + i % groups * g : NULL, to);
        for (int64_t k = 0; k < g; k++)
            to[k] -= from[k];
    }
}

/* The logarithm of the sum of e^x. */
INLINE double log_sum_exp(int64_t V, const float *x)
{
    float largest = largest_of(V, x);
    double lane[LANES] = {0};
    int64_t v = 0;
    for (; v + LANES <= V; v += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)exponential(x[v + l] - largest);
    for (; v < V; v++)
        lane[0] += (double)exponential(x[v] - largest);
    return (double)largest + log(join_sums(lane));
}

/* Sum over v of p[v] * ((log p - log q)[v]), p and q given as logits; the norms make them
 * probabilities. */
INLINE double divergence(int64_t V, const float *p, double p_norm, const float *q, double q_norm)
{
    double lane[LANES] = {0};
    float offset = (float)p_norm;
    double shift = q_norm - p_norm;
    int64_t v = 0;
    for (; v + LANES <= V; v += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)exponential(p[v + l] - offset) *
                       ((double)p[v + l] - (double)q[v + l] + shift);
    for (; v < V; v++)
        lane[0] += (double)exponential(p[v] - offset) * ((double)p[v] - (double)q[v] + shift);
    return join_sums(lane) * exp((double)offset - p_norm);
}

INLINE int64_t index_of(int64_t count, const float *x, float value)
{
    int64_t i = 0;
    while (i < count - 1 && x[i] != value)
        i++;
    return i;
}

FUNCTION void compare_logits(int64_t rows, int64_t V, const float *logits, const float *reference,
                             const int32_t *targets, awq__logit_stats *stats)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *q = logits + r * V, *p = reference ? reference + r * V : NULL;
        double q_norm = log_sum_exp(V, q), p_norm = p ? log_sum_exp(V, p) : 0;
        if (targets[r] >= 0)
            stats->nll += q_norm - (double)q[targets[r]];
        if (!p)
            continue;
        if (targets[r] >= 0)
            stats->reference_nll += p_norm - (double)p[targets[r]];
        stats->kl += divergence(V, p, p_norm, q, q_norm);
        stats->same_top1 += index_of(V, p, largest_of(V, p)) == index_of(V, q, largest_of(V, q));
    }
}

const awq__compute *AWQ__TABLE(void)
{
    static const awq__compute table = {
        .name = AWQ__LABEL,
        .multiply_nt = awq__blas_multiply_nt,
        .multiply_nn = awq__blas_multiply_nn,
        .multiply_tn = awq__blas_multiply_tn,
        .gram = awq__blas_gram,
        .factor = awq__lapack_factor,
        .rms_norm = rms_norm,
        .rotate = rotate,
        .causal_softmax = causal_softmax,
        .activate = activate,
        .route = awq__reference_route,
        .add_abs = add_abs,
        .add_group_relative = add_group_relative,
        .squared_error = squared_error,
        .weighted_dot = weighted_dot,
        .dot = dot,
        .quantize = quantize,
        .fake_quantize = fake_quantize,
        .quantize_error = quantize_error,
        .compare_logits = compare_logits,
    };
    return &table;
}
