/* The layout of ModelOpt's W4A16_AWQ: bytes, tensors on disk, and what config.json and the file
   beside it say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "core/convert.h"
#include "core/half.h"
#include "temp_checkpoint.h"
#include "treated.h"

static const awq__disk_format *const format = &awq__disk_format_modelopt;
enum { WEIGHT, SCALE, INPUT_SCALE, PARTS };
static const char *const names[PARTS] = {"m.w.weight", "m.w.weight_scale", "m.w.pre_quant_scale"};

static void the_format_is_found(void **state)
{
    (void)state;
    assert_ptr_equal(awq__disk_format_by_name("modelopt"), format);
    assert_ptr_equal(awq__disk_format_by_method("modelopt"), format);
    assert_false(format->fused || format->mixed);
    /* No other has a place for input scales. */
    static const char *const others[] = {"awq", "compressed-tensors", "gptq", "mxfp4",
                                         "bitsandbytes"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_null(awq__disk_format_by_name(others[i])->input_dtype);
}

static void the_scheme_is_made_whole(void **state)
{
    (void)state;
    static const struct {
        awq_dtype dtype;
        awq__scale_grid grid;
        awq_dtype stored;
    } grids[] = {{AWQ_BF16, AWQ__GRID_BF16, AWQ_BF16},
                 {AWQ_F16, AWQ__GRID_F16, AWQ_F16},
                 {AWQ_F32, AWQ__GRID_F16, AWQ_F16}};
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++) {
        awq__scheme scheme = {.code = AWQ__CODE_E2M1};
        format->complete(&scheme, grids[i].dtype);
        assert_int_equal(scheme.code, AWQ__CODE_INTEGER);
        assert_int_equal(scheme.grid, grids[i].grid);
        assert_int_equal(format->input_dtype(&scheme), grids[i].stored);
    }
    bool symmetric = false;
    int64_t group = 7;
    format->defaults(4, &symmetric, &group);
    assert_true(symmetric);
    assert_int_equal(group, 0);
}

/* ---- bytes ---- */

static void two_rows_share_a_byte(void **state)
{
    awq_context *ctx = *state;
    const awq__scheme scheme = {.bits = 4, .group = 2, .symmetric = true, .grid = AWQ__GRID_BF16};
    /* -8, 0 and 7 above, 1, -1 and 3 below */
    static const uint8_t codes_of[] = {0, 8, 15, 8, 9, 7, 11, 8};
    static const uint8_t bytes[] = {0x18, 0xf0, 0x37, 0x00};
    static const float scales[] = {1, 2, 0.5f, 4}, inputs[] = {1, 0.5f, 3, 2};
    awq__codes codes;
    succeeds(ctx, awq__codes_create(ctx, 2, 4, &scheme, &codes));
    memcpy(codes.codes, codes_of, sizeof codes_of);
    memcpy(codes.scales, scales, sizeof scales);
    uint8_t packed[4];
    uint16_t stored[4];
    format->pack(&codes, WEIGHT, packed);
    assert_memory_equal(packed, bytes, sizeof bytes);
    format->pack(&codes, SCALE, stored);
    for (int i = 0; i < 4; i++)
        assert_int_equal(stored[i], awq__f32_to_bf16(scales[i]));
    format->pack(&codes, INPUT_SCALE, stored); /* none: ones */
    for (int i = 0; i < 4; i++)
        assert_int_equal(stored[i], awq__f32_to_bf16(1));
    codes.input_scale = inputs;
    format->pack(&codes, INPUT_SCALE, stored);
    for (int i = 0; i < 4; i++)
        assert_int_equal(stored[i], awq__f32_to_bf16(inputs[i]));
    awq__codes_free(&codes);
}

