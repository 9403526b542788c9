#include "format/format.h"

#include <string.h>

static bool in_any(const char *entry, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strstr(names[i], entry))
            return true;
    return false;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), part = strlen(ending);
    return part <= length && !strcmp(name + length - part, ending);
}

/* The ending that is one component longer than `ending`, which lies within name. */
static const char *lengthen(const char *name, const char *ending)
{
    if (ending == name)
        return NULL;
    const char *at = ending - 1; /* the dot before it, or the end of the name */
    while (at > name && at[-1] != '.')
        at--;
    return at;
}

awq_status awq__skip_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count)
{
    *count = 0;
    *list = awq__alloc(ctx, kept_count, sizeof **list, "the skip list");
    awq_status status = *list ? AWQ_OK : AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < kept_count && status == AWQ_OK; i++) {
        bool covered = false;
        for (size_t j = 0; j < *count && !covered; j++)
            covered = ends_with(kept[i], (*list)[j]);
        if (covered)
            continue;
        const char *ending = lengthen(kept[i], kept[i] + strlen(kept[i]) + 1);
        while (ending && in_any(ending, quantized, quantized_count))
            ending = lengthen(kept[i], ending);
        if (!ending)
            status =
                awq__fail(ctx, AWQ_ERROR_RECIPE,
                          "%s: is kept, but its name is part of a quantized module's, so no skip "
                          "list can tell them apart",
                          kept[i]);
        else if (!((*list)[*count] = awq__strdup(ctx, ending)))
            status = AWQ_ERROR_MEMORY;
        else
            ++*count;
    }
    if (status == AWQ_OK)
        return status;
    awq__name_list_free(*list, *count);
    *list = NULL;
    *count = 0;
    return status;
}
