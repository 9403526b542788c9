/* From a recipe and a model to what happens to each module. */
#include "run/job.h"
#include "plan/presets.h"

#include <stdio.h>
#include <string.h>

/* ---- checks ---- */

/* Experts that share tensors are quantized all or none. */
static awq_status check_fused(awq_context *ctx, const awq__model_plan *plan,
                              const awq__module *module)
{
    const awq__arch *arch = plan->model->arch;
    const char *name = plan->format->name;
    if (module->role != AWQ_ROLE_EXPERT)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: its role is %s, but the %s format stores only experts quantized",
                         module->name, awq_role_name(module->role), name);
    if (!arch->layers[module->layer].experts.mxfp4)
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: the %s architecture has no %s layout that engines read; formats that "
                         "fit: compressed-tensors, awq",
                         module->name, arch->plugin->table.id, name);
    return AWQ_OK;
}

/* Matrices with one input are searched together, and engines fuse them: if both are quantized, they
   must be treated alike. */
static awq_status check_fused_pair(awq_context *ctx, const awq__model_plan *plan, size_t index,
                                   size_t other)
{
    const awq__module *modules = plan->model->arch->modules;
    const awq__treatment *a = plan->rules.of[index], *b = plan->rules.of[other];
    if (!a || !b || awq__same_treatment(a, b))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "%s and %s: are treated differently, but have the same input and become one "
                     "matrix in engines; a rule for the one must match the other",
                     modules[other].name, modules[index].name);
}

/* Formats without a scheme for each module have one scheme for all. */
static awq_status check_one_scheme(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < arch->module_count && !plan->format->mixed; i++) {
        const awq__treatment *treatment = plan->rules.of[i];
        if (!treatment)
            continue;
        if (first == SIZE_MAX)
            first = i;
        else if (!awq__same_scheme(&treatment->scheme, &plan->rules.of[first]->scheme))
            return awq__fail(
                ctx, AWQ_ERROR_RECIPE,
                "%s and %s: have different bits, groups or symmetry, but the %s format "
                "has one scheme for all; formats that can mix them: compressed-tensors, gptq",
                arch->modules[first].name, arch->modules[i].name, plan->format->name);
    }
    return AWQ_OK;
}

static awq_status check_alike(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    AWQ__CHECK(check_one_scheme(ctx, plan));
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        awq__part part = awq__first_beside(module->part);
        for (; part < module->part && awq__arch_has(arch, module->layer, part); part++)
            AWQ__CHECK(check_fused_pair(
                ctx, plan, i, awq__arch_index(arch, module->layer, part, module->expert)));
    }
    return AWQ_OK;
}

static awq_status check_formats(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        if (!plan->rules.of[i])
            continue;
        awq__scheme scheme = awq__model_plan_scheme(plan, i, AWQ_BF16);
        if (plan->format->fused)
            AWQ__CHECK(check_fused(ctx, plan, module));
        AWQ__CHECK(plan->format->check(ctx, module->name, module->rows, module->cols, &scheme));
    }
    return AWQ_OK;
}

/* A layout that covers all experts of all layers can leave none out. */
static awq_status check_all_fused(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    for (size_t i = 0; plan->format->fused && i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        bool packed =
            arch->layers[awq__max(module->layer, 0)].experts.layout == AWQ_EXPERTS_FUSED_MXFP4;
        if (module->role == AWQ_ROLE_EXPERT && !plan->rules.of[i] && !packed)
            return awq__fail(ctx, AWQ_ERROR_RECIPE,
                             "%s: stays float, but the %s format stores all experts of all layers",
                             module->name, plan->format->name);
    }
    return AWQ_OK;
}

/* Blocks of MXFP4 cannot take up the scales of other consumers of their norm. */
static awq_status check_rescaled(awq_context *ctx, const awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        if (module->fused &&
            arch->layers[module->layer].experts.layout == AWQ_EXPERTS_FUSED_MXFP4 &&
            awq__result_experts(plan, module->layer) == AWQ__EXPERTS_AS_SOURCE &&
            awq__model_plan_rescales(plan, i))
            return awq__fail(ctx, AWQ_ERROR_RECIPE,
                             "%s: is kept in MXFP4, which cannot be rescaled for other modules "
                             "after the same norm; quantize all of them or none",
                             module->name);
    }
    return AWQ_OK;
}

