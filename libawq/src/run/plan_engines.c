/* Can the engine that the recipe names load the result? */
#include "plan/presets.h"
#include "run/job.h"

#include <string.h>

/* The linears of the result, and the schemes of those that are quantized. */
typedef struct linears {
    awq__engine_module *modules;
    awq__scheme *schemes;
    size_t count;
} linears;

static void free_linears(linears *l)
{
    awq__free(l->modules);
    awq__free(l->schemes);
    *l = (linears){0};
}

/* The scheme as the recipe has it, with a group of -1 for a row; of blocks that are copied, their
   own. False for what stays float. */
static awq_status scheme_of(const awq__model_plan *plan, size_t index, awq__scheme *scheme,
                            bool *quantized)
{
    const awq__treatment *treatment = plan->rules.of[index];
    awq__found found;
    *quantized = true;
    if (treatment) {
        *scheme = treatment->scheme;
        plan->format->complete(scheme, AWQ_BF16);
        return AWQ_OK;
    }
    AWQ__CHECK(awq__model_find(plan->model, &plan->model->arch->modules[index], NULL, &found));
    *quantized = found.packed;
    *scheme = found.scheme;
    return AWQ_OK;
}

static awq_status list_linears(awq_context *ctx, const awq__model_plan *plan, linears *l)
{
    const awq__arch *arch = plan->model->arch;
    l->modules = awq__alloc(ctx, arch->module_count, sizeof *l->modules, "linears");
    l->schemes = awq__alloc(ctx, arch->module_count, sizeof *l->schemes, "schemes");
    AWQ__CHECK_ALLOC(l->modules && l->schemes);
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        bool quantized;
        if (!awq__is_linear(module))
            continue;
        AWQ__CHECK(scheme_of(plan, i, &l->schemes[l->count], &quantized));
        l->modules[l->count] =
            awq__engine_module_of(module, quantized ? &l->schemes[l->count] : NULL);
        l->count++;
    }
    return AWQ_OK;
}

/* A preset that asks for a format stands in the way of another one. */
static const char *without_preset(const awq__model_plan *plan, const char *remedy)
{
    const awq__preset *preset = awq__preset_find(plan->settings.quantize.preset);
    return preset && preset->format && strstr(remedy, "format: ") ? ", quantize.preset: none" : "";
}

static awq_status refuse(awq_context *ctx, const awq__model_plan *plan, const awq__finding *finding)
{
    if (finding->remedy)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "engine %s does not load it: %s; what it loads: %s%s", finding->engine,
                         finding->reason, finding->remedy, without_preset(plan, finding->remedy));
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "engine %s does not load it: %s; no change of format, bits, group size or "
                     "symmetry helps",
                     finding->engine, finding->reason);
}

static awq_status add_warning(awq_context *ctx, awq__rules *rules, const awq__finding *finding)
{
    return awq__rules_warn(ctx, rules, "%s%s%s%s: %s%s%s", finding->engine,
                           finding->versions[0] ? " " : "", finding->versions,
                           finding->level == AWQ__ENGINE_NOTE ? "" : " does not load it",
                           finding->reason, finding->remedy ? "; better: " : "",
                           finding->remedy ? finding->remedy : "");
}

/* Few results load in llama.cpp or TensorRT-LLM: only a recipe that names them is warned. */
static bool is_told_of(const awq__model_plan *plan, const char *engine)
{
    if (plan->format->gguf) /* a GGUF file is obviously for llama.cpp */
        return false;
    return strcmp(engine, "llama.cpp") && strcmp(engine, "tensorrt-llm");
}

awq_status awq__model_plan_findings(awq_context *ctx, const awq__model_plan *plan,
                                    const char *engine, awq__findings *findings)
{
    const awq__arch *arch = plan->model->arch;
    linears l = {0};
    *findings = (awq__findings){0};
    awq_status status;
    AWQ__TRY(list_linears(ctx, plan, &l));
    awq__engine_facts facts = {.format = plan->format->name,
                               .model_type = arch->model_type,
                               .native_mxfp4 = awq__has_native_mxfp4(arch),
                               .hidden = arch->model.hidden_size,
                               .tensor_parallel = plan->settings.tensor_parallel,
                               .modules = l.modules,
                               .module_count = l.count};
    AWQ__TRY(awq__engines_check(ctx, engine, &facts, findings));
done:
    free_linears(&l);
    return status;
}

awq_status awq__model_plan_check_engine(awq_context *ctx, awq__model_plan *plan)
{
    awq__findings findings;
    awq_status status;
    AWQ__TRY(awq__model_plan_findings(ctx, plan, plan->settings.engine, &findings));
    for (size_t i = 0; i < findings.count; i++)
        if (findings.items[i].refused && !plan->settings.ignore_engine)
            AWQ__TRY(refuse(ctx, plan, &findings.items[i]));
    bool any = !strcmp(plan->settings.engine, "any");
    for (size_t i = 0; i < findings.count; i++)
        if (!any || is_told_of(plan, findings.items[i].engine))
            AWQ__TRY(add_warning(ctx, &plan->rules, &findings.items[i]));
done:
    awq__findings_free(&findings);
    return status;
}
