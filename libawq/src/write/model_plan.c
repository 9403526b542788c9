/* What a recipe does to a module. */
#include "write/model_plan.h"

awq__scheme awq__model_plan_scheme(const awq__model_plan *plan, size_t index, awq_dtype dtype)
{
    awq__scheme scheme = awq__rules_scheme(&plan->rules, plan->model->arch, index);
    plan->format->complete(&scheme, dtype);
    return scheme;
}

void awq__model_plan_free(awq__model_plan *plan)
{
    awq__rules_free(&plan->rules);
    awq__free(plan->fp8);
    awq_model_free(plan->model);
    *plan = (awq__model_plan){0};
}

/* Are scales searched for what this norm makes, or for what this module's rows make? */
static bool scales_norm(const awq__model_plan *plan, int64_t n, awq__part norm)
{
    const awq__arch *arch = plan->model->arch;
    const awq_arch_layer *layer = &arch->layers[n];
    if (!(layer->folds & awq__fold_of_norm(norm)))
        return false;
    for (size_t i = arch->layer_first[n]; i < arch->layer_first[n + 1]; i++)
        if (plan->rules.of[i] && plan->rules.of[i]->scale &&
            awq__norm_of(arch, &arch->modules[i]) == norm)
            return true;
    return false;
}

static bool scales_rows(const awq__model_plan *plan, const awq__module *module)
{
    const awq__arch *arch = plan->model->arch;
    const awq_arch_layer *layer = &arch->layers[module->layer];
    awq__producing makes = awq__produces(arch, module);
    if (!(layer->folds & makes.fold))
        return false;
    const awq__treatment *reader =
        plan->rules.of[awq__arch_index(arch, module->layer, makes.reader, module->expert)];
    return reader && reader->scale;
}

bool awq__model_plan_rescales(const awq__model_plan *plan, size_t index)
{
    const awq__module *module = &plan->model->arch->modules[index];
    if (plan->rules.of[index] || module->layer < 0)
        return false;
    awq__part norm = module->vector ? module->part : awq__norm_of(plan->model->arch, module);
    return scales_norm(plan, module->layer, norm) || scales_rows(plan, module);
}
