/* Attention by latents (MLA) against plain loops in double, with more queries than a block has. */
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

enum { H = 24, HEADS = 3, Q_RANK = 10, KV_RANK = 12, NOPE = 6, ROPE = 4, D = NOPE + ROPE };
enum { VALUE = 7, Q = HEADS * D, C = HEADS * VALUE, B = HEADS * (NOPE + VALUE) };
enum { A = KV_RANK + ROPE, L = AWQ__QUERIES + 40, PAIRS = ROPE / 2 };

#define EPSILON 1e-3
#define LATENT_EPSILON 1e-6

typedef struct fixture {
    awq_context *ctx;
    float norm[H], q[Q * H], q_a[Q_RANK * H], q_b[Q * Q_RANK], kv_a[A * H], kv_b[B * KV_RANK];
    float o[H * C], q_norm[Q_RANK], kv_norm[KV_RANK], q_a_bias[Q_RANK], kv_a_bias[A];
    float value_scale[B], hidden[L * H];
    awq__layer layer;
} fixture;

static void draw(float *values, int64_t count, double scale, double middle, uint64_t *state)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(middle + scale * ((double)(awq__random(state) >> 11) * 0x1p-52 - 1));
}

static void draw_all(fixture *f)
{
    uint64_t random = 5;
    draw(f->norm, H, 0.5, 1, &random);
    draw(f->q, Q * H, 0.5, 0, &random);
    draw(f->q_a, Q_RANK * H, 0.5, 0, &random);
    draw(f->q_b, Q * Q_RANK, 0.7, 0, &random);
    draw(f->kv_a, A * H, 0.5, 0, &random);
    draw(f->kv_b, B * KV_RANK, 0.7, 0, &random);
    draw(f->o, H * C, 0.5, 0, &random);
    draw(f->q_norm, Q_RANK, 0.5, 1, &random);
    draw(f->kv_norm, KV_RANK, 0.5, 1, &random);
    draw(f->q_a_bias, Q_RANK, 0.5, 0, &random);
    draw(f->kv_a_bias, A, 0.5, 0, &random);
    draw(f->value_scale, B, 0.5, 1, &random);
    draw(f->hidden, L * H, 1, 0, &random);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    if (!f || awq_context_create(&f->ctx) != AWQ_OK)
        return -1;
    draw_all(f);
    f->layer = (awq__layer){.hidden = H, .epsilon = EPSILON, .branch_multiplier = 1};
    f->layer.attention = (awq__attention){.norm = f->norm,
                                          .o = awq__weight_plain("o", AWQ_F32, f->o, H, C),
                                          .heads = HEADS,
                                          .kv_heads = HEADS,
                                          .head_dim = D,
                                          .scale = 0.4f,
                                          .clip = INFINITY,
                                          .adjacent = true};
    awq__latent *m = &f->layer.attention.latent;
    *m = (awq__latent){.kv_rank = KV_RANK,
                       .q_rank = Q_RANK,
                       .nope = NOPE,
                       .rope = ROPE,
                       .value = VALUE,
                       .epsilon = LATENT_EPSILON,
                       .q_a = awq__weight_plain("q_a", AWQ_F32, f->q_a, Q_RANK, H),
                       .q_b = awq__weight_plain("q_b", AWQ_F32, f->q_b, Q, Q_RANK),
                       .kv_a = awq__weight_plain("kv_a", AWQ_F32, f->kv_a, A, H),
                       .kv_b = awq__weight_plain("kv_b", AWQ_F32, f->kv_b, B, KV_RANK),
                       .q_norm = f->q_norm,
                       .kv_norm = f->kv_norm};
    m->q_a.bias = f->q_a_bias;
    m->kv_a.bias = f->kv_a_bias;
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

static void norm(double *x, int64_t count, const float *weight, double epsilon)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i] * x[i];
    for (int64_t i = 0; i < count; i++)
        x[i] *= (double)weight[i] / sqrt(sum / (double)count + epsilon);
}

static void linear(const awq__weight *w, const double *x, double *y)
{
    const float *values = (const float *)(const void *)w->data;
    for (int64_t n = 0; n < w->rows; n++) {
        double scale = w->row_scale ? (double)w->row_scale[n] : 1;
        y[n] = w->bias ? (double)w->bias[n] : 0;
        for (int64_t k = 0; k < w->cols; k++)
            y[n] += (double)values[n * w->cols + k] * scale * x[k];
    }
}

/* Pair i is channels 2i and 2i + 1, or i and i + PAIRS. */
static void turn(const awq_rope *rope, bool adjacent, int64_t t, double *x)
{
    for (int64_t i = 0; i < PAIRS; i++) {
        double angle = (double)((float)t * (float)rope->inverse_frequency[i]);
        double c = cos(angle) * rope->attention_factor, s = sin(angle) * rope->attention_factor;
        double *a = x + (adjacent ? 2 * i : i), *b = adjacent ? a + 1 : a + PAIRS;
        double first = *a, second = *b;
        *a = first * c - second * s;
        *b = second * c + first * s;
    }
}

