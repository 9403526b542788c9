#include "quant/gptq_blocks.h"
#include "compute/block_codes.h"
#include "quant/rounding.h"

#include <math.h>
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
        counts[gptq->order[p]] = gptq->h[p * (K + 1)];
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

/* ---- one column ---- */

static void line_column(const awq__block_type *type, const float *share, float *value,
                        uint8_t *code)
{
    const float zero = (float)type->zero, most = (float)(type->codes - 1 - type->zero);
    for (int r = 0; r < ROWS; r++) {
        value[r] = awq__round_even(awq__clamp(share[r], -zero, most));
        code[r] = (uint8_t)(int)(value[r] + zero);
    }
}

static void table_column(const float *values, const float *share, float *value, uint8_t *code)
{
    for (int r = 0; r < ROWS; r++) {
        value[r] = values[0];
        code[r] = 0;
    }
    for (int i = 0; i < 15; i++) {
        const float limit = (values[i] + values[i + 1]) * 0.5f, next = values[i + 1];
        for (int r = 0; r < ROWS; r++) {
            value[r] = share[r] > limit ? next : value[r];
            code[r] = (uint8_t)(code[r] + (share[r] > limit));
        }
    }
}

/* Of doubled E2M1 values: the code of a magnitude is how many limits it passes. A limit itself goes
   to the even code, as round_runs has it. */
static void e2m1_column(const float *values, const float *share, float *value, uint8_t *code)
{
    for (int r = 0; r < ROWS; r++) {
        float magnitude = fabsf(share[r]);
        int at = 0;
        for (int i = 0; i < 7; i++) {
            float limit = (values[i] + values[i + 1]) * 0.5f;
            at += magnitude > limit || (magnitude == limit && i % 2);
        }
        code[r] = (uint8_t)(share[r] < 0 && at ? at + 8 : at);
        value[r] = values[code[r]];
    }
}

void awq__gptq_block_column(const awq__block_type *type, const float *target, const float *scale,
                            const float *min, float *weight, uint8_t *code)
{
    float share[ROWS];
    for (int r = 0; r < ROWS; r++) {
        float inverse = fabsf(scale[r]) >= 0x1p-126f ? 1 / scale[r] : 0;
        share[r] = (target[r] + min[r]) * inverse;
    }
    switch (awq__block_values_of(type)) {
    case AWQ__VALUES_E2M1:
        e2m1_column(type->values, share, weight, code);
        break;
    case AWQ__VALUES_TABLE:
        table_column(type->values, share, weight, code);
        break;
    default:
        line_column(type, share, weight, code);
    }
    for (int r = 0; r < ROWS; r++)
        weight[r] = scale[r] * weight[r] - min[r];
}
