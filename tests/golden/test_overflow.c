/* Weights so large that numbers overflow: the module where they do is named. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "runs.h"

#define TINY AWQ_TEST_DATA "/mixtral-tiny"

static void copy_into(fixture *f, const char *name)
{
    char path[1024], *text;
    size_t bytes;
    snprintf(path, sizeof path, TINY "/%s", name);
    read_all(f, path, &text, &bytes);
    write_file(f, name, text, bytes);
    awq__free(text);
}

/* The model with every element of a tensor, which is BF16, as large as they come. */
static void write_with_huge(fixture *f, const char *name)
{
    awq__checkpoint *checkpoint;
    copy_into(f, "model.safetensors");
    assert_ok(f, awq__checkpoint_open(f->ctx, f->directory, &checkpoint));
    const awq__tensor *tensor = awq__checkpoint_find(checkpoint, name);
    assert_non_null(tensor);
    FILE *file = fopen(path_of(f, "model.safetensors"), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)tensor->offset, SEEK_SET), 0);
    static const uint8_t huge[] = {0x7F, 0x7F};
    for (size_t i = 0; i < tensor->bytes; i += sizeof huge)
        assert_int_equal(fwrite(huge, sizeof huge, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    awq__checkpoint_free(checkpoint);
}

static void the_module_is_named(void **state)
{
    static const char *const cases[][2] = {
        {"model.layers.0.block_sparse_moe.experts.1.w2", "outputs"},
        {"model.layers.1.block_sparse_moe.experts.3.w2", "outputs"},
        {"model.layers.1.block_sparse_moe.gate", "logits"},
        {"model.layers.0.self_attn.o_proj", "outputs"},
    };
    fixture *f = *state;
    char calibration[1100], model[512], name[128], message[256];
    const char *options[] = {"calibration.data",
                             calibration,
                             "calibration.samples",
                             "2",
                             "calibration.sequence_length",
                             "64",
                             NULL};
    snprintf(model, sizeof model, "%s", f->directory);
    snprintf(output, sizeof output, "%s.out", f->directory);
    snprintf(calibration, sizeof calibration, "%s", TINY "/calib.jsonl");
    copy_into(f, "config.json");
    copy_into(f, "tokenizer.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(name, sizeof name, "%s.weight", cases[i][0]);
        write_with_huge(f, name);
        awq_recipe *recipe = recipe_of(f, model, options);
        awq_quantize_options how = {.struct_size = sizeof how, .restart = true};
        assert_int_equal(awq_quantize(f->ctx, recipe, &how, NULL), AWQ_ERROR_NUMERIC);
        snprintf(message, sizeof message, "%s: its %s are not finite", cases[i][0], cases[i][1]);
        assert_message(f, message);
        awq_recipe_free(recipe);
    }
    char partial[1100];
    snprintf(partial, sizeof partial, "%s.partial", output);
    assert_ok(f, awq__clear_directory(f->ctx, partial, NULL));
    assert_int_equal(rmdir(partial), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_module_is_named, set_up_run, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
