/* What quantization_config says of which modules. */
#include "format/format.h"

#include <string.h>

awq_status awq__stored_add_group(awq_context *ctx, awq__stored *stored, bool packed,
                                 const awq__stored_scheme *scheme)
{
    AWQ__CHECK(awq__grow(ctx, &stored->groups, &stored->capacity, stored->count + 1,
                         sizeof *stored->groups, "quantization_config"));
    stored->groups[stored->count++] = (awq__stored_group){.packed = packed, .scheme = *scheme};
    return AWQ_OK;
}

awq_status awq__stored_add_pattern(awq_context *ctx, awq__stored *stored, const char *file,
                                   const char *text, awq__name_kind kind)
{
    awq__stored_group *group = &stored->groups[stored->count - 1];
    awq__name_pattern *grown = awq__alloc(ctx, group->count + 1, sizeof *grown, "a pattern");
    AWQ__CHECK_ALLOC(grown);
    awq_status status;
    AWQ__TRY(awq__name_pattern_create(ctx, file, text, kind, &grown[group->count]));
    if (group->count)
        memcpy(grown, group->patterns, group->count * sizeof *grown);
    awq__free(group->patterns);
    group->patterns = grown;
    group->count++;
done:
    if (status != AWQ_OK)
        awq__free(grown);
    return status;
}

awq_status awq__stored_find(awq_context *ctx, const awq__stored *stored, const char *module,
                            const awq__stored_scheme **scheme)
{
    *scheme = NULL;
    for (size_t g = 0; g < stored->count; g++) {
        const awq__stored_group *group = &stored->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            bool matches;
            AWQ__CHECK(awq__name_pattern_match(ctx, &group->patterns[i], module, &matches));
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

/* What a message says of a value. `printed` is its JSON or NULL. */
static const char *describe(const cJSON *item, const char *printed)
{
    if (!item)
        return "missing";
    if (cJSON_IsObject(item))
        return item->child ? "an object" : "an empty object";
    if (cJSON_IsArray(item))
        return item->child ? "an array" : "an empty array";
    return printed && strlen(printed) <= 80 ? printed : "a long text";
}

awq_status awq__stored_refuse(awq_context *ctx, const char *file, const char *key,
                              const cJSON *item, const char *fits)
{
    bool has_parts = cJSON_IsObject(item) || cJSON_IsArray(item);
    char *printed = item && !has_parts ? cJSON_PrintUnformatted(item) : NULL;
    awq_status status = awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                                  "%s: quantization_config: %s is %s, but only %s can be read",
                                  file, key, describe(item, printed), fits);
    cJSON_free(printed);
    return status;
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
