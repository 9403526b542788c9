/* The compressed-tensors pack-quantized layout: words, and tensors on disk. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "core/half.h"
#include "numbers.h"
#include "temp_checkpoint.h"
#include "format_frame.h"
#include "treated.h"

static const awq__disk_format *const format = &awq__disk_format_compressed;

static void the_format_is_found(void **state)
{
    (void)state;
    assert_ptr_equal(awq__disk_format_by_name("compressed-tensors"), format);
    assert_ptr_equal(awq__disk_format_by_method("compressed-tensors"), format);
    assert_false(format->fused);
    assert_true(format->mixed);
    static const awq_dtype dtypes[] = {AWQ_BF16, AWQ_F16, AWQ_F32};
    for (int i = 0; i < 3; i++) {
        awq__scheme scheme = {.code = AWQ__CODE_E2M1};
        format->complete(&scheme, dtypes[i]);
        assert_int_equal(scheme.code, AWQ__CODE_INTEGER);
        assert_int_equal(scheme.grid, i ? AWQ__GRID_F16 : AWQ__GRID_BF16);
    }
    bool symmetric = false;
    int64_t group = 7;
    format->defaults(4, &symmetric, &group);
    assert_true(symmetric);
    assert_int_equal(group, 0);
}

/* ---- words ---- */

static awq__scheme scheme_of(int bits, int64_t group, bool symmetric, awq__scale_grid grid)
{
    return (awq__scheme){.bits = bits, .group = group, .symmetric = symmetric, .grid = grid};
}

/* Random codes, and scales that every grid has. */
static void make_codes(awq_context *ctx, int64_t N, int64_t K, const awq__scheme *scheme,
                       uint64_t *random, awq__codes *codes)
{
    unsigned levels = 1u << scheme->bits;
    succeeds(ctx, awq__codes_create(ctx, N, K, scheme, codes));
    for (int64_t i = 0; i < N * K; i++)
        codes->codes[i] = (uint8_t)(awq__random(random) % levels);
    for (int64_t i = 0; i < N * K / scheme->group; i++) {
        codes->scales[i] = ldexpf((float)(129 + awq__random(random) % 127), -20);
        codes->zeros[i] = (uint8_t)(scheme->symmetric ? levels / 2 : awq__random(random) % levels);
    }
}

/* The first row's codes are 0, 1, 2 ...; so are the zero points down the rows of group 0. */
static void pack_counting(awq_context *ctx, int bits, bool symmetric, uint32_t *row,
                          uint32_t *zeros)
{
    enum { N = 8, K = 16, G = 2 };
    awq__scheme scheme = scheme_of(bits, K / G, symmetric, AWQ__GRID_F16);
    awq__codes codes;
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    for (int i = 0; i < N * K; i++)
        codes.codes[i] = (uint8_t)(i % 16 & ((1 << bits) - 1));
    for (int n = 0; n < N; n++) {
        codes.zeros[n * G] = (uint8_t)(symmetric ? 1 << (bits - 1) : n);
        codes.zeros[n * G + 1] = 5;
        codes.scales[n * G] = codes.scales[n * G + 1] = 1;
    }
    uint32_t words[N * K / 4];
    format->pack(&codes, 0, words);
    memcpy(row, words, (size_t)(K * bits / 32) * sizeof *words);
    if (!symmetric)
        format->pack(&codes, 3, zeros);
    awq__codes_free(&codes);
}

static void words_are_those_of_the_layout(void **state)
{
    awq_context *ctx = *state;
    uint32_t row[4], zeros[4];
    pack_counting(ctx, 4, true, row, NULL);
    assert_int_equal(row[0], 0x76543210);
    assert_int_equal(row[1], 0xfedcba98);
    pack_counting(ctx, 4, false, row, zeros);
    assert_int_equal(row[0], 0x76543210);
    assert_int_equal(zeros[0], 0x76543210); /* of rows 0 to 7, group 0 */
    assert_int_equal(zeros[1], 0x55555555);
    pack_counting(ctx, 8, true, row, NULL);
    assert_int_equal(row[0], 0x03020100);
    assert_int_equal(row[3], 0x0f0e0d0c);
    pack_counting(ctx, 8, false, row, zeros);
    assert_int_equal(row[1], 0x07060504);
    assert_int_equal(zeros[0], 0x03020100);
    assert_int_equal(zeros[1], 0x05050505);
    assert_int_equal(zeros[2], 0x07060504); /* rows 4 to 7 */
    assert_int_equal(zeros[3], 0x05050505);
}

