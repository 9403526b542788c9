/* The public functions as a stranger calls them: with NULL, with structs of other versions, and
   what is said after success. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/tensor.h"
#include "context.h"
#include "temp_files.h"

#include <math.h>

#define MODEL AWQ_TEST_DATA "/mixtral-tiny"

/* ---- NULL ---- */

static void null_message(const awq_context *ctx, awq_status status, const char *argument)
{
    char part[128];
    snprintf(part, sizeof part, "%s is NULL", argument);
    fails(ctx, status, AWQ_ERROR_ARGUMENT, part);
}

static void without_a_context(void **state)
{
    (void)state;
    int any[64] = {0};
    void *out = any;
    awq_matrix matrix = {0};
    awq_scheme scheme = {0};
    const awq_quantized *quantized = NULL;
    awq_status all[] = {
        awq_context_create(NULL),
        awq_context_set_threads(NULL, 1),
        awq_context_add_plugin_path(NULL, "x"),
        awq_context_add_plugin(NULL, any),
        awq_plugin_list_create(NULL, (awq_plugin_list **)&out),
        awq_recipe_create(NULL, (awq_recipe **)&out),
        awq_recipe_set_source(NULL, "x"),
        awq_recipe_set(NULL, "model", "x", NULL),
        awq_recipe_append(NULL, "calibration.data", "x", NULL),
        awq_recipe_clear(NULL, "model"),
        awq_recipe_add_rule(NULL),
        awq_recipe_rule_set(NULL, 0, "bits", "4"),
        awq_model_open(NULL, MODEL, NULL, (awq_model **)&out),
        awq_plan_create(NULL, NULL, (awq_plan **)&out),
        awq_plan_estimate(NULL, NULL, NULL),
        awq_engine_rule_list_create(NULL, (awq_engine_rule_list **)&out),
        awq_evaluate(NULL, NULL, NULL),
        awq_quantize(NULL, NULL, NULL, NULL),
        awq_verify(NULL, NULL, (awq_verification **)&out),
        awq_statistics_create(NULL, 1, (awq_statistics **)&out),
        awq_statistics_add(NULL, NULL, 0),
        awq_search_scales(NULL, &matrix, 1, &scheme, NULL, 1, NULL, NULL),
        awq_search_clips(NULL, &matrix, &scheme, NULL, NULL, NULL),
        awq_quantized_create(NULL, &matrix, &scheme, NULL, NULL, (awq_quantized **)&out),
        awq_pack_gemm(NULL, quantized, NULL, NULL, NULL),
        awq_unpack_gemm(NULL, 8, 8, 8, NULL, NULL, NULL, (awq_quantized **)&out),
        awq_pack_compressed(NULL, quantized, NULL, NULL, NULL),
        awq_unpack_compressed(NULL, 8, 8, &scheme, NULL, NULL, NULL, (awq_quantized **)&out),
        awq_pack_gptq(NULL, quantized, 1, NULL, NULL, NULL),
        awq_unpack_gptq(NULL, 8, 8, &scheme, 1, NULL, NULL, NULL, (awq_quantized **)&out),
        awq_pack_mxfp4(NULL, quantized, NULL, NULL),
        awq_unpack_mxfp4(NULL, 8, 32, NULL, NULL, (awq_quantized **)&out),
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] != AWQ_ERROR_ARGUMENT)
            fail_msg("call %zu gives %s", i, awq_status_name(all[i]));
    assert_null(out);
    awq_context_set_log(NULL, NULL, NULL);
    awq_context_set_progress(NULL, NULL, NULL);
    assert_string_equal(awq_context_message(NULL), "");
    assert_int_equal(awq_context_threads(NULL), 0);
}

