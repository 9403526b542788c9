/* Statistics of inputs, candidate scales, and the choice between them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "core/convert.h"
#include "quant/quant.h"
#include "tables.h"

/* x[T,K] with an outlier in every eighth channel. */
static float *inputs(uint64_t *random, int64_t T, int64_t K)
{
    float *x = normals(random, T * K);
    for (int64_t i = 0; i < T * K; i++)
        x[i] *= i % K % 8 == 3 ? 20 : 1;
    return x;
}

/* ---- statistics ---- */

static void assert_same_stats(const awq__stats *a, const awq__stats *b, double tolerance)
{
    assert_int_equal(a->cols, b->cols);
    assert_int_equal(a->group, b->group);
    assert_int_equal(a->tokens, b->tokens);
    for (int64_t k = 0; k < a->cols; k++)
        assert_near_at(a->abs_sums[k], b->abs_sums[k], tolerance * b->abs_sums[k], "sum", k);
    double largest = 0;
    for (int64_t i = 0; i < a->cols * a->group; i++)
        largest = fmax(largest, fabs((double)b->gram[i]));
    for (int64_t i = 0; i < a->cols * a->group; i++)
        assert_near_at(a->gram[i], b->gram[i], tolerance * largest, "moment", i);
}

static void statistics_are_sums_over_tokens(void **state)
{
    awq_context *ctx = *state;
    enum { T = 40, K = 24 };
    uint64_t random = 1;
    float *x = inputs(&random, T, K + 1);
    FOR_EACH_TABLE(table)
    for (int64_t g = 6; g <= K; g *= 4) {
        awq__stats stats;
        succeeds(ctx, awq__stats_create(ctx, K, g, &stats));
        awq__stats_add(table, &stats, 13, x, K + 1);
        awq__stats_add(table, &stats, 0, x, K + 1);
        awq__stats_add(table, &stats, T - 13, x + 13 * (K + 1), K + 1);
        assert_int_equal(stats.tokens, T);
        for (int64_t k = 0; k < K; k++) {
            double sum = 0;
            for (int64_t t = 0; t < T; t++)
                sum += fabs((double)x[t * (K + 1) + k]);
            assert_near_at(stats.abs_sums[k], sum, 1e-12 * sum, table->name, k);
            for (int64_t j = 0; j < g; j++) {
                double product = 0;
                for (int64_t t = 0; t < T; t++)
                    product += (double)x[t * (K + 1) + k] * (double)x[t * (K + 1) + k / g * g + j];
                assert_near_at(stats.gram[k * g + j], product, 1e-6 * T * 400, table->name, j);
            }
        }
        awq__stats_free(&stats);
        assert_null(stats.gram);
    }
    free(x);
}

/* By strips in parallel and mirrored: the same as in one piece, whatever the threads. */
static void whole_moments_are_added_in_strips(void **state)
{
    awq_context *ctx = *state;
    enum { T = 21, K = 1100 };
    const awq__compute *table = awq__compute_fastest();
    uint64_t random = 5;
    float *x = inputs(&random, T, K + 3);
    awq__stats direct, strips[2];
    succeeds(ctx, awq__stats_create(ctx, K, K, &direct));
    awq__stats_add(table, &direct, T, x, K + 3);
    for (int i = 0; i < 2; i++) {
        succeeds(ctx, awq_context_set_threads(ctx, 1 + 2 * i));
        succeeds(ctx, awq__stats_create(ctx, K, K, &strips[i]));
        succeeds(ctx, awq__stats_add_whole(ctx, table, &strips[i], 8, x, K + 3));
        succeeds(ctx, awq__stats_add_whole(ctx, table, &strips[i], T - 8, x + 8 * (K + 3), K + 3));
        awq__stats_mirror(awq__compute_fastest(), &strips[i]);
        assert_int_equal(strips[i].tokens, T);
        assert_same_stats(&strips[i], &direct, 1e-6);
    }
    assert_memory_equal(strips[0].gram, strips[1].gram, sizeof(float) * K * K);
    for (int64_t i = 0; i < K; i++)
        for (int64_t k = 0; k < i; k++)
            if (strips[0].gram[i * K + k] != strips[0].gram[k * K + i])
                fail_msg("row %d, column %d is not mirrored", (int)i, (int)k);
    awq__stats_free(&direct);
    awq__stats_free(&strips[0]);
    awq__stats_free(&strips[1]);
    free(x);
}

