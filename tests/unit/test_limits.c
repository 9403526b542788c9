/* The limits of memory cgroups, as the system tells of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/limits.h"
#include "temp_files.h"

#define NONE ((uint64_t)1 << 62)

/* What is found with these lines in cgroup and mountinfo; "%s" there is the test's directory. */
static awq__memory_limit found(fixture *f, const char *groups, const char *mounts)
{
    char text[4096];
    awq__memory_limit limit = {.bytes = NONE};
    snprintf(text, sizeof text, mounts, f->directory, f->directory);
    write_text(f, "cgroup", groups);
    write_text(f, "mountinfo", text);
    char *cgroup_file = awq__strdup(f->ctx, path_of(f, "cgroup"));
    awq__cgroup_limit(cgroup_file, path_of(f, "mountinfo"), &limit);
    awq__free(cgroup_file);
    return limit;
}

static void version_2_takes_the_smallest_of_the_way_up(void **state)
{
    fixture *f = *state;
    const char *mounts = "25 20 0:22 / /proc rw - proc proc rw\n"
                         "30 23 0:26 / %s/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    make_directory(f, "v2");
    make_directory(f, "v2/user.slice");
    make_directory(f, "v2/user.slice/job");
    write_text(f, "v2/user.slice/job/memory.max", "max\n");
    awq__memory_limit limit = found(f, "0::/user.slice/job\n", mounts);
    assert_true(limit.bytes == NONE);
    assert_string_equal(limit.source, "");
    write_text(f, "v2/user.slice/memory.max", "8000000000\n");
    limit = found(f, "0::/user.slice/job\n", mounts);
    assert_true(limit.bytes == 8000000000);
    assert_string_equal(limit.source, "memory.max of the memory cgroup /user.slice");
    write_text(f, "v2/user.slice/job/memory.high", "500000000\n");
    limit = found(f, "0::/user.slice/job\n", mounts);
    assert_true(limit.bytes == 500000000);
    assert_string_equal(limit.source, "memory.high of the memory cgroup /user.slice/job");
    limit = found(f, "0::/\n", mounts);
    assert_true(limit.bytes == NONE);
    write_text(f, "v2/memory.max", "700");
    limit = found(f, "0::/elsewhere\n", mounts);
    assert_true(limit.bytes == 700);
    assert_string_equal(limit.source, "memory.max of the memory cgroup /");
}

static void version_1_is_the_hierarchy_with_memory(void **state)
{
    fixture *f = *state;
    const char *mounts = "30 23 0:26 / %s/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                         "31 23 0:27 / %s/v1\\040memory rw - cgroup cgroup rw,memory\n";
    const char *groups = "3:cpu,cpuacct:/fast\n2:blkio,memory:/batch/7\n1:name=memory:/fast\n";
    make_directory(f, "cpu");
    make_directory(f, "v1 memory");
    make_directory(f, "v1 memory/batch");
    make_directory(f, "v1 memory/batch/7");
    write_text(f, "v1 memory/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    awq__memory_limit limit = found(f, groups, mounts);
    assert_true(limit.bytes == NONE);
    write_text(f, "v1 memory/batch/7/memory.limit_in_bytes", "123456789\n");
    limit = found(f, groups, mounts);
    assert_true(limit.bytes == 123456789);
    assert_string_equal(limit.source, "memory.limit_in_bytes of the memory cgroup /batch/7");
}

/* The mount begins at the container's group, which the names of groups begin with. */
static void a_container_sees_its_own_group_as_the_root(void **state)
{
    fixture *f = *state;
    const char *mounts = "30 23 0:26 /docker/abc %s/v1 ro - cgroup cgroup rw,memory\n";
    make_directory(f, "v1");
    make_directory(f, "v1/inner");
    write_text(f, "v1/memory.limit_in_bytes", "1000000\n");
    assert_true(found(f, "4:memory:/docker/abc\n", mounts).bytes == 1000000);
    assert_true(found(f, "4:memory:/docker/abcdef\n", mounts).bytes == 1000000);
    write_text(f, "v1/inner/memory.limit_in_bytes", "900000\n");
    assert_true(found(f, "4:memory:/docker/abc/inner\n", mounts).bytes == 900000);
}

static void damaged_files_tell_nothing(void **state)
{
    static const char *const lines[] = {"",
                                        "\n",
                                        "0",
                                        "0:",
                                        "0::",
                                        "::",
                                        "x - cgroup2",
                                        " - ",
                                        "1 2 3 / - cgroup2 a rw",
                                        "1 2 3 / /x - cgroup2"};
    fixture *f = *state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (size_t j = 0; j < sizeof lines / sizeof *lines; j++)
            assert_true(found(f, lines[i], lines[j]).bytes == NONE);
    awq__memory_limit limit = {.bytes = NONE};
    awq__cgroup_limit("/nowhere", "/nowhere", &limit);
    assert_true(limit.bytes == NONE);
}

static void what_is_asked_for_takes_the_place_of_the_machine(void **state)
{
    (void)state;
    awq__memory_limit limit;
    awq__memory_limit_find(0, &limit);
    assert_true(limit.bytes < NONE && limit.source[0] && !limit.asked);
    awq__memory_limit_find(1, &limit);
    assert_true(limit.bytes == 1 && limit.asked);
    assert_string_equal(limit.source, "memory_limit");
    assert_true(awq__address_space_used() > 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(version_2_takes_the_smallest_of_the_way_up),
        TEST(version_1_is_the_hierarchy_with_memory),
        TEST(a_container_sees_its_own_group_as_the_root),
        TEST(damaged_files_tell_nothing),
        TEST(what_is_asked_for_takes_the_place_of_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
