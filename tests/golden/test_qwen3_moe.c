/* Whole runs on a trained Qwen3-MoE: norms of queries and keys, and experts without a shared one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/families.h"

#define MODEL AWQ_TEST_DATA "/qwen3_moe-tiny"

static void results_evaluate_to_what_was_reported(void **state)
{
    static const way ways[] = {
        {"8-bits-rows", {"quantize.bits", "8", "quantize.group_size", "-1", NULL}},
        {"all-asymmetric", {"quantize.modules", "*", "quantize.symmetric", "false", NULL}},
        {"gptq-format-asymmetric",
         {"format", "gptq", "quantize.symmetric", "false", "quantize.rounding", "gptq", NULL}},
        {"nf4-gptq", {"quantize.preset", "nf4", "quantize.rounding", "gptq", NULL}},
    };
    check_reading(*state, MODEL, ways, COUNT(ways));
}

static void methods_gain(void **state)
{
    check_methods(*state, MODEL);
}

/* Error-compensated rounding does no harm where there is hardly a token. */
static void compensated_rounding_of_few_tokens(void **state)
{
    static const way plain = {"rtn", {"quantize.method", "rtn", NULL}};
    static const way few = {"gptq-few-tokens",
                            {"quantize.rounding", "gptq", "calibration.samples", "1",
                             "calibration.sequence_length", "32", NULL}};
    assert_true(kl_of(*state, MODEL, &few) < kl_of(*state, MODEL, &plain));
}

static void the_same_bytes_however_it_runs(void **state)
{
    static const char *const options[] = {"quantize.sketch_rows", "48", NULL};
    check_same_bytes(*state, short_recipe_with(*state, MODEL, options));
}

/* Codes that no release of a model comes in. */
static void a_result_is_no_source(void **state)
{
    const fixture *f = *state;
    static const char *const none[] = {NULL}, *const gptq[] = {"format", "gptq", NULL};
    char packed[1024];
    run_short(f, MODEL, gptq, false);
    snprintf(packed, sizeof packed, "%s", output);
    snprintf(output, sizeof output, "%s/again", f->directory);
    awq_recipe *recipe = recipe_of(f, packed, none);
    assert_ok(f, awq_recipe_set(recipe, "quantize.method", "rtn", NULL));
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
    assert_message(f, "is quantized already (gptq)");
    awq_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILY_TEST(results_evaluate_to_what_was_reported),
        FAMILY_TEST(methods_gain),
        FAMILY_TEST(compensated_rounding_of_few_tokens),
        FAMILY_TEST(the_same_bytes_however_it_runs),
        FAMILY_TEST(a_result_is_no_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
