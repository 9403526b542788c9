/* Whole runs on a trained GPT-OSS: fused experts with biases, in MXFP4 and in other codes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/families.h"

#define MODEL AWQ_TEST_DATA "/gpt_oss-tiny"

static const char *const none[] = {NULL};

static void results_evaluate_to_what_was_reported(void **state)
{
    static const way ways[] = {
        {"awq", {NULL}}, /* in MXFP4 */
        {"awq-format", {"format", "awq", NULL}},
        {"gptq-format-all", {"format", "gptq", "quantize.modules", "*", NULL}},
        {"compressed-all", {"format", "compressed-tensors", "quantize.modules", "*", NULL}},
        {"compressed-queries",
         {"format", "compressed-tensors", "quantize.modules", "*.q_proj", NULL}},
        {"int8-all", {"quantize.preset", "int8", "quantize.modules", "*", NULL}},
        {"bitsandbytes", {"format", "bitsandbytes", NULL}},
        {"sketch", {"quantize.sketch_rows", "96", NULL}},
    };
    check_reading(*state, MODEL, ways, COUNT(ways));
}

static void methods_gain(void **state)
{
    check_methods(*state, MODEL);
}

static void the_same_bytes_however_it_runs(void **state)
{
    check_same_bytes(*state, short_recipe_with(*state, MODEL, none));
}

/* ---- MXFP4 ---- */

static void choosing_exponents_helps(void **state)
{
    static const way floor = {"exponents-of-largest", {"quantize.clip", "false", NULL}};
    static const way chosen = {"awq", {NULL}};
    assert_true(kl_of(*state, MODEL, &chosen) < kl_of(*state, MODEL, &floor));
}

static void mxfp4_passes_through(void **state)
{
    fixture *f = *state;
    static const char *const methods[] = {"awq", "rtn"};
    char packed[1024];
    run_short(f, MODEL, none, false);
    snprintf(packed, sizeof packed, "%s", output);
    for (int i = 0; i < 2; i++) {
        awq_recipe *recipe = recipe_of(f, packed, none);
        char calibration[1024];
        snprintf(calibration, sizeof calibration, "%s/calib.jsonl", MODEL);
        snprintf(output, sizeof output, "%s/again-%d", f->directory, i);
        assert_ok(f, awq_recipe_set(recipe, "output", output, NULL));
        assert_ok(f, awq_recipe_set(recipe, "calibration.data", calibration, NULL));
        assert_ok(f, awq_recipe_set(recipe, "quantize.method", methods[i], NULL));
        assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
        assert_same_file(f, packed, output, "model.safetensors");
        assert_same_file(f, packed, output, "config.json");
        awq_recipe_free(recipe);
    }
}

/* From MXFP4 to integers: the experts are rounded again, the attention alone, and both. */
static void mxfp4_is_a_source(void **state)
{
    fixture *f = *state;
    static const char *const patterns[][2] = {{"*.experts.*", "from-mxfp4-experts"},
                                              {"*.self_attn.*", "from-mxfp4-attention"},
                                              {"*", "from-mxfp4-all"}};
    char packed[1024], calibration[1024];
    run_short(f, MODEL, none, false);
    snprintf(packed, sizeof packed, "%s", output);
    snprintf(calibration, sizeof calibration, "%s/calib.jsonl", MODEL);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const char *options[] = {"format",
                                 "compressed-tensors",
                                 "quantize.modules",
                                 patterns[i][0],
                                 "calibration.data",
                                 calibration,
                                 "calibration.samples",
                                 "6",
                                 NULL};
        snprintf(output, sizeof output, "%s/integers-%zu", f->directory, i);
        awq_recipe *recipe = recipe_of(f, packed, options);
        assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
        awq_recipe_free(recipe);
        assert_kl(MODEL, patterns[i][1], evaluate_output(f, MODEL).kl);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILY_TEST(results_evaluate_to_what_was_reported),
        FAMILY_TEST(methods_gain),
        FAMILY_TEST(the_same_bytes_however_it_runs),
        FAMILY_TEST(choosing_exponents_helps),
        FAMILY_TEST(mxfp4_passes_through),
        FAMILY_TEST(mxfp4_is_a_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
