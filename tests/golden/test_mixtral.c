/* Whole runs on a trained Mixtral: formats without fused experts, and codes of bitsandbytes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/families.h"

#define MODEL AWQ_TEST_DATA "/mixtral-tiny"
#define NF4 "quantize.preset", "nf4"

static void results_evaluate_to_what_was_reported(void **state)
{
    static const way ways[] = {
        {"compressed", {"format", "compressed-tensors", NULL}},
        {"compressed-asymmetric",
         {"format", "compressed-tensors", "quantize.symmetric", "false", NULL}},
        {"gptq-8-bits-rows",
         {"format", "gptq", "quantize.bits", "8", "quantize.group_size", "-1", NULL}},
        {"nf4", {NF4, NULL}},
        {"sketch", {"quantize.sketch_rows", "96", NULL}},
    };
    check_reading(*state, MODEL, ways, COUNT(ways));
}

static void methods_gain(void **state)
{
    check_methods(*state, MODEL);
}

static void nf4_and_int8_gain_as_other_codes_do(void **state)
{
    static const way plain[] = {
        {"nf4-rtn", {MORE_TEXT, NF4, "quantize.method", "rtn", NULL}},
        {"int8-rtn", {MORE_TEXT, "quantize.preset", "int8", "quantize.method", "rtn", NULL}}};
    static const way scaled[] = {
        {"nf4-scales", {MORE_TEXT, NF4, "quantize.clip", "false", NULL}},
        {"int8-scales", {MORE_TEXT, "quantize.preset", "int8", "quantize.clip", "false", NULL}}};
    static const way clipped = {"nf4-clip", {MORE_TEXT, NF4, NULL}};
    static const way compensated = {"nf4-gptq",
                                    {MORE_TEXT, NF4, "quantize.rounding", "gptq", NULL}};
    double scales = 0;
    for (int i = 1; i >= 0; i--) {
        scales = kl_of(*state, MODEL, &scaled[i]);
        assert_true(scales < 0.6 * kl_of(*state, MODEL, &plain[i]));
    }
    double clip = kl_of(*state, MODEL, &clipped);
    assert_true(clip < scales && kl_of(*state, MODEL, &compensated) < clip);
}

static void the_same_bytes_however_it_runs(void **state)
{
    static const char *const options[] = {NF4, "quantize.rounding", "gptq", NULL};
    check_same_bytes(*state, short_recipe_with(*state, MODEL, options));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILY_TEST(results_evaluate_to_what_was_reported),
        FAMILY_TEST(methods_gain),
        FAMILY_TEST(nf4_and_int8_gain_as_other_codes_do),
        FAMILY_TEST(the_same_bytes_however_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
