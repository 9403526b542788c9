/* What each option of the search changes, on a trained model: what tokens and rows count, and how
   the ends of ranges move. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "runs.h"
#include "run/experts.h"

#include <math.h>

#define TINY AWQ_TEST_DATA "/mixtral-tiny"

/* ---- the statistics of one layer ---- */

typedef struct layer_run {
    awq_recipe *recipe;
    awq__model_plan plan;
    awq__job job;
    awq__loaded_layer loaded;
    awq__routes routes;
    awq__folded folded;
    awq__experts_job experts;
} layer_run;

/* The first layer up to its statistics, with one more option. slopes: they are measured at any
   rate. */
static void begin_layer(const fixture *f, layer_run *run, const char *name, const char *value,
                        bool slopes)
{
    const char *options[] = {
        "quantize.sketch_rows", "0", "calibration.min_expert_tokens", "250", name, value};
    *run = (layer_run){.recipe = short_recipe(f, TINY)};
    for (size_t i = 0; i < sizeof options / sizeof *options; i += 2)
        assert_ok(f, awq_recipe_set(run->recipe, options[i], options[i + 1], NULL));
    assert_ok(f, awq__model_plan_create(f->ctx, run->recipe, &run->plan));
    run->job = (awq__job){.ctx = f->ctx, .recipe = run->recipe, .plan = &run->plan};
    awq__stream *stream = &run->job.calibration;
    assert_ok(f, awq__job_load_calibration(&run->job));
    assert_ok(f, awq__stream_begin(f->ctx, run->plan.model, &run->job.sequences, stream));
    assert_ok(f, awq__model_layer(run->plan.model, 0, &run->loaded));
    assert_ok(f, awq__stream_to_experts(stream, &run->loaded.layer, &run->routes));
    assert_ok(f, awq__folded_create(f->ctx, &run->loaded.layer, &run->folded));
    run->experts = (awq__experts_job){.job = &run->job,
                                      .layer = &run->loaded.layer,
                                      .folded = &run->folded,
                                      .routes = &run->routes,
                                      .slopes = slopes};
    assert_ok(f, awq__experts_create(&run->experts));
    assert_ok(f, awq__experts_pass(&run->experts));
    assert_ok(f, awq__experts_statistics(&run->experts));
}

static void end_layer(layer_run *run)
{
    awq__experts_free(&run->experts);
    awq__folded_free(&run->folded);
    awq__routes_free(&run->routes);
    awq__loaded_layer_free(&run->loaded);
    awq__stream_free(&run->job.calibration);
    awq__sequences_free(&run->job.sequences);
    awq__model_plan_free(&run->plan);
    awq_recipe_free(run->recipe);
}

/* ---- what a token counts ---- */

static double mean_weight(const awq__routes *routes)
{
    double sum = 0;
    int64_t count = routes->tokens * routes->per_token;
    for (int64_t i = 0; i < count; i++)
        sum += (double)routes->weight[i] / (double)count;
    return sum;
}

/* The statistics of an expert's input are those of its tokens times their weights. */
static void check_statistics(const layer_run *run, const awq__expert_state *state)
{
    int64_t H = run->loaded.layer.hidden;
    for (int64_t h = 0; h < H; h += 7) {
        double sum = 0, square = 0;
        for (int64_t i = 0; i < state->routed + state->borrowed; i++) {
            double x = (double)state->weights[i] *
                       (double)run->job.calibration.x[state->tokens[i] * H + h];
            sum += fabs(x);
            square += x * x;
        }
        assert_true(fabs(state->input.abs_sums[h] / sum - 1) < 1e-4);
        assert_true(fabs((double)state->input.moments[h * H + h] / square - 1) < 1e-4);
    }
}

static void tokens_count_by_routing_or_alike(void **state)
{
    static const char *const choices[] = {"routing", "equal"};
    for (int equal = 0; equal < 2; equal++) {
        layer_run run;
        begin_layer(*state, &run, "quantize.token_weights", choices[equal], false);
        const awq__routes *routes = &run.routes;
        double mean = equal ? 1 : mean_weight(routes);
        int64_t borrowed = 0, unlike = 0;
        for (int64_t e = 0; e < routes->experts; e++) {
            const awq__expert_state *expert = &run.experts.experts[e];
            for (int64_t i = 0; i < expert->routed; i++) {
                float routed = routes->weight[routes->slots[routes->first[e] + i]];
                assert_true(expert->weights[i] == (equal ? 1 : routed));
                unlike += fabsf(routed - 0.5f) > 0.1f;
            }
            for (int64_t i = expert->routed; i < expert->routed + expert->borrowed; i++)
                assert_true(fabs((double)expert->weights[i] - mean) < 1e-5);
            borrowed += expert->borrowed;
            check_statistics(&run, expert);
        }
        assert_true(borrowed > 0 && unlike > 100);
        end_layer(&run);
    }
}

