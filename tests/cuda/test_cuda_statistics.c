/* Kernels of statistics against the reference table. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "on_device.h"
#include "quant/quant.h"

static awq__cuda_terms split(device *d, int64_t T, int64_t K, const float *x)
{
    uint16_t *high = room(d, T * K, 2), *low = room(d, T * K, 2);
    done(awq__cuda_split(d->queue, T, K, x, K, NULL, 1, NULL, NULL, high, low));
    return (awq__cuda_terms){T, K, K, high, low};
}

static float *zeros(device *d, int64_t count)
{
    float *array = room_for(d, count);
    done((int)cudaMemset(array, 0, (size_t)count * sizeof *array));
    return array;
}

/* x with some channels 16 times larger. */
static float *inputs(uint64_t *random, int64_t T, int64_t K)
{
    float *x = normals(random, T * K);
    for (int64_t i = 0; i < T * K; i++)
        x[i] *= i % K % 37 == 5 ? 16 : 1;
    return x;
}

/* Errors against sqrt(Gii Gjj). */
static double gram_distance(const float *found, const float *expected, int64_t K, int64_t g)
{
    double most = 0;
    for (int64_t i = 0; i < K; i++)
        for (int64_t j = 0; j < g; j++) {
            int64_t other = i / g * g + j;
            double scale = sqrt((double)expected[i * g + i % g] * (double)expected[other * g + j]);
            double d = fabs((double)found[i * g + j] - (double)expected[i * g + j]) / scale;
            most = d > most || isnan(d) ? d : most;
        }
    return most;
}

static void check_gram(device *d, int64_t T, int64_t K, int64_t g, double bound)
{
    uint64_t random = 1;
    float *x = inputs(&random, T, K), *expected = floats(K * g), *gram = zeros(d, K * g);
    awq__cuda_terms terms = split(d, T, K, sent_floats(d, x, T * K));
    awq__compute_reference()->gram(T, K, g, x, K, expected);
    done(awq__cuda_gram(d->queue, &terms, g, gram));
    done(awq__cuda_gram_finish(d->queue, K, g, gram));
    float *found = back(d, gram, K * g, sizeof *found);
    double error = gram_distance(found, expected, K, g);
    print_message("    gram of %lld tokens, %lld/%lld: %.2g\n", (long long)T, (long long)K,
                  (long long)g, error);
    assert_true(error <= bound);
    for (int64_t i = 0; i < K * g; i++) {
        int64_t row = i / g, col = row / g * g + i % g;
        assert_true(found[i] == found[col * g + row % g]);
    }
    free(x);
    free(expected);
    free(found);
}

static void test_grams(void **state)
{
    device *d = device_of(state);
    check_gram(d, 300, 96, 96, 2e-5);
    check_gram(d, 300, 256, 32, 2e-5);
    check_gram(d, 9000, 128, 64, 2e-5);
}

static void test_changed_grams(void **state)
{
    device *d = device_of(state);
    uint64_t random = 2;
    enum { K = 96, G = 32 };
    awq__stats whole, blocks;
    awq_context *ctx;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    float *x = inputs(&random, 50, K), *factor = normals(&random, K), *diagonal = floats(K);
    assert_int_equal(awq__stats_create(ctx, K, K, &whole), AWQ_OK);
    awq__stats_add(awq__compute_reference(), &whole, 50, x, K);
    float *gram = sent_floats(d, whole.gram, K * K), *cut = room_for(d, K * G);
    float *found = room_for(d, K);
    awq__stats_rescale(awq__compute_reference(), &whole, factor);
    done(awq__cuda_gram_rescale(d->queue, K, K, sent_floats(d, factor, K), gram));
    assert_array(d, gram, whole.gram, K * K, 1e-6);
    assert_int_equal(awq__stats_blocks(ctx, awq__compute_reference(), &whole, G, &blocks), AWQ_OK);
    done(awq__cuda_gram_blocks(d->queue, K, G, gram, cut));
    assert_array(d, cut, blocks.gram, K * G, 1e-6);
    awq__stats_diagonal(&blocks, diagonal);
    done(awq__cuda_gram_diagonal(d->queue, K, G, cut, found));
    assert_array(d, found, diagonal, K, 1e-6);
    awq__stats_free(&whole);
    awq__stats_free(&blocks);
    awq_context_free(ctx);
    free(x);
    free(factor);
    free(diagonal);
}

static void test_sketches(void **state)
{
    device *d = device_of(state);
    uint64_t random = 3;
    enum { T = 2500, K = 70, R = 24 };
    float *x = normals(&random, T * K), *factor = normals(&random, T), *rows = floats(R * K);
    float *there = sent_floats(d, x, T * K), *out = zeros(d, R * K);
    done(awq__cuda_sketch(d->queue, T, K, there, K, sent_floats(d, factor, T), 77, R, false, out));
    for (int64_t i = 0; i < T * K; i++)
        x[i] *= factor[i / K];
    awq__compute_reference()->sketch(T, K, x, K, 77, R, rows);
    assert_array(d, out, rows, R * K, 1e-6);
    memset(rows, 0, R * K * sizeof *rows);
    memcpy(rows + 3 * K, x, 20 * K * sizeof *rows);
    out = zeros(d, R * K);
    done(awq__cuda_sketch(d->queue, 20, K, there, K, sent_floats(d, factor, T), 3, R, true, out));
    assert_array(d, out, rows, R * K, 1e-6);
    free(x);
    free(factor);
    free(rows);
}

