/* The report and the provenance. */
#include "run/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Raised where a key changes its meaning or goes; new keys do not raise it. */
#define SCHEMA 1

static void add_evaluation(awq__json_builder *b, cJSON *root, const awq_eval_result *evaluation)
{
    cJSON *object = awq__json_add_object(b, root, "evaluation");
    awq__json_add_number(b, object, "perplexity", evaluation->perplexity);
    awq__json_add_number(b, object, "tokens", (double)evaluation->tokens);
    awq__json_add_number(b, object, "reference_perplexity", evaluation->reference_perplexity);
    awq__json_add_number(b, object, "kl", evaluation->kl);
    awq__json_add_number(b, object, "top1_agreement", evaluation->top1_agreement);
    awq__json_add_number(b, object, "router_topk_agreement", evaluation->router_topk_agreement);
}

/* What was made of which model. */
static awq_status add_head(const awq__job *job, awq__json_builder *b, cJSON *root)
{
    char *name;
    bool on_hub;
    AWQ__CHECK(awq__base_model(job->ctx, job->plan->model->directory, &name, &on_hub));
    awq__json_add_number(b, root, "schema", SCHEMA);
    awq__json_add_text(b, root, "version", awq_version());
    if (awq__device_name(job->ctx))
        awq__json_add_text(b, root, "device", awq__device_name(job->ctx));
    awq__json_add_text(b, root, "model", name);
    awq__json_add_text(b, root, "model_type", job->plan->model->arch->model_type);
    awq__json_add_text(b, root, "format", job->plan->format->name);
    awq__json_add_number(b, root, "bytes_before", (double)job->plan->model->bytes);
    awq__json_add_number(b, root, "bytes_after", (double)awq__output_bytes(job->writer.output));
    awq__json_add_number(b, root, "calibration_sequences", (double)job->sequences.count);
    awq__json_add_number(b, root, "calibration_tokens",
                         job->sequences.count ? (double)awq__token_count(&job->sequences) : 0);
    awq__free(name);
    return AWQ_OK;
}

static void add_layers(awq__job *job, awq__json_builder *b, cJSON *root)
{
    cJSON *layers = awq__json_add_array(b, root, "layers");
    for (int64_t n = 0; n < job->plan->model->arch->model.layer_count; n++)
        awq__json_add_reference(
            b, layers, NULL,
            cJSON_GetObjectItemCaseSensitive(awq__journal_layer(&job->journal, n), "report"));
}

awq_status awq__report_create(awq__job *job, const awq_eval_result *evaluation, awq_report **report)
{
    awq_context *ctx = job->ctx;
    *report = awq__alloc(ctx, 1, sizeof **report, "the report");
    AWQ__CHECK_ALLOC(*report);
    awq__json_builder b = {0};
    awq__text text = {0};
    cJSON *root = awq__json_root(&b);
    awq_status status;
    AWQ__TRY(add_head(job, &b, root));
    if (job->mixed)
        awq__json_add_reference(&b, root, "mixed", job->mixed);
    add_layers(job, &b, root);
    if (evaluation) {
        (*report)->has_evaluation = true;
        (*report)->evaluation = *evaluation;
        add_evaluation(&b, root, evaluation);
    }
    AWQ__TRY(awq__json_built(ctx, &b, "the report"));
    AWQ__TRY(awq__json_print(ctx, root, "the report", &text));
    (*report)->json = text.data;
    (*report)->output = awq__strdup(ctx, job->plan->settings.output);
    AWQ__TRY_ALLOC((*report)->output);
    (*report)->bytes_before = job->plan->model->bytes;
    (*report)->bytes_after = awq__output_bytes(job->writer.output);
done:
    cJSON_Delete(root);
    if (status != AWQ_OK) {
        awq_report_free(*report);
        *report = NULL;
    }
    return status;
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
    return report ? report->json : "";
}

const awq_eval_result *awq_report_evaluation(const awq_report *report)
{
    return report && report->has_evaluation ? &report->evaluation : NULL;
}

const char *awq_report_output(const awq_report *report)
{
    return report ? report->output : "";
}

uint64_t awq_report_bytes_before(const awq_report *report)
{
    return report ? report->bytes_before : 0;
}

