/* The steps of a block, in their order. */
#include "layer/input.h"

#include <stdio.h>

static awq_status enter(const awq__work *work, awq__stage stage)
{
    return awq__stage_enter(work->quantizer->stages, stage, work->block.layer->number,
                            work->steps->shares[stage - AWQ__STAGE_STATISTICS]);
}

static void fall_back(awq__work *work)
{
    awq__block *block = &work->block;
    work->fell_back = true;
    awq__unfold(block);
    work->backend->drop_ranges(block);
    for (int64_t i = 0; i < block->bundle_count; i++) {
        block->bundles[i].clipped = false;
        block->bundles[i].error = block->bundles[i].rtn_error;
    }
    awq__log(block->ctx, AWQ_LOG_WARNING,
             "layer %lld: scales and clipping made the experts' output worse than rounding to "
             "nearest (RTN), which is used instead",
             (long long)block->layer->number);
}

awq_status awq__gather(awq__work *work)
{
    const awq__backend *backend = work->backend;
    AWQ__CHECK(backend->pass(&work->block));
    AWQ__CHECK(enter(work, AWQ__STAGE_STATISTICS));
    return backend->statistics(&work->block);
}

static awq_status calibrate(awq__work *work, awq__proof *proof)
{
    awq__block *block = &work->block;
    const awq__backend *backend = work->backend;
    AWQ__CHECK(awq__gather(work));
    AWQ__CHECK(enter(work, AWQ__STAGE_SCALES));
    AWQ__CHECK(backend->search(block));
    awq__fold(block);
    AWQ__CHECK(enter(work, AWQ__STAGE_PROOF));
    AWQ__CHECK(backend->prove(block, proof));
    AWQ__CHECK(enter(work, AWQ__STAGE_CLIP));
    AWQ__CHECK(backend->clip(block));
    if (work->steps->worse_than_rtn && work->steps->worse_than_rtn(block))
        fall_back(work);
    return AWQ_OK;
}

awq_status awq__quantize_block(awq__work *work, cJSON *report)
{
    const awq__block_steps *steps = work->steps;
    awq__proof proof = {0};
    AWQ__CHECK(work->backend->block_begin(&work->block));
    if (work->calibrates)
        AWQ__CHECK(calibrate(work, &proof));
    else if (steps->pass)
        AWQ__CHECK(steps->pass(work));
    AWQ__CHECK(enter(work, AWQ__STAGE_WRITE));
    AWQ__CHECK(steps->write_others(work));
    AWQ__CHECK(awq__write_readers(work));
    if (work->calibrates)
        steps->report(work, &proof, report);
    return AWQ_OK;
}

void awq__report_ratio(const awq__work *work, cJSON *object, const awq__input *input)
{
    awq__json_builder *b = &work->quantizer->built;
    char key[48];
    snprintf(key, sizeof key, "%s_ratio", input->name);
    if (!input->scale)
        return;
    if (input->found.candidate)
        awq__json_add_number(b, object, key,
                             (double)(input->found.candidate - 1) /
                                 (double)work->block.settings->quantize.ratio_steps);
    else
        awq__json_add_text(b, object, key, "identity");
}

static void report_salience(const awq__work *work, cJSON *object, const awq__input *input)
{
    const awq__salience *salience = &input->found.salience;
    awq__json_builder *b = &work->quantizer->built;
    char key[48];
    snprintf(key, sizeof key, "%s_salience", input->name);
    cJSON *found = awq__json_add_object(b, object, key);
    awq__json_add_number(b, found, "median", salience->median);
    awq__json_add_number(b, found, "largest", salience->largest);
    awq__json_add_number(b, found, "outlier_count", (double)salience->outlier_count);
    cJSON *channels = awq__json_add_array(b, found, "outliers");
    for (int64_t i = 0; i < awq__min(salience->outlier_count, AWQ__MOST_OUTLIERS); i++)
        awq__json_add_number(b, channels, NULL, (double)salience->outliers[i]);
}

void awq__report_found(const awq__work *work, cJSON *object, const awq__input *input)
{
    awq__json_builder *b = &work->quantizer->built;
    char key[48];
    if (!input->scale)
        return;
    awq__report_ratio(work, object, input);
    snprintf(key, sizeof key, "%s_rtn_loss", input->name);
    awq__json_add_number(b, object, key, input->found.identity_loss);
    snprintf(key, sizeof key, "%s_loss", input->name);
    awq__json_add_number(b, object, key, input->found.loss);
    report_salience(work, object, input);
}