static void scales_have_the_type_of_their_grid(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        awq__scale_grid grid;
        awq_dtype dtype;
        uint32_t half, third; /* bits of 0.5 and of 1/3, rounded to the type */
    } cases[] = {
        {AWQ__GRID_F16, AWQ_F16, 0x3800, 0x3555},
        {AWQ__GRID_BF16_F16, AWQ_F16, 0x3800, 0x3555},
        {AWQ__GRID_BF16, AWQ_BF16, 0x3f00, 0x3eab},
        {AWQ__GRID_F32, AWQ_F32, 0x3f000000, 0x3eaaaaab},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__scheme scheme = scheme_of(4, 32, true, cases[i].grid);
        awq__spec specs[AWQ__MAX_SPECS];
        awq__codes codes;
        uint8_t stored[8];
        uint32_t found[2] = {0};
        succeeds(ctx, awq__codes_create(ctx, 1, 64, &scheme, &codes));
        codes.scales[0] = 0.5f;
        codes.scales[1] = 1.0f / 3;
        assert_int_equal(format->specs(1, 64, &scheme, specs), 3);
        assert_int_equal(specs[1].dtype, cases[i].dtype);
        size_t size = (size_t)awq__spec_bytes(&specs[1]) / 2;
        format->pack(&codes, 1, stored);
        memcpy(&found[0], stored, size);
        memcpy(&found[1], stored + size, size);
        assert_int_equal(found[0], cases[i].half);
        assert_int_equal(found[1], cases[i].third);
        awq__codes_free(&codes);
    }
}

static void specs_say_names_and_shapes(void **state)
{
    (void)state;
    static const awq__spec expected[] = {{".weight_packed", AWQ_I32, 2, {40, 12}},
                                         {".weight_scale", AWQ_BF16, 2, {40, 3}},
                                         {".weight_shape", AWQ_I64, 1, {2}},
                                         {".weight_zero_point", AWQ_I32, 2, {5, 3}}};
    for (int bits = 4; bits <= 8; bits += 4)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            awq__scheme scheme = scheme_of(bits, 32, symmetric, AWQ__GRID_BF16);
            awq__spec specs[AWQ__MAX_SPECS];
            assert_int_equal(format->specs(40, 96, &scheme, specs), symmetric ? 3 : 4);
            for (int i = 0; i < (symmetric ? 3 : 4); i++) {
                int64_t more = bits == 8 ? 2 : 1; /* words */
                assert_string_equal(specs[i].suffix, expected[i].suffix);
                assert_int_equal(specs[i].dtype, expected[i].dtype);
                assert_int_equal(specs[i].rank, expected[i].rank);
                assert_int_equal(specs[i].shape[0], expected[i].shape[0] * (i == 3 ? more : 1));
                assert_int_equal(specs[i].shape[1], expected[i].shape[1] * (i == 0 ? more : 1));
            }
        }
}

