/* Whole runs on trained models: quality against measured references, and the promises of a run. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/runs.h"

#include <math.h>

#define TINY AWQ_TEST_DATA "/mixtral-tiny"
#define SMALL AWQ_TEST_MODELS "/mixtral-small"

/* Runs and returns the evaluation. */
static awq_eval_result run_tiny(const fixture *f, const char *const *options, bool force)
{
    return run_short(f, TINY, options, force);
}

/* ---- quality ---- */

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

static void test_plain_rounding_equals_the_reference(void **state)
{
    if (!awq__is_directory(SMALL))
        skip();
    double kl = small_kl(*state, "rtn", "true"), expected = reference_kl(*state, "rtn");
    print_message("rtn: KL %.6f, reference %.6f\n", kl, expected);
    assert_true(fabs(kl - expected) <= 0.03 * expected);
}

static void test_scales_reach_the_reference(void **state)
{
    if (!awq__is_directory(SMALL))
        skip();
    double kl = small_kl(*state, "awq", "false"), expected = reference_kl(*state, "awq");
    print_message("awq: KL %.6f, reference %.6f\n", kl, expected);
    assert_true(kl <= 1.05 * expected);
}

static void test_clipping_reaches_the_reference(void **state)
{
    if (!awq__is_directory(SMALL))
        skip();
    double kl = small_kl(*state, "awq", "true"), expected = reference_kl(*state, "awq+clip");
    print_message("awq+clip: KL %.6f, reference %.6f\n", kl, expected);
    assert_true(kl <= 1.05 * expected);
}

static void test_awq_beats_plain_rounding_in_every_scheme(void **state)
{
    static const char *const schemes[][2] = {
        {"32", "false"}, {"64", "false"}, {"128", "true"}, {"-1", "false"}, {"-1", "true"}};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        const char *plain[] = {
            "quantize.method", "rtn", "quantize.group_size", schemes[i][0], "quantize.symmetric",
            schemes[i][1],     NULL};
        const char *searched[] = {"quantize.group_size", schemes[i][0], "quantize.symmetric",
                                  schemes[i][1], NULL};
        double rtn = run_tiny(*state, plain, i > 0).kl;
        double awq = run_tiny(*state, searched, true).kl;
        assert_true(awq < 0.6 * rtn);
    }
}

static void test_attention_too(void **state)
{
    const char *plain[] = {"quantize.method", "rtn", "quantize.modules", "*", NULL};
    const char *searched[] = {"quantize.modules", "*", NULL};
    double rtn = run_tiny(*state, plain, false).kl, awq = run_tiny(*state, searched, true).kl;
    assert_true(awq < 0.6 * rtn);
}

/* Modules that stay float are compensated too. */
static void test_some_modules_only(void **state)
{
    static const char *const patterns[] = {"*.experts.1.*", "*.w1",     "*.w2",
                                           "*.w3",          "*.q_proj", "*.o_proj"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const char *options[] = {"quantize.modules", patterns[i], NULL};
        awq_eval_result result = run_tiny(*state, options, i > 0);
        assert_true(result.kl > 0 && result.kl < 0.05);
    }
}

/* ---- the proof ---- */

static void test_an_uncompensated_router_stops_the_run(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, TINY);
    run_uncompensated(f, recipe, 8);
    assert_non_null(strstr(awq_context_message(f->ctx), "not compensated"));
    awq_recipe_free(recipe);
}

static void test_an_uncompensated_router_of_the_small_model(void **state)
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

/* ---- the result ---- */

static void test_the_result_evaluates_to_what_was_reported(void **state)
{
    const fixture *f = *state;
    const char *none[] = {NULL}, *texts[] = {TINY "/eval.txt"};
    awq_eval_result reported = run_tiny(f, none, false), found;
    awq_eval_options options = {.struct_size = sizeof options,
                                .directory = output,
                                .reference = TINY,
                                .texts = texts,
                                .text_count = 1,
                                .windows = 6};
    assert_ok(f, awq_evaluate(f->ctx, &options, &found));
    assert_true(found.kl == reported.kl);
    assert_true(found.perplexity == reported.perplexity);
    assert_true(found.top1_agreement == reported.top1_agreement);
    assert_true(found.router_topk_agreement == reported.router_topk_agreement);
}

static void test_the_router_is_float_and_the_experts_are_not(void **state)
{
    const fixture *f = *state;
    const char *none[] = {NULL};
    run_tiny(f, none, false);
    awq_model *model;
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &model));
    for (size_t i = 0; i < awq_model_module_count(model); i++) {
        const awq_module *module = awq_model_module(model, i);
        assert_int_equal(module->quantized, module->role == AWQ_ROLE_EXPERT);
        assert_string_equal(module->storage, module->quantized ? "int4 g128" : "BF16");
    }
    awq_model_free(model);
}

