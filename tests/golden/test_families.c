/* Models of all families, random and tiny, are quantized with every fold that is legal; what is
   written reads back as what was reported. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/runs.h"

#include <math.h>

static const char *model; /* of the test that runs */
static char model_path[1024], calibration[1100], evaluation[1100];

static awq_recipe *recipe_for(const fixture *f, const char *const *more)
{
    snprintf(model_path, sizeof model_path, "%s/%s", AWQ_TEST_DATA, model);
    snprintf(calibration, sizeof calibration, "%s/calib_ids.safetensors", model_path);
    snprintf(evaluation, sizeof evaluation, "%s/eval_ids.safetensors", model_path);
    const char *options[] = {"calibration.data",
                             calibration,
                             "calibration.samples",
                             "24",
                             "calibration.sequence_length",
                             "24",
                             "calibration.min_expert_tokens",
                             "16",
                             "evaluation.data",
                             evaluation,
                             "quantize.group_size",
                             "32",
                             NULL};
    awq_recipe *recipe = recipe_of(f, model_path, options);
    for (; *more; more += 2)
        assert_ok(f, awq_recipe_set(recipe, more[0], more[1], NULL));
    return recipe;
}

static awq_eval_result run(const fixture *f, awq_recipe *recipe)
{
    awq_quantize_options how = {.struct_size = sizeof how, .force = true};
    awq_report *report;
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, &report));
    awq_eval_result result = *awq_report_evaluation(report);
    awq_report_free(report);
    awq_recipe_free(recipe);
    return result;
}

static awq_eval_result evaluate(const fixture *f)
{
    awq_eval_options options = {.struct_size = sizeof options,
                                .directory = output,
                                .reference = model_path,
                                .ids = evaluation};
    awq_eval_result result;
    assert_ok(f, awq_evaluate(f->ctx, &options, &result));
    return result;
}

/* The reports of a run's layers. */
static cJSON *read_layers(const fixture *f)
{
    char path[1100];
    cJSON *root;
    snprintf(path, sizeof path, "%s/awq_report.json", output);
    assert_ok(f, awq__json_read(f->ctx, path, &root));
    return root;
}

/* Was a scale found for the input in some layer, which the proof then has seen? */
static bool has_scale(const cJSON *root, const char *input)
{
    const cJSON *layer = NULL;
    cJSON_ArrayForEach(layer, awq__json_at(root, "layers"))
    {
        const cJSON *ratio = awq__json_at(layer, input);
        if (cJSON_IsNumber(ratio) && ratio->valuedouble > 0)
            return true;
    }
    return false;
}

static void check_scales(const fixture *f)
{
    static const char *const inputs[] = {"attention.qkv_ratio", "attention.o_ratio",
                                         "experts.gate_up_ratio"};
    cJSON *root = read_layers(f);
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        print_message("%s: %s %s\n", model, inputs[i], has_scale(root, inputs[i]) ? "yes" : "no");
    assert_true(has_scale(root, "experts.gate_up_ratio"));
    cJSON_Delete(root);
}

/* All linears but routers, by AWQ and clip ranges: every fold that is legal is searched and proved.
 */
static void test_quantized(void **state)
{
    fixture *f = *state;
    static const char *const all[] = {"quantize.modules", "*", NULL};
    static const char *const rtn[] = {"quantize.modules", "*", "quantize.method", "rtn", NULL};
    awq_eval_result reported = run(f, recipe_for(f, all));
    awq_eval_result found = evaluate(f);
    assert_true(found.kl == reported.kl && found.perplexity == reported.perplexity);
    check_scales(f);
    awq_eval_result plain = run(f, recipe_for(f, rtn));
    print_message("%s: KL %.5f with scales, %.5f rounded to nearest\n", model, found.kl, plain.kl);
    assert_true(found.kl > 0 && found.kl < plain.kl);
}

static int set_up_family(void **state)
{
    model = *state;
    return set_up_run(state);
}

#define CASE(name)                                                                                 \
    {                                                                                              \
        name ": quantized", test_quantized, set_up_family, tear_down, (void *)(uintptr_t)name      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE("olmoe-tiny"),        CASE("glm_moe-tiny"),     CASE("minimax_m2-tiny"),
        CASE("ernie_moe-tiny"),    CASE("hunyuan_moe-tiny"), CASE("granite_moe-tiny"),
        CASE("llama4-tiny"),       CASE("gemma4_moe-tiny"),  CASE("deepseek_v2-tiny"),
        CASE("deepseek_v3-tiny"),  CASE("qwen3_next-tiny"),  CASE("qwen3_5_moe-tiny"),
        CASE("qwen3_vl_moe-tiny"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
