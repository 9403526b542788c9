/* The loss of a linear from x^T x, the search for its scales, and clipping. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "quant/quant.h"
#include "tables.h"

/* A linear with inputs of which a few channels are outliers. */
typedef struct problem {
    int64_t T, N, K;
    float *x, *w;
    awq__weight weight;
    awq__stats stats; /* whole */
    double *salience, *relative;
    awq__candidates candidates;
} problem;

static void make_problem(awq_context *ctx, problem *p, int64_t T, int64_t N, int64_t K,
                         float outlier, uint64_t *random)
{
    *p = (problem){.T = T, .N = N, .K = K};
    p->x = normals(random, T * K);
    p->w = normals(random, N * K);
    for (int64_t i = 0; i < T * K; i++)
        p->x[i] *= i % K % 37 == 5 ? outlier : 1;
    p->weight = awq__weight_plain("layer.w", AWQ_F32, p->w, N, K);
    succeeds(ctx, awq__stats_create(ctx, K, K, &p->stats));
    awq__stats_add(awq__compute_fastest(), &p->stats, T, p->x, K);
    p->salience = space_for(K, sizeof(double));
    p->relative = space_for(K, sizeof(double));
    for (int64_t k = 0; k < K; k++)
        p->salience[k] = p->stats.abs_sums[k] / (double)T;
    const awq__weight *list[] = {&p->weight};
    float *work = floats(awq__weight_work(&p->weight));
    awq__mean_relative(awq__compute_reference(), list, 1, K % 32 ? K : 32, p->relative, work);
    free(work);
    p->candidates =
        (awq__candidates){.cols = K, .salience = p->salience, .relative = p->relative, .steps = 10};
}

static void free_problem(problem *p)
{
    awq__stats_free(&p->stats);
    free(p->x);
    free(p->w);
    free(p->salience);
    free(p->relative);
}

/* |x (W - Q(W s)/s)^T|^2 in plain loops. */
static double direct_loss(const problem *p, const awq__scheme *scheme, const float *scale,
                          const float *limit)
{
    float *q = copy_of(p->w, p->N * p->K);
    for (int64_t i = 0; i < p->N * p->K; i++)
        q[i] *= scale ? scale[i % p->K] : 1;
    awq__compute_reference()->fake_quantize(p->N, p->K, scheme, limit, NULL, q);
    double loss = 0;
    for (int64_t i = 0; i < p->N * p->K; i++)
        q[i] = p->w[i] - q[i] / (scale ? scale[i % p->K] : 1);
    for (int64_t t = 0; t < p->T; t++)
        for (int64_t n = 0; n < p->N; n++) {
            double error = 0;
            for (int64_t k = 0; k < p->K; k++)
                error += (double)p->x[t * p->K + k] * (double)q[n * p->K + k];
            loss += error * error;
        }
    free(q);
    return loss;
}

static void invert(const float *scale, int64_t K, float *unscale)
{
    for (int64_t k = 0; k < K; k++)
        unscale[k] = 1 / scale[k];
}

static double gram_loss(const awq__compute *table, const problem *p, const awq__scheme *scheme,
                        const float *scale, const float *limit)
{
    float *space = floats(awq__linear_loss_space(&p->weight)), *unscale = floats(p->K);
    if (scale)
        invert(scale, p->K, unscale);
    double loss = awq__linear_loss(table, &p->weight, scheme, scale, scale ? unscale : NULL, limit,
                                   p->stats.gram, space);
    free(space);
    free(unscale);
    return loss;
}

static void the_loss_is_that_of_the_outputs(void **state)
{
    uint64_t random = 1;
    static const int64_t shapes[][4] = {
        /* T, N, K, g */ {50, 20, 96, 32}, {3, 7, 33, 33}, {1, 140, 2048, 128}};
    for (int i = 0; i < 3; i++) {
        problem p;
        make_problem(*state, &p, shapes[i][0], shapes[i][1], shapes[i][2], 10, &random);
        assert_true(i < 2 || awq__weight_block(&p.weight) < p.N);
        const awq__scheme scheme = {
            .bits = 4, .group = shapes[i][3], .symmetric = i == 1, .grid = AWQ__GRID_F16};
        float *scale = floats(p.K), *limit = floats(p.N * p.K / scheme.group);
        awq__candidate(&p.candidates, 6, scale);
        for (int64_t j = 0; j < p.N * p.K / scheme.group; j++)
            limit[j] = between(&random, 1, 3);
        FOR_EACH_TABLE(table)
        for (int with = 0; with < 4; with++) {
            if (i == 2 && table == awq__compute_reference())
                continue; /* it would take long */
            const float *s = with & 1 ? scale : NULL, *l = with & 2 ? limit : NULL;
            double expected = direct_loss(&p, &scheme, s, l);
            assert_true(expected > 0);
            assert_near(gram_loss(table, &p, &scheme, s, l), expected, 2e-3 * expected);
        }
        free(scale);
        free(limit);
        free_problem(&p);
    }
}

