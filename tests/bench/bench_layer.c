/*
 * One quantization of a model that make_model has written, set against what this machine gives at
 * that moment: for each stage its share of the speed of matrix products, and with --floor of the
 * time that could not be undercut.
 *
 *   bench_layer PLUGIN_DIR MODEL_DIR [--threads N] [--repeat N] [--scaling] [--floor]
 *               [--json FILE] [--seconds S] OPTION=VALUE...
 *
 * The ids are MODEL_DIR/calib_ids.safetensors and the output is MODEL_DIR.bench, which is removed
 * again; OPTION=VALUE is set on the recipe (lists take one value). --repeat runs so often and
 * shows the median run; --scaling runs with one thread first and then with --threads, 2 by
 * default. --seconds is how long each speed of the machine is measured, before and after.
 */
#include "layer.h"
#include "support/synthetic.h"

#include "awq/awq.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RUNS 32
#define MAX_EXPERTS 4096

/* What the progress callback sees: the stage that goes on, and what those before took. */
typedef struct watch {
    stage stages[MAX_STAGES];
    int count, now; /* now: -1 before the first */
    double start;   /* of the present stage, in processor seconds */
} watch;

typedef struct bench {
    awq_context *ctx;
    awq_recipe *recipe;
    layer_subject subject;
    const char *json;
    char output[4096];
    int threads, repeat;
    double measure_seconds;
    bool scaling;
    run *logged; /* whose stages the log tells */
    watch watch;
} bench;

static void check(const bench *b, awq_status status)
{
    if (status == AWQ_OK)
        return;
    fprintf(stderr, "%s: %s\n", awq_status_name(status), awq_context_message(b->ctx));
    exit(1);
}

/* ---- what the library logs ---- */

/* The number that ends at `end`, after a space that is put into *space. False if there is none. */
static bool number_before(const char *begin, const char *end, const char **space, double *value)
{
    const char *at = end;
    char *stop;
    while (at > begin && at[-1] != ' ')
        at--;
    if (at == begin || at == end)
        return false;
    *value = strtod(at, &stop);
    *space = at - 1;
    return stop == end;
}

/* "time: NAME 1.5 s", and perhaps more after it: ", matrix products 2.5 GFLOP". */
static bool read_stage(const char *line, stage *s)
{
    const char *prefix = "time: ", *space;
    *s = (stage){0};
    if (strncmp(line, prefix, strlen(prefix)))
        return false;
    const char *begin = line + strlen(prefix), *end = strstr(begin, " s");
    while (end && ((end[2] && end[2] != ',') || !number_before(begin, end, &space, &s->seconds)))
        end = strstr(end + 1, " s");
    if (!end)
        return false;
    const char *products = strstr(end, " GFLOP"), *ignored;
    if (products && !number_before(end, products, &ignored, &s->gflop))
        s->gflop = 0;
    snprintf(s->name, sizeof s->name, "%.*s", (int)(space - begin), begin);
    return true;
}

static void receive(void *user, awq_log_level level, const char *text)
{
    bench *b = user;
    stage s;
    if (level == AWQ_LOG_WARNING)
        fprintf(stderr, "%s\n", text);
    if (b->logged && b->logged->stage_count < MAX_STAGES && read_stage(text, &s))
        b->logged->stages[b->logged->stage_count++] = s;
}

/* ---- what can be seen from outside ---- */

/* Forgets the peak so far, where the kernel lets a process do that. */
static void reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) {
        fputs("5", file);
        fclose(file);
    }
}

/* VmHWM: the most memory that was resident, mapped files included. */
static double peak_memory(void)
{
    char line[256];
    double kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "VmHWM:", 6))
            kilobytes = strtod(line + 6, NULL);
    if (file)
        fclose(file);
    return 1024 * kilobytes;
}

/* Books what the present stage took, and begins the next. */
static void enter(watch *w, const char *name)
{
    double now = processor_seconds(), peak = peak_memory();
    if (w->now >= 0) {
        stage *s = &w->stages[w->now];
        s->processor_seconds += now - w->start;
        s->peak = peak > s->peak ? peak : s->peak;
    }
    stage *next = layer_find_stage(w->stages, w->count, name);
    if (!next && w->count < MAX_STAGES) {
        next = &w->stages[w->count++];
        snprintf(next->name, sizeof next->name, "%s", name);
    }
    w->now = next ? (int)(next - w->stages) : -1;
    w->start = now;
    reset_peak();
}

static int follow(void *user, const awq_progress *progress)
{
    enter(&((bench *)user)->watch, progress->stage);
    return 0;
}

