/* The ground floor: errors, callbacks, allocation, texts, paths, hashes, files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "temp_files.h"

/* ---- names ---- */

static void every_status_has_name_and_text(void **state)
{
    (void)state;
#define ENTRY(symbol, value, text) {symbol, value, #symbol, text},
    static const struct {
        awq_status status;
        int value;
        const char *name, *text;
    } all[] = {AWQ_STATUS_LIST(ENTRY)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(all[i].status, all[i].value);
        assert_string_equal(awq_status_name(all[i].status), all[i].name);
        assert_string_equal(awq_status_text(all[i].status), all[i].text);
        assert_true(all[i].value <= 0);
    }
    assert_string_equal(awq_status_name((awq_status)-1000), "AWQ_UNKNOWN");
    assert_true(strlen(awq_status_text((awq_status)-1000)) > 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", AWQ_VERSION_MAJOR, AWQ_VERSION_MINOR,
             AWQ_VERSION_PATCH);
    assert_string_equal(awq_version(), version);
}

/* ---- errors ---- */

static void a_failure_is_recorded(void **state)
{
    awq_context *ctx = *state;
    assert_string_equal(awq_context_message(ctx), "");
    assert_int_equal(awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: %d of %d", "a.json", 3, 4),
                     AWQ_ERROR_FORMAT);
    assert_string_equal(awq_context_message(ctx), "a.json: 3 of 4");
    awq__fail(ctx, AWQ_ERROR_IO, "later");
    assert_string_equal(awq_context_message(ctx), "later");
    awq__clear(ctx);
    assert_string_equal(awq_context_message(ctx), "");
}

/* What a function of steps did: one of its three steps fails, or none does. */
typedef struct steps {
    int failing, done, freed;
} steps;

static awq_status step(steps *s)
{
    return ++s->done == s->failing ? AWQ_ERROR_IO : AWQ_OK;
}

static awq_status take_and_free(steps *s, const void *array)
{
    awq_status status;
    AWQ__TRY(step(s));
    AWQ__TRY_ALLOC(array);
    if (s)
        AWQ__TRY(step(s));
    else
        AWQ__TRY(AWQ_ERROR_ARGUMENT);
    AWQ__TRY(step(s));
done:
    s->freed++;
    return status;
}

static awq_status take(steps *s, const void *array)
{
    AWQ__CHECK(step(s));
    AWQ__CHECK_ALLOC(array);
    if (s)
        AWQ__CHECK(step(s));
    else
        AWQ__CHECK(AWQ_ERROR_ARGUMENT);
    return step(s);
}

static void the_first_failure_ends_the_steps(void **state)
{
    (void)state;
    for (int failing = 0; failing <= 3; failing++) {
        awq_status expected = failing ? AWQ_ERROR_IO : AWQ_OK;
        steps freeing = {.failing = failing}, plain = freeing;
        assert_int_equal(take_and_free(&freeing, ""), expected);
        assert_int_equal(take(&plain, ""), expected);
        assert_int_equal(freeing.done, failing ? failing : 3);
        assert_int_equal(plain.done, freeing.done);
        assert_int_equal(freeing.freed, 1);
    }
    steps freeing = {0}, plain = {0};
    assert_int_equal(take_and_free(&freeing, NULL), AWQ_ERROR_MEMORY);
    assert_int_equal(take(&plain, NULL), AWQ_ERROR_MEMORY);
    assert_int_equal(freeing.done, 1);
    assert_int_equal(plain.done, 1);
    assert_int_equal(freeing.freed, 1);
}

