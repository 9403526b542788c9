/* The GPTQ layout: words, and tensors on disk. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/half.h"
#include "temp_checkpoint.h"
#include "format_frame.h"
#include "treated.h"

static const awq__disk_format *const format = &awq__disk_format_gptq;

enum { QWEIGHT, QZEROS, SCALES, G_IDX, PARTS };

static void the_format_is_found(void **state)
{
    (void)state;
    assert_ptr_equal(awq__disk_format_by_name("gptq"), format);
    assert_ptr_equal(awq__disk_format_by_method("gptq"), format);
    assert_false(format->fused);
    assert_true(format->mixed);
}

static void the_scheme_is_made_whole(void **state)
{
    (void)state;
    static const struct {
        awq_dtype dtype;
        awq__scale_grid grid;
    } grids[] = {
        {AWQ_BF16, AWQ__GRID_BF16_F16}, {AWQ_F16, AWQ__GRID_F16}, {AWQ_F32, AWQ__GRID_F16}};
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        awq__scheme scheme = {.code = AWQ__CODE_E2M1};
        format->complete(&scheme, grids[i].dtype);
        assert_int_equal(scheme.code, AWQ__CODE_INTEGER);
        assert_int_equal(scheme.grid, grids[i].grid);
    }
    for (int bits = 2; bits <= 8; bits *= 2) {
        bool symmetric = false;
        int64_t group = 7;
        format->defaults(bits, &symmetric, &group);
        assert_true(symmetric);
        assert_int_equal(group, 0);
    }
}

/* ---- words ---- */

static awq__scheme scheme_of(int bits, int64_t group, bool symmetric)
{
    return (awq__scheme){
        .bits = bits, .group = group, .symmetric = symmetric, .grid = AWQ__GRID_F16};
}

/* Random codes; asymmetric zero points are all that there are. */
static void make_codes(awq_context *ctx, int64_t N, int64_t K, const awq__scheme *scheme,
                       uint64_t *random, awq__codes *codes)
{
    unsigned levels = 1u << scheme->bits;
    succeeds(ctx, awq__codes_create(ctx, N, K, scheme, codes));
    for (int64_t i = 0; i < N * K; i++)
        codes->codes[i] = (uint8_t)(awq__random(random) % levels);
    for (int64_t i = 0; i < N * K / scheme->group; i++) {
        codes->scales[i] = awq__f16_to_f32((uint16_t)(1 + awq__random(random) % 0x7bff));
        codes->zeros[i] = (uint8_t)(scheme->symmetric ? levels / 2 : (unsigned)i % levels);
    }
}

/* The codes of output n are 0, 1, 2 ... and so are the zero points of group 0 along the outputs. */
static void words_are_those_of_the_layout(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        int bits;
        bool symmetric;
        uint32_t weights, zeros[2]; /* of group 0; all of group 1 are 1 */
    } cases[] = {
        {4, true, 0x76543210, {0x77777777, 0x77777777}},
        {4, false, 0x76543210, {0x76543210, 0x11111111}},
        {8, true, 0x03020100, {0x7f7f7f7f, 0x7f7f7f7f}},
        {8, false, 0x03020100, {0x03020100, 0x01010101}},
        {2, true, 0xe4e4e4e4, {0x55555555, 0x55555555}},
        {2, false, 0xe4e4e4e4, {0xe4e4e4e4, 0x55555555}},
    };
    enum { N = 16, K = 32, G = 2 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int bits = cases[i].bits, pack = 32 / bits, levels = 1 << bits;
        awq__scheme scheme = scheme_of(bits, K / G, cases[i].symmetric);
        awq__codes codes;
        uint32_t words[N * K / 4], zeros[G * N / 4];
        uint16_t scales[G * N];
        int32_t groups[K];
        succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
        for (int n = 0; n < N; n++) {
            for (int k = 0; k < K; k++)
                codes.codes[n * K + k] = (uint8_t)((k + n / 8) % levels);
            for (int b = 0; b < G; b++) {
                codes.zeros[n * G + b] = (uint8_t)(cases[i].symmetric ? levels / 2
                                                   : b                ? 1
                                                                      : n % levels);
                codes.scales[n * G + b] = (float)(n * G + b);
            }
        }
        format->pack(&codes, QWEIGHT, words);
        format->pack(&codes, QZEROS, zeros);
        format->pack(&codes, SCALES, scales);
        format->pack(&codes, G_IDX, groups);
        for (int n = 0; n < 8; n++)
            assert_int_equal(words[n], cases[i].weights); /* columns 0 .. P-1 of output n */
        assert_int_equal(words[8] & (uint32_t)(levels - 1), 1);
        assert_int_equal(words[N] & (uint32_t)(levels - 1), pack % levels);
        assert_int_equal(zeros[0], cases[i].zeros[0]);
        assert_int_equal(zeros[N / pack], cases[i].zeros[1]);
        for (int b = 0; b < G; b++)
            for (int n = 0; n < N; n++)
                assert_int_equal(scales[b * N + n], awq__f32_to_f16((float)(n * G + b)));
        for (int k = 0; k < K; k++)
            assert_int_equal(groups[k], k >= K / G);
        awq__codes_free(&codes);
    }
}

