/* Parallel loops: every task once, and failures that do not depend on timing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

enum { MOST = 1000 };

typedef struct record {
    awq_context *ctx;
    int threads;
    int64_t count;
    bool fails_at[MOST];
    atomic_int calls[MOST];
    atomic_int wrong_workers;
    atomic_int turn; /* the task that may fail next */
    int step;        /* to the one after it */
    atomic_int begun;
} record;

/* Lets other threads run until the number is there. It may never be, where the machine gives the
   loop fewer threads; then the order is another and the result must be the same. */
static void wait_for(const atomic_int *number, int expected)
{
    for (int i = 0; i < 20000 && atomic_load(number) != expected; i++)
        sched_yield();
}

static awq_status task(void *arg, int64_t index, int worker)
{
    record *r = arg;
    if (worker < 0 || worker >= r->threads)
        atomic_fetch_add(&r->wrong_workers, 1);
    atomic_fetch_add(&r->calls[index], 1);
    if (!r->fails_at[index])
        return AWQ_OK;
    return awq__fail(r->ctx, (awq_status)(-1 - index % 11), "task %d", (int)index);
}

static const int thread_counts[] = {1, 2, 5};

static void run(record *r, awq_context *ctx, int threads, int64_t count)
{
    memset(r, 0, sizeof *r);
    r->ctx = ctx;
    r->count = count;
    succeeds(ctx, awq_context_set_threads(ctx, threads));
    r->threads = awq__threads(ctx);
}

static void every_task_runs_once(void **state)
{
    static const int64_t counts[] = {0, 1, 2, 3, 7, 1000};
    static record r;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 6; j++) {
            run(&r, *state, thread_counts[i], counts[j]);
            succeeds(*state, awq__parallel_for(*state, counts[j], task, &r));
            for (int64_t k = 0; k < MOST; k++)
                assert_int_equal(atomic_load(&r.calls[k]), k < counts[j]);
            assert_int_equal(atomic_load(&r.wrong_workers), 0);
        }
}

/* Every set of failing tasks: the lowest is what the loop tells, everything below it has run. */
static void the_lowest_failure_wins(void **state)
{
    static record r;
    uint64_t random = 1;
    for (int i = 0; i < 3; i++)
        for (int round = 0; round < 200; round++) {
            run(&r, *state, thread_counts[i], 64);
            int64_t lowest = 64;
            for (int64_t k = 63; k >= 0; k--)
                if (awq__random(&random) % 8 == 0) {
                    r.fails_at[k] = true;
                    lowest = k;
                }
            awq_status status = awq__parallel_for(*state, 64, task, &r);
            char message[32] = "";
            if (lowest < 64)
                snprintf(message, sizeof message, "task %d", (int)lowest);
            assert_int_equal(status, lowest < 64 ? -1 - lowest % 11 : AWQ_OK);
            assert_string_equal(awq_context_message(*state), message);
            for (int64_t k = 0; k < 64; k++) {
                int calls = atomic_load(&r.calls[k]);
                assert_true(k <= lowest ? calls == 1 : calls <= 1);
            }
            awq__clear(*state);
        }
}

static awq_status fail_in_turn(void *arg, int64_t index, int worker)
{
    record *r = arg;
    (void)worker;
    atomic_fetch_add(&r->begun, 1);
    wait_for(&r->begun, r->threads);
    wait_for(&r->turn, (int)index);
    awq_status status = awq__fail(r->ctx, (awq_status)(-1 - index), "task %d", (int)index);
    atomic_fetch_add(&r->turn, r->step);
    return status;
}

/* All tasks are under way at once, and fail in rising order or in falling order. */
static void the_lowest_failure_wins_whatever_the_order(void **state)
{
    static record r;
    for (int i = 0; i < 4; i++) {
        int threads = i < 2 ? 2 : 5;
        run(&r, *state, threads, threads);
        r.step = i % 2 ? 1 : -1;
        atomic_store(&r.turn, i % 2 ? 0 : threads - 1);
        fails(*state, awq__parallel_for(*state, threads, fail_in_turn, &r), (awq_status)-1,
              "task 0");
        awq__clear(*state);
    }
}

static void after_a_failure_no_later_task_begins(void **state)
{
    static record r;
    run(&r, *state, 1, MOST);
    r.fails_at[10] = true;
    fails(*state, awq__parallel_for(*state, MOST, task, &r), (awq_status)-11, "task 10");
    assert_int_equal(atomic_load(&r.calls[10]), 1);
    for (int k = 11; k < MOST; k++)
        assert_int_equal(atomic_load(&r.calls[k]), 0);
}

/* What went wrong before a loop, and was dealt with, must not hide what goes wrong in it. */
static void an_old_message_gives_way(void **state)
{
    static record r;
    awq_context *ctx = *state;
    for (int i = 0; i < 3; i++) {
        run(&r, ctx, thread_counts[i], 20);
        r.fails_at[2] = true;
        awq__fail(ctx, AWQ_ERROR_IO, "an attempt that may fail");
        fails(ctx, awq__parallel_for(ctx, 20, task, &r), (awq_status)-3, "task 2");
        r.fails_at[2] = false;
        r.fails_at[7] = true;
        fails(ctx, awq__parallel_for(ctx, 20, task, &r), (awq_status)-8, "task 7");
        awq__fail(ctx, AWQ_ERROR_IO, "after the loop");
        assert_string_equal(awq_context_message(ctx), "after the loop");
    }
}

