/* The sequences that a run calibrates with. */
#include "run/job.h"

#include <string.h>

awq_status awq__job_load_calibration(awq__job *job)
{
    const awq_recipe *recipe = job->recipe;
    const awq_model *model = job->plan->model;
    if (!awq__recipe_calibrates(recipe) ||
        (!job->plan->rules.calibrate && !awq__recipe_has_target(recipe)))
        return AWQ_OK;
    awq__corpus_options options = {
        .field = awq__recipe_text(recipe, "calibration.field"),
        .samples = awq__recipe_int(recipe, "calibration.samples"),
        .sequence_length = awq__recipe_int(recipe, "calibration.sequence_length"),
        .seed = (uint64_t)awq__recipe_int(recipe, "calibration.seed"),
        .cut = !strcmp(awq__recipe_text(recipe, "calibration.packing"), "cut")};
    options.files = awq__recipe_list(recipe, "calibration.data", &options.file_count);
    char *tokenizer = awq__path_join(job->ctx, model->directory, "tokenizer.json");
    if (!tokenizer)
        return AWQ_ERROR_MEMORY;
    awq_status status = awq__corpus_load(job->ctx, &options, tokenizer,
                                         model->arch->model.vocabulary_size, &job->sequences);
    awq__free(tokenizer);
    if (status == AWQ_OK && job->sequences.count < options.samples)
        awq__log(
            job->ctx, AWQ_LOG_WARNING,
            "calibration.data: only %lld sequences of %lld ids could be made of it, fewer than the "
            "%lld asked for",
            (long long)job->sequences.count, (long long)options.sequence_length,
            (long long)options.samples);
    return status;
}