static void test_the_same_bytes_for_any_number_of_threads(void **state)
{
    fixture *f = *state;
    static const int threads[] = {1, 2, 5};
    const char *options[] = {"quantize.modules", "*", NULL};
    char first[1024];
    snprintf(first, sizeof first, "%s/threads-1", f->directory);
    for (int i = 0; i < 3; i++) {
        snprintf(output, sizeof output, "%s/threads-%d", f->directory, threads[i]);
        assert_ok(f, awq_context_set_threads(f->ctx, threads[i]));
        run_tiny(f, options, false);
        assert_same_result(f, first, output);
    }
}

/* ---- interruption ---- */

static void test_an_interrupted_run_goes_on(void **state)
{
    fixture *f = *state;
    const char *none[] = {NULL};
    char whole[1024], path[2048];
    snprintf(whole, sizeof whole, "%s", output);
    run_tiny(f, none, false);

    snprintf(output, sizeof output, "%s/resumed", f->directory);
    awq_recipe *recipe = short_recipe(f, TINY);
    stop_after_first_layer(f, recipe);

    /* Another recipe must not go on with it, and must not destroy it. */
    assert_ok(f, awq_recipe_set(recipe, "quantize.symmetric", "true", NULL));
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_EXISTS);
    assert_non_null(strstr(awq_context_message(f->ctx), "interrupted run"));
    awq_recipe_free(recipe);

    run_tiny(f, none, false);
    assert_same_result(f, whole, output);
    snprintf(path, sizeof path, "%s/awq_journal.json", output);
    assert_false(awq__is_file(path));
}

static void test_cancelling_keeps_the_work(void **state)
{
    fixture *f = *state;
    const char *none[] = {NULL};
    char partial[2048];
    snprintf(partial, sizeof partial, "%s.partial", output);
    awq_recipe *recipe = short_recipe(f, TINY);
    stop_after_first_layer(f, recipe);
    assert_true(awq__is_directory(partial));
    assert_false(awq__is_directory(output));
    run_tiny(f, none, false);
    assert_false(awq__is_directory(partial));
    awq_recipe_free(recipe);
}

/* Where the journal would go, once it has been read. */
static int put_a_directory_in_the_way(void *user, const awq_progress *progress)
{
    const fixture *f = user;
    char path[2048];
    if (progress->layer == 0) {
        snprintf(path, sizeof path, "%s.partial/awq_journal.json/in_the_way", output);
        assert_ok(f, awq__make_directories(f->ctx, path));
    }
    return 0;
}

/* A layer is made durable beside the work on the next one: that it failed is told all the same. */
static void test_a_journal_that_cannot_be_written_ends_the_run(void **state)
{
    fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, TINY);
    awq_context_set_progress(f->ctx, put_a_directory_in_the_way, f);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_IO);
    awq_context_set_progress(f->ctx, NULL, NULL);
    assert_non_null(strstr(awq_context_message(f->ctx), "awq_journal.json: cannot be replaced"));
    assert_false(awq__is_directory(output));
    awq_recipe_free(recipe);
}

static void test_restart_discards(void **state)
{
    fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, TINY);
    awq_quantize_options restart = {.struct_size = sizeof restart, .restart = true};
    stop_after_first_layer(f, recipe);
    assert_ok(f, awq_recipe_set(recipe, "quantize.symmetric", "true", NULL));
    assert_ok(f, awq_quantize(f->ctx, recipe, &restart, NULL));
    awq_recipe_free(recipe);
}

static void test_an_existing_output_is_kept(void **state)
{
    const fixture *f = *state;
    const char *none[] = {NULL};
    run_tiny(f, none, false);
    awq_recipe *recipe = short_recipe(f, TINY);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_EXISTS);
    awq_recipe_free(recipe);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up_run, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_plain_rounding_equals_the_reference),
        CASE(test_scales_reach_the_reference),
        CASE(test_clipping_reaches_the_reference),
        CASE(test_awq_beats_plain_rounding_in_every_scheme),
        CASE(test_attention_too),
        CASE(test_some_modules_only),
        CASE(test_an_uncompensated_router_stops_the_run),
        CASE(test_an_uncompensated_router_of_the_small_model),
        CASE(test_the_result_evaluates_to_what_was_reported),
        CASE(test_the_router_is_float_and_the_experts_are_not),
        CASE(test_the_same_bytes_for_any_number_of_threads),
        CASE(test_an_interrupted_run_goes_on),
        CASE(test_cancelling_keeps_the_work),
        CASE(test_a_journal_that_cannot_be_written_ends_the_run),
        CASE(test_restart_discards),
        CASE(test_an_existing_output_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
