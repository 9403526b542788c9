#include "quality.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(const quality *q, awq_status status)
{
    if (status == AWQ_OK)
        return;
    fprintf(stderr, "%s: %s\n", awq_status_name(status), awq_context_message(q->ctx));
    exit(2);
}

void quality_begin(quality *q, const char *plugins)
{
    *q = (quality){0};
    if (awq_context_create(&q->ctx) != AWQ_OK)
        exit(2);
    check(q, awq_context_add_plugin_path(q->ctx, plugins));
    snprintf(q->output, sizeof q->output, "/tmp/awq-quality-%ld", (long)getpid());
}

void quality_end(quality *q)
{
    awq_context_free(q->ctx);
}

const char *quality_split(char *text)
{
    char *value = strchr(text, '=');
    if (!value) {
        fprintf(stderr, "%s: expected OPTION=VALUE\n", text);
        exit(2);
    }
    *value = 0;
    return value + 1;
}

void quality_add(quality *q, const char *name, const char *value)
{
    if (q->options == QUALITY_OPTIONS) {
        fprintf(stderr, "%s: more than %d options\n", name, QUALITY_OPTIONS);
        exit(2);
    }
    q->names[q->options] = name;
    q->values[q->options++] = value;
}

cJSON *quality_references(const char *model)
{
    static char text[1 << 20], path[4096];
    snprintf(path, sizeof path, "%s/reference.json", model);
    FILE *file = fopen(path, "rb");
    size_t bytes = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[bytes] = 0;
    cJSON *root = cJSON_Parse(text);
    if (!root) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(2);
    }
    return root;
}

bool quality_read(const cJSON *row, quality_row *read)
{
    const cJSON *width = cJSON_GetObjectItem(row, "bits");
    if (cJSON_IsString(width))
        snprintf(read->bits, sizeof read->bits, "%s", width->valuestring);
    else
        snprintf(read->bits, sizeof read->bits, "%d", width->valueint);
    snprintf(read->group, sizeof read->group, "%d", cJSON_GetObjectItem(row, "group")->valueint);
    read->symmetric = cJSON_IsTrue(cJSON_GetObjectItem(row, "sym"));
    read->method = cJSON_GetStringValue(cJSON_GetObjectItem(row, "method"));
    read->kl = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(row, "kl"), "mix"));
    return strcmp(read->bits, "3") &&
           cJSON_IsTrue(cJSON_GetObjectItem(row, "router_compensated")) &&
           cJSON_IsTrue(cJSON_GetObjectItem(row, "duo"));
}

static void set(const quality *q, awq_recipe *recipe, const char *name, const char *value)
{
    check(q, awq_recipe_set(recipe, name, value, NULL));
}

double quality_measure(const quality *q, const quality_row *row, double *seconds)
{
    awq_recipe *recipe;
    awq_report *report;
    char path[4096];
    awq_quantize_options how = {.struct_size = sizeof how, .force = true, .restart = true};
    bool mxfp4 = !strcmp(row->bits, "mx"), searched = !strncmp(row->method, "awq", 3);
    check(q, awq_recipe_create(q->ctx, &recipe));
    set(q, recipe, "model", q->model);
    set(q, recipe, "output", q->output);
    set(q, recipe, "format", mxfp4 ? "mxfp4" : "compressed-tensors");
    snprintf(path, sizeof path, "%s/calib_ids.safetensors", q->model);
    set(q, recipe, "calibration.data", path);
    set(q, recipe, "calibration.samples", "64");
    snprintf(path, sizeof path, "%s/eval_ids.safetensors", q->model);
    set(q, recipe, "evaluation.data", path);
    set(q, recipe, "quantize.bits", mxfp4 ? "4" : row->bits);
    set(q, recipe, "quantize.group_size", row->group);
    set(q, recipe, "quantize.symmetric", row->symmetric || mxfp4 ? "true" : "false");
    set(q, recipe, "quantize.method", searched ? "awq" : row->method);
    set(q, recipe, "quantize.rounding", strstr(row->method, "gptq") ? "gptq" : "nearest");
    set(q, recipe, "quantize.clip", strstr(row->method, "+") ? "true" : "false");
    for (int i = 0; i < q->options; i++)
        set(q, recipe, q->names[i], q->values[i]);
    double start = now();
    check(q, awq_quantize(q->ctx, recipe, &how, &report));
    *seconds = now() - start;
    double kl = awq_report_evaluation(report)->kl;
    awq_report_free(report);
    awq_recipe_free(recipe);
    return kl;
}