/* ---- the search ---- */

static const awq__scheme scheme4 = {.bits = 4, .group = 32, .grid = AWQ__GRID_BF16_F16};

static void the_search_takes_the_best_candidate(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 2;
    problem p;
    make_problem(ctx, &p, 60, 24, 128, 30, &random);
    const awq__weight *list[] = {&p.weight};
    float *scale = floats(p.K), *unscale = floats(p.K), *best_scale = floats(p.K);
    FOR_EACH_TABLE(table)
    {
        awq__found_scale found;
        succeeds(ctx, awq__search_linear(ctx, table, list, 1, &scheme4, &p.candidates, &p.stats,
                                         scale, unscale, &found));
        double best = INFINITY;
        int64_t best_at = -1;
        for (int64_t c = 0; c < awq__candidate_count(&p.candidates); c++) {
            awq__candidate(&p.candidates, c, best_scale);
            double loss = direct_loss(&p, &scheme4, best_scale, NULL);
            if (loss < best) {
                best = loss;
                best_at = c;
            }
        }
        assert_int_equal(found.candidate, best_at);
        assert_near(found.loss, best, 1e-3 * best);
        double plain = direct_loss(&p, &scheme4, NULL, NULL);
        assert_near(found.identity_loss, plain, 1e-3 * plain);
        assert_true(best < 0.5 * plain); /* outliers are what AWQ is for */
        awq__candidate(&p.candidates, best_at, best_scale);
        assert_memory_equal(scale, best_scale, (size_t)p.K * sizeof *scale);
        for (int64_t k = 0; k < p.K; k++)
            assert_true(unscale[k] == 1 / scale[k]);
    }
    free(scale);
    free(unscale);
    free(best_scale);
    free_problem(&p);
}

static void the_search_is_never_worse_than_none(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 3;
    for (int round = 0; round < 30; round++) {
        problem p;
        make_problem(ctx, &p, 1 + round, 8, 64, round % 3 ? 1 : 5, &random);
        const awq__weight *list[] = {&p.weight};
        float *scale = floats(p.K), *unscale = floats(p.K);
        const awq__scheme scheme = {
            .bits = 2 + round % 7, .group = 64, .symmetric = round % 2 == 0, .grid = AWQ__GRID_F16};
        awq__found_scale found;
        succeeds(ctx, awq__search_linear(ctx, awq__compute_fastest(), list, 1, &scheme,
                                         &p.candidates, &p.stats, scale, unscale, &found));
        assert_true(found.loss <= found.identity_loss);
        double chosen = direct_loss(&p, &scheme, scale, NULL);
        double plain = direct_loss(&p, &scheme, NULL, NULL);
        assert_true(chosen <= plain * 1.001);
        free(scale);
        free(unscale);
        free_problem(&p);
    }
}

/* Weights that the codes hold exactly: nothing can be gained, and the identity is kept. */
static void nothing_to_gain_keeps_the_identity(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 4;
    problem p;
    make_problem(ctx, &p, 20, 4, 64, 30, &random);
    for (int64_t i = 0; i < p.N * p.K; i++)
        p.w[i] = i % 32 < 2 ? 15 * (float)(i % 32) : (float)(i % 16);
    const awq__weight *list[] = {&p.weight};
    float *scale = floats(p.K), *unscale = floats(p.K);
    awq__found_scale found;
    succeeds(ctx, awq__search_linear(ctx, awq__compute_fastest(), list, 1, &scheme4, &p.candidates,
                                     &p.stats, scale, unscale, &found));
    assert_int_equal(found.candidate, 0);
    assert_true(found.loss == 0);
    for (int64_t k = 0; k < p.K; k++)
        assert_true(scale[k] == 1 && unscale[k] == 1);
    free(scale);
    free(unscale);
    free_problem(&p);
}

