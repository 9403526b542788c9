/* GPTQ on the device against the CPU's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "on_device.h"
#include "problem.h"
#include "quant/gptq.h"

#define DAMPING 0.05

typedef struct factorized {
    awq__gptq host;
    awq__cuda_gptq there;
    float *gram; /* the host's */
} factorized;

static double mean_diagonal(const float *gram, int64_t K)
{
    double mean = 0;
    for (int64_t k = 0; k < K; k++)
        mean += (double)gram[k * K + k] / (double)K;
    return mean;
}

static int factor(device *d, const awq__cuda_gptq *g, double damping, double mean, bool again,
                  float *raw)
{
    int *failed = room(d, 1, sizeof *failed), *copy;
    void *space = room(d, (int64_t)awq__cuda_gptq_factor_bytes(d->queue, g), 1);
    done(awq__cuda_gptq_factor(d->queue, g, damping, mean, again, raw, space, failed));
    copy = back(d, failed, 1, sizeof *copy);
    int result = *copy;
    free(copy);
    return result;
}

static awq__cuda_gptq room_for_hessian(device *d, const float *gram, const int32_t *order,
                                       int64_t K, int64_t g)
{
    int64_t floats = (int64_t)(awq__cuda_gptq_blocks_bytes(K, g) / sizeof(float));
    return (awq__cuda_gptq){.cols = K,
                            .group = g,
                            .gram = sent_floats(d, gram, K * K),
                            .factor = room_for(d, K * K),
                            .pivots = room_for(d, K),
                            .curves = room_for(d, K),
                            .blocks = room_for(d, floats),
                            .halves = room_for(d, floats),
                            .order = sent(d, order, K, sizeof *order)};
}

/* Both factorize; the order is the host's. */
static factorized factorize(awq_context *ctx, device *d, const problem *p, int64_t g)
{
    int64_t K = p->K;
    factorized f = {.gram = copy_of(p->stats.gram, K * K)};
    int32_t *order = space_for(K, sizeof *order);
    succeeds(ctx,
             awq__gptq_create(ctx, awq__compute_fastest(), "w", f.gram, K, g, DAMPING, &f.host));
    for (int64_t k = 0; k < K; k++)
        order[k] = (int32_t)f.host.order[k];
    f.there = room_for_hessian(d, p->stats.gram, order, K, g);
    double mean = mean_diagonal(p->stats.gram, K);
    assert_int_equal(factor(d, &f.there, DAMPING, mean, false, room_for(d, K)), 0);
    free(order);
    return f;
}

static void check_factors(const device *d, const factorized *f)
{
    int64_t K = f->host.cols;
    float *there = back(d, f->there.factor, K * K, sizeof *there), *pivots = floats(K);
    double most = 0, largest = 0;
    for (int64_t i = 0; i < K; i++) {
        pivots[i] = f->host.h[i * K + i];
        for (int64_t k = i + 1; k < K; k++) {
            most = fmax(most, fabs((double)there[i * K + k] - (double)f->host.h[i * K + k]));
            largest = fmax(largest, fabs((double)f->host.h[i * K + k]));
            assert_true(isfinite(there[i * K + k]));
        }
    }
    print_message("    factors differ by %.2g of %.2g\n", most, largest);
    assert_true(most <= 1e-4 * largest);
    assert_array(d, f->there.pivots, pivots, K, 1e-4);
    assert_array(d, f->there.curves, f->host.curves, K, 1e-4);
    free(there);
    free(pivots);
}

static double loss_of(const problem *p, const awq__codes *codes)
{
    float *error = floats(p->N * p->K), *product = floats(p->N * p->K);
    awq__codes_read(codes, 0, p->N, error);
    for (int64_t i = 0; i < p->N * p->K; i++)
        error[i] -= p->w[i];
    double loss = awq__error_loss(awq__compute_fastest(), &p->stats, p->N, error, NULL, product);
    free(error);
    free(product);
    return loss;
}

/* Codes of the device, in the arrays of `codes`. */
static void round_there(device *d, const factorized *f, const problem *p,
                        const awq__gptq_effort *effort, awq__codes *codes)
{
    const awq__scheme *s = &codes->scheme;
    int64_t N = p->N, K = p->K, groups = N * K / s->group;
    awq__cuda_scheme scheme = {(awq__cuda_code)s->code, s->bits, s->group, s->symmetric,
                               (awq__cuda_grid)s->grid};
    awq__cuda_weight weight = {.dtype = AWQ__CUDA_F32,
                               .rows = N,
                               .cols = K,
                               .data = sent_floats(d, p->w, N * K),
                               .row_stride = K,
                               .col_stride = 1};
    uint8_t *to = room(d, N * K, 1), *zeros = room(d, groups, 1);
    float *scales = room_for(d, groups);
    void *space = room(d, (int64_t)awq__cuda_gptq_bytes(&f->there, N), 1);
    done(awq__cuda_gptq_round(d->queue, &f->there, &scheme, effort->ranges, effort->sweeps, false,
                              &weight, space, to, scales, zeros));
    void *parts[] = {back(d, to, N * K, 1), back(d, scales, groups, 4), back(d, zeros, groups, 1)};
    memcpy(codes->codes, parts[0], (size_t)(N * K));
    memcpy(codes->scales, parts[1], (size_t)groups * sizeof *scales);
    memcpy(codes->zeros, parts[2], (size_t)groups);
    for (int i = 0; i < 3; i++)
        free(parts[i]);
}

