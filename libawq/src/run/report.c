/* The report, the provenance, and the files beside the weights. */
#include "run/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_CONFIG_BYTES ((size_t)256 << 20) /* it has been parsed: it is smaller */

static awq_status no_memory(awq_context *ctx, const char *what)
{
    return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: %s", what);
}

static void add_evaluation(cJSON *root, const awq_eval_result *evaluation)
{
    cJSON *object = cJSON_AddObjectToObject(root, "evaluation");
    cJSON_AddNumberToObject(object, "perplexity", evaluation->perplexity);
    cJSON_AddNumberToObject(object, "tokens", (double)evaluation->tokens);
    cJSON_AddNumberToObject(object, "reference_perplexity", evaluation->reference_perplexity);
    cJSON_AddNumberToObject(object, "kl", evaluation->kl);
    cJSON_AddNumberToObject(object, "top1_agreement", evaluation->top1_agreement);
    cJSON_AddNumberToObject(object, "router_topk_agreement", evaluation->router_topk_agreement);
}

awq_status awq__report_create(awq__job *job, const char *output, const awq_eval_result *evaluation,
                              awq_report **report)
{
    awq_context *ctx = job->ctx;
    *report = awq__alloc(ctx, 1, sizeof **report, "the report");
    if (!*report)
        return AWQ_ERROR_MEMORY;
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "version", awq_version());
    cJSON_AddNumberToObject(root, "calibration_sequences", (double)job->sequences.count);
    cJSON_AddNumberToObject(root, "calibration_tokens",
                            job->sequences.count ? (double)awq__token_count(&job->sequences) : 0);
    if (job->mixed)
        cJSON_AddItemReferenceToObject(root, "mixed", job->mixed);
    cJSON *layers = cJSON_AddArrayToObject(root, "layers");
    for (int64_t n = 0; n < job->plan->model->arch->model.layer_count; n++)
        cJSON_AddItemReferenceToArray(
            layers, cJSON_GetObjectItemCaseSensitive(awq__journal_layer(job, n), "report"));
    if (evaluation) {
        (*report)->has_evaluation = true;
        (*report)->evaluation = *evaluation;
        add_evaluation(root, evaluation);
    }
    char *printed = cJSON_Print(root);
    cJSON_Delete(root);
    (*report)->json = printed ? awq__strdup(ctx, printed) : NULL;
    (*report)->output = awq__strdup(ctx, output);
    cJSON_free(printed);
    if ((*report)->json && (*report)->output)
        return AWQ_OK;
    awq_report_free(*report);
    *report = NULL;
    return no_memory(ctx, "the report");
}

void awq_report_free(awq_report *report)
{
    if (!report)
        return;
    awq__free(report->json);
    awq__free(report->output);
    awq__free(report);
}

const char *awq_report_json(const awq_report *report)
{
    return report->json;
}

const awq_eval_result *awq_report_evaluation(const awq_report *report)
{
    return report->has_evaluation ? &report->evaluation : NULL;
}

const char *awq_report_output(const awq_report *report)
{
    return report->output;
}

awq_status awq__recipe_provenance(awq_context *ctx, const awq_recipe *recipe, awq__text *yaml)
{
    awq__text whole = {0};
    awq_status status = awq__recipe_yaml(ctx, recipe, &whole);
    for (const char *line = whole.data; status == AWQ_OK && line && *line;) {
        size_t length = strcspn(line, "\n");
        length += line[length] == '\n';
        if (strncmp(line, "output:", 7))
            status = awq__text_append_bytes(ctx, yaml, line, length);
        line += length;
    }
    awq__text_free(&whole);
    return status;
}

/* ---- files beside the weights ---- */

static awq_status write_json(awq__job *job, const char *name, const cJSON *root)
{
    char *printed = cJSON_Print(root);
    if (!printed)
        return no_memory(job->ctx, name);
    awq__text text = {0};
    awq_status status = awq__text_append(job->ctx, &text, "%s\n", printed);
    if (status == AWQ_OK)
        status = awq__output_json(job->output, name, text.data, text.length);
    awq__text_free(&text);
    cJSON_free(printed);
    return status;
}

