/* The table's operations on rows: moving them, adding them up, sketches of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tables.h"

#include <math.h>

static void rows_are_moved(void **state)
{
    (void)state;
    enum { T = 4, ROWS = 5 };
    uint64_t random = 31;
    const int64_t index[T] = {9, 0, 5, 3}, places[T] = {12, 10, 14, 11};
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++) {
        int64_t K = odd_sizes[i];
        float *x = normals(&random, ROWS * K), *out = floats(T * K), *back = floats(ROWS * K);
        table->gather(T, K, index, 2, x, out);
        table->scatter(T, K, places, 10, out, back);
        for (int64_t t = 0; t < T; t++) {
            assert_memory_equal(out + t * K, x + index[t] / 2 * K, (size_t)K * sizeof *x);
            assert_memory_equal(back + (places[t] - 10) * K, out + t * K, (size_t)K * sizeof *x);
        }
        for (int64_t k = 0; k < K; k++) /* no place is 13 */
            assert_true(back[3 * K + k] == 0);
        free(x);
        free(out);
        free(back);
    }
}

/* Bit for bit: products and sums are in a given order. */
static void rows_are_combined(void **state)
{
    (void)state;
    enum { T = 3, PARTS = 4 };
    uint64_t random = 32;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++)
        for (int weighted = 0; weighted < 2; weighted++) {
            int64_t H = odd_sizes[i];
            float *parts = normals(&random, T * PARTS * H), *weight = normals(&random, T * PARTS);
            float *out = normals(&random, T * H), *expected = copy_of(out, T * H);
            table->combine(T, PARTS, H, weighted ? weight : NULL, parts, out);
            for (int64_t t = 0; t < T; t++)
                for (int64_t h = 0; h < H; h++) {
                    for (int64_t p = 0; p < PARTS; p++) {
                        float part = parts[(t * PARTS + p) * H + h];
                        expected[t * H + h] += weighted ? weight[t * PARTS + p] * part : part;
                    }
                    assert_true(out[t * H + h] == expected[t * H + h]);
                }
            free(parts);
            free(weight);
            free(out);
            free(expected);
        }
}

static void a_row_is_added_to_each(void **state)
{
    (void)state;
    enum { T = 3 };
    uint64_t random = 33;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++) {
        int64_t N = odd_sizes[i], ld = N + 2;
        float *row = normals(&random, N), *scale = normals(&random, N);
        float *y = normals(&random, T * ld), *before = copy_of(y, T * ld);
        table->add_row(T, N, row, NULL, y, ld);
        table->add_row(T, N, row, scale, y, ld);
        for (int64_t t = 0; t < T * ld; t++) {
            int64_t n = t % ld;
            float expected = n < N ? before[t] + row[n] : before[t];
            assert_true(y[t] == (n < N ? expected + row[n] * scale[n] : expected));
        }
        table->shift(T * ld, -0.25f, before, y);
        table->shift(T * ld, -0.25f, before, before);
        assert_memory_equal(y, before, (size_t)(T * ld) * sizeof *y);
        free(row);
        free(scale);
        free(y);
        free(before);
    }
}

static void triangles_are_mirrored(void **state)
{
    (void)state;
    uint64_t random = 34;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++) {
        int64_t K = odd_sizes[i];
        float *m = normals(&random, K * K), *before = copy_of(m, K * K);
        table->mirror(K, m);
        for (int64_t a = 0; a < K; a++)
            for (int64_t b = 0; b < K; b++)
                assert_true(m[a * K + b] == before[a < b ? a * K + b : b * K + a]);
        free(m);
        free(before);
    }
}

/* Each row goes whole, with one sign, to one place, which its number tells; places and signs
   differ, and all tables choose the same. */
static void sketches_place_rows(void **state)
{
    (void)state;
    enum { T = 200, ROWS = 7 };
    uint64_t random = 35;
    for (int i = 0; i < ODD_SIZES; i++) {
        int64_t K = odd_sizes[i], ld = K + 1, used[ROWS] = {0}, negative = 0;
        float *x = normals(&random, T * ld), *first = NULL;
        for (int64_t t = 0; t < T; t++) { /* alone */
            float *rows = floats(ROWS * K);
            awq__compute_reference()->sketch(1, K, x + t * ld, ld, 100 + (uint64_t)t, ROWS, rows);
            int64_t at = 0;
            while (at < ROWS - 1 && rows[at * K] == 0)
                at++;
            float sign = rows[at * K] == x[t * ld] ? 1 : -1;
            for (int64_t j = 0; j < ROWS * K; j++)
                assert_true(rows[j] == (j / K == at ? sign * x[t * ld + j % K] : 0));
            used[at]++;
            negative += sign < 0;
            free(rows);
        }
        for (int64_t r = 0; r < ROWS; r++)
            assert_in_range(used[r], T / ROWS / 3, T / ROWS * 3);
        assert_in_range(negative, T / 3, T * 2 / 3);
        FOR_EACH_TABLE(table)
        {
            float *rows = floats(ROWS * K);
            table->sketch(50, K, x, ld, 100, ROWS, rows);
            table->sketch(T - 50, K, x + 50 * ld, ld, 150, ROWS, rows);
            if (first)
                assert_memory_equal(rows, first, (size_t)(ROWS * K) * sizeof *rows);
            if (first)
                free(rows);
            else
                first = rows;
        }
        free(first);
        free(x);
    }
}

static void largest_differences_are_found(void **state)
{
    (void)state;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++) {
        int64_t count = odd_sizes[i];
        float *a = floats(count), *b = floats(count);
        assert_true(table->largest_difference(count, a, b) == 0);
        a[count / 2] = -3;
        b[count / 2] = 0.5f;
        assert_true(table->largest_difference(count, a, b) == 3.5);
        assert_true(table->largest_difference(count, a, NULL) == 3);
        a[0] = NAN;
        assert_true(isnan(table->largest_difference(count, a, b)));
        free(a);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_moved),         cmocka_unit_test(rows_are_combined),
        cmocka_unit_test(a_row_is_added_to_each), cmocka_unit_test(triangles_are_mirrored),
        cmocka_unit_test(sketches_place_rows),    cmocka_unit_test(largest_differences_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
