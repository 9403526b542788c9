/* Matrices of GGUF's blocks, read as F32. */
#include "compute/blocks.h"
#include "compute/weight.h"
#include "core/convert.h"

#include <string.h>

/* Weights col .. col+cols-1 of a stored row. Blocks that are not wanted whole are decoded aside. */
static void read_row(const awq__block_type *type, const uint8_t *row, int64_t col, int64_t cols,
                     float *out)
{
    float aside[AWQ__BLOCK_MAX];
    for (int64_t k = col, count; k < col + cols; k += count, out += count) {
        int64_t from = k % type->block, left = col + cols - k;
        const uint8_t *bytes = row + k / type->block * type->bytes;
        if (!from && left >= type->block) {
            count = left - left % type->block;
            awq__blocks_decode(type, count / type->block, bytes, out);
            continue;
        }
        count = awq__min(type->block - from, left);
        awq__blocks_decode(type, 1, bytes, aside);
        memcpy(out, aside + from, (size_t)count * sizeof *out);
    }
}

static void read_panel(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                       int64_t cols, float *out)
{
    const awq__block_type *type = weight->blocks;
    int64_t row_bytes = awq__block_row_bytes(type, weight->cols);
    for (int64_t n = 0; n < count; n++)
        read_row(type, weight->data + awq__paired_row(weight->paired_head, first + n) * row_bytes,
                 col, cols, out + n * cols);
}

static void read_rows(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_panel(weight, first, count, 0, weight->cols, out);
}

awq__weight awq__weight_blocks(const char *name, const awq__block_type *blocks, const void *data,
                               int64_t rows, int64_t cols, int64_t paired_head)
{
    return (awq__weight){.rows = rows,
                         .cols = cols,
                         .read = read_rows,
                         .read_panel = read_panel,
                         .data = data,
                         .dtype = AWQ_F32,
                         .blocks = blocks,
                         .paired_head = paired_head,
                         .name = name};
}

/* ---- floats ---- */

static void read_floats_panel(const awq__weight *weight, int64_t first, int64_t count, int64_t col,
                              int64_t cols, float *out)
{
    int64_t size = awq_dtype_bits(weight->dtype) / 8;
    for (int64_t n = 0; n < count; n++) {
        int64_t at = awq__paired_row(weight->paired_head, first + n) * weight->cols + col;
        awq__widen(NULL, weight->dtype, weight->data + at * size, (size_t)cols, out + n * cols);
    }
}

static void read_floats(const awq__weight *weight, int64_t first, int64_t count, float *out)
{
    read_floats_panel(weight, first, count, 0, weight->cols, out);
}

awq__weight awq__weight_paired(const char *name, awq_dtype dtype, const void *data, int64_t rows,
                               int64_t cols, int64_t paired_head)
{
    return (awq__weight){.rows = rows,
                         .cols = cols,
                         .read = read_floats,
                         .read_panel = read_floats_panel,
                         .data = data,
                         .dtype = dtype,
                         .paired_head = paired_head,
                         .name = name};
}