static void what_cannot_be_stored_is_refused(void **state)
{
    awq_context *ctx = *state;
    static const asked_to_store cases[] = {
        {41, 96, {AWQ__CODE_INTEGER, 4, 32, true, AWQ__GRID_F16, NULL, 0}, NULL},
        {1, 8, {AWQ__CODE_INTEGER, 4, 8, true, AWQ__GRID_F16, NULL, 0}, NULL},
        {41, 36, {AWQ__CODE_INTEGER, 8, 36, true, AWQ__GRID_F16, NULL, 0}, NULL},
        {40, 96, {AWQ__CODE_INTEGER, 4, 32, false, AWQ__GRID_F16, NULL, 0}, NULL},
        {44, 36, {AWQ__CODE_INTEGER, 8, 36, false, AWQ__GRID_F16, NULL, 0}, NULL},
        {40, 96, {AWQ__CODE_E2M1, 4, 32, true, AWQ__GRID_F32, NULL, 0}, "m.w: E2M1 codes"},
        {41, 48, {AWQ__CODE_INTEGER, 2, 48, true, AWQ__GRID_F16, NULL, 0}, NULL},
        {48, 48, {AWQ__CODE_INTEGER, 2, 48, false, AWQ__GRID_F16, NULL, 0}, NULL},
        {40, 96, {AWQ__CODE_INTEGER, 1, 32, true, AWQ__GRID_F16, NULL, 0}, "m.w: 1 bits"},
        {40, 96, {AWQ__CODE_INTEGER, 3, 32, true, AWQ__GRID_F16, NULL, 0}, "m.w: 3 bits"},
        {40, 96, {AWQ__CODE_INTEGER, 5, 32, true, AWQ__GRID_F16, NULL, 0}, "only 2, 4 and 8"},
        {40,
         36,
         {AWQ__CODE_INTEGER, 4, 36, true, AWQ__GRID_F16, NULL, 0},
         "m.w: 36 input features"},
        {40, 36, {AWQ__CODE_INTEGER, 4, 36, true, AWQ__GRID_F16, NULL, 0}, "packs 8 to a word"},
        {40, 40, {AWQ__CODE_INTEGER, 2, 40, true, AWQ__GRID_F16, NULL, 0}, "packs 16 to a word"},
        {40,
         96,
         {AWQ__CODE_INTEGER, 2, 32, false, AWQ__GRID_F16, NULL, 0},
         "zero points of 16 to a word"},
        {40, 38, {AWQ__CODE_INTEGER, 8, 38, true, AWQ__GRID_F16, NULL, 0}, "packs 4 to a word"},
        {44,
         96,
         {AWQ__CODE_INTEGER, 4, 32, false, AWQ__GRID_F16, NULL, 0},
         "m.w: 44 output features"},
        {44, 96, {AWQ__CODE_INTEGER, 4, 32, false, AWQ__GRID_F16, NULL, 0}, "or symmetric codes"},
        {42,
         96,
         {AWQ__CODE_INTEGER, 8, 32, false, AWQ__GRID_F16, NULL, 0},
         "zero points of 4 to a word"},
    };
    check_refusals(ctx, format, cases, sizeof cases / sizeof *cases);
    fails(ctx, awq__disk_format_awq.check(ctx, "m.w", 40, 96, &cases[5].scheme), AWQ_ERROR_RECIPE,
          "m.w: E2M1 codes");
}

/* ---- tensors on disk ---- */

enum { MOST_MODULES = 4 };

typedef struct packed_modules {
    char names[MOST_MODULES * AWQ__MAX_SPECS][64];
    stored_tensor tensors[MOST_MODULES * AWQ__MAX_SPECS];
    void *data[MOST_MODULES * AWQ__MAX_SPECS];
    int count;
} packed_modules;

static void add_packed(packed_modules *p, const awq__disk_format *by, const char *module,
                       const awq__codes *codes)
{
    awq__spec specs[AWQ__MAX_SPECS];
    int count = by->specs(codes->rows, codes->cols, &codes->scheme, specs);
    for (int i = 0; i < count; i++, p->count++) {
        snprintf(p->names[p->count], sizeof p->names[0], "%s%s", module, specs[i].suffix);
        p->tensors[p->count] = (stored_tensor){p->names[p->count],
                                               specs[i].dtype,
                                               specs[i].rank,
                                               {specs[i].shape[0], specs[i].shape[1]}};
        p->data[p->count] = space_for((int64_t)awq__spec_bytes(&specs[i]), 1);
        by->pack(codes, i, p->data[p->count]);
    }
}

static awq__checkpoint *write_packed(fixture *f, packed_modules *p)
{
    awq__checkpoint *checkpoint =
        write_checkpoint(f, p->tensors, (const void *const *)p->data, p->count);
    for (int i = 0; i < p->count; i++)
        free(p->data[i]);
    return checkpoint;
}

/* What the open weight reads, in pieces and from unaligned memory, is what the codes stand for. */
static void check_values(const awq__weight *weight, const awq__codes *codes)
{
    int64_t N = codes->rows, K = codes->cols, G = K / codes->scheme.group;
    float *expected = floats(N * K);
    awq__codes_read(codes, 0, N, expected);
    check_rows(weight, expected, 3, 3);
    awq__weight moved = *weight;
    int64_t words = awq__ceil_div(N * weight->bits, 32);
    unaligned data = unaligned_copy(weight->data, N * awq__ceil_div(K * weight->bits, 32) * 4);
    unaligned scales =
        unaligned_copy(weight->scales, N * G * awq_dtype_bits(weight->scale_dtype) / 8);
    unaligned zeros = {0};
    moved.data = data.data;
    moved.scales = scales.data;
    if (weight->zeros) {
        zeros = unaligned_copy(weight->zeros, words * G * 4);
        moved.zeros = zeros.data;
    }
    check_rows(&moved, expected, 3, 3);
    free(data.base);
    free(scales.base);
    free(zeros.base);
    free(expected);
}

