/* The quantization_config of GPTQ, written and read: bits, versions, and rules by name. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "treated.h"

#include <stdio.h>

static const awq__disk_format *const format = &awq__disk_format_gptq;

static cJSON *parse(awq_context *ctx, const char *text)
{
    cJSON *config;
    succeeds(ctx, awq__json_parse(ctx, "x", text, strlen(text), &config));
    return config;
}

/* ---- written ---- */

static void the_config_says_what_readers_want(void **state)
{
    awq_context *ctx = *state;
    static const char *const kept[] = {"l.0.gate", "lm_head"};
    static const char *const quantized[] = {"l.0.e.0.w1"};
    static const struct {
        int bits;
        int64_t group;
        bool symmetric;
        const char *expected;
    } cases[] = {
        {4, 128, true,
         "\"bits\":4,\"group_size\":128,\"desc_act\":false,\"sym\":true,\"lm_head\":false,"
         "\"checkpoint_format\":\"gptq\""},
        {8, -1, true,
         "\"bits\":8,\"group_size\":-1,\"desc_act\":false,\"sym\":true,\"lm_head\":false,"
         "\"checkpoint_format\":\"gptq\""},
        {2, 32, false,
         "\"bits\":2,\"group_size\":32,\"desc_act\":false,\"sym\":false,\"lm_head\":false,"
         "\"checkpoint_format\":\"gptq_v2\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq__scheme scheme = {
            .bits = cases[i].bits, .group = cases[i].group, .symmetric = cases[i].symmetric};
        cJSON *config = config_of(ctx, format, &scheme, kept, 2, quantized, 1);
        assert_non_null(config);
        char *text = cJSON_PrintUnformatted(config), expected[512];
        snprintf(expected, sizeof expected,
                 "{\"quant_method\":\"gptq\",%s,\"true_sequential\":false,"
                 "\"dynamic\":{\"-:.*\\\\.gate$\":{},\"-:lm_head$\":{}}}",
                 cases[i].expected);
        assert_string_equal(text, expected);
        cJSON_free(text);
        awq__stored_scheme rest = rest_of(ctx, format, config);
        assert_same_stored(&rest, &(awq__stored_scheme){.bits = cases[i].bits,
                                                        .group = cases[i].group,
                                                        .symmetric = cases[i].symmetric,
                                                        .zeros_less_one = cases[i].symmetric});
        cJSON_Delete(config);
    }
}

/* Does a name that an engine asks for have this scheme? NULL: it is kept. */
static void expect_scheme(awq_context *ctx, const cJSON *config, const char *name,
                          const awq__scheme *scheme)
{
    awq__stored stored;
    const awq__stored_scheme *found;
    succeeds(ctx, format->read_config(ctx, "config.json", config, &stored));
    succeeds(ctx, awq__stored_find(ctx, &stored, name, &found));
    if ((found != NULL) != (scheme != NULL) ||
        (found && (found->bits != scheme->bits || found->group != scheme->group)))
        fail_msg("%s has %d bits", name, found ? found->bits : 0);
    awq__stored_free(&stored);
}

static const awq__scheme four = {.bits = 4, .group = 128, .symmetric = true};
static const awq__scheme eight = {.bits = 8, .group = 64, .symmetric = true};
static const awq__scheme rows = {.bits = 8, .group = -1, .symmetric = true};

/* Modules of a model of two layers with two experts, and of the shapes that engines make of them.
 */
