/* Modules told apart by their schemes. */
#include "format/format.h"

#include <stdlib.h>

bool awq__same_scheme(const awq__scheme *a, const awq__scheme *b)
{
    return a->code == b->code && a->bits == b->bits && a->group == b->group &&
           a->symmetric == b->symmetric && a->blocks == b->blocks && a->rows == b->rows;
}

static int compare_uses(const void *a, const void *b)
{
    const awq__scheme_use *p = a, *q = b;
    if (p->count != q->count)
        return p->count > q->count ? -1 : 1;
    return (p->first > q->first) - (p->first < q->first);
}

awq_status awq__scheme_uses(awq_context *ctx, const awq__treated *modules, size_t count,
                            awq__scheme_use **out, size_t *use_count)
{
    awq__scheme_use *uses = NULL;
    size_t capacity = 0, n = 0;
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        if (!modules[i].scheme)
            continue;
        while (at < n && !awq__same_scheme(uses[at].scheme, modules[i].scheme))
            at++;
        if (at == n) {
            AWQ__TRY(awq__grow(ctx, &uses, &capacity, n + 1, sizeof *uses, "schemes"));
            uses[n++] = (awq__scheme_use){.scheme = modules[i].scheme, .first = i};
        }
        uses[at].count++;
    }
    if (n)
        qsort(uses, n, sizeof *uses, compare_uses);
done:
    *out = uses;
    *use_count = n;
    return status;
}

awq_status awq__partition_create(awq_context *ctx, const awq__treated *modules, size_t count,
                                 const awq__scheme *scheme, awq__partition *partition)
{
    *partition = (awq__partition){0};
    partition->in = awq__alloc(ctx, count, sizeof *partition->in, "names of modules");
    partition->out = awq__alloc(ctx, count, sizeof *partition->out, "names of modules");
    if (!partition->in || !partition->out) {
        awq__partition_free(partition);
        return AWQ_ERROR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const awq__scheme *own = modules[i].scheme;
        if (scheme ? own && awq__same_scheme(own, scheme) : !own)
            partition->in[partition->in_count++] = modules[i].name;
        else
            partition->out[partition->out_count++] = modules[i].name;
    }
    return AWQ_OK;
}

void awq__partition_free(awq__partition *partition)
{
    awq__free(partition->in);
    awq__free(partition->out);
    *partition = (awq__partition){0};
}
