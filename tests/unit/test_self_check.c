/* What is looked at before anything is computed: whether kernels fit, and whether products are
 * right. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/begin.h"
#include "compute/processor.h"
#include "context.h"
#include "awq/tensor.h"

#include <stdio.h>

/* ---- which kernels fit ---- */

static void kernels_that_fit_are_left_alone(void **state)
{
    (void)state;
    static const awq__processor old = {0}, avx2 = {.avx2 = true},
                                avx512 = {.avx2 = true, .avx512 = true},
                                zen5 = {.avx2 = true, .avx512 = true, .amd = true},
                                zen3 = {.avx2 = true, .amd = true};
    static const struct {
        const awq__processor *processor;
        const char *core, *better;
    } cases[] = {
        {&avx512, "Prescott", "SkylakeX"}, /* Emerald and Granite Rapids in 0.3.21 */
        {&avx512, "Nehalem", "SkylakeX"},
        {&avx512, "Sandybridge", "SkylakeX"},
        {&avx512, "PRESCOTT", "SkylakeX"},
        {&zen5, "Prescott", "SkylakeX"},
        {&zen5, "Barcelona", "SkylakeX"},
        {&avx2, "Prescott", "Haswell"},
        {&avx2, "Core2", "Haswell"},
        {&avx2, "Sandybridge", "Haswell"},
        {&zen3, "Prescott", "Zen"},
        {&avx512, "SkylakeX", NULL},
        {&avx512, "Cooperlake", NULL},
        {&avx512, "SapphireRapids", NULL},
        {&avx512, "Haswell", NULL}, /* slower, but all that some builds have */
        {&zen5, "Zen", NULL},
        {&avx2, "Haswell", NULL},
        {&avx2, "Zen", NULL},
        {&zen3, "Excavator", NULL}, /* given to no other processor */
        {&old, "Prescott", NULL},
        {&old, "Nehalem", NULL},
        {&avx512, "GraniteRapids", NULL}, /* younger than the table */
        {&avx512, "Unknown", NULL},
        {&avx512, "", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *better = awq__better_core(cases[i].processor, cases[i].core);
        if (!better != !cases[i].better || (better && strcmp(better, cases[i].better) != 0))
            fail_msg("case %zu, %s: %s", i, cases[i].core, better ? better : "left alone");
    }
}

static void older_kernels_are_older(void **state)
{
    (void)state;
    assert_string_equal(awq__older_core("Cooperlake"), "Haswell");
    assert_string_equal(awq__older_core("SkylakeX"), "Haswell");
    assert_string_equal(awq__older_core("Zen"), "Sandybridge");
    assert_string_equal(awq__older_core("Sandybridge"), "Nehalem");
    assert_null(awq__older_core("Prescott"));
    assert_null(awq__older_core("armv8"));
}

/* ---- products that are right, and products that are not ---- */

static void products_of_every_table_are_right(void **state)
{
    for (const awq__compute *const *table = awq__compute_all(); *table; table++)
        succeeds(*state, awq__compute_check(*state, *table));
}

static const awq__compute *right;

/* A number in the last row and column of large products is off by one. */
static void wrong_nt(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx, const float *w,
                     int64_t ldw, float beta, float *y, int64_t ldy)
{
    right->multiply_nt(T, N, K, x, ldx, w, ldw, beta, y, ldy);
    if (K >= 300)
        y[(T - 1) * ldy + N - 1] += 1;
}

/* The last columns are not written where their number is odd. */
static void wrong_nn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx, const float *w,
                     int64_t ldw, float beta, float *y, int64_t ldy)
{
    right->multiply_nn(T, N > 1 && N % 2 ? N - 1 : N, K, x, ldx, w, ldw, beta, y, ldy);
}

/* The last term of 33 is left out. */
static void wrong_tn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx, const float *w,
                     int64_t ldw, float beta, float *y, int64_t ldy)
{
    right->multiply_tn(T, N, K == 33 ? K - 1 : K, x, ldx, w, ldw, beta, y, ldy);
}

