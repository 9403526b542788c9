/* Results in GGUF: the list of their tensors. */
#include "compute/blocks.h"
#include "write/gguf.h"

/* ---- types and places ---- */

static const awq__gguf_family *family_of(const awq__model_plan *plan)
{
    return awq__gguf_family_by_model(plan->model->arch->model_type);
}

/* The floats of the source, or F32 in the place of what it has in blocks. */
static const awq__ggml_type *float_type(const awq__found *found)
{
    awq__ggml id = found->packed                     ? AWQ__GGML_F32
                   : found->weight.dtype == AWQ_BF16 ? AWQ__GGML_BF16
                   : found->weight.dtype == AWQ_F16  ? AWQ__GGML_F16
                                                     : AWQ__GGML_F32;
    return awq__ggml_type_of(id);
}

/* Experts share a tensor: where their types differ, it is of one that holds all of them. */
static awq_status type_of_floats(const awq__model_plan *plan, const awq__module *module,
                                 const awq__ggml_type **type)
{
    const awq__arch *arch = plan->model->arch;
    bool shared = module->role == AWQ_ROLE_EXPERT;
    int64_t count = shared ? arch->layers[module->layer].experts.count : 1;
    *type = NULL;
    for (int64_t e = 0; e < count; e++) {
        awq__found found;
        size_t index = shared ? awq__arch_index(arch, module->layer, module->part, e)
                              : (size_t)(module - arch->modules);
        AWQ__CHECK(awq__model_find(plan->model, &arch->modules[index], NULL, &found));
        const awq__ggml_type *own = float_type(&found);
        *type = !*type || *type == own ? own : awq__ggml_type_of(AWQ__GGML_F32);
    }
    return AWQ_OK;
}

awq_status awq__gguf_target_of(const awq__model_plan *plan, const awq__module *module, bool bias,
                               awq__gguf_target *to)
{
    const awq__arch *arch = plan->model->arch;
    const awq__treatment *treatment = plan->rules.of[module - arch->modules];
    awq__gguf_place_of(family_of(plan), arch, module, bias, &to->place);
    to->type = awq__ggml_type_of(AWQ__GGML_F32);
    if (!to->place.is_matrix)
        return AWQ_OK;
    if (treatment) {
        to->type = awq__ggml_type_of(treatment->scheme.blocks->id);
        return AWQ_OK;
    }
    return type_of_floats(plan, module, &to->type);
}

bool awq__gguf_copies_embedding(const awq__model_plan *plan, const awq__module *module)
{
    return module->part == AWQ__PART_EMBEDDING && !plan->model->arch->model.head[0] &&
           family_of(plan)->needs_head;
}

/* ---- all tensors ---- */

/* One call for each tensor of a module; of what experts share, with the first. */
static awq_status visit_module(const awq__model_plan *plan, const awq__module *module,
                               awq__gguf_visit visit, void *user)
{
    awq__gguf_target to;
    if (module->role == AWQ_ROLE_EXPERT && module->expert)
        return AWQ_OK;
    AWQ__CHECK(awq__gguf_target_of(plan, module, false, &to));
    AWQ__CHECK(visit(user, to.place.name, to.type, to.place.rank, to.place.shape));
    if (awq__gguf_copies_embedding(plan, module))
        AWQ__CHECK(visit(user, AWQ__GGUF_HEAD, to.type, to.place.rank, to.place.shape));
    if (!module->bias)
        return AWQ_OK;
    AWQ__CHECK(awq__gguf_target_of(plan, module, true, &to));
    return visit(user, to.place.name, to.type, to.place.rank, to.place.shape);
}

awq_status awq__gguf_tensors(const awq__model_plan *plan, int64_t layer, awq__gguf_visit visit,
                             void *user)
{
    const awq__arch *arch = plan->model->arch;
    int64_t layers = arch->model.layer_count;
    size_t first = layer < 0 ? 0 : arch->layer_first[layer];
    size_t end = layer < layers ? arch->layer_first[layer + 1] : arch->module_count;
    for (size_t i = first; i < end; i++)
        AWQ__CHECK(visit_module(plan, &arch->modules[i], visit, user));
    return AWQ_OK;
}

/* ---- for what takes dtypes ---- */

typedef struct plain_visit {
    awq_context *ctx;
    awq__result_visit visit;
    void *user;
} plain_visit;

/* Of blocks, as bytes. */
static awq_status visit_plain(void *user, const char *name, const awq__ggml_type *type, int rank,
                              const int64_t *shape)
{
    const plain_visit *plain = user;
    int64_t stored[AWQ__GGUF_MAX_RANK];
    awq_dtype dtype;
    if (!awq__ggml_stored(type, rank, shape, &dtype, stored))
        return awq__fail(plain->ctx, AWQ_ERROR_UNSUPPORTED, "tensor \"%s\": too large", name);
    return plain->visit(plain->user, name, dtype, rank, stored);
}

awq_status awq__gguf_plain_tensors(const awq__model_plan *plan, int64_t layer,
                                   awq__result_visit visit, void *user)
{
    plain_visit plain = {plan->model->ctx, visit, user};
    return awq__gguf_tensors(plan, layer, visit_plain, &plain);
}
