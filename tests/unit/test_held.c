/* Tensors that are in memory together. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_output.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Asks for all tensors, from the last to the first. */
static void ask_for_all(const awq__checkpoint *checkpoint, awq__held *held)
{
    for (size_t i = awq__checkpoint_count(checkpoint); i-- > 0;)
        assert_null(awq__held_at(held, awq__checkpoint_at(checkpoint, i)));
}

static void each_tensor_is_where_it_is_asked_for(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    awq__held held = {.ctx = f->ctx};
    write_checkpoint(f, "out", false, 34); /* in several files */
    check(f, awq__checkpoint_open(f->ctx, path_of(f, "out"), &checkpoint));
    ask_for_all(checkpoint, &held);
    ask_for_all(checkpoint, &held); /* twice is as once */
    check(f, awq__held_read(&held));
    assert_int_equal(held.count, MODEL_COUNT);
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        uint8_t expected[32];
        const awq__tensor *tensor = awq__checkpoint_find(checkpoint, model[i].name);
        const uint8_t *data = awq__held_at(&held, tensor);
        assert_non_null(data);
        assert_int_equal((uintptr_t)data % 64, 0);
        fill_tensor(i, expected);
        assert_memory_equal(data, expected, model[i].bytes);
    }
    awq__held_free(&held);
    assert_null(awq__held_at(NULL, awq__checkpoint_at(checkpoint, 0)));
    awq__checkpoint_free(checkpoint);
}

static void what_was_not_asked_for_is_not_there(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    uint8_t *copy;
    const uint8_t *data;
    awq__held held = {.ctx = f->ctx};
    write_checkpoint(f, "out", false, 34);
    check(f, awq__checkpoint_open(f->ctx, path_of(f, "out"), &checkpoint));
    const awq__tensor *first = awq__checkpoint_at(checkpoint, 0);
    const awq__tensor *second = awq__checkpoint_at(checkpoint, 1);
    awq__held_at(&held, first);
    check(f, awq__held_read(&held));
    assert_null(awq__held_at(&held, second));
    check(f, awq__held_look(f->ctx, &held, first, 0, &copy, &data));
    assert_null(copy);
    assert_ptr_equal(data, awq__held_at(&held, first));
    check(f, awq__held_look(f->ctx, &held, second, second->bytes, &copy, &data));
    assert_non_null(copy);
    assert_ptr_equal(data, copy);
    assert_true(tensor_is(f->ctx, second, copy, second->bytes));
    awq__free(copy);
    assert_int_equal(awq__held_look(f->ctx, &held, second, second->bytes - 1, &copy, &data),
                     AWQ_ERROR_FORMAT);
    assert_message(f, "expected at most");
    assert_null(data);
    awq__held_free(&held);
    awq__checkpoint_free(checkpoint);
}

/* The number of a word, in a file too large to write it out. */
static void write_large(fixture *f, size_t data_bytes)
{
    char header[256];
    snprintf(header, sizeof header,
             "{\"large\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[0,%zu]},"
             "\"small\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[%zu,%zu]}}",
             data_bytes, data_bytes, data_bytes, data_bytes + 3);
    uint64_t length = strlen(header);
    int fd = open(path_of(f, "m/model.safetensors"), O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &length, 8, 0), 8);
    assert_int_equal(pwrite(fd, header, length, 8), length);
    assert_int_equal(ftruncate(fd, (off_t)(8 + length + data_bytes + 3)), 0);
    for (size_t at = 0; at + 8 <= data_bytes; at += AWQ__READ_BLOCK / 4)
        assert_int_equal(pwrite(fd, &at, 8, (off_t)(8 + length + at)), 8);
    assert_int_equal(pwrite(fd, "xyz", 3, (off_t)(8 + length + data_bytes)), 3);
    close(fd);
}

/* By several blocks, of which the last is not whole. */
static void a_large_tensor_is_read_by_blocks(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    awq__held held = {.ctx = f->ctx};
    size_t bytes = 2 * AWQ__READ_BLOCK + 1000;
    make_directory(f, "m");
    write_large(f, bytes);
    check(f, awq__checkpoint_open(f->ctx, path_of(f, "m"), &checkpoint));
    ask_for_all(checkpoint, &held);
    check(f, awq__held_read(&held));
    const uint8_t *large = awq__held_at(&held, awq__checkpoint_find(checkpoint, "large"));
    for (size_t at = 0, number; at + 8 <= bytes; at += AWQ__READ_BLOCK / 4) {
        memcpy(&number, large + at, 8);
        assert_int_equal(number, at);
    }
    assert_memory_equal(awq__held_at(&held, awq__checkpoint_find(checkpoint, "small")), "xyz", 3);
    awq__held_free(&held);
    awq__checkpoint_free(checkpoint);
}

/* A file that has shrunk, or is gone, since it was opened. */
static void a_file_that_fails_is_named(void **state)
{
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    awq__held held = {.ctx = f->ctx};
    write_checkpoint(f, "out", false, 34);
    check(f, awq__checkpoint_open(f->ctx, path_of(f, "out"), &checkpoint));
    const char *path = awq__checkpoint_find(checkpoint, "layers.1.codes")->file;
    for (int gone = 0; gone < 2; gone++) {
        assert_int_equal(gone ? unlink(path) : truncate(path, 20), 0);
        ask_for_all(checkpoint, &held);
        assert_int_equal(awq__held_read(&held), AWQ_ERROR_IO);
        assert_message(f, awq__base_name(path));
        assert_message(f, gone ? "No such file" : "has 20 bytes, but had");
        assert_int_equal(held.count, 0);
        assert_null(held.memory);
    }
    awq__checkpoint_free(checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_tensor_is_where_it_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_not_asked_for_is_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_large_tensor_is_read_by_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_fails_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
