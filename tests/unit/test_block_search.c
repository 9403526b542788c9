/* What searches are measured by, against plain loops over a tiny layer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "support/block_search.h"
#include "tables.h"

enum { H = 16, I = 12, E = 4, PER_TOKEN = 2, T = 1700, STEPS = 5, CANDIDATES = STEPS + 2 };

typedef struct tiny {
    float w[E][3][H * I]; /* gate and up [I,H], down [H,I] */
    float x[T * H];
    double salience[H], w_mean[H];
    awq__expert experts[E];
    awq__layer layer;
    awq__forward forward;
    awq__routes routes;
    float weight[T * PER_TOKEN];
    int32_t index[T * PER_TOKEN];
    int64_t first[E + 1], slots[T * PER_TOKEN];
    bool gate[E], up[E];
    awq__candidates candidates;
    awq__scheme schemes[E];
    block_search search;
} tiny;

static void group_by_expert(tiny *m)
{
    int64_t at = 0;
    for (int e = 0; e < E; e++) {
        m->first[e] = at;
        for (int64_t slot = 0; slot < T * PER_TOKEN; slot++)
            if (m->index[slot] == e)
                m->slots[at++] = slot;
    }
    m->first[E] = at;
}

/* Expert 0 has every token, 1 and 2 share the rest, 3 has none. */
static void set_routes(tiny *m, uint64_t *random)
{
    for (int64_t t = 0; t < T; t++) {
        m->index[2 * t] = 0;
        m->index[2 * t + 1] = uniform(random) < 0.3f ? 1 : 2;
        m->weight[2 * t] = between(random, 0.5f, 1);
        m->weight[2 * t + 1] = 1 - m->weight[2 * t];
    }
    group_by_expert(m);
    m->routes = (awq__routes){.tokens = T,
                              .experts = E,
                              .per_token = PER_TOKEN,
                              .index = m->index,
                              .weight = m->weight,
                              .first = m->first,
                              .slots = m->slots};
}

static tiny *make_tiny(awq_context *ctx, const awq__compute *table)
{
    static const char *const names[] = {"experts.0.w1", "experts.0.w3", "experts.0.w2"};
    uint64_t random = 42;
    tiny *m = space_for(1, sizeof *m);
    for (int e = 0; e < E; e++)
        for (int p = 0; p < 3; p++)
            for (int i = 0; i < H * I; i++)
                m->w[e][p][i] = 0.3f * normal(&random);
    for (int64_t i = 0; i < T * H; i++) {
        m->x[i] = normal(&random) * (i % H == 3 ? 20 : 1);
        m->salience[i % H] += fabs((double)m->x[i]) / T;
    }
    for (int h = 0; h < H; h++)
        m->w_mean[h] = 0.2 + 0.3 * (double)uniform(&random);
    for (int e = 0; e < E; e++) {
        m->experts[e] = (awq__expert){awq__weight_plain(names[0], AWQ_F32, m->w[e][0], I, H),
                                      awq__weight_plain(names[1], AWQ_F32, m->w[e][1], I, H),
                                      awq__weight_plain(names[2], AWQ_F32, m->w[e][2], H, I),
                                      .intermediate = I, .activation = {1, INFINITY, 0}};
        m->gate[e] = m->up[e] = true;
        m->schemes[e] = (awq__scheme){.bits = 4, .group = 8, .grid = AWQ__GRID_F16};
    }
    m->layer = (awq__layer){.number = 7,
                            .hidden = H,
                            .moe = {.experts = m->experts,
                                    .expert_count = E,
                                    .per_token = PER_TOKEN,
                                    .routed_count = E,
                                    .intermediate = I}};
    m->forward = (awq__forward){.ctx = ctx, .compute = table};
    set_routes(m, &random);
    m->candidates =
        (awq__candidates){.cols = H, .salience = m->salience, .w_mean = m->w_mean, .steps = STEPS};
    m->search = (block_search){.forward = &m->forward,
                               .layer = &m->layer,
                               .x = m->x,
                               .routes = &m->routes,
                               .gate = m->gate,
                               .up = m->up,
                               .schemes = m->schemes,
                               .candidates = &m->candidates};
    return m;
}

/* An activation that a plugin could bring. */
static void square_gate(int64_t layer, const float *gate, const float *up, int64_t count,
                        float *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = layer == 7 ? gate[i] * gate[i] * up[i] : NAN;
}

