/* Turns of the tasks of a loop: what must come in order, within work that need not. */
#include "core/core.h"

awq_status awq__turns_create(awq_context *ctx, int64_t queues, awq__turns *turns)
{
    *turns = (awq__turns){.failed = INT64_MAX};
    turns->next = awq__alloc(ctx, (size_t)queues, sizeof *turns->next, "turns of tasks");
    AWQ__CHECK_ALLOC(turns->next);
    if (pthread_mutex_init(&turns->lock, NULL) == 0) {
        if (pthread_cond_init(&turns->moved, NULL) == 0)
            return AWQ_OK;
        pthread_mutex_destroy(&turns->lock);
    }
    awq__free(turns->next);
    turns->next = NULL;
    return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: turns of tasks");
}

void awq__turns_free(awq__turns *turns)
{
    if (!turns->next)
        return;
    pthread_cond_destroy(&turns->moved);
    pthread_mutex_destroy(&turns->lock);
    awq__free(turns->next);
    turns->next = NULL;
}

bool awq__turns_wait(awq__turns *turns, int64_t queue, int64_t place, int64_t task)
{
    pthread_mutex_lock(&turns->lock);
    while (turns->next[queue] != place && turns->failed > task)
        pthread_cond_wait(&turns->moved, &turns->lock);
    bool come = turns->next[queue] == place;
    pthread_mutex_unlock(&turns->lock);
    return come;
}

void awq__turns_pass(awq__turns *turns, int64_t queue, int64_t places)
{
    pthread_mutex_lock(&turns->lock);
    turns->next[queue] += places;
    pthread_cond_broadcast(&turns->moved);
    pthread_mutex_unlock(&turns->lock);
}

void awq__turns_fail(awq__turns *turns, int64_t task)
{
    pthread_mutex_lock(&turns->lock);
    turns->failed = awq__min(turns->failed, task);
    pthread_cond_broadcast(&turns->moved);
    pthread_mutex_unlock(&turns->lock);
}