static void versions_differ_by_one(void **state)
{
    awq_context *ctx = *state;
    enum { N = 8, K = 8 };
    awq__scheme scheme = scheme_of(4, K, false);
    awq__codes codes, back;
    uint32_t words[K / 8 * N], zeros[2];
    uint16_t scales[N];
    uint64_t random = 1;
    make_codes(ctx, N, K, &scheme, &random, &codes);
    for (int n = 0; n < N; n++)
        codes.zeros[n] = (uint8_t)(n + 8);
    awq__gptq_pack(&codes, true, words, &zeros[0], scales);
    awq__gptq_pack(&codes, false, words, &zeros[1], scales);
    assert_int_equal(zeros[0], 0xedcba987);
    assert_int_equal(zeros[1], 0xfedcba98);
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &back));
    for (int version = 0; version < 2; version++) {
        awq__gptq_unpack(&back, version == 0, words, &zeros[version], scales);
        assert_memory_equal(back.codes, codes.codes, N * K);
        assert_memory_equal(back.zeros, codes.zeros, N);
        assert_memory_equal(back.scales, codes.scales, N * sizeof(float));
    }
    zeros[0] = 0xffffffff; /* what some writers make of a zero point of 0 */
    awq__gptq_unpack(&back, true, words, zeros, scales);
    for (int n = 0; n < N; n++)
        assert_int_equal(back.zeros[n], 0);
    awq__codes_free(&codes);
    awq__codes_free(&back);
}

static void specs_say_names_and_shapes(void **state)
{
    (void)state;
    static const awq__spec expected[] = {{".qweight", AWQ_I32, 2, {12, 48}},
                                         {".qzeros", AWQ_I32, 2, {3, 6}},
                                         {".scales", AWQ_F16, 2, {3, 48}},
                                         {".g_idx", AWQ_I32, 1, {96}}};
    for (int bits = 2; bits <= 8; bits *= 2)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            awq__scheme scheme = scheme_of(bits, 32, symmetric);
            awq__spec specs[AWQ__MAX_SPECS];
            assert_int_equal(format->specs(48, 96, &scheme, specs), PARTS);
            for (int i = 0; i < PARTS; i++) {
                assert_string_equal(specs[i].suffix, expected[i].suffix);
                assert_int_equal(specs[i].dtype, expected[i].dtype);
                assert_int_equal(specs[i].rank, expected[i].rank);
                assert_int_equal(specs[i].shape[0],
                                 expected[i].shape[0] * (i == QWEIGHT ? bits : 4) / 4);
                assert_int_equal(specs[i].shape[1],
                                 expected[i].shape[1] * (i == QZEROS ? bits : 4) / 4);
            }
        }
}

