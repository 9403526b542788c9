/* What tests of whole runs on the trained models of tests/data share. */
#ifndef RUNS_H
#define RUNS_H

#include "awq/awq.h"
#include "checkpoint/checkpoint.h"
#include "compute/compute.h"
#include "core/json.h"
#include "../unit/temp_files.h"

static char output[1024]; /* of the test that runs */

static inline int set_up_run(void **state)
{
    if (set_up(state))
        return -1;
    const fixture *f = *state;
    snprintf(output, sizeof output, "%s/out", f->directory);
    return awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS) != AWQ_OK;
}

static inline void assert_ok(const fixture *f, awq_status status)
{
    if (status != AWQ_OK)
        fail_msg("%s: %s", awq_status_name(status), awq_context_message(f->ctx));
}

/* Options as name, value, name, value, ..., NULL. Rounding is to nearest unless they say otherwise,
   which takes less time than the default. */
static inline awq_recipe *recipe_of(const fixture *f, const char *model, const char *const *options)
{
    awq_recipe *recipe;
    assert_ok(f, awq_recipe_create(f->ctx, &recipe));
    assert_ok(f, awq_recipe_set(recipe, "model", model, NULL));
    assert_ok(f, awq_recipe_set(recipe, "output", output, NULL));
    assert_ok(f, awq_recipe_set(recipe, "quantize.rounding", "nearest", NULL));
    for (; *options; options += 2)
        assert_ok(f, awq_recipe_set(recipe, options[0], options[1], NULL));
    return recipe;
}

/* A few short sequences of the model's own text, and an evaluation that is as short. */
static inline awq_recipe *short_recipe(const fixture *f, const char *model)
{
    char calibration[1100], evaluation[1100];
    const char *options[] = {"calibration.data",
                             calibration,
                             "calibration.samples",
                             "6",
                             "calibration.sequence_length",
                             "128",
                             "evaluation.data",
                             evaluation,
                             "evaluation.windows",
                             "6",
                             NULL};
    snprintf(calibration, sizeof calibration, "%.1000s/calib.jsonl", model);
    snprintf(evaluation, sizeof evaluation, "%.1000s/eval.txt", model);
    return recipe_of(f, model, options);
}

/* short_recipe with more options. */
static inline awq_recipe *short_recipe_with(const fixture *f, const char *model,
                                            const char *const *options)
{
    awq_recipe *recipe = short_recipe(f, model);
    for (; *options; options += 2)
        assert_ok(f, awq_recipe_set(recipe, options[0], options[1], NULL));
    return recipe;
}

/* Runs short_recipe with more options, and returns the evaluation. */
static inline awq_eval_result run_short(const fixture *f, const char *model,
                                        const char *const *options, bool force)
{
    awq_recipe *recipe = short_recipe_with(f, model, options);
    awq_quantize_options how = {.struct_size = sizeof how, .force = force};
    awq_report *report;
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, &report));
    awq_eval_result result = *awq_report_evaluation(report);
    awq_report_free(report);
    awq_recipe_free(recipe);
    return result;
}

/* Evaluates the output as a user would, against the source. */
static inline awq_eval_result evaluate_output(const fixture *f, const char *model)
{
    char text[1100];
    const char *texts[] = {text};
    awq_eval_options options = {.struct_size = sizeof options,
                                .directory = output,
                                .reference = model,
                                .texts = texts,
                                .text_count = 1,
                                .windows = 6};
    awq_eval_result result;
    snprintf(text, sizeof text, "%.1000s/eval.txt", model);
    assert_ok(f, awq_evaluate(f->ctx, &options, &result));
    return result;
}

static inline void read_all(const fixture *f, const char *path, char **text, size_t *bytes)
{
    assert_ok(f, awq__read_text_file(f->ctx, path, (size_t)1 << 30, text, bytes));
}

static inline void assert_same_file(const fixture *f, const char *a, const char *b,
                                    const char *name)
{
    char path[2048], *x, *y;
    size_t x_bytes, y_bytes;
    snprintf(path, sizeof path, "%s/%s", a, name);
    read_all(f, path, &x, &x_bytes);
    snprintf(path, sizeof path, "%s/%s", b, name);
    read_all(f, path, &y, &y_bytes);
    if (x_bytes != y_bytes || memcmp(x, y, x_bytes))
        fail_msg("%s differs between %s and %s", name, a, b);
    awq__free(x);
    awq__free(y);
}

static inline int cancel_in_second_layer(void *user, const awq_progress *progress)
{
    (void)user;
    return progress->layer == 1;
}

/* Runs the recipe until its first layer is finished. */
static inline void stop_after_first_layer(const fixture *f, awq_recipe *recipe)
{
    awq_context_set_progress(f->ctx, cancel_in_second_layer, NULL);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_CANCELLED);
    awq_context_set_progress(f->ctx, NULL, NULL);
    assert_false(awq__is_directory(output));
}

static int64_t uncompensated_rows;

static inline void scale_but_some(int64_t N, int64_t K, const float *row, const float *col,
                                  float *x)
{
    if (row || N > uncompensated_rows)
        awq__compute_fastest()->scale(N, K, row, col, x);
}

/* A run must find out that matrices of so many rows and fewer (a router has one for each expert,
   the gate of a shared expert has one) do not take back what was folded into the norm before them.
 */
static inline void run_uncompensated(const fixture *f, awq_recipe *recipe, int64_t most_rows)
{
    awq__compute table = *awq__compute_fastest();
    table.scale = scale_but_some;
    uncompensated_rows = most_rows;
    awq__compute_use(f->ctx, &table);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_PROOF);
    awq__compute_use(f->ctx, awq__compute_fastest());
    assert_non_null(strstr(awq_context_message(f->ctx), "layer 0"));
    assert_false(awq__is_directory(output));
}

static const char *const written[] = {"model.safetensors", "config.json",
                                      "awq_report.json",   "awq_provenance.json",
                                      "tokenizer.json",    "generation_config.json",
                                      "README.md"};

static inline void assert_same_result(const fixture *f, const char *a, const char *b)
{
    for (size_t i = 0; i < sizeof written / sizeof *written; i++)
        assert_same_file(f, a, b, written[i]);
}

/* Five threads at one go, and one and then three in a run that was interrupted, give the same
   bytes. Frees the recipe. */
static inline void check_same_bytes(const fixture *f, awq_recipe *recipe)
{
    char whole[1024];
    snprintf(whole, sizeof whole, "%s", output);
    assert_ok(f, awq_context_set_threads(f->ctx, 5));
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    snprintf(output, sizeof output, "%.1000s-resumed", whole);
    assert_ok(f, awq_recipe_set(recipe, "output", output, NULL));
    assert_ok(f, awq_context_set_threads(f->ctx, 1));
    stop_after_first_layer(f, recipe);
    assert_ok(f, awq_context_set_threads(f->ctx, 3));
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    assert_same_result(f, whole, output);
    awq_recipe_free(recipe);
}

#endif