typedef struct token {
    double q[Q], k[HEADS][D], v[HEADS][VALUE];
} token;

static void make_token(const fixture *f, const awq_rope *rope, int64_t t, token *out)
{
    const awq__attention *a = &f->layer.attention;
    const awq__latent *m = &a->latent;
    double x[H], q_latent[Q_RANK], kv[A], made[B];
    for (int i = 0; i < H; i++)
        x[i] = (double)f->hidden[t * H + i];
    norm(x, H, f->norm, EPSILON);
    if (m->q_rank) {
        linear(&m->q_a, x, q_latent);
        norm(q_latent, Q_RANK, f->q_norm, LATENT_EPSILON);
        linear(&m->q_b, q_latent, out->q);
    } else {
        linear(&a->q, x, out->q);
    }
    linear(&m->kv_a, x, kv);
    norm(kv, KV_RANK, f->kv_norm, LATENT_EPSILON);
    turn(rope, a->adjacent, t, kv + KV_RANK);
    linear(&m->kv_b, kv, made);
    for (int h = 0; h < HEADS; h++) {
        turn(rope, a->adjacent, t, out->q + h * D + NOPE);
        memcpy(out->k[h], made + h * (NOPE + VALUE), sizeof(double[NOPE]));
        memcpy(out->k[h] + NOPE, kv + KV_RANK, sizeof(double[ROPE]));
        memcpy(out->v[h], made + h * (NOPE + VALUE) + NOPE, sizeof(double[VALUE]));
    }
}

static void attend(const token *tokens, int64_t t, int head, double scale, double *c)
{
    double weights[L], sum = 0;
    memset(c, 0, sizeof(double[VALUE]));
    for (int64_t j = 0; j <= t; j++) {
        double dot = 0;
        for (int i = 0; i < D; i++)
            dot += tokens[t].q[head * D + i] * tokens[j].k[head][i];
        sum += weights[j] = exp(scale * dot);
    }
    for (int64_t j = 0; j <= t; j++)
        for (int i = 0; i < VALUE; i++)
            c[i] += weights[j] / sum * tokens[j].v[head][i];
}

/* What the tap is shown. */
static void see(void *user, int64_t slot, awq__vector vector, int64_t tokens, const float *values)
{
    int *seen = user;
    seen[vector] += slot == 0 && tokens == L && isfinite(values[0]);
}

static void compare(const fixture *f)
{
    const awq_rope rope = {.pairs = PAIRS, .inverse_frequency = {1, 0.1}, .attention_factor = 1.2};
    static float out[L * H];
    static token tokens[L];
    awq__rotary rotary;
    const int64_t offsets[] = {0, L};
    const awq__sequences sequences = {.count = 1, .offsets = (int64_t *)(uintptr_t)offsets};
    int seen[AWQ__VECTOR_COUNT] = {0};
    assert_int_equal(awq__rotary_create(f->ctx, &rope, L, &rotary), AWQ_OK);
    for (const awq__compute *const *table = awq__compute_all(); *table; table++) {
        const awq__forward forward = {
            .ctx = f->ctx, .compute = *table, .sequences = &sequences, .rotary = &rotary};
        memset(seen, 0, sizeof seen);
        assert_int_equal(
            awq__attention_forward(&forward, &f->layer, f->hidden, false, out, see, seen), AWQ_OK);
        assert_int_equal(seen[AWQ__VECTOR_X] + seen[AWQ__VECTOR_KV_LATENT] + seen[AWQ__VECTOR_C],
                         3);
        assert_int_equal(seen[AWQ__VECTOR_Q_LATENT], f->layer.attention.latent.q_rank != 0);
        for (int64_t t = 0; t < L; t++) {
            double c[C], y[H];
            make_token(f, &rope, t, &tokens[t]);
            for (int h = 0; h < HEADS; h++)
                attend(tokens, t, h, (double)f->layer.attention.scale, c + h * VALUE);
            linear(&f->layer.attention.o, c, y);
            for (int i = 0; i < H; i++)
                assert_true(fabs((double)out[t * H + i] - y[i]) <= 2e-5);
        }
    }
    awq__rotary_free(&rotary);
}

static void queries_of_a_latent(void **state)
{
    compare(*state);
}

static void queries_of_the_state(void **state)
{
    fixture *f = *state;
    f->layer.attention.latent.q_rank = 0;
    f->layer.attention.q = awq__weight_plain("q", AWQ_F32, f->q, Q, H);
    compare(f);
}

static void pairs_in_halves(void **state)
{
    fixture *f = *state;
    f->layer.attention.adjacent = false;
    compare(f);
}

static void folded_values(void **state)
{
    fixture *f = *state;
    f->layer.attention.latent.kv_b.row_scale = f->value_scale;
    compare(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(queries_of_a_latent),
        TEST(queries_of_the_state),
        TEST(pairs_in_halves),
        TEST(folded_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
