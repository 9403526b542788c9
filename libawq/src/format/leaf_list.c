/* The `llm_int8_skip_modules` list of bitsandbytes. */
#include "format/format.h"

#include <string.h>

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), part = strlen(ending);
    return part <= length && !strcmp(name + length - part, ending);
}

/* As a regular expression, of which a name has no other characters than dots. */
static bool begins_with(const char *name, const char *pattern)
{
    for (; *pattern; name++, pattern++)
        if (!*name || (*pattern != '.' && *pattern != *name))
            return false;
    return true;
}

/* Whether "entry." is in the name. */
static bool has_before_dot(const char *name, const char *entry)
{
    size_t length = strlen(entry);
    for (const char *at = name; (at = strstr(at, entry)); at++)
        if (at[length] == '.')
            return true;
    return false;
}

/* Does some reader find the entry in one of the names? */
static bool in_any(const char *entry, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ends_with(names[i], entry) || begins_with(names[i], entry) ||
            has_before_dot(names[i], entry))
            return true;
    return false;
}

static const char *last_component(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* Does every reader find one of the entries in the name? */
static bool is_covered(const char *name, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(last_component(name), list[i]) || !strcmp(name, list[i]))
            return true;
    return false;
}

awq_status awq__leaf_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count)
{
    *count = 0;
    *list = awq__alloc(ctx, kept_count, sizeof **list, "the skip list");
    awq_status status = *list ? AWQ_OK : AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < kept_count && status == AWQ_OK; i++) {
        if (is_covered(kept[i], *list, *count))
            continue;
        const char *entry = last_component(kept[i]);
        if (in_any(entry, quantized, quantized_count))
            entry = kept[i];
        if (in_any(entry, quantized, quantized_count))
            status = awq__fail(ctx, AWQ_ERROR_RECIPE,
                               "%s: is kept, but readers of the bitsandbytes format would find its "
                               "name in a quantized module's",
                               kept[i]);
        else if (!((*list)[*count] = awq__strdup(ctx, entry)))
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
