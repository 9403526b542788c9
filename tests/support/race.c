/* Two tasks of a parallel loop write one variable, unordered: ThreadSanitizer must say so. */
#include "awq/awq.h"
#include "core/core.h"

#include <stdatomic.h>
#include <stdio.h>

static _Atomic int begun;
static volatile int written;

/* Waits until both tasks run, so that each has a thread of its own; relaxed, so that the wait
   itself orders nothing. */
static awq_status write_unordered(void *arg, int64_t index, int worker)
{
    (void)arg;
    (void)worker;
    atomic_fetch_add_explicit(&begun, 1, memory_order_relaxed);
    while (atomic_load_explicit(&begun, memory_order_relaxed) < 2)
        continue;
    /* Often, because ThreadSanitizer may overlook two writes of the same instant. */
    for (int i = 0; i < 100000; i++)
        written = (int)index;
    return AWQ_OK;
}

int main(void)
{
    awq_context *ctx = NULL;
    if (awq_context_create(&ctx) != AWQ_OK)
        return 1;
    awq_status status = awq_context_set_threads(ctx, 2);
    if (status == AWQ_OK)
        status = awq__parallel_for(ctx, 2, write_unordered, NULL);
    printf("%s: the last to write was task %d\n", awq_status_name(status), written);
    awq_context_free(ctx);
    return 0;
}
