/*
 * The linears of the result, by the names that engines use, for the lists in config.json. They
 * include matrices that are copied because the architecture does not describe them.
 */
#include "write/result.h"

#include <string.h>

/* Engines look up the head by this name even where the embedding serves as head. */
static const char head[] = "lm_head";

typedef struct linears {
    awq__treated *items;
    size_t count, capacity;
    char **made; /* names that are not a module's */
    size_t made_count, made_capacity;
} linears;

static void free_linears(linears *l)
{
    awq__name_list_free(l->made, l->made_count);
    awq__free(l->items);
    *l = (linears){0};
}

static awq_status add(awq_context *ctx, linears *l, const char *name, const awq__scheme *scheme)
{
    AWQ__CHECK(awq__grow(ctx, &l->items, &l->capacity, l->count + 1, sizeof *l->items,
                         "names of modules"));
    l->items[l->count++] = (awq__treated){name, scheme};
    return AWQ_OK;
}

/* Adds a linear that stays float. The list owns the name, which is NULL if memory has run out. */
static awq_status add_made(awq_context *ctx, linears *l, char *name)
{
    AWQ__CHECK_ALLOC(name);
    awq_status status = awq__grow(ctx, &l->made, &l->made_capacity, l->made_count + 1,
                                  sizeof *l->made, "names of modules");
    if (status != AWQ_OK)
        awq__free(name);
    AWQ__CHECK(status);
    l->made[l->made_count++] = name;
    return add(ctx, l, name, NULL);
}

static awq_status add_described(awq_context *ctx, const awq__model_plan *plan, linears *l)
{
    const awq__arch *arch = plan->model->arch;
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        const awq__treatment *treatment = plan->rules.of[i];
        if (treatment || awq__is_linear(module) ||
            (plan->format->fused && module->role == AWQ_ROLE_EMBEDDING))
            AWQ__CHECK(add(ctx, l, module->name,
                           treatment ? &treatment->scheme : awq__model_plan_kept_fp8(plan, i)));
    }
    return AWQ_OK;
}

static bool ends_with(const char *name, size_t length, const char *ending)
{
    size_t part = strlen(ending);
    return length > part && !memcmp(name + length - part, ending, part);
}

/* The length of the module's name within a tensor's; for fused experts, of the name they share. 0
 * if the tensor is no linear's weight. */
static size_t module_length(const awq__tensor *tensor)
{
    const char *dot = strrchr(tensor->name, '.');
    size_t length = dot ? (size_t)(dot - tensor->name) : 0;
    if (tensor->rank < 2)
        return 0;
    return !strcmp(dot ? dot : "", ".weight") || ends_with(tensor->name, length, ".experts")
               ? length
               : 0;
}

static awq_status add_copied(awq_context *ctx, const awq_model *model, linears *l)
{
    const awq__arch *arch = model->arch;
    for (size_t i = 0; arch->checkpoint && i < awq__checkpoint_count(arch->checkpoint); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(arch->checkpoint, i);
        size_t length = module_length(tensor);
        awq__copying copying = AWQ__NOT_COPIED;
        if (length)
            AWQ__CHECK(awq__result_copies(ctx, model, tensor, &copying));
        if (copying == AWQ__COPIED || copying == AWQ__WIDENED)
            AWQ__CHECK(add_made(ctx, l, awq__format(ctx, "%.*s", (int)length, tensor->name)));
    }
    return AWQ_OK;
}

static bool has_name(const linears *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (!strcmp(l->items[i].name, name))
            return true;
    return false;
}

awq_status awq__model_plan_config(awq_context *ctx, const awq__model_plan *plan, cJSON **config)
{
    const awq__arch *arch = plan->model->arch;
    awq_status status = AWQ_OK;
    linears l = {0};
    *config = NULL;
    if (plan->format->fused && plan->model->format == plan->format) {
        /* The source is packed in this format already: its linears are copied. */
        *config = cJSON_Duplicate(awq__json_at(arch->config, "quantization_config"), true);
        return *config ? AWQ_OK : awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: config.json");
    }
    AWQ__TRY(add_described(ctx, plan, &l));
    AWQ__TRY(add_copied(ctx, plan->model, &l));
    if (!has_name(&l, head))
        AWQ__TRY(add(ctx, &l, head, NULL));
    *config = plan->format->config(ctx, l.items, l.count);
    AWQ__TRY(*config ? AWQ_OK : awq__failure(ctx));
done:
    free_linears(&l);
    return status;
}