static void a_message_is_one_line(void **state)
{
    awq_context *ctx = *state;
    awq__fail(ctx, AWQ_ERROR_IO,
              "a\nb\r\tc\x1b[1m\x7f"
              "d \xc3\xa9");
    assert_string_equal(awq_context_message(ctx), "a?b??c?[1m?d \xc3\xa9");
    char name[5000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    awq__fail(ctx, AWQ_ERROR_IO, "%s", name);
    size_t length = strlen(awq_context_message(ctx));
    assert_true(length >= 500 && length < sizeof name - 1);
    assert_int_equal(strspn(awq_context_message(ctx), "x"), length - 3);
    assert_string_equal(awq_context_message(ctx) + length - 3, "...");
}

/* What a terminal would obey, or cannot show. */
static void a_message_is_fit_for_a_terminal(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"\xc2\x9b"
         "31m\xc2\x80\xc2\x9f\xc2\xa0",
         "?31m??\xc2\xa0"},
        {"a\xff"
         "b\xc3",
         "a?b?"},
        {"\xe2\x82\xac\xe2\x82"
         "a\xf0\x9f\x99\x82\xf0\x9f",
         "\xe2\x82\xac?a\xf0\x9f\x99\x82?"},
        {"\xed\xa0\x80\xc0\x80", "?????"},
        {"a\xe2\x80\xae"
         "b\xe2\x81\xa6"
         "c\xe2\x80\x8f"
         "d\xd8\x9c",
         "a?b?c?d?"},
        {"a\xe2\x80\xa8"
         "b\xe2\x80\xa9"
         "c",
         "a?b?c"},
        {"\xd7\xa9\xd7\x9c\xd9\x85\xe4\xb8\xad", "\xd7\xa9\xd7\x9c\xd9\x85\xe4\xb8\xad"},
        {"", ""},
    };
    awq_context *ctx = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__fail(ctx, AWQ_ERROR_IO, "%s", cases[i].text);
        assert_string_equal(awq_context_message(ctx), cases[i].shown);
    }
}

/* Wherever a message is cut, no character is. */
static void no_character_is_cut(void **state)
{
    static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x99\x82"};
    awq_context *ctx = *state;
    for (size_t i = 0; i < 3; i++)
        for (size_t before = 0; before < 8; before++) {
            char text[3000] = "xxxxxxxx";
            size_t step = strlen(characters[i]), at = before;
            for (; at + step < sizeof text; at += step)
                memcpy(text + at, characters[i], step + 1);
            awq__fail(ctx, AWQ_ERROR_IO, "%s", text);
            const char *message = awq_context_message(ctx);
            size_t length = strlen(message) - 3;
            assert_string_equal(message + length, "...");
            assert_int_equal((length - before) % step, 0);
            assert_memory_equal(message, text, length);
        }
}

static void thread_counts_are_checked(void **state)
{
    awq_context *ctx = *state;
    assert_true(awq_context_threads(ctx) >= 1);
    fails(ctx, awq_context_set_threads(ctx, -1), AWQ_ERROR_ARGUMENT, "-1");
    fails(ctx, awq_context_set_threads(ctx, 1025), AWQ_ERROR_ARGUMENT, "1025");
    succeeds(ctx, awq_context_set_threads(ctx, 1024));
    assert_string_equal(awq_context_message(ctx), "");
    assert_int_equal(awq_context_threads(ctx), 1024);
    succeeds(ctx, awq_context_set_threads(ctx, 3));
    assert_int_equal(awq_context_threads(ctx), 3);
    succeeds(ctx, awq_context_set_threads(ctx, 0));
    assert_true(awq_context_threads(ctx) >= 1);
}

static void plugin_sources_are_kept_in_order(void **state)
{
    awq_context *ctx = *state;
    static const int first = 1, second = 2;
    char path[] = "one";
    succeeds(ctx, awq_context_add_plugin_path(ctx, path));
    path[0] = 'x'; /* a copy has been taken */
    succeeds(ctx, awq_context_add_plugin_path(ctx, "two"));
    succeeds(ctx, awq_context_add_plugin(ctx, &first));
    succeeds(ctx, awq_context_add_plugin(ctx, &second));
    fails(ctx, awq_context_add_plugin(ctx, NULL), AWQ_ERROR_ARGUMENT, "plugin");
    const awq__plugin_sources *sources = awq__context_plugins(ctx);
    assert_int_equal(sources->path_count, 2);
    assert_string_equal(sources->paths[0], "one");
    assert_string_equal(sources->paths[1], "two");
    assert_int_equal(sources->linked_count, 2);
    assert_ptr_equal(sources->linked[0], &first);
    assert_ptr_equal(sources->linked[1], &second);
}

/* ---- callbacks ---- */

typedef struct heard {
    char text[64];
    awq_log_level level;
    int calls, answer;
    awq_progress progress;
} heard;

static void hear(void *user, awq_log_level level, const char *text)
{
    heard *h = user;
    snprintf(h->text, sizeof h->text, "%s", text);
    h->level = level;
    h->calls++;
}