/* ---- sums ---- */

static void near_sums(const device *d, const double *found, const double *expected, int64_t count,
                      double bound)
{
    double *copy = back(d, found, count, sizeof *copy);
    for (int64_t i = 0; i < count; i++)
        assert_near_at(copy[i], expected[i], bound * fabs(expected[i]), "sum", i);
    free(copy);
}

static double *cleared(device *d, int64_t count)
{
    double *array = room(d, count, sizeof *array);
    done((int)cudaMemset(array, 0, (size_t)count * sizeof *array));
    return array;
}

static void test_sums_of_columns(void **state)
{
    device *d = device_of(state);
    uint64_t random = 4;
    const awq__compute *c = awq__compute_reference();
    enum { T = 1000, K = 384, G = 32 };
    float *x = normals(&random, T * K), *there = sent_floats(d, x, T * K);
    double expected[K] = {0}, *sums = cleared(d, K);
    awq__cuda_weight w = {.dtype = AWQ__CUDA_F32,
                          .rows = T,
                          .cols = K,
                          .data = there,
                          .row_stride = K,
                          .col_stride = 1};
    c->add_abs(T, K, x, K, expected);
    done(awq__cuda_add_abs(d->queue, T, K, there, K, NULL, sums));
    near_sums(d, sums, expected, K, 1e-12);
    memset(expected, 0, sizeof expected);
    sums = cleared(d, K);
    c->add_w_mean(T, K, G, x, expected);
    done(awq__cuda_add_w_mean(d->queue, &w, G, sums));
    near_sums(d, sums, expected, K, 1e-12);
    memset(expected, 0, sizeof expected);
    sums = cleared(d, K);
    c->add_squares(T, K, x, NULL, NULL, expected);
    done(awq__cuda_add_squares(d->queue, &w, sums));
    near_sums(d, sums, expected, K, 1e-12);
    free(x);
}

static void test_slopes(void **state)
{
    device *d = device_of(state);
    uint64_t random = 5;
    const awq__compute *c = awq__compute_reference();
    const awq__activation a = {.alpha = 1.702f, .limit = 7, .up_offset = 1};
    const awq__cuda_activation there = {1.702f, 7, 1};
    enum { T = 200, I = 48 };
    float *x[2] = {normals(&random, T * I), normals(&random, T * I)}, *factor = normals(&random, T);
    float *plain = floats(T * I), *moved = floats(T * I), weight[T];
    double expected[2 * I] = {0}, *sums = cleared(d, 2 * I);
    done(awq__cuda_add_slopes(d->queue, T, I, &there, 0.01f, sent_floats(d, x[0], T * I),
                              sent_floats(d, x[1], T * I), I, sent_floats(d, factor, T), sums));
    for (int t = 0; t < T; t++)
        weight[t] = factor[t] / 0.01f;
    c->activate(T * I, &a, x[0], x[1], plain);
    for (int part = 0; part < 2; part++) {
        c->shift(T * I, 0.01f, x[part], x[part]);
        c->activate(T * I, &a, x[0], x[1], moved);
        c->shift(T * I, -0.01f, x[part], x[part]);
        c->add_squares(T, I, moved, plain, weight, expected + part * I);
    }
    near_sums(d, sums, expected, 2 * I, 1e-4);
    free(x[0]);
    free(x[1]);
    free(factor);
    free(plain);
    free(moved);
}

static void test_sums_of_all(void **state)
{
    device *d = device_of(state);
    uint64_t random = 6;
    const awq__compute *c = awq__compute_reference();
    enum { T = 1500, N = 90 };
    float *a = normals(&random, T * N), *b = normals(&random, T * N), *weight = normals(&random, T);
    float *here_a = sent_floats(d, a, T * N), *here_b = sent_floats(d, b, T * N);
    double *sum = cleared(d, 1), expected = c->dot(T * N, a, a);
    float *largest = room_for(d, T), *all = room_for(d, 1), most;
    done(awq__cuda_dot(d->queue, T * N, here_a, here_a, sum));
    near_sums(d, sum, &expected, 1, 1e-12);
    expected = c->squared_error(T, N, a, b, weight);
    done(awq__cuda_squared_error(d->queue, T, N, here_a, here_b, sent_floats(d, weight, T), sum));
    near_sums(d, sum, &expected, 1, 1e-12);
    most = (float)c->largest_difference(T * N, a, b);
    done(awq__cuda_largest_difference(d->queue, T, N, here_a, here_b, largest, all));
    assert_array(d, all, &most, 1, 1e-7);
    float *rows = back(d, largest, T, sizeof *rows);
    for (int t = 0; t < T; t++)
        assert_near_at(rows[t], c->largest_difference(N, a + t * N, b + t * N), 1e-6, "row", t);
    a[1000] = NAN;
    done(awq__cuda_largest_difference(d->queue, T, N, sent_floats(d, a, T * N), NULL, NULL, all));
    float *found = back(d, all, 1, sizeof *found);
    assert_true(isnan(*found));
    free(a);
    free(b);
    free(weight);
    free(rows);
    free(found);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_device, close_device)
    const struct CMUnitTest tests[] = {
        TEST(test_grams),           TEST(test_changed_grams), TEST(test_sketches),
        TEST(test_sums_of_columns), TEST(test_slopes),        TEST(test_sums_of_all),
    };
    return cmocka_run_group_tests_name("cuda_statistics", tests, NULL, NULL);
}