static void what_cannot_be_stored_is_refused(void **state)
{
    awq_context *ctx = *state;
    static const asked_to_store cases[] = {
        {40, 96, {AWQ__CODE_INTEGER, 4, 32, true, AWQ__GRID_F16, NULL, 0}, NULL},
        {40, 96, {AWQ__CODE_INTEGER, 4, 96, false, AWQ__GRID_F16, NULL, 0}, NULL},
        {44, 100, {AWQ__CODE_INTEGER, 8, 100, true, AWQ__GRID_F16, NULL, 0}, NULL},
        {48, 96, {AWQ__CODE_INTEGER, 2, 32, true, AWQ__GRID_F16, NULL, 0}, NULL},
        {40, 96, {AWQ__CODE_E2M1, 4, 32, true, AWQ__GRID_F32, NULL, 0}, "m.w: E2M1 codes"},
        {40, 96, {AWQ__CODE_INTEGER, 3, 32, true, AWQ__GRID_F16, NULL, 0}, "m.w: 3 bits"},
        {40,
         96,
         {AWQ__CODE_INTEGER, 5, 32, true, AWQ__GRID_F16, NULL, 0},
         "stores only 2, 4 and 8"},
        {44, 96, {AWQ__CODE_INTEGER, 4, 32, true, AWQ__GRID_F16, NULL, 0}, "m.w: 44 output"},
        {40, 100, {AWQ__CODE_INTEGER, 4, 100, true, AWQ__GRID_F16, NULL, 0}, "100 input features"},
        {40,
         96,
         {AWQ__CODE_INTEGER, 2, 32, true, AWQ__GRID_F16, NULL, 0},
         "packs 16 codes of 2 bits"},
        {42,
         96,
         {AWQ__CODE_INTEGER, 8, 32, true, AWQ__GRID_F16, NULL, 0},
         "packs 4 codes of 8 bits"},
    };
    check_refusals(ctx, format, cases, sizeof cases / sizeof *cases);
}

/* ---- tensors on disk ---- */

/* A module "w" in memory, whose parts a test may change. */
typedef struct packed {
    stored_tensor tensors[PARTS];
    void *data[PARTS];
} packed;

static packed pack(const awq__codes *codes)
{
    static const char *const names[] = {"w.qweight", "w.qzeros", "w.scales", "w.g_idx"};
    packed p;
    awq__spec specs[AWQ__MAX_SPECS];
    assert_int_equal(format->specs(codes->rows, codes->cols, &codes->scheme, specs), PARTS);
    for (int i = 0; i < PARTS; i++) {
        p.tensors[i] = (stored_tensor){
            names[i], specs[i].dtype, specs[i].rank, {specs[i].shape[0], specs[i].shape[1]}};
        p.data[i] = space_for((int64_t)awq__spec_bytes(&specs[i]), 1);
        format->pack(codes, i, p.data[i]);
    }
    return p;
}

static awq__checkpoint *write_packed(fixture *f, const packed *p, int parts)
{
    return write_checkpoint(f, p->tensors, (const void *const *)p->data, parts);
}

static void free_packed(packed *p)
{
    for (int i = 0; i < PARTS; i++)
        free(p->data[i]);
}

static awq_status open_w(fixture *f, const awq__checkpoint *checkpoint,
                         const awq__stored_scheme *stored, int64_t N, int64_t K,
                         awq__weight *weight)
{
    bool found;
    awq_status status = open_held(f, format, checkpoint, stored, "w", N, K, weight, &found);
    assert_true(found);
    return status;
}

/* The open weight reads as expected, in pieces and from unaligned memory too. */
static void check_values(const awq__weight *weight, const float *expected)
{
    int64_t N = weight->rows, K = weight->cols, G = K / weight->group;
    check_rows(weight, expected, 5, 67); /* more than is read at a time */
    awq__weight moved = *weight;
    unaligned parts[PARTS] = {unaligned_copy(weight->data, N * K * weight->bits / 8),
                              unaligned_copy(weight->zeros, N * G * weight->bits / 8),
                              unaligned_copy(weight->scales, N * G * 2)};
    moved.data = parts[QWEIGHT].data;
    moved.zeros = parts[QZEROS].data;
    moved.scales = parts[SCALES].data;
    if (weight->group_of) {
        parts[G_IDX] = unaligned_copy(weight->group_of, K * 4);
        moved.group_of = parts[G_IDX].data;
    }
    check_rows(&moved, expected, 5, 67);
    for (int i = 0; i < PARTS; i++)
        free(parts[i].base);
}

