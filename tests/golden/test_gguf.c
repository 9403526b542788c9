/* Whole runs to GGUF: what is read back is near the source, the same for any threads and after a
   kill, and what GGUF cannot be is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/model.h"
#include "runs.h"

#include <math.h>

#define MODEL(name) AWQ_TEST_DATA "/" name "-tiny"
#define FILE_NAME "model.gguf"

static const char *const models[] = {MODEL("mixtral"), MODEL("qwen2_moe"), MODEL("qwen3_moe"),
                                     MODEL("gpt_oss")};
enum { MODELS = sizeof models / sizeof *models };

/* ---- weights ---- */

static float *weights_of(const fixture *f, const awq_model *model, size_t index, int64_t *count)
{
    awq__loaded_module loaded;
    assert_ok(f, awq__model_module(model, index, &loaded));
    const awq__weight *weight = &loaded.found.weight;
    *count = weight->rows * weight->cols;
    float *values = malloc((size_t)*count * sizeof *values);
    assert_non_null(values);
    awq__weight_read(awq__compute_fastest(), weight, 0, weight->rows, values);
    awq__loaded_module_free(&loaded);
    return values;
}

/* Root of the mean square of the difference, relative to that of the source. */
static double distance(const fixture *f, const awq_model *source, const awq_model *result,
                       size_t index)
{
    int64_t count, other;
    double difference = 0, square = 0;
    float *a = weights_of(f, source, index, &count), *b = weights_of(f, result, index, &other);
    assert_int_equal(count, other);
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        square += (double)a[i] * (double)a[i];
    }
    free(a);
    free(b);
    return sqrt(difference / square);
}

/* Vectors and what is not quantized are as they are; the others near. */
static void check_modules(const fixture *f, const char *name, bool experts_alone)
{
    awq_model *source, *result;
    assert_ok(f, awq_model_open(f->ctx, name, NULL, &source));
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &result));
    for (size_t i = 0; i < awq_model_module_count(source); i++) {
        const awq_module *module = awq_model_module(result, i);
        double apart = distance(f, source, result, i);
        bool kept = module->role == AWQ_ROLE_NORM || module->role == AWQ_ROLE_ROUTER ||
                    module->role == AWQ_ROLE_OTHER;
        if (!(apart <= (module->quantized ? 0.01 : 0)))
            fail_msg("%s: %s is %g apart", name, module->name, apart);
        assert_int_equal(module->quantized,
                         experts_alone ? module->role == AWQ_ROLE_EXPERT : !kept);
    }
    awq_model_free(source);
    awq_model_free(result);
}

static void check_file_type(const fixture *f, int64_t expected)
{
    char path[1100];
    awq__gguf *gguf;
    int64_t number;
    snprintf(path, sizeof path, "%s/" FILE_NAME, output);
    assert_ok(f, awq__gguf_open(f->ctx, path, &gguf));
    assert_ok(f, awq__gguf_integer(f->ctx, awq__gguf_find(gguf, "general.file_type"), 0, &number));
    assert_int_equal(number, expected);
    awq__gguf_free(gguf);
}

/* Every module in its place: rows of q and k, experts of each layer. */
static void plain_rounding_is_near_the_source(void **state)
{
    const fixture *f = *state;
    static const char *const modules[] = {"*", "*.experts.*"};
    for (int m = 0; m < MODELS; m++)
        for (int some = 0; some < 2; some++) {
            run_short(f, models[m],
                      (const char *[]){"format", "gguf", "quantize.type", "q8_0", "quantize.method",
                                       "rtn", "quantize.modules", modules[some], NULL},
                      true);
            check_modules(f, models[m], some);
            check_file_type(f, 7);
        }
}

/* Expert 1 of Mixtral, with the bits of its BF16 weights taken as F16: other numbers, but finite.
 */