static void rules_tell_schemes_apart(void **state)
{
    awq_context *ctx = *state;
    static const awq__treated modules[] = {
        {"model.layers.0.self_attn.q_proj", &eight},
        {"model.layers.0.self_attn.k_proj", &eight},
        {"model.layers.0.self_attn.v_proj", &eight},
        {"model.layers.0.self_attn.o_proj", &rows},
        {"model.layers.0.mlp.gate", NULL},
        {"model.layers.0.mlp.experts.0.gate_proj", &four},
        {"model.layers.0.mlp.experts.0.up_proj", &four},
        {"model.layers.0.mlp.experts.0.down_proj", &four},
        {"model.layers.0.mlp.experts.1.gate_proj", &four},
        {"model.layers.0.mlp.experts.1.up_proj", &four},
        {"model.layers.0.mlp.experts.1.down_proj", &four},
        {"model.layers.0.mlp.shared_expert.gate_proj", &eight},
        {"model.layers.0.mlp.shared_expert.up_proj", &eight},
        {"model.layers.0.mlp.shared_expert.down_proj", NULL},
        {"model.layers.1.self_attn.q_proj", NULL},
        {"model.layers.1.self_attn.k_proj", NULL},
        {"model.layers.1.self_attn.v_proj", NULL},
        {"model.layers.1.self_attn.o_proj", NULL},
        {"model.layers.1.mlp.gate", NULL},
        {"model.layers.1.mlp.experts.0.gate_proj", &eight},
        {"model.layers.1.mlp.experts.0.up_proj", &eight},
        {"model.layers.1.mlp.experts.0.down_proj", &eight},
        {"model.layers.1.mlp.experts.1.gate_proj", &eight},
        {"model.layers.1.mlp.experts.1.up_proj", &eight},
        {"model.layers.1.mlp.experts.1.down_proj", &eight},
        {"model.layers.2.mlp.experts.0.gate_proj", NULL},
        {"model.layers.2.mlp.experts.0.up_proj", NULL},
        {"model.layers.2.mlp.experts.0.down_proj", &four},
        {"model.layers.2.mlp.experts.1.gate_proj", &four},
        {"model.layers.2.mlp.experts.1.up_proj", &four},
        {"model.layers.2.mlp.experts.1.down_proj", &eight},
        {"model.layers.3.mlp.experts.0.gate_proj", NULL},
        {"model.layers.3.mlp.experts.0.up_proj", NULL},
        {"model.layers.3.mlp.experts.0.down_proj", NULL},
        {"lm_head", NULL},
        {"head+more", NULL},
    };
    static const struct {
        const char *name;
        const awq__scheme *scheme;
    } joined[] = {
        {"model.layers.0.self_attn.qkv_proj", &eight},
        {"model.layers.1.self_attn.qkv_proj", NULL},
        {"model.layers.0.mlp.shared_expert.gate_up_proj", &eight},
        {"model.layers.0.mlp.experts", &four},
        {"model.layers.1.mlp.experts", &eight},
        {"model.layers.3.mlp.experts", NULL},
        {"model.layers.3.block_sparse_moe.experts", NULL},
    };
    enum { COUNT = sizeof modules / sizeof *modules };
    awq__treated turned[COUNT];
    for (int i = 0; i < COUNT; i++)
        turned[i] = modules[COUNT - 1 - i];
    for (int round = 0; round < 2; round++) {
        cJSON *config = format->config(ctx, round ? turned : modules, COUNT);
        if (!config)
            fail_msg("%s", awq_context_message(ctx));
        for (int i = 0; i < COUNT; i++)
            expect_scheme(ctx, config, modules[i].name, modules[i].scheme);
        for (size_t i = 0; i < sizeof joined / sizeof *joined; i++)
            expect_scheme(ctx, config, joined[i].name, joined[i].scheme);
        const cJSON *rule;
        int kept = 0, changed = 0;
        cJSON_ArrayForEach(rule, cJSON_GetObjectItem(config, "dynamic"))
        {
            int64_t bits, group;
            if (!strncmp(rule->string, "-:", 2)) {
                assert_true(cJSON_IsObject(rule) && !rule->child);
                kept++;
                continue;
            }
            assert_memory_equal(rule->string, "+:", 2);
            assert_true(awq__json_int(cJSON_GetObjectItem(rule, "bits"), &bits));
            assert_true(awq__json_int(cJSON_GetObjectItem(rule, "group_size"), &group));
            /* The most used one is that of what no rule names. */
            assert_true((bits == 4 && group == 128) || (bits == 8 && group == -1));
            changed++;
        }
        assert_true(kept > 0 && changed > 0);
        cJSON_Delete(config);
    }
}

static void schemes_that_cannot_be_told_apart_are_refused(void **state)
{
    awq_context *ctx = *state;
    static const awq__scheme asymmetric = {.bits = 4, .group = 128};
    const awq__treated mixed[] = {{"a.x", &four}, {"a.y", &four}, {"a.z", &asymmetric}};
    assert_null(format->config(ctx, mixed, 3));
    fails(ctx, AWQ_ERROR_RECIPE, AWQ_ERROR_RECIPE, "a.x and a.z: one is symmetric and one is not");
    const awq__treated same[] = {{"a.w1", &four}, {"b.w1", &four}, {"a.w1", &eight}};
    assert_null(format->config(ctx, same, 3));
    fails(ctx, AWQ_ERROR_RECIPE, AWQ_ERROR_RECIPE, "a.w1");
}

/* ---- read ---- */

