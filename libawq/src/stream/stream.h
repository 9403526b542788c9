/* All tokens of a set of sequences on their way through a model, a layer at a time. */
#ifndef AWQ__STREAM_H
#define AWQ__STREAM_H

#include "backend/backend.h"
#include "model/model.h"

typedef struct awq__stream {
    const awq_model *model;
    const awq__backend *backend;
    awq__states *states;
    int64_t tokens;
} awq__stream;

/* Embeds the ids. The model and the sequences are borrowed. */
awq_status awq__stream_begin(awq_context *ctx, const awq_model *model,
                             const awq__sequences *sequences, awq__stream *stream);
void awq__stream_free(awq__stream *stream);
/* hidden += attention; then x and routes are those of the layer's experts. */
awq_status awq__stream_to_experts(awq__stream *stream, const awq__layer *layer,
                                  awq__routes *routes);
/* Through a whole layer. *routes is the caller's to free. */
awq_status awq__stream_layer(awq__stream *stream, const awq__layer *layer, awq__routes *routes);

#endif
