/* clang-format off */
/*
 * The loops of the fast tables. They are included once for each instruction set, with
 *   AWQ__TARGET     the function attribute that selects it
 *   AWQ__TABLE      the name of the function that gives the table
 *   AWQ__LABEL      the table's name
 *   AWQ__TILE_ROWS  rows of LANES sums that its registers hold; 0: it has no fused multiply-adds
 *
 * Plain C, written so that compilers vectorize it without reordering. Sums and maxima run in LANES
 * independent lanes that are added in a fixed order. All instruction sets therefore give the same
 * bits, except in quadratic forms of small groups. Operations that must match the reference exactly
 * (quantize, quantize_error) do the same float operations as it, or others that are exact.
 */
/* clang-format on */
#include "awq/plugin.h"
#include "compute/blocks.h"
#include "compute/compute.h"
#include "compute/cpu.h"
#include "compute/nf4.h"
#include "core/half.h"

#include <math.h>
#include <string.h>

#define LANES 32
#define ACTIVATION_BLOCK 512
#define JOINED 512
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

/* By halves: one addition after the other would take longer than the sums of a group. */
INLINE double join_sums(const double *lane)
{
    double part[LANES / 4];
    for (int l = 0; l < LANES / 4; l++)
        part[l] = (lane[l] + lane[l + LANES / 4]) + (lane[l + LANES / 2] + lane[l + LANES / 4 * 3]);
    return ((part[0] + part[4]) + (part[2] + part[6])) +
           ((part[1] + part[5]) + (part[3] + part[7]));
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

INLINE double join_floats(float *lane)
{
    for (int l = 0; l < LANES / 2; l++)
        lane[l] += lane[l + LANES / 2];
    for (int l = 0; l < LANES / 4; l++)
        lane[l] += lane[l + LANES / 4];
    return (double)((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           (double)((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* Products and sums of JOINED terms are of floats: they are as exact as the matrix product. */
INLINE double dot_of_product(int64_t count, const float *restrict a, const float *restrict b)
{
    double sum = 0;
    for (int64_t first = 0; first < count; first += JOINED) {
        int64_t end = awq__min(first + JOINED, count), i = first;
        float lane[LANES] = {0};
        for (; i + LANES <= end; i += LANES)
            for (int l = 0; l < LANES; l++)
                lane[l] += a[i + l] * b[i + l];
        for (; i < end; i++)
            lane[0] += a[i] * b[i];
        sum += join_floats(lane);
    }
    return sum;
}

#include "compute/cpu_quadratic.h"

FUNCTION void combine(int64_t T, int64_t k, int64_t H, const float *weight, const float *parts,
                      float *out)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < k; i++) {
            const float *restrict from = parts + (t * k + i) * H;
            float *restrict to = out + t * H, share = weight ? weight[t * k + i] : 1;
            for (int64_t h = 0; h < H; h++)
                to[h] += share * from[h];
        }
}

FUNCTION void add_row(int64_t T, int64_t N, const float *row, const float *factor, float *y,
                      int64_t ldy)
{
    for (int64_t t = 0; t < T; t++) {
        float *restrict to = y + t * ldy;
        if (factor)
            for (int64_t n = 0; n < N; n++)
                to[n] += row[n] * factor[n];
        else
            for (int64_t n = 0; n < N; n++)
                to[n] += row[n];
    }
}

FUNCTION void shift(int64_t count, float amount, const float *x, float *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = x[i] + amount;
}

FUNCTION void sketch(int64_t T, int64_t K, const float *x, int64_t ldx, uint64_t seed,
                     int64_t count, float *rows)
{
    for (int64_t t = 0; t < T; t++) {
        bool negative;
        float *restrict to = rows + awq__sketch_place(seed + (uint64_t)t, count, &negative) * K;
        const float *restrict from = x + t * ldx, sign = negative ? -1 : 1;
        for (int64_t k = 0; k < K; k++)
            to[k] += sign * from[k];
    }
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

/* a, b: of the pairs of one head, `step` channels from one pair to the next */
INLINE void turn(int64_t pairs, int64_t step, const float *restrict cos_sin, float *restrict a,
                 float *restrict b)
{
    const float *restrict c = cos_sin, *restrict s = c + pairs;
    for (int64_t i = 0; i < pairs; i++) {
        float turned_a = a[i * step] * c[i] - b[i * step] * s[i];
        float turned_b = b[i * step] * c[i] + a[i * step] * s[i];
        a[i * step] = turned_a;
        b[i * step] = turned_b;
    }
}

FUNCTION void rotate(int64_t T, int64_t heads, int64_t D, int64_t pairs, bool adjacent,
                     const float *cos_sin, float *x)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t head = 0; head < heads; head++) {
            float *at = x + (t * heads + head) * D;
            if (adjacent)
                turn(pairs, 2, cos_sin + t * 2 * pairs, at, at + 1);
            else
                turn(pairs, 1, cos_sin + t * 2 * pairs, at, at + pairs);
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

/* What GELU multiplies g by, by its approximation with tanh or as it is. */
FUNCTION float gelu_factor(int kind, float g)
{
    if (kind == AWQ_ACTIVATION_GELU)
        return 0.5f * (1.0f + erff(g * 0.70710678f));
    return 1.0f / (1.0f + exponential(-1.5957691216f * (g + 0.044715f * g * g * g)));
}

FUNCTION void activate_gelu(int64_t count, const awq__activation *activation, const float *gate,
                            const float *up, float *out)
{
    const float limit = activation->limit;
    for (int64_t i = 0; i < count; i++) {
        float g = gate[i] > limit ? limit : gate[i]; /* NaN stays NaN */
        float u = up[i] > limit ? limit : up[i];
        u = (u < -limit ? -limit : u) + activation->up_offset;
        out[i] = u * g * gelu_factor(activation->kind, g);
    }
}

/* By blocks through a buffer: out may be gate, which compilers must otherwise expect at every step.
 */
FUNCTION void activate_silu(int64_t count, const awq__activation *activation, const float *gate,
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

FUNCTION void activate(int64_t count, const awq__activation *activation, const float *gate,
                       const float *up, float *out)
{
    if (activation->kind == AWQ_ACTIVATION_SILU)
        activate_silu(count, activation, gate, up, out);
    else
        activate_gelu(count, activation, gate, up, out);
}

FUNCTION void add_abs(int64_t T, int64_t K, const float *x, int64_t ldx, double *restrict sums)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++)
            sums[k] += (double)fabsf(x[t * ldx + k]);
}

FUNCTION void add_w_mean(int64_t N, int64_t K, int64_t g, const float *w, double *restrict sums)
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

FUNCTION void add_squares(int64_t T, int64_t K, const float *restrict a, const float *restrict b,
                          const float *weight, double *restrict sums)
{
    for (int64_t t = 0; t < T; t++, a += K) {
        const float factor = weight ? weight[t] : 1;
        const float *restrict from = b ? b + t * K : NULL;
        if (from)
            for (int64_t k = 0; k < K; k++) {
                float d = (a[k] - from[k]) * factor;
                sums[k] += (double)(d * d);
            }
        else
            for (int64_t k = 0; k < K; k++) {
                float d = a[k] * factor;
                sums[k] += (double)(d * d);
            }
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

FUNCTION void scale(int64_t N, int64_t K, const float *row, const float *restrict col,
                    float *restrict x)
{
    for (int64_t n = 0; n < N; n++, x += K) {
        const float factor = row ? row[n] : 1;
        if (col)
            for (int64_t k = 0; k < K; k++)
                x[k] = x[k] * col[k] * factor;
        else
            for (int64_t k = 0; k < K; k++)
                x[k] *= factor;
    }
}

#include "compute/cpu_quantize.h"
#include "compute/cpu_runs.h"
#include "compute/cpu_columns.h"

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
        .delta_rule = awq__chunked_delta_rule,
        .activate = activate,
        .route = awq__reference_route,
        .gather = awq__reference_gather,
        .scatter = awq__reference_scatter,
        .combine = combine,
        .add_row = add_row,
        .shift = shift,
        .mirror = awq__tiled_mirror,
        .sketch = sketch,
        .largest_difference = awq__reference_largest_difference,
        .add_abs = add_abs,
        .add_w_mean = add_w_mean,
        .add_squares = add_squares,
        .squared_error = squared_error,
        .weighted_dot = weighted_dot,
        .dot = dot,
        .quadratic = quadratic,
        .group_extents = group_extents,
        .scale = scale,
        .quantize = quantize,
        .quantize_error = quantize_error,
        .round_runs = round_runs,
        .run_errors = run_errors,
        .round_columns = round_columns,
        .range_losses = range_losses,
        .compare_logits = compare_logits,
    };
    return &table;
}
