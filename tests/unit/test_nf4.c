/* Rounding to NF4 codes: every table against a search over all codes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/codes.h"
#include "compute/nf4.h"
#include "context.h"
#include "tables.h"

static awq__scheme scheme_of(int64_t group)
{
    return (awq__scheme){.code = AWQ__CODE_NF4, .bits = 4, .group = group, .symmetric = true};
}

/* ---- the table ---- */

/* Of a normal distribution, up to x standard deviations. */
static double share_below(double x)
{
    return erfc(-x / sqrt(2)) / 2;
}

/* Seven parts of equal probability below zero and eight above, up to a probability of 0.9677083. */
static void values_are_quantiles(void **state)
{
    (void)state;
    const double end = 0.9677083, deviations = 1.84813078;
    assert_near(share_below(deviations), end, 5e-8);
    for (int code = 0; code < 16; code++) {
        double expected = 0.5 + (end - 0.5) * (code - 7) / (code < 7 ? 7 : 8);
        assert_near_at(share_below(deviations * (double)awq__nf4[code]), expected, 1e-6, "table",
                       code);
    }
    assert_true(awq__nf4[0] == -1 && awq__nf4[7] == 0 && awq__nf4[15] == 1);
}

static void limits_are_in_the_middle(void **state)
{
    (void)state;
    for (int i = 0; i < 15; i++)
        assert_near_at(awq__nf4_limits[i], ((double)awq__nf4[i] + (double)awq__nf4[i + 1]) / 2,
                       3e-8, "limit", i);
}

static void a_share_at_a_limit_takes_the_lower_code(void **state)
{
    (void)state;
    for (int i = 0; i < 15; i++) {
        float limit = awq__nf4_limits[i], above = nextafterf(limit, 2);
        const awq__scheme scheme = scheme_of(3);
        const float w[3] = {1, limit, above};
        assert_int_equal(awq__nf4_code(limit), i);
        assert_int_equal(awq__nf4_code(above), i + 1);
        assert_true(awq__nf4_value(limit) == awq__nf4[i]);
        assert_true(awq__nf4_value(above) == awq__nf4[i + 1]);
        FOR_EACH_TABLE(table)
        {
            uint8_t codes[3], zero;
            float scale;
            assert_true(table->quantize(1, 3, &scheme, w, NULL, codes, &scale, &zero));
            assert_memory_equal(codes, ((uint8_t[]){15, (uint8_t)i, (uint8_t)(i + 1)}), 3);
        }
    }
}

/* ---- the nearest code ---- */

static const int64_t shapes[][2] = {/* N, K/g * g */ {7, 64},
                                    {5, 192},
                                    {3, 640},
                                    {9, 1},
                                    {6, 33},
                                    {4, 40},
                                    {2, 7},
                                    {3, 257}};
static const int64_t groups[] = {64, 64, 64, 1, 33, 8, 7, 257};
enum { SHAPES = sizeof shapes / sizeof *shapes, KINDS = 5 };

/* Fills a group with weights of one kind. */
static void fill(uint64_t *random, int kind, int64_t g, float *w)
{
    int exponent = (int)(awq__random(random) % 200) - 100;
    for (int64_t k = 0; k < g; k++) {
        float x = normal(random);
        switch (kind) {
        case 0: /* as weights are */
            w[k] = 0.02f * x;
            break;
        case 1:
            w[k] = ldexpf(x, exponent);
            break;
        case 2: /* at and beside limits, beside 1 */
            w[k] = k ? nextafterf(awq__nf4_limits[k % 15], k % 2 ? 2.0f : -2.0f) : 1;
            break;
        case 3: /* subnormal: nothing is left of them */
            w[k] = ldexpf(x, -140);
            break;
        default:
            w[k] = k % 2 ? 0 : -0.0f;
        }
    }
}

/* What one group must become; range of high INFINITY is none. */
static void check_group(const char *name, int64_t g, const float *w, awq__range range,
                        const float *unscale, const uint8_t *codes, float scale, uint8_t zero,
                        const float *values)
{
    float largest = 0;
    for (int64_t k = 0; k < g; k++)
        largest = fmaxf(largest, fabsf(w[k]));
    assert_true(scale == (range.high < INFINITY ? fmaxf(-range.low, range.high) : largest));
    assert_int_equal(zero, 0);
    for (int64_t k = 0; k < g; k++) {
        double share = scale >= 0x1p-126f ? (double)w[k] / (double)scale : 0;
        double distance = fabs((double)awq__nf4[codes[k]] - share);
        for (int code = 0; code < 16; code++)
            /* Limits, shares and the table are F32. */
            if (fabs((double)awq__nf4[code] - share) < distance - 2e-7 * (1 + fabs(share)))
                fail_msg("%s: %a beside a scale of %a gets code %d, %d is nearer", name,
                         (double)w[k], (double)scale, codes[k], code);
        float value = scale * awq__nf4[codes[k]];
        assert_true(values[k] == (unscale ? value * unscale[k] : value));
    }
}

