/* Rounding weights to codes: the reference's properties, and that every table does the same. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/codes.h"
#include "context.h"
#include "core/half.h"
#include "tables.h"

#include <stdio.h>

static const awq__scale_grid grids[] = {AWQ__GRID_F32, AWQ__GRID_F16, AWQ__GRID_BF16_F16,
                                        AWQ__GRID_BF16};
enum { GRIDS = sizeof grids / sizeof *grids };

/* Scales that end at 65504, and are subnormal below 2^-14. */
static bool is_of_f16(awq__scale_grid grid)
{
    return grid == AWQ__GRID_F16 || grid == AWQ__GRID_BF16_F16;
}

/* ---- scales ---- */

static bool is_f16(float s)
{
    return awq__f16_to_f32(awq__f32_to_f16(s)) == s;
}

static bool is_bf16(float s)
{
    return awq__bf16_to_f32(awq__f32_to_bf16(s)) == s;
}

/* Distance from one value of a grid to the next at s. */
static double spacing(awq__scale_grid grid, float s)
{
    int exponent;
    frexp((double)s, &exponent);
    int bits = grid == AWQ__GRID_F16 ? 11 : 8;
    int smallest = is_of_f16(grid) ? -24 : -133;
    return ldexp(1, exponent - bits > smallest ? exponent - bits : smallest);
}

/* Every 997th float of the range that F16 has, and all around its smallest values. */
static void scales_are_exact_as_stored(void **state)
{
    (void)state;
    const uint32_t first = awq__f32_bits(0x1p-30f), last = awq__f32_bits(65200.0f);
    for (uint32_t bits = first; bits <= last; bits += bits < awq__f32_bits(0x1p-20f) ? 97 : 997) {
        float s = awq__f32_from_bits(bits);
        float half = awq__round_scale(AWQ__GRID_F16, s);
        float both = awq__round_scale(AWQ__GRID_BF16_F16, s);
        if (!(half > 0 && both > 0 && is_f16(half) && is_f16(both) && is_bf16(both)))
            fail_msg("%a becomes %a and %a", (double)s, (double)half, (double)both);
        /* The nearest there is. */
        if (s >= 0x1p-24f) {
            assert_near(half, s, 0.5 * spacing(AWQ__GRID_F16, s));
            assert_near(both, s, 0.5 * spacing(AWQ__GRID_BF16_F16, s));
        }
        assert_true(awq__round_scale(AWQ__GRID_F32, s) == s);
    }
    for (uint32_t bits = 1; bits < awq__f32_bits(3.3e38f); bits += 9973) {
        float s = awq__f32_from_bits(bits), brain = awq__round_scale(AWQ__GRID_BF16, s);
        assert_true(brain >= 0x1p-126f && is_bf16(brain));
        if (s >= 0x1p-126f)
            assert_near(brain, s, 0.5 * spacing(AWQ__GRID_BF16, s));
        else
            assert_true(brain == 0x1p-126f);
    }
}

static void scales_at_the_ends(void **state)
{
    (void)state;
    for (int grid = 0; grid < GRIDS; grid++) {
        assert_true(awq__round_scale(grids[grid], 1e-45f) > 0);
        assert_true(awq__round_scale(grids[grid], 0) > 0);
        assert_true(isinf(awq__round_scale(grids[grid], INFINITY)));
        assert_true(isinf(awq__round_scale(grids[grid], 70000)) == is_of_f16(grids[grid]));
        assert_true(awq__round_scale(grids[grid], 1) == 1);
    }
    assert_true(awq__round_scale(AWQ__GRID_F16, 65504) == 65504);
    assert_true(awq__round_scale(AWQ__GRID_BF16_F16, 65280) == 65280);
    assert_true(awq__round_scale(AWQ__GRID_F16, 1e-9f) == 0x1p-24f);
    assert_true(awq__round_scale(AWQ__GRID_BF16, 70000) == 70144);
    assert_true(isinf(awq__round_scale(AWQ__GRID_BF16, 3.4e38f)));
}

/* Every value that both formats hold stays as it is. */
static void values_of_the_grid_stay(void **state)
{
    (void)state;
    for (uint32_t bits = 1; bits < 0x7c00; bits++) {
        float s = awq__f16_to_f32((uint16_t)bits);
        assert_true(awq__round_scale(AWQ__GRID_F16, s) == s);
        if (is_bf16(s))
            assert_true(awq__round_scale(AWQ__GRID_BF16_F16, s) == s);
    }
}

