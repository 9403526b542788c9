/* What engines take: each row of the table with a result that breaks it and one that just does not.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine_result.h"

#include <stdlib.h>
#include <strings.h>

/* ---- each row ---- */

#define ALL "awq|compressed-tensors|gptq|bitsandbytes"
#define PACKED "awq|compressed-tensors|gptq"

/* A row, by what the table says of it, a setup that breaks it and the nearest that does not. */
typedef struct row_case {
    const char *engine, *versions, *formats, *part;
    setup broken, kept;
} row_case;

static const row_case cases[] = {
    {"vllm", "", ALL, "no experts", {.native = true}, {.native = true, .quantized = ATTENTION}},
    {"vllm", "", "awq", "no lm_head", {AWQ, .also = "lm_head"}, {AWQ}},
    {"vllm", "", "awq", "of 4 bits", {AWQ, .bits = 8}, {AWQ}},
    {"vllm", "", "awq", "takes experts of group_size", {AWQ, .group = -1}, {AWQ, .group = 32}},
    {"vllm",
     "",
     "awq",
     "prefers linears beside the experts of group_size",
     {AWQ, .group = 16, .quantized = ATTENTION},
     {AWQ, .group = -1, .quantized = ATTENTION}},
    {"vllm", "", "compressed-tensors|gptq", "group_size", {.group = 16}, {.group = -1}},
    {"vllm", "", "awq|gptq", "hidden_size", {AWQ, .hidden = 2112}, {AWQ, .hidden = 2176}},
    {"vllm",
     "",
     "awq|gptq",
     "prefers experts whose columns",
     {AWQ, .intermediate = 1056},
     {AWQ, .intermediate = 1088}},
    {"vllm",
     "",
     "awq|gptq",
     "or of 32",
     {GPTQ, .intermediate = 1040},
     {GPTQ, .intermediate = 1056}},
    {"vllm", "", "gptq", "group_size 32", {GPTQ, .hidden = 2112, .group = -1}, {GPTQ, .group = -1}},
    {"vllm",
     "",
     "gptq",
     "all of them are quantized",
     {GPTQ, .intermediate = 1056, .quantized = "*.layers.1.*_proj"},
     {GPTQ, .quantized = "*.layers.1.*_proj"}},
    {"vllm",
     "",
     "gptq",
     "one scheme, where",
     {GPTQ, .hidden = 2112, .odd = LAST_EXPERTS, .odd_group = 32},
     {GPTQ, .odd = LAST_EXPERTS, .odd_group = 32}},
    {"vllm", "0.22 and later", "gptq", "4 or 8 bits", {GPTQ, .bits = 2}, {GPTQ, .bits = 8}},
    {"vllm", "0.22 and later", "gptq", "zero points", {GPTQ, .zeros = true}, {GPTQ}},
    {"vllm", "0.23", "gptq", "no experts", {GPTQ}, {GPTQ, .quantized = ATTENTION}},
    {"vllm", "", "compressed-tensors", "4 or 8 bits", {.bits = 2}, {.bits = 8}},
    {"vllm", "before 0.23", "compressed-tensors", "zero points", {.zeros = true}, {.zeros = false}},
    {"vllm",
     "",
     "compressed-tensors",
     "takes experts without zero points, for 8 bits",
     {.zeros = true, .bits = 8},
     {.zeros = true}},
    {"vllm",
     "",
     "compressed-tensors",
     "beside the experts without zero points",
     {.zeros = true, .bits = 8, .quantized = ATTENTION},
     {.bits = 8, .quantized = ATTENTION}},
    {"vllm",
     "0.23 to 0.24",
     "compressed-tensors",
     "group_size -1, for 8",
     {.bits = 8},
     {.bits = 8, .group = -1}},
    {"vllm",
     "",
     "compressed-tensors",
     "prefers experts where hidden_size",
     {.hidden = 2112},
     {.hidden = 2176}},
    {"vllm",
     "",
     "compressed-tensors",
     "group_size 32, 64 or 128, where",
     {.hidden = 2112, .group = -1},
     {.hidden = 2112}},
    {"vllm",
     "",
     "compressed-tensors",
     "zero points, where",
     {.hidden = 2112, .zeros = true},
     {.zeros = true}},
    {"vllm",
     "",
     "compressed-tensors",
     "columns on one device",
     {.intermediate = 768, .parallel = 8},
     {.intermediate = 768, .parallel = 4}},
    {"vllm",
     "before 0.25",
     "compressed-tensors",
     "multiple of 64",
     {.group = 32, .intermediate = 1056},
     {.group = 32, .intermediate = 1088}},
    {"vllm", "", PACKED, "columns on one device", {.shared = 1056}, {.shared = 1056, .group = 32}},
    {"vllm", "", PACKED, "q, k and v", {.odd = V}, {.odd = O}},
    {"vllm", "", PACKED, "of a layer", {.odd = EXPERT_DOWN}, {.quantized = "*.layers.0.*_proj"}},
    {"vllm", "", "awq", "one scheme", {AWQ, .odd = O, .odd_group = 32}, {AWQ, .odd = O}},
    {"vllm", "0.28 and later", "bitsandbytes", "no modules", {BNB}, {BNB, .quantized = "nothing"}},

    {"sglang",
     "",
     ALL,
     "MXFP4 or float",
     {.native = true},
     {.native = true, .quantized = ATTENTION}},
    {"sglang", "", "bitsandbytes", "no experts", {BNB}, {BNB, .quantized = ATTENTION}},
    {"sglang", "", ALL, "no routers", {.also = "model.layers.1.mlp.gate"}, {.parallel = 1}},
    {"sglang", "", "awq", "of 4 bits", {AWQ, .bits = 8}, {AWQ}},
    {"sglang", "", "awq", "group_size", {AWQ, .group = -1}, {AWQ, .group = 32}},
    {"sglang", "", "awq", "hidden_size", {AWQ, .hidden = 2112}, {AWQ, .hidden = 2176}},
    {"sglang",
     "",
     "awq",
     "multiple of 64",
     {AWQ, .group = 32, .intermediate = 1056},
     {AWQ, .group = 32, .intermediate = 1088}},
    {"sglang",
     "",
     "awq",
     "prefers experts whose columns",
     {AWQ, .intermediate = 1056},
     {AWQ, .intermediate = 1088}},
    {"sglang", "", "awq", "or of 32", {AWQ, .intermediate = 1040}, {AWQ, .intermediate = 1056}},
    {"sglang", "", "gptq", "hidden_size", {GPTQ, .hidden = 2112}, {GPTQ, .hidden = 2176}},
    {"sglang",
     "",
     "gptq",
     "multiple of 64",
     {GPTQ, .group = 32, .intermediate = 1056},
     {GPTQ, .group = 32, .intermediate = 1088}},
    {"sglang",
     "",
     "compressed-tensors|gptq",
     "columns on one device",
     {.intermediate = 1056},
     {.intermediate = 1056, .group = 32}},
    {"sglang",
     "",
     "gptq",
     "all of them are quantized",
     {GPTQ, .quantized = ATTENTION},
     {GPTQ, .quantized = "*.experts.*"}},
    {"sglang",
     "",
     "gptq",
     "all quantized experts with one scheme",
     {GPTQ, .odd = LAST_EXPERTS, .odd_group = 32},
     {GPTQ, .odd = O, .odd_group = 32}},
    {"sglang", "", "gptq", "4 or 8 bits", {GPTQ, .bits = 2}, {GPTQ, .bits = 8}},
    {"sglang", "", "gptq", "zero points", {GPTQ, .zeros = true}, {GPTQ}},
    {"sglang", "", "compressed-tensors|gptq", "group_size", {.group = 16}, {.group = 128}},
    {"sglang", "", "compressed-tensors", "4 or 8 bits", {.bits = 2}, {.bits = 8}},
    {"sglang",
     "",
     "compressed-tensors",
     "zero points",
     {.zeros = true},
     {.zeros = true, .quantized = ATTENTION}},
    {"sglang", "", "compressed-tensors", "hidden_size", {.hidden = 2112}, {.hidden = 2176}},
    {"sglang",
     "",
     "compressed-tensors",
     "multiple of 64",
     {.group = 32, .intermediate = 1056},
     {.group = 32, .intermediate = 1088}},
    {"sglang", "", PACKED, "columns on one device", {.shared = 1056}, {.shared = 1088}},
    {"sglang", "", ALL, "q, k and v", {.odd = V, .odd_group = 32}, {.odd = O, .odd_group = 32}},
    {"sglang",
     "",
     PACKED,
     "of a layer",
     {.odd = EXPERT_DOWN, .odd_group = 32},
     {.quantized = "*.layers.0.*_proj"}},
    {"sglang",
     "",
     "awq|bitsandbytes",
     "one scheme",
     {AWQ, .odd = O, .odd_group = 32},
     {AWQ, .odd = O}},
    {"sglang",
     "",
     "bitsandbytes",
     "tensor_parallel",
     {BNB, .parallel = 2, .quantized = ATTENTION},
     {BNB, .quantized = ATTENTION}},

    {"transformers",
     "",
     ALL,
     "no experts",
     {.native = true},
     {.native = true, .quantized = ATTENTION}},
    {"transformers", "5", "awq", "no experts", {AWQ}, {AWQ, .quantized = ATTENTION}},
    {"transformers", "5", "gptq", "no experts", {GPTQ}, {GPTQ, .quantized = ATTENTION}},
    {"transformers", "5", "bitsandbytes", "no experts", {BNB}, {BNB, .quantized = ATTENTION}},
    {"transformers",
     "",
     "awq",
     "no lm_head",
     {AWQ, .also = "lm_head", .quantized = ATTENTION},
     {AWQ, .quantized = ATTENTION}},
    {"transformers",
     "",
     "awq|bitsandbytes",
     "one scheme",
     {AWQ, .odd = O, .odd_group = 32, .quantized = ATTENTION},
     {AWQ, .odd = O, .quantized = ATTENTION}},
    {"transformers",
     "",
     "compressed-tensors",
     "zero points",
     {.zeros = true},
     {.zeros = true, .quantized = ATTENTION}},
    {"transformers",
     "5",
     "compressed-tensors",
     "all of them are quantized",
     {.odd = EXPERT_DOWN},
     {.odd = EXPERT_DOWN, .native = true}},
    {"transformers",
     "5",
     "compressed-tensors",
     "one scheme",
     {.odd = EXPERT_DOWN, .odd_group = 32},
     {.odd = O, .odd_group = 32}},
    {"transformers",
     "5.0 to 5.12",
     "compressed-tensors",
     "no experts",
     {.parallel = 1},
     {.quantized = ATTENTION}},
    {"transformers",
     "",
     "compressed-tensors",
     "unpacks experts",
     {.parallel = 1},
     {.quantized = ATTENTION}},
    {"transformers",
     "",
     "compressed-tensors",
     "mixtral, minimax_m2, qwen2_moe, qwen3_moe, qwen3_next, deepseek_v2, deepseek_v3, "
     "ernie4_5_moe, glm4_moe, glm4_moe_lite, hunyuan_v1_moe, olmoe",
     {.model_type = "qwen3"},
     {.model_type = "qwen3_next"}},
    {"transformers",
     "before 4.55",
     "mxfp4",
     "no experts",
     {MXFP4, .quantized = "*.experts.*"},
     {MXFP4, .quantized = "nothing"}},
    {"transformers",
     "",
     "mxfp4",
     "unpacks",
     {MXFP4, .quantized = "*.experts.*"},
     {MXFP4, .quantized = "nothing"}},

    {"llama.cpp", "", ALL, "keeps no packed weights", {.quantized = O}, {.quantized = "nothing"}},
    {"llama.cpp",
     "",
     "mxfp4",
     "experts of gpt_oss",
     {.format = "mxfp4", .quantized = "*.experts.*"},
     {MXFP4, .quantized = "*.experts.*"}},
    {"llama.cpp", "", "mxfp4", "modules but experts", {MXFP4}, {MXFP4, .quantized = "*.experts.*"}},
    {"llama.cpp",
     "",
     "mxfp4",
     "the same blocks",
     {MXFP4, .quantized = "*.experts.*"},
     {MXFP4, .quantized = "nothing"}},

    {"tensorrt-llm", "", ALL, "W4A8_AWQ", {AWQ}, {AWQ, .quantized = ATTENTION}},
};

