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

/* Of the time of a run that chooses schemes first, measured on models of 12 million weights. */
#define SENSITIVITY_SHARE 0.3

const char *const awq__stage_names[AWQ__STAGE_COUNT] = {
    "sensitivity", "read", "forward",         "statistics", "scale search",
    "proof",       "clip", "round and write", "evaluate",   "checksums"};

/* Books the time of the last stage. */
static void begin_stage(awq__job *job, awq__stage stage)
{
    if (job->tight)
        awq__give_back();
    double now = awq__now_seconds();
    uint64_t operations = awq__product_operations();
    job->stage_seconds[job->stage] += now - job->stage_start;
    job->stage_operations[job->stage] += operations - job->stage_first_operation;
    job->stage = stage;
    job->stage_start = now;
    job->stage_first_operation = operations;
}

awq_status awq__job_enter(awq__job *job, awq__stage stage, int64_t layer, double share)
{
    begin_stage(job, stage);
    int64_t layers = job->plan->model->arch->model.layer_count;
    double fraction = ((double)layer + share) / (double)(layers + 1);
    if (stage == AWQ__STAGE_SENSITIVITY)
        fraction *= job->sensitivity;
    else
        fraction = job->sensitivity + (1 - job->sensitivity) * fraction;
    awq_progress progress = {.stage = awq__stage_names[stage],
                             .layer = layer,
                             .layer_count = layers,
                             .fraction = fraction,
                             .elapsed_seconds = job->stage_start - job->start_seconds};
    return awq__progress(job->ctx, &progress);
}

/* The result is in place: it is too late to cancel. */
static void tell_end(awq__job *job)
{
    (void)awq__job_enter(job, AWQ__STAGE_EVALUATE, job->plan->model->arch->model.layer_count, 1);
    awq__clear(job->ctx);
    awq__log(job->ctx, AWQ_LOG_DEBUG, "memory: arrays took %.3f MB at most",
             1e-6 * (double)awq__context_most_bytes(job->ctx));
    for (int i = 0; i < AWQ__STAGE_COUNT; i++)
        awq__log(job->ctx, AWQ_LOG_DEBUG, "time: %s %.3f s, matrix products %.3f GFLOP",
                 awq__stage_names[i], job->stage_seconds[i],
                 1e-9 * (double)job->stage_operations[i]);
}

/* ---- tensors ---- */

static awq_status declare(void *user, const char *name, awq_dtype dtype, int rank,
                          const int64_t *shape)
{
    awq__job *job = user;
    return awq__output_declare(job->output, name, dtype, rank, shape);
}

/* Tensors that no module has are kept as they are, after all others. */
static awq_status each_undescribed(awq__job *job, bool write)
{
    const awq__arch *arch = job->plan->model->arch;
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < awq__checkpoint_count(arch->checkpoint) && status == AWQ_OK; i++) {
        const awq__tensor *tensor = awq__checkpoint_at(arch->checkpoint, i);
        bool copies;
        status = awq__result_copies(job->ctx, arch, tensor, &copies);
        if (status != AWQ_OK || !copies)
            continue;
        status =
            write ? awq__output_write_from(job->output, tensor->name, 0, tensor, 0, tensor->bytes)
                  : awq__output_declare(job->output, tensor->name, tensor->dtype, tensor->rank,
                                        tensor->shape);
    }
    return status;
}

static awq_status lay_out(awq__job *job)
{
    awq_status status = AWQ_OK;
    for (int64_t n = -1; n <= job->plan->model->arch->model.layer_count && status == AWQ_OK; n++)
        status = awq__result_tensors(job->ctx, job->plan, n, declare, job);
    if (status == AWQ_OK)
        status = each_undescribed(job, false);
    if (status == AWQ_OK)
        status = awq__output_layout(job->output, job->plan->settings.shard_size);
    return status;
}

