/* Every remedy that a plan offers is carried out: the plan is then accepted. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "rules.h"

#include <stdio.h>
#include <stdlib.h>

static int set_up(void **state)
{
    return make_context(state) || awq_context_add_plugin_path(*state, AWQ_TEST_PLUGINS) != AWQ_OK;
}

/* What a recipe says: options, and the one rule it may have, as pairs. */
typedef struct variant {
    const char *options[7], *rule[7];
} variant;

static const variant variants[] = {
    {{"quantize.bits", "4"}, {0}},
    {{"quantize.bits", "8"}, {0}},
    {{"quantize.bits", "2"}, {0}},
    {{"quantize.symmetric", "false"}, {0}},
    {{"quantize.symmetric", "false", "quantize.bits", "8"}, {0}},
    {{"quantize.group_size", "-1"}, {0}},
    {{"quantize.group_size", "128", "tensor_parallel", "4"}, {0}},
    {{"quantize.group_size", "64", "tensor_parallel", "3", "quantize.symmetric", "false"}, {0}},
    {{"tensor_parallel", "8", "quantize.modules", "*"}, {0}},
    {{"quantize.modules", "*.self_attn.*"}, {0}},
    {{"quantize.preset", "w8a16"}, {0}},
    {{"quantize.preset", "w4a16-asym"}, {0}},
    {{"quantize.preset", "nf4"}, {0}},
    {{"quantize.preset", "int8"}, {0}},
    {{"quantize.preset", "mxfp4"}, {0}},
    {{0}, {"layers", "0", "keep", "true"}},
    {{0}, {"layers", "1", "bits", "8", "group_size", "-1"}},
    {{0}, {"role", "attention", "bits", "8", "group_size", "-1"}},
    {{0}, {"projection", "down", "keep", "true"}},
    {{0}, {"experts", "0", "keep", "true"}},
};

typedef struct setting {
    const char *model, *engine, *format;
    const variant *variant;
} setting;

static awq_recipe *make_recipe(awq_context *ctx, const setting *s, bool with_rule)
{
    awq_recipe *recipe;
    char model[256];
    snprintf(model, sizeof model, AWQ_TEST_DATA "/%s", s->model);
    succeeds(ctx, awq_recipe_create(ctx, &recipe));
    set_options(ctx, recipe,
                PAIRS("model", model, "output", "none", "engine", s->engine, "format", s->format,
                      "quantize.method", "rtn"));
    set_options(ctx, recipe, s->variant->options);
    if (with_rule && s->variant->rule[0])
        add_rule(ctx, recipe, s->variant->rule);
    return recipe;
}

/* As someone would who reads the message: options are set, and what words ask for needs no rule. */
static awq_recipe *carry_out(awq_context *ctx, const setting *s, const char *remedy)
{
    char text[512], *rest = NULL;
    bool words = false;
    snprintf(text, sizeof text, "%s", remedy);
    for (const char *at = text; (at = strstr(at, "quantize ")); at++)
        words = true;
    words |= strstr(text, "one scheme") != NULL;
    awq_recipe *recipe = make_recipe(ctx, s, !words);
    for (char *part = strtok_r(text, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        part += strspn(part, " ");
        char *value = strstr(part, ": ");
        if (!value)
            continue;
        *value = 0;
        succeeds(ctx, awq_recipe_set(recipe, part, value + 2, NULL));
    }
    if (words && (strstr(remedy, "nothing else") || strstr(remedy, "all experts")))
        set_options(ctx, recipe, PAIRS("quantize.modules", "*.experts.*"));
    return recipe;
}

/* Returns whether a remedy was tried. */
static bool try_one(awq_context *ctx, const setting *s)
{
    static const char offer[] = "; what it loads: ";
    awq_plan *plan;
    awq_recipe *recipe = make_recipe(ctx, s, true);
    awq_status status = awq_plan_create(ctx, recipe, &plan);
    char message[1024];
    snprintf(message, sizeof message, "%s", awq_context_message(ctx));
    awq_plan_free(plan);
    awq_recipe_free(recipe);
    const char *remedy = strstr(message, offer);
    if (status == AWQ_OK || !remedy)
        return false;
    recipe = carry_out(ctx, s, remedy + sizeof offer - 1);
    if (awq_plan_create(ctx, recipe, &plan) != AWQ_OK)
        fail_msg("%s, %s: %s\nbut then: %s", s->model, s->format, message,
                 awq_context_message(ctx));
    awq_plan_free(plan);
    awq_recipe_free(recipe);
    return true;
}

static void remedies_are_accepted(void **state)
{
    static const char *const models[] = {"mixtral-tiny", "qwen2_moe-tiny", "gpt_oss-tiny"};
    static const char *const engines[] = {"vllm", "sglang", "transformers", "llama.cpp",
                                          "tensorrt-llm"};
    static const char *const formats[] = {"awq", "compressed-tensors", "gptq", "bitsandbytes",
                                          "mxfp4"};
    size_t tried = 0;
    for (size_t m = 0; m < 3; m++)
        for (size_t e = 0; e < 5; e++)
            for (size_t f = 0; f < 5; f++)
                for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
                    tried += try_one(*state,
                                     &(setting){models[m], engines[e], formats[f], &variants[v]});
    assert_true(tried > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(remedies_are_accepted, set_up, free_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
