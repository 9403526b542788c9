/* Writing the files of a checkpoint: layout, bytes, resuming. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_output.h"

static void one_file(void **state)
{
    fixture *f = *state;
    write_checkpoint(f, "out", false, 1000);
    check_model(f, "out");
    assert_listing(f, "out", AWQ__PROVENANCE_FILE " config.json model.safetensors");
    assert_listing(f, ".", "out");
}

static void header_bytes(void **state)
{
    fixture *f = *state;
    const int64_t two[] = {1, 2};
    awq__output *output = begin(f, "out", false, false);
    check(f, awq__output_declare(output, "half", AWQ_F16, 2, two));
    check(f, awq__output_declare(output, "b", AWQ_F32, 1, two));
    check(f, awq__output_declare(output, "a", AWQ_F32, 0, NULL));
    check(f, awq__output_layout(output, UINT64_MAX));
    check(f, awq__output_write(output, "a", "aaaa", 4));
    check(f, awq__output_write(output, "b", "bbbb", 4));
    check(f, awq__output_write(output, "half", "hhhh", 4));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    static const char expected[] =
        "\xc8\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
        "\"half\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[8,12]}}"
        "    aaaabbbbhhhh";
    size_t bytes;
    char *file = read_file(f, "out/model.safetensors", &bytes);
    assert_int_equal(bytes, sizeof expected - 1);
    assert_memory_equal(file, expected, bytes);
    awq__free(file);
}

static void several_shards(void **state)
{
    fixture *f = *state;
    write_checkpoint(f, "out", false, 34); /* 20 | 32 | 3, 0, 14, 16 | 4, 1 */
    check_model(f, "out");
    assert_listing(f, "out",
                   AWQ__PROVENANCE_FILE
                   " config.json model-00001-of-00004.safetensors model-00002-of-00004.safetensors "
                   "model-00003-of-00004.safetensors model-00004-of-00004.safetensors "
                   "model.safetensors.index.json");
    size_t bytes;
    char *index = read_file(f, "out/model.safetensors.index.json", &bytes);
    assert_string_equal(index, "{\n  \"metadata\": {\n    \"total_size\": 90\n  },\n"
                               "  \"weight_map\": {\n"
                               "    \"layers.0.blocks\": \"model-00003-of-00004.safetensors\",\n"
                               "    \"layers.0.codes\": \"model-00002-of-00004.safetensors\",\n"
                               "    \"layers.0.empty\": \"model-00003-of-00004.safetensors\",\n"
                               "    \"layers.0.scales\": \"model-00001-of-00004.safetensors\",\n"
                               "    \"layers.1.codes\": \"model-00003-of-00004.safetensors\",\n"
                               "    \"layers.1.mask\": \"model-00004-of-00004.safetensors\",\n"
                               "    \"layers.1.scalar\": \"model-00004-of-00004.safetensors\",\n"
                               "    \"layers.1.scales\": \"model-00003-of-00004.safetensors\"\n"
                               "  }\n}\n");
    awq__free(index);
    write_checkpoint(f, "each", false, 1); /* every tensor is too large */
    check_model(f, "each");
    assert_true(is_there(f, "each/model-00007-of-00007.safetensors"));
}

static void no_tensor_at_all(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, false);
    check(f, awq__output_layout(output, 10));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    awq__checkpoint *checkpoint;
    check(f, awq__checkpoint_open(f->ctx, path_of(f, "out"), &checkpoint));
    assert_int_equal(awq__checkpoint_count(checkpoint), 0);
    awq__checkpoint_free(checkpoint);
}

/* Reading the partial directory sees what has been written, while the run goes on. */
static void readable_while_written(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    awq__checkpoint *checkpoint;
    assert_string_equal(awq__output_partial(output), path_of(f, "out.partial"));
    check(f, awq__checkpoint_open(f->ctx, awq__output_partial(output), &checkpoint));
    const awq__tensor *tensor = awq__checkpoint_find(checkpoint, model[1].name);
    uint8_t expected[32] = {0};
    assert_true(tensor_is(f->ctx, tensor, expected, model[1].bytes));
    check(f, write_tensor(output, 1));
    fill_tensor(1, expected);
    assert_true(tensor_is(f->ctx, tensor, expected, model[1].bytes));
    awq__checkpoint_free(checkpoint);
    awq__output_free(output);
}

static awq_status write_task(void *arg, int64_t index, int worker)
{
    (void)worker;
    return write_tensor(arg, (size_t)index);
}

