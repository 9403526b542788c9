/* Making durable what was written, and hashing it, beside the work: on a thread of its own. */
#include "awq/awq.h"
#include "checkpoint/internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* The thread has a context of its own: its failure is reported when the caller next asks. */
struct awq__settling {
    pthread_t thread;
    bool threaded; /* else it is done already */
    awq_context *ctx;
    awq__output output; /* a copy with that context: names and the layout are shared */
    _Atomic bool stop;  /* the caller waits */
    const char *file_name;
    char *text;
    awq_status status;
};

static awq_status take_steps(awq__settling *s)
{
    AWQ__CHECK(awq__output_sync(&s->output));
    AWQ__CHECK(awq__output_text(&s->output, s->file_name, s->text, strlen(s->text)));
    return awq__output_hash(&s->output, &s->stop);
}

static void *settle(void *arg)
{
    awq__settling *s = arg;
    s->status = take_steps(s);
    return NULL;
}

static void finish(awq__settling *s)
{
    atomic_store(&s->stop, true);
    if (s->threaded)
        pthread_join(s->thread, NULL);
}

static void free_settling(awq__settling *s)
{
    awq_context_free(s->ctx);
    awq__free(s->text);
    awq__free(s);
}

awq_status awq__output_wait(awq__output *output)
{
    awq__settling *s = output->settling;
    if (!s)
        return AWQ_OK;
    output->settling = NULL;
    finish(s);
    awq_status status = s->status;
    if (status != AWQ_OK)
        awq__fail(output->ctx, status, "%s", awq_context_message(s->ctx));
    free_settling(s);
    return status;
}

void awq__output_abandon(awq__output *output)
{
    awq__settling *s = output->settling;
    if (!s)
        return;
    output->settling = NULL;
    finish(s);
    free_settling(s);
}

awq_status awq__output_settle(awq__output *output, const char *file_name, const char *text)
{
    AWQ__CHECK(awq__output_wait(output));
    awq__settling *s = awq__alloc(output->ctx, 1, sizeof *s, "writing beside the work");
    AWQ__CHECK_ALLOC(s);
    s->file_name = file_name;
    s->text = awq__strdup(output->ctx, text);
    awq_status status = s->text ? awq_context_create(&s->ctx) : AWQ_ERROR_MEMORY;
    if (status != AWQ_OK) {
        free_settling(s);
        return awq__fail(output->ctx, status, "out of memory: writing beside the work");
    }
    s->output = *output;
    s->output.ctx = s->ctx;
    output->settling = s;
    /* Without a thread the caller does the work itself. */
    s->threaded = pthread_create(&s->thread, NULL, settle, s) == 0;
    if (!s->threaded) {
        atomic_store(&s->stop, true);
        settle(s);
    }
    return AWQ_OK;
}