static awq_status write_ends(awq__job *job)
{
    const awq__arch *arch = job->plan->model->arch;
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < arch->module_count && status == AWQ_OK; i++) {
        awq__loaded_module end;
        if (arch->modules[i].layer >= 0)
            continue;
        status = awq__model_module(job->plan->model, i, &end);
        if (status == AWQ_OK)
            status = awq__store_weight(job, &arch->modules[i], &end.found.weight);
        awq__loaded_module_free(&end);
    }
    return status == AWQ_OK ? each_undescribed(job, true) : status;
}

static awq_status keep(void *user, const char *name, awq_dtype dtype, int rank,
                       const int64_t *shape)
{
    awq__job *job = user;
    (void)dtype;
    (void)rank;
    (void)shape;
    return awq__output_keep(job->output, name);
}

/* Takes over a layer that an earlier run has finished, if it is there as it was written. */
static awq_status take_over(awq__job *job, int64_t n, bool *whole)
{
    *whole = awq__journal_has(job, n);
    awq_status status = *whole ? awq__journal_check(job, n, whole) : AWQ_OK;
    if (status == AWQ_OK && *whole)
        status = awq__result_tensors(job->ctx, job->plan, n, keep, job);
    return status;
}

static void tell_where_it_goes_on(const awq__job *job)
{
    int64_t layers = job->plan->model->arch->model.layer_count, finished = 0, next = -1;
    for (int64_t n = layers - 1; n >= 0; n--) {
        finished += awq__journal_has(job, n);
        next = awq__journal_has(job, n) ? next : n;
    }
    const char *partial = awq__output_partial(job->output);
    if (next < 0)
        awq__log(job->ctx, AWQ_LOG_INFO, "%s: an interrupted run has finished all %lld layers",
                 partial, (long long)layers);
    else
        awq__log(job->ctx, AWQ_LOG_INFO,
                 "%s: an interrupted run has finished %lld of %lld layers; going on with layer "
                 "%lld",
                 partial, (long long)finished, (long long)layers, (long long)next);
}

/* ---- the layers ---- */

static awq_status search_and_write(awq__job *job, const awq__layer *layer, cJSON *report)
{
    int64_t n = layer->number;
    awq__stream *stream = &job->calibration;
    awq__folded folded;
    awq__routes routes = {0};
    awq_status status = awq__folded_create(job->ctx, layer, &folded);
    if (status == AWQ_OK)
        status = awq__quantize_attention(job, layer, &folded, stream->hidden, report);
    if (status == AWQ_OK && job->plan->rules.calibrate) {
        status = awq__job_enter(job, AWQ__STAGE_FORWARD, n, 0.09);
        if (status == AWQ_OK)
            status = awq__stream_to_experts(stream, layer, &routes);
    }
    if (status == AWQ_OK)
        status = awq__quantize_experts(job, layer, &folded, &routes, report);
    if (status == AWQ_OK)
        status = awq__json_built(job->ctx, &job->built, "the report");
    awq__routes_free(&routes);
    awq__folded_free(&folded);
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
    if (status != AWQ_OK) {
        cJSON_Delete(report);
        return status;
    }
    begin_stage(job, AWQ__STAGE_CHECKSUMS); /* without a chance to cancel: the layer is finished */
    status = awq__journal_add(job, layer->number, report);
    return status == AWQ_OK ? awq__journal_write(job) : status;
}

/* A layer that an earlier run has finished: only its hidden states are needed. */
static awq_status pass_layer(awq__job *job, const awq__layer *layer)
{
    awq__routes routes = {0};
    if (!job->plan->rules.calibrate)
        return AWQ_OK;
    awq_status status = awq__job_enter(job, AWQ__STAGE_FORWARD, layer->number, 0.01);
    if (status == AWQ_OK)
        status = awq__stream_layer(&job->calibration, layer, &routes);
    awq__routes_free(&routes);
    return status;
}

