/*
 * The attention of a layer: two inputs. q, k and v read what a norm makes, o reads what v's rows
 * make. Clip ranges of v and o stay if they lower the loss by the gram of their input; clipping q
 * and k is known to hurt.
 */
#include "layer/input.h"

#include <string.h>

#define STATS_TOKENS 4096 /* whose inputs are kept at a time */

typedef struct attention {
    awq__block block;
    awq__sequences sequences; /* whose inputs are kept */
    float *x, *c;             /* [T,H] input of q, k, v; [T,Q] input of o: of those */
} attention;

enum { INPUT_QKV, INPUT_O };
enum { READER_Q, READER_K, READER_V, READER_O };

static const awq__arch *arch_of(const awq__block *block)
{
    return block->quantizer->plan->model->arch;
}

/* ---- statistics ---- */

static void keep_inputs(void *user, int64_t slot, int worker, int64_t tokens, const float *x,
                        const float *c)
{
    attention *a = user;
    (void)worker;
    int64_t H = a->block.inputs[INPUT_QKV].cols, Q = a->block.inputs[INPUT_O].cols;
    int64_t first = a->sequences.offsets[slot] - a->sequences.offsets[0];
    memcpy(a->x + first * H, x, (size_t)(tokens * H) * sizeof *x);
    memcpy(a->c + first * Q, c, (size_t)(tokens * Q) * sizeof *c);
}

/* Statistics of the inputs of some of the sequences. */
static awq_status add_sequences(attention *a)
{
    awq_status status;
    awq__block *block = &a->block;
    awq__forward forward = block->states->forward;
    forward.sequences = &a->sequences;
    int64_t T = a->sequences.offsets[a->sequences.count] - a->sequences.offsets[0];
    int64_t H = block->inputs[INPUT_QKV].cols, Q = block->inputs[INPUT_O].cols;
    a->x = awq__alloc_aligned(block->ctx, (size_t)(T * H), sizeof *a->x, "attention inputs");
    a->c = awq__alloc_aligned(block->ctx, (size_t)(T * Q), sizeof *a->c, "attention inputs");
    AWQ__TRY_ALLOC(a->x && a->c);
    AWQ__TRY(awq__attention_forward(&forward, block->layer, block->states->hidden, false, NULL,
                                    keep_inputs, a));
    AWQ__TRY(awq__stats_add_whole(block->ctx, block->compute, &block->seen[INPUT_QKV].stats, T,
                                  a->x, H));
    AWQ__TRY(
        awq__stats_add_whole(block->ctx, block->compute, &block->seen[INPUT_O].stats, T, a->c, Q));
done:
    awq__free_aligned(a->x);
    awq__free_aligned(a->c);
    a->x = a->c = NULL;
    return status;
}

static void finish_seen(const awq__block *block, awq__seen *seen)
{
    awq__input *input = seen->input;
    awq__stats_mirror(block->compute, &seen->stats);
    for (int64_t k = 0; k < input->cols && input->salience; k++)
        input->salience[k] = seen->stats.abs_sums[k] / (double)seen->stats.tokens;
}

static awq_status gather(awq__block *block)
{
    attention *a = block->own;
    const awq__sequences *all = block->states->forward.sequences;
    AWQ__CHECK(awq__block_enter(block, AWQ__STAGE_STATISTICS));
    for (int64_t i = 0; i < block->seen_count; i++) {
        int64_t K = block->seen[i].input->cols;
        AWQ__CHECK(awq__stats_create(block->ctx, K, K, &block->seen[i].stats));
    }
    for (int64_t first = 0; first < all->count; first += a->sequences.count) {
        a->sequences = awq__some_sequences(all, first, STATS_TOKENS);
        AWQ__CHECK(add_sequences(a));
    }
    for (int64_t i = 0; i < block->seen_count; i++)
        finish_seen(block, &block->seen[i]);
    return AWQ_OK;
}

/* ---- proof, clip ranges, GPTQ ---- */

static awq_status prove(const awq__block *block, awq__proof *proof)
{
    return awq__prove_attention(&block->states->forward, block->layer, &block->folded,
                                block->states->hidden, proof);
}

/* Of a reader within its clip ranges, or without. */
static double loss(const awq__block *block, const awq__reader *reader, const awq__range *ranges,
                   float *space)
{
    return awq__gram_loss(block->compute, reader->folded, &reader->scheme, ranges,
                          &reader->seen->stats, space);
}

/* Do the clip ranges of a bundle lower the loss? */
static awq_status judge(const awq__block *block, awq__bundle *bundle)
{
    double with = 0, without = 0;
    for (int i = 0; i < bundle->count; i++) {
        const awq__reader *reader = bundle->readers[i];
        if (!reader->ranges)
            continue;
        float *space = awq__alloc_aligned(
            block->ctx, (size_t)awq__gram_loss_space(reader->folded, &reader->seen->stats),
            sizeof *space, "clip search");
        AWQ__CHECK_ALLOC(space);
        with += loss(block, reader, reader->ranges, space);
        without += loss(block, reader, NULL, space);
        awq__free_aligned(space);
    }
    bundle->clipped = with < without;
    return AWQ_OK;
}

