/* The `modules_to_not_convert` list of MXFP4. */
#include "format/format.h"
#include "format/names.h"

#include <string.h>

/* A new text in which "*" stands for components that are numbers. */
static char *starred(awq_context *ctx, const char *name)
{
    awq__text text = {0};
    awq_status status;
    for (const char *at = name;; at++) {
        size_t length = strcspn(at, ".");
        bool number = length && strspn(at, "0123456789") == length;
        AWQ__TRY(awq__text_append_bytes(ctx, &text, number ? "*" : at, number ? 1 : length));
        at += length;
        if (!*at)
            break;
        AWQ__TRY(awq__text_append_bytes(ctx, &text, ".", 1));
    }
done:
    if (status != AWQ_OK)
        awq__text_free(&text);
    return text.data;
}

/* Ends a name in a tree: no byte of a name is NUL. */
enum { END = 0 };

/* The node of the first `length` bytes; false if no name of the tree begins with them. */
static bool find_part(const awq__trie *tree, const char *name, size_t length, uint32_t *node)
{
    *node = 0;
    for (size_t i = 0; i < length; i++)
        if (!(*node = awq__trie_find(tree, *node, (unsigned char)name[i])))
            return false;
    return true;
}

/* Is a name of the tree the first `length` bytes of parent, or within that module? */
static bool any_under(const awq__trie *tree, const char *parent, size_t length)
{
    uint32_t node;
    return find_part(tree, parent, length, &node) &&
           (awq__trie_find(tree, node, END) || awq__trie_find(tree, node, '.'));
}

static awq_status add_name(awq_context *ctx, awq__trie *tree, const char *name)
{
    uint32_t node = 0;
    for (;; name++) {
        node = awq__trie_add(ctx, tree, node, (unsigned char)*name);
        AWQ__CHECK_ALLOC(node);
        if (*name == END)
            return AWQ_OK;
    }
}

/* Does the name lie under one of the tree? */
static bool lies_under_any(const awq__trie *tree, const char *name)
{
    uint32_t node = 0;
    for (;; name++) {
        if ((!*name || *name == '.') && awq__trie_find(tree, node, END))
            return true;
        if (!*name || !(node = awq__trie_find(tree, node, (unsigned char)*name)))
            return false;
    }
}

/* The starred names: those of all layers and experts are the same. */
static awq_status star_all(awq_context *ctx, const char *const *names, size_t count,
                           awq__trie *tree)
{
    AWQ__CHECK(awq__trie_create(ctx, tree));
    for (size_t i = 0; i < count; i++) {
        char *name = starred(ctx, names[i]);
        AWQ__CHECK_ALLOC(name);
        awq_status status = add_name(ctx, tree, name);
        awq__free(name);
        AWQ__CHECK(status);
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
static size_t shorten(const char *name, const awq__trie *quantized)
{
    size_t length = strlen(name), parent = parent_length(name, length);
    while (memchr(name, '.', parent) && !any_under(quantized, name, parent)) {
        length = parent;
        parent = parent_length(name, length);
    }
    return length;
}

static awq_status add(awq_context *ctx, const char *kept, const awq__trie *quantized,
                      awq__trie *entries, char **list, size_t *count)
{
    char *name = starred(ctx, kept);
    AWQ__CHECK_ALLOC(name);
    awq_status status = AWQ_OK;
    if (any_under(quantized, name, strlen(name))) {
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_RECIPE,
                           "%s: is kept, but %s is quantized in some layer, and the mxfp4 format "
                           "treats all layers alike",
                           kept, name));
    } else if (!lies_under_any(entries, name)) {
        name[shorten(name, quantized)] = 0;
        list[(*count)++] = name;
        return add_name(ctx, entries, name);
    }
done:
    awq__free(name);
    return status;
}

awq_status awq__star_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count)
{
    awq__trie names, entries = {0};
    *count = 0;
    *list = awq__alloc(ctx, kept_count, sizeof **list, "the list of unquantized modules");
    awq_status status;
    AWQ__TRY(star_all(ctx, quantized, quantized_count, &names));
    AWQ__TRY(awq__trie_create(ctx, &entries));
    AWQ__TRY_ALLOC(*list);
    for (size_t i = 0; i < kept_count; i++)
        AWQ__TRY(add(ctx, kept[i], &names, &entries, *list, count));
done:
    awq__trie_free(&names);
    awq__trie_free(&entries);
    if (status != AWQ_OK) {
        awq__name_list_free(*list, *count);
        *list = NULL;
        *count = 0;
    }
    return status;
}