static void matrices_that_share_an_input_share_a_scale(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 5;
    problem p, other;
    make_problem(ctx, &p, 40, 16, 96, 20, &random);
    make_problem(ctx, &other, 40, 5, 96, 20, &random);
    const awq__weight *list[] = {&p.weight, &other.weight};
    float *scale = floats(p.K), *unscale = floats(p.K), *again = floats(p.K);
    awq__found_scale found, repeated;
    succeeds(ctx, awq_context_set_threads(ctx, 1));
    succeeds(ctx, awq__search_linear(ctx, awq__compute_fastest(), list, 2, &scheme4, &p.candidates,
                                     &p.stats, scale, unscale, &found));
    free(other.x);
    other.x = copy_of(p.x, p.T * p.K);
    double expected =
        direct_loss(&p, &scheme4, scale, NULL) + direct_loss(&other, &scheme4, scale, NULL);
    assert_near(found.loss, expected, 1e-3 * expected);
    for (int threads = 2; threads <= 5; threads += 3) { /* the same bits */
        succeeds(ctx, awq_context_set_threads(ctx, threads));
        succeeds(ctx, awq__search_linear(ctx, awq__compute_fastest(), list, 2, &scheme4,
                                         &p.candidates, &p.stats, again, unscale, &repeated));
        assert_memory_equal(again, scale, (size_t)p.K * sizeof *scale);
        assert_true(repeated.loss == found.loss);
    }
    free(scale);
    free(unscale);
    free(again);
    free_problem(&p);
    free_problem(&other);
}

static void statistics_that_overflow_are_an_error(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 6;
    problem p;
    make_problem(ctx, &p, 10, 4, 32, 1, &random);
    const awq__weight *list[] = {&p.weight};
    float scale[32], unscale[32];
    awq__found_scale found;
    p.stats.gram[5] = INFINITY;
    fails(ctx,
          awq__search_linear(ctx, awq__compute_fastest(), list, 1, &scheme4, &p.candidates,
                             &p.stats, scale, unscale, &found),
          AWQ_ERROR_NUMERIC, "layer.w");
    free_problem(&p);
}

/* ---- clipping ---- */

/* The loss of one group of one row with its block of the statistics. */
static double group_loss(const problem *p, const awq__stats *blocks, const awq__scheme *scheme,
                         int64_t group, float limit)
{
    int64_t g = scheme->group, block = group % (p->K / g);
    float *d = copy_of(p->w + group * g, g);
    awq__compute_reference()->fake_quantize(1, g, scheme, &limit, NULL, d);
    double loss = 0;
    for (int64_t k = 0; k < g; k++)
        d[k] -= p->w[group * g + k];
    for (int64_t i = 0; i < g; i++)
        for (int64_t j = 0; j < g; j++)
            loss += (double)d[i] * (double)d[j] * (double)blocks->gram[(block * g + i) * g + j];
    free(d);
    return loss;
}

static void clips_are_the_best_of_ten(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 7;
    static const int64_t shapes[][3] = {/* N, K, g */ {6, 64, 32}, {5, 66, 33}, {4, 24, 24}};
    int clipped = 0, whole = 0;
    for (int s = 0; s < 6; s++) {
        problem p;
        int64_t N = shapes[s % 3][0], K = shapes[s % 3][1], g = shapes[s % 3][2];
        make_problem(ctx, &p, 30, N, K, 3, &random);
        for (int64_t n = 0; n < N; n++)
            p.w[n * K + 1] *= 5; /* something to clip */
        for (int64_t k = 0; k < g; k++)
            p.w[k] = 0; /* and a group with nothing */
        const awq__scheme scheme = {
            .bits = 3, .group = g, .symmetric = s >= 3, .grid = AWQ__GRID_F16};
        awq__stats blocks;
        float *limit = floats(N * K / g);
        succeeds(ctx, awq__stats_blocks(ctx, &p.stats, g, &blocks));
        FOR_EACH_TABLE(table)
        {
            succeeds(ctx, awq__search_clip(ctx, table, &p.weight, &scheme, &blocks, limit));
            assert_true(isinf(limit[0]));
            for (int64_t i = 0; i < N * K / g; i++) {
                float largest = 0;
                for (int64_t k = i * g; k < i * g + g; k++)
                    largest = fmaxf(largest, fabsf(p.w[k]));
                double chosen = group_loss(&p, &blocks, &scheme, i, limit[i]);
                double plain = group_loss(&p, &blocks, &scheme, i, INFINITY);
                bool allowed = isinf(limit[i]) != 0;
                for (int step = 1; step < 10; step++) {
                    float tried = largest * (1 - 0.05f * (float)step);
                    double loss = group_loss(&p, &blocks, &scheme, i, tried);
                    assert_true(chosen <= loss + 1e-3 * fabs(loss) + 1e-6);
                    allowed |= fabsf(limit[i] - tried) <= 1e-6f * tried;
                }
                assert_true(allowed);
                assert_true(chosen <= plain + 1e-6 * fabs(plain));
                clipped += isfinite(limit[i]) != 0;
                whole += isinf(limit[i]) != 0;
            }
        }
        awq__stats_free(&blocks);
        free(limit);
        free_problem(&p);
    }
    assert_true(clipped > 20 && whole > 20);
}