/* The source's text but for one member: readers of it tell 0 from 0.0. */
static awq_status write_config(awq__job *job)
{
    cJSON *quantization = NULL;
    awq_status status = awq__model_plan_config(job->ctx, job->plan, &quantization);
    if (status != AWQ_OK)
        return status;
    char *printed = cJSON_Print(quantization), *source = NULL;
    cJSON_Delete(quantization);
    if (!printed)
        return no_memory(job->ctx, "config.json");
    size_t bytes;
    awq__text text = {0};
    const char *path = job->plan->model->arch->config_path;
    if (status == AWQ_OK)
        status = awq__read_text_file(job->ctx, path, MAX_CONFIG_BYTES, &source, &bytes);
    if (status == AWQ_OK)
        status = awq__json_set_member(job->ctx, path, source, bytes, "quantization_config", printed,
                                      &text);
    if (status == AWQ_OK)
        status = awq__output_text(job->output, "config.json", text.data, text.length);
    awq__text_free(&text);
    awq__free(source);
    cJSON_free(printed);
    return status;
}

/* What tells a result that something is missing of, and how near its values are to the source's. */
static void add_treatments(const awq__job *job, cJSON *root)
{
    bool gptq = false;
    int64_t quantized = 0;
    for (size_t i = 0; i < job->plan->model->arch->module_count; i++) {
        const awq__treatment *treatment = job->plan->rules.of[i];
        quantized += treatment != NULL;
        gptq |= treatment && treatment->gptq;
    }
    cJSON_AddNumberToObject(root, "quantized_modules", (double)quantized);
    cJSON_AddStringToObject(root, "rounding", gptq ? "gptq" : "nearest");
}

/* The hashes that the journal has of the source's tensors. */
static void add_source(const awq__job *job, cJSON *root)
{
    cJSON *source = cJSON_AddObjectToObject(root, "source");
    cJSON_AddItemReferenceToObject(source, "ends",
                                   (cJSON *)(uintptr_t)awq__json_at(job->journal, "of." AWQ__ENDS));
    cJSON *layers = cJSON_AddArrayToObject(source, "layers");
    for (int64_t n = 0; n < job->plan->model->arch->model.layer_count; n++)
        cJSON_AddItemReferenceToArray(
            layers, cJSON_GetObjectItemCaseSensitive(awq__journal_layer(job, n), "source"));
}

awq_status awq__write_provenance(awq__job *job, const char *recipe_yaml)
{
    const awq_plugin *plugin = &job->plan->model->arch->plugin->table;
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, awq__sequences_hash(&job->sequences));
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "producer", AWQ__PRODUCER);
    cJSON_AddStringToObject(root, "version", awq_version());
    cJSON *object = cJSON_AddObjectToObject(root, "plugin");
    cJSON_AddStringToObject(object, "id", plugin->id);
    cJSON_AddStringToObject(object, "version", plugin->version);
    add_source(job, root);
    object = cJSON_AddObjectToObject(root, "calibration");
    cJSON_AddNumberToObject(object, "sequences", (double)job->sequences.count);
    cJSON_AddNumberToObject(object, "tokens",
                            job->sequences.count ? (double)awq__token_count(&job->sequences) : 0);
    cJSON_AddStringToObject(object, "ids_xxh3_64", hash);
    add_treatments(job, root);
    cJSON *kernels = awq__kernels(job);
    if (!kernels || !cJSON_AddItemToObject(root, "kernels", kernels)) {
        cJSON_Delete(kernels);
        cJSON_Delete(root);
        return no_memory(job->ctx, AWQ__PROVENANCE_FILE);
    }
    cJSON_AddStringToObject(root, "recipe", recipe_yaml);
    awq_status status = write_json(job, AWQ__PROVENANCE_FILE, root);
    cJSON_Delete(root);
    return status;
}

awq_status awq__write_side_files(awq__job *job)
{
    awq_status status = write_config(job);
    return status == AWQ_OK ? awq__side_files_copy(job) : status;
}
