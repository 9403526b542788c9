/* An importance matrix: sums that a second calculation gives too, tokens of experts, the same for
   any threads, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/model.h"
#include "runs.h"
#include "text/text.h"

#include <math.h>

#define MODEL(name) AWQ_TEST_DATA "/" name "-tiny"
#define FILE_NAME "imatrix.gguf"

static const char *const models[] = {MODEL("mixtral"), MODEL("qwen2_moe"), MODEL("qwen3_moe"),
                                     MODEL("gpt_oss")};
enum { MODELS = sizeof models / sizeof *models, SAMPLES = 6, LENGTH = 128 };

static awq__gguf *measure(const fixture *f, const char *model, const char *const *options)
{
    char path[1100];
    awq__gguf *gguf;
    awq_recipe *recipe = short_recipe_with(f, model, options);
    assert_ok(f, awq_imatrix(f->ctx, recipe));
    awq_recipe_free(recipe);
    snprintf(path, sizeof path, "%s/" FILE_NAME, output);
    assert_ok(f, awq__gguf_open(f->ctx, path, &gguf));
    return gguf;
}

/* The floats of a tensor, of which there are *count. */
static float *floats_of(const fixture *f, const awq__gguf *gguf, const char *name, size_t *count)
{
    const awq__gguf_tensor *tensor = awq__gguf_find_tensor(gguf, name);
    if (!tensor)
        fail_msg("%s is missing", name);
    float *values = malloc(tensor->stored.bytes);
    assert_non_null(values);
    assert_ok(f, awq__tensor_read(f->ctx, &tensor->stored, 0, tensor->stored.bytes, values));
    *count = tensor->stored.bytes / sizeof *values;
    return values;
}

/* ---- the first layer's input, calculated once more ---- */

static float *module_floats(const fixture *f, const awq_model *model, awq__part part, int64_t layer)
{
    awq__loaded_module loaded;
    assert_ok(f, awq__model_module(model, awq__arch_index(model->arch, layer, part, -1), &loaded));
    const awq__weight *weight = &loaded.found.weight;
    float *values = malloc((size_t)(weight->rows * weight->cols) * sizeof *values);
    assert_non_null(values);
    awq__weight_read(awq__compute_fastest(), weight, 0, weight->rows, values);
    awq__loaded_module_free(&loaded);
    return values;
}

/* Adds the squares of what RMSNorm makes of a row. */
static void add_normed(const float *row, const float *norm, int64_t H, double epsilon,
                       double *squares)
{
    double mean = 0;
    for (int64_t h = 0; h < H; h++)
        mean += (double)row[h] * (double)row[h] / (double)H;
    for (int64_t h = 0; h < H; h++) {
        double x = (double)row[h] * (double)norm[h] / sqrt(mean + epsilon);
        squares[h] += x * x;
    }
}

static void load_ids(const fixture *f, const char *directory, const awq_model *model,
                     awq__sequences *ids)
{
    char data[1100], tokenizer[1100];
    const char *files[] = {data};
    const awq__corpus_options options = {.files = files,
                                         .file_count = 1,
                                         .field = "text",
                                         .samples = SAMPLES,
                                         .sequence_length = LENGTH,
                                         .seed = 0};
    snprintf(data, sizeof data, "%s/calib.jsonl", directory);
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer.json", directory);
    assert_ok(
        f, awq__corpus_load(f->ctx, &options, tokenizer, model->arch->model.vocabulary_size, ids));
}

static void check_first_input(const fixture *f, const char *directory, const awq__gguf *gguf)
{
    awq_model *model;
    awq__sequences ids = {0};
    size_t count;
    assert_ok(f, awq_model_open(f->ctx, directory, NULL, &model));
    int64_t H = model->arch->model.hidden_size;
    float *embedding = module_floats(f, model, AWQ__PART_EMBEDDING, -1);
    float *norm = module_floats(f, model, AWQ__PART_ATTENTION_NORM, 0);
    float *sums = floats_of(f, gguf, "blk.0.attn_q.weight.in_sum2", &count);
    double *expected = calloc((size_t)H, sizeof *expected);
    assert_non_null(expected);
    assert_int_equal(count, H);
    load_ids(f, directory, model, &ids);
    for (int64_t t = 0; t < awq__token_count(&ids); t++)
        add_normed(embedding + ids.ids[t] * H, norm, H, model->arch->model.norm_epsilon, expected);
    for (int64_t h = 0; h < H; h++)
        if (!(fabs((double)sums[h] - expected[h]) <= 1e-4 * expected[h]))
            fail_msg("%s: column %d has %g, expected %g", directory, (int)h, (double)sums[h],
                     expected[h]);
    awq__sequences_free(&ids);
    free(expected);
    free(sums);
    free(norm);
    free(embedding);
    awq_model_free(model);
}

