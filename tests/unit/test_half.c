/* The 16-bit float formats against a slow reference in double arithmetic. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/awq.h"
#include "checkpoint/checkpoint.h"
#include "core/convert.h"
#include "core/half.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* A binary format, by what IEEE 754 calls it. */
typedef struct format {
    int precision; /* bits of the significand, the hidden one counted */
    int emax;
    uint16_t (*narrow)(float);
    float (*widen)(uint16_t);
} format;

static uint16_t to_f16(float value)
{
    return awq__f32_to_f16(value);
}

static float from_f16(uint16_t half)
{
    return awq__f16_to_f32(half);
}

static uint16_t to_bf16(float value)
{
    return awq__f32_to_bf16(value);
}

static float from_bf16(uint16_t half)
{
    return awq__bf16_to_f32(half);
}

static const format f16 = {11, 15, to_f16, from_f16};
static const format bf16 = {8, 127, to_bf16, from_bf16};

/* The value of 16 bits, from the definition. */
static double decode(const format *f, uint16_t bits)
{
    int fraction_bits = f->precision - 1;
    int fraction = bits & ((1 << fraction_bits) - 1);
    int exponent = (bits & 0x7fff) >> fraction_bits;
    double sign = bits & 0x8000 ? -1.0 : 1.0;
    if (exponent == 2 * f->emax + 1)
        return fraction ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - f->emax - fraction_bits);
    return sign * ldexp((1 << fraction_bits) + fraction, exponent - f->emax - fraction_bits);
}

/* The nearest value of the format; the even one of two that are equally near. */
static double nearest(const format *f, double value)
{
    if (value == 0 || !isfinite(value))
        return value;
    int exponent;
    frexp(value, &exponent);
    exponent -= 1; /* 1 <= |value| / 2^exponent < 2 */
    if (exponent < 1 - f->emax)
        exponent = 1 - f->emax;
    double unit = ldexp(1, exponent - f->precision + 1);
    double units = fabs(value) / unit, whole = floor(units), rest = units - whole;
    if (rest > 0.5 || (rest == 0.5 && fmod(whole, 2) == 1))
        whole += 1;
    double rounded = whole * unit;
    if (rounded >= ldexp(1, f->emax + 1))
        rounded = INFINITY;
    return copysign(rounded, value);
}

static void check_narrow(const format *f, float value)
{
    double want = nearest(f, value), got = decode(f, f->narrow(value));
    if (isnan(value)) {
        assert_true(isnan(got));
        return;
    }
    if (got != want || !signbit(got) != !signbit(want))
        fail_msg("%a becomes %a, but %a is nearest", (double)value, got, want);
}

static void check_all_values(const format *f)
{
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        double want = decode(f, (uint16_t)bits);
        float got = f->widen((uint16_t)bits);
        if (isnan(want)) {
            assert_true(isnan(got));
            assert_true(isnan(decode(f, f->narrow(got))));
            continue;
        }
        assert_true((double)got == want && !signbit(got) == !signbit(want));
        assert_int_equal(f->narrow(got), bits);
    }
}

/* Rounding can only change at the middles between neighbours, and there and next to it is tested.
 */
static void check_all_boundaries(const format *f)
{
    uint16_t infinity = f->narrow(INFINITY);
    for (uint16_t bits = 0; bits < infinity; bits++) {
        double low = decode(f, bits);
        double high =
            bits + 1 == infinity ? ldexp(1, f->emax + 1) : decode(f, (uint16_t)(bits + 1));
        float middle = (float)(low / 2 + high / 2);
        const float values[] = {(float)low, nextafterf((float)low, INFINITY), nextafterf(middle, 0),
                                middle, nextafterf(middle, INFINITY)};
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            check_narrow(f, values[i]);
            check_narrow(f, -values[i]);
        }
    }
}

static void check_special(const format *f)
{
    const float values[] = {0.0f,     -0.0f,        INFINITY, -INFINITY, FLT_MAX,
                            -FLT_MAX, FLT_TRUE_MIN, FLT_MIN,  -FLT_MIN,  NAN};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        check_narrow(f, values[i]);
    /* NaNs whose payload lies in the bits that are cut off must not become infinity. */
    const uint32_t nans[] = {0x7f800001u, 0xff800001u, 0x7fffffffu, 0x7f80ffffu, 0x7fbfffffu};
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++)
        check_narrow(f, awq__f32_from_bits(nans[i]));
    uint64_t state = 1;
    for (int i = 0; i < 500000; i++)
        check_narrow(f, awq__f32_from_bits((uint32_t)awq__random(&state)));
}

static void all_f16_values(void **state)
{
    (void)state;
    check_all_values(&f16);
}

static void all_bf16_values(void **state)
{
    (void)state;
    check_all_values(&bf16);
}

static void all_f16_boundaries(void **state)
{
    (void)state;
    check_all_boundaries(&f16);
}

static void all_bf16_boundaries(void **state)
{
    (void)state;
    check_all_boundaries(&bf16);
}

static void f16_special_and_random(void **state)
{
    (void)state;
    check_special(&f16);
}

static void bf16_special_and_random(void **state)
{
    (void)state;
    check_special(&bf16);
}

