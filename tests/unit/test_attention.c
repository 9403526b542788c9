/* Attention against plain loops in double: biases, norms of heads, sinks, windows, output gates. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/awq.h"
#include "forward/layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = 24, HEADS = 4, KV_HEADS = 2, D = 6, Q = HEADS * D, KV = KV_HEADS * D, L = 40 };

#define EPSILON 1e-5

typedef struct fixture {
    awq_context *ctx;
    float norm[H], q[Q * H], k[KV * H], v[KV * H], o[H * Q];
    float gated_q[2 * Q * H]; /* of each head the rows of q, then those of its gate */
    float q_bias[Q], k_bias[KV], v_bias[KV], o_bias[H], v_scale[KV];
    float q_norm[Q], k_norm[KV], sinks[HEADS], hidden[L * H];
    awq__layer layer;
} fixture;

static void draw(float *values, int64_t count, double scale, double middle, uint64_t *state)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(middle + scale * ((double)(awq__random(state) >> 11) * 0x1p-52 - 1));
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    uint64_t random = 5;
    *state = f;
    if (!f || awq_context_create(&f->ctx) != AWQ_OK)
        return -1;
    draw(f->norm, H, 0.5, 1, &random);
    draw(f->q, Q * H, 0.5, 0, &random);
    draw(f->k, KV * H, 0.5, 0, &random);
    draw(f->v, KV * H, 0.5, 0, &random);
    draw(f->o, H * Q, 0.5, 0, &random);
    draw(f->q_bias, Q, 1, 0, &random);
    draw(f->k_bias, KV, 1, 0, &random);
    draw(f->v_bias, KV, 1, 0, &random);
    draw(f->o_bias, H, 1, 0, &random);
    draw(f->v_scale, KV, 0.5, 1, &random);
    draw(f->q_norm, Q, 0.5, 1, &random);
    draw(f->k_norm, KV, 0.5, 1, &random);
    draw(f->sinks, HEADS, 2, 0, &random);
    draw(f->hidden, L * H, 1, 0, &random);
    draw(f->gated_q, 2 * Q * H, 0.5, 0, &random);
    for (int row = 0; row < Q; row++)
        memcpy(f->gated_q + (row / D * 2 * D + row % D) * H, f->q + row * H, H * sizeof *f->q);
    f->layer = (awq__layer){.hidden = H, .epsilon = EPSILON};
    f->layer.attention = (awq__attention){.norm = f->norm,
                                          .q = awq__weight_plain("q", AWQ_F32, f->q, Q, H),
                                          .k = awq__weight_plain("k", AWQ_F32, f->k, KV, H),
                                          .v = awq__weight_plain("v", AWQ_F32, f->v, KV, H),
                                          .o = awq__weight_plain("o", AWQ_F32, f->o, H, Q),
                                          .heads = HEADS,
                                          .kv_heads = KV_HEADS,
                                          .head_dim = D,
                                          .scale = (float)(1 / sqrt((double)D)),
                                          .clip = INFINITY};
    f->layer.branch_multiplier = 1;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    awq_context_free(f->ctx);
    free(f);
    return 0;
}

/* ---- the definition ---- */

static void norm_rows(double *x, int64_t rows, int64_t count, const float *weight)
{
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += x[r * count + i] * x[r * count + i];
        for (int64_t i = 0; i < count; i++)
            x[r * count + i] *= (double)weight[i] / sqrt(sum / (double)count + EPSILON);
    }
}

static void linear(const awq__weight *w, const double *x, double *y)
{
    const float *values = (const float *)(const void *)w->data;
    for (int64_t n = 0; n < w->rows; n++) {
        double scale = w->row_scale ? (double)w->row_scale[n] : 1;
        y[n] = w->bias ? (double)w->bias[n] * (w->bias_scale ? (double)w->bias_scale[n] : 1) : 0;
        for (int64_t k = 0; k < w->cols; k++)
            y[n] += (double)values[n * w->cols + k] * scale * x[k];
    }
}

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (int i = 0; i < D; i++)
        sum += a[i] * b[i];
    return sum;
}

/* One head's output c[D] for the query at position t. */
static void attend(const awq__attention *a, int t, int head, double (*q)[Q], double (*k)[KV],
                   double (*v)[KV], double *c)
{
    int kv = head / (HEADS / KV_HEADS) * D,
        first = a->window ? (int)awq__max(0, t - a->window + 1) : 0;
    double total = a->sinks ? exp((double)a->sinks[head]) : 0;
    for (int i = 0; i < D; i++)
        c[i] = 0;
    for (int j = first; j <= t; j++) {
        double weight = exp(dot(q[t] + head * D, k[j] + kv) / sqrt(D));
        total += weight;
        for (int i = 0; i < D; i++)
            c[i] += weight * v[j][kv + i];
    }
    for (int i = 0; i < D; i++)
        c[i] /= total;
}

