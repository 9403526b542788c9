/* The tensors of the result: by the names of modules, or shared by the experts of a layer. */
#include "write/gguf.h"

#include <stdio.h>
#include <string.h>

/* Do experts share tensors of F8_E4M3? No engine's format has the like. */
static bool are_fp8(const awq__model_plan *plan, int64_t layer)
{
    const awq__arch *arch = plan->model->arch;
    awq__found found = {0};
    size_t first = awq__arch_index(arch, layer, AWQ__PART_GATE, 0);
    return plan->model->format &&
           awq__model_find(plan->model, &arch->modules[first], NULL, &found) == AWQ_OK && found.fp8;
}

awq__experts_storage awq__result_experts(const awq__model_plan *plan, int64_t layer)
{
    const awq__arch *arch = plan->model->arch;
    const awq_arch_experts *experts = &arch->layers[layer].experts;
    bool quantized = false;
    if (plan->format->gguf) /* parts of its own tensors, which the module tells */
        return AWQ__EXPERTS_BY_NAME;
    for (int64_t e = 0; e < experts->count; e++)
        for (awq__part part = AWQ__PART_GATE; part <= AWQ__PART_DOWN; part++)
            quantized |= plan->rules.of[awq__arch_index(arch, layer, part, e)] != NULL;
    if (quantized)
        return plan->format->fused ? AWQ__EXPERTS_PACKED : AWQ__EXPERTS_BY_NAME;
    return experts->layout == AWQ_EXPERTS_SEPARATE || are_fp8(plan, layer) ? AWQ__EXPERTS_BY_NAME
                                                                           : AWQ__EXPERTS_AS_SOURCE;
}

/* ---- by the names of modules ---- */

static awq__spec float_spec(const awq__module *module, const awq__found *found)
{
    awq_dtype dtype = found->weight.dtype;
    if (found->row)
        return (awq__spec){module->suffix, dtype, 2, {1, module->rows}};
    if (module->convolution)
        return (awq__spec){module->suffix, dtype, 3, {module->rows, 1, module->cols}};
    return (awq__spec){module->suffix, dtype, module->vector ? 1 : 2, {module->rows, module->cols}};
}

awq_status awq__result_specs(const awq__model_plan *plan, size_t index,
                             awq__spec specs[AWQ__MAX_SPECS], int *count)
{
    const awq__module *module = &plan->model->arch->modules[index];
    awq__found found;
    *count = 0;
    if (module->role == AWQ_ROLE_EXPERT &&
        awq__result_experts(plan, module->layer) != AWQ__EXPERTS_BY_NAME)
        return AWQ_OK;
    AWQ__CHECK(awq__model_find(plan->model, module, NULL, &found));
    if (plan->rules.of[index]) {
        awq__scheme scheme = awq__model_plan_scheme(plan, index, found.weight.dtype);
        *count = plan->format->specs(module->rows, module->cols, &scheme, specs);
    } else if (awq__model_plan_kept_fp8(plan, index)) {
        *count = awq__fp8_specs(module->rows, module->cols, &plan->fp8[index],
                                found.weight.fp8.dtype, specs);
    } else {
        specs[(*count)++] = float_spec(module, &found);
    }
    if (module->bias)
        specs[(*count)++] = (awq__spec){".bias", found.bias_dtype, 1, {module->rows}};
    return AWQ_OK;
}

/* ---- shared by the experts of a layer ---- */

static int fused_as_source(const awq__model_plan *plan, const awq_arch_experts *experts,
                           awq__fused_spec specs[AWQ__MAX_FUSED])
{
    char names[AWQ__MAX_FUSED][AWQ__FUSED_NAME_BYTES];
    int count = awq__fused_names(experts, experts->layout, names);
    for (int i = 0; i < count; i++) {
        /* Opening the model has found it, with at most 4 dimensions. */
        const awq__tensor *tensor = awq__checkpoint_find(plan->model->arch->checkpoint, names[i]);
        specs[i] = (awq__fused_spec){.dtype = tensor->dtype, .rank = tensor->rank};
        memcpy(specs[i].name, names[i], sizeof names[i]);
        memcpy(specs[i].shape, tensor->shape, (size_t)tensor->rank * sizeof *tensor->shape);
    }
    return count;
}