/* ---- what a row counts ---- */

/* The loss of gate and up of all experts by plain rounding, with rows weighed or without. */
static double plain_loss(const fixture *f, const layer_run *run, bool weighed)
{
    enum { MOST = 64 };
    const awq__experts_job *j = &run->experts;
    awq__scheme_item items[MOST];
    double losses[MOST], sum = 0;
    int64_t count = 0;
    awq__scheme scheme = awq__expert_scheme(j, 0, 0);
    assert_true(2 * run->routes.experts <= MOST);
    for (int64_t e = 0; e < run->routes.experts; e++)
        for (int part = 0; part < 2; part++)
            items[count++] =
                (awq__scheme_item){.weight = awq__expert_weight(j->layer, e, part),
                                   .stats = &j->experts[e].input,
                                   .row_weight = weighed ? j->experts[e].row_weight[part] : NULL};
    assert_ok(f,
              awq__scheme_losses(f->ctx, awq__compute_fastest(), items, count, &scheme, 1, losses));
    for (int64_t i = 0; i < count; i++)
        sum += losses[i];
    return sum;
}

static void rows_count_by_output_or_alike(void **state)
{
    const fixture *f = *state;
    static const struct {
        const char *choice;
        bool slopes, measured;
    } cases[] = {{"output", false, true}, {"equal", false, false}, {"equal", true, true}};
    awq__found_scale found[3];
    for (int i = 0; i < 3; i++) {
        layer_run run;
        begin_layer(f, &run, "quantize.row_weights", cases[i].choice, cases[i].slopes);
        bool weighed = i == 0;
        for (int64_t e = 0; e < run.routes.experts; e++)
            for (int part = 0; part < 2; part++) {
                const float *measured = run.experts.experts[e].row_weight[part];
                assert_true((measured != NULL) == cases[i].measured);
                assert_ptr_equal(awq__expert_row_weight(&run.experts, e, part),
                                 weighed ? measured : NULL);
            }
        assert_ok(f, awq__experts_search(&run.experts, &found[i]));
        assert_true(fabs(found[i].identity_loss / plain_loss(f, &run, weighed) - 1) < 1e-4);
        assert_true(found[i].loss < found[i].identity_loss);
        end_layer(&run);
    }
    assert_true(fabs(found[0].identity_loss / found[1].identity_loss - 1) > 0.1);
    /* Measuring what errors do changes nothing of a search that does not ask. */
    assert_memory_equal(&found[1], &found[2], sizeof found[1]);
}

/* ---- how ranges move ---- */

static uint64_t hash_of_result(const fixture *f, const char *modules, const char *symmetric,
                               const char *ends)
{
    const char *options[] = {"quantize.modules",
                             modules,
                             "quantize.symmetric",
                             symmetric,
                             "quantize.clip_ends",
                             ends,
                             NULL};
    char path[1100], *bytes;
    size_t count;
    run_short(f, TINY, options, true);
    snprintf(path, sizeof path, "%s/model.safetensors", output);
    read_all(f, path, &bytes, &count);
    uint64_t hash = awq__hash(0, bytes, count);
    awq__free(bytes);
    return hash;
}

/* Of experts and of attention. */
static void ends_move_alone_where_codes_are_asymmetric(void **state)
{
    static const char *const modules[] = {"*.experts.*", "*.o_proj"};
    for (int i = 0; i < 2; i++) {
        assert_true(hash_of_result(*state, modules[i], "false", "separate") !=
                    hash_of_result(*state, modules[i], "false", "together"));
        assert_true(hash_of_result(*state, modules[i], "true", "separate") ==
                    hash_of_result(*state, modules[i], "true", "together"));
    }
}

static double planned_operations(const fixture *f, const char *symmetric, const char *ends)
{
    awq_recipe *recipe = short_recipe(f, TINY);
    awq_plan *plan;
    awq_estimate estimate;
    assert_ok(f, awq_recipe_set(recipe, "quantize.symmetric", symmetric, NULL));
    assert_ok(f, awq_recipe_set(recipe, "quantize.clip_ends", ends, NULL));
    assert_ok(f, awq_plan_create(f->ctx, recipe, &plan));
    assert_ok(f, awq_plan_estimate(f->ctx, plan, &estimate));
    awq_plan_free(plan);
    awq_recipe_free(recipe);
    return estimate.operations;
}

static void the_plan_counts_the_ranges_that_are_tried(void **state)
{
    const fixture *f = *state;
    assert_true(planned_operations(f, "false", "together") <
                planned_operations(f, "false", "separate"));
    assert_true(planned_operations(f, "true", "together") ==
                planned_operations(f, "true", "separate"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tokens_count_by_routing_or_alike, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(rows_count_by_output_or_alike, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(ends_move_alone_where_codes_are_asymmetric, set_up_run,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_plan_counts_the_ranges_that_are_tried, set_up_run,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