static const row_case mxfp4_cases[] = {
    {"",
     "",
     "mxfp4",
     "experts of gpt_oss",
     {.format = "mxfp4", .quantized = "*.experts.*"},
     {MXFP4_EXPERTS}},
    {"", "", "mxfp4", "modules but experts", {MXFP4}, {MXFP4_EXPERTS}},
    {"",
     "",
     "mxfp4",
     "4 bits in E2M1",
     {.format = "mxfp4", .model_type = "gpt_oss", .group = 32, .quantized = "*.experts.*"},
     {MXFP4_EXPERTS}},
    {"",
     "",
     "mxfp4",
     "group_size 32",
     {.format = "mxfp4",
      .model_type = "gpt_oss",
      .code = AWQ__CODE_E2M1,
      .quantized = "*.experts.*"},
     {MXFP4_EXPERTS}},
    {"",
     "",
     "mxfp4",
     "all experts with one scheme, or all kept",
     {MXFP4, .quantized = "*.layers.0.*experts.*"},
     {MXFP4_EXPERTS}},
};

/* Every engine but llama.cpp. */
static const row_case gguf_case = {.versions = "",
                                   .formats = "gguf",
                                   .part = "no modules",
                                   .broken = {.format = "gguf"},
                                   .kept = {.format = "gguf", .quantized = "nothing"}};

