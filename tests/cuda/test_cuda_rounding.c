/* Kernels of rounding, losses and clip ranges against the CPU. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "on_device.h"
#include "problem.h"

static const awq__scheme schemes[] = {
    {.code = AWQ__CODE_INTEGER, .bits = 4, .group = 128, .symmetric = false, .grid = AWQ__GRID_F16},
    {.code = AWQ__CODE_INTEGER, .bits = 4, .group = 128, .symmetric = true, .grid = AWQ__GRID_BF16},
    {.code = AWQ__CODE_INTEGER, .bits = 8, .group = 64, .symmetric = true, .grid = AWQ__GRID_F32},
    {.code = AWQ__CODE_INTEGER, .bits = 3, .group = 32, .grid = AWQ__GRID_BF16_F16},
    {.code = AWQ__CODE_INTEGER, .bits = 2, .group = 16, .symmetric = false, .grid = AWQ__GRID_F16},
    {.code = AWQ__CODE_INTEGER, .bits = 4, .group = 384, .grid = AWQ__GRID_F32_127},
    {.code = AWQ__CODE_E2M1, .bits = 4, .group = 32},
    {.code = AWQ__CODE_NF4, .bits = 4, .group = 64, .grid = AWQ__GRID_F32},
};
#define SCHEMES (sizeof schemes / sizeof *schemes)

static awq__cuda_scheme scheme_of(const awq__scheme *s)
{
    return (awq__cuda_scheme){(awq__cuda_code)s->code, s->bits, s->group, s->symmetric,
                              (awq__cuda_grid)s->grid};
}

static awq__cuda_weight weight_of(const float *there, int64_t N, int64_t K)
{
    return (awq__cuda_weight){.dtype = AWQ__CUDA_F32,
                              .rows = N,
                              .cols = K,
                              .data = there,
                              .row_stride = K,
                              .col_stride = 1};
}

/* Weights of all sizes, with a group of zeros. */
static float *weights(uint64_t *random, int64_t N, int64_t K)
{
    float *w = normals(random, N * K);
    for (int64_t i = 0; i < N * K; i++)
        w[i] *= i / K == 1 ? 1e-7f : i / K == 2 ? 1e3f : 0.05f;
    memset(w, 0, (size_t)K * sizeof *w);
    return w;
}

/* ---- codes ---- */

typedef struct rounded {
    uint8_t *codes, *zeros;
    float *scales, *read;
} rounded;

static rounded round_here(const awq__scheme *s, int64_t N, int64_t K, const float *w,
                          const awq__range *range)
{
    int64_t groups = N * K / s->group;
    rounded r = {space_for(N * K, 1), space_for(groups, 1), floats(groups), copy_of(w, N * K)};
    assert_true(awq__compute_fastest()->quantize(N, K, s, w, range, r.codes, r.scales, r.zeros));
    awq__fake_quantize(N, K, s, range, NULL, r.read);
    return r;
}

static void free_rounded(rounded *r)
{
    free(r->codes);
    free(r->zeros);
    free(r->scales);
    free(r->read);
}

static void check_codes(device *d, const awq__scheme *s, const awq__range *range, int64_t N,
                        int64_t K, const float *w)
{
    int64_t groups = N * K / s->group;
    awq__cuda_scheme scheme = scheme_of(s);
    awq__cuda_weight weight = weight_of(sent_floats(d, w, N * K), N, K);
    uint8_t *codes = room(d, N * K, 1), *zeros = room(d, groups, 1);
    float *scales = room_for(d, groups), *out = room_for(d, N * K);
    rounded r = round_here(s, N, K, w, range);
    done(awq__cuda_quantize(d->queue, &weight, &scheme, 0, N,
                            range ? sent(d, range, groups, sizeof *range) : NULL, codes, scales,
                            zeros));
    assert_same(d, scales, r.scales, groups);
    assert_same(d, zeros, r.zeros, groups);
    assert_same(d, codes, r.codes, N * K);
    done(
        awq__cuda_dequantize(d->queue, &scheme, N, K, codes, scales, zeros, NULL, out, NULL, NULL));
    assert_array(d, out, r.read, N * K, 1e-7);
    free_rounded(&r);
}

