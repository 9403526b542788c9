/* From rules to what happens to each module, on the models of tests/data. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "rules.h"
#include "run/job.h"

#include <stdio.h>

#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"
#define QWEN2 AWQ_TEST_DATA "/qwen2_moe-tiny"
#define QWEN3 AWQ_TEST_DATA "/qwen3_moe-tiny"
#define GPT_OSS AWQ_TEST_DATA "/gpt_oss-tiny"

typedef struct fixture {
    awq_context *ctx;
    awq_recipe *recipe;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    *state = &f;
    f = (fixture){0};
    if (awq_context_create(&f.ctx) != AWQ_OK)
        return -1;
    return awq_context_add_plugin_path(f.ctx, AWQ_TEST_PLUGINS) != AWQ_OK;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    awq_recipe_free(f->recipe);
    awq_context_free(f->ctx);
    return 0;
}

/* A new recipe, that only lacks what it shall do. */
static void begin(fixture *f, const char *model, const char *const *options)
{
    awq_recipe_free(f->recipe);
    succeeds(f->ctx, awq_recipe_create(f->ctx, &f->recipe));
    set_options(f->ctx, f->recipe,
                PAIRS("model", model, "output", "out", "calibration.data",
                      AWQ_TEST_DATA "/mixtral-tiny/eval.txt"));
    set_options(f->ctx, f->recipe, options);
}

static void rule(fixture *f, const char *const *pairs)
{
    add_rule(f->ctx, f->recipe, pairs);
}

static awq_plan *plan_of(fixture *f)
{
    awq_plan *plan;
    succeeds(f->ctx, awq_plan_create(f->ctx, f->recipe, &plan));
    return plan;
}

static void refused(fixture *f, const char *message)
{
    awq_plan *plan;
    fails(f->ctx, awq_plan_create(f->ctx, f->recipe, &plan), AWQ_ERROR_RECIPE, message);
    assert_null(plan);
}

static void accepted(fixture *f)
{
    awq_plan_free(plan_of(f));
}

/* How many modules of the pattern are treated so. */
static uint64_t treated(const awq_plan *plan, const char *pattern, const char *treatment)
{
    for (size_t i = 0; i < awq_plan_group_count(plan); i++) {
        const awq_plan_group *group = awq_plan_group_at(plan, i);
        if (!strcmp(group->pattern, pattern) && !strcmp(group->treatment, treatment))
            return group->count;
    }
    return 0;
}

static bool warns(const awq_plan *plan, const char *part)
{
    for (size_t i = 0; i < awq_plan_warning_count(plan); i++)
        if (strstr(awq_plan_warning_at(plan, i), part))
            return true;
    return false;
}

/* ---- matrices that engines join ---- */

static void parts_of_one_matrix_are_treated_alike(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *model, *match, *message;
    } cases[] = {
        {MIXTRAL, "*.experts.2.w1",
         "model.layers.0.block_sparse_moe.experts.2.w1 and "
         "model.layers.0.block_sparse_moe.experts.2.w3: are treated differently, but have the same "
         "input and become one matrix in engines; a rule for the one must match the other"},
        {MIXTRAL, "layers.1.*.experts.3.w3", "layers.1.block_sparse_moe.experts.3.w1 and model"},
        {MIXTRAL, "*.q_proj", "self_attn.q_proj and model.layers.0.self_attn.k_proj"},
        {MIXTRAL, "*.k_proj", "self_attn.q_proj and model.layers.0.self_attn.k_proj"},
        {MIXTRAL, "*.v_proj", "self_attn.q_proj and model.layers.0.self_attn.v_proj"},
        {QWEN2, "*.shared_expert.up_proj", "shared_expert.gate_proj and model.layers.0."},
        {QWEN3, "*.experts.7.gate_proj", "experts.7.gate_proj and model.layers.0."},
        {GPT_OSS, "*.experts.0.up_proj", "experts.0.gate_proj and model.layers.0."},
    };
    static const char *const differences[][2] = {{"bits", "8"},      {"group_size", "32"},
                                                 {"clip", "false"},  {"symmetric", "false"},
                                                 {"method", "gptq"}, {"rounding", "nearest"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t d = 0; d < sizeof differences / sizeof *differences; d++) {
            begin(f, cases[i].model,
                  PAIRS("format", "compressed-tensors", "quantize.modules", "*"));
            rule(f, PAIRS("match", cases[i].match, differences[d][0], differences[d][1]));
            refused(f, cases[i].message);
        }
}

