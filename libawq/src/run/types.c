/* Which block type each module of a GGUF result has. */
#include "compute/blocks.h"
#include "run/job.h"

#include <string.h>

/* Types are of GGUF, and GGUF has nothing else. */
static awq_status check_type(awq_context *ctx, const awq__model_plan *plan, size_t index)
{
    const awq__module *module = &plan->model->arch->modules[index];
    const awq__block_type *blocks = plan->rules.of[index]->scheme.blocks;
    if (!blocks || plan->format->gguf)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "%s: quantize.type %s is a block type of gguf, but the format is %s",
                     module->name, awq__ggml_type_of(blocks->id)->name, plan->format->name);
}

static awq_status choose_type(awq_context *ctx, awq__model_plan *plan, size_t index)
{
    const awq__module *module = &plan->model->arch->modules[index];
    awq__treatment own = *plan->rules.of[index];
    if (own.automatic)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: quantize.target_bits and target_size are not for gguf; rules give "
                         "types to modules",
                         module->name);
    if (!own.scheme.blocks)
        own.scheme = awq__block_scheme(awq__gguf_mix(module));
    own.clip = false; /* which the search of a block does itself */
    if (module->layer < 0)
        own.calibrate = own.scale = own.gptq = false;
    return awq__rules_treat(ctx, &plan->rules, index, &own);
}

/* A tensor of all experts has one type. */
static awq_status check_experts(awq_context *ctx, const awq__model_plan *plan, size_t index)
{
    const awq__arch *arch = plan->model->arch;
    const awq__module *module = &arch->modules[index];
    if (module->role != AWQ_ROLE_EXPERT || !module->expert)
        return AWQ_OK;
    size_t first = awq__arch_index(arch, module->layer, module->part, 0);
    const awq__treatment *a = plan->rules.of[first], *b = plan->rules.of[index];
    if (!a == !b && (!a || a->scheme.blocks == b->scheme.blocks))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "%s and %s: have different types, but GGUF has one tensor for all experts of "
                     "a layer",
                     arch->modules[first].name, module->name);
}

awq_status awq__choose_types(awq_context *ctx, awq__model_plan *plan)
{
    const awq__gguf_family *family;
    const awq__arch *arch = plan->model->arch;
    if (plan->format->gguf)
        AWQ__CHECK(awq__gguf_family_of(ctx, arch, &family));
    for (size_t i = 0; i < arch->module_count; i++)
        if (plan->rules.of[i])
            AWQ__CHECK(plan->format->gguf ? choose_type(ctx, plan, i) : check_type(ctx, plan, i));
    for (size_t i = 0; i < arch->module_count && plan->format->gguf; i++)
        AWQ__CHECK(check_experts(ctx, plan, i));
    return AWQ_OK;
}
