/* The figures of bench_layer: what follows from a run's times and counts, as text and as JSON. */
#include "layer.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define ALLOWANCE 2e9 /* of memory beside a layer's weights and the hidden states */

stage *layer_find_stage(stage *stages, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(stages[i].name, name))
            return &stages[i];
    return NULL;
}

/* ---- figures ---- */

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double peak_speed(const run *r)
{
    return larger(r->before.all.best, r->after.all.best);
}

static double peak_memory_speed(const run *r)
{
    return larger(r->before.memory.best, r->after.memory.best);
}

static double peak_processor_speed(const run *r)
{
    return larger(r->before.all.processor, r->after.all.processor);
}

static double floor_of(const run *r, const stage *s)
{
    return larger(s->gflop / peak_speed(r), 1e-9 * s->bytes / peak_memory_speed(r));
}

/* In processor time, which what others take of the machine does not lengthen. */
static double processor_floor_of(const run *r, const stage *s)
{
    double memory = larger(r->before.memory.processor, r->after.memory.processor);
    return larger(s->gflop / peak_processor_speed(r), 1e-9 * s->bytes / memory);
}

static double whole_floor(const run *r, double (*floor)(const run *, const stage *))
{
    double seconds = 0;
    for (int i = 0; i < r->stage_count; i++)
        seconds += floor(r, &r->stages[i]);
    return seconds;
}

static stage whole(const run *r)
{
    stage all = {.name = "all",
                 .seconds = r->seconds,
                 .processor_seconds = r->processor_seconds,
                 .peak = r->peak_bytes};
    for (int i = 0; i < r->stage_count; i++)
        all.gflop += r->stages[i].gflop;
    return all;
}

static double share_of_peak(const run *r, const stage *s)
{
    return s->seconds > 0 ? s->gflop / s->seconds / peak_speed(r) : 0;
}

/* The same for processor time: what others take of the machine does not count. */
static double processor_share(const run *r, const stage *s)
{
    return s->processor_seconds > 0 ? s->gflop / s->processor_seconds / peak_processor_speed(r) : 0;
}

static double memory_bound(const layer_subject *model, const run *r)
{
    return model->layer_bytes + r->tokens * (double)model->hidden * sizeof(float) + ALLOWANCE;
}

/* ---- text ---- */

static void print_speed(const char *what, const speed *before, const speed *after)
{
    printf("| %s | %.1f | %.1f | %.1f | %.1f | %.1f |\n", what, before->best, before->mean,
           after->best, after->mean, larger(before->processor, after->processor));
}

static void print_machine(const run *r)
{
    char all[64];
    snprintf(all, sizeof all, "a product on each of %d threads, GFLOP/s", r->threads);
    printf("| this machine | best before | mean | best after | mean | a processor second |\n"
           "| --- | --- | --- | --- | --- | --- |\n");
    print_speed("a product on one thread, GFLOP/s", &r->before.one, &r->after.one);
    print_speed(all, &r->before.all, &r->after.all);
    print_speed("memory, GB/s", &r->before.memory, &r->after.memory);
}

static void print_stage(const layer_subject *model, const run *r, const stage *s, double least)
{
    printf("| %s | %.2f | %.2f | ", s->name, s->seconds, s->processor_seconds);
    if (s->gflop > 0)
        printf("%.1f | %.1f | %.0f %% | %.0f %% | ", s->gflop, s->gflop / s->seconds,
               100 * share_of_peak(r, s), 100 * processor_share(r, s));
    else
        printf("| | | | ");
    if (s->transfer && s->seconds > 0)
        printf("%.2f ", 1e-9 * s->bytes / s->seconds);
    printf("| %.0f |", 1e-6 * s->peak);
    if (model->floor)
        printf(" %.2f |", least);
    printf("\n");
}

static void print_floor(const run *r)
{
    double seconds = whole_floor(r, floor_of), processor = whole_floor(r, processor_floor_of);
    printf("floor: %.2f s, %.0f %% of the time; %.2f processor seconds, %.0f %% of those used\n",
           seconds, 100 * seconds / r->seconds, processor, 100 * processor / r->processor_seconds);
}

void layer_print(const layer_subject *model, const run *runs, int count)
{
    const run *r = &runs[count / 2];
    stage all = whole(r);
    double inside = 0;
    printf("\nthreads: %d, tokens: %.0f", r->threads, r->tokens);
    if (r->most > 0)
        printf(", of an expert %.0f to %.0f, in the middle %.0f", r->least, r->most, r->median);
    printf("\n\n");
    print_machine(r);
    printf("\n| stage | seconds | processor s | GFLOP | GFLOP/s | of the peak | by processor time "
           "| GB/s | memory MB |%s\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |%s\n",
           model->floor ? " floor |" : "", model->floor ? " --- |" : "");
    for (int i = 0; i < r->stage_count; i++) {
        if (r->stages[i].seconds > 0)
            print_stage(model, r, &r->stages[i], floor_of(r, &r->stages[i]));
        inside += r->stages[i].seconds;
    }
    print_stage(model, r, &all, whole_floor(r, floor_of));
    printf("\ntotal: %.2f s", r->seconds);
    if (count > 1)
        printf(", median of %d (%.2f to %.2f)", count, runs[0].seconds, runs[count - 1].seconds);
    printf("; outside the stages %.2f s\n", r->seconds - inside);
    printf("processor: %.2f s, %.0f %% of the threads' time\n", r->processor_seconds,
           100 * r->processor_seconds / r->seconds / r->threads);
    printf("peak memory: %.0f MB; a layer in BF16, the hidden states and 2 GB: %.0f MB\n",
           1e-6 * r->peak_bytes, 1e-6 * memory_bound(model, r));
    if (model->floor)
        print_floor(r);
}

