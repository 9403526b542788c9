/* What a run needs of memory against what there is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "core/limits.h"
#include "run/job.h"

#include <stdio.h>

enum { MB = 1000000 };

static const awq__memory_need need = {.process = 50.0 * MB, .least = 20.0 * MB, .usual = 80.0 * MB};

static awq__memory_limit limit_of(double bytes, const char *source, bool asked)
{
    awq__memory_limit limit = {.bytes = (uint64_t)bytes, .asked = asked};
    snprintf(limit.source, sizeof limit.source, "%s", source);
    return limit;
}

static void one_worker_is_the_least(void **state)
{
    awq_context *ctx = *state;
    awq__memory_limit exact = limit_of(need.process + need.least, "memory_limit", true);
    awq__memory_limit less = limit_of(need.process + need.least - 1, "memory_limit", true);
    succeeds(ctx, awq__memory_fit(ctx, &need, &exact));
    fails(ctx, awq__memory_fit(ctx, &need, &less), AWQ_ERROR_RECIPE,
          "memory_limit: 70.00 MB are too few for this run, expected 70MB or more");
}

static void a_limit_of_the_system_is_named(void **state)
{
    awq_context *ctx = *state;
    awq__memory_limit limit = limit_of(60.0 * MB, "the memory of this machine", false);
    fails(ctx, awq__memory_fit(ctx, &need, &limit), AWQ_ERROR_MEMORY,
          "this run needs 70 MB of memory, but the memory of this machine is 60.00 MB");
}

/* Beside the program and what there is already, loops have what the limit leaves. */
static void loops_have_what_is_left(void **state)
{
    awq_context *ctx = *state;
    awq__memory_limit limit = limit_of(90.0 * MB, "memory_limit", true);
    succeeds(ctx, awq__memory_fit(ctx, &need, &limit));
    assert_int_equal(awq__context_work_bytes(ctx), 40 * MB);
    void *array = awq__alloc_aligned(ctx, 10, MB, "an array");
    size_t left = awq__context_work_bytes(ctx);
    assert_true(left <= 30 * MB && left > 29 * MB);
    awq__free_aligned(array);
    awq__memory_end(ctx);
    assert_int_equal(awq__context_work_bytes(ctx), AWQ__WORK_BYTES);
}

static void without_a_limit_nothing_is_held_back(void **state)
{
    awq_context *ctx = *state;
    awq__memory_limit none = limit_of((double)((uint64_t)1 << 62), "", false);
    size_t before = awq__context_work_bytes(ctx);
    succeeds(ctx, awq__memory_fit(ctx, &need, &none));
    assert_int_equal(awq__context_work_bytes(ctx), before);
    assert_false(awq__memory_is_tight(&need, &none));
}

static void a_limit_near_twice_the_usual_is_tight(void **state)
{
    (void)state;
    awq__memory_limit near = limit_of(209.0 * MB, "memory_limit", true);
    awq__memory_limit far = limit_of(211.0 * MB, "memory_limit", true);
    assert_true(awq__memory_is_tight(&need, &near));
    assert_false(awq__memory_is_tight(&need, &far));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(one_worker_is_the_least),
        TEST(a_limit_of_the_system_is_named),
        TEST(loops_have_what_is_left),
        TEST(without_a_limit_nothing_is_held_back),
        TEST(a_limit_near_twice_the_usual_is_tight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
