/* Rounds and writes the readers of a block. */
#include "layer/input.h"

awq_status awq__write_vector(const awq__work *work, awq__part part, const float *source,
                             const float *values)
{
    const awq__arch *arch = work->quantizer->plan->model->arch;
    if (!values)
        return AWQ_OK;
    size_t index = awq__arch_index(arch, work->block.layer->number, part, -1);
    return awq__store_vector(work->quantizer->writer, &arch->modules[index], source, values);
}

/* One that stays float, or its codes. */
static awq_status write_reader(const awq__work *work, const awq__reader *reader,
                               const awq__codes *codes)
{
    const awq__writer *writer = work->quantizer->writer;
    return reader->treatment ? awq__store_codes(writer, reader->module, reader->folded, codes)
                             : awq__store_weight(writer, reader->module, reader->folded);
}

/* Are the codes of all its readers needed at a time? */
static bool is_whole(const awq__bundle *bundle)
{
    return bundle->fused || awq__bundle_has_gptq(bundle);
}

/* A bundle: a task. */
static awq_status write_bundle(void *arg, int64_t index, int worker)
{
    awq_status status;
    awq__work *work = arg;
    awq__bundle *bundle = &work->block.bundles[index];
    awq__codes codes[AWQ__MOST_READERS] = {0};
    (void)worker;
    if (!is_whole(bundle))
        return AWQ_OK;
    AWQ__TRY(work->backend->round(&work->block, bundle, codes));
    if (bundle->fused)
        AWQ__TRY(
            awq__store_fused(work->quantizer->writer, &work->block.folded, bundle->expert, codes));
    for (int i = 0; i < bundle->count && !bundle->fused; i++)
        AWQ__TRY(write_reader(work, bundle->readers[i], &codes[i]));
done:
    for (int i = 0; i < bundle->count; i++)
        awq__codes_free(&codes[i]);
    return status;
}

/* A reader of one of the other bundles: a task. */
static awq_status write_alone(void *arg, int64_t index, int worker)
{
    awq_status status;
    awq__work *work = arg;
    const awq__reader *reader = &work->block.readers[index];
    awq__codes codes = {0};
    (void)worker;
    if (is_whole(reader->bundle))
        return AWQ_OK;
    if (reader->treatment)
        AWQ__TRY(work->backend->round_reader(&work->block, reader, &codes));
    AWQ__TRY(write_reader(work, reader, &codes));
done:
    awq__codes_free(&codes);
    return status;
}

awq_status awq__write_readers(awq__work *work)
{
    awq__block *block = &work->block;
    const awq__backend *backend = work->backend;
    AWQ__CHECK(awq__parallel_nested(block->ctx, backend->round_bytes(block), block->bundle_count,
                                    write_bundle, work));
    return awq__parallel_nested(block->ctx, backend->round_reader_bytes(block), block->reader_count,
                                write_alone, work);
}
