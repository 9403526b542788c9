/* The gated delta net against plain loops in double. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/awq.h"
#include "forward/layer.h"
#include "tables.h"

enum { H = 20, KEY_HEADS = 2, SHARED = 2, HEADS = KEY_HEADS * SHARED, KD = 6, VD = 5 };
enum { K = KEY_HEADS * KD, V = HEADS * VD, C = 2 * K + V, W = 4, L = 150 };

#define EPSILON 1e-5

/* ---- the rule ---- */

typedef struct problem {
    int64_t T, K, V;
    const float *q, *k, *v, *decay, *beta;
    int64_t ld;
} problem;

/* out[T,V], the state token by token in double. */
static void expected_rule(const problem *p, double *out)
{
    double *state = calloc((size_t)(p->K * p->V), sizeof *state);
    for (int64_t t = 0; t < p->T; t++) {
        for (int64_t i = 0; i < p->K * p->V; i++)
            state[i] *= exp((double)p->decay[t]);
        for (int64_t v = 0; v < p->V; v++) {
            double read = 0, sum = 0;
            for (int64_t k = 0; k < p->K; k++)
                read += state[k * p->V + v] * (double)p->k[t * p->ld + k];
            double d = (double)p->beta[t] * ((double)p->v[t * p->ld + v] - read);
            for (int64_t k = 0; k < p->K; k++) {
                state[k * p->V + v] += (double)p->k[t * p->ld + k] * d;
                sum += state[k * p->V + v] * (double)p->q[t * p->ld + k];
            }
            out[t * p->V + v] = sum;
        }
    }
    free(state);
}

static void unit_rows(float *x, int64_t rows, int64_t count, int64_t ld)
{
    for (int64_t t = 0; t < rows; t++) {
        double sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += (double)x[t * ld + i] * (double)x[t * ld + i];
        for (int64_t i = 0; i < count; i++)
            x[t * ld + i] = (float)((double)x[t * ld + i] / sqrt(sum));
    }
}

/* Decays from hardly any to all at once, and updates that replace. */
static void draw_gates(uint64_t *random, int64_t T, float strength, float *decay, float *beta)
{
    for (int64_t t = 0; t < T; t++) {
        decay[t] = -strength * fabsf(decay[t]);
        beta[t] = (float)(awq__random(random) >> 40) * 0x1p-24f;
    }
}

static void check_rule(const awq__compute *table, int64_t T, int64_t keys, int64_t values,
                       float strength, uint64_t *random)
{
    int64_t ld = 2 * keys + values + 3, ldo = values + 2;
    float *x = normals(random, T * ld), *decay = normals(random, T), *beta = normals(random, T);
    float *out = normals(random, T * ldo), *work = floats(awq__delta_rule_work(keys, values));
    double *expected = calloc((size_t)(T * values), sizeof *expected);
    unit_rows(x, T, keys, ld);
    unit_rows(x + keys, T, keys, ld);
    draw_gates(random, T, strength, decay, beta);
    const problem p = {T, keys, values, x, x + keys, x + 2 * keys, decay, beta, ld};
    float between = out[values];
    table->delta_rule(T, keys, values, p.q, p.k, p.v, ld, decay, beta, work, out, ldo);
    expected_rule(&p, expected);
    for (int64_t i = 0; i < T * values; i++)
        assert_near_at(out[i / values * ldo + i % values], expected[i], 2e-6 * sqrt((double)T),
                       table->name, i);
    assert_true(out[values] == between);
    free(x);
    free(decay);
    free(beta);
    free(out);
    free(work);
    free(expected);
}

static void the_rule_is_right(void **state)
{
    (void)state;
    uint64_t random = 11;
    static const int64_t lengths[] = {1, 2, 63, 64, 65, 128, 301};
    static const float strengths[] = {0, 1e-3f, 0.3f, 20, 300};
    FOR_EACH_TABLE(table)
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t s = 0; s < sizeof strengths / sizeof *strengths; s++) {
            check_rule(table, lengths[i], 16, 24, strengths[s], &random);
            check_rule(table, lengths[i], 7, 1, strengths[s], &random);
        }
}

/* ---- the whole net ---- */

typedef struct fixture {
    float qkv[C * H], z[V * H], b[HEADS * H], a[HEADS * H];
    float conv[C * W], a_log[HEADS], dt_bias[HEADS], norm[VD], x[L * H];
    float grouped_qkvz[(C + V) * H], grouped_ba[2 * HEADS * H];
    awq__layer layer;
} fixture;

static void draw(uint64_t *random, int64_t count, float scale, float *out)
{
    float *values = normals(random, count);
    for (int64_t i = 0; i < count; i++)
        out[i] = scale * values[i];
    free(values);
}

static void copy_rows(float **to, const float *from, int64_t first, int64_t count)
{
    memcpy(*to, from + first * H, (size_t)(count * H) * sizeof **to);
    *to += count * H;
}

/* The rows of the separate linears in the order of the grouped ones. */
static void group(fixture *f)
{
    float *qkvz = f->grouped_qkvz, *ba = f->grouped_ba;
    for (int64_t head = 0; head < KEY_HEADS; head++) {
        copy_rows(&qkvz, f->qkv, head * KD, KD);
        copy_rows(&qkvz, f->qkv, K + head * KD, KD);
        copy_rows(&qkvz, f->qkv, 2 * K + head * SHARED * VD, SHARED * VD);
        copy_rows(&qkvz, f->z, head * SHARED * VD, SHARED * VD);
        copy_rows(&ba, f->b, head * SHARED, SHARED);
        copy_rows(&ba, f->a, head * SHARED, SHARED);
    }
}

