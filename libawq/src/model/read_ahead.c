/* Reading the weights of the layer after the one in work, by a thread that has nothing else to do.
 */
#include "model/model.h"

/* The tensors of a layer: those of its modules, and the fused ones of its experts. */
static void *read_ahead(void *arg)
{
    awq__loaded_layer *loaded = arg;
    const awq__arch *arch = loaded->model->arch;
    int64_t layer = loaded->layer.number + 1;
    const awq_arch_experts *experts = &arch->layers[layer].experts;
    char names[AWQ__MAX_FUSED][AWQ__FUSED_NAME_BYTES];
    int count = awq__fused_names(experts, experts->layout, names);
    for (size_t i = arch->layer_first[layer]; i < arch->layer_first[layer + 1]; i++) {
        if (loaded->enough)
            return NULL;
        awq__checkpoint_read_ahead(arch->checkpoint, awq__stored_name(&arch->modules[i]));
    }
    for (int i = 0; i < count && !loaded->enough; i++)
        awq__checkpoint_read_ahead(arch->checkpoint, names[i]);
    return NULL;
}

void awq__read_ahead(awq__loaded_layer *loaded)
{
    const awq__arch *arch = loaded->model->arch;
    if (arch->checkpoint && loaded->layer.number + 1 < arch->model.layer_count)
        loaded->reading = pthread_create(&loaded->reader, NULL, read_ahead, loaded) == 0;
}

void awq__read_done(awq__loaded_layer *loaded)
{
    loaded->enough = true;
    if (loaded->reading)
        pthread_join(loaded->reader, NULL);
    loaded->reading = false;
}
