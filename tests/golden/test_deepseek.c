/*
 * Whole runs on models with attention by latents: what stays float, what folds into what, layers of
 * prediction that are copied, and results that read back and are what their source became.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/runs.h"

#define V2 AWQ_TEST_DATA "/deepseek_v2-tiny"
#define V3 AWQ_TEST_DATA "/deepseek_v3-tiny"
#define LAYER "model.layers.1."
#define COPIED "model.layers.3."

static char calibration[1100], evaluation[1100];

static awq_recipe *recipe_for(const fixture *f, const char *model, const char *const *more)
{
    const char *options[] = {"calibration.data",
                             calibration,
                             "calibration.samples",
                             "16",
                             "calibration.sequence_length",
                             "24",
                             "evaluation.data",
                             evaluation,
                             "quantize.group_size",
                             "32",
                             "quantize.modules",
                             "*",
                             NULL};
    snprintf(calibration, sizeof calibration, "%s/calib_ids.safetensors", model);
    snprintf(evaluation, sizeof evaluation, "%s/eval_ids.safetensors", model);
    awq_recipe *recipe = recipe_of(f, model, options);
    for (; *more; more += 2)
        assert_ok(f, awq_recipe_set(recipe, more[0], more[1], NULL));
    return recipe;
}

static void quantize_kv_b_too(const fixture *f, awq_recipe *recipe)
{
    assert_ok(f, awq_recipe_add_rule(recipe));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "projection", "kv_b"));
}

/* Quantizes, reads the result back, and compares it with its source. */
static void run(const fixture *f, awq_recipe *recipe, const char *model)
{
    awq_quantize_options how = {.struct_size = sizeof how, .force = true};
    awq_eval_options options = {
        .struct_size = sizeof options, .directory = output, .reference = model, .ids = evaluation};
    const awq_verify_options verify = {
        .struct_size = sizeof verify, .directory = output, .source = model};
    awq_verify_result verified = {.struct_size = sizeof verified};
    awq_report *report;
    awq_eval_result found;
    awq_verification *verification;
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, &report));
    assert_ok(f, awq_evaluate(f->ctx, &options, &found));
    assert_true(found.kl > 0 && found.kl == awq_report_evaluation(report)->kl);
    awq_report_free(report);
    awq_recipe_free(recipe);
    assert_ok(f, awq_verify(f->ctx, &verify, &verification));
    awq_verification_describe(verification, &verified);
    for (size_t i = 0; i < awq_verification_problem_count(verification); i++)
        print_error("%s\n", awq_verification_problem_at(verification, i));
    assert_int_equal(verified.problems, 0);
    assert_true(verified.rescaled > 0 && verified.rounded > 0);
    awq_verification_free(verification);
}

static void assert_storage(const fixture *f, const char *name, const char *storage)
{
    awq_model *model;
    bool found = false;
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &model));
    for (size_t i = 0; i < awq_model_module_count(model); i++) {
        const awq_module *module = awq_model_module(model, i);
        if (strcmp(module->name, name) != 0)
            continue;
        assert_string_equal(module->storage, storage);
        found = true;
    }
    assert_true(found);
    awq_model_free(model);
}

static cJSON *read_json(const fixture *f, const char *name)
{
    char path[1100];
    cJSON *root;
    snprintf(path, sizeof path, "%s/%s", output, name);
    assert_ok(f, awq__json_read(f->ctx, path, &root));
    return root;
}

/* Was a scale found for this input in some layer? */
static void assert_scaled(const fixture *f, const char *input)
{
    char key[64];
    cJSON *root = read_json(f, "awq_report.json");
    const cJSON *layer = NULL;
    bool found = false;
    snprintf(key, sizeof key, "attention.%s_ratio", input);
    cJSON_ArrayForEach(layer, awq__json_at(root, "layers"))
    {
        const cJSON *ratio = awq__json_at(layer, key);
        found |= cJSON_IsNumber(ratio) && ratio->valuedouble > 0;
    }
    if (!found)
        fail_msg("no scale was found for %s", input);
    cJSON_Delete(root);
}

/* ---- what stays float ---- */

static void kv_b_stays_unless_it_is_named(void **state)
{
    const fixture *f = *state;
    static const char *const none[] = {NULL};
    run(f, recipe_for(f, V3, none), V3);
    assert_storage(f, LAYER "self_attn.kv_b_proj", "BF16");
    assert_storage(f, LAYER "self_attn.kv_a_proj_with_mqa", "int4 g32");
    assert_storage(f, LAYER "self_attn.q_a_proj", "int4 g32");
    assert_storage(f, LAYER "self_attn.q_b_proj", "int4 g32");
    assert_storage(f, LAYER "mlp.gate", "BF16");
    awq_recipe *recipe = recipe_for(f, V3, none);
    quantize_kv_b_too(f, recipe);
    run(f, recipe, V3);
    assert_storage(f, LAYER "self_attn.kv_b_proj", "int4 g32");
    static const char *const named[] = {"quantize.modules", "*.kv_b_proj", NULL};
    run(f, recipe_for(f, V2, named), V2);
    assert_storage(f, LAYER "self_attn.kv_b_proj", "int4 g32");
    assert_storage(f, LAYER "self_attn.q_proj", "BF16");
}

