/* The bitsandbytes layouts: bytes, what is read back, what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "compute/nf4.h"
#include "temp_checkpoint.h"
#include "format_frame.h"
#include "treated.h"
#include "format/format.h"

#include <locale.h>
#include <stdio.h>

static const awq__disk_format *const format = &awq__disk_format_bitsandbytes;

static awq__scheme scheme_of(int bits, int64_t group)
{
    awq__scheme scheme = {.bits = bits, .group = group, .symmetric = true};
    format->complete(&scheme, AWQ_BF16);
    return scheme;
}

static void the_format_is_found(void **state)
{
    (void)state;
    assert_ptr_equal(awq__disk_format_by_name("bitsandbytes"), format);
    assert_ptr_equal(awq__disk_format_by_method("bitsandbytes"), format);
    assert_false(format->fused || format->mixed);
    assert_int_equal(scheme_of(4, 64).code, AWQ__CODE_NF4);
    assert_int_equal(scheme_of(4, 64).grid, AWQ__GRID_NESTED);
    assert_int_equal(scheme_of(8, 96).code, AWQ__CODE_INTEGER);
    assert_int_equal(scheme_of(8, 96).grid, AWQ__GRID_F32_127);
    for (int bits = 4; bits <= 8; bits += 4) {
        bool symmetric = false;
        int64_t group = 0;
        format->defaults(bits, &symmetric, &group);
        assert_true(symmetric);
        assert_int_equal(group, bits == 4 ? 64 : -1);
    }
}

/* ---- specs ---- */

static void check_spec(const awq__spec *spec, const char *suffix, awq_dtype dtype, int rank,
                       int64_t first, int64_t second)
{
    assert_string_equal(spec->suffix, suffix);
    assert_int_equal(spec->dtype, dtype);
    assert_int_equal(spec->rank, rank);
    if (rank > 0)
        assert_int_equal(spec->shape[0], first);
    if (rank > 1)
        assert_int_equal(spec->shape[1], second);
}

static void specs_say_names_and_shapes(void **state)
{
    (void)state;
    awq__spec specs[AWQ__MAX_SPECS];
    awq__scheme nf4 = scheme_of(4, 64), int8 = scheme_of(8, 128);
    assert_int_equal(format->specs(129, 128, &nf4, specs), 6);
    check_spec(&specs[0], ".weight", AWQ_U8, 2, 129 * 64, 1);
    check_spec(&specs[1], ".weight.absmax", AWQ_U8, 1, 258, 0);
    check_spec(&specs[2], ".weight.quant_map", AWQ_F32, 1, 16, 0);
    assert_string_equal(specs[3].suffix, ".weight.quant_state.bitsandbytes__nf4");
    check_spec(&specs[4], ".weight.nested_absmax", AWQ_F32, 1, 2, 0);
    check_spec(&specs[5], ".weight.nested_quant_map", AWQ_F32, 1, 256, 0);
    nf4.grid = AWQ__GRID_F32;
    assert_int_equal(format->specs(129, 128, &nf4, specs), 4);
    check_spec(&specs[1], ".weight.absmax", AWQ_F32, 1, 258, 0);
    assert_int_equal(format->specs(129, 128, &int8, specs), 3);
    check_spec(&specs[0], ".weight", AWQ_I8, 2, 129, 128);
    check_spec(&specs[1], ".SCB", AWQ_F32, 1, 129, 0);
    check_spec(&specs[2], ".weight_format", AWQ_U8, 0, 0, 0);
    assert_int_equal(awq__spec_bytes(&specs[2]), 1);
}

