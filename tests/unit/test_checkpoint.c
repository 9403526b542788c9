/* Checkpoint directories: one file, shards, and an index that does not tell the truth. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "support/tensor_bytes.h"
#include "temp_files.h"

#define HEADER_A "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}"
#define HEADER_BC                                                                                  \
    "{\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"                              \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[1,4]}}"
#define INDEX "m/model.safetensors.index.json"

static awq_status open_directory(fixture *f, const char *name, awq__checkpoint **checkpoint)
{
    awq__clear(f->ctx);
    return awq__checkpoint_open(f->ctx, path_of(f, name), checkpoint);
}

static void write_shards(fixture *f)
{
    make_directory(f, "m");
    write_safetensors(f, "m/one.safetensors", HEADER_A, 2);
    write_safetensors(f, "m/two.safetensors", HEADER_BC, 4);
}

static void single_file(void **state)
{
    fixture *f = *state;
    make_directory(f, "m");
    write_safetensors(f, "m/model.safetensors", HEADER_BC, 4);
    awq__checkpoint *checkpoint;
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_OK);
    assert_string_equal(awq__checkpoint_directory(checkpoint), path_of(f, "m"));
    assert_int_equal(awq__checkpoint_count(checkpoint), 2);
    assert_int_equal(awq__checkpoint_bytes(checkpoint), 4);
    assert_string_equal(awq__checkpoint_at(checkpoint, 0)->name, "b");
    assert_string_equal(awq__checkpoint_at(checkpoint, 1)->name, "c");
    assert_null(awq__checkpoint_at(checkpoint, 2));
    assert_true(tensor_is(f->ctx, awq__checkpoint_find(checkpoint, "b"), "\1\2\3", 3));
    assert_null(awq__checkpoint_find(checkpoint, "a"));
    awq__checkpoint_free(checkpoint);
    awq__checkpoint_free(NULL);
}

/* The names of numbered shards tell how many there are; their headers name all tensors. */
static void shards_without_an_index(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    make_directory(f, "m");
    write_safetensors(f, "m/model-00002-of-00002.safetensors", HEADER_BC, 4);
    write_safetensors(f, "m/model-0001-of-0003.safetensors", HEADER_A, 2); /* no such name */
    write_safetensors(f, "m/model-00003-of-00002.safetensors", HEADER_A, 2);
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_ERROR_IO);
    assert_message(f, "/m: model-00001-of-00002.safetensors is not there, one of 2 files");
    write_safetensors(f, "m/model-00001-of-00002.safetensors", HEADER_A, 2);
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_OK);
    assert_int_equal(awq__checkpoint_count(checkpoint), 3);
    assert_true(tensor_is(f->ctx, awq__checkpoint_find(checkpoint, "b"), "\1\2\3", 3));
    assert_true(tensor_is(f->ctx, awq__checkpoint_find(checkpoint, "a"), "\0\1", 2));
    awq__checkpoint_free(checkpoint);
    write_safetensors(f, "m/model-00001-of-00003.safetensors", HEADER_A, 2);
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_ERROR_FORMAT);
    assert_message(f, "with model.safetensors.index.json it would be plain which are meant");
}

/* A name with another number of digits than the shards have is that of none. */
static void six_digits_where_five_will_do(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    make_directory(f, "m");
    write_safetensors(f, "m/model-000001-of-000001.safetensors", HEADER_A, 2);
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_ERROR_IO);
    assert_message(f, "neither model.safetensors nor model.safetensors.index.json");
    write_safetensors(f, "m/model-100000-of-100000.safetensors", HEADER_A, 2);
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_ERROR_IO);
    assert_message(f, "model-00001-of-100000.safetensors is not there, one of 100000 files");
}

/* All shards are looked for before room is made for them and the first is opened. */
static void a_number_of_shards_is_not_believed(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    make_directory(f, "m");
    write_text(f, "m/model-00001-of-999999999.safetensors", "no header");
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_ERROR_IO);
    assert_message(f, "model-00002-of-999999999.safetensors is not there, one of 999999999 files");
}

/* Stands between the library and the system (-Wl,--wrap). */
struct dirent *__real_readdir(DIR *directory);
struct dirent *__wrap_readdir(DIR *directory);
static int listing_error;

struct dirent *__wrap_readdir(DIR *directory)
{
    if (!listing_error)
        return __real_readdir(directory);
    errno = listing_error;
    return NULL;
}

