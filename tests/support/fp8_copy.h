/*
 * Copies of a checkpoint of floats in FP8: linears but routers and the head become F8_E4M3 with
 * scales that are powers of two. Experts may share tensors [E,R,C].
 */
#ifndef FP8_COPY_H
#define FP8_COPY_H

#include "core/core.h"

typedef enum fp8_scales {
    FP8_OF_BLOCKS,
    FP8_OF_ROWS,  /* [R, 1] */
    FP8_OF_WHOLE, /* [1] */
} fp8_scales;

typedef struct fp8_copy {
    fp8_scales scales;
    int64_t block_rows, block_cols; /* of blocks */
    awq_dtype scale_dtype;          /* F32, BF16, F8_E8M0 or U8 */
    bool compressed;                /* as compressed-tensors has it, else as DeepSeek */
    const char *kept; /* NULL, or an ending of the names of modules that stay BF16, as is listed */
    /* NULL, or changes what is stored of a tensor or its scales. */
    void (*edit)(const char *name, uint8_t *data, size_t bytes);
} fp8_copy;

/* Writes the copy to `directory`, and to `twin`, if it is not NULL, the same values, which are
   exact, in BF16. Both have the other files of `from`, and must not exist. */
awq_status fp8_copy_write(awq_context *ctx, const char *from, const char *directory,
                          const char *twin, const fp8_copy *how);

#endif
