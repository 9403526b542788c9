/*
 * The driver: knows the order of a run and nothing else.
 *
 * The hidden states of all calibration tokens stand before a layer; the layer's weights are read,
 * its forward pass gives statistics and the next hidden states, its weights are searched, folded,
 * rounded, packed and written, and are let go.
 */
#include "compute/begin.h"
#include "run/job.h"

#include <stdio.h>
#include <string.h>

/* The share of a run's time for choosing schemes, measured on models of 12 million weights. */
#define SENSITIVITY_SHARE 0.3

/* The result is in place: it is too late to cancel. */
static void tell_end(awq__job *job)
{
    (void)awq__stage_enter(&job->stages, AWQ__STAGE_EVALUATE,
                           job->plan->model->arch->model.layer_count, 1);
    awq__clear(job->ctx);
    awq__log(job->ctx, AWQ_LOG_DEBUG, "memory: arrays took %.3f MB at most",
             1e-6 * (double)awq__context_most_bytes(job->ctx));
    for (int i = 0; i < AWQ__STAGE_COUNT; i++)
        awq__log(job->ctx, AWQ_LOG_DEBUG, "time: %s %.3f s, matrix products %.3f GFLOP",
                 awq__stage_names[i], job->stages.seconds[i],
                 1e-9 * (double)job->stages.operations[i]);
}

/* ---- the layers ---- */

/* Keeps a layer that an earlier run has finished, if it is on disk as it was written. */
static awq_status take_over(awq__job *job, int64_t n, bool *whole)
{
    *whole = awq__journal_has(&job->journal, n);
    if (*whole)
        AWQ__CHECK(awq__journal_check(&job->journal, n, whole));
    return *whole ? awq__write_keep(&job->writer, n) : AWQ_OK;
}

static void tell_where_it_goes_on(const awq__job *job)
{
    int64_t layers = job->plan->model->arch->model.layer_count, finished = 0, next = -1;
    for (int64_t n = layers - 1; n >= 0; n--) {
        finished += awq__journal_has(&job->journal, n);
        next = awq__journal_has(&job->journal, n) ? next : n;
    }
    const char *partial = awq__output_partial(job->writer.output);
    if (next < 0)
        awq__log(job->ctx, AWQ_LOG_INFO, "%s: an interrupted run has finished all %lld layers",
                 partial, (long long)layers);
    else
        awq__log(job->ctx, AWQ_LOG_INFO,
                 "%s: an interrupted run has finished %lld of %lld layers; going on with layer "
                 "%lld",
                 partial, (long long)finished, (long long)layers, (long long)next);
}

static awq_status search_and_write(awq__job *job, const awq__layer *layer, cJSON *report)
{
    awq_status status;
    awq__quantizer *quantizer = &job->quantizer;
    awq__routes routes = {0};
    AWQ__TRY(awq__quantize_attention(quantizer, layer, report));
    if (job->plan->rules.calibrate) {
        AWQ__TRY(awq__stage_enter(&job->stages, AWQ__STAGE_FORWARD, layer->number, 0.09));
        AWQ__TRY(awq__stream_to_experts(&quantizer->calibration, layer, &routes));
    }
    AWQ__TRY(awq__quantize_experts(quantizer, layer, &routes, report));
    AWQ__TRY(awq__json_built(job->ctx, &quantizer->built, "the report"));
done:
    awq__routes_free(&routes);
    return status;
}

static awq_status process_layer(awq__job *job, const awq__layer *layer)
{
    cJSON *report = cJSON_CreateObject();
    if (!cJSON_AddNumberToObject(report, "layer", (double)layer->number)) {
        cJSON_Delete(report);
        return awq__fail(job->ctx, AWQ_ERROR_MEMORY, "out of memory: the report");
    }
    awq_status status = search_and_write(job, layer, report);
    if (status != AWQ_OK)
        cJSON_Delete(report);
    AWQ__CHECK(status);
    awq__stage_begin(&job->stages,
                     AWQ__STAGE_CHECKSUMS); /* without a chance to cancel: the layer is finished */
    AWQ__CHECK(awq__journal_add(&job->journal, layer->number, report));
    return awq__journal_write(&job->journal);
}

