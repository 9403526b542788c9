/*
 * Whole runs whose rules treat modules differently: each module is stored as its rule says, in as
 * many bytes as were planned; a result lies between those that treat all alike; it has the same
 * bytes however it runs; a fold takes those along that stay float.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/kl.h"
#include "golden/runs.h"
#include "golden/values.h"
#include "run/job.h"
#include "support/synthetic.h"
#include "unit/rules.h"

#include <math.h>

#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"
#define QWEN2 AWQ_TEST_DATA "/qwen2_moe-tiny"
#define QWEN3 AWQ_TEST_DATA "/qwen3_moe-tiny"
#define GPT_OSS AWQ_TEST_DATA "/gpt_oss-tiny"

enum { MOST_RULES = 4 };

typedef struct mixed {
    const char *model;
    const char *options[9];
    const char *rules[MOST_RULES][11];
} mixed;

#define COMPRESSED "format", "compressed-tensors"

static const mixed even_experts = {
    MIXTRAL, {COMPRESSED, NULL}, {{"experts", "odd", "keep", "true", NULL}}};
static const mixed first_layer = {
    QWEN3, {NULL}, {{"layers", "0", "role", "expert", "bits", "8", NULL}}};
static const mixed attention_beside = {
    QWEN2, {NULL}, {{"role", "attention", "preset", "w8a16", "method", "rtn", NULL}}};
static const mixed down_by_gptq = {
    MIXTRAL, {NULL}, {{"role", "expert", "projection", "down", "method", "gptq", NULL}}};
/* As many ways as there are, side by side in a layer. */
static const mixed all_ways = {
    QWEN2,
    {"quantize.group_size", "64", "quantize.modules", "*", NULL},
    {{"experts", "0,3", "keep", "true", NULL},
     {"experts", "1", "method", "rtn", "symmetric", "false", NULL},
     {"experts", "even", "projection", "down", "bits", "8", "rounding", "gptq", NULL},
     {"role", "shared_expert,attention", "layers", "-1", "bits", "2", "group_size", "32", NULL}}};
static const mixed gpt_oss = {
    GPT_OSS,
    {COMPRESSED, "quantize.rounding", "gptq", NULL},
    {{"experts", "::3", "projection", "gate_up", "keep", "true", NULL},
     {"experts", "1:", "layers", "1", "group_size", "32", "bits", "8", "method", "awq", NULL},
     {"projection", "o", "method", "rtn", NULL}}};
static const mixed native = {
    GPT_OSS,
    {NULL},
    {{"experts", "even", "method", "rtn", NULL}, {"projection", "down", "rounding", "gptq", NULL}}};
static const mixed all_linears = {
    MIXTRAL,
    {COMPRESSED, "quantize.modules", "*", NULL},
    {{"experts", "0", "bits", "8", NULL}, {"projection", "qkv", "group_size", "32", NULL}}};
/* The second rule reaches the attention of layer 1 too, which quantize.modules does not name. */
static const mixed by_sketches = {
    QWEN3,
    {"quantize.sketch_rows", "48", "quantize.group_size", "32", NULL},
    {{"experts", "odd", "group_size", "-1", NULL}, {"layers", "1", "clip", "false", NULL}}};

static awq_recipe *recipe_for(const fixture *f, const mixed *m)
{
    awq_recipe *recipe = short_recipe(f, m->model);
    set_options(f->ctx, recipe, m->options);
    for (int i = 0; i < MOST_RULES && m->rules[i][0]; i++)
        add_rule(f->ctx, recipe, m->rules[i]);
    return recipe;
}

/* Quantizes; `report` may be NULL. */
static awq_eval_result run_mixed(const fixture *f, const mixed *m, bool force, cJSON **report)
{
    awq_recipe *recipe = recipe_for(f, m);
    awq_quantize_options how = {.struct_size = sizeof how, .force = force};
    awq_report *done;
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, &done));
    awq_eval_result result = *awq_report_evaluation(done);
    const char *text = awq_report_json(done);
    if (report)
        assert_ok(f, awq__json_parse(f->ctx, "report", text, strlen(text), report));
    awq_report_free(done);
    awq_recipe_free(recipe);
    return result;
}

/* ---- what is stored ---- */

static uint64_t tensor_bytes(const awq_model *model)
{
    const awq__checkpoint *checkpoint = model->arch->checkpoint;
    uint64_t bytes = 0;
    for (size_t i = 0; i < awq__checkpoint_count(checkpoint); i++)
        bytes += awq__checkpoint_at(checkpoint, i)->bytes;
    return bytes;
}

