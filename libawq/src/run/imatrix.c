/*
 * An importance matrix for llama.cpp: the mean square of each input of each linear, from the
 * statistics that quantization has. Its form is that of llama.cpp's imatrix.cpp: of a tensor NAME,
 * NAME.in_sum2 has sums of squares [E,K] and NAME.counts the tokens [E,1] that they are over.
 */
#include "compute/begin.h"
#include "layer/squares.h"
#include "run/job.h"
#include "write/gguf.h"

#include <stdio.h>
#include <string.h>

#define FILE_NAME "imatrix"

/* ---- the plan ---- */

static awq_status check_recipe(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__gguf_family *family;
    AWQ__CHECK(awq__model_require_weights(plan->model, "measured"));
    AWQ__CHECK(awq__gguf_family_of(ctx, plan->model->arch, &family));
    if (!plan->settings.calibration.data.count)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "the recipe does not say calibration.data, which an importance matrix is "
                         "made from");
    return awq__check_lengths(ctx, plan);
}

/* Every linear of a layer is looked at, in groups of one column: only the diagonal of its input's
   second moments is needed. */
static awq_status look_at_all(awq_context *ctx, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    const awq__treatment treatment = {.calibrate = true, .scheme = {.bits = 4, .group = 1}};
    plan->rules.of =
        awq__alloc(ctx, arch->module_count, sizeof *plan->rules.of, "the treatment of modules");
    AWQ__CHECK_ALLOC(plan->rules.of);
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        if (module->layer >= 0 && awq__is_linear(module) && !module->vector &&
            module->role != AWQ_ROLE_ROUTER) /* which nobody quantizes */
            AWQ__CHECK(awq__rules_treat(ctx, &plan->rules, i, &treatment));
    }
    awq__rules_update(&plan->rules, arch);
    return AWQ_OK;
}

static awq_status make_plan(awq_context *ctx, const awq_recipe *recipe, awq__model_plan *plan)
{
    AWQ__CHECK(awq__model_plan_open(ctx, recipe, plan));
    plan->format = &awq__disk_format_gguf;
    plan->settings.calibrates = true;
    plan->settings.has_target = false;
    plan->settings.evaluation.data.count = 0;
    AWQ__CHECK(look_at_all(ctx, plan));
    AWQ__CHECK(check_recipe(ctx, plan));
    return awq__look_at_data(ctx, plan);
}

/* ---- the file ---- */

/* The name of what is told of a module's tensor, and where the module stands among [E]. */
typedef struct entry {
    char name[AWQ__GGUF_NAME_BYTES + 16];
    int64_t experts, index;
} entry;

static entry entry_of(const awq__model_plan *plan, const awq__module *module, const char *what)
{
    const awq__arch *arch = plan->model->arch;
    awq__gguf_place place;
    entry e;
    awq__gguf_place_of(awq__gguf_family_by_model(arch->model_type), arch, module, false, &place);
    snprintf(e.name, sizeof e.name, "%s.%s", place.name, what);
    e.experts = module->role == AWQ_ROLE_EXPERT ? place.shape[0] : 1;
    e.index = place.index;
    return e;
}

static awq_status declare(const awq__job *job, const awq__module *module)
{
    const awq__ggml_type *type = awq__ggml_type_of(AWQ__GGML_F32);
    const entry sums = entry_of(job->plan, module, "in_sum2");
    const entry counts = entry_of(job->plan, module, "counts");
    if (sums.index)
        return AWQ_OK;
    AWQ__CHECK(awq__output_declare_typed(job->writer.output, sums.name, type, 2,
                                         (int64_t[]){sums.experts, module->cols}));
    return awq__output_declare_typed(job->writer.output, counts.name, type, 2,
                                     (int64_t[]){counts.experts, 1});
}

static awq_status add_values(const awq__job *job, awq__gguf_values *values)
{
    awq_context *ctx = job->ctx;
    const awq__texts *data = &job->plan->settings.calibration.data;
    const char **names = awq__alloc(ctx, data->count, sizeof *names, "the names of files");
    awq_status status;
    AWQ__TRY_ALLOC(names);
    for (size_t i = 0; i < data->count; i++) {
        const char *slash = strrchr(data->items[i], '/');
        names[i] = slash ? slash + 1 : data->items[i];
    }
    AWQ__TRY(awq__gguf_add_text(ctx, values, "general.type", "imatrix"));
    AWQ__TRY(awq__gguf_add_texts(ctx, values, "imatrix.datasets", names, data->count));
    AWQ__TRY(awq__gguf_add_u32(ctx, values, "imatrix.chunk_count", (uint32_t)job->sequences.count));
    AWQ__TRY(awq__gguf_add_u32(ctx, values, "imatrix.chunk_size",
                               (uint32_t)job->plan->settings.calibration.sequence_length));
done:
    awq__free(names);
    return status;
}

/* llama.cpp reads it from one file. */
static awq_status lay_out(const awq__job *job)
{
    const awq__arch *arch = job->plan->model->arch;
    awq__gguf_values values = {0};
    awq_status status;
    AWQ__TRY(add_values(job, &values));
    AWQ__TRY(awq__output_gguf(job->writer.output, FILE_NAME, &values));
    for (size_t i = 0; i < arch->module_count; i++)
        if (job->plan->rules.of[i])
            AWQ__TRY(declare(job, &arch->modules[i]));
    AWQ__TRY(awq__output_layout(job->writer.output, UINT64_MAX));
done:
    awq__text_free(&values.bytes);
    return status;
}

