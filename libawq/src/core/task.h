/* Shared by message.c and parallel.c alone: which task a thread is working on, for awq__fail. */
#ifndef AWQ__TASK_H
#define AWQ__TASK_H

#include "core/core.h"

#define AWQ__NO_TASK (-1)
extern _Thread_local int64_t awq__current_task;
/* A loop begins: the first of its tasks to fail replaces whatever message there is. */
void awq__begin_tasks(awq_context *ctx);

#endif
