/*
 * The gated delta net of a layer: two inputs, as an attention has. The linears in front read what a
 * norm makes; its gates read it too and stay float. The last linear reads what the inner norm
 * makes, with the same weights for each head.
 */
#include "layer/input.h"

static awq_status write_others(const awq__work *work)
{
    const awq__arch *arch = work->quantizer->plan->model->arch;
    const awq__layer *source = work->block.layer, *folded = &work->block.folded;
    const awq__delta *d = &folded->delta;
    size_t filter = awq__arch_index(arch, source->number, AWQ__PART_DELTA_CONV, -1);
    AWQ__CHECK(awq__write_vector(work, AWQ__PART_ATTENTION_NORM, source->attention.norm,
                                 folded->attention.norm));
    AWQ__CHECK(awq__store_weight(work->quantizer->writer, &arch->modules[filter], &d->filter));
    AWQ__CHECK(awq__write_vector(work, AWQ__PART_DELTA_A_LOG, source->delta.a_log, d->a_log));
    AWQ__CHECK(awq__write_vector(work, AWQ__PART_DELTA_DT_BIAS, source->delta.dt_bias, d->dt_bias));
    return awq__write_vector(work, AWQ__PART_DELTA_NORM, source->delta.norm, d->norm);
}

static void report(const awq__work *work, const awq__proof *proof, cJSON *report)
{
    const awq__block *block = &work->block;
    awq__json_builder *b = &work->quantizer->built;
    cJSON *object = awq__json_add_object(b, report, "delta");
    for (int64_t i = 0; i < block->input_count; i++)
        awq__report_found(work, object, &block->inputs[i]);
    awq__json_add_number(b, object, "fold_error", proof->largest_error);
    awq__json_add_number(b, object, "fold_tokens", (double)proof->tokens);
    awq__json_add_bool(b, object, "in_clipped", block->bundles[0].clipped);
    awq__json_add_bool(b, object, "out_clipped", block->bundles[1].clipped);
}

static const awq__block_steps steps = {
    .shares = {0.01, 0.02, 0.05, 0.06, 0.08}, .write_others = write_others, .report = report};

/* ---- the inputs ---- */

static awq_status add_in(awq__work *work)
{
    awq__block *block = &work->block;
    const awq__attention *a = &block->layer->attention;
    const awq__delta *d = &block->layer->delta;
    awq__delta *folded = &block->folded.delta;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = a->norm,
                                 .folded_norm = &block->folded.attention.norm,
                                 .norm_dtype = a->norm_dtype,
                                 .norm_shift = a->norm_shift,
                                 .run = block->layer->hidden,
                                 .shared = 1};
    awq__bundle *bundle = awq__add_vector(work, "in", AWQ__VECTOR_X, block->layer->hidden);
    awq__add_reader(work, bundle, AWQ__PART_DELTA_QKV, &d->qkv, &folded->qkv);
    if (!d->grouped)
        awq__add_reader(work, bundle, AWQ__PART_DELTA_Z, &d->z, &folded->z);
    awq__add_reader(work, bundle, AWQ__PART_DELTA_B, &d->b, &folded->b);
    if (!d->grouped)
        awq__add_reader(work, bundle, AWQ__PART_DELTA_A, &d->a, &folded->a);
    return awq__add_site(work, AWQ_FOLD_ATTENTION_NORM, &site);
}

static awq_status add_out(awq__work *work)
{
    awq__block *block = &work->block;
    const awq__delta *d = &block->layer->delta;
    const awq__weight *o = &block->layer->attention.o;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = d->norm,
                                 .folded_norm = &block->folded.delta.norm,
                                 .norm_dtype = d->norm_dtype,
                                 .run = d->value_dim,
                                 .shared = d->value_heads};
    awq__bundle *bundle = awq__add_vector(work, "out", AWQ__VECTOR_C, o->cols);
    awq__add_reader(work, bundle, AWQ__PART_O, o, &block->folded.attention.o);
    return awq__add_site(work, AWQ_FOLD_DELTA, &site);
}

awq_status awq__delta_create(awq__quantizer *quantizer, const awq__layer *layer, awq__work *work)
{
    const awq__block_counts most = {.inputs = 2, .readers = 5, .seen = 2, .bundles = 2};
    AWQ__CHECK(awq__work_create(quantizer, layer, &steps, AWQ__BLOCK_ATTENTION, most, work));
    AWQ__CHECK(add_in(work));
    return add_out(work);
}
