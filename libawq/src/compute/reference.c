/* The definition of every operation, in plain loops. */
#include "compute/cpu.h"
#include "compute/nf4.h"
#include "awq/plugin.h"

#include <math.h>
#include <string.h>

#define E2M1_LARGEST 6.0f

static void multiply_nt(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++) {
            double sum = beta != 0 ? (double)beta * (double)y[t * ldy + n] : 0;
            for (int64_t k = 0; k < K; k++)
                sum += (double)x[t * ldx + k] * (double)w[n * ldw + k];
            y[t * ldy + n] = (float)sum;
        }
}

static void multiply_nn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++) {
            double sum = beta != 0 ? (double)beta * (double)y[t * ldy + n] : 0;
            for (int64_t k = 0; k < K; k++)
                sum += (double)x[t * ldx + k] * (double)w[k * ldw + n];
            y[t * ldy + n] = (float)sum;
        }
}

static void multiply_tn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++) {
            double sum = beta != 0 ? (double)beta * (double)y[t * ldy + n] : 0;
            for (int64_t k = 0; k < K; k++)
                sum += (double)x[k * ldx + t] * (double)w[k * ldw + n];
            y[t * ldy + n] = (float)sum;
        }
}

static void gram(int64_t T, int64_t K, int64_t g, const float *x, int64_t ldx, float *out)
{
    for (int64_t b = 0; b < K / g; b++)
        for (int64_t i = 0; i < g; i++)
            for (int64_t j = 0; j < g; j++) {
                double sum = 0;
                for (int64_t t = 0; t < T; t++)
                    sum += (double)x[t * ldx + b * g + i] * (double)x[t * ldx + b * g + j];
                out[(b * g + i) * g + j] += (float)sum;
            }
}

static void rms_norm(int64_t T, int64_t H, const float *x, const float *weight, double epsilon,
                     float *out)
{
    for (int64_t t = 0; t < T; t++) {
        double sum = 0;
        for (int64_t h = 0; h < H; h++)
            sum += (double)x[t * H + h] * (double)x[t * H + h];
        double factor = 1 / sqrt(sum / (double)H + epsilon);
        for (int64_t h = 0; h < H; h++)
            out[t * H + h] = (float)((double)x[t * H + h] * factor) * weight[h];
    }
}

static void rotate(int64_t T, int64_t heads, int64_t D, int64_t pairs, bool adjacent,
                   const float *cos_sin, float *x)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t head = 0; head < heads; head++)
            for (int64_t i = 0; i < pairs; i++) {
                float c = cos_sin[t * 2 * pairs + i], s = cos_sin[t * 2 * pairs + pairs + i];
                float *a = &x[(t * heads + head) * D + (adjacent ? 2 * i : i)];
                float *b = a + (adjacent ? 1 : pairs);
                float turned_a = *a * c - *b * s, turned_b = *b * c + *a * s;
                *a = turned_a;
                *b = turned_b;
            }
}

static void causal_softmax(int64_t T, int64_t S, int64_t first, int64_t window, float scale,
                           float sink, float *scores)
{
    for (int64_t t = 0; t < T; t++) {
        float *row = scores + t * S;
        int64_t last = awq__min(first + t, S - 1);
        int64_t begin = window ? awq__max(0, first + t - window + 1) : 0;
        float largest = sink;
        for (int64_t j = begin; j <= last; j++)
            largest = fmaxf(largest, scale * row[j]);
        double sum = exp((double)(sink - largest));
        for (int64_t j = begin; j <= last; j++)
            sum += exp((double)(scale * row[j] - largest));
        for (int64_t j = 0; j < S; j++)
            row[j] =
                j < begin || j > last ? 0 : (float)(exp((double)(scale * row[j] - largest)) / sum);
    }
}

/* What the activation multiplies the gate by. GELU: arXiv 1606.08415. */
static double gate_factor(const awq__activation *a, double g)
{
    switch (a->kind) {
    case AWQ_ACTIVATION_GELU:
        return 0.5 * (1 + erf(g * 0.70710678118654752));
    case AWQ_ACTIVATION_GELU_TANH: /* (1 + tanh(z)) / 2 is sigmoid(2 z) */
        return 1 / (1 + exp(-1.5957691216057308 * (g + 0.044715 * g * g * g)));
    default:
        return 1 / (1 + exp(-(double)a->alpha * g));
    }
}

