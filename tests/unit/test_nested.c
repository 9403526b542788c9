/* Scales as codes of 8 bits: the map, and which code a scale gets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/nested.h"
#include "numbers.h"

/* Part `i` of 2^decade parts of 0.1 to 1, its middle. */
static double magnitude(int decade, int i)
{
    double parts = ldexp(1, decade), step = 0.9 / parts;
    return (0.1 + step * (i + 0.5)) * pow(10, decade - 6);
}

static void the_map_is_of_seven_decades(void **state)
{
    (void)state;
    float map[AWQ__NESTED_CODES];
    awq__nested_map(map);
    int at = 128;
    for (int decade = 0; decade < 7; decade++)
        for (int i = 0; i < 1 << decade; i++, at++) {
            double expected = magnitude(decade, i);
            assert_near_at(map[at], expected, 2e-7 * expected, "map", at);
            assert_true(map[254 - at] == -map[at]);
        }
    assert_int_equal(at, 255);
    assert_true(map[127] == 0 && map[255] == 1);
    for (int i = 1; i < AWQ__NESTED_CODES; i++)
        assert_true(map[i - 1] < map[i]);
    assert_near(map[128], 5.5e-7, 1e-13);
    assert_near(map[0], -0.99296875, 1e-7);
}

static void check(const float *scales, int64_t count)
{
    float map[AWQ__NESTED_CODES], *stored = copy_of(scales, count);
    awq__nested nested = {.codes = space_for(count, 1),
                          .scales = floats(awq__nested_groups(count))};
    double mean = 0;
    awq__nested_map(map);
    awq__nested_quantize(count, stored, &nested);
    for (int64_t i = 0; i < count; i++)
        mean += (double)scales[i] / (double)count;
    assert_near(nested.offset, mean, 1e-7 * mean);
    for (int64_t first = 0; first < count; first += 256) {
        float largest = 0, scale = nested.scales[first / 256];
        for (int64_t i = first; i < first + 256 && i < count; i++)
            largest = fmaxf(largest, fabsf(scales[i] - nested.offset));
        assert_true(scale == largest);
        for (int64_t i = first; i < first + 256 && i < count; i++) {
            assert_true(stored[i] == map[nested.codes[i]] * scale + nested.offset);
            double error = fabs((double)stored[i] - (double)scales[i]);
            for (int code = 0; code < AWQ__NESTED_CODES; code++) {
                double other = (double)map[code] * (double)scale + (double)nested.offset;
                assert_true(error <=
                            fabs(other - (double)scales[i]) + 3e-7 * (mean + (double)scale));
            }
        }
    }
    free(nested.codes);
    free(nested.scales);
    free(stored);
}

static void the_nearest_code_is_taken(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 2, 255, 256, 257, 1000};
    uint64_t random = 1;
    for (int c = 0; c < 6; c++)
        for (int spread = 0; spread < 3; spread++) {
            float *scales = floats(counts[c]);
            for (int64_t i = 0; i < counts[c]; i++)
                scales[i] = spread == 0   ? between(&random, 0.01f, 0.1f)
                            : spread == 1 ? expf(normal(&random))
                                          : (float)(i % 5 == 0);
            check(scales, counts[c]);
            free(scales);
        }
}

/* Nothing is divided by zero, and nothing is lost. */
static void equal_scales_are_their_mean(void **state)
{
    (void)state;
    static const float values[] = {0, 0.03125f, 1e-30f};
    for (int v = 0; v < 3; v++) {
        float scales[300], nested_scales[2];
        uint8_t codes[300];
        awq__nested nested = {.codes = codes, .scales = nested_scales};
        for (int i = 0; i < 300; i++)
            scales[i] = values[v];
        awq__nested_quantize(300, scales, &nested);
        assert_true(nested.offset == values[v]);
        for (int i = 0; i < 300; i++) {
            assert_true(scales[i] == values[v]);
            assert_int_equal(codes[i], 127);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_map_is_of_seven_decades),
        cmocka_unit_test(the_nearest_code_is_taken),
        cmocka_unit_test(equal_scales_are_their_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
