/* Matrices as they are stored: reading, multipliers, the check for NaN, products by blocks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/weight.h"
#include "context.h"
#include "core/convert.h"
#include "tables.h"

#include <stdio.h>

static const awq_dtype dtypes[] = {AWQ_F32, AWQ_F16, AWQ_BF16};

/* x as dtype, at an odd address; free the base. */
static uint8_t *stored(awq_dtype dtype, const float *x, int64_t count, uint8_t **base)
{
    *base = malloc((size_t)count * 4 + 1);
    assert_non_null(*base);
    assert_int_equal(awq__narrow(NULL, dtype, x, (size_t)count, *base + 1), AWQ_OK);
    return *base + 1;
}

static void all_dtypes_are_read_at_any_address(void **state)
{
    (void)state;
    enum { N = 7, K = 33 };
    uint64_t random = 1;
    float *x = normals(&random, N * K), out[N * K];
    for (int d = 0; d < 3; d++) {
        uint8_t *base, *data = stored(dtypes[d], x, N * K, &base);
        awq__weight weight = awq__weight_plain("w", dtypes[d], data, N, K);
        assert_int_equal(weight.rows, N);
        assert_int_equal(weight.cols, K);
        assert_string_equal(weight.name, "w");
        for (int64_t first = 0; first < N; first++)
            for (int64_t count = 0; first + count <= N; count++) {
                for (int64_t i = 0; i < N * K; i++)
                    out[i] = -99;
                awq__weight_read(&weight, first, count, out);
                for (int64_t i = 0; i < N * K; i++)
                    assert_true(
                        out[i] ==
                        (i < count * K ? awq__round_to_dtype(dtypes[d], x[first * K + i]) : -99));
            }
        free(base);
    }
    free(x);
}

static void multipliers_apply_to_rows_and_columns(void **state)
{
    (void)state;
    enum { N = 6, K = 9 };
    uint64_t random = 2;
    float *x = normals(&random, N * K), out[N * K], row[N], col[K];
    for (int n = 0; n < N; n++)
        row[n] = between(&random, 0.5f, 2);
    for (int k = 0; k < K; k++)
        col[k] = between(&random, 0.5f, 2);
    for (int with = 0; with < 4; with++) {
        awq__weight weight = awq__weight_plain("w", AWQ_F32, x, N, K);
        weight.row_scale = with & 1 ? row : NULL;
        weight.col_scale = with & 2 ? col : NULL;
        for (int64_t first = 0; first < N; first++) {
            awq__weight_read(&weight, first, N - first, out);
            for (int64_t i = first * K; i < N * K; i++) {
                double expected = (double)x[i] * (double)(with & 1 ? row[i / K] : 1) *
                                  (double)(with & 2 ? col[i % K] : 1);
                assert_near_at(out[i - first * K], expected, 0x1p-23 * fabs(expected), "w", i);
            }
        }
    }
    free(x);
}

