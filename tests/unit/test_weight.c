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
                awq__weight_read(awq__compute_fastest(), &weight, first, count, out);
                for (int64_t i = 0; i < N * K; i++)
                    assert_true(
                        out[i] ==
                        (i < count * K ? awq__round_to_dtype(dtypes[d], x[first * K + i]) : -99));
            }
        free(base);
    }
    free(x);
}

/* ---- strided ---- */

/* Reads rows first .. first+count-1 of both, which must give the same bits and touch nothing else.
 */
static void check_same_rows(const awq__weight *weight, const awq__weight *expected, int64_t first,
                            int64_t count)
{
    int64_t K = weight->cols;
    float *out = floats(count * K + 2), *right = floats(count * K + 2);
    out[count * K] = right[count * K] = -99;
    awq__weight_read(awq__compute_fastest(), weight, first, count, out);
    awq__weight_read(awq__compute_fastest(), expected, first, count, right);
    assert_memory_equal(out, right, (size_t)(count * K + 1) * sizeof *out);
    free(out);
    free(right);
}

/* Panels of columns hold what whole rows do, whether or not the weight reads panels by itself. */
static void check_panels(awq__weight weight, int64_t first, int64_t count, int64_t panel)
{
    int64_t K = weight.cols;
    float *rows = floats(count * K + 1), *out = floats(count * K + 2), *row = floats(K);
    awq__weight_read(awq__compute_fastest(), &weight, first, count, rows);
    for (int whole_rows = 0; whole_rows < 2; whole_rows++) {
        weight.read_panel = whole_rows ? NULL : weight.read_panel;
        out[count * K] = -99;
        awq__weight_read_panels(awq__compute_fastest(), &weight, first, count, panel, out, row);
        for (int64_t col = 0; col < K; col += panel) {
            int64_t cols = awq__min(panel, K - col);
            for (int64_t n = 0; n < count; n++)
                assert_memory_equal(out + count * col + n * cols, rows + n * K + col,
                                    (size_t)cols * sizeof *out);
        }
        assert_true(out[count * K] == -99);
    }
    free(rows);
    free(out);
    free(row);
}

/* A matrix laid out with the strides, at an odd address, from its allocation's first byte but one
   to its last. */
static void check_strides(awq_dtype dtype, int64_t N, int64_t K, int64_t row_stride,
                          int64_t col_stride, uint64_t *random)
{
    size_t size = (size_t)awq_dtype_bits(dtype) / 8;
    float *x = normals(random, N * K);
    uint8_t *base, *data = stored(dtype, x, N * K, &base);
    size_t bytes = (size_t)((N - 1) * row_stride + (K - 1) * col_stride + 1) * size + 1;
    uint8_t *spread = malloc(bytes);
    assert_non_null(spread);
    memset(spread, 0xff, bytes); /* NaN between the elements */
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++)
            memcpy(spread + 1 + (size_t)(n * row_stride + k * col_stride) * size,
                   data + (size_t)(n * K + k) * size, size);
    awq__weight plain = awq__weight_plain("w", dtype, data, N, K);
    awq__weight weight = awq__weight_strided("w", dtype, spread + 1, N, K, row_stride, col_stride);
    assert_int_equal(weight.rows, N);
    assert_int_equal(weight.cols, K);
    assert_true(weight.dtype == dtype);
    assert_true(awq__weight_is_plain(&plain));
    assert_true(awq__weight_is_plain(&weight) == (row_stride == K && col_stride == 1));
    check_same_rows(&weight, &plain, 0, N);
    check_same_rows(&weight, &plain, N / 3, (N + 1) / 2);
    check_same_rows(&weight, &plain, N - 1, 1);
    check_same_rows(&weight, &plain, N - 1, 0);
    float *row = normals(random, N), *col = normals(random, K);
    weight.row_scale = row;
    check_panels(weight, 0, N, K);
    weight.col_scale = col;
    check_panels(weight, N / 3, (N + 1) / 2, (K + 2) / 3);
    check_panels(weight, N - 1, 1, 33);
    free(row);
    free(col);
    free(spread);
    free(base);
    free(x);
}

static void strides_are_followed(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{1, 1},    {3, 70},   {128, 32}, {129, 33},
                                       {300, 65}, {16, 100}, {1, 40},   {40, 1}};
    uint64_t random = 5;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int d = 0; d < 3; d++) {
            int64_t N = sizes[i][0], K = sizes[i][1];
            check_strides(dtypes[d], N, K, K, 1, &random);       /* as it is */
            check_strides(dtypes[d], N, K, 2 * K, 1, &random);   /* every other row */
            check_strides(dtypes[d], N, K, K + 5, 1, &random);   /* room between rows */
            check_strides(dtypes[d], N, K, 1, N, &random);       /* transposed */
            check_strides(dtypes[d], N, K, 1, 2 * N, &random);   /* and one half of the rows */
            check_strides(dtypes[d], N, K, 2, 2 * N, &random);   /* or every other one */
            check_strides(dtypes[d], N, K, 50, 50 * N, &random); /* rows far apart */
            check_strides(dtypes[d], N, K, 3 * K, 3, &random);
        }
}