static void specs_say_names_and_shapes(void **state)
{
    (void)state;
    const awq__scheme scheme = {.bits = 4, .group = 32, .symmetric = true, .grid = AWQ__GRID_F16};
    static const awq__spec expected[] = {{".weight", AWQ_U8, 2, {20, 96}},
                                         {".weight_scale", AWQ_F16, 2, {40, 3}},
                                         {".pre_quant_scale", AWQ_F16, 1, {96}}};
    awq__spec specs[AWQ__MAX_SPECS];
    assert_int_equal(format->specs(40, 96, &scheme, specs), PARTS);
    for (int i = 0; i < PARTS; i++) {
        assert_string_equal(specs[i].suffix, expected[i].suffix);
        assert_int_equal(specs[i].dtype, expected[i].dtype);
        assert_int_equal(specs[i].rank, expected[i].rank);
        assert_memory_equal(specs[i].shape, expected[i].shape,
                            (size_t)expected[i].rank * sizeof(int64_t));
    }
}

static void what_cannot_be_stored_is_refused(void **state)
{
    awq_context *ctx = *state;
    awq__scheme scheme = {.bits = 4, .group = 32, .symmetric = true, .grid = AWQ__GRID_F16};
    succeeds(ctx, format->check(ctx, "m.w", 40, 96, &scheme));
    fails(ctx, format->check(ctx, "m.w", 41, 96, &scheme), AWQ_ERROR_RECIPE,
          "m.w: 41 output features (of 96 inputs), but the modelopt format packs two rows");
    scheme.bits = 8;
    fails(ctx, format->check(ctx, "m.w", 40, 96, &scheme), AWQ_ERROR_RECIPE,
          "m.w: integers of 8 bits");
    scheme.bits = 4;
    scheme.symmetric = false;
    fails(ctx, format->check(ctx, "m.w", 40, 96, &scheme), AWQ_ERROR_RECIPE,
          "quantize.symmetric: true");
    scheme = (awq__scheme){.code = AWQ__CODE_NF4, .bits = 4, .group = 32, .symmetric = true};
    fails(ctx, format->check(ctx, "m.w", 40, 96, &scheme), AWQ_ERROR_RECIPE, "m.w: codes of 4");
}

/* ---- tensors on disk ---- */

/* One linear [N,K] with random contents, its tensors, and its values. */
typedef struct linear {
    int64_t N, K, g;
    awq__codes codes;
    float *inputs; /* [K] */
    stored_tensor tensors[PARTS];
    void *data[PARTS];
} linear;

static void make_linear(awq_context *ctx, int64_t N, int64_t K, int64_t g, awq__scale_grid grid,
                        uint64_t *random, linear *l)
{
    const awq__scheme scheme = {.bits = 4, .group = g, .symmetric = true, .grid = grid};
    awq__spec specs[AWQ__MAX_SPECS];
    *l = (linear){.N = N, .K = K, .g = g, .inputs = floats(K)};
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &l->codes));
    awq_dtype dtype = format->input_dtype(&scheme);
    for (int64_t i = 0; i < N * K; i++)
        l->codes.codes[i] = awq__random(random) % 16;
    for (int64_t i = 0; i < N * K / g; i++) {
        float scale = (float)(1 + awq__random(random) % 999) / 512;
        l->codes.scales[i] = awq__round_to_dtype(dtype, scale);
        l->codes.zeros[i] = 8;
    }
    for (int64_t k = 0; k < K; k++)
        l->inputs[k] = awq__round_to_dtype(dtype, (float)(1 + awq__random(random) % 999) / 300);
    l->codes.input_scale = l->inputs;
    format->specs(N, K, &scheme, specs);
    for (int p = 0; p < PARTS; p++) {
        l->tensors[p] = (stored_tensor){names[p], specs[p].dtype, specs[p].rank, {0}};
        memcpy(l->tensors[p].shape, specs[p].shape, sizeof specs[p].shape);
        l->data[p] = space_for((int64_t)awq__spec_bytes(&specs[p]), 1);
        format->pack(&l->codes, p, l->data[p]);
    }
}

