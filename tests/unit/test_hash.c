/* Hashes of arrays, in memory and in files, and SHA-256 of files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "temp_files.h"

#include <fcntl.h>

/* Two blocks and a part of a third. */
#define LARGE (((size_t)33 << 20) + 5)

static uint8_t *random_bytes(size_t bytes)
{
    uint8_t *data = malloc(bytes);
    uint64_t state = 3, number;
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i += sizeof number) {
        number = awq__random(&state);
        memcpy(data + i, &number, bytes - i < sizeof number ? bytes - i : sizeof number);
    }
    return data;
}

static uint64_t hash_of(const fixture *f, const uint8_t *data, size_t bytes)
{
    awq__hashed array = {.data = data, .bytes = bytes};
    succeeds(f->ctx, awq__hash_arrays(f->ctx, &array, 1));
    return array.hash;
}

static void every_byte_counts(void **state)
{
    fixture *f = *state;
    uint8_t *data = random_bytes(LARGE);
    uint64_t whole = hash_of(f, data, LARGE);
    const size_t places[] = {0, 1, (16 << 20) - 1, 16 << 20, LARGE - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        data[places[i]] ^= 1;
        assert_true(hash_of(f, data, LARGE) != whole);
        data[places[i]] ^= 1;
    }
    assert_true(hash_of(f, data, LARGE) == whole);
    assert_true(hash_of(f, data, LARGE - 1) != whole);
    assert_true(hash_of(f, (const uint8_t *)"", 0) != hash_of(f, (const uint8_t *)"\0", 1));
    free(data);
}

static void threads_and_neighbours_do_not_matter(void **state)
{
    fixture *f = *state;
    uint8_t *data = random_bytes(LARGE);
    uint64_t whole = hash_of(f, data, LARGE), one = hash_of(f, data, 1);
    for (int threads = 1; threads <= 5; threads += 2) {
        awq__hashed arrays[] = {{.data = data, .bytes = 1},
                                {.data = data, .bytes = LARGE},
                                {.data = data},
                                {.data = data, .bytes = LARGE}};
        succeeds(f->ctx, awq_context_set_threads(f->ctx, threads));
        succeeds(f->ctx, awq__hash_arrays(f->ctx, arrays, 4));
        assert_true(arrays[0].hash == one && arrays[1].hash == whole && arrays[3].hash == whole);
    }
    succeeds(f->ctx, awq__hash_arrays(f->ctx, NULL, 0));
    free(data);
}

static void a_file_has_the_hash_of_its_bytes(void **state)
{
    fixture *f = *state;
    uint8_t *data = random_bytes(LARGE);
    write_file(f, "a", data, LARGE);
    int fd = open(path_of(f, "a"), O_RDONLY);
    assert_true(fd >= 0);
    awq__hashed array = {.fd = fd, .path = f->path, .offset = 3, .bytes = LARGE - 3};
    succeeds(f->ctx, awq__hash_arrays(f->ctx, &array, 1));
    assert_true(array.hash == hash_of(f, data + 3, LARGE - 3));
    array.bytes++;
    fails(f->ctx, awq__hash_arrays(f->ctx, &array, 1), AWQ_ERROR_IO, "the file ends there");
    close(fd);
    free(data);
}

static void sums_are_those_that_were_published(void **state)
{
    fixture *f = *state;
    char hex[AWQ__SHA256_HEX];
    awq__sha256 sha;
    write_text(f, "abc", "abc");
    int fd = open(path_of(f, "abc"), O_RDONLY);
    assert_true(fd >= 0);
    awq__sha256_begin(&sha);
    succeeds(f->ctx, awq__sha256_read(f->ctx, &sha, f->path, fd, 0));
    awq__sha256_end(&sha, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    awq__sha256_begin(&sha);
    succeeds(f->ctx, awq__sha256_read(f->ctx, &sha, f->path, fd, 1));
    succeeds(f->ctx, awq__sha256_read(f->ctx, &sha, f->path, fd, 2));
    fails(f->ctx, awq__sha256_read(f->ctx, &sha, f->path, fd, 1), AWQ_ERROR_IO,
          "at byte 3: the file ends there");
    awq__sha256_end(&sha, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_byte_counts),
        TEST(threads_and_neighbours_do_not_matter),
        TEST(a_file_has_the_hash_of_its_bytes),
        TEST(sums_are_those_that_were_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