/* ---- groups of every kind ---- */

enum { KINDS = 9 };

/* Fills a group with weights of one kind. */
static void fill(uint64_t *random, int kind, int64_t g, float *w)
{
    for (int64_t k = 0; k < g; k++) {
        float x = normal(random);
        switch (kind) {
        case 0: /* as weights are */
            w[k] = 0.02f * x;
            break;
        case 1: /* one sign alone */
            w[k] = 3 + fabsf(x);
            break;
        case 2:
            w[k] = -3 - fabsf(x);
            break;
        case 3:
            w[k] = 0;
            break;
        case 4: /* the scale is an F16 subnormal */
            w[k] = 1e-6f * x;
            break;
        case 5: /* below the smallest F16 */
            w[k] = 1e-30f * x;
            break;
        case 6: /* halves of a step of 1, where 15 steps are the range: ties */
            w[k] = k == 0 ? 15 : 0.5f * (float)(awq__random(random) % 31);
            break;
        case 7: /* an outlier */
            w[k] = k == g / 2 ? 50 : 0.01f * x;
            break;
        default: /* too large for F16 scales */
            w[k] = 1e7f * x + 1e8f;
        }
    }
}

static const int64_t shapes[][2] = {
    /* K, g */ {32, 32}, {128, 32}, {128, 64}, {256, 128}, {96, 96},
    {257, 257},          {99, 33},  {21, 7},   {12, 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes, ROWS = 2 * KINDS };

/* What one quantize call gives. */
typedef struct result {
    bool finite;
    uint8_t *codes, *zeros;
    float *scales, *values;
} result;

static result quantize(const awq__compute *table, const awq__scheme *scheme, int64_t K,
                       const float *w, const awq__range *range, const float *unscale)
{
    int64_t groups = ROWS * K / scheme->group;
    result r = {.codes = space_for(ROWS * K, 1),
                .zeros = space_for(groups, 1),
                .scales = floats(groups),
                .values = copy_of(w, ROWS * K)};
    r.finite = table->quantize(ROWS, K, scheme, w, range, r.codes, r.scales, r.zeros);
    awq__fake_quantize(ROWS, K, scheme, range, unscale, r.values);
    return r;
}

static void release(result *r)
{
    free(r->codes);
    free(r->zeros);
    free(r->scales);
    free(r->values);
}

static bool same_floats(const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))))
            return false;
    return true;
}

/* What is checked of each combination. */
typedef void (*check)(const awq__scheme *scheme, int64_t K, const float *w, const awq__range *range,
                      const float *unscale, uint64_t *random);

/* Of a group that has the weight w: all kinds of ends, the whole range, and nothing but 0. */
static awq__range random_range(uint64_t *random, int64_t i, float w)
{
    float magnitude = fabsf(w);
    awq__range range = {-magnitude * between(random, 0.1f, 1.5f),
                        magnitude * between(random, 0.1f, 1.5f)};
    if (i % 7 == 0)
        return awq__whole_range();
    if (i % 5 == 0)
        range.low = 0;
    if (i % 5 == 1 || i % 10 == 0)
        range.high = 0;
    return range;
}

static void for_each_combination(check body)
{
    uint64_t random = 1;
    for (int bits = 2; bits <= 8; bits++)
        for (int symmetric = 0; symmetric < 2; symmetric++)
            for (int grid = 0; grid < GRIDS; grid++)
                for (int s = 0; s < SHAPES; s++) {
                    int64_t K = shapes[s][0], g = shapes[s][1];
                    const awq__scheme scheme = {
                        .bits = bits, .group = g, .symmetric = symmetric != 0, .grid = grids[grid]};
                    float *w = floats(ROWS * K), *unscale = floats(K);
                    awq__range *range = space_for(ROWS * K / g, sizeof *range);
                    for (int64_t i = 0; i < ROWS * K / g; i++) {
                        fill(&random, (int)(i * g / K) % KINDS, g, w + i * g);
                        range[i] = random_range(&random, i, w[i * g]);
                    }
                    for (int64_t k = 0; k < K; k++)
                        unscale[k] = between(&random, 0.01f, 10);
                    body(&scheme, K, w, range, unscale, &random);
                    free(w);
                    free(range);
                    free(unscale);
                }
}