static void check_shape(const awq__compute *table, int s, bool limited, bool unscaled,
                        uint64_t *random)
{
    int64_t N = shapes[s][0], K = shapes[s][1], g = groups[s], G = K / g;
    const awq__scheme scheme = scheme_of(g);
    float *w = floats(N * K), *unscale = floats(K), *scales = floats(N * G);
    float *error = floats(N * K), *reference_scales = floats(N * G);
    awq__range *range = space_for(N * G, sizeof *range);
    uint8_t *codes = space_for(N * K, 1), *zeros = space_for(N * G, 1);
    uint8_t *reference = space_for(N * K, 1);
    for (int64_t i = 0; i < N * G; i++) {
        fill(random, (int)(awq__random(random) % KINDS), g, w + i * g);
        float end = fabsf(w[i * g]) * between(random, 0.1f, 4);
        range[i] = i % 3 ? (awq__range){-end * between(random, 0, 2), end} : awq__whole_range();
        zeros[i] = 99;
    }
    for (int64_t k = 0; k < K; k++)
        unscale[k] = between(random, 0.01f, 10);
    shifted at = shift(w, N * K, (int)(awq__random(random) % 9));
    const awq__range *given = limited ? range : NULL;
    const float *back = unscaled ? unscale : NULL;
    assert_true(awq__compute_reference()->quantize(N, K, &scheme, w, given, reference,
                                                   reference_scales, zeros));
    assert_true(table->quantize(N, K, &scheme, at.x, given, codes, scales, zeros));
    assert_memory_equal(codes, reference, (size_t)(N * K));
    assert_memory_equal(scales, reference_scales, (size_t)(N * G) * sizeof *scales);
    table->quantize_error(N, K, &scheme, given, NULL, back, at.x, error);
    awq__fake_quantize(N, K, &scheme, given, back, at.x);
    for (int64_t i = 0; i < N * K; i++)
        assert_true(error[i] == at.x[i] - w[i]);
    for (int64_t i = 0; i < N * G; i++)
        check_group(table->name, g, w + i * g, limited ? range[i] : awq__whole_range(),
                    unscaled ? unscale + i % G * g : NULL, codes + i * g, scales[i], zeros[i],
                    at.x + i * g);
    free(at.base);
    free(w);
    free(error);
    free(range);
    free(unscale);
    free(scales);
    free(reference_scales);
    free(codes);
    free(reference);
    free(zeros);
}

static void the_nearest_code_is_taken(void **state)
{
    (void)state;
    uint64_t random = 1;
    FOR_EACH_TABLE(table)
    for (int s = 0; s < SHAPES; s++)
        for (int round = 0; round < 60; round++)
            check_shape(table, s, round & 1, round & 2, &random);
}

static void a_group_of_zeros_has_no_scale(void **state)
{
    (void)state;
    const awq__scheme scheme = scheme_of(4);
    const float w[4] = {0, -0.0f, 0, 0};
    FOR_EACH_TABLE(table)
    {
        uint8_t codes[4], zero;
        float scale, values[4];
        assert_true(table->quantize(1, 4, &scheme, w, NULL, codes, &scale, &zero));
        assert_true(scale == 0);
        assert_memory_equal(codes, ((uint8_t[]){7, 7, 7, 7}), 4);
        memcpy(values, w, sizeof values);
        awq__fake_quantize(1, 4, &scheme, NULL, NULL, values);
        for (int k = 0; k < 4; k++)
            assert_true(values[k] == 0);
    }
}

/* What scales become where they are codes themselves: below 0, 0, and next to it. */
static void a_given_scale_is_taken_as_it_is(void **state)
{
    (void)state;
    static const float scales[] = {0.5f, -0.5f, 0, 1e-40f, -1e-40f};
    static const uint8_t expected[][4] = {
        {15, 0, 12, 7}, {0, 15, 3, 7}, {7, 7, 7, 7}, {7, 7, 7, 7}, {7, 7, 7, 7}};
    const awq__scheme scheme = scheme_of(4);
    const float w[4] = {1, -2, 0.22f, 0.005f};
    for (int i = 0; i < 5; i++) {
        const awq__range range = {-scales[i], scales[i]};
        FOR_EACH_TABLE(table)
        {
            uint8_t codes[4], zero;
            float scale, values[4];
            assert_true(table->quantize(1, 4, &scheme, w, &range, codes, &scale, &zero));
            assert_true(scale == scales[i]);
            assert_memory_equal(codes, expected[i], 4);
            memcpy(values, w, sizeof values);
            awq__fake_quantize(1, 4, &scheme, &range, NULL, values);
            for (int k = 0; k < 4; k++)
                assert_true(values[k] == scales[i] * awq__nf4[codes[k]]);
        }
    }
}

