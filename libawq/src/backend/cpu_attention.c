/*
 * The attention on the CPU. Clip ranges of v and o stay if they lower the loss by the gram of
 * their input.
 */
#include "backend/cpu.h"

#include <string.h>

/* ---- statistics ---- */

typedef struct kept {
    const awq__block *block;
    awq__sequences sequences;         /* whose vectors are kept */
    float *values[AWQ__VECTOR_COUNT]; /* [T,K] of each input, by its vector */
    int64_t cols[AWQ__VECTOR_COUNT];  /* K */
} kept;

static void keep_vector(void *user, int64_t slot, awq__vector vector, int64_t tokens,
                        const float *values)
{
    kept *k = user;
    int64_t K = k->cols[vector];
    int64_t first = k->sequences.offsets[slot] - k->sequences.offsets[0];
    if (k->values[vector])
        memcpy(k->values[vector] + first * K, values, (size_t)(tokens * K) * sizeof *values);
}

static awq_status make_room(kept *k, int64_t T)
{
    const awq__block *block = k->block;
    for (int64_t i = 0; i < block->input_count; i++) {
        awq__vector vector = block->inputs[i].vector;
        k->cols[vector] = block->inputs[i].cols;
        k->values[vector] = awq__alloc_aligned(block->ctx, (size_t)(T * block->inputs[i].cols),
                                               sizeof(float), "attention inputs");
        AWQ__CHECK_ALLOC(k->values[vector]);
    }
    return AWQ_OK;
}

/* Statistics of the inputs of some of the sequences. */
static awq_status add_sequences(kept *k)
{
    awq_status status;
    const awq__block *block = k->block;
    awq__forward forward = block->states->forward;
    forward.sequences = &k->sequences;
    int64_t T = k->sequences.offsets[k->sequences.count] - k->sequences.offsets[0];
    AWQ__TRY(make_room(k, T));
    AWQ__TRY(awq__attention_forward(&forward, block->layer, block->states->hidden, false, NULL,
                                    keep_vector, k));
    for (int64_t i = 0; i < block->seen_count; i++) {
        const awq__seen *seen = &block->seen[i];
        AWQ__TRY(awq__stats_add_whole(block->ctx, block->data->compute, &seen->data->stats, T,
                                      k->values[seen->input->vector], seen->input->cols));
    }
done:
    for (int i = 0; i < AWQ__VECTOR_COUNT; i++) {
        awq__free_aligned(k->values[i]);
        k->values[i] = NULL;
    }
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
