/* An output directory as a whole: what may be there, what is replaced, what an end leaves. */
#define _GNU_SOURCE /* flock, renameat2 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
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
    discard(f, output);
    assert_listing(f, ".", "");
}

/* What cannot be listed may be ours: the reason is told, and no word of what is in the way. */
static void a_directory_that_cannot_be_listed(void **state)
{
    fixture *f = *state;
    struct rlimit limit, none;
    awq__place_found found;
    make_directory(f, "out.partial");
    write_text(f, "out.partial/file", "x");
    assert_int_equal(awq__output_look(f->ctx, path_of(f, "out"), &found), AWQ_ERROR_EXISTS);
    assert_message(f, "in the way");
    int lowest = open("/dev/null", O_RDONLY);
    assert_true(lowest >= 0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    awq_status status = awq__output_look(f->ctx, path_of(f, "out"), &found);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(status, AWQ_ERROR_IO);
    assert_message(f, "out.partial: cannot be listed: Too many open files");
}

static void one_run_at_a_time(void **state)
{
    fixture *f = *state;
    awq__output *output = begin(f, "out", false, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 34));
    begin_fails(f, "out", false, AWQ_ERROR_EXISTS, "another run");
    begin_fails(f, "out/", true, AWQ_ERROR_EXISTS, "another run");
    assert_true(is_there(f, "out.partial/model-00001-of-00004.safetensors"));
    awq__output *other = begin(f, "other", false, false);
    discard(f, other);
    awq__output_free(output);
    output = begin(f, "out", false, true);
    awq__output_free(output);
    awq__output_free(NULL);
}

/* A directory as a result is known by. */
static void make_result(fixture *f, const char *name)
{
    char path[256];
    make_directory(f, name);
    snprintf(path, sizeof path, "%s/" AWQ__PROVENANCE_FILE, name);
    write_text(f, path, PROVENANCE);
}

#define NOT_OURS "is no result of libawq"

static void existing_output(void **state)
{
    fixture *f = *state;
    write_checkpoint(f, "out", false, 1000);
    begin_fails(f, "out", false, AWQ_ERROR_EXISTS,
                "out: exists already, the whole result of an earlier run");
    begin_fails(f, "out/", false, AWQ_ERROR_EXISTS, "out: exists already");
    assert_listing(f, ".", "out");
    make_directory(f, "home");
    write_text(f, "home/photo", "x");
    begin_fails(f, "home", true, AWQ_ERROR_EXISTS, NOT_OURS);
    write_text(f, "file", "x");
    begin_fails(f, "file", false, AWQ_ERROR_EXISTS, "exists already");
    begin_fails(f, "file", true, AWQ_ERROR_EXISTS, NOT_OURS);
    char target[sizeof f->path];
    snprintf(target, sizeof target, "%s", path_of(f, "out"));
    assert_int_equal(symlink(target, path_of(f, "link")), 0);
    begin_fails(f, "link", true, AWQ_ERROR_EXISTS, NOT_OURS);
    begin_fails(f, "link/", true, AWQ_ERROR_EXISTS, NOT_OURS);
    assert_int_equal(symlink("nowhere", path_of(f, "dangling")), 0);
    begin_fails(f, "dangling", false, AWQ_ERROR_EXISTS, "exists already");
    begin_fails(f, "file/below", false, AWQ_ERROR_IO, "file");
    begin_fails(f, "..", false, AWQ_ERROR_ARGUMENT, "names no new directory");
    awq__output *output;
    assert_int_equal(awq__output_begin(f->ctx, "", false, &output), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq__output_begin(f->ctx, "//", true, &output), AWQ_ERROR_ARGUMENT);
    assert_listing(f, ".", "dangling file home link out");
}

/* Whatever else they hold: most checkpoints in the world have a config.json. */
static void others_checkpoints_are_never_replaced(void **state)
{
    fixture *f = *state;
    static const char *const provenances[] = {
        NULL,
        "",
        "{}",
        "[]",
        "{\"producer\": \"other\"}",
        "{\"producer\": 1}",
        "{\"producer\": \"libawq",
    };
    for (size_t i = 0; i < sizeof provenances / sizeof *provenances; i++) {
        make_directory(f, "x");
        write_text(f, "x/config.json", "{}");
        if (provenances[i])
            write_text(f, "x/" AWQ__PROVENANCE_FILE, provenances[i]);
        begin_fails(f, "x", true, AWQ_ERROR_EXISTS, NOT_OURS);
        begin_fails(f, "x", false, AWQ_ERROR_EXISTS, "never replaced; remove it by hand");
        assert_true(is_there(f, "x/config.json"));
        check(f, awq__clear_directory(f->ctx, path_of(f, "x"), NULL));
        assert_int_equal(rmdir(path_of(f, "x")), 0);
    }
    make_result(f, "y");
    make_directory(f, "x");
    assert_int_equal(symlink("../y/" AWQ__PROVENANCE_FILE, path_of(f, "x/" AWQ__PROVENANCE_FILE)),
                     0);
    begin_fails(f, "x", true, AWQ_ERROR_EXISTS, NOT_OURS);
    make_directory(f, "z");
    make_directory(f, "z/" AWQ__PROVENANCE_FILE);
    begin_fails(f, "z", true, AWQ_ERROR_EXISTS, NOT_OURS);
    assert_listing(f, ".", "x y z");
}

