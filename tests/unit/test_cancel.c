/* Loops that are cancelled between their tasks: a stage may be one loop of minutes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"

#include <pthread.h>
#include <stdatomic.h>

/* More tasks than end before the callback is called again. */
static const int64_t ENDLESS = INT64_C(1) << 40;
static const int thread_counts[] = {1, 2, 5};

typedef struct asked {
    awq_context *ctx;
    pthread_t caller;
    int calls, cancel_at;
    double fraction, elapsed; /* of the latest call */
    bool falls, elsewhere;
    awq__turns turns;
    _Atomic int64_t begun, ended;
} asked;

static int answer(void *user, const awq_progress *progress)
{
    asked *a = user;
    a->calls++;
    a->elsewhere |= !pthread_equal(a->caller, pthread_self());
    a->falls |= progress->fraction < a->fraction || progress->elapsed_seconds < a->elapsed;
    a->fraction = progress->fraction;
    a->elapsed = progress->elapsed_seconds;
    assert_string_equal(progress->stage, "a stage");
    return a->calls == a->cancel_at;
}

static void begin(asked *a, awq_context *ctx, int threads, int cancel_at)
{
    *a = (asked){.ctx = ctx, .caller = pthread_self(), .cancel_at = cancel_at};
    awq_progress progress = {.stage = "a stage", .layer = 3, .layer_count = 5, .fraction = 0.5};
    awq_context_set_progress(ctx, answer, a);
    succeeds(ctx, awq_context_set_threads(ctx, threads));
    succeeds(ctx, awq__progress(ctx, &progress));
}

static void is_cancelled(asked *a, awq_status status)
{
    fails(a->ctx, status, AWQ_ERROR_CANCELLED, "cancelled in layer 3, a stage");
    assert_int_equal(a->calls, a->cancel_at);
    assert_false(a->falls || a->elsewhere);
    awq_context_set_progress(a->ctx, NULL, NULL);
}

static awq_status count_task(void *arg, int64_t index, int worker)
{
    asked *a = arg;
    (void)index;
    (void)worker;
    atomic_fetch_add(&a->begun, 1);
    atomic_fetch_add(&a->ended, 1);
    return AWQ_OK;
}

static void a_loop_is_cancelled_between_tasks(void **state)
{
    asked a;
    for (int i = 0; i < 3; i++) {
        begin(&a, *state, thread_counts[i], 3);
        is_cancelled(&a, awq__parallel_for(*state, ENDLESS, count_task, &a));
        assert_int_equal(a.begun, a.ended);
    }
}

/* Each waits for the one before it, which must not be left out. */
static awq_status wait_task(void *arg, int64_t index, int worker)
{
    asked *a = arg;
    (void)worker;
    if (!awq__turns_wait(&a->turns, 0, index, index))
        return awq__fail(a->ctx, AWQ_ERROR_NUMERIC, "a turn that does not come");
    awq__turns_pass(&a->turns, 0, 1);
    return AWQ_OK;
}

static void tasks_that_wait_for_others_are_not_left_waiting(void **state)
{
    asked a;
    for (int i = 0; i < 3; i++) {
        begin(&a, *state, thread_counts[i], 2);
        succeeds(*state, awq__turns_create(*state, 1, &a.turns));
        is_cancelled(&a, awq__parallel_for(*state, ENDLESS, wait_task, &a));
        awq__turns_free(&a.turns);
    }
}

/* Loops inside tasks, where tasks are for one thread, and where they have all threads. */
static awq_status loop_task(void *arg, int64_t index, int worker)
{
    asked *a = arg;
    (void)index;
    (void)worker;
    return awq__parallel_for(a->ctx, 4, count_task, a);
}

static awq_status endless_task(void *arg, int64_t index, int worker)
{
    asked *a = arg;
    (void)index;
    (void)worker;
    return awq__parallel_for(a->ctx, ENDLESS, count_task, a);
}

static void loops_inside_tasks_are_too(void **state)
{
    asked a;
    for (int i = 0; i < 3; i++) {
        begin(&a, *state, thread_counts[i], 2);
        is_cancelled(&a, awq__parallel_for(*state, ENDLESS, loop_task, &a));
        begin(&a, *state, thread_counts[i], 2);
        is_cancelled(&a, awq__parallel_nested(*state, AWQ__WORK_BYTES, 3, endless_task, &a));
    }
}

/* What was said in an earlier call of the library is not said again. */
static void nothing_is_asked_without_a_stage(void **state)
{
    asked a;
    begin(&a, *state, 2, 2);
    succeeds(*state, awq__enter(*state, "a call", NULL));
    succeeds(*state, awq__parallel_for(*state, 1000000, count_task, &a));
    assert_int_equal(a.calls, 1);
    awq_context_set_progress(*state, NULL, NULL);
}

/* A failure that was put aside does not end the asking. */
static void a_failure_put_aside_changes_nothing(void **state)
{
    asked a;
    begin(&a, *state, 2, 2);
    awq__clear(*state);
    is_cancelled(&a, awq__parallel_for(*state, ENDLESS, count_task, &a));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(a_loop_is_cancelled_between_tasks),
        TEST(tasks_that_wait_for_others_are_not_left_waiting),
        TEST(loops_inside_tasks_are_too),
        TEST(nothing_is_asked_without_a_stage),
        TEST(a_failure_put_aside_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