static void what_cannot_be_stored_is_refused(void **state)
{
    awq_context *ctx = *state;
    static const asked_to_store cases[] = {
        {41, 128, {AWQ__CODE_NF4, 4, 64, true, AWQ__GRID_NESTED, NULL, 0}, NULL},
        {41, 96, {AWQ__CODE_INTEGER, 8, 96, true, AWQ__GRID_F32_127, NULL, 0}, NULL},
        {41, 128, {AWQ__CODE_NF4, 3, 64, true, AWQ__GRID_NESTED, NULL, 0}, "m.w: 3 bits"},
        {41, 128, {AWQ__CODE_NF4, 2, 64, true, AWQ__GRID_NESTED, NULL, 0}, "m.w: 2 bits"},
        {41, 128, {AWQ__CODE_INTEGER, 4, 64, true, AWQ__GRID_F16, NULL, 0}, "4 bits as NF4"},
        {41, 128, {AWQ__CODE_E2M1, 4, 64, true, AWQ__GRID_F32, NULL, 0}, "4 bits as NF4"},
        {41,
         128,
         {AWQ__CODE_NF4, 8, 128, true, AWQ__GRID_NESTED, NULL, 0},
         "8 as symmetric integers"},
        {41,
         128,
         {AWQ__CODE_NF4, 4, 64, false, AWQ__GRID_NESTED, NULL, 0},
         "m.w: codes with zero points"},
        {41,
         128,
         {AWQ__CODE_INTEGER, 8, 128, false, AWQ__GRID_F32_127, NULL, 0},
         "m.w: codes with zero points"},
        {41, 128, {AWQ__CODE_NF4, 4, 32, true, AWQ__GRID_NESTED, NULL, 0}, "NF4 in groups of 64"},
        {41, 128, {AWQ__CODE_NF4, 4, 128, true, AWQ__GRID_NESTED, NULL, 0}, "m.w: groups of 128"},
        {41,
         128,
         {AWQ__CODE_INTEGER, 8, 64, true, AWQ__GRID_F32_127, NULL, 0},
         "quantize.group_size -1"},
        {41, 96, {AWQ__CODE_NF4, 4, 64, true, AWQ__GRID_NESTED, NULL, 0}, "m.w: 96 input features"},
    };
    check_refusals(ctx, format, cases, sizeof cases / sizeof *cases);
}

/* ---- bytes ---- */

static void bytes_of_nf4(void **state)
{
    awq_context *ctx = *state;
    enum { N = 2, K = 64 };
    awq__scheme scheme = scheme_of(4, 64);
    awq__spec specs[AWQ__MAX_SPECS];
    awq__codes codes;
    uint8_t bytes[N * K / 2], absmax[2];
    float table[16], nested[1], map[256], expected[256];
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    for (int i = 0; i < N * K; i++)
        codes.codes[i] = (uint8_t)(i * 7 % 16);
    codes.nested.codes[0] = 3;
    codes.nested.codes[1] = 255;
    codes.nested.scales[0] = 0.25f;
    codes.nested.offset = 0.1f;
    codes.dtype = AWQ_F16;
    format->specs(N, K, &scheme, specs);
    format->pack(&codes, AWQ__NF4_WEIGHT, bytes);
    assert_int_equal(bytes[0], 0x07); /* codes 0 and 7 */
    assert_int_equal(bytes[1], 0xe5);
    for (int i = 0; i < N * K / 2; i++) {
        assert_int_equal(bytes[i] >> 4, i * 14 % 16);
        assert_int_equal(bytes[i] & 15, (i * 14 + 7) % 16);
    }
    format->pack(&codes, AWQ__NF4_ABSMAX, absmax);
    assert_memory_equal(absmax, ((uint8_t[]){3, 255}), 2);
    format->pack(&codes, AWQ__NF4_MAP, table);
    assert_memory_equal(table, awq__nf4, sizeof table);
    format->pack(&codes, AWQ__NF4_NESTED_ABSMAX, nested);
    assert_true(nested[0] == 0.25f);
    awq__nested_map(expected);
    format->pack(&codes, AWQ__NF4_NESTED_MAP, map);
    assert_memory_equal(map, expected, sizeof map);
    awq__codes_free(&codes);
}

