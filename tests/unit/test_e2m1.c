/* Rounding to E2M1 codes: every table against a search over all codes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/codes.h"
#include "core/half.h"
#include "tables.h"

static awq__scheme scheme_of(int64_t group)
{
    return (awq__scheme){.code = AWQ__CODE_E2M1, .bits = 4, .group = group};
}

/* ---- the values and scales ---- */

/* Sign, two bits of exponent with a bias of 1, one of mantissa. */
static double meaning(int code)
{
    int exponent = code >> 1 & 3, mantissa = code & 1;
    double value = exponent ? ldexp(2 + mantissa, exponent - 2) : 0.5 * mantissa;
    return code & 8 ? -value : value;
}

static void values_are_those_of_the_bits(void **state)
{
    (void)state;
    for (int code = 0; code < 16; code++) {
        assert_true((double)awq__e2m1[code] == meaning(code));
        assert_true(!signbit(awq__e2m1[code]) == (code < 8));
    }
}

static double expected_scale(float range)
{
    int exponent;
    if (range == 0)
        return 1;
    frexp((double)range, &exponent); /* range = m * 2^exponent, m from 1/2 up to 1 */
    return ldexp(1, exponent - 3 < -127 ? -127 : exponent - 3);
}

static void scales_are_powers_of_two(void **state)
{
    (void)state;
    assert_true(awq__e2m1_scale(0) == 1);
    assert_true(awq__e2m1_scale(1) == 0.25f);
    assert_true(awq__e2m1_scale(6) == 1);
    assert_true(awq__e2m1_scale(7.9999995f) == 1);
    assert_true(awq__e2m1_scale(8) == 2);
    assert_true(awq__e2m1_scale(3.4e38f) == 0x1p125f);
    assert_true(awq__e2m1_scale(0x1p-125f) == 0x1p-127f);
    assert_true(awq__e2m1_scale(0x1p-124f) == 0x1p-126f);
    assert_true(awq__e2m1_scale(1e-45f) == 0x1p-127f);
    assert_true(awq__e2m1_scale(INFINITY) == INFINITY);
    assert_true(awq__e2m1_scale(NAN) == INFINITY);
    const uint32_t last = awq__f32_bits(3.4e38f);
    for (uint32_t bits = 0; bits <= last; bits += 4973) {
        float range = awq__f32_from_bits(bits);
        if ((double)awq__e2m1_scale(range) != expected_scale(range))
            fail_msg("the scale of %a is %a", (double)range, (double)awq__e2m1_scale(range));
    }
    for (int e = -149; e < 128; e++) { /* around every power of two */
        float power = (float)ldexp(1, e), below = nextafterf(power, 0);
        assert_true((double)awq__e2m1_scale(power) == expected_scale(power));
        assert_true((double)awq__e2m1_scale(below) == expected_scale(below));
    }
}

/* ---- the nearest code ---- */

static int nearest(double value)
{
    if (fabs(value) > 6) /* differences from huge values would be rounded to be equal */
        return value > 0 ? 7 : 15;
    int best = 0;
    for (int code = 1; code < 16; code++) {
        double distance = fabs(meaning(code) - value), least = fabs(meaning(best) - value);
        if (code != 8 && (distance < least || (distance == least && code % 2 == 0)))
            best = code;
    }
    return best;
}

static const int64_t shapes[][2] = {/* N, K/g * g */ {7, 32},
                                    {5, 96},
                                    {3, 320},
                                    {9, 1},
                                    {6, 33},
                                    {4, 40},
                                    {2, 7},
                                    {3, 257}};
static const int64_t groups[] = {32, 32, 32, 1, 33, 8, 7, 257};
enum { SHAPES = sizeof shapes / sizeof *shapes, KINDS = 7 };

