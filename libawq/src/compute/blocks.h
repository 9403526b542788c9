/*
 * The block types of GGUF: some weights of a row, with their scales beside their codes, in a fixed
 * number of bytes. What a block says is
 *     w[i] = scale * value(code[i]) - min
 * with one scale and one min for each run of weights. Of types with a block of 256, both are
 * products of an F16 number of the block and a small whole number of the run.
 */
#ifndef AWQ__BLOCKS_H
#define AWQ__BLOCKS_H

#include "compute/compute.h"
#include "core/ggml.h"

#define AWQ__BLOCK_MAX 256 /* weights of a block */
#define AWQ__BLOCK_RUNS 16 /* runs of a block */

/* What a block holds, whatever its bytes are. */
typedef struct awq__ggml_block {
    uint16_t d, dmin;               /* F16; of Q4_1 and Q5_1 dmin is added, not subtracted */
    int16_t scale[AWQ__BLOCK_RUNS]; /* times d; of MXFP4 and NVFP4 the byte that is the scale */
    int16_t min[AWQ__BLOCK_RUNS];   /* times dmin */
    uint8_t codes[AWQ__BLOCK_MAX];
} awq__ggml_block;

/* What the scale of a run is. */
typedef enum awq__run_scale {
    AWQ__RUN_PLAIN, /* d; the min is -dmin */
    AWQ__RUN_TIMES, /* d * scale[run]; the min is dmin * min[run] */
    AWQ__RUN_E8M0,  /* 2^(scale[run] - 128), for values that are doubled */
    AWQ__RUN_UE4M3, /* half of an unsigned E4M3, for values that are doubled */
} awq__run_scale;

typedef struct awq__block_type {
    awq__ggml id;
    int block, bytes; /* weights and bytes of a block */
    awq__run_scale kind;
    int run;                   /* weights of a run */
    int codes;                 /* how many there are */
    int zero;                  /* value(code) = code - zero ... */
    const float *values;       /* ... or, where there is a table, values[code]; it rises, but
                                  for E2M1, whose codes from 8 on are the negatives of the others */
    bool has_min;              /* else min is 0 */
    int scale_low, scale_high; /* of TIMES: the least and the largest scale[run] */
    int min_high;              /* of TIMES: the largest min[run] */
    void (*unpack)(const uint8_t *bytes, awq__ggml_block *block);
    void (*pack)(const awq__ggml_block *block, uint8_t *bytes);
} awq__block_type;

/* NULL where there is no such type: floats, and types that are not read. */
const awq__block_type *awq__block_type_of(awq__ggml id);
const awq__block_type *awq__block_type_by_name(const char *name);

/* Bytes of a row of whole blocks. */
static inline int64_t awq__block_row_bytes(const awq__block_type *type, int64_t cols)
{
    return cols / type->block * type->bytes;
}
/* Of a run with this number, in a block with this d. */
float awq__block_scale(awq__run_scale kind, float d, int number);
/* Of every run. mins are 0 where the type has none. */
void awq__block_scales(const awq__block_type *type, const awq__ggml_block *block,
                       float scales[AWQ__BLOCK_RUNS], float mins[AWQ__BLOCK_RUNS]);
/* The scheme of plain codes that comes nearest: the same bits, runs and symmetry. */
awq__scheme awq__block_scheme(const awq__block_type *type);

/* What codes are told apart by. */
typedef enum awq__block_values {
    AWQ__VALUES_LINE,  /* code - zero */
    AWQ__VALUES_TABLE, /* 16 values that rise */
    AWQ__VALUES_E2M1,  /* those of E2M1, doubled */
} awq__block_values;
static inline awq__block_values awq__block_values_of(const awq__block_type *type)
{
    return !type->values         ? AWQ__VALUES_LINE
           : type->values[0] < 0 ? AWQ__VALUES_TABLE
                                 : AWQ__VALUES_E2M1;
}
/* The value of a code, before scale and min. */
float awq__block_value(const awq__block_type *type, int code);
/* `count` blocks, one after the other -> out[count * block], as ggml computes them. */
void awq__blocks_decode(const awq__block_type *type, int64_t count, const uint8_t *bytes,
                        float *out);

/* ---- block_layout.c: bytes and back, by type ---- */

extern const awq__block_type awq__block_types[];
extern const int awq__block_type_count;

#endif