static void what_may_differ_may_differ(void **state)
{
    fixture *f = *state;
    static const char *const differences[][4] = {
        {"projection", "down", "bits", "8"},
        {"projection", "o", "method", "gptq"},
        {"projection", "gate_up", "bits", "8"},
        {"projection", "qkv", "group_size", "32"},
        {"experts", "even", "symmetric", "false"},
        {"layers", "0", "rounding", "nearest"},
        {"projection", "up", "keep", "true"},
        {"projection", "k,v", "keep", "true"},
        {"projection", "gate", "keep", "true"},
        /* said in another way, but the same: 128 is what auto comes to */
        {"projection", "up", "group_size", "128"},
        {"projection", "q", "bits", "4"},
    };
    for (size_t i = 0; i < sizeof differences / sizeof *differences; i++) {
        begin(f, QWEN2, PAIRS("quantize.modules", "*"));
        rule(f, PAIRS(differences[i][0], differences[i][1], differences[i][2], differences[i][3]));
        accepted(f);
    }
}

/* ---- formats ---- */

static void a_format_with_one_scheme_refuses_two(void **state)
{
    fixture *f = *state;
    begin(f, MIXTRAL, PAIRS("quantize.group_size", "64")); /* auto: awq */
    rule(f, PAIRS("layers", "1", "role", "expert", "group_size", "32"));
    refused(f, "model.layers.0.block_sparse_moe.experts.0.w1 and "
               "model.layers.1.block_sparse_moe.experts.0.w1: have different bits, groups or "
               "symmetry, but the awq format has one scheme for all; formats that can mix them: "
               "compressed-tensors, gptq");
    succeeds(f->ctx, awq_recipe_set(f->recipe, "format", "compressed-tensors", NULL));
    accepted(f);
    static const char *const differences[][2] = {{"symmetric", "true"}, {"group_size", "32"}};
    for (int i = 0; i < 2; i++) {
        begin(f, QWEN3, PAIRS("format", "awq"));
        rule(f, PAIRS("experts", "even", differences[i][0], differences[i][1]));
        refused(f, "experts.1.gate_proj: have different bits, groups or symmetry, but the awq");
    }
    begin(f, QWEN3, PAIRS("format", "awq")); /* one scheme in several ways */
    rule(f, PAIRS("experts", "even", "method", "rtn"));
    rule(f, PAIRS("layers", "0", "role", "expert", "rounding", "nearest"));
    rule(f, PAIRS("experts", "1", "keep", "true"));
    rule(f, PAIRS("role", "attention", "clip", "false"));
    accepted(f);
}

static void mxfp4_stores_all_experts_and_nothing_else(void **state)
{
    fixture *f = *state;
    begin(f, GPT_OSS, PAIRS(NULL)); /* auto: mxfp4 */
    rule(f, PAIRS("experts", "even", "bits", "8"));
    refused(f, "experts.1.gate_proj: have different bits, groups or symmetry, but the mxfp4");
    begin(f, GPT_OSS, PAIRS(NULL));
    rule(f, PAIRS("experts", "even", "keep", "true"));
    refused(f, "experts.0.gate_proj: stays float, but the mxfp4 format stores all experts");
    begin(f, GPT_OSS, PAIRS(NULL));
    rule(f, PAIRS("projection", "o"));
    refused(f, "o_proj: its role is attention, but the mxfp4 format stores only experts");
    begin(f, GPT_OSS, PAIRS(NULL));
    rule(f, PAIRS("experts", "even", "method", "rtn"));
    rule(f, PAIRS("projection", "down", "rounding", "nearest"));
    awq_plan *plan = plan_of(f);
    assert_int_equal(treated(plan, "model.layers.*.mlp.experts.*.gate_proj", "rtn mxfp4"), 8);
    assert_int_equal(treated(plan, "model.layers.*.mlp.experts.*.gate_proj", "awq mxfp4, GPTQ"), 8);
    assert_int_equal(
        treated(plan, "model.layers.*.mlp.experts.*.down_proj", "awq mxfp4, choice of exponents"),
        8);
    awq_plan_free(plan);
}