static void configs_of_others_are_read(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *text;
        awq__stored_scheme stored;
    } cases[] = {
        {"{\"bits\": 4, \"group_size\": 128, \"damp_percent\": 0.01, \"desc_act\": false,"
         " \"static_groups\": false, \"sym\": true, \"true_sequential\": true,"
         " \"model_name_or_path\": null, \"model_file_base_name\": null,"
         " \"is_marlin_format\": false, \"quant_method\": \"gptq\"}",
         {.bits = 4, .group = 128, .symmetric = true, .zeros_less_one = true, .ordered = false}},
        {"{\"bits\": 8, \"group_size\": -1, \"desc_act\": true, \"sym\": false,"
         " \"checkpoint_format\": \"gptq\", \"dynamic\": null, \"pack_dtype\": \"int32\","
         " \"meta\": {\"quantizer\": [\"a:1\"]}}",
         {.bits = 8, .group = -1, .symmetric = false, .zeros_less_one = true, .ordered = true}},
        {"{\"bits\": 2, \"group_size\": 32, \"desc_act\": false, \"sym\": false,"
         " \"checkpoint_format\": \"GPTQ_V2\", \"dynamic\": {}}",
         {.bits = 2, .group = 32, .symmetric = false, .zeros_less_one = false, .ordered = false}},
        {"{\"bits\": 4, \"group_size\": 32, \"desc_act\": false, \"sym\": false,"
         " \"format\": \"gptq_v2\"}",
         {.bits = 4, .group = 32, .symmetric = false, .zeros_less_one = false, .ordered = false}},
        {"{\"bits\": 4, \"group_size\": 32, \"desc_act\": false, \"sym\": true,"
         " \"format\": \"gptq_v2\", \"checkpoint_format\": \"gptq\"}",
         {.bits = 4, .group = 32, .symmetric = true, .zeros_less_one = true, .ordered = false}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config = parse(ctx, cases[i].text);
        awq__stored_scheme rest = rest_of(ctx, format, config);
        assert_same_stored(&rest, &cases[i].stored);
        cJSON_Delete(config);
    }
}

#define BASE "\"bits\": 4, \"group_size\": 128, \"desc_act\": false, \"sym\": true"

static void rules_of_others_are_read(void **state)
{
    awq_context *ctx = *state;
    cJSON *config =
        parse(ctx, "{" BASE ", \"dynamic\": {\"-:.*\\\\.2\\\\.\": {}, \".*up\": {\"bits\": 8},"
                   "\"+:.*\\\\.1\\\\..*down$\": {\"group_size\": -1, \"desc_act\": true,"
                   " \"sym\": false, \"mse\": 2.4}, \"-:a\\\\.1\": null}}");
    /* The last rule is no object. */
    awq__stored stored;
    fails(ctx, format->read_config(ctx, "a/config.json", config, &stored), AWQ_ERROR_UNSUPPORTED,
          "a rule of dynamic is null, but only an object can be read");
    awq__stored_free(&stored);
    cJSON_DeleteItemFromObject(cJSON_GetObjectItem(config, "dynamic"), "-:a\\.1");
    static const struct {
        const char *name;
        bool packed;
        awq__stored_scheme scheme;
    } cases[] = {
        {"a.0.gate",
         true,
         {.bits = 4, .group = 128, .symmetric = true, .zeros_less_one = true, .ordered = false}},
        {"a.0.up",
         true,
         {.bits = 8, .group = 128, .symmetric = true, .zeros_less_one = true, .ordered = false}},
        {"a.0.upper",
         true,
         {.bits = 8,
          .group = 128,
          .symmetric = true,
          .zeros_less_one = true,
          .ordered = false}}, /* not to the end of the name */
        {"a.1.down",
         true,
         {.bits = 4, .group = -1, .symmetric = false, .zeros_less_one = true, .ordered = true}},
        {"a.1.downer",
         true,
         {.bits = 4, .group = 128, .symmetric = true, .zeros_less_one = true, .ordered = false}},
        {"a.2.up", false, STORED(0, 0, false)}, /* the first that matches counts */
        {"a.2.down", false, STORED(0, 0, false)},
        {"b.a.12",
         true,
         {.bits = 4, .group = 128, .symmetric = true, .zeros_less_one = true, .ordered = false}},
    };
    succeeds(ctx, format->read_config(ctx, "a/config.json", config, &stored));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq__stored_scheme *found;
        succeeds(ctx, awq__stored_find(ctx, &stored, cases[i].name, &found));
        assert_true((found != NULL) == cases[i].packed);
        if (found)
            assert_same_stored(found, &cases[i].scheme);
    }
    awq__stored_free(&stored);
    cJSON_Delete(config);
}