/* The one row that the case means. */
static size_t row_of(awq_context *ctx, const row_case *c, const char *engine)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < awq__engine_row_count(); i++) {
        awq__engine_row_text text;
        succeeds(ctx, awq__engine_row_at(ctx, i, &text));
        if (!strcasecmp(text.engine, engine) && !strcmp(text.versions, c->versions) &&
            !strcmp(text.formats, c->formats) && strstr(text.constraint, c->part)) {
            if (found != SIZE_MAX)
                fail_msg("rows %zu and %zu are both %s %s: %s", found, i, engine, c->formats,
                         c->part);
            found = i;
        }
        awq__free(text.constraint);
    }
    if (found == SIZE_MAX)
        fail_msg("no row of %s %s: %s", engine, c->formats, c->part);
    return found;
}

static const awq__finding *finding_of(const awq__findings *findings, size_t row)
{
    for (size_t i = 0; i < findings->count; i++)
        if (findings->items[i].row == row)
            return &findings->items[i];
    return NULL;
}

static void run_case(awq_context *ctx, const row_case *c, const char *engine, bool *seen)
{
    size_t row = row_of(ctx, c, engine);
    awq__findings broken = check(ctx, engine, c->broken), kept = check(ctx, engine, c->kept);
    const awq__finding *finding = finding_of(&broken, row);
    if (!finding)
        fail_msg("%s %s, %s: not found", engine, c->formats, c->part);
    if (finding_of(&kept, row))
        fail_msg("%s", finding_of(&kept, row)->reason);
    assert_string_equal(finding->engine, engine);
    assert_string_equal(finding->versions, c->versions);
    assert_int_equal(finding->refused, finding->level == AWQ__ENGINE_REFUSES);
    assert_false(seen[row]);
    seen[row] = true;
    awq__findings_free(&broken);
    awq__findings_free(&kept);
}

