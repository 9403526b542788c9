/* Which norm a linear reads, and whose rows make what a linear reads. */
#include "arch/arch.h"

/* The shared MLP may have a norm of its own. */
static awq__part norm_of_mlp(const awq_arch_layer *layer, const awq__module *module)
{
    bool own = layer->shared_norm.name[0] && module->expert == layer->experts.count;
    return own ? AWQ__PART_SHARED_NORM : AWQ__PART_MOE_NORM;
}

static awq__part norm_of(const awq_arch_layer *layer, const awq__module *module)
{
    switch (module->part) {
    case AWQ__PART_O:
        return layer->delta.value_heads ? AWQ__PART_DELTA_NORM : AWQ__PART_EMBEDDING;
    case AWQ__PART_DELTA_QKV:
    case AWQ__PART_DELTA_Z:
    case AWQ__PART_DELTA_B:
    case AWQ__PART_DELTA_A:
    case AWQ__PART_Q:
    case AWQ__PART_K:
    case AWQ__PART_V:
    case AWQ__PART_Q_A:
    case AWQ__PART_KV_A:
        return AWQ__PART_ATTENTION_NORM;
    case AWQ__PART_Q_B:
        return AWQ__PART_Q_A_NORM;
    case AWQ__PART_KV_B:
        return AWQ__PART_KV_A_NORM;
    case AWQ__PART_ROUTER:
        return layer->router.reads_residual ? AWQ__PART_EMBEDDING : AWQ__PART_MOE_NORM;
    case AWQ__PART_TOKEN_GATE:
        return AWQ__PART_MOE_NORM;
    case AWQ__PART_GATE:
    case AWQ__PART_UP:
        return norm_of_mlp(layer, module);
    default:
        return AWQ__PART_EMBEDDING;
    }
}

awq__part awq__norm_of(const awq__arch *arch, const awq__module *module)
{
    return module->layer < 0 ? AWQ__PART_EMBEDDING : norm_of(&arch->layers[module->layer], module);
}

uint32_t awq__fold_of_norm(awq__part norm)
{
    switch (norm) {
    case AWQ__PART_ATTENTION_NORM:
        return AWQ_FOLD_ATTENTION_NORM;
    case AWQ__PART_Q_A_NORM:
        return AWQ_FOLD_LATENT_Q;
    case AWQ__PART_KV_A_NORM:
        return AWQ_FOLD_LATENT_KV;
    case AWQ__PART_DELTA_NORM:
        return AWQ_FOLD_DELTA;
    case AWQ__PART_MOE_NORM:
        return AWQ_FOLD_EXPERT_NORM;
    case AWQ__PART_SHARED_NORM:
        return AWQ_FOLD_SHARED_NORM;
    default:
        return 0;
    }
}

static awq__producing produces(const awq_arch_layer *layer, const awq__module *module)
{
    const awq_arch_attention *a = &layer->attention;
    const awq_arch_latent *latent = &layer->latent;
    switch (module->part) {
    case AWQ__PART_V:
        return (awq__producing){AWQ__PART_O, AWQ_FOLD_VALUE, a->head_dim, a->heads / a->kv_heads,
                                a->head_dim};
    case AWQ__PART_KV_B:
        return (awq__producing){AWQ__PART_O, AWQ_FOLD_VALUE, latent->value_dim, 1,
                                latent->nope_dim + latent->value_dim};
    case AWQ__PART_UP:
        return (awq__producing){AWQ__PART_DOWN, AWQ_FOLD_UP, module->rows, 1, module->rows};
    default:
        return (awq__producing){0};
    }
}

awq__producing awq__produces(const awq__arch *arch, const awq__module *module)
{
    if (module->layer < 0)
        return (awq__producing){0};
    return produces(&arch->layers[module->layer], module);
}