static void known_values(void **state)
{
    (void)state;
    assert_int_equal(awq__f32_to_f16(1.0f), 0x3c00);
    assert_int_equal(awq__f32_to_f16(65504.0f), 0x7bff);
    assert_int_equal(awq__f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(awq__f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(awq__f32_to_f16(0x1p-24f), 0x0001);
    assert_int_equal(awq__f32_to_f16(0x1p-25f), 0x0000);
    assert_int_equal(awq__f32_to_f16(0x1.8p-24f), 0x0002);
    assert_int_equal(awq__f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(awq__f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(awq__f32_to_bf16(1.0f + 0x3p-8f), 0x3f82);
    assert_int_equal(awq__f32_to_bf16(FLT_MAX), 0x7f80);
}

/* stored holds 0, 1, 2 ... */
static void check_arrays(awq_context *ctx, awq_dtype dtype, const format *f, const uint8_t *stored,
                         size_t count, float *wide, uint8_t *back)
{
    assert_int_equal(awq__widen(ctx, dtype, stored, count, wide), AWQ_OK);
    assert_int_equal(awq__narrow(ctx, dtype, wide, count, back), AWQ_OK);
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, back + 2 * i, 2);
        assert_int_equal(awq__f32_bits(wide[i]), awq__f32_bits(f->widen((uint16_t)i)));
        assert_int_equal(bits, f->narrow(wide[i]));
        float kept = awq__round_to_dtype(dtype, wide[i]);
        assert_true(isnan(wide[i]) ? isnan(kept) : kept == wide[i]);
    }
}

/* The loops over arrays do what the single conversions do, at any alignment and length. */
static void arrays(void **state)
{
    (void)state;
    enum { COUNT = 65536 };
    static uint8_t stored[COUNT * 4 + 1], back[COUNT * 4 + 1];
    static float wide[COUNT];
    awq_context *ctx;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    for (size_t odd = 0; odd <= 1; odd++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            uint16_t bits = (uint16_t)i;
            memcpy(stored + odd + 2 * i, &bits, 2);
        }
        check_arrays(ctx, AWQ_F16, &f16, stored + odd, COUNT - 3, wide, back + odd);
        check_arrays(ctx, AWQ_BF16, &bf16, stored + odd, COUNT - 3, wide, back + odd);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        wide[i] = (float)i * 0.1f;
    assert_int_equal(awq__narrow(ctx, AWQ_F32, wide, COUNT, stored + 1), AWQ_OK);
    assert_int_equal(awq__widen(ctx, AWQ_F32, stored + 1, COUNT, (float *)(void *)back), AWQ_OK);
    assert_memory_equal(wide, back, sizeof wide);
    assert_true(awq__round_to_dtype(AWQ_F32, 0.1f) == 0.1f);
    assert_true(awq__round_to_dtype(AWQ_BF16, 1.0f + 0x1p-8f) == 1.0f);
    assert_true(awq__round_to_dtype(AWQ_F16, 65520.0f) == INFINITY);
    awq_context_free(ctx);
}

static void other_dtypes_are_refused(void **state)
{
    (void)state;
    awq_context *ctx;
    float value = 1;
    assert_int_equal(awq_context_create(&ctx), AWQ_OK);
    assert_int_equal(awq__widen(ctx, AWQ_I32, &value, 1, &value), AWQ_ERROR_UNSUPPORTED);
    assert_non_null(strstr(awq_context_message(ctx), "I32"));
    assert_int_equal(awq__narrow(ctx, AWQ_F64, &value, 1, &value), AWQ_ERROR_UNSUPPORTED);
    assert_non_null(strstr(awq_context_message(ctx), "F64"));
    assert_int_equal(awq__widen(ctx, AWQ_DTYPE_COUNT, &value, 0, &value), AWQ_ERROR_UNSUPPORTED);
    assert_int_equal(awq__widen(ctx, AWQ_BF16, NULL, 0, NULL), AWQ_OK);
    assert_int_equal(awq__narrow(ctx, AWQ_F32, NULL, 0, NULL), AWQ_OK);
    assert_true(value == 1);
    awq_context_free(ctx);
}

static void dtype_names(void **state)
{
    (void)state;
    for (int dtype = 0; dtype < AWQ_DTYPE_COUNT; dtype++)
        assert_int_equal(awq__dtype_from_name(awq_dtype_name((awq_dtype)dtype)), dtype);
    assert_int_equal(awq__dtype_from_name("bf16"), AWQ_DTYPE_COUNT);
    assert_int_equal(awq__dtype_from_name(""), AWQ_DTYPE_COUNT);
    assert_int_equal(awq__dtype_from_name("?"), AWQ_DTYPE_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_f16_values),
        cmocka_unit_test(all_bf16_values),
        cmocka_unit_test(all_f16_boundaries),
        cmocka_unit_test(all_bf16_boundaries),
        cmocka_unit_test(f16_special_and_random),
        cmocka_unit_test(bf16_special_and_random),
        cmocka_unit_test(known_values),
        cmocka_unit_test(arrays),
        cmocka_unit_test(other_dtypes_are_refused),
        cmocka_unit_test(dtype_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
