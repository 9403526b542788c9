/* Whole runs on a larger trained Mixtral, where it is there: as good as a reference implementation,
   whose results lie beside the model, is on the same ids. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/runs.h"

#include <math.h>

#define SMALL AWQ_TEST_MODELS "/mixtral-small"

static double reference_kl(const fixture *f, const char *method)
{
    cJSON *root;
    double kl = NAN;
    assert_ok(f, awq__json_read(f->ctx, SMALL "/reference.json", &root));
    const cJSON *row;
    cJSON_ArrayForEach(row, awq__json_at(root, "rows"))
    {
        bool same = !strcmp(awq__json_at(row, "method")->valuestring, method) &&
                    awq__json_at(row, "bits")->valueint == 4 &&
                    cJSON_IsTrue(awq__json_at(row, "router_compensated")) &&
                    cJSON_IsTrue(awq__json_at(row, "duo"));
        if (same)
            kl = awq__json_at(row, "kl.mix")->valuedouble;
    }
    cJSON_Delete(root);
    return kl;
}

static double small_kl(const fixture *f, const char *method, const char *clip)
{
    const char *options[] = {"calibration.data",
                             SMALL "/calib_ids.safetensors",
                             "calibration.samples",
                             "64",
                             "evaluation.data",
                             SMALL "/eval_ids.safetensors",
                             "quantize.method",
                             method,
                             "quantize.clip",
                             clip,
                             NULL};
    awq_recipe *recipe = recipe_of(f, SMALL, options);
    awq_report *report;
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, &report));
    double kl = awq_report_evaluation(report)->kl;
    awq_report_free(report);
    awq_recipe_free(recipe);
    return kl;
}

static void plain_rounding_equals_the_reference(void **state)
{
    if (!awq__is_directory(SMALL))
        skip();
    double kl = small_kl(*state, "rtn", "true"), expected = reference_kl(*state, "rtn");
    assert_true(fabs(kl - expected) <= 0.03 * expected);
}

static void scales_reach_the_reference(void **state)
{
    if (!awq__is_directory(SMALL))
        skip();
    double kl = small_kl(*state, "awq", "false"), expected = reference_kl(*state, "awq");
    assert_true(kl <= 1.05 * expected);
}

static void clipping_reaches_the_reference(void **state)
{
    if (!awq__is_directory(SMALL))
        skip();
    double kl = small_kl(*state, "awq", "true"), expected = reference_kl(*state, "awq+clip");
    assert_true(kl <= 1.05 * expected);
}

static void an_uncompensated_router_stops_the_run(void **state)
{
    const fixture *f = *state;
    if (!awq__is_directory(SMALL))
        skip();
    const char *options[] = {"calibration.data", SMALL "/calib_ids.safetensors",
                             "calibration.samples", "4", NULL};
    awq_recipe *recipe = recipe_of(f, SMALL, options);
    run_uncompensated(f, recipe, 8);
    awq_recipe_free(recipe);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up_run, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(plain_rounding_equals_the_reference),
        CASE(scales_reach_the_reference),
        CASE(clipping_reaches_the_reference),
        CASE(an_uncompensated_router_stops_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
