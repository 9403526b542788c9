/* The MXFP4 layout: blocks, scales, and the list of modules that stay float. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "numbers.h"
#include "format_frame.h"
#include "treated.h"

#include <stdio.h>

static const awq__disk_format *const format = &awq__disk_format_mxfp4;
static const awq__scheme scheme = {
    .code = AWQ__CODE_E2M1, .bits = 4, .group = 32, .symmetric = true};

static void the_format_is_found(void **state)
{
    (void)state;
    assert_ptr_equal(awq__disk_format_by_name("mxfp4"), format);
    assert_ptr_equal(awq__disk_format_by_method("mxfp4"), format);
    assert_true(format->fused);
    assert_false(format->mixed);
    awq__scheme completed = {.bits = 4, .group = 32, .symmetric = true};
    format->complete(&completed, AWQ_BF16);
    assert_int_equal(completed.code, AWQ__CODE_E2M1);
    assert_int_equal(completed.grid, AWQ__GRID_F32);
    bool symmetric = false;
    int64_t group = 0;
    format->defaults(4, &symmetric, &group);
    assert_true(symmetric);
    assert_int_equal(group, 32);
}

/* ---- bytes ---- */

static void bytes_are_those_of_the_layout(void **state)
{
    awq_context *ctx = *state;
    enum { N = 2, K = 64 };
    static const float scales[] = {1, 0x1p-127f, 0x1p-126f, 0x1p127f};
    static const uint8_t exponents[] = {127, 0, 1, 254};
    awq__codes codes;
    uint8_t blocks[N * K / 2], packed_scales[N * K / 32];
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    for (int i = 0; i < N * K; i++)
        codes.codes[i] = (uint8_t)(i * 7 % 16);
    memcpy(codes.scales, scales, sizeof scales);
    memset(codes.zeros, 0, N * K / 32);
    format->pack(&codes, 0, blocks);
    format->pack(&codes, 1, packed_scales);
    assert_int_equal(blocks[0], 0x70);
    assert_int_equal(blocks[1], 0x5e);
    for (int i = 0; i < N * K / 2; i++) {
        assert_int_equal(blocks[i] & 15, i * 14 % 16);
        assert_int_equal(blocks[i] >> 4, (i * 14 + 7) % 16);
    }
    assert_memory_equal(packed_scales, exponents, sizeof exponents);
    awq__codes_free(&codes);
}

/* Any bytes, as a checkpoint may hold them. */
static void all_bytes_survive_unpacking_and_packing(void **state)
{
    awq_context *ctx = *state;
    enum { N = 8, K = 1024, G = K / 32 };
    uint8_t blocks[N * K / 2], scales[N * G], blocks_back[N * K / 2], scales_back[N * G];
    for (int i = 0; i < N * K / 2; i++)
        blocks[i] = (uint8_t)i;
    for (int i = 0; i < N * G; i++)
        scales[i] = (uint8_t)(255 - i);
    awq__codes codes;
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    awq__mxfp4_unpack(&codes, blocks, scales);
    for (int i = 0; i < N * G; i++) {
        assert_int_equal(codes.zeros[i], 0);
        if (scales[i] == 255)
            assert_true(isnan(codes.scales[i]));
        else
            assert_true((double)codes.scales[i] == ldexp(1, scales[i] - 127));
    }
    format->pack(&codes, 0, blocks_back);
    format->pack(&codes, 1, scales_back);
    assert_memory_equal(blocks_back, blocks, sizeof blocks);
    assert_memory_equal(scales_back, scales, sizeof scales);
    awq__codes_free(&codes);
}

/* Rounded weights, read from the bytes by who reads GPT-OSS checkpoints. */
static void rounded_weights_are_read_back(void **state)
{
    awq_context *ctx = *state;
    enum { N = 5, K = 96 };
    uint64_t random = 1;
    float *w = normals(&random, N * K), values[N * K], expected[N * K];
    for (int i = 0; i < N * K; i++)
        w[i] = ldexpf(w[i], i / 32 * 17 - 120);
    awq__weight weight = awq__weight_plain("w", AWQ_F32, w, N, K);
    awq__codes codes, back;
    uint8_t blocks[N * K / 2], scales[N * K / 32];
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &codes));
    succeeds(ctx, awq__codes_create(ctx, N, K, &scheme, &back));
    succeeds(ctx, awq__codes_round(ctx, awq__compute_fastest(), &weight, NULL, &codes));
    format->pack(&codes, 0, blocks);
    format->pack(&codes, 1, scales);
    awq__codes_read(&codes, 0, N, expected);
    awq__weight packed = awq__weight_mxfp4("w", blocks, scales, N, K, 1);
    awq__weight_read(awq__compute_fastest(), &packed, 0, N, values);
    assert_memory_equal(values, expected, sizeof values);
    awq__mxfp4_unpack(&back, blocks, scales);
    assert_memory_equal(back.codes, codes.codes, N * K);
    assert_memory_equal(back.scales, codes.scales, N * K / 32 * sizeof(float));
    for (int i = 0; i < N * K; i++) /* half a step of 2 below 4 scales, and 6 for all below 8 */
        assert_true(fabsf(values[i] - w[i]) <= 2 * codes.scales[i / 32]);
    awq__codes_free(&codes);
    awq__codes_free(&back);
    free(w);
}