/* ---- loops in loops ---- */

typedef struct outer {
    awq_context *ctx;
    record inner[8];
    int64_t then_fails; /* an outer task that fails after its inner loop, or -1 */
    atomic_int late;    /* outer task 5 is over */
} outer;

static awq_status outer_task(void *arg, int64_t index, int worker)
{
    outer *o = arg;
    record *r = &o->inner[index];
    (void)worker;
    if (index == 3 && r->fails_at[20] && r->threads > 5)
        wait_for(&o->late, 1);
    awq_status status = awq__parallel_for(o->ctx, r->count, task, r);
    if (index == 5)
        atomic_store(&o->late, 1);
    if (status == AWQ_OK && index == o->then_fails)
        return awq__fail(o->ctx, AWQ_ERROR_NUMERIC, "outer %d", (int)index);
    return status;
}

static void loops_may_be_nested(void **state)
{
    static outer o;
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 8; k++)
            run(&o.inner[k], *state, thread_counts[i], 10 * k);
        o.ctx = *state;
        o.then_fails = -1;
        succeeds(*state, awq__parallel_for(*state, 8, outer_task, &o));
        for (int k = 0; k < 8; k++) {
            assert_int_equal(atomic_load(&o.inner[k].wrong_workers), 0);
            for (int64_t j = 0; j < MOST; j++)
                assert_int_equal(atomic_load(&o.inner[k].calls[j]), j < 10 * k);
        }
    }
}

/* The inner index of outer task 5's failure is lower, and it fails first, but outer task 3 is what
   counts. */
static void a_nested_failure_is_its_outer_tasks(void **state)
{
    static outer o;
    for (int threads = 1; threads <= 8; threads += 7)
        for (int round = 0; round < 20; round++) {
            for (int k = 0; k < 8; k++)
                run(&o.inner[k], *state, threads, 30);
            o.ctx = *state;
            o.then_fails = -1;
            atomic_store(&o.late, 0);
            o.inner[3].fails_at[20] = o.inner[3].fails_at[21] = true;
            o.inner[5].fails_at[0] = true;
            fails(*state, awq__parallel_for(*state, 8, outer_task, &o), (awq_status)(-1 - 20 % 11),
                  "task 20");
            o.then_fails = 2;
            fails(*state, awq__parallel_for(*state, 8, outer_task, &o), AWQ_ERROR_NUMERIC,
                  "outer 2");
            awq__clear(*state);
        }
}

/* A worker that asks for more than before gets room for it; what it has stays while it is enough.
 */
static void work_space_grows(void **state)
{
    awq__scratch scratch;
    succeeds(*state, awq__scratch_create(*state, "a test", &scratch));
    float *first = awq__scratch_get(&scratch, 0, 10);
    assert_non_null(first);
    assert_ptr_equal(awq__scratch_get(&scratch, 0, 4), first);
    enum { MORE = 100000 };
    float *more = awq__scratch_get(&scratch, 0, MORE);
    assert_non_null(more);
    assert_int_equal((uintptr_t)more % 64, 0);
    for (int i = 0; i < MORE; i++)
        more[i] = 1;
    assert_ptr_equal(awq__scratch_get(&scratch, 0, MORE), more);
    assert_ptr_equal(awq__scratch_get(&scratch, 0, 10), more);
    awq__scratch_free(&scratch);
    awq__scratch_free(&scratch);
}

/* ---- memory ---- */

/* Waits until as many tasks have begun as there would be workers without a bound. */
static awq_status task_of_worker(void *arg, int64_t index, int worker)
{
    record *r = arg;
    (void)index;
    if (worker >= r->step)
        atomic_fetch_add(&r->wrong_workers, 1);
    atomic_fetch_add(&r->begun, 1);
    wait_for(&r->begun, (int)r->count);
    return AWQ_OK;
}

/* Work space for `workers` is all there is; a task that takes more than any loop may runs alone. */
static void memory_bounds_the_workers(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        size_t floats;
        int64_t limit; /* bytes */
        int workers;
    } cases[] = {{1 << 18, 7 << 19, 3},
                 {1 << 18, 1 << 10, 1},
                 {AWQ__WORK_BYTES / sizeof(float) + 1, INT64_MAX, 1},
                 {AWQ__WORK_BYTES / sizeof(float) / 2, INT64_MAX, 2}};
    record r;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__scratch scratch;
        run(&r, ctx, 5, 5);
        r.step = cases[i].workers;
        succeeds(ctx, awq__scratch_create(ctx, "work space", &scratch));
        awq__context_limit_bytes(ctx, cases[i].limit);
        succeeds(ctx, awq__parallel_scratch(&scratch, cases[i].floats, 5, task_of_worker, &r));
        assert_int_equal(atomic_load(&r.wrong_workers), 0);
        assert_int_equal(atomic_load(&r.begun), 5);
        awq__context_limit_bytes(ctx, INT64_MAX);
        awq__scratch_free(&scratch);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(every_task_runs_once),
        TEST(the_lowest_failure_wins),
        TEST(the_lowest_failure_wins_whatever_the_order),
        TEST(after_a_failure_no_later_task_begins),
        TEST(an_old_message_gives_way),
        TEST(loops_may_be_nested),
        TEST(a_nested_failure_is_its_outer_tasks),
        TEST(work_space_grows),
        TEST(memory_bounds_the_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
