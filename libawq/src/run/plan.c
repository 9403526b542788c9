/* The public plan: modules grouped by what happens to them. */
#include "compute/begin.h"
#include "compute/blocks.h"
#include "run/job.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct group {
    awq_plan_group shown;
    char *pattern, *treatment;
    double weights;
    awq__text layers;    /* without the last range */
    int64_t first, last; /* the last range of layers; first is -1 before it */
} group;

struct awq_plan {
    awq__model_plan plan;
    awq__memory_need need;
    awq__memory_limit limit;
    double predicted_loss; /* of schemes that were chosen; NAN if none were */
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
    if (scheme.blocks) {
        snprintf(text, size, "%s %s%s", method_name(treatment),
                 awq__ggml_type_of(scheme.blocks->id)->name,
                 treatment->gptq ? ", GPTQ" : "");
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

static awq_status find_group(awq_context *ctx, awq_plan *plan, const char *pattern,
                             const char *treatment, const awq__module *module, group **found)
{
    for (size_t i = 0; i < plan->count; i++)
        if (!strcmp(plan->groups[i].pattern, pattern) &&
            !strcmp(plan->groups[i].treatment, treatment)) {
            *found = &plan->groups[i];
            return AWQ_OK;
        }
    AWQ__CHECK(awq__grow(ctx, &plan->groups, &plan->capacity, plan->count + 1, sizeof *plan->groups,
                         "the plan"));
    group *g = *found = &plan->groups[plan->count];
    *g = (group){.first = -1,
                 .last = -1,
                 .pattern = awq__strdup(ctx, pattern),
                 .treatment = awq__strdup(ctx, treatment)};
    plan->count++;
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

static awq_status add_module(awq_context *ctx, awq_plan *plan, size_t index)
{
    const awq__module *module = &plan->plan.model->arch->modules[index];
    char pattern[AWQ_NAME_BYTES], treatment[128];
    awq__found found;
    group *g;
    AWQ__CHECK(awq__model_find(plan->plan.model, module, NULL, &found));
    make_pattern(module->name, pattern);
    describe_treatment(&plan->plan, index, &found, treatment, sizeof treatment);
    AWQ__CHECK(find_group(ctx, plan, pattern, treatment, module, &g));
    AWQ__CHECK(add_layer(ctx, g, module->layer));
    uint64_t after = 0;
    AWQ__CHECK(awq__result_bytes(&plan->plan, index, &after));
    g->shown.count++;
    g->shown.quantized = plan->plan.rules.of[index] != NULL;
    g->shown.bytes_before += found.bytes;
    g->shown.bytes_after += after;
    g->weights += (double)module->rows * (double)module->cols;
    plan->before += found.bytes;
    plan->after += after;
    return AWQ_OK;
}

/* A target takes a pass through the model. */
static awq_status choose_schemes(awq_context *ctx, awq_plan *plan)
{
    plan->predicted_loss = NAN;
    if (!plan->plan.settings.has_target)
        return AWQ_OK;
    if (!awq__model_has_weights(plan->plan.model))
        return awq__rules_warn(ctx, &plan->plan.rules,
                               "quantize.target_bits and target_size: schemes are chosen by what "
                               "they do to the weights, which are not there; shown are "
                               "quantize.bits and group_size for all");
    awq__job job;
    awq__job_begin(ctx, &plan->plan, 1, &job);
    awq_status status;
    AWQ__TRY(awq__compute_begin(ctx));
    AWQ__TRY(awq__job_load_calibration(&job));
    AWQ__TRY(awq__job_choose_schemes(&job));
    const cJSON *loss = awq__json_at(job.mixed, "predicted_loss");
    if (cJSON_IsNumber(loss))
        plan->predicted_loss = loss->valuedouble;
done:
    awq__job_free(&job);
    return status;
}

/* An output that cannot be is refused; of one that only has to be asked for there is a warning. */
static awq_status look_at_output(awq_context *ctx, awq__model_plan *plan)
{
    const char *output = plan->settings.output;
    awq__place_found found;
    AWQ__CHECK(awq__output_look(ctx, output, &found));
    if (found.replaces)
        AWQ__CHECK(awq__rules_warn(ctx, &plan->rules,
                                   "output: %s exists already, and is replaced only where that is "
                                   "asked for (force)",
                                   output));
    if (found.unwritable)
        AWQ__CHECK(awq__rules_warn(ctx, &plan->rules, "output: %s cannot be created: %s", output,
                                   strerror(found.unwritable)));
    return AWQ_OK;
}

/* What is not on disk yet will hardly run here: only the recipe's own limit counts. */
static awq_status fit_memory(awq_context *ctx, awq_plan *plan)
{
    const awq__memory_tokens tokens = awq__memory_tokens_of(&plan->plan);
    AWQ__CHECK(awq__memory_need_of(ctx, &plan->plan, &tokens, &plan->need));
    awq__memory_limit_find(plan->plan.settings.memory_limit, &plan->limit);
    if (!awq__model_has_weights(plan->plan.model) && !plan->limit.asked)
        plan->limit = (awq__memory_limit){0};
    return awq__memory_fit(ctx, &plan->need, &plan->limit);
}

static awq_status fill(awq_context *ctx, const awq_recipe *recipe, awq_plan *plan)
{
    AWQ__CHECK(awq__model_plan_create(ctx, recipe, &plan->plan));
    AWQ__CHECK(look_at_output(ctx, &plan->plan));
    /* Without weights there is no run yet, and often no data. */
    if (awq__model_has_weights(plan->plan.model))
        AWQ__CHECK(awq__look_at_data(ctx, &plan->plan));
    AWQ__CHECK(fit_memory(ctx, plan));
    AWQ__CHECK(choose_schemes(ctx, plan));
    for (size_t i = 0; i < plan->plan.model->arch->module_count; i++)
        AWQ__CHECK(add_module(ctx, plan, i));
    for (size_t i = 0; i < plan->count; i++) {
        group *g = &plan->groups[i];
        AWQ__CHECK(end_range(ctx, g));
        g->shown.layers = g->layers.data ? g->layers.data : "";
        g->shown.pattern = g->pattern;
        g->shown.treatment = g->treatment;
        g->shown.bits_per_weight = 8.0 * (double)g->shown.bytes_after / g->weights;
    }
    plan->before += plan->plan.undescribed_bytes;
    plan->after += plan->plan.undescribed_bytes;
    return AWQ_OK;
}

awq_status awq_plan_create(awq_context *ctx, const awq_recipe *recipe, awq_plan **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_plan_create",
                          (awq__argument[]){{"recipe", recipe}, {"out", out}, {0}}));
    awq_plan *plan = awq__alloc(ctx, 1, sizeof *plan, "the plan");
    AWQ__CHECK_ALLOC(plan);
    awq_status status = fill(ctx, recipe, plan);
    if (status == AWQ_OK)
        *out = plan;
    else
        awq_plan_free(plan);
    return awq__leave(ctx, status);
}

void awq_plan_free(awq_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->count; i++) {
        awq__free(plan->groups[i].pattern);
        awq__free(plan->groups[i].treatment);
        awq__text_free(&plan->groups[i].layers);
    }
    awq__free(plan->groups);
    awq__model_plan_free(&plan->plan);
    awq__free(plan);
}

