/*
 * The attention on the CPU. Clip ranges of v and o stay if they lower the loss by the gram of
 * their input.
 */
#include "backend/cpu.h"

#include <string.h>

enum { INPUT_QKV, INPUT_O };

/* ---- statistics ---- */

typedef struct kept {
    const awq__block *block;
    awq__sequences sequences; /* whose inputs are kept */
    float *x, *c;             /* [T,H] input of q, k, v; [T,Q] input of o: of those */
} kept;

static void keep_inputs(void *user, int64_t slot, int worker, int64_t tokens, const float *x,
                        const float *c)
{
    kept *k = user;
    (void)worker;
    int64_t H = k->block->inputs[INPUT_QKV].cols, Q = k->block->inputs[INPUT_O].cols;
    int64_t first = k->sequences.offsets[slot] - k->sequences.offsets[0];
    memcpy(k->x + first * H, x, (size_t)(tokens * H) * sizeof *x);
    memcpy(k->c + first * Q, c, (size_t)(tokens * Q) * sizeof *c);
}

/* Statistics of the inputs of some of the sequences. */
static awq_status add_sequences(kept *k)
{
    awq_status status;
    const awq__block *block = k->block;
    const awq__compute *compute = block->data->compute;
    awq__forward forward = block->states->forward;
    forward.sequences = &k->sequences;
    int64_t T = k->sequences.offsets[k->sequences.count] - k->sequences.offsets[0];
    int64_t H = block->inputs[INPUT_QKV].cols, Q = block->inputs[INPUT_O].cols;
    k->x = awq__alloc_aligned(block->ctx, (size_t)(T * H), sizeof *k->x, "attention inputs");
    k->c = awq__alloc_aligned(block->ctx, (size_t)(T * Q), sizeof *k->c, "attention inputs");
    AWQ__TRY_ALLOC(k->x && k->c);
    AWQ__TRY(awq__attention_forward(&forward, block->layer, block->states->hidden, false, NULL,
                                    keep_inputs, k));
    AWQ__TRY(
        awq__stats_add_whole(block->ctx, compute, &block->seen[INPUT_QKV].data->stats, T, k->x, H));
    AWQ__TRY(
        awq__stats_add_whole(block->ctx, compute, &block->seen[INPUT_O].data->stats, T, k->c, Q));
done:
    awq__free_aligned(k->x);
    awq__free_aligned(k->c);
    k->x = k->c = NULL;
    return status;
}

static void finish_seen(const awq__block *block, const awq__seen *seen)
{
    awq__stats *stats = &seen->data->stats;
    double *salience = awq__cpu_salience(block, seen->input);
    awq__stats_mirror(block->data->compute, stats);
    for (int64_t k = 0; k < stats->cols && salience; k++)
        salience[k] = stats->abs_sums[k] / (double)stats->tokens;
}

awq_status awq__cpu_attention_statistics(awq__block *block)
{
    kept k = {.block = block};
    const awq__sequences *all = block->states->forward.sequences;
    for (int64_t i = 0; i < block->seen_count; i++) {
        int64_t K = block->seen[i].input->cols;
        AWQ__CHECK(awq__stats_create(block->ctx, K, K, &block->seen[i].data->stats));
    }
    for (int64_t first = 0; first < all->count; first += k.sequences.count) {
        k.sequences = awq__some_sequences(all, first, AWQ__SAMPLE_TOKENS);
        AWQ__CHECK(add_sequences(&k));
    }
    for (int64_t i = 0; i < block->seen_count; i++)
        finish_seen(block, &block->seen[i]);
    return AWQ_OK;
}

/* ---- clip ranges, GPTQ ---- */

/* Of a reader within its clip ranges, or without. */
static double loss(const awq__block *block, const awq__reader *reader, const awq__range *ranges,
                   float *space)
{
    return awq__gram_loss(block->data->compute, reader->folded, &reader->scheme, ranges,
                          &reader->seen->data->stats, space);
}

/* Do the clip ranges of a bundle lower the loss? */
static awq_status judge(const awq__block *block, awq__bundle *bundle)
{
    double with = 0, without = 0;
    for (int i = 0; i < bundle->count; i++) {
        const awq__reader *reader = bundle->readers[i];
        if (!reader->data->ranges)
            continue;
        float *space = awq__alloc_aligned(
            block->ctx, (size_t)awq__gram_loss_space(reader->folded, &reader->seen->data->stats),
            sizeof *space, "clip search");
        AWQ__CHECK_ALLOC(space);
        with += loss(block, reader, reader->data->ranges, space);
        without += loss(block, reader, NULL, space);
        awq__free_aligned(space);
    }
    bundle->clipped = with < without;
    return AWQ_OK;
}

awq_status awq__cpu_attention_clip(awq__block *block, awq__bundle *bundle)
{
    AWQ__CHECK(awq__cpu_fold_seen(block, bundle));
    AWQ__CHECK(awq__cpu_search_ranges(block, bundle));
    AWQ__CHECK(judge(block, bundle));
    if (!bundle->clipped)
        awq__cpu_drop_ranges(bundle);
    return AWQ_OK;
}

/* That of the calibration, which nothing needs any more. */
awq_status awq__cpu_attention_gram(awq__block *block, const awq__reader *reader, awq__stats *gram,
                                   double *damping)
{
    (void)block;
    *gram = reader->seen->data->stats;
    reader->seen->data->stats = (awq__stats){0};
    *damping = AWQ__GPTQ_DAMPING;
    return AWQ_OK;
}
