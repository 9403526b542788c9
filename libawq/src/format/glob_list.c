/* The `exclude_modules` list of ModelOpt. */
#include "format/format.h"
#include "format/names.h"

#include <fnmatch.h>
#include <string.h>

static bool matches(const char *glob, const char *name)
{
    return fnmatch(glob, name, FNM_NOESCAPE) == 0;
}

static bool matches_any(const char *glob, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (matches(glob, names[i]))
            return true;
    return false;
}

static bool is_covered(const char *name, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (matches(list[i], name))
            return true;
    return false;
}

static size_t count_indices(const char *name)
{
    size_t count = 0;
    for (const char *at = name;; at++) {
        size_t length = strcspn(at, ".");
        count += awq__is_index(at, length);
        at += length;
        if (!*at)
            return count;
    }
}

/* A new text: the first `length` bytes of the name, its last `stars` components that are numbers
   replaced by "*", and an ending. */
static char *glob_of(awq_context *ctx, const char *name, size_t length, size_t stars,
                     const char *ending)
{
    awq__text text = {0};
    awq_status status = AWQ_OK;
    size_t index = 0, first = count_indices(name);
    first = first > stars ? first - stars : 0;
    for (size_t at = 0, part; at < length && status == AWQ_OK; at += part + 1) {
        part = strcspn(name + at, ".");
        bool star = awq__is_index(name + at, part) && index++ >= first;
        status = awq__text_append(ctx, &text, "%s%.*s", at ? "." : "", star ? 1 : (int)part,
                                  star ? "*" : name + at);
    }
    if (status == AWQ_OK)
        status = awq__text_append(ctx, &text, "%s", ending);
    if (status == AWQ_OK)
        return text.data;
    awq__text_free(&text);
    return NULL;
}

/* What a name is tried as, the shortest first: all of its parent, in all layers and in its own, and
   itself, with the numbers of fewer and fewer components. */
static awq_status add_entry(awq_context *ctx, const char *name, const char *const *quantized,
                            size_t count, char **list, size_t *entries)
{
    const char *dot = strrchr(name, '.');
    size_t length = strlen(name), parent = dot ? (size_t)(dot - name) : 0;
    size_t numbers = count_indices(name);
    for (int self = parent ? 0 : 1; self < 2; self++)
        for (size_t fixed = 0; fixed <= numbers; fixed++) {
            char *glob =
                glob_of(ctx, name, self ? length : parent, numbers - fixed, self ? "" : ".*");
            if (!glob)
                return AWQ_ERROR_MEMORY;
            /* A parent of one component would name the whole model. */
            bool wide = !self && !memchr(name, '.', parent);
            if (!wide && !matches_any(glob, quantized, count)) {
                list[(*entries)++] = glob;
                return AWQ_OK;
            }
            awq__free(glob);
        }
    return awq__fail(ctx, AWQ_ERROR_RECIPE,
                     "%s: is kept, but readers of the modelopt format would take it for a "
                     "quantized module",
                     name);
}

/* Readers that run q, k and v, or gate and up, as one linear ask for it by the name of the whole,
   for which its first part stands. NULL without a failure for other names. */
static awq_status joined_name(awq_context *ctx, const char *name, char **joined)
{
    static const char *const leaves[][2] = {{"q_proj", "qkv_proj"}, {"gate_proj", "gate_up_proj"}};
    const char *dot = strrchr(name, '.');
    *joined = NULL;
    for (int i = 0; i < 2 && dot; i++)
        if (!strcmp(dot + 1, leaves[i][0])) {
            *joined = awq__format(ctx, "%.*s.%s", (int)(dot - name), name, leaves[i][1]);
            return *joined ? AWQ_OK : AWQ_ERROR_MEMORY;
        }
    return AWQ_OK;
}

static awq_status add_name(awq_context *ctx, const char *name, const char *const *quantized,
                           size_t count, char **list, size_t *entries)
{
    char *joined = NULL;
    awq_status status = is_covered(name, list, *entries)
                            ? AWQ_OK
                            : add_entry(ctx, name, quantized, count, list, entries);
    if (status == AWQ_OK)
        status = joined_name(ctx, name, &joined);
    if (status == AWQ_OK && joined && !is_covered(joined, list, *entries))
        status = add_entry(ctx, joined, quantized, count, list, entries);
    awq__free(joined);
    return status;
}

awq_status awq__glob_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count)
{
    awq__name_set asked;
    *list = NULL;
    *count = 0;
    awq_status status =
        awq__name_set_create(ctx, kept, kept_count, quantized, quantized_count, &asked);
    if (status == AWQ_OK) {
        *list = awq__alloc(ctx, 2 * asked.count, sizeof **list, "the list of unquantized modules");
        status = *list ? AWQ_OK : AWQ_ERROR_MEMORY;
    }
    for (size_t i = 0; i < asked.count && status == AWQ_OK; i++)
        status = add_name(ctx, asked.names[i], quantized, quantized_count, *list, count);
    awq__name_set_free(&asked);
    if (status == AWQ_OK)
        return status;
    awq__name_list_free(*list, *count);
    *list = NULL;
    *count = 0;
    return status;
}
