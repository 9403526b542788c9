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
    awq__stream calibration; /* of the source model; unused for plain rounding */
    awq__json_builder built; /* whether the reports of layers are whole */
} awq__quantizer;

/* Both search, fold, prove, clip, round and write a half of a layer: norm, q, k, v and o. hidden
   [T,H] is the calibration before the layer; unused for plain rounding. */
awq_status awq__quantize_attention(awq__quantizer *quantizer, const awq__layer *layer,
                                   const float *hidden, cJSON *report);
/* Norm, router and experts. quantizer->calibration.hidden is the calibration after the attention,
   which leaves the layer, x its norm, routes its routes; all unused for plain rounding. */
awq_status awq__quantize_experts(awq__quantizer *quantizer, const awq__layer *layer,
                                 const awq__routes *routes, cJSON *report);

#endif
