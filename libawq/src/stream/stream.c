#include "stream/stream.h"

awq_status awq__stream_begin(awq_context *ctx, const awq_model *model,
                             const awq__sequences *sequences, awq__stream *stream)
{
    awq_status status;
    awq__loaded_module embedding = {0};
    *stream = (awq__stream){
        .model = model, .backend = awq__backend_of(ctx), .tokens = awq__token_count(sequences)};
    AWQ__TRY(awq__model_end(model, AWQ__PART_EMBEDDING, &embedding));
    AWQ__TRY(stream->backend->states_create(ctx, &model->arch->model, sequences,
                                            &embedding.found.weight, &stream->states));
done:
    awq__loaded_module_free(&embedding);
    return status;
}

void awq__stream_free(awq__stream *stream)
{
    if (stream->backend)
        stream->backend->states_free(stream->states);
    *stream = (awq__stream){0};
}

awq_status awq__stream_to_experts(awq__stream *stream, const awq__layer *layer, awq__routes *routes)
{
    *routes = (awq__routes){0};
    AWQ__CHECK(stream->backend->attention(stream->states, layer));
    return stream->backend->route(stream->states, layer, routes);
}

awq_status awq__stream_layer(awq__stream *stream, const awq__layer *layer, awq__routes *routes)
{
    AWQ__CHECK(awq__stream_to_experts(stream, layer, routes));
    return stream->backend->experts(stream->states, layer, routes);
}