/* What quantize_error gives: of the reference, there and back by fake_quantize. */
static void compare_errors(const awq__scheme *scheme, int64_t K, const float *w,
                           const awq__range *range, const float *unscale, uint64_t *random)
{
    float *scale = floats(K), *expected = floats(ROWS * K), *found = floats(ROWS * K);
    for (int64_t k = 0; k < K; k++)
        scale[k] = between(random, 0.1f, 10);
    for (int with = 0; with < 8; with++) {
        const awq__range *r = with & 1 ? range : NULL;
        const float *s = with & 2 ? scale : NULL, *u = with & 4 ? unscale : NULL;
        for (int64_t i = 0; i < ROWS * K; i++)
            expected[i] = s ? w[i] * s[i % K] : w[i];
        awq__fake_quantize(ROWS, K, scheme, r, u, expected);
        for (int64_t i = 0; i < ROWS * K; i++)
            expected[i] -= w[i];
        FOR_EACH_TABLE(table)
        {
            shifted at = shift(w, ROWS * K, (int)(awq__random(random) % 9));
            table->quantize_error(ROWS, K, scheme, r, s, u, at.x, found);
            if (!same_floats(found, expected, ROWS * K))
                fail_msg("%s: %d bits, group %d, grid %d", table->name, scheme->bits,
                         (int)scheme->group, (int)scheme->grid);
            assert_memory_equal(at.x, w, (size_t)(ROWS * K) * sizeof *w);
            free(at.base);
        }
    }
    free(scale);
    free(expected);
    free(found);
}

static void tables_err_alike(void **state)
{
    (void)state;
    for_each_combination(compare_errors);
}

static void compare_tables(const awq__scheme *scheme, int64_t K, const float *w,
                           const awq__range *range, const float *unscale, uint64_t *random)
{
    int64_t groups = ROWS * K / scheme->group;
    for (int with = 0; with < 4; with++) {
        const awq__range *l = with & 1 ? range : NULL;
        const float *u = with & 2 ? unscale : NULL;
        result reference = quantize(awq__compute_reference(), scheme, K, w, l, u);
        FOR_EACH_TABLE(table)
        {
            shifted s = shift(w, ROWS * K, (int)(awq__random(random) % 9));
            result r = quantize(table, scheme, K, s.x, l, u);
            bool same = r.finite == reference.finite &&
                        same_floats(r.scales, reference.scales, groups) &&
                        same_floats(r.values, reference.values, ROWS * K) &&
                        !memcmp(r.zeros, reference.zeros, (size_t)groups) &&
                        !memcmp(r.codes, reference.codes, (size_t)(ROWS * K));
            if (!same)
                fail_msg("%s: %d bits, group %d, grid %d", table->name, scheme->bits,
                         (int)scheme->group, (int)scheme->grid);
            release(&r);
            free(s.base);
        }
        release(&reference);
    }
}

static void tables_round_alike(void **state)
{
    (void)state;
    for_each_combination(compare_tables);
}

static void compare_values(const awq__scheme *scheme, int64_t K, const float *w,
                           const awq__range *range, const float *unscale, uint64_t *random)
{
    int64_t g = scheme->group;
    (void)random;
    FOR_EACH_TABLE(table)
    {
        result r = quantize(table, scheme, K, w, range, unscale);
        for (int64_t i = 0; i < ROWS * K; i++) {
            float scale = r.scales[i / g];
            float read = scale * ((float)r.codes[i] - (float)r.zeros[i / g]) * unscale[i % K];
            if (!(read == r.values[i] || isinf(scale)))
                fail_msg("%s: %a is not %a", table->name, (double)read, (double)r.values[i]);
        }
        release(&r);
    }
}

static void fake_quantize_is_codes_read_back(void **state)
{
    (void)state;
    for_each_combination(compare_values);
}

