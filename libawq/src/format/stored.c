/* What quantization_config says of which modules. */
#include "format/format.h"

#include <string.h>

awq_status awq__stored_add_group(awq_context *ctx, awq__stored *stored, bool packed,
                                 const awq__stored_scheme *scheme)
{
    awq_status status = awq__grow(ctx, &stored->groups, &stored->capacity, stored->count + 1,
                                  sizeof *stored->groups, "quantization_config");
    if (status != AWQ_OK)
        return status;
    stored->groups[stored->count++] = (awq__stored_group){.packed = packed, .scheme = *scheme};
    return AWQ_OK;
}

awq_status awq__stored_add_pattern(awq_context *ctx, awq__stored *stored, const char *file,
                                   const char *text)
{
    awq__stored_group *group = &stored->groups[stored->count - 1];
    awq__name_pattern *grown = awq__alloc(ctx, group->count + 1, sizeof *grown, "a pattern");
    if (!grown)
        return AWQ_ERROR_MEMORY;
    awq_status status =
        awq__name_pattern_create(ctx, file, text, AWQ__NAME_EXACT, &grown[group->count]);
    if (status != AWQ_OK) {
        awq__free(grown);
        return status;
    }
    if (group->count)
        memcpy(grown, group->patterns, group->count * sizeof *grown);
    awq__free(group->patterns);
    group->patterns = grown;
    group->count++;
    return AWQ_OK;
}

awq_status awq__stored_find(awq_context *ctx, const awq__stored *stored, const char *module,
                            const awq__stored_scheme **scheme)
{
    *scheme = NULL;
    for (size_t g = 0; g < stored->count; g++) {
        const awq__stored_group *group = &stored->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            bool matches;
            awq_status status = awq__name_pattern_match(ctx, &group->patterns[i], module, &matches);
            if (status != AWQ_OK)
                return status;
            if (matches) {
                *scheme = group->packed ? &group->scheme : NULL;
                return AWQ_OK;
            }
        }
    }
    if (stored->has_rest)
        *scheme = &stored->rest;
    return AWQ_OK;
}

void awq__stored_free(awq__stored *stored)
{
    for (size_t g = 0; g < stored->count; g++) {
        for (size_t i = 0; i < stored->groups[g].count; i++)
            awq__name_pattern_free(&stored->groups[g].patterns[i]);
        awq__free(stored->groups[g].patterns);
    }
    awq__free(stored->groups);
    *stored = (awq__stored){0};
}