/* A layer that an earlier run has finished: only its hidden states are needed. */
static awq_status pass_layer(awq__job *job, const awq__layer *layer)
{
    awq__routes routes = {0};
    if (!job->plan->rules.calibrate)
        return AWQ_OK;
    awq_status status;
    AWQ__TRY(awq__stage_enter(&job->stages, AWQ__STAGE_FORWARD, layer->number, 0.01));
    AWQ__TRY(awq__stream_layer(&job->quantizer.calibration, layer, &routes));
done:
    awq__routes_free(&routes);
    return status;
}

static awq_status run_layer(awq__job *job, int64_t n)
{
    bool whole = false;
    awq__loaded_layer loaded = {0};
    awq_status status;
    AWQ__TRY(awq__stage_enter(&job->stages, AWQ__STAGE_READ, n, 0));
    AWQ__TRY(awq__model_layer(job->plan->model, n, &loaded));
    AWQ__TRY(awq__stage_enter(&job->stages, AWQ__STAGE_CHECKSUMS, n, 0.01));
    AWQ__TRY(awq__journal_source(&job->journal, &loaded));
    AWQ__TRY(take_over(job, n, &whole));
    AWQ__TRY(whole ? pass_layer(job, &loaded.layer) : process_layer(job, &loaded.layer));
done:
    awq__loaded_layer_free(&loaded);
    return status;
}

static awq_status run_layers(awq__job *job)
{
    for (int64_t n = 0; n < job->plan->model->arch->model.layer_count; n++) {
        AWQ__CHECK(run_layer(job, n));
        if (job->evaluate) {
            AWQ__CHECK(awq__stage_enter(&job->stages, AWQ__STAGE_EVALUATE, n, 0.98));
            AWQ__CHECK(awq__evaluation_layer(&job->evaluation, n));
        }
    }
    return AWQ_OK;
}

/* ---- the whole run ---- */

static awq_status begin_streams(awq__job *job, awq__sequences *windows)
{
    if (job->plan->rules.calibrate)
        AWQ__CHECK(awq__stream_begin(job->ctx, job->plan->model, &job->sequences,
                                     &job->quantizer.calibration));
    if (!job->evaluate)
        return AWQ_OK;
    /* The result is read back from the disk: what is judged is what will be served. */
    AWQ__CHECK(awq__model_open_partial(job->ctx, awq__output_partial(job->writer.output),
                                       job->plan->model->arch->plugin->table.id, &job->result));
    return awq__evaluation_begin(job->ctx, job->result, job->plan->model, windows,
                                 &job->evaluation);
}

static awq_status finish(awq__job *job, const char *recipe_yaml, awq_report **out)
{
    awq_eval_result result;
    awq_report *report = NULL;
    awq_status status;
    AWQ__TRY(awq__stage_enter(&job->stages, AWQ__STAGE_EVALUATE,
                              job->plan->model->arch->model.layer_count, 0));
    if (job->evaluate)
        AWQ__TRY(awq__evaluation_finish(&job->evaluation, &result));
    AWQ__TRY(awq__tell_small_scales(&job->writer, &job->plan->rules));
    AWQ__TRY(awq__report_create(job, job->evaluate ? &result : NULL, &report));
    AWQ__TRY(
        awq__output_json(job->writer.output, AWQ__REPORT_FILE, report->json, strlen(report->json)));
    AWQ__TRY(awq__write_card(job, report));
    AWQ__TRY(awq__write_provenance(job, recipe_yaml));
    AWQ__TRY(awq__write_page(job));
    AWQ__TRY(awq__stage_enter(&job->stages, AWQ__STAGE_CHECKSUMS,
                              job->plan->model->arch->model.layer_count, 0.5));
    AWQ__TRY(awq__output_sums(job->writer.output, AWQ__JOURNAL_FILE));
    AWQ__TRY(awq__output_commit(job->writer.output));
    tell_end(job);
    if (out) {
        *out = report;
        report = NULL;
    }
done:
    awq_report_free(report);
    return status;
}

