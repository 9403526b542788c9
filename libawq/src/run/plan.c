/* The public plan: modules grouped by what happens to them. */
#include "run/job.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef struct group {
    awq_plan_group shown;
    char *pattern, *treatment;
    double weights;
} group;

struct awq_plan {
    awq__model_plan plan;
    group *groups;
    size_t count, capacity;
    uint64_t before, after;
};

/* Components that are numbers become "*". */
static void make_pattern(const char *name, char *pattern)
{
    while (*name) {
        size_t length = strcspn(name, ".");
        bool number = length > 0;
        for (size_t i = 0; i < length; i++)
            number &= isdigit((unsigned char)name[i]) != 0;
        if (number) {
            *pattern++ = '*';
        } else {
            memcpy(pattern, name, length);
            pattern += length;
        }
        name += length;
        if (*name)
            *pattern++ = *name++;
    }
    *pattern = 0;
}

static const char *method_name(const awq__treatment *treatment)
{
    return treatment->scale ? "awq" : treatment->gptq ? "gptq" : "rtn";
}

static void describe_treatment(const awq__model_plan *plan, size_t index, const awq__found *found,
                               char *text, size_t size)
{
    const awq__treatment *treatment = plan->rules.of[index];
    if (!treatment) {
        snprintf(text, size, "%s %s", awq__model_plan_rescales(plan, index) ? "rescale" : "keep",
                 found->packed ? "mxfp4" : awq_dtype_name(found->weight.dtype));
        return;
    }
    awq__scheme scheme = awq__model_plan_scheme(plan, index, AWQ_BF16);
    if (scheme.code == AWQ__CODE_E2M1) {
        snprintf(text, size, "%s mxfp4%s", method_name(treatment),
                 treatment->gptq   ? ", error-compensated"
                 : treatment->clip ? ", choice of exponents"
                                   : "");
        return;
    }
    if (scheme.code == AWQ__CODE_NF4) {
        snprintf(text, size, "%s nf4%s", method_name(treatment),
                 treatment->gptq   ? ", error-compensated"
                 : treatment->clip ? ", clip"
                                   : "");
        return;
    }
    char group_text[32] = "row";
    if (treatment->scheme.group > 0)
        snprintf(group_text, sizeof group_text, "g%lld", (long long)scheme.group);
    snprintf(text, size, "%s int%d %s %s%s", method_name(treatment), scheme.bits, group_text,
             scheme.symmetric ? "symmetric" : "asymmetric",
             treatment->gptq   ? ", error-compensated"
             : treatment->clip ? ", clip"
                               : "");
}

static awq_status find_group(awq_context *ctx, awq_plan *plan, const char *pattern,
                             const char *treatment, const awq__module *module, group **found)
{
    for (size_t i = 0; i < plan->count; i++)
        if (!strcmp(plan->groups[i].pattern, pattern) &&
            !strcmp(plan->groups[i].treatment, treatment)) {
            *found = &plan->groups[i];
            return AWQ_OK;
        }
    awq_status status = awq__grow(ctx, &plan->groups, &plan->capacity, plan->count + 1,
                                  sizeof *plan->groups, "the plan");
    if (status != AWQ_OK)
        return status;
    group *g = *found = &plan->groups[plan->count];
    *g = (group){.pattern = awq__strdup(ctx, pattern), .treatment = awq__strdup(ctx, treatment)};
    plan->count++;
    g->shown.role = module->role;
    return g->pattern && g->treatment ? AWQ_OK : AWQ_ERROR_MEMORY;
}

static awq_status add_module(awq_context *ctx, awq_plan *plan, size_t index)
{
    const awq__module *module = &plan->plan.model->arch->modules[index];
    char pattern[AWQ_NAME_BYTES], treatment[128];
    awq__found found;
    group *g;
    awq_status status = awq__model_find(plan->plan.model, module, &found);
    if (status != AWQ_OK)
        return status;
    make_pattern(module->name, pattern);
    describe_treatment(&plan->plan, index, &found, treatment, sizeof treatment);
    status = find_group(ctx, plan, pattern, treatment, module, &g);
    if (status != AWQ_OK)
        return status;
    uint64_t after = awq__result_bytes(&plan->plan, index);
    g->shown.count++;
    g->shown.quantized = plan->plan.rules.of[index] != NULL;
    g->shown.bytes_before += found.bytes;
    g->shown.bytes_after += after;
    g->weights += (double)module->rows * (double)module->cols;
    plan->before += found.bytes;
    plan->after += after;
    return AWQ_OK;
}

/* Engines' fast kernels for experts ask more than the format does. */
static awq_status warn_about_engines(awq_context *ctx, awq_plan *plan)
{
    awq__rules *rules = &plan->plan.rules;
    const awq__arch *arch = plan->plan.model->arch;
    if (arch->model.hidden_size % 128)
        return awq__rules_warn(
            ctx, rules,
            "hidden_size %lld is not a multiple of 128, which the Marlin kernels of vLLM "
            "and SGLang ask of quantized experts",
            (long long)arch->model.hidden_size);
    return AWQ_OK;
}

static awq_status fill(awq_context *ctx, const awq_recipe *recipe, awq_plan *plan)
{
    awq_status status = awq__model_plan_create(ctx, recipe, &plan->plan);
    if (status != AWQ_OK)
        return status;
    for (size_t i = 0; i < plan->plan.model->arch->module_count && status == AWQ_OK; i++)
        status = add_module(ctx, plan, i);
    for (size_t i = 0; i < plan->count; i++) {
        group *g = &plan->groups[i];
        g->shown.pattern = g->pattern;
        g->shown.treatment = g->treatment;
        g->shown.bits_per_weight = 8.0 * (double)g->shown.bytes_after / g->weights;
    }
    return status == AWQ_OK ? warn_about_engines(ctx, plan) : status;
}

awq_status awq_plan_create(awq_context *ctx, const awq_recipe *recipe, awq_plan **out)
{
    awq__clear(ctx);
    *out = NULL;
    awq_plan *plan = awq__alloc(ctx, 1, sizeof *plan, "the plan");
    if (!plan)
        return AWQ_ERROR_MEMORY;
    awq_status status = fill(ctx, recipe, plan);
    if (status != AWQ_OK) {
        awq_plan_free(plan);
        return status;
    }
    *out = plan;
    return AWQ_OK;
}

void awq_plan_free(awq_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->count; i++) {
        awq__free(plan->groups[i].pattern);
        awq__free(plan->groups[i].treatment);
    }
    awq__free(plan->groups);
    awq__model_plan_free(&plan->plan);
    awq__free(plan);
}

size_t awq_plan_group_count(const awq_plan *plan)
{
    return plan->count;
}

const awq_plan_group *awq_plan_group_at(const awq_plan *plan, size_t index)
{
    return index < plan->count ? &plan->groups[index].shown : NULL;
}

size_t awq_plan_warning_count(const awq_plan *plan)
{
    return plan->plan.rules.warning_count;
}

const char *awq_plan_warning_at(const awq_plan *plan, size_t index)
{
    return index < plan->plan.rules.warning_count ? plan->plan.rules.warnings[index] : NULL;
}

uint64_t awq_plan_bytes_before(const awq_plan *plan)
{
    return plan->before;
}

uint64_t awq_plan_bytes_after(const awq_plan *plan)
{
    return plan->after;
}

void awq_plan_describe(const awq_plan *plan, awq_model_info *info)
{
    awq_model_describe(plan->plan.model, info);
}