static awq__weight weight_of(const char *name, const float *values, int64_t rows)
{
    return awq__weight_plain(name, AWQ_F32, values, rows, H);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    uint64_t random = 3;
    *state = f;
    if (!f)
        return -1;
    draw(&random, C * H, 0.4f, f->qkv);
    draw(&random, V * H, 0.4f, f->z);
    draw(&random, HEADS * H, 0.4f, f->b);
    draw(&random, HEADS * H, 0.4f, f->a);
    draw(&random, C * W, 0.6f, f->conv);
    draw(&random, HEADS, 0.7f, f->a_log);
    draw(&random, HEADS, 0.7f, f->dt_bias);
    draw(&random, VD, 1, f->norm);
    draw(&random, L * H, 1, f->x);
    group(f);
    f->layer = (awq__layer){.hidden = H, .epsilon = EPSILON};
    f->layer.delta = (awq__delta){.value_heads = HEADS,
                                  .key_heads = KEY_HEADS,
                                  .key_dim = KD,
                                  .value_dim = VD,
                                  .qkv = weight_of("qkv", f->qkv, C),
                                  .z = weight_of("z", f->z, V),
                                  .b = weight_of("b", f->b, HEADS),
                                  .a = weight_of("a", f->a, HEADS),
                                  .conv = f->conv,
                                  .width = W,
                                  .a_log = f->a_log,
                                  .dt_bias = f->dt_bias,
                                  .norm = f->norm};
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double row_times(const float *w, int64_t row, const float *x)
{
    double sum = 0;
    for (int i = 0; i < H; i++)
        sum += (double)w[row * H + i] * (double)x[i];
    return sum;
}

/* What channel c of q, k and v is at token t after the convolution. */
static double convolved(const fixture *f, int t, int64_t c)
{
    double sum = 0;
    for (int w = 0; w < W; w++)
        if (t - (W - 1) + w >= 0)
            sum += (double)f->conv[c * W + w] * row_times(f->qkv, c, f->x + (t - (W - 1) + w) * H);
    return silu(sum);
}

static void unit_channels(const fixture *f, int t, int64_t first, double factor, float *out)
{
    double values[KD], sum = 0;
    for (int i = 0; i < KD; i++) {
        values[i] = convolved(f, t, first + i);
        sum += values[i] * values[i];
    }
    for (int i = 0; i < KD; i++)
        out[i] = (float)(factor * values[i] / sqrt(sum + 1e-6));
}

static void expected_head(const fixture *f, int head, double (*out)[VD])
{
    static float x[L][2 * KD + VD], decay[L], beta[L];
    for (int t = 0; t < L; t++) {
        unit_channels(f, t, head / SHARED * KD, 1 / sqrt(KD), x[t]);
        unit_channels(f, t, K + head / SHARED * KD, 1, x[t] + KD);
        for (int i = 0; i < VD; i++)
            x[t][2 * KD + i] = (float)convolved(f, t, 2 * K + head * VD + i);
        double a = row_times(f->a, head, f->x + t * H) + (double)f->dt_bias[head];
        decay[t] = (float)(-exp((double)f->a_log[head]) * log1p(exp(a)));
        beta[t] = (float)(1 / (1 + exp(-row_times(f->b, head, f->x + t * H))));
    }
    const problem p = {L, KD, VD, x[0], x[0] + KD, x[0] + 2 * KD, decay, beta, 2 * KD + VD};
    expected_rule(&p, out[0]);
    for (int t = 0; t < L; t++) {
        double sum = 0;
        for (int i = 0; i < VD; i++)
            sum += out[t][i] * out[t][i];
        for (int i = 0; i < VD; i++)
            out[t][i] *= (double)f->norm[i] / sqrt(sum / VD + EPSILON) *
                         silu(row_times(f->z, head * VD + i, f->x + t * H));
    }
}

static void assert_right(const fixture *f)
{
    static double expected[L][VD];
    static float c[L * V];
    float *work = floats((int64_t)awq__delta_mixer.floats(&f->layer, L));
    FOR_EACH_TABLE(table)
    {
        awq__forward forward = {.compute = table};
        const awq__mixing m = {
            .forward = &forward, .layer = &f->layer, .tokens = L, .x = f->x, .c = c, .space = work};
        awq__delta_mixer.mix(&m);
        for (int head = 0; head < HEADS; head++) {
            expected_head(f, head, expected);
            for (int i = 0; i < L * VD; i++)
                assert_near_at(c[i / VD * V + head * VD + i % VD], expected[i / VD][i % VD], 1e-4,
                               table->name, i);
        }
    }
    free(work);
}

static void separate_linears(void **state)
{
    assert_right(*state);
}

static void linears_grouped_by_key_head(void **state)
{
    fixture *f = *state;
    awq__delta *d = &f->layer.delta;
    d->grouped = true;
    d->qkv = weight_of("qkvz", f->grouped_qkvz, C + V);
    d->b = weight_of("ba", f->grouped_ba, 2 * HEADS);
    d->z = d->a = (awq__weight){0};
    assert_right(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rule_is_right),
        cmocka_unit_test_setup_teardown(separate_linears, set_up, tear_down),
        cmocka_unit_test_setup_teardown(linears_grouped_by_key_head, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
