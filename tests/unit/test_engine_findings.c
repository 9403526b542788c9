/* Findings about engines: their words, remedies that hold what they promise, one engine and any. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine_result.h"

#include <stdlib.h>

/* ---- messages and remedies ---- */

static void messages_name_what_was_found(void **state)
{
    static const struct {
        const char *engine;
        setup setup;
        const char *reason;
    } messages[] = {
        {"vllm",
         {.intermediate = 768, .parallel = 8, .quantized = "*.experts.*"},
         "model.layers.0.mlp.experts.0.down_proj: 768 columns over tensor_parallel 8 are 96, which "
         "groups of 64 do not divide (and 7 modules more); vLLM takes experts whose columns on one "
         "device are a multiple of the group: a device gets whole groups"},
        {"vllm",
         {.parallel = 5, .quantized = "*.experts.*"},
         "model.layers.0.mlp.experts.0.down_proj: 1024 columns do not divide by tensor_parallel 5 "
         "(and 7 modules more); vLLM takes experts whose columns on one device are a multiple of "
         "the group: a device gets whole groups"},
        {"vllm",
         {.zeros = true, .quantized = "*.experts.*"},
         "model.layers.0.mlp.experts.0.gate_proj: with zero points (and 23 modules more); vLLM "
         "before 0.23 takes experts without zero points, for 4 bits"},
        {"transformers",
         {.odd = EXPERT_DOWN, .odd_group = 32, .quantized = "*.experts.*"},
         "model.layers.1.mlp.experts.2.down_proj: 4 bits in groups of 32, symmetric, but "
         "model.layers.0.mlp.experts.0.gate_proj: 4 bits in groups of 64, symmetric; transformers "
         "5 takes all quantized experts with one scheme: it unpacks all experts by the scheme of "
         "the "
         "first"},
        {"sglang",
         {.odd = EXPERT_DOWN},
         "model.layers.1.mlp.experts.2.down_proj: kept, but "
         "model.layers.1.mlp.experts.0.gate_proj: 4 bits in groups of 64, symmetric; SGLang takes "
         "all experts of a layer with one scheme, or all kept: one kernel computes all of them"},
        {"sglang",
         {.bits = 2, .group = -1, .quantized = "*.experts.*"},
         "model.layers.0.mlp.experts.0.gate_proj: 2 bits (and 23 modules more); SGLang takes "
         "experts of 4 or 8 bits, integers"},
        {"llama.cpp",
         {AWQ, .quantized = O},
         O ": attention in the awq format; llama.cpp takes no modules in this format: it reads "
           "GGUF, which format: gguf writes; its converter keeps no packed weights but the MXFP4 "
           "of GPT-OSS"},
    };
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        awq__findings findings = check(*state, messages[i].engine, messages[i].setup);
        assert_true(findings.count > 0);
        assert_string_equal(findings.items[0].reason, messages[i].reason);
        awq__findings_free(&findings);
    }
}

