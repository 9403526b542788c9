/* Whole runs on the trained models of all architectures, in the formats that fit them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/runs.h"
#include "model/model.h"

#define QWEN2 AWQ_TEST_DATA "/qwen2_moe-tiny"
#define QWEN3 AWQ_TEST_DATA "/qwen3_moe-tiny"
#define GPT_OSS AWQ_TEST_DATA "/gpt_oss-tiny"
#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"

static const char *const none[] = {NULL};

/* ---- every format reads back as what was reported ---- */

typedef struct combination {
    const char *model;
    const char *options[13];
} combination;

static const combination combinations[] = {
    {MIXTRAL, {"format", "compressed-tensors", NULL}},
    {MIXTRAL, {"format", "compressed-tensors", "quantize.symmetric", "false", NULL}},
    {QWEN2, {NULL}},
    {QWEN2, {"quantize.modules", "*", NULL}},
    {QWEN2, {"format", "awq", "quantize.group_size", "64", NULL}},
    {QWEN3, {"quantize.bits", "8", "quantize.group_size", "-1", NULL}},
    {QWEN3, {"quantize.modules", "*", "quantize.symmetric", "false", NULL}},
    {QWEN2, {"format", "gptq", "quantize.modules", "*", NULL}},
    {QWEN3, {"format", "gptq", "quantize.symmetric", "false", "quantize.rounding", "gptq", NULL}},
    {MIXTRAL, {"format", "gptq", "quantize.bits", "8", "quantize.group_size", "-1", NULL}},
    {GPT_OSS, {NULL}},
    {GPT_OSS, {"format", "gptq", "quantize.modules", "*", NULL}},
    {GPT_OSS, {"format", "compressed-tensors", "quantize.modules", "*", NULL}},
    {GPT_OSS, {"format", "awq", NULL}},
    {GPT_OSS, {"format", "compressed-tensors", "quantize.modules", "*.q_proj", NULL}},
    {MIXTRAL, {"quantize.preset", "nf4", NULL}},
    {QWEN2, {"quantize.preset", "nf4", "quantize.modules", "*", NULL}},
    {QWEN3, {"quantize.preset", "nf4", "quantize.rounding", "gptq", NULL}},
    {QWEN2, {"quantize.preset", "int8", NULL}},
    {GPT_OSS, {"quantize.preset", "int8", "quantize.modules", "*", NULL}},
    {GPT_OSS, {"format", "bitsandbytes", NULL}},
};

static void test_results_evaluate_to_what_was_reported(void **state)
{
    for (size_t i = 0; i < sizeof combinations / sizeof *combinations; i++) {
        const combination *c = &combinations[i];
        awq_eval_result reported = run_short(*state, c->model, c->options, i > 0);
        awq_eval_result found = evaluate_output(*state, c->model);
        assert_true(found.kl == reported.kl && found.perplexity == reported.perplexity);
        assert_true(found.kl > 0 && found.kl < 0.1);
    }
}

/* Rules of the recipe become rules of config.json, by which the result is read. */
static void test_mixed_gptq_evaluates_to_what_was_reported(void **state)
{
    const fixture *f = *state;
    static const char *const rules[][6] = {
        {"layers", "1", "role", "expert", "bits", "8"},
        {"role", "attention", "layers", "0", "group_size", "-1"},
        {"role", "shared_expert", "bits", "2", "group_size", "64"},
    };
    const char *options[] = {"format", "gptq", "quantize.group_size", "32", NULL};
    awq_recipe *recipe = short_recipe(f, QWEN2);
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
    awq_eval_result found = evaluate_output(f, QWEN2);
    assert_true(found.kl == reported.kl && found.perplexity == reported.perplexity);
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

static void test_scales_beat_plain_rounding(void **state)
{
    static const char *const models[] = {MIXTRAL, QWEN2, QWEN3, GPT_OSS};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const char *plain[] = {"quantize.method", "rtn", NULL};
        double rtn = run_short(*state, models[i], plain, i > 0).kl;
        double awq = run_short(*state, models[i], none, true).kl;
        assert_true(awq < 0.6 * rtn);
    }
}

static void test_the_same_bytes_for_any_number_of_threads(void **state)
{
    fixture *f = *state;
    static const combination cases[] = {
        {QWEN2, {"quantize.modules", "*", "quantize.rounding", "gptq", NULL}},
        {GPT_OSS, {NULL}},
        {MIXTRAL, {"quantize.preset", "nf4", "quantize.rounding", "gptq", NULL}},
        {QWEN3, {"quantize.sketch_rows", "48", NULL}}};
    static const int threads[] = {1, 2, 5};
    char first[1024];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        snprintf(first, sizeof first, "%s/case-%zu-threads-1", f->directory, c);
        for (int i = 0; i < 3; i++) {
            snprintf(output, sizeof output, "%s/case-%zu-threads-%d", f->directory, c, threads[i]);
            assert_ok(f, awq_context_set_threads(f->ctx, threads[i]));
            run_short(f, cases[c].model, cases[c].options, false);
            assert_same_result(f, first, output);
        }
    }
}

