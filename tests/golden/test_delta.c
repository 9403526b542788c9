/* Gated delta nets in whole runs: their folds are found, proved and verified, their gates stay
   float and are compensated, or the run stops. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/runs.h"

#include "support/tensor_bytes.h"

#include <regex.h>

#define NEXT AWQ_TEST_DATA "/qwen3_next-tiny"
#define WRAPPED AWQ_TEST_DATA "/qwen3_5_moe-tiny"

static awq_recipe *recipe_for(const fixture *f, const char *model, const char *modules)
{
    char calibration[1100];
    snprintf(calibration, sizeof calibration, "%s/calib_ids.safetensors", model);
    const char *options[] = {"calibration.data",
                             calibration,
                             "calibration.samples",
                             "24",
                             "calibration.sequence_length",
                             "24",
                             "calibration.min_expert_tokens",
                             "16",
                             "quantize.group_size",
                             "32",
                             "quantize.modules",
                             modules,
                             NULL};
    return recipe_of(f, model, options);
}

static void quantize(const fixture *f, awq_recipe *recipe)
{
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
}

/* Every code of the result is that of the folded source. */
static void assert_verified(const fixture *f, const char *source)
{
    const awq_verify_options options = {
        .struct_size = sizeof options, .directory = output, .source = source};
    awq_verify_result result = {.struct_size = sizeof result};
    awq_verification *verification;
    assert_ok(f, awq_verify(f->ctx, &options, &verification));
    awq_verification_describe(verification, &result);
    if (result.problems)
        fail_msg("%s", awq_verification_problem_at(verification, 0));
    assert_true(result.rescaled > 0 && result.rounded > 0);
    awq_verification_free(verification);
}

/* Does layer 0, which has a delta net, report scales of both inputs? */
static void assert_scaled(const fixture *f)
{
    char path[1100];
    cJSON *root;
    snprintf(path, sizeof path, "%s/awq_report.json", output);
    assert_ok(f, awq__json_read(f->ctx, path, &root));
    const cJSON *layer = cJSON_GetArrayItem(awq__json_at(root, "layers"), 0);
    assert_true(cJSON_IsNumber(awq__json_at(layer, "delta.in_ratio")));
    assert_true(cJSON_IsNumber(awq__json_at(layer, "delta.out_ratio")));
    assert_true(awq__json_at(layer, "delta.fold_error")->valuedouble < 1e-5);
    cJSON_Delete(root);
}

/* Is a tensor the source's, bit for bit? */
static bool is_copied(const fixture *f, const char *source, const char *name)
{
    awq__checkpoint *before, *after;
    assert_ok(f, awq__checkpoint_open(f->ctx, source, &before));
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &after));
    const awq__tensor *a = awq__checkpoint_find(before, name);
    const awq__tensor *b = awq__checkpoint_find(after, name);
    assert_true(a && b && a->bytes == b->bytes && a->dtype == b->dtype && a->rank == b->rank);
    uint8_t *x = tensor_bytes(f->ctx, a), *y = tensor_bytes(f->ctx, b);
    bool same = !memcmp(x, y, a->bytes);
    awq__free(x);
    awq__free(y);
    awq__checkpoint_free(before);
    awq__checkpoint_free(after);
    return same;
}

static bool ignores(const cJSON *list, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        regex_t pattern;
        if (!strcmp(item->valuestring, name))
            return true;
        if (strncmp(item->valuestring, "re:", 3) != 0)
            continue;
        assert_int_equal(regcomp(&pattern, item->valuestring + 3, REG_EXTENDED), 0);
        bool matches = regexec(&pattern, name, 0, NULL, 0) == 0;
        regfree(&pattern);
        if (matches)
            return true;
    }
    return false;
}

/* Engines leave alone what is copied. */
static void assert_ignored(const fixture *f)
{
    static const char *const kept[] = {"mtp.fc", "mtp.layers.0.mlp.experts.0.down_proj",
                                       "model.visual.blocks.0.attn.qkv",
                                       "model.language_model.layers.0.linear_attn.in_proj_a",
                                       "model.language_model.layers.0.mlp.gate"};
    char path[1100];
    cJSON *config;
    snprintf(path, sizeof path, "%s/config.json", output);
    assert_ok(f, awq__json_read(f->ctx, path, &config));
    const cJSON *list = awq__json_at(config, "quantization_config.ignore");
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (!ignores(list, kept[i]))
            fail_msg("%s is not in the list", kept[i]);
    assert_false(ignores(list, "model.language_model.layers.0.linear_attn.in_proj_qkv"));
    assert_false(ignores(list, "model.language_model.layers.0.mlp.experts.0.down_proj"));
    cJSON_Delete(config);
}

