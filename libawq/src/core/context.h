/* What a context holds; for core/ alone. */
#ifndef AWQ__CONTEXT_H
#define AWQ__CONTEXT_H

#include "awq/awq.h"
#include "core/core.h"

#include <pthread.h>
#include <stdatomic.h>

#define AWQ__MESSAGE_BYTES 1024

struct awq_context {
    pthread_mutex_t lock; /* guards the error record */
    char message[AWQ__MESSAGE_BYTES];
    awq_status failure;   /* of the message */
    int64_t message_task; /* the lowest task of the latest loop that failed */
    awq_log_fn log;
    void *log_user;
    awq_progress_fn progress;
    void *progress_user;
    awq_progress latest; /* stage NULL: none since a public function began */
    double told_seconds; /* when the callback was called */
    int threads;         /* 0: what OpenMP would use */
    int most_threads;    /* that there is room for */
    bool begun;          /* something was computed */
    awq__plugin_sources plugins;
    const struct awq__compute *compute;
    const struct awq__backend *backend;
    struct awq__gpu *device;
    const awq__memory *memory;
    _Atomic int64_t bytes, most_bytes; /* of arrays */
    int64_t goal_bytes;                /* INT64_MAX: there is none */
    int64_t expected_bytes;
};

#endif
