/*
 * The gated delta net (arXiv 2412.06464) as Qwen3-Next and Qwen3.5 have it, in place of the
 * softmax attention: q, k and v pass a short causal convolution, q and k are normed, and a state of
 * each value head is decayed, corrected and read token by token.
 */
#include "forward/layer.h"

#include <math.h>
#include <string.h>

#define NORM_EPSILON 1e-6 /* of queries and keys */

/* Rows of all queries or keys, of all values, and of what is convolved. */
static int64_t key_rows(const awq__delta *d)
{
    return d->key_heads * d->key_dim;
}

static int64_t value_rows(const awq__delta *d)
{
    return d->value_heads * d->value_dim;
}

static int64_t channels(const awq__delta *d)
{
    return 2 * key_rows(d) + value_rows(d);
}

/* The work space of one sequence. */
typedef struct space {
    float *raw;          /* [L,C+V] what the grouped linear gives; [L,2N] what b and a give */
    float *mixed;        /* [L,C] queries, keys, values */
    float *z;            /* [L,V] */
    float *decay, *beta; /* [N,L] */
    float *filter;       /* [W,C] the convolution's weights */
    float *row, *ones;   /* [C] */
    float *rule, *work;
} space;

static size_t cut(const awq__delta *d, int64_t L, float *base, space *s)
{
    int64_t C = channels(d), V = value_rows(d), N = d->value_heads;
    int64_t work = awq__max(awq__weight_work(&d->qkv), awq__weight_work(&d->b));
    if (!d->grouped)
        work = awq__max(work, awq__max(awq__weight_work(&d->z), awq__weight_work(&d->a)));
    int64_t raw = d->grouped ? L * (C + V) : 2 * L * N;
    int64_t rule = awq__delta_rule_work(d->key_dim, d->value_dim);
    const int64_t sizes[] = {raw, L * C, L * V, N * L, N * L, d->width * C, C, C, rule, work};
    float **const parts[] = {&s->raw,    &s->mixed, &s->z,    &s->decay, &s->beta,
                             &s->filter, &s->row,   &s->ones, &s->rule,  &s->work};
    return awq__cut_space(base, sizes, parts, sizeof sizes / sizeof *sizes);
}

static size_t floats(const awq__layer *layer, int64_t tokens)
{
    space unused;
    return cut(&layer->delta, tokens, NULL, &unused);
}

/* ---- the linears ---- */

/* Copies `count` values of each of L rows. */
static void copy_columns(int64_t L, int64_t count, const float *from, int64_t ld_from, float *to,
                         int64_t ld_to)
{
    for (int64_t t = 0; t < L; t++)
        memcpy(to + t * ld_to, from + t * ld_from, (size_t)count * sizeof *to);
}

/* Each key head's rows are together: q, k, and v and z of the value heads that it serves. */
static void ungroup_qkvz(const awq__delta *d, int64_t L, const space *s)
{
    int64_t C = channels(d), K = key_rows(d), V = value_rows(d), D = d->key_dim;
    int64_t own = V / d->key_heads, group = 2 * D + 2 * own;
    for (int64_t head = 0; head < d->key_heads; head++) {
        const float *from = s->raw + head * group;
        copy_columns(L, D, from, C + V, s->mixed + head * D, C);
        copy_columns(L, D, from + D, C + V, s->mixed + K + head * D, C);
        copy_columns(L, own, from + 2 * D, C + V, s->mixed + 2 * K + head * own, C);
        copy_columns(L, own, from + 2 * D + own, C + V, s->z + head * own, V);
    }
}

static void project_qkvz(const awq__compute *compute, const awq__delta *d, int64_t L, int64_t H,
                         const float *x, const space *s)
{
    int64_t C = channels(d), V = value_rows(d);
    if (d->grouped) {
        awq__linear(compute, &d->qkv, L, x, H, s->raw, C + V, s->work);
        ungroup_qkvz(d, L, s);
    } else {
        awq__linear(compute, &d->qkv, L, x, H, s->mixed, C, s->work);
        awq__linear(compute, &d->z, L, x, H, s->z, V, s->work);
    }
}

/* Where b and a of a value head are in a row of both. */
static int64_t gate_column(const awq__delta *d, int64_t head, bool a)
{
    int64_t shared = d->value_heads / d->key_heads;
    return d->grouped ? head / shared * 2 * shared + (a ? shared : 0) + head % shared
                      : head + (a ? d->value_heads : 0);
}

static double softplus(double x)
{
    return x > 20 ? x : log1p(exp(x));
}