static void rescaled_statistics_are_those_of_rescaled_inputs(void **state)
{
    awq_context *ctx = *state;
    enum { T = 30, K = 16 };
    const awq__compute *table = awq__compute_reference();
    uint64_t random = 2;
    float *x = inputs(&random, T, K), factor[K];
    for (int64_t g = 4; g <= K; g *= 4) {
        awq__stats rescaled, direct;
        succeeds(ctx, awq__stats_create(ctx, K, g, &rescaled));
        succeeds(ctx, awq__stats_create(ctx, K, g, &direct));
        awq__stats_add(table, &rescaled, T, x, K);
        for (int k = 0; k < K; k++)
            factor[k] = between(&random, 0.2f, 3);
        awq__stats_rescale(awq__compute_reference(), &rescaled, factor);
        float *scaled = copy_of(x, T * K);
        for (int i = 0; i < T * K; i++)
            scaled[i] *= factor[i % K];
        awq__stats_add(table, &direct, T, scaled, K);
        assert_same_stats(&rescaled, &direct, 1e-6);
        awq__stats_free(&rescaled);
        awq__stats_free(&direct);
        free(scaled);
    }
    free(x);
}

static void blocks_are_cut_from_the_whole(void **state)
{
    awq_context *ctx = *state;
    enum { T = 20, K = 24 };
    uint64_t random = 3;
    float *x = inputs(&random, T, K);
    awq__stats whole, direct, blocks;
    succeeds(ctx, awq__stats_create(ctx, K, K, &whole));
    awq__stats_add(awq__compute_reference(), &whole, T, x, K);
    static const int64_t groups[] = {1, 3, 8, 24};
    for (int i = 0; i < 4; i++) {
        succeeds(ctx, awq__stats_create(ctx, K, groups[i], &direct));
        awq__stats_add(awq__compute_reference(), &direct, T, x, K);
        succeeds(ctx, awq__stats_blocks(ctx, awq__compute_reference(), &whole, groups[i], &blocks));
        assert_same_stats(&blocks, &direct, 0);
        awq__stats_free(&direct);
        awq__stats_free(&blocks);
    }
    awq__stats_free(&whole);
    free(x);
    fails(ctx, awq__stats_create(ctx, INT64_MAX / 2, INT64_MAX / 2, &whole), AWQ_ERROR_MEMORY,
          "out of memory");
    assert_null(whole.gram);
}

/* ---- sketches ---- */

/* Whole numbers, so that sums of a few products are exact whatever their order. */
static float *whole_inputs(uint64_t *random, int64_t T, int64_t K)
{
    float *x = normals(random, T * K);
    for (int64_t i = 0; i < T * K; i++)
        x[i] = rintf(8 * x[i]);
    return x;
}

/* sum over rows of x[row,i] * x[row,j] */
static double product_of(const float *x, int64_t rows, int64_t ld, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t row = 0; row < rows; row++)
        sum += (double)x[row * ld + i] * (double)x[row * ld + j];
    return sum;
}

