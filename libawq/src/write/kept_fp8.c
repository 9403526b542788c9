/*
 * What stays in F8_E4M3 as it is: modules that are neither quantized nor rescaled by a fold, in a
 * format that can say so. Engines make one matrix of q, k and v, of gate and up, and of all experts
 * of a layer, which takes one scheme: of these all stay, or none.
 */
#include "write/model_plan.h"

#include <string.h>

#define TOGETHER 3

/* 0: attention but for its output; 1: routed experts; 2: gate and up of another MLP; -1: alone. */
static int together_of(const awq__module *module)
{
    if (module->role == AWQ_ROLE_EXPERT)
        return 1;
    if (module->part == AWQ__PART_GATE || module->part == AWQ__PART_UP)
        return 2;
    return module->role == AWQ_ROLE_ATTENTION && module->part != AWQ__PART_O ? 0 : -1;
}

static bool may_stay(const awq__model_plan *plan, size_t index, const awq__found *found)
{
    return found->fp8 && !plan->model->arch->modules[index].fused && !plan->rules.of[index] &&
           !awq__model_plan_rescales(plan, index);
}

static awq__scheme scheme_of(const awq__found *found)
{
    const awq__fp8_scales *fp8 = &found->weight.fp8;
    bool whole = !found->fp8_blocks && fp8->rows >= found->weight.rows;
    return (awq__scheme){.code = AWQ__CODE_E4M3,
                         .bits = 8,
                         .symmetric = true,
                         .group = found->fp8_blocks ? fp8->cols : -1,
                         .rows = whole ? -1 : fp8->rows};
}

static awq_status find_kept(awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    for (size_t i = 0; i < arch->module_count; i++) {
        awq__found found;
        AWQ__CHECK(awq__model_find(plan->model, &arch->modules[i], NULL, &found));
        if (may_stay(plan, i, &found))
            plan->fp8[i] = scheme_of(&found);
    }
    return AWQ_OK;
}

/* Of a layer. */
static void agree(awq__model_plan *plan, size_t first, size_t end)
{
    const awq__module *modules = plan->model->arch->modules;
    const awq__scheme *schemes[TOGETHER] = {NULL};
    bool differ[TOGETHER] = {false};
    for (size_t i = first; i < end; i++) {
        int together = together_of(&modules[i]);
        if (together < 0 || modules[i].vector)
            continue;
        const awq__scheme **scheme = &schemes[together];
        *scheme = *scheme ? *scheme : &plan->fp8[i];
        differ[together] |= !awq__same_scheme(*scheme, &plan->fp8[i]);
    }
    for (size_t i = first; i < end; i++) {
        int together = together_of(&modules[i]);
        if (together >= 0 && differ[together])
            plan->fp8[i] = (awq__scheme){0};
    }
}

awq_status awq__model_plan_keep_fp8(awq_context *ctx, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    size_t kept = 0;
    if (!plan->format->keeps_fp8 || !plan->model->format ||
        !strcmp(plan->settings.engine, "sglang"))
        return AWQ_OK;
    plan->fp8 = awq__alloc(ctx, arch->module_count, sizeof *plan->fp8, "modules in FP8");
    AWQ__CHECK_ALLOC(plan->fp8);
    AWQ__CHECK(find_kept(plan));
    for (int64_t n = 0; n < arch->model.layer_count; n++)
        agree(plan, arch->layer_first[n], arch->layer_first[n + 1]);
    for (size_t i = 0; i < arch->module_count; i++)
        kept += awq__model_plan_kept_fp8(plan, i) != NULL;
    if (!kept)
        return AWQ_OK;
    return awq__rules_warn(ctx, &plan->rules,
                           "%zu modules stay in F8_E4M3 bit for bit, a group of their own: SGLang "
                           "does not load experts in codes beside such a group; with engine: "
                           "sglang they become BF16",
                           kept);
}

const awq__scheme *awq__model_plan_kept_fp8(const awq__model_plan *plan, size_t index)
{
    return plan->fp8 && plan->fp8[index].code == AWQ__CODE_E4M3 ? &plan->fp8[index] : NULL;
}