static int see(void *user, const awq_progress *progress)
{
    heard *h = user;
    h->progress = *progress;
    h->calls++;
    return h->answer;
}

static void the_log_is_silent_until_set(void **state)
{
    awq_context *ctx = *state;
    heard h = {0};
    awq__log(ctx, AWQ_LOG_INFO, "nobody listens");
    awq_context_set_log(ctx, hear, &h);
    awq__log(ctx, AWQ_LOG_WARNING, "layer %d\nof %s", 3, "a");
    assert_int_equal(h.calls, 1);
    assert_int_equal(h.level, AWQ_LOG_WARNING);
    assert_string_equal(h.text, "layer 3?of a");
    awq_context_set_log(ctx, NULL, NULL);
    awq__log(ctx, AWQ_LOG_INFO, "nobody listens");
    assert_int_equal(h.calls, 1);
}

static void progress_can_cancel(void **state)
{
    awq_context *ctx = *state;
    heard h = {0};
    const awq_progress at = {
        .stage = "scale search", .layer = 7, .layer_count = 9, .fraction = 0.75};
    succeeds(ctx, awq__progress(ctx, &at));
    awq_context_set_progress(ctx, see, &h);
    succeeds(ctx, awq__progress(ctx, &at));
    assert_int_equal(h.calls, 1);
    assert_int_equal(h.progress.layer, 7);
    assert_string_equal(h.progress.stage, "scale search");
    h.answer = 1;
    fails(ctx, awq__progress(ctx, &at), AWQ_ERROR_CANCELLED, "layer 7, scale search");
    awq_context_set_progress(ctx, NULL, NULL);
    succeeds(ctx, awq__progress(ctx, &at));
    assert_int_equal(h.calls, 2);
}

static void time_does_not_run_backwards(void **state)
{
    (void)state;
    double before = awq__now_seconds();
    assert_true(awq__now_seconds() >= before);
}

/* ---- allocation ---- */

static void allocation_is_checked(void **state)
{
    awq_context *ctx = *state;
    uint8_t *zeroed = awq__alloc(ctx, 1000, 3, "bytes");
    assert_non_null(zeroed);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(zeroed[i], 0);
    awq__free(zeroed);
    for (size_t bytes = 0; bytes < 300; bytes += 7) {
        uint8_t *aligned = awq__alloc_aligned(ctx, bytes, 1, "bytes");
        assert_non_null(aligned);
        assert_int_equal((uintptr_t)aligned % 64, 0);
        memset(aligned, 1, bytes);
        awq__free_aligned(aligned);
    }
    void *empty = awq__alloc(ctx, 0, 8, "nothing");
    assert_non_null(empty);
    awq__free(empty);
    awq__free(NULL);
    assert_string_equal(awq_context_message(ctx), "");
    assert_null(awq__alloc(ctx, SIZE_MAX / 2, 3, "the moon"));
    assert_non_null(strstr(awq_context_message(ctx), "out of memory: the moon"));
    awq__clear(ctx);
    assert_null(awq__alloc_aligned(ctx, SIZE_MAX / 8 + 1, 8, "the sun"));
    assert_non_null(strstr(awq_context_message(ctx), "the sun"));
    awq__clear(ctx);
    assert_null(awq__alloc_aligned(ctx, SIZE_MAX - 10, 1, "padding"));
    assert_non_null(strstr(awq_context_message(ctx), "padding"));
}