static void each_argument_is_named(void **state)
{
    awq_context *ctx = *state;
    awq_recipe *recipe;
    awq_eval_result result;
    awq_eval_options options = {.struct_size = sizeof options};
    awq_verify_options what = {.struct_size = sizeof what};
    awq_verification *verification = (void *)&what;
    awq_model *model = (void *)&options;
    awq_plan *plan = (void *)&options;
    succeeds(ctx, awq_recipe_create(ctx, &recipe));
    null_message(ctx, awq_context_add_plugin_path(ctx, NULL), "path");
    null_message(ctx, awq_context_add_plugin(ctx, NULL), "plugin");
    null_message(ctx, awq_plugin_list_create(ctx, NULL), "out");
    null_message(ctx, awq_recipe_create(ctx, NULL), "out");
    null_message(ctx, awq_recipe_set(recipe, NULL, "x", NULL), "name");
    null_message(ctx, awq_recipe_set(recipe, "model", NULL, NULL), "value");
    null_message(ctx, awq_recipe_append(recipe, "calibration.data", NULL, NULL), "value");
    null_message(ctx, awq_recipe_clear(recipe, NULL), "name");
    succeeds(ctx, awq_recipe_set_source(recipe, NULL));
    succeeds(ctx, awq_recipe_add_rule(recipe));
    null_message(ctx, awq_recipe_rule_set(recipe, 0, NULL, "4"), "name");
    null_message(ctx, awq_recipe_rule_set(recipe, 0, "bits", NULL), "value");
    null_message(ctx, awq_model_open(ctx, NULL, NULL, &model), "path");
    assert_null(model);
    null_message(ctx, awq_model_open(ctx, MODEL, NULL, NULL), "out");
    null_message(ctx, awq_plan_create(ctx, NULL, &plan), "recipe");
    assert_null(plan);
    null_message(ctx, awq_plan_create(ctx, recipe, NULL), "out");
    null_message(ctx, awq_plan_estimate(ctx, NULL, NULL), "plan");
    null_message(ctx, awq_engine_rule_list_create(ctx, NULL), "out");
    null_message(ctx, awq_evaluate(ctx, NULL, &result), "options");
    null_message(ctx, awq_evaluate(ctx, &options, NULL), "result");
    null_message(ctx, awq_quantize(ctx, NULL, NULL, NULL), "recipe");
    null_message(ctx, awq_verify(ctx, NULL, &verification), "options");
    assert_null(verification);
    null_message(ctx, awq_verify(ctx, &what, NULL), "out");
    fails(ctx, awq_verify(ctx, &what, &verification), AWQ_ERROR_ARGUMENT, "needs a directory");
    fails(ctx, awq_evaluate(ctx, &options, &result), AWQ_ERROR_ARGUMENT, "needs a directory");
    awq_recipe_free(recipe);
}

static void matrices_without_arguments(void **state)
{
    awq_context *ctx = *state;
    float x[64] = {0}, scales[8];
    uint32_t words[64] = {0};
    uint16_t halves[64] = {0};
    uint8_t bytes[64] = {0};
    awq_matrix matrix = {x, AWQ_F32, 8, 8}, none = {NULL, AWQ_F32, 8, 8};
    awq_scheme scheme = {.bits = 4, .group_size = 8, .scale_type = AWQ_SCALE_F16};
    awq_statistics *statistics;
    awq_range ranges[8];
    awq_quantized *quantized, *out = NULL;
    for (int i = 0; i < 64; i++)
        x[i] = (float)(i % 7) - 3;
    null_message(ctx, awq_statistics_create(ctx, 8, NULL), "out");
    succeeds(ctx, awq_statistics_create(ctx, 8, &statistics));
    null_message(ctx, awq_statistics_add(statistics, NULL, 1), "x:");
    succeeds(ctx, awq_statistics_add(statistics, NULL, 0));
    succeeds(ctx, awq_statistics_add(statistics, x, 8));
    awq_statistics_salience(statistics, NULL);
    null_message(ctx, awq_search_scales(ctx, NULL, 1, &scheme, statistics, 2, scales, NULL),
                 "matrices");
    null_message(ctx, awq_search_scales(ctx, &matrix, 1, NULL, statistics, 2, scales, NULL),
                 "scheme");
    null_message(ctx, awq_search_scales(ctx, &matrix, 1, &scheme, NULL, 2, scales, NULL),
                 "statistics");
    null_message(ctx, awq_search_scales(ctx, &matrix, 1, &scheme, statistics, 2, NULL, NULL),
                 "scales");
    succeeds(ctx, awq_search_scales(ctx, &matrix, 1, &scheme, statistics, 2, scales, NULL));
    null_message(ctx, awq_search_clips(ctx, NULL, &scheme, statistics, NULL, ranges), "matrix");
    null_message(ctx, awq_search_clips(ctx, &matrix, &scheme, statistics, NULL, NULL), "ranges");
    null_message(ctx, awq_quantized_create(ctx, NULL, &scheme, NULL, NULL, &out), "matrix");
    null_message(ctx, awq_quantized_create(ctx, &matrix, NULL, NULL, NULL, &out), "scheme");
    fails(ctx, awq_quantized_create(ctx, &none, &scheme, NULL, NULL, &out), AWQ_ERROR_ARGUMENT,
          "expected BF16, F16 or F32 data");
    succeeds(ctx, awq_quantized_create(ctx, &matrix, &scheme, NULL, NULL, &quantized));
    awq_quantized_describe(quantized, NULL, NULL, NULL);
    awq_quantized_values(quantized, NULL);
    null_message(ctx, awq_pack_gemm(ctx, NULL, words, words, halves), "quantized");
    null_message(ctx, awq_pack_gemm(ctx, quantized, words, NULL, halves), "qzeros");
    null_message(ctx, awq_pack_compressed(ctx, quantized, words, NULL, words), "weight_scale");
    null_message(ctx, awq_pack_compressed(ctx, quantized, words, halves, NULL),
                 "weight_zero_point:");
    null_message(ctx, awq_pack_gptq(ctx, quantized, 2, NULL, words, halves), "qweight");
    null_message(ctx, awq_pack_mxfp4(ctx, quantized, bytes, NULL), "scales");
    null_message(ctx, awq_unpack_gemm(ctx, 8, 8, 8, NULL, words, halves, &out), "qweight");
    null_message(ctx, awq_unpack_compressed(ctx, 8, 8, &scheme, words, halves, NULL, &out),
                 "weight_zero_point:");
    null_message(ctx, awq_unpack_gptq(ctx, 8, 8, &scheme, 1, words, words, NULL, &out), "scales");
    null_message(ctx, awq_unpack_mxfp4(ctx, 8, 32, bytes, bytes, NULL), "out");
    assert_null(out);
    awq_quantized_free(quantized);
    awq_statistics_free(statistics);
}

