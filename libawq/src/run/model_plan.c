/* From a recipe and a model to what will be stored. */
#include "run/job.h"

#include <string.h>

static awq_status check_format(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < arch->module_count && status == AWQ_OK; i++) {
        if (!plan->rules.quantize[i])
            continue;
        awq__scheme scheme = awq__rules_scheme(&plan->rules, &arch->modules[i], AWQ_BF16);
        status = plan->format->check(ctx, arch->modules[i].name, arch->modules[i].rows,
                                     arch->modules[i].cols, &scheme);
    }
    return status;
}

static bool is_linear(awq_role role)
{
    return role != AWQ_ROLE_NORM && role != AWQ_ROLE_EMBEDDING && role != AWQ_ROLE_OTHER;
}

awq_status awq__model_plan_config(awq_context *ctx, const awq__model_plan *plan, cJSON **config)
{
    const awq__arch *arch = plan->model->arch;
    const char **names = awq__alloc(ctx, 2 * arch->module_count, sizeof *names, "names of modules");
    if (!names)
        return AWQ_ERROR_MEMORY;
    const char **quantized = names + arch->module_count;
    size_t kept_count = 0, quantized_count = 0;
    for (size_t i = 0; i < arch->module_count; i++)
        if (plan->rules.quantize[i])
            quantized[quantized_count++] = arch->modules[i].name;
        else if (is_linear(arch->modules[i].role))
            names[kept_count++] = arch->modules[i].name;
    *config = plan->format->config(ctx, &plan->rules.scheme, names, kept_count, quantized,
                                   quantized_count);
    awq__free(names);
    return *config ? AWQ_OK : AWQ_ERROR_RECIPE;
}

awq_status awq__model_plan_create(awq_context *ctx, const awq_recipe *recipe, awq__model_plan *plan)
{
    *plan = (awq__model_plan){0};
    awq_status status = awq__recipe_check(recipe);
    if (status == AWQ_OK)
        status = awq_model_open(ctx, awq__recipe_text(recipe, "model"),
                                awq__recipe_text(recipe, "plugin"), &plan->model);
    if (status == AWQ_OK && plan->model->format)
        status = awq__fail(ctx, AWQ_ERROR_RECIPE,
                           "%s: is quantized already (%s); the model must be in BF16, F16 or F32",
                           plan->model->directory, plan->model->format->method);
    plan->format = awq__disk_format_by_name(awq__recipe_text(recipe, "format"));
    if (status == AWQ_OK)
        status = awq__rules_create(ctx, recipe, plan->model->arch, &plan->rules);
    if (status == AWQ_OK)
        status = check_format(ctx, plan);
    cJSON *config = NULL; /* made to see that it can be */
    if (status == AWQ_OK)
        status = awq__model_plan_config(ctx, plan, &config);
    cJSON_Delete(config);
    if (status != AWQ_OK)
        awq__model_plan_free(plan);
    return status;
}

void awq__model_plan_free(awq__model_plan *plan)
{
    awq__rules_free(&plan->rules);
    awq_model_free(plan->model);
    *plan = (awq__model_plan){0};
}

static bool quantizes(const awq__model_plan *plan, int64_t layer, awq__part part, int64_t expert)
{
    return plan->rules.quantize[awq__arch_index(plan->model->arch, layer, part, expert)];
}

/* Will the experts' common input be scaled in this layer? */
static bool scales_experts(const awq__model_plan *plan, int64_t layer)
{
    for (int64_t e = 0; e < plan->model->arch->layers[layer].experts.count; e++)
        if (quantizes(plan, layer, AWQ__PART_GATE, e) || quantizes(plan, layer, AWQ__PART_UP, e))
            return true;
    return false;
}

bool awq__model_plan_rescales(const awq__model_plan *plan, size_t index)
{
    const awq__module *module = &plan->model->arch->modules[index];
    if (!plan->rules.awq || plan->rules.quantize[index] || module->layer < 0)
        return false;
    int64_t n = module->layer;
    uint32_t folds = plan->model->arch->layers[n].folds;
    bool attention = (folds & AWQ_FOLD_ATTENTION_NORM) &&
                     (quantizes(plan, n, AWQ__PART_Q, -1) || quantizes(plan, n, AWQ__PART_K, -1) ||
                      quantizes(plan, n, AWQ__PART_V, -1));
    bool experts = (folds & AWQ_FOLD_EXPERT_NORM) && scales_experts(plan, n);
    switch (module->part) {
    case AWQ__PART_ATTENTION_NORM:
    case AWQ__PART_Q:
    case AWQ__PART_K:
        return attention;
    case AWQ__PART_V:
        return attention || ((folds & AWQ_FOLD_VALUE) && quantizes(plan, n, AWQ__PART_O, -1));
    case AWQ__PART_MOE_NORM:
    case AWQ__PART_ROUTER:
    case AWQ__PART_GATE:
        return experts;
    case AWQ__PART_UP:
        return experts ||
               ((folds & AWQ_FOLD_UP) && quantizes(plan, n, AWQ__PART_DOWN, module->expert));
    default:
        return false;
    }
}

int awq__model_plan_specs(const awq__model_plan *plan, size_t index,
                          awq__spec specs[AWQ__MAX_SPECS])
{
    const awq__module *module = &plan->model->arch->modules[index];
    awq__found found;
    /* Cannot fail: opening the model has found every module. */
    awq__model_find(plan->model, module, &found);
    if (plan->rules.quantize[index]) {
        awq__scheme scheme = awq__rules_scheme(&plan->rules, module, found.plain->dtype);
        return plan->format->specs(module->rows, module->cols, &scheme, specs);
    }
    specs[0] = (awq__spec){".weight", found.plain->dtype, found.plain->rank, {0}};
    memcpy(specs[0].shape, found.plain->shape, (size_t)found.plain->rank * sizeof(int64_t));
    return 1;
}