/* ---- what is stored as it shall be ---- */

/* MXFP4 weights whose target is MXFP4 are copied: they have no error, so that no scale could do
 * better. */
static awq_status keep_packed(awq_context *ctx, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    size_t kept = 0, again = 0;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        bool packed =
            module->fused && arch->layers[module->layer].experts.layout == AWQ_EXPERTS_FUSED_MXFP4;
        if (!plan->rules.of[i])
            continue;
        awq__scheme scheme = awq__model_plan_scheme(plan, i, AWQ_BF16);
        if (packed && scheme.code == AWQ__CODE_E2M1 && !scheme.blocks) {
            plan->rules.of[i] = NULL;
            kept++;
        } else {
            again += packed;
        }
    }
    awq__rules_update(&plan->rules, arch);
    if (kept)
        AWQ__CHECK(
            awq__rules_warn(ctx, &plan->rules,
                            "%zu modules are MXFP4 already and are copied bit for bit: rounding "
                            "them again, with scales or without, could only add error",
                            kept));
    if (again)
        AWQ__CHECK(awq__rules_warn(
            ctx, &plan->rules,
            "%zu modules are MXFP4 already and are rounded a second time: the error of %s comes on "
            "top of that of MXFP4; format mxfp4 copies them unchanged",
            again, plan->format->name));
    return AWQ_OK;
}

/* Others are rounded a second time, whatever they become. */
static awq_status warn_about_codes(awq_context *ctx, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    const char *storage = NULL;
    size_t again = 0;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq_module *module = &plan->model->modules[i];
        if (!plan->rules.of[i] || arch->modules[i].fused || !module->quantized)
            continue;
        storage = again++ ? storage : module->storage;
    }
    if (!again)
        return AWQ_OK;
    return awq__rules_warn(ctx, &plan->rules,
                           "%zu modules are in codes already, %s, and are rounded a second time: "
                           "the error of %s comes on top of theirs",
                           again, storage, plan->format->name);
}

/* ---- the whole ---- */

static const char *const everything[] = {"*"};

static awq_status choose_format(awq_context *ctx, const awq_recipe *recipe, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    const char *name = plan->settings.format, *asked;
    AWQ__CHECK(awq__preset_format(ctx, recipe, &plan->settings, &asked));
    if (!strcmp(name, "auto"))
        name = asked                             ? asked
               : arch->model.preferred_format[0] ? arch->model.preferred_format
                                                 : awq__disk_format_compressed.name;
    plan->format = awq__disk_format_by_name(name); /* all were checked: there is one */
    plan->settings.stores_ends = plan->format->gguf;
    if (plan->format->gguf && !awq__recipe_says(recipe, "quantize.modules"))
        plan->settings.quantize.modules = (awq__texts){everything, 1};
    return AWQ_OK;
}

static awq_status resolve_groups(awq_context *ctx, awq__model_plan *plan)
{
    const awq__serving serving = {.engine = plan->settings.engine,
                                  .format = plan->format->name,
                                  .tensor_parallel = plan->settings.tensor_parallel,
                                  .mixed = plan->format->mixed};
    return awq__rules_resolve_groups(ctx, &plan->rules, plan->model->arch, &serving);
}