static void tokens_with_rows_of_their_own_lose_nothing(void **state)
{
    awq_context *ctx = *state;
    enum { T = 11, K = 9, ROWS = 13 };
    uint64_t random = 11;
    float *x = normals(&random, T * (K + 2));
    for (uint64_t seed = 0; seed < 5; seed++) {
        awq__stats sketch;
        succeeds(ctx, awq__stats_create_sketch(ctx, K, ROWS, &sketch));
        assert_int_equal(sketch.rows, ROWS);
        assert_int_equal(sketch.cols, K);
        assert_int_equal(sketch.group, K);
        for (int64_t t = 0; t < T; t++)
            awq__stats_sketch(awq__compute_fastest(), &sketch, 1 + t, 1, seed, 1, x + t * (K + 2),
                              K + 2);
        for (int64_t i = 0; i < K; i++) {
            assert_true(sketch.gram[i] == 0 && sketch.gram[(ROWS - 1) * K + i] == 0);
            for (int64_t j = 0; j < K; j++)
                assert_true(product_of(sketch.gram, ROWS, K, i, j) ==
                            product_of(x, T, K + 2, i, j));
        }
        awq__stats_free(&sketch);
        assert_null(sketch.gram);
    }
    free(x);
}

/* The variance of (R^T R)[i,j]: two tokens meet in one of `rows` rows, with a random sign. */
static double sketch_variance(const float *x, int64_t T, int64_t K, int64_t rows, int64_t i,
                              int64_t j)
{
    double sum = 0;
    for (int64_t t = 0; t < T; t++)
        for (int64_t u = 0; u < t; u++) {
            double cross = (double)x[t * K + i] * (double)x[u * K + j] +
                           (double)x[u * K + i] * (double)x[t * K + j];
            sum += cross * cross;
        }
    return sum / (double)rows;
}

/* Over many seeds the mean is right, and the spread is that of independent signs and rows. */
static void a_sketch_expects_the_products(void **state)
{
    awq_context *ctx = *state;
    enum { T = 40, K = 6, SEEDS = 2000 };
    static const int64_t rows[] = {1, 4, 16};
    uint64_t random = 12;
    float *x = inputs(&random, T, K);
    for (int r = 0; r < 3; r++) {
        double mean[K * K] = {0}, spread[K * K] = {0};
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            awq__stats sketch;
            succeeds(ctx, awq__stats_create_sketch(ctx, K, rows[r] + 2, &sketch));
            awq__stats_sketch(awq__compute_fastest(), &sketch, 1, rows[r], seed * T, T, x, K);
            for (int64_t k = 0; k < K; k++) /* rows that are not meant stay */
                assert_true(sketch.gram[k] == 0 && sketch.gram[(rows[r] + 1) * K + k] == 0);
            for (int64_t at = 0; at < K * K; at++) {
                double error = product_of(sketch.gram, rows[r] + 2, K, at / K, at % K) -
                               product_of(x, T, K, at / K, at % K);
                mean[at] += error / SEEDS;
                spread[at] += error * error / SEEDS;
            }
            awq__stats_free(&sketch);
        }
        for (int64_t at = 0; at < K * K; at++) {
            double variance = sketch_variance(x, T, K, rows[r], at / K, at % K);
            assert_near_at(mean[at], 0, 4.5 * sqrt(variance / SEEDS), "mean error", at);
            assert_near_at(spread[at] / variance, 1, 0.3, "spread", at);
        }
    }
    free(x);
}

