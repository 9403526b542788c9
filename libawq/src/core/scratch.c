/* Work space for the workers of a parallel loop. */
#include "core/core.h"

awq_status awq__scratch_create(awq_context *ctx, const char *what, awq__scratch *scratch)
{
    *scratch = (awq__scratch){.ctx = ctx, .what = what, .workers = awq__threads(ctx)};
    scratch->spaces = awq__alloc(ctx, (size_t)scratch->workers, sizeof *scratch->spaces, what);
    return scratch->spaces ? AWQ_OK : AWQ_ERROR_MEMORY;
}

float *awq__scratch_get(awq__scratch *scratch, int worker, size_t floats)
{
    awq__work_space *mine = &scratch->spaces[worker];
    if (mine->floats && floats <= mine->capacity)
        return mine->floats;
    awq__free_aligned(mine->floats);
    mine->floats =
        scratch->host
            ? awq__alloc_host(scratch->ctx, floats, sizeof *mine->floats, scratch->what)
            : awq__alloc_aligned(scratch->ctx, floats, sizeof *mine->floats, scratch->what);
    mine->capacity = mine->floats ? floats : 0;
    return mine->floats;
}

void awq__scratch_free(awq__scratch *scratch)
{
    for (int i = 0; scratch->spaces && i < scratch->workers; i++)
        awq__free_aligned(scratch->spaces[i].floats);
    awq__free(scratch->spaces);
    *scratch = (awq__scratch){0};
}

size_t awq__cut_space(float *base, const int64_t *sizes, float **const *parts, int count)
{
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        *parts[i] = base ? base + at : NULL;
        at += (size_t)(sizes[i] + 15) / 16 * 16;
    }
    return at;
}