/* A list that breaks off is not one that ends. */
static void a_directory_that_cannot_be_listed(void **state)
{
    static const struct {
        int error;
        awq_status status;
        const char *message;
    } cases[] = {{EIO, AWQ_ERROR_IO, "/m: cannot be listed: Input/output error"},
                 {ENOMEM, AWQ_ERROR_MEMORY, "/m: cannot be listed: Cannot allocate memory"}};
    fixture *f = *state;
    make_directory(f, "m");
    write_safetensors(f, "m/model-00001-of-00001.safetensors", HEADER_A, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__checkpoint *checkpoint;
        bool absent = true;
        listing_error = cases[i].error;
        awq_status opened = open_directory(f, "m", &checkpoint);
        listing_error = 0;
        assert_int_equal(opened, cases[i].status);
        assert_message(f, cases[i].message);
        listing_error = cases[i].error;
        awq_status looked = awq__checkpoint_is_absent(f->ctx, path_of(f, "m"), &absent);
        listing_error = 0;
        assert_int_equal(looked, cases[i].status);
        assert_message(f, cases[i].message);
        assert_false(absent);
    }
}

static void shards(void **state)
{
    fixture *f = *state;
    write_shards(f);
    write_text(f, INDEX,
               "{\"metadata\":{\"total_size\":123456},\"weight_map\":{\"c\":\"two.safetensors\","
               "\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"},\"other\":[]}");
    awq__checkpoint *checkpoint;
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_OK);
    assert_int_equal(awq__checkpoint_count(checkpoint), 3);
    assert_int_equal(awq__checkpoint_bytes(checkpoint), 6);
    const char *names[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        const awq__tensor *tensor = awq__checkpoint_at(checkpoint, i);
        assert_string_equal(tensor->name, names[i]);
        assert_ptr_equal(awq__checkpoint_find(checkpoint, names[i]), tensor);
    }
    assert_string_equal(awq__checkpoint_find(checkpoint, "a")->file,
                        path_of(f, "m/one.safetensors"));
    assert_string_equal(awq__checkpoint_find(checkpoint, "c")->file,
                        path_of(f, "m/two.safetensors"));
    awq__checkpoint_free(checkpoint);
}

static void bad_indices_are_refused(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *index;
        awq_status status;
        const char *message;
    } cases[] = {
        {"", AWQ_ERROR_FORMAT, "not valid JSON"},
        {"{\"weight_map\":", AWQ_ERROR_FORMAT, "not valid JSON"},
        {"[]", AWQ_ERROR_FORMAT, "weight_map is missing"},
        {"{}", AWQ_ERROR_FORMAT, "weight_map is missing"},
        {"{\"weight_map\":[]}", AWQ_ERROR_FORMAT, "weight_map is missing"},
        {"{\"weight_map\":{\"a\":1}}", AWQ_ERROR_FORMAT, "\"a\" is not a string"},
        {"{\"weight_map\":{\"a\":null}}", AWQ_ERROR_FORMAT, "\"a\" is not a string"},
        {"{\"weight_map\":{\"a\":\"\"}}", AWQ_ERROR_FORMAT, "not the plain name"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\\u0000x\"}}", AWQ_ERROR_FORMAT,
         ".json:1:36: \\u0000, which no name or value here may hold"},
        {"{\"weight_map\":{\"a\":\"..\"}}", AWQ_ERROR_FORMAT, "not the plain name"},
        {"{\"weight_map\":{\"a\":\".\"}}", AWQ_ERROR_FORMAT, "not the plain name"},
        {"{\"weight_map\":{\"a\":\"../m/one.safetensors\"}}", AWQ_ERROR_FORMAT,
         "not the plain name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", AWQ_ERROR_FORMAT, "\"/etc/passwd\""},
        {"{\"weight_map\":{\"a\":\"zero.safetensors\"}}", AWQ_ERROR_IO,
         "\"zero.safetensors\", which is not there"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", AWQ_ERROR_FORMAT,
         "stands twice"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", AWQ_ERROR_FORMAT,
         "tensor \"c\": not listed"},
        {"{\"weight_map\":{\"b\":\"two.safetensors\",\"c\":\"two.safetensors\",\"a\":"
         "\"two.safetensors\"}}",
         AWQ_ERROR_FORMAT, "\"a\" is placed in \"two.safetensors\", and no file holds it"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":"
         "\"one.safetensors\"}}",
         AWQ_ERROR_FORMAT, "\"c\" is placed in \"one.safetensors\", but \"two.safetensors\" holds"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"d\":\"one.safetensors\"}}", AWQ_ERROR_FORMAT,
         "\"d\" is placed in \"one.safetensors\", and no file holds it"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"x\":\"copy.safetensors\"}}",
         AWQ_ERROR_FORMAT, "\"a\": stands in both"},
        {"{\"weight_map\":{\"a\":\"bad.safetensors\"}}", AWQ_ERROR_FORMAT, "bad.safetensors"},
        {"{\"weight_map\":{\"a\":\"folder\"}}", AWQ_ERROR_IO, "not there"},
    };
    write_shards(f);
    write_safetensors(f, "m/copy.safetensors", HEADER_A, 2);
    write_safetensors(f, "m/bad.safetensors", HEADER_A, 3);
    make_directory(f, "m/folder");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__checkpoint *checkpoint;
        write_text(f, INDEX, cases[i].index);
        awq_status status = open_directory(f, "m", &checkpoint);
        assert_null(checkpoint);
        if (status != cases[i].status)
            fail_msg("%s: %s: %s", cases[i].index, awq_status_name(status),
                     awq_context_message(f->ctx));
        assert_message(f, cases[i].message);
    }
}