static void only_what_is_stored_so_is_plain(void **state)
{
    (void)state;
    const float x[6] = {1, 2, 3, 4, 5, 6}, scale[3] = {1, 1, 1};
    awq__weight weight = awq__weight_plain("w", AWQ_F32, x, 2, 3);
    weight.bias = x;
    weight.bias_scale = scale;
    assert_true(awq__weight_is_plain(&weight));
    weight.row_scale = scale;
    assert_false(awq__weight_is_plain(&weight));
    weight.row_scale = NULL;
    weight.col_scale = scale;
    assert_false(awq__weight_is_plain(&weight));
    const uint8_t bytes[17] = {0};
    weight = awq__weight_mxfp4("w", bytes, bytes + 16, 1, 32, 1);
    assert_false(awq__weight_is_plain(&weight));
    assert_true(weight.dtype == AWQ_BF16);
}

/* ---- MXFP4 ---- */

static double mxfp4_value(const uint8_t *blocks, const uint8_t *scales, int64_t row, int64_t cols,
                          int64_t k)
{
    static const double magnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    int byte = blocks[row * cols / 2 + k / 32 * 16 + k % 32 / 2],
        scale = scales[row * cols / 32 + k / 32];
    int code = k % 2 ? byte >> 4 : byte & 15;
    double value = ldexp(magnitudes[code % 8], scale - 127);
    return scale == 255 ? NAN : code < 8 ? value : -value;
}

static void mxfp4_is_read(void **state)
{
    awq_context *ctx = *state;
    enum { N = 150, K = 96, BYTES = N * K / 2, GROUPS = N * K / 32 };
    uint64_t random = 6;
    uint8_t *blocks = space_for(2 * BYTES, 1), *scales = space_for(2 * GROUPS, 1);
    for (int i = 0; i < 2 * BYTES; i++)
        blocks[i] = (uint8_t)awq__random(&random);
    for (int i = 0; i < 2 * GROUPS; i++)
        scales[i] = (uint8_t)(i % 255); /* 254: 6 * 2^127 is infinite */
    for (int64_t stride = 1; stride <= 2; stride++)
        for (int64_t start = 0; start < stride; start++) {
            awq__weight weight = awq__weight_mxfp4("w", blocks + start * K / 2,
                                                   scales + start * K / 32, N, K, stride);
            float *out = floats(N * K);
            for (int64_t first = 0; first < N; first += 49) {
                awq__weight_read(awq__compute_fastest(), &weight, first, N - first, out);
                for (int64_t i = first * K; i < N * K; i++) {
                    double expected = mxfp4_value(blocks, scales, i / K * stride + start, K, i % K);
                    assert_true(out[i - first * K] == (float)expected);
                }
            }
            free(out);
            for (int64_t panel = 7; panel <= 2 * K; panel += 25)
                check_panels(weight, 11, N - 11, panel);
        }
    for (int i = 0; i < 2 * GROUPS; i++)
        scales[i] = (uint8_t)(i % 253);
    awq__weight weight = awq__weight_mxfp4("layer.down", blocks, scales, N, K, 1);
    float *work = floats(awq__weight_work(&weight));
    succeeds(ctx, awq__weight_check(ctx, &weight, work));
    for (int j = 0; j < 16; j++) /* zeros and others: with a scale of NaN all are that */
        blocks[77 * K / 2 + 16 + j] = j < 5 ? 0x02 : 0x7f;
    scales[77 * K / 32 + 1] = 255;
    float row[K];
    awq__weight_read(awq__compute_fastest(), &weight, 77, 1, row);
    for (int k = 0; k < K; k++)
        assert_true(!isnan(row[k]) == (k < 32 || k >= 64));
    fails(ctx, awq__weight_check(ctx, &weight, work), AWQ_ERROR_NUMERIC,
          "layer.down: row 77, column 32 is NaN");
    free(work);
    free(blocks);
    free(scales);
}

/* ---- multipliers, blocks, checks ---- */

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
            awq__weight_read(awq__compute_fastest(), &weight, first, N - first, out);
            for (int64_t i = first * K; i < N * K; i++) {
                double expected = (double)x[i] * (double)(with & 1 ? row[i / K] : 1) *
                                  (double)(with & 2 ? col[i % K] : 1);
                assert_near_at(out[i - first * K], expected, 0x1p-23 * fabs(expected), "w", i);
            }
        }
    }
    free(x);
}

