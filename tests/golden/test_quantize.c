/*
 * Whole runs on a trained Mixtral: scales gain in every scheme, and with the attention, too; each
 * part of a layer may be quantized alone; a router that is not compensated stops the run; a result
 * reads back as it was reported, and has the same bytes however it runs; what is interrupted,
 * cancelled or restarted, or would take the place of a result, ends as promised.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/families.h"

#define TINY AWQ_TEST_DATA "/mixtral-tiny"

/* ---- quality ---- */

static void test_awq_beats_plain_rounding_in_every_scheme(void **state)
{
#define SCHEME(group, symmetric) "quantize.group_size", group, "quantize.symmetric", symmetric
    static const way schemes[][2] = {
        {{"rtn-g32", {SCHEME("32", "false"), "quantize.method", "rtn", NULL}},
         {"awq-g32", {SCHEME("32", "false"), NULL}}},
        {{"rtn-g128-symmetric", {SCHEME("128", "true"), "quantize.method", "rtn", NULL}},
         {"awq-g128-symmetric", {SCHEME("128", "true"), NULL}}},
        {{"rtn-rows", {SCHEME("-1", "false"), "quantize.method", "rtn", NULL}},
         {"awq-rows", {SCHEME("-1", "false"), NULL}}},
        {{"rtn-all", {"quantize.modules", "*", "quantize.method", "rtn", NULL}},
         {"awq-all", {"quantize.modules", "*", NULL}}},
    };
    for (size_t i = 0; i < COUNT(schemes); i++)
        assert_true(kl_of(*state, TINY, &schemes[i][1]) < 0.6 * kl_of(*state, TINY, schemes[i]));
}

/* Modules that stay float are compensated too. */
static void test_some_modules_only(void **state)
{
    static const way ways[] = {
        {"one-expert", {"quantize.modules", "*.experts.1.*", NULL}},
        {"gates", {"quantize.modules", "*.w1", NULL}},
        {"downs", {"quantize.modules", "*.w2", NULL}},
        {"ups", {"quantize.modules", "*.w3", NULL}},
        {"queries", {"quantize.modules", "*.q_proj", NULL}},
        {"attention-outputs", {"quantize.modules", "*.o_proj", NULL}},
    };
    for (size_t i = 0; i < COUNT(ways); i++)
        kl_of(*state, TINY, &ways[i]);
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

/* ---- the result ---- */

static void test_the_result_evaluates_to_what_was_reported(void **state)
{
    const fixture *f = *state;
    const char *none[] = {NULL};
    awq_eval_result reported = run_short(f, TINY, none, false), found = evaluate_output(f, TINY);
    assert_kl(TINY, "awq", found.kl);
    assert_true(found.kl == reported.kl);
    assert_true(found.perplexity == reported.perplexity);
    assert_true(found.top1_agreement == reported.top1_agreement);
    assert_true(found.router_topk_agreement == reported.router_topk_agreement);
}

static void test_the_router_is_float_and_the_experts_are_not(void **state)
{
    const fixture *f = *state;
    const char *none[] = {NULL};
    run_short(f, TINY, none, false);
    awq_model *model;
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &model));
    for (size_t i = 0; i < awq_model_module_count(model); i++) {
        const awq_module *module = awq_model_module(model, i);
        assert_int_equal(module->quantized, module->role == AWQ_ROLE_EXPERT);
        assert_string_equal(module->storage, module->quantized ? "int4 g128" : "BF16");
    }
    awq_model_free(model);
}

static void test_the_same_bytes_however_it_runs(void **state)
{
    static const char *const options[] = {"quantize.modules", "*", NULL};
    check_same_bytes(*state, short_recipe_with(*state, TINY, options));
    assert_false(awq__is_file(path_of(*state, "out-resumed/awq_journal.json")));
}

/* ---- interruption ---- */

static void test_another_recipe_does_not_go_on(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, TINY);
    stop_after_first_layer(f, recipe);
    assert_ok(f, awq_recipe_set(recipe, "quantize.symmetric", "true", NULL));
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_EXISTS);
    assert_message(f, "interrupted run");
    assert_ok(f, awq_recipe_set(recipe, "quantize.symmetric", "auto", NULL));
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
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
    run_short(f, TINY, none, false);
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
    run_short(f, TINY, none, false);
    awq_recipe *recipe = short_recipe(f, TINY);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_EXISTS);
    awq_recipe_free(recipe);
}

#define CASE FAMILY_TEST

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_awq_beats_plain_rounding_in_every_scheme),
        CASE(test_some_modules_only),
        CASE(test_an_uncompensated_router_stops_the_run),
        CASE(test_the_result_evaluates_to_what_was_reported),
        CASE(test_the_router_is_float_and_the_experts_are_not),
        CASE(test_the_same_bytes_however_it_runs),
        CASE(test_another_recipe_does_not_go_on),
        CASE(test_cancelling_keeps_the_work),
        CASE(test_a_journal_that_cannot_be_written_ends_the_run),
        CASE(test_restart_discards),
        CASE(test_an_existing_output_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