static void check_codes(awq_context *ctx, device *d, const factorized *f, const problem *p,
                        const awq__scheme *scheme, int sweeps)
{
    const awq__gptq_effort effort = {8, sweeps};
    awq__codes host, there, again;
    int64_t same = 0, count = p->N * p->K;
    succeeds(ctx, awq__codes_create(ctx, p->N, p->K, scheme, &host));
    succeeds(ctx, awq__codes_create(ctx, p->N, p->K, scheme, &there));
    succeeds(ctx, awq__codes_create(ctx, p->N, p->K, scheme, &again));
    succeeds(ctx, awq__gptq_round_all(ctx, awq__compute_fastest(), &f->host, &effort, &p->weight,
                                      &host));
    round_there(d, f, p, &effort, &there);
    round_there(d, f, p, &effort, &again);
    assert_memory_equal(there.codes, again.codes, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        same += host.codes[i] == there.codes[i];
    double ours = loss_of(p, &there), theirs = loss_of(p, &host);
    print_message(
        "    code %d, g %lld, %d sweeps: %.2f %% the same codes, loss %.5f of the CPU's\n",
        scheme->code, (long long)scheme->group, sweeps, 100 * (double)same / (double)count,
        ours / theirs);
    assert_true(ours <= 1.01 * theirs);
    assert_true((double)same >= 0.9 * (double)count);
    awq__codes_free(&host);
    awq__codes_free(&there);
    awq__codes_free(&again);
}

static void test_gptq(void **state)
{
    static const awq__scheme schemes[] = {
        {.code = AWQ__CODE_INTEGER, .bits = 4, .group = 128, .grid = AWQ__GRID_F16},
        {.code = AWQ__CODE_INTEGER,
         .bits = 4,
         .group = 32,
         .symmetric = true,
         .grid = AWQ__GRID_BF16},
        {.code = AWQ__CODE_INTEGER, .bits = 3, .group = 192, .grid = AWQ__GRID_F16},
        {.code = AWQ__CODE_E2M1, .bits = 4, .group = 32},
        {.code = AWQ__CODE_NF4, .bits = 4, .group = 64, .grid = AWQ__GRID_F32},
    };
    device *d = device_of(state);
    uint64_t random = 1;
    awq_context *ctx;
    problem p;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    make_problem(ctx, &p, 900, 150, 384, 8, &random);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        factorized f = factorize(ctx, d, &p, schemes[i].group);
        check_factors(d, &f);
        for (int sweeps = 0; sweeps < 3; sweeps++)
            check_codes(ctx, d, &f, &p, &schemes[i], sweeps);
        awq__gptq_free(&f.host);
        free(f.gram);
    }
    free_problem(&p);
    awq_context_free(ctx);
}

/* More rows than are in work at a time, and a row count that no tile divides. */
static void test_many_rows(void **state)
{
    const awq__scheme scheme = {
        .code = AWQ__CODE_INTEGER, .bits = 4, .group = 32, .grid = AWQ__GRID_F16};
    device *d = device_of(state);
    uint64_t random = 2;
    awq_context *ctx;
    problem p;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    make_problem(ctx, &p, 300, 8192 + 77, 96, 8, &random);
    factorized f = factorize(ctx, d, &p, 32);
    check_codes(ctx, d, &f, &p, &scheme, 1);
    awq__gptq_free(&f.host);
    free(f.gram);
    free_problem(&p);
    awq_context_free(ctx);
}

/* A matrix that is not definite, and more damping. */
static void test_damping(void **state)
{
    device *d = device_of(state);
    enum { K = 64 };
    float gram[K * K] = {0};
    int32_t order[K];
    for (int k = 0; k < K; k++) {
        gram[k * K + k] = 1;
        gram[k * K + (k ^ 1)] = 1.05f;
        order[k] = K - 1 - k;
    }
    awq__cuda_gptq g = room_for_hessian(d, gram, order, K, 32);
    float *raw = room_for(d, K);
    assert_int_not_equal(factor(d, &g, 0.01, 1, false, raw), 0);
    assert_int_equal(factor(d, &g, 0.1, 1, true, raw), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_device, close_device)
    const struct CMUnitTest tests[] = {
        TEST(test_gptq),
        TEST(test_many_rows),
        TEST(test_damping),
    };
    return cmocka_run_group_tests_name("cuda_gptq", tests, NULL, NULL);
}