/* What bitsandbytes writes, and a space where its name of the type is shorter. */
static void the_state_is_json(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        awq_dtype dtype;
        float offset;
        const char *type, *printed, *padding;
    } cases[] = {
        {AWQ_BF16, 0.1f, "bfloat16", "1.00000001e-01", ""},
        {AWQ_F16, 123456.789f, "float16", "1.23456789e+05", " "},
        {AWQ_F32, 0, "float32", "0.00000000e+00", " "},
        {AWQ_BF16, 1e-45f, "bfloat16", "1.40129846e-45", ""},
        {AWQ_BF16, 3.4028235e38f, "bfloat16", "3.40282347e+38", ""},
    };
    /* Where there is such a locale, its decimal point is a comma. */
    setlocale(LC_NUMERIC, "de_DE.UTF-8");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__scheme scheme = scheme_of(4, 64);
        awq__spec specs[AWQ__MAX_SPECS];
        awq__codes codes;
        char text[512] = {0}, expected[512];
        succeeds(ctx, awq__codes_create(ctx, 3, 128, &scheme, &codes));
        codes.dtype = cases[i].dtype;
        codes.nested.offset = cases[i].offset;
        format->specs(3, 128, &scheme, specs);
        assert_true(specs[AWQ__NF4_STATE].rank == 1 && specs[AWQ__NF4_STATE].dtype == AWQ_U8);
        format->pack(&codes, AWQ__NF4_STATE, text);
        snprintf(expected, sizeof expected,
                 "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"%s\", "
                 "\"shape\": [3, 128], \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", "
                 "\"nested_offset\": %s}%s",
                 cases[i].type, cases[i].printed, cases[i].padding);
        assert_string_equal(text, expected);
        assert_int_equal(specs[AWQ__NF4_STATE].shape[0], strlen(expected));
        awq__codes_free(&codes);
    }
    setlocale(LC_NUMERIC, "C");
}

static void bytes_of_int8(void **state)
{
    awq_context *ctx = *state;
    enum { N = 2, K = 3 };
    awq__scheme scheme = scheme_of(8, K);
    awq__codes codes;
    int8_t weight[N * K];
    float maxima[N];
    uint8_t layout = 9;
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    memcpy(codes.codes, (uint8_t[]){0, 1, 127, 128, 129, 255}, N * K);
    codes.scales[0] = 2.0f / 127;
    codes.scales[1] = 0.3f / 127;
    format->pack(&codes, AWQ__INT8_WEIGHT, weight);
    format->pack(&codes, AWQ__INT8_ROW_MAXIMA, maxima);
    format->pack(&codes, AWQ__INT8_LAYOUT, &layout);
    assert_memory_equal(weight, ((int8_t[]){-128, -127, -1, 0, 1, 127}), N * K);
    assert_true(maxima[0] / 127 == codes.scales[0] && maxima[1] / 127 == codes.scales[1]);
    assert_int_equal(layout, 0);
    awq__codes_free(&codes);
}

/* Scales are what readers make of the maximum, to the bit; and that of most rows is the row's. */
static void row_maxima_give_the_scales_back(void **state)
{
    awq_context *ctx = *state;
    enum { N = 4000 };
    awq__scheme scheme = scheme_of(8, 1);
    awq__codes codes;
    float *maxima = floats(N);
    uint64_t random = 1;
    int64_t same = 0;
    succeeds(ctx, awq__codes_create(ctx, N, 1, &scheme, &codes));
    for (int i = 0; i < N; i++) {
        float wished = ldexpf(1 + uniform(&random), (int)(awq__random(&random) % 200) - 100);
        codes.scales[i] = awq__round_scale(AWQ__GRID_F32_127, wished);
        assert_near(codes.scales[i], wished, 2.4e-7 * (double)wished);
        assert_true(awq__round_scale(AWQ__GRID_F32_127, codes.scales[i]) == codes.scales[i]);
        float maximum = wished, scale = maximum / 127;
        assert_true(awq__round_scale(AWQ__GRID_F32_127, scale) == scale);
        same += scale * 127 == maximum;
    }
    assert_true(same > N * 98 / 100);
    format->pack(&codes, AWQ__INT8_ROW_MAXIMA, maxima);
    for (int i = 0; i < N; i++)
        assert_true(maxima[i] / 127 == codes.scales[i]);
    assert_true(awq__round_scale(AWQ__GRID_F32_127, 1e-42f) == 0x1p-126f);
    assert_true(isinf(awq__round_scale(AWQ__GRID_F32_127, INFINITY)));
    awq__codes_free(&codes);
    free(maxima);
}