static void an_array_grows(void **state)
{
    awq_context *ctx = *state;
    int *list = NULL;
    size_t capacity = 0;
    for (size_t count = 1; count <= 1000; count++) {
        succeeds(ctx, awq__grow(ctx, &list, &capacity, count, sizeof *list, "a list"));
        assert_true(capacity >= count);
        list[count - 1] = (int)count;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(list[i], i + 1);
    int *before = list;
    size_t capacity_before = capacity;
    fails(ctx, awq__grow(ctx, &list, &capacity, SIZE_MAX / 2, sizeof *list, "a list"),
          AWQ_ERROR_MEMORY, "a list");
    assert_ptr_equal(list, before);
    assert_int_equal(capacity, capacity_before);
    awq__free(list);
}

static void arithmetic_is_checked(void **state)
{
    (void)state;
    size_t result;
    assert_false(awq__mul_overflows(SIZE_MAX / 3, 3, &result));
    assert_int_equal(result, SIZE_MAX);
    assert_true(awq__mul_overflows(SIZE_MAX / 3 + 1, 3, &result));
    assert_false(awq__add_overflows(SIZE_MAX - 1, 1, &result));
    assert_true(awq__add_overflows(SIZE_MAX, 1, &result));
    assert_int_equal(awq__min(-3, 2), -3);
    assert_int_equal(awq__max(-3, 2), 2);
    assert_int_equal(awq__ceil_div(0, 4), 0);
    assert_int_equal(awq__ceil_div(8, 4), 2);
    assert_int_equal(awq__ceil_div(9, 4), 3);
}

/* ---- texts and paths ---- */

static void a_text_grows(void **state)
{
    awq_context *ctx = *state;
    awq__text text = {0};
    succeeds(ctx, awq__text_append(ctx, &text, "%s", ""));
    assert_string_equal(text.data, "");
    succeeds(ctx, awq__text_append_bytes(ctx, &text, NULL, 0));
    for (int i = 0; i < 100; i++)
        succeeds(ctx, awq__text_append(ctx, &text, "%d,", i % 10));
    succeeds(ctx, awq__text_append_bytes(ctx, &text, "a\0b", 3));
    assert_int_equal(text.length, 203);
    assert_true(text.length < text.capacity);
    assert_memory_equal(text.data + 196, "8,9,a\0b", 8);
    fails(ctx, awq__text_append_bytes(ctx, &text, "", SIZE_MAX), AWQ_ERROR_MEMORY, "a text");
    assert_int_equal(text.length, 203);
    awq__text_free(&text);
    assert_null(text.data);
    assert_int_equal(text.length + text.capacity, 0);
    awq__text_free(&text);
}

static void strings_are_copied(void **state)
{
    awq_context *ctx = *state;
    char *copy = awq__strdup(ctx, "abc"), *made = awq__format(ctx, "%s-%03d", "x", 7);
    assert_string_equal(copy, "abc");
    assert_string_equal(made, "x-007");
    awq__free(copy);
    awq__free(made);
}

static void paths_are_joined(void **state)
{
    awq_context *ctx = *state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"},      {"/", "b", "/b"},
        {"a", "/b", "/b"}, {"", "b", "b"},          {NULL, "b", "b"},
        {"a", "", "a/"},   {"a", "../b", "a/../b"}, {"/a/b", "c", "/a/b/c"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = awq__path_join(ctx, cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        awq__free(path);
    }
}

/* ---- numbers ---- */

static void hashes_are_those_that_were_published(void **state)
{
    (void)state;
    assert_int_equal(awq__hash(AWQ__HASH_SEED, "", 0), UINT64_C(0x2d06800538d394c2));
    assert_int_equal(awq__hash(AWQ__HASH_SEED, "a", 1), UINT64_C(0xe6c632b61e964e1f));
    assert_int_equal(awq__hash(AWQ__HASH_SEED, "abc", 3), UINT64_C(0x78af5f94892f3950));
    assert_true(awq__hash(1, "abc", 3) != awq__hash(2, "abc", 3));
    uint64_t random = 1234567;
    assert_int_equal(awq__random(&random), UINT64_C(6457827717110365317));
    assert_int_equal(awq__random(&random), UINT64_C(3203168211198807973));
    assert_int_equal(awq__random(&random), UINT64_C(9817491932198370423));
}

/* ---- files ---- */

static void files_are_read(void **state)
{
    fixture *f = *state;
    char *text;
    size_t bytes;
    write_file(f, "a", "x\0y", 3);
    write_file(f, "empty", "", 0);
    succeeds(f->ctx, awq__read_text_file(f->ctx, path_of(f, "a"), 3, &text, &bytes));
    assert_int_equal(bytes, 3);
    assert_memory_equal(text, "x\0y", 4);
    awq__free(text);
    succeeds(f->ctx, awq__read_text_file(f->ctx, path_of(f, "empty"), 0, &text, &bytes));
    assert_int_equal(bytes, 0);
    assert_string_equal(text, "");
    awq__free(text);
    fails(f->ctx, awq__read_text_file(f->ctx, path_of(f, "a"), 2, &text, &bytes), AWQ_ERROR_FORMAT,
          "3 bytes, more than the 2 allowed");
    assert_null(text);

    awq__file file;
    char part[2];
    succeeds(f->ctx, awq__file_find(f->ctx, path_of(f, "a"), &file));
    assert_int_equal(file.size, 3);
    succeeds(f->ctx, awq__file_read(f->ctx, &file, 1, 2, part));
    assert_memory_equal(part, "\0y", 2);
    awq__file_free(&file);
    succeeds(f->ctx, awq__file_find(f->ctx, path_of(f, "empty"), &file));
    assert_int_equal(file.size, 0);
    awq__file_free(&file);
}

/* A file may change while it is read: that is told, and never more than the file has is taken. */
static void a_file_that_changes_is_told(void **state)
{
    fixture *f = *state;
    awq__file file;
    char part[8];
    int fd;
    write_text(f, "a", "12345678");
    succeeds(f->ctx, awq__file_find(f->ctx, path_of(f, "a"), &file));
    succeeds(f->ctx, awq__file_open(f->ctx, &file, &fd));
    assert_int_equal(truncate(path_of(f, "a"), 5), 0);
    fails(f->ctx, awq__read_at(f->ctx, file.path, fd, 2, 6, part), AWQ_ERROR_IO,
          "a: only 3 of the 6 bytes from byte 2 on could be read: the file ends there");
    close(fd);
    fails(f->ctx, awq__read_at(f->ctx, file.path, fd, 2, 6, part), AWQ_ERROR_IO,
          "a: only 0 of the 6 bytes from byte 2 on could be read: Bad file descriptor");
    for (int i = 0; i < 2; i++) { /* shorter, longer */
        fails(f->ctx, awq__file_read(f->ctx, &file, 0, 1, part), AWQ_ERROR_IO,
              "bytes, but had 8 when it was opened");
        assert_int_equal(truncate(path_of(f, "a"), 9), 0);
    }
    assert_int_equal(unlink(path_of(f, "a")), 0);
    fails(f->ctx, awq__file_read(f->ctx, &file, 0, 1, part), AWQ_ERROR_IO, "a: No such file");
    awq__file_free(&file);
}

static void what_is_no_file_is_refused(void **state)
{
    fixture *f = *state;
    char *text;
    size_t bytes;
    awq__file file;
    make_directory(f, "directory");
    assert_int_equal(mkfifo(path_of(f, "pipe"), 0600), 0);
    static const char *const names[] = {"absent", "directory", "pipe"};
    static const char *const why[] = {"absent: ", "not a regular file", "not a regular file"};
    for (int i = 0; i < 3; i++) {
        const char *path = path_of(f, names[i]);
        fails(f->ctx, awq__read_text_file(f->ctx, path, 9, &text, &bytes), AWQ_ERROR_IO, why[i]);
        assert_null(text);
        awq__clear(f->ctx);
        fails(f->ctx, awq__file_find(f->ctx, path, &file), AWQ_ERROR_IO, why[i]);
        awq__file_free(&file);
        assert_false(awq__is_file(path));
        assert_int_equal(awq__is_directory(path), i == 1);
    }
    assert_int_equal(unlink(path_of(f, "pipe")), 0);
    write_text(f, "a", "x");
    assert_true(awq__is_file(path_of(f, "a")));
    assert_false(awq__is_directory(path_of(f, "a")));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_name_and_text),
        TEST(a_failure_is_recorded),
        cmocka_unit_test(the_first_failure_ends_the_steps),
        TEST(a_message_is_one_line),
        TEST(a_message_is_fit_for_a_terminal),
        TEST(no_character_is_cut),
        TEST(thread_counts_are_checked),
        TEST(plugin_sources_are_kept_in_order),
        TEST(the_log_is_silent_until_set),
        TEST(progress_can_cancel),
        cmocka_unit_test(time_does_not_run_backwards),
        TEST(allocation_is_checked),
        TEST(an_array_grows),
        cmocka_unit_test(arithmetic_is_checked),
        TEST(a_text_grows),
        TEST(strings_are_copied),
        TEST(paths_are_joined),
        cmocka_unit_test(hashes_are_those_that_were_published),
        cmocka_unit_test_setup_teardown(files_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_changes_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