/* beta = sigmoid(b), decay = -exp(a_log) * softplus(a + dt_bias) */
static void project_gates(const awq__compute *compute, const awq__delta *d, int64_t L, int64_t H,
                          const float *x, const space *s)
{
    int64_t N = d->value_heads;
    awq__linear(compute, &d->b, L, x, H, s->raw, 2 * N, s->work);
    if (!d->grouped)
        awq__linear(compute, &d->a, L, x, H, s->raw + N, 2 * N, s->work);
    for (int64_t head = 0; head < N; head++) {
        const float *b = s->raw + gate_column(d, head, false);
        const float *a = s->raw + gate_column(d, head, true);
        double rate = exp((double)d->a_log[head]), bias = (double)d->dt_bias[head];
        for (int64_t t = 0; t < L; t++) {
            s->beta[head * L + t] = (float)(1 / (1 + exp(-(double)b[t * 2 * N])));
            s->decay[head * L + t] = (float)(-rate * softplus((double)a[t * 2 * N] + bias));
        }
    }
}

/* ---- the convolution ---- */

static void transpose_filter(const awq__delta *d, const space *s)
{
    int64_t C = channels(d);
    for (int64_t c = 0; c < C; c++) {
        s->ones[c] = 1;
        for (int64_t w = 0; w < d->width; w++)
            s->filter[w * C + c] = d->conv[c * d->width + w];
    }
}

/* mixed[t,c] = silu(sum over w of conv[c,w] * mixed[t - (width - 1) + w, c]), from the last token
   on, so that those before are still as they were. */
static void convolve(const awq__compute *compute, const awq__delta *d, int64_t L, const space *s)
{
    static const awq__activation silu = {.alpha = 1, .limit = INFINITY};
    int64_t C = channels(d), W = d->width;
    transpose_filter(d, s);
    for (int64_t t = L - 1; t >= 0; t--) {
        float *restrict row = s->row;
        memset(row, 0, (size_t)C * sizeof *row);
        for (int64_t w = awq__max(0, W - 1 - t); w < W; w++) {
            const float *restrict x = s->mixed + (t - (W - 1) + w) * C;
            const float *restrict filter = s->filter + w * C;
            for (int64_t c = 0; c < C; c++)
                row[c] += filter[c] * x[c];
        }
        compute->activate(C, &silu, row, s->ones, s->mixed + t * C);
    }
}

/* ---- the heads ---- */

/* x *= factor / sqrt(sum(x^2) + epsilon) */
static void normalize(const awq__compute *compute, int64_t D, double factor, float *x)
{
    float scale = (float)(factor / sqrt(compute->dot(D, x, x) + NORM_EPSILON));
    for (int64_t i = 0; i < D; i++)
        x[i] *= scale;
}

static void normalize_heads(const awq__compute *compute, const awq__delta *d, int64_t L,
                            const space *s)
{
    int64_t C = channels(d), D = d->key_dim;
    double query = 1 / sqrt((double)D);
    for (int64_t t = 0; t < L; t++)
        for (int64_t head = 0; head < d->key_heads; head++) {
            normalize(compute, D, query, s->mixed + t * C + head * D);
            normalize(compute, D, 1, s->mixed + t * C + key_rows(d) + head * D);
        }
}

static void run_heads(const awq__compute *compute, const awq__delta *d, int64_t L, const space *s,
                      float *c)
{
    int64_t C = channels(d), K = key_rows(d), shared = d->value_heads / d->key_heads;
    for (int64_t head = 0; head < d->value_heads; head++) {
        const float *q = s->mixed + head / shared * d->key_dim;
        const float *v = s->mixed + 2 * K + head * d->value_dim;
        compute->delta_rule(L, d->key_dim, d->value_dim, q, q + K, v, C, s->decay + head * L,
                            s->beta + head * L, s->rule, c + head * d->value_dim, value_rows(d));
    }
}

static void mix(const awq__mixing *m)
{
    static const awq__activation silu = {.alpha = 1, .limit = INFINITY};
    const awq__compute *compute = m->forward->compute;
    const awq__layer *layer = m->layer;
    const awq__delta *d = &layer->delta;
    int64_t L = m->tokens, V = value_rows(d);
    space s;
    cut(d, L, m->space, &s);
    project_qkvz(compute, d, L, layer->hidden, m->x, &s);
    project_gates(compute, d, L, layer->hidden, m->x, &s);
    convolve(compute, d, L, &s);
    normalize_heads(compute, d, L, &s);
    run_heads(compute, d, L, &s, m->c);
    compute->rms_norm(L * d->value_heads, d->value_dim, m->c, d->norm, layer->epsilon, m->c);
    compute->activate(L * V, &silu, s.z, m->c, s.z);
    memcpy(m->c, s.z, (size_t)(L * V) * sizeof *m->c);
}

const awq__mixer awq__delta_mixer = {floats, mix};