static void multiply(const float *w, int64_t rows, int64_t cols, const double *x, double *y)
{
    for (int64_t n = 0; n < rows; n++) {
        y[n] = 0;
        for (int64_t k = 0; k < cols; k++)
            y[n] += (double)w[n * cols + k] * x[k];
    }
}

/* down(a(gate(x), up(x))) in double. */
static void expert_output(const tiny *m, const float *gate, const float *up, const float *down,
                          const double *x, double *y)
{
    double g[I], u[I];
    multiply(gate, I, H, x, g);
    multiply(up, I, H, x, u);
    for (int i = 0; i < I; i++)
        g[i] = m->layer.moe.activate ? g[i] * g[i] * u[i] : u[i] * g[i] / (1 + exp(-g[i]));
    multiply(down, H, I, g, y);
}

static double brute_force(const tiny *m, int64_t candidate)
{
    float scale[H], rounded[2][H * I];
    double loss = 0;
    awq__candidate(&m->candidates, candidate, scale);
    for (int e = 0; e < E; e++) {
        const bool quantized[] = {m->gate[e], m->up[e]};
        if (!quantized[0] && !quantized[1])
            continue;
        for (int p = 0; p < 2; p++) {
            for (int i = 0; i < H * I; i++)
                rounded[p][i] = m->w[e][p][i] * (quantized[p] ? scale[i % H] : 1);
            if (quantized[p])
                awq__fake_quantize(I, H, &m->schemes[e], NULL, NULL, rounded[p]);
            for (int i = 0; i < H * I && quantized[p]; i++)
                rounded[p][i] /= scale[i % H];
        }
        for (int64_t slot = 0; slot < T * PER_TOKEN; slot++) {
            if (m->index[slot] != e)
                continue;
            double x[H], expected[H], found[H], weight = (double)m->weight[slot];
            for (int h = 0; h < H; h++)
                x[h] = (double)m->x[slot / PER_TOKEN * H + h];
            expert_output(m, m->w[e][0], m->w[e][1], m->w[e][2], x, expected);
            expert_output(m, rounded[0], rounded[1], m->w[e][2], x, found);
            for (int h = 0; h < H; h++)
                loss += weight * weight * (expected[h] - found[h]) * (expected[h] - found[h]);
        }
    }
    return loss;
}

/* The search agrees with brute force; returns what it found. */
static awq__found_scale check_search(const tiny *m)
{
    float scale[H], unscale[H], expected[H];
    awq__found_scale found;
    succeeds(m->forward.ctx, search_block(&m->search, scale, unscale, &found));
    double losses[CANDIDATES];
    int64_t best = 0;
    for (int64_t c = 0; c < CANDIDATES; c++) {
        losses[c] = brute_force(m, c);
        best = losses[c] < losses[best] ? c : best;
    }
    assert_near(found.identity_loss, losses[0], 1e-3 * losses[0]);
    assert_near(found.loss, losses[best], 1e-3 * losses[best]);
    assert_int_equal(found.candidate, best);
    awq__candidate(&m->candidates, best, expected);
    assert_memory_equal(scale, expected, sizeof scale);
    for (int h = 0; h < H; h++)
        assert_true(unscale[h] == 1 / scale[h]);
    return found;
}

static void the_search_agrees_with_brute_force(void **state)
{
    FOR_EACH_TABLE(table)
    {
        tiny *m = make_tiny(*state, table);
        assert_true(m->first[1] - m->first[0] > AWQ__TOKEN_BLOCK); /* more than one block */
        assert_int_equal(m->first[4], m->first[3]);                /* an expert without tokens */
        awq__found_scale found = check_search(m);
        assert_true(found.loss < 0.7 * found.identity_loss);
        free(m);
    }
}

static void only_what_is_quantized_counts(void **state)
{
    tiny *m = make_tiny(*state, awq__compute_fastest());
    m->gate[0] = false;
    m->up[1] = false;
    double some = check_search(m).identity_loss;
    m->gate[1] = m->gate[2] = m->up[2] = false; /* expert 0's up alone */
    double less = check_search(m).identity_loss;
    assert_true(less < some);
    m->up[0] = false; /* only the expert that no token reaches */
    awq__found_scale found = check_search(m);
    assert_int_equal(found.candidate, 0);
    assert_true(found.loss == 0);
    free(m);
}

