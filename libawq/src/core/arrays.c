/* What a context knows of its arrays: where they are, and how many bytes they have. */
#include "core/context.h"

void awq__context_set_compute(awq_context *ctx, const struct awq__compute *compute)
{
    ctx->compute = compute;
}

void awq__context_set_backend(awq_context *ctx, const struct awq__backend *backend,
                              const awq__memory *memory)
{
    ctx->backend = backend;
    ctx->memory = memory;
}

const struct awq__backend *awq__context_backend(const awq_context *ctx)
{
    return ctx->backend;
}

void awq__context_set_device(awq_context *ctx, struct awq__gpu *device)
{
    ctx->device = device;
}

struct awq__gpu *awq__context_device(const awq_context *ctx)
{
    return ctx->device;
}

const struct awq__compute *awq__context_compute(const awq_context *ctx)
{
    return ctx->compute;
}

const awq__memory *awq__context_memory(const awq_context *ctx)
{
    return ctx->memory;
}

void awq__context_count(awq_context *ctx, int64_t bytes)
{
    int64_t now = atomic_fetch_add(&ctx->bytes, bytes) + bytes;
    int64_t most = atomic_load(&ctx->most_bytes);
    while (now > most && !atomic_compare_exchange_weak(&ctx->most_bytes, &most, now))
        continue;
}

int64_t awq__context_most_bytes(const awq_context *ctx)
{
    return atomic_load(&ctx->most_bytes);
}

void awq__context_limit_bytes(awq_context *ctx, int64_t bytes)
{
    ctx->goal_bytes = bytes;
}

void awq__context_expect_bytes(awq_context *ctx, int64_t bytes)
{
    ctx->expected_bytes = bytes;
}

int64_t awq__context_expected_bytes(const awq_context *ctx)
{
    return ctx->expected_bytes;
}

int64_t awq__context_left_bytes(const awq_context *ctx)
{
    return awq__max(ctx->goal_bytes - atomic_load(&ctx->bytes), 0);
}

size_t awq__context_work_bytes(const awq_context *ctx)
{
    return (size_t)awq__min(awq__context_left_bytes(ctx), (int64_t)AWQ__WORK_BYTES);
}
