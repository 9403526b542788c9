/* What bitsandbytes' quantization_config says, and which ones are read. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "treated.h"

static const awq__disk_format *const format = &awq__disk_format_bitsandbytes;

static awq__scheme scheme_of(int bits)
{
    awq__scheme scheme = {.bits = bits, .group = bits == 8 ? -1 : 64, .symmetric = true};
    format->complete(&scheme, AWQ_BF16);
    return scheme;
}

static const char *const kept[] = {"model.layers.0.mlp.gate"};
static const char *const quantized[] = {"model.layers.0.mlp.experts.0.gate_proj"};

static void check_config(awq_context *ctx, int bits, const char *expected)
{
    awq__scheme scheme = scheme_of(bits);
    cJSON *config = config_of(ctx, format, &scheme, kept, 1, quantized, 1);
    assert_non_null(config);
    char *text = cJSON_PrintUnformatted(config);
    assert_string_equal(text, expected);
    cJSON *parsed;
    succeeds(ctx, awq__json_parse(ctx, "config.json", text, strlen(text), &parsed));
    awq__stored_scheme rest = rest_of(ctx, format, parsed);
    assert_same_stored(&rest, &(awq__stored_scheme)STORED(bits, bits == 8 ? -1 : 64, true));
    cJSON_Delete(parsed);
    cJSON_free(text);
    cJSON_Delete(config);
}

static void the_config_says_what_readers_need(void **state)
{
    check_config(*state, 4,
                 "{\"quant_method\":\"bitsandbytes\",\"_load_in_4bit\":true,"
                 "\"_load_in_8bit\":false,\"load_in_4bit\":true,\"load_in_8bit\":false,"
                 "\"bnb_4bit_quant_type\":\"nf4\",\"bnb_4bit_use_double_quant\":true,"
                 "\"bnb_4bit_compute_dtype\":\"bfloat16\",\"bnb_4bit_quant_storage\":\"uint8\","
                 "\"llm_int8_threshold\":6.0,\"llm_int8_enable_fp32_cpu_offload\":false,"
                 "\"llm_int8_has_fp16_weight\":false,"
                 "\"llm_int8_skip_modules\":[\"gate\",\"lm_head\"]}");
    check_config(*state, 8,
                 "{\"quant_method\":\"bitsandbytes\",\"_load_in_4bit\":false,"
                 "\"_load_in_8bit\":true,\"load_in_4bit\":false,\"load_in_8bit\":true,"
                 "\"bnb_4bit_quant_type\":\"fp4\",\"bnb_4bit_use_double_quant\":false,"
                 "\"bnb_4bit_compute_dtype\":\"float32\",\"bnb_4bit_quant_storage\":\"uint8\","
                 "\"llm_int8_threshold\":6.0,\"llm_int8_enable_fp32_cpu_offload\":false,"
                 "\"llm_int8_has_fp16_weight\":false,"
                 "\"llm_int8_skip_modules\":[\"gate\",\"lm_head\"]}");
}

static void names_that_cannot_be_told_apart_give_no_config(void **state)
{
    awq_context *ctx = *state;
    awq__scheme scheme = scheme_of(4);
    static const char *const below[] = {"model.layers.0.mlp.gate.inner"};
    assert_null(config_of(ctx, format, &scheme, kept, 1, below, 1));
    assert_non_null(strstr(awq_context_message(ctx), "model.layers.0.mlp.gate: is kept"));
}

static void configs_that_cannot_be_read_are_refused(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *text;
        awq_status status;
        const char *message; /* NULL: right */
    } cases[] = {
        {"{\"load_in_8bit\": true}", AWQ_OK, NULL},
        {"{\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"nf4\"}", AWQ_OK, NULL},
        {"{}", AWQ_ERROR_FORMAT, "none of load_in_4bit and load_in_8bit true"},
        {"{\"load_in_4bit\": 1}", AWQ_ERROR_FORMAT, "none of"},
        {"{\"load_in_4bit\": true, \"load_in_8bit\": true}", AWQ_ERROR_FORMAT, "both of"},
        {"{\"load_in_4bit\": true}", AWQ_ERROR_UNSUPPORTED, "bnb_4bit_quant_type is not \"nf4\""},
        {"{\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"fp4\"}", AWQ_ERROR_UNSUPPORTED,
         "bnb_4bit_quant_type"},
        {"{\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"nf4\", "
         "\"bnb_4bit_quant_storage\": \"bfloat16\"}",
         AWQ_ERROR_UNSUPPORTED, "bnb_4bit_quant_storage is not \"uint8\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config;
        awq__stored stored;
        succeeds(ctx, awq__json_parse(ctx, "config.json", cases[i].text, strlen(cases[i].text),
                                      &config));
        awq_status status = format->read_config(ctx, "config.json", config, &stored);
        ends(ctx, status, cases[i].status, cases[i].message);
        awq__stored_free(&stored);
        cJSON_Delete(config);
    }
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_context, free_context)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_config_says_what_readers_need),
        CASE(names_that_cannot_be_told_apart_give_no_config),
        CASE(configs_that_cannot_be_read_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
