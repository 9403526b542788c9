/* Modules grouped by what happens to them. */
#include "compute/blocks.h"
#include "run/job.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef awq__plan_grouped group;

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

/* What is stored as something else than it was, but for the types of GGUF. */
static void describe_kept(const awq__model_plan *plan, size_t index, const awq__found *found,
                          char *text, size_t size)
{
    const awq__module *module = &plan->model->arch->modules[index];
    const char *verb = awq__model_plan_rescales(plan, index) ? "rescale" : "keep";
    const char *storage = plan->model->modules[index].storage;
    /* Blocks of MXFP4, or FP8. */
    bool as_source = (module->fused && found->packed) || awq__model_plan_kept_fp8(plan, index);
    if (plan->format->gguf || as_source || (!found->fp8 && !found->packed))
        snprintf(text, size, "%s %s", verb, storage);
    else
        snprintf(text, size, "%s %s as %s", verb, storage, awq_dtype_name(found->weight.dtype));
}

static void describe_treatment(const awq__model_plan *plan, size_t index, const awq__found *found,
                               char *text, size_t size)
{
    const awq__treatment *treatment = plan->rules.of[index];
    if (!treatment) {
        describe_kept(plan, index, found, text, size);
        return;
    }
    awq__scheme scheme = awq__model_plan_scheme(plan, index, AWQ_BF16);
    if (scheme.blocks) {
        snprintf(text, size, "%s %s%s", method_name(treatment),
                 awq__ggml_type_of(scheme.blocks->id)->name, treatment->gptq ? ", GPTQ" : "");
        return;
    }
    if (scheme.code == AWQ__CODE_E2M1) {
        snprintf(text, size, "%s mxfp4%s", method_name(treatment),
                 treatment->gptq   ? ", GPTQ"
                 : treatment->clip ? ", choice of exponents"
                                   : "");
        return;
    }
    if (scheme.code == AWQ__CODE_NF4) {
        snprintf(text, size, "%s nf4%s", method_name(treatment),
                 treatment->gptq   ? ", GPTQ"
                 : treatment->clip ? ", clip"
                                   : "");
        return;
    }
    char group_text[32] = "row";
    if (treatment->scheme.group > 0)
        snprintf(group_text, sizeof group_text, "g%lld", (long long)scheme.group);
    snprintf(text, size, "%s int%d %s %s%s", method_name(treatment), scheme.bits, group_text,
             scheme.symmetric ? "symmetric" : "asymmetric",
             treatment->gptq   ? ", GPTQ"
             : treatment->clip ? ", clip"
                               : "");
}

static awq_status find_group(awq_context *ctx, awq__plan_groups *groups, const char *pattern,
                             const char *treatment, const awq__module *module, group **found)
{
    for (size_t i = 0; i < groups->count; i++)
        if (!strcmp(groups->list[i].pattern, pattern) &&
            !strcmp(groups->list[i].treatment, treatment)) {
            *found = &groups->list[i];
            return AWQ_OK;
        }
    AWQ__CHECK(awq__grow(ctx, &groups->list, &groups->capacity, groups->count + 1,
                         sizeof *groups->list, "the plan"));
    group *g = *found = &groups->list[groups->count];
    *g = (group){.first = -1,
                 .last = -1,
                 .pattern = awq__strdup(ctx, pattern),
                 .treatment = awq__strdup(ctx, treatment)};
    groups->count++;
    g->shown.role = module->role;
    return g->pattern && g->treatment ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* Ends the last range of layers. */
static awq_status end_range(awq_context *ctx, group *g)
{
    const char *comma = g->layers.length ? "," : "";
    if (g->first < 0)
        return AWQ_OK;
    if (g->first == g->last)
        return awq__text_append(ctx, &g->layers, "%s%lld", comma, (long long)g->first);
    return awq__text_append(ctx, &g->layers, "%s%lld-%lld", comma, (long long)g->first,
                            (long long)g->last);
}

/* Modules come in the order of their layers. */
static awq_status add_layer(awq_context *ctx, group *g, int64_t layer)
{
    awq_status status = AWQ_OK;
    if (layer < 0 || layer == g->last)
        return AWQ_OK;
    if (g->first < 0 || layer != g->last + 1) {
        status = end_range(ctx, g);
        g->first = layer;
    }
    g->last = layer;
    return status;
}

static awq_status add_module(awq_context *ctx, const awq__model_plan *plan, size_t index,
                             awq__plan_groups *groups)
{
    const awq__module *module = &plan->model->arch->modules[index];
    char pattern[AWQ_NAME_BYTES], treatment[128];
    awq__found found;
    group *g;
    AWQ__CHECK(awq__model_find(plan->model, module, NULL, &found));
    make_pattern(module->name, pattern);
    describe_treatment(plan, index, &found, treatment, sizeof treatment);
    AWQ__CHECK(find_group(ctx, groups, pattern, treatment, module, &g));
    AWQ__CHECK(add_layer(ctx, g, module->layer));
    uint64_t after = 0;
    AWQ__CHECK(awq__result_bytes(plan, index, &after));
    g->shown.count++;
    g->shown.quantized = plan->rules.of[index] != NULL;
    g->shown.bytes_before += found.bytes;
    g->shown.bytes_after += after;
    g->weights += (double)module->rows * (double)module->cols;
    groups->before += found.bytes;
    groups->after += after;
    return AWQ_OK;
}

/* The layers are all known. */
static awq_status end_group(awq_context *ctx, group *g)
{
    AWQ__CHECK(end_range(ctx, g));
    g->shown.layers = g->layers.data ? g->layers.data : "";
    g->shown.pattern = g->pattern;
    g->shown.treatment = g->treatment;
    g->shown.bits_per_weight = 8.0 * (double)g->shown.bytes_after / g->weights;
    return AWQ_OK;
}

awq_status awq__plan_groups_find(awq_context *ctx, const awq__model_plan *plan,
                                 awq__plan_groups *groups)
{
    for (size_t i = 0; i < plan->model->arch->module_count; i++)
        AWQ__CHECK(add_module(ctx, plan, i, groups));
    for (size_t i = 0; i < groups->count; i++)
        AWQ__CHECK(end_group(ctx, &groups->list[i]));
    groups->before += plan->undescribed_before;
    groups->after += plan->undescribed_bytes;
    return AWQ_OK;
}

void awq__plan_groups_free(awq__plan_groups *groups)
{
    for (size_t i = 0; i < groups->count; i++) {
        awq__free(groups->list[i].pattern);
        awq__free(groups->list[i].treatment);
        awq__text_free(&groups->list[i].layers);
    }
    awq__free(groups->list);
    *groups = (awq__plan_groups){0};
}
