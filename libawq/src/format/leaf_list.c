/* The `llm_int8_skip_modules` list of bitsandbytes. */
#include "format/format.h"
#include "format/names.h"

#include <string.h>

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
        if (awq__ends_with(names[i], entry) || begins_with(names[i], entry) ||
            has_before_dot(names[i], entry))
            return true;
    return false;
}

static const char *last_component(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* Does every reader find one of the entries in the name: as its end, or as whole components that it
   begins with? */
static bool is_covered(const char *name, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(list[i]);
        if (!strcmp(last_component(name), list[i]) ||
            (!strncmp(name, list[i], length) && (!name[length] || name[length] == '.')))
            return true;
    }
    return false;
}

/* Names with those that engines ask for besides, which run some linears as one. */
typedef struct name_list {
    char **names;
    size_t count;
} name_list;

static awq_status append(name_list *list, char *name)
{
    AWQ__CHECK_ALLOC(name);
    list->names[list->count++] = name;
    return AWQ_OK;
}

/* The first part of a fused module stands for all of it: q_proj for qkv_proj. */
static awq_status add_fused(awq_context *ctx, const char *const *given, size_t count,
                            name_list *out)
{
    static const char *const fused[][2] = {{"q_proj", "qkv_proj"}, {"gate_proj", "gate_up_proj"}};
    out->count = 0;
    out->names = awq__alloc(ctx, 2 * count, sizeof *out->names, "the skip list");
    AWQ__CHECK_ALLOC(out->names);
    for (size_t i = 0; i < count; i++) {
        const char *leaf = last_component(given[i]);
        AWQ__CHECK(append(out, awq__strdup(ctx, given[i])));
        for (int j = 0; j < 2; j++)
            if (!strcmp(leaf, fused[j][0]))
                AWQ__CHECK(append(out, awq__format(ctx, "%.*s%s", (int)(leaf - given[i]), given[i],
                                                   fused[j][1])));
    }
    return AWQ_OK;
}

/* Also the experts of a layer as one, if none of them is among the others. The caller frees the
   list, also after a failure. */
static awq_status add_asked(awq_context *ctx, const char *const *given, size_t count,
                            const char *const *others, size_t other_count, name_list *out)
{
    awq__name_set set;
    awq_status status;
    AWQ__TRY(awq__name_set_create(ctx, given, count, others, other_count, &set));
    AWQ__TRY(add_fused(ctx, set.names, set.count, out));
done:
    awq__name_set_free(&set);
    return status;
}

static awq_status add_entry(awq_context *ctx, const char *name, const name_list *quantized,
                            name_list *list)
{
    const char *const *others = (const char *const *)quantized->names;
    if (is_covered(name, list->names, list->count))
        return AWQ_OK;
    const char *entry = last_component(name);
    if (in_any(entry, others, quantized->count))
        entry = name;
    if (in_any(entry, others, quantized->count))
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "%s: is kept, but readers of the bitsandbytes format would find its name "
                         "in a quantized module's",
                         name);
    return append(list, awq__strdup(ctx, entry));
}

awq_status awq__leaf_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count)
{
    name_list own = {0}, others = {0}, entries = {0};
    awq_status status;
    AWQ__TRY(add_asked(ctx, kept, kept_count, quantized, quantized_count, &own));
    AWQ__TRY(add_asked(ctx, quantized, quantized_count, kept, kept_count, &others));
    entries.names = awq__alloc(ctx, own.count, sizeof *entries.names, "the skip list");
    AWQ__TRY_ALLOC(entries.names);
    for (size_t i = 0; i < own.count; i++)
        AWQ__TRY(add_entry(ctx, own.names[i], &others, &entries));
done:
    awq__name_list_free(own.names, own.count);
    awq__name_list_free(others.names, others.count);
    if (status != AWQ_OK) {
        awq__name_list_free(entries.names, entries.count);
        entries = (name_list){0};
    }
    *list = entries.names;
    *count = entries.count;
    return status;
}
