/* The one place where threads are started. */
#include "core/core.h"
#include "core/task.h"

#include <omp.h>
#include <stdatomic.h>

/* OpenMP's runtime is not instrumented; these tell ThreadSanitizer about its fork and join. */
#if defined(__SANITIZE_THREAD__)
#define AWQ__TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define AWQ__TSAN 1
#endif
#endif
#ifdef AWQ__TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define TSAN_ACQUIRE(address) __tsan_acquire(address)
#define TSAN_RELEASE(address) __tsan_release(address)
#else
#define TSAN_ACQUIRE(address) ((void)(address))
#define TSAN_RELEASE(address) ((void)(address))
#endif

typedef struct loop {
    awq__task_fn task;
    void *arg;
    _Atomic int64_t next;   /* the next task to begin */
    _Atomic int64_t failed; /* the lowest task that failed; the number of tasks if none */
    _Atomic int status;     /* of that task */
    awq_context *ctx;       /* NULL in a loop inside a task */
    _Atomic bool cancelled; /* no more tasks are begun; those below them all run to their end */
    bool alone;             /* one thread for want of memory: loops inside tasks have the others */
    char fork, join;        /* addresses for ThreadSanitizer */
} loop;

/* Keeps the lowest failure. The pair (failed, status) is updated under a critical section. */
static void record_failure(loop *l, int64_t index, awq_status status)
{
#pragma omp critical(awq_parallel_failure)
    {
        if (index < atomic_load(&l->failed)) {
            atomic_store(&l->failed, index);
            atomic_store(&l->status, (int)status);
        }
    }
}

/* A stage may be one loop that takes minutes: between tasks the caller is asked again. */
static void ask_caller(loop *l, int worker)
{
    if (l->ctx && worker == 0 && !awq__progress_again(l->ctx))
        atomic_store(&l->cancelled, true);
}

static void work(loop *l, int worker)
{
    TSAN_ACQUIRE(&l->fork);
    int64_t outer_task = awq__current_task;
    bool nested = outer_task != AWQ__NO_TASK;
    for (;;) {
        ask_caller(l, worker);
        if (atomic_load(&l->cancelled))
            break;
        int64_t index = atomic_fetch_add(&l->next, 1);
        if (index >= atomic_load(&l->failed))
            break;
        if (!l->alone)
            awq__current_task = nested ? outer_task : index;
        awq_status status = l->task(l->arg, index, worker);
        if (status != AWQ_OK)
            record_failure(l, index, status);
    }
    awq__current_task = outer_task;
    TSAN_RELEASE(&l->join);
}

static awq_status run_loop(awq_context *ctx, int64_t most_threads, int64_t count, awq__task_fn task,
                           void *arg)
{
    loop l = {.task = task, .arg = arg};
    atomic_init(&l.next, 0);
    atomic_init(&l.failed, count);
    atomic_init(&l.status, AWQ_OK);
    atomic_init(&l.cancelled, false);
    bool nested = awq__current_task != AWQ__NO_TASK;
    if (!nested) {
        awq__begin_tasks(ctx);
        l.ctx = ctx;
    }
    l.alone = !nested && most_threads == 1;
    int64_t threads = nested ? 1 : awq__min(awq__min(awq__threads(ctx), most_threads), count);
    if (threads <= 1) {
        work(&l, 0);
    } else {
        TSAN_RELEASE(&l.fork);
#pragma omp parallel num_threads((int)threads)
        work(&l, omp_get_thread_num());
        TSAN_ACQUIRE(&l.join);
    }
    if (atomic_load(&l.cancelled))
        return awq__cancelled(ctx);
    return (awq_status)atomic_load(&l.status);
}

awq_status awq__parallel_for(awq_context *ctx, int64_t count, awq__task_fn task, void *arg)
{
    return run_loop(ctx, INT64_MAX, count, task, arg);
}

static int64_t threads_within(size_t room, size_t bytes)
{
    size_t threads = bytes ? room / bytes : AWQ__WORK_BYTES;
    return threads ? (int64_t)threads : 1;
}

/* What the scratch has already from an earlier loop is there to be used. */
awq_status awq__parallel_scratch(awq__scratch *scratch, size_t floats, int64_t count,
                                 awq__task_fn task, void *arg)
{
    size_t room = awq__context_work_bytes(scratch->ctx);
    for (int i = 0; i < scratch->workers; i++)
        room += scratch->spaces[i].capacity * sizeof(float);
    room = room < AWQ__WORK_BYTES ? room : AWQ__WORK_BYTES;
    return run_loop(scratch->ctx, threads_within(room, floats * sizeof(float)), count, task, arg);
}

awq_status awq__parallel_nested(awq_context *ctx, size_t bytes, int64_t count, awq__task_fn task,
                                void *arg)
{
    int64_t busy = awq__min(threads_within(awq__context_work_bytes(ctx), bytes), count);
    return run_loop(ctx, busy < awq__threads(ctx) ? 1 : busy, count, task, arg);
}