static void interrupt(fixture *f, const char *model, const char *const *options)
{
    char whole[1024];
    snprintf(whole, sizeof whole, "%s", output);
    run_short(f, model, options, false);
    snprintf(output, sizeof output, "%s/resumed", f->directory);
    awq_recipe *recipe = short_recipe(f, model);
    for (const char *const *option = options; *option; option += 2)
        assert_ok(f, awq_recipe_set(recipe, option[0], option[1], NULL));
    stop_after_first_layer(f, recipe);
    awq_recipe_free(recipe);
    run_short(f, model, options, false);
    assert_same_result(f, whole, output);
}

static void test_an_interrupted_run_of_fused_experts_goes_on(void **state)
{
    interrupt(*state, GPT_OSS, none);
}

static void test_an_interrupted_run_of_nf4_goes_on(void **state)
{
    const char *nf4[] = {"quantize.preset", "nf4", NULL};
    interrupt(*state, MIXTRAL, nf4);
}

/* With a recipe's preset and more options; enough text for compensation. */
static double preset_kl(const fixture *f, const char *preset, const char *name, const char *value)
{
    const char *options[] = {"calibration.samples",
                             "40",
                             "calibration.sequence_length",
                             "256",
                             "quantize.preset",
                             preset,
                             name,
                             value,
                             NULL};
    return run_short(f, MIXTRAL, options, true).kl;
}

static void test_nf4_and_int8_gain_as_other_codes_do(void **state)
{
    const fixture *f = *state;
    static const char *const presets[] = {"nf4", "int8"};
    for (int i = 0; i < 2; i++) {
        double plain = preset_kl(f, presets[i], "quantize.method", "rtn");
        double scaled = preset_kl(f, presets[i], "quantize.clip", "false");
        double clipped = preset_kl(f, presets[i], "quantize.clip", "true");
        double compensated = preset_kl(f, presets[i], "quantize.rounding", "gptq");
        print_message("%s: KL %.6f plain, %.6f with scales, %.6f and ranges, %.6f compensated\n",
                      presets[i], plain, scaled, clipped, compensated);
        assert_true(scaled < 0.6 * plain && clipped < 0.6 * plain && compensated < 0.6 * plain);
        if (i == 0) /* 8 bits leave nothing to gain */
            assert_true(clipped < scaled && compensated < clipped);
    }
}

/* ---- error-compensated rounding ---- */

static void test_compensated_rounding_is_better(void **state)
{
    static const char *const models[] = {MIXTRAL, QWEN2, QWEN3, GPT_OSS};
    const char *more[] = {"calibration.samples", "40", "calibration.sequence_length", "256", NULL};
    const char *gptq[] = {more[0], more[1], more[2], more[3], "quantize.rounding", "gptq", NULL};
    const char *alone[] = {more[0], more[1], more[2], more[3], "quantize.method", "gptq", NULL};
    const char *plain[] = {"quantize.method", "rtn", NULL};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        double rtn = run_short(*state, models[i], plain, i > 0).kl;
        double nearest = run_short(*state, models[i], more, true).kl;
        assert_true(run_short(*state, models[i], gptq, true).kl < nearest);
        assert_true(run_short(*state, models[i], alone, true).kl < 0.9 * rtn);
    }
}

static void test_compensated_rounding_of_few_tokens(void **state)
{
    const char *few[] = {"quantize.rounding",
                         "gptq",
                         "calibration.samples",
                         "1",
                         "calibration.sequence_length",
                         "32",
                         NULL};
    const char *plain[] = {"quantize.method", "rtn", NULL};
    double rtn = run_short(*state, QWEN3, plain, false).kl;
    assert_true(run_short(*state, QWEN3, few, true).kl < rtn);
}

/* ---- the search ---- */

/* Sketches lead to about the same scales as whole second moments. */
static void test_searches_agree(void **state)
{
    static const char *const models[] = {MIXTRAL, QWEN2, GPT_OSS};
    const char *sketch[] = {"quantize.sketch_rows", "96", NULL};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        double moments = run_short(*state, models[i], none, i > 0).kl;
        assert_true(run_short(*state, models[i], sketch, true).kl < 1.15 * moments);
    }
}

