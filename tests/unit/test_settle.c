/* What goes on beside the work: making an output durable, and reading ahead. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_output.h"

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
        cmocka_unit_test_setup_teardown(reading_ahead_is_of_whole_names, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