static void specs_are_of_one_expert(void **state)
{
    (void)state;
    awq__spec specs[AWQ__MAX_SPECS];
    assert_int_equal(format->specs(40, 96, &scheme, specs), 2);
    assert_string_equal(specs[0].suffix, "_blocks");
    assert_int_equal(specs[0].dtype, AWQ_U8);
    assert_int_equal(specs[0].rank, 3);
    assert_memory_equal(specs[0].shape, ((int64_t[]){40, 3, 16}), 3 * sizeof(int64_t));
    assert_int_equal(awq__spec_bytes(&specs[0]), 40 * 96 / 2);
    assert_string_equal(specs[1].suffix, "_scales");
    assert_int_equal(specs[1].dtype, AWQ_U8);
    assert_int_equal(specs[1].rank, 2);
    assert_memory_equal(specs[1].shape, ((int64_t[]){40, 3}), 2 * sizeof(int64_t));
    assert_int_equal(awq__spec_bytes(&specs[1]), 40 * 3);
}

static void what_cannot_be_stored_is_refused(void **state)
{
    awq_context *ctx = *state;
    static const asked_to_store cases[] = {
        {41, 96, {AWQ__CODE_INTEGER, 4, 32, true, AWQ__GRID_F16, NULL, 0}, "m.w: integer codes"},
        {41,
         96,
         {AWQ__CODE_E2M1, 3, 32, true, AWQ__GRID_F32, NULL, 0},
         "m.w: symmetric codes of 3 bits"},
        {41, 96, {AWQ__CODE_E2M1, 4, 96, true, AWQ__GRID_F32, NULL, 0}, "in groups of 96"},
        {41, 96, {AWQ__CODE_E2M1, 4, 32, false, AWQ__GRID_F32, NULL, 0}, "m.w: asymmetric"},
        {41, 80, {AWQ__CODE_E2M1, 4, 32, true, AWQ__GRID_F32, NULL, 0}, "m.w: 80 input features"},
    };
    succeeds(ctx, format->check(ctx, "m.w", 41, 96, &scheme));
    check_refusals(ctx, format, cases, sizeof cases / sizeof *cases);
}

/* ---- quantization_config ---- */

enum { MOST = 256 };

typedef struct names {
    const char *list[MOST];
    char text[MOST][96];
    size_t count;
} names;

static void add(names *n, const char *name)
{
    assert_true(n->count < MOST);
    snprintf(n->text[n->count], sizeof n->text[0], "%s", name);
    n->list[n->count] = n->text[n->count];
    n->count++;
}

static void add_in_layer(names *n, int layer, const char *module)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.%d.%s", layer, module);
    add(n, name);
}

/* As this architecture's checkpoints have it. */
static void the_config_of_gpt_oss(void **state)
{
    awq_context *ctx = *state;
    static const char *const kept_modules[] = {"self_attn.q_proj", "self_attn.k_proj",
                                               "self_attn.v_proj", "self_attn.o_proj",
                                               "mlp.router"};
    static const char *const experts[] = {"mlp.experts.0.gate_proj", "mlp.experts.0.up_proj",
                                          "mlp.experts.0.down_proj", "mlp.experts.31.gate_proj"};
    names kept = {0}, quantized = {0};
    add(&kept, "model.embed_tokens");
    for (int layer = 0; layer < 24; layer++) {
        for (int i = 0; i < 5; i++)
            add_in_layer(&kept, layer, kept_modules[i]);
        for (int i = 0; i < 4; i++)
            add_in_layer(&quantized, layer, experts[i]);
    }
    add(&kept, "lm_head");
    cJSON *config =
        config_of(ctx, format, &scheme, kept.list, kept.count, quantized.list, quantized.count);
    assert_non_null(config);
    char *text = cJSON_PrintUnformatted(config);
    assert_string_equal(text, "{\"quant_method\":\"mxfp4\",\"modules_to_not_convert\":["
                              "\"model.embed_tokens\",\"model.layers.*.self_attn\","
                              "\"model.layers.*.mlp.router\",\"lm_head\"]}");
    cJSON_free(text);
    awq__stored_scheme rest = rest_of(ctx, format, config);
    assert_same_stored(&rest, &(awq__stored_scheme)STORED(4, 32, true));
    cJSON_Delete(config);
}