/* In memory: the codes come back. */
static void check_unpacking(awq_context *ctx, const awq__codes *codes)
{
    int64_t N = codes->rows, K = codes->cols, G = K / codes->scheme.group;
    awq__spec specs[AWQ__MAX_SPECS];
    void *parts[AWQ__MAX_SPECS] = {0};
    awq__codes back;
    int count = format->specs(N, K, &codes->scheme, specs);
    for (int i = 0; i < count; i++) {
        parts[i] = space_for((int64_t)awq__spec_bytes(&specs[i]), 1);
        format->pack(codes, i, parts[i]);
    }
    assert_memory_equal(parts[2], ((int64_t[]){N, K}), 2 * sizeof(int64_t));
    succeeds(ctx, awq__codes_create(ctx, N, K, &codes->scheme, &back));
    awq__compressed_unpack(&back, parts[0], parts[1], parts[3]);
    assert_memory_equal(back.codes, codes->codes, (size_t)(N * K));
    assert_memory_equal(back.zeros, codes->zeros, (size_t)(N * G));
    assert_memory_equal(back.scales, codes->scales, (size_t)(N * G) * sizeof(float));
    for (int i = 0; i < count; i++)
        free(parts[i]);
    awq__codes_free(&back);
}

static void packed_tensors_are_read_as_values(void **state)
{
    fixture *f = *state;
    static const int64_t groups[] = {32, 64, 128, -1};
    static const int bit_counts[] = {2, 4, 8};
    static const awq__scale_grid grids[] = {AWQ__GRID_BF16, AWQ__GRID_F16, AWQ__GRID_BF16_F16,
                                            AWQ__GRID_F32};
    uint64_t random = 1;
    for (int b = 0; b < 3; b++)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            enum { K = 256 };
            int64_t N = symmetric ? 13 : 16;
            packed_modules p = {0};
            awq__codes codes[4];
            char module[4][16];
            for (int g = 0; g < 4; g++) {
                int64_t group = groups[g] < 0 ? K : groups[g];
                awq__scheme scheme =
                    scheme_of(bit_counts[b], group, symmetric, grids[(b + symmetric + g) % 4]);
                succeeds(f->ctx, format->check(f->ctx, "m", N, K, &scheme));
                make_codes(f->ctx, N, K, &scheme, &random, &codes[g]);
                check_unpacking(f->ctx, &codes[g]);
                snprintf(module[g], sizeof module[g], "m.%d", g);
                add_packed(&p, format, module[g], &codes[g]);
            }
            awq__checkpoint *checkpoint = write_packed(f, &p);
            for (int g = 0; g < 4; g++) {
                const awq__stored_scheme stored = STORED(bit_counts[b], groups[g], symmetric);
                awq_dtype scale = codes[g].scheme.grid == AWQ__GRID_BF16  ? AWQ_BF16
                                  : codes[g].scheme.grid == AWQ__GRID_F32 ? AWQ_F32
                                                                          : AWQ_F16;
                awq__weight weight;
                bool found;
                succeeds(f->ctx, open_held(f, format, checkpoint, &stored, module[g], N, K, &weight,
                                           &found));
                assert_true(found);
                assert_string_equal(weight.name, module[g]);
                assert_int_equal(weight.group, codes[g].scheme.group);
                assert_int_equal(weight.bits, stored.bits);
                assert_int_equal(weight.scale_dtype, scale);
                assert_int_equal(weight.dtype, scale == AWQ_BF16 ? AWQ_BF16 : AWQ_F16);
                assert_true((weight.zeros == NULL) == symmetric);
                check_values(&weight, &codes[g]);
                succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "m.other", N, K, &weight,
                                           &found));
                assert_false(found);
                awq__codes_free(&codes[g]);
            }
            let_go(checkpoint);
        }
}

