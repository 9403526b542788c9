/* Turns within a parallel loop, and loops whose work space is bounded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

enum { TASKS = 60, QUEUES = 3, PLACES = 4 };

static const int thread_counts[] = {1, 2, 5};

/* Task i takes PLACES places of queue i % QUEUES. */
typedef struct queues {
    awq_context *ctx;
    awq__turns turns;
    bool fails_before[TASKS], fails_after[TASKS]; /* its turn */
    int seen[QUEUES][TASKS];                      /* the tasks in the order of their turns */
    int count[QUEUES];
} queues;

static awq_status task(queues *q, int64_t index)
{
    int64_t queue = index % QUEUES;
    if (q->fails_before[index])
        return awq__fail(q->ctx, AWQ_ERROR_NUMERIC, "task %d", (int)index);
    if (index % 7 == 0)
        sched_yield(); /* let one behind it come first */
    if (!awq__turns_wait(&q->turns, queue, index / QUEUES * PLACES, index))
        return AWQ_ERROR_CANCELLED;
    q->seen[queue][q->count[queue]++] = (int)index;
    awq__turns_pass(&q->turns, queue, PLACES);
    return q->fails_after[index] ? awq__fail(q->ctx, AWQ_ERROR_NUMERIC, "task %d", (int)index)
                                 : AWQ_OK;
}

static awq_status run_task(void *arg, int64_t index, int worker)
{
    queues *q = arg;
    (void)worker;
    awq_status status = task(q, index);
    if (status != AWQ_OK)
        awq__turns_fail(&q->turns, index);
    return status;
}

static awq_status run(queues *q, int threads)
{
    succeeds(q->ctx, awq_context_set_threads(q->ctx, threads));
    succeeds(q->ctx, awq__turns_create(q->ctx, QUEUES, &q->turns));
    memset(q->count, 0, sizeof q->count);
    awq_status status = awq__parallel_for(q->ctx, TASKS, run_task, q);
    awq__turns_free(&q->turns);
    awq__turns_free(&q->turns);
    return status;
}

static void turns_come_in_order(void **state)
{
    for (int i = 0; i < 3; i++)
        for (int round = 0; round < 50; round++) {
            queues q = {.ctx = *state};
            succeeds(*state, run(&q, thread_counts[i]));
            for (int queue = 0; queue < QUEUES; queue++) {
                assert_int_equal(q.count[queue], TASKS / QUEUES);
                for (int n = 0; n < q.count[queue]; n++)
                    assert_int_equal(q.seen[queue][n], n * QUEUES + queue);
            }
        }
}

/* No task waits for ever, and the lowest failure is what the loop tells. */
static void a_failure_ends_the_waiting(void **state)
{
    uint64_t random = 3;
    for (int i = 0; i < 3; i++)
        for (int round = 0; round < 300; round++) {
            queues q = {.ctx = *state};
            char message[32];
            int lowest = TASKS;
            for (int k = TASKS - 1; k >= 0; k--) {
                uint64_t what = awq__random(&random) % 20;
                q.fails_before[k] = what == 0;
                q.fails_after[k] = what == 1;
                lowest = what < 2 ? k : lowest;
            }
            if (lowest == TASKS)
                continue;
            snprintf(message, sizeof message, "task %d", lowest);
            fails(*state, run(&q, thread_counts[i]), AWQ_ERROR_NUMERIC, message);
            assert_string_equal(awq_context_message(*state), message);
            for (int queue = 0; queue < QUEUES; queue++)
                for (int n = 0; n < q.count[queue]; n++)
                    assert_int_equal(q.seen[queue][n], n * QUEUES + queue);
        }
}

/* ---- bounded work space ---- */

typedef struct crowd {
    awq_context *ctx;
    atomic_int inside, most, calls, highest_worker;
    atomic_int met; /* inner tasks that saw another one under way */
} crowd;

static void raise_to(atomic_int *number, int value)
{
    int old = atomic_load(number);
    while (old < value && !atomic_compare_exchange_weak(number, &old, value))
        continue;
}

static awq_status enter(void *arg, int64_t index, int worker)
{
    crowd *c = arg;
    (void)index;
    raise_to(&c->most, atomic_fetch_add(&c->inside, 1) + 1);
    raise_to(&c->highest_worker, worker);
    for (int i = 0; i < 100; i++)
        sched_yield();
    atomic_fetch_sub(&c->inside, 1);
    atomic_fetch_add(&c->calls, 1);
    return AWQ_OK;
}

/* A loop whose workers have so many bytes of work space each. */
static void run_within(awq_context *ctx, size_t bytes, int64_t count, awq__task_fn each, crowd *c)
{
    awq__scratch scratch;
    succeeds(ctx, awq__scratch_create(ctx, "a test", &scratch));
    succeeds(ctx, awq__parallel_scratch(&scratch, bytes / sizeof(float), count, each, c));
    awq__scratch_free(&scratch);
}

