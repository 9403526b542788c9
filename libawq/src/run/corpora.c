/* The sequences that a run reads: to calibrate with, and to evaluate on. */
#include "run/job.h"

#include <stdio.h>
#include <string.h>

typedef awq_status (*load_fn)(awq_context *ctx, const awq__corpus_options *options,
                              const char *tokenizer_path, int64_t vocabulary, awq__sequences *out);

static bool calibrates(const awq__model_plan *plan)
{
    return plan->settings.calibrates && (plan->rules.calibrate || plan->settings.has_target);
}

static awq__corpus_options calibration_options(const awq__settings *settings)
{
    return (awq__corpus_options){.files = settings->calibration.data.items,
                                 .file_count = settings->calibration.data.count,
                                 .field = settings->calibration.field,
                                 .samples = settings->calibration.samples,
                                 .sequence_length = settings->calibration.sequence_length,
                                 .seed = (uint64_t)settings->calibration.seed,
                                 .cut = settings->calibration.packing == AWQ__PACKING_CUT};
}

/* No files: nothing is evaluated. */
static awq__corpus_options evaluation_options(const awq__settings *settings)
{
    return (awq__corpus_options){.files = settings->evaluation.data.items,
                                 .file_count = settings->evaluation.data.count,
                                 .field = settings->evaluation.field,
                                 .samples = settings->evaluation.windows,
                                 .sequence_length = settings->evaluation.sequence_length};
}

static awq_status load_with(awq_context *ctx, const awq_model *model,
                            const awq__corpus_options *options, load_fn load,
                            awq__sequences *sequences)
{
    char *tokenizer = awq__model_file(model, "tokenizer.json");
    AWQ__CHECK_ALLOC(tokenizer);
    awq_status status =
        load(ctx, options, tokenizer, model->arch->model.vocabulary_size, sequences);
    awq__free(tokenizer);
    return status;
}

awq_status awq__job_load_calibration(awq__job *job)
{
    if (!calibrates(job->plan))
        return AWQ_OK;
    awq__corpus_options options = calibration_options(&job->plan->settings);
    AWQ__CHECK(load_with(job->ctx, job->plan->model, &options, awq__corpus_load, &job->sequences));
    if (job->sequences.count < options.samples)
        AWQ__CHECK(awq__rules_warn(
            job->ctx, &job->plan->rules,
            "calibration.data: only %lld sequences of %lld ids could be made of it, fewer than the "
            "%lld asked for",
            (long long)job->sequences.count, (long long)options.sequence_length,
            (long long)options.samples));
    return AWQ_OK;
}

awq_status awq__job_load_windows(awq__job *job, awq__sequences *windows)
{
    awq__corpus_options options = evaluation_options(&job->plan->settings);
    job->evaluate = options.file_count > 0;
    return job->evaluate
               ? load_with(job->ctx, job->plan->model, &options, awq__windows_load, windows)
               : AWQ_OK;
}

/* ---- what a plan can know of them ---- */

static awq_status look_at(awq_context *ctx, const awq_model *model,
                          const awq__corpus_options *options, load_fn load)
{
    bool found;
    awq__sequences sequences = {0};
    char *tokenizer = awq__model_file(model, "tokenizer.json");
    AWQ__CHECK_ALLOC(tokenizer);
    awq_status status;
    AWQ__TRY(awq__corpus_look(ctx, options, tokenizer, model->arch->model.vocabulary_size, &found));
    if (!found)
        AWQ__TRY(load_with(ctx, model, options, load, &sequences));
done:
    awq__free(tokenizer);
    awq__sequences_free(&sequences);
    return status;
}

awq_status awq__look_at_data(awq_context *ctx, const awq__model_plan *plan)
{
    awq__corpus_options calibration = calibration_options(&plan->settings);
    awq__corpus_options evaluation = evaluation_options(&plan->settings);
    if (calibrates(plan))
        AWQ__CHECK(look_at(ctx, plan->model, &calibration, awq__corpus_load));
    if (evaluation.file_count)
        AWQ__CHECK(look_at(ctx, plan->model, &evaluation, awq__windows_load));
    return AWQ_OK;
}

/* ---- how long they may be ---- */

/* A number of config.json, of a text model in it, or of how it scales its positions; 0 if there is
   none. */
static double config_number(const cJSON *config, const char *key)
{
    static const char *const places[] = {"",
                                         "text_config.",
                                         "rope_scaling.",
                                         "rope_parameters.",
                                         "text_config.rope_scaling.",
                                         "text_config.rope_parameters."};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", places[i], key);
        const cJSON *number = awq__json_at(config, path);
        if (cJSON_IsNumber(number))
            return number->valuedouble;
    }
    return 0;
}

/* The longest sequence that the model was trained on or is scaled to; 0: not in config.json. */
static double most_positions(const cJSON *config)
{
    double positions = config_number(config, "max_position_embeddings");
    double trained = config_number(config, "original_max_position_embeddings");
    double scaled = (trained > 0 ? trained : positions) * config_number(config, "factor");
    return scaled > positions && positions > 0 ? scaled : positions;
}

static awq_status check_length(awq_context *ctx, const awq_model *model, const char *option,
                               int64_t length)
{
    double positions = most_positions(model->arch->config);
    if (!(positions > 0) || !((double)length > positions))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "%s: %lld, more than the %.0f positions that the model knows "
                     "(max_position_embeddings in %s)",
                     option, (long long)length, positions, model->arch->config_path);
}

awq_status awq__check_lengths(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__settings *s = &plan->settings;
    if (calibrates(plan))
        AWQ__CHECK(check_length(ctx, plan->model, "calibration.sequence_length",
                                s->calibration.sequence_length));
    if (s->evaluation.data.count)
        AWQ__CHECK(check_length(ctx, plan->model, "evaluation.sequence_length",
                                s->evaluation.sequence_length));
    return AWQ_OK;
}
