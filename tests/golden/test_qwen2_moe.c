/* Whole runs on a trained Qwen2-MoE: a shared expert with its gate, and rules that differ in a
 * layer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/families.h"

#define MODEL AWQ_TEST_DATA "/qwen2_moe-tiny"

static void results_evaluate_to_what_was_reported(void **state)
{
    static const way ways[] = {
        {"awq", {NULL}},
        {"sketch", {"quantize.sketch_rows", "96", NULL}},
        {"all", {"quantize.modules", "*", NULL}},
        {"awq-format", {"format", "awq", "quantize.group_size", "64", NULL}},
        {"gptq-format-all", {"format", "gptq", "quantize.modules", "*", NULL}},
        {"nf4-all", {"quantize.preset", "nf4", "quantize.modules", "*", NULL}},
        {"int8", {"quantize.preset", "int8", NULL}},
    };
    check_reading(*state, MODEL, ways, COUNT(ways));
}

/* Whatever is quantized, what stays float is compensated. */
static void some_modules_only(void **state)
{
    static const way ways[] = {
        {"shared-expert", {"quantize.modules", "*.shared_expert.*", NULL}},
        {"shared-up", {"quantize.modules", "*.shared_expert.up_proj", NULL}},
        {"downs", {"quantize.modules", "*.experts.*.down_proj", NULL}},
        {"one-expert", {"quantize.modules", "*.experts.3.*", NULL}},
        {"values", {"quantize.modules", "*.v_proj", NULL}},
    };
    for (size_t i = 0; i < COUNT(ways); i++)
        kl_of(*state, MODEL, &ways[i]);
}

/* Rules of the recipe become rules of config.json, by which the result is read. */
static void mixed_gptq_evaluates_to_what_was_reported(void **state)
{
    const fixture *f = *state;
    static const char *const rules[][6] = {
        {"layers", "1", "role", "expert", "bits", "8"},
        {"role", "attention", "layers", "0", "group_size", "-1"},
        {"role", "shared_expert", "bits", "2", "group_size", "64"},
    };
    const char *options[] = {"format", "gptq", "quantize.group_size", "32", NULL};
    awq_recipe *recipe = short_recipe(f, MODEL);
    awq_report *report;
    awq_model *model;
    for (int i = 0; options[i]; i += 2)
        assert_ok(f, awq_recipe_set(recipe, options[i], options[i + 1], NULL));
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        assert_ok(f, awq_recipe_add_rule(recipe));
        for (int i = 0; i < 6; i += 2)
            assert_ok(f, awq_recipe_rule_set(recipe, r, rules[r][i], rules[r][i + 1]));
    }
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, &report));
    awq_eval_result reported = *awq_report_evaluation(report);
    awq_report_free(report);
    awq_recipe_free(recipe);
    awq_eval_result found = evaluate_output(f, MODEL);
    assert_true(found.kl == reported.kl && found.perplexity == reported.perplexity);
    assert_kl(MODEL, "gptq-format-rules", found.kl);
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &model));
    static const struct {
        const char *name, *storage;
    } expected[] = {
        {"model.layers.0.mlp.experts.1.up_proj", "int4 g32"},
        {"model.layers.1.mlp.experts.1.up_proj", "int8 g32"},
        {"model.layers.0.self_attn.q_proj", "int4 g128"},
        {"model.layers.1.self_attn.q_proj", "BF16"},
        {"model.layers.1.mlp.shared_expert.down_proj", "int2 g64"},
        {"model.layers.1.mlp.gate", "BF16"},
    };
    size_t seen = 0;
    for (size_t i = 0; i < awq_model_module_count(model); i++)
        for (size_t e = 0; e < sizeof expected / sizeof *expected; e++) {
            const awq_module *module = awq_model_module(model, i);
            if (strcmp(module->name, expected[e].name) != 0)
                continue;
            assert_string_equal(module->storage, expected[e].storage);
            seen++;
        }
    assert_int_equal(seen, sizeof expected / sizeof *expected);
    awq_model_free(model);
}

static void methods_gain(void **state)
{
    check_methods(*state, MODEL);
}

static void the_same_bytes_however_it_runs(void **state)
{
    static const char *const options[] = {"quantize.modules", "*", "quantize.rounding", "gptq",
                                          NULL};
    check_same_bytes(*state, short_recipe_with(*state, MODEL, options));
}

static void an_uncompensated_token_gate_stops_the_run(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, MODEL);
    run_uncompensated(f, recipe, 1);
    awq_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILY_TEST(results_evaluate_to_what_was_reported),
        FAMILY_TEST(some_modules_only),
        FAMILY_TEST(mixed_gptq_evaluates_to_what_was_reported),
        FAMILY_TEST(methods_gain),
        FAMILY_TEST(the_same_bytes_however_it_runs),
        FAMILY_TEST(an_uncompensated_token_gate_stops_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