uint64_t awq_report_bytes_after(const awq_report *report)
{
    return report ? report->bytes_after : 0;
}

/* What says where and in how much room, and does not change the result. */
static bool is_left_out(const char *line)
{
    static const char *const keys[] = {
        "output:", "memory_limit:", "ignore_engine:", "device:", "device_memory:"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strncmp(line, keys[i], strlen(keys[i])))
            return true;
    return false;
}

awq_status awq__recipe_provenance(awq_context *ctx, const awq_recipe *recipe, awq__text *yaml)
{
    awq__text whole = {0};
    awq_status status;
    AWQ__TRY(awq__recipe_yaml(ctx, recipe, &whole));
    for (const char *line = whole.data; line && *line;) {
        size_t length = strcspn(line, "\n");
        length += line[length] == '\n';
        if (!is_left_out(line))
            AWQ__TRY(awq__text_append_bytes(ctx, yaml, line, length));
        line += length;
    }
done:
    awq__text_free(&whole);
    return status;
}

/* ---- the provenance ---- */

static awq_status write_json(awq__job *job, const char *name, const cJSON *root)
{
    awq__text text = {0};
    awq_status status;
    AWQ__TRY(awq__json_print(job->ctx, root, name, &text));
    AWQ__TRY(awq__text_append(job->ctx, &text, "\n"));
    AWQ__TRY(awq__output_json(job->writer.output, name, text.data, text.length));
done:
    awq__text_free(&text);
    return status;
}

/* The parts by which `verify` recognizes a result that lacks something, and how near its values are
 * to the source's. */
static void add_treatments(const awq__job *job, awq__json_builder *b, cJSON *root)
{
    bool gptq = false;
    int64_t quantized = 0;
    for (size_t i = 0; i < job->plan->model->arch->module_count; i++) {
        const awq__treatment *treatment = job->plan->rules.of[i];
        quantized += treatment != NULL;
        gptq |= treatment && treatment->gptq;
    }
    awq__json_add_number(b, root, "quantized_modules", (double)quantized);
    awq__json_add_text(b, root, "rounding", gptq ? "gptq" : "nearest");
}

/* The hashes that the journal has of the source's tensors. */
static void add_source(const awq__job *job, awq__json_builder *b, cJSON *root)
{
    cJSON *source = awq__json_add_object(b, root, "source");
    awq__json_add_reference(b, source, "ends", awq__json_at(job->journal.json, "of." AWQ__ENDS));
    cJSON *layers = awq__json_add_array(b, source, "layers");
    for (int64_t n = 0; n < job->plan->model->arch->model.layer_count; n++)
        awq__json_add_reference(
            b, layers, NULL,
            cJSON_GetObjectItemCaseSensitive(awq__journal_layer(&job->journal, n), "source"));
}

awq_status awq__write_provenance(awq__job *job, const char *recipe_yaml)
{
    const awq_plugin *plugin = &job->plan->model->arch->plugin->table;
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, awq__sequences_hash(&job->sequences));
    awq__json_builder b = {0};
    cJSON *root = awq__json_root(&b);
    awq__json_add_text(&b, root, "producer", AWQ__PRODUCER);
    awq__json_add_text(&b, root, "version", awq_version());
    cJSON *object = awq__json_add_object(&b, root, "plugin");
    awq__json_add_text(&b, object, "id", plugin->id);
    awq__json_add_text(&b, object, "version", plugin->version);
    add_source(job, &b, root);
    object = awq__json_add_object(&b, root, "calibration");
    awq__json_add_number(&b, object, "sequences", (double)job->sequences.count);
    awq__json_add_number(&b, object, "tokens",
                         job->sequences.count ? (double)awq__token_count(&job->sequences) : 0);
    awq__json_add_text(&b, object, "ids_xxh3_64", hash);
    add_treatments(job, &b, root);
    awq__json_add_item(&b, root, "kernels", awq__kernels(&job->journal));
    awq__json_add_text(&b, root, "recipe", recipe_yaml);
    awq_status status;
    AWQ__TRY(awq__json_built(job->ctx, &b, AWQ__PROVENANCE_FILE));
    AWQ__TRY(write_json(job, AWQ__PROVENANCE_FILE, root));
done:
    cJSON_Delete(root);
    return status;
}