static void work_space_is_bounded(void **state)
{
    static const size_t shares[] = {3, 2, 1};
    for (int i = 0; i < 3; i++) {
        crowd c = {.ctx = *state};
        succeeds(*state, awq_context_set_threads(*state, 5));
        run_within(*state, AWQ__WORK_BYTES / shares[i], 100, enter, &c);
        assert_int_equal(atomic_load(&c.calls), 100);
        assert_true(atomic_load(&c.most) <= (int)shares[i]);
        assert_true(atomic_load(&c.highest_worker) < (int)shares[i]);
    }
    crowd c = {.ctx = *state};
    run_within(*state, 2 * AWQ__WORK_BYTES, 10, enter, &c);
    assert_int_equal(atomic_load(&c.most), 1);
    run_within(*state, 0, 10, enter, &c);
    assert_int_equal(atomic_load(&c.calls), 20);
}

/* Of 5 threads as many work as have room beside the arrays that there are, and those of the loop
   before count as room. */
static void workers_have_what_a_goal_leaves(void **state)
{
    enum { MEBI = 1 << 20 };
    awq_context *ctx = *state;
    awq__scratch scratch;
    succeeds(ctx, awq_context_set_threads(ctx, 5));
    succeeds(ctx, awq__scratch_create(ctx, "a test", &scratch));
    awq__context_limit_bytes(ctx, 10 * MEBI);
    float *array = awq__alloc_aligned(ctx, 7 * MEBI, 1, "a test");
    assert_non_null(array);
    assert_true(awq__context_work_bytes(ctx) <= 3 * MEBI);
    for (int round = 0; round < 2; round++) {
        crowd c = {.ctx = ctx};
        succeeds(ctx, awq__parallel_scratch(&scratch, MEBI / sizeof(float), 100, enter, &c));
        assert_int_equal(atomic_load(&c.calls), 100);
        assert_true(atomic_load(&c.highest_worker) < 3);
        assert_non_null(awq__scratch_get(&scratch, 0, MEBI / sizeof(float)));
        assert_non_null(awq__scratch_get(&scratch, 1, MEBI / sizeof(float)));
    }
    assert_true(awq__context_most_bytes(ctx) >= 9 * MEBI);
    awq__free_aligned(array);
    awq__scratch_free(&scratch);
    assert_int_equal(awq__context_work_bytes(ctx), 10 * MEBI);
    awq__context_limit_bytes(ctx, INT64_MAX);
    assert_int_equal(awq__context_work_bytes(ctx), AWQ__WORK_BYTES);
}

static awq_status meet(void *arg, int64_t index, int worker)
{
    crowd *c = arg;
    (void)index;
    (void)worker;
    atomic_fetch_add(&c->inside, 1);
    for (int i = 0; i < 5000000 && atomic_load(&c->inside) < 2; i++)
        sched_yield();
    if (atomic_load(&c->inside) == 2)
        atomic_fetch_add(&c->met, 1);
    return AWQ_OK;
}

static awq_status hold_two_loops(void *arg, int64_t index, int worker)
{
    crowd *c = arg;
    (void)index;
    (void)worker;
    atomic_store(&c->inside, 0);
    return awq__parallel_for(c->ctx, 2, meet, c);
}

/* Tasks that are alone for want of memory leave the threads to their own loops. */
static void loops_of_a_large_task_are_parallel(void **state)
{
    crowd c = {.ctx = *state};
    succeeds(*state, awq_context_set_threads(*state, 2));
    run_within(*state, AWQ__WORK_BYTES, 3, hold_two_loops, &c);
    assert_int_equal(atomic_load(&c.met), 6);
}

/* Tasks too few for all threads leave them to their loops; as many as there are do not. */
static void loops_of_few_tasks_are_parallel(void **state)
{
    crowd c = {.ctx = *state};
    succeeds(*state, awq_context_set_threads(*state, 3));
    succeeds(*state, awq__parallel_nested(*state, 0, 2, hold_two_loops, &c));
    assert_int_equal(atomic_load(&c.met), 4);
    succeeds(*state, awq_context_set_threads(*state, 2));
    succeeds(*state, awq__parallel_nested(*state, AWQ__WORK_BYTES, 3, hold_two_loops, &c));
    assert_int_equal(atomic_load(&c.met), 4 + 6);
    crowd many = {.ctx = *state};
    succeeds(*state, awq__parallel_nested(*state, AWQ__WORK_BYTES / 2, 2, meet, &many));
    assert_int_equal(atomic_load(&many.met), 2);
    succeeds(*state, awq_context_set_threads(*state, 1));
    crowd one = {.ctx = *state};
    succeeds(*state, awq__parallel_nested(*state, 0, 10, enter, &one));
    assert_int_equal(atomic_load(&one.calls), 10);
    assert_int_equal(atomic_load(&one.most), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(turns_come_in_order),
        TEST(a_failure_ends_the_waiting),
        TEST(work_space_is_bounded),
        TEST(workers_have_what_a_goal_leaves),
        TEST(loops_of_a_large_task_are_parallel),
        TEST(loops_of_few_tasks_are_parallel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
