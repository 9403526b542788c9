/* Whole runs in ModelOpt's layout, with an input scale of their own for the experts and without. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/convert.h"
#include "golden/runs.h"

#include <math.h>
#include <stdlib.h>

#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"
#define QWEN2 AWQ_TEST_DATA "/qwen2_moe-tiny"
#define QWEN3 AWQ_TEST_DATA "/qwen3_moe-tiny"
#define GPT_OSS AWQ_TEST_DATA "/gpt_oss-tiny"

#define MODELOPT "format", "modelopt"
#define LAYER "quantize.gate_up_scale", "layer"
#define OWN "quantize.gate_up_scale", "expert"

typedef struct run {
    const char *model;
    const char *options[13];
} run;

static void test_results_evaluate_to_what_was_reported(void **state)
{
    static const run runs[] = {
        {MIXTRAL, {MODELOPT, LAYER, NULL}},
        {MIXTRAL, {MODELOPT, OWN, NULL}},
        {MIXTRAL, {MODELOPT, OWN, "quantize.scale_rounding", "power_of_two", NULL}},
        {QWEN2, {MODELOPT, OWN, "quantize.modules", "*", NULL}},
        {QWEN2, {MODELOPT, OWN, "quantize.rounding", "gptq", NULL}},
        {QWEN3, {MODELOPT, OWN, "quantize.group_size", "32", NULL}},
        {QWEN3, {MODELOPT, OWN, "quantize.scale_rounding", "none", NULL}},
        {GPT_OSS, {MODELOPT, OWN, "quantize.modules", "*", NULL}},
        {GPT_OSS, {MODELOPT, "quantize.method", "rtn", NULL}},
        {QWEN3, {MODELOPT, OWN, "quantize.method", "gptq", NULL}},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        awq_eval_result reported = run_short(*state, runs[i].model, runs[i].options, i > 0);
        awq_eval_result found = evaluate_output(*state, runs[i].model);
        print_message("run %zu: KL %.6f\n", i, reported.kl);
        assert_true(found.kl == reported.kl && found.perplexity == reported.perplexity);
        assert_true(found.kl > 0 && found.kl < 0.1);
    }
}

/* Experts whose own scales are searched have about the quality of those with one for all. */
static void test_own_scales_beat_plain_rounding(void **state)
{
    static const char *const models[] = {MIXTRAL, QWEN2, QWEN3, GPT_OSS};
    const char *plain[] = {MODELOPT, "quantize.method", "rtn", NULL};
    const char *own[] = {MODELOPT, OWN, NULL};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        double rtn = run_short(*state, models[i], plain, i > 0).kl;
        assert_true(run_short(*state, models[i], own, true).kl < 0.6 * rtn);
    }
}

static void test_the_same_bytes_for_any_number_of_threads(void **state)
{
    fixture *f = *state;
    static const run runs[] = {
        {QWEN2, {MODELOPT, OWN, "quantize.rounding", "gptq", "quantize.sketch_rows", "48", NULL}},
        {GPT_OSS, {MODELOPT, OWN, NULL}}};
    static const int threads[] = {1, 2, 5};
    char first[1024];
    for (size_t c = 0; c < sizeof runs / sizeof *runs; c++) {
        snprintf(first, sizeof first, "%s/case-%zu-threads-1", f->directory, c);
        for (int i = 0; i < 3; i++) {
            snprintf(output, sizeof output, "%s/case-%zu-threads-%d", f->directory, c, threads[i]);
            assert_ok(f, awq_context_set_threads(f->ctx, threads[i]));
            run_short(f, runs[c].model, runs[c].options, false);
            assert_same_result(f, first, output);
            assert_same_file(f, first, output, "hf_quant_config.json");
        }
    }
}

static void test_an_interrupted_run_goes_on(void **state)
{
    fixture *f = *state;
    const char *options[] = {MODELOPT, OWN, NULL};
    char whole[1024];
    run_short(f, QWEN2, options, false);
    snprintf(whole, sizeof whole, "%s", output);
    snprintf(output, sizeof output, "%s/resumed", f->directory);
    awq_recipe *recipe = short_recipe(f, QWEN2);
    for (const char **option = options; *option; option += 2)
        assert_ok(f, awq_recipe_set(recipe, option[0], option[1], NULL));
    awq__set_fault(f->ctx, AWQ__FAULT_STOP_AFTER_LAYER);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_CANCELLED);
    awq__set_fault(f->ctx, AWQ__FAULT_NONE);
    awq_recipe_free(recipe);
    run_short(f, QWEN2, options, false);
    assert_same_result(f, whole, output);
}

