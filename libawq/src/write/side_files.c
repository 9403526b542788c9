/* Files beside the weights: config.json, and those of the source that the result has too, byte for
   byte. */
#include "write/write.h"

#define MAX_CONFIG_BYTES ((size_t)256 << 20) /* it has been parsed: it is smaller */

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
    for (size_t i = 0; i < COPIED; i++) {
        char *path = awq__path_join(ctx, model->directory, copied[i]);
        AWQ__CHECK_ALLOC(path);
        awq_status status = awq__check_link(ctx, model->directory, path);
        awq__free(path);
        AWQ__CHECK(status);
    }
    return AWQ_OK;
}

static awq_status copy_files(const awq__writer *writer)
{
    const awq_model *model = writer->plan->model;
    AWQ__CHECK(awq__side_files_check(writer->ctx, model));
    for (size_t i = 0; i < COPIED; i++) {
        char *path = awq__path_join(writer->ctx, model->directory, copied[i]);
        AWQ__CHECK_ALLOC(path);
        awq_status status = awq__output_copy(writer->output, path);
        awq__free(path);
        AWQ__CHECK(status);
    }
    return AWQ_OK;
}

/* The source's text but for one member: readers of it tell 0 from 0.0. */
static awq_status write_config(const awq__writer *writer)
{
    awq_context *ctx = writer->ctx;
    cJSON *quantization = NULL;
    awq__text printed = {0}, text = {0};
    char *source = NULL;
    size_t bytes = 0;
    const char *path = writer->plan->model->arch->config_path;
    awq_status status;
    AWQ__TRY(awq__model_plan_config(ctx, writer->plan, &quantization));
    AWQ__TRY(awq__json_print(ctx, quantization, "config.json", &printed));
    AWQ__TRY(awq__read_text_file(ctx, path, MAX_CONFIG_BYTES, &source, &bytes));
    AWQ__TRY(
        awq__json_set_member(ctx, path, source, bytes, "quantization_config", printed.data, &text));
    AWQ__TRY(awq__output_text(writer->output, "config.json", text.data, text.length));
done:
    cJSON_Delete(quantization);
    awq__text_free(&printed);
    awq__text_free(&text);
    awq__free(source);
    return status;
}

awq_status awq__write_side_files(const awq__writer *writer)
{
    AWQ__CHECK(write_config(writer));
    return copy_files(writer);
}