/* Shapes whose blocks are the smallest, in the middle, and the whole matrix. */
static const int64_t shapes[][2] = {{5, 3},      {40, 9000}, {17, 1 << 15},
                                    {150, 2000}, {70, 4096}, {1, 1 << 17}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void blocks_fit_the_cache(void **state)
{
    (void)state;
    int several = 0;
    for (int i = 0; i < SHAPES; i++) {
        const awq__weight weight = {.rows = shapes[i][0], .cols = shapes[i][1]};
        int64_t block = awq__weight_block(&weight);
        assert_true(block >= 1 && block <= weight.rows);
        assert_true(block == weight.rows || block % 16 == 0);
        assert_true(block <= 16 || block * weight.cols <= 1 << 18);
        assert_int_equal(awq__weight_work(&weight), block * weight.cols);
        several += block < weight.rows;
    }
    assert_true(several >= 4);
}

static void what_is_not_finite_is_found(void **state)
{
    static const struct {
        float value;
        const char *text;
    } wrong[] = {{NAN, "NaN"}, {-NAN, "NaN"}, {INFINITY, "infinite"}, {-INFINITY, "infinite"}};
    awq_context *ctx = *state;
    uint64_t random = 3;
    for (int i = 0; i < 5; i++)
        for (int d = 0; d < 3; d++) {
            int64_t N = shapes[i][0], K = shapes[i][1];
            float *x = normals(&random, N * K);
            uint8_t *base, *data = stored(dtypes[d], x, N * K, &base);
            awq__weight weight = awq__weight_plain("model.w", dtypes[d], data, N, K);
            float *work = floats(awq__weight_work(&weight));
            succeeds(ctx, awq__weight_check(ctx, &weight, work));
            for (int j = 0; j < 4; j++) {
                int64_t first = (int64_t)(awq__random(&random) % (uint64_t)(N * K));
                int64_t later = first + (N * K - first) / 2;
                size_t size = (size_t)awq_dtype_bits(dtypes[d]) / 8;
                uint8_t kept[2][4];
                memcpy(kept[0], data + (size_t)first * size, size);
                memcpy(kept[1], data + (size_t)later * size, size);
                awq__narrow(NULL, dtypes[d], &wrong[(j + 1) % 4].value, 1,
                            data + (size_t)later * size);
                awq__narrow(NULL, dtypes[d], &wrong[j].value, 1, data + (size_t)first * size);
                char message[100];
                snprintf(message, sizeof message, "model.w: row %lld, column %lld is %s",
                         (long long)(first / K), (long long)(first % K), wrong[j].text);
                fails(ctx, awq__weight_check(ctx, &weight, work), AWQ_ERROR_NUMERIC, message);
                memcpy(data + (size_t)later * size, kept[1], size);
                memcpy(data + (size_t)first * size, kept[0], size);
                awq__clear(ctx);
            }
            succeeds(ctx, awq__weight_check(ctx, &weight, work));
            free(work);
            free(base);
            free(x);
        }
}

static void the_largest_numbers_are_finite(void **state)
{
    awq_context *ctx = *state;
    const float x[4] = {3.4e38f, -3.4e38f, 3.4e38f, 1e-45f};
    awq__weight weight = awq__weight_plain("w", AWQ_F32, x, 2, 2);
    float work[4];
    succeeds(ctx, awq__weight_check(ctx, &weight, work));
}

static void products_go_by_blocks(void **state)
{
    (void)state;
    uint64_t random = 4;
    const int64_t T = 3;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < SHAPES; i++) {
        int64_t N = shapes[i][0], K = shapes[i][1], ldx = K + 2, ldy = N + 1;
        float *w = normals(&random, N * K), *x = normals(&random, T * ldx);
        float *y = floats(T * ldy), *expected = floats(T * N), *scaled = floats(N * K);
        float *row = floats(N), *col = floats(K);
        for (int64_t n = 0; n < N; n++)
            row[n] = between(&random, 0.5f, 2);
        for (int64_t k = 0; k < K; k++)
            col[k] = between(&random, 0.5f, 2);
        awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
        weight.row_scale = row;
        weight.col_scale = col;
        float *work = floats(awq__weight_work(&weight));
        for (int64_t j = 0; j < N * K; j++)
            scaled[j] = w[j] * row[j / K] * col[j % K];
        awq__compute_reference()->multiply_nt(T, N, K, x, ldx, scaled, K, 0, expected, N);
        for (int64_t j = 0; j < T * ldy; j++)
            y[j] = -77;
        awq__linear(table, &weight, T, x, ldx, y, ldy, work);
        /* Sums of K products of size 1: rounding grows like the root of K. */
        for (int64_t t = 0; t < T; t++) {
            for (int64_t n = 0; n < N; n++)
                assert_near_at(y[t * ldy + n], expected[t * N + n], 5e-6 * sqrt((double)K),
                               table->name, n);
            assert_true(y[t * ldy + N] == -77);
        }
        awq__linear(table, &weight, 0, x, ldx, y, ldy, work);
        free(w);
        free(x);
        free(y);
        free(expected);
        free(scaled);
        free(row);
        free(col);
        free(work);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_dtypes_are_read_at_any_address),
        cmocka_unit_test(multipliers_apply_to_rows_and_columns),
        cmocka_unit_test(blocks_fit_the_cache),
        cmocka_unit_test_setup_teardown(what_is_not_finite_is_found, make_context, free_context),
        cmocka_unit_test_setup_teardown(the_largest_numbers_are_finite, make_context, free_context),
        cmocka_unit_test(products_go_by_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
