/*
 * Inputs of an attention by latents (MLA), and what folds into what: the attention norm, the norm
 * of each latent, and for o the rows of kv_b that make values. What makes keys is not clipped, as
 * elsewhere; that is all but o.
 */
#include "layer/input.h"

static awq_status write_others(const awq__work *work)
{
    const awq__attention *source = &work->block.layer->attention;
    const awq__attention *a = &work->block.folded.attention;
    AWQ__CHECK(awq__write_vector(work, AWQ__PART_ATTENTION_NORM, source->norm, a->norm));
    AWQ__CHECK(
        awq__write_vector(work, AWQ__PART_Q_A_NORM, source->latent.q_norm, a->latent.q_norm));
    return awq__write_vector(work, AWQ__PART_KV_A_NORM, source->latent.kv_norm, a->latent.kv_norm);
}

static void report(const awq__work *work, const awq__proof *proof, cJSON *report)
{
    const awq__block *block = &work->block;
    awq__json_builder *b = &work->quantizer->built;
    cJSON *object = awq__json_add_object(b, report, "attention");
    for (int64_t i = 0; i < block->input_count; i++)
        awq__report_found(work, object, &block->inputs[i]);
    awq__json_add_number(b, object, "fold_error", proof->largest_error);
    awq__json_add_number(b, object, "fold_tokens", (double)proof->tokens);
    awq__json_add_bool(b, object, "o_clipped", block->bundles[block->bundle_count - 1].clipped);
}

static const awq__block_steps steps = {
    .shares = {0.01, 0.02, 0.05, 0.06, 0.08}, .write_others = write_others, .report = report};

/* ---- the inputs ---- */

/* q or q_a, and kv_a with the rows of the rope key, which is no less a reader. */
static awq_status add_x(awq__work *work)
{
    const awq__layer *layer = work->block.layer;
    const awq__attention *a = &layer->attention;
    awq__attention *folded = &work->block.folded.attention;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = a->norm,
                                 .folded_norm = &folded->norm,
                                 .norm_dtype = a->norm_dtype,
                                 .norm_shift = a->norm_shift,
                                 .run = layer->hidden,
                                 .shared = 1};
    awq__bundle *bundle = awq__add_vector(work, "q_kv_a", AWQ__VECTOR_X, layer->hidden);
    if (a->latent.q_rank)
        awq__add_reader(work, bundle, AWQ__PART_Q_A, &a->latent.q_a, &folded->latent.q_a);
    else
        awq__add_reader(work, bundle, AWQ__PART_Q, &a->q, &folded->q);
    awq__add_reader(work, bundle, AWQ__PART_KV_A, &a->latent.kv_a, &folded->latent.kv_a);
    return awq__add_site(work, AWQ_FOLD_ATTENTION_NORM, &site);
}

static awq_status add_q_b(awq__work *work)
{
    const awq__latent *m = &work->block.layer->attention.latent;
    awq__latent *folded = &work->block.folded.attention.latent;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = m->q_norm,
                                 .folded_norm = &folded->q_norm,
                                 .norm_dtype = m->q_norm_dtype,
                                 .norm_shift = work->block.layer->attention.norm_shift,
                                 .run = m->q_rank,
                                 .shared = 1};
    awq__bundle *bundle = awq__add_vector(work, "q_b", AWQ__VECTOR_Q_LATENT, m->q_rank);
    awq__add_reader(work, bundle, AWQ__PART_Q_B, &m->q_b, &folded->q_b);
    return awq__add_site(work, AWQ_FOLD_LATENT_Q, &site);
}

static awq_status add_kv_b(awq__work *work)
{
    const awq__latent *m = &work->block.layer->attention.latent;
    awq__latent *folded = &work->block.folded.attention.latent;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = m->kv_norm,
                                 .folded_norm = &folded->kv_norm,
                                 .norm_dtype = m->kv_norm_dtype,
                                 .norm_shift = work->block.layer->attention.norm_shift,
                                 .run = m->kv_rank,
                                 .shared = 1};
    awq__bundle *bundle = awq__add_vector(work, "kv_b", AWQ__VECTOR_KV_LATENT, m->kv_rank);
    awq__add_reader(work, bundle, AWQ__PART_KV_B, &m->kv_b, &folded->kv_b);
    return awq__add_site(work, AWQ_FOLD_LATENT_KV, &site);
}

static awq_status add_o(awq__work *work)
{
    const awq__attention *a = &work->block.layer->attention;
    awq__attention *folded = &work->block.folded.attention;
    const awq__fold_site site = {.kind = AWQ__FOLD_ROWS,
                                 .producer = &folded->latent.kv_b,
                                 .run = a->latent.value,
                                 .shared = 1,
                                 .stride = a->latent.nope + a->latent.value};
    awq__bundle *bundle = awq__add_vector(work, "o", AWQ__VECTOR_C, a->o.cols);
    awq__add_reader(work, bundle, AWQ__PART_O, &a->o, &folded->o);
    return awq__add_site(work, AWQ_FOLD_VALUE, &site);
}

awq_status awq__latent_create(awq__quantizer *quantizer, const awq__layer *layer, awq__work *work)
{
    const awq__block_counts most = {.inputs = 4, .readers = 5, .seen = 4, .bundles = 4};
    AWQ__CHECK(awq__work_create(quantizer, layer, &steps, AWQ__BLOCK_ATTENTION, most, work));
    AWQ__CHECK(add_x(work));
    if (layer->attention.latent.q_rank)
        AWQ__CHECK(add_q_b(work));
    AWQ__CHECK(add_kv_b(work));
    for (int64_t i = 0; i < work->block.reader_count; i++)
        work->block.readers[i].clips = false;
    return add_o(work);
}
