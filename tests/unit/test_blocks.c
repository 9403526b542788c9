/* Blocks of GGUF: each weight as the description of its type has it, and bytes back again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/blocks.h"
#include "compute/weight.h"
#include "core/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES 256
#define BLOCKS 200

static const char *const names[] = {"q4_0", "q4_1", "q5_0", "q5_1",   "q8_0",   "q2_k",  "q3_k",
                                    "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4", "nvfp4"};
enum { TYPES = sizeof names / sizeof *names };

/* ---- one weight, by the bits that belong to it ---- */

static const float iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
static const float e2m1[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, 0, -.5f, -1, -1.5f, -2, -3, -4, -6};

static float half_at(const uint8_t *bytes)
{
    return awq__f16_to_f32((uint16_t)(bytes[0] + 256 * bytes[1]));
}

/* Nibble i of bytes of which each has those of i and i + half. */
static int nibble(const uint8_t *bytes, int i, int half)
{
    return i < half ? bytes[i] % 16 : bytes[i - half] / 16;
}

static int bit(const uint8_t *bytes, int number)
{
    return bytes[number / 8] >> number % 8 & 1;
}

static float q4_0(const uint8_t *b, int i)
{
    return half_at(b) * (float)(nibble(b + 2, i, 16) - 8);
}

static float q4_1(const uint8_t *b, int i)
{
    return half_at(b) * (float)nibble(b + 4, i, 16) + half_at(b + 2);
}

static float q5_0(const uint8_t *b, int i)
{
    return half_at(b) * (float)(nibble(b + 6, i, 16) + 16 * bit(b + 2, i) - 16);
}

static float q5_1(const uint8_t *b, int i)
{
    return half_at(b) * (float)(nibble(b + 8, i, 16) + 16 * bit(b + 4, i)) + half_at(b + 2);
}

static float q8_0(const uint8_t *b, int i)
{
    return half_at(b) * (float)(int8_t)b[2 + i];
}

static float iq4_nl(const uint8_t *b, int i)
{
    return half_at(b) * iq4[nibble(b + 2, i, 16)];
}

static float mxfp4(const uint8_t *b, int i)
{
    return (float)ldexp(e2m1[nibble(b + 1, i, 16)], b[0] - 127);
}

static float nvfp4(const uint8_t *b, int i)
{
    int run = i / 16, exponent = b[run] >> 3 & 15, mantissa = b[run] & 7;
    double scale = exponent ? ldexp(1 + mantissa / 8.0, exponent - 7) : ldexp(mantissa, -9);
    if (b[run] == 0x7f)
        scale = 0;
    return (float)(scale * e2m1[nibble(b + 4 + 8 * run, i % 16, 8)]);
}

/* The 6-bit numbers of Q4_K and Q5_K. */
static int scale_of(const uint8_t *s, int j)
{
    return j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
}

static int min_of(const uint8_t *s, int j)
{
    return j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
}

static float with_mins(const uint8_t *b, int i, int code)
{
    int j = i / 32;
    float scale = half_at(b) * (float)scale_of(b + 4, j);
    return scale * (float)code - half_at(b + 2) * (float)min_of(b + 4, j);
}

static float q4_k(const uint8_t *b, int i)
{
    return with_mins(b, i, nibble(b + 16 + i / 64 * 32, i % 64, 32));
}

static float q5_k(const uint8_t *b, int i)
{
    int fifth = b[16 + i % 32] >> i / 32 & 1;
    return with_mins(b, i, nibble(b + 48 + i / 64 * 32, i % 64, 32) + 16 * fifth);
}

/* Half, quarter and place of a weight in Q2_K, Q3_K and Q6_K. */
#define PLACE int half = i / 128, quarter = i / 32 % 4, l = i % 32

static float q6_k(const uint8_t *b, int i)
{
    PLACE;
    int low = b[64 * half + 32 * (quarter & 1) + l] >> 4 * (quarter >> 1) & 15;
    int high = b[128 + 32 * half + l] >> 2 * quarter & 3;
    float scale = half_at(b + 208) * (float)(int8_t)b[192 + 8 * half + 2 * quarter + l / 16];
    return scale * (float)((low | high << 4) - 32);
}

static float q3_k(const uint8_t *b, int i)
{
    PLACE;
    const uint8_t *s = b + 96;
    int low = b[32 + 32 * half + l] >> 2 * quarter & 3, high = b[l] >> (4 * half + quarter) & 1;
    int r = i / 16, low4 = r < 8 ? s[r] & 15 : s[r - 8] >> 4,
        high2 = s[8 + r % 4] >> 2 * (r / 4) & 3;
    return half_at(b + 108) * (float)((low4 | high2 << 4) - 32) * (float)(low + 4 * high - 4);
}

static float q2_k(const uint8_t *b, int i)
{
    PLACE;
    int code = b[16 + 32 * half + l] >> 2 * quarter & 3;
    float scale = half_at(b + 80) * (float)(b[i / 16] & 15);
    return scale * (float)code - half_at(b + 82) * (float)(b[i / 16] >> 4);
}

static float iq4_xs(const uint8_t *b, int i)
{
    int r = i / 32, low = b[4 + r / 2] >> 4 * (r % 2) & 15;
    int scale = low | ((b[2] + 256 * b[3]) >> 2 * r & 3) << 4;
    return half_at(b) * (float)(scale - 32) * iq4[nibble(b + 8 + 16 * r, i % 32, 16)];
}

static float (*const weight_of[TYPES])(const uint8_t *, int) = {
    q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4, nvfp4};

/* ---- tests ---- */