static void test_codes(void **state)
{
    device *d = device_of(state);
    uint64_t random = 1;
    enum { N = 41, K = 384 };
    for (size_t i = 0; i < SCHEMES; i++) {
        float *w = weights(&random, N, K);
        int64_t groups = N * K / schemes[i].group;
        awq__range *range = space_for(groups, sizeof *range);
        check_codes(d, &schemes[i], NULL, N, K, w);
        for (int64_t b = 0; b < groups; b++)
            range[b] = b % 3
                           ? (awq__range){between(&random, -0.1f, 0), between(&random, 0.01f, 0.1f)}
                           : awq__whole_range();
        check_codes(d, &schemes[i], range, N, K, w);
        free(w);
        free(range);
    }
}

/* ---- errors and losses ---- */

static void test_errors(void **state)
{
    device *d = device_of(state);
    uint64_t random = 2;
    enum { N = 23, K = 384, C = 3 };
    for (size_t i = 0; i < SCHEMES; i++) {
        float *w = weights(&random, N, K), *scale = floats(C * K), *unscale = floats(C * K);
        float *expected = floats(C * N * K), *out = room_for(d, C * N * K);
        awq__cuda_scheme scheme = scheme_of(&schemes[i]);
        awq__cuda_weight weight = weight_of(sent_floats(d, w, N * K), N, K);
        for (int k = 0; k < C * K; k++) {
            scale[k] = between(&random, 0.3f, 3);
            unscale[k] = 1 / scale[k];
        }
        for (int c = 0; c < C; c++)
            awq__compute_fastest()->quantize_error(N, K, &schemes[i], NULL, scale + c * K,
                                                   unscale + c * K, w, expected + c * N * K);
        done(awq__cuda_errors(d->queue, &weight, &scheme, 0, N, C, sent_floats(d, scale, C * K),
                              sent_floats(d, unscale, C * K), NULL, out));
        assert_array(d, out, expected, C * N * K, 1e-6);
        free(w);
        free(scale);
        free(unscale);
        free(expected);
    }
}

static void check_losses(device *d, const problem *p, const awq__stats *stats)
{
    enum { C = 2 };
    const awq__scheme *s = &schemes[0];
    int64_t N = p->N, K = p->K;
    uint64_t random = 3;
    awq__cuda_scheme scheme = scheme_of(s);
    awq__cuda_weight weight = weight_of(sent_floats(d, p->w, N * K), N, K);
    awq__cuda_stats there = {K, stats->rows,
                             sent_floats(d, stats->gram, (stats->rows ? stats->rows : K) * K)};
    float *scale = floats(C * K), *unscale = floats(C * K), *row_weight = floats(N);
    float *error = floats(N * K), *product = floats(N * K);
    double zero[C] = {0}, *losses = sent(d, zero, C, sizeof *zero), *found;
    for (int64_t n = 0; n < N; n++)
        row_weight[n] = between(&random, 0, 2);
    for (int k = 0; k < C * K; k++)
        unscale[k] = 1 / (scale[k] = between(&random, 0.5f, 2));
    void *space = room(d, (int64_t)awq__cuda_losses_bytes(&weight, &there, C), 1);
    done(awq__cuda_add_losses(d->queue, &weight, &scheme, &there, C, sent_floats(d, scale, C * K),
                              sent_floats(d, unscale, C * K), NULL, sent_floats(d, row_weight, N),
                              space, losses));
    found = back(d, losses, C, sizeof *found);
    for (int c = 0; c < C; c++) {
        awq__compute_fastest()->quantize_error(N, K, s, NULL, scale + c * K, unscale + c * K, p->w,
                                               error);
        double expected =
            awq__error_loss(awq__compute_fastest(), stats, N, error, row_weight, product);
        print_message("    loss off by %.2g\n", fabs(found[c] / expected - 1));
        assert_near(found[c], expected, 1e-4 * expected);
    }
    free(scale);
    free(unscale);
    free(row_weight);
    free(error);
    free(product);
    free(found);
}

