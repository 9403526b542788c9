/* The public functions that pack and unpack, for each layout. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/tensor.h"
#include "context.h"
#include "numbers.h"

static const awq_scheme int4 = {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER};
static const awq_scheme mxfp4 = {.bits = 4, .group_size = 32, .code = AWQ_CODE_E2M1};

/* What is kept of the first rows * columns of the weights. */
static awq_quantized *quantize(awq_context *ctx, const float *w, int64_t rows, int64_t columns,
                               const awq_scheme *scheme)
{
    const awq_matrix matrix = {w, AWQ_F32, rows, columns};
    awq_quantized *q;
    succeeds(ctx, awq_quantized_create(ctx, &matrix, scheme, NULL, NULL, &q));
    return q;
}

static void packing_gemm_checks_its_arguments(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 8;
    float *w = normals(&random, 12 * 32);
    uint32_t words[64] = {0};
    uint16_t scales[64] = {0};
    awq_quantized *q;
    q = quantize(ctx, w, 12, 32, &int4);
    fails(ctx, awq_pack_gemm(ctx, q, words, words, scales), AWQ_ERROR_ARGUMENT, "12 rows");
    awq_quantized_free(q);
    const awq_scheme three = {3, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER};
    q = quantize(ctx, w, 8, 32, &three);
    fails(ctx, awq_pack_gemm(ctx, q, words, words, scales), AWQ_ERROR_ARGUMENT, "3 bits");
    awq_quantized_free(q);
    q = quantize(ctx, w, 8, 32, &mxfp4);
    fails(ctx, awq_pack_gemm(ctx, q, words, words, scales), AWQ_ERROR_ARGUMENT, "E2M1 codes");
    awq_quantized_free(q);
    static const awq_scale_type wide[] = {AWQ_SCALE_F32, AWQ_SCALE_BF16};
    for (int i = 0; i < 2; i++) { /* F16 may not hold them */
        const awq_scheme scheme = {4, 32, false, wide[i], AWQ_CODE_INTEGER};
        q = quantize(ctx, w, 8, 32, &scheme);
        fails(ctx, awq_pack_gemm(ctx, q, words, words, scales), AWQ_ERROR_ARGUMENT,
              i ? "AWQ_SCALE_BF16, expected" : "AWQ_SCALE_F32, expected");
        awq_quantized_free(q);
    }
    static const int64_t shapes[][3] = {{0, 8, 8}, {12, 8, 8}, {-8, 8, 8}, {8, 0, 8},
                                        {8, 8, 0}, {8, 8, 3},  {8, 8, -2}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        fails(ctx,
              awq_unpack_gemm(ctx, shapes[i][0], shapes[i][1], shapes[i][2], words, words, scales,
                              &q),
              AWQ_ERROR_ARGUMENT, "expected rows in eights");
        assert_null(q);
    }
    succeeds(ctx, awq_unpack_gemm(ctx, 8, 8, -1, words, words, scales, &q));
    awq_scheme scheme;
    int64_t rows, columns;
    awq_quantized_describe(q, &scheme, &rows, &columns);
    assert_int_equal(scheme.group_size, 8);
    awq_quantized_free(q);
    free(w);
}

static void check_same(const awq_quantized *a, const awq_quantized *b)
{
    awq_scheme scheme;
    int64_t rows, columns;
    awq_quantized_describe(a, &scheme, &rows, &columns);
    size_t elements = (size_t)(rows * columns);
    size_t groups = elements / (size_t)scheme.group_size;
    float *values = floats((int64_t)elements), *expected = floats((int64_t)elements);
    assert_memory_equal(awq_quantized_codes(b), awq_quantized_codes(a), elements);
    assert_memory_equal(awq_quantized_zeros(b), awq_quantized_zeros(a), groups);
    assert_memory_equal(awq_quantized_scales(b), awq_quantized_scales(a), groups * sizeof(float));
    awq_quantized_values(a, expected);
    awq_quantized_values(b, values);
    assert_memory_equal(values, expected, elements * sizeof(float));
    free(values);
    free(expected);
}

