/* Matrices rounded to blocks of GGUF, for codes.c and GPTQ. */
#ifndef AWQ__BLOCK_CODES_H
#define AWQ__BLOCK_CODES_H

#include "compute/blocks.h"
#include "compute/codes.h"

awq_status awq__block_codes_create(awq_context *ctx, awq__codes *codes);
/* Rounds the weight (with its multipliers), in a parallel loop over rows, with what the columns
   count. AWQ_ERROR_NUMERIC names the module if a number does not fit its stored type. */
awq_status awq__block_codes_round(awq_context *ctx, const awq__compute *compute,
                                  const awq__weight *weight, awq__codes *codes);
void awq__block_codes_read(const awq__codes *codes, int64_t first, int64_t count, int64_t col,
                           int64_t cols, float *out);

#endif
