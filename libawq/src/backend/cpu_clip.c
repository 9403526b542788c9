/* Clip ranges of the readers of a bundle. */
#include "backend/cpu.h"

/* Whose errors blocks are chosen by. */
static awq_status weigh_columns(const awq__block *block, awq__seen *seen)
{
    const awq__reader *first = awq__seen_quantized(seen);
    const awq__stats *stats = seen->data->blocks.cols ? &seen->data->blocks : &seen->data->stats;
    if (!first || !first->scheme.blocks || !stats->cols)
        return AWQ_OK;
    seen->data->importance =
        awq__alloc(block->ctx, (size_t)stats->cols, sizeof(float), "importance");
    AWQ__CHECK_ALLOC(seen->data->importance);
    awq__stats_diagonal(stats, seen->data->importance);
    return AWQ_OK;
}

static void rescale_seen(const awq__block *block, awq__seen *seen)
{
    if (seen->input->folded && seen->data->stats.cols)
        awq__stats_rescale(block->data->compute, &seen->data->stats, seen->input->unscale);
    if (seen->input->folded && seen->data->blocks.cols)
        awq__stats_rescale(block->data->compute, &seen->data->blocks, seen->input->unscale);
    seen->data->folded = seen->input->folded;
}

awq_status awq__cpu_fold_seen(const awq__block *block, const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++) {
        awq__seen *seen = bundle->readers[i]->seen;
        if (i && bundle->readers[i - 1]->seen == seen)
            continue;
        rescale_seen(block, seen);
        AWQ__CHECK(weigh_columns(block, seen));
    }
    return AWQ_OK;
}

static awq_status search_reader(const awq__block *block, awq__reader *reader)
{
    awq_status status;
    const awq__weight *weight = reader->folded;
    const awq__seen *seen = reader->seen;
    const awq__stats *stats = seen->data->blocks.cols ? &seen->data->blocks : &seen->data->stats;
    int64_t group = reader->scheme.group;
    awq__stats cut = {0};
    reader->data->ranges =
        awq__alloc_aligned(block->ctx, (size_t)(weight->rows * (weight->cols / group)),
                           sizeof *reader->data->ranges, "clip ranges");
    AWQ__TRY_ALLOC(reader->data->ranges);
    if (stats->group != group || stats->rows) {
        AWQ__TRY(awq__stats_blocks(block->ctx, block->data->compute, stats, group, &cut));
        stats = &cut;
    }
    AWQ__TRY(awq__search_clip(block->ctx, block->data->compute, weight, &reader->scheme, stats,
                              reader->data->ranges));
done:
    awq__stats_free(&cut);
    return status;
}

awq_status awq__cpu_search_ranges(const awq__block *block, const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->clips)
            AWQ__CHECK(search_reader(block, bundle->readers[i]));
    return AWQ_OK;
}

void awq__cpu_drop_ranges(const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++) {
        awq__free_aligned(bundle->readers[i]->data->ranges);
        bundle->readers[i]->data->ranges = NULL;
    }
}

static awq_status clip_bundle(void *arg, int64_t index, int worker)
{
    awq__block *block = arg;
    (void)worker;
    return block->data->steps->clip(block, &block->bundles[index]);
}

awq_status awq__cpu_clip(awq__block *block)
{
    return awq__parallel_nested(block->ctx, block->data->steps->clip_bytes(block->layer),
                                block->bundle_count, clip_bundle, block);
}