/* ---- one run ---- */

static void begin_watch(watch *w)
{
    *w = (watch){.now = -1};
    enter(w, "");
}

static void end_watch(watch *w, run *r)
{
    enter(w, "");
    for (int i = 0; i < w->count; i++) {
        const stage *seen = &w->stages[i];
        stage *s = layer_find_stage(r->stages, r->stage_count, seen->name);
        r->processor_seconds += seen->processor_seconds;
        r->peak_bytes = seen->peak > r->peak_bytes ? seen->peak : r->peak_bytes;
        if (s) {
            s->processor_seconds = seen->processor_seconds;
            s->peak = seen->peak;
        }
    }
}

/* Every stage with products reads each weight at least once, and so do reading and writing; the
   latter adds the result. */
static void add_bytes(const bench *b, double written, run *r)
{
    for (int i = 0; i < r->stage_count; i++) {
        stage *s = &r->stages[i];
        bool writes = strstr(s->name, "write");
        s->transfer = writes || !strcmp(s->name, "read");
        if (s->gflop > 0 || s->transfer)
            s->bytes = b->subject.bytes + (writes ? written : 0);
    }
}

static double bytes_written(const bench *b)
{
    awq_model *model;
    awq_model_info info;
    check(b, awq_model_open(b->ctx, b->output, NULL, &model));
    awq_model_describe(model, &info);
    double bytes = (double)info.bytes;
    awq_model_free(model);
    return bytes;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* How unevenly the router chooses says how small the products of an expert are. */
static void read_report(const awq_report *report, run *r)
{
    cJSON *root = cJSON_Parse(awq_report_json(report));
    const cJSON *tokens = cJSON_GetObjectItem(root, "calibration_tokens");
    const cJSON *layer = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "layers"), 0);
    const cJSON *layer_experts = cJSON_GetObjectItem(layer, "experts");
    const cJSON *each = cJSON_GetObjectItem(layer_experts, "each"), *expert;
    double counts[MAX_EXPERTS];
    size_t experts = 0;
    r->tokens = cJSON_IsNumber(tokens) ? tokens->valuedouble : 0;
    cJSON_ArrayForEach(expert, each)
    {
        const cJSON *count = cJSON_GetObjectItem(expert, "tokens");
        if (cJSON_IsNumber(count) && experts < MAX_EXPERTS)
            counts[experts++] = count->valuedouble;
    }
    cJSON_Delete(root);
    if (!experts)
        return;
    qsort(counts, experts, sizeof *counts, by_value);
    r->least = counts[0];
    r->median = counts[experts / 2];
    r->most = counts[experts - 1];
}

static run run_once(bench *b, int threads)
{
    run r = {.threads = threads};
    awq_report *report;
    awq_quantize_options how = {.struct_size = sizeof how, .force = true, .restart = true};
    check(b, awq_context_set_threads(b->ctx, threads));
    check(b, machine_measure(b->ctx, b->measure_seconds, &r.before));
    b->logged = &r;
    begin_watch(&b->watch);
    double start = awq__now_seconds();
    check(b, awq_quantize(b->ctx, b->recipe, &how, &report));
    r.seconds = awq__now_seconds() - start;
    end_watch(&b->watch, &r);
    b->logged = NULL;
    read_report(report, &r);
    awq_report_free(report);
    add_bytes(b, bytes_written(b), &r);
    check(b, synthetic_remove(b->ctx, b->output));
    check(b, machine_measure(b->ctx, b->measure_seconds, &r.after));
    return r;
}

static int by_seconds(const void *a, const void *b)
{
    double left = ((const run *)a)->seconds, right = ((const run *)b)->seconds;
    return (left > right) - (left < right);
}

/* Runs as often as asked for; runs[] rise in seconds. */
static void run_all(bench *b, int threads, run *runs)
{
    for (int i = 0; i < b->repeat; i++)
        runs[i] = run_once(b, threads);
    qsort(runs, (size_t)b->repeat, sizeof *runs, by_seconds);
}

/* ---- arguments ---- */

static void usage(void)
{
    fprintf(stderr, "usage: bench_layer PLUGIN_DIR MODEL_DIR [--threads N] [--repeat N] "
                    "[--scaling] [--floor]\n"
                    "                   [--json FILE] [--seconds S] OPTION=VALUE...\n");
    exit(2);
}

static double number_argument(const char *text, double least, double most)
{
    char *end = "";
    double value = text ? strtod(text, &end) : least - 1;
    if (*end || !(value >= least && value <= most))
        usage();
    return value;
}