/* What rounding must do, by the definition of the reference. */
static void check_meaning(const awq__scheme *scheme, int64_t K, const float *w,
                          const awq__range *range, const float *unscale, uint64_t *random)
{
    int64_t g = scheme->group;
    double top = (1 << scheme->bits) - 1, half = 1 << (scheme->bits - 1);
    double rounding = scheme->grid == AWQ__GRID_F32   ? 0x1p-23
                      : scheme->grid == AWQ__GRID_F16 ? 0x1p-11
                                                      : 0x1.02p-8; /* of a scale, at most */
    (void)range;
    (void)unscale;
    (void)random;
    result r = quantize(awq__compute_reference(), scheme, K, w, NULL, NULL);
    bool finite = true;
    for (int64_t i = 0; i < ROWS * K / g; i++) {
        double scale = (double)r.scales[i], zero = r.zeros[i], low = 0, high = 0;
        finite &= isfinite(scale);
        for (int64_t k = i * g; k < i * g + g; k++) {
            low = fmin(low, (double)w[k]);
            high = fmax(high, (double)w[k]);
        }
        double width = scheme->symmetric ? fmax(-low, high) : high - low;
        double wanted = width == 0 ? 1 : width / (scheme->symmetric ? half - 1 : top);
        assert_true(scheme->symmetric ? zero == half : zero <= top);
        if (isinf(scale)) {
            assert_true(is_of_f16(scheme->grid) && wanted > 65000);
            continue;
        }
        assert_true(r.scales[i] == awq__round_scale(scheme->grid, (float)wanted) ||
                    fabs(wanted - scale) <= 0x1p-23 * wanted + 0x1p-25);
        if (wanted < 0x1p-14 && is_of_f16(scheme->grid))
            continue; /* subnormal scales are coarse: what they do is checked below */
        for (int64_t k = i * g; k < i * g + g; k++) {
            double error = fabs((double)r.values[k] - (double)w[k]);
            double bound = scale * (0.5 + top * rounding) + 1e-6 * fabs((double)w[k]);
            if (!(error <= bound))
                fail_msg("%a becomes %a with steps of %a", (double)w[k], (double)r.values[k],
                         scale);
            bool clipped = r.codes[k] == 0 || r.codes[k] == (uint8_t)top;
            if (!clipped && !(error <= scale * 0.5 + 1e-6 * fabs((double)w[k])))
                fail_msg("%a becomes %a, more than half of %a away", (double)w[k],
                         (double)r.values[k], scale);
            if (w[k] == 0)
                assert_true(r.values[k] == 0);
        }
    }
    assert_int_equal(r.finite, finite);
    release(&r);
}

static void rounding_errs_by_half_a_step(void **state)
{
    (void)state;
    for_each_combination(check_meaning);
}

/* ---- single groups ---- */

static const awq__scheme plain = {.bits = 4, .group = 8, .grid = AWQ__GRID_F16};

static void check_codes(const awq__scheme *scheme, const float *w, const awq__range *range,
                        const uint8_t *codes, float scale, uint8_t zero)
{
    FOR_EACH_TABLE(table)
    {
        uint8_t found[8], found_zero;
        float found_scale;
        assert_true(table->quantize(1, 8, scheme, w, range, found, &found_scale, &found_zero));
        assert_memory_equal(found, codes, 8);
        assert_true(found_scale == scale);
        assert_int_equal(found_zero, zero);
    }
}

static void ties_go_to_even(void **state)
{
    (void)state;
    check_codes(&plain, (float[]){15, 0, 0.5f, 1.5f, 2.5f, 3.5f, 13.5f, 14.5f}, NULL,
                (uint8_t[]){15, 0, 0, 2, 2, 4, 14, 14}, 1, 0);
    const awq__scheme symmetric = {.bits = 4, .group = 8, .symmetric = true, .grid = AWQ__GRID_F16};
    check_codes(&symmetric, (float[]){7, -7, 0.5f, -0.5f, 1.5f, -1.5f, 2.5f, -2.5f}, NULL,
                (uint8_t[]){15, 1, 8, 8, 10, 6, 10, 6}, 1, 8);
}

static void one_sign_is_not_cut(void **state)
{
    (void)state;
    check_codes(&plain, (float[]){15, 14, 13, 12, 11, 10, 9, 8}, NULL,
                (uint8_t[]){15, 14, 13, 12, 11, 10, 9, 8}, 1, 0);
    check_codes(&plain, (float[]){-15, -14, -13, -12, -11, -10, -9, -8}, NULL,
                (uint8_t[]){0, 1, 2, 3, 4, 5, 6, 7}, 1, 15);
}

static void zeros_stay_zero(void **state)
{
    (void)state;
    const awq__scheme symmetric = {.bits = 4, .group = 8, .symmetric = true, .grid = AWQ__GRID_F16};
    check_codes(&plain, (float[8]){0}, NULL, (uint8_t[8]){0}, 1, 0);
    check_codes(&symmetric, (float[8]){0}, NULL, (uint8_t[]){8, 8, 8, 8, 8, 8, 8, 8}, 1, 8);
}