/* ---- tensors on disk ---- */

/* All tensors of a module "w" and what is in them; the module's name may be changed by tests. */
typedef struct packed_module {
    char names[AWQ__MAX_SPECS][64];
    stored_tensor tensors[AWQ__MAX_SPECS];
    void *data[AWQ__MAX_SPECS];
    int count;
} packed_module;

static packed_module pack_module(const awq__codes *codes)
{
    packed_module p = {0};
    awq__spec specs[AWQ__MAX_SPECS];
    p.count = format->specs(codes->rows, codes->cols, &codes->scheme, specs);
    for (int i = 0; i < p.count; i++) {
        snprintf(p.names[i], sizeof p.names[0], "w%s", specs[i].suffix);
        p.tensors[i] = (stored_tensor){
            NULL, specs[i].dtype, specs[i].rank, {specs[i].shape[0], specs[i].shape[1]}};
        p.data[i] = space_for((int64_t)awq__spec_bytes(&specs[i]), 1);
        format->pack(codes, i, p.data[i]);
    }
    return p;
}

static awq__checkpoint *write_module(fixture *f, packed_module *p)
{
    for (int i = 0; i < p->count; i++)
        p->tensors[i].name = p->names[i];
    return write_checkpoint(f, p->tensors, (const void *const *)p->data, p->count);
}

static void free_module(packed_module *p)
{
    for (int i = 0; i < p->count; i++)
        free(p->data[i]);
}

static awq__codes round_random(awq_context *ctx, int bits, int64_t N, int64_t K, awq_dtype dtype)
{
    uint64_t random = 5;
    awq__scheme scheme = scheme_of(bits, bits == 8 ? K : 64);
    float *w = normals(&random, N * K);
    awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
    awq__codes codes;
    for (int64_t i = 0; i < N * K; i++)
        w[i] *= i / 64 % 7 == 3 ? 0.001f : 0.02f;
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    succeeds(ctx, awq__codes_round(ctx, awq__compute_fastest(), &weight, NULL, &codes));
    codes.dtype = dtype;
    free(w);
    return codes;
}

/* In pieces. */
static void check_values(const awq__weight *weight, const awq__codes *codes)
{
    float *expected = floats(codes->rows * codes->cols);
    awq__codes_read(codes, 0, codes->rows, expected);
    check_rows(weight, expected, 3, 3);
    free(expected);
}

static void rounded_weights_are_read_back(void **state)
{
    fixture *f = *state;
    static const awq_dtype types[] = {AWQ_BF16, AWQ_F16, AWQ_F32};
    for (int i = 0; i < 6; i++) {
        int bits = i < 3 ? 4 : 8;
        int64_t N = 137, K = i < 3 ? 192 : 90;
        awq__codes codes = round_random(f->ctx, bits, N, K, types[i % 3]);
        packed_module p = pack_module(&codes);
        awq__checkpoint *checkpoint = write_module(f, &p);
        const awq__stored_scheme stored = STORED(bits, bits == 8 ? -1 : 64, true);
        awq__weight weight;
        bool found;
        succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "w", N, K, &weight, &found));
        assert_true(found);
        assert_int_equal(weight.dtype, bits == 4 ? types[i % 3] : AWQ_BF16);
        assert_int_equal(weight.group, bits == 4 ? 64 : K);
        assert_int_equal(weight.bits, bits);
        check_values(&weight, &codes);
        succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "other", N, K, &weight, &found));
        assert_false(found);
        let_go(checkpoint);
        free_module(&p);
        awq__codes_free(&codes);
    }
}