static void questions_about_nothing(void **state)
{
    (void)state;
    awq_model_info info = {.layer_count = 7};
    awq_verify_result result = {.struct_size = sizeof result, .problems = 7};
    awq_compute_describe(NULL);
    assert_int_equal(awq_plugin_list_count(NULL), 0);
    assert_null(awq_plugin_list_at(NULL, 0));
    assert_non_null(awq_option_list(NULL));
    assert_non_null(awq_rule_option_list(NULL));
    assert_null(awq_option_find(NULL));
    assert_null(awq_rule_option_find(NULL));
    assert_non_null(awq_option_nearest(NULL));
    assert_non_null(awq_rule_option_nearest(NULL));
    assert_null(awq_option_removed(NULL, NULL));
    assert_int_equal(awq_recipe_count(NULL, "model"), 0);
    assert_null(awq_recipe_get(NULL, "model", 0));
    assert_int_equal(awq_recipe_rule_count(NULL), 0);
    assert_null(awq_recipe_rule_get(NULL, 0, "bits"));
    assert_int_equal(awq_model_module_count(NULL), 0);
    assert_null(awq_model_module(NULL, 0));
    awq_model_describe(NULL, NULL);
    awq_model_describe(NULL, &info);
    assert_int_equal(info.layer_count, 0);
    assert_string_equal(info.model_type, "");
    awq_plan_describe(NULL, &info);
    assert_int_equal(awq_plan_group_count(NULL), 0);
    assert_null(awq_plan_group_at(NULL, 0));
    assert_int_equal(awq_plan_warning_count(NULL), 0);
    assert_null(awq_plan_warning_at(NULL, 0));
    assert_int_equal(awq_plan_bytes_before(NULL) + awq_plan_bytes_after(NULL), 0);
    assert_true(isnan(awq_plan_predicted_loss(NULL)));
    assert_int_equal(awq_engine_rule_list_count(NULL), 0);
    assert_null(awq_engine_rule_list_at(NULL, 0));
    assert_string_equal(awq_report_json(NULL), "");
    assert_string_equal(awq_report_output(NULL), "");
    assert_null(awq_report_evaluation(NULL));
    assert_int_equal(awq_report_bytes_before(NULL) + awq_report_bytes_after(NULL), 0);
    awq_verification_describe(NULL, NULL);
    awq_verification_describe(NULL, &result);
    assert_int_equal(result.problems, 0);
    assert_int_equal(awq_verification_problem_count(NULL) + awq_verification_note_count(NULL), 0);
    assert_null(awq_verification_problem_at(NULL, 0));
    assert_null(awq_verification_note_at(NULL, 0));
    awq_quantized_describe(NULL, NULL, NULL, NULL);
    assert_null(awq_quantized_codes(NULL));
    assert_null(awq_quantized_scales(NULL));
    assert_null(awq_quantized_zeros(NULL));
    awq_quantized_values(NULL, NULL);
    awq_statistics_salience(NULL, NULL);
}

static void nothing_is_freed(void **state)
{
    (void)state;
    awq_context_free(NULL);
    awq_plugin_list_free(NULL);
    awq_recipe_free(NULL);
    awq_model_free(NULL);
    awq_plan_free(NULL);
    awq_engine_rule_list_free(NULL);
    awq_report_free(NULL);
    awq_verification_free(NULL);
    awq_statistics_free(NULL);
    awq_quantized_free(NULL);
}