static int scaled_values;

static void count_scaled(int64_t N, int64_t K, const float *row, const float *col, float *x)
{
    scaled_values += (int)(N * K);
    awq__compute_reference()->scale(N, K, row, col, x);
}

/* The table that was asked multiplies, by whole rows and by panels, and in products. */
static void multipliers_are_the_tables(void **state)
{
    (void)state;
    enum { N = 5, K = 12 };
    uint64_t random = 3;
    float *x = normals(&random, N * K), out[N * K], row[K], work[N * K], y[N];
    awq__weight weight = awq__weight_plain("w", AWQ_F32, x, N, K);
    awq__compute table = *awq__compute_reference();
    table.scale = count_scaled;
    weight.col_scale = x;
    scaled_values = 0;
    awq__weight_read(&table, &weight, 0, N, out);
    assert_int_equal(scaled_values, N * K);
    awq__weight_read_panels(&table, &weight, 0, N, 5, out, row);
    assert_int_equal(scaled_values, 2 * N * K);
    awq__linear(&table, &weight, 1, x, K, y, N, work);
    assert_int_equal(scaled_values, 3 * N * K);
    free(x);
}

/* Shapes whose blocks are the smallest, in the middle, and the whole matrix. */
static const int64_t shapes[][2] = {{5, 3},     {1100, 300},   {20, 140000},
                                    {600, 100}, {70, 1 << 16}, {1, 1 << 17}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void blocks_are_bounded(void **state)
{
    (void)state;
    int several = 0;
    for (int i = 0; i < SHAPES; i++) {
        const awq__weight weight = {.rows = shapes[i][0], .cols = shapes[i][1]};
        int64_t block = awq__weight_block(&weight);
        assert_true(block >= 1 && block <= weight.rows);
        assert_true(block == weight.rows || block % 16 == 0);
        assert_true(block <= 16 || (block <= 512 && block * weight.cols <= 1 << 22));
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
        /* Sums of K products of size 1: rounding grows like the root of K where they are many sums,
           and like K where it is one. */
        double tolerance = 1e-5 * sqrt((double)K) + 2e-8 * (double)K;
        for (int64_t t = 0; t < T; t++) {
            for (int64_t n = 0; n < N; n++)
                assert_near_at(y[t * ldy + n], expected[t * N + n], tolerance, table->name, n);
            assert_true(y[t * ldy + N] == -77);
        }
        awq__linear(table, &weight, 0, x, ldx, y, ldy, work);
        float *by_rows = floats(T * ldy); /* where rows are read whole */
        awq__weight whole_rows = weight;
        whole_rows.read_panel = NULL;
        awq__linear(table, &whole_rows, T, x, ldx, by_rows, ldy, work);
        for (int64_t j = 0; j < T * N; j++)
            assert_near_at(by_rows[j / N * ldy + j % N], expected[j], tolerance, table->name, j);
        free(by_rows);
        /* A bias is added to that, with a multiplier of its own. */
        float *biased = floats(T * ldy), *bias = normals(&random, N);
        weight.bias = bias;
        for (int with = 0; with < 2; with++) {
            weight.bias_scale = with ? row : NULL;
            memcpy(biased, y, (size_t)(T * ldy) * sizeof *y);
            awq__linear(table, &weight, T, x, ldx, biased, ldy, work);
            for (int64_t j = 0; j < T * ldy; j++) {
                int64_t n = j % ldy;
                float added = n == N ? 0 : with ? bias[n] * row[n] : bias[n];
                assert_true(biased[j] == y[j] + added);
            }
            /* The same bits where blocks run side by side. */
            float *parallel = copy_of(y, T * ldy);
            succeeds(*state, awq_context_set_threads(*state, 3));
            succeeds(*state,
                     awq__linear_parallel(*state, table, &weight, T, x, ldx, parallel, ldy));
            assert_memory_equal(parallel, biased, (size_t)(T * ldy) * sizeof *parallel);
            free(parallel);
        }
        free(biased);
        free(bias);
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
        cmocka_unit_test(strides_are_followed),
        cmocka_unit_test(only_what_is_stored_so_is_plain),
        cmocka_unit_test_setup_teardown(mxfp4_is_read, make_context, free_context),
        cmocka_unit_test(multipliers_apply_to_rows_and_columns),
        cmocka_unit_test(multipliers_are_the_tables),
        cmocka_unit_test(blocks_are_bounded),
        cmocka_unit_test_setup_teardown(what_is_not_finite_is_found, make_context, free_context),
        cmocka_unit_test_setup_teardown(the_largest_numbers_are_finite, make_context, free_context),
        cmocka_unit_test_setup_teardown(products_go_by_blocks, make_context, free_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