static void presets_choose_the_format(void **state)
{
    fixture *f = *state;
    begin(f, GPT_OSS, PAIRS("quantize.preset", "mxfp4", "quantize.method", "rtn"));
    awq_plan *plan = plan_of(f);
    assert_int_equal(treated(plan, "model.layers.*.mlp.experts.*.up_proj", "rtn mxfp4"), 16);
    awq_plan_free(plan);
    begin(f, QWEN3, PAIRS("quantize.preset", "mxfp4"));
    refused(f, "the qwen_moe architecture has no mxfp4 layout that engines read; formats that fit: "
               "compressed-tensors, awq");
    begin(f, GPT_OSS, PAIRS("format", "awq", "quantize.preset", "mxfp4"));
    refused(f, "preset mxfp4: is stored in the format mxfp4, but the recipe's format is awq");
    begin(f, MIXTRAL, PAIRS("quantize.preset", "w8a16")); /* awq has 4 bits alone */
    refused(f, "experts.0.w1: 8 bits");
    begin(f, MIXTRAL, PAIRS("quantize.preset", "w4a16"));
    plan = plan_of(f);
    assert_int_equal(treated(plan, "model.layers.*.block_sparse_moe.experts.*.w2",
                             "awq int4 g128 symmetric, GPTQ"),
                     8);
    awq_plan_free(plan);
    begin(f, QWEN3, PAIRS("quantize.preset", "w4a16-asym"));
    rule(f, PAIRS("role", "attention", "preset", "w8a16", "method", "rtn"));
    plan = plan_of(f);
    assert_int_equal(
        treated(plan, "model.layers.*.mlp.experts.*.up_proj", "awq int4 g128 asymmetric, GPTQ"),
        16);
    assert_int_equal(treated(plan, "model.layers.*.self_attn.q_proj", "rtn int8 row symmetric"), 2);
    awq_plan_free(plan);
}

/* ---- mixed ---- */

static void each_module_has_what_its_rule_says(void **state)
{
    fixture *f = *state;
    begin(f, QWEN3, PAIRS("quantize.group_size", "64"));
    rule(f, PAIRS("layers", "0", "experts", "odd", "keep", "true"));
    rule(f, PAIRS("layers", "0", "experts", "0-3", "bits", "8"));
    rule(f, PAIRS("layers", "-1", "projection", "down", "bits", "2", "group_size", "32"));
    rule(f, PAIRS("role", "attention", "bits", "8", "group_size", "-1", "method", "rtn"));
    awq__model_plan plan;
    succeeds(f->ctx, awq__model_plan_create(f->ctx, f->recipe, &plan));
    size_t count = 0;
    for (size_t i = 0; i < plan.model->arch->module_count; i++) {
        const awq__module *m = &plan.model->arch->modules[i];
        int bits = 0;
        int64_t group = 64;
        if (m->role == AWQ_ROLE_EXPERT) {
            bool first = m->layer == 0;
            bits = first && m->expert % 2 ? 0 : first && m->expert < 4 ? 8 : 4;
            if (!first && m->part == AWQ__PART_DOWN) {
                bits = 2;
                group = 32;
            }
        } else if (m->role == AWQ_ROLE_ATTENTION && !m->vector && m->part <= AWQ__PART_O) {
            bits = 8;
            group = m->cols;
        }
        if (!plan.rules.of[i] != !bits)
            fail_msg("%s is %s", m->name, bits ? "kept" : "quantized");
        if (!bits)
            continue;
        awq__scheme scheme = awq__model_plan_scheme(&plan, i, AWQ_BF16);
        assert_int_equal(scheme.bits, bits);
        assert_int_equal(scheme.group, group);
        assert_true(scheme.symmetric);
        assert_int_equal(scheme.code, AWQ__CODE_INTEGER);
        assert_int_equal(scheme.grid, AWQ__GRID_BF16);
        count++;
    }
    assert_int_equal(count, 4 * 3 + 8 * 3 + 2 * 4);
    awq__model_plan_free(&plan);
}

/* The sizes of a plan's groups are those of its modules, and less bits are less bytes. */
static void sizes_follow_the_rules(void **state)
{
    fixture *f = *state;
    static const char *const bits[] = {"2", "4", "8"};
    uint64_t sizes[3];
    for (int i = 0; i < 3; i++) {
        begin(f, QWEN2, PAIRS(NULL));
        rule(f, PAIRS("layers", "1", "role", "expert", "bits", bits[i]));
        rule(f, PAIRS("role", "shared_expert", "bits", "8"));
        awq_plan *plan = plan_of(f);
        uint64_t before = 0, after = 0;
        for (size_t g = 0; g < awq_plan_group_count(plan); g++) {
            before += awq_plan_group_at(plan, g)->bytes_before;
            after += awq_plan_group_at(plan, g)->bytes_after;
        }
        assert_int_equal(before, awq_plan_bytes_before(plan));
        assert_int_equal(after, awq_plan_bytes_after(plan));
        sizes[i] = after;
        awq_plan_free(plan);
    }
    uint64_t weights = 8 * 3 * 128 * 128; /* of the layer's routed experts */
    assert_int_equal(sizes[1] - sizes[0], weights / 4);
    assert_int_equal(sizes[2] - sizes[1], weights / 2);
}