static void tiny_groups_use_the_smallest_scale(void **state)
{
    (void)state;
    const float step = 0x1p-24f;
    check_codes(&plain, (float[]){15 * step, 0, step, 2 * step, 0.4f * step, 3 * step, 0, 0}, NULL,
                (uint8_t[]){15, 0, 1, 2, 0, 3, 0, 0}, step, 0);
    check_codes(&plain, (float[]){1e-20f, -1e-20f, 0, 0, 0, 0, 0, 0}, NULL, (uint8_t[8]){0}, step,
                0);
}

/* Scale and zero point are of the range, whatever the weights are; those outside take its ends. */
static void a_range_decides(void **state)
{
    (void)state;
    const awq__scheme symmetric = {.bits = 4, .group = 8, .symmetric = true, .grid = AWQ__GRID_F16};
    const float w[] = {90, -90, 7, -8, 1, 0, 5, -2}, small[8] = {1, -1, 0.5f};
    check_codes(&plain, w, &(awq__range){-8, 7}, (uint8_t[]){15, 0, 15, 0, 9, 8, 13, 6}, 1, 8);
    check_codes(&plain, w, &(awq__range){-3, 12}, (uint8_t[]){15, 0, 10, 0, 4, 3, 8, 1}, 1, 3);
    check_codes(&plain, w, &(awq__range){0, 15}, (uint8_t[]){15, 0, 7, 0, 1, 0, 5, 0}, 1, 0);
    check_codes(&plain, w, &(awq__range){-15, 0}, (uint8_t[]){15, 0, 15, 7, 15, 15, 15, 13}, 1, 15);
    check_codes(&plain, w, &(awq__range){-2, 5.5f}, (uint8_t[]){15, 0, 15, 0, 6, 4, 14, 0}, 0.5f,
                4);
    check_codes(&plain, small, &(awq__range){-10, 20}, (uint8_t[]){5, 5, 5, 5, 5, 5, 5, 5}, 2, 5);
    check_codes(&plain, (float[8]){0}, &(awq__range){-8, 7}, (uint8_t[]){8, 8, 8, 8, 8, 8, 8, 8}, 1,
                8);
    check_codes(&plain, (float[]){3e38f, -3e38f, INFINITY, -INFINITY, 1e9f, -1e9f, 7, -8},
                &(awq__range){-8, 7}, (uint8_t[]){15, 0, 15, 0, 15, 0, 15, 0}, 1, 8);
    check_codes(&symmetric, w, &(awq__range){-7, 2}, (uint8_t[]){15, 0, 15, 0, 9, 8, 13, 6}, 1, 8);
    check_codes(&symmetric, w, &(awq__range){-3, 14}, (uint8_t[]){15, 0, 12, 4, 8, 8, 10, 7}, 2, 8);
}

/* Of its weights and 0: an end of a range that goes on is none. */
static void a_range_without_end_is_the_whole(void **state)
{
    (void)state;
    const float w[] = {15, 14, 3, 12, 0, 10, 9, 8};
    const uint8_t codes[] = {15, 14, 3, 12, 0, 10, 9, 8};
    const awq__range whole = awq__whole_range(), half = {-1, INFINITY};
    check_codes(&plain, w, NULL, codes, 1, 0);
    check_codes(&plain, w, &whole, codes, 1, 0);
    check_codes(&plain, w, &half, codes, 1, 0);
}

/* What is not a number is the low end, as elsewhere. */
static void ranges_hold_for_what_is_no_number(void **state)
{
    (void)state;
    check_codes(&plain, (float[]){NAN, -NAN, 1, 2, 3, 4, 5, 6}, &(awq__range){-8, 7},
                (uint8_t[]){0, 0, 9, 10, 11, 12, 13, 14}, 1, 8);
}

static void a_scale_that_does_not_fit_is_told(void **state)
{
    (void)state;
    const float w[8] = {1e6f, -1e6f}, very[8] = {3e38f, -3e38f};
    const awq__scheme wide = {.bits = 4, .group = 8, .grid = AWQ__GRID_F32};
    uint8_t codes[8], zero;
    float scale;
    FOR_EACH_TABLE(table)
    {
        assert_false(table->quantize(1, 8, &plain, w, NULL, codes, &scale, &zero));
        assert_true(table->quantize(1, 8, &wide, w, NULL, codes, &scale, &zero));
        assert_false(table->quantize(1, 8, &wide, very, NULL, codes, &scale, &zero));
        assert_true(table->quantize(0, 8, &plain, w, NULL, codes, &scale, &zero));
    }
}