static void configs_that_cannot_be_read_are_refused(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *text;
        awq_status status;
        const char *message;
    } cases[] = {
        {"{}", AWQ_ERROR_UNSUPPORTED,
         "a/config.json: quantization_config: bits is missing, but only 2, 4 or 8 can be read"},
        {"[]", AWQ_ERROR_UNSUPPORTED, "bits is missing"},
        {"7", AWQ_ERROR_UNSUPPORTED, "bits is missing"},
        {"{\"bits\": 3}", AWQ_ERROR_UNSUPPORTED, "bits is 3, but only 2, 4 or 8"},
        {"{\"bits\": \"4\"}", AWQ_ERROR_UNSUPPORTED, "bits is \"4\""},
        {"{\"bits\": 4.5}", AWQ_ERROR_UNSUPPORTED, "bits is 4.5"},
        {"{\"bits\": 4}", AWQ_ERROR_UNSUPPORTED, "group_size is missing"},
        {"{\"bits\": 4, \"group_size\": 0}", AWQ_ERROR_UNSUPPORTED, "group_size is 0"},
        {"{\"bits\": 4, \"group_size\": -2}", AWQ_ERROR_UNSUPPORTED, "group_size is -2"},
        {"{\"bits\": 4, \"group_size\": 1e18}", AWQ_ERROR_UNSUPPORTED, "group_size is 1e+18"},
        {"{\"bits\": 4, \"group_size\": 128}", AWQ_ERROR_UNSUPPORTED, "sym is missing"},
        {"{\"bits\": 4, \"group_size\": 128, \"sym\": 1}", AWQ_ERROR_UNSUPPORTED, "sym is 1"},
        {"{\"bits\": 4, \"group_size\": 128, \"sym\": true}", AWQ_ERROR_UNSUPPORTED,
         "desc_act is missing, but only true or false"},
        {"{" BASE ", \"checkpoint_format\": \"marlin\"}", AWQ_ERROR_UNSUPPORTED,
         "checkpoint_format is \"marlin\", but only \"gptq\" or \"gptq_v2\""},
        {"{" BASE ", \"checkpoint_format\": 2}", AWQ_ERROR_UNSUPPORTED, "checkpoint_format is 2"},
        {"{" BASE ", \"checkpoint_format\": null}", AWQ_ERROR_UNSUPPORTED,
         "checkpoint_format is null"},
        {"{" BASE ", \"format\": \"bitblas\"}", AWQ_ERROR_UNSUPPORTED, "is \"bitblas\""},
        {"{" BASE ", \"is_marlin_format\": true}", AWQ_ERROR_UNSUPPORTED,
         "is_marlin_format is true"},
        {"{" BASE ", \"pack_dtype\": \"int64\"}", AWQ_ERROR_UNSUPPORTED, "pack_dtype is \"int64\""},
        {"{" BASE ", \"pack_dtype\": {}}", AWQ_ERROR_UNSUPPORTED, "pack_dtype is an empty object"},
        {"{" BASE ", \"dynamic\": [1]}", AWQ_ERROR_UNSUPPORTED, "dynamic is an array"},
        {"{" BASE ", \"dynamic\": false}", AWQ_ERROR_UNSUPPORTED, "dynamic is false"},
        {"{" BASE ", \"dynamic\": {\"+:a\": 8}}", AWQ_ERROR_UNSUPPORTED,
         "a rule of dynamic is 8, but only an object"},
        {"{" BASE ", \"dynamic\": {\"+:a\": {\"bits\": 3}}}", AWQ_ERROR_UNSUPPORTED, "bits is 3"},
        {"{" BASE ", \"dynamic\": {\"a\": {\"sym\": null}}}", AWQ_ERROR_UNSUPPORTED, "sym is null"},
        {"{" BASE ", \"dynamic\": {\"+:a(\": {}}}", AWQ_ERROR_FORMAT,
         "the regular expression \"a(\" does not compile"},
        {"{" BASE ", \"dynamic\": {\"-:[\": {}}}", AWQ_ERROR_FORMAT, "\"[\" does not compile"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config = parse(ctx, cases[i].text);
        awq__stored stored;
        fails(ctx, format->read_config(ctx, "a/config.json", config, &stored), cases[i].status,
              cases[i].message);
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(the_config_says_what_readers_want),
        TEST(rules_tell_schemes_apart),
        TEST(schemes_that_cannot_be_told_apart_are_refused),
        TEST(configs_of_others_are_read),
        TEST(rules_of_others_are_read),
        TEST(configs_that_cannot_be_read_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
