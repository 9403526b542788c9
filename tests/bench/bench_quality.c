/*
 * What quantization does to trained models, beside measured references: for each row of a model's
 * reference.json (scheme and method, with its KL on eval_ids.safetensors) the same with this
 * library, calibrated on calib_ids.safetensors.
 *
 *   bench_quality PLUGIN_DIR MODEL_DIR [OPTION=VALUE...]
 *
 * OPTION=VALUE is set on every recipe after what the row says; bits=, group= and
 * method= choose rows. Prints a Markdown table; exits 1 if a row is worse than its limit: plain
 * rounding further than 3 % from the reference, scales alone or GPTQ alone more than 5 % above it,
 * scales with clip or GPTQ above it.
 */
#include "awq/awq.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_OPTIONS 64

typedef struct bench {
    awq_context *ctx;
    const char *model;
    char output[64];
    const char *names[MAX_OPTIONS], *values[MAX_OPTIONS];
    int options;
    const char *only_bits, *only_group, *only_method;
    bool missed;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(const bench *b, awq_status status)
{
    if (status == AWQ_OK)
        return;
    fprintf(stderr, "%s: %s\n", awq_status_name(status), awq_context_message(b->ctx));
    exit(2);
}

static cJSON *read_references(const char *model)
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

static void set(const bench *b, awq_recipe *recipe, const char *name, const char *value)
{
    check(b, awq_recipe_set(recipe, name, value, NULL));
}

/* The KL of one recipe, and the seconds it took. */
static double measure(const bench *b, const char *bits, const char *group, const char *symmetric,
                      const char *method, double *seconds)
{
    awq_recipe *recipe;
    awq_report *report;
    char path[4096];
    awq_quantize_options how = {.struct_size = sizeof how, .force = true, .restart = true};
    bool mxfp4 = !strcmp(bits, "mx"), searched = !strncmp(method, "awq", 3);
    check(b, awq_recipe_create(b->ctx, &recipe));
    set(b, recipe, "model", b->model);
    set(b, recipe, "output", b->output);
    set(b, recipe, "format", mxfp4 ? "mxfp4" : "compressed-tensors");
    snprintf(path, sizeof path, "%s/calib_ids.safetensors", b->model);
    set(b, recipe, "calibration.data", path);
    set(b, recipe, "calibration.samples", "64");
    snprintf(path, sizeof path, "%s/eval_ids.safetensors", b->model);
    set(b, recipe, "evaluation.data", path);
    set(b, recipe, "quantize.bits", mxfp4 ? "4" : bits);
    set(b, recipe, "quantize.group_size", group);
    set(b, recipe, "quantize.symmetric", symmetric);
    set(b, recipe, "quantize.method", searched ? "awq" : method);
    set(b, recipe, "quantize.rounding", strstr(method, "gptq") ? "gptq" : "nearest");
    set(b, recipe, "quantize.clip", strstr(method, "+") ? "true" : "false");
    for (int i = 0; i < b->options; i++)
        set(b, recipe, b->names[i], b->values[i]);
    double start = now();
    check(b, awq_quantize(b->ctx, recipe, &how, &report));
    *seconds = now() - start;
    double kl = awq_report_evaluation(report)->kl;
    awq_report_free(report);
    awq_recipe_free(recipe);
    return kl;
}

static bool wanted(const char *only, const char *value)
{
    return !only || !strcmp(only, value);
}

static void run_row(bench *b, const cJSON *row)
{
    char bits[16], group[16];
    const cJSON *width = cJSON_GetObjectItem(row, "bits");
    const char *method = cJSON_GetStringValue(cJSON_GetObjectItem(row, "method"));
    bool symmetric = cJSON_IsTrue(cJSON_GetObjectItem(row, "sym"));
    double expected =
        cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(row, "kl"), "mix"));
    if (cJSON_IsString(width))
        snprintf(bits, sizeof bits, "%s", width->valuestring);
    else
        snprintf(bits, sizeof bits, "%d", width->valueint);
    snprintf(group, sizeof group, "%d", cJSON_GetObjectItem(row, "group")->valueint);
    if (!cJSON_IsTrue(cJSON_GetObjectItem(row, "router_compensated")) ||
        !cJSON_IsTrue(cJSON_GetObjectItem(row, "duo")) || !wanted(b->only_bits, bits) ||
        !wanted(b->only_group, group) || !wanted(b->only_method, method))
        return;
    double seconds, kl = measure(b, bits, group, symmetric ? "true" : "false", method, &seconds);
    double ratio = kl / expected;
    bool good = ratio <= (strchr(method, '+') ? 1 : 1.05);
    if (!strcmp(method, "rtn"))
        good = ratio >= 0.97 && ratio <= 1.03;
    b->missed |= !good;
    printf("| %s | %s | %s | %s | %.6f | %.6f | %.3f%s | %.1f |\n", bits, group,
           symmetric ? "symmetric" : "asymmetric", method, expected, kl, ratio, good ? "" : " !",
           seconds);
    if (!strcmp(bits, "mx") && !strcmp(method, "awq")) {
        double chosen = measure(b, bits, group, "true", "awq+clip", &seconds);
        b->missed |= !(chosen < kl);
        printf("| mx | %s | symmetric | awq, exponents chosen | %.6f | %.6f | %.3f%s | %.1f |\n",
               group, expected, chosen, chosen / expected, chosen < kl ? "" : " !", seconds);
    }
    fflush(stdout);
}

static void read_option(bench *b, char *text)
{
    char *value = strchr(text, '=');
    if (!value || b->options == MAX_OPTIONS) {
        fprintf(stderr, "%s: expected OPTION=VALUE\n", text);
        exit(2);
    }
    *value++ = 0;
    if (!strcmp(text, "bits"))
        b->only_bits = value;
    else if (!strcmp(text, "group"))
        b->only_group = value;
    else if (!strcmp(text, "method"))
        b->only_method = value;
    else {
        b->names[b->options] = text;
        b->values[b->options++] = value;
    }
}

int main(int count, char **arguments)
{
    bench b = {0};
    if (count < 3) {
        fprintf(stderr, "usage: bench_quality PLUGIN_DIR MODEL_DIR [OPTION=VALUE...]\n");
        return 2;
    }
    if (awq_context_create(&b.ctx) != AWQ_OK)
        return 2;
    check(&b, awq_context_add_plugin_path(b.ctx, arguments[1]));
    b.model = arguments[2];
    for (int i = 3; i < count; i++)
        read_option(&b, arguments[i]);
    snprintf(b.output, sizeof b.output, "/tmp/awq-quality-%ld", (long)getpid());
    printf("%s\n\n| bits | group | codes | method | reference KL | KL | ratio | seconds |\n",
           b.model);
    printf("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    cJSON *root = read_references(b.model);
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "rows"))
    {
        run_row(&b, row);
    }
    cJSON_Delete(root);
    awq_context_free(b.ctx);
    return b.missed;
}
