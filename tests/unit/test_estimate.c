/* What a plan says of a run: its matrix products are those that the run then does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/begin.h"
#include "golden/runs.h"

#include <math.h>
#include <stdatomic.h>

#define MODEL AWQ_TEST_DATA "/mixtral-tiny"

/* ---- the products of a run, counted: a multiplication and an addition each ---- */

static const awq__compute *inner;
static _Atomic int64_t operations;

static void multiply_nt(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    atomic_fetch_add(&operations, 2 * T * N * K);
    inner->multiply_nt(T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

static void multiply_nn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    atomic_fetch_add(&operations, 2 * T * N * K);
    inner->multiply_nn(T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

static void multiply_tn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    atomic_fetch_add(&operations, 2 * T * N * K);
    inner->multiply_tn(T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

static void gram(int64_t T, int64_t K, int64_t g, const float *x, int64_t ldx, float *out)
{
    atomic_fetch_add(&operations, 2 * T * K * g);
    inner->gram(T, K, g, x, ldx, out);
}

static void quadratic(int64_t N, int64_t K, const float *e, const float *m, float *product,
                      double *sums)
{
    atomic_fetch_add(&operations, 2 * N * K * K);
    inner->quadratic(N, K, e, m, product, sums);
}

/* Without those of the check of the table, which is made once, of a table that stays. */
static double counted(const fixture *f, const awq_recipe *recipe)
{
    static awq__compute table;
    inner = awq__compute_fastest();
    table = *inner;
    table.multiply_nt = multiply_nt;
    table.multiply_nn = multiply_nn;
    table.multiply_tn = multiply_tn;
    table.gram = gram;
    table.quadratic = quadratic;
    awq__compute_use(f->ctx, &table);
    assert_ok(f, awq__compute_begin(f->ctx));
    atomic_store(&operations, 0);
    const awq_quantize_options how = {.struct_size = sizeof how, .force = true};
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, NULL));
    awq__compute_use(f->ctx, inner);
    return (double)atomic_load(&operations);
}

/* ---- the plan ---- */

static awq_recipe *recipe_with(const fixture *f, const char *const *options)
{
    awq_recipe *recipe = short_recipe_with(f, MODEL, options);
    assert_ok(f, awq_recipe_clear(recipe, "evaluation.data"));
    return recipe;
}

static awq_estimate estimate_of(const fixture *f, const awq_recipe *recipe)
{
    awq_plan *plan;
    awq_estimate estimate;
    assert_ok(f, awq_plan_create(f->ctx, recipe, &plan));
    assert_ok(f, awq_plan_estimate(f->ctx, plan, &estimate));
    awq_plan_free(plan);
    return estimate;
}

/* What a change of the recipe adds to the products, as it is foreseen over as it is done. */
static double share_foreseen(const fixture *f, const char *const *less, const char *const *more)
{
    const char *const *const both[] = {less, more};
    double foreseen[2], done[2];
    for (int i = 0; i < 2; i++) {
        awq_recipe *recipe = recipe_with(f, both[i]);
        foreseen[i] = estimate_of(f, recipe).operations;
        done[i] = counted(f, recipe);
        awq_recipe_free(recipe);
    }
    return (foreseen[1] - foreseen[0]) / (done[1] - done[0]);
}

/* Of the layers and the statistics, but not those of queries with keys. Both times the proof is
   made of 4,096 tokens. */
static void products_grow_with_tokens(void **state)
{
    static const char *const less[] = {"calibration.samples", "32", NULL};
    static const char *const more[] = {"calibration.samples", "64", NULL};
    double share = share_foreseen(*state, less, more);
    if (!(share > 0.85 && share < 1))
        fail_msg("%.3f of what more tokens take is foreseen", share);
}

static void products_grow_with_ratios(void **state)
{
    static const char *const less[] = {"quantize.ratio_steps", "5", NULL};
    static const char *const more[] = {"quantize.ratio_steps", "200", NULL};
    double share = share_foreseen(*state, less, more);
    if (!(share > 0.85 && share < 1.15))
        fail_msg("%.3f of what more ratios take is foreseen", share);
}

/* By hand, of 2 layers with H 128, I 256, 2 of 4 experts and half as many heads of keys: attention,
   router and experts of a token, and what its statistics take. */
static void tokens_cost_what_the_layers_say(void **state)
{
    static const char *const less[] = {"calibration.samples", "32", NULL};
    static const char *const more[] = {"calibration.samples", "64", NULL};
    const double H = 128, I = 256, attention = 3 * H * H, router = 4 * H;
    awq_recipe *few = recipe_with(*state, less), *many = recipe_with(*state, more);
    awq_estimate a = estimate_of(*state, few), b = estimate_of(*state, many);
    double token = 2 * 2 * (attention + router + 2 * 3 * H * I) + 2 * 2 * 2 * (H * H + I * I);
    assert_int_equal(b.calibration_tokens - a.calibration_tokens, 32 * 128);
    assert_true(fabs((b.operations - a.operations) / (32 * 128 * token) - 1) < 1e-9);
    awq_recipe_free(few);
    awq_recipe_free(many);
}

/* Ends of symmetric ranges do not move by themselves: 14 are tried in place of 26. A range costs a
   group's columns for each weight. */
static void ranges_cost_what_is_tried(void **state)
{
    static const char *const symmetric[] = {"quantize.symmetric", "true", NULL};
    static const char *const asymmetric[] = {"quantize.symmetric", "false", NULL};
    const double H = 128, I = 256, experts = 2 * 4 * 3 * H * I, group = 128;
    awq_recipe *few = recipe_with(*state, symmetric), *many = recipe_with(*state, asymmetric);
    double more = estimate_of(*state, many).operations - estimate_of(*state, few).operations;
    assert_true(fabs(more / (12 * group * experts) - 1) < 1e-9);
    awq_recipe_free(few);
    awq_recipe_free(many);
}

static void plain_rounding_needs_no_products(void **state)
{
    static const char *const plain[] = {"quantize.method", "rtn", NULL};
    awq_recipe *recipe = recipe_with(*state, plain);
    awq_estimate estimate = estimate_of(*state, recipe);
    assert_true(estimate.operations == 0 && estimate.calibration_tokens == 0);
    assert_true(estimate.seconds > 0 && estimate.operations_per_second > 0);
    assert_true(estimate.read_bytes_per_second > 0 && estimate.disk_bytes > 100000);
    awq_recipe_free(recipe);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up_run, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(products_grow_with_tokens),        CASE(products_grow_with_ratios),
        CASE(tokens_cost_what_the_layers_say),  CASE(ranges_cost_what_is_tried),
        CASE(plain_rounding_needs_no_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
