/* Mean squares of inputs, from their statistics. */
#include "backend/cpu.h"

#include <math.h>

/* What all tokens count together. */
static double token_weight(const awq__block *block, const awq__seen *seen, int64_t tokens)
{
    int64_t expert = seen->readers[0].bundle->expert;
    double sum = 0;
    if (expert < 0)
        return (double)tokens;
    const awq__expert_state *state = &block->data->states[expert];
    for (int64_t i = 0; i < state->routed + state->borrowed; i++)
        sum += (double)state->weights[i] * (double)state->weights[i];
    return sum;
}

awq_status awq__cpu_mean_squares(awq__block *block, const awq__seen *seen, float *squares,
                                 int64_t *tokens)
{
    const awq__seen_data *data = seen->data;
    const awq__stats *stats = data->blocks.cols ? &data->blocks : &data->stats;
    double weight = token_weight(block, seen, stats->tokens);
    *tokens = weight > 0 ? stats->tokens : 0;
    awq__stats_diagonal(stats, squares);
    for (int64_t k = 0; k < stats->cols; k++) {
        squares[k] = *tokens ? (float)((double)squares[k] / weight) : 0;
        if (!isfinite(squares[k]))
            return awq__fail(block->ctx, AWQ_ERROR_NUMERIC,
                             "%s: the mean square of input %lld is not finite",
                             seen->readers[0].module->name, (long long)k);
    }
    return AWQ_OK;
}