static void every_row_has_a_hit_and_a_near_miss(void **state)
{
    static const char *const readers[] = {"vllm", "sglang", "transformers", "tensorrt-llm"};
    bool *seen = calloc(awq__engine_row_count(), sizeof *seen);
    assert_non_null(seen);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run_case(*state, &cases[i], cases[i].engine, seen);
    for (size_t e = 0; e < sizeof readers / sizeof *readers; e++)
        run_case(*state, &gguf_case, readers[e], seen);
    for (size_t e = 0; e < sizeof readers / sizeof *readers; e++)
        for (size_t i = 0; i < sizeof mxfp4_cases / sizeof *mxfp4_cases; i++)
            run_case(*state, &mxfp4_cases[i], readers[e], seen);
    for (size_t i = 0; i < awq__engine_row_count(); i++)
        if (!seen[i])
            fail_msg("row %zu has no case", i);
    free(seen);
}

static void every_row_says_where_it_is_from(void **state)
{
    for (size_t i = 0; i < awq__engine_row_count(); i++) {
        awq__engine_row_text text;
        succeeds(*state, awq__engine_row_at(*state, i, &text));
        assert_true(strlen(text.engine) && strlen(text.formats) && strlen(text.source));
        assert_true(strlen(text.constraint) && strlen(text.level));
        /* Words for one engine's readers: no template is left unfilled. */
        assert_null(strstr(text.constraint, "  "));
        assert_null(strchr(text.constraint, '%'));
        awq__free(text.constraint);
    }
}