static void compressed_tensors_come_back(void **state)
{
    awq_context *ctx = *state;
    enum { N = 16, K = 64 };
    static const awq_scale_type types[] = {AWQ_SCALE_F32, AWQ_SCALE_F16, AWQ_SCALE_BF16_F16,
                                           AWQ_SCALE_BF16};
    uint64_t random = 10;
    float *w = normals(&random, N * K);
    for (int bits = 4; bits <= 8; bits += 4)
        for (int t = 0; t < 4; t++)
            for (int variant = 0; variant < 4; variant++) {
                bool symmetric = variant & 1;
                const awq_scheme scheme = {bits, variant & 2 ? -1 : 32, symmetric, types[t],
                                           AWQ_CODE_INTEGER};
                uint32_t packed[N * K / 4], zeros[N * K / 32];
                float scales[N * K / 32];
                awq_quantized *q, *back;
                awq_scheme found;
                int64_t rows, columns;
                q = quantize(ctx, w, N, K, &scheme);
                succeeds(ctx,
                         awq_pack_compressed(ctx, q, packed, scales, symmetric ? NULL : zeros));
                const uint8_t *codes = awq_quantized_codes(q);
                assert_int_equal(packed[0] & 255, bits == 4 ? codes[0] | codes[1] << 4 : codes[0]);
                succeeds(ctx, awq_unpack_compressed(ctx, N, K, &scheme, packed, scales,
                                                    symmetric ? NULL : zeros, &back));
                check_same(q, back);
                awq_quantized_describe(back, &found, &rows, &columns);
                assert_int_equal(found.bits, bits);
                assert_int_equal(found.group_size, variant & 2 ? K : 32);
                assert_int_equal(found.symmetric, symmetric);
                assert_int_equal(found.scale_type, types[t]);
                awq_quantized_free(q);
                awq_quantized_free(back);
            }
    free(w);
}

static void gptq_comes_back(void **state)
{
    awq_context *ctx = *state;
    enum { N = 32, K = 64 };
    uint64_t random = 15;
    float *w = normals(&random, N * K);
    for (int bits = 2; bits <= 8; bits *= 2)
        for (int variant = 0; variant < 8; variant++) {
            bool symmetric = variant & 1;
            int version = variant & 4 ? 2 : 1, pack = 32 / bits;
            int64_t G = variant & 2 ? 1 : K / 32;
            const awq_scheme scheme = {bits, variant & 2 ? -1 : 32, symmetric,
                                       variant & 4 ? AWQ_SCALE_F16 : AWQ_SCALE_BF16_F16,
                                       AWQ_CODE_INTEGER};
            uint32_t words[N * K / 4], zeros[N * K / 32];
            uint16_t scales[N * K / 32];
            awq_quantized *q, *back;
            awq_scheme found;
            int64_t rows, columns;
            q = quantize(ctx, w, N, K, &scheme);
            succeeds(ctx, awq_pack_gptq(ctx, q, version, words, zeros, scales));
            const uint8_t *codes = awq_quantized_codes(q), *points = awq_quantized_zeros(q);
            for (int i = 0; i < N * K; i++)
                assert_int_equal(words[i % K / pack * N + i / K] >> (i % K % pack * bits) &
                                     ((1u << bits) - 1),
                                 codes[i]);
            for (int i = 0; i < N * G; i++)
                assert_int_equal(zeros[i % G * (N / pack) + i / G / pack] >> (i / G % pack * bits) &
                                     ((1u << bits) - 1),
                                 points[i] - (version == 1));
            succeeds(ctx,
                     awq_unpack_gptq(ctx, N, K, &scheme, version, words, zeros, scales, &back));
            check_same(q, back);
            awq_quantized_describe(back, &found, &rows, &columns);
            assert_int_equal(found.bits, bits);
            assert_int_equal(found.group_size, K / G);
            assert_int_equal(found.symmetric, symmetric);
            assert_int_equal(found.scale_type, scheme.scale_type);
            awq_quantized_free(q);
            awq_quantized_free(back);
        }
    free(w);
}