/* ---- the proof ---- */

static void test_an_input_that_is_not_scaled_stops_the_run(void **state)
{
    static const char *const models[] = {MIXTRAL, QWEN2, GPT_OSS};
    const fixture *f = *state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        awq_recipe *recipe = short_recipe(f, models[i]);
        assert_ok(f, awq_recipe_set(recipe, "format", "modelopt", NULL));
        assert_ok(f, awq_recipe_set(recipe, "quantize.gate_up_scale", "expert", NULL));
        awq__set_fault(f->ctx, AWQ__FAULT_INPUT_UNSCALED);
        assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_PROOF);
        assert_non_null(strstr(awq_context_message(f->ctx), "layer 0"));
        assert_false(awq__is_directory(output));
        awq__set_fault(f->ctx, AWQ__FAULT_NONE);
        awq_recipe_free(recipe);
    }
}

/* ---- what is stored ---- */

static const awq__tensor *tensor_of(const awq__checkpoint *checkpoint, const char *name)
{
    const awq__tensor *tensor = awq__checkpoint_find(checkpoint, name);
    if (!tensor)
        fail_msg("%s is missing", name);
    return tensor;
}

static const awq__tensor *part_of(const awq__checkpoint *checkpoint, int layer, int expert,
                                  const char *part)
{
    char name[256];
    snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s.pre_quant_scale", layer, expert,
             part);
    return tensor_of(checkpoint, name);
}

static bool same(const awq__tensor *a, const awq__tensor *b)
{
    return a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
}

static bool is_of_ones(const awq__tensor *tensor)
{
    bool ones = true;
    for (int64_t k = 0; k < tensor->shape[0]; k++) {
        float value;
        assert_int_equal(awq__widen(NULL, tensor->dtype, tensor->data + 2 * k, 1, &value), AWQ_OK);
        assert_true(isfinite(value) && value > 0);
        ones &= value == 1;
    }
    return ones;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), part = strlen(ending);
    return length >= part && !strcmp(name + length - part, ending);
}

/* Norms and routers are the source's to the bit; gate and up share a vector, each expert has
   another, and what is folded into another weight has ones. */
static void test_each_expert_has_its_own_vector_and_nothing_else_changes(void **state)
{
    const fixture *f = *state;
    const char *options[] = {MODELOPT, OWN, NULL};
    awq__checkpoint *before, *after;
    size_t copied = 0, own = 0;
    run_short(f, QWEN3, options, false);
    assert_ok(f, awq__checkpoint_open(f->ctx, QWEN3, &before));
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &after));
    for (size_t i = 0; i < awq__checkpoint_count(before); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(before, i);
        if (strstr(tensor->name, ".experts."))
            continue;
        assert_true(same(tensor, tensor_of(after, tensor->name)));
        copied += ends_with(tensor->name, "norm.weight") || ends_with(tensor->name, "gate.weight");
    }
    assert_true(copied > 4);
    for (int layer = 0; layer < 2; layer++)
        for (int e = 0; e < 8; e++) {
            const awq__tensor *gate = part_of(after, layer, e, "gate_proj");
            assert_true(same(gate, part_of(after, layer, e, "up_proj")));
            assert_true(is_of_ones(part_of(after, layer, e, "down_proj")));
            own += !is_of_ones(gate);
            for (int other = 0; other < e && !is_of_ones(gate); other++)
                assert_false(same(gate, part_of(after, layer, other, "gate_proj")));
        }
    assert_true(own > 8);
    awq__checkpoint_free(before);
    awq__checkpoint_free(after);
}

/* With the layer's vector the norm carries it, as in formats without input scales: the codes are
   theirs, and every pre_quant_scale is of ones. */
static void test_a_common_vector_is_folded(void **state)
{
    const fixture *f = *state;
    const char *modelopt[] = {MODELOPT, LAYER, NULL};
    const char *compressed[] = {"format", "compressed-tensors", NULL};
    char first[1024];
    awq__checkpoint *a, *b;
    double kl = run_short(f, QWEN2, modelopt, false).kl;
    snprintf(first, sizeof first, "%s", output);
    snprintf(output, sizeof output, "%s/compressed", f->directory);
    assert_true(run_short(f, QWEN2, compressed, false).kl == kl);
    assert_ok(f, awq__checkpoint_open(f->ctx, first, &a));
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &b));
    for (size_t i = 0; i < awq__checkpoint_count(a); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(a, i);
        if (ends_with(tensor->name, ".pre_quant_scale"))
            assert_true(is_of_ones(tensor));
        else if (tensor->dtype == AWQ_BF16)
            assert_true(same(tensor, tensor_of(b, tensor->name)));
    }
    awq__checkpoint_free(a);
    awq__checkpoint_free(b);
}