size_t awq_plan_group_count(const awq_plan *plan)
{
    return plan ? plan->count : 0;
}

const awq_plan_group *awq_plan_group_at(const awq_plan *plan, size_t index)
{
    return plan && index < plan->count ? &plan->groups[index].shown : NULL;
}

size_t awq_plan_warning_count(const awq_plan *plan)
{
    return plan ? plan->plan.rules.warning_count : 0;
}

const char *awq_plan_warning_at(const awq_plan *plan, size_t index)
{
    return plan && index < plan->plan.rules.warning_count ? plan->plan.rules.warnings[index] : NULL;
}

uint64_t awq_plan_bytes_before(const awq_plan *plan)
{
    return plan ? plan->before : 0;
}

uint64_t awq_plan_bytes_after(const awq_plan *plan)
{
    return plan ? plan->after : 0;
}

awq_status awq_plan_estimate(awq_context *ctx, const awq_plan *plan, awq_estimate *estimate)
{
    AWQ__CHECK(awq__enter(ctx, "awq_plan_estimate",
                          (awq__argument[]){{"plan", plan}, {"estimate", estimate}, {0}}));
    AWQ__CHECK(awq__compute_begin(ctx));
    return awq__estimate(ctx, &plan->plan, &plan->need, &plan->limit, plan->after, estimate);
}

double awq_plan_predicted_loss(const awq_plan *plan)
{
    return plan ? plan->predicted_loss : NAN;
}

void awq_plan_describe(const awq_plan *plan, awq_model_info *info)
{
    awq_model_describe(plan ? plan->plan.model : NULL, info);
}
