/*
 * The attention of a layer: its inputs, what is written and told of them. q, k and v read what a
 * norm makes, o reads what v's rows make. Clipping q and k is known to hurt.
 */
#include "layer/input.h"

enum { READER_Q, READER_K };

/* ---- what is written and told ---- */

static awq_status write_others(const awq__work *work)
{
    const awq__attention *source = &work->block.layer->attention;
    const awq__attention *a = &work->block.folded.attention;
    AWQ__CHECK(awq__write_vector(work, AWQ__PART_ATTENTION_NORM, source->norm, a->norm));
    AWQ__CHECK(awq__write_vector(work, AWQ__PART_Q_NORM, source->q_norm, a->q_norm));
    AWQ__CHECK(awq__write_vector(work, AWQ__PART_K_NORM, source->k_norm, a->k_norm));
    return awq__write_vector(work, AWQ__PART_SINKS, source->sinks, a->sinks);
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
    awq__json_add_bool(b, object, "v_clipped", block->readers[READER_Q].bundle->clipped);
    awq__json_add_bool(b, object, "o_clipped",
                       block->readers[block->reader_count - 1].bundle->clipped);
}

static const awq__block_steps steps = {
    .shares = {0.01, 0.02, 0.05, 0.06, 0.08}, .write_others = write_others, .report = report};

/* ---- the inputs ---- */

static awq_status add_qkv(awq__work *work)
{
    awq__block *block = &work->block;
    const awq__attention *a = &block->layer->attention;
    awq__attention *folded = &work->block.folded.attention;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = a->norm,
                                 .folded_norm = &folded->norm,
                                 .norm_dtype = a->norm_dtype,
                                 .norm_shift = a->norm_shift,
                                 .run = block->layer->hidden,
                                 .shared = 1};
    awq__bundle *bundle = awq__add_vector(work, "qkv", AWQ__VECTOR_X, block->layer->hidden);
    awq__add_reader(work, bundle, AWQ__PART_Q, &a->q, &folded->q);
    awq__add_reader(work, bundle, AWQ__PART_K, &a->k, &folded->k);
    if (!a->value_is_key)
        awq__add_reader(work, bundle, AWQ__PART_V, &a->v, &folded->v);
    return awq__add_site(work, AWQ_FOLD_ATTENTION_NORM, &site);
}

static awq_status add_o(awq__work *work)
{
    awq__block *block = &work->block;
    const awq__attention *a = &block->layer->attention;
    awq__attention *folded = &work->block.folded.attention;
    const awq__fold_site site = {.kind = AWQ__FOLD_ROWS,
                                 .producer = &folded->v,
                                 .run = a->head_dim,
                                 .shared = a->heads / a->kv_heads,
                                 .stride = a->head_dim};
    awq__bundle *bundle = awq__add_vector(work, "o", AWQ__VECTOR_C, a->o.cols);
    awq__add_reader(work, bundle, AWQ__PART_O, &a->o, &folded->o);
    return awq__add_site(work, AWQ_FOLD_VALUE, &site);
}

static awq_status create_softmax(awq__quantizer *quantizer, const awq__layer *layer,
                                 awq__work *work)
{
    const awq__block_counts most = {.inputs = 2, .readers = 4, .seen = 2, .bundles = 2};
    AWQ__CHECK(awq__work_create(quantizer, layer, &steps, AWQ__BLOCK_ATTENTION, most, work));
    AWQ__CHECK(add_qkv(work));
    AWQ__CHECK(add_o(work));
    work->block.readers[READER_Q].clips = work->block.readers[READER_K].clips = false;
    return AWQ_OK;
}

awq_status awq__attention_create(awq__quantizer *quantizer, const awq__layer *layer,
                                 awq__work *work)
{
    if (layer->delta.value_heads)
        return awq__delta_create(quantizer, layer, work);
    if (layer->attention.latent.kv_rank)
        return awq__latent_create(quantizer, layer, work);
    return create_softmax(quantizer, layer, work);
}

awq_status awq__quantize_attention(awq__quantizer *quantizer, const awq__layer *layer,
                                   cJSON *report)
{
    awq_status status;
    awq__work work;
    AWQ__TRY(awq__attention_create(quantizer, layer, &work));
    AWQ__TRY(awq__quantize_block(&work, report));
done:
    awq__work_free(&work);
    return status;
}