static void the_plan_says_so_once(void **state)
{
    const fixture *f = *state;
    static const char *const none[] = {NULL};
    awq_recipe *recipe = recipe_for(f, V3, none);
    awq_plan *plan;
    int said = 0;
    assert_ok(f, awq_plan_create(f->ctx, recipe, &plan));
    for (size_t i = 0; i < awq_plan_warning_count(plan); i++)
        said += strstr(awq_plan_warning_at(plan, i),
                       "kv_b_proj: stays as it is: engines multiply it into q and o") != NULL;
    assert_int_equal(said, 1);
    awq_plan_free(plan);
    awq_recipe_free(recipe);
}

/* ---- folds ---- */

static void every_input_is_scaled(void **state)
{
    const fixture *f = *state;
    static const char *const none[] = {NULL};
    awq_recipe *recipe = recipe_for(f, V3, none);
    quantize_kv_b_too(f, recipe);
    run(f, recipe, V3);
    assert_scaled(f, "q_kv_a");
    assert_scaled(f, "q_b");
    assert_scaled(f, "kv_b");
    assert_scaled(f, "o");
}

/* Whatever is quantized, what stays float takes up the folds. */
static void some_linears_only(void **state)
{
    const fixture *f = *state;
    static const char *const modules[][3] = {
        {"quantize.modules", "*.o_proj", NULL},
        {"quantize.modules", "*.kv_a_proj_with_mqa", NULL},
        {"quantize.modules", "*.q_*", NULL},
    };
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        run(f, recipe_for(f, V2, modules[i]), V2);
        run(f, recipe_for(f, V3, modules[i]), V3);
    }
}

/* kv_a has 40 rows, of the rope key too, and q 96. */
static void a_forgotten_reader_stops_the_run(void **state)
{
    const fixture *f = *state;
    static const char *const modules[] = {"quantize.modules", "*.q_proj", NULL};
    awq_recipe *recipe = recipe_for(f, V2, modules);
    run_uncompensated(f, recipe, 40);
    awq_recipe_free(recipe);
}

/* ---- formats ---- */

static void results_of_all_formats_read_back(void **state)
{
    const fixture *f = *state;
    static const char *const ways[][5] = {
        {"format", "awq", NULL},
        {"format", "gptq", NULL},
        {"quantize.rounding", "gptq", NULL},
        {"quantize.preset", "int8", "quantize.group_size", "-1", NULL},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        run(f, recipe_for(f, i % 2 ? V2 : V3, ways[i]), i % 2 ? V2 : V3);
}

/* ---- layers of prediction ---- */

static bool is_ignored(const cJSON *config, const char *entry)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, awq__json_at(config, "quantization_config.ignore"))
    {
        if (cJSON_IsString(item) && !strcmp(item->valuestring, entry))
            return true;
    }
    return false;
}

static void layers_of_prediction_are_copied_and_ignored(void **state)
{
    const fixture *f = *state;
    static const char *const none[] = {NULL};
    static const char *const names[] = {COPIED "eh_proj", COPIED "self_attn.q_a_proj",
                                        COPIED "mlp.experts.0.down_proj", COPIED "enorm"};
    awq__checkpoint *before, *after;
    run(f, recipe_for(f, V3, none), V3);
    cJSON *config = read_json(f, "config.json");
    assert_ok(f, awq__checkpoint_open(f->ctx, V3, &before));
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &after));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s.weight", names[i]);
        const awq__tensor *a = awq__checkpoint_find(before, name);
        const awq__tensor *b = awq__checkpoint_find(after, name);
        assert_true(a && b && a->bytes == b->bytes && a->dtype == b->dtype);
        uint8_t *x = malloc(a->bytes), *y = malloc(b->bytes);
        assert_ok(f, awq__tensor_read(f->ctx, a, 0, a->bytes, x));
        assert_ok(f, awq__tensor_read(f->ctx, b, 0, b->bytes, y));
        assert_memory_equal(x, y, a->bytes);
        free(x);
        free(y);
    }
    assert_true(is_ignored(config, "re:.*\\.layers\\.3(\\..*)?$"));
    assert_true(is_ignored(config, "re:.*\\.kv_b_proj$"));
    awq__checkpoint_free(before);
    awq__checkpoint_free(after);
    cJSON_Delete(config);
}

/* ---- the text model of one that sees ---- */

static bool has_module(const awq_model *model, const char *name)
{
    for (size_t i = 0; i < awq_model_module_count(model); i++)
        if (!strcmp(awq_model_module(model, i)->name, name))
            return true;
    return false;
}

static void kimi_k25_has_a_text_model(void **state)
{
    fixture *f = *state;
    static const char path[] = AWQ_TEST_DATA "/configs/Kimi-K2/config.json";
    char *text;
    size_t bytes;
    awq_model *model;
    awq_model_info info;
    read_all(f, path, &text, &bytes);
    char *config = malloc(bytes + 128);
    snprintf(config, bytes + 128, "{\"model_type\": \"kimi_k25\", \"text_config\": %s}", text);
    write_text(f, "config.json", config);
    assert_ok(f, awq_model_open(f->ctx, path_of(f, "config.json"), NULL, &model));
    awq_model_describe(model, &info);
    assert_int_equal(info.weights, UINT64_C(1026408232448));
    assert_true(has_module(model, "language_model.lm_head"));
    assert_true(has_module(model, "language_model.model.layers.60.mlp.experts.383.down_proj"));
    awq_model_free(model);
    free(config);
    awq__free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_run, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(kv_b_stays_unless_it_is_named),
        TEST(the_plan_says_so_once),
        TEST(every_input_is_scaled),
        TEST(some_linears_only),
        TEST(a_forgotten_reader_stops_the_run),
        TEST(results_of_all_formats_read_back),
        TEST(kimi_k25_has_a_text_model),
        TEST(layers_of_prediction_are_copied_and_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
