/* The public functions on matrices, as a program that has weights and activations uses them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/tensor.h"
#include "context.h"
#include "compute/compute.h"
#include "core/convert.h"
#include "core/task.h"
#include "numbers.h"

#include <stdatomic.h>

/* A linear whose inputs have outliers, as an owner of tensors has it. */
typedef struct linear {
    int64_t T, N, K;
    float *x, *w;
    awq_matrix matrix;
    awq_statistics *statistics;
} linear;

static void make_linear(awq_context *ctx, linear *l, int64_t T, int64_t N, int64_t K,
                        uint64_t *random)
{
    *l = (linear){.T = T, .N = N, .K = K, .x = normals(random, T * K), .w = normals(random, N * K)};
    for (int64_t i = 0; i < T * K; i++)
        l->x[i] *= i % K % 19 == 2 ? 25 : 1;
    l->matrix = (awq_matrix){l->w, AWQ_F32, N, K};
    succeeds(ctx, awq_statistics_create(ctx, K, &l->statistics));
    succeeds(ctx, awq_statistics_add(l->statistics, l->x, T / 2));
    succeeds(ctx, awq_statistics_add(l->statistics, l->x + T / 2 * K, T - T / 2));
}

static void free_linear(linear *l)
{
    awq_statistics_free(l->statistics);
    free(l->x);
    free(l->w);
}

/* |x W^T - (x/s) Q^T|^2 */
static double output_error(const linear *l, const awq_quantized *q, const float *scales)
{
    float *values = floats(l->N * l->K);
    double total = 0;
    awq_quantized_values(q, values);
    for (int64_t t = 0; t < l->T; t++)
        for (int64_t n = 0; n < l->N; n++) {
            double error = 0;
            for (int64_t k = 0; k < l->K; k++)
                error += (double)l->x[t * l->K + k] *
                         ((double)l->w[n * l->K + k] -
                          (double)values[n * l->K + k] / (scales ? (double)scales[k] : 1));
            total += error * error;
        }
    free(values);
    return total;
}

static const awq_scheme int4 = {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER};
static const awq_scheme mxfp4 = {.bits = 4, .group_size = 32, .code = AWQ_CODE_E2M1};

/* Statistics, scales, clips, codes, words, and back. */
static void the_whole_order_of_work(void **state)
{
    awq_context *ctx = *state;
    enum { N = 24, K = 96, G = 3 };
    uint64_t random = 1;
    linear l;
    make_linear(ctx, &l, 80, N, K, &random);
    float scales[K];
    awq_range ranges[N * G];
    awq_scale_result result;
    succeeds(ctx, awq_search_scales(ctx, &l.matrix, 1, &int4, l.statistics, 20, scales, &result));
    succeeds(ctx, awq_search_clips(ctx, &l.matrix, &int4, l.statistics, scales, ranges));

    awq_quantized *plain, *scaled, *clipped, *unpacked;
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &int4, NULL, NULL, &plain));
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &int4, scales, NULL, &scaled));
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &int4, scales, ranges, &clipped));
    double rtn_error = output_error(&l, plain, NULL);
    double scaled_error = output_error(&l, scaled, scales);
    double clipped_error = output_error(&l, clipped, scales);
    assert_near(result.rtn_loss, rtn_error, 1e-3 * rtn_error);
    assert_near(result.loss, scaled_error, 1e-3 * scaled_error);
    assert_true(result.ratio > 0 && result.ratio <= 1);
    assert_true(scaled_error < 0.5 * rtn_error);
    assert_true(clipped_error < 1.05 * scaled_error); /* groups are clipped one by one */
    int finite = 0;
    for (int i = 0; i < N * G; i++) {
        assert_true(ranges[i].low < 0 && ranges[i].high > 0);
        finite += isfinite(ranges[i].high) != 0;
    }
    assert_true(finite > 0);

    uint32_t qweight[K * N / 8], qzeros[G * N / 8];
    uint16_t stored_scales[G * N];
    succeeds(ctx, awq_pack_gemm(ctx, clipped, qweight, qzeros, stored_scales));
    succeeds(ctx, awq_unpack_gemm(ctx, N, K, 32, qweight, qzeros, stored_scales, &unpacked));
    assert_memory_equal(awq_quantized_codes(unpacked), awq_quantized_codes(clipped), N * K);
    assert_memory_equal(awq_quantized_zeros(unpacked), awq_quantized_zeros(clipped), N * G);
    assert_memory_equal(awq_quantized_scales(unpacked), awq_quantized_scales(clipped),
                        N * G * sizeof(float));
    float values[2][N * K];
    awq_quantized_values(clipped, values[0]);
    awq_quantized_values(unpacked, values[1]);
    assert_memory_equal(values[0], values[1], sizeof values[0]);
    for (int i = 0; i < N * K; i++)
        assert_true(values[0][i] == awq_quantized_scales(clipped)[i / 32] *
                                        ((float)awq_quantized_codes(clipped)[i] -
                                         (float)awq_quantized_zeros(clipped)[i / 32]));
    awq_quantized_free(plain);
    awq_quantized_free(scaled);
    awq_quantized_free(clipped);
    awq_quantized_free(unpacked);
    free_linear(&l);
}

