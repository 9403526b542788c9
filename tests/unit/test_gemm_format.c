/* The AutoAWQ gemm layout: words, tensors on disk, and quantization_config. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "core/half.h"
#include "temp_checkpoint.h"
#include "treated.h"

static const awq__disk_format *const format = &awq__disk_format_awq;

static void the_format_is_found(void **state)
{
    (void)state;
    assert_ptr_equal(awq__disk_format_by_name("awq"), format);
    assert_ptr_equal(awq__disk_format_by_method("awq"), format);
    assert_null(awq__disk_format_by_name("gemm"));
    assert_null(awq__disk_format_by_method(""));
    assert_false(format->fused || format->mixed);
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
    bool symmetric = true;
    int64_t group = 7;
    format->defaults(4, &symmetric, &group);
    assert_false(symmetric);
    assert_int_equal(group, 0);
}

/* ---- words ---- */

/* Codes with random contents: symmetric zeros are all 8. */
static void make_codes(awq_context *ctx, int64_t N, int64_t K, int64_t g, bool symmetric,
                       uint64_t *random, awq__codes *codes)
{
    const awq__scheme scheme = {
        .bits = 4, .group = g, .symmetric = symmetric, .grid = AWQ__GRID_F16};
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, codes));
    for (int64_t i = 0; i < N * K; i++)
        codes->codes[i] = awq__random(random) % 16;
    for (int64_t i = 0; i < N * K / g; i++) {
        codes->scales[i] = awq__f16_to_f32((uint16_t)(1 + awq__random(random) % 0x7bff));
        codes->zeros[i] = symmetric ? 8 : awq__random(random) % 16;
    }
}

static void nibbles_stand_in_the_order_of_readers(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 1;
    awq__codes codes;
    make_codes(ctx, 16, 1, 1, false, &random, &codes);
    for (int n = 0; n < 16; n++) {
        codes.codes[n] = (uint8_t)(n < 8 ? n : 23 - n);
        codes.zeros[n] = (uint8_t)(n < 8 ? n : 0);
        codes.scales[n] = (float)n;
    }
    uint32_t words[2], zeros[2];
    uint16_t scales[16];
    format->pack(&codes, 0, words);
    format->pack(&codes, 1, zeros);
    format->pack(&codes, 2, scales);
    assert_int_equal(words[0], 0x75316420);
    assert_int_equal(words[1], 0x8ace9bdf);
    assert_int_equal(zeros[0], 0x75316420);
    assert_int_equal(zeros[1], 0);
    for (int n = 0; n < 16; n++)
        assert_int_equal(scales[n], awq__f32_to_f16((float)n));
    awq__codes_free(&codes);
}