/* ---- structs of other versions ---- */

/* A struct of options, and what an earlier or later version might make of it. */
typedef struct grown {
    size_t struct_size;
    int64_t first, second, third;
} grown;

static void sizes_of_other_versions(void **state)
{
    awq_context *ctx = *state;
    static const size_t sizes[] = {offsetof(grown, second), offsetof(grown, third), sizeof(grown)};
    struct {
        grown known;
        char more[16];
    } given = {.known = {.first = 1, .second = 2, .third = 3}};
    grown read;
    for (size_t v = 0; v < 3; v++) {
        given.known.struct_size = sizes[v];
        succeeds(ctx, awq__read_options(ctx, "options", &given, sizeof read, &read));
        assert_int_equal(read.struct_size, sizes[v]);
        assert_int_equal(read.first, 1);
        assert_int_equal(read.second, v > 0 ? 2 : 0);
        assert_int_equal(read.third, v > 1 ? 3 : 0);
    }
    given.known.struct_size = sizeof given;
    succeeds(ctx, awq__read_options(ctx, "options", &given, sizeof read, &read));
    assert_int_equal(read.third, 3);
    given.more[15] = 1;
    fails(ctx, awq__read_options(ctx, "options", &given, sizeof read, &read), AWQ_ERROR_ARGUMENT,
          "options: struct_size is 48, and something is set behind the 32 bytes");
    static const size_t wrong[] = {0, 8, 12, 17, 31, 1032, SIZE_MAX - 7};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        given.known.struct_size = wrong[i];
        fails(ctx, awq__read_options(ctx, "options", &given, sizeof read, &read),
              AWQ_ERROR_ARGUMENT, "expected 32, or that of another version");
    }
}

/* Of a version that knew no more than the first member, which comes alone up to the last byte. */
static void functions_take_shorter_versions(void **state)
{
    awq_context *ctx = *state;
    struct {
        size_t struct_size;
        const char *directory;
    } *first = malloc(sizeof *first);
    awq_eval_result result;
    awq_verification *verification;
    assert_non_null(first);
    first->struct_size = sizeof *first;
    first->directory = "there/is/none";
    fails(ctx, awq_verify(ctx, (const awq_verify_options *)(void *)first, &verification),
          AWQ_ERROR_IO, "there/is/none: not a directory");
    fails(ctx, awq_evaluate(ctx, (const awq_eval_options *)(void *)first, &result),
          AWQ_ERROR_ARGUMENT, "needs a directory and either texts or ids");
    free(first);
}

/* Each function that takes such a struct reads it so: a longer one gets as far as what it says. */
static void functions_take_other_versions(void **state)
{
    awq_context *ctx = *state;
    struct {
        awq_eval_options known;
        char more[8];
    } evaluation = {.known = {.struct_size = sizeof evaluation}};
    struct {
        awq_quantize_options known;
        char more[8];
    } how = {.known = {.struct_size = sizeof how}};
    struct {
        awq_verify_options known;
        char more[8];
    } what = {.known = {.struct_size = sizeof what}};
    awq_eval_result result;
    awq_verification *verification;
    awq_recipe *recipe;
    succeeds(ctx, awq_recipe_create(ctx, &recipe));
    fails(ctx, awq_evaluate(ctx, &evaluation.known, &result), AWQ_ERROR_ARGUMENT,
          "needs a directory");
    fails(ctx, awq_verify(ctx, &what.known, &verification), AWQ_ERROR_ARGUMENT,
          "needs a directory");
    fails(ctx, awq_quantize(ctx, recipe, &how.known, NULL), AWQ_ERROR_RECIPE,
          "the recipe does not say");
    evaluation.more[0] = what.more[0] = how.more[0] = 1;
    fails(ctx, awq_evaluate(ctx, &evaluation.known, &result), AWQ_ERROR_ARGUMENT,
          "awq_eval_options: struct_size is");
    fails(ctx, awq_verify(ctx, &what.known, &verification), AWQ_ERROR_ARGUMENT,
          "awq_verify_options: struct_size is");
    fails(ctx, awq_quantize(ctx, recipe, &how.known, NULL), AWQ_ERROR_ARGUMENT,
          "awq_quantize_options: struct_size is");
    how.known.struct_size = 0;
    fails(ctx, awq_quantize(ctx, recipe, &how.known, NULL), AWQ_ERROR_ARGUMENT,
          "awq_quantize_options: struct_size is 0");
    awq_recipe_free(recipe);
}