static void an_empty_directory_is_free(void **state)
{
    fixture *f = *state;
    make_directory(f, "out");
    write_checkpoint(f, "out", false, 1000);
    check_model(f, "out");
    assert_listing(f, ".", "out");
}

static void force_replaces_a_result(void **state)
{
    fixture *f = *state;
    write_text(f, "outside", "x");
    make_result(f, "out");
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

/* Stands between the library and the system (-Wl,--wrap). */
int __real_renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags);
int __wrap_renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags);
static int exchanges, exchange_error;

int __wrap_renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    exchanges++;
    if (!exchange_error)
        return __real_renameat2(from_at, from, to_at, to, flags);
    errno = exchange_error;
    return -1;
}

/* Old and new exchange their names; where the system cannot do that, the old one is moved first,
   with all names that lead through it. */
static void ways_of_replacing(void **state)
{
    fixture *f = *state;
    static const int errors[] = {0, EINVAL, ENOSYS, EXDEV};
    for (size_t i = 0; i < 2 * sizeof errors / sizeof *errors; i++) {
        make_result(f, "out");
        write_text(f, "out/old", "x");
        exchanges = 0;
        exchange_error = errors[i / 2];
        write_checkpoint(f, i % 2 ? "out/../out" : "out", true, 1000);
        exchange_error = 0;
        assert_int_equal(exchanges, 1);
        check_model(f, "out");
        assert_listing(f, "out", AWQ__PROVENANCE_FILE " config.json model.safetensors");
        assert_listing(f, ".", "out");
        check(f, awq__clear_directory(f->ctx, path_of(f, "out"), NULL));
        assert_int_equal(rmdir(path_of(f, "out")), 0);
    }
}

/* A path that leads through what it names, or through links, is where it led at the beginning. */
static void paths_through_the_output_itself(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"m/../m", "m/up/m", "here/m", "here/./here/m/"};
    assert_int_equal(symlink(".", path_of(f, "here")), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        make_result(f, "m");
        assert_int_equal(symlink("..", path_of(f, "m/up")), 0);
        write_checkpoint(f, names[i], true, 1000);
        check_model(f, "m");
        assert_listing(f, "m", AWQ__PROVENANCE_FILE " config.json model.safetensors");
        assert_listing(f, ".", "here m");
        check(f, awq__clear_directory(f->ctx, path_of(f, "m"), NULL));
        assert_int_equal(rmdir(path_of(f, "m")), 0);
    }
    write_checkpoint(f, "missing/../m", false, 1000);
    assert_listing(f, ".", "here m");
}

