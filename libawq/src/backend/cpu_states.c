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
    for (int i = 0; i < AWQ__ROPES; i++)
        awq__rotary_free(&states->rotary[i]);
    awq__free_aligned(states->hidden);
    awq__free_aligned(states->normed.x);
    awq__free_aligned(states->normed.shared);
    awq__free(states);
}

static awq_status create_rotaries(awq_context *ctx, const awq_arch_model *model, int64_t length,
                                  awq__rotary rotaries[AWQ__ROPES])
{
    for (int i = 0; i < AWQ__ROPES; i++)
        AWQ__CHECK(awq__rotary_create(ctx, i ? &model->other_ropes[i - 1] : &model->rope, length,
                                      &rotaries[i]));
    return AWQ_OK;
}

awq_status awq__cpu_states_create(awq_context *ctx, const awq_arch_model *model,
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
                                     .rotary = states->rotary};
    size_t floats = (size_t)states->tokens * (size_t)states->width;
    AWQ__TRY(create_rotaries(ctx, model, longest_of(sequences), states->rotary));
    states->hidden = awq__alloc_aligned(ctx, floats, sizeof(float), "hidden states");
    AWQ__TRY_ALLOC(states->hidden);
    float multiplier = model->embedding_multiplier != 0 ? (float)model->embedding_multiplier : 1;
    AWQ__TRY(awq__embed(&states->forward, embedding, multiplier, states->hidden));
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

/* Only now: the embedding was there while hidden was made. */
static awq_status make_room(const awq__states *s, float **x)
{
    if (!*x)
        *x = awq__alloc_aligned(s->forward.ctx, (size_t)s->tokens * (size_t)s->width, sizeof **x,
                                "hidden states");
    return *x ? AWQ_OK : AWQ_ERROR_MEMORY;
}

awq_status awq__cpu_route(awq__states *s, const awq__layer *layer, awq__routes *routes)
{
    *routes = (awq__routes){0};
    AWQ__CHECK(make_room(s, &s->normed.x));
    if (layer->moe.shared_norm)
        AWQ__CHECK(make_room(s, &s->normed.shared));
    AWQ__CHECK(awq__moe_input(&s->forward, layer, s->tokens, s->hidden, &s->normed));
    return awq__moe_route(&s->forward, layer, s->tokens, s->hidden, s->normed.x, routes);
}

awq_status awq__cpu_experts(awq__states *s, const awq__layer *layer, const awq__routes *routes)
{
    return awq__moe_experts(&s->forward, layer, &s->normed, routes, s->hidden, NULL, NULL);
}

awq_status awq__cpu_sum_squares(awq__states *s, double *sum)
{
    *sum = s->forward.compute->weighted_dot(s->tokens, s->width, s->hidden, s->hidden, NULL);
    return AWQ_OK;
}