/* ---- a whole run ---- */

typedef struct watch {
    int calls, cancel_at; /* -1: never */
    double last;
    bool fell;
} watch;

static int see(void *user, const awq_progress *progress)
{
    watch *w = user;
    w->fell |= !(progress->fraction >= w->last) || progress->fraction > 1;
    w->last = progress->fraction;
    return w->calls++ == w->cancel_at;
}

static awq_recipe *recipe_to(awq_context *ctx, const char *output, bool target)
{
    static const char *const common[][2] = {{"model", MODEL},
                                            {"calibration.data", MODEL "/calib.jsonl"},
                                            {"calibration.samples", "1"},
                                            {"calibration.sequence_length", "32"},
                                            {"quantize.ratio_steps", "2"},
                                            {"quantize.modules", "*"},
                                            {"format", "compressed-tensors"}};
    awq_recipe *recipe;
    succeeds(ctx, awq_context_add_plugin_path(ctx, AWQ_TEST_PLUGINS));
    succeeds(ctx, awq_recipe_create(ctx, &recipe));
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        succeeds(ctx, awq_recipe_set(recipe, common[i][0], common[i][1], NULL));
    succeeds(ctx, awq_recipe_set(recipe, "output", output, NULL));
    if (target)
        succeeds(ctx, awq_recipe_set(recipe, "quantize.target_bits", "5", NULL));
    else
        succeeds(ctx, awq_recipe_set(recipe, "evaluation.data", MODEL "/eval.txt", NULL));
    if (!target)
        succeeds(ctx, awq_recipe_set(recipe, "evaluation.windows", "1", NULL));
    return recipe;
}

/* Progress rises to 1, with an evaluation and with a pass that chooses schemes; cancelling at each
   call either fails, or, at the last, succeeds without a word. */
static void a_run_that_is_cancelled_at_each_call(void **state)
{
    fixture *f = *state;
    awq_context *ctx = f->ctx;
    for (int target = 0; target < 2; target++) {
        awq_recipe *recipe = recipe_to(ctx, path_of(f, "out"), target);
        awq_quantize_options how = {.struct_size = sizeof how, .force = true, .restart = true};
        watch whole = {.cancel_at = -1};
        awq_context_set_progress(ctx, see, &whole);
        succeeds(ctx, awq_quantize(ctx, recipe, &how, NULL));
        assert_string_equal(awq_context_message(ctx), "");
        assert_false(whole.fell);
        assert_true(whole.last == 1);
        how.restart = false;
        for (int at = 0; at < whole.calls; at++) {
            watch w = {.cancel_at = at};
            awq_context_set_progress(ctx, see, &w);
            awq_status status = awq_quantize(ctx, recipe, &how, NULL);
            assert_false(w.fell);
            if (w.calls <= at || w.last == 1) { /* a resumed run has fewer calls */
                succeeds(ctx, status);
                assert_string_equal(awq_context_message(ctx), "");
            } else {
                fails(ctx, status, AWQ_ERROR_CANCELLED, "cancelled");
            }
        }
        awq_context_set_progress(ctx, NULL, NULL);
        awq_recipe_free(recipe);
    }
}

/* What was tried on the way, and did not do, is not told after success. */
static void success_leaves_no_message(void **state)
{
    fixture *f = *state;
    awq_context *ctx = f->ctx;
    awq_plan *plan;
    awq_model *model;
    awq_recipe *recipe = recipe_to(ctx, path_of(f, "out"), true);
    assert_int_equal(awq_model_open(ctx, "nowhere", NULL, &model), AWQ_ERROR_IO);
    succeeds(ctx, awq_recipe_set(recipe, "quantize.target_schemes", "4:128,4:32", NULL));
    succeeds(ctx, awq_plan_create(ctx, recipe, &plan));
    assert_string_equal(awq_context_message(ctx), "");
    awq_plan_free(plan);
    succeeds(ctx, awq_model_open(ctx, MODEL, NULL, &model));
    assert_string_equal(awq_context_message(ctx), "");
    awq_model_free(model);
    awq_recipe_free(recipe);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_context),
        TEST(each_argument_is_named),
        TEST(matrices_without_arguments),
        cmocka_unit_test(questions_about_nothing),
        cmocka_unit_test(nothing_is_freed),
        TEST(sizes_of_other_versions),
        TEST(functions_take_shorter_versions),
        TEST(functions_take_other_versions),
        cmocka_unit_test_setup_teardown(a_run_that_is_cancelled_at_each_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(success_leaves_no_message, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
