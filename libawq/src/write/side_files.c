/* Files of the source that the result has too, byte for byte. */
#include "run/job.h"

/* What a serving engine expects beside the weights. */
static const char *const copied[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "chat_template.json",
    "LICENSE",
};

#define COPIED (sizeof copied / sizeof *copied)

awq_status awq__side_files_check(awq_context *ctx, const awq_model *model)
{
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < COPIED && status == AWQ_OK; i++) {
        char *path = awq__path_join(ctx, model->directory, copied[i]);
        status = path ? awq__check_link(ctx, model->directory, path) : AWQ_ERROR_MEMORY;
        awq__free(path);
    }
    return status;
}

awq_status awq__side_files_copy(awq__job *job)
{
    const awq_model *model = job->plan->model;
    awq_status status = awq__side_files_check(job->ctx, model);
    for (size_t i = 0; i < COPIED && status == AWQ_OK; i++) {
        char *path = awq__path_join(job->ctx, model->directory, copied[i]);
        status = path ? awq__output_copy(job->output, path) : AWQ_ERROR_MEMORY;
        awq__free(path);
    }
    return status;
}