/* Clips for W s and x / s, asked for with the scales or with both multiplied out. */
static void clips_are_those_of_the_scaled_linear(void **state)
{
    awq_context *ctx = *state;
    enum { T = 20, N = 6, K = 64, G = 2 };
    uint64_t random = 9;
    linear l, scaled;
    make_linear(ctx, &l, T, N, K, &random);
    make_linear(ctx, &scaled, T, N, K, &random);
    float scales[K];
    awq_range ranges[2][N * G];
    for (int k = 0; k < K; k++)
        scales[k] = ldexpf(1, (int)(awq__random(&random) % 6) - 2); /* exact in every product */
    for (int i = 0; i < N * K; i++)
        scaled.w[i] = l.w[i] * scales[i % K];
    for (int i = 0; i < T * K; i++)
        scaled.x[i] = l.x[i] / scales[i % K];
    awq_statistics_free(scaled.statistics);
    succeeds(ctx, awq_statistics_create(ctx, K, &scaled.statistics));
    succeeds(ctx, awq_statistics_add(scaled.statistics, scaled.x, T / 2));
    succeeds(ctx, awq_statistics_add(scaled.statistics, scaled.x + T / 2 * K, T - T / 2));
    succeeds(ctx, awq_search_clips(ctx, &l.matrix, &int4, l.statistics, scales, ranges[0]));
    succeeds(ctx, awq_search_clips(ctx, &scaled.matrix, &int4, scaled.statistics, NULL, ranges[1]));
    assert_memory_equal(ranges[0], ranges[1], sizeof ranges[0]);
    free_linear(&l);
    free_linear(&scaled);
}

/* For E2M1 codes a range chooses the power of two. */
static void e2m1_clips_lessen_the_error(void **state)
{
    awq_context *ctx = *state;
    enum { T = 40, N = 6, K = 96, G = K / 32 };
    uint64_t random = 12;
    linear l;
    make_linear(ctx, &l, T, N, K, &random);
    awq_range ranges[N * G];
    awq_quantized *plain, *clipped;
    succeeds(ctx, awq_search_clips(ctx, &l.matrix, &mxfp4, l.statistics, NULL, ranges));
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &mxfp4, NULL, NULL, &plain));
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &mxfp4, NULL, ranges, &clipped));
    int changed = 0;
    for (int i = 0; i < N * G; i++) {
        int exponent;
        float scale = awq_quantized_scales(clipped)[i];
        assert_true((double)frexpf(scale, &exponent) == 0.5);
        if (isfinite(ranges[i].high))
            assert_true(scale == awq__e2m1_scale(ranges[i].high));
        changed += scale != awq_quantized_scales(plain)[i];
    }
    assert_true(changed > 0);
    assert_true(output_error(&l, clipped, NULL) < output_error(&l, plain, NULL));
    awq_quantized_free(plain);
    awq_quantized_free(clipped);
    free_linear(&l);
}

/* Codes cover the range that is given, of the scaled weights, and what is outside takes its ends.
 */
