/*
 * Bytes of blocks, and back. In the comments, low and high are the halves of a byte. Q4_K and the
 * like have their name's number of bits in parts: four or two bits of each code together, further
 * bits elsewhere.
 */
#include "compute/blocks.h"

#include <string.h>

/* ---- parts that several types have ---- */

static uint16_t get_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static void put_u16(uint8_t *bytes, uint16_t number)
{
    bytes[0] = (uint8_t)number;
    bytes[1] = (uint8_t)(number >> 8);
}

/* bytes[half]: code i is low, code half + i high. */
static void get_nibbles(const uint8_t *bytes, int half, uint8_t *codes)
{
    for (int i = 0; i < half; i++) {
        codes[i] = bytes[i] & 15;
        codes[half + i] = bytes[i] >> 4;
    }
}

static void put_nibbles(const uint8_t *codes, int half, uint8_t *bytes)
{
    for (int i = 0; i < half; i++)
        bytes[i] = (uint8_t)((codes[i] & 15) | codes[half + i] << 4);
}

/* The same for `count` pieces of 2 * half codes. */
static void get_pieces(const uint8_t *bytes, int count, int half, uint8_t *codes)
{
    for (int i = 0; i < count; i++)
        get_nibbles(bytes + i * half, half, codes + i * 2 * half);
}

static void put_pieces(const uint8_t *codes, int count, int half, uint8_t *bytes)
{
    for (int i = 0; i < count; i++)
        put_nibbles(codes + i * 2 * half, half, bytes + i * half);
}

/* bytes[64]: two bits of 256 codes; of byte i of each 32 they are those of i, 32 + i, 64 + i, 96 +
   i. Adds them to the codes, from bit `shift` on. */
static void add_pairs(const uint8_t *bytes, int shift, uint8_t *codes)
{
    for (int i = 0; i < 256; i++)
        codes[i] |= (uint8_t)((bytes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) << shift);
}

static void put_pairs(const uint8_t *codes, int shift, uint8_t *bytes)
{
    memset(bytes, 0, 64);
    for (int i = 0; i < 256; i++)
        bytes[i / 128 * 32 + i % 32] |= (uint8_t)((codes[i] >> shift & 3) << (i / 32 % 4 * 2));
}

/* bytes[32]: one bit of 256 codes; bit j of byte i is that of code 32 * j + i. */
static void add_bits(const uint8_t *bytes, int shift, uint8_t *codes)
{
    for (int i = 0; i < 256; i++)
        codes[i] |= (uint8_t)((bytes[i % 32] >> (i / 32) & 1) << shift);
}

static void put_bits(const uint8_t *codes, int shift, uint8_t *bytes)
{
    memset(bytes, 0, 32);
    for (int i = 0; i < 256; i++)
        bytes[i % 32] |= (uint8_t)((codes[i] >> shift & 1) << (i / 32));
}

/* bytes[4]: the fifth bit of 32 codes, one after the other. */
static void add_fifth(const uint8_t *bytes, uint8_t *codes)
{
    for (int i = 0; i < 32; i++)
        codes[i] |= (uint8_t)((bytes[i / 8] >> i % 8 & 1) << 4);
}

static void put_fifth(const uint8_t *codes, uint8_t *bytes)
{
    memset(bytes, 0, 4);
    for (int i = 0; i < 32; i++)
        bytes[i / 8] |= (uint8_t)((codes[i] >> 4 & 1) << i % 8);
}

/* ---- blocks of 32 ---- */

/* Q4_0, IQ4_NL: d, nibbles. */
static void unpack_nibbles(const uint8_t *bytes, awq__ggml_block *block)
{
    block->d = get_u16(bytes);
    get_nibbles(bytes + 2, 16, block->codes);
}

static void pack_nibbles(const awq__ggml_block *block, uint8_t *bytes)
{
    put_u16(bytes, block->d);
    put_nibbles(block->codes, 16, bytes + 2);
}

/* d, m, nibbles. */
static void unpack_q4_1(const uint8_t *bytes, awq__ggml_block *block)
{
    block->dmin = get_u16(bytes + 2);
    block->d = get_u16(bytes);
    get_nibbles(bytes + 4, 16, block->codes);
}

