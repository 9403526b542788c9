/* Evaluates a checkpoint as it stands: the order of that work. */
#include "compute/begin.h"
#include "run/job.h"

static awq_status load_windows(awq_context *ctx, const awq_eval_options *options,
                               const awq_model *model, awq__sequences *windows)
{
    const char *ids[] = {options->ids};
    awq__corpus_options corpus = {.files = options->ids ? ids : options->texts,
                                  .file_count = options->ids ? 1 : options->text_count,
                                  .field = options->field ? options->field : "text",
                                  .samples = options->windows,
                                  .sequence_length =
                                      options->sequence_length ? options->sequence_length : 256};
    char *tokenizer = awq__model_file(model, "tokenizer.json");
    AWQ__CHECK_ALLOC(tokenizer);
    awq_status status =
        awq__windows_load(ctx, &corpus, tokenizer, model->arch->model.vocabulary_size, windows);
    awq__free(tokenizer);
    return status;
}

/* Refuses what has no room before any work is done. */
static awq_status fit_memory(awq_context *ctx, const awq_model *judged, const awq_model *reference,
                             const awq__sequences *windows, bool *tight)
{
    const awq__sequences none = {0};
    const awq__memory_tokens tokens = awq__memory_tokens_in(&none, windows);
    awq__memory_need need;
    awq__memory_limit limit;
    awq__memory_limit_find(0, &limit);
    AWQ__CHECK(awq__memory_need_of_evaluation(ctx, judged, reference, &tokens, &need));
    *tight = awq__memory_is_tight(&need, &limit);
    return awq__memory_fit(ctx, &need, &limit);
}

static awq_status run(awq_context *ctx, const awq_model *judged, const awq_model *reference,
                      awq__sequences *windows, bool tight, awq_eval_result *result)
{
    awq__evaluation evaluation;
    double start = awq__now_seconds();
    int64_t layers = judged->arch->model.layer_count;
    awq_status status;
    AWQ__TRY(awq__evaluation_begin(ctx, judged, reference, windows, &evaluation));
    for (int64_t n = 0; n < layers; n++) {
        awq_progress progress = {.stage = "evaluation",
                                 .layer = n,
                                 .layer_count = layers,
                                 .fraction = (double)n / (double)(layers + 1),
                                 .elapsed_seconds = awq__now_seconds() - start};
        AWQ__TRY(awq__progress(ctx, &progress));
        AWQ__TRY(awq__evaluation_layer(&evaluation, n));
        if (tight)
            awq__give_back();
    }
    AWQ__TRY(awq__evaluation_finish(&evaluation, result));
done:
    awq__evaluation_free(&evaluation);
    return status;
}

static awq_status check_options(awq_context *ctx, const awq_eval_options *options)
{
    if (!options->directory || (options->ids != NULL) == (options->text_count > 0))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "awq_eval_options: needs a directory and either texts or ids");
    if (options->sequence_length < 0 || options->sequence_length == 1 || options->windows < 0)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "awq_eval_options: windows of %lld ids, expected 2 or more",
                         (long long)options->sequence_length);
    return AWQ_OK;
}

static awq_status evaluate(awq_context *ctx, const awq_eval_options *options,
                           awq_eval_result *result)
{
    awq_model *judged = NULL, *reference = NULL;
    awq__sequences windows = {0};
    bool tight;
    awq_status status;
    AWQ__TRY(awq_model_open(ctx, options->directory, options->plugin, &judged));
    AWQ__TRY(awq__model_require_weights(judged, "evaluated"));
    if (options->reference)
        AWQ__TRY(awq_model_open(ctx, options->reference, options->plugin, &reference));
    if (reference)
        AWQ__TRY(awq__model_require_weights(reference, "evaluated"));
    AWQ__TRY(awq__compute_begin(ctx));
    AWQ__TRY(awq__device_begin(ctx, options->device, options->device_memory));
    AWQ__TRY(load_windows(ctx, options, judged, &windows));
    AWQ__TRY(fit_memory(ctx, judged, reference, &windows, &tight));
    AWQ__TRY(run(ctx, judged, reference, &windows, tight, result));
done:
    awq__sequences_free(&windows);
    awq_model_free(reference);
    awq_model_free(judged);
    return status;
}

awq_status awq_evaluate(awq_context *ctx, const awq_eval_options *options, awq_eval_result *result)
{
    awq_eval_options known;
    if (result)
        *result = (awq_eval_result){0};
    AWQ__CHECK(awq__enter(ctx, "awq_evaluate",
                          (awq__argument[]){{"options", options}, {"result", result}, {0}}));
    AWQ__CHECK(awq__read_options(ctx, "awq_eval_options", options, sizeof known, &known));
    AWQ__CHECK(check_options(ctx, &known));
    awq_status status = evaluate(ctx, &known, result);
    awq__device_end(ctx);
    awq__memory_end(ctx);
    return awq__leave(ctx, status);
}
