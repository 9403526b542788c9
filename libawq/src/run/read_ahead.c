/* Reading the weights of the layer after the one in work, by a thread that has nothing else to do.
 */
#include "run/model.h"

/* The tensors of a layer: those of its modules, and the fused ones of its experts. */
static void advise_layer(const awq_model *model, int64_t layer, awq__advice advice,
                         const _Atomic bool *stop)
{
    const awq__arch *arch = model->arch;
    const awq_arch_experts *experts = &arch->layers[layer].experts;
    char names[AWQ__MAX_FUSED][AWQ__FUSED_NAME_BYTES];
    int count = awq__fused_names(experts, experts->layout, names);
    for (size_t i = arch->layer_first[layer]; i < arch->layer_first[layer + 1]; i++) {
        if (stop && *stop)
            return;
        awq__checkpoint_advise(arch->checkpoint, arch->modules[i].name, advice);
    }
    for (int i = 0; i < count && !(stop && *stop); i++)
        awq__checkpoint_advise(arch->checkpoint, names[i], advice);
}

static void *read_ahead(void *arg)
{
    awq__loaded_layer *loaded = arg;
    advise_layer(loaded->model, loaded->layer.number + 1, AWQ__ADVICE_SOON, &loaded->enough);
    return NULL;
}

void awq__read_ahead(awq__loaded_layer *loaded)
{
    if (loaded->layer.number + 1 < loaded->model->arch->model.layer_count)
        loaded->reading = pthread_create(&loaded->reader, NULL, read_ahead, loaded) == 0;
}

void awq__read_done(awq__loaded_layer *loaded)
{
    if (!loaded->model)
        return;
    loaded->enough = true;
    if (loaded->reading)
        pthread_join(loaded->reader, NULL);
    loaded->reading = false;
    advise_layer(loaded->model, loaded->layer.number, AWQ__ADVICE_DONE, NULL);
}