static void free_linear(linear *l)
{
    for (int p = 0; p < PARTS; p++)
        free(l->data[p]);
    free(l->inputs);
    awq__codes_free(&l->codes);
}

static awq__checkpoint *store(fixture *f, const linear *l, int parts)
{
    return write_checkpoint(f, l->tensors, (const void *const *)l->data, parts);
}

static const awq__stored_scheme unsaid = STORED(4, 0, true);

static void expect_values(fixture *f, const linear *l, int parts, int64_t said)
{
    awq__checkpoint *checkpoint = store(f, l, parts);
    const awq__stored_scheme stored = STORED(4, said, true);
    awq__weight weight;
    bool found;
    succeeds(f->ctx, format->open(f->ctx, checkpoint, &stored, "m.w", l->N, l->K, &weight, &found));
    assert_true(found);
    assert_int_equal(weight.group, l->g);
    assert_string_equal(weight.name, "m.w");
    float *values = floats(l->N * l->K), *expected = floats(l->N * l->K);
    awq__codes_read(&l->codes, 0, l->N, expected);
    for (int64_t i = 0; i < l->N * l->K && parts == PARTS; i++)
        expected[i] *= l->inputs[i % l->K];
    awq__weight_read(awq__compute_fastest(), &weight, 0, l->N, values);
    assert_memory_equal(values, expected, (size_t)(l->N * l->K) * sizeof *values);
    if (l->N > 2) { /* some rows alone, from the middle of a pair */
        awq__weight_read(awq__compute_fastest(), &weight, 1, l->N - 2, values);
        assert_memory_equal(values, expected + l->K, (size_t)((l->N - 2) * l->K) * sizeof *values);
    }
    free(values);
    free(expected);
    awq__checkpoint_free(checkpoint);
}

static void packed_tensors_are_read_as_values(void **state)
{
    static const int64_t shapes[][3] = {{2, 1, 1}, {16, 32, 32}, {6, 64, 16}, {40, 96, 96}};
    static const awq__scale_grid grids[] = {AWQ__GRID_BF16, AWQ__GRID_F16};
    uint64_t random = 3;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int g = 0; g < 2; g++) {
            linear l;
            fixture *f = *state;
            make_linear(f->ctx, shapes[i][0], shapes[i][1], shapes[i][2], grids[g], &random, &l);
            expect_values(f, &l, PARTS, l.g);
            expect_values(f, &l, PARTS, 0);         /* the scales tell the groups */
            expect_values(f, &l, INPUT_SCALE, l.g); /* without pre_quant_scale */
            free_linear(&l);
        }
}

/* Scales of F32, as ModelOpt may have them. */
static void scales_may_be_of_every_float(void **state)
{
    fixture *f = *state;
    uint64_t random = 4;
    linear l;
    make_linear(f->ctx, 4, 8, 4, AWQ__GRID_BF16, &random, &l);
    free(l.data[SCALE]);
    l.data[SCALE] = floats(8);
    memcpy(l.data[SCALE], l.codes.scales, 8 * sizeof(float));
    l.tensors[SCALE].dtype = AWQ_F32;
    expect_values(f, &l, PARTS, 4);
    free_linear(&l);
}

static void what_is_not_packed_is_not_found(void **state)
{
    fixture *f = *state;
    static const stored_tensor plain = {"m.w.weight", AWQ_BF16, 2, {4, 8}};
    awq__checkpoint *checkpoint = write_checkpoint(f, &plain, NULL, 1);
    awq__weight weight;
    bool found = true;
    succeeds(f->ctx, format->open(f->ctx, checkpoint, &unsaid, "m.w", 4, 8, &weight, &found));
    assert_false(found);
    succeeds(f->ctx, format->open(f->ctx, checkpoint, &unsaid, "m.x", 4, 8, &weight, &found));
    assert_false(found);
    awq__checkpoint_free(checkpoint);
}

