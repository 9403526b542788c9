/* Runs in which one allocation of cJSON fails: the same result, or an error of that class. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "runs.h"

#define TINY AWQ_TEST_DATA "/mixtral-tiny"

static long made; /* allocations of cJSON, which happen on one thread */
static long failing = -1;

static void *allocate(size_t bytes)
{
    return made++ == failing ? NULL : malloc(bytes);
}

/* The result goes to NAME in the test's directory. */
static awq_status run(const fixture *f, const char *name, const char *format, long fail_at)
{
    const char *options[] = {"calibration.data",
                             TINY "/calib.jsonl",
                             "calibration.samples",
                             "2",
                             "calibration.sequence_length",
                             "32",
                             "format",
                             format,
                             NULL};
    snprintf(output, sizeof output, "%s/%s", f->directory, name);
    awq_recipe *recipe = recipe_of(f, TINY, options);
    awq_quantize_options how = {.struct_size = sizeof how, .force = true, .restart = true};
    made = 0;
    failing = fail_at;
    awq_status status = awq_quantize(f->ctx, recipe, &how, NULL);
    failing = -1;
    awq_recipe_free(recipe);
    return status;
}

static void whole_or_memory(const fixture *f, const char *format, long samples)
{
    char whole[1024], same[1024];
    snprintf(whole, sizeof whole, "%s/whole", f->directory);
    snprintf(same, sizeof same, "%s/same", f->directory);
    assert_ok(f, run(f, "whole", format, -1));
    long all = made;
    assert_true(all > 10 * samples);
    for (long i = 0; i < samples; i++) {
        long at = i == samples - 1 ? all - 1 : i * all / samples + i % 7;
        awq_status status = run(f, "same", format, at);
        if (status == AWQ_OK) {
            assert_same_result(f, whole, same);
            continue;
        }
        const char *message = awq_context_message(f->ctx);
        if (status != AWQ_ERROR_MEMORY || !strstr(message, "out of memory"))
            fail_msg("%s, allocation %ld of %ld: %s: %s", format, at, all, awq_status_name(status),
                     message);
    }
}

static void nothing_has_holes(void **state)
{
    static const char *const formats[] = {"compressed-tensors", "awq", "gptq", "bitsandbytes"};
    static const long samples[] = {400, 40, 40, 40}; /* a layer's report takes about 100 */
    cJSON_Hooks hooks = {allocate, free};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        cJSON_InitHooks(&hooks);
        whole_or_memory(*state, formats[i], samples[i]);
        cJSON_InitHooks(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_has_holes, set_up_run, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
