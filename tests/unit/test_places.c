/* How places lie to each other, and where paths lead. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_files.h"

/* a lies to b as expected, and b to a the other way round. */
static void lies(fixture *f, const char *a, const char *b, awq__place expected)
{
    char first[2048], second[2048];
    awq__place place, back;
    snprintf(first, sizeof first, "%s", path_of(f, a));
    snprintf(second, sizeof second, "%s", path_of(f, b));
    assert_int_equal(awq__place_of(f->ctx, first, second, &place), AWQ_OK);
    assert_int_equal(awq__place_of(f->ctx, second, first, &back), AWQ_OK);
    if (place != expected)
        fail_msg("%s lies to %s as %d, expected %d", a, b, (int)place, (int)expected);
    assert_int_equal(back, expected == AWQ__PLACE_WITHIN  ? AWQ__PLACE_HOLDS
                           : expected == AWQ__PLACE_HOLDS ? AWQ__PLACE_WITHIN
                                                          : expected);
}

static void make_tree(fixture *f)
{
    make_directory(f, "m");
    make_directory(f, "m/sub");
    make_directory(f, "mm");
    write_text(f, "m/file", "x");
    assert_int_equal(symlink(".", path_of(f, "here")), 0);
    assert_int_equal(symlink("m", path_of(f, "link")), 0);
    assert_int_equal(symlink("../m/sub", path_of(f, "mm/deep")), 0);
    assert_int_equal(symlink("nowhere", path_of(f, "dangling")), 0);
    assert_int_equal(symlink("loop", path_of(f, "loop")), 0);
}

static void what_is_there(void **state)
{
    fixture *f = *state;
    make_tree(f);
    lies(f, "m", "m", AWQ__PLACE_SAME);
    lies(f, "m/", "m/sub/../../m", AWQ__PLACE_SAME);
    lies(f, "here/m", "m", AWQ__PLACE_SAME);
    lies(f, "link", "here/here/m", AWQ__PLACE_SAME);
    lies(f, "m/sub", "m", AWQ__PLACE_WITHIN);
    lies(f, "mm/deep", "link", AWQ__PLACE_WITHIN);
    lies(f, "m/file", ".", AWQ__PLACE_WITHIN);
    lies(f, "m", "mm", AWQ__PLACE_APART);
    lies(f, "m/sub", "m/file", AWQ__PLACE_APART);
    lies(f, "mm/deep", "mm", AWQ__PLACE_APART); /* a link leads away */
    lies(f, "loop", "m", AWQ__PLACE_APART);
    lies(f, "dangling", "m", AWQ__PLACE_APART);
}

static void what_is_not_there_yet(void **state)
{
    fixture *f = *state;
    make_tree(f);
    lies(f, "m/new", "m", AWQ__PLACE_WITHIN);
    lies(f, "link/new/er", "m", AWQ__PLACE_WITHIN);
    lies(f, "new", "m", AWQ__PLACE_APART);
    lies(f, "new", "new/er", AWQ__PLACE_HOLDS);
    lies(f, "new/./er//", "here/new/er", AWQ__PLACE_SAME);
    lies(f, "new/../m", "m", AWQ__PLACE_SAME);
    lies(f, "new/../link/x", "m", AWQ__PLACE_WITHIN); /* links behind what is missing */
    lies(f, "mm/deep/new", "m", AWQ__PLACE_WITHIN);
    lies(f, "m/file/below", "m", AWQ__PLACE_WITHIN);
    lies(f, "m.partial", "m", AWQ__PLACE_APART);
}

static void from_the_working_directory(void **state)
{
    fixture *f = *state;
    char before[2048], *real;
    awq__place place;
    make_tree(f);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(path_of(f, "m/sub")), 0);
    static const struct {
        const char *path;
        awq__place to_m;
    } cases[] = {{".", AWQ__PLACE_WITHIN},
                 {"..", AWQ__PLACE_SAME},
                 {"../..", AWQ__PLACE_HOLDS},
                 {"new", AWQ__PLACE_WITHIN},
                 {"new/../../../m", AWQ__PLACE_SAME},
                 {"../../mm", AWQ__PLACE_APART},
                 {"/../..", AWQ__PLACE_HOLDS},
                 {"", AWQ__PLACE_WITHIN}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(awq__place_of(f->ctx, cases[i].path, path_of(f, "m"), &place), AWQ_OK);
        assert_int_equal(place, cases[i].to_m);
    }
    assert_int_equal(awq__resolve_name(f->ctx, "../../link", &real), AWQ_OK);
    assert_string_equal(strrchr(real, '/'), "/link");
    awq__free(real);
    assert_int_equal(awq__resolve(f->ctx, "../../link", &real), AWQ_OK);
    assert_string_equal(strrchr(real, '/'), "/m");
    awq__free(real);
    assert_int_equal(chdir(before), 0);
}

/* A working directory that is gone is an error, where it is asked for. */
static void a_lost_working_directory(void **state)
{
    fixture *f = *state;
    char before[2048], *real;
    make_directory(f, "lost");
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(path_of(f, "lost")), 0);
    assert_int_equal(rmdir(f->path), 0);
    awq_status status = awq__resolve(f->ctx, "new", &real);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, AWQ_ERROR_IO);
    assert_null(real);
    assert_message(f, "new: the working directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_there_yet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(from_the_working_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_working_directory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