/* The state of a matrix [3,128]; `what` in place of `part` of it. */
static void write_state(packed_module *p, bool nested, const char *part, const char *what)
{
    static const char plain[] =
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float16\", "
        "\"shape\": [3, 128]}";
    static const char both[] =
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float16\", "
        "\"shape\": [3, 128], \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", "
        "\"nested_offset\": 0.0123}";
    const char *whole = nested ? both : plain, *at = part ? strstr(whole, part) : NULL;
    assert_true(!part || at);
    char *text = space_for(1024, 1);
    if (at)
        snprintf(text, 1024, "%.*s%s%s", (int)(at - whole), whole, what, at + strlen(part));
    else
        snprintf(text, 1024, "%s", whole);
    free(p->data[AWQ__NF4_STATE]);
    p->data[AWQ__NF4_STATE] = text;
    p->tensors[AWQ__NF4_STATE].shape[0] = (int64_t)strlen(text);
}

/* Scales in F32, a state as bitsandbytes writes it. */
static void scales_that_are_no_codes_are_read(void **state)
{
    fixture *f = *state;
    enum { N = 3, K = 128, GROUPS = N * K / 64 };
    static const float scales[GROUPS] = {1, 0.5f, 3, 0.1f, 0, 7};
    const awq__stored_scheme stored = STORED(4, 64, true);
    awq__codes codes = round_random(f->ctx, 4, N, K, AWQ_F16);
    packed_module p = pack_module(&codes);
    awq__weight weight;
    bool found;
    memcpy(codes.scales, scales, sizeof scales);
    free(p.data[AWQ__NF4_ABSMAX]);
    p.data[AWQ__NF4_ABSMAX] = copy_of(scales, GROUPS);
    p.tensors[AWQ__NF4_ABSMAX].dtype = AWQ_F32;
    write_state(&p, false, NULL, NULL);
    free(p.data[4]);
    free(p.data[5]);
    p.count = 4;
    awq__checkpoint *checkpoint = write_module(f, &p);
    succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "w", N, K, &weight, &found));
    assert_true(found && weight.dtype == AWQ_F16 && weight.scale_dtype == AWQ_F32);
    check_values(&weight, &codes);
    let_go(checkpoint);
    free_module(&p);
    awq__codes_free(&codes);
}

/* Before a module is written its tensors are zeros. */
static void what_is_not_written_yet_is_found(void **state)
{
    fixture *f = *state;
    for (int bits = 4; bits <= 8; bits += 4) {
        awq__codes codes = round_random(f->ctx, bits, 3, 128, AWQ_BF16);
        packed_module p = pack_module(&codes);
        const awq__stored_scheme stored = STORED(bits, bits == 8 ? -1 : 64, true);
        for (int i = 0; i < p.count; i++) {
            free(p.data[i]);
            p.data[i] = NULL;
        }
        awq__checkpoint *checkpoint = write_module(f, &p);
        awq__weight weight;
        bool found;
        succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "w", 3, 128, &weight, &found));
        assert_true(found);
        let_go(checkpoint);
        awq__codes_free(&codes);
    }
}