static void what_is_not_finite_is_told(void **state)
{
    (void)state;
    static const float wrong[] = {NAN, -NAN, INFINITY, -INFINITY};
    enum { N = 2, K = 128 };
    const awq__scheme scheme = scheme_of(64);
    const awq__range range[N * K / 64] = {{0, 1}, {-2, 2}, {-9, 3}, {-4, 4}};
    uint64_t random = 2;
    float *w = normals(&random, N * K), scales[N * K / 64];
    uint8_t codes[2][N * K], zeros[N * K / 64];
    for (int64_t i = 0; i < N * K; i++)
        for (int kind = 0; kind < 4; kind++)
            for (int limited = 0; limited < 2; limited++) {
                float kept = w[i];
                w[i] = wrong[kind];
                FOR_EACH_TABLE(table)
                {
                    uint8_t *found = codes[table != awq__compute_reference()];
                    assert_true(table->quantize(N, K, &scheme, w, limited ? range : NULL, found,
                                                scales, zeros) == limited);
                    assert_memory_equal(found, codes[0], N * K);
                    if (limited && isinf(wrong[kind]))
                        assert_int_equal(found[i], wrong[kind] > 0 ? 15 : 0);
                }
                w[i] = kept;
            }
    free(w);
}

/* ---- scales that are codes themselves ---- */

static awq__codes nested_codes(awq_context *ctx, const awq__weight *weight)
{
    awq__scheme scheme = scheme_of(64);
    scheme.grid = AWQ__GRID_NESTED;
    awq__codes codes;
    succeeds(ctx, awq__codes_create(ctx, weight->rows, weight->cols, &scheme, &codes));
    succeeds(ctx, awq__codes_round(ctx, awq__compute_fastest(), weight, NULL, &codes));
    return codes;
}

static double squared_error(int64_t count, const float *a, const float *b)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

/* Scales are settled over the whole matrix, which is rounded in blocks, and codes go by what they
   became. */
static void codes_are_chosen_for_stored_scales(void **state)
{
    awq_context *ctx = *state;
    enum { N = 700, K = 128, G = K / 64 };
    uint64_t random = 3;
    float *w = normals(&random, N * K), *values = floats(N * K), *before = floats(N * K);
    float map[AWQ__NESTED_CODES];
    for (int i = 0; i < N * G; i++) {
        float size = expf(normal(&random)); /* some are far from the mean */
        for (int k = 0; k < 64; k++)
            w[i * 64 + k] *= size;
    }
    awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
    assert_true(awq__weight_block(&weight) < N);
    awq__codes codes = nested_codes(ctx, &weight);
    const awq__scheme scheme = scheme_of(64);
    float scales[N * G];
    uint8_t zeros[N * G], *unsettled = space_for(N * K, 1);
    assert_true(
        awq__compute_reference()->quantize(N, K, &scheme, w, NULL, unsettled, scales, zeros));
    awq__nested_map(map);
    int64_t moved = 0, recoded = 0;
    for (int i = 0; i < N * G; i++) {
        const awq__nested *nested = &codes.nested;
        assert_true(codes.scales[i] ==
                    map[nested->codes[i]] * nested->scales[i / 256] + nested->offset);
        moved += codes.scales[i] != scales[i];
        for (int k = 0; k < 64; k++) {
            int64_t at = i * 64 + k;
            before[at] = codes.scales[i] * awq__nf4[unsettled[at]];
            assert_int_equal(codes.codes[at],
                             awq__nf4_code(w[at] * awq__nf4_inverse(codes.scales[i])));
            recoded += codes.codes[at] != unsettled[at];
        }
    }
    assert_true(moved > N * G / 2 && recoded > N * K / 200);
    awq__codes_read(&codes, 0, N, values);
    assert_true(squared_error(N * K, values, w) < 0.995 * squared_error(N * K, before, w));
    awq__codes_free(&codes);
    free(unsettled);
    free(values);
    free(before);
    free(w);
}

static void codes_read_back(void **state)
{
    awq_context *ctx = *state;
    enum { N = 5, K = 192 };
    uint64_t random = 4;
    float *w = normals(&random, N * K), *fake = copy_of(w, N * K), *values = floats(N * K);
    const awq__scheme scheme = scheme_of(64);
    awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
    awq__codes codes;
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    succeeds(ctx, awq__codes_round(ctx, awq__compute_fastest(), &weight, NULL, &codes));
    awq__fake_quantize(N, K, &scheme, NULL, NULL, fake);
    for (int64_t first = 0; first < N; first += 2)
        awq__codes_read(&codes, first, awq__min(2, N - first), values + first * K);
    assert_memory_equal(values, fake, N * K * sizeof *fake);
    awq__codes_free(&codes);
    free(w);
    free(fake);
    free(values);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_context, free_context)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(values_are_quantiles),
        CASE(limits_are_in_the_middle),
        CASE(a_share_at_a_limit_takes_the_lower_code),
        CASE(the_nearest_code_is_taken),
        CASE(a_group_of_zeros_has_no_scale),
        CASE(a_given_scale_is_taken_as_it_is),
        CASE(what_is_not_finite_is_told),
        CASE(codes_are_chosen_for_stored_scales),
        CASE(codes_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
