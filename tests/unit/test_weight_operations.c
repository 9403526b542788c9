/* The table's operations on weights and their errors: what their groups are, scaling, quadratic
 * forms.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tables.h"

#define FLOAT_ROUNDING 0x1p-24

static void quadratic_forms_are_right(void **state)
{
    (void)state;
    uint64_t random = 15;
    static const int64_t shapes[][2] = {{1, 1},    {700, 32},  {5, 24},  {300, 64},
                                        {130, 66}, {129, 128}, {9, 300}, {0, 32}};
    FOR_EACH_TABLE(table)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t N = shapes[i][0], K = shapes[i][1];
        float *e = normals(&random, N * K), *x = normals(&random, 7 * K), *m = floats(K * K);
        float *space = floats(N * K);
        double *sums = space_for(N + 1, sizeof *sums);
        awq__compute_reference()->gram(7, K, K, x, K, m);
        sums[N] = -77;
        table->quadratic(N, K, e, m, space, sums);
        for (int64_t n = 0; n < N; n++) {
            double expected = 0, size = 0;
            for (int64_t a = 0; a < K; a++)
                for (int64_t b = 0; b < K; b++) {
                    double term =
                        (double)e[n * K + a] * (double)m[a * K + b] * (double)e[n * K + b];
                    expected += term;
                    size += fabs(term);
                }
            assert_near_at((float)sums[n], expected, (sqrt((double)K) + 3) * FLOAT_ROUNDING * size,
                           table->name, n);
        }
        assert_true(sums[N] == -77);
        free(e);
        free(x);
        free(m);
        free(space);
        free(sums);
    }
}

/* With fused multiply-adds forms of small groups do not depend on how wide the registers are, nor
   on which rows come together. */
static void forms_of_groups_agree_to_the_bit(void **state)
{
    (void)state;
    enum { N = 29, K = 128, BASE = 1 };
    uint64_t random = 25;
    float *e = normals(&random, N * K), *x = normals(&random, 7 * K), *m = floats(K * K);
    float *space = floats(N * K);
    double first[N], sums[N];
    awq__compute_reference()->gram(7, K, K, x, K, m);
    const awq__compute *const *fused = awq__compute_all() + BASE + 1;
    for (const awq__compute *const *at = fused; *at; at++) {
        (*at)->quadratic(N, K, e, m, space, at == fused ? first : sums);
        if (at != fused)
            assert_memory_equal(sums, first, sizeof sums);
        for (int64_t n = 0; n < N; n++) {
            (*at)->quadratic(1, K, e + n * K, m, space, sums);
            assert_true(sums[0] == first[n]);
        }
    }
    free(e);
    free(x);
    free(m);
    free(space);
}

static void extents_of_groups_include_0(void **state)
{
    (void)state;
    uint64_t random = 16;
    static const int64_t shapes[][3] = {{3, 7, 7},   {2, 64, 32},  {5, 99, 33},
                                        {1, 100, 1}, {4, 128, 64}, {2, 257, 257}};
    FOR_EACH_TABLE(table)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t N = shapes[i][0], K = shapes[i][1], g = shapes[i][2], groups = N * K / g;
        float *w = normals(&random, N * K);
        awq__range *range = space_for(groups, sizeof *range);
        for (int64_t k = 0; k < N * K; k++) /* of one sign, or of none */
            w[k] = k / g % 4 == 0 ? fabsf(w[k]) : k / g % 4 == 1 ? -fabsf(w[k]) : w[k];
        memset(w, 0, (size_t)g * sizeof *w);
        shifted s = shift(w, N * K, (int)i % 5);
        table->group_extents(N, K, g, s.x, range);
        for (int64_t j = 0; j < groups; j++) {
            float low = 0, high = 0;
            for (int64_t k = j * g; k < (j + 1) * g; k++) {
                low = fminf(low, w[k]);
                high = fmaxf(high, w[k]);
            }
            assert_true(range[j].low == low && range[j].high == high);
        }
        for (int sign = -1; sign <= 1; sign += 2) {
            s.x[N * K - g / 2 - 1] = copysignf(NAN, (float)sign);
            table->group_extents(N, K, g, s.x, range);
            assert_true(isnan(range[groups - 1].high));
            assert_true(groups == 1 || !isnan(range[groups - 2].high));
        }
        free(s.base);
        free(w);
        free(range);
    }
}