static awq_status run_layer(awq__job *job, int64_t n)
{
    bool whole = false;
    awq__loaded_layer loaded = {0};
    awq_status status = awq__job_enter(job, AWQ__STAGE_READ, n, 0);
    if (status == AWQ_OK)
        status = awq__model_layer(job->plan->model, n, &loaded);
    if (status == AWQ_OK)
        status = awq__job_enter(job, AWQ__STAGE_CHECKSUMS, n, 0.01);
    if (status == AWQ_OK)
        status = awq__journal_source(job, &loaded);
    if (status == AWQ_OK)
        status = take_over(job, n, &whole);
    if (status == AWQ_OK)
        status = whole ? pass_layer(job, &loaded.layer) : process_layer(job, &loaded.layer);
    awq__loaded_layer_free(&loaded);
    return status;
}

static awq_status run_layers(awq__job *job)
{
    awq_status status = AWQ_OK;
    for (int64_t n = 0; n < job->plan->model->arch->model.layer_count && status == AWQ_OK; n++) {
        status = run_layer(job, n);
        if (status == AWQ_OK && job->evaluate) {
            status = awq__job_enter(job, AWQ__STAGE_EVALUATE, n, 0.98);
            if (status == AWQ_OK)
                status = awq__evaluation_layer(&job->evaluation, n);
        }
    }
    return status;
}

/* ---- the whole run ---- */

static awq_status begin_streams(awq__job *job, awq__sequences *windows)
{
    awq_status status = AWQ_OK;
    if (job->plan->rules.calibrate)
        status = awq__stream_begin(job->ctx, job->plan->model, &job->sequences, &job->calibration);
    if (status != AWQ_OK || !job->evaluate)
        return status;
    /* The result is read back from the disk: what is judged is what will be served. */
    status = awq__model_open_partial(job->ctx, awq__output_partial(job->output),
                                     job->plan->model->arch->plugin->table.id, &job->result);
    if (status == AWQ_OK)
        status = awq__evaluation_begin(job->ctx, job->result, job->plan->model, windows,
                                       &job->evaluation);
    return status;
}

static awq_status finish(awq__job *job, const char *recipe_yaml, awq_report **out)
{
    awq_eval_result result;
    awq_report *report = NULL;
    awq_status status =
        awq__job_enter(job, AWQ__STAGE_EVALUATE, job->plan->model->arch->model.layer_count, 0);
    if (status == AWQ_OK && job->evaluate)
        status = awq__evaluation_finish(&job->evaluation, &result);
    if (status == AWQ_OK)
        status = awq__report_create(job, job->evaluate ? &result : NULL, &report);
    if (status == AWQ_OK)
        status =
            awq__output_json(job->output, AWQ__REPORT_FILE, report->json, strlen(report->json));
    if (status == AWQ_OK)
        status = awq__write_provenance(job, recipe_yaml);
    if (status == AWQ_OK)
        status = awq__job_enter(job, AWQ__STAGE_CHECKSUMS,
                                job->plan->model->arch->model.layer_count, 0.5);
    if (status == AWQ_OK)
        status = awq__output_sums(job->output, AWQ__JOURNAL_FILE);
    if (status == AWQ_OK)
        status = awq__output_commit(job->output);
    if (status == AWQ_OK)
        tell_end(job);
    if (status == AWQ_OK && out)
        *out = report;
    else
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
    awq_status status = awq__memory_need_of(job->ctx, job->plan, &tokens, &need);
    job->tight = status == AWQ_OK && awq__memory_is_tight(&need, &limit);
    return status == AWQ_OK ? awq__memory_fit(job->ctx, &need, &limit) : status;
}