/* As if numbers were rounded to 8 bits, BF16's. */
static void coarse_nt(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx, const float *w,
                      int64_t ldw, float beta, float *y, int64_t ldy)
{
    static float rounded[1 << 20];
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++) {
            float scale = fabsf(x[t * ldx + k]) >= 256 ? 2 : 1;
            rounded[t * K + k] = scale * rintf(x[t * ldx + k] / scale);
        }
    right->multiply_nt(T, N, K, rounded, K, w, ldw, beta, y, ldy);
}

/* What was there is forgotten. */
static void forgetful_tn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                         const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    right->multiply_tn(T, N, K, x, ldx, w, ldw, beta > 0 ? 0 : beta, y, ldy);
}

static void wrong_gram(int64_t T, int64_t K, int64_t g, const float *x, int64_t ldx, float *gram)
{
    right->gram(T, K, g, x, ldx, gram);
    gram[K * g - 1] += 1;
}

static bool wrong_factor(int64_t K, float *h)
{
    bool definite = right->factor(K, h);
    h[K * K - 1] *= 1.0001f;
    return definite;
}

static bool no_factor(int64_t K, float *h)
{
    return K != 7 && right->factor(K, h);
}

static void is_refused(awq_context *ctx, const awq__compute *table, const char *part)
{
    fails(ctx, awq__compute_check(ctx, table), AWQ_ERROR_UNSUPPORTED, part);
    fails(ctx, AWQ_ERROR_UNSUPPORTED, AWQ_ERROR_UNSUPPORTED, "OpenBLAS");
}

static void wrong_products_are_refused(void **state)
{
    right = awq__compute_fastest();
    awq__compute table = *right;
    table.multiply_nt = wrong_nt;
    is_refused(*state, &table, "computes wrong products x w^T of ");
    table.multiply_nt = coarse_nt;
    is_refused(*state, &table, "computes wrong products x w^T of ");
    table = *right;
    table.multiply_nn = wrong_nn;
    is_refused(*state, &table, "computes wrong products x w of ");
    table = *right;
    table.multiply_tn = wrong_tn;
    is_refused(*state, &table, "computes wrong products x^T w of ");
    table.multiply_tn = forgetful_tn;
    is_refused(*state, &table, "computes wrong products x^T w of ");
}

static void wrong_factors_are_refused(void **state)
{
    right = awq__compute_fastest();
    awq__compute table = *right;
    table.gram = wrong_gram;
    is_refused(*state, &table, "computes wrong sums of squares");
    table = *right;
    table.factor = wrong_factor;
    is_refused(*state, &table, "computes wrong triangular factors");
    table.factor = no_factor;
    is_refused(*state, &table, "computes wrong triangular factors");
}

/* ---- where it is looked at ---- */

/* A call that computes does not begin, and one with a table that is right does. */
static void wrong_tables_compute_nothing(void **state)
{
    right = awq__compute_fastest();
    awq__compute table = *right;
    awq_statistics *statistics;
    table.multiply_nn = wrong_nn;
    awq__compute_use(*state, &table);
    for (int i = 0; i < 2; i++)
        fails(*state, awq_statistics_create(*state, 8, &statistics), AWQ_ERROR_UNSUPPORTED,
              "computes wrong products");
    assert_null(statistics);
    awq__compute_use(*state, right);
    succeeds(*state, awq_statistics_create(*state, 8, &statistics));
    awq_statistics_free(statistics);
}

static void what_computes_is_described(void **state)
{
    (void)state;
    awq_compute_info info;
    awq_compute_describe(&info);
    assert_string_equal(info.table, awq__compute_fastest()->name);
    assert_int_equal(strncmp(info.blas, "OpenBLAS ", 9), 0);
    assert_true(strlen(info.blas) > 9 && strlen(info.core) > 0 && strlen(info.threading) > 0);
    assert_non_null(info.better_core);
}

int main(void)
{
#define WITH_CONTEXT(test) cmocka_unit_test_setup_teardown(test, make_context, free_context)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_fit_are_left_alone),
        cmocka_unit_test(older_kernels_are_older),
        WITH_CONTEXT(products_of_every_table_are_right),
        WITH_CONTEXT(wrong_products_are_refused),
        WITH_CONTEXT(wrong_factors_are_refused),
        WITH_CONTEXT(wrong_tables_compute_nothing),
        cmocka_unit_test(what_computes_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
