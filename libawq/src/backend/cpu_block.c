/* What the CPU keeps of a block. */
#include "backend/cpu.h"

static awq_status make_salience(awq__block *block)
{
    awq__block_data *data = block->data;
    for (int64_t i = 0; i < block->input_count; i++) {
        const awq__input *input = &block->inputs[i];
        if (!input->scale)
            continue;
        data->salience[i] =
            awq__alloc(block->ctx, (size_t)input->cols, sizeof **data->salience, "salience");
        AWQ__CHECK_ALLOC(data->salience[i]);
    }
    return AWQ_OK;
}

awq_status awq__cpu_block_begin(awq__block *block, const awq__cpu_steps *steps)
{
    awq_context *ctx = block->ctx;
    awq__block_data *data = block->data = awq__alloc(ctx, 1, sizeof *data, "a block");
    AWQ__CHECK_ALLOC(data);
    data->steps = steps;
    data->compute = awq__compute_of(ctx);
    data->salience =
        awq__alloc(ctx, (size_t)block->input_count, sizeof *data->salience, "salience");
    data->seen = awq__alloc(ctx, (size_t)block->seen_count, sizeof *data->seen, "inputs");
    data->readers = awq__alloc(ctx, (size_t)block->reader_count, sizeof *data->readers, "linears");
    data->states = awq__alloc(ctx, (size_t)block->bundle_count, sizeof *data->states, "experts");
    AWQ__CHECK_ALLOC(data->salience && data->seen && data->readers && data->states);
    for (int64_t i = 0; i < block->seen_count; i++)
        block->seen[i].data = &data->seen[i];
    for (int64_t i = 0; i < block->reader_count; i++)
        block->readers[i].data = &data->readers[i];
    return make_salience(block);
}

static void free_seen(awq__seen_data *seen)
{
    awq__stats_free(&seen->stats);
    awq__stats_free(&seen->blocks);
    awq__stats_free(&seen->whole);
    awq__free(seen->w_mean);
    awq__free(seen->importance);
    *seen = (awq__seen_data){0};
}

static void free_state(awq__expert_state *state)
{
    awq__free(state->tokens);
    awq__free(state->weights);
    awq__free(state->slopes);
    *state = (awq__expert_state){0};
}

static void free_reader(awq__reader_data *reader)
{
    awq__free(reader->row_weight);
    awq__free_aligned(reader->ranges);
    *reader = (awq__reader_data){0};
}

void awq__cpu_block_end(awq__block *block)
{
    awq__block_data *data = block->data;
    if (!data)
        return;
    for (int64_t i = 0; data->salience && i < block->input_count; i++)
        awq__free(data->salience[i]);
    for (int64_t i = 0; data->seen && i < block->seen_count; i++)
        free_seen(&data->seen[i]);
    for (int64_t i = 0; data->readers && i < block->reader_count; i++)
        free_reader(&data->readers[i]);
    for (int64_t i = 0; data->states && i < block->bundle_count; i++)
        free_state(&data->states[i]);
    awq__free(data->salience);
    awq__free(data->seen);
    awq__free(data->readers);
    awq__free(data->states);
    awq__stats_free(&data->pooled);
    awq__free_aligned(data->sample);
    awq__free(data);
    block->data = NULL;
}