static void packed_tensors_are_read_as_values(void **state)
{
    fixture *f = *state;
    static const int64_t shapes[][3] = {
        /* N, K, g */ {16, 16, 16}, {80, 48, 8}, {32, 256, 64}, {144, 128, 32}};
    uint64_t random = 2;
    for (int bits = 2; bits <= 8; bits *= 2)
        for (int i = 0; i < 8; i++) {
            bool symmetric = i & 1, whole = i & 2;
            int64_t N = shapes[i / 2][0], K = shapes[i / 2][1], g = whole ? K : shapes[i / 2][2];
            awq__scheme scheme = scheme_of(bits, g, symmetric);
            awq__codes codes, back;
            make_codes(f->ctx, N, K, &scheme, &random, &codes);
            packed p = pack(&codes);
            succeeds(f->ctx, awq__codes_create(f->ctx, N, K, &scheme, &back));
            awq__gptq_unpack(&back, symmetric, p.data[QWEIGHT], p.data[QZEROS], p.data[SCALES]);
            assert_memory_equal(back.codes, codes.codes, (size_t)(N * K));
            assert_memory_equal(back.zeros, codes.zeros, (size_t)(N * K / g));
            assert_memory_equal(back.scales, codes.scales, (size_t)(N * K / g) * sizeof(float));
            float *expected = floats(N * K);
            awq__codes_read(&codes, 0, N, expected);
            for (int parts = PARTS; parts >= G_IDX; parts--) { /* with g_idx and without */
                awq__checkpoint *checkpoint = write_packed(f, &p, parts);
                const awq__stored_scheme stored = {.bits = bits,
                                                   .group = whole ? -1 : g,
                                                   .symmetric = symmetric,
                                                   .zeros_less_one = symmetric};
                awq__weight weight;
                bool found;
                succeeds(f->ctx, open_w(f, checkpoint, &stored, N, K, &weight));
                assert_string_equal(weight.name, "w");
                assert_int_equal(weight.bits, bits);
                assert_int_equal(weight.group, g);
                assert_int_equal(weight.dtype, AWQ_F16);
                assert_null(weight.group_of);
                check_values(&weight, expected);
                succeeds(f->ctx,
                         open_held(f, format, checkpoint, &stored, "other", N, K, &weight, &found));
                assert_false(found);
                let_go(checkpoint);
            }
            free(expected);
            free_packed(&p);
            awq__codes_free(&codes);
            awq__codes_free(&back);
        }
}

/* The same codes mean the same in the layout of AWQ. */
static void the_awq_layout_holds_the_same_weights(void **state)
{
    awq_context *ctx = *state;
    enum { N = 24, K = 64, G = 2 };
    uint64_t random = 3;
    awq__scheme scheme = scheme_of(4, K / G, false);
    awq__codes codes, from_awq, from_gptq;
    uint32_t weights[K * N / 8], zeros[G * N / 8];
    uint16_t scales[G * N];
    void *parts[] = {weights, zeros, scales};
    make_codes(ctx, N, K, &scheme, &random, &codes);
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &from_awq));
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &from_gptq));
    for (int i = 0; i < 3; i++)
        awq__disk_format_awq.pack(&codes, i, parts[i]);
    awq__gemm_unpack(&from_awq, weights, zeros, scales);
    for (int i = 0; i < 3; i++)
        format->pack(&from_awq, i, parts[i]);
    awq__gptq_unpack(&from_gptq, false, weights, zeros, scales);
    assert_memory_equal(from_gptq.codes, codes.codes, N * K);
    assert_memory_equal(from_gptq.zeros, codes.zeros, N * G);
    assert_memory_equal(from_gptq.scales, codes.scales, N * G * sizeof(float));
    awq__codes_free(&codes);
    awq__codes_free(&from_awq);
    awq__codes_free(&from_gptq);
}