static void test_losses(void **state)
{
    device *d = device_of(state);
    uint64_t random = 4;
    awq_context *ctx;
    problem p;
    awq__stats sketch;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    make_problem(ctx, &p, 500, 600, 768, 8, &random);
    check_losses(d, &p, &p.stats);
    succeeds(ctx, awq__stats_create_sketch(ctx, 768, 64, &sketch));
    awq__stats_sketch(awq__compute_fastest(), &sketch, 0, 64, 0, p.T, p.x, p.K);
    check_losses(d, &p, &sketch);
    awq__stats_free(&sketch);
    free_problem(&p);
    awq_context_free(ctx);
}

/* ---- clip ranges ---- */

/* The loss of all groups of a weight within ranges. */
static double loss_of(const problem *p, const awq__scheme *s, const awq__stats *blocks,
                      const awq__range *range)
{
    int64_t g = s->group, G = p->K / g;
    float *error = floats(p->N * p->K), *product = floats(g);
    double sum = 0, one;
    awq__compute_fastest()->quantize_error(p->N, p->K, s, range, NULL, NULL, p->w, error);
    for (int64_t i = 0; i < p->N * G; i++) {
        awq__compute_reference()->quadratic(1, g, error + i * g, blocks->gram + i % G * g * g,
                                            product, &one);
        sum += one;
    }
    free(error);
    free(product);
    return sum;
}

static void check_clip(awq_context *ctx, device *d, const problem *p, const awq__scheme *s)
{
    int64_t groups = p->N * p->K / s->group;
    awq__cuda_scheme scheme = scheme_of(s);
    awq__cuda_weight weight = weight_of(sent_floats(d, p->w, p->N * p->K), p->N, p->K);
    awq__range *expected = space_for(groups, sizeof *expected), *found;
    awq__cuda_range *out = room(d, groups, sizeof *out);
    awq__stats blocks;
    succeeds(ctx, awq__stats_create(ctx, p->K, s->group, &blocks));
    awq__stats_add(awq__compute_fastest(), &blocks, p->T, p->x, p->K);
    succeeds(ctx, awq__search_clip(ctx, awq__compute_fastest(), &p->weight, s, &blocks, expected));
    done(awq__cuda_clip(d->queue, &weight, &scheme, sent_floats(d, blocks.gram, p->K * s->group),
                        out));
    found = back(d, out, groups, sizeof *found);
    int64_t same = 0;
    for (int64_t i = 0; i < groups; i++)
        same += found[i].high == expected[i].high && found[i].low == expected[i].low;
    double ours = loss_of(p, s, &blocks, found), theirs = loss_of(p, s, &blocks, expected);
    double whole = loss_of(p, s, &blocks, NULL);
    print_message("    g %3lld: %.1f %% the same range, loss %.7f of the CPU's, %.3f of none\n",
                  (long long)s->group, 100 * (double)same / (double)groups, ours / theirs,
                  ours / whole);
    assert_true(ours <= theirs * 1.0005 && ours <= whole);
    assert_true((double)same >= 0.9 * (double)groups);
    awq__stats_free(&blocks);
    free(expected);
    free(found);
}

static void test_clip(void **state)
{
    device *d = device_of(state);
    uint64_t random = 5;
    awq_context *ctx;
    problem p;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    make_problem(ctx, &p, 500, 137, 384, 8, &random);
    for (size_t i = 0; i < SCHEMES; i++)
        check_clip(ctx, d, &p, &schemes[i]);
    free_problem(&p);
    awq_context_free(ctx);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_device, close_device)
    const struct CMUnitTest tests[] = {
        TEST(test_codes),
        TEST(test_errors),
        TEST(test_losses),
        TEST(test_clip),
    };
    return cmocka_run_group_tests_name("cuda_rounding", tests, NULL, NULL);
}