static void rows_and_columns_are_scaled(void **state)
{
    (void)state;
    uint64_t random = 17;
    const int64_t N = 4;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++)
        for (int with = 0; with < 4; with++) {
            int64_t K = odd_sizes[i];
            float *x = normals(&random, N * K), *row = normals(&random, N);
            float *col = normals(&random, K);
            shifted s = shift(x, N * K, i % 4);
            table->scale(N, K, with & 1 ? row : NULL, with & 2 ? col : NULL, s.x);
            for (int64_t j = 0; j < N * K; j++) {
                float expected = with & 2 ? x[j] * col[j % K] : x[j];
                assert_true(s.x[j] == (with & 1 ? expected * row[j / K] : expected));
            }
            free(s.base);
            free(x);
            free(row);
            free(col);
        }
}

static void squares_are_added_by_column(void **state)
{
    (void)state;
    uint64_t random = 18;
    const int64_t T = 5;
    for (int i = 0; i < ODD_SIZES; i++)
        for (int with = 0; with < 4; with++) {
            int64_t K = odd_sizes[i];
            float *a = normals(&random, T * K), *b = normals(&random, T * K);
            float *weight = normals(&random, T);
            double *expected = space_for(K, sizeof *expected);
            for (int64_t j = 0; j < T * K; j++) {
                double d = (double)a[j] - (with & 1 ? (double)b[j] : 0);
                d *= with & 2 ? (double)weight[j / K] : 1;
                expected[j % K] += d * d;
            }
            FOR_EACH_TABLE(table)
            {
                shifted s = shift(a, T * K, i % 4);
                double *sums = space_for(K, sizeof *sums);
                for (int64_t k = 0; k < K; k++)
                    sums[k] = (double)k;
                table->add_squares(T, K, s.x, with & 1 ? b : NULL, with & 2 ? weight : NULL, sums);
                for (int64_t k = 0; k < K; k++)
                    assert_near_at((float)(sums[k] - (double)k), expected[k],
                                   8 * FLOAT_ROUNDING * expected[k], table->name, k);
                free(s.base);
                free(sums);
            }
            free(a);
            free(b);
            free(weight);
            free(expected);
        }
}

static void relative_magnitudes_are_right(void **state)
{
    (void)state;
    uint64_t random = 10;
    static const int64_t shapes[][3] = {{3, 7, 7},   {2, 64, 32},  {5, 99, 33},
                                        {1, 100, 1}, {4, 128, 64}, {2, 257, 257}};
    FOR_EACH_TABLE(table)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t N = shapes[i][0], K = shapes[i][1], g = shapes[i][2];
        float *w = normals(&random, N * K);
        double *sums = space_for(K, sizeof *sums);
        memset(w, 0, (size_t)g * sizeof *w); /* a group of zeros adds nothing */
        table->add_w_mean(N, K, g, w, sums);
        for (int64_t k = 0; k < K; k++) {
            double expected = 0;
            for (int64_t n = 0; n < N; n++) {
                double largest = 0;
                for (int64_t j = k / g * g; j < k / g * g + g; j++)
                    largest = fmax(largest, fabs((double)w[n * K + j]));
                expected += fabs((double)w[n * K + k]) / (largest + 1e-6);
            }
            assert_near_at(sums[k], expected, 3 * FLOAT_ROUNDING * expected, table->name, k);
        }
        free(w);
        free(sums);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quadratic_forms_are_right),
        cmocka_unit_test(forms_of_groups_agree_to_the_bit),
        cmocka_unit_test(extents_of_groups_include_0),
        cmocka_unit_test(rows_and_columns_are_scaled),
        cmocka_unit_test(squares_are_added_by_column),
        cmocka_unit_test(relative_magnitudes_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
