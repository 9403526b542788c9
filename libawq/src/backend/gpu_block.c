/* Blocks of a layer: which of them a device works on, and what it has of them. */
#include "backend/gpu.h"

/* ---- whose they are ---- */

static bool takes_reader(const awq__reader *reader)
{
    return !reader->treatment ||
           (!reader->scheme.blocks && reader->scheme.grid != AWQ__GRID_NESTED);
}

/* A block that nothing is calibrated for is rounded where its weights are. */
static bool takes_block(const awq__block *block)
{
    bool takes = block->states &&
                 (block->kind == AWQ__BLOCK_EXPERTS ? awq__gpu_takes_experts(block->layer)
                                                    : awq__gpu_takes_attention(block->layer));
    for (int64_t i = 0; i < block->reader_count; i++)
        takes &= takes_reader(&block->readers[i]);
    return takes;
}

static awq_status make_room(awq__block *block, struct awq__gpu_block *device)
{
    awq_context *ctx = block->ctx;
    device->seen = awq__alloc(ctx, (size_t)block->seen_count, sizeof *device->seen, "inputs");
    device->ranges =
        awq__alloc(ctx, (size_t)block->reader_count, sizeof *device->ranges, "clip ranges");
    AWQ__CHECK_ALLOC(device->seen && device->ranges);
    return AWQ_OK;
}

awq_status awq__gpu_block_begin(awq__block *block)
{
    AWQ__CHECK(awq__backend_cpu.block_begin(block));
    struct awq__gpu_block *device =
        awq__alloc(block->ctx, 1, sizeof *device, "a block of a device");
    AWQ__CHECK_ALLOC(device);
    block->data->device = device;
    device->gpu = awq__context_device(block->ctx);
    device->by_cpu = !takes_block(block);
    AWQ__CHECK(make_room(block, device));
    return device->by_cpu && block->states ? awq__gpu_to_host(block->states) : AWQ_OK;
}

static void free_device(const awq__block *block, struct awq__gpu_block *device)
{
    const awq__gpu *gpu = device->gpu;
    for (int64_t i = 0; i < block->seen_count && device->seen; i++) {
        awq__gpu_free(gpu, device->seen[i].stats.values);
        awq__gpu_free(gpu, device->seen[i].blocks.values);
        awq__gpu_free(gpu, device->seen[i].abs_sums);
    }
    for (int64_t i = 0; i < block->reader_count && device->ranges; i++)
        awq__gpu_free(gpu, device->ranges[i]);
    awq__gpu_free(gpu, device->slopes);
    awq__gpu_free(gpu, device->row_weights);
    awq__gpu_free(gpu, device->sample);
    awq__free(device->seen);
    awq__free(device->ranges);
    awq__free(device);
}

void awq__gpu_block_end(awq__block *block)
{
    if (block->data && block->data->device) {
        free_device(block, block->data->device);
        block->data->device = NULL;
    }
    if (block->states)
        awq__gpu_free_host(block->states);
    awq__cpu_block_end(block);
}

/* ---- questions ---- */

const float *awq__gpu_row_weight(const awq__block *block, const awq__reader *reader)
{
    const struct awq__gpu_block *device = block->data->device;
    const awq__bundle *bundle = reader->bundle;
    int64_t I = block->layer->moe.intermediate;
    if (!device->row_weights || reader == bundle->readers[AWQ__EXPERT_DOWN] ||
        !awq__seen_quantized(reader->seen))
        return NULL;
    bool up = reader == bundle->readers[AWQ__EXPERT_UP];
    return device->row_weights + (2 * bundle->expert + up) * I;
}

awq__device_scheme awq__gpu_scheme(const awq__scheme *scheme)
{
    return (awq__device_scheme){.code = (int)scheme->code,
                                .bits = scheme->bits,
                                .group = scheme->group,
                                .symmetric = scheme->symmetric,
                                .grid = (int)scheme->grid};
}
