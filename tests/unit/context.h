/* A context for each test, and checks of its message. */
#ifndef CONTEXT_H
#define CONTEXT_H

#include "awq/awq.h"
#include "core/core.h"

#include <string.h>

static inline int make_context(void **state)
{
    awq_context *ctx;
    int failed = awq_context_create(&ctx) != AWQ_OK;
    *state = ctx;
    return failed;
}

static inline int free_context(void **state)
{
    awq_context_free(*state);
    return 0;
}

static inline void succeeds(const awq_context *ctx, awq_status status)
{
    if (status != AWQ_OK)
        fail_msg("%s: %s", awq_status_name(status), awq_context_message(ctx));
}

/* The status is as expected and the message has the part. */
static inline void fails(const awq_context *ctx, awq_status status, awq_status expected,
                         const char *part)
{
    assert_string_equal(awq_status_name(status), awq_status_name(expected));
    if (!strstr(awq_context_message(ctx), part))
        fail_msg("the message \"%s\" does not say \"%s\"", awq_context_message(ctx), part);
}

/* It succeeds where `part` is NULL. */
static inline void ends(const awq_context *ctx, awq_status status, awq_status error,
                        const char *part)
{
    if (part)
        fails(ctx, status, error, part);
    else
        succeeds(ctx, status);
}

#endif