static void activate(int64_t count, const awq__activation *a, const float *gate, const float *up,
                     float *out)
{
    for (int64_t i = 0; i < count; i++) {
        float g = gate[i] > a->limit ? a->limit : gate[i]; /* NaN stays NaN */
        float u = up[i] > a->limit ? a->limit : up[i] < -a->limit ? -a->limit : up[i];
        u += a->up_offset;
        out[i] = (float)((double)u * (double)g * gate_factor(a, (double)g));
    }
}

static void add_abs(int64_t T, int64_t K, const float *x, int64_t ldx, double *sums)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++)
            sums[k] += fabs((double)x[t * ldx + k]);
}

static void add_w_mean(int64_t N, int64_t K, int64_t g, const float *w, double *sums)
{
    for (int64_t n = 0; n < N; n++)
        for (int64_t b = 0; b < K; b += g) {
            float largest = 0;
            for (int64_t k = b; k < b + g; k++)
                largest = fmaxf(largest, fabsf(w[n * K + k]));
            for (int64_t k = b; k < b + g; k++)
                sums[k] += (double)(fabsf(w[n * K + k]) / (largest + 1e-6f));
        }
}

static void combine(int64_t T, int64_t k, int64_t H, const float *weight, const float *parts,
                    float *out)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < k; i++)
            for (int64_t h = 0; h < H; h++)
                out[t * H + h] += (weight ? weight[t * k + i] : 1) * parts[(t * k + i) * H + h];
}

static void add_row(int64_t T, int64_t N, const float *row, const float *factor, float *y,
                    int64_t ldy)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++)
            y[t * ldy + n] += factor ? row[n] * factor[n] : row[n];
}

static void shift(int64_t count, float amount, const float *x, float *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = x[i] + amount;
}

static void mirror(int64_t K, float *m)
{
    for (int64_t i = 0; i < K; i++)
        for (int64_t k = i + 1; k < K; k++)
            m[k * K + i] = m[i * K + k];
}

static void sketch(int64_t T, int64_t K, const float *x, int64_t ldx, uint64_t seed, int64_t count,
                   float *rows)
{
    for (int64_t t = 0; t < T; t++) {
        bool negative;
        int64_t row = awq__sketch_place(seed + (uint64_t)t, count, &negative);
        for (int64_t k = 0; k < K; k++)
            rows[row * K + k] += negative ? -x[t * ldx + k] : x[t * ldx + k];
    }
}

static void add_squares(int64_t T, int64_t K, const float *a, const float *b, const float *weight,
                        double *sums)
{
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++) {
            float d = (b ? a[t * K + k] - b[t * K + k] : a[t * K + k]) * (weight ? weight[t] : 1);
            sums[k] += (double)(d * d);
        }
}

static double squared_error(int64_t T, int64_t N, const float *a, const float *b,
                            const float *weight)
{
    double total = 0;
    for (int64_t t = 0; t < T; t++) {
        double sum = 0;
        for (int64_t n = 0; n < N; n++) {
            double d = (double)a[t * N + n] - (double)b[t * N + n];
            sum += d * d;
        }
        total += weight ? sum * (double)weight[t] * (double)weight[t] : sum;
    }
    return total;
}

static double dot(int64_t count, const float *a, const float *b)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double weighted_dot(int64_t N, int64_t K, const float *a, const float *b,
                           const float *weight)
{
    double sum = 0;
    for (int64_t n = 0; n < N; n++)
        sum += (weight ? (double)weight[n] : 1) * dot(K, a + n * K, b + n * K);
    return sum;
}

static void quadratic(int64_t N, int64_t K, const float *e, const float *m, float *product,
                      double *sums)
{
    multiply_nn(N, K, K, e, K, m, K, 0, product, K);
    for (int64_t n = 0; n < N; n++)
        sums[n] = dot(K, product + n * K, e + n * K);
}

