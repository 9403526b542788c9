/* The experts of a layer: one input of gate and up of all, and one of each expert's down. */
#ifndef AWQ__EXPERTS_H
#define AWQ__EXPERTS_H

#include "layer/input.h"

/* It stays where it is: its block refers to it. */
typedef struct awq__experts {
    awq__work work;
    awq__expert *folded; /* [expert_count] of the folded layer */
} awq__experts;

/* Row weights come with scales, and else where `row_weights` says so. Free also after a failure. */
awq_status awq__experts_create(awq__quantizer *quantizer, const awq__layer *layer,
                               const awq__routes *routes, bool row_weights, awq__experts *experts);
void awq__experts_free(awq__experts *experts);

#endif