/* E2M1 codes: the scale of the largest magnitude, the next one, and the one before. */
static void powers_of_two_are_the_best_of_three(void **state)
{
    awq_context *ctx = *state;
    enum { N = 12, K = 96, G = 32, COUNT = N * K / G };
    uint64_t random = 9;
    problem p;
    make_problem(ctx, &p, 30, N, K, 3, &random);
    for (int64_t i = 0; i < COUNT; i++) /* largest magnitudes all over a power of two */
        p.w[i * G + 5] = between(&random, 4, 8) * (i % 2 ? 1 : -1);
    for (int64_t k = 0; k < G; k++) {
        p.w[k] = 0;
        p.w[G + k] = k % 2 ? 1.5f : -6; /* exact as it is */
        /* An outlier that matters less than what its scale would drown, and one that is cut off. */
        p.w[2 * G + k] = k == 7 ? 4 : k % 2 ? 0.24f : -0.26f;
        p.w[3 * G + k] = k % 3 ? 7.9f : -4;
    }
    for (int64_t t = 0; t < p.T; t++)
        p.x[t * K + 2 * G + 7] *= 0.01f;
    const awq__scheme scheme = {.code = AWQ__CODE_E2M1, .bits = 4, .group = G};
    awq__stats blocks;
    float limit[COUNT];
    succeeds(ctx, awq__stats_create(ctx, K, G, &blocks));
    awq__stats_add(awq__compute_fastest(), &blocks, p.T, p.x, K);
    FOR_EACH_TABLE(table)
    {
        int chosen[3] = {0};
        succeeds(ctx, awq__search_clip(ctx, table, &p.weight, &scheme, &blocks, limit));
        for (int64_t i = 0; i < COUNT; i++) {
            float largest = 0;
            for (int64_t k = i * G; k < i * G + G; k++)
                largest = fmaxf(largest, fabsf(p.w[k]));
            const float tried[] = {INFINITY, 2 * largest, largest / 2};
            double found = group_loss(&p, &blocks, &scheme, i, limit[i]);
            int which = -1;
            for (int j = 0; j < 3; j++) {
                double loss = group_loss(&p, &blocks, &scheme, i, tried[j]);
                assert_true(found <= loss * (1 + 1e-3) + 1e-6);
                which = limit[i] == tried[j] ? j : which;
            }
            assert_true(which >= 0);
            chosen[which]++;
        }
        assert_true(isinf(limit[0]) && isinf(limit[1]));
        assert_true(limit[2] == 2);
        assert_true(limit[3] == 2 * 7.9f);
        assert_true(chosen[0] > 4 && chosen[1] > 4 && chosen[2] > 0);
    }
    awq__stats_free(&blocks);
    free_problem(&p);
}

static void clips_of_all_blocks_of_rows_are_found(void **state)
{
    awq_context *ctx = *state;
    enum { N = 80, K = 4096, G = 128 };
    uint64_t random = 8;
    float *row = normals(&random, K), *w = floats(N * K), *limit = floats(N * K / G);
    row[3] *= 6;
    for (int64_t n = 0; n < N; n++)
        memcpy(w + n * K, row, K * sizeof *w); /* equal rows have equal clips */
    float *x = normals(&random, 4 * K);
    const awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
    assert_true(awq__weight_block(&weight) < N);
    const awq__scheme scheme = {.bits = 3, .group = G, .grid = AWQ__GRID_F16};
    awq__stats blocks;
    succeeds(ctx, awq__stats_create(ctx, K, G, &blocks));
    awq__stats_add(awq__compute_fastest(), &blocks, 4, x, K);
    succeeds(ctx, awq__search_clip(ctx, awq__compute_fastest(), &weight, &scheme, &blocks, limit));
    for (int64_t n = 1; n < N; n++)
        for (int64_t b = 0; b < K / G; b++)
            assert_true(limit[n * (K / G) + b] == limit[b]);
    awq__stats_free(&blocks);
    free(row);
    free(w);
    free(x);
    free(limit);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(the_loss_is_that_of_the_outputs),
        TEST(the_search_takes_the_best_candidate),
        TEST(the_search_is_never_worse_than_none),
        TEST(nothing_to_gain_keeps_the_identity),
        TEST(matrices_that_share_an_input_share_a_scale),
        TEST(statistics_that_overflow_are_an_error),
        TEST(clips_are_the_best_of_ten),
        TEST(powers_of_two_are_the_best_of_three),
        TEST(clips_of_all_blocks_of_rows_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
