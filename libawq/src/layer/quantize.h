/* One layer: statistics, scales, folds, their proof, ranges, rounding. */
#ifndef AWQ__QUANTIZE_H
#define AWQ__QUANTIZE_H

#include "layer/stages.h"
#include "stream/stream.h"
#include "write/write.h"

/* What the work on all layers has in common. */
typedef struct awq__quantizer {
    awq_context *ctx;
    const awq__model_plan *plan;
    const awq__writer *writer;
    awq__stages *stages;
    awq__stream calibration; /* of the source model; unused for RTN */
    awq__json_builder built; /* whether the reports of layers are whole */
} awq__quantizer;

/* Both search, fold, prove, clip, round and write a half of a layer: norm, q, k, v and o. The
   calibration stands before the layer. */
awq_status awq__quantize_attention(awq__quantizer *quantizer, const awq__layer *layer,
                                   cJSON *report);
/* Norm, router and experts. The calibration stands after the attention, and leaves the layer;
   routes are its. All unused for RTN. */
awq_status awq__quantize_experts(awq__quantizer *quantizer, const awq__layer *layer,
                                 const awq__routes *routes, cJSON *report);

#endif
