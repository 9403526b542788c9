#include "quant/gptq_blocks.h"
#include "compute/block_codes.h"

#include <string.h>

#define ROWS AWQ__GPTQ_ROWS

awq_status awq__gptq_choose_blocks(awq_context *ctx, const awq__compute *compute,
                                   const awq__gptq *gptq, const awq__weight *weight,
                                   awq__codes *codes)
{
    awq_status status;
    int64_t K = gptq->cols;
    float *counts = awq__alloc(ctx, (size_t)K, sizeof *counts, "what columns count");
    AWQ__TRY_ALLOC(counts);
    for (int64_t p = 0; p < K; p++)
        counts[gptq->order[p]] = gptq->pivots[p];
    codes->importance = counts;
    AWQ__TRY(awq__block_codes_round(ctx, compute, weight, codes));
done:
    codes->importance = NULL;
    awq__free(counts);
    return status;
}

/* ---- scales and codes of rows ---- */

void awq__gptq_load_blocks(const awq__gptq *gptq, const awq__codes *codes, int64_t first,
                           int64_t rows, float *scales, float *mins)
{
    const awq__block_type *type = codes->scheme.blocks;
    int64_t G = gptq->cols / type->run, per_block = type->block / type->run;
    int64_t row_bytes = awq__block_row_bytes(type, codes->cols);
    memset(scales, 0, (size_t)(G * ROWS) * sizeof *scales);
    memset(mins, 0, (size_t)(G * ROWS) * sizeof *mins);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < G; i++) {
            awq__ggml_block block;
            float scale[AWQ__BLOCK_RUNS], min[AWQ__BLOCK_RUNS];
            int64_t run = gptq->order[i * type->run] / type->run;
            type->unpack(codes->blocks + (first + r) * row_bytes + run / per_block * type->bytes,
                         &block);
            awq__block_scales(type, &block, scale, min);
            scales[i * ROWS + r] = scale[run % per_block];
            mins[i * ROWS + r] = min[run % per_block];
        }
}

void awq__gptq_store_blocks(const awq__gptq *gptq, const uint8_t *codes, int64_t first,
                            int64_t rows, uint8_t *row, awq__codes *to)
{
    const awq__block_type *type = to->scheme.blocks;
    int64_t blocks = gptq->cols / type->block;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t p = 0; p < gptq->cols; p++)
            row[gptq->order[p]] = codes[p * ROWS + r];
        uint8_t *bytes = to->blocks + (first + r) * blocks * type->bytes;
        for (int64_t b = 0; b < blocks; b++, bytes += type->bytes) {
            awq__ggml_block block;
            type->unpack(bytes, &block);
            memcpy(block.codes, row + b * type->block, (size_t)type->block);
            type->pack(&block, bytes);
        }
    }
}