static void sketches_add_up(void **state)
{
    awq_context *ctx = *state;
    enum { T = 30, K = 16, ROWS = 5 };
    uint64_t random = 13;
    float *x = whole_inputs(&random, T, K), factor[K];
    awq__stats whole, part, rescaled;
    succeeds(ctx, awq__stats_create_sketch(ctx, K, ROWS, &whole));
    succeeds(ctx, awq__stats_create_sketch(ctx, K, ROWS, &part));
    succeeds(ctx, awq__stats_create_sketch(ctx, K, ROWS, &rescaled));
    awq__stats_sketch(awq__compute_fastest(), &whole, 0, ROWS, 77, T, x, K);
    /* A token's row and sign are those of its number, wherever a block begins. */
    awq__stats_sketch(awq__compute_fastest(), &part, 0, ROWS, 77, 13, x, K);
    awq__stats_sketch(awq__compute_fastest(), &part, 0, ROWS, 77 + 13, T - 13, x + 13 * K, K);
    assert_memory_equal(part.gram, whole.gram, ROWS * K * sizeof *part.gram);
    awq__stats_sketch(awq__compute_fastest(), &rescaled, 0, ROWS, 1234, T, x,
                      K); /* other seeds, other rows */
    assert_memory_not_equal(rescaled.gram, whole.gram, ROWS * K * sizeof *part.gram);
    memset(rescaled.gram, 0, ROWS * K * sizeof *part.gram);

    part.abs_sums[3] = 7;
    for (int k = 0; k < K; k++)
        factor[k] = ldexpf(1, k % 7 - 3); /* exact in every sum */
    awq__stats_rescale(awq__compute_reference(), &part, factor);
    assert_true(part.abs_sums[3] == 7 * (double)factor[3]);
    memset(rescaled.gram, 0, ROWS * K * sizeof *part.gram);
    for (int i = 0; i < T * K; i++)
        x[i] *= factor[i % K];
    awq__stats_sketch(awq__compute_fastest(), &rescaled, 0, ROWS, 77, T, x, K);
    assert_memory_equal(part.gram, rescaled.gram, ROWS * K * sizeof *part.gram);
    awq__stats_free(&whole);
    awq__stats_free(&part);
    awq__stats_free(&rescaled);
    free(x);
}

static void blocks_come_from_a_sketch(void **state)
{
    awq_context *ctx = *state;
    enum { T = 20, K = 24, ROWS = 6 };
    static const int64_t groups[] = {1, 3, 8, 24};
    uint64_t random = 14;
    float *x = whole_inputs(&random, T, K);
    awq__stats sketch, blocks;
    succeeds(ctx, awq__stats_create_sketch(ctx, K, ROWS, &sketch));
    awq__stats_sketch(awq__compute_fastest(), &sketch, 0, ROWS, 5, T, x, K);
    sketch.tokens = T;
    for (int k = 0; k < K; k++)
        sketch.abs_sums[k] = k;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < 4; i++) {
        int64_t g = groups[i];
        succeeds(ctx, awq__stats_blocks(ctx, table, &sketch, g, &blocks));
        assert_int_equal(blocks.rows, 0);
        assert_int_equal(blocks.group, g);
        assert_int_equal(blocks.tokens, T);
        assert_memory_equal(blocks.abs_sums, sketch.abs_sums, K * sizeof *blocks.abs_sums);
        for (int64_t at = 0; at < K * g; at++)
            assert_true((double)blocks.gram[at] ==
                        product_of(sketch.gram, ROWS, K, at / g, at / g / g * g + at % g));
        awq__stats_free(&blocks);
    }
    awq__stats_free(&sketch);
    free(x);
}

/* ---- weights ---- */

static void w_mean_is_over_all_rows(void **state)
{
    (void)state;
    enum { K = 512, N = 600, SECOND = 7, G = 64 };
    uint64_t random = 4;
    float *w = normals(&random, (N + SECOND) * K);
    const awq__weight weights[] = {awq__weight_plain("a", AWQ_F32, w, N, K),
                                   awq__weight_plain("b", AWQ_F32, w + N * K, SECOND, K)};
    const awq__weight *list[] = {&weights[0], &weights[1]};
    double *expected = space_for(K, sizeof *expected), *found = space_for(K, sizeof *found);
    float *work = floats(awq__weight_work(list[0]));
    assert_true(awq__weight_block(list[0]) < N);
    for (int64_t k = 0; k < K; k++)
        found[k] = 1e9; /* is cleared first */
    awq__compute_reference()->add_w_mean(N + SECOND, K, G, w, expected);
    awq__w_mean(awq__compute_fastest(), list, 2, G, found, work);
    for (int64_t k = 0; k < K; k++)
        assert_near_at(found[k], expected[k] / (N + SECOND), 1e-9, "w_mean", k);
    free(w);
    free(work);
    free(expected);
    free(found);
}

/* ---- candidates ---- */

enum { CHANNELS = 50 };

