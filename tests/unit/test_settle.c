/* What goes on beside the work: making an output durable, hashing it, and reading ahead. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_output.h"

#include <unistd.h>

/* Of 64 MiB and a byte of zeros. */
#define LARGE_SUM "91990977345985aaf03af1358f4f989d7eaf985b58529efb72f613c588f6599a"

static awq__output *begin_model(fixture *f)
{
    awq__output *output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    return output;
}

static void assert_text(fixture *f, const char *name, const char *expected)
{
    size_t bytes;
    char *text = read_file(f, name, &bytes);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(text, expected, bytes);
    free(text);
}

/* Tensors are written while those before them are made durable. */
static void tensors_are_written_meanwhile(void **state)
{
    fixture *f = *state;
    awq__output *output = begin_model(f);
    check(f, awq__output_wait(output)); /* for nothing */
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        char text[2] = {(char)('a' + i), 0};
        check(f, write_tensor(output, i));
        check(f, awq__output_settle(output, "journal.json", text));
    }
    check(f, awq__output_wait(output));
    assert_text(f, "out.partial/journal.json", "h");
    check(f, awq__output_settle(output, "journal.json", "the end"));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    check_model(f, "out");
    assert_text(f, "out/journal.json", "the end");
}

/* An output that is given up has finished what it began. */
static void giving_up_waits(void **state)
{
    fixture *f = *state;
    awq__output *output = begin_model(f);
    check(f, awq__output_settle(output, "journal.json", "kept"));
    awq__output_free(output);
    assert_text(f, "out.partial/journal.json", "kept");
    output = begin_model(f);
    check(f, awq__output_settle(output, "journal.json", "not kept"));
    discard(f, output);
    assert_listing(f, ".", "");
}

/* A failure is told by the next call that waits, once, and does not hide another. */
static void failures_are_told_in_their_turn(void **state)
{
    fixture *f = *state;
    make_directory(f, "out.partial");
    awq__output *output = begin_model(f);
    make_directory(f, "out.partial/journal.json");
    make_directory(f, "out.partial/journal.json/in the way");
    awq__clear(f->ctx);
    check(f, awq__output_settle(output, "journal.json", "1"));
    assert_int_equal(awq__output_wait(output), AWQ_ERROR_IO);
    assert_message(f, "journal.json: cannot be replaced");
    check(f, awq__output_wait(output));

    check(f, awq__output_settle(output, "journal.json", "2"));
    awq__clear(f->ctx);
    assert_int_equal(awq__output_settle(output, "notes.txt", "3"), AWQ_ERROR_IO);
    assert_message(f, "journal.json: cannot be replaced");
    assert_false(is_there(f, "out.partial/notes.txt"));

    write_model(f, output);
    check(f, awq__output_settle(output, "journal.json", "4"));
    assert_int_equal(awq__output_commit(output), AWQ_ERROR_IO);
    assert_message(f, "journal.json: cannot be replaced");
    assert_false(is_there(f, "out"));

    check(f, awq__output_settle(output, "journal.json", "5"));
    awq__fail(f->ctx, AWQ_ERROR_NUMERIC, "why the run failed");
    awq__output_free(output);
    assert_string_equal(awq_context_message(f->ctx), "why the run failed");
}

/* SHA256SUMS is that of what is on the disk, however much was hashed before. */
static void assert_sums(fixture *f, awq__output *output)
{
    awq__sums listed, there;
    check(f, awq__output_sums(output, NULL));
    check(f, awq__sums_read(f->ctx, path_of(f, "out.partial"), &listed));
    check(f, awq__sums_list(f->ctx, path_of(f, "out.partial"), NULL, &there));
    check(f, awq__sums_compute(f->ctx, path_of(f, "out.partial"), &there, NULL));
    assert_true(there.count > 0);
    assert_int_equal(listed.count, there.count);
    for (size_t i = 0; i < there.count; i++) {
        assert_string_equal(listed.list[i].name, there.list[i].name);
        assert_string_equal(listed.list[i].hex, there.list[i].hex);
    }
    awq__sums_free(&listed);
    awq__sums_free(&there);
}

static size_t hashed_bytes(fixture *f, awq__output *output)
{
    static const _Atomic bool never;
    size_t bytes = 0;
    check(f, awq__output_hash(output, &never));
    for (size_t i = 0; i < output->layout.shard_count; i++)
        bytes += output->layout.shards[i].sha.bytes;
    return bytes;
}

static awq__output *begin_in_one(fixture *f)
{
    awq__output *output = begin(f, "out", false, true);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    return output;
}

/* Of a shard, what is written from its beginning on without a gap: in the order of the file, which
   is not that of the model. */
static void what_is_written_is_hashed_beside_the_work(void **state)
{
    fixture *f = *state;
    enum { CODES_1 = 5, SCALAR = 6 };
    awq__output *output = begin_in_one(f);
    const awq__shard *shard = output->layout.shards;
    assert_string_equal(shard->entries[0]->name, model[CODES_1].name);
    check(f, write_tensor(output, SCALAR));
    assert_int_equal(hashed_bytes(f, output), 0);
    check(f, write_tensor(output, CODES_1));
    assert_string_equal(shard->entries[3]->name, "layers.0.codes"); /* after one without bytes */
    assert_int_equal(hashed_bytes(f, output), shard->entries[3]->offset);
    write_model(f, output);
    assert_int_equal(hashed_bytes(f, output), shard->file_bytes);
    assert_true(output->layout.shards->replaced); /* two were written again */
    assert_sums(f, output);
    discard(f, output);
}