static void pack_q4_1(const awq__ggml_block *block, uint8_t *bytes)
{
    put_u16(bytes, block->d);
    put_u16(bytes + 2, block->dmin);
    put_nibbles(block->codes, 16, bytes + 4);
}

/* d, fifth bits, nibbles. */
static void unpack_q5_0(const uint8_t *bytes, awq__ggml_block *block)
{
    block->d = get_u16(bytes);
    get_nibbles(bytes + 6, 16, block->codes);
    add_fifth(bytes + 2, block->codes);
}

static void pack_q5_0(const awq__ggml_block *block, uint8_t *bytes)
{
    put_u16(bytes, block->d);
    put_fifth(block->codes, bytes + 2);
    put_nibbles(block->codes, 16, bytes + 6);
}

/* d, m, fifth bits, nibbles. */
static void unpack_q5_1(const uint8_t *bytes, awq__ggml_block *block)
{
    block->d = get_u16(bytes);
    block->dmin = get_u16(bytes + 2);
    get_nibbles(bytes + 8, 16, block->codes);
    add_fifth(bytes + 4, block->codes);
}

static void pack_q5_1(const awq__ggml_block *block, uint8_t *bytes)
{
    put_u16(bytes, block->d);
    put_u16(bytes + 2, block->dmin);
    put_fifth(block->codes, bytes + 4);
    put_nibbles(block->codes, 16, bytes + 8);
}

/* d, then the values as int8: a code is one more than the least, -128. */
static void unpack_q8_0(const uint8_t *bytes, awq__ggml_block *block)
{
    block->d = get_u16(bytes);
    for (int i = 0; i < 32; i++)
        block->codes[i] = bytes[2 + i] ^ 0x80;
}

static void pack_q8_0(const awq__ggml_block *block, uint8_t *bytes)
{
    put_u16(bytes, block->d);
    for (int i = 0; i < 32; i++)
        bytes[2 + i] = block->codes[i] ^ 0x80;
}

/* The exponent, nibbles. */
static void unpack_mxfp4(const uint8_t *bytes, awq__ggml_block *block)
{
    block->scale[0] = bytes[0];
    get_nibbles(bytes + 1, 16, block->codes);
}

static void pack_mxfp4(const awq__ggml_block *block, uint8_t *bytes)
{
    bytes[0] = (uint8_t)block->scale[0];
    put_nibbles(block->codes, 16, bytes + 1);
}

/* Four scales, nibbles of four runs. */
static void unpack_nvfp4(const uint8_t *bytes, awq__ggml_block *block)
{
    for (int run = 0; run < 4; run++)
        block->scale[run] = bytes[run];
    get_pieces(bytes + 4, 4, 8, block->codes);
}

static void pack_nvfp4(const awq__ggml_block *block, uint8_t *bytes)
{
    for (int run = 0; run < 4; run++)
        bytes[run] = (uint8_t)block->scale[run];
    put_pieces(block->codes, 4, 8, bytes + 4);
}

/* ---- blocks of 256 ---- */

/* 12 bytes with 8 scales and 8 mins of 6 bits: the first four of both, in whose upper two bits are
   those of the last four; then the lower four of these, scale low and min high. */
static void get_scales(const uint8_t *bytes, awq__ggml_block *block)
{
    for (int i = 0; i < 4; i++) {
        block->scale[i] = bytes[i] & 63;
        block->min[i] = bytes[4 + i] & 63;
        block->scale[4 + i] = (int16_t)((bytes[8 + i] & 15) | bytes[i] >> 6 << 4);
        block->min[4 + i] = (int16_t)(bytes[8 + i] >> 4 | bytes[4 + i] >> 6 << 4);
    }
}

static void put_scales(const awq__ggml_block *block, uint8_t *bytes)
{
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(block->scale[i] | block->scale[4 + i] >> 4 << 6);
        bytes[4 + i] = (uint8_t)(block->min[i] | block->min[4 + i] >> 4 << 6);
        bytes[8 + i] = (uint8_t)((block->scale[4 + i] & 15) | (block->min[4 + i] & 15) << 4);
    }
}