typedef struct sample {
    double salience[CHANNELS], w_mean[CHANNELS];
    float norm[CHANNELS];
    awq__candidates candidates;
} sample;

static void make_sample(sample *s, uint64_t *random, awq_dtype dtype)
{
    for (int k = 0; k < CHANNELS; k++) {
        s->salience[k] = exp(2 * (double)normal(random));
        s->w_mean[k] = 0.05 + 0.5 * (double)uniform(random);
        s->norm[k] = awq__round_to_dtype(dtype, normal(random));
    }
    s->norm[9] = 0;
    s->candidates = (awq__candidates){.cols = CHANNELS,
                                      .salience = s->salience,
                                      .w_mean = s->w_mean,
                                      .steps = 10,
                                      .norm = s->norm,
                                      .norm_dtype = dtype};
}

/* The formula of quant.h. */
static void unrounded(const sample *s, double ratio, double *scale)
{
    double low = INFINITY, high = 0;
    for (int k = 0; k < CHANNELS; k++) {
        scale[k] = pow(s->salience[k], ratio) / (pow(s->w_mean[k], 1 - ratio) + 1e-4);
        scale[k] = fmax(scale[k], 1e-4);
        low = fmin(low, scale[k]);
        high = fmax(high, scale[k]);
    }
    for (int k = 0; k < CHANNELS; k++)
        scale[k] /= sqrt(low * high);
}

static void candidates_follow_the_formula(void **state)
{
    (void)state;
    uint64_t random = 5;
    sample s;
    float scale[CHANNELS];
    double expected[CHANNELS];
    make_sample(&s, &random, AWQ_F32);
    s.candidates.norm = NULL;
    s.salience[3] = 0; /* a channel that never was on: the smallest scale, unless r is 0 */
    s.w_mean[4] = 0;   /* a column of zeros */
    assert_int_equal(awq__candidate_count(&s.candidates), 12);
    awq__candidate(&s.candidates, 0, scale);
    for (int k = 0; k < CHANNELS; k++)
        assert_true(scale[k] == 1);
    for (int i = 0; i <= 10; i++) {
        unrounded(&s, (double)i / 10, expected);
        awq__candidate(&s.candidates, 1 + i, scale);
        float low = INFINITY, high = 0;
        for (int k = 0; k < CHANNELS; k++) {
            assert_near_at(scale[k], expected[k], 1e-6 * expected[k], "scale", k);
            low = fminf(low, scale[k]);
            high = fmaxf(high, scale[k]);
        }
        assert_near(low * high, 1, 1e-5); /* what the normalization is for */
    }
}

static void norms_stay_exact_as_stored(void **state)
{
    (void)state;
    static const awq_dtype dtypes[] = {AWQ_BF16, AWQ_F16, AWQ_F32};
    uint64_t random = 6;
    sample s;
    float scale[CHANNELS];
    double free_scale[CHANNELS];
    for (int d = 0; d < 3; d++)
        for (int round = 0; round < 20; round++) {
            make_sample(&s, &random, dtypes[d]);
            for (int i = 0; i <= 10; i++) {
                unrounded(&s, (double)i / 10, free_scale);
                awq__candidate(&s.candidates, 1 + i, scale);
                for (int k = 0; k < CHANNELS; k++) {
                    if (s.norm[k] == 0) {
                        assert_true(scale[k] == 1);
                        continue;
                    }
                    float folded = s.norm[k] / scale[k];
                    float kept = awq__round_to_dtype(dtypes[d], folded);
                    assert_true(scale[k] > 0);
                    assert_near_at(folded, kept, 0x1p-23 * fabs((double)kept), "folded", k);
                    assert_near_at(scale[k] * kept, s.norm[k], 0x1p-23 * fabs((double)s.norm[k]),
                                   "norm", k);
                    /* and the scale is still the one that was meant */
                    assert_near_at(scale[k], free_scale[k],
                                   (dtypes[d] == AWQ_BF16 ? 0x1p-8 : 0x1p-10) * free_scale[k],
                                   "scale", k);
                }
            }
        }
}

