/* Blocks of a layer: which of them a device works on. */
#include "backend/gpu.h"

awq_status awq__gpu_block_begin(awq__block *block)
{
    AWQ__CHECK(awq__backend_cpu.block_begin(block));
    struct awq__gpu_block *device =
        awq__alloc(block->ctx, 1, sizeof *device, "a block of a device");
    AWQ__CHECK_ALLOC(device);
    block->data->device = device;
    device->gpu = awq__context_device(block->ctx);
    device->by_cpu = true;
    return block->states ? awq__gpu_to_host(block->states) : AWQ_OK;
}

void awq__gpu_block_end(awq__block *block)
{
    if (block->data) {
        awq__free(block->data->device);
        block->data->device = NULL;
    }
    if (block->states)
        awq__gpu_free_host(block->states);
    awq__cpu_block_end(block);
}

/* The tokens leave the layer. */
awq_status awq__gpu_pass(awq__block *block)
{
    AWQ__CHECK(awq__backend_cpu.pass(block));
    return block->kind == AWQ__BLOCK_EXPERTS ? awq__gpu_put_hidden(block->states) : AWQ_OK;
}