/* ---- what is in it ---- */

static void check_count(const fixture *f, const awq__gguf *gguf, const char *name, double expected)
{
    size_t count;
    double sum = 0;
    float *counts = floats_of(f, gguf, name, &count);
    for (size_t i = 0; i < count; i++)
        sum += (double)counts[i];
    if (!(fabs(sum - expected) < 0.5))
        fail_msg("%s adds up to %g, expected %g", name, sum, expected);
    free(counts);
}

/* All tokens of the attention; of the experts, of each token so many. */
static void check_counts(const fixture *f, const char *directory, const awq__gguf *gguf)
{
    awq_model *model;
    assert_ok(f, awq_model_open(f->ctx, directory, NULL, &model));
    double tokens = SAMPLES * LENGTH, used = (double)model->arch->layers[1].experts.per_token;
    check_count(f, gguf, "blk.1.attn_output.weight.counts", tokens);
    check_count(f, gguf, "blk.1.ffn_gate_exps.weight.counts", tokens * used);
    check_count(f, gguf, "blk.1.ffn_down_exps.weight.counts", tokens * used);
    if (awq__arch_experts(model->arch, 1) > model->arch->layers[1].experts.count)
        check_count(f, gguf, "blk.1.ffn_up_shexp.weight.counts", tokens);
    awq_model_free(model);
}

static void check_values(const fixture *f, const awq__gguf *gguf)
{
    int64_t number;
    awq__gguf_string text;
    size_t at = 0;
    assert_ok(f, awq__gguf_text(f->ctx, awq__gguf_find(gguf, "general.type"), &text));
    assert_true(text.bytes == 7 && !memcmp(text.data, "imatrix", 7));
    assert_ok(f,
              awq__gguf_integer(f->ctx, awq__gguf_find(gguf, "imatrix.chunk_count"), 0, &number));
    assert_int_equal(number, SAMPLES);
    assert_ok(f, awq__gguf_integer(f->ctx, awq__gguf_find(gguf, "imatrix.chunk_size"), 0, &number));
    assert_int_equal(number, LENGTH);
    assert_true(awq__gguf_next_text(awq__gguf_find(gguf, "imatrix.datasets"), &at, &text));
    assert_true(text.bytes == 11 && !memcmp(text.data, "calib.jsonl", 11));
}

static void sums_are_those_of_the_inputs(void **state)
{
    const fixture *f = *state;
    char base[900];
    snprintf(base, sizeof base, "%.890s", output);
    for (int m = 0; m < MODELS; m++) {
        snprintf(output, sizeof output, "%s%d", base, m);
        awq__gguf *gguf =
            measure(f, models[m], (const char *[]){"calibration.min_expert_tokens", "0", NULL});
        check_values(f, gguf);
        check_first_input(f, models[m], gguf);
        check_counts(f, models[m], gguf);
        awq__gguf_free(gguf);
    }
}

/* Whether gate and up have one input: from whole second moments, or from a sketch with its exact
   diagonal. */