static void packing_gptq_checks_its_arguments(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 16;
    float *w = normals(&random, 16 * 64);
    static const struct {
        int64_t rows, columns;
        awq_scheme scheme;
        int version;
        const char *message; /* NULL: right */
    } cases[] = {
        {8, 64, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 1, NULL},
        {8, 64, {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 2, NULL},
        {8, 64, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 0, "version: 0, expected 1 or 2"},
        {8, 64, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 3, "version: 3"},
        {8, 64, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_E2M1}, 1, "E2M1 codes of 4 bits"},
        {8, 64, {3, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 1, "integers of 3 bits, expected"},
        {8, 64, {4, 32, true, AWQ_SCALE_F32, AWQ_CODE_INTEGER}, 1, "AWQ_SCALE_F32, expected"},
        {8, 64, {4, 32, true, AWQ_SCALE_BF16, AWQ_CODE_INTEGER}, 1, "AWQ_SCALE_BF16, expected"},
        {12, 64, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 1, "multiples of 8"},
        {8, 60, {4, -1, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 1, "multiples of 8"},
        {8, 64, {2, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 1, "multiples of 16"},
        {6, 64, {8, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, 1, "multiples of 4"},
    };
    uint32_t words[16 * 64], zeros[16 * 64];
    uint16_t scales[16 * 64];
    awq_quantized *q, *back;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(words, 0, sizeof words);
        memset(zeros, 0, sizeof zeros);
        memset(scales, 0, sizeof scales);
        q = quantize(ctx, w, cases[i].rows, cases[i].columns, &cases[i].scheme);
        awq_status packed = awq_pack_gptq(ctx, q, cases[i].version, words, zeros, scales);
        ends(ctx, packed, AWQ_ERROR_ARGUMENT, cases[i].message);
        awq_status unpacked =
            awq_unpack_gptq(ctx, cases[i].rows, cases[i].columns, &cases[i].scheme,
                            cases[i].version, words, zeros, scales, &back);
        ends(ctx, unpacked, AWQ_ERROR_ARGUMENT, cases[i].message);
        assert_true((back == NULL) == (cases[i].message != NULL));
        awq_quantized_free(back);
        awq_quantized_free(q);
    }
    static const int64_t shapes[][3] = {{0, 64, 32}, {-8, 64, 32}, {8, 0, -1}, {8, 64, 48}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const awq_scheme scheme = {4, shapes[i][2], true, AWQ_SCALE_F16, AWQ_CODE_INTEGER};
        fails(ctx,
              awq_unpack_gptq(ctx, shapes[i][0], shapes[i][1], &scheme, 1, words, zeros, scales,
                              &back),
              AWQ_ERROR_ARGUMENT, i < 3 ? "expected a positive size" : "group_size 48");
        assert_null(back);
    }
    for (int i = 0; i < 32; i++) /* a group without negative weights */
        w[64 + i] = fabsf(w[64 + i]);
    const awq_scheme asymmetric = {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER};
    q = quantize(ctx, w, 8, 64, &asymmetric);
    fails(ctx, awq_pack_gptq(ctx, q, 1, words, zeros, scales), AWQ_ERROR_ARGUMENT,
          "the zero point of row 1, group 0 is 0, which version 1 cannot store");
    succeeds(ctx, awq_pack_gptq(ctx, q, 2, words, zeros, scales));
    awq_quantized_free(q);
    free(w);
}

static void mxfp4_comes_back(void **state)
{
    awq_context *ctx = *state;
    enum { N = 6, K = 96, G = K / 32 };
    uint64_t random = 12;
    float *w = normals(&random, N * K);
    for (int i = 0; i < N * K; i++)
        w[i] = ldexpf(w[i], i / 32 * 14 - 128);
    uint8_t blocks[N * K / 2], scales[N * G];
    awq_quantized *q = quantize(ctx, w, N, K, &mxfp4), *back;
    succeeds(ctx, awq_pack_mxfp4(ctx, q, blocks, scales));
    assert_true(scales[0] < 2 && scales[N * G - 1] > 220);
    for (int i = 0; i < N * G; i++)
        assert_true((double)awq_quantized_scales(q)[i] == ldexp(1, scales[i] - 127));
    for (int i = 0; i < N * K; i++)
        assert_int_equal(blocks[i / 2] >> (i % 2 * 4) & 15, awq_quantized_codes(q)[i]);
    succeeds(ctx, awq_unpack_mxfp4(ctx, N, K, blocks, scales, &back));
    check_same(q, back);
    awq_quantized_free(q);
    awq_quantized_free(back);
    free(w);
}

static void packing_compressed_checks_its_arguments(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 13;
    float *w = normals(&random, 8 * 64);
    static const struct {
        int64_t rows, columns;
        awq_scheme scheme;
        const char *message;
    } packs[] = {
        {8, 64, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_E2M1}, "E2M1 codes, expected integers"},
        {8, 64, {5, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "5 bits, expected 4 or 8"},
        {8, 64, {3, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "3 bits, expected 4 or 8"},
        {7, 64, {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "[7, 64] of asymmetric codes"},
        {6, 64, {8, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "in multiples of 4"},
        {8, 60, {4, -1, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "columns in multiples of 8"},
        {7, 62, {8, -1, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "columns in multiples of 4"},
    };
    uint32_t words[8 * 64] = {0};
    float scales[8 * 64] = {0};
    awq_quantized *q;
    for (size_t i = 0; i < sizeof packs / sizeof *packs; i++) {
        q = quantize(ctx, w, packs[i].rows, packs[i].columns, &packs[i].scheme);
        fails(ctx, awq_pack_compressed(ctx, q, words, scales, words), AWQ_ERROR_ARGUMENT,
              packs[i].message);
        awq_quantized_free(q);
    }
    static const struct {
        int64_t rows, columns;
        awq_scheme scheme;
        const char *message; /* NULL: right */
    } unpacks[] = {
        {7, 64, {4, -1, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, NULL},
        {0, 64, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "[0, 64]"},
        {8, -8, {4, -1, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "[8, -8]"},
        {8, 64, {3, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "integers of 3 bits"},
        {8, 64, {9, 32, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "9 bits"},
        {8, 64, {4, 32, true, AWQ_SCALE_F16, AWQ_CODE_E2M1}, "E2M1 codes of 4 bits"},
        {8, 64, {4, 0, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "group_size 0"},
        {8, 64, {4, 48, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "group_size 48"},
        {8, 64, {4, 32, true, (awq_scale_type)-1, AWQ_CODE_INTEGER}, "scale_type -1"},
        {8, 60, {4, -1, true, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "[8, 60] of symmetric codes"},
        {7, 64, {4, 32, false, AWQ_SCALE_F16, AWQ_CODE_INTEGER}, "rows and columns"},
    };
    for (size_t i = 0; i < sizeof unpacks / sizeof *unpacks; i++) {
        awq_status status = awq_unpack_compressed(ctx, unpacks[i].rows, unpacks[i].columns,
                                                  &unpacks[i].scheme, words, scales, words, &q);
        ends(ctx, status, AWQ_ERROR_ARGUMENT, unpacks[i].message);
        assert_true((q == NULL) == (unpacks[i].message != NULL));
        awq_quantized_free(q);
    }
    free(w);
}

static void packing_mxfp4_checks_its_arguments(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 14;
    float *w = normals(&random, 8 * 64);
    uint8_t blocks[8 * 64] = {0}, scales[8 * 2] = {0};
    awq_quantized *q;
    q = quantize(ctx, w, 8, 64, &int4);
    fails(ctx, awq_pack_mxfp4(ctx, q, blocks, scales), AWQ_ERROR_ARGUMENT,
          "integers of 4 bits, expected E2M1");
    awq_quantized_free(q);
    static const int64_t shapes[][2] = {{0, 64}, {-8, 64}, {8, 0}, {8, -32}, {8, 48}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        fails(ctx, awq_unpack_mxfp4(ctx, shapes[i][0], shapes[i][1], blocks, scales, &q),
              AWQ_ERROR_ARGUMENT, i < 4 ? "a positive size" : "columns in multiples of 32");
        assert_null(q);
    }
    free(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(packing_gemm_checks_its_arguments),
        TEST(compressed_tensors_come_back),
        TEST(gptq_comes_back),
        TEST(packing_gptq_checks_its_arguments),
        TEST(mxfp4_comes_back),
        TEST(packing_compressed_checks_its_arguments),
        TEST(packing_mxfp4_checks_its_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