static void folds_are_found_and_verified(void **state)
{
    const fixture *f = *state;
    quantize(f, recipe_for(f, NEXT, "*"));
    assert_scaled(f);
    assert_verified(f, NEXT);
    static const char *const copied[] = {"linear_attn.A_log", "linear_attn.dt_bias",
                                         "linear_attn.conv1d.weight"};
    static const char *const changed[] = {
        "linear_attn.norm.weight", "linear_attn.in_proj_ba.weight", "input_layernorm.weight"};
    for (int i = 0; i < 3; i++) {
        char name[192];
        snprintf(name, sizeof name, "model.layers.0.%s", copied[i]);
        assert_true(is_copied(f, NEXT, name));
        snprintf(name, sizeof name, "model.layers.0.%s", changed[i]);
        assert_false(is_copied(f, NEXT, name));
    }
    assert_true(is_copied(f, NEXT, "model.layers.1.self_attn.q_norm.weight"));
    assert_true(is_copied(f, NEXT, "model.norm.weight"));
}

static void names_inside_a_multimodal_model(void **state)
{
    const fixture *f = *state;
    quantize(f, recipe_for(f, WRAPPED, "*"));
    assert_scaled(f);
    assert_verified(f, WRAPPED);
    assert_false(
        is_copied(f, WRAPPED, "model.language_model.layers.0.linear_attn.in_proj_b.weight"));
    assert_false(
        is_copied(f, WRAPPED, "model.language_model.layers.0.linear_attn.in_proj_a.weight"));
    assert_true(is_copied(f, WRAPPED, "mtp.fc.weight"));
    assert_true(is_copied(f, WRAPPED, "model.visual.blocks.0.attn.qkv.weight"));
    assert_ignored(f);
}

/* A norm of 1 + weight that no scale was found for has the bits that it had. */
static void experts_alone(void **state)
{
    const fixture *f = *state;
    quantize(f, recipe_for(f, NEXT, "*.experts.*"));
    assert_verified(f, NEXT);
    assert_true(is_copied(f, NEXT, "model.layers.0.input_layernorm.weight"));
    assert_true(is_copied(f, NEXT, "model.layers.1.input_layernorm.weight"));
    assert_false(is_copied(f, NEXT, "model.layers.0.post_attention_layernorm.weight"));
    assert_true(is_copied(f, NEXT, "model.layers.2.post_attention_layernorm.weight")); /* dense */
}

/* b and a have a row for each value head, or, together, two. */
static void gates_that_are_forgotten_stop_the_run(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = recipe_for(f, NEXT, "*.in_proj_qkvz");
    run_uncompensated(f, recipe, 8);
    awq_recipe_free(recipe);
    recipe = recipe_for(f, WRAPPED, "*.in_proj_qkv");
    run_uncompensated(f, recipe, 4);
    awq_recipe_free(recipe);
}

static void gates_are_never_rounded(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = recipe_for(f, WRAPPED, "*.in_proj_a");
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
    assert_non_null(strstr(awq_context_message(f->ctx), "matches only what is never quantized"));
    awq_recipe_free(recipe);
}

static void the_same_bytes_however_it_runs(void **state)
{
    const fixture *f = *state;
    char whole[1024];
    static const char *const names[] = {"model.safetensors", "config.json", "awq_report.json"};
    snprintf(whole, sizeof whole, "%s", output);
    assert_ok(f, awq_context_set_threads(f->ctx, 1));
    quantize(f, recipe_for(f, NEXT, "*"));
    snprintf(output, sizeof output, "%.1000s-again", whole);
    assert_ok(f, awq_context_set_threads(f->ctx, 3));
    quantize(f, recipe_for(f, NEXT, "*"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_same_file(f, whole, output, names[i]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_run, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(folds_are_found_and_verified),
        TEST(names_inside_a_multimodal_model),
        TEST(experts_alone),
        TEST(gates_that_are_forgotten_stop_the_run),
        TEST(gates_are_never_rounded),
        TEST(the_same_bytes_however_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