/* ---- whole matrices ---- */

static void check_matrix(awq_context *ctx, const awq__scheme *scheme, const char *type)
{
    enum { N = 1100, K = 512 };
    const int64_t G = scheme->group;
    uint64_t random = 5;
    float *w = normals(&random, N * K), *fake, *row = floats(2 * K), *scale = floats(K);
    awq__range *range = space_for(N * K / G, sizeof *range);
    for (int64_t i = 0; i < N * K / G; i++)
        range[i] = (awq__range){-between(&random, 0.5f, 3), between(&random, 0.5f, 3)};
    for (int64_t k = 0; k < K; k++)
        scale[k] = between(&random, 0.5f, 2);
    awq__weight weight = awq__weight_plain("m", AWQ_F32, w, N, K);
    weight.col_scale = scale;
    const int64_t block = awq__weight_block(&weight);
    assert_true(block < N / 2);
    awq__codes codes;
    succeeds(ctx, awq__codes_create(ctx, N, K, scheme, &codes));
    succeeds(ctx, awq__codes_round(ctx, awq__compute_fastest(), &weight, range, &codes));
    fake = floats(N * K);
    awq__weight_read(awq__compute_fastest(), &weight, 0, N, fake);
    awq__fake_quantize(N, K, scheme, range, NULL, fake);
    for (int64_t n = 0; n + 2 <= N; n += 2) {
        awq__codes_read(&codes, n, 2, row);
        assert_memory_equal(row, fake + n * K, 2 * K * sizeof *row);
    }
    for (int64_t col = 0; col < K; col += 37) { /* within groups and across them */
        int64_t cols = awq__min(1 + col / 2, K - col);
        awq__codes_read_panel(&codes, 5, 2, col, cols, row);
        assert_memory_equal(row, fake + 5 * K + col, (size_t)cols * sizeof *row);
        assert_memory_equal(row + cols, fake + 6 * K + col, (size_t)cols * sizeof *row);
    }
    w[(N - 3) * K] = INFINITY; /* in the last block */
    char message[100];
    snprintf(message, sizeof message,
             "m: a group scale in rows %d to %d does not fit its stored type, ",
             (int)((N - 3) / block * block), N - 1);
    fails(ctx, awq__codes_round(ctx, awq__compute_fastest(), &weight, NULL, &codes),
          AWQ_ERROR_NUMERIC, message);
    assert_non_null(strstr(awq_context_message(ctx), type));
    awq__codes_free(&codes);
    assert_null(codes.codes);
    free(w);
    free(range);
    free(fake);
    free(row);
    free(scale);
}

static void a_matrix_is_rounded_by_blocks(void **state)
{
    check_matrix(*state, &(awq__scheme){.bits = 4, .group = 128, .grid = AWQ__GRID_F32}, "F32");
    check_matrix(*state, &(awq__scheme){.bits = 4, .group = 128, .grid = AWQ__GRID_F16}, "65504");
    check_matrix(*state, &(awq__scheme){.bits = 4, .group = 128, .grid = AWQ__GRID_BF16_F16},
                 "65504");
    check_matrix(*state, &(awq__scheme){.bits = 4, .group = 64, .grid = AWQ__GRID_BF16}, "BF16");
    check_matrix(*state, &(awq__scheme){.code = AWQ__CODE_E2M1, .bits = 4, .group = 32}, "E8M0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_are_exact_as_stored),
        cmocka_unit_test(scales_at_the_ends),
        cmocka_unit_test(values_of_the_grid_stay),
        cmocka_unit_test(tables_round_alike),
        cmocka_unit_test(tables_err_alike),
        cmocka_unit_test(fake_quantize_is_codes_read_back),
        cmocka_unit_test(rounding_errs_by_half_a_step),
        cmocka_unit_test(ties_go_to_even),
        cmocka_unit_test(one_sign_is_not_cut),
        cmocka_unit_test(zeros_stay_zero),
        cmocka_unit_test(tiny_groups_use_the_smallest_scale),
        cmocka_unit_test(a_range_decides),
        cmocka_unit_test(a_range_without_end_is_the_whole),
        cmocka_unit_test(ranges_hold_for_what_is_no_number),
        cmocka_unit_test(a_scale_that_does_not_fit_is_told),
        cmocka_unit_test_setup_teardown(a_matrix_is_rounded_by_blocks, make_context, free_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