static void a_sketch_changes_nothing(void **state)
{
    const fixture *f = *state;
    static const char *const names[] = {"blk.0.ffn_gate_exps.weight.in_sum2",
                                        "blk.1.ffn_up_exps.weight.in_sum2",
                                        "blk.1.ffn_down_exps.weight.in_sum2"};
    char base[900];
    snprintf(base, sizeof base, "%.890s", output);
    awq__gguf *whole = measure(f, MODEL("qwen3_moe"), (const char *[]){NULL});
    snprintf(output, sizeof output, "%s-sketched", base);
    awq__gguf *sketched =
        measure(f, MODEL("qwen3_moe"), (const char *[]){"quantize.sketch_rows", "16", NULL});
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t count, other;
        float *a = floats_of(f, whole, names[i], &count);
        float *b = floats_of(f, sketched, names[i], &other);
        assert_int_equal(count, other);
        for (size_t k = 0; k < count; k++)
            if (!(fabsf(a[k] - b[k]) <= 1e-5f * a[k]))
                fail_msg("%s: %g and %g", names[i], (double)a[k], (double)b[k]);
        free(a);
        free(b);
    }
    awq__gguf_free(whole);
    awq__gguf_free(sketched);
}

static void threads_do_not_matter(void **state)
{
    const fixture *f = *state;
    char first[1100];
    awq_recipe *recipe = short_recipe(f, MODEL("qwen2_moe"));
    snprintf(first, sizeof first, "%s", output);
    assert_ok(f, awq_context_set_threads(f->ctx, 1));
    assert_ok(f, awq_imatrix(f->ctx, recipe));
    snprintf(output, sizeof output, "%.1000s-again", first);
    assert_ok(f, awq_recipe_set(recipe, "output", output, NULL));
    assert_ok(f, awq_context_set_threads(f->ctx, 5));
    assert_ok(f, awq_imatrix(f->ctx, recipe));
    assert_same_file(f, first, output, FILE_NAME);
    awq_recipe_free(recipe);
}

/* ---- runs that end early ---- */

static void an_interrupted_run_begins_anew(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, MODEL("mixtral"));
    awq_context_set_progress(f->ctx, cancel_in_second_layer, NULL);
    assert_int_equal(awq_imatrix(f->ctx, recipe), AWQ_ERROR_CANCELLED);
    awq_context_set_progress(f->ctx, NULL, NULL);
    assert_false(awq__is_directory(output));
    assert_ok(f, awq_imatrix(f->ctx, recipe));
    assert_true(awq__is_directory(output));
    assert_int_equal(awq_imatrix(f->ctx, recipe), AWQ_ERROR_EXISTS);
    awq_recipe_free(recipe);
}

static void a_quantization_is_not_thrown_away(void **state)
{
    const fixture *f = *state;
    awq_recipe *recipe = short_recipe(f, MODEL("mixtral"));
    stop_after_first_layer(f, recipe);
    assert_int_equal(awq_imatrix(f->ctx, recipe), AWQ_ERROR_EXISTS);
    assert_message(f, "holds an interrupted quantization");
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
}

/* What it leaves of itself is no part of a quantization. */
static void a_quantization_takes_its_place(void **state)
{
    const fixture *f = *state;
    char path[1100];
    awq_recipe *recipe = short_recipe(f, MODEL("mixtral"));
    awq_context_set_progress(f->ctx, cancel_in_second_layer, NULL);
    assert_int_equal(awq_imatrix(f->ctx, recipe), AWQ_ERROR_CANCELLED);
    awq_context_set_progress(f->ctx, NULL, NULL);
    snprintf(path, sizeof path, "%s.partial/" FILE_NAME, output);
    assert_true(awq__is_file(path));
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    snprintf(path, sizeof path, "%s/" FILE_NAME, output);
    assert_false(awq__is_file(path));
    awq_recipe_free(recipe);
}

static void it_needs_a_calibration(void **state)
{
    const fixture *f = *state;
    const char *options[] = {"quantize.method", "rtn", NULL};
    awq_recipe *recipe = recipe_of(f, MODEL("mixtral"), options);
    assert_int_equal(awq_imatrix(f->ctx, recipe), AWQ_ERROR_RECIPE);
    assert_message(f, "does not say calibration.data");
    assert_int_equal(awq_imatrix(f->ctx, NULL), AWQ_ERROR_ARGUMENT);
    awq_recipe_free(recipe);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_run, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(sums_are_those_of_the_inputs),
        TEST(a_sketch_changes_nothing),
        TEST(threads_do_not_matter),
        TEST(an_interrupted_run_begins_anew),
        TEST(a_quantization_is_not_thrown_away),
        TEST(a_quantization_takes_its_place),
        TEST(it_needs_a_calibration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