/* A module's line of sums, and its count. */
static awq_status write_module(void *user, const awq__module *module, const float *squares,
                               int64_t tokens)
{
    const awq__job *job = user;
    size_t bytes = (size_t)module->cols * sizeof(float);
    float count = (float)tokens, *sums = awq__alloc(job->ctx, bytes, 1, "sums of squares");
    awq_status status;
    AWQ__TRY_ALLOC(sums);
    for (int64_t k = 0; k < module->cols; k++)
        sums[k] = squares[k] * count;
    entry e = entry_of(job->plan, module, "in_sum2");
    AWQ__TRY(
        awq__output_write_part(job->writer.output, e.name, (size_t)e.index * bytes, sums, bytes));
    e = entry_of(job->plan, module, "counts");
    AWQ__TRY(awq__output_write_part(job->writer.output, e.name, (size_t)e.index * sizeof count,
                                    &count, sizeof count));
done:
    awq__free(sums);
    return status;
}

/* ---- the run ---- */

static awq_status run_layer(awq__job *job, int64_t n)
{
    awq__loaded_layer loaded = {0};
    awq__routes routes = {0};
    const awq__squares squares = {write_module, job};
    awq__quantizer *quantizer = &job->quantizer;
    awq_status status;
    AWQ__TRY(awq__stage_enter(&job->stages, AWQ__STAGE_READ, n, 0));
    AWQ__TRY(awq__model_layer(job->plan->model, n, &loaded));
    AWQ__TRY(awq__attention_squares(quantizer, &loaded.layer, &squares));
    AWQ__TRY(awq__stage_enter(&job->stages, AWQ__STAGE_FORWARD, n, 0.4));
    AWQ__TRY(awq__stream_to_experts(&quantizer->calibration, &loaded.layer, &routes));
    AWQ__TRY(awq__experts_squares(quantizer, &loaded.layer, &routes, &squares));
done:
    awq__routes_free(&routes);
    awq__loaded_layer_free(&loaded);
    return status;
}

/* What an interrupted run of this has left is of no use; a quantization can still go on. */
static awq_status begin_output(awq__job *job)
{
    awq_context *ctx = job->ctx;
    AWQ__CHECK(awq__output_begin(ctx, job->plan->settings.output, false, &job->writer.output));
    const char *partial = awq__output_partial(job->writer.output);
    char *journal = awq__path_join(ctx, partial, AWQ__JOURNAL_FILE);
    AWQ__CHECK_ALLOC(journal);
    bool there = awq__is_file(journal);
    awq__free(journal);
    if (there)
        return awq__fail(ctx, AWQ_ERROR_EXISTS,
                         "%s: holds an interrupted quantization; finish or remove it, or name "
                         "another output",
                         partial);
    return awq__output_empty(job->writer.output);
}

static awq_status fit_memory(const awq__job *job)
{
    const awq__sequences none = {0};
    const awq__memory_tokens tokens = awq__memory_tokens_in(&job->sequences, &none);
    awq__memory_need need;
    awq__memory_limit limit;
    awq__memory_limit_find(job->plan->settings.memory_limit, &limit);
    AWQ__CHECK(awq__memory_need_of(job->ctx, job->plan, &tokens, &need));
    return awq__memory_fit(job->ctx, &need, &limit);
}

static awq_status measure(awq__job *job)
{
    const awq_model *model = job->plan->model;
    AWQ__CHECK(awq__job_load_calibration(job));
    AWQ__CHECK(fit_memory(job));
    AWQ__CHECK(lay_out(job));
    AWQ__CHECK(awq__stream_begin(job->ctx, model, &job->sequences, &job->quantizer.calibration));
    for (int64_t n = 0; n < model->arch->model.layer_count; n++)
        AWQ__CHECK(run_layer(job, n));
    AWQ__CHECK(
        awq__stage_enter(&job->stages, AWQ__STAGE_CHECKSUMS, model->arch->model.layer_count, 0.5));
    AWQ__CHECK(awq__output_sums(job->writer.output, AWQ__JOURNAL_FILE));
    AWQ__CHECK(awq__output_commit(job->writer.output));
    (void)awq__stage_enter(&job->stages, AWQ__STAGE_CHECKSUMS, model->arch->model.layer_count, 1);
    awq__clear(job->ctx);
    return AWQ_OK;
}

static awq_status run(awq_context *ctx, awq__model_plan *plan)
{
    awq__job job;
    awq_status status;
    awq__job_begin(ctx, plan, 0, &job);
    AWQ__TRY(begin_output(&job));
    AWQ__TRY(measure(&job));
done:
    awq__job_free(&job);
    return status;
}

awq_status awq_imatrix(awq_context *ctx, const awq_recipe *recipe)
{
    AWQ__CHECK(awq__enter(ctx, "awq_imatrix", (awq__argument[]){{"recipe", recipe}, {0}}));
    awq__model_plan plan;
    awq_status status;
    AWQ__TRY(make_plan(ctx, recipe, &plan));
    AWQ__TRY(awq__memory_begin(ctx, &plan));
    AWQ__TRY(awq__compute_begin(ctx));
    awq__rules_tell(ctx, &plan.rules);
    AWQ__TRY(run(ctx, &plan));
done:
    awq__model_plan_free(&plan);
    awq__memory_end(ctx);
    return awq__leave(ctx, status);
}
