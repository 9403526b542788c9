/* Codes of the readers of a block on a device. */
#include "backend/gpu.h"

#include <string.h>

static awq_status create_codes(const awq__block *block, const awq__reader *reader,
                               awq__codes *codes)
{
    const awq__weight *weight = reader->weight;
    AWQ__CHECK(awq__codes_create(block->ctx, weight->rows, weight->cols, &reader->scheme, codes));
    codes->dtype = weight->dtype;
    return AWQ_OK;
}

static awq_status round_there(awq__frame *f, const awq__block *block, const awq__reader *reader,
                              awq__codes *codes)
{
    awq__gpu_codes there;
    AWQ__CHECK(awq__gpu_codes_create(f, reader, &there));
    AWQ__CHECK(awq__gpu_to_nearest(f, block, reader, &there));
    return awq__gpu_codes_read(f, reader, &there, codes);
}

awq_status awq__gpu_round_reader(awq__block *block, const awq__reader *reader, awq__codes *codes)
{
    awq_status status;
    awq__gpu *gpu = block->data->device->gpu;
    if (block->data->device->by_cpu)
        return awq__cpu_round_reader(block, reader, codes);
    AWQ__CHECK(create_codes(block, reader, codes));
    pthread_mutex_lock(&gpu->lock);
    awq__frame f = awq__frame_begin(block->ctx);
    status = awq__frame_end(&f, round_there(&f, block, reader, codes));
    pthread_mutex_unlock(&gpu->lock);
    return status;
}

static awq_status round_all(awq__block *block, const awq__bundle *bundle, awq__codes *codes)
{
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->treatment)
            AWQ__CHECK(awq__gpu_round_reader(block, bundle->readers[i], &codes[i]));
    return AWQ_OK;
}

awq_status awq__gpu_round(awq__block *block, awq__bundle *bundle, awq__codes *codes)
{
    awq_status status;
    awq__gpu *gpu = block->data->device->gpu;
    if (block->data->device->by_cpu)
        return awq__cpu_round(block, bundle, codes);
    memset(codes, 0, (size_t)bundle->count * sizeof *codes);
    bundle->by_gptq = awq__bundle_has_gptq(bundle);
    if (!bundle->by_gptq)
        return round_all(block, bundle, codes);
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->treatment)
            AWQ__CHECK(create_codes(block, bundle->readers[i], &codes[i]));
    pthread_mutex_lock(&gpu->lock);
    awq__frame f = awq__frame_begin(block->ctx);
    status = awq__frame_end(&f, awq__gpu_round_by_gptq(&f, block, bundle, codes));
    pthread_mutex_unlock(&gpu->lock);
    return status;
}