/* From weights to the disk and back, with the scales that the format asks for. */
static void rounded_weights_are_read_back(void **state)
{
    fixture *f = *state;
    enum { N = 16, K = 128 };
    static const awq_dtype dtypes[] = {AWQ_BF16, AWQ_F16};
    static const int bit_counts[] = {2, 4, 8};
    uint64_t random = 2;
    float *w = normals(&random, N * K);
    awq__weight plain = awq__weight_plain("w", AWQ_F32, w, N, K);
    for (int b = 0; b < 3; b++)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            awq__scheme scheme = scheme_of(bit_counts[b], 32, symmetric, AWQ__GRID_F32);
            format->complete(&scheme, dtypes[symmetric]);
            awq__codes codes;
            packed_modules p = {0};
            succeeds(f->ctx, awq__codes_create(f->ctx, N, K, &scheme, &codes));
            succeeds(f->ctx,
                     awq__codes_round(f->ctx, awq__compute_fastest(), &plain, NULL, &codes));
            add_packed(&p, format, "w", &codes);
            awq__checkpoint *checkpoint = write_packed(f, &p);
            const awq__stored_scheme stored = STORED(bit_counts[b], 32, symmetric);
            awq__weight weight;
            bool found;
            succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "w", N, K, &weight, &found));
            check_values(&weight, &codes);
            let_go(checkpoint);
            awq__codes_free(&codes);
        }
    free(w);
}

/* Three bits, packed here by hand: each word has whole codes, or codes follow one another. */
static void three_bits_are_read_in_both_packings(void **state)
{
    fixture *f = *state;
    enum { N = 20, K = 96, G = K / 32 };
    uint64_t random = 8;
    for (int variant = 0; variant < 4; variant++) {
        bool dense = variant % 2, symmetric = variant < 2;
        const int64_t row_words = dense ? K * 3 / 32 : (K + 9) / 10;
        const int64_t zero_words = dense ? (N * 3 + 31) / 32 : N / 10;
        uint32_t *packed = space_for(N * row_words, sizeof *packed);
        uint32_t *zeros = space_for(zero_words * G, sizeof *zeros);
        float scales[N * G], expected[N * K], found_values[N * K];
        uint8_t zero_of[N * G];
        memset(packed, 0, (size_t)(N * row_words) * sizeof *packed);
        memset(zeros, 0, (size_t)(zero_words * G) * sizeof *zeros);
        for (int i = 0; i < N * G; i++) {
            int n = i / G, bit = dense ? n * 3 : n / 10 * 32 + n % 10 * 3;
            scales[i] = (float)(1 + awq__random(&random) % 100) / 64;
            zero_of[i] = symmetric ? 4 : (uint8_t)(awq__random(&random) % 8);
            for (int b = 0; b < 3; b++)
                zeros[(bit + b) / 32 * G + i % G] |= (uint32_t)(zero_of[i] >> b & 1)
                                                     << (bit + b) % 32;
        }
        for (int i = 0; i < N * K; i++) {
            int n = i / K, k = i % K, bit = dense ? k * 3 : k / 10 * 32 + k % 10 * 3;
            uint8_t code = (uint8_t)(awq__random(&random) % 8);
            for (int b = 0; b < 3; b++)
                packed[n * row_words + (bit + b) / 32] |= (uint32_t)(code >> b & 1)
                                                          << (bit + b) % 32;
            expected[i] = scales[n * G + k / 32] * (float)(code - zero_of[n * G + k / 32]);
        }
        const stored_tensor tensors[] = {{"w.weight_packed", AWQ_I32, 2, {N, row_words}},
                                         {"w.weight_scale", AWQ_F32, 2, {N, G}},
                                         {"w.weight_zero_point", AWQ_I32, 2, {zero_words, G}}};
        const void *data[] = {packed, scales, zeros};
        awq__checkpoint *checkpoint = write_checkpoint(f, tensors, data, symmetric ? 2 : 3);
        const awq__stored_scheme stored = STORED(3, 32, symmetric);
        awq__weight weight;
        bool found;
        succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "w", N, K, &weight, &found));
        assert_true(found);
        awq__weight_read(awq__compute_fastest(), &weight, 0, N, found_values);
        assert_memory_equal(found_values, expected, sizeof expected);
        let_go(checkpoint);
        free(packed);
        free(zeros);
    }
}