static const int64_t shapes[][3] = {
    /* N, K, g */ {8, 1, 1}, {16, 32, 32}, {24, 64, 16}, {40, 96, 96}, {8, 130, 65}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void unpacking_gives_back_what_was_packed(void **state)
{
    awq_context *ctx = *state;
    uint64_t random = 2;
    for (int i = 0; i < SHAPES; i++) {
        int64_t N = shapes[i][0], K = shapes[i][1], g = shapes[i][2], G = K / g;
        awq__codes codes, back;
        make_codes(ctx, N, K, g, false, &random, &codes);
        succeeds(ctx, awq__codes_create(ctx, N, K, &codes.scheme, &back));
        awq__spec specs[AWQ__MAX_SPECS];
        assert_int_equal(format->specs(N, K, &codes.scheme, specs), 3);
        void *packed[3];
        for (int p = 0; p < 3; p++) {
            packed[p] = space_for((int64_t)awq__spec_bytes(&specs[p]), 1);
            format->pack(&codes, p, packed[p]);
        }
        const uint32_t *words = packed[0], *zeros = packed[1];
        const uint16_t *scales = packed[2];
        static const int order[] = {0, 2, 4, 6, 1, 3, 5, 7};
        for (int64_t at = 0; at < K * N; at++) { /* by the definition of the layout */
            int64_t k = at / N, n = at % N, nibble = 0;
            while (order[nibble] != n % 8)
                nibble++;
            assert_int_equal(words[k * (N / 8) + n / 8] >> (4 * nibble) & 15,
                             codes.codes[n * K + k]);
            assert_int_equal(zeros[k / g * (N / 8) + n / 8] >> (4 * nibble) & 15,
                             codes.zeros[n * G + k / g]);
            assert_true(awq__f16_to_f32(scales[k / g * N + n]) == codes.scales[n * G + k / g]);
        }
        awq__gemm_unpack(&back, words, zeros, scales);
        assert_memory_equal(back.codes, codes.codes, (size_t)(N * K));
        assert_memory_equal(back.zeros, codes.zeros, (size_t)(N * G));
        assert_memory_equal(back.scales, codes.scales, (size_t)(N * G) * sizeof(float));
        for (int p = 0; p < 3; p++)
            free(packed[p]);
        awq__codes_free(&codes);
        awq__codes_free(&back);
    }
}

static void specs_say_names_and_shapes(void **state)
{
    (void)state;
    const awq__scheme scheme = {.bits = 4, .group = 32, .grid = AWQ__GRID_F16};
    static const awq__spec expected[] = {{".qweight", AWQ_I32, 2, {96, 5}},
                                         {".qzeros", AWQ_I32, 2, {3, 5}},
                                         {".scales", AWQ_F16, 2, {3, 40}}};
    static const uint64_t bytes[] = {96 * 5 * 4, 3 * 5 * 4, 3 * 40 * 2};
    awq__spec specs[AWQ__MAX_SPECS];
    assert_int_equal(format->specs(40, 96, &scheme, specs), 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(specs[i].suffix, expected[i].suffix);
        assert_int_equal(specs[i].dtype, expected[i].dtype);
        assert_int_equal(specs[i].rank, 2);
        assert_memory_equal(specs[i].shape, expected[i].shape, sizeof expected[i].shape);
        assert_int_equal(awq__spec_bytes(&specs[i]), bytes[i]);
    }
}

static void what_cannot_be_stored_is_refused(void **state)
{
    awq_context *ctx = *state;
    awq__scheme scheme = {.bits = 4, .group = 32, .grid = AWQ__GRID_F16};
    succeeds(ctx, format->check(ctx, "m.w", 40, 96, &scheme));
    fails(ctx, format->check(ctx, "m.w", 41, 96, &scheme), AWQ_ERROR_RECIPE,
          "m.w: 41 output features");
    scheme.bits = 3;
    fails(ctx, format->check(ctx, "m.w", 40, 96, &scheme), AWQ_ERROR_RECIPE, "m.w: 3 bits");
}

/* ---- tensors on disk ---- */

static void packed_tensors_are_read_as_values(void **state)
{
    fixture *f = *state;
    uint64_t random = 3;
    for (int i = 0; i < SHAPES; i++)
        for (int whole = 0; whole < 2; whole++) {
            int64_t N = shapes[i][0], K = shapes[i][1], g = whole ? K : shapes[i][2];
            static const char *const names[] = {"m.w.qweight", "m.w.qzeros", "m.w.scales"};
            awq__codes codes;
            make_codes(f->ctx, N, K, g, i % 2, &random, &codes);
            awq__spec specs[AWQ__MAX_SPECS];
            format->specs(N, K, &codes.scheme, specs);
            stored_tensor tensors[3];
            void *data[3];
            for (int p = 0; p < 3; p++) {
                tensors[p] = (stored_tensor){
                    names[p], specs[p].dtype, 2, {specs[p].shape[0], specs[p].shape[1]}};
                data[p] = space_for((int64_t)awq__spec_bytes(&specs[p]), 1);
                format->pack(&codes, p, data[p]);
            }
            awq__checkpoint *checkpoint =
                write_checkpoint(f, tensors, (const void *const *)data, 3);
            const awq__stored_scheme stored = {.bits = 4, .group = whole ? -1 : g};
            awq__weight weight;
            bool found;
            succeeds(f->ctx,
                     open_held(f, format, checkpoint, &stored, "m.w", N, K, &weight, &found));
            assert_true(found);
            assert_string_equal(weight.name, "m.w");
            assert_int_equal(weight.group, g);
            float *values = floats(N * K), *expected = floats(N * K);
            awq__codes_read(&codes, 0, N, expected);
            awq__weight_read(awq__compute_fastest(), &weight, 0, N, values);
            assert_memory_equal(values, expected, (size_t)(N * K) * sizeof *values);
            awq__weight_read(awq__compute_fastest(), &weight, 3, 4, values); /* some rows alone */
            assert_memory_equal(values, expected + 3 * K, (size_t)(4 * K) * sizeof *values);
            succeeds(f->ctx,
                     open_held(f, format, checkpoint, &stored, "m.other", N, K, &weight, &found));
            assert_false(found);
            let_go(checkpoint);
            awq__codes_free(&codes);
            for (int p = 0; p < 3; p++)
                free(data[p]);
            free(values);
            free(expected);
        }
}

/* GPTQModel's, of a BF16 model: the type of the scales is the tensor's. */
static void scales_of_bf16_are_read(void **state)
{
    fixture *f = *state;
    enum { N = 8, K = 32 };
    static const stored_tensor tensors[] = {{"w.qweight", AWQ_I32, 2, {K, 1}},
                                            {"w.qzeros", AWQ_I32, 2, {1, 1}},
                                            {"w.scales", AWQ_BF16, 2, {1, N}}};
    uint32_t words[K], zero = 0x33333333u;
    uint16_t scales[N];
    float values[N * K];
    for (int k = 0; k < K; k++)
        words[k] = 0x55555555u;
    for (int n = 0; n < N; n++)
        scales[n] = awq__f32_to_bf16(0x1p-30f * (float)(n + 1)); /* no value of F16 */
    const void *const data[] = {words, &zero, scales};
    awq__checkpoint *checkpoint = write_checkpoint(f, tensors, data, 3);
    const awq__stored_scheme stored = STORED(4, 32, false);
    awq__weight weight;
    bool found;
    succeeds(f->ctx, open_held(f, format, checkpoint, &stored, "w", N, K, &weight, &found));
    assert_true(found && weight.dtype == AWQ_BF16);
    awq__weight_read(awq__compute_fastest(), &weight, 0, N, values);
    for (int i = 0; i < N * K; i++)
        assert_true(values[i] == 2 * 0x1p-30f * (float)(i / K + 1));
    let_go(checkpoint);
}

static void wrong_tensors_are_refused(void **state)
{
    fixture *f = *state;
    static const stored_tensor right[] = {{"w.qweight", AWQ_I32, 2, {64, 2}},
                                          {"w.qzeros", AWQ_I32, 2, {2, 2}},
                                          {"w.scales", AWQ_F16, 2, {2, 16}}};
    static const struct {
        int which; /* tensor to replace, or 9 for none */
        stored_tensor with;
        int64_t rows, cols, group;
        const char *message; /* NULL: right */
    } cases[] = {
        {9, {0}, 16, 64, 32, NULL},
        {0, {"w.qweight", AWQ_I32, 2, {64, 4}}, 16, 64, 32, "w.qweight is not I32 [64, 2]"},
        {0, {"w.qweight", AWQ_U32, 2, {64, 2}}, 16, 64, 32, "w.qweight is not I32"},
        {0, {"w.qweight", AWQ_I32, 3, {64, 2, 1}}, 16, 64, 32, "w.qweight is not I32"},
        {1, {"w.qzeros", AWQ_I32, 2, {4, 2}}, 16, 64, 32, "w.qzeros is not I32 [2, 2]"},
        {1, {"other", AWQ_I32, 2, {2, 2}}, 16, 64, 32, "w.qzeros is missing"},
        {2, {"w.scales", AWQ_F32, 2, {2, 16}}, 16, 64, 32, "w.scales is not F16 [2, 16]"},
        {2, {"w.scales", AWQ_BF16, 2, {16, 2}}, 16, 64, 32, "w.scales is not BF16 [2, 16]"},
        {2, {"other", AWQ_F16, 2, {2, 16}}, 16, 64, 32, "w.scales is missing"},
        {9, {0}, 16, 64, 64, "w.qzeros is not I32 [1, 2]"},
        {9, {0}, 16, 64, 48, "groups of 48"},
        {9, {0}, 12, 64, 32, "words of 8"},
        {9, {0}, 16, 64, INT64_C(1) << 53, "do not divide"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stored_tensor tensors[3];
        memcpy(tensors, right, sizeof right);
        if (cases[i].which < 3)
            tensors[cases[i].which] = cases[i].with;
        awq__checkpoint *checkpoint = write_checkpoint(f, tensors, NULL, 3);
        const awq__stored_scheme stored = {.bits = 4, .group = cases[i].group};
        awq__weight weight;
        bool found;
        awq_status status = open_held(f, format, checkpoint, &stored, "w", cases[i].rows,
                                      cases[i].cols, &weight, &found);
        ends(f->ctx, status, AWQ_ERROR_FORMAT, cases[i].message);
        let_go(checkpoint);
    }
}

/* ---- quantization_config ---- */

static void the_config_says_what_readers_want(void **state)
{
    awq_context *ctx = *state;
    static const char *const kept[] = {"l.0.gate", "l.0.q", "lm_head"}, *const quantized[] = {
                                                                            "l.0.e.0.w1"};
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        const awq__scheme scheme = {.bits = 4,
                                    .group = symmetric ? -1 : 64,
                                    .symmetric = symmetric != 0,
                                    .grid = AWQ__GRID_F16};
        cJSON *config = config_of(ctx, format, &scheme, kept, 3, quantized, 1);
        assert_non_null(config);
        char *text = cJSON_PrintUnformatted(config);
        assert_string_equal(text, symmetric
                                      ? "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":-1,"
                                        "\"zero_point\":true,\"version\":\"gemm\","
                                        "\"modules_to_not_convert\":[\"gate\",\"q\",\"lm_head\"]}"
                                      : "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":64,"
                                        "\"zero_point\":true,\"version\":\"gemm\","
                                        "\"modules_to_not_convert\":[\"gate\",\"q\",\"lm_head\"]}");
        cJSON_free(text);
        awq__stored_scheme rest = rest_of(ctx, format, config);
        assert_same_stored(&rest, &(awq__stored_scheme)STORED(4, symmetric ? -1 : 64, false));
        cJSON_Delete(config);
    }
    static const char *const inside[] = {"l.0.e"};
    const awq__scheme scheme = {.bits = 4, .group = 32, .grid = AWQ__GRID_F16};
    assert_null(config_of(ctx, format, &scheme, inside, 1, quantized, 1));
    assert_non_null(strstr(awq_context_message(ctx), "l.0.e"));
}

/* The skip list of a config that has these modules. */
static void check_skipped(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count,
                          const char *const *expected, size_t count)
{
    const awq__scheme scheme = {.bits = 4, .group = 32, .grid = AWQ__GRID_F16};
    cJSON *config = config_of(ctx, format, &scheme, kept, kept_count, quantized, quantized_count);
    if (!config)
        fail_msg("%s", awq_context_message(ctx));
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "modules_to_not_convert");
    assert_int_equal(cJSON_GetArraySize(list), count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(cJSON_GetArrayItem(list, (int)i)->valuestring, expected[i]);
    cJSON_Delete(config);
}

/* Readers that hold gate and up as one matrix look for its name. */
static void kept_gates_name_gate_and_up_as_one_too(void **state)
{
    awq_context *ctx = *state;
    static const char *const kept[] = {"l.0.mlp.gate_proj", "l.0.mlp.up_proj", "l.0.mlp.down_proj",
                                       "l.1.mlp.gate", "l.2.mlp.gate_proj"};
    static const char *const alone[] = {"gate_proj", "gate_up_proj", "up_proj", "down_proj",
                                        "gate"};
    static const char *const experts[] = {"l.1.mlp.experts.0.w1", "l.1.mlp.experts.0.w2"};
    check_skipped(ctx, kept, 4, experts, 2, alone, 5);
    check_skipped(ctx, kept + 3, 1, experts, 2, alone + 4, 1);
    check_skipped(ctx, NULL, 0, experts, 2, NULL, 0);
    static const char *const others[] = {"gate_proj", "l.gate_projection", "l.xgate_proj"};
    check_skipped(ctx, others, 3, experts, 2, (const char *const[]){"gate_proj", "gate_projection"},
                  2);
    /* Of experts there is no such name. */
    static const char *const some[] = {"l.1.mlp.experts.1.gate_proj"};
    check_skipped(ctx, some, 1, experts, 2, (const char *const[]){"gate_proj"}, 1);
    static const char *const named[] = {"a.gate_proj"};
    static const char *const quantized[] = {"a.gate_up_proj.x"};
    const awq__scheme scheme = {.bits = 4, .group = 32, .grid = AWQ__GRID_F16};
    assert_null(config_of(ctx, format, &scheme, named, 1, quantized, 1));
    assert_non_null(strstr(awq_context_message(ctx), "a.gate_up_proj: is kept"));
}

/* Nor may an entry be part of the name that a quantized gate and up have as one. */
static void quantized_gates_are_not_skipped_as_one(void **state)
{
    awq_context *ctx = *state;
    static const char *const modules[] = {"l.0.mlp.gate_proj", "l.0.mlp.up_proj",
                                          "l.1.mlp.shared_expert.gate_proj",
                                          "l.1.mlp.shared_expert.up_proj"};
    const awq__scheme scheme = {.bits = 4, .group = 32, .grid = AWQ__GRID_F16};
    for (int swapped = 0; swapped < 2; swapped++) {
        const char *as_one =
            swapped ? "l.0.mlp.gate_up_proj" : "l.1.mlp.shared_expert.gate_up_proj";
        const char *kept = swapped ? "l.1.mlp.shared_expert.gate_up_proj" : "l.0.mlp.gate_up_proj";
        cJSON *config =
            config_of(ctx, format, &scheme, modules + 2 * swapped, 2, modules + 2 * !swapped, 2);
        assert_non_null(config);
        const cJSON *entry;
        bool covered = false;
        cJSON_ArrayForEach(entry,
                           cJSON_GetObjectItemCaseSensitive(config, "modules_to_not_convert"))
        {
            if (strstr(as_one, entry->valuestring))
                fail_msg("\"%s\" is part of \"%s\"", entry->valuestring, as_one);
            covered |= strstr(kept, entry->valuestring) != NULL;
        }
        assert_true(covered);
        cJSON_Delete(config);
    }
}

/* Symmetric codes carry their zero points, as zero_point true promises. */
static void symmetric_zeros_are_all_eight(void **state)
{
    awq_context *ctx = *state;
    enum { N = 16, K = 64, G = 32 };
    uint64_t random = 4;
    float *w = normals(&random, N * K);
    const awq__scheme scheme = {.bits = 4, .group = G, .symmetric = true, .grid = AWQ__GRID_F16};
    awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
    awq__codes codes;
    uint32_t zeros[K / G * N / 8];
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    succeeds(ctx, awq__codes_round(ctx, awq__compute_fastest(), &weight, NULL, &codes));
    format->pack(&codes, 1, zeros);
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
        assert_int_equal(zeros[i], 0x88888888);
    awq__codes_free(&codes);
    free(w);
}

static void configs_of_others_are_read(void **state)
{
    static const struct {
        const char *text;
        awq_status status;
        int64_t group;
        const char *message;
    } cases[] = {
        {"{\"bits\":4,\"group_size\":128,\"version\":\"gemm\"}", AWQ_OK, 128, ""},
        {"{\"w_bit\":4,\"q_group_size\":64}", AWQ_OK, 64, ""},
        {"{\"bits\":4,\"w_bit\":3,\"group_size\":-1}", AWQ_OK, -1, ""},
        {"{}", AWQ_ERROR_UNSUPPORTED, 0, "a/config.json: quantization_config.bits"},
        {"{\"bits\":8,\"group_size\":128}", AWQ_ERROR_UNSUPPORTED, 0, "bits"},
        {"{\"bits\":\"4\",\"group_size\":128}", AWQ_ERROR_UNSUPPORTED, 0, "bits"},
        {"{\"bits\":4}", AWQ_ERROR_FORMAT, 0, "a/config.json: quantization_config.group_size"},
        {"{\"bits\":4,\"group_size\":0}", AWQ_ERROR_FORMAT, 0, "group_size"},
        {"{\"bits\":4,\"group_size\":-2}", AWQ_ERROR_FORMAT, 0, "group_size"},
        {"{\"bits\":4,\"group_size\":1.5}", AWQ_ERROR_FORMAT, 0, "group_size"},
        {"{\"bits\":4,\"group_size\":128,\"version\":\"gemv\"}", AWQ_ERROR_UNSUPPORTED, 0,
         "version is gemv, but only gemm"},
        {"{\"bits\":4,\"group_size\":128,\"version\":7}", AWQ_ERROR_UNSUPPORTED, 0,
         "version is not a text"},
    };
    awq_context *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config;
        awq__stored stored;
        succeeds(ctx, awq__json_parse(ctx, "x", cases[i].text, strlen(cases[i].text), &config));
        awq_status status = format->read_config(ctx, "a/config.json", config, &stored);
        if (cases[i].status == AWQ_OK) {
            succeeds(ctx, status);
            assert_true(stored.has_rest);
            assert_int_equal(stored.count, 0);
            assert_same_stored(&stored.rest, &(awq__stored_scheme)STORED(4, cases[i].group, false));
        } else {
            fails(ctx, status, cases[i].status, cases[i].message);
        }
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_format_is_found),
        cmocka_unit_test(the_scheme_is_made_whole),
        TEST(nibbles_stand_in_the_order_of_readers),
        TEST(unpacking_gives_back_what_was_packed),
        cmocka_unit_test(specs_say_names_and_shapes),
        TEST(what_cannot_be_stored_is_refused),
        cmocka_unit_test_setup_teardown(packed_tensors_are_read_as_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scales_of_bf16_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_tensors_are_refused, set_up, tear_down),
        TEST(the_config_says_what_readers_want),
        TEST(kept_gates_name_gate_and_up_as_one_too),
        TEST(quantized_gates_are_not_skipped_as_one),
        TEST(symmetric_zeros_are_all_eight),
        TEST(configs_of_others_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
