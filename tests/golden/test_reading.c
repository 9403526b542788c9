/* Files that change while a run reads them: an error that names the file, and a run that goes on.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/runs.h"

#include <unistd.h>

#define TINY AWQ_TEST_DATA "/mixtral-tiny"

static void copy_file(const fixture *f, const char *from, const char *to)
{
    char *bytes;
    size_t count;
    read_all(f, from, &bytes, &count);
    FILE *stream = fopen(to, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, count, stream), count);
    assert_int_equal(fclose(stream), 0);
    awq__free(bytes);
}

static void copy_model(fixture *f, char *model, size_t size)
{
    static const char *const files[] = {
        "config.json",          "model.safetensors",      "calib.jsonl",
        "tokenizer.json",       "generation_config.json", "eval.txt",
        "tokenizer_config.json"};
    make_directory(f, "source");
    snprintf(model, size, "%s/source", f->directory);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char to[1200];
        snprintf(to, sizeof to, "%s/%s", model, files[i]);
        char from[1200];
        snprintf(from, sizeof from, "%s/%s", TINY, files[i]);
        copy_file(f, from, to);
    }
}

/* A file that loses its end when layer 1 begins. */
static int shorten_in_second_layer(void *user, const awq_progress *progress)
{
    if (progress->layer == 1)
        assert_int_equal(truncate(user, 100000), 0);
    return 0;
}

/* A run during which a file is cut short; the message names it. */
static void run_while_shrinking(const fixture *f, const char *model, char *path)
{
    awq_recipe *recipe = short_recipe(f, model);
    char partial[1100];
    snprintf(partial, sizeof partial, "%s.partial", output);
    awq_context_set_progress(f->ctx, shorten_in_second_layer, path);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_IO);
    awq_context_set_progress(f->ctx, NULL, NULL);
    assert_message(f, path);
    assert_message(f, "has 100000 bytes, but had");
    assert_true(awq__is_directory(partial));
    assert_false(awq__is_directory(output));
    awq_recipe_free(recipe);
}

static void test_a_source_that_shrinks_ends_the_run_which_goes_on_later(void **state)
{
    fixture *f = *state;
    const char *none[] = {NULL};
    char model[1024], path[1100], whole[1024];
    copy_model(f, model, sizeof model);
    snprintf(path, sizeof path, "%s/model.safetensors", model);
    snprintf(whole, sizeof whole, "%s", output);
    run_short(f, model, none, false);

    snprintf(output, sizeof output, "%s/resumed", f->directory);
    run_while_shrinking(f, model, path);
    copy_file(f, TINY "/model.safetensors", path);
    run_short(f, model, none, false);
    assert_same_result(f, whole, output);
}

/* What was written is read back, to be judged. */
static void test_a_result_that_shrinks_ends_the_run(void **state)
{
    fixture *f = *state;
    char path[1100];
    snprintf(path, sizeof path, "%s.partial/model.safetensors", output);
    run_while_shrinking(f, TINY, path);
}

static void test_an_evaluated_model_that_shrinks_is_an_error(void **state)
{
    fixture *f = *state;
    char model[1024], path[1100];
    const char *texts[] = {TINY "/eval.txt"};
    awq_eval_result result;
    copy_model(f, model, sizeof model);
    awq_eval_options options = {.struct_size = sizeof options,
                                .directory = model,
                                .texts = texts,
                                .text_count = 1,
                                .windows = 2};
    snprintf(path, sizeof path, "%s/model.safetensors", model);
    awq_context_set_progress(f->ctx, shorten_in_second_layer, path);
    assert_int_equal(awq_evaluate(f->ctx, &options, &result), AWQ_ERROR_IO);
    assert_message(f, path);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up_run, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_a_source_that_shrinks_ends_the_run_which_goes_on_later),
        CASE(test_a_result_that_shrinks_ends_the_run),
        CASE(test_an_evaluated_model_that_shrinks_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