static void codes_cover_the_ranges(void **state)
{
    awq_context *ctx = *state;
    static const float w[2 * 8] = {40, -40, 0, 1, 2, -2, 3.5f, -4, 1, 2, 3, 4, 5, 6, 7, -8};
    static const float scales[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    static const awq_range ranges[2] = {{-6, 9}, {-INFINITY, INFINITY}};
    static const uint8_t codes[2 * 8] = {15, 0, 6, 8, 10, 2, 13, 0, 9, 10, 11, 12, 13, 14, 15, 0};
    const awq_scheme scheme = {4, 8, false, AWQ_SCALE_F32, AWQ_CODE_INTEGER};
    const awq_matrix matrix = {w, AWQ_F32, 2, 8};
    awq_quantized *q;
    succeeds(ctx, awq_quantized_create(ctx, &matrix, &scheme, scales, ranges, &q));
    assert_memory_equal(awq_quantized_codes(q), codes, sizeof codes);
    assert_true(awq_quantized_scales(q)[0] == 1 && awq_quantized_scales(q)[1] == 2);
    assert_int_equal(awq_quantized_zeros(q)[0], 6);
    assert_int_equal(awq_quantized_zeros(q)[1], 8);
    awq_quantized_free(q);
}

static void salience_is_the_mean_magnitude(void **state)
{
    awq_context *ctx = *state;
    enum { T = 30, K = 17 };
    uint64_t random = 2;
    float *x = normals(&random, T * K), salience[K];
    awq_statistics *statistics;
    succeeds(ctx, awq_statistics_create(ctx, K, &statistics));
    awq_statistics_salience(statistics, salience);
    for (int k = 0; k < K; k++)
        assert_true(salience[k] == 0);
    succeeds(ctx, awq_statistics_add(statistics, x, T));
    succeeds(ctx, awq_statistics_add(statistics, NULL, 0));
    awq_statistics_salience(statistics, salience);
    for (int k = 0; k < K; k++) {
        double sum = 0;
        for (int t = 0; t < T; t++)
            sum += fabs((double)x[t * K + k]);
        assert_near_at(salience[k], sum / T, 1e-6, "salience", k);
    }
    awq_statistics_free(statistics);
    free(x);
}

static _Atomic int64_t highest_task;
static awq__compute watched;

static void watch_multiply(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                           const float *w, int64_t ldw, float beta, float *y, int64_t ldy)
{
    int64_t highest = atomic_load(&highest_task);
    while (awq__current_task > highest &&
           !atomic_compare_exchange_weak(&highest_task, &highest, awq__current_task))
        ;
    awq__compute_fastest()->multiply_tn(T, N, K, x, ldx, w, ldw, beta, y, ldy);
}

/* In tasks, for all threads, and only half of what is symmetric: the losses are still whole. */
static void statistics_are_added_in_tasks(void **state)
{
    awq_context *ctx = *state;
    enum { T = 40, N = 2, K = 2048 };
    uint64_t random = 8;
    linear l;
    awq_statistics *first;
    float *scales = floats(K);
    awq_scale_result result;
    awq_quantized *q;
    watched = *awq__compute_fastest();
    watched.multiply_tn = watch_multiply;
    awq__compute_use(ctx, &watched);
    succeeds(ctx, awq_statistics_create(ctx, 1, &first)); /* the first use of a table checks it */
    awq_statistics_free(first);
    atomic_store(&highest_task, -1);
    uint64_t before = awq__product_operations();
    make_linear(ctx, &l, T, N, K, &random);
    assert_true(atomic_load(&highest_task) > 0);
    assert_true(awq__product_operations() - before < UINT64_C(2) * T * K * K * 3 / 4);
    succeeds(ctx, awq_search_scales(ctx, &l.matrix, 1, &int4, l.statistics, 4, scales, &result));
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &int4, NULL, NULL, &q));
    double expected = output_error(&l, q, NULL);
    assert_near(result.rtn_loss, expected, 1e-3 * expected);
    awq_quantized_free(q);
    free_linear(&l);
    free(scales);
}

/* Nothing of what was refused is in the statistics. */
static void wrong_activations_are_refused_whole(void **state)
{
    awq_context *ctx = *state;
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    float x[3 * 4], salience[4];
    awq_statistics *statistics;
    fails(ctx, awq_statistics_create(ctx, 0, &statistics), AWQ_ERROR_ARGUMENT, "columns: 0");
    assert_null(statistics);
    succeeds(ctx, awq_statistics_create(ctx, 4, &statistics));
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 12; j++)
            x[j] = j == 9 ? wrong[i] : 1;
        fails(ctx, awq_statistics_add(statistics, x, 3), AWQ_ERROR_NUMERIC, "token 2, channel 1");
    }
    fails(ctx, awq_statistics_add(statistics, x, -1), AWQ_ERROR_ARGUMENT, "-1 tokens");
    awq_statistics_salience(statistics, salience);
    for (int k = 0; k < 4; k++)
        assert_true(salience[k] == 0);
    awq_statistics_free(statistics);
    awq_statistics_free(NULL);
}

