/* A matrix rounded to codes: what every format stores in its own layout. */
#ifndef AWQ__CODES_H
#define AWQ__CODES_H

#include "compute/nested.h"
#include "compute/weight.h"

/* w[n,k] ~ scales[n, k/g] * (codes[n,k] - zeros[n, k/g]), g = scheme.group; for E2M1 and NF4 codes
   zeros are 0 and it is scales * awq__e2m1[codes] or awq__nf4[codes]. */
typedef struct awq__codes {
    int64_t rows, cols; /* N, K */
    awq__scheme scheme;
    uint8_t *codes; /* [N,K] */
    float *scales;  /* [N,K/g] */
    uint8_t *zeros; /* [N,K/g] */
    /* What the scales are on disk, where the scheme's grid is NESTED: made when all scales are
       chosen, before codes are. */
    awq__nested nested;
    awq_dtype dtype; /* of the weights that were rounded, for formats that say it; the caller's */
    /* Where the scheme has blocks of GGUF: those, row after row, in the place of the three arrays;
       and what each column's error counts, [K] or NULL, which is the caller's. */
    uint8_t *blocks;
    const float *importance;
} awq__codes;

awq_status awq__codes_create(awq_context *ctx, int64_t rows, int64_t cols,
                             const awq__scheme *scheme, awq__codes *codes);
void awq__codes_free(awq__codes *codes);
/* Rounds the weight (with its multipliers), in a parallel loop over blocks of rows. range [N,K/g]
   or NULL as in awq__compute.quantize. AWQ_ERROR_NUMERIC names the module if a scale does not fit
   the stored type. */
awq_status awq__codes_round(awq_context *ctx, const awq__compute *compute,
                            const awq__weight *weight, const awq__range *range, awq__codes *codes);
/* With a grid of NESTED, when all scales are chosen: rounds them to what is stored. */
void awq__codes_nest(awq__codes *codes);
/* What bounds the scales that can be stored, for messages. */
const char *awq__scale_type(const awq__scheme *scheme);
/* Back to F32: rows first .. first+count-1 -> out[count,K]. */
void awq__codes_read(const awq__codes *codes, int64_t first, int64_t count, float *out);
/* Of columns col .. col+cols-1 alone -> out[count,cols]. */
void awq__codes_read_panel(const awq__codes *codes, int64_t first, int64_t count, int64_t col,
                           int64_t cols, float *out);

#endif