/* The range includes 0, or a group of one sign would be cut. */
static awq__range extent_of(int64_t g, const float *w)
{
    awq__range range = {0, 0};
    for (int64_t k = 0; k < g; k++) {
        range.low = w[k] < range.low ? w[k] : range.low;
        range.high = w[k] > range.high || isnan(w[k]) ? w[k] : range.high;
    }
    return range;
}

static void group_extents(int64_t N, int64_t K, int64_t g, const float *w, awq__range *range)
{
    for (int64_t i = 0; i < N * K / g; i++)
        range[i] = extent_of(g, w + i * g);
}

static void scale(int64_t N, int64_t K, const float *row, const float *col, float *x)
{
    for (int64_t i = 0; i < N * K; i++)
        x[i] = x[i] * (col ? col[i % K] : 1) * (row ? row[i / K] : 1);
}

static float clamp(float value, float low, float high)
{
    return value > low ? value < high ? value : high : low; /* NaN gives low */
}

/* The scale of one group of weights for E2M1 codes. */
static float group_power(int64_t g, const float *w, const awq__range *range)
{
    float largest = 0;
    for (int64_t k = 0; k < g; k++)
        largest = isnan(w[k]) ? INFINITY : fmaxf(largest, fabsf(w[k]));
    return awq__e2m1_scale(range && isfinite(range->high) ? range->high : largest);
}

/* The scale of one group of weights for NF4 codes. */
static float group_share(int64_t g, const float *w, const awq__range *range)
{
    float largest = 0;
    if (range && isfinite(range->high))
        return -range->low > range->high ? -range->low : range->high;
    for (int64_t k = 0; k < g; k++)
        largest = isnan(w[k]) ? INFINITY : fmaxf(largest, fabsf(w[k]));
    return largest;
}

/* Scale and zero point of one group of weights. An all-zero group gets scale 1, but for NF4. */
static void group_range(const awq__scheme *scheme, int64_t g, const float *w,
                        const awq__range *given, float *scale, float *zero)
{
    if (scheme->code == AWQ__CODE_E2M1) {
        *scale = group_power(g, w, given);
        *zero = 0;
        return;
    }
    if (scheme->code == AWQ__CODE_NF4) {
        *scale = group_share(g, w, given);
        *zero = 0;
        return;
    }
    awq__range cover = given && isfinite(given->high) ? *given : extent_of(g, w);
    float low = cover.low, high = cover.high;
    float top = (float)((1 << scheme->bits) - 1), half = (float)(1 << (scheme->bits - 1));
    float range = scheme->symmetric ? (-low > high ? -low : high) : high - low;
    *zero = scheme->symmetric ? half : 0;
    *scale = 1;
    if (range == 0)
        return;
    range /= scheme->symmetric ? half - 1 : top;
    *scale = isfinite(range) ? awq__round_scale(scheme->grid, range) : INFINITY;
    if (!scheme->symmetric)
        *zero = clamp(rintf(-low / *scale), 0, top);
}

/* The code of the nearest E2M1 value, the even one of two; never 8, which is -0. */
static uint8_t e2m1_code(float value)
{
    float magnitude = fabsf(clamp(value, -E2M1_LARGEST, E2M1_LARGEST));
    int code = 0;
    for (; code < 7; code++) {
        float middle = (awq__e2m1[code] + awq__e2m1[code + 1]) / 2;
        if (magnitude < middle || (magnitude == middle && code % 2 == 0))
            break;
    }
    return (uint8_t)(value > 0 || code == 0 ? code : code + 8);
}

/* The first code whose limit is not below the share. */
static uint8_t nf4_code(float share)
{
    int code = 0;
    while (code < AWQ__NF4_CODES - 1 && share > awq__nf4_limits[code])
        code++;
    return (uint8_t)code;
}

static uint8_t code_of(const awq__scheme *scheme, float w, float scale, float zero)
{
    if (scheme->code == AWQ__CODE_E2M1)
        return e2m1_code(w / scale);
    if (scheme->code == AWQ__CODE_NF4)
        return nf4_code(w * awq__nf4_inverse(scale));
    return (uint8_t)clamp(rintf(w * (1 / scale)) + zero, 0, (float)((1 << scheme->bits) - 1));
}