/* The same values stored as BF16 give the same codes as F32. */
static void stored_dtypes_are_read(void **state)
{
    awq_context *ctx = *state;
    enum { N = 5, K = 64 };
    static const awq_dtype dtypes[] = {AWQ_BF16, AWQ_F16};
    uint64_t random = 3;
    float *w = normals(&random, N * K);
    for (int d = 0; d < 2; d++) {
        uint16_t stored[N * K];
        float *rounded = copy_of(w, N * K);
        succeeds(ctx, awq__narrow(ctx, dtypes[d], w, N * K, stored));
        for (int i = 0; i < N * K; i++)
            rounded[i] = awq__round_to_dtype(dtypes[d], w[i]);
        const awq_matrix a = {stored, dtypes[d], N, K}, b = {rounded, AWQ_F32, N, K};
        awq_quantized *from_stored, *from_floats;
        succeeds(ctx, awq_quantized_create(ctx, &a, &int4, NULL, NULL, &from_stored));
        succeeds(ctx, awq_quantized_create(ctx, &b, &int4, NULL, NULL, &from_floats));
        assert_memory_equal(awq_quantized_codes(from_stored), awq_quantized_codes(from_floats),
                            N * K);
        awq_quantized_free(from_stored);
        awq_quantized_free(from_floats);
        free(rounded);
    }
    free(w);
}

static void schemes_are_described_as_they_are(void **state)
{
    awq_context *ctx = *state;
    enum { N = 3, K = 24 };
    uint64_t random = 4;
    float *w = normals(&random, N * K);
    const awq_matrix matrix = {w, AWQ_F32, N, K};
    static const awq_scale_type types[] = {AWQ_SCALE_F32, AWQ_SCALE_F16, AWQ_SCALE_BF16_F16,
                                           AWQ_SCALE_BF16};
    for (int bits = 2; bits <= 8; bits++)
        for (int t = 0; t < 4; t++)
            for (int whole = 0; whole < 2; whole++) {
                const awq_scheme scheme = {bits, whole ? -1 : 8, t == 1, types[t],
                                           AWQ_CODE_INTEGER};
                awq_quantized *q;
                awq_scheme found;
                int64_t rows, columns;
                succeeds(ctx, awq_quantized_create(ctx, &matrix, &scheme, NULL, NULL, &q));
                awq_quantized_describe(q, &found, &rows, &columns);
                assert_int_equal(found.bits, bits);
                assert_int_equal(found.group_size, whole ? K : 8);
                assert_int_equal(found.symmetric, t == 1);
                assert_int_equal(found.scale_type, types[t]);
                assert_int_equal(found.code, AWQ_CODE_INTEGER);
                assert_int_equal(rows, N);
                assert_int_equal(columns, K);
                for (int i = 0; i < N * K; i++)
                    assert_true(awq_quantized_codes(q)[i] < 1 << bits);
                awq_quantized_free(q);
            }
    awq_quantized_free(NULL);
    free(w);
}

/* An E2M1 scheme has one form, whatever its members without a meaning say. */
static void e2m1_is_described_as_symmetric(void **state)
{
    awq_context *ctx = *state;
    static const float w[2 * 64] = {1};
    const awq_matrix matrix = {w, AWQ_F32, 2, 64};
    static const awq_scheme schemes[] = {{4, 32, false, AWQ_SCALE_F32, AWQ_CODE_E2M1},
                                         {4, 32, true, AWQ_SCALE_BF16, AWQ_CODE_E2M1}};
    for (int i = 0; i < 2; i++) {
        awq_quantized *q;
        awq_scheme found;
        int64_t rows, columns;
        succeeds(ctx, awq_quantized_create(ctx, &matrix, &schemes[i], NULL, NULL, &q));
        awq_quantized_describe(q, &found, &rows, &columns);
        assert_int_equal(found.bits, 4);
        assert_int_equal(found.group_size, 32);
        assert_true(found.symmetric);
        assert_int_equal(found.scale_type, AWQ_SCALE_F32);
        assert_int_equal(found.code, AWQ_CODE_E2M1);
        assert_int_equal(rows, 2);
        assert_int_equal(columns, 64);
        awq_quantized_free(q);
    }
}

/* ---- what is refused ---- */

