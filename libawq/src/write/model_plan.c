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
    awq_model_free(plan->model);
    *plan = (awq__model_plan){0};
}

/* Are scales searched for the input of this part? */
static bool scales(const awq__model_plan *plan, int64_t layer, awq__part part, int64_t expert)
{
    if (!awq__arch_has(plan->model->arch, layer, part))
        return false;
    const awq__treatment *treatment =
        plan->rules.of[awq__arch_index(plan->model->arch, layer, part, expert)];
    return treatment && treatment->scale;
}

/* Will the input of gate and up of these experts be scaled in this layer? */
static bool scales_experts(const awq__model_plan *plan, int64_t layer, int64_t first, int64_t end)
{
    for (int64_t e = first; e < end; e++)
        if (scales(plan, layer, AWQ__PART_GATE, e) || scales(plan, layer, AWQ__PART_UP, e))
            return true;
    return false;
}

/* And that of the attention, or of a delta net in its place? */
static bool scales_attention(const awq__model_plan *plan, int64_t layer)
{
    static const awq__part readers[] = {AWQ__PART_Q, AWQ__PART_K, AWQ__PART_V, AWQ__PART_DELTA_QKV,
                                        AWQ__PART_DELTA_Z};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (scales(plan, layer, readers[i], -1))
            return true;
    return false;
}

/* Will what this expert's gate and up read be scaled? A shared one may have a norm of its own. */
static bool scales_input(const awq__model_plan *plan, int64_t n, bool shared)
{
    const awq_arch_layer *layer = &plan->model->arch->layers[n];
    int64_t all = awq__arch_experts(plan->model->arch, n), common = all;
    if (layer->shared_norm.name[0])
        common = layer->experts.count;
    if (shared && common < all)
        return (layer->folds & AWQ_FOLD_SHARED_NORM) && scales_experts(plan, n, common, all);
    return (layer->folds & AWQ_FOLD_EXPERT_NORM) && scales_experts(plan, n, 0, common);
}

bool awq__model_plan_rescales(const awq__model_plan *plan, size_t index)
{
    const awq__module *module = &plan->model->arch->modules[index];
    if (plan->rules.of[index] || module->layer < 0)
        return false;
    int64_t n = module->layer;
    uint32_t folds = plan->model->arch->layers[n].folds;
    bool attention = (folds & AWQ_FOLD_ATTENTION_NORM) && scales_attention(plan, n);
    const awq_arch_layer *layer = &plan->model->arch->layers[n];
    bool experts = scales_input(
        plan, n, module->part == AWQ__PART_SHARED_NORM || module->expert == layer->experts.count);
    switch (module->part) {
    case AWQ__PART_ATTENTION_NORM:
    case AWQ__PART_Q:
    case AWQ__PART_K:
    case AWQ__PART_DELTA_QKV:
    case AWQ__PART_DELTA_Z:
    case AWQ__PART_DELTA_B:
    case AWQ__PART_DELTA_A:
        return attention;
    case AWQ__PART_DELTA_NORM:
        return (folds & AWQ_FOLD_DELTA) && scales(plan, n, AWQ__PART_O, -1);
    case AWQ__PART_V:
        return attention || ((folds & AWQ_FOLD_VALUE) && scales(plan, n, AWQ__PART_O, -1));
    case AWQ__PART_ROUTER:
        return experts && !layer->router.reads_residual;
    case AWQ__PART_MOE_NORM:
    case AWQ__PART_SHARED_NORM:
    case AWQ__PART_TOKEN_GATE:
    case AWQ__PART_GATE:
        return experts;
    case AWQ__PART_UP:
        return experts ||
               ((folds & AWQ_FOLD_UP) && scales(plan, n, AWQ__PART_DOWN, module->expert));
    default:
        return false;
    }
}
