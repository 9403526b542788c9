/* Which group size `auto` means: one that fits the matrices, the devices and the engine. */
#include "plan/engine_rows.h"
#include "plan/rules.h"

#include <stdio.h>
#include <string.h>

static const int64_t group_sizes[] = {128, 64, 32};
enum { SIZES = sizeof group_sizes / sizeof *group_sizes };

/* The group sizes that divide so many columns, as text. */
static void list_sizes(int64_t cols, char *text, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < SIZES; i++)
        if (cols % group_sizes[i] == 0)
            at += (size_t)snprintf(text + at, size - at, "%lld, ", (long long)group_sizes[i]);
    snprintf(text + at, size - at, "-1");
}

/* Modules that get one group size, as engines see them. */
typedef struct sharers {
    awq__engine_module *modules;
    awq__scheme *schemes; /* of the modules */
    size_t count;
} sharers;

/* Those of one treatment, or, for NULL, of all whose group is still 0. */
static void find_sharers(const awq__rules *rules, const awq__arch *arch,
                         const awq__treatment *treatment, sharers *s)
{
    s->count = 0;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *m = &arch->modules[i];
        const awq__treatment *of = rules->of[i];
        if (!of || of->scheme.group || (treatment && of != treatment))
            continue;
        s->schemes[s->count] = of->scheme;
        s->modules[s->count] = awq__engine_module_of(m, &s->schemes[s->count]);
        s->count++;
    }
}

static bool divides_all(const sharers *s, int64_t group)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->modules[i].cols % group)
            return false;
    return true;
}

/* How much an engine has against it: 0 for nothing. */
static int faults_of(const char *engine, const awq__engine_facts *f)
{
    awq__engine_level level = AWQ__ENGINE_NOTE;
    int faults = 0;
    while (!awq__engine_loads(engine, level, f)) {
        faults++;
        if (level == AWQ__ENGINE_REFUSES)
            break;
        level--;
    }
    return faults;
}

/* The same of the recipe's engine, or of how many do not load it where it names none. */
static int faults_with(const awq__arch *arch, const awq__serving *serving, sharers *s,
                       int64_t group)
{
    static const char *const engines[] = {"vllm", "sglang", "transformers"};
    const awq__engine_facts f = {.format = serving->format,
                                 .model_type = arch->model_type,
                                 .native_mxfp4 = awq__has_native_mxfp4(arch),
                                 .hidden = arch->model.hidden_size,
                                 .tensor_parallel = serving->tensor_parallel,
                                 .modules = s->modules,
                                 .module_count = s->count};
    int faults = 0;
    for (size_t i = 0; i < s->count; i++)
        s->schemes[i].group = group;
    if (strcmp(serving->engine, "any") != 0)
        return faults_of(serving->engine, &f);
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        faults += !awq__engine_loads(engines[i], AWQ__ENGINE_REFUSES, &f);
    return faults;
}

static awq_status none_divides(awq_context *ctx, const sharers *s)
{
    size_t i = 0;
    while (i + 1 < s->count && s->modules[i].cols % 32 == 0)
        i++;
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "%s: its %lld columns are not a multiple of 128, 64 or 32: only group_size "
                     "-1, a group a row, fits",
                     s->modules[i].name, (long long)s->modules[i].cols);
}

static awq_status choose(awq_context *ctx, const awq__arch *arch, const awq__serving *serving,
                         sharers *s, int64_t *group)
{
    int best = 0;
    *group = 0;
    for (size_t i = 0; i < SIZES; i++) {
        if (!divides_all(s, group_sizes[i]))
            continue;
        int faults = faults_with(arch, serving, s, group_sizes[i]);
        if (!*group || faults < best) {
            *group = group_sizes[i];
            best = faults;
        }
    }
    return *group || !s->count ? AWQ_OK : none_divides(ctx, s);
}

static awq_status resolve_automatic(awq_context *ctx, awq__rules *rules, const awq__arch *arch,
                                    const awq__serving *serving, sharers *s)
{
    for (size_t i = 0; i < rules->treatment_count; i++) {
        awq__treatment *treatment = rules->treatments[i];
        int64_t group;
        if (treatment->scheme.group)
            continue;
        find_sharers(rules, arch, serving->mixed ? treatment : NULL, s);
        AWQ__CHECK(choose(ctx, arch, serving, s, &group));
        for (size_t k = i; k < rules->treatment_count; k++)
            if (k == i || (!serving->mixed && !rules->treatments[k]->scheme.group))
                rules->treatments[k]->scheme.group = group;
    }
    return AWQ_OK;
}

static awq_status check_divides(awq_context *ctx, const awq__rules *rules, const awq__arch *arch)
{
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        int64_t g = rules->of[i] ? rules->of[i]->scheme.group : -1;
        char fits[64];
        if (g <= 0 || module->cols % g == 0)
            continue;
        list_sizes(module->cols, fits, sizeof fits);
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: its %lld columns are not a multiple of group_size %lld; sizes that "
                         "fit: %s",
                         module->name, (long long)module->cols, (long long)g, fits);
    }
    return AWQ_OK;
}

awq_status awq__rules_resolve_groups(awq_context *ctx, awq__rules *rules, const awq__arch *arch,
                                     const awq__serving *serving)
{
    awq_status status = AWQ_OK;
    sharers s = {0};
    AWQ__TRY_ALLOC(s.modules =
                       awq__alloc(ctx, arch->module_count, sizeof *s.modules, "group sizes"));
    AWQ__TRY_ALLOC(s.schemes =
                       awq__alloc(ctx, arch->module_count, sizeof *s.schemes, "group sizes"));
    AWQ__TRY(resolve_automatic(ctx, rules, arch, serving, &s));
    AWQ__TRY(check_divides(ctx, rules, arch));
done:
    awq__free(s.modules);
    awq__free(s.schemes);
    return status;
}