/* As awq_module's storage says it. */
static void describe(const awq__scheme *scheme, char *text, size_t size)
{
    if (scheme->code == AWQ__CODE_E2M1)
        snprintf(text, size, "mxfp4");
    else
        snprintf(text, size, "int%d g%lld", scheme->bits, (long long)scheme->group);
}

/* Every module of the output is stored as the plan says, in as many bytes. Returns how many
   different schemes there are. */
static size_t check_stored(const fixture *f, const mixed *m)
{
    awq_recipe *recipe = recipe_for(f, m);
    awq__model_plan plan;
    awq_plan *shown;
    awq_model *model;
    uint64_t bytes = 0;
    awq__scheme schemes[8];
    size_t count = 0;
    assert_ok(f, awq__model_plan_create(f->ctx, recipe, &plan));
    assert_ok(f, awq_plan_create(f->ctx, recipe, &shown));
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &model));
    assert_int_equal(awq_model_module_count(model), plan.model->arch->module_count);
    for (size_t i = 0; i < awq_model_module_count(model); i++) {
        const awq_module *module = awq_model_module(model, i);
        char expected[64] = "BF16";
        if (plan.rules.of[i]) {
            awq__scheme scheme = awq__model_plan_scheme(&plan, i, AWQ_BF16);
            awq__found found;
            size_t s = 0;
            describe(&scheme, expected, sizeof expected);
            assert_ok(f, awq__model_find(model, &model->arch->modules[i], NULL, &found));
            assert_true(found.packed && awq__same_scheme(&found.scheme, &scheme));
            while (s < count && !awq__same_scheme(&schemes[s], &scheme))
                s++;
            if (s == count) {
                assert_true(count < sizeof schemes / sizeof *schemes);
                schemes[count++] = scheme;
            }
        }
        assert_int_equal(module->quantized, plan.rules.of[i] != NULL);
        if (strcmp(module->storage, expected) != 0)
            fail_msg("%s is %s, expected %s", module->name, module->storage, expected);
        uint64_t stored;
        assert_ok(f, awq__result_bytes(&plan, i, &stored));
        assert_int_equal(module->bytes, stored);
        bytes += module->bytes;
    }
    assert_int_equal(bytes, awq_plan_bytes_after(shown));
    assert_int_equal(bytes, tensor_bytes(model));
    awq_model_free(model);
    awq_plan_free(shown);
    awq__model_plan_free(&plan);
    awq_recipe_free(recipe);
    return count;
}

/* In each layer and block that was folded, the fold left the block's function as it was. */
static int count_proofs(const cJSON *report)
{
    static const char *const errors[] = {"attention.fold_error", "experts.fold_error"};
    const cJSON *layer;
    int count = 0;
    cJSON_ArrayForEach(layer, awq__json_at(report, "layers"))
    {
        for (int i = 0; i < 2; i++) {
            const cJSON *error = awq__json_at(layer, errors[i]);
            if (!error)
                continue;
            assert_true(error->valuedouble < 1e-3);
            count++;
        }
    }
    return count;
}

static void test_results_are_stored_as_planned(void **state)
{
    static const struct {
        const mixed *mixed;
        const char *name;
        size_t schemes;
        int proofs; /* of 2 layers: of the experts, and of the attention if it is searched too */
    } cases[] = {{&even_experts, "odd-experts-kept", 1, 2},
                 {&first_layer, "layer-0-in-8-bits", 2, 2},
                 {&attention_beside, "attention-in-8-bits", 2, 2},
                 {&down_by_gptq, "down-by-gptq", 1, 2},
                 {&all_ways, "all-ways-mixed", 4, 4},
                 {&gpt_oss, "gptq-mixed", 2, 2},
                 {&native, "mxfp4-mixed", 1, 2},
                 {&all_linears, "all-mixed", 3, 4},
                 {&by_sketches, "sketch-mixed", 2, 3}};
    const fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *report;
        awq_eval_result reported = run_mixed(f, cases[i].mixed, i > 0, &report);
        assert_int_equal(check_stored(f, cases[i].mixed), cases[i].schemes);
        awq_eval_result found = evaluate_output(f, cases[i].mixed->model);
        assert_true(found.kl == reported.kl && found.perplexity == reported.perplexity);
        assert_kl(cases[i].mixed->model, cases[i].name, found.kl);
        assert_int_equal(count_proofs(report), cases[i].proofs);
        cJSON_Delete(report);
    }
}

/* ---- quality ---- */

static const char *const none[] = {NULL};