static void write_mixed(fixture *f, const char *directory)
{
    static const char *const files[] = {"config.json", "tokenizer.json", "model.safetensors"};
    static const char f16[] = {'"', 'F', '1', '6', '"', ' '};
    assert_int_equal(mkdir(directory, 0777), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[1200], *text;
        size_t bytes;
        snprintf(path, sizeof path, "%s/%s", MODEL("mixtral"), files[i]);
        read_all(f, path, &text, &bytes);
        /* Behind the header's length, an expert's entry: "NAME":{"dtype":"BF16" ... */
        int changed = 0;
        for (char *at = text + 8; i == 2 && (at = strstr(at, ".experts.1.")); at++, changed++) {
            char *type = strstr(at, "\"BF16\"");
            assert_non_null(type);
            memcpy(type, f16, sizeof f16);
        }
        assert_int_equal(changed, i == 2 ? 6 : 0);
        snprintf(path, sizeof path, "mixed/%s", files[i]);
        write_file(f, path, text, bytes);
        awq__free(text);
    }
}

/* One tensor holds experts of several types, and each as it was. */
static void experts_of_different_types(void **state)
{
    fixture *f = *state;
    char mixed[1100];
    awq_model *source, *result;
    snprintf(mixed, sizeof mixed, "%s/mixed", f->directory);
    write_mixed(f, mixed);
    awq_recipe *recipe =
        recipe_of(f, mixed,
                  (const char *[]){"format", "gguf", "quantize.type", "q8_0", "quantize.method",
                                   "rtn", "quantize.modules", "*.q_proj", NULL});
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
    check_file_type(f, 0);
    assert_ok(f, awq_model_open(f->ctx, mixed, NULL, &source));
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &result));
    for (size_t i = 0; i < awq_model_module_count(source); i++) {
        const awq_module *module = awq_model_module(source, i);
        double apart = distance(f, source, result, i);
        if (module->role == AWQ_ROLE_EXPERT && apart != 0)
            fail_msg("%s is %g apart", module->name, apart);
    }
    awq_model_free(source);
    awq_model_free(result);
}

/* What stays in BF16 is told to be that. */
static void floats_have_file_types(void **state)
{
    const fixture *f = *state;
    run_short(f, MODEL("mixtral"),
              (const char *[]){"format", "gguf", "quantize.type", "q8_0", "quantize.method", "rtn",
                               "quantize.modules", "*.q_proj", NULL},
              true);
    check_file_type(f, 32);
}

/* ---- runs ---- */

/* The mix, by AWQ and GPTQ: KL divergences of twice what was measured. */
static void results_are_good(void **state)
{
    const fixture *f = *state;
    static const double most[MODELS] = {0.03, 0.015, 0.025, 0.02};
    for (int m = 0; m < MODELS; m++) {
        const char *options[] = {"format", "gguf", "quantize.rounding", "gptq", NULL};
        awq_eval_result inside = run_short(f, models[m], options, true);
        awq_eval_result outside = evaluate_output(f, models[m]);
        assert_true(inside.kl == outside.kl);
        if (!(inside.kl > 0 && inside.kl < most[m]))
            fail_msg("%s: a KL divergence of %g, expected less than %g", models[m], inside.kl,
                     most[m]);
    }
}

/* Scales that are searched for activations beat plain rounding by far. */
static void activations_pay(void **state)
{
    const fixture *f = *state;
    const char *rtn[] = {"format", "gguf", "quantize.type", "q4_0", "quantize.method", "rtn", NULL};
    const char *awq[] = {"format", "gguf", "quantize.type", "q4_0", NULL};
    for (int m = 0; m < MODELS; m++) {
        double plain = run_short(f, models[m], rtn, true).kl;
        double aware = run_short(f, models[m], awq, true).kl;
        if (!(aware < 0.6 * plain))
            fail_msg("%s: %g by AWQ, %g by plain rounding", models[m], aware, plain);
    }
}