/* Claims the output, and learns all that the run is of. */
static awq_status prepare(awq__job *job, const awq_quantize_options *options,
                          awq__sequences *windows)
{
    uint64_t ends;
    awq_status status =
        awq__output_begin(job->ctx, job->plan->settings.output, options->force, &job->output);
    if (status == AWQ_OK)
        status = awq__journal_open(job, options->restart);
    if (status == AWQ_OK)
        status = awq__job_agree(job);
    if (status == AWQ_OK)
        status = awq__source_hash(job->plan->model, -1, NULL, &ends);
    if (status == AWQ_OK)
        status = awq__journal_agree_hash(job, AWQ__ENDS, ends);
    if (status == AWQ_OK)
        status = awq__job_load_calibration(job);
    if (status == AWQ_OK)
        status = awq__job_agree_on_ids(job, "set of calibration ids", &job->sequences);
    if (status == AWQ_OK)
        status = awq__job_load_windows(job, windows);
    if (status == AWQ_OK)
        status = awq__job_agree_on_ids(job, "set of evaluation ids", windows);
    if (status == AWQ_OK)
        status = fit_memory(job, windows);
    if (status == AWQ_OK && job->resumed)
        tell_where_it_goes_on(job);
    if (status == AWQ_OK)
        status = awq__kernels_join(job);
    if (status == AWQ_OK && options->restart)
        status = awq__output_empty(job->output);
    return status == AWQ_OK ? awq__job_choose_schemes(job) : status;
}

static awq_status run(awq__job *job, const awq_quantize_options *options, awq_report **report)
{
    awq__sequences windows = {0};
    awq__text yaml = {0};
    awq_status status = prepare(job, options, &windows);
    if (status == AWQ_OK)
        status = awq__recipe_provenance(job->ctx, job->recipe, &yaml);
    if (status == AWQ_OK)
        status = lay_out(job);
    if (status == AWQ_OK)
        status = awq__write_side_files(job);
    if (status == AWQ_OK)
        status = write_ends(job);
    if (status == AWQ_OK)
        status = begin_streams(job, &windows);
    if (status == AWQ_OK)
        status = run_layers(job);
    awq__stream_free(&job->calibration); /* the logits of the evaluation need room */
    if (status == AWQ_OK)
        status = finish(job, yaml.data, report);
    awq__text_free(&yaml);
    awq__sequences_free(&windows);
    return status;
}

static void release(awq__job *job)
{
    awq__evaluation_free(&job->evaluation);
    awq_model_free(job->result);
    awq__stream_free(&job->calibration);
    awq__sequences_free(&job->sequences);
    awq__output_free(job->output);
    cJSON_Delete(job->journal);
    cJSON_Delete(job->mixed);
    *job = (awq__job){0};
}

awq_status awq_quantize(awq_context *ctx, const awq_recipe *recipe,
                        const awq_quantize_options *options, awq_report **report)
{
    static const size_t sizes[] = {sizeof *options};
    awq_quantize_options known = {0};
    if (report)
        *report = NULL;
    awq_status status = awq__enter(ctx, "awq_quantize", (awq__argument[]){{"recipe", recipe}, {0}});
    if (status == AWQ_OK && options)
        status = awq__read_options(ctx, "awq_quantize_options", options, sizes, 1, &known);
    if (status != AWQ_OK)
        return status;
    awq__model_plan plan;
    status = awq__model_plan_create(ctx, recipe, &plan);
    if (status != AWQ_OK)
        return status;
    status = awq__model_require_weights(plan.model, "quantized");
    if (status == AWQ_OK)
        status = awq__memory_begin(ctx, &plan);
    if (status == AWQ_OK)
        status = awq__compute_begin(ctx);
    if (status != AWQ_OK) {
        awq__model_plan_free(&plan);
        return status;
    }
    awq__rules_tell(ctx, &plan.rules);
    awq__job job = {.ctx = ctx,
                    .recipe = recipe,
                    .plan = &plan,
                    .sensitivity = plan.settings.has_target ? SENSITIVITY_SHARE : 0,
                    .stage = AWQ__STAGE_READ,
                    .start_seconds = awq__now_seconds(),
                    .stage_start = awq__now_seconds(),
                    .stage_first_operation = awq__product_operations()};
    status = run(&job, &known, report);
    release(&job);
    awq__model_plan_free(&plan);
    return awq__leave(ctx, status);
}