static awq_status clip(const awq__block *block, awq__bundle *bundle)
{
    awq__fold_seen(block, bundle);
    AWQ__CHECK(awq__search_ranges(block, bundle));
    AWQ__CHECK(judge(block, bundle));
    if (!bundle->clipped)
        awq__drop_ranges(bundle);
    return AWQ_OK;
}

/* That of the calibration, which nothing needs any more. */
static awq_status give_gram(const awq__block *block, const awq__bundle *bundle,
                            const awq__reader *reader, awq__stats *whole, double *damping)
{
    (void)block;
    (void)bundle;
    *whole = reader->seen->stats;
    reader->seen->stats = (awq__stats){0};
    *damping = AWQ__GPTQ_DAMPING;
    return AWQ_OK;
}

/* ---- what is written and told ---- */

static awq_status write_vector(const awq__block *block, awq__part part, const float *values)
{
    const awq__arch *arch = arch_of(block);
    if (!values)
        return AWQ_OK;
    return awq__store_vector(block->quantizer->writer,
                             &arch->modules[awq__arch_index(arch, block->layer->number, part, -1)],
                             values);
}

static awq_status write_others(const awq__block *block)
{
    const awq__attention *a = &block->folded.attention;
    AWQ__CHECK(write_vector(block, AWQ__PART_ATTENTION_NORM, a->norm));
    AWQ__CHECK(write_vector(block, AWQ__PART_Q_NORM, a->q_norm));
    AWQ__CHECK(write_vector(block, AWQ__PART_K_NORM, a->k_norm));
    return write_vector(block, AWQ__PART_SINKS, a->sinks);
}

static void report(const awq__block *block, const awq__proof *proof, cJSON *report)
{
    awq__json_builder *b = &block->quantizer->built;
    cJSON *object = awq__json_add_object(b, report, "attention");
    awq__report_found(block, object, "qkv", &block->inputs[INPUT_QKV]);
    awq__report_found(block, object, "o", &block->inputs[INPUT_O]);
    awq__json_add_number(b, object, "fold_error", proof->largest_error);
    awq__json_add_number(b, object, "fold_tokens", (double)proof->tokens);
    awq__json_add_bool(b, object, "v_clipped", block->readers[READER_V].ranges != NULL);
    awq__json_add_bool(b, object, "o_clipped", block->readers[READER_O].ranges != NULL);
}

static const awq__block_kind kind = {.shares = {0.01, 0.02, 0.05, 0.06, 0.08},
                                     .gather = gather,
                                     .prove = prove,
                                     .clip = clip,
                                     .gram = give_gram,
                                     .write_others = write_others,
                                     .report = report};

/* ---- the two inputs ---- */

static awq_status add_qkv(awq__block *block)
{
    const awq__attention *a = &block->layer->attention;
    awq__attention *folded = &block->folded.attention;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = a->norm,
                                 .folded_norm = &folded->norm,
                                 .norm_dtype = a->norm_dtype};
    awq__bundle *bundle = awq__add_bundle(block, -1);
    awq__add_input(block, block->layer->hidden);
    awq__add_seen(block);
    awq__add_reader(block, bundle, AWQ__PART_Q, &a->q, &folded->q);
    awq__add_reader(block, bundle, AWQ__PART_K, &a->k, &folded->k);
    awq__add_reader(block, bundle, AWQ__PART_V, &a->v, &folded->v);
    return awq__add_site(block, AWQ_FOLD_ATTENTION_NORM, &site);
}

static awq_status add_o(awq__block *block)
{
    const awq__attention *a = &block->layer->attention;
    awq__attention *folded = &block->folded.attention;
    const awq__fold_site site = {.kind = AWQ__FOLD_ROWS,
                                 .producer = &folded->v,
                                 .run = a->head_dim,
                                 .shared = a->heads / a->kv_heads};
    awq__bundle *bundle = awq__add_bundle(block, -1);
    awq__add_input(block, a->o.cols);
    awq__add_seen(block);
    awq__add_reader(block, bundle, AWQ__PART_O, &a->o, &folded->o);
    return awq__add_site(block, AWQ_FOLD_VALUE, &site);
}

awq_status awq__quantize_attention(awq__quantizer *quantizer, const awq__layer *layer,
                                   cJSON *report)
{
    awq_status status;
    const awq__block_counts most = {.inputs = 2, .readers = 4, .seen = 2, .bundles = 2};
    attention a = {0};
    awq__block *block = &a.block;
    AWQ__TRY(awq__block_create(quantizer, layer, &kind, most, block));
    block->own = &a;
    /* one task at a time, with all threads in its loops */
    block->clip_bytes = block->round_bytes = block->store_bytes = SIZE_MAX / 4;
    AWQ__TRY(add_qkv(block));
    AWQ__TRY(add_o(block));
    block->readers[READER_Q].clips = block->readers[READER_K].clips = false;
    AWQ__TRY(awq__quantize_block(block, report));
done:
    awq__block_free(block);
    return status;
}