/* Only where scales are folded are neighbours changed. */
static void what_stays_float_is_rescaled_where_scales_are(void **state)
{
    fixture *f = *state;
    begin(f, QWEN2, PAIRS("quantize.method", "rtn", "format", "compressed-tensors"));
    rule(f, PAIRS("layers", "0", "experts", "5", "projection", "gate_up", "method", "awq"));
    rule(f, PAIRS("layers", "1", "projection", "down", "method", "gptq"));
    awq_plan *plan = plan_of(f);
    assert_int_equal(treated(plan, "model.layers.*.mlp.gate", "rescale BF16"), 1);
    assert_int_equal(treated(plan, "model.layers.*.mlp.gate", "keep BF16"), 1);
    assert_int_equal(treated(plan, "model.layers.*.mlp.shared_expert_gate", "rescale BF16"), 1);
    assert_int_equal(treated(plan, "model.layers.*.mlp.shared_expert.up_proj", "rescale BF16"), 1);
    assert_int_equal(treated(plan, "model.layers.*.mlp.shared_expert.down_proj", "keep BF16"), 1);
    assert_int_equal(treated(plan, "model.layers.*.self_attn.q_proj", "keep BF16"), 2);
    assert_int_equal(
        treated(plan, "model.layers.*.mlp.experts.*.gate_proj", "awq int4 g128 symmetric, GPTQ"),
        1);
    assert_int_equal(
        treated(plan, "model.layers.*.mlp.experts.*.gate_proj", "rtn int4 g128 symmetric"), 15);
    assert_int_equal(
        treated(plan, "model.layers.*.mlp.experts.*.down_proj", "gptq int4 g128 symmetric, GPTQ"),
        8);
    awq_plan_free(plan);
}

/* ---- warnings, and what is missing ---- */

/* Warnings that name a rule. */
static size_t rule_warnings(const awq_plan *plan)
{
    size_t count = 0;
    for (size_t i = 0; i < awq_plan_warning_count(plan); i++)
        count += !strncmp(awq_plan_warning_at(plan, i), "rules[", strlen("rules["));
    return count;
}

static void rules_are_judged_as_quantize_is(void **state)
{
    fixture *f = *state;
    begin(f, QWEN3, PAIRS(NULL));
    awq_plan *plan = plan_of(f);
    assert_int_equal(rule_warnings(plan), 0);
    awq_plan_free(plan);
    rule(f, PAIRS("layers", "1", "role", "expert", "bits", "8"));
    rule(f, PAIRS("match", "*.w1"));
    plan = plan_of(f);
    assert_int_equal(rule_warnings(plan), 1);
    assert_true(warns(plan, "rules[2] (match: *.w1): matches no module; names look like "
                            "model.layers.0.mlp.experts.0.gate_proj"));
    awq_plan_free(plan);
    begin(f, QWEN3, PAIRS(NULL));
    rule(f, PAIRS("layers", "1", "bits", "8"));
    plan = plan_of(f);
    assert_int_equal(rule_warnings(plan), 1);
    assert_true(warns(plan, "rules[1] (layers: 1): matches routers, as model.layers.1.mlp.gate"));
    assert_int_equal(treated(plan, "model.layers.*.mlp.gate", "rescale BF16"), 2);
    awq_plan_free(plan);
    begin(f, QWEN3, PAIRS(NULL));
    rule(f, PAIRS("role", "router"));
    refused(f, "rules[1] (role: router): matches only what is never quantized");
}

static void a_rule_that_calibrates_needs_data(void **state)
{
    fixture *f = *state;
    begin(f, QWEN3, PAIRS("quantize.method", "rtn"));
    succeeds(f->ctx, awq_recipe_clear(f->recipe, "calibration.data"));
    rule(f, PAIRS("role", "expert", "bits", "8"));
    accepted(f);
    rule(f, PAIRS("role", "attention", "method", "awq"));
    refused(f, "the recipe does not say calibration.data");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(parts_of_one_matrix_are_treated_alike),
        TEST(what_may_differ_may_differ),
        TEST(a_format_with_one_scheme_refuses_two),
        TEST(mxfp4_stores_all_experts_and_nothing_else),
        TEST(presets_choose_the_format),
        TEST(each_module_has_what_its_rule_says),
        TEST(sizes_follow_the_rules),
        TEST(what_stays_float_is_rescaled_where_scales_are),
        TEST(rules_are_judged_as_quantize_is),
        TEST(a_rule_that_calibrates_needs_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
