/* Cosines and sines of rotary embeddings. */
#include "forward/layer.h"

#include <math.h>

awq_status awq__rotary_create(awq_context *ctx, const awq_rope *rope, int64_t length,
                              awq__rotary *rotary)
{
    *rotary = (awq__rotary){.pairs = rope->pairs, .length = length};
    size_t count;
    if (awq__mul_overflows((size_t)length, 2 * (size_t)rope->pairs, &count))
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: rotary table of %lld positions",
                         (long long)length);
    rotary->cos_sin = awq__alloc_aligned(ctx, count, sizeof(float), "the rotary table");
    AWQ__CHECK_ALLOC(rotary->cos_sin);
    for (int64_t t = 0; t < length; t++)
        for (int64_t i = 0; i < rope->pairs; i++) {
            /* The product is rounded to F32 as the models were trained with it. */
            float angle = (float)t * (float)rope->inverse_frequency[i];
            float *row = rotary->cos_sin + t * 2 * rope->pairs;
            row[i] = (float)(cos((double)angle) * rope->attention_factor);
            row[rope->pairs + i] = (float)(sin((double)angle) * rope->attention_factor);
        }
    return AWQ_OK;
}

void awq__rotary_free(awq__rotary *rotary)
{
    awq__free_aligned(rotary->cos_sin);
    *rotary = (awq__rotary){0};
}