static void states_that_say_something_else_are_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *part, *what;
        awq_status status;
        const char *message;
    } cases[] = {
        {NULL, NULL, AWQ_OK, NULL},
        {"0.0123}", "0.0123} \n ", AWQ_OK, NULL},
        {"{", "[", AWQ_ERROR_FORMAT, "not valid JSON"},
        {"}", "} x", AWQ_ERROR_FORMAT, "text after"},
        {"\"nf4\"", "\"fp4\"", AWQ_ERROR_UNSUPPORTED, "quant_type is not \"nf4\""},
        {"\"nf4\"", "4", AWQ_ERROR_UNSUPPORTED, "quant_type"},
        {"64", "128", AWQ_ERROR_UNSUPPORTED, "blocksize is not 64"},
        {"64", "64.5", AWQ_ERROR_UNSUPPORTED, "blocksize"},
        {"\"float16\"", "\"float64\"", AWQ_ERROR_UNSUPPORTED, "dtype is not"},
        {"\"float16\"", "[]", AWQ_ERROR_UNSUPPORTED, "dtype is not"},
        {"[3, 128]", "[128, 3]", AWQ_ERROR_FORMAT, "shape is not [3, 128]"},
        {"[3, 128]", "[3]", AWQ_ERROR_FORMAT, "shape is not"},
        {"[3, 128]", "[3, 128, 1]", AWQ_ERROR_FORMAT, "shape is not"},
        {"[3, 128]", "384", AWQ_ERROR_FORMAT, "shape is not"},
        {"256", "64", AWQ_ERROR_UNSUPPORTED, "nested_blocksize is not 256"},
        {"\"float32\"", "\"float16\"", AWQ_ERROR_UNSUPPORTED, "nested_dtype is not \"float32\""},
        {"0.0123", "\"0.0123\"", AWQ_ERROR_UNSUPPORTED, "nested_offset is not a number"},
        {"0.0123", "1e39", AWQ_ERROR_UNSUPPORTED, "nested_offset is not a number"},
        {"0.0123", "1e999", AWQ_ERROR_UNSUPPORTED, "nested_offset is not a number"},
        {"nested_offset", "offset", AWQ_ERROR_FORMAT, "no nested_offset, but the tensor"},
    };
    const awq__stored_scheme stored = STORED(4, 64, true);
    awq__codes codes = round_random(f->ctx, 4, 3, 128, AWQ_BF16);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        packed_module p = pack_module(&codes);
        awq__weight weight;
        bool found;
        write_state(&p, true, cases[i].part, cases[i].what);
        awq__checkpoint *checkpoint = write_module(f, &p);
        awq_status status = open_held(f, format, checkpoint, &stored, "w", 3, 128, &weight, &found);
        ends(f->ctx, status, cases[i].status, cases[i].message);
        let_go(checkpoint);
        free_module(&p);
    }
    awq__codes_free(&codes);
}