/* Also where it was hashed already, and by a run that goes on. */
static void sums_are_of_what_was_written_last(void **state)
{
    fixture *f = *state;
    const uint8_t other[32] = {1, 2, 3};
    awq__output *output = begin_in_one(f);
    write_model(f, output);
    assert_int_equal(hashed_bytes(f, output), output->layout.shards->file_bytes);
    assert_false(output->layout.shards->replaced);
    assert_sums(f, output);
    check(f, awq__output_write(output, model[0].name, other, model[0].bytes));
    assert_sums(f, output);
    check(f, awq__output_write_part(output, model[1].name, 4, other, 4));
    assert_sums(f, output);
    awq__output_free(output);
    output = begin_in_one(f);
    assert_int_equal(hashed_bytes(f, output), 0);
    for (size_t i = 0; i < MODEL_COUNT; i++)
        check(f, awq__output_keep(output, model[i].name));
    assert_int_equal(hashed_bytes(f, output), output->layout.shards->file_bytes);
    check(f, awq__output_settle(output, "journal.json", "text"));
    assert_sums(f, output);
    discard(f, output);
}

/* A shard that someone has cut off. */
static void hashing_that_fails_is_told(void **state)
{
    fixture *f = *state;
    awq__output *output = begin_in_one(f);
    write_model(f, output);
    assert_int_equal(truncate(path_of(f, "out.partial/model.safetensors"), 100), 0);
    const _Atomic bool never = false;
    assert_int_equal(awq__output_hash(output, &never), AWQ_ERROR_IO);
    assert_message(f, "model.safetensors: cannot be read at byte 100: the file ends there");
    assert_int_equal(truncate(path_of(f, "out.partial/model.safetensors"), 50), 0);
    assert_int_equal(awq__output_sums(output, NULL), AWQ_ERROR_IO);
    assert_message(f, "model.safetensors: has 50 bytes, but had 100 when it was read");
    discard(f, output);
}

/* A file that takes more than one turn: the caller hears of each, and may stop there. */
typedef struct asked {
    bool stops; /* once something is done */
    double fraction;
} asked;

static int ask(void *user, const awq_progress *progress)
{
    asked *a = user;
    assert_true(progress->fraction >= a->fraction && progress->fraction <= 0.5);
    a->fraction = progress->fraction;
    return a->stops && a->fraction > 0;
}

static void summing_can_be_cancelled_within_a_file(void **state)
{
    fixture *f = *state;
    const awq_progress progress = {.stage = "checksums", .fraction = 0.5};
    asked a = {.stops = true};
    awq__sums sums;
    make_directory(f, "sparse");
    write_text(f, "sparse/large", "");
    write_text(f, "sparse/small", "abc");
    assert_int_equal(truncate(path_of(f, "sparse/large"), ((off_t)64 << 20) + 1), 0);
    awq_context_set_progress(f->ctx, ask, &a);
    check(f, awq__sums_list(f->ctx, path_of(f, "sparse"), NULL, &sums));
    assert_int_equal(awq__sums_compute(f->ctx, path_of(f, "sparse"), &sums, &progress),
                     AWQ_ERROR_CANCELLED);
    assert_true(a.fraction > 0.4);
    assert_true(awq__sums_find(&sums, "small")->ended);
    assert_false(awq__sums_find(&sums, "large")->ended);
    a.stops = false;
    check(f, awq__sums_compute(f->ctx, path_of(f, "sparse"), &sums, &progress));
    assert_string_equal(awq__sums_find(&sums, "large")->hex, LARGE_SUM);
    awq_context_set_progress(f->ctx, NULL, NULL);
    awq__sums_free(&sums);
}

static void reading_ahead_is_of_whole_names(void **state)
{
    static const struct {
        const char *stem;
        size_t tensors;
    } cases[] = {
        {"layers.0", 4}, {"layers.1.codes", 1}, {"layers", MODEL_COUNT}, {"layers.0.scale", 0},
        {"layer", 0},    {"layers.0.", 0},      {"layers.1.scales", 1},  {"z", 0},
        {"", 0}};
    fixture *f = *state;
    awq__checkpoint *checkpoint;
    write_checkpoint(f, "out", false, 34);
    check(f, awq__checkpoint_open(f->ctx, path_of(f, "out"), &checkpoint));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(awq__checkpoint_read_ahead(checkpoint, cases[i].stem), cases[i].tensors);
    awq__checkpoint_free(checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tensors_are_written_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(giving_up_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_are_told_in_their_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_written_is_hashed_beside_the_work, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sums_are_of_what_was_written_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hashing_that_fails_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(summing_can_be_cancelled_within_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_ahead_is_of_whole_names, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