static void check_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                       const char *const *quantized, size_t quantized_count,
                       const char *const *expected, size_t count)
{
    char **list;
    size_t found;
    succeeds(ctx, awq__star_list(ctx, kept, kept_count, quantized, quantized_count, &list, &found));
    for (size_t i = 0; i < found; i++)
        if (i >= count || strcmp(list[i], expected[i]))
            fail_msg("entry %zu is \"%s\", expected \"%s\"", i, list[i],
                     i < count ? expected[i] : "none");
    assert_int_equal(found, count);
    awq__name_list_free(list, found);
}

static void names_are_shortened_and_starred(void **state)
{
    awq_context *ctx = *state;
    static const char *const quantized[] = {"model.layers.0.mlp.experts.7.up",
                                            "model.layers.1.mlp.experts.7.up"};
    static const char *const kept[] = {
        "model.norm.deep.inside", /* nothing is quantized under model.norm */
        "model.layers.0.attn.q",  /* all of attn */
        "model.layers.11.attn.sinks.deep",
        "model.layers.0.mlp.experts.bias", /* beside quantized ones */
        "model.layers.0.mlp.experts_else.1",
        "model.layers.0.mlp.x1.2y.03", /* what is not only digits is no number */
        "head",
        "other.w", /* never all of a single component */
        "model.layersx.0.w",
    };
    static const char *const expected[] = {"model.norm",
                                           "model.layers.*.attn",
                                           "model.layers.*.mlp.experts.bias",
                                           "model.layers.*.mlp.experts_else",
                                           "model.layers.*.mlp.x1",
                                           "head",
                                           "other.w",
                                           "model.layersx"};
    check_list(ctx, kept, 9, quantized, 2, expected, 8);
    check_list(ctx, kept, 0, quantized, 2, NULL, 0);
    static const char *const odd[] = {"", ".", "..a", "a.b.", "1.2.3.4"};
    static const char *const odd_expected[] = {"", "a.b", "*.*"};
    check_list(ctx, odd, 5, NULL, 0, odd_expected, 3);
}

static void a_layer_that_differs_is_refused(void **state)
{
    awq_context *ctx = *state;
    static const char *const quantized[] = {"model.layers.0.mlp.experts.7.up"};
    static const char *const kept[] = {"model.layers.1.mlp.experts.0.up",
                                       "model.layers.1.mlp.experts", "model.layers.3", "model"};
    char **list;
    size_t found;
    for (int i = 0; i < 4; i++) {
        fails(ctx, awq__star_list(ctx, kept + i, 1, quantized, 1, &list, &found), AWQ_ERROR_RECIPE,
              kept[i]);
        assert_null(list);
        assert_int_equal(found, 0);
        assert_null(config_of(ctx, format, &scheme, kept + i, 1, quantized, 1));
    }
}

/* Whatever else a config says. */
static void only_the_method_is_read(void **state)
{
    awq_context *ctx = *state;
    static const char *const texts[] = {"{}", "{\"quant_method\":\"mxfp4\"}",
                                        "{\"modules_to_not_convert\":7}", "[]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cJSON *config;
        awq__weight weight;
        bool found = true;
        succeeds(ctx, awq__json_parse(ctx, "x", texts[i], strlen(texts[i]), &config));
        awq__stored_scheme rest = rest_of(ctx, format, config);
        assert_same_stored(&rest, &(awq__stored_scheme)STORED(4, 32, true));
        succeeds(ctx, format->open(ctx, NULL, NULL, &rest, "m", 4, 64, &weight, &found));
        assert_false(found);
        cJSON_Delete(config);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_format_is_found),
        TEST(bytes_are_those_of_the_layout),
        TEST(all_bytes_survive_unpacking_and_packing),
        TEST(rounded_weights_are_read_back),
        cmocka_unit_test(specs_are_of_one_expert),
        TEST(what_cannot_be_stored_is_refused),
        TEST(the_config_of_gpt_oss),
        TEST(names_are_shortened_and_starred),
        TEST(a_layer_that_differs_is_refused),
        TEST(only_the_method_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