/* The link that the output's path went through points elsewhere before the end. */
static void links_are_followed_once(void **state)
{
    fixture *f = *state;
    make_directory(f, "a");
    make_directory(f, "b");
    assert_int_equal(symlink("a", path_of(f, "link")), 0);
    awq__output *output = begin(f, "link/out", false, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    write_model(f, output);
    assert_int_equal(unlink(path_of(f, "link")), 0);
    assert_int_equal(symlink("b", path_of(f, "link")), 0);
    check(f, awq__output_commit(output));
    awq__output_free(output);
    check_model(f, "a/out");
    assert_listing(f, "b", "");
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
    write_text(f, "out/photo", "x");
    assert_int_equal(awq__output_commit(output), AWQ_ERROR_EXISTS);
    awq__output_free(output);
    assert_true(is_there(f, "out.partial/model.safetensors"));
    assert_listing(f, "out", "photo");
}

static void others_directories_are_safe(void **state)
{
    fixture *f = *state;
    make_directory(f, "out.partial");
    write_text(f, "out.partial/thesis", "x");
    begin_fails(f, "out", true, AWQ_ERROR_EXISTS, "no earlier run has left it");
    assert_listing(f, "out.partial", "thesis");
    write_text(f, "file.partial", "x");
    begin_fails(f, "file", true, AWQ_ERROR_EXISTS, "no earlier run has left it");
    make_result(f, "old");
    make_directory(f, "old.replaced");
    write_text(f, "old.replaced/config.json", "{}");
    begin_fails(f, "old", true, AWQ_ERROR_EXISTS, "old.replaced: in the way");
    assert_listing(f, "old.replaced", "config.json");
    assert_listing(f, "old", AWQ__PROVENANCE_FILE);
}

/* A run with force was killed between its two renames. */
static void interrupted_replacement_is_undone(void **state)
{
    fixture *f = *state;
    make_result(f, "out.replaced");
    write_text(f, "out.replaced/.awq-replaced", "");
    begin_fails(f, "out", false, AWQ_ERROR_EXISTS, "out: exists already");
    assert_listing(f, ".", "out");
    assert_listing(f, "out", AWQ__PROVENANCE_FILE);
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

/* What a kill may leave once the new output is in place, and that the next run removes it, whether
   it may replace the output or not, and says that it is whole. */
static void leftovers_of_a_finished_run(void **state)
{
    fixture *f = *state;
    static const char *const leftovers[][3] = {
        {"out/" AWQ__LOCK_FILE, "out/" AWQ__JOURNAL_FILE, NULL},
        {"out/" AWQ__JOURNAL_FILE, NULL, NULL},
        {"out/" AWQ__LOCK_FILE, "out.replaced/.awq-replaced", "out.replaced/rest"},
        {"out/" AWQ__LOCK_FILE, "out.partial/.awq-replaced", "out.partial/config.json"},
    };
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++) {
        write_checkpoint(f, "out", false, 1000);
        write_text(f, "out/" AWQ__SUMS_FILE, "{}");
        for (size_t j = 0; j < 3 && leftovers[i][j]; j++) {
            const char *name = leftovers[i][j];
            if (!strncmp(name, "out.", 4) && !is_there(f, i == 2 ? "out.replaced" : "out.partial"))
                make_directory(f, i == 2 ? "out.replaced" : "out.partial");
            write_text(f, name, "");
        }
        begin_fails(f, "out", false, AWQ_ERROR_EXISTS, "the whole result");
        check_model(f, "out");
        assert_listing(f, "out",
                       AWQ__SUMS_FILE " " AWQ__PROVENANCE_FILE " config.json model.safetensors");
        assert_listing(f, ".", "out");
        check(f, awq__clear_directory(f->ctx, path_of(f, "out"), NULL));
        assert_int_equal(rmdir(path_of(f, "out")), 0);
    }
}

/* Unfinished work that someone has given the output's name is not called whole, nor touched. */
static void unfinished_work_under_a_new_name(void **state)
{
    fixture *f = *state;
    char from[sizeof f->path];
    awq__output *output = begin(f, "out", false, false);
    declare_model(f, output);
    check(f, awq__output_layout(output, 1000));
    check(f, awq__output_text(output, AWQ__PROVENANCE_FILE, PROVENANCE, strlen(PROVENANCE)));
    awq__output_free(output);
    snprintf(from, sizeof from, "%s", path_of(f, "out.partial"));
    assert_int_equal(rename(from, path_of(f, "out")), 0);
    begin_fails(f, "out", false, AWQ_ERROR_EXISTS, "unfinished work");
    assert_listing(f, "out", AWQ__LOCK_FILE " " AWQ__PROVENANCE_FILE " model.safetensors");
}

/* Another run has put its output in place and still cleans up. */
static void a_run_that_ends_is_left_alone(void **state)
{
    fixture *f = *state;
    write_checkpoint(f, "out", false, 1000);
    write_text(f, "out/" AWQ__SUMS_FILE, "{}");
    write_text(f, "out/" AWQ__LOCK_FILE, "");
    int fd = open(path_of(f, "out/" AWQ__LOCK_FILE), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    begin_fails(f, "out", true, AWQ_ERROR_EXISTS, "another run is writing it");
    assert_true(is_there(f, "out/" AWQ__LOCK_FILE));
    close(fd);
    begin_fails(f, "out", false, AWQ_ERROR_EXISTS, "the whole result");
    assert_false(is_there(f, "out/" AWQ__LOCK_FILE));
}

/* A run that ends before it has done anything leaves nothing. */
static void nothing_is_left_of_nothing(void **state)
{
    fixture *f = *state;
    awq__output_free(begin(f, "out", false, true));
    assert_listing(f, ".", "");
    awq__output *output = begin(f, "out", false, true);
    check(f, awq__output_text(output, "notes.txt", "x", 1));
    awq__output_free(output);
    awq__output_free(begin(f, "out", false, true));
    assert_listing(f, "out.partial", AWQ__LOCK_FILE " notes.txt");
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
    make_result(f, "out");
    assert_int_equal(mkfifo(path_of(f, "out/pipe"), 0666), 0);
    write_checkpoint(f, "out", true, 1000);
    check_model(f, "out");
    assert_int_equal(warnings, 1);
    assert_string_equal(awq_context_message(f->ctx), "");
    assert_true(is_there(f, "out.replaced/pipe"));
    begin_fails(f, "out", true, AWQ_ERROR_IO, "\"pipe\" cannot be removed");
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
    awq_status status = awq__output_begin(f->ctx, "out", false, &output);
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
    discard(f, output);
    assert_listing(f, ".", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_resume_all_is_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_run_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(existing_output, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_checkpoints_are_never_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_directory_is_free, set_up, tear_down),
        cmocka_unit_test_setup_teardown(force_replaces_a_result, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ways_of_replacing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(paths_through_the_output_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_are_followed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(target_appears_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_directories_are_safe, set_up, tear_down),
        cmocka_unit_test_setup_teardown(interrupted_replacement_is_undone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(interrupted_removal_is_finished, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leftovers_of_a_finished_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unfinished_work_under_a_new_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_run_that_ends_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_left_of_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(incomplete_removal_is_a_warning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(missing_parents_are_created, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(relative_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_small_a_disk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