static float value_of(const awq__scheme *scheme, uint8_t code, float scale, float zero)
{
    if (scheme->code == AWQ__CODE_NF4)
        return scale * awq__nf4[code];
    return scale * (scheme->code == AWQ__CODE_E2M1 ? awq__e2m1[code] : (float)code - zero);
}

static bool quantize(int64_t N, int64_t K, const awq__scheme *scheme, const float *w,
                     const awq__range *range, uint8_t *codes, float *scales, uint8_t *zeros)
{
    int64_t g = scheme->group;
    bool finite = true;
    for (int64_t i = 0; i < N * K / g; i++) {
        float zero;
        group_range(scheme, g, w + i * g, range ? &range[i] : NULL, &scales[i], &zero);
        zeros[i] = (uint8_t)zero;
        finite &= isfinite(scales[i]) != 0;
        for (int64_t k = 0; k < g; k++)
            codes[i * g + k] = code_of(scheme, w[i * g + k], scales[i], zero);
    }
    return finite;
}

void awq__fake_quantize(int64_t N, int64_t K, const awq__scheme *scheme, const awq__range *range,
                        const float *unscale, float *w)
{
    int64_t g = scheme->group;
    for (int64_t i = 0; i < N * K / g; i++) {
        float scale, zero;
        group_range(scheme, g, w + i * g, range ? &range[i] : NULL, &scale, &zero);
        for (int64_t k = 0; k < g; k++) {
            uint8_t code = code_of(scheme, w[i * g + k], scale, zero);
            w[i * g + k] =
                value_of(scheme, code, scale, zero) * (unscale ? unscale[(i * g + k) % K] : 1);
        }
    }
}

static void quantize_error(int64_t N, int64_t K, const awq__scheme *scheme, const awq__range *range,
                           const float *scale, const float *unscale, const float *w, float *error)
{
    for (int64_t i = 0; i < N * K; i++)
        error[i] = scale ? w[i] * scale[i % K] : w[i];
    awq__fake_quantize(N, K, scheme, range, unscale, error);
    for (int64_t i = 0; i < N * K; i++)
        error[i] -= w[i];
}

static double log_sum_exp(int64_t V, const float *row)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t v = 0; v < V; v++)
        largest = fmax(largest, (double)row[v]);
    for (int64_t v = 0; v < V; v++)
        sum += exp((double)row[v] - largest);
    return largest + log(sum);
}

static int64_t largest_at(int64_t V, const float *row)
{
    int64_t best = 0;
    for (int64_t v = 1; v < V; v++)
        if (row[v] > row[best])
            best = v;
    return best;
}

static void compare_logits(int64_t rows, int64_t V, const float *logits, const float *reference,
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
        for (int64_t v = 0; v < V; v++) {
            double log_p = (double)p[v] - p_norm, log_q = (double)q[v] - q_norm;
            stats->kl += exp(log_p) * (log_p - log_q);
        }
        stats->same_top1 += largest_at(V, p) == largest_at(V, q);
    }
}

const awq__compute *awq__compute_reference(void)
{
    static const awq__compute table = {
        .name = "reference",
        .multiply_nt = multiply_nt,
        .multiply_nn = multiply_nn,
        .multiply_tn = multiply_tn,
        .gram = gram,
        .factor = awq__reference_factor,
        .rms_norm = rms_norm,
        .rotate = rotate,
        .causal_softmax = causal_softmax,
        .delta_rule = awq__reference_delta_rule,
        .activate = activate,
        .route = awq__reference_route,
        .gather = awq__reference_gather,
        .scatter = awq__reference_scatter,
        .combine = combine,
        .add_row = add_row,
        .shift = shift,
        .mirror = mirror,
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
        .round_runs = awq__reference_round_runs,
        .run_errors = awq__reference_run_errors,
        .round_columns = awq__reference_round_columns,
        .range_losses = awq__reference_range_losses,
        .compare_logits = compare_logits,
    };
    return &table;
}