static void threads_and_kills_do_not_matter(void **state)
{
    const fixture *f = *state;
    const char *options[] = {"format", "gguf", "quantize.rounding", "gptq", NULL};
    awq_recipe *recipe = short_recipe_with(f, MODEL("qwen2_moe"), options);
    char first[1100], kept[1100];
    awq_quantize_options resume = {.struct_size = sizeof resume, .force = true};
    snprintf(first, sizeof first, "%s/out", f->directory);
    snprintf(kept, sizeof kept, "%s/kept", f->directory);
    assert_ok(f, awq_context_set_threads(f->ctx, 3));
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    assert_int_equal(rename(first, kept), 0);
    assert_ok(f, awq_context_set_threads(f->ctx, 1));
    stop_after_first_layer(f, recipe);
    assert_ok(f, awq_quantize(f->ctx, recipe, &resume, NULL));
    assert_same_file(f, first, kept, FILE_NAME);
    awq_recipe_free(recipe);
}

static void parts_of_a_model(void **state)
{
    const fixture *f = *state;
    char path[1100];
    run_short(f, MODEL("qwen3_moe"),
              (const char *[]){"format", "gguf", "quantize.type", "q8_0", "quantize.method", "rtn",
                               "shard_size", "1000000", NULL},
              true);
    snprintf(path, sizeof path, "%s/model-00001-of-00002.gguf", output);
    assert_true(awq__is_file(path));
    assert_true(evaluate_output(f, MODEL("qwen3_moe")).kl < 0.005);
}

/* ---- refusals ---- */

static void what_cannot_be_is_refused(void **state)
{
    const fixture *f = *state;
    static const struct refused {
        const char *model, *options[9], *message;
    } cases[] = {
        {MODEL("mixtral"),
         {"format", "gguf", "quantize.type", "q4_k", "quantize.method", "rtn", NULL},
         "are no whole blocks of 256, which q4_k has; types with blocks of 32"},
        {MODEL("mixtral"),
         {"format", "awq", "quantize.type", "q4_0", "quantize.method", "rtn", NULL},
         "quantize.type q4_0 is a block type of gguf, but the format is awq"},
        {MODEL("mixtral"),
         {"format", "gguf", "engine", "vllm", "quantize.method", "rtn", NULL},
         "GGUF is for llama.cpp"},
        {MODEL("mixtral"),
         {"format", "gguf", "quantize.target_bits", "4.5", NULL},
         "target_bits and target_size are not for gguf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq_recipe *recipe = short_recipe_with(f, cases[i].model, cases[i].options);
        assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
        assert_message(f, cases[i].message);
        awq_recipe_free(recipe);
    }
}

/* Rules give types; experts of a layer have one. */
static void rules_give_types(void **state)
{
    const fixture *f = *state;
    const char *options[] = {"format", "gguf", "quantize.method", "rtn", NULL};
    awq_recipe *recipe = short_recipe_with(f, MODEL("mixtral"), options);
    assert_ok(f, awq_recipe_add_rule(recipe));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "experts", "0"));
    assert_ok(f, awq_recipe_rule_set(recipe, 0, "type", "q5_0"));
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
    assert_message(f, "one tensor for all experts of a layer");
    awq_recipe_free(recipe);
}

/* A file in GGUF is no source. */
static void it_is_not_quantized_again(void **state)
{
    const fixture *f = *state;
    char kept[1100];
    run_short(f, MODEL("mixtral"),
              (const char *[]){"format", "gguf", "quantize.method", "rtn", NULL}, true);
    snprintf(kept, sizeof kept, "%s/kept", f->directory);
    assert_int_equal(rename(output, kept), 0);
    const char *options[] = {"quantize.method", "rtn", NULL};
    awq_recipe *recipe = recipe_of(f, kept, options);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
    assert_message(f, "is in GGUF");
    awq_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_rounding_is_near_the_source, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(experts_of_different_types, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(floats_have_file_types, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(results_are_good, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(activations_pay, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(threads_and_kills_do_not_matter, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_a_model, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(rules_give_types, set_up_run, tear_down),
        cmocka_unit_test_setup_teardown(it_is_not_quantized_again, set_up_run, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