/* ---- the shared expert ---- */

static void test_an_uncompensated_token_gate_stops_the_run(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, QWEN2);
    run_uncompensated(f, recipe, 1);
    awq_recipe_free(recipe);
}

/* Whatever is quantized, what stays float is compensated. */
static void test_some_modules_only(void **state)
{
    static const char *const patterns[] = {"*.shared_expert.*", "*.shared_expert.up_proj",
                                           "*.experts.*.down_proj", "*.experts.3.*", "*.v_proj"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const char *options[] = {"quantize.modules", patterns[i], NULL};
        awq_eval_result result = run_short(*state, QWEN2, options, i > 0);
        assert_true(result.kl > 0 && result.kl < 0.05);
    }
}

/* ---- MXFP4 ---- */

static void test_choosing_exponents_helps(void **state)
{
    const char *floor[] = {"quantize.clip", "false", NULL};
    double without = run_short(*state, GPT_OSS, floor, false).kl;
    double with = run_short(*state, GPT_OSS, none, true).kl;
    assert_true(with < without);
}

static void test_mxfp4_passes_through(void **state)
{
    fixture *f = *state;
    static const char *const methods[] = {"awq", "rtn"};
    char packed[1024];
    run_short(f, GPT_OSS, none, false);
    snprintf(packed, sizeof packed, "%s", output);
    for (int i = 0; i < 2; i++) {
        awq_recipe *recipe = recipe_of(f, packed, none);
        char calibration[1024];
        snprintf(calibration, sizeof calibration, "%s/calib.jsonl", GPT_OSS);
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
static void test_mxfp4_is_a_source(void **state)
{
    fixture *f = *state;
    static const char *const patterns[] = {"*.experts.*", "*.self_attn.*", "*"};
    char packed[1024], calibration[1024];
    run_short(f, GPT_OSS, none, false);
    snprintf(packed, sizeof packed, "%s", output);
    snprintf(calibration, sizeof calibration, "%s/calib.jsonl", GPT_OSS);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const char *options[] = {"format",
                                 "compressed-tensors",
                                 "quantize.modules",
                                 patterns[i],
                                 "calibration.data",
                                 calibration,
                                 "calibration.samples",
                                 "6",
                                 NULL};
        snprintf(output, sizeof output, "%s/integers-%zu", f->directory, i);
        awq_recipe *recipe = recipe_of(f, packed, options);
        assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
        awq_recipe_free(recipe);
        awq_eval_result result = evaluate_output(f, GPT_OSS);
        assert_true(result.kl > 0 && result.kl < 0.1);
    }
}

static void test_a_result_is_no_source(void **state)
{
    const fixture *f = *state;
    char packed[1024];
    run_short(f, QWEN3, none, false);
    snprintf(packed, sizeof packed, "%s", output);
    snprintf(output, sizeof output, "%s/again", f->directory);
    awq_recipe *recipe = recipe_of(f, packed, none);
    assert_ok(f, awq_recipe_set(recipe, "quantize.method", "rtn", NULL));
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
    assert_message(f, "is quantized already (compressed-tensors)");
    awq_recipe_free(recipe);
}

/* ---- fused experts ---- */

/* A tensor of the fused copy: a part for each expert, in the layout that tensors of one have. */
static void write_fused(const fixture *f, const awq__checkpoint *from, awq__output *to,
                        const char *const parts[], int count, int64_t layer, const char *name)
{
    char full[256];
    size_t at = 0;
    snprintf(full, sizeof full, "model.layers.%d.mlp.experts.%s", (int)layer, name);
    for (int64_t e = 0; e < 8; e++)
        for (int i = 0; i < count; i++) {
            char part[256];
            snprintf(part, sizeof part, "model.layers.%d.mlp.experts.%d.%s.weight", (int)layer,
                     (int)e, parts[i]);
            const awq__tensor *tensor = awq__checkpoint_find(from, part);
            assert_ok(f, awq__output_write_from(to, full, at, tensor, 0, tensor->bytes));
            at += tensor->bytes;
        }
}

/* The model with gate_up_proj [E,2I,H] and down_proj [E,H,I] in place of one tensor a matrix. */
static void fuse(const fixture *f, const char *model, const char *directory)
{
    static const char *const gate_up[] = {"gate_proj", "up_proj"}, *const down[] = {"down_proj"};
    const int64_t gate_up_shape[] = {8, 256, 128}, down_shape[] = {8, 128, 128};
    awq__checkpoint *from;
    awq__output *to;
    char path[1024];
    assert_ok(f, awq__checkpoint_open(f->ctx, model, &from));
    assert_ok(f, awq__output_begin(f->ctx, directory, false, &to));
    for (size_t i = 0; i < awq__checkpoint_count(from); i++) {
        const awq__tensor *t = awq__checkpoint_at(from, i);
        if (!strstr(t->name, ".experts."))
            assert_ok(f, awq__output_declare(to, t->name, t->dtype, t->rank, t->shape));
    }
    for (int layer = 0; layer < 2; layer++) {
        snprintf(path, sizeof path, "model.layers.%d.mlp.experts.gate_up_proj", layer);
        assert_ok(f, awq__output_declare(to, path, AWQ_BF16, 3, gate_up_shape));
        snprintf(path, sizeof path, "model.layers.%d.mlp.experts.down_proj", layer);
        assert_ok(f, awq__output_declare(to, path, AWQ_BF16, 3, down_shape));
    }
    assert_ok(f, awq__output_layout(to, 1 << 30));
    for (size_t i = 0; i < awq__checkpoint_count(from); i++) {
        const awq__tensor *t = awq__checkpoint_at(from, i);
        if (!strstr(t->name, ".experts."))
            assert_ok(f, awq__output_write_from(to, t->name, 0, t, 0, t->bytes));
    }
    for (int layer = 0; layer < 2; layer++) {
        write_fused(f, from, to, gate_up, 2, layer, "gate_up_proj");
        write_fused(f, from, to, down, 1, layer, "down_proj");
    }
    static const char *const files[] = {"config.json", "tokenizer.json", "calib.jsonl", "eval.txt"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", model, files[i]);
        assert_ok(f, awq__output_copy(to, path));
    }
    assert_ok(f, awq__output_commit(to));
    awq__output_free(to);
    awq__checkpoint_free(from);
}

static void test_fused_experts_are_the_same_model(void **state)
{
    fixture *f = *state;
    static const combination cases[] = {
        {QWEN3, {NULL}},
        {QWEN2, {"quantize.modules", "*", NULL}},
    };
    char fused[1024], separate[1024];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(fused, sizeof fused, "%s/fused-%zu", f->directory, i);
        fuse(f, cases[i].model, fused);
        snprintf(output, sizeof output, "%s/separate-%zu", f->directory, i);
        snprintf(separate, sizeof separate, "%s", output);
        run_short(f, cases[i].model, cases[i].options, false);
        snprintf(output, sizeof output, "%s/from-fused-%zu", f->directory, i);
        run_short(f, fused, cases[i].options, false);
        assert_same_file(f, separate, output, "model.safetensors");
        assert_same_file(f, separate, output, "config.json");
    }
}

