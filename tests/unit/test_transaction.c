/* An output directory as a whole: what may be there, what is replaced, what an end leaves. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_output.h"

#include <signal.h>
#include <sys/resource.h>

static void without_resume_all_is_new(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    write_model(f, output);
    check(f, awq__output_text(output, "notes.txt", "x", 1));
    awq__output_free(output);
    make_directory(f, "out.partial/folder");
    write_text(f, "out.partial/folder/file", "x");

    output = begin(f, "out", false, false);
    assert_listing(f, "out.partial", ".awq-lock");
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    assert_int_equal(awq__output_keep(output, model[0].name), AWQ_ERROR_FORMAT);
    awq__output_discard(output);
    awq__output_free(output);
    assert_listing(f, ".", "");
}

static void one_run_at_a_time(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    begin_fails(f, "out", false, false, AWQ_ERROR_EXISTS, "another run");
    begin_fails(f, "out/", true, true, AWQ_ERROR_EXISTS, "another run");
    assert_true(is_there(f, "out.partial/model-00001-of-00004.safetensors"));
    awq__output *other = begin(f, "other", false, false);
    awq__output_discard(other);
    awq__output_free(other);
    awq__output_free(output);
    output = begin(f, "out", false, true);
    awq__output_free(output);
    awq__output_free(NULL);
}

static void existing_output(void **state)
{
    fixture *f = *state;
    write_checkpoint(f, "out", false, 1000);
    begin_fails(f, "out", false, false, AWQ_ERROR_EXISTS, "out: exists already");
    begin_fails(f, "out/", false, true, AWQ_ERROR_EXISTS, "out: exists already");
    assert_listing(f, ".", "out");
    make_directory(f, "home");
    write_text(f, "home/photo", "x");
    begin_fails(f, "home", true, false, AWQ_ERROR_EXISTS, "does not look like a checkpoint");
    write_text(f, "file", "x");
    begin_fails(f, "file", false, false, AWQ_ERROR_EXISTS, "exists already");
    begin_fails(f, "file", true, false, AWQ_ERROR_EXISTS, "does not look like a checkpoint");
    char target[sizeof f->path];
    snprintf(target, sizeof target, "%s", path_of(f, "out"));
    assert_int_equal(symlink(target, path_of(f, "link")), 0);
    begin_fails(f, "link", true, false, AWQ_ERROR_EXISTS, "does not look like a checkpoint");
    begin_fails(f, "link/", true, false, AWQ_ERROR_EXISTS, "does not look like a checkpoint");
    assert_int_equal(symlink("nowhere", path_of(f, "dangling")), 0);
    begin_fails(f, "dangling", false, false, AWQ_ERROR_EXISTS, "exists already");
    make_directory(f, "x");
    make_directory(f, "x/config.json");
    begin_fails(f, "x", true, false, AWQ_ERROR_EXISTS, "does not look like a checkpoint");
    begin_fails(f, "file/below", false, false, AWQ_ERROR_IO, "file");
    begin_fails(f, "..", false, false, AWQ_ERROR_ARGUMENT, "names no new directory");
    awq__output *output;
    assert_int_equal(awq__output_begin(f->ctx, "", false, false, &output), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq__output_begin(f->ctx, "//", true, false, &output), AWQ_ERROR_ARGUMENT);
    assert_listing(f, ".", "dangling file home link out x");
}

static void force_replaces_a_checkpoint(void **state)
{
    fixture *f = *state;
    write_text(f, "outside", "x");
    make_directory(f, "out");
    write_text(f, "out/config.json", "{}");
    write_text(f, "out/old", "x");
    make_directory(f, "out/folder");
    write_text(f, "out/folder/old", "x");
    assert_int_equal(symlink("../outside", path_of(f, "out/link")), 0);
    assert_int_equal(symlink("..", path_of(f, "out/folder/up")), 0);
    awq__output *output = begin(f, "out//", true, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    write_model(f, output);
    check(f, awq__output_text(output, "config.json", "{}", 2));
    assert_true(is_there(f, "out/old"));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    check_model(f, "out");
    assert_listing(f, "out", "config.json model.safetensors");
    assert_listing(f, ".", "out outside");
}

/* Someone else made the directory while the run was on. */
static void target_appears_meanwhile(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    write_model(f, output);
    make_directory(f, "out");
    assert_int_equal(awq__output_commit(output), AWQ_ERROR_EXISTS);
    awq__output_free(output);
    assert_true(is_there(f, "out.partial/model.safetensors"));
    assert_listing(f, "out", "");
}

static void others_directories_are_safe(void **state)
{
    fixture *f = *state;
    make_directory(f, "out.partial");
    write_text(f, "out.partial/thesis", "x");
    begin_fails(f, "out", true, false, AWQ_ERROR_EXISTS, "no earlier run has left it");
    assert_listing(f, "out.partial", "thesis");
    write_text(f, "file.partial", "x");
    begin_fails(f, "file", true, false, AWQ_ERROR_EXISTS, "no earlier run has left it");
    make_directory(f, "old");
    write_text(f, "old/config.json", "{}");
    make_directory(f, "old.replaced");
    write_text(f, "old.replaced/config.json", "{}");
    begin_fails(f, "old", true, false, AWQ_ERROR_EXISTS, "old.replaced: in the way");
    assert_listing(f, "old.replaced", "config.json");
    assert_listing(f, "old", "config.json");
}

