/*
 * Whole runs on a device: as good as the processor's, the same bytes twice, and nothing of its
 * memory touched from outside. The device is one of reference loops, or with arguments another:
 *     test_device awq-compute-cuda.so cuda
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "runs.h"

#include <math.h>

/* Sums in another order let near-ties of scales and ranges fall otherwise. */
#define TOLERANCE 0.01

static const char *plugin = AWQ_TEST_DEVICES "/awq-compute-fake.so", *device = "fake";

static awq_eval_result run_on(const fixture *f, const char *model, const char *name,
                              const char *const *options, const char *suffix)
{
    awq_recipe *recipe = short_recipe_with(f, model, options);
    awq_quantize_options how = {.struct_size = sizeof how};
    awq_report *report;
    char to[1100];
    snprintf(to, sizeof to, "%s-%s", output, suffix);
    assert_ok(f, awq_recipe_set(recipe, "output", to, NULL));
    assert_ok(f, awq_recipe_set(recipe, "device", name, NULL));
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, &report));
    awq_eval_result result = *awq_report_evaluation(report);
    assert_int_equal(strstr(awq_report_json(report), "\"device\"") != NULL,
                     strcmp(name, "cpu") != 0);
    awq_report_free(report);
    awq_recipe_free(recipe);
    return result;
}

static void assert_near(const char *what, double found, double expected)
{
    print_message("%s: %.6g on the device, %.6g on the processor\n", what, found, expected);
    if (!(fabs(found - expected) <= TOLERANCE * fabs(expected)))
        fail_msg("%s: %.9g on the device, %.9g on the processor", what, found, expected);
}

static void check_file(const fixture *f, const char *name, const char *weights,
                       const char *const *options)
{
    char model[1100], once[1100], twice[1100];
    snprintf(model, sizeof model, "%s/%s", AWQ_TEST_DATA, name);
    awq_eval_result ours = run_on(f, model, "cpu", options, "cpu");
    awq_eval_result theirs = run_on(f, model, device, options, "once");
    awq_eval_result again = run_on(f, model, device, options, "twice");
    assert_near("KL", theirs.kl, ours.kl);
    assert_near("perplexity", theirs.perplexity, ours.perplexity);
    assert_true(again.kl == theirs.kl && again.perplexity == theirs.perplexity);
    snprintf(once, sizeof once, "%s-once", output);
    snprintf(twice, sizeof twice, "%s-twice", output);
    assert_same_file(f, once, twice, weights);
}

static void check(const fixture *f, const char *name, const char *const *options)
{
    check_file(f, name, "model.safetensors", options);
}

static void mixtral(void **state)
{
    check(*state, "mixtral-tiny", (const char *const[]){NULL});
}

static void mixtral_all(void **state)
{
    check(*state, "mixtral-tiny",
          (const char *const[]){"quantize.modules", "*", "quantize.sketch_rows", "64", NULL});
}

static void qwen2_moe_gptq(void **state)
{
    check(*state, "qwen2_moe-tiny", (const char *const[]){"quantize.rounding", "gptq", NULL});
}

static void qwen3_moe_all(void **state)
{
    check(*state, "qwen3_moe-tiny",
          (const char *const[]){"quantize.modules", "*", "quantize.method", "gptq", NULL});
}

static void gpt_oss(void **state)
{
    check(*state, "gpt_oss-tiny", (const char *const[]){NULL});
}

static void nested_scales(void **state)
{
    check(*state, "mixtral-tiny", (const char *const[]){"format", "bitsandbytes", NULL});
}

static void blocks(void **state)
{
    check_file(*state, "qwen3_moe-tiny", "model.gguf",
               (const char *const[]){"format", "gguf", NULL});
}

static void mixed_precision(void **state)
{
    check(
        *state, "qwen3_moe-tiny",
        (const char *const[]){"quantize.target_bits", "4.5", "format", "compressed-tensors", NULL});
}

/* What has no room is an error that says so, and nothing is left of it. */
static void little_memory(void **state)
{
    const fixture *f = *state;
    const char *const options[] = {"device", device, "device_memory", "1200000", NULL};
    awq_recipe *recipe = short_recipe_with(f, AWQ_TEST_DATA "/mixtral-tiny", options);
    awq_status status = awq_quantize(f->ctx, recipe, NULL, NULL);
    assert_true(status == AWQ_ERROR_MEMORY || status == AWQ_ERROR_UNSUPPORTED);
    assert_non_null(strstr(awq_context_message(f->ctx), "memory"));
    assert_false(awq__is_directory(output));
    assert_ok(f, awq_recipe_set(recipe, "device", "cpu", NULL)); /* which goes on with it */
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
}

static int set_up_device(void **state)
{
    if (set_up_run(state))
        return -1;
    const fixture *f = *state;
    return awq_context_add_plugin_path(f->ctx, plugin) != AWQ_OK;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mixtral, set_up_device, tear_down),
        cmocka_unit_test_setup_teardown(mixtral_all, set_up_device, tear_down),
        cmocka_unit_test_setup_teardown(qwen2_moe_gptq, set_up_device, tear_down),
        cmocka_unit_test_setup_teardown(qwen3_moe_all, set_up_device, tear_down),
        cmocka_unit_test_setup_teardown(gpt_oss, set_up_device, tear_down),
        cmocka_unit_test_setup_teardown(nested_scales, set_up_device, tear_down),
        cmocka_unit_test_setup_teardown(blocks, set_up_device, tear_down),
        cmocka_unit_test_setup_teardown(mixed_precision, set_up_device, tear_down),
        cmocka_unit_test_setup_teardown(little_memory, set_up_device, tear_down),
    };
    if (argc > 2) {
        plugin = argv[1];
        device = argv[2];
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