/* Fills a group with weights of one kind, times a power of two. */
static void fill(uint64_t *random, int kind, int64_t g, float *w)
{
    int exponent = (int)(awq__random(random) % 230) - 120;
    for (int64_t k = 0; k < g; k++) {
        double x = (double)normal(random);
        switch (kind) {
        case 0: /* as weights are */
            w[k] = (float)(0.02 * x);
            break;
        case 1:
            w[k] = (float)ldexp(x, exponent);
            break;
        case 2: /* multiples of a quarter up to 6: values and ties */
            w[k] = (float)ldexp((double)(int)(awq__random(random) % 49) - 24, exponent - 2);
            break;
        case 3: /* next to ties */
            w[k] = nextafterf((float)((double)(int)(awq__random(random) % 25) / 4 - 3),
                              k % 2 ? 10.0f : -10.0f);
            break;
        case 4: /* the scale is the smallest, weights are subnormal or nearly so */
            w[k] = (float)ldexp(x, -126 - (int)(k % 20));
            break;
        case 5: /* the largest there are, and the smallest beside them */
            w[k] = k % 3 ? (float)ldexp(x / 6, 128) : 1e-45f;
            break;
        default:
            w[k] = k % 2 ? 0 : -0.0f;
        }
    }
}

/* What one group must become. */
static void check_group(const char *table, int64_t g, const float *w, float high,
                        const float *unscale, const uint8_t *codes, float scale, uint8_t zero,
                        const float *values)
{
    float largest = 0;
    for (int64_t k = 0; k < g; k++)
        largest = fmaxf(largest, fabsf(w[k]));
    assert_true((double)scale == expected_scale(isinf(high) ? largest : high));
    assert_int_equal(zero, 0);
    for (int64_t k = 0; k < g; k++) {
        int code = nearest((double)w[k] / (double)scale);
        if (codes[k] != code)
            fail_msg("%s: %a in steps of %a gets code %d, expected %d", table, (double)w[k],
                     (double)scale, codes[k], code);
        float value = (float)(meaning(code) * (double)scale); /* exact */
        assert_true(values[k] == (unscale ? value * unscale[k] : value));
    }
}

