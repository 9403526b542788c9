/* What the search by second moments loses against the exact one: the exact loss of the scale that
   it chooses, over the least there is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "runs.h"

#include <math.h>

/* Runs the recipe, without an evaluation, and frees it. */
static cJSON *run_report(const fixture *f, awq_recipe *recipe)
{
    awq_quantize_options how = {.struct_size = sizeof how, .force = true};
    cJSON *report;
    char path[1100];
    assert_ok(f, awq_recipe_clear(recipe, "evaluation.data"));
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, NULL));
    snprintf(path, sizeof path, "%s/awq_report.json", output);
    assert_ok(f, awq__json_read(f->ctx, path, &report));
    awq_recipe_free(recipe);
    return report;
}

/* The report of a run that searches so. */
static cJSON *report_of(const fixture *f, const char *model, const char *samples,
                        const char *search, const char *sketch_rows, const char *finalists)
{
    awq_recipe *recipe = short_recipe(f, model);
    const char *options[] = {
        "quantize.search",     search,  "quantize.sketch_rows",      sketch_rows,
        "quantize.clip",       "false", "quantize.search_tokens",    "0",
        "calibration.samples", samples, "quantize.search_finalists", finalists};
    for (size_t i = 0; i < sizeof options / sizeof *options; i += 2)
        assert_ok(f, awq_recipe_set(recipe, options[i], options[i + 1], NULL));
    return run_report(f, recipe);
}

/* The candidate that a layer's report names: 0 for the identity, 1 + i for ratio i / 20. */
static int chosen(const cJSON *experts)
{
    const cJSON *ratio = cJSON_GetObjectItem(experts, "gate_up_ratio");
    return cJSON_IsNumber(ratio) ? 1 + (int)lround(ratio->valuedouble * 20) : 0;
}

/* The largest excess of the exact loss over its minimum, of all layers. */
static double worst_excess(const cJSON *exact, const cJSON *moments)
{
    double worst = 0;
    const cJSON *layers = cJSON_GetObjectItem(exact, "layers");
    for (int n = 0; n < cJSON_GetArraySize(layers); n++) {
        const cJSON *experts = cJSON_GetObjectItem(cJSON_GetArrayItem(layers, n), "experts");
        const cJSON *losses = cJSON_GetObjectItem(experts, "gate_up_losses"), *loss;
        const cJSON *other = cJSON_GetObjectItem(
            cJSON_GetArrayItem(cJSON_GetObjectItem(moments, "layers"), n), "experts");
        double least = INFINITY;
        assert_int_equal(cJSON_GetArraySize(losses), 22);
        cJSON_ArrayForEach(loss, losses)
        {
            least = fmin(least, loss->valuedouble);
        }
        double found = cJSON_GetArrayItem(losses, chosen(other))->valuedouble;
        assert_true(least > 0 && isfinite(found));
        assert_true(cJSON_GetArrayItem(losses, chosen(experts))->valuedouble == least);
        worst = fmax(worst, found / least - 1);
    }
    return worst;
}

/* How near the exact search the others come. The losses of neighbouring ratios differ by a percent
   or two of noise in models so small. */
static const struct {
    const char *sketch_rows, *finalists;
    double most;
} searches[] = {{"0", "1", 0.04}, {"64", "1", 0.04}, {"0", "7", 0.02}, {"64", "7", 0.02}};

static void check(const fixture *f, const char *model, const char *samples)
{
    cJSON *exact = report_of(f, model, samples, "output", "0", "1");
    for (size_t i = 0; i < sizeof searches / sizeof *searches; i++) {
        cJSON *moments =
            report_of(f, model, samples, "moments", searches[i].sketch_rows, searches[i].finalists);
        double excess = worst_excess(exact, moments);
        if (!(excess <= searches[i].most))
            fail_msg("%s, sketch_rows %s, finalists %s: %.2f %% above the least exact loss", model,
                     searches[i].sketch_rows, searches[i].finalists, 100 * excess);
        cJSON_Delete(moments);
    }
    cJSON_Delete(exact);
}

static void tiny_models_lose_little(void **state)
{
    static const char *const models[] = {"mixtral-tiny", "qwen2_moe-tiny", "qwen3_moe-tiny",
                                         "gpt_oss-tiny"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const fixture *f = *state;
        char model[1024];
        snprintf(model, sizeof model, "%s/%s", AWQ_TEST_DATA, models[i]);
        check(f, model, "24");
    }
}

static cJSON *report_with(const fixture *f, const char *model, const char *gate_up_scale)
{
    awq_recipe *recipe = short_recipe(f, model);
    assert_ok(f, awq_recipe_set(recipe, "quantize.gate_up_scale", gate_up_scale, NULL));
    return run_report(f, recipe);
}

static double number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(object, name);
    if (!cJSON_IsNumber(item))
        fail_msg("the report has no number %s", name);
    return item->valuedouble;
}

/* What experts would choose for themselves is told, is never worse for them than no scale, and the
   common scale made of it never worse for all than the layer's. */
static void experts_own_scales_are_told(void **state)
{
    const fixture *f = *state;
    const char *model = AWQ_TEST_DATA "/qwen2_moe-tiny";
    cJSON *alone = report_with(f, model, "layer"), *joined = report_with(f, model, "joined");
    const cJSON *layers = cJSON_GetObjectItem(joined, "layers"), *each;
    bool taken = false;
    for (int n = 0; n < cJSON_GetArraySize(layers); n++) {
        const cJSON *experts = cJSON_GetObjectItem(cJSON_GetArrayItem(layers, n), "experts");
        const cJSON *before = cJSON_GetObjectItem(
            cJSON_GetArrayItem(cJSON_GetObjectItem(alone, "layers"), n), "experts");
        assert_null(cJSON_GetObjectItem(before, "gate_up_joined"));
        assert_true(number(experts, "gate_up_loss") <= number(before, "gate_up_loss"));
        bool better = cJSON_IsTrue(cJSON_GetObjectItem(experts, "gate_up_joined"));
        assert_true(better == (number(experts, "gate_up_loss") < number(before, "gate_up_loss")));
        taken |= better;
        double plain = 0;
        cJSON_ArrayForEach(each, cJSON_GetObjectItem(experts, "each"))
        {
            assert_true(number(each, "own_gate_up_loss") <= number(each, "own_gate_up_plain_loss"));
            plain += number(each, "own_gate_up_plain_loss");
        }
        /* Without scales the experts' losses are the layer's. */
        assert_true(fabs(plain / number(experts, "gate_up_plain_loss") - 1) < 1e-9);
    }
    assert_true(taken);
    cJSON_Delete(alone);
    cJSON_Delete(joined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tiny_models_lose_little, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(experts_own_scales_are_told, set_up_run, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