/* The recipe's treatment of each module. */
static awq_status treat(awq_context *ctx, const awq_recipe *recipe, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    AWQ__CHECK(choose_format(ctx, recipe, plan));
    AWQ__CHECK(awq__rules_create(ctx, recipe, &plan->settings, arch, plan->format->defaults,
                                 &plan->rules));
    AWQ__CHECK(awq__choose_types(ctx, plan));
    AWQ__CHECK(keep_packed(ctx, plan));
    AWQ__CHECK(warn_about_codes(ctx, plan));
    AWQ__CHECK(resolve_groups(ctx, plan));
    AWQ__CHECK(check_alike(ctx, plan));
    AWQ__CHECK(check_formats(ctx, plan));
    AWQ__CHECK(check_all_fused(ctx, plan));
    AWQ__CHECK(check_rescaled(ctx, plan));
    AWQ__CHECK(awq__model_plan_keep_fp8(ctx, plan));
    AWQ__CHECK(awq__model_plan_warn(ctx, plan));
    AWQ__CHECK(awq__check_lengths(ctx, plan));
    AWQ__CHECK(awq__target_check(ctx, plan));
    /* With a target the schemes are still to be chosen. */
    bool settled = !plan->settings.has_target || !awq__model_has_weights(plan->model);
    return settled ? awq__model_plan_check_engine(ctx, plan) : AWQ_OK;
}

/* What does not look like what config.json was meant to say. */
static awq_status doubt_config(awq_context *ctx, awq__model_plan *plan)
{
    const awq__arch *arch = plan->model->arch;
    const char *tensor;
    int64_t layers = arch->model.layer_count, beyond = awq__arch_layer_beyond(arch, &tensor);
    if (arch->misspelt.length)
        AWQ__CHECK(awq__rules_warn(ctx, &plan->rules,
                                   "%s: nothing reads %s, which may be meant and is not there: a "
                                   "default takes its place",
                                   arch->config_path, arch->misspelt.data));
    if (beyond >= 0)
        AWQ__CHECK(
            awq__rules_warn(ctx, &plan->rules,
                            "%s describes %lld layers, but the checkpoint has tensors of layer "
                            "%lld, %s: what is past the last layer is copied as it is, neither "
                            "quantized nor part of the model",
                            arch->config_path, (long long)layers, (long long)beyond, tensor));
    return AWQ_OK;
}

awq_status awq__model_plan_open(awq_context *ctx, const awq_recipe *recipe, awq__model_plan *plan)
{
    *plan = (awq__model_plan){0};
    const awq__settings *settings = &plan->settings;
    AWQ__CHECK(awq__recipe_check(recipe));
    awq__settings_read(recipe, &plan->settings);
    AWQ__CHECK(awq_model_open(ctx, settings->model, settings->plugin, &plan->model));
    AWQ__CHECK(awq__check_output_place(ctx, recipe, plan->model));
    if (plan->model->gguf)
        AWQ__CHECK(awq__fail(ctx, AWQ_ERROR_RECIPE,
                             "%s: is in GGUF, which is read to be inspected and evaluated; what is "
                             "quantized is the checkpoint that it was made from",
                             plan->model->directory));
    if (plan->model->format && !plan->model->has_codes && awq__model_has_weights(plan->model))
        AWQ__CHECK(awq__fail(ctx, AWQ_ERROR_RECIPE,
                             "%s: quantization_config says %s, but no weight is stored so; if the "
                             "model was made plain again, remove quantization_config from it",
                             plan->model->arch->config_path, plan->model->format->method));
    if (plan->model->format && !plan->model->format->source)
        AWQ__CHECK(
            awq__fail(ctx, AWQ_ERROR_RECIPE,
                      "%s: is quantized already (%s); the model must be in BF16, F16, F32 or FP8, "
                      "or in codes of MXFP4 or compressed-tensors",
                      plan->model->directory, plan->model->format->method));
    return AWQ_OK;
}

awq_status awq__model_plan_create(awq_context *ctx, const awq_recipe *recipe, awq__model_plan *plan)
{
    cJSON *config = NULL; /* made to see that it can be */
    awq_status status;
    AWQ__TRY(awq__model_plan_open(ctx, recipe, plan));
    AWQ__TRY(treat(ctx, recipe, plan));
    AWQ__TRY(doubt_config(ctx, plan));
    AWQ__TRY(awq__side_files_check(ctx, plan));
    if (!plan->format->gguf)
        AWQ__TRY(awq__model_plan_config(ctx, plan, &config));
done:
    cJSON_Delete(config);
    if (status != AWQ_OK)
        awq__model_plan_free(plan);
    return status;
}
