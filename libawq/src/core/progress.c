/* How far the work is, and whether it shall go on. */
#include "core/context.h"

#include <time.h>

#define REPEAT_SECONDS 0.2

static bool goes_on(awq_context *ctx)
{
    ctx->told_seconds = awq__now_seconds();
    return !ctx->progress || !ctx->progress(ctx->progress_user, &ctx->latest);
}

awq_status awq__progress(awq_context *ctx, const awq_progress *progress)
{
    ctx->latest = *progress;
    return goes_on(ctx) ? AWQ_OK : awq__cancelled(ctx);
}

bool awq__progress_again(awq_context *ctx)
{
    double passed = awq__now_seconds() - ctx->told_seconds;
    if (!ctx->latest.stage || passed < REPEAT_SECONDS)
        return true;
    ctx->latest.elapsed_seconds += passed;
    return goes_on(ctx);
}

awq_status awq__cancelled(awq_context *ctx)
{
    return awq__fail(ctx, AWQ_ERROR_CANCELLED, "cancelled in layer %lld, %s",
                     (long long)ctx->latest.layer, ctx->latest.stage);
}

double awq__now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