/* The first finding's. */
static void remedies_are_the_nearest(void **state)
{
    static const struct {
        const char *engine;
        setup setup;
        const char *remedy;
    } remedies[] = {
        {"transformers", {.zeros = true}, "quantize.symmetric: true"},
        {"transformers", {AWQ}, "format: compressed-tensors"},
        {"transformers",
         {AWQ, .zeros = true},
         "format: compressed-tensors, quantize.symmetric: true"},
        {"sglang", {.zeros = true, .bits = 8}, "quantize.symmetric: true"},
        {"vllm", {.group = 128, .intermediate = 768, .parallel = 4}, "quantize.group_size: 64"},
        {"vllm", {.group = 128, .intermediate = 768, .parallel = 8}, "quantize.group_size: 32"},
        {"vllm",
         {.group = 128, .intermediate = 1408, .parallel = 8},
         "quantize.group_size: 32, tensor_parallel: 4"},
        {"vllm", {.hidden = 2112, .group = -1}, "quantize.group_size: 64"},
        {"vllm", {.hidden = 2112, .group = -1, .bits = 8}, "quantize.group_size: 64"},
        {"vllm", {.hidden = 2112, .bits = 8, .zeros = true}, "quantize.symmetric: true"},
        {"vllm", {AWQ, .group = -1}, "quantize.group_size: 128"},
        {"sglang", {AWQ, .group = -1, .hidden = 2112}, "quantize.group_size: 64"},
        {"vllm", {GPTQ, .hidden = 2112, .group = -1}, "quantize.group_size: 64"},
        {"vllm",
         {GPTQ, .hidden = 2112, .quantized = "*.layers.1.*_proj"},
         "quantize all experts with one scheme"},
        {"vllm", {BNB}, "format: awq"},
        {"sglang", {GPTQ, .quantized = ATTENTION}, "format: awq"},
        {"sglang",
         {GPTQ, .quantized = "*.layers.1.*.experts.*"},
         "quantize all experts with one scheme"},
        {"transformers",
         {.quantized = "*.layers.1.*.experts.*"},
         "quantize all experts with one scheme"},
        {"transformers", {.quantized = ATTENTION}, "format: awq"},
        {"vllm", {.bits = 2}, "quantize.bits: 4"},
        {"vllm", {AWQ, .bits = 8}, "format: compressed-tensors"},
        {"vllm", {.bits = 8}, "quantize.group_size: -1"}, /* for versions 0.23 and 0.24 */
        {"vllm", {.zeros = true}, "quantize.symmetric: true"},
        {"vllm", {.odd = EXPERT_DOWN}, "keep or quantize all experts of layer 1 alike"},
        {"vllm",
         {.quantized = "*.experts.[01].*"},
         "keep or quantize all experts of each layer alike"},
        {"vllm", {.odd = V}, "keep or quantize " V " as model.layers.1.self_attn.q_proj"},
        {"vllm",
         {.quantized = "*.[qg]*_proj"},
         "keep or quantize alike q, k and v of a layer, and gate and up of an MLP"},
        {"vllm", {AWQ, .odd = O, .odd_group = 32}, "format: compressed-tensors"},
        {"vllm", {AWQ, .odd = O, .odd_group = 32, .hidden = 2112}, "format: compressed-tensors"},
        {"vllm",
         {AWQ, .odd = O, .odd_group = 32, .hidden = 2112, .zeros = true},
         "one scheme for all that is quantized"},
        {"transformers",
         {.odd = EXPERT_DOWN, .odd_group = 32},
         "keep or quantize all experts of each layer alike"},
        {"transformers",
         {.odd = "*.layers.1.*.experts.*", .odd_group = 32},
         "quantize all experts with one scheme"},
        {"sglang", {BNB, .parallel = 2, .quantized = ATTENTION}, "tensor_parallel: 1"},
        {"vllm", {BNB, .parallel = 4}, "format: awq"},
        {"vllm",
         {AWQ, .native = true, .model_type = "gpt_oss", .quantized = "*.experts.*"},
         "format: mxfp4, quantize.group_size: 32"},
        {"llama.cpp",
         {.native = true, .model_type = "gpt_oss"},
         "format: mxfp4, quantize.group_size: 32, quantize all experts and nothing else"},
        {"llama.cpp", {.parallel = 1}, NULL},
        {"tensorrt-llm", {AWQ}, NULL},
        {"sglang",
         {.format = "mxfp4", .code = AWQ__CODE_E2M1, .group = 32, .quantized = "*.experts.*"},
         "format: awq"},
    };
    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++) {
        awq__findings findings = check(*state, remedies[i].engine, remedies[i].setup);
        if (!findings.count)
            fail_msg("case %zu: nothing found", i);
        const awq__finding *first = &findings.items[0];
        if (remedies[i].remedy && !first->remedy)
            fail_msg("case %zu: no remedy for %s", i, first->reason);
        if (remedies[i].remedy)
            assert_string_equal(first->remedy, remedies[i].remedy);
        else
            assert_null(first->remedy);
        awq__findings_free(&findings);
    }
}