/* 16 bytes of scale low and min high, pairs, d, dmin. */
static void unpack_q2_k(const uint8_t *bytes, awq__ggml_block *block)
{
    for (int run = 0; run < 16; run++) {
        block->scale[run] = bytes[run] & 15;
        block->min[run] = bytes[run] >> 4;
    }
    memset(block->codes, 0, sizeof block->codes);
    add_pairs(bytes + 16, 0, block->codes);
    block->d = get_u16(bytes + 80);
    block->dmin = get_u16(bytes + 82);
}

static void pack_q2_k(const awq__ggml_block *block, uint8_t *bytes)
{
    for (int run = 0; run < 16; run++)
        bytes[run] = (uint8_t)(block->scale[run] | block->min[run] << 4);
    put_pairs(block->codes, 0, bytes + 16);
    put_u16(bytes + 80, block->d);
    put_u16(bytes + 82, block->dmin);
}

/* Third bits, pairs, 12 bytes of scales, d. Of 16 scales, which are 32 more than they mean, the
   first 8 bytes have four bits, run i low and run 8 + i high; the last 4 two bits each, of runs
   i, 4 + i, 8 + i, 12 + i. */
static void unpack_q3_k(const uint8_t *bytes, awq__ggml_block *block)
{
    const uint8_t *scales = bytes + 96;
    memset(block->codes, 0, sizeof block->codes);
    add_pairs(bytes + 32, 0, block->codes);
    add_bits(bytes, 2, block->codes);
    for (int run = 0; run < 16; run++) {
        int low = scales[run % 8] >> (run / 8 * 4) & 15;
        int high = scales[8 + run % 4] >> (run / 4 * 2) & 3;
        block->scale[run] = (int16_t)((low | high << 4) - 32);
    }
    block->d = get_u16(bytes + 108);
}

static void pack_q3_k(const awq__ggml_block *block, uint8_t *bytes)
{
    uint8_t *scales = bytes + 96;
    put_bits(block->codes, 2, bytes);
    put_pairs(block->codes, 0, bytes + 32);
    memset(scales, 0, 12);
    for (int run = 0; run < 16; run++) {
        int scale = block->scale[run] + 32;
        scales[run % 8] |= (uint8_t)((scale & 15) << (run / 8 * 4));
        scales[8 + run % 4] |= (uint8_t)(scale >> 4 << (run / 4 * 2));
    }
    put_u16(bytes + 108, block->d);
}

/* d, dmin, scales, nibbles by 64 codes. */
static void unpack_q4_k(const uint8_t *bytes, awq__ggml_block *block)
{
    block->d = get_u16(bytes);
    block->dmin = get_u16(bytes + 2);
    get_scales(bytes + 4, block);
    get_pieces(bytes + 16, 4, 32, block->codes);
}

static void pack_q4_k(const awq__ggml_block *block, uint8_t *bytes)
{
    put_u16(bytes, block->d);
    put_u16(bytes + 2, block->dmin);
    put_scales(block, bytes + 4);
    put_pieces(block->codes, 4, 32, bytes + 16);
}

/* d, dmin, scales, fifth bits, nibbles by 64 codes. */
static void unpack_q5_k(const uint8_t *bytes, awq__ggml_block *block)
{
    block->d = get_u16(bytes);
    block->dmin = get_u16(bytes + 2);
    get_scales(bytes + 4, block);
    get_pieces(bytes + 48, 4, 32, block->codes);
    add_bits(bytes + 16, 4, block->codes);
}

static void pack_q5_k(const awq__ggml_block *block, uint8_t *bytes)
{
    put_u16(bytes, block->d);
    put_u16(bytes + 2, block->dmin);
    put_scales(block, bytes + 4);
    put_bits(block->codes, 4, bytes + 16);
    put_pieces(block->codes, 4, 32, bytes + 48);
}

/* Nibbles by 128 codes, pairs of the fifth and sixth bit, 16 scales of int8, d. */
static void unpack_q6_k(const uint8_t *bytes, awq__ggml_block *block)
{
    get_pieces(bytes, 2, 64, block->codes);
    add_pairs(bytes + 128, 4, block->codes);
    for (int run = 0; run < 16; run++)
        block->scale[run] = (int16_t)((bytes[192 + run] ^ 0x80) - 0x80); /* of two's complement */
    block->d = get_u16(bytes + 208);
}

