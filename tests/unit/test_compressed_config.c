/* The quantization_config of compressed-tensors, written and read. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "treated.h"

#include <stdio.h>

static const awq__disk_format *const format = &awq__disk_format_compressed;

static void the_config_says_what_readers_want(void **state)
{
    awq_context *ctx = *state;
    static const char *const kept[] = {"l.0.gate", "l.0.attn.q", "lm_head"};
    static const char *const quantized[] = {"l.0.e.0.w1", "l.1.attn.q"};
    static const char head[] =
        "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
        "\"quantization_status\":\"compressed\",\"version\":\"0.11.0\","
        "\"global_compression_ratio\":null,\"kv_cache_scheme\":null,"
        "\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"format\":\"pack-quantized\","
        "\"weights\":{";
    static const char tail[] =
        ",\"dynamic\":false,\"actorder\":null,\"block_structure\":null,\"observer\":\"minmax\","
        "\"observer_kwargs\":{}},\"input_activations\":null,\"output_activations\":null}},"
        "\"ignore\":[\"re:.*\\\\.gate$\",\"re:.*\\\\.0\\\\.(self_attn|attn)\\\\.q$\",\"lm_head\"]}";
    static const struct {
        int bits;
        int64_t group;
        bool symmetric;
        const char *weights;
    } cases[] = {
        {4, 128, true,
         "\"num_bits\":4,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"group\","
         "\"group_size\":128"},
        {8, -1, true,
         "\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"channel\","
         "\"group_size\":null"},
        {4, 32, false,
         "\"num_bits\":4,\"type\":\"int\",\"symmetric\":false,\"strategy\":\"group\","
         "\"group_size\":32"},
        {2, 64, true,
         "\"num_bits\":2,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"group\","
         "\"group_size\":64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq__scheme scheme = {
            .bits = cases[i].bits, .group = cases[i].group, .symmetric = cases[i].symmetric};
        cJSON *config = config_of(ctx, format, &scheme, kept, 3, quantized, 2);
        assert_non_null(config);
        char *text = cJSON_PrintUnformatted(config), expected[2048];
        snprintf(expected, sizeof expected, "%s%s%s", head, cases[i].weights, tail);
        assert_string_equal(text, expected);
        cJSON_free(text);
        awq__stored_scheme rest = rest_of(ctx, format, config);
        assert_same_stored(
            &rest, &(awq__stored_scheme)STORED(cases[i].bits, cases[i].group, cases[i].symmetric));
        cJSON_Delete(config);
    }
    const awq__scheme scheme = {.bits = 4, .group = 32, .symmetric = true};
    assert_null(config_of(ctx, format, &scheme, quantized, 1, quantized, 2));
    assert_non_null(strstr(awq_context_message(ctx), "l.0.e.0.w1"));
}

/* Members of the outer object, of the group and of its weights; NULL: the usual ones. */
static cJSON *make_config(awq_context *ctx, const char *outer, const char *group,
                          const char *weights)
{
    char text[4096];
    snprintf(text, sizeof text, "{%s, \"config_groups\": {\"a.b\": {%s, \"weights\": {%s}}}}",
             outer ? outer : "\"format\": \"pack-quantized\"",
             group ? group : "\"targets\": [\"Linear\"]",
             weights ? weights
                     : "\"num_bits\": 4, \"type\": \"int\", \"symmetric\": true,"
                       "\"strategy\": \"group\", \"group_size\": 64");
    cJSON *config;
    succeeds(ctx, awq__json_parse(ctx, "x", text, strlen(text), &config));
    return config;
}

