/* Describing a block: its inputs, their readers, and what is judged together. */
#include "layer/input.h"

awq_status awq__work_create(awq__quantizer *quantizer, const awq__layer *layer,
                            const awq__block_steps *steps, awq__block_kind kind,
                            awq__block_counts most, awq__work *work)
{
    awq_context *ctx = quantizer->ctx;
    awq__block *block = &work->block;
    *work = (awq__work){.steps = steps, .quantizer = quantizer, .backend = awq__backend_of(ctx)};
    *block = (awq__block){.kind = kind,
                          .ctx = ctx,
                          .settings = &quantizer->plan->settings,
                          .states = quantizer->calibration.states,
                          .layer = layer,
                          .folded = *layer};
    block->inputs = awq__alloc(ctx, (size_t)most.inputs, sizeof *block->inputs, "inputs");
    block->readers = awq__alloc(ctx, (size_t)most.readers, sizeof *block->readers, "linears");
    block->seen = awq__alloc(ctx, (size_t)most.seen, sizeof *block->seen, "inputs");
    block->bundles = awq__alloc(ctx, (size_t)most.bundles, sizeof *block->bundles, "linears");
    AWQ__CHECK_ALLOC(block->inputs && block->readers && block->seen && block->bundles);
    return AWQ_OK;
}

void awq__work_free(awq__work *work)
{
    awq__block *block = &work->block;
    if (work->backend)
        work->backend->block_end(block);
    for (int64_t i = 0; i < block->input_count; i++) {
        awq__free_aligned(block->inputs[i].scale);
        awq__free_aligned(block->inputs[i].unscale);
        awq__free_aligned(block->inputs[i].site.inverse);
    }
    awq__free(block->inputs);
    awq__free(block->seen);
    awq__free(block->readers);
    awq__free(block->bundles);
    *work = (awq__work){0};
}

void awq__add_input(awq__work *work, const char *name, int64_t cols)
{
    awq__block *block = &work->block;
    block->inputs[block->input_count++] =
        (awq__input){.name = name,
                     .cols = cols,
                     .readers = block->readers + block->reader_count,
                     .seen = block->seen + block->seen_count};
}

void awq__add_seen(awq__work *work)
{
    awq__block *block = &work->block;
    awq__input *input = &block->inputs[block->input_count - 1];
    block->seen[block->seen_count++] =
        (awq__seen){.input = input, .readers = block->readers + block->reader_count};
    input->seen_count++;
}

void awq__add_reader(awq__work *work, awq__bundle *bundle, awq__part part,
                     const awq__weight *weight, awq__weight *folded)
{
    awq__block *block = &work->block;
    const awq__model_plan *plan = work->quantizer->plan;
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
        work->calibrates |= reader->treatment->calibrate;
    }
    seen->reader_count++;
    seen->input->reader_count++;
}

awq__bundle *awq__add_bundle(awq__work *work, int64_t expert)
{
    awq__block *block = &work->block;
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

awq_status awq__add_site(awq__work *work, uint32_t fold, const awq__fold_site *site)
{
    awq__block *block = &work->block;
    const awq__arch *arch = work->quantizer->plan->model->arch;
    awq_context *ctx = block->ctx;
    awq__input *input = &block->inputs[block->input_count - 1];
    size_t K = (size_t)input->cols;
    input->site = *site;
    if (!(arch->layers[block->layer->number].folds & fold) || !wants_scale(input))
        return AWQ_OK;
    input->scale = awq__alloc_host(ctx, K, sizeof *input->scale, "scales");
    input->unscale = awq__alloc_host(ctx, K, sizeof *input->unscale, "scales");
    size_t folded = site->kind == AWQ__FOLD_NORM ? K : (size_t)site->producer->rows;
    input->site.inverse = awq__alloc_host(ctx, folded, sizeof(float), "scales");
    AWQ__CHECK_ALLOC(input->scale && input->unscale && input->site.inverse);
    return AWQ_OK;
}

awq__bundle *awq__add_vector(awq__work *work, const char *name, awq__vector vector, int64_t cols)
{
    awq__block *block = &work->block;
    awq__add_input(work, name, cols);
    awq__add_seen(work);
    block->inputs[block->input_count - 1].vector = vector;
    return awq__add_bundle(work, -1);
}
