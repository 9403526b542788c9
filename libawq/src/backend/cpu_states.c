/* Hidden states on the CPU. */
#include "backend/cpu.h"

static int64_t longest_of(const awq__sequences *sequences)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < sequences->count; i++)
        longest = awq__max(longest, sequences->offsets[i + 1] - sequences->offsets[i]);
    return longest;
}

void awq__cpu_states_free(awq__states *states)
{
    if (!states)
        return;
    awq__rotary_free(&states->rotary);
    awq__free_aligned(states->hidden);
    awq__free_aligned(states->x);
    awq__free(states);
}

awq_status awq__cpu_states_create(awq_context *ctx, const awq_rope *rope,
                                  const awq__sequences *sequences, const awq__weight *embedding,
                                  awq__states **out)
{
    awq_status status;
    *out = NULL;
    awq__states *states = awq__alloc(ctx, 1, sizeof *states, "hidden states");
    AWQ__CHECK_ALLOC(states);
    states->tokens = awq__token_count(sequences);
    states->width = embedding->cols;
    states->forward = (awq__forward){.ctx = ctx,
                                     .compute = awq__compute_of(ctx),
                                     .sequences = sequences,
                                     .rotary = &states->rotary};
    size_t floats = (size_t)states->tokens * (size_t)states->width;
    AWQ__TRY(awq__rotary_create(ctx, rope, longest_of(sequences), &states->rotary));
    states->hidden = awq__alloc_aligned(ctx, floats, sizeof(float), "hidden states");
    AWQ__TRY_ALLOC(states->hidden);
    AWQ__TRY(awq__embed(&states->forward, embedding, states->hidden));
    *out = states;
done:
    if (!*out)
        awq__cpu_states_free(states);
    return status;
}

awq_status awq__cpu_attention(awq__states *s, const awq__layer *layer)
{
    return awq__attention_forward(&s->forward, layer, s->hidden, true, s->hidden, NULL, NULL);
}

awq_status awq__cpu_route(awq__states *s, const awq__layer *layer, awq__routes *routes)
{
    *routes = (awq__routes){0};
    if (!s->x) /* only now: the embedding was there while hidden was made */
        s->x = awq__alloc_aligned(s->forward.ctx, (size_t)s->tokens * (size_t)s->width,
                                  sizeof *s->x, "hidden states");
    AWQ__CHECK_ALLOC(s->x);
    AWQ__CHECK(awq__moe_input(&s->forward, layer, s->tokens, s->hidden, s->x));
    return awq__moe_route(&s->forward, layer, s->tokens, s->x, routes);
}

awq_status awq__cpu_experts(awq__states *s, const awq__layer *layer, const awq__routes *routes)
{
    return awq__moe_experts(&s->forward, layer, s->x, routes, s->hidden, NULL, NULL);
}

awq_status awq__cpu_sum_squares(awq__states *s, double *sum)
{
    *sum = s->forward.compute->weighted_dot(s->tokens, s->width, s->hidden, s->hidden, NULL);
    return AWQ_OK;
}