static void configs_of_others_are_read(void **state)
{
#define USUAL "\"type\": \"int\", \"symmetric\": false, "
    awq_context *ctx = *state;
    static const struct {
        const char *outer, *group, *weights;
        awq__stored_scheme stored;
    } cases[] = {
        {NULL, NULL, NULL, STORED(4, 64, true)},
        {"\"format\": \"pack-quantized\", \"sparsity_config\": {}, \"transform_config\": {}", NULL,
         NULL, STORED(4, 64, true)},
        {NULL,
         "\"targets\": [\"Linear\"], \"format\": null, \"input_activations\": null,"
         "\"output_activations\": null",
         NULL, STORED(4, 64, true)},
        {NULL, NULL,
         USUAL "\"num_bits\": 8, \"strategy\": \"channel\", \"group_size\": -1, \"dynamic\": false",
         STORED(8, -1, false)},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"channel\"", STORED(4, -1, false)},
        {NULL, NULL,
         USUAL "\"num_bits\": 4, \"strategy\": \"group\", \"group_size\": 1, \"dynamic\": null,"
               "\"actorder\": null",
         STORED(4, 1, false)},
        {NULL, NULL, USUAL "\"num_bits\": 3, \"strategy\": \"channel\", \"actorder\": \"static\"",
         STORED(3, -1, false)},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"channel\", \"actorder\": \"weight\"",
         STORED(4, -1, false)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config = make_config(ctx, cases[i].outer, cases[i].group, cases[i].weights);
        awq__stored_scheme rest = rest_of(ctx, format, config);
        assert_same_stored(&rest, &cases[i].stored);
        cJSON_Delete(config);
    }
}

#define FP8 "\"format\": \"float-quantized\""
#define FP8_USUAL "\"num_bits\": 8, \"type\": \"float\", \"symmetric\": true, "

