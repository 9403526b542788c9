/*
 * Rounding to blocks of GGUF. What a block says is chosen, of all that it can say, by the error
 * that counts: the sum over its weights of importance[k] * (w - q)^2, importance being the second
 * moment of the input's channel k as the weight sees it. Scales and mins of runs, the whole numbers
 * that stand for them, and the block's F16 numbers are each searched, in this order.
 */
#ifndef AWQ__BLOCK_FIT_H
#define AWQ__BLOCK_FIT_H

#include "compute/blocks.h"
#include "compute/compute.h"

/* How much is tried. All zeros: what the extents of a run give, and one fit to its codes. */
typedef struct awq__block_effort {
    int scales; /* scales of a run that are tried besides */
    int fits;   /* more fits of a run's scale and min to its codes */
    int passes; /* over a block: neighbours of its whole numbers, then its F16 numbers, are tried */
} awq__block_effort;
/* What a run uses. */
extern const awq__block_effort awq__block_effort_full;

typedef struct awq__block_fit {
    const awq__compute *compute;
    const awq__block_type *type;
    awq__block_effort effort;
    int64_t cols;            /* K, whole blocks */
    const float *importance; /* [K] positive or 0; NULL: 1 */
} awq__block_fit;

/* Rounds w[rows,K] to bytes, row after row. False if a block's numbers are too large for F16. */
bool awq__block_fit_rows(const awq__block_fit *fit, int64_t rows, const float *w, uint8_t *bytes);

#endif