static void norms_that_cannot_be_folded_are_left(void **state)
{
    (void)state;
    uint64_t random = 7;
    sample s;
    float scale[CHANNELS];
    make_sample(&s, &random, AWQ_F16);
    s.salience[0] = 1e-30; /* norm / s overflows */
    s.norm[0] = 60000;
    s.salience[1] = 1e6; /* norm / s underflows */
    s.norm[1] = 0x1p-24f;
    awq__candidate(&s.candidates, 11, scale);
    assert_true(scale[0] == 1);
    assert_true(scale[1] == 1);
    s.candidates.norm = NULL; /* no norm is folded: as without rounding */
    awq__candidate(&s.candidates, 11, scale);
    double expected[CHANNELS];
    unrounded(&s, 1, expected);
    for (int k = 0; k < CHANNELS; k++)
        assert_near_at(scale[k], expected[k], 1e-6 * expected[k], "scale", k);
}

static void scales_are_always_usable(void **state)
{
    (void)state;
    static const double extremes[] = {0, 1e-300, 1e-10, 1, 1e30, 1e300, INFINITY, NAN};
    uint64_t random = 9;
    sample s;
    float scale[CHANNELS];
    for (int round = 0; round < 300; round++) {
        make_sample(&s, &random, round % 2 ? AWQ_BF16 : AWQ_F16);
        if (round % 3 == 0)
            s.candidates.norm = NULL;
        for (int k = 0; k < CHANNELS; k++) {
            if (round % 4)
                s.salience[k] = extremes[awq__random(&random) % 8];
            if (round % 4 != 1)
                s.w_mean[k] = extremes[awq__random(&random) % 4];
        }
        for (int i = 0; i <= 11; i++) {
            awq__candidate(&s.candidates, i, scale);
            for (int k = 0; k < CHANNELS; k++)
                assert_true(scale[k] > 0 && isfinite(scale[k]));
        }
    }
}

/* ---- choosing ---- */

static void the_least_loss_is_chosen(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        double losses[5];
        int64_t candidate;
    } cases[] = {
        {{5, 4, 3, 4, 5}, 2},     {{5, 5, 5, 5, 5}, 0},         {{5, 3, 3, 3, 9}, 1},
        {{5, NAN, 6, NAN, 7}, 0}, {{5, NAN, 4, NAN, 7}, 2},     {{5, INFINITY, 6, 7, 1}, 4},
        {{0, 0, 0, 0, 0}, 0},     {{5, -INFINITY, 4, 6, 6}, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__found_scale found;
        succeeds(ctx, awq__choose(ctx, "m", cases[i].losses, 5, &found));
        assert_int_equal(found.candidate, cases[i].candidate);
        assert_true(found.loss == cases[i].losses[cases[i].candidate]);
        assert_true(found.identity_loss == cases[i].losses[0]);
    }
    const double wrong[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        awq__found_scale found;
        const double losses[] = {wrong[i], 1, 2};
        fails(ctx, awq__choose(ctx, "model.q_proj", losses, 3, &found), AWQ_ERROR_NUMERIC,
              "model.q_proj: ");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(statistics_are_sums_over_tokens),
        TEST(whole_moments_are_added_in_strips),
        TEST(rescaled_statistics_are_those_of_rescaled_inputs),
        TEST(blocks_are_cut_from_the_whole),
        TEST(tokens_with_rows_of_their_own_lose_nothing),
        TEST(a_sketch_expects_the_products),
        TEST(sketches_add_up),
        TEST(blocks_come_from_a_sketch),
        cmocka_unit_test(w_mean_is_over_all_rows),
        cmocka_unit_test(candidates_follow_the_formula),
        cmocka_unit_test(norms_stay_exact_as_stored),
        cmocka_unit_test(norms_that_cannot_be_folded_are_left),
        cmocka_unit_test(scales_are_always_usable),
        TEST(the_least_loss_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