static void the_public_list_is_the_table(void **state)
{
    awq_context *own;
    awq_engine_rule_list *list;
    assert_int_equal(awq_context_create(&own), AWQ_OK);
    assert_int_equal(awq_engine_rule_list_create(own, &list), AWQ_OK);
    awq_context_free(own); /* which the list outlives */
    assert_int_equal(awq_engine_rule_list_count(list), awq__engine_row_count());
    for (size_t i = 0; i < awq__engine_row_count(); i++) {
        const awq_engine_rule *rule = awq_engine_rule_list_at(list, i);
        awq__engine_row_text text;
        succeeds(*state, awq__engine_row_at(*state, i, &text));
        assert_string_equal(rule->engine, text.engine);
        assert_string_equal(rule->versions, text.versions);
        assert_string_equal(rule->formats, text.formats);
        assert_string_equal(rule->constraint, text.constraint);
        assert_string_equal(rule->level, text.level);
        assert_string_equal(rule->source, text.source);
        awq__free(text.constraint);
    }
    assert_null(awq_engine_rule_list_at(list, awq__engine_row_count()));
    awq_engine_rule_list_free(list);
    awq_engine_rule_list_free(NULL);
}

/* ---- published models ---- */

/* The most devices, of 1, 2, 4 and 8, between which a group size can be divided. */
static void groups_of_published_models_divide(void **state)
{
    static const struct {
        const char *model;
        int64_t hidden, intermediate, group, most;
    } models[] = {
        {"Qwen1.5-MoE-A2.7B", 2048, 1408, 128, 1},
        {"Qwen1.5-MoE-A2.7B", 2048, 1408, 64, 2},
        {"Qwen1.5-MoE-A2.7B", 2048, 1408, 32, 4},
        {"Qwen3-30B-A3B", 2048, 768, 128, 2},
        {"Qwen3-30B-A3B", 2048, 768, 64, 4},
        {"Qwen3-30B-A3B", 2048, 768, 32, 8},
        {"Qwen3-235B-A22B", 4096, 1536, 128, 4},
        {"Qwen2-57B-A14B", 3584, 2560, 128, 4},
        {"Mixtral-8x7B", 4096, 14336, 128, 8},
        {"gpt-oss", 2880, 2880, 64, 1},
        {"gpt-oss", 2880, 2880, 32, 2},
    };
    row_case columns = {
        .versions = "", .formats = "compressed-tensors", .part = "experts whose columns"};
    size_t row = row_of(*state, &columns, "vllm");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        for (int64_t parallel = 1; parallel <= 8; parallel *= 2) {
            awq__findings findings = check(*state, "vllm",
                                           (setup){.hidden = models[i].hidden,
                                                   .intermediate = models[i].intermediate,
                                                   .shared = 8192,
                                                   .group = models[i].group,
                                                   .parallel = parallel,
                                                   .quantized = "*.experts.*"});
            bool refused = finding_of(&findings, row) != NULL;
            if (refused != (parallel > models[i].most))
                fail_msg("%s in groups of %d over %d", models[i].model, (int)models[i].group,
                         (int)parallel);
            awq__findings_free(&findings);
        }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(every_row_has_a_hit_and_a_near_miss),
        TEST(every_row_says_where_it_is_from),
        TEST(the_public_list_is_the_table),
        TEST(groups_of_published_models_divide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