static void mutated_indices_do_no_harm(void **state)
{
    fixture *f = *state;
    static const char index[] = "{\"weight_map\":{\"c\":\"two.safetensors\",\"a\":"
                                "\"one.safetensors\",\"b\":\"two.safetensors\"}}";
    static const char values[] = {0, '"', ',', '/', '.', '\\', '{', '}', 'a', (char)0xff};
    write_shards(f);
    size_t refused = 0;
    for (size_t at = 0; at + 1 < sizeof index; at++)
        for (size_t i = 0; i < sizeof values; i++) {
            char mutant[sizeof index];
            memcpy(mutant, index, sizeof index);
            mutant[at] = values[i];
            write_file(f, INDEX, mutant, sizeof index - 1);
            awq__checkpoint *checkpoint;
            refused += open_directory(f, "m", &checkpoint) != AWQ_OK;
            awq__checkpoint_free(checkpoint);
        }
    assert_true(refused > sizeof index);
}

static void count_warnings(void *user, awq_log_level level, const char *text)
{
    if (level == AWQ_LOG_WARNING && strstr(text, "model.safetensors is read"))
        ++*(int *)user;
}

static void single_file_goes_before_index(void **state)
{
    fixture *f = *state;
    write_shards(f);
    write_safetensors(f, "m/model.safetensors", HEADER_A, 2);
    write_text(f, INDEX, "{\"weight_map\":{\"b\":\"two.safetensors\",\"c\":\"two.safetensors\"}}");
    int warnings = 0;
    awq_context_set_log(f->ctx, count_warnings, &warnings);
    awq__checkpoint *checkpoint;
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_OK);
    assert_int_equal(awq__checkpoint_count(checkpoint), 1);
    assert_non_null(awq__checkpoint_find(checkpoint, "a"));
    assert_int_equal(warnings, 1);
    awq__checkpoint_free(checkpoint);
}

static void no_weights(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    assert_int_equal(open_directory(f, "absent", &checkpoint), AWQ_ERROR_IO);
    assert_message(f, "absent");
    make_directory(f, "m");
    write_safetensors(f, "m/other.safetensors", HEADER_A, 2);
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_ERROR_IO);
    assert_message(f, "neither model.safetensors nor model.safetensors.index.json");
    assert_null(strstr(awq_context_message(f->ctx), "pytorch"));
    write_text(f, "m/pytorch_model-00001-of-00002.bin", "");
    assert_int_equal(open_directory(f, "m", &checkpoint), AWQ_ERROR_IO);
    assert_message(f, "only safetensors");
    assert_int_equal(open_directory(f, "m/other.safetensors", &checkpoint), AWQ_ERROR_IO);
}

static void trained_model(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    assert_int_equal(awq__checkpoint_open(f->ctx, AWQ_TEST_DATA "/mixtral-tiny", &checkpoint),
                     AWQ_OK);
    const awq__tensor *embedding = awq__checkpoint_find(checkpoint, "model.embed_tokens.weight");
    assert_non_null(embedding);
    assert_int_equal(embedding->rank, 2);
    assert_int_equal(embedding->bytes,
                     awq__tensor_elements(embedding) * awq_dtype_bits(embedding->dtype) / 8);
    awq__checkpoint_free(checkpoint);
}

static void larger_models(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"mixtral-small", "qwen2_moe-tiny", "qwen3_moe-small",
                                        "qwen3_moe-tiny", "gpt_oss-tiny"};
    size_t found = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", AWQ_TEST_MODELS, names[i]);
        if (!awq__is_directory(path))
            continue;
        found++;
        awq__checkpoint *checkpoint;
        if (awq__checkpoint_open(f->ctx, path, &checkpoint) != AWQ_OK)
            fail_msg("%s", awq_context_message(f->ctx));
        assert_non_null(awq__checkpoint_find(checkpoint, "model.norm.weight"));
        uint64_t bytes = 0;
        for (size_t j = 0; j < awq__checkpoint_count(checkpoint); j++)
            bytes += awq__checkpoint_at(checkpoint, j)->bytes;
        assert_int_equal(bytes, awq__checkpoint_bytes(checkpoint));
        awq__checkpoint_free(checkpoint);
    }
    if (!found)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(single_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shards_without_an_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(six_digits_where_five_will_do, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_number_of_shards_is_not_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_indices_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mutated_indices_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(single_file_goes_before_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_weights, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trained_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(larger_models, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