/* An expert of which one of gate and up is kept float has no place for the scale of that. */
static void test_half_an_expert_stays_unscaled(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, QWEN3);
    awq__checkpoint *after, *before;
    assert_ok(f, awq_recipe_set(recipe, "format", "modelopt", NULL));
    assert_ok(f, awq_recipe_set(recipe, "quantize.gate_up_scale", "expert", NULL));
    assert_ok(f, awq_recipe_add_rule(recipe));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "match", "experts.1.gate_proj"));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "keep", "true"));
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    assert_ok(f, awq__checkpoint_open(f->ctx, QWEN3, &before));
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &after));
    const char *name = "model.layers.0.mlp.experts.1.gate_proj.weight";
    assert_true(same(tensor_of(before, name), tensor_of(after, name)));
    assert_true(is_of_ones(part_of(after, 0, 1, "up_proj")));
    assert_false(is_of_ones(part_of(after, 0, 0, "up_proj")));
    awq__checkpoint_free(before);
    awq__checkpoint_free(after);
    awq_recipe_free(recipe);
}

/* ---- the report, and refusals ---- */

static void test_the_report_tells_of_each_expert(void **state)
{
    const fixture *f = *state;
    const char *options[] = {MODELOPT, OWN, NULL};
    char path[1100];
    cJSON *report;
    int seen = 0;
    run_short(f, QWEN2, options, false);
    snprintf(path, sizeof path, "%s/awq_report.json", output);
    assert_ok(f, awq__json_read(f->ctx, path, &report));
    const cJSON *layer, *expert;
    cJSON_ArrayForEach(layer, awq__json_at(report, "layers"))
    {
        const cJSON *experts = awq__json_at(layer, "experts");
        assert_null(awq__json_at(experts, "gate_up_ratio")); /* there is no common one */
        cJSON_ArrayForEach(expert, awq__json_at(experts, "each"))
        {
            double plain = cJSON_GetNumberValue(awq__json_at(expert, "own_gate_up_plain_loss"));
            double loss = cJSON_GetNumberValue(awq__json_at(expert, "own_gate_up_loss"));
            bool identity =
                awq__json_is_text(awq__json_at(expert, "own_gate_up_ratio"), "identity");
            assert_true(cJSON_IsTrue(awq__json_at(expert, "own_gate_up_used")));
            assert_true(identity ? loss == plain : loss < plain);
            seen++;
        }
    }
    assert_true(seen >= 16);
    cJSON_Delete(report);
}

static void test_only_a_format_with_input_scales_takes_them(void **state)
{
    static const char *const formats[] = {"awq", "compressed-tensors", "gptq", "bitsandbytes"};
    const fixture *f = *state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        awq_recipe *recipe = short_recipe(f, MIXTRAL);
        char message[160];
        assert_ok(f, awq_recipe_set(recipe, "format", formats[i], NULL));
        assert_ok(f, awq_recipe_set(recipe, "quantize.gate_up_scale", "expert", NULL));
        assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
        snprintf(message, sizeof message,
                 "quantize.gate_up_scale: expert, but the %s format has no place for an input "
                 "scale of each expert; formats that have one: modelopt",
                 formats[i]);
        assert_string_equal(awq_context_message(f->ctx), message);
        awq_recipe_free(recipe);
    }
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up_run, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_results_evaluate_to_what_was_reported),
        CASE(test_own_scales_beat_plain_rounding),
        CASE(test_the_same_bytes_for_any_number_of_threads),
        CASE(test_an_interrupted_run_goes_on),
        CASE(test_an_input_that_is_not_scaled_stops_the_run),
        CASE(test_each_expert_has_its_own_vector_and_nothing_else_changes),
        CASE(test_a_common_vector_is_folded),
        CASE(test_half_an_expert_stays_unscaled),
        CASE(test_the_report_tells_of_each_expert),
        CASE(test_only_a_format_with_input_scales_takes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