/* Tensors of a linear [4,8] in groups of 4, of which one is not as it should be. */
static void tensors_that_do_not_fit_are_named(void **state)
{
    static const struct {
        int part; /* that is replaced; -1: left out is what comes from SCALE on */
        stored_tensor with;
        int64_t said, rows;
        const char *message;
    } cases[] = {
        {-1, {0}, 4, 4, "the tensor m.w.weight_scale is missing"},
        {WEIGHT, {"m.w.weight", AWQ_U8, 2, {4, 8}}, 4, 4, "m.w.weight is not U8 [2, 8]"},
        {WEIGHT, {"m.w.weight", AWQ_U8, 1, {16}}, 4, 4, "m.w.weight is not U8 [2, 8]"},
        {WEIGHT, {"m.w.weight", AWQ_U8, 2, {2, 8}}, 4, 5, "of 5 rows, an odd number"},
        {SCALE, {"m.w.weight_scale", AWQ_BF16, 2, {4, 1}}, 4, 4, "is not BF16 [4, 2]"},
        {SCALE, {"m.w.weight_scale", AWQ_BF16, 2, {2, 2}}, 4, 4, "is not BF16 [4, 2]"},
        {SCALE, {"m.w.weight_scale", AWQ_I32, 2, {4, 2}}, 4, 4, "m.w.weight_scale is not BF16"},
        {SCALE, {"m.w.weight_scale", AWQ_BF16, 2, {4, 3}}, 0, 4, "do not divide"},
        {SCALE, {"m.w.weight_scale", AWQ_BF16, 2, {4, 9}}, 0, 4, "do not divide"},
        {SCALE, {"m.w.weight_scale", AWQ_BF16, 2, {4, 0}}, 0, 4, "do not divide"},
        {SCALE, {"m.w.weight_scale", AWQ_BF16, 1, {8}}, 0, 4, "do not divide"},
        {SCALE, {"m.w.weight_scale", AWQ_BF16, 2, {4, 2}}, 3, 4, "do not divide"},
        {SCALE, {"m.w.weight_scale", AWQ_BF16, 2, {4, 2}}, INT64_MAX, 4, "do not divide"},
        {INPUT_SCALE, {"m.w.pre_quant_scale", AWQ_BF16, 1, {4}}, 4, 4, "is not BF16 [8]"},
        {INPUT_SCALE, {"m.w.pre_quant_scale", AWQ_BF16, 2, {1, 8}}, 4, 4, "is not BF16 [8]"},
        {INPUT_SCALE, {"m.w.pre_quant_scale", AWQ_U8, 1, {8}}, 4, 4, "is not BF16 [8]"},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stored_tensor tensors[PARTS] = {{names[WEIGHT], AWQ_U8, 2, {2, 8}},
                                        {names[SCALE], AWQ_BF16, 2, {4, 2}},
                                        {names[INPUT_SCALE], AWQ_BF16, 1, {8}}};
        if (cases[i].part >= 0)
            tensors[cases[i].part] = cases[i].with;
        awq__checkpoint *checkpoint =
            write_checkpoint(f, tensors, NULL, cases[i].part < 0 ? 1 : PARTS);
        const awq__stored_scheme stored = STORED(4, cases[i].said, true);
        awq__weight weight;
        bool found;
        awq_status status =
            format->open(f->ctx, checkpoint, &stored, "m.w", cases[i].rows, 8, &weight, &found);
        if (status == AWQ_OK)
            fail_msg("case %zu was read", i);
        fails(f->ctx, status, AWQ_ERROR_FORMAT, cases[i].message);
        awq__checkpoint_free(checkpoint);
    }
}

/* ---- config.json, and the file beside it ---- */

static const awq__scheme four = {.bits = 4, .group = 64, .symmetric = true};
static const char *const kept[] = {
    "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.o_proj", "model.layers.0.mlp.gate",
    "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.gate",
};
static const char *const quantized[] = {
    "model.layers.0.mlp.experts.0.gate_proj", "model.layers.0.mlp.experts.0.down_proj",
    "model.layers.1.mlp.experts.0.gate_proj", "model.layers.1.mlp.experts.1.down_proj"};