/* A remedy as a user would carry it out. */
static setup carried_out(setup given, const char *remedy)
{
    setup s = filled(given);
    char text[256], *rest = NULL;
    snprintf(text, sizeof text, "%s", remedy);
    bool was_mxfp4 = !strcmp(s.format, "mxfp4");
    for (char *part = strtok_r(text, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        part += *part == ' ';
        const char *value = strstr(part, ": ");
        if (!strncmp(part, "format: ", 8))
            s.format = strstr(remedy, "mxfp4")  ? "mxfp4"
                       : strstr(remedy, "awq")  ? "awq"
                       : strstr(remedy, "gptq") ? "gptq"
                                                : "compressed-tensors";
        else if (!strncmp(part, "quantize.bits: ", 15))
            s.bits = (int)strtol(value + 2, NULL, 10);
        else if (!strncmp(part, "quantize.group_size: ", 21))
            s.group = strtol(value + 2, NULL, 10);
        else if (!strncmp(part, "quantize.symmetric: ", 20))
            s.zeros = false;
        else if (!strncmp(part, "tensor_parallel: ", 17))
            s.parallel = strtol(value + 2, NULL, 10);
        else /* alike */
            s.odd = NULL;
        if (strstr(part, "nothing else"))
            s.quantized = "*.experts.*";
    }
    if (!strcmp(s.format, "mxfp4")) {
        s.code = AWQ__CODE_E2M1;
        s.bits = 4;
        s.group = 32;
        s.zeros = false;
    } else if (was_mxfp4) {
        s.code = AWQ__CODE_INTEGER;
    }
    return s;
}

static size_t try_remedies(awq_context *ctx, const char *engine, setup s)
{
    size_t tried = 0;
    awq__findings findings = check(ctx, engine, s);
    for (size_t i = 0; i < findings.count; i++) {
        const awq__finding *finding = &findings.items[i];
        if (!finding->remedy)
            continue;
        awq__findings after = check(ctx, engine, carried_out(s, finding->remedy));
        if (refusals(&after))
            fail_msg("%s: \"%s\" leaves: %s", finding->reason, finding->remedy,
                     after.items[0].reason);
        for (size_t k = 0; k < after.count; k++)
            if (after.items[k].level <= finding->level)
                fail_msg("%s: \"%s\" leaves: %s", finding->reason, finding->remedy,
                         after.items[k].reason);
        awq__findings_free(&after);
        tried++;
    }
    awq__findings_free(&findings);
    return tried;
}

static void remedies_hold(void **state)
{
    static const char *const engines[] = {"vllm", "sglang", "transformers", "llama.cpp",
                                          "tensorrt-llm"};
    static const char *const formats[] = {"awq", "compressed-tensors", "gptq", "bitsandbytes",
                                          "mxfp4"};
    static const int64_t groups[] = {128, 32, -1}, widths[] = {768, 1408, 2880},
                         devices[] = {1, 2, 8};
    static const char *const odd[] = {NULL, EXPERT_DOWN, V};
    size_t tried = 0;
    unsigned turn = 0;
    for (size_t f = 0; f < 5; f++)
        for (size_t g = 0; g < 3; g++)
            for (size_t w = 0; w < 3; w++)
                for (size_t d = 0; d < 3; d++)
                    for (int flags = 0; flags < 8; flags++, turn++) {
                        bool mxfp4 = f == 4;
                        setup s = {.format = formats[f],
                                   .group = mxfp4 ? 32 : groups[g],
                                   .bits = flags & 1 && !mxfp4 ? 8 : 4,
                                   .zeros = flags & 2 && !mxfp4,
                                   .code = mxfp4 ? AWQ__CODE_E2M1 : AWQ__CODE_INTEGER,
                                   .intermediate = widths[w],
                                   .hidden = widths[w] == 2880 ? 2880 : 2048,
                                   .parallel = devices[d],
                                   .native = (flags & 4) != 0,
                                   .model_type = flags & 4 ? "gpt_oss" : "mixtral",
                                   .odd = odd[turn % 3],
                                   .odd_group = turn % 2 ? 0 : 32};
                        tried += try_remedies(*state, engines[(turn + turn / 8) % 5], s);
                    }
    assert_true(tried > 400);
}

/* ---- engines by name and any ---- */

static void any_refuses_nothing(void **state)
{
    awq__findings findings = check(*state, "any", (setup){AWQ, .zeros = true});
    assert_int_equal(findings.count, 3);
    assert_string_equal(findings.items[0].engine, "transformers");
    assert_string_equal(findings.items[0].versions, "5");
    assert_string_equal(findings.items[1].engine, "llama.cpp");
    assert_string_equal(findings.items[2].engine, "tensorrt-llm");
    assert_int_equal(refusals(&findings), 0);
    awq__findings_free(&findings);

    findings = check(*state, "transformers", (setup){AWQ, .zeros = true});
    assert_int_equal(findings.count, 1);
    assert_int_equal(refusals(&findings), 1);
    awq__findings_free(&findings);
}

/* With "any", older versions are told where the newest load a result, and what only costs speed is
 * not. */
static void any_tells_of_older_versions(void **state)
{
    static const char *const expected[] = {"before 0.23", "", "", "", ""};
    static const char *const engines[] = {"vllm", "sglang", "transformers", "llama.cpp",
                                          "tensorrt-llm"};
    awq__findings findings = check(*state, "any", (setup){.zeros = true});
    assert_int_equal(findings.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(findings.items[i].engine, engines[i]);
        assert_string_equal(findings.items[i].versions, expected[i]);
    }
    awq__findings_free(&findings);

    findings = check(*state, "any", (setup){.bits = 4});
    assert_int_equal(findings.count, 3);
    assert_string_equal(findings.items[0].versions, "5.0 to 5.12");
    assert_string_equal(findings.items[1].engine, "llama.cpp");
    assert_string_equal(findings.items[2].engine, "tensorrt-llm");
    awq__findings_free(&findings);
}

static void an_engine_that_loads_it_says_nothing(void **state)
{
    static const struct {
        const char *engine;
        setup setup;
    } silent[] = {
        {"vllm", {.bits = 4}},
        {"vllm", {AWQ, .zeros = true}},
        {"vllm", {MXFP4_EXPERTS, .hidden = 2880, .intermediate = 2880, .parallel = 8}},
        {"sglang", {.bits = 8}},
        {"sglang", {AWQ, .zeros = true, .parallel = 8, .group = 128}},
        {"sglang", {GPTQ, .bits = 8}},
        {"transformers", {AWQ, .quantized = ATTENTION}},
        {"tensorrt-llm", {MXFP4_EXPERTS}},
        {"vllm", {.native = true, .model_type = "gpt_oss", .quantized = ATTENTION}},
    };
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++) {
        awq__findings findings = check(*state, silent[i].engine, silent[i].setup);
        if (findings.count)
            fail_msg("case %zu: %s", i, findings.items[0].reason);
        awq__findings_free(&findings);
    }
}

