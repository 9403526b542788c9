/* What GPTQ needs of blocks of GGUF: their scales are chosen before, as of the weights as they are;
   codes are rounded with compensation, and take the place of those. */
#ifndef AWQ__GPTQ_BLOCKS_H
#define AWQ__GPTQ_BLOCKS_H

#include "compute/blocks.h"
#include "quant/gptq.h"

/* Chooses all numbers of codes->blocks. Each column counts its D of the factorization (gptq.h). */
awq_status awq__gptq_choose_blocks(awq_context *ctx, const awq__compute *compute,
                                   const awq__gptq *gptq, const awq__weight *weight,
                                   awq__codes *codes);
/* scales, mins [K/g][AWQ__GPTQ_ROWS] of rows first .. first+rows-1, groups in the order of
   rounding; rows that fill up get 0. */
void awq__gptq_load_blocks(const awq__gptq *gptq, const awq__codes *codes, int64_t first,
                           int64_t rows, float *scales, float *mins);
/* row: [K] of work space. Puts codes[K][AWQ__GPTQ_ROWS], columns in the order of rounding, in the
 * place of those there. */
void awq__gptq_store_blocks(const awq__gptq *gptq, const uint8_t *codes, int64_t first,
                            int64_t rows, uint8_t *row, awq__codes *to);

#endif