static double kl_of(const fixture *f, const char *model, const char *const *options,
                    const char *const *rule)
{
    mixed m = {.model = model};
    for (int i = 0; options[i]; i++)
        m.options[i] = options[i];
    for (int i = 0; rule[i]; i++)
        m.rules[0][i] = rule[i];
    return run_mixed(f, &m, true, NULL).kl;
}

/* What is treated better in a part is better, and worse than what is treated better all through. */
static void test_mixed_results_lie_between_uniform_ones(void **state)
{
    const fixture *f = *state;
    static const struct {
        const char *model;
        const char *coarse[5], *fine[5]; /* fine empty: no error at all */
        const char *rule[7];             /* over `coarse` */
    } cases[] = {
        {MIXTRAL, {COMPRESSED, NULL}, {NULL}, {"experts", "odd", "keep", "true", NULL}},
        {QWEN3,
         {"quantize.bits", "4", NULL},
         {"quantize.bits", "8", NULL},
         {"layers", "0", "role", "expert", "bits", "8", NULL}},
        {QWEN2,
         {"quantize.modules", "*", "quantize.bits", "4", NULL},
         {"quantize.modules", "*", "quantize.preset", "w8a16", NULL},
         {"role", "attention", "preset", "w8a16", "method", "rtn", NULL}},
        {QWEN2,
         {"quantize.bits", "2", "quantize.group_size", "32", NULL},
         {"quantize.bits", "4", "quantize.group_size", "32", NULL},
         {"role", "expert", "projection", "down", "bits", "4", NULL}},
        {MIXTRAL,
         {"quantize.method", "rtn", NULL},
         {"quantize.method", "gptq", NULL},
         {"role", "expert", "projection", "down", "method", "gptq", NULL}},
        {QWEN3,
         {"quantize.method", "rtn", NULL},
         {"quantize.method", "awq", NULL},
         {"layers", "1", "role", "expert", "method", "awq", NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double coarse = kl_of(f, cases[i].model, cases[i].coarse, none);
        double fine = cases[i].fine[0] ? kl_of(f, cases[i].model, cases[i].fine, none) : 0;
        double between = kl_of(f, cases[i].model, cases[i].coarse, cases[i].rule);
        if (!(fine < between && between < coarse))
            fail_msg("case %zu: KL %.6f, %.6f, %.6f", i, fine, between, coarse);
    }
}

/* ---- the promises of a run ---- */

static void test_the_same_bytes_however_it_runs(void **state)
{
    fixture *f = *state;
    static const mixed *const cases[] = {&all_ways, &gpt_oss, &native, &all_linears, &by_sketches};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        snprintf(output, sizeof output, "%s/case-%zu", f->directory, c);
        check_same_bytes(f, recipe_for(f, cases[c]));
    }
}

static void test_other_rules_do_not_go_on(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = recipe_for(f, &all_ways);
    stop_after_first_layer(f, recipe);
    succeeds(f->ctx, awq_recipe_rule_set(recipe, 0, "experts", "0"));
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_EXISTS);
    awq_recipe_free(recipe);
}

static void test_an_uncompensated_router_stops_the_run(void **state)
{
    const fixture *f = *state;
    static const mixed *const cases[] = {&even_experts, &all_ways};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq_recipe *recipe = recipe_for(f, cases[i]);
        run_uncompensated(f, recipe, 8);
        awq_recipe_free(recipe);
    }
}

/* ---- what stays float beside what does not ---- */

/* The largest change of norm * weight, in the first rows, as a share of the largest value. */
static double product_change(const fixture *f, awq_model *const models[2], const char *norm_name,
                             const char *name)
{
    enum { ROWS = 4 };
    int64_t cols;
    double change = 0, largest = 0;
    float *norm[2], *weight[2];
    for (int i = 0; i < 2; i++) {
        norm[i] = values_of(f, models[i], norm_name, &cols);
        weight[i] = values_of(f, models[i], name, &cols);
    }
    for (int64_t i = 0; i < ROWS * cols; i++) {
        double before = (double)norm[0][i % cols] * (double)weight[0][i];
        double after = (double)norm[1][i % cols] * (double)weight[1][i];
        change = fmax(change, fabs(after - before));
        largest = fmax(largest, fabs(before));
    }
    for (int i = 0; i < 2; i++) {
        free(norm[i]);
        free(weight[i]);
    }
    return change / largest;
}

static bool same_values(const fixture *f, awq_model *const models[2], const char *name)
{
    int64_t cols;
    float *values[2];
    for (int i = 0; i < 2; i++)
        values[i] = values_of(f, models[i], name, &cols);
    bool same = !memcmp(values[0], values[1], (size_t)cols * sizeof(float));
    free(values[0]);
    free(values[1]);
    return same;
}