static void wrong_tensors_are_refused(void **state)
{
    fixture *f = *state;
    enum { NONE = 9 };
    static const struct {
        int bits, which;
        stored_tensor with; /* zeros */
        int64_t rows, cols;
        awq_status status;
        const char *message;
    } cases[] = {
        {4, NONE, {0}, 3, 96, AWQ_ERROR_UNSUPPORTED, "rows of 96, which its blocks of 64 cross"},
        {4, NONE, {0}, 6, 64, AWQ_ERROR_FORMAT, "shape is not [6, 64]"},
        {4, NONE, {0}, 4, 128, AWQ_ERROR_FORMAT, "w.weight is not U8 [256, 1]"},
        {4,
         AWQ__NF4_WEIGHT,
         {".weight", AWQ_U8, 2, {3, 64}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight is not U8 [192, 1]"},
        {4,
         AWQ__NF4_ABSMAX,
         {".weight.absmax", AWQ_F32, 1, {6}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight.absmax is not U8 [6]"},
        {4,
         AWQ__NF4_MAP,
         {".weight.quant_map", AWQ_F32, 1, {16}},
         3,
         128,
         AWQ_ERROR_UNSUPPORTED,
         "w.weight.quant_map is not the table of NF4"},
        {4,
         AWQ__NF4_MAP,
         {".weight.quant_map", AWQ_F32, 1, {15}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight.quant_map is not F32 [16]"},
        {4,
         AWQ__NF4_STATE,
         {".weight.quant_state.bitsandbytes__nf4", AWQ_I8, 1, {9}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "is I8, expected U8"},
        {4,
         AWQ__NF4_STATE,
         {".weight.quant_state.bitsandbytes__nf4", AWQ_U8, 1, {0}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "not valid JSON"},
        {4,
         AWQ__NF4_NESTED_ABSMAX,
         {".other", AWQ_F32, 1, {1}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight.absmax is not F32 [6]"},
        {4,
         AWQ__NF4_NESTED_ABSMAX,
         {".weight.nested_absmax", AWQ_F32, 1, {2}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight.nested_absmax is not F32 [1]"},
        {4,
         AWQ__NF4_NESTED_MAP,
         {".weight.nested_quant_map", AWQ_F32, 1, {255}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight.nested_quant_map is not F32 [256]"},
        {4,
         AWQ__NF4_NESTED_MAP,
         {".other", AWQ_F32, 1, {256}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight.nested_quant_map is missing"},
        {8,
         AWQ__INT8_WEIGHT,
         {".weight", AWQ_U8, 2, {3, 128}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight is not I8 [3, 128]"},
        {8,
         AWQ__INT8_ROW_MAXIMA,
         {".SCB", AWQ_F16, 1, {3}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.SCB is not F32 [3]"},
        {8,
         AWQ__INT8_LAYOUT,
         {".weight_format", AWQ_U8, 1, {1}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight_format is not U8 []"},
        {8,
         AWQ__INT8_LAYOUT,
         {".other", AWQ_U8, 0, {0}},
         3,
         128,
         AWQ_ERROR_FORMAT,
         "w.weight_format is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq__stored_scheme stored = STORED(cases[i].bits, cases[i].bits == 8 ? -1 : 64, true);
        awq__codes codes = round_random(f->ctx, cases[i].bits, 3, 128, AWQ_BF16);
        packed_module p = pack_module(&codes);
        int which = cases[i].which;
        if (which < p.count) {
            snprintf(p.names[which], sizeof p.names[0], "w%s", cases[i].with.name);
            p.tensors[which] = cases[i].with;
            free(p.data[which]);
            p.data[which] = NULL;
        }
        awq__checkpoint *checkpoint = write_module(f, &p);
        awq__weight weight;
        bool found;
        fails(f->ctx,
              open_held(f, format, checkpoint, &stored, "w", cases[i].rows, cases[i].cols, &weight,
                        &found),
              cases[i].status, cases[i].message);
        let_go(checkpoint);
        free_module(&p);
        awq__codes_free(&codes);
    }
}

static void other_layouts_of_int8_are_refused(void **state)
{
    fixture *f = *state;
    awq__codes codes = round_random(f->ctx, 8, 3, 128, AWQ_BF16);
    packed_module p = pack_module(&codes);
    *(uint8_t *)p.data[AWQ__INT8_LAYOUT] = 2;
    awq__checkpoint *checkpoint = write_module(f, &p);
    awq__weight weight;
    bool found;
    fails(f->ctx,
          open_held(f, format, checkpoint, &(awq__stored_scheme)STORED(8, -1, true), "w", 3, 128,
                    &weight, &found),
          AWQ_ERROR_UNSUPPORTED, "w.weight_format is 2, expected 0");
    let_go(checkpoint);
    free_module(&p);
    awq__codes_free(&codes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_format_is_found),
        TEST(specs_say_names_and_shapes),
        TEST(what_cannot_be_stored_is_refused),
        TEST(bytes_of_nf4),
        TEST(the_state_is_json),
        TEST(bytes_of_int8),
        TEST(row_maxima_give_the_scales_back),
        DISK_TEST(rounded_weights_are_read_back),
        DISK_TEST(scales_that_are_no_codes_are_read),
        DISK_TEST(what_is_not_written_yet_is_found),
        DISK_TEST(states_that_say_something_else_are_refused),
        DISK_TEST(wrong_tensors_are_refused),
        DISK_TEST(other_layouts_of_int8_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