static void query(const fixture *f, const double *x, double *q, double *gates)
{
    double both[2 * Q];
    linear(&f->layer.attention.q, x, f->layer.attention.output_gate ? both : q);
    for (int i = 0; i < Q && f->layer.attention.output_gate; i++) {
        q[i] = both[i / D * 2 * D + i % D];
        gates[i] = both[i / D * 2 * D + D + i % D];
    }
}

static void expected_output(const fixture *f, double (*out)[H])
{
    static double q[L][Q], gates[L][Q], k[L][KV], v[L][KV];
    const awq__attention *a = &f->layer.attention;
    for (int t = 0; t < L; t++) {
        double x[H];
        for (int h = 0; h < H; h++)
            x[h] = (double)f->hidden[t * H + h];
        norm_rows(x, 1, H, a->norm);
        query(f, x, q[t], gates[t]);
        linear(&a->k, x, k[t]);
        linear(&a->v, x, v[t]);
        if (a->q_norm) {
            norm_rows(q[t], a->norm_across_heads ? 1 : HEADS, a->norm_across_heads ? Q : D,
                      a->q_norm);
            norm_rows(k[t], a->norm_across_heads ? 1 : KV_HEADS, a->norm_across_heads ? KV : D,
                      a->k_norm);
        }
    }
    for (int t = 0; t < L; t++) {
        double c[Q];
        for (int head = 0; head < HEADS; head++)
            attend(a, t, head, q, k, v, c + head * D);
        for (int i = 0; i < Q && a->output_gate; i++)
            c[i] /= 1 + exp(-gates[t][i]);
        linear(&a->o, c, out[t]);
    }
}

/* ---- the tests ---- */

static void assert_right(fixture *f)
{
    static double expected[L][H];
    float out[L * H];
    int64_t offsets[] = {0, L};
    awq__sequences sequences = {.count = 1, .offsets = offsets};
    awq__rotary rotary = {0};
    for (const awq__compute *const *table = awq__compute_all(); *table; table++) {
        awq__forward forward = {
            .ctx = f->ctx, .compute = *table, .sequences = &sequences, .rotary = &rotary};
        assert_int_equal(
            awq__attention_forward(&forward, &f->layer, f->hidden, false, out, NULL, NULL), AWQ_OK);
        expected_output(f, expected);
        for (int i = 0; i < L * H; i++)
            if (!(fabs((double)out[i] - expected[i / H][i % H]) < 1e-4))
                fail_msg("%s: token %d, channel %d is %g, expected %g", (*table)->name, i / H,
                         i % H, (double)out[i], expected[i / H][i % H]);
    }
}

static void plain_attention(void **state)
{
    assert_right(*state);
}

static void windows(void **state)
{
    fixture *f = *state;
    for (f->layer.attention.window = 1; f->layer.attention.window < L + 2;
         f->layer.attention.window += 13)
        assert_right(f);
}

static void biases(void **state)
{
    fixture *f = *state;
    awq__attention *a = &f->layer.attention;
    a->q.bias = f->q_bias;
    a->k.bias = f->k_bias;
    a->v.bias = f->v_bias;
    a->o.bias = f->o_bias;
    assert_right(f);
    a->v.row_scale = a->v.bias_scale = f->v_scale; /* as a fold sets them */
    assert_right(f);
}

static void norms_of_heads(void **state)
{
    fixture *f = *state;
    f->layer.attention.q_norm = f->q_norm;
    f->layer.attention.k_norm = f->k_norm;
    assert_right(f);
    f->layer.attention.norm_across_heads = true;
    assert_right(f);
}

static void sinks(void **state)
{
    fixture *f = *state;
    f->layer.attention.sinks = f->sinks;
    assert_right(f);
    f->layer.attention.window = 7;
    assert_right(f);
}

static void output_gates(void **state)
{
    fixture *f = *state;
    f->layer.attention.output_gate = 1;
    f->layer.attention.q = awq__weight_plain("q", AWQ_F32, f->gated_q, 2 * Q, H);
    assert_right(f);
    f->layer.attention.q_norm = f->q_norm;
    f->layer.attention.k_norm = f->k_norm;
    assert_right(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(plain_attention), TEST(windows), TEST(biases),
        TEST(norms_of_heads),  TEST(sinks),   TEST(output_gates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