/* A row that matters only to an engine that loads the rest is not told of one that does not. */
static void what_cannot_be_loaded_has_no_other_faults(void **state)
{
    awq__findings findings =
        check(*state, "sglang", (setup){BNB, .parallel = 2, .odd = EXPERT_DOWN});
    assert_int_equal(findings.count, 1);
    assert_non_null(strstr(findings.items[0].reason, "takes no experts"));
    awq__findings_free(&findings);

    findings = check(*state, "vllm", (setup){.intermediate = 1056}); /* and not before 0.25 */
    for (size_t i = 0; i < findings.count; i++)
        assert_true(findings.items[i].refused);
    assert_true(findings.count > 0);
    awq__findings_free(&findings);
}

static void unknown_names_are_refused(void **state)
{
    result r;
    awq__findings findings;
    make(usual, &r);
    fails(*state, awq__engines_check(*state, "vllm2", &r.facts, &findings), AWQ_ERROR_ARGUMENT,
          "engine: \"vllm2\" is not one of vllm|sglang|transformers|llama.cpp|"
          "tensorrt-llm|any");
    fails(*state, awq__engines_check(*state, "", &r.facts, &findings), AWQ_ERROR_ARGUMENT,
          "engine: \"\"");
    r.facts.format = "auto";
    fails(*state, awq__engines_check(*state, "any", &r.facts, &findings), AWQ_ERROR_ARGUMENT,
          "format: what engines make of \"auto\"");
    assert_int_equal(findings.count, 0);
    assert_null(findings.items);
}

static void figures_at_the_ends_are_harmless(void **state)
{
    static const int64_t ends[] = {INT64_MIN, -1, 0, 1, INT64_MAX};
    static const char *const engines[] = {"vllm", "any"};
    for (size_t e = 0; e < 2; e++)
        for (size_t i = 0; i < 5; i++)
            for (size_t k = 0; k < 5; k++) {
                result r;
                awq__findings findings;
                make(usual, &r);
                r.facts.tensor_parallel = ends[i];
                r.facts.hidden = ends[k];
                r.scheme.group = ends[k];
                for (size_t m = 0; m < r.facts.module_count; m++)
                    r.modules[m].rows = r.modules[m].cols = ends[k];
                succeeds(*state, awq__engines_check(*state, engines[e], &r.facts, &findings));
                awq__findings_free(&findings);
                r.facts.module_count = 0;
                succeeds(*state, awq__engines_check(*state, engines[e], &r.facts, &findings));
                assert_int_equal(findings.count, 0);
                awq__findings_free(&findings);
            }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(messages_name_what_was_found),
        TEST(remedies_are_the_nearest),
        TEST(remedies_hold),
        TEST(any_refuses_nothing),
        TEST(any_tells_of_older_versions),
        TEST(an_engine_that_loads_it_says_nothing),
        TEST(what_cannot_be_loaded_has_no_other_faults),
        TEST(unknown_names_are_refused),
        TEST(figures_at_the_ends_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
