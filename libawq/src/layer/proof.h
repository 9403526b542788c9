/* The proof that a folded float block computes what the original does, before anything is rounded.
 */
#ifndef AWQ__PROOF_H
#define AWQ__PROOF_H

#include "backend/cpu.h"

typedef struct awq__proof {
    double largest_error;     /* of the block's output, relative to its largest magnitude */
    int64_t tokens, rerouted; /* rerouted: other experts than before, near-ties apart */
    double stored_agreement;  /* share of tokens with the same experts once norm and router are
                                 rounded to their stored type */
} awq__proof;
/* Hidden states of tokens spread evenly, before the layer's experts: [*count,H], awq__free_aligned
   takes it. NULL without memory. */
float *awq__proof_sample(awq_context *ctx, const awq__states *states, int64_t *count);
/* Does the folded float block compute what the original does? hidden [T,H] is the input of its
   norm. Both fail with AWQ_ERROR_PROOF, naming the layer, if not. */
awq_status awq__prove_experts(const awq__forward *forward, const awq__layer *original,
                              const awq__layer *folded, const float *hidden, int64_t T,
                              awq__proof *proof);
awq_status awq__prove_attention(const awq__forward *forward, const awq__layer *original,
                                const awq__layer *folded, const float *hidden, awq__proof *proof);

#endif