/* Router and kept experts are multiplied by what the norm is divided by; experts that are only
   rounded are so before they are. Layers whose experts are not searched stay as they are. */
static void test_neighbours_are_compensated(void **state)
{
    fixture *f = *state;
    synthetic small = SYNTHETIC_SMALL;
    small.dtype = AWQ_F32; /* no rounding hides an error */
    char source[1024], ids[1024];
    snprintf(source, sizeof source, "%s/source", f->directory);
    snprintf(ids, sizeof ids, "%s/ids", f->directory);
    assert_ok(f, synthetic_write(f->ctx, source, &small));
    assert_ok(f, synthetic_random_ids(f->ctx, ids, 4, 64, small.vocabulary, 5));
    char file[1100];
    snprintf(file, sizeof file, "%s/model.safetensors", ids);
    awq_recipe *recipe =
        recipe_of(f, source,
                  PAIRS(COMPRESSED, "calibration.data", file, "calibration.sequence_length", "64",
                        "quantize.group_size", "32"));
    add_rule(f->ctx, recipe, PAIRS("layers", "1", "experts", "even", "bits", "8"));
    add_rule(f->ctx, recipe, PAIRS("layers", "1", "experts", "1", "keep", "true"));
    add_rule(f->ctx, recipe, PAIRS("layers", "1", "experts", "3", "bits", "8", "method", "rtn"));
    add_rule(f->ctx, recipe, PAIRS("layers", "0", "experts", "0", "method", "rtn"));
    add_rule(f->ctx, recipe, PAIRS("layers", "0", "keep", "true"));
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
    awq_model *models[2];
    assert_ok(f, awq_model_open(f->ctx, source, NULL, &models[0]));
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &models[1]));
#define LAYER(n) "model.layers." #n "."
    const char *norm = LAYER(1) "post_attention_layernorm";
    static const struct {
        const char *name;
        double most;
    } cases[] = {
        {LAYER(1) "block_sparse_moe.gate", 1e-6},
        {LAYER(1) "block_sparse_moe.experts.1.w1", 1e-6},
        {LAYER(1) "block_sparse_moe.experts.1.w3", 1e-6},
        {LAYER(1) "block_sparse_moe.experts.0.w1", 0.02}, /* in 8 bits */
        {LAYER(1) "block_sparse_moe.experts.3.w1", 0.02},
        {LAYER(1) "block_sparse_moe.experts.3.w3", 0.02},
    };
    assert_false(same_values(f, models, norm));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double change = product_change(f, models, norm, cases[i].name);
        if (!(change <= cases[i].most))
            fail_msg("%s: changed by %g", cases[i].name, change);
        assert_false(same_values(f, models, cases[i].name));
    }
    static const char *const same[] = {LAYER(1) "block_sparse_moe.experts.1.w2",
                                       LAYER(1) "input_layernorm",
                                       LAYER(1) "self_attn.q_proj",
                                       LAYER(0) "post_attention_layernorm",
                                       LAYER(0) "block_sparse_moe.gate",
                                       LAYER(0) "block_sparse_moe.experts.1.w1"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_true(same_values(f, models, same[i]));
    assert_false(same_values(f, models, LAYER(0) "block_sparse_moe.experts.0.w1"));
    awq_model_free(models[0]);
    awq_model_free(models[1]);
}

/* Rules that say what quantize.* says are no rules. */
static void test_a_rule_that_says_nothing_new_changes_nothing(void **state)
{
    fixture *f = *state;
    const mixed plain = {QWEN3, {NULL}, {{NULL}}};
    const mixed ruled = {
        QWEN3,
        {"quantize.modules", "*.experts.1.*", NULL},
        {{"experts", "odd", "bits", "4", "preset", "w4a16", NULL}, {"role", "expert", NULL}}};
    char first[1024];
    snprintf(first, sizeof first, "%s", output);
    run_mixed(f, &plain, false, NULL);
    snprintf(output, sizeof output, "%s/ruled", f->directory);
    run_mixed(f, &ruled, false, NULL);
    assert_same_file(f, first, output, "model.safetensors");
    assert_same_file(f, first, output, "config.json");
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up_run, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_results_are_stored_as_planned),
        CASE(test_mixed_results_lie_between_uniform_ones),
        CASE(test_the_same_bytes_however_it_runs),
        CASE(test_other_rules_do_not_go_on),
        CASE(test_an_uncompensated_router_stops_the_run),
        CASE(test_neighbours_are_compensated),
        CASE(test_a_rule_that_says_nothing_new_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