static void wrong_matrices_and_schemes_are_refused(void **state)
{
    awq_context *ctx = *state;
    static const float w[4 * 64] = {1};
    static const struct {
        awq_matrix matrix;
        awq_scheme scheme;
        const char *message;
    } cases[] = {
        {{NULL, AWQ_F32, 4, 64},
         {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER},
         "matrix: F32 [4, 64]"},
        {{w, AWQ_F32, 0, 64},
         {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER},
         "matrix: F32 [0, 64]"},
        {{w, AWQ_F32, 4, -64}, {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "[4, -64]"},
        {{w, AWQ_I32, 4, 64}, {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "matrix: I32"},
        {{w, (awq_dtype)99, 4, 64}, {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "matrix: ?"},
        {{w, AWQ_F32, 4, 64}, {1, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "1 bits"},
        {{w, AWQ_F32, 4, 64}, {9, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "9 bits"},
        {{w, AWQ_F32, 4, 64}, {4, 0, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "group_size 0"},
        {{w, AWQ_F32, 4, 64}, {4, -2, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "group_size -2"},
        {{w, AWQ_F32, 4, 64},
         {4, 48, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER},
         "group_size 48 does not divide 64"},
        {{w, AWQ_F32, 4, 64}, {4, 128, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "group_size 128"},
        {{w, AWQ_F32, 4, 64}, {4, 32, false, (awq_scale_type)4, AWQ_CODE_INTEGER}, "scale_type 4"},
        {{w, AWQ_F32, 4, 64}, {4, 32, false, AWQ_SCALE_F16, (awq_code)2}, "code 2"},
        {{w, AWQ_F32, 4, 64}, {3, 32, true, AWQ_SCALE_F16, AWQ_CODE_E2M1}, "codes of 3 bits"},
        {{w, AWQ_F32, 4, 64}, {4, 64, true, AWQ_SCALE_F16, AWQ_CODE_E2M1}, "in groups of 64"},
        {{w, AWQ_F32, 4, 64}, {4, -1, true, AWQ_SCALE_F16, AWQ_CODE_E2M1}, "in groups of -1"},
        {{w, AWQ_F32, 4, 48}, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_E2M1}, "does not divide 48"},
    };
    awq_statistics *statistics;
    float scales[64];
    awq_range ranges[8];
    succeeds(ctx, awq_statistics_create(ctx, 64, &statistics));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq_matrix *m = &cases[i].matrix;
        const awq_scheme *s = &cases[i].scheme;
        awq_quantized *q;
        fails(ctx, awq_quantized_create(ctx, m, s, NULL, NULL, &q), AWQ_ERROR_ARGUMENT,
              cases[i].message);
        assert_null(q);
        fails(ctx, awq_search_scales(ctx, m, 1, s, statistics, 5, scales, NULL), AWQ_ERROR_ARGUMENT,
              cases[i].message);
        fails(ctx, awq_search_clips(ctx, m, s, statistics, NULL, ranges), AWQ_ERROR_ARGUMENT,
              cases[i].message);
    }
    awq_statistics_free(statistics);
}

static void searches_check_their_arguments(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 5;
    linear l, other;
    make_linear(ctx, &l, 10, 4, 64, &random);
    make_linear(ctx, &other, 10, 4, 32, &random);
    const awq_matrix both[] = {l.matrix, other.matrix};
    float scales[64];
    awq_range ranges[8];
    fails(ctx, awq_search_scales(ctx, both, 0, &int4, l.statistics, 5, scales, NULL),
          AWQ_ERROR_ARGUMENT, "0 matrices");
    fails(ctx, awq_search_scales(ctx, both, 1, &int4, l.statistics, 0, scales, NULL),
          AWQ_ERROR_ARGUMENT, "0 steps");
    fails(ctx, awq_search_scales(ctx, both, 1, &int4, l.statistics, 1001, scales, NULL),
          AWQ_ERROR_ARGUMENT, "1001 steps");
    fails(ctx, awq_search_scales(ctx, both, 2, &int4, l.statistics, 5, scales, NULL),
          AWQ_ERROR_ARGUMENT, "32 columns, but the statistics are of 64");
    fails(ctx, awq_search_clips(ctx, &other.matrix, &int4, l.statistics, NULL, ranges),
          AWQ_ERROR_ARGUMENT, "32 columns");
    succeeds(ctx, awq_search_scales(ctx, both, 1, &int4, l.statistics, 1000, scales, NULL));
    assert_string_equal(awq_context_message(ctx), "");
    free_linear(&l);
    free_linear(&other);
}

static void scales_and_ranges_must_make_sense(void **state)
{
    awq_context *ctx = *state;
    static const float wrong_scales[] = {0, -1, NAN, INFINITY};
    static const awq_range wrong_ranges[] = {{0.5f, 1}, {-1, -0.5f},   {2, -2},   {NAN, 1},
                                             {-1, NAN}, {1, INFINITY}, {NAN, NAN}};
    uint64_t random = 6;
    linear l;
    make_linear(ctx, &l, 10, 4, 64, &random);
    float scales[64];
    awq_range ranges[8];
    awq_quantized *q;
    for (int i = 0; i < 64; i++)
        scales[i] = 1;
    for (int i = 0; i < 8; i++)
        ranges[i] = (awq_range){-INFINITY, INFINITY};
    ranges[1] = (awq_range){0, 5};
    ranges[2] = (awq_range){-5, 0};
    for (int i = 0; i < 4; i++) {
        scales[63] = wrong_scales[i];
        fails(ctx, awq_quantized_create(ctx, &l.matrix, &int4, scales, NULL, &q),
              AWQ_ERROR_ARGUMENT, "scales: ");
        assert_null(q);
        fails(ctx, awq_search_clips(ctx, &l.matrix, &int4, l.statistics, scales, ranges),
              AWQ_ERROR_ARGUMENT, "in column 63");
    }
    scales[63] = 1;
    for (size_t i = 0; i < sizeof wrong_ranges / sizeof *wrong_ranges; i++) {
        ranges[7] = wrong_ranges[i];
        fails(ctx, awq_quantized_create(ctx, &l.matrix, &int4, scales, ranges, &q),
              AWQ_ERROR_ARGUMENT, "in row 3, group 1");
        assert_null(q);
    }
    ranges[7] = (awq_range){-INFINITY, 5}; /* no scale can cover it */
    fails(ctx, awq_quantized_create(ctx, &l.matrix, &int4, scales, ranges, &q), AWQ_ERROR_NUMERIC,
          "rows 0 to 3");
    assert_null(q);
    ranges[7] = (awq_range){-1, 1};
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &int4, scales, ranges, &q));
    awq_quantized_free(q);
    free_linear(&l);
}

static void wrong_numbers_are_refused(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 7;
    linear l;
    make_linear(ctx, &l, 10, 4, 64, &random);
    float scales[64];
    awq_range ranges[8];
    awq_quantized *q;
    l.w[2 * 64 + 5] = NAN;
    fails(ctx, awq_quantized_create(ctx, &l.matrix, &int4, NULL, NULL, &q), AWQ_ERROR_NUMERIC,
          "row 2, column 5 is NaN");
    assert_null(q);
    fails(ctx, awq_search_scales(ctx, &l.matrix, 1, &int4, l.statistics, 5, scales, NULL),
          AWQ_ERROR_NUMERIC, "row 2, column 5");
    fails(ctx, awq_search_clips(ctx, &l.matrix, &int4, l.statistics, NULL, ranges),
          AWQ_ERROR_NUMERIC, "row 2, column 5");
    l.w[2 * 64 + 5] = 1e7f;
    fails(ctx, awq_quantized_create(ctx, &l.matrix, &int4, NULL, NULL, &q), AWQ_ERROR_NUMERIC,
          "F16, which ends at 65504");
    const awq_scheme wide = {4, 32, false, AWQ_SCALE_F32, AWQ_CODE_INTEGER};
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &wide, NULL, NULL, &q));
    awq_quantized_free(q);
    const awq_scheme brain = {4, 32, false, AWQ_SCALE_BF16, AWQ_CODE_INTEGER};
    succeeds(ctx, awq_quantized_create(ctx, &l.matrix, &brain, NULL, NULL, &q));
    awq_quantized_free(q);
    free_linear(&l);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(the_whole_order_of_work),
        TEST(clips_are_those_of_the_scaled_linear),
        TEST(e2m1_clips_lessen_the_error),
        TEST(codes_cover_the_ranges),
        TEST(salience_is_the_mean_magnitude),
        TEST(statistics_are_added_in_tasks),
        TEST(wrong_activations_are_refused_whole),
        TEST(stored_dtypes_are_read),
        TEST(schemes_are_described_as_they_are),
        TEST(e2m1_is_described_as_symmetric),
        TEST(wrong_matrices_and_schemes_are_refused),
        TEST(searches_check_their_arguments),
        TEST(scales_and_ranges_must_make_sense),
        TEST(wrong_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