static void check_shape(const awq__compute *table, int s, bool limited, bool unscaled,
                        uint64_t *random)
{
    int64_t N = shapes[s][0], K = shapes[s][1], g = groups[s], G = K / g;
    const awq__scheme scheme = scheme_of(g);
    float *w = floats(N * K), *unscale = floats(K), *scales = floats(N * G);
    float *error = floats(N * K);
    awq__range *range = space_for(N * G, sizeof *range);
    uint8_t *codes = space_for(N * K, 1), *zeros = space_for(N * G, 1);
    for (int64_t i = 0; i < N * G; i++) {
        fill(random, (int)(awq__random(random) % KINDS), g, w + i * g);
        float high = i % 3 ? fabsf(w[i * g]) * between(random, 0.1f, 4) : INFINITY;
        range[i] = (awq__range){-high * between(random, 0, 2), high};
        zeros[i] = 99;
    }
    for (int64_t k = 0; k < K; k++)
        unscale[k] = between(random, 0.01f, 10);
    shifted at = shift(w, N * K, (int)(awq__random(random) % 9));
    const awq__range *given = limited ? range : NULL;
    const float *back = unscaled ? unscale : NULL;
    assert_true(table->quantize(N, K, &scheme, at.x, given, codes, scales, zeros));
    table->quantize_error(N, K, &scheme, given, NULL, back, at.x, error);
    awq__fake_quantize(N, K, &scheme, given, back, at.x);
    for (int64_t i = 0; i < N * K; i++)
        assert_true(error[i] == at.x[i] - w[i]);
    for (int64_t i = 0; i < N * G; i++)
        check_group(table->name, g, w + i * g, limited ? range[i].high : INFINITY,
                    unscaled ? unscale + i % G * g : NULL, codes + i * g, scales[i], zeros[i],
                    at.x + i * g);
    free(at.base);
    free(w);
    free(error);
    free(range);
    free(unscale);
    free(scales);
    free(codes);
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

/* ---- single groups ---- */

static void check_codes(const float *w, const awq__range *range, const uint8_t *codes, float scale)
{
    const awq__scheme scheme = scheme_of(8);
    FOR_EACH_TABLE(table)
    {
        uint8_t found[8], zero;
        float found_scale;
        assert_true(table->quantize(1, 8, &scheme, w, range, found, &found_scale, &zero));
        assert_memory_equal(found, codes, 8);
        assert_true(found_scale == scale);
        assert_int_equal(zero, 0);
    }
}

static void ties_go_to_even_codes(void **state)
{
    (void)state;
    check_codes((float[]){6, 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5}, NULL,
                (uint8_t[]){7, 0, 2, 2, 4, 4, 6, 6}, 1);
    check_codes((float[]){-6, -0.25f, -0.75f, -1.25f, -1.75f, -2.5f, -3.5f, -5}, NULL,
                (uint8_t[]){15, 0, 10, 10, 12, 12, 14, 14}, 1);
}

static void there_is_no_minus_zero(void **state)
{
    (void)state;
    const awq__scheme scheme = scheme_of(8);
    const float w[8] = {-0.0f, -0.1f, -0.25f, -1e-45f, 4, -1e-20f, 0, 0.2f};
    check_codes(w, NULL, (uint8_t[]){0, 0, 0, 0, 6, 0, 0, 0}, 1);
    check_codes((float[8]){0}, NULL, (uint8_t[8]){0}, 1);
    FOR_EACH_TABLE(table)
    {
        float values[8];
        memcpy(values, w, sizeof values);
        awq__fake_quantize(1, 8, &scheme, NULL, NULL, values);
        for (int k = 0; k < 8; k++)
            assert_false(signbit(values[k]));
    }
}

/* Between 6 and 8 times the scale weights are cut off; a range above leaves them room. Its low
   end means nothing. */
static void ranges_choose_the_scale(void **state)
{
    (void)state;
    const float w[8] = {7.5f, -7.5f, 5.9f, 1, -3, 0.4f, 0.6f, -8.0f + 1e-6f};
    check_codes(w, NULL, (uint8_t[]){7, 15, 7, 2, 13, 1, 1, 15}, 1);
    check_codes(w, &(awq__range){-1, INFINITY}, (uint8_t[]){7, 15, 7, 2, 13, 1, 1, 15}, 1);
    check_codes(w, &(awq__range){-15, 15}, (uint8_t[]){6, 14, 5, 1, 11, 0, 1, 14}, 2);
    check_codes(w, &(awq__range){-99, 2}, (uint8_t[]){7, 15, 7, 4, 15, 2, 2, 15}, 0.5f);
    check_codes(w, &(awq__range){0, 0}, (uint8_t[]){7, 15, 7, 2, 13, 1, 1, 15}, 1);
}

/* ---- what is not finite ---- */

static void what_is_not_finite_is_told(void **state)
{
    (void)state;
    static const float wrong[] = {NAN, -NAN, INFINITY, -INFINITY};
    enum { N = 2, K = 64 };
    const awq__scheme scheme = scheme_of(32);
    uint64_t random = 2;
    for (int64_t i = 0; i < N * K; i++)
        for (int kind = 0; kind < 4; kind++)
            for (int limited = 0; limited < 2; limited++) {
                float *w = normals(&random, N * K), first[N * K];
                const awq__range range[N * K / 32] = {{0, 1}, {-2, 2}, {-9, 3}, {-4, 4}};
                uint8_t codes[2][N * K], zeros[N * K / 32];
                w[i] = wrong[kind];
                FOR_EACH_TABLE(table)
                {
                    bool is_first = table == awq__compute_reference();
                    float scales[N * K / 32], *values = copy_of(w, N * K);
                    uint8_t *found = codes[!is_first];
                    /* A range gives a scale of its own. */
                    assert_true(table->quantize(N, K, &scheme, w, limited ? range : NULL, found,
                                                scales, zeros) == limited);
                    awq__fake_quantize(N, K, &scheme, limited ? range : NULL, NULL, values);
                    for (int64_t j = 0; j < N * K; j++) {
                        assert_true(found[j] < 16 && found[j] != 8);
                        assert_true(isfinite(values[j]) || (j / 32 == i / 32 && !limited));
                    }
                    if (is_first)
                        memcpy(first, values, sizeof first);
                    assert_memory_equal(found, codes[0], N * K);
                    for (int64_t j = 0; j < N * K; j++)
                        assert_true(values[j] == first[j] || (isnan(values[j]) && isnan(first[j])));
                    if (limited && isinf(wrong[kind]))
                        assert_int_equal(found[i], wrong[kind] > 0 ? 7 : 15);
                    free(values);
                }
                free(w);
            }
}

/* ---- as stored ---- */

/* Codes laid down as MXFP4 are read back to the bit. */
static void codes_come_back_from_mxfp4(void **state)
{
    (void)state;
    enum { N = 21, K = 160, G = K / 32 };
    const awq__scheme scheme = scheme_of(32);
    uint64_t random = 3;
    float *w = floats(N * K), scales[N * G], *values = floats(N * K);
    uint8_t codes[N * K], zeros[N * G], blocks[N * K / 2], stored_scales[N * G];
    for (int64_t i = 0; i < N * G; i++)
        fill(&random, (int)(i % KINDS), 32, w + i * 32);
    FOR_EACH_TABLE(table)
    {
        assert_true(table->quantize(N, K, &scheme, w, NULL, codes, scales, zeros));
        for (int i = 0; i < N * K / 2; i++)
            blocks[i] = (uint8_t)(codes[2 * i] | codes[2 * i + 1] << 4);
        for (int i = 0; i < N * G; i++) {
            int exponent;
            assert_true(frexpf(scales[i], &exponent) == 0.5f);
            stored_scales[i] = (uint8_t)(exponent - 1 + 127);
        }
        awq__weight weight = awq__weight_mxfp4("w", blocks, stored_scales, N, K, 1);
        awq__weight_read(awq__compute_fastest(), &weight, 0, N, values);
        awq__codes kept = {.rows = N,
                           .cols = K,
                           .scheme = scheme,
                           .codes = codes,
                           .scales = scales,
                           .zeros = zeros};
        float *read = floats(N * K), *fake = copy_of(w, N * K);
        awq__codes_read(&kept, 0, N, read);
        awq__fake_quantize(N, K, &scheme, NULL, NULL, fake);
        assert_memory_equal(values, read, N * K * sizeof *read);
        assert_memory_equal(values, fake, N * K * sizeof *fake);
        free(read);
        free(fake);
    }
    free(w);
    free(values);
}

/* What a checkpoint stores as MXFP4 keeps its values, whatever scales it chose. */
static void values_of_mxfp4_stay(void **state)
{
    (void)state;
    enum { N = 64, K = 128 };
    const awq__scheme scheme = scheme_of(32);
    uint64_t random = 4;
    uint8_t blocks[N * K / 2], scales[N * K / 32];
    float *w = floats(N * K);
    for (int i = 0; i < N * K / 2; i++) /* some groups of small codes alone */
        blocks[i] = (uint8_t)awq__random(&random) & (i / 16 % 3 ? 0xff : i / 16 % 2 ? 0x99 : 0xbb);
    for (int i = 0; i < N * K / 32; i++)
        scales[i] = (uint8_t)(2 + awq__random(&random) % 250);
    const awq__weight weight = awq__weight_mxfp4("w", blocks, scales, N, K, 1);
    awq__weight_read(awq__compute_fastest(), &weight, 0, N, w);
    FOR_EACH_TABLE(table)
    {
        float *values = copy_of(w, N * K);
        awq__fake_quantize(N, K, &scheme, NULL, NULL, values);
        for (int i = 0; i < N * K; i++)
            assert_true(values[i] == w[i]);
        free(values);
    }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_the_bits),
        cmocka_unit_test(scales_are_powers_of_two),
        cmocka_unit_test(the_nearest_code_is_taken),
        cmocka_unit_test(ties_go_to_even_codes),
        cmocka_unit_test(there_is_no_minus_zero),
        cmocka_unit_test(ranges_choose_the_scale),
        cmocka_unit_test(what_is_not_finite_is_told),
        cmocka_unit_test(codes_come_back_from_mxfp4),
        cmocka_unit_test(values_of_mxfp4_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
