/* The steps of a block, in their order. */
#include "layer/input.h"

#include <stdio.h>

awq_status awq__block_enter(const awq__block *block, awq__stage stage)
{
    return awq__stage_enter(block->quantizer->stages, stage, block->layer->number,
                            block->kind->shares[stage - AWQ__STAGE_STATISTICS]);
}

/* Scales are chosen: where clip ranges have statistics of their own, the others make room. */
static void drop_sketches(const awq__block *block)
{
    for (int64_t i = 0; i < block->seen_count; i++)
        if (block->seen[i].blocks.cols)
            awq__stats_free(&block->seen[i].stats);
}

static awq_status clip_bundle(void *arg, int64_t index, int worker)
{
    const awq__block *block = arg;
    (void)worker;
    return block->kind->clip(block, &block->bundles[index]);
}

static void fall_back(awq__block *block)
{
    block->fell_back = true;
    awq__unfold(block);
    for (int64_t i = 0; i < block->bundle_count; i++) {
        awq__bundle *bundle = &block->bundles[i];
        awq__drop_ranges(bundle);
        bundle->clipped = false;
        bundle->error = bundle->rtn_error;
    }
    awq__log(block->ctx, AWQ_LOG_WARNING,
             "layer %lld: scales and clipping made the experts' output worse than plain rounding "
             "does, which is used instead",
             (long long)block->layer->number);
}

static awq_status calibrate(awq__block *block, awq__proof *proof)
{
    const awq__block_kind *kind = block->kind;
    AWQ__CHECK(kind->gather(block));
    AWQ__CHECK(awq__block_enter(block, AWQ__STAGE_SCALES));
    AWQ__CHECK(awq__search_scales(block));
    drop_sketches(block);
    awq__fold(block);
    AWQ__CHECK(awq__block_enter(block, AWQ__STAGE_PROOF));
    AWQ__CHECK(kind->prove(block, proof));
    AWQ__CHECK(awq__block_enter(block, AWQ__STAGE_CLIP));
    AWQ__CHECK(awq__parallel_nested(block->ctx, block->clip_bytes, block->bundle_count, clip_bundle,
                                    block));
    if (kind->worse_than_rtn && kind->worse_than_rtn(block))
        fall_back(block);
    return AWQ_OK;
}

awq_status awq__quantize_block(awq__block *block, cJSON *report)
{
    const awq__block_kind *kind = block->kind;
    awq__proof proof = {0};
    if (block->calibrates)
        AWQ__CHECK(calibrate(block, &proof));
    else if (kind->pass)
        AWQ__CHECK(kind->pass(block));
    AWQ__CHECK(awq__block_enter(block, AWQ__STAGE_WRITE));
    AWQ__CHECK(kind->write_others(block));
    AWQ__CHECK(awq__write_readers(block));
    if (block->calibrates)
        kind->report(block, &proof, report);
    return AWQ_OK;
}

void awq__report_ratio(const awq__block *block, cJSON *object, const char *name,
                       const awq__input *input)
{
    awq__json_builder *b = &block->quantizer->built;
    char key[48];
    snprintf(key, sizeof key, "%s_ratio", name);
    if (!input->scale)
        return;
    if (input->found.candidate)
        awq__json_add_number(b, object, key,
                             (double)(input->found.candidate - 1) / (double)block->steps);
    else
        awq__json_add_text(b, object, key, "identity");
}

void awq__report_found(const awq__block *block, cJSON *object, const char *name,
                       const awq__input *input)
{
    awq__json_builder *b = &block->quantizer->built;
    char key[48];
    if (!input->scale)
        return;
    awq__report_ratio(block, object, name, input);
    snprintf(key, sizeof key, "%s_plain_loss", name);
    awq__json_add_number(b, object, key, input->found.identity_loss);
    snprintf(key, sizeof key, "%s_loss", name);
    awq__json_add_number(b, object, key, input->found.loss);
}