static void fill(uint64_t *random, uint8_t *bytes, int count)
{
    for (int i = 0; i < count; i++)
        bytes[i] = (uint8_t)(awq__random(random) >> 56);
}

static bool same_bits(float a, float b)
{
    return awq__f32_bits(a) == awq__f32_bits(b) || (isnan(a) && isnan(b));
}

static void weights_are_as_described(void **state)
{
    (void)state;
    uint64_t random = 3;
    for (int t = 0; t < TYPES; t++) {
        const awq__block_type *type = awq__block_type_by_name(names[t]);
        assert_non_null(type);
        uint8_t bytes[MAX_BYTES];
        float weights[AWQ__BLOCK_MAX];
        for (int n = 0; n < BLOCKS; n++) {
            fill(&random, bytes, type->bytes);
            awq__blocks_decode(type, 1, bytes, weights);
            for (int i = 0; i < type->block; i++)
                if (!same_bits(weights[i], weight_of[t](bytes, i)))
                    fail_msg("%s: weight %d is %g, expected %g", names[t], i, (double)weights[i],
                             (double)weight_of[t](bytes, i));
        }
    }
}

static void bytes_come_back(void **state)
{
    (void)state;
    uint64_t random = 5;
    for (int t = 0; t < TYPES; t++) {
        const awq__block_type *type = awq__block_type_by_name(names[t]);
        for (int n = 0; n < BLOCKS; n++) {
            uint8_t bytes[MAX_BYTES], again[MAX_BYTES];
            awq__ggml_block block;
            fill(&random, bytes, type->bytes);
            memset(again, 0xa5, sizeof again);
            type->unpack(bytes, &block);
            type->pack(&block, again);
            assert_memory_equal(bytes, again, (size_t)type->bytes);
            assert_int_equal(again[type->bytes], 0xa5);
        }
    }
}

/* The table agrees with the sizes that files go by, and with itself. */
static void types(void **state)
{
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        const awq__block_type *type = awq__block_type_by_name(names[t]);
        const awq__ggml_type *stored = awq__ggml_type_of(type->id);
        assert_string_equal(stored->name, names[t]);
        assert_int_equal(stored->block, type->block);
        assert_int_equal(stored->block_bytes, type->bytes);
        assert_int_equal(type->block % type->run, 0);
        assert_true(type->block <= AWQ__BLOCK_MAX && type->block / type->run <= AWQ__BLOCK_RUNS);
        assert_ptr_equal(awq__block_type_of(type->id), type);
    }
    assert_int_equal(awq__block_type_count, TYPES);
    assert_null(awq__block_type_by_name("f32"));
    assert_null(awq__block_type_by_name("q9_k"));
    assert_null(awq__block_type_of(AWQ__GGML_IQ1_S));
    assert_null(awq__ggml_type_of(4));
    assert_null(awq__ggml_type_of(43));
}

/* Any columns of any rows, as of the whole. */
static void matrices_are_read_in_parts(void **state)
{
    (void)state;
    enum { ROWS = 12, COLS = 768 };
    static float whole[ROWS * COLS], part[ROWS * COLS];
    uint64_t random = 7;
    for (int t = 0; t < TYPES; t++) {
        const awq__block_type *type = awq__block_type_by_name(names[t]);
        int row_bytes = COLS / type->block * type->bytes;
        uint8_t *bytes = malloc((size_t)(ROWS * row_bytes));
        assert_non_null(bytes);
        fill(&random, bytes, ROWS * row_bytes);
        awq__weight weight = awq__weight_blocks("w", type, bytes, ROWS, COLS, 0);
        awq__blocks_decode(type, ROWS * COLS / type->block, bytes, whole);
        weight.read(&weight, 2, 3, part);
        assert_memory_equal(part, whole + 2 * COLS, 3 * COLS * sizeof *part);
        for (int col = 0; col < COLS; col += 37) {
            int cols = COLS - col < 300 ? COLS - col : 300;
            weight.read_panel(&weight, 1, 4, col, cols, part);
            for (int n = 0; n < 4; n++)
                assert_memory_equal(part + n * cols, whole + (1 + n) * COLS + col,
                                    (size_t)cols * sizeof *part);
        }
        /* Heads of 6 rows: 0 2 4 1 3 5 of what is stored. */
        weight = awq__weight_blocks("w", type, bytes, ROWS, COLS, 6);
        weight.read(&weight, 0, ROWS, part);
        for (int n = 0; n < ROWS; n++)
            assert_memory_equal(part + n * COLS,
                                whole + (n / 6 * 6 + n % 6 % 3 * 2 + n % 6 / 3) * COLS,
                                COLS * sizeof *part);
        free(bytes);
    }
}

/* Of a head of one row there are no pairs, and of an odd one the last row has no partner. */
static void odd_heads_keep_every_row(void **state)
{
    (void)state;
    enum { ROWS = 10 };
    static const int64_t expected[][ROWS] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
                                             {0, 2, 1, 3, 4, 5, 7, 6, 8, 9}};
    float stored[ROWS], out[ROWS];
    for (int i = 0; i < ROWS; i++)
        stored[i] = (float)i;
    for (int i = 0; i < 2; i++) {
        awq__weight weight = awq__weight_paired("w", AWQ_F32, stored, ROWS, 1, i ? 5 : 1);
        weight.read(&weight, 0, ROWS, out);
        for (int n = 0; n < ROWS; n++)
            assert_true(out[n] == stored[expected[i][n]]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_as_described),
        cmocka_unit_test(bytes_come_back),
        cmocka_unit_test(types),
        cmocka_unit_test(matrices_are_read_in_parts),
        cmocka_unit_test(odd_heads_keep_every_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