/* The same codes mean the same in both layouts. */
static void the_awq_layout_holds_the_same_weights(void **state)
{
    fixture *f = *state;
    enum { N = 24, K = 64 };
    uint64_t random = 3;
    awq__scheme scheme = scheme_of(4, 32, false, AWQ__GRID_BF16_F16);
    awq__codes codes, from_awq, from_compressed;
    packed_modules p = {0};
    make_codes(f->ctx, N, K, &scheme, &random, &codes);
    add_packed(&p, &awq__disk_format_awq, "a", &codes);
    add_packed(&p, format, "c", &codes);
    succeeds(f->ctx, awq__codes_create(f->ctx, N, K, &scheme, &from_awq));
    succeeds(f->ctx, awq__codes_create(f->ctx, N, K, &scheme, &from_compressed));
    awq__gemm_unpack(&from_awq, p.data[0], p.data[1], p.data[2]);
    awq__compressed_unpack(&from_compressed, p.data[3], p.data[4], p.data[6]);
    assert_memory_equal(from_awq.codes, from_compressed.codes, N * K);
    assert_memory_equal(from_awq.zeros, from_compressed.zeros, N * K / 32);
    assert_memory_equal(from_awq.scales, from_compressed.scales, N * K / 32 * sizeof(float));
    awq__checkpoint *checkpoint = write_packed(f, &p);
    const awq__stored_scheme stored = STORED(4, 32, false);
    float values[2][N * K];
    bool found;
    awq__weight weight;
    succeeds(f->ctx,
             open_held(f, &awq__disk_format_awq, checkpoint, &stored, "a", N, K, &weight, &found));
    assert_true(found && weight.dtype == AWQ_F16 && weight.scale_dtype == AWQ_F16);
    assert_int_equal(weight.bits, 4);
    awq__weight_read(awq__compute_fastest(), &weight, 0, N, values[0]);
    succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "c", N, K, &weight, &found));
    assert_true(found);
    awq__weight_read(awq__compute_fastest(), &weight, 0, N, values[1]);
    assert_memory_equal(values[0], values[1], sizeof values[0]);
    let_go(checkpoint);
    awq__codes_free(&codes);
    awq__codes_free(&from_awq);
    awq__codes_free(&from_compressed);
}

