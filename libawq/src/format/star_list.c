/* The `modules_to_not_convert` list of MXFP4. */
#include "format/format.h"

#include <string.h>

/* A new text in which "*" stands for components that are numbers. */
static char *starred(awq_context *ctx, const char *name)
{
    awq__text text = {0};
    awq_status status = AWQ_OK;
    for (const char *at = name; status == AWQ_OK;) {
        size_t length = strcspn(at, ".");
        if (length && strspn(at, "0123456789") == length)
            status = awq__text_append_bytes(ctx, &text, "*", 1);
        else
            status = awq__text_append_bytes(ctx, &text, at, length);
        at += length;
        if (!*at)
            break;
        if (status == AWQ_OK)
            status = awq__text_append_bytes(ctx, &text, ".", 1);
        at++;
    }
    char *copy = status == AWQ_OK ? awq__strdup(ctx, text.data) : NULL;
    awq__text_free(&text);
    return copy;
}

/* Is the name the first `length` bytes of parent, or within that module? */
static bool lies_under(const char *name, const char *parent, size_t length)
{
    return !strncmp(name, parent, length) && (!name[length] || name[length] == '.');
}

static bool any_under(const char *parent, size_t length, char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (lies_under(names[i], parent, length))
            return true;
    return false;
}

/* The starred names, each once: those of all layers and experts are the same. */
static awq_status star_all(awq_context *ctx, const char *const *names, size_t name_count,
                           char ***list, size_t *count)
{
    *count = 0;
    *list = awq__alloc(ctx, name_count, sizeof **list, "names of quantized modules");
    if (!*list)
        return AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < name_count; i++) {
        char *name = starred(ctx, names[i]);
        if (!name)
            return AWQ_ERROR_MEMORY;
        bool known = false;
        for (size_t j = 0; j < *count && !known; j++)
            known = !strcmp((*list)[j], name);
        if (known)
            awq__free(name);
        else
            (*list)[(*count)++] = name;
    }
    return AWQ_OK;
}

/* The length of what is before the last dot; 0 if there is none. */
static size_t parent_length(const char *name, size_t length)
{
    for (size_t at = length; at > 0; at--)
        if (name[at - 1] == '.')
            return at - 1;
    return 0;
}

/* The length of the shortest beginning of two components or more that holds nothing quantized. */
static size_t shorten(const char *name, char *const *quantized, size_t count)
{
    size_t length = strlen(name), parent = parent_length(name, length);
    while (memchr(name, '.', parent) && !any_under(name, parent, quantized, count)) {
        length = parent;
        parent = parent_length(name, length);
    }
    return length;
}

static awq_status add(awq_context *ctx, const char *kept, char *const *quantized,
                      size_t quantized_count, char **list, size_t *count)
{
    char *name = starred(ctx, kept);
    if (!name)
        return AWQ_ERROR_MEMORY;
    awq_status status = AWQ_OK;
    bool covered = false;
    for (size_t i = 0; i < *count && !covered; i++)
        covered = lies_under(name, list[i], strlen(list[i]));
    if (any_under(name, strlen(name), quantized, quantized_count))
        status = awq__fail(ctx, AWQ_ERROR_RECIPE,
                           "%s: is kept, but %s is quantized in some layer, and the mxfp4 format "
                           "treats all layers alike",
                           kept, name);
    else if (!covered) {
        name[shorten(name, quantized, quantized_count)] = 0;
        list[(*count)++] = name;
        return AWQ_OK;
    }
    awq__free(name);
    return status;
}

awq_status awq__star_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count)
{
    char **starred_quantized;
    size_t starred_count;
    *count = 0;
    *list = awq__alloc(ctx, kept_count, sizeof **list, "the list of unquantized modules");
    awq_status status =
        star_all(ctx, quantized, quantized_count, &starred_quantized, &starred_count);
    if (!*list)
        status = AWQ_ERROR_MEMORY;
    for (size_t i = 0; i < kept_count && status == AWQ_OK; i++)
        status = add(ctx, kept[i], starred_quantized, starred_count, *list, count);
    awq__name_list_free(starred_quantized, starred_count);
    if (status == AWQ_OK)
        return status;
    awq__name_list_free(*list, *count);
    *list = NULL;
    *count = 0;
    return status;
}
