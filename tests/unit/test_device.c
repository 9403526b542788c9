/* Finding, refusing, listing and choosing devices. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/driver.h"
#include "temp_files.h"

#define FAKE AWQ_TEST_DEVICES "/awq-compute-fake.so"

static void add_path(const fixture *f, const char *path)
{
    assert_int_equal(awq_context_add_plugin_path(f->ctx, path), AWQ_OK);
}

static awq_device_list *list_of(const fixture *f, size_t expected)
{
    awq_device_list *list;
    assert_int_equal(awq_device_list_create(f->ctx, &list), AWQ_OK);
    assert_int_equal(awq_device_list_count(list), expected);
    assert_null(awq_device_list_at(list, expected));
    return list;
}

/* The device is refused with a message that says so. */
static void fails(fixture *f, const char *device, uint64_t memory, awq_status status,
                  const char *message)
{
    assert_int_equal(awq__device_begin(f->ctx, device, memory), status);
    if (!strstr(awq_context_message(f->ctx), message))
        fail_msg("\"%s\" does not say \"%s\"", awq_context_message(f->ctx), message);
    assert_null(awq__device_name(f->ctx));
}

/* ---- what is refused ---- */

typedef struct fault {
    const char *name, *reason;
} fault;

static void refuses_file(const char *path, const char *reason)
{
    fixture *f;
    void *state = NULL;
    assert_int_equal(set_up(&state), 0);
    f = state;
    add_path(f, path);
    awq_device_list *list = list_of(f, 1);
    const awq_device_info *info = awq_device_list_at(list, 0);
    if (!strstr(info->error, reason))
        fail_msg("%s: refused with \"%s\", which does not say \"%s\"", path, info->error, reason);
    assert_string_equal(info->id, "");
    awq_device_list_free(list);
    fails(f, "fault", 0, AWQ_ERROR_UNSUPPORTED, reason);
    fails(f, "fault", 0, AWQ_ERROR_UNSUPPORTED, path);
    tear_down(&state);
}

static void refused_files(void **state)
{
    (void)state;
    static const fault faults[] = {
        {"wrong_magic", "wrong magic 0x5645445f51574101, expected 0x5645445f51574100"},
        {"short_struct", "its awq__device_driver has 72 bytes, expected 80"},
        {"other_version", "built for libawq 0.0.1, expected " AWQ_VERSION_STRING},
        {"bad_id", "its id is missing or has characters other than a-z"},
        {"no_open", "its version or one of its functions is NULL"},
        {"short_operations", "its awq__device_operations has"},
        {"missing_operation", "one of its operations is NULL"},
        {"no_driver", "no driver: libfault.so.1 was not found"},
        {"no_device", "no device was found"},
        {"no_symbol", "has no symbol awq_device_driver_v1"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        char path[1024];
        snprintf(path, sizeof path, AWQ_TEST_DEVICES "/bad/awq-compute-%s.so", faults[i].name);
        refuses_file(path, faults[i].reason);
    }
}

static void a_text_is_no_plugin(void **state)
{
    fixture *f = *state;
    write_text(f, "awq-compute-text.so", "This is not a shared object.\n");
    refuses_file(path_of(f, "awq-compute-text.so"), "not a shared object");
}

static void refused_devices(void **state)
{
    fixture *f = *state;
    add_path(f, AWQ_TEST_DEVICES "/bad/awq-compute-refused_device.so");
    awq_device_list *list = list_of(f, 1);
    assert_string_equal(awq_device_list_at(list, 0)->id, "fault:0");
    assert_string_equal(awq_device_list_at(list, 0)->error, "capability 3.5, expected 8.0 or more");
    awq_device_list_free(list);
    fails(f, "fault", 0, AWQ_ERROR_UNSUPPORTED,
          "device fault: capability 3.5, expected 8.0 or more");
}

static void too_little_memory(void **state)
{
    fixture *f = *state;
    add_path(f, AWQ_TEST_DEVICES "/bad/awq-compute-little_memory.so");
    fails(f, "fault", 0, AWQ_ERROR_UNSUPPORTED, "device fault: too little memory: 0 bytes");
    fails(f, "fault:0", 3000000, AWQ_ERROR_MEMORY,
          "device_memory: 3000000 bytes, but fault:0, small has 2000000, of which 1500000 are "
          "free");
}

/* ---- what is chosen ---- */

static void nothing_is_found(void **state)
{
    fixture *f = *state;
    awq_device_list_free(list_of(f, 0));
    awq_device_list_free(NULL);
    fails(f, "cuda", 0, AWQ_ERROR_UNSUPPORTED,
          "device cuda: no awq-compute-cuda.so that works is in the 0 plugin paths");
    assert_int_equal(awq__device_begin(f->ctx, NULL, 0), AWQ_OK);
    assert_int_equal(awq__device_begin(f->ctx, "auto", 0), AWQ_OK);
    assert_int_equal(awq__device_begin(f->ctx, "cpu", 0), AWQ_OK);
    assert_null(awq__device_name(f->ctx));
    awq__device_end(f->ctx);
}

static void wrong_names(void **state)
{
    static const char *const names[] = {"GPU",
                                        "cuda:",
                                        "cuda:x",
                                        "cuda:1x",
                                        ":1",
                                        "cuda 1",
                                        "averyveryverylongnameofadevicethatisnone"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        fails(*state, names[i], 0, AWQ_ERROR_RECIPE, "expected auto, cpu, or a kind of device");
}

static void listed(void **state)
{
    fixture *f = *state;
    add_path(f, AWQ_TEST_DEVICES); /* a directory; once more as a file, which counts once */
    add_path(f, FAKE);
    awq_device_list *list = list_of(f, 2);
    const awq_device_info *info = awq_device_list_at(list, 1);
    assert_string_equal(info->id, "fake:1");
    assert_string_equal(info->name, "loops 1");
    assert_string_equal(info->capability, "no capability");
    assert_string_equal(info->version, "loops");
    assert_string_equal(info->error, "");
    assert_int_equal(info->memory_bytes, 2 * info->free_bytes);
    awq_device_list_free(list);
}

static void chosen(void **state)
{
    fixture *f = *state;
    add_path(f, FAKE);
    assert_int_equal(awq__device_begin(f->ctx, "auto", 0), AWQ_OK);
    assert_null(awq__device_name(f->ctx));
    assert_int_equal(awq__device_begin(f->ctx, "fake", 0), AWQ_OK);
    assert_string_equal(awq__device_name(f->ctx), "fake:0, loops 0");
    awq__device_end(f->ctx);
    assert_null(awq__device_name(f->ctx));
    fails(f, "fake:1", 0, AWQ_ERROR_UNSUPPORTED, "loops 1 is in use by another process");
    fails(f, "fake:2", 0, AWQ_ERROR_UNSUPPORTED, "has 2 devices, numbered from 0");
    fails(f, "cuda", 0, AWQ_ERROR_UNSUPPORTED,
          "no awq-compute-cuda.so that works is in the 1 plugin paths");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_files),
        cmocka_unit_test_setup_teardown(a_text_is_no_plugin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_devices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_little_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chosen, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