static void print_ratio(const char *name, double one, double many)
{
    if (one > 0 && many > 0)
        printf("| %s | %.2f | %.2f | %.2f |\n", name, one, many, one / many);
}

void layer_print_scaling(run *one, run *many)
{
    printf("\n| stage | 1 thread | %d threads | ratio |\n| --- | --- | --- | --- |\n",
           many->threads);
    for (int i = 0; i < many->stage_count; i++) {
        const stage *s = layer_find_stage(one->stages, one->stage_count, many->stages[i].name);
        if (s)
            print_ratio(s->name, s->seconds, many->stages[i].seconds);
    }
    print_ratio("all", one->seconds, many->seconds);
    printf("| a product on each thread, GFLOP/s | %.1f | %.1f | %.2f |\n", peak_speed(one),
           peak_speed(many), peak_speed(many) / peak_speed(one));
}

/* ---- JSON ---- */

static void add_number(cJSON *object, const char *name, double value)
{
    cJSON_AddNumberToObject(object, name, value);
}

static void add_speed(cJSON *parent, const char *name, const speed *s)
{
    cJSON *object = cJSON_AddObjectToObject(parent, name);
    add_number(object, "best", s->best);
    add_number(object, "mean", s->mean);
    add_number(object, "best_of_processor_second", s->processor);
}

static void add_machine(cJSON *parent, const char *name, const machine *m)
{
    cJSON *object = cJSON_AddObjectToObject(parent, name);
    add_speed(object, "gflops_one_thread", &m->one);
    add_speed(object, "gflops_all_threads", &m->all);
    add_speed(object, "memory_gb_per_second", &m->memory);
}

static cJSON *describe_run(const layer_subject *model, const run *r)
{
    cJSON *object = cJSON_CreateObject();
    add_number(object, "threads", r->threads);
    add_number(object, "tokens", r->tokens);
    add_number(object, "least_tokens_of_an_expert", r->least);
    add_number(object, "median_tokens_of_an_expert", r->median);
    add_number(object, "most_tokens_of_an_expert", r->most);
    add_machine(object, "machine_before", &r->before);
    add_machine(object, "machine_after", &r->after);
    cJSON *stages = cJSON_AddArrayToObject(object, "stages");
    for (int i = 0; i < r->stage_count; i++) {
        const stage *s = &r->stages[i];
        cJSON *entry = cJSON_CreateObject();
        cJSON_AddStringToObject(entry, "name", s->name);
        add_number(entry, "seconds", s->seconds);
        add_number(entry, "gflop", s->gflop);
        add_number(entry, "processor_seconds", s->processor_seconds);
        add_number(entry, "share_of_peak", share_of_peak(r, s));
        add_number(entry, "share_of_peak_by_processor_time", processor_share(r, s));
        add_number(entry, "peak_memory", s->peak);
        if (s->transfer && s->seconds > 0)
            add_number(entry, "gb_per_second", 1e-9 * s->bytes / s->seconds);
        if (model->floor)
            add_number(entry, "floor_seconds", floor_of(r, s));
        cJSON_AddItemToArray(stages, entry);
    }
    add_number(object, "seconds", r->seconds);
    add_number(object, "processor_seconds", r->processor_seconds);
    add_number(object, "peak_memory", r->peak_bytes);
    add_number(object, "memory_bound", memory_bound(model, r));
    if (model->floor) {
        double seconds = whole_floor(r, floor_of), processor = whole_floor(r, processor_floor_of);
        add_number(object, "floor_seconds", seconds);
        add_number(object, "floor_processor_seconds", processor);
    }
    return object;
}

bool layer_write_json(const layer_subject *model, const run *runs, int count, const char *path)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", model->model);
    add_number(root, "layers", (double)model->layers);
    add_number(root, "bytes", model->bytes);
    cJSON *list = cJSON_AddArrayToObject(root, "runs");
    for (int i = 0; i < count; i++)
        cJSON_AddItemToArray(list, describe_run(model, &runs[i]));
    char *text = cJSON_Print(root);
    FILE *file = fopen(path, "w");
    bool written = text && file && fprintf(file, "%s\n", text) > 0;
    if (file && fclose(file) != 0)
        written = false;
    cJSON_free(text);
    cJSON_Delete(root);
    return written;
}
