/* What auto-round says in its own words, and configs that say what the tensors or other files do
 * not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/model.h"
#include "rules.h"
#include "support/synthetic.h"
#include "temp_files.h"
#include "treated.h"

static cJSON *parsed(awq_context *ctx, const char *text)
{
    cJSON *config;
    succeeds(ctx, awq__json_parse(ctx, "x", text, strlen(text), &config));
    return config;
}

static const awq__stored_scheme *scheme_of(awq_context *ctx, const awq__stored *stored,
                                           const char *module)
{
    const awq__stored_scheme *scheme;
    succeeds(ctx, awq__stored_find(ctx, stored, module, &scheme));
    return scheme;
}

#define USUAL "\"bits\": 4, \"group_size\": 128, \"sym\": true, \"data_type\": \"int\""

static void packing_format_names_the_layout(void **state)
{
    static const struct {
        const char *packing, *format;
        bool zeros_less_one;
    } cases[] = {{"auto_round:auto_gptq", "gptq", true},
                 {"auto_gptq", "gptq", true},
                 {"auto_round:auto_awq", "awq", false},
                 {"auto_round:llm_compressor", "compressed-tensors", false}};
    assert_true(awq__is_auto_round("auto-round"));
    assert_false(awq__is_auto_round("awq"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        const awq__disk_format *format;
        awq__stored stored;
        snprintf(text, sizeof text, "{" USUAL ", \"packing_format\": \"%s\"}", cases[i].packing);
        cJSON *config = parsed(*state, text);
        succeeds(*state, awq__auto_round_read(*state, "x", config, &format, &stored));
        assert_string_equal(format->name, cases[i].format);
        awq__stored_scheme expected = STORED(4, 128, true);
        expected.zeros_less_one = cases[i].zeros_less_one;
        assert_same_stored(scheme_of(*state, &stored, "any"), &expected);
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

static void extra_config_is_of_some_modules(void **state)
{
    const awq__disk_format *format;
    awq__stored stored;
    cJSON *config = parsed(
        *state, "{" USUAL ", \"packing_format\": \"auto_round:auto_gptq\", \"extra_config\": {"
                "\"m.0.gate\": {\"bits\": 16, \"data_type\": \"float\"},"
                "\"m.1.gate\": {\"bits\": 4294967296}, \"m.2.gate\": {\"bits\": 4294967300},"
                "\"m.3.gate\": {\"bits\": 2147483648},"
                "\"m.0.up\": {\"bits\": 8, \"group_size\": -1},"
                "\".*down$\": {\"bits\": 2, \"sym\": false}}}");
    succeeds(*state, awq__auto_round_read(*state, "x", config, &format, &stored));
    static const char *const kept[] = {"m.0.gate", "m.1.gate", "m.2.gate", "m.3.gate"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_null(scheme_of(*state, &stored, kept[i]));
    const struct {
        const char *module;
        int bits;
        int64_t group;
        bool symmetric;
    } cases[] = {{"m.0.up", 8, -1, true},
                 {"m.0.up2", 4, 128, true},
                 {"a.m.0.gate", 4, 128, true},
                 {"m.1.down", 2, 128, false},
                 {"m.1.down.b", 4, 128, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__stored_scheme expected = STORED(cases[i].bits, cases[i].group, cases[i].symmetric);
        expected.zeros_less_one = true;
        assert_same_stored(scheme_of(*state, &stored, cases[i].module), &expected);
    }
    awq__stored_free(&stored);
    cJSON_Delete(config);
}

static void what_cannot_be_read_is_named(void **state)
{
    static const char *const cases[][2] = {
        {"{" USUAL "}", "packing_format is missing, but only \"auto_round:auto_gptq\""},
        {"{" USUAL ", \"packing_format\": \"auto_round:sglang\"}", "is \"auto_round:sglang\""},
        {"{\"packing_format\": \"auto_awq\", \"bits\": 4, \"sym\": true}", "group_size is missing"},
        {"{\"packing_format\": \"auto_gptq\", \"bits\": 16, \"group_size\": 4, \"sym\": true}",
         "bits is 16, but only 2, 4 or 8"},
        {"{\"packing_format\": \"auto_gptq\", \"bits\": 4294967298, \"group_size\": 4,"
         "\"sym\": true}",
         "bits is 4294967298, but only 2, 4 or 8"},
        {"{\"packing_format\": \"auto_awq\", \"bits\": 16, \"group_size\": 4, \"sym\": true}",
         "bits is 16, but only 4 can be read"},
        {"{\"packing_format\": \"auto_awq\", \"bits\": 2, \"group_size\": 4, \"sym\": true}",
         "bits is 2, but only 4 can be read"},
        {"{" USUAL ", \"packing_format\": \"auto_awq\", \"extra_config\": {\"a\": {\"bits\": 8}}}",
         "bits is 8, but only 4 can be read"},
        {"{" USUAL ", \"packing_format\": \"auto_gptq\","
         "\"extra_config\": {\"a\": {\"bits\": -4294967296}}}",
         "bits is -4294967296, but only 2, 4 or 8"},
        {"{\"packing_format\": \"auto_awq\", \"bits\": 4, \"group_size\": 0, \"sym\": true}",
         "group_size is 0"},
        {"{" USUAL ", \"packing_format\": \"auto_awq\", \"act_bits\": 4}", "act_bits is 4"},
        {"{\"bits\": 4, \"group_size\": 32, \"sym\": true, \"data_type\": \"mx_fp\","
         "\"packing_format\": \"auto_round:llm_compressor\"}",
         "data_type is \"mx_fp\", but only \"int\""},
        {"{" USUAL ", \"packing_format\": \"auto_awq\", \"extra_config\": []}",
         "extra_config is an empty array"},
        {"{" USUAL ", \"packing_format\": \"auto_awq\", \"extra_config\": {\"a\": 4}}",
         "an entry of extra_config is 4"},
        {"{" USUAL ", \"packing_format\": \"auto_awq\", \"extra_config\": {\"a\": {\"bits\": 5}}}",
         "bits is 5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq__disk_format *format;
        awq__stored stored;
        cJSON *config = parsed(*state, cases[i][0]);
        fails(*state, awq__auto_round_read(*state, "x", config, &format, &stored),
              AWQ_ERROR_UNSUPPORTED, cases[i][1]);
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

/* ---- whole models ---- */

