/* The search of a layer on trained models: what it loses against an exact one, by the output of the
   experts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "runs.h"
#include "backend/cpu.h"
#include "layer/experts.h"
#include "run/job.h"
#include "support/block_search.h"

#include <math.h>

/* ---- layers, one after the other, up to their statistics ---- */

typedef struct layer_run {
    awq_recipe *recipe;
    awq__model_plan plan;
    awq__job job;
    awq__loaded_layer loaded;
    awq__routes routes;
    awq__experts experts;
} layer_run;

static void begin_run(const fixture *f, layer_run *run, const char *model,
                      const char *const *options)
{
    *run = (layer_run){.recipe = short_recipe(f, model)};
    for (; *options; options += 2)
        assert_ok(f, awq_recipe_set(run->recipe, options[0], options[1], NULL));
    assert_ok(f, awq__model_plan_create(f->ctx, run->recipe, &run->plan));
    awq__job_begin(f->ctx, &run->plan, 0, &run->job);
    assert_ok(f, awq__job_load_calibration(&run->job));
    assert_ok(f, awq__stream_begin(f->ctx, run->plan.model, &run->job.sequences,
                                   &run->job.quantizer.calibration));
}

static void end_run(layer_run *run)
{
    awq__job_free(&run->job);
    awq__model_plan_free(&run->plan);
    awq_recipe_free(run->recipe);
}

static void begin_layer(const fixture *f, layer_run *run, int64_t n)
{
    awq__stream *stream = &run->job.quantizer.calibration;
    assert_ok(f, awq__model_layer(run->plan.model, n, &run->loaded));
    assert_ok(f, awq__stream_to_experts(stream, &run->loaded.layer, &run->routes));
    assert_ok(f, awq__experts_create(&run->job.quantizer, &run->loaded.layer, &run->routes, false,
                                     &run->experts));
    awq__block *block = &run->experts.work.block;
    assert_ok(f, awq__backend_cpu.block_begin(block));
    assert_ok(f, awq__backend_cpu.pass(block));
    assert_ok(f, awq__backend_cpu.statistics(block));
}

static void end_layer(layer_run *run)
{
    awq__experts_free(&run->experts);
    awq__routes_free(&run->routes);
    awq__loaded_layer_free(&run->loaded);
}

/* ---- the exact loss ---- */

enum { STEPS = 20, CANDIDATES = STEPS + 2, MOST_EXPERTS = 64 };

/* Mean |x| over the tokens, and w_mean over gate and up of all experts. */
static void describe_input(const layer_run *run, double *salience, double *w_mean)
{
    const awq__stream *stream = &run->job.quantizer.calibration;
    const awq__moe *moe = &run->loaded.layer.moe;
    const awq__weight *weights[2 * MOST_EXPERTS];
    int64_t H = run->loaded.layer.hidden, count = 0, work = 0;
    for (int64_t i = 0; i < stream->tokens * H; i++)
        salience[i % H] += fabs((double)stream->states->normed.x[i]) / (double)stream->tokens;
    for (int64_t e = 0; e < moe->routed_count; e++)
        for (int part = 0; part < 2; part++) {
            weights[count++] =
                awq__expert_reader(&run->experts.work.block, e, (awq__expert_part)part)->weight;
            work = awq__max(work, awq__weight_work(weights[count - 1]));
        }
    float *space = malloc((size_t)work * sizeof *space);
    assert_non_null(space);
    awq__w_mean(awq__compute_fastest(), weights, count,
                run->experts.work.block.readers[0].scheme.group, w_mean, space);
    free(space);
}

/* The exact losses of all candidates for the layer's common input. */
static void exact_losses(const fixture *f, const layer_run *run, double *losses)
{
    const awq__layer *layer = &run->loaded.layer;
    const awq__moe *moe = &layer->moe;
    size_t H = (size_t)layer->hidden;
    double *input = calloc(2 * H, sizeof *input);
    float *scale = malloc(2 * H * sizeof *scale);
    bool quantized[MOST_EXPERTS] = {false};
    awq__scheme schemes[MOST_EXPERTS] = {{0}};
    awq__found_scale found;
    assert_true(input && scale && moe->expert_count <= MOST_EXPERTS);
    describe_input(run, input, input + H);
    for (int64_t e = 0; e < moe->routed_count; e++) {
        quantized[e] = true;
        schemes[e] = awq__expert_reader(&run->experts.work.block, e, AWQ__EXPERT_GATE)->scheme;
    }
    const awq__candidates candidates = {.cols = layer->hidden,
                                        .salience = input,
                                        .w_mean = input + H,
                                        .steps = STEPS,
                                        .norm = moe->norm,
                                        .norm_dtype = moe->norm_dtype};
    const block_search search = {.forward = &run->job.quantizer.calibration.states->forward,
                                 .layer = layer,
                                 .x = run->job.quantizer.calibration.states->normed.x,
                                 .routes = &run->routes,
                                 .gate = quantized,
                                 .up = quantized,
                                 .schemes = schemes,
                                 .candidates = &candidates,
                                 .losses = losses};
    assert_ok(f, search_block(&search, scale, scale + H, &found));
    free(input);
    free(scale);
}

/* The largest excess over the layers of the exact loss of what is found over the least there is. */
static double worst_excess(const fixture *f, const char *model, const char *sketch_rows)
{
    const char *options[] = {"quantize.sketch_rows", sketch_rows, "calibration.samples", "24",
                             NULL};
    double worst = 0;
    layer_run run;
    begin_run(f, &run, model, options);
    for (int64_t n = 0; n < run.plan.model->arch->model.layer_count; n++) {
        double losses[CANDIDATES], least = INFINITY;
        begin_layer(f, &run, n);
        assert_ok(f, awq__backend_cpu.search(&run.experts.work.block));
        exact_losses(f, &run, losses);
        int64_t found = run.experts.work.block.inputs[0].found.candidate;
        for (int c = 0; c < CANDIDATES; c++)
            least = fmin(least, losses[c]);
        assert_true(least > 0 && isfinite(losses[found]));
        worst = fmax(worst, losses[found] / least - 1);
        end_layer(&run);
    }
    end_run(&run);
    return worst;
}

/* The losses of neighbouring ratios differ by a percent or two of noise in models so small. */
static void little_is_lost_against_an_exact_search(void **state)
{
    static const char *const models[] = {"mixtral-tiny", "qwen2_moe-tiny", "qwen3_moe-tiny",
                                         "gpt_oss-tiny"};
    static const char *const sketch_rows[] = {"0", "64"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        for (int s = 0; s < 2; s++) {
            char model[1024];
            snprintf(model, sizeof model, "%s/%s", AWQ_TEST_DATA, models[i]);
            double excess = worst_excess(*state, model, sketch_rows[s]);
            if (!(excess <= 0.04))
                fail_msg("%s, sketch_rows %s: %.2f %% above the least exact loss", models[i],
                         sketch_rows[s], 100 * excess);
        }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_run, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(little_is_lost_against_an_exact_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