/* Experts that stay float stay fused, changed where the shared expert's scales ask for it. */
static void test_fused_experts_that_are_kept(void **state)
{
    fixture *f = *state;
    char fused[1024], separate[1024];
    const char *options[] = {"quantize.modules", "*.shared_expert.*", NULL};
    snprintf(fused, sizeof fused, "%s/fused", f->directory);
    fuse(f, QWEN2, fused);
    snprintf(separate, sizeof separate, "%s", output);
    awq_eval_result expected = run_short(f, QWEN2, options, false);
    snprintf(output, sizeof output, "%s/kept", f->directory);
    awq_eval_result found = run_short(f, fused, options, false);
    assert_true(found.kl == expected.kl && found.perplexity == expected.perplexity);
    awq_model *model;
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &model));
    assert_non_null(
        awq__checkpoint_find(model->arch->checkpoint, "model.layers.1.mlp.experts.gate_up_proj"));
    awq_model_free(model);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up_run, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_results_evaluate_to_what_was_reported),
        CASE(test_mixed_gptq_evaluates_to_what_was_reported),
        CASE(test_scales_beat_plain_rounding),
        CASE(test_the_same_bytes_for_any_number_of_threads),
        CASE(test_an_interrupted_run_of_fused_experts_goes_on),
        CASE(test_an_interrupted_run_of_nf4_goes_on),
        CASE(test_nf4_and_int8_gain_as_other_codes_do),
        CASE(test_compensated_rounding_is_better),
        CASE(test_compensated_rounding_of_few_tokens),
        CASE(test_searches_agree),
        CASE(test_an_uncompensated_token_gate_stops_the_run),
        CASE(test_some_modules_only),
        CASE(test_choosing_exponents_helps),
        CASE(test_mxfp4_passes_through),
        CASE(test_mxfp4_is_a_source),
        CASE(test_a_result_is_no_source),
        CASE(test_fused_experts_are_the_same_model),
        CASE(test_fused_experts_that_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