static void make_model(fixture *f, const char *config_more)
{
    synthetic small = SYNTHETIC_SMALL;
    small.config_more = config_more;
    succeeds(f->ctx, awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS));
    succeeds(f->ctx, synthetic_write(f->ctx, path_of(f, "model"), &small));
}

static void a_config_that_the_tensors_contradict_is_named(void **state)
{
    fixture *f = *state;
    awq_model *model;
    awq_recipe *recipe;
    awq_plan *plan;
    make_model(f, "\"quantization_config\": {\"quant_method\": \"auto-round\", " USUAL
                  ", \"packing_format\": \"auto_round:auto_gptq\"}");
    succeeds(f->ctx, awq_model_open(f->ctx, path_of(f, "model"), "", &model));
    assert_false(model->has_codes);
    awq_model_free(model);
    succeeds(f->ctx, awq_recipe_create(f->ctx, &recipe));
    set_options(f->ctx, recipe,
                PAIRS("model", path_of(f, "model"), "output", "none", "quantize.method", "rtn"));
    fails(
        f->ctx, awq_plan_create(f->ctx, recipe, &plan), AWQ_ERROR_RECIPE,
        "/config.json: quantization_config says gptq, but no weight is stored so; if the model was "
        "made plain again, remove quantization_config from it");
    awq_recipe_free(recipe);
}

static void modelopt_says_it_in_another_file(void **state)
{
    fixture *f = *state;
    awq_model *model;
    make_model(f, NULL);
    write_text(f, "model/hf_quant_config.json", "{\"quantization\": {\"quant_algo\": null}}");
    succeeds(f->ctx, awq_model_open(f->ctx, path_of(f, "model"), "", &model));
    awq_model_free(model);
    write_text(f, "model/hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"NVFP4\"}}");
    fails(f->ctx, awq_model_open(f->ctx, path_of(f, "model"), "", &model), AWQ_ERROR_UNSUPPORTED,
          "model/hf_quant_config.json: quantization.quant_algo is \"NVFP4\"");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(packing_format_names_the_layout),
        TEST(extra_config_is_of_some_modules),
        TEST(what_cannot_be_read_is_named),
        DISK_TEST(a_config_that_the_tensors_contradict_is_named),
        DISK_TEST(modelopt_says_it_in_another_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
