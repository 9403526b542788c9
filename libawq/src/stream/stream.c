#include "stream/stream.h"

awq_status awq__stream_begin(awq_context *ctx, const awq_model *model,
                             const awq__sequences *sequences, awq__stream *stream)
{
    *stream = (awq__stream){.model = model, .tokens = awq__token_count(sequences)};
    stream->forward = (awq__forward){.ctx = ctx,
                                     .compute = awq__compute_of(ctx),
                                     .sequences = sequences,
                                     .rotary = &stream->rotary};
    int64_t longest = 0;
    for (int64_t i = 0; i < sequences->count; i++)
        longest = awq__max(longest, sequences->offsets[i + 1] - sequences->offsets[i]);
    size_t floats = (size_t)stream->tokens * (size_t)model->arch->model.hidden_size;
    awq__loaded_module embedding = {0};
    awq_status status;
    AWQ__TRY(awq__rotary_create(ctx, &model->arch->model.rope, longest, &stream->rotary));
    AWQ__TRY(awq__model_end(model, AWQ__PART_EMBEDDING, &embedding));
    stream->hidden = awq__alloc_aligned(ctx, floats, sizeof(float), "hidden states");
    AWQ__TRY_ALLOC(stream->hidden);
    AWQ__TRY(awq__embed(&stream->forward, &embedding.found.weight, stream->hidden));
    awq__loaded_module_free(&embedding); /* before there are more hidden states */
    stream->x = awq__alloc_aligned(ctx, floats, sizeof(float), "hidden states");
    AWQ__TRY_ALLOC(stream->x);
done:
    awq__loaded_module_free(&embedding);
    if (status != AWQ_OK)
        awq__stream_free(stream);
    return status;
}

void awq__stream_free(awq__stream *stream)
{
    awq__rotary_free(&stream->rotary);
    awq__free_aligned(stream->hidden);
    awq__free_aligned(stream->x);
    *stream = (awq__stream){0};
}

awq__sequences awq__some_sequences(const awq__sequences *all, int64_t first, int64_t most)
{
    awq__sequences some = {.count = 1, .offsets = all->offsets + first, .ids = all->ids};
    while (first + some.count < all->count &&
           some.offsets[some.count + 1] - some.offsets[0] <= most)
        some.count++;
    return some;
}

awq_status awq__stream_to_experts(awq__stream *stream, const awq__layer *layer, awq__routes *routes)
{
    awq__forward *forward = &stream->forward;
    AWQ__CHECK(
        awq__attention_forward(forward, layer, stream->hidden, true, stream->hidden, NULL, NULL));
    AWQ__CHECK(awq__moe_input(forward, layer, stream->tokens, stream->hidden, stream->x));
    return awq__moe_route(forward, layer, stream->tokens, stream->x, routes);
}

awq_status awq__stream_layer(awq__stream *stream, const awq__layer *layer, awq__routes *routes)
{
    *routes = (awq__routes){0};
    AWQ__CHECK(awq__stream_to_experts(stream, layer, routes));
    return awq__moe_experts(&stream->forward, layer, stream->x, routes, stream->hidden, NULL, NULL);
}