static void wrong_tensors_are_refused(void **state)
{
    fixture *f = *state;
    static const stored_tensor right[] = {{"w.weight_packed", AWQ_I32, 2, {16, 8}},
                                          {"w.weight_scale", AWQ_BF16, 2, {16, 2}},
                                          {"w.weight_shape", AWQ_I64, 1, {2}},
                                          {"w.weight_zero_point", AWQ_I32, 2, {2, 2}}};
    static const int64_t shape[] = {16, 64};
    enum { NONE = 9 };
    static const struct {
        int which; /* tensor to replace */
        stored_tensor with;
        int64_t rows, cols;
        awq__stored_scheme stored;
        const char *message; /* NULL: right */
    } cases[] = {
        {NONE, {0}, 16, 64, STORED(4, 32, false), NULL},
        {2, {"other", AWQ_I64, 1, {2}}, 16, 64, STORED(4, 32, false), NULL}, /* may be missing */
        {1, {"w.weight_scale", AWQ_F32, 2, {16, 2}}, 16, 64, STORED(4, 32, false), NULL},
        {3, {"other", AWQ_I32, 2, {2, 2}}, 16, 64, STORED(4, 32, true), NULL},
        {0,
         {"w.weight_packed", AWQ_I32, 2, {16, 16}},
         16,
         64,
         STORED(4, 32, false),
         "w.weight_packed is not I32 [16, 8], which the architecture and quantization_config ask "
         "for, but I32 [16, 16]"},
        {0,
         {"w.weight_packed", AWQ_U32, 2, {16, 8}},
         16,
         64,
         STORED(4, 32, false),
         "but U32 [16, 8]"},
        {0,
         {"w.weight_packed", AWQ_I32, 3, {16, 8, 1}},
         16,
         64,
         STORED(4, 32, false),
         "but I32 [16, 8, 1]"},
        {0, {"w.weight_packed", AWQ_I32, 0, {0}}, 16, 64, STORED(4, 32, false), "but I32 []"},
        {1,
         {"other", AWQ_BF16, 2, {16, 2}},
         16,
         64,
         STORED(4, 32, false),
         "w.weight_scale is missing"},
        {1,
         {"w.weight_scale", AWQ_F64, 2, {16, 2}},
         16,
         64,
         STORED(4, 32, false),
         "w.weight_scale is not BF16 [16, 2]"},
        {1,
         {"w.weight_scale", AWQ_F16, 2, {2, 16}},
         16,
         64,
         STORED(4, 32, false),
         "w.weight_scale is not F16 [16, 2]"},
        {2,
         {"w.weight_shape", AWQ_I32, 1, {2}},
         16,
         64,
         STORED(4, 32, false),
         "w.weight_shape is not I64 [2]"},
        {2,
         {"w.weight_shape", AWQ_I64, 1, {1}},
         16,
         64,
         STORED(4, 32, false),
         "w.weight_shape is not I64 [2]"},
        {2, {"w.weight_shape", AWQ_I64, 2, {2, 1}}, 16, 64, STORED(4, 32, false), "but I64 [2, 1]"},
        {3,
         {"other", AWQ_I32, 2, {2, 2}},
         16,
         64,
         STORED(4, 32, false),
         "w.weight_zero_point is missing"},
        {3,
         {"w.weight_zero_point", AWQ_I32, 2, {16, 2}},
         16,
         64,
         STORED(4, 32, false),
         "w.weight_zero_point is not I32 [2, 2]"},
        {NONE,
         {0},
         16,
         64,
         STORED(4, 32, true),
         "w.weight_zero_point is there, but quantization_config "
         "says symmetric true"},
        {3,
         {"w.weight_g_idx", AWQ_I32, 1, {64}},
         16,
         64,
         STORED(4, 32, true),
         "w.weight_g_idx is there, but quantization_config says no actorder \"group\""},
        {NONE, {0}, 16, 64, STORED(8, 32, false), "w.weight_packed is not I32 [16, 16]"},
        {NONE, {0}, 16, 64, STORED(4, 64, false), "w.weight_scale is not BF16 [16, 1]"},
        {NONE, {0}, 16, 64, STORED(4, -1, false), "w.weight_scale is not BF16 [16, 1]"},
        {NONE, {0}, 16, 64, STORED(4, 48, false), "groups of 48"},
        {NONE, {0}, 16, 64, STORED(4, INT64_C(1) << 53, false), "do not divide"},
        {NONE, {0}, 8, 64, STORED(4, 32, false), "w.weight_packed is not I32 [8, 8]"},
        /* As many words as of 64 columns, and zero points of 16 rows: only weight_shape differs. */
        {1,
         {"w.weight_scale", AWQ_BF16, 2, {16, 1}},
         16,
         60,
         STORED(4, 60, true),
         "w.weight_zero_point is there"},
        {3,
         {"other", AWQ_I32, 2, {2, 2}},
         16,
         62,
         STORED(4, 31, true),
         "w.weight_shape says [16, 64], expected [16, 62]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stored_tensor tensors[4];
        const void *data[4] = {NULL, NULL, shape, NULL};
        memcpy(tensors, right, sizeof right);
        if (cases[i].which < 4)
            tensors[cases[i].which] = cases[i].with;
        if (cases[i].which == 2)
            data[2] = NULL;
        awq__checkpoint *checkpoint = write_checkpoint(f, tensors, data, 4);
        awq__weight weight;
        bool found;
        awq_status status = open_held(f, format, checkpoint, &cases[i].stored, "w", cases[i].rows,
                                      cases[i].cols, &weight, &found);
        ends(f->ctx, status, AWQ_ERROR_FORMAT, cases[i].message);
        let_go(checkpoint);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_format_is_found),
        TEST(words_are_those_of_the_layout),
        TEST(scales_have_the_type_of_their_grid),
        cmocka_unit_test(specs_say_names_and_shapes),
        TEST(what_cannot_be_stored_is_refused),
        DISK_TEST(packed_tensors_are_read_as_values),
        DISK_TEST(rounded_weights_are_read_back),
        DISK_TEST(three_bits_are_read_in_both_packings),
        DISK_TEST(the_awq_layout_holds_the_same_weights),
        DISK_TEST(wrong_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
