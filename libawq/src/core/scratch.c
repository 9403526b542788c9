/* Work space for the workers of a parallel loop. */
#include "core/core.h"

awq_status awq__scratch_create(awq_context *ctx, const char *what, awq__scratch *scratch)
{
    *scratch = (awq__scratch){.ctx = ctx, .what = what, .workers = awq__threads(ctx)};
    scratch->floats = awq__alloc(ctx, (size_t)scratch->workers, sizeof *scratch->floats, what);
    return scratch->floats ? AWQ_OK : AWQ_ERROR_MEMORY;
}

float *awq__scratch_get(awq__scratch *scratch, int worker, size_t floats)
{
    float **mine = &scratch->floats[worker];
    if (!*mine)
        *mine = awq__alloc_aligned(scratch->ctx, floats, sizeof **mine, scratch->what);
    return *mine;
}

void awq__scratch_free(awq__scratch *scratch)
{
    for (int i = 0; scratch->floats && i < scratch->workers; i++)
        awq__free_aligned(scratch->floats[i]);
    awq__free(scratch->floats);
    *scratch = (awq__scratch){0};
}