static void configs_that_cannot_be_read_are_refused(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *outer, *group, *weights, *message;
    } cases[] = {
        {"\"x\": 1", NULL, NULL,
         "a/config.json: quantization_config: format is missing, but only "
         "\"pack-quantized\", \"float-quantized\" or \"mixed-precision\" can be read"},
        {"\"format\": \"naive-quantized\"", NULL, NULL, "format is \"naive-quantized\""},
        {"\"format\": \"mixed-precision\"", NULL, NULL,
         "a group's format is \"mixed-precision\", but only \"pack-quantized\" or "
         "\"float-quantized\" can be read"},
        {FP8, NULL, "\"num_bits\": 4", "num_bits is 4, but only 8 can be read"},
        {FP8, NULL, "\"num_bits\": 8, \"type\": \"int\"", "type is \"int\", but only \"float\""},
        {FP8, NULL, FP8_USUAL "\"strategy\": \"group\"",
         "strategy is \"group\", but only \"tensor\", \"channel\" or \"block\" can be read"},
        {FP8, NULL, FP8_USUAL "\"strategy\": \"block\"", "block_structure is missing"},
        {FP8, NULL, FP8_USUAL "\"strategy\": \"block\", \"block_structure\": [128, 0]",
         "block_structure is an array"},
        {FP8, NULL, FP8_USUAL "\"strategy\": \"tensor\", \"block_structure\": [1, 2]",
         "block_structure is an array"},
        {FP8, NULL, "\"num_bits\": 8, \"type\": \"float\", \"symmetric\": false",
         "symmetric is false, but only true"},
        {"\"format\": \"a\\nb\"", NULL, NULL, "format is \"a\\nb\""},
        {"\"format\": {}", NULL, NULL, "format is an empty object"},
        {"\"format\": \"0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789\"",
         NULL, NULL, "format is a long text"},
        {"\"format\": \"pack-quantized\", \"transform_config\": {\"a\": 1}", NULL, NULL,
         "transform_config is an object"},
        {NULL, "\"format\": \"int-quantized\"", NULL, "a group's format is \"int-quantized\""},
        {NULL, "\"input_activations\": {\"num_bits\": 8}", NULL, "input_activations is an object"},
        {NULL, "\"output_activations\": {}", NULL, "output_activations is an empty object"},
        {NULL, NULL, USUAL "\"strategy\": \"channel\"",
         "num_bits is missing, but only 2, 3, 4 or 8"},
        {NULL, NULL, USUAL "\"strategy\": \"channel\", \"num_bits\": 5", "num_bits is 5"},
        {NULL, NULL, USUAL "\"strategy\": \"channel\", \"num_bits\": 4.5", "num_bits is 4.5"},
        {NULL, NULL, USUAL "\"strategy\": \"channel\", \"num_bits\": \"4\"", "num_bits is \"4\""},
        {NULL, NULL, USUAL "\"strategy\": \"channel\", \"num_bits\": 1e300", "num_bits is 1e+300"},
        {NULL, NULL, "\"num_bits\": 4, \"type\": \"float\"", "type is \"float\""},
        {NULL, NULL, "\"num_bits\": 4, \"type\": 4", "type is 4"},
        {NULL, NULL, "\"num_bits\": 4, \"type\": \"int\", \"symmetric\": 1", "symmetric is 1"},
        {NULL, NULL, "\"num_bits\": 4, \"type\": \"int\"", "symmetric is missing"},
        {NULL, NULL, USUAL "\"num_bits\": 4", "strategy is missing"},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"tensor\"", "strategy is \"tensor\""},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": []", "strategy is an empty array"},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"group\"", "group_size is missing"},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"group\", \"group_size\": 0",
         "group_size is 0"},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"group\", \"group_size\": -1",
         "group_size is -1"},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"group\", \"group_size\": 1e18",
         "group_size is 1e+18"},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"channel\", \"group_size\": 64",
         "group_size is 64"},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"channel\", \"dynamic\": true",
         "dynamic is true, but only false"},
        {NULL, NULL, USUAL "\"num_bits\": 4, \"strategy\": \"channel\", \"actorder\": \"group\"",
         "actorder is \"group\", but only null, \"static\" or \"weight\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config = make_config(ctx, cases[i].outer, cases[i].group, cases[i].weights);
        awq__stored stored;
        fails(ctx, format->read_config(ctx, "a/config.json", config, &stored),
              AWQ_ERROR_UNSUPPORTED, cases[i].message);
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

#define FORMAT "{\"format\": \"pack-quantized\""
#define WEIGHTS                                                                                    \
    "\"weights\": {\"num_bits\": 4, \"type\": \"int\", \"symmetric\": true, "                      \
    "\"strategy\": \"channel\"}"
#define LINEAR "{" WEIGHTS ", \"targets\": [\"Linear\"]}"

static void groups_of_the_wrong_kind_are_refused(void **state)
{
    awq_context *ctx = *state;
    static const char *const cases[][2] = {
        {"{}", "format is missing"},
        {"[]", "format is missing"},
        {"7", "format is missing"},
        {FORMAT "}", "config_groups is missing, but only an object of groups can be read"},
        {FORMAT ", \"config_groups\": []}", "config_groups is an empty array"},
        {FORMAT ", \"config_groups\": \"group_0\"}", "config_groups is \"group_0\""},
        {FORMAT ", \"config_groups\": {}}", "config_groups is an empty object"},
        {FORMAT ", \"config_groups\": {\"a\": {}}}", "weights is missing"},
        {FORMAT ", \"config_groups\": {\"a\": 7}}", "weights is missing"},
        {FORMAT ", \"config_groups\": {\"a\": {\"weights\": null}}}", "weights is null"},
        {FORMAT ", \"config_groups\": {\"a\": {\"weights\": [4]}}}", "weights is an array"},
        {FORMAT ", \"config_groups\": {\"a\": " LINEAR ", \"b\": {}}}", "weights is missing"},
        {FORMAT ", \"config_groups\": {\"a\": " LINEAR ", \"b\": " LINEAR "}}",
         "two of config_groups have the target \"Linear\", but only one can be read"},
        {FORMAT ", \"config_groups\": {\"a\": {" WEIGHTS "}}}", "a group's targets is missing"},
        {FORMAT ", \"config_groups\": {\"a\": {" WEIGHTS ", \"targets\": []}}}",
         "a group's targets is an empty array, but only an array of names"},
        {FORMAT ", \"config_groups\": {\"a\": {" WEIGHTS ", \"targets\": \"Linear\"}}}",
         "a group's targets is \"Linear\""},
        {FORMAT ", \"config_groups\": {\"a\": {" WEIGHTS ", \"targets\": [\"m.a\", 7]}}}",
         "a group's target is 7, but only a name"},
        {FORMAT ", \"config_groups\": {\"a\": " LINEAR "}, \"ignore\": [\"m.a\", null]}",
         "an entry of ignore is null, but only a name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config;
        awq__stored stored;
        succeeds(ctx, awq__json_parse(ctx, "x", cases[i][0], strlen(cases[i][0]), &config));
        fails(ctx, format->read_config(ctx, "a/config.json", config, &stored),
              AWQ_ERROR_UNSUPPORTED, cases[i][1]);
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

/* ---- several schemes ---- */

/* The most used is that of "Linear"; the others name theirs, and only theirs. */
static void other_schemes_name_their_modules(void **state)
{
    awq_context *ctx = *state;
    static const awq__scheme four = {.bits = 4, .group = 32, .symmetric = true},
                             eight = {.bits = 8, .group = -1, .symmetric = true},
                             two = {.bits = 2, .group = 64, .symmetric = false};
    static const awq__treated modules[] = {
        {"l.0.attn.q", &eight}, {"l.0.mlp.gate", NULL}, {"l.0.e.0.w1", &eight},
        {"l.0.e.1.w1", &eight}, {"l.1.attn.q", &eight}, {"l.1.mlp.gate", NULL},
        {"l.1.e.0.w1", &four},  {"l.1.e.1.w1", &two},   {"lm_head", NULL},
    };
    static const char *const targets[] = {"[\"Linear\"]",
                                          "[\"re:.*\\\\.1\\\\.e\\\\.0\\\\.(w1|gate_proj)$\"]",
                                          "[\"re:.*\\\\.1\\\\.e\\\\.1\\\\.(w1|gate_proj)$\"]"};
    cJSON *config = format->config(ctx, modules, sizeof modules / sizeof *modules);
    if (!config)
        fail_msg("%s", awq_context_message(ctx));
    const cJSON *group, *groups = cJSON_GetObjectItem(config, "config_groups");
    int count = 0;
    cJSON_ArrayForEach(group, groups)
    {
        char name[16];
        snprintf(name, sizeof name, "group_%d", count);
        assert_string_equal(group->string, name);
        char *text = cJSON_PrintUnformatted(cJSON_GetObjectItem(group, "targets"));
        assert_true(count < 3);
        assert_string_equal(text, targets[count++]);
        cJSON_free(text);
    }
    assert_int_equal(count, 3);
    char *ignored = cJSON_PrintUnformatted(cJSON_GetObjectItem(config, "ignore"));
    assert_string_equal(ignored, "[\"re:.*\\\\.gate$\",\"lm_head\"]");
    cJSON_free(ignored);
    awq__stored stored;
    succeeds(ctx, format->read_config(ctx, "config.json", config, &stored));
    assert_same_stored(&stored.rest, &(awq__stored_scheme)STORED(8, -1, true));
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        const awq__stored_scheme *found;
        const awq__scheme *scheme = modules[i].scheme;
        succeeds(ctx, awq__stored_find(ctx, &stored, modules[i].name, &found));
        assert_int_equal(found != NULL, scheme != NULL);
        if (found)
            assert_same_stored(
                found, &(awq__stored_scheme)STORED(scheme->bits, scheme->group, scheme->symmetric));
    }
    awq__stored_free(&stored);
    cJSON_Delete(config);
}

/* What no list of names can tell apart is refused by the name of a module. */
static void schemes_that_engines_confuse_are_refused(void **state)
{
    awq_context *ctx = *state;
    static const awq__scheme four = {.bits = 4, .group = 32, .symmetric = true},
                             eight = {.bits = 8, .group = 32, .symmetric = true};
    const awq__treated modules[] = {{"l.mlp.w1", &four}, {"x", &four}, {"l.mlp.gate_proj", &eight}};
    assert_null(format->config(ctx, modules, 3));
    assert_non_null(strstr(awq_context_message(ctx), "l.mlp.gate_proj: "));
    const awq__treated right[] = {{"l.mlp.w1", &four}, {"x", &four}, {"k.mlp.gate_proj", &eight}};
    cJSON *config = format->config(ctx, right, 3);
    assert_non_null(config);
    cJSON_Delete(config);
}

/* Groups in any order; a name goes before "Linear", the first group before later ones. */
static void several_groups_of_others_are_read(void **state)
{
    awq_context *ctx = *state;
    static const char text[] =
        FORMAT ", \"ignore\": [\"lm_head\", \"re:.*gate$\"], \"config_groups\": {"
               "\"all\": " LINEAR ","
               "\"experts\": {\"targets\": [\"re:.*\\\\.experts\\\\..*\", \"m.o\"], \"weights\": {"
               "\"num_bits\": 8, \"type\": \"int\", \"symmetric\": false, \"strategy\": \"group\", "
               "\"group_size\": 64}},"
               "\"late\": {\"targets\": [\"m.experts.0\", \"m.p\"], \"weights\": {"
               "\"num_bits\": 2, \"type\": \"int\", \"symmetric\": true, \"strategy\": \"group\", "
               "\"group_size\": 32}}}}";
    static const awq__stored_scheme all = STORED(4, -1, true), experts = STORED(8, 64, false),
                                    late = STORED(2, 32, true);
    static const struct {
        const char *name;
        const awq__stored_scheme *scheme;
    } cases[] = {
        {"m.q", &all},   {"m.o", &experts}, {"m.experts.0", &experts}, {"m.experts.gate", NULL},
        {"m.p", &late},  {"lm_head", NULL}, {"x.lm_head", &all},       {"experts.1", &all},
        {"Linear", &all}};
    cJSON *config;
    awq__stored stored;
    succeeds(ctx, awq__json_parse(ctx, "x", text, sizeof text - 1, &config));
    succeeds(ctx, format->read_config(ctx, "config.json", config, &stored));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq__stored_scheme *found;
        succeeds(ctx, awq__stored_find(ctx, &stored, cases[i].name, &found));
        if (!found != !cases[i].scheme)
            fail_msg("%s is %s", cases[i].name, found ? "packed" : "not packed");
        if (found)
            assert_same_stored(found, cases[i].scheme);
    }
    awq__stored_free(&stored);
    cJSON_Delete(config);
}

/* Patterns that do not compile are the file's fault. */
static void bad_patterns_name_the_file(void **state)
{
    awq_context *ctx = *state;
    static const char *const texts[] = {
        FORMAT ", \"config_groups\": {\"a\": " LINEAR "}, \"ignore\": [\"re:(a\"]}",
        FORMAT ", \"config_groups\": {\"a\": {" WEIGHTS ", \"targets\": [\"re:(a\"]}}}"};
    for (int i = 0; i < 2; i++) {
        cJSON *config;
        awq__stored stored;
        succeeds(ctx, awq__json_parse(ctx, "x", texts[i], strlen(texts[i]), &config));
        fails(ctx, format->read_config(ctx, "a/config.json", config, &stored), AWQ_ERROR_FORMAT,
              "a/config.json: the regular expression \"(a\" does not compile");
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(the_config_says_what_readers_want),
        TEST(configs_of_others_are_read),
        TEST(configs_that_cannot_be_read_are_refused),
        TEST(groups_of_the_wrong_kind_are_refused),
        TEST(other_schemes_name_their_modules),
        TEST(schemes_that_engines_confuse_are_refused),
        TEST(several_groups_of_others_are_read),
        TEST(bad_patterns_name_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