static void pack_q6_k(const awq__ggml_block *block, uint8_t *bytes)
{
    put_pieces(block->codes, 2, 64, bytes);
    put_pairs(block->codes, 4, bytes + 128);
    for (int run = 0; run < 16; run++)
        bytes[192 + run] = (uint8_t)block->scale[run];
    put_u16(bytes + 208, block->d);
}

/* d, two bytes with the upper two bits of 8 scales, four with their lower bits, nibbles by 32
   codes. Scales are 32 more than they mean. */
static void unpack_iq4_xs(const uint8_t *bytes, awq__ggml_block *block)
{
    block->d = get_u16(bytes);
    for (int run = 0; run < 8; run++) {
        int low = bytes[4 + run / 2] >> (run % 2 * 4) & 15;
        int high = get_u16(bytes + 2) >> 2 * run & 3;
        block->scale[run] = (int16_t)((low | high << 4) - 32);
    }
    get_pieces(bytes + 8, 8, 16, block->codes);
}

static void pack_iq4_xs(const awq__ggml_block *block, uint8_t *bytes)
{
    uint16_t high = 0;
    put_u16(bytes, block->d);
    memset(bytes + 4, 0, 4);
    for (int run = 0; run < 8; run++) {
        int scale = block->scale[run] + 32;
        bytes[4 + run / 2] |= (uint8_t)((scale & 15) << (run % 2 * 4));
        high |= (uint16_t)(scale >> 4 << 2 * run);
    }
    put_u16(bytes + 2, high);
    put_pieces(block->codes, 8, 16, bytes + 8);
}

/* ---- the table ---- */

static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};
/* E2M1, doubled. */
static const float e2m1_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

#define TYPE(type, weights, size, layout)                                                          \
    .id = AWQ__GGML_##type, .block = weights, .bytes = size, .unpack = unpack_##layout,            \
    .pack = pack_##layout

const awq__block_type awq__block_types[] = {
    {TYPE(Q4_0, 32, 18, nibbles), .run = 32, .codes = 16, .zero = 8},
    {TYPE(Q4_1, 32, 20, q4_1), .run = 32, .codes = 16, .has_min = true},
    {TYPE(Q5_0, 32, 22, q5_0), .run = 32, .codes = 32, .zero = 16},
    {TYPE(Q5_1, 32, 24, q5_1), .run = 32, .codes = 32, .has_min = true},
    {TYPE(Q8_0, 32, 34, q8_0), .run = 32, .codes = 256, .zero = 128},
    {TYPE(IQ4_NL, 32, 18, nibbles), .run = 32, .codes = 16, .values = iq4_values},
    {TYPE(MXFP4, 32, 17, mxfp4), .kind = AWQ__RUN_E8M0, .run = 32, .codes = 16,
     .values = e2m1_values},
    {TYPE(NVFP4, 64, 36, nvfp4), .kind = AWQ__RUN_UE4M3, .run = 16, .codes = 16,
     .values = e2m1_values},
    {TYPE(Q2_K, 256, 84, q2_k), .kind = AWQ__RUN_TIMES, .run = 16, .codes = 4, .has_min = true,
     .scale_high = 15, .min_high = 15},
    {TYPE(Q3_K, 256, 110, q3_k), .kind = AWQ__RUN_TIMES, .run = 16, .codes = 8, .zero = 4,
     .scale_low = -32, .scale_high = 31},
    {TYPE(Q4_K, 256, 144, q4_k), .kind = AWQ__RUN_TIMES, .run = 32, .codes = 16, .has_min = true,
     .scale_high = 63, .min_high = 63},
    {TYPE(Q5_K, 256, 176, q5_k), .kind = AWQ__RUN_TIMES, .run = 32, .codes = 32, .has_min = true,
     .scale_high = 63, .min_high = 63},
    {TYPE(Q6_K, 256, 210, q6_k), .kind = AWQ__RUN_TIMES, .run = 16, .codes = 64, .zero = 32,
     .scale_low = -128, .scale_high = 127},
    {TYPE(IQ4_XS, 256, 136, iq4_xs), .kind = AWQ__RUN_TIMES, .run = 32, .codes = 16,
     .values = iq4_values, .scale_low = -32, .scale_high = 31},
};
const int awq__block_type_count = sizeof awq__block_types / sizeof *awq__block_types;