/* One argument, or one with its value; returns how many it took. */
static int read_argument(bench *b, char **arguments, int left)
{
    const char *name = arguments[0], *value = left > 1 ? arguments[1] : NULL;
    char *equals = strchr(arguments[0], '=');
    if (!strcmp(name, "--scaling"))
        b->scaling = true;
    else if (!strcmp(name, "--floor"))
        b->subject.floor = true;
    else if (!strcmp(name, "--threads"))
        b->threads = (int)number_argument(value, 1, 1024);
    else if (!strcmp(name, "--repeat"))
        b->repeat = (int)number_argument(value, 1, MAX_RUNS);
    else if (!strcmp(name, "--seconds"))
        b->measure_seconds = number_argument(value, 0, 60);
    else if (!strcmp(name, "--json") && value)
        b->json = value;
    else if (name[0] == '-' || !equals)
        usage();
    else {
        *equals = 0;
        check(b, awq_recipe_set(b->recipe, name, equals + 1, NULL));
        return 1;
    }
    bool alone = !strcmp(name, "--scaling") || !strcmp(name, "--floor");
    return alone ? 1 : 2;
}

static void set_paths(bench *b, char *directory)
{
    char ids[4096];
    size_t length = strlen(directory);
    while (length > 1 && directory[length - 1] == '/')
        directory[--length] = 0;
    b->subject.model = directory;
    snprintf(b->output, sizeof b->output, "%s.bench", directory);
    snprintf(ids, sizeof ids, "%s/calib_ids.safetensors", directory);
    check(b, awq_recipe_set(b->recipe, "model", directory, NULL));
    check(b, awq_recipe_set(b->recipe, "output", b->output, NULL));
    check(b, awq_recipe_set(b->recipe, "calibration.data", ids, NULL));
}

static void describe_model(bench *b)
{
    layer_subject *subject = &b->subject;
    awq_model *model;
    awq_model_info info;
    const awq_module *module;
    check(b, awq_model_open(b->ctx, subject->model, NULL, &model));
    awq_model_describe(model, &info);
    subject->layers = info.layer_count;
    subject->hidden = info.hidden_size;
    subject->bytes = (double)info.bytes;
    double *layers = calloc((size_t)info.layer_count + 1, sizeof *layers);
    if (!layers)
        exit(1);
    for (size_t i = 0; (module = awq_model_module(model, i)); i++) {
        if (module->layer < 0)
            continue;
        double *bytes = &layers[module->layer];
        *bytes += 2 * (double)module->rows * (double)module->columns;
        subject->layer_bytes = *bytes > subject->layer_bytes ? *bytes : subject->layer_bytes;
    }
    free(layers);
    awq_model_free(model);
    printf("%s: %" PRId64 " layers, %.2f GB\n", subject->model, subject->layers,
           1e-9 * subject->bytes);
}

static void measure_stages(bench *b)
{
    static run runs[2 * MAX_RUNS];
    run *one = runs, *many = b->scaling ? runs + b->repeat : runs;
    if (b->scaling) {
        run_all(b, 1, one);
        layer_print(&b->subject, one, b->repeat);
    }
    run_all(b, b->threads, many);
    layer_print(&b->subject, many, b->repeat);
    if (b->scaling)
        layer_print_scaling(&one[b->repeat / 2], &many[b->repeat / 2]);
    if (b->json && !layer_write_json(&b->subject, runs, (int)(many - runs) + b->repeat, b->json)) {
        fprintf(stderr, "%s: cannot be written\n", b->json);
        exit(1);
    }
}

int main(int count, char **arguments)
{
    bench b = {.repeat = 1, .measure_seconds = 1};
    if (count < 3)
        usage();
    if (awq_context_create(&b.ctx) != AWQ_OK)
        return 1;
    awq_context_set_log(b.ctx, receive, &b);
    awq_context_set_progress(b.ctx, follow, &b);
    check(&b, awq_context_add_plugin_path(b.ctx, arguments[1]));
    check(&b, awq_recipe_create(b.ctx, &b.recipe));
    set_paths(&b, arguments[2]);
    for (int i = 3; i < count;)
        i += read_argument(&b, arguments + i, count - i);
    if (!b.threads)
        b.threads = b.scaling ? 2 : awq_context_threads(b.ctx);
    describe_model(&b);
    measure_stages(&b);
    awq_recipe_free(b.recipe);
    awq_context_free(b.ctx);
    return 0;
}