static void same_bytes_always(void **state)
{
    fixture *f = *state;
    write_checkpoint(f, "one", false, 34);
    awq__output *output = begin(f, "two", false, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    check(f, awq_context_set_threads(f->ctx, 4));
    check(f, awq__parallel_for(f->ctx, MODEL_COUNT, write_task, output));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    const char *names[] = {"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                           "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                           "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        size_t one_bytes, two_bytes;
        snprintf(name, sizeof name, "one/%s", names[i]);
        char *one = read_file(f, name, &one_bytes);
        snprintf(name, sizeof name, "two/%s", names[i]);
        char *two = read_file(f, name, &two_bytes);
        assert_int_equal(one_bytes, two_bytes);
        assert_memory_equal(one, two, one_bytes);
        awq__free(one);
        awq__free(two);
    }
}

static void unusual_names(void **state)
{
    fixture *f = *state;
    const char *names[] = {"a \"quoted\" name",
                           "back\\slash",
                           "line\nend\ttab\x01",
                           "\xc3\xa9t\xc3\xa9",
                           "\xf0\x9f\x90\xab",
                           "",
                           "/",
                           "\x7f"};
    enum { COUNT = sizeof names / sizeof *names };
    awq__output *output = begin(f, "out", false, false);
    for (uint8_t i = 0; i < COUNT; i++)
        check(f, awq__output_declare(output, names[i], AWQ_U8, 0, NULL));
    check(f, awq__output_layout(output, 4));
    for (uint8_t i = 0; i < COUNT; i++)
        check(f, awq__output_write(output, names[i], &i, 1));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    awq__checkpoint *checkpoint;
    check(f, awq__checkpoint_open(f->ctx, path_of(f, "out"), &checkpoint));
    for (uint8_t i = 0; i < COUNT; i++) {
        const awq__tensor *tensor = awq__checkpoint_find(checkpoint, names[i]);
        assert_non_null(tensor);
        assert_true(tensor_is(f->ctx, tensor, &i, 1));
    }
    awq__checkpoint_free(checkpoint);
}

static void bad_declarations(void **state)
{
    fixture *f = *state;
    const int64_t negative[] = {-1}, huge[] = {INT64_C(1) << 40, INT64_C(1) << 40}, odd[] = {3},
                  large[] = {INT64_C(1) << 52}, many[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const struct {
        const char *name;
        awq_dtype dtype;
        int rank;
        const int64_t *shape;
        const char *message;
    } cases[] = {
        {"a", AWQ_DTYPE_COUNT, 1, odd, "no dtype"}, {"a", AWQ_U8, 9, many, "rank 9"},
        {"a", AWQ_U8, -1, many, "rank -1"},         {"a", AWQ_U8, 1, negative, "size -1"},
        {"a", AWQ_U8, 2, huge, "cannot be stored"}, {"a", AWQ_F4, 1, odd, "whole bytes"},
        {"a\xff", AWQ_U8, 1, odd, "not UTF-8"},     {"__metadata__", AWQ_U8, 1, odd, "reserved"},
    };
    awq__output *output = begin(f, "out", false, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(awq__output_declare(output, cases[i].name, cases[i].dtype, cases[i].rank,
                                             cases[i].shape),
                         AWQ_ERROR_ARGUMENT);
        assert_message(f, cases[i].message);
    }
    check(f, awq__output_declare(output, "twice", AWQ_U8, 1, odd));
    check(f, awq__output_declare(output, "other", AWQ_U8, 1, odd));
    assert_int_equal(awq__output_layout(output, 0), AWQ_ERROR_ARGUMENT);
    check(f, awq__output_declare(output, "twice", AWQ_I8, 1, odd));
    assert_int_equal(awq__output_layout(output, 10), AWQ_ERROR_ARGUMENT);
    assert_message(f, "\"twice\": declared twice");
    awq__output_free(output);
    output = begin(f, "out", false, false);
    check(f, awq__output_declare(output, "a", AWQ_U8, 1, large));
    check(f, awq__output_declare(output, "b", AWQ_U8, 1, large));
    check(f, awq__output_declare(output, "c", AWQ_U8, 1, odd));
    assert_int_equal(awq__output_layout(output, 10), AWQ_ERROR_ARGUMENT);
    assert_message(f, "larger than 2^53");
    awq__output_free(output);
}

static void calls_out_of_order(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, false);
    declare_model(f, output);
    assert_int_equal(write_tensor(output, 0), AWQ_ERROR_ARGUMENT);
    assert_message(f, "before the layout");
    assert_int_equal(awq__output_commit(output), AWQ_ERROR_ARGUMENT);
    check(f, awq__output_layout(output, 100));
    assert_int_equal(awq__output_layout(output, 100), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq__output_declare(output, "late", AWQ_U8, 0, NULL), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq__output_write(output, "unknown", "", 0), AWQ_ERROR_ARGUMENT);
    assert_message(f, "not declared");
    assert_int_equal(awq__output_write(output, model[0].name, "abc", 3), AWQ_ERROR_ARGUMENT);
    assert_message(f, "3 bytes written, 20 declared");
    assert_int_equal(awq__output_keep(output, model[0].name), AWQ_ERROR_FORMAT);
    for (size_t i = 0; i < MODEL_COUNT; i++)
        if (i != 2 && i != 5)
            check(f, write_tensor(output, i));
    assert_int_equal(awq__output_commit(output), AWQ_ERROR_ARGUMENT);
    assert_message(f, "tensor \"layers.0.blocks\": declared but not written");
    assert_false(is_there(f, "out"));
    check(f, write_tensor(output, 2));
    check(f, write_tensor(output, 5));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    check_model(f, "out");
}

static void resume_keeps_data(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    for (size_t i = 0; i < 5; i++)
        check(f, write_tensor(output, i));
    check(f, awq__output_sync(output));
    awq__output_free(output);

    write_text(f, "out.partial/.awq-config.json.tmp", "half a fi");
    assert_int_equal(unlink(path_of(f, "out.partial/model-00001-of-00004.safetensors")), 0);
    output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    assert_int_equal(awq__output_keep(output, model[0].name), AWQ_ERROR_FORMAT);
    assert_message(f, model[0].name);
    for (size_t i = 1; i < 5; i++)
        check(f, awq__output_keep(output, model[i].name));
    assert_int_equal(awq__output_keep(output, "unknown"), AWQ_ERROR_ARGUMENT);
    check(f, write_tensor(output, 0));
    for (size_t i = 5; i < MODEL_COUNT; i++)
        check(f, write_tensor(output, i));
    check(f, awq__output_text(output, "config.json", "{}", 2));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    check_model(f, "out");
    assert_listing(f, "out",
                   "config.json model-00001-of-00004.safetensors model-00002-of-00004.safetensors "
                   "model-00003-of-00004.safetensors model-00004-of-00004.safetensors "
                   "model.safetensors.index.json");
}

/* A shard of another header, size or layout does not count as data of this run. */
static void resume_with_another_layout(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    write_model(f, output);
    awq__output_free(output);

    output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    assert_listing(f, "out.partial", ".awq-lock model.safetensors");
    assert_int_equal(awq__output_keep(output, model[0].name), AWQ_ERROR_FORMAT);
    write_model(f, output);
    awq__output_free(output);

    size_t bytes;
    char *file = read_file(f, "out.partial/model.safetensors", &bytes);
    file[20] ^= 1;
    write_file(f, "out.partial/model.safetensors", file, bytes);
    output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    assert_int_equal(awq__output_keep(output, model[0].name), AWQ_ERROR_FORMAT);
    awq__output_free(output);

    file[20] ^= 1;
    write_file(f, "out.partial/model.safetensors", file, bytes - 1);
    output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    assert_int_equal(awq__output_keep(output, model[0].name), AWQ_ERROR_FORMAT);
    awq__output_free(output);

    write_file(f, "out.partial/model.safetensors", file, bytes);
    awq__free(file);
    output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    for (size_t i = 0; i < MODEL_COUNT; i++)
        check(f, awq__output_keep(output, model[i].name));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    check_model(f, "out");
}

static void small_files(void **state)
{
    fixture *f = *state;
    enum { LONG = 200001 };
    char *large = malloc(LONG);
    assert_non_null(large);
    for (size_t i = 0; i < LONG; i++)
        large[i] = (char)(i * 31);
    write_file(f, "tokenizer.json", large, LONG);
    awq__output *output = begin(f, "out", false, false);
    check(f, awq__output_text(output, "a.txt", "first", 5));
    check(f, awq__output_text(output, "a.txt", "2nd", 3));
    check(f, awq__output_text(output, "empty", NULL, 0));
    check(f, awq__output_copy(output, path_of(f, "tokenizer.json")));
    check(f, awq__output_copy(output, path_of(f, "absent.json")));
    check(f, awq__output_copy_as(output, path_of(f, "tokenizer.json"),
                                 AWQ__TEMPLATE_FOLDER "/a.jinja"));
    assert_listing(f, "out.partial/" AWQ__TEMPLATE_FOLDER, "a.jinja");
    assert_int_equal(awq__output_copy(output, path_of(f, ".")), AWQ_ERROR_IO);
    const char *bad[] = {"",
                         ".",
                         "..",
                         "a/b",
                         "/etc/x",
                         ".awq-lock",
                         AWQ__TEMPLATE_FOLDER "/",
                         AWQ__TEMPLATE_FOLDER "/a/b",
                         AWQ__TEMPLATE_FOLDER "/.."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(awq__output_text(output, bad[i], "x", 1), AWQ_ERROR_ARGUMENT);
    make_directory(f, "out.partial/folder");
    assert_int_equal(awq__output_text(output, "folder", "x", 1), AWQ_ERROR_IO);
    assert_listing(f, "out.partial",
                   ".awq-lock a.txt " AWQ__TEMPLATE_FOLDER " empty folder tokenizer.json");
    size_t bytes;
    char *text = read_file(f, "out.partial/a.txt", &bytes);
    assert_string_equal(text, "2nd");
    awq__free(text);
    text = read_file(f, "out.partial/tokenizer.json", &bytes);
    assert_int_equal(bytes, LONG);
    assert_memory_equal(text, large, LONG);
    awq__free(text);
    free(large);
    awq__output_free(output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(header_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_shards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_tensor_at_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readable_while_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(same_bytes_always, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unusual_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_declarations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_out_of_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resume_keeps_data, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resume_with_another_layout, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_files, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