/* One expert in 8 bits, one in groups of its own, one symmetric. */
static void each_expert_has_its_own_scheme(void **state)
{
    FOR_EACH_TABLE(table)
    {
        tiny *m = make_tiny(*state, table);
        double alike = check_search(m).identity_loss;
        m->schemes[0].bits = 8;
        double finer = check_search(m).identity_loss;
        assert_true(finer < 0.7 * alike);
        m->schemes[1].group = H;
        m->schemes[2].symmetric = true;
        assert_true(check_search(m).identity_loss > finer);
        free(m);
    }
}

static void no_tokens_keep_the_identity(void **state)
{
    tiny *m = make_tiny(*state, awq__compute_fastest());
    float scale[H], unscale[H];
    awq__found_scale found;
    m->routes.tokens = 0;
    memset(m->first, 0, sizeof m->first);
    succeeds(*state, search_block(&m->search, scale, unscale, &found));
    assert_int_equal(found.candidate, 0);
    for (int h = 0; h < H; h++)
        assert_true(scale[h] == 1 && unscale[h] == 1);
    free(m);
}

static void a_plugins_activation_is_used(void **state)
{
    tiny *m = make_tiny(*state, awq__compute_fastest());
    m->layer.moe.activate = square_gate;
    check_search(m);
    free(m);
}

static void threads_do_not_matter(void **state)
{
    awq_context *ctx = *state;
    tiny *m = make_tiny(ctx, awq__compute_fastest());
    float scale[3][H], unscale[H];
    awq__found_scale found[3];
    static const int threads[] = {1, 2, 5};
    for (int i = 0; i < 3; i++) {
        succeeds(ctx, awq_context_set_threads(ctx, threads[i]));
        succeeds(ctx, search_block(&m->search, scale[i], unscale, &found[i]));
        assert_memory_equal(scale[i], scale[0], sizeof scale[0]);
        assert_true(found[i].loss == found[0].loss);
        assert_true(found[i].identity_loss == found[0].identity_loss);
    }
    free(m);
}

static void outputs_that_overflow_are_an_error(void **state)
{
    tiny *m = make_tiny(*state, awq__compute_fastest());
    float scale[H], unscale[H];
    awq__found_scale found;
    m->x[100 * H] = INFINITY;
    fails(*state, search_block(&m->search, scale, unscale, &found), AWQ_ERROR_NUMERIC,
          "experts.0.w1");
    free(m);
}

/* y = x Q(W * scale)^T / scale over several blocks of rows. */
static void a_fake_linear_rounds_every_block(void **state)
{
    (void)state;
    enum { N = 600, K = 512, TOKENS = 3 };
    uint64_t random = 3;
    float *w = normals(&random, N * K), *x = normals(&random, TOKENS * K), *rounded = floats(N * K);
    float *scale = floats(K), *unscale = floats(K), y[TOKENS * (N + 1)], expected[TOKENS * N];
    for (int64_t k = 0; k < K; k++) {
        scale[k] = between(&random, 0.5f, 4);
        unscale[k] = 1 / scale[k];
    }
    for (int64_t i = 0; i < N * K; i++)
        rounded[i] = w[i] * scale[i % K];
    const awq__scheme scheme = {.bits = 4, .group = 128, .grid = AWQ__GRID_F16};
    const awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
    assert_true(awq__weight_block(&weight) < N);
    float *work = floats(awq__weight_work(&weight));
    awq__fake_quantize(N, K, &scheme, NULL, unscale, rounded);
    awq__compute_reference()->multiply_nt(TOKENS, N, K, x, K, rounded, K, 0, expected, N);
    FOR_EACH_TABLE(table)
    {
        linear_fake(table, &weight, &scheme, scale, unscale, TOKENS, x, K, y, N + 1, work);
        for (int i = 0; i < TOKENS * N; i++)
            assert_near_at(y[i / N * (N + 1) + i % N], expected[i], 1e-3, table->name, i);
    }
    free(w);
    free(x);
    free(rounded);
    free(scale);
    free(unscale);
    free(work);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(the_search_agrees_with_brute_force),
        TEST(only_what_is_quantized_counts),
        TEST(each_expert_has_its_own_scheme),
        TEST(no_tokens_keep_the_identity),
        TEST(a_plugins_activation_is_used),
        TEST(threads_do_not_matter),
        TEST(outputs_that_overflow_are_an_error),
        cmocka_unit_test(a_fake_linear_rounds_every_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
