/* Describing a block: its inputs, their readers, and what is judged together. */
#include "layer/input.h"

#include <string.h>

awq_status awq__block_create(awq__quantizer *quantizer, const awq__layer *layer,
                             const awq__block_kind *kind, awq__block_counts most, awq__block *block)
{
    awq_context *ctx = quantizer->ctx;
    *block = (awq__block){.kind = kind,
                          .quantizer = quantizer,
                          .ctx = ctx,
                          .compute = awq__compute_of(ctx),
                          .states = quantizer->calibration.states,
                          .layer = layer,
                          .folded = *layer};
    block->steps = quantizer->plan->settings.quantize.ratio_steps;
    block->inputs = awq__alloc(ctx, (size_t)most.inputs, sizeof *block->inputs, "inputs");
    block->readers = awq__alloc(ctx, (size_t)most.readers, sizeof *block->readers, "linears");
    block->seen = awq__alloc(ctx, (size_t)most.seen, sizeof *block->seen, "inputs");
    block->bundles = awq__alloc(ctx, (size_t)most.bundles, sizeof *block->bundles, "linears");
    AWQ__CHECK_ALLOC(block->inputs && block->readers && block->seen && block->bundles);
    return AWQ_OK;
}

static void free_input(awq__input *input)
{
    awq__free(input->salience);
    awq__free_aligned(input->scale);
    awq__free_aligned(input->unscale);
    awq__free_aligned(input->site.inverse);
    *input = (awq__input){0};
}

void awq__block_free(awq__block *block)
{
    for (int64_t i = 0; i < block->input_count; i++)
        free_input(&block->inputs[i]);
    for (int64_t i = 0; i < block->seen_count; i++) {
        awq__stats_free(&block->seen[i].stats);
        awq__stats_free(&block->seen[i].blocks);
        awq__free(block->seen[i].w_mean);
    }
    for (int64_t i = 0; i < block->reader_count; i++) {
        awq__free(block->readers[i].row_weight);
        awq__free_aligned(block->readers[i].ranges);
    }
    awq__free(block->inputs);
    awq__free(block->seen);
    awq__free(block->readers);
    awq__free(block->bundles);
    *block = (awq__block){0};
}

void awq__add_input(awq__block *block, int64_t cols)
{
    block->inputs[block->input_count++] =
        (awq__input){.cols = cols,
                     .readers = block->readers + block->reader_count,
                     .seen = block->seen + block->seen_count};
}

void awq__add_seen(awq__block *block)
{
    awq__input *input = &block->inputs[block->input_count - 1];
    block->seen[block->seen_count++] =
        (awq__seen){.input = input, .readers = block->readers + block->reader_count};
    input->seen_count++;
}

void awq__add_reader(awq__block *block, awq__bundle *bundle, awq__part part,
                     const awq__weight *weight, awq__weight *folded)
{
    const awq__model_plan *plan = block->quantizer->plan;
    const awq__arch *arch = plan->model->arch;
    size_t index = awq__arch_index(arch, block->layer->number, part, bundle->expert);
    awq__seen *seen = &block->seen[block->seen_count - 1];
    awq__reader *reader = &block->readers[block->reader_count++];
    *reader = (awq__reader){.module = &arch->modules[index],
                            .treatment = plan->rules.of[index],
                            .weight = weight,
                            .folded = folded,
                            .input = seen->input,
                            .seen = seen,
                            .bundle = bundle};
    bundle->readers[bundle->count++] = reader;
    if (reader->treatment) {
        reader->scheme = awq__model_plan_scheme(plan, index, weight->dtype);
        reader->clips = reader->treatment->clip;
        block->calibrates |= reader->treatment->calibrate;
    }
    seen->reader_count++;
    seen->input->reader_count++;
}

awq__bundle *awq__add_bundle(awq__block *block, int64_t expert)
{
    awq__bundle *bundle = &block->bundles[block->bundle_count++];
    *bundle = (awq__bundle){.expert = expert};
    return bundle;
}

static bool wants_scale(const awq__input *input)
{
    for (int64_t i = 0; i < input->reader_count; i++)
        if (input->readers[i].treatment && input->readers[i].treatment->scale)
            return true;
    return false;
}

awq_status awq__add_site(awq__block *block, uint32_t fold, const awq__fold_site *site)
{
    const awq__arch *arch = block->quantizer->plan->model->arch;
    awq_context *ctx = block->ctx;
    awq__input *input = &block->inputs[block->input_count - 1];
    size_t K = (size_t)input->cols;
    input->site = *site;
    if (!(arch->layers[block->layer->number].folds & fold) || !wants_scale(input))
        return AWQ_OK;
    input->salience = awq__alloc(ctx, K, sizeof *input->salience, "salience");
    input->scale = awq__alloc_aligned(ctx, K, sizeof *input->scale, "scales");
    input->unscale = awq__alloc_aligned(ctx, K, sizeof *input->unscale, "scales");
    input->site.inverse = awq__alloc_aligned(ctx, K, sizeof(float), "scales");
    AWQ__CHECK_ALLOC(input->salience && input->scale && input->unscale && input->site.inverse);
    return AWQ_OK;
}

const awq__reader *awq__seen_quantized(const awq__seen *seen)
{
    for (int64_t i = 0; i < seen->reader_count; i++)
        if (seen->readers[i].treatment)
            return &seen->readers[i];
    return NULL;
}
