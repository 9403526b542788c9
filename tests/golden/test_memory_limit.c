/* What a run takes of memory: no more than was foreseen, within a limit, with the same result. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/runs.h"
#include "run/job.h"

#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"
#define QWEN AWQ_TEST_DATA "/qwen2_moe-tiny"
#define GPT_OSS AWQ_TEST_DATA "/gpt_oss-tiny"

static awq__memory_need need_of(const fixture *f, const awq_recipe *recipe)
{
    awq__model_plan plan;
    awq__memory_need need;
    assert_ok(f, awq__model_plan_create(f->ctx, recipe, &plan));
    const awq__memory_tokens tokens = awq__memory_tokens_of(&plan);
    assert_ok(f, awq__memory_need_of(f->ctx, &plan, &tokens, &need));
    awq__model_plan_free(&plan);
    return need;
}

static void set_limit(const fixture *f, awq_recipe *recipe, double bytes)
{
    char text[64];
    snprintf(text, sizeof text, "%.0f", bytes);
    assert_ok(f, awq_recipe_set(recipe, "memory_limit", text, NULL));
}

/* With the least that is foreseen the run works, with arrays that take no more, and gives what it
   gives without a limit; with a megabyte less it may be refused. */
static void check_run(fixture *f, const char *model, const char *const *options)
{
    awq_context *other;
    char whole[1100];
    snprintf(whole, sizeof whole, "%s", output);
    awq_recipe *recipe = short_recipe(f, model);
    for (const char *const *o = options; *o; o += 2)
        assert_ok(f, awq_recipe_set(recipe, o[0], o[1], NULL));
    assert_ok(f, awq_context_set_threads(f->ctx, 3));
    awq__memory_need need = need_of(f, recipe);
    assert_true(need.least < need.usual);
    awq_quantize_options how = {.struct_size = sizeof how, .restart = true};
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, NULL));
    double taken = (double)awq__context_most_bytes(f->ctx);
    assert_true(taken <= need.usual);
    awq_recipe_free(recipe);

    assert_int_equal(awq_context_create(&other), AWQ_OK);
    assert_int_equal(awq_context_add_plugin_path(other, AWQ_TEST_PLUGINS), AWQ_OK);
    assert_int_equal(awq_context_set_threads(other, 3), AWQ_OK);
    fixture limited = *f;
    limited.ctx = other;
    snprintf(output, sizeof output, "%.1000s-limited", whole);
    recipe = short_recipe(&limited, model);
    for (const char *const *o = options; *o; o += 2)
        assert_ok(&limited, awq_recipe_set(recipe, o[0], o[1], NULL));
    set_limit(&limited, recipe, need.process + need.least);
    assert_ok(&limited, awq_quantize(other, recipe, &how, NULL));
    taken = (double)awq__context_most_bytes(other);
    assert_true(taken <= need.least);
    awq_recipe_free(recipe);
    awq_context_free(other);
    assert_same_result(f, whole, output);
    snprintf(output, sizeof output, "%.1000s", whole);
}

static void test_awq(void **state)
{
    const char *options[] = {"quantize.modules", "*", NULL};
    check_run(*state, MIXTRAL, options);
}

static void test_gptq(void **state)
{
    const char *options[] = {"quantize.modules",   "*", "quantize.rounding", "gptq", "format",
                             "compressed-tensors", NULL};
    check_run(*state, MIXTRAL, options);
}

/* Without room for it the pass gathers no whole Gram matrix: it comes out the same later. */
static void test_gptq_beside_a_sketch(void **state)
{
    const char *options[] = {"quantize.sketch_rows",
                             "32",
                             "quantize.rounding",
                             "gptq",
                             "calibration.min_expert_tokens",
                             "400",
                             NULL};
    check_run(*state, QWEN, options);
}

static void test_a_shared_expert_and_a_sketch(void **state)
{
    const char *options[] = {"quantize.sketch_rows", "32", NULL};
    check_run(*state, QWEN, options);
}

static void test_fused_experts(void **state)
{
    const char *options[] = {"format", "mxfp4", NULL};
    check_run(*state, GPT_OSS, options);
}

static void test_a_target(void **state)
{
    const char *options[] = {"format", "compressed-tensors", "quantize.target_bits", "5", NULL};
    check_run(*state, MIXTRAL, options);
}

static void test_plain_rounding(void **state)
{
    const char *options[] = {"quantize.method", "rtn", NULL};
    check_run(*state, MIXTRAL, options);
}

static void test_less_is_refused(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, MIXTRAL);
    awq_plan *plan;
    char partial[1100];
    snprintf(partial, sizeof partial, "%s.partial", output);
    set_limit(f, recipe, need_of(f, recipe).process);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
    assert_message(f, "memory_limit: ");
    assert_int_equal(awq_plan_create(f->ctx, recipe, &plan), AWQ_ERROR_RECIPE);
    assert_message(f, "or fewer tokens of calibration or evaluation");
    assert_false(awq__is_directory(output));
    assert_false(awq__is_directory(partial));
    awq_recipe_free(recipe);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up_run, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_awq),
        CASE(test_gptq),
        CASE(test_gptq_beside_a_sketch),
        CASE(test_a_shared_expert_and_a_sketch),
        CASE(test_fused_experts),
        CASE(test_a_target),
        CASE(test_plain_rounding),
        CASE(test_less_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
