/* Clip ranges of the readers of a bundle. */
#include "layer/input.h"

void awq__fold_seen(const awq__block *block, const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++) {
        awq__seen *seen = bundle->readers[i]->seen;
        bool again = i && bundle->readers[i - 1]->seen == seen;
        if (again || !seen->input->folded)
            continue;
        if (seen->stats.cols)
            awq__stats_rescale(block->compute, &seen->stats, seen->input->unscale);
        if (seen->blocks.cols)
            awq__stats_rescale(block->compute, &seen->blocks, seen->input->unscale);
    }
}

bool awq__bundle_clips(const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->clips)
            return true;
    return false;
}

static awq_status search_reader(const awq__block *block, awq__reader *reader)
{
    awq_status status;
    const awq__weight *weight = reader->folded;
    const awq__seen *seen = reader->seen;
    const awq__stats *stats = seen->blocks.cols ? &seen->blocks : &seen->stats;
    int64_t group = reader->scheme.group;
    awq__stats cut = {0};
    reader->ranges = awq__alloc_aligned(block->ctx, (size_t)(weight->rows * (weight->cols / group)),
                                        sizeof *reader->ranges, "clip ranges");
    AWQ__TRY_ALLOC(reader->ranges);
    if (stats->group != group || stats->rows) {
        AWQ__TRY(awq__stats_blocks(block->ctx, block->compute, stats, group, &cut));
        stats = &cut;
    }
    AWQ__TRY(awq__search_clip(block->ctx, block->compute, weight, &reader->scheme, stats,
                              reader->ranges));
done:
    awq__stats_free(&cut);
    return status;
}

awq_status awq__search_ranges(const awq__block *block, const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++)
        if (bundle->readers[i]->clips)
            AWQ__CHECK(search_reader(block, bundle->readers[i]));
    return AWQ_OK;
}

void awq__drop_ranges(const awq__bundle *bundle)
{
    for (int i = 0; i < bundle->count; i++) {
        awq__free_aligned(bundle->readers[i]->ranges);
        bundle->readers[i]->ranges = NULL;
    }
}