/* Refuses what has no room before any work is done. */
static awq_status fit_memory(awq__job *job, const awq__sequences *windows)
{
    const awq__memory_tokens tokens = awq__memory_tokens_in(&job->sequences, windows);
    awq__memory_need need;
    awq__memory_limit limit;
    awq__memory_limit_find(job->plan->settings.memory_limit, &limit);
    AWQ__CHECK(awq__memory_need_of(job->ctx, job->plan, &tokens, &need));
    job->stages.tight = awq__memory_is_tight(&need, &limit);
    return awq__memory_fit(job->ctx, &need, &limit);
}

/* Claims the output, and notes what identifies the run. */
static awq_status prepare(awq__job *job, const awq_quantize_options *options,
                          awq__sequences *windows)
{
    uint64_t ends;
    AWQ__CHECK(awq__output_begin(job->ctx, job->plan->settings.output, options->force,
                                 &job->writer.output));
    AWQ__CHECK(awq__journal_open(&job->writer, options->restart, &job->journal));
    AWQ__CHECK(awq__job_agree(job));
    AWQ__CHECK(awq__source_hash(job->plan->model, -1, NULL, &ends));
    AWQ__CHECK(awq__journal_agree_hash(&job->journal, AWQ__ENDS, ends));
    AWQ__CHECK(awq__job_load_calibration(job));
    AWQ__CHECK(awq__job_agree_on_ids(job, "set of calibration ids", &job->sequences));
    AWQ__CHECK(awq__job_load_windows(job, windows));
    AWQ__CHECK(awq__job_agree_on_ids(job, "set of evaluation ids", windows));
    AWQ__CHECK(fit_memory(job, windows));
    if (job->journal.resumed)
        tell_where_it_goes_on(job);
    AWQ__CHECK(awq__kernels_join(&job->journal));
    if (options->restart)
        AWQ__CHECK(awq__output_empty(job->writer.output));
    return awq__job_choose_schemes(job);
}

static awq_status run_job(awq__job *job, const awq_quantize_options *options, awq_report **report)
{
    awq__sequences windows = {0};
    awq__text yaml = {0};
    awq_status status;
    AWQ__TRY(prepare(job, options, &windows));
    AWQ__TRY(awq__recipe_provenance(job->ctx, job->recipe, &yaml));
    AWQ__TRY(awq__write_layout(&job->writer, job->plan->settings.shard_size));
    AWQ__TRY(awq__write_side_files(&job->writer));
    AWQ__TRY(awq__write_ends(&job->writer));
    AWQ__TRY(begin_streams(job, &windows));
    AWQ__TRY(run_layers(job));
    awq__stream_free(&job->quantizer.calibration); /* the logits of the evaluation need room */
    AWQ__TRY(finish(job, yaml.data, report));
done:
    awq__text_free(&yaml);
    awq__sequences_free(&windows);
    return status;
}

static awq_status run(awq_context *ctx, const awq_recipe *recipe, awq__model_plan *plan,
                      const awq_quantize_options *options, awq_report **report)
{
    awq__job job;
    awq__job_begin(ctx, plan, plan->settings.has_target ? SENSITIVITY_SHARE : 0, &job);
    job.recipe = recipe;
    awq_status status = run_job(&job, options, report);
    awq__job_free(&job);
    return status;
}

awq_status awq_quantize(awq_context *ctx, const awq_recipe *recipe,
                        const awq_quantize_options *options, awq_report **report)
{
    awq_quantize_options known = {0};
    if (report)
        *report = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_quantize", (awq__argument[]){{"recipe", recipe}, {0}}));
    if (options)
        AWQ__CHECK(awq__read_options(ctx, "awq_quantize_options", options, sizeof known, &known));
    awq__model_plan plan;
    AWQ__CHECK(awq__model_plan_create(ctx, recipe, &plan));
    awq_status status;
    AWQ__TRY(awq__model_require_weights(plan.model, "quantized"));
    AWQ__TRY(awq__memory_begin(ctx, &plan));
    AWQ__TRY(awq__compute_begin(ctx));
    AWQ__TRY(awq__device_begin(ctx, plan.settings.device, plan.settings.device_memory));
    awq__rules_tell(ctx, &plan.rules);
    AWQ__TRY(run(ctx, recipe, &plan, &known, report));
done:
    awq__device_end(ctx);
    awq__model_plan_free(&plan);
    awq__memory_end(ctx);
    return awq__leave(ctx, status);
}