static void both_files_say_the_same(void **state)
{
    awq_context *ctx = *state;
    static const char config_text[] =
        "{\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A16_AWQ\",\"config_groups\":{"
        "\"group_0\":{\"weights\":{\"dynamic\":false,\"num_bits\":4,\"type\":\"int\","
        "\"group_size\":64},\"targets\":[\"Linear\"]}},\"producer\":{\"name\":\"modelopt\","
        "\"version\":\"0.0.0+libawq.%s\"},\"ignore\":[\"model.layers.*.self_attn.*\","
        "\"model.layers.*.mlp.gate\",\"lm_head\"]}";
    static const char side_text[] =
        "{\"producer\":{\"name\":\"modelopt\",\"version\":\"0.0.0+libawq.%s\"},"
        "\"quantization\":{\"quant_algo\":\"W4A16_AWQ\",\"kv_cache_quant_algo\":null,"
        "\"group_size\":64,\"has_zero_point\":false,\"pre_quant_scale\":true,"
        "\"exclude_modules\":[\"model.layers.*.self_attn.*\",\"model.layers.*.mlp.gate\","
        "\"lm_head\"]}}";
    cJSON *config = config_of(ctx, format, &four, kept, 6, quantized, 4);
    assert_non_null(config);
    assert_string_equal(format->side_name, "hf_quant_config.json");
    cJSON *side = format->side_file(config);
    const cJSON *const found[] = {config, side};
    for (int i = 0; i < 2; i++) {
        char *text = cJSON_PrintUnformatted(found[i]);
        char *whole = i ? awq__format(ctx, side_text, awq_version())
                        : awq__format(ctx, config_text, awq_version());
        assert_string_equal(text, whole);
        awq__free(whole);
        cJSON_free(text);
    }
    awq__stored_scheme rest = rest_of(ctx, format, config);
    assert_same_stored(&rest, &(awq__stored_scheme)STORED(4, 64, true));
    cJSON_Delete(config);
    cJSON_Delete(side);
}

/* A group a row would be another number for every width. */
static void rows_as_groups_are_refused(void **state)
{
    awq_context *ctx = *state;
    awq__scheme rows = four;
    rows.group = -1;
    assert_null(config_of(ctx, format, &rows, kept, 6, quantized, 4));
    fails(ctx, AWQ_ERROR_RECIPE, AWQ_ERROR_RECIPE, "quantize.group_size 128, 64 or 32");
}