static awq_status fused_packed(const awq__model_plan *plan, int64_t layer,
                               awq__fused_spec specs[AWQ__MAX_FUSED], int *count)
{
    const awq__arch *arch = plan->model->arch;
    const awq_arch_experts *x = &arch->layers[layer].experts;
    const char *const stems[] = {x->fused_gate_up, x->fused_down};
    *count = 0;
    for (int down = 0; down < 2; down++) {
        size_t index = awq__arch_index(arch, layer, AWQ__PART_GATE + 2 * down, 0);
        const awq__module *module = &arch->modules[index];
        awq__spec parts[AWQ__MAX_SPECS];
        awq__scheme scheme = awq__model_plan_scheme(plan, index, AWQ_BF16);
        int64_t rows = down ? module->rows : 2 * module->rows;
        int part_count = plan->format->specs(rows, module->cols, &scheme, parts);
        for (int i = 0; i < part_count; i++) {
            awq__fused_spec *spec = &specs[(*count)++];
            *spec = (awq__fused_spec){.dtype = parts[i].dtype, .rank = parts[i].rank + 1};
            snprintf(spec->name, sizeof spec->name, "%s%s", stems[down], parts[i].suffix);
            spec->shape[0] = x->count;
            memcpy(spec->shape + 1, parts[i].shape, (size_t)parts[i].rank * sizeof *spec->shape);
        }
    }
    for (int down = 0; down < 2 && x->bias; down++) {
        const awq__module *module =
            &arch->modules[awq__arch_index(arch, layer, AWQ__PART_GATE + 2 * down, 0)];
        awq__found found;
        AWQ__CHECK(awq__model_find(plan->model, module, NULL, &found));
        awq__fused_spec *spec = &specs[(*count)++];
        *spec = (awq__fused_spec){.dtype = found.bias_dtype,
                                  .rank = 2,
                                  .shape = {x->count, down ? module->rows : 2 * module->rows}};
        snprintf(spec->name, sizeof spec->name, "%s_bias", stems[down]);
    }
    return AWQ_OK;
}

awq_status awq__result_fused(const awq__model_plan *plan, int64_t layer,
                             awq__fused_spec specs[AWQ__MAX_FUSED], int *count)
{
    *count = 0;
    switch (awq__result_experts(plan, layer)) {
    case AWQ__EXPERTS_AS_SOURCE:
        *count = fused_as_source(plan, &plan->model->arch->layers[layer].experts, specs);
        return AWQ_OK;
    case AWQ__EXPERTS_PACKED:
        return fused_packed(plan, layer, specs, count);
    default:
        return AWQ_OK;
    }
}

/* ---- all of them ---- */

/* Of an expert's share of tensors that all experts of a layer have together. */
static awq_status shared_bytes(const awq__model_plan *plan, size_t index, uint64_t *bytes)
{
    const awq__module *module = &plan->model->arch->modules[index];
    awq__spec specs[AWQ__MAX_SPECS];
    awq__found found;
    AWQ__CHECK(awq__model_find(plan->model, module, NULL, &found));
    *bytes = found.bytes;
    if (!plan->rules.of[index])
        return AWQ_OK;
    awq__scheme scheme = awq__model_plan_scheme(plan, index, found.weight.dtype);
    int count = plan->format->specs(module->rows, module->cols, &scheme, specs);
    *bytes = module->bias ? (uint64_t)(module->rows * (awq_dtype_bits(found.bias_dtype) / 8)) : 0;
    for (int i = 0; i < count; i++)
        *bytes += awq__spec_bytes(&specs[i]);
    return AWQ_OK;
}

awq_status awq__result_bytes(const awq__model_plan *plan, size_t index, uint64_t *bytes)
{
    awq__spec specs[AWQ__MAX_SPECS];
    int count;
    *bytes = 0;
    AWQ__CHECK(awq__result_specs(plan, index, specs, &count));
    for (int i = 0; i < count; i++)
        *bytes += awq__spec_bytes(&specs[i]);
    return count ? AWQ_OK : shared_bytes(plan, index, bytes);
}

static awq_status visit_module(awq_context *ctx, const awq__model_plan *plan, size_t index,
                               awq__result_visit visit, void *user)
{
    awq__spec specs[AWQ__MAX_SPECS];
    int count;
    AWQ__CHECK(awq__result_specs(plan, index, specs, &count));
    for (int i = 0; i < count; i++) {
        char *name =
            awq__format(ctx, "%s%s", plan->model->arch->modules[index].name, specs[i].suffix);
        AWQ__CHECK_ALLOC(name);
        awq_status status = visit(user, name, specs[i].dtype, specs[i].rank, specs[i].shape);
        awq__free(name);
        AWQ__CHECK(status);
    }
    return AWQ_OK;
}

awq_status awq__result_tensors(awq_context *ctx, const awq__model_plan *plan, int64_t layer,
                               awq__result_visit visit, void *user)
{
    if (plan->format->gguf)
        return awq__gguf_plain_tensors(plan, layer, visit, user);
    const awq__arch *arch = plan->model->arch;
    awq__fused_spec fused[AWQ__MAX_FUSED];
    int64_t layers = arch->model.layer_count;
    size_t first = layer < 0 ? 0 : arch->layer_first[layer];
    size_t end = layer < layers ? arch->layer_first[layer + 1] : arch->module_count;
    for (size_t i = first; i < end; i++)
        AWQ__CHECK(visit_module(ctx, plan, i, visit, user));
    int count = 0;
    if (layer >= 0 && layer < layers)
        AWQ__CHECK(awq__result_fused(plan, layer, fused, &count));
    for (int i = 0; i < count; i++)
        AWQ__CHECK(visit(user, fused[i].name, fused[i].dtype, fused[i].rank, fused[i].shape));
    return AWQ_OK;
}