/* A run with force was killed between its two renames. */
static void interrupted_replacement_is_undone(void **state)
{
    fixture *f = *state;
    make_directory(f, "out.replaced");
    write_text(f, "out.replaced/config.json", "{}");
    write_text(f, "out.replaced/.awq-replaced", "");
    begin_fails(f, "out", false, false, AWQ_ERROR_EXISTS, "out: exists already");
    assert_listing(f, ".", "out");
    assert_listing(f, "out", "config.json");
    write_checkpoint(f, "out", true, 1000);
    check_model(f, "out");
    assert_listing(f, ".", "out");
}

/* A run with force was killed while it removed what it had replaced. */
static void interrupted_removal_is_finished(void **state)
{
    fixture *f = *state;
    write_checkpoint(f, "out", false, 1000);
    make_directory(f, "out.replaced");
    write_text(f, "out.replaced/.awq-replaced", "");
    write_text(f, "out.replaced/rest", "");
    write_checkpoint(f, "out", true, 34);
    check_model(f, "out");
    assert_listing(f, ".", "out");

    make_directory(f, "out.replaced"); /* all was removed but the directory itself */
    write_checkpoint(f, "out", true, 34);
    assert_listing(f, ".", "out");
}

static void count_warnings(void *user, awq_log_level level, const char *text)
{
    if (level == AWQ_LOG_WARNING && strstr(text, "neither a file nor a directory"))
        ++*(int *)user;
}

/* What cannot be removed of the replaced directory is told, and the output stands all the same. */
static void incomplete_removal_is_a_warning(void **state)
{
    fixture *f = *state;
    int warnings = 0;
    awq_context_set_log(f->ctx, count_warnings, &warnings);
    make_directory(f, "out");
    write_text(f, "out/config.json", "{}");
    assert_int_equal(mkfifo(path_of(f, "out/pipe"), 0666), 0);
    write_checkpoint(f, "out", true, 1000);
    check_model(f, "out");
    assert_int_equal(warnings, 1);
    assert_string_equal(awq_context_message(f->ctx), "");
    assert_true(is_there(f, "out.replaced/pipe"));
    begin_fails(f, "out", true, false, AWQ_ERROR_IO, "\"pipe\" cannot be removed");
    assert_int_equal(unlink(path_of(f, "out.replaced/pipe")), 0);
    write_checkpoint(f, "out", true, 1000);
    assert_listing(f, ".", "out");
}

static void missing_parents_are_created(void **state)
{
    fixture *f = *state;
    write_checkpoint(f, "a//b/c/out/", false, 1000);
    check_model(f, "a/b/c/out");
    assert_listing(f, "a/b/c", "out");
}

static void relative_path(void **state)
{
    fixture *f = *state;
    char before[2048];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(f->directory), 0);
    awq__output *output;
    awq_status status = awq__output_begin(f->ctx, "out", false, false, &output);
    if (status == AWQ_OK)
        status = awq__output_layout(output, 10);
    if (status == AWQ_OK)
        status = awq__output_commit(output);
    awq__output_free(output);
    assert_int_equal(chdir(before), 0);
    check(f, status);
    assert_listing(f, "out", "model.safetensors");
}

/* The limit on file sizes stands for the disk that is full. */
static void too_small_a_disk(void **state)
{
    fixture *f = *state;
    static const char text[5000];
    const int64_t shape[] = {100000};
    struct rlimit before, limit;
    awq__output *output = begin(f, "out", false, false);
    check(f, awq__output_declare(output, "a", AWQ_F32, 1, shape));
    check(f, awq__output_declare(output, "b", AWQ_F32, 1, shape));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    awq_status small_status = awq__output_text(output, "small", text, sizeof text);
    awq_status status = awq__output_layout(output, 400000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(small_status, AWQ_ERROR_IO);
    assert_listing(f, "out.partial", ".awq-lock");
    assert_int_equal(status, AWQ_ERROR_IO);
    assert_message(f, "cannot have its 400"); /* 400000 and a header */
    assert_message(f, "all shards need 800");
    assert_int_equal(awq__output_write(output, "a", "", 0), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq__output_commit(output), AWQ_ERROR_ARGUMENT);
    awq__output_discard(output);
    awq__output_free(output);
    assert_listing(f, ".", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_resume_all_is_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_run_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(existing_output, set_up, tear_down),
        cmocka_unit_test_setup_teardown(force_replaces_a_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(target_appears_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_directories_are_safe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(interrupted_replacement_is_undone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(interrupted_removal_is_finished, set_up, tear_down),
        cmocka_unit_test_setup_teardown(incomplete_removal_is_a_warning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(missing_parents_are_created, set_up, tear_down),
        cmocka_unit_test_setup_teardown(relative_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_small_a_disk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
