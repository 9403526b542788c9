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

/* Changes to a layer that wait to be written: weights with their multipliers, and changed norms. */
typedef struct awq__folded {
    awq__layer layer;                 /* a copy of the source's with multipliers and norms set */
    awq__expert *experts;             /* [expert_count] of that copy */
    float *attention_norm, *moe_norm; /* [H] */
    float *attention_scale, *attention_unscale; /* [H]; NULL: not folded */
    float *value_scale, *value_unscale;         /* [Q] columns of o; NULL: not folded */
    float *value_row_unscale;                   /* [KV] rows of v */
    float *moe_scale, *moe_unscale;             /* [H] */
    float *down_scale, *down_unscale; /* [expert_count, the largest I], an expert's own I used */
} awq__folded;
awq_status awq__folded_create(awq_context *ctx, const awq__layer *layer, awq__folded *folded);
void awq__folded_free(awq__folded *folded);
/* What stays of a norm's weight once a fold divides it by s: exact where s was rounded for it. */
float awq__fold_norm(awq_dtype dtype, float weight, float s);
/* Adds a search's outcome to a report: the ratio, or "identity". */
void awq__report_ratio(awq__json_builder *b, cJSON *object, const char *name,
                       const awq__found_scale *found, int64_t steps);

/* Searches, folds, proves, rounds and writes norm, q, k, v and o. hidden [T,H] is the calibration
   before the layer; unused for plain rounding. */
awq_status awq__quantize_attention(awq__quantizer *job, const awq__layer *layer,
                                   awq__folded *folded, const float *hidden, cJSON *report);
/* The same for the norm, router and experts. job->calibration.hidden is the calibration after the
   attention, which leaves the layer, x its norm, routes its routes; all unused for plain rounding.
 */
awq_status awq__quantize_experts(awq__quantizer *job, const awq__layer *layer, awq__folded *folded,
                                 const awq__routes *routes, cJSON *report);

/* ---- proof.c ---- */

typedef struct awq__proof {
    double largest_error;     /* of the block's output, relative to its largest magnitude */
    int64_t tokens, rerouted; /* rerouted: other experts than before, near-ties apart */
    double stored_agreement;  /* share of tokens with the same experts once norm and router are
                                 rounded to  their stored type */
} awq__proof;
/* Hidden states of tokens spread evenly, before the layer's experts: [*count,H], awq__free takes
   it. NULL without memory. */
float *awq__proof_sample(awq_context *ctx, const awq__stream *stream, int64_t H, int64_t *count);
/* Does the folded float block compute what the original does? hidden [T,H] is the input of its
   norm. Both fail with AWQ_ERROR_PROOF, naming the layer, if not. */
awq_status awq__prove_experts(awq__quantizer *job, const awq__layer *original,
                              const awq__layer *folded, const float *hidden, int64_t T,
                              awq__proof *proof);
awq_status awq__prove_attention(awq__quantizer *job, const awq__layer *original,
                                const awq__layer *folded, const float *hidden, awq__proof *proof);

#endif