static void columns_are_read_in_the_order_of_activations(void **state)
{
    fixture *f = *state;
    enum { N = 80, K = 96, G = 3 };
    uint64_t random = 4;
    awq__scheme scheme = scheme_of(4, K / G, false);
    awq__stored_scheme stored = {.bits = 4, .group = K / G, .ordered = true};
    awq__codes codes;
    awq__weight weight;
    float expected[N * K];
    make_codes(f->ctx, N, K, &scheme, &random, &codes);
    packed p = pack(&codes);
    int32_t *groups = p.data[G_IDX];
    for (int k = 0; k < K; k++)
        groups[k] = k * 7 % K / (K / G);
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++)
            expected[n * K + k] =
                codes.scales[n * G + groups[k]] *
                ((float)codes.codes[n * K + k] - (float)codes.zeros[n * G + groups[k]]);
    awq__checkpoint *checkpoint = write_packed(f, &p, PARTS);
    succeeds(f->ctx, open_w(f, checkpoint, &stored, N, K, &weight));
    assert_non_null(weight.group_of);
    check_values(&weight, expected);
    stored.ordered = false; /* engines would not look at g_idx */
    fails(f->ctx, open_w(f, checkpoint, &stored, N, K, &weight), AWQ_ERROR_FORMAT,
          "w.g_idx puts column 5 in group 1, but quantization_config says desc_act false");
    let_go(checkpoint);

    static const int32_t outside[] = {-1, G, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        for (int ordered = 0; ordered < 2; ordered++) {
            groups[K - 1] = outside[i];
            stored.ordered = ordered;
            checkpoint = write_packed(f, &p, PARTS);
            fails(f->ctx, open_w(f, checkpoint, &stored, N, K, &weight), AWQ_ERROR_FORMAT,
                  "w.g_idx puts column 95 in group ");
            assert_non_null(strstr(awq_context_message(f->ctx), "expected 0 to 2"));
            let_go(checkpoint);
        }

    memset(groups, 0, K * sizeof *groups); /* as writers without an order leave it */
    checkpoint = write_packed(f, &p, PARTS);
    stored.ordered = false;
    succeeds(f->ctx, open_w(f, checkpoint, &stored, N, K, &weight));
    awq__codes_read(&codes, 0, N, expected);
    check_values(&weight, expected);
    let_go(checkpoint);

    stored.ordered = true;
    checkpoint = write_packed(f, &p, G_IDX);
    fails(f->ctx, open_w(f, checkpoint, &stored, N, K, &weight), AWQ_ERROR_FORMAT,
          "w.g_idx is missing");
    let_go(checkpoint);
    free_packed(&p);
    awq__codes_free(&codes);
}

static void symmetric_zero_points_are_the_middle(void **state)
{
    fixture *f = *state;
    enum { N = 16, K = 32 };
    static const struct {
        bool less_one;
        uint32_t first, rest; /* words of qzeros */
        const char *message;  /* NULL: right */
    } cases[] = {
        {true, 0x77777777, 0x77777777, NULL},
        {false, 0x88888888, 0x88888888, NULL},
        {true, 0, 0, NULL}, /* not written yet */
        {true, 0x88888888, 0x88888888,
         "w.qzeros has the word 0x88888888, but quantization_config says sym true and "
         "checkpoint_format gptq, with which all are 0x77777777"},
        {false, 0x77777777, 0x77777777, "gptq_v2, with which all are 0x88888888"},
        {true, 0x77777777, 0x77777776, "the word 0x77777776"},
        {true, 0, 0x77777777, "the word 0x00000000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const stored_tensor tensors[] = {{"w.qweight", AWQ_I32, 2, {4, 16}},
                                         {"w.qzeros", AWQ_I32, 2, {1, 2}},
                                         {"w.scales", AWQ_F16, 2, {1, 16}}};
        const uint32_t zeros[] = {cases[i].first, cases[i].rest};
        const void *data[] = {NULL, zeros, NULL};
        const awq__stored_scheme stored = {
            .bits = 4, .group = -1, .symmetric = true, .zeros_less_one = cases[i].less_one};
        awq__checkpoint *checkpoint = write_checkpoint(f, tensors, data, 3);
        awq__weight weight;
        awq_status status = open_w(f, checkpoint, &stored, N, K, &weight);
        ends(f->ctx, status, AWQ_ERROR_FORMAT, cases[i].message);
        let_go(checkpoint);
    }
}

