/* Judging a model, with or without a reference, while layers come one at a time. */
#ifndef AWQ__EVALUATE_H
#define AWQ__EVALUATE_H

#include "stream/stream.h"

typedef struct awq__evaluation {
    awq_context *ctx;
    awq__sequences windows;
    awq__stream judged, reference;
    bool has_reference;
    int64_t same_routes, routes; /* (token, layer) pairs */
} awq__evaluation;

/* Takes over the windows, also on failure. reference may be NULL; the two must agree in
   vocabulary and layers. */
awq_status awq__evaluation_begin(awq_context *ctx, const awq_model *judged,
                                 const awq_model *reference, awq__sequences *windows,
                                 awq__evaluation *evaluation);
/* Both streams through layer n. */
awq_status awq__evaluation_layer(awq__evaluation *evaluation, int64_t n);
awq_status awq__evaluation_finish(awq__evaluation *evaluation, awq_eval_result *result);
void awq__evaluation_free(awq__evaluation *evaluation);

#endif