static void what_others_write_is_read(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *text;
        int64_t group;
        const char *message; /* NULL: is read */
    } cases[] = {
        {"{\"quant_algo\": \"W4A16_AWQ\", \"ignore\": [\"lm_head\"]}", 0, NULL},
        {"{\"quant_algo\": \"W4A16_AWQ\", \"config_groups\": {\"group_0\": {\"weights\": "
         "{\"group_size\": 128}}}}",
         128, NULL},
        {"{\"quant_algo\": \"NVFP4\"}", 0, "quant_algo is \"NVFP4\""},
        {"{}", 0, "quant_algo is missing"},
        {"{\"quant_algo\": 4}", 0, "quant_algo is 4"},
        {"{\"quant_algo\": \"W4A16_AWQ\", \"config_groups\": {\"group_0\": {\"weights\": "
         "{\"group_size\": 0}}}}",
         0, "group_size is 0"},
        {"{\"quant_algo\": \"W4A16_AWQ\", \"config_groups\": {\"group_0\": {\"weights\": "
         "{\"group_size\": -1}}}}",
         0, "group_size is -1"},
        {"{\"quant_algo\": \"W4A16_AWQ\", \"config_groups\": {\"group_0\": {\"weights\": "
         "{\"group_size\": [128]}}}}",
         0, "group_size is an array"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config;
        awq__stored stored;
        succeeds(ctx, awq__json_parse(ctx, "c", cases[i].text, strlen(cases[i].text), &config));
        awq_status status = format->read_config(ctx, "config.json", config, &stored);
        if (cases[i].message) {
            fails(ctx, status, AWQ_ERROR_UNSUPPORTED, cases[i].message);
        } else {
            succeeds(ctx, status);
            assert_true(stored.has_rest);
            assert_same_stored(&stored.rest, &(awq__stored_scheme)STORED(4, cases[i].group, true));
        }
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

/* ---- the list ---- */

static void the_list_is_short_and_safe(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *kept[6], *quantized[6], *list[6];
    } cases[] = {
        {{"model.layers.0.mlp.gate"},
         {"model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"},
         {"model.layers.*.mlp.gate"}},
        /* all of a layer, by its experts as one too */
        {{"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.experts.0.up_proj",
          "model.layers.0.mlp.experts.1.up_proj"},
         {"model.layers.1.self_attn.q_proj", "model.layers.1.mlp.experts.0.up_proj"},
         {"model.layers.0.self_attn.*", "model.layers.0.mlp.*"}},
        /* one projection of all experts */
        {{"model.layers.0.mlp.experts.0.down_proj", "model.layers.0.mlp.experts.1.down_proj"},
         {"model.layers.0.mlp.experts.0.up_proj", "model.layers.0.mlp.experts.1.up_proj"},
         {"model.layers.*.mlp.experts.*.down_proj"}},
        /* one expert of one layer, and of both */
        {{"model.layers.1.mlp.experts.1.up_proj", "model.layers.1.mlp.experts.1.down_proj"},
         {"model.layers.0.mlp.experts.1.up_proj", "model.layers.1.mlp.experts.0.up_proj"},
         {"model.layers.1.mlp.experts.1.*"}},
        {{"model.layers.0.mlp.experts.1.up_proj", "model.layers.1.mlp.experts.1.up_proj"},
         {"model.layers.0.mlp.experts.0.up_proj", "model.layers.1.mlp.experts.0.up_proj"},
         {"model.layers.0.mlp.experts.1.*", "model.layers.1.mlp.experts.1.*"}},
        {{"lm_head", "model.head"}, {"model.layers.0.w"}, {"lm_head", "model.head"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t kept_count = 0, quantized_count = 0, expected = 0, count;
        char **list;
        while (cases[i].kept[kept_count])
            kept_count++;
        while (cases[i].quantized[quantized_count])
            quantized_count++;
        while (cases[i].list[expected])
            expected++;
        succeeds(ctx, awq__glob_list(ctx, cases[i].kept, kept_count, cases[i].quantized,
                                     quantized_count, &list, &count));
        for (size_t e = 0; e < count && e < expected; e++)
            assert_string_equal(list[e], cases[i].list[e]);
        assert_int_equal(count, expected);
        awq__name_list_free(list, count);
    }
    const char *const same[] = {"model.w"};
    size_t count;
    char **list;
    fails(ctx, awq__glob_list(ctx, same, 1, same, 1, &list, &count), AWQ_ERROR_RECIPE,
          "model.w: is kept");
    assert_null(list);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
#define DISK(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_format_is_found),
        TEST(the_scheme_is_made_whole),
        TEST(two_rows_share_a_byte),
        TEST(specs_say_names_and_shapes),
        TEST(what_cannot_be_stored_is_refused),
        DISK(packed_tensors_are_read_as_values),
        DISK(scales_may_be_of_every_float),
        DISK(what_is_not_packed_is_not_found),
        DISK(tensors_that_do_not_fit_are_named),
        TEST(both_files_say_the_same),
        TEST(rows_as_groups_are_refused),
        TEST(what_others_write_is_read),
        TEST(the_list_is_short_and_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