static void wrong_tensors_are_refused(void **state)
{
    fixture *f = *state;
    static const stored_tensor right[] = {{"w.qweight", AWQ_I32, 2, {8, 16}},
                                          {"w.qzeros", AWQ_I32, 2, {2, 2}},
                                          {"w.scales", AWQ_F16, 2, {2, 16}},
                                          {"w.g_idx", AWQ_I32, 1, {64}}};
    enum { NONE = 9 };
    static const struct {
        int which; /* tensor to replace */
        stored_tensor with;
        int64_t rows, cols;
        awq__stored_scheme stored;
        const char *message; /* NULL: right */
    } cases[] = {
        {NONE, {0}, 16, 64, STORED(4, 32, false), NULL},
        {3, {"other", AWQ_I32, 1, {64}}, 16, 64, STORED(4, 32, false), NULL},
        {0,
         {"w.qweight", AWQ_I32, 2, {64, 2}},
         16,
         64,
         STORED(4, 32, false),
         "w.qweight is not I32 [8, 16], which the architecture and quantization_config ask for, "
         "but I32 [64, 2]"},
        {0, {"w.qweight", AWQ_I64, 2, {8, 16}}, 16, 64, STORED(4, 32, false), "but I64 [8, 16]"},
        {0, {"w.qweight", AWQ_I32, 1, {128}}, 16, 64, STORED(4, 32, false), "but I32 [128]"},
        {1,
         {"w.qzeros", AWQ_I32, 2, {2, 16}},
         16,
         64,
         STORED(4, 32, false),
         "w.qzeros is not I32 [2, 2]"},
        {1, {"other", AWQ_I32, 2, {2, 2}}, 16, 64, STORED(4, 32, false), "w.qzeros is missing"},
        {2,
         {"w.scales", AWQ_BF16, 2, {2, 16}},
         16,
         64,
         STORED(4, 32, false),
         "w.scales is not F16 [2, 16]"},
        {2, {"other", AWQ_F16, 2, {2, 16}}, 16, 64, STORED(4, 32, false), "w.scales is missing"},
        {3, {"w.g_idx", AWQ_I32, 1, {63}}, 16, 64, STORED(4, 32, false), "w.g_idx is not I32 [64]"},
        {3, {"w.g_idx", AWQ_I64, 1, {64}}, 16, 64, STORED(4, 32, false), "w.g_idx is not I32 [64]"},
        {3, {"w.g_idx", AWQ_I32, 2, {64, 1}}, 16, 64, STORED(4, 32, false), "but I32 [64, 1]"},
        {NONE, {0}, 16, 64, STORED(8, 32, false), "w.qweight is not I32 [16, 16]"},
        {NONE, {0}, 16, 64, STORED(2, 32, false), "w.qweight is not I32 [4, 16]"},
        {NONE, {0}, 16, 64, STORED(4, -1, false), "w.qzeros is not I32 [1, 2]"},
        {NONE, {0}, 8, 64, STORED(4, 32, false), "w.qweight is not I32 [8, 8]"},
        {NONE, {0}, 16, 64, STORED(4, 48, false), "groups of 48"},
        {NONE, {0}, 16, 64, STORED(4, INT64_C(1) << 53, false), "do not divide"},
        {NONE, {0}, 12, 64, STORED(4, 32, false), "words of 8"},
        {NONE, {0}, 16, 60, STORED(4, 30, false), "words of 8"},
        {NONE, {0}, 24, 64, STORED(2, 32, false), "words of 16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stored_tensor tensors[PARTS];
        memcpy(tensors, right, sizeof right);
        if (cases[i].which < PARTS)
            tensors[cases[i].which] = cases[i].with;
        awq__checkpoint *checkpoint = write_checkpoint(f, tensors, NULL, PARTS);
        awq__weight weight;
        awq_status status =
            open_w(f, checkpoint, &cases[i].stored, cases[i].rows, cases[i].cols, &weight);
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
        cmocka_unit_test(the_scheme_is_made_whole),
        TEST(words_are_those_of_the_layout),
        TEST(versions_differ_by_one),
        cmocka_unit_test(specs_say_names_and_shapes),
        TEST(what_cannot_be_stored_is_refused),
        DISK_TEST(packed_tensors_are_read_as_values),
        TEST(the_awq_layout_holds_the_same_weights),
        DISK_TEST(columns_are_read_in_the_order_of_activations),
        DISK_TEST(symmetric_zero_points_are_the_middle),
        DISK_TEST(wrong_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
