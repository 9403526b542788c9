/*
 * Engines that make one module of all experts of a layer ask whether it is quantized, by a name
 * that no tensor has: "a.mlp.experts" for "a.mlp.experts.0.up_proj".
 */
#include "format/names.h"

#include <stdlib.h>
#include <string.h>

bool awq__is_index(const char *text, size_t length)
{
    return length && strspn(text, "0123456789") >= length;
}

bool awq__has_index(const char *text, size_t length)
{
    for (size_t at = 0, end; at < length; at = end + 1) {
        end = at + strcspn(text + at, ".");
        if (awq__is_index(text + at, end - at))
            return true;
    }
    return false;
}

size_t awq__experts_length(const char *name)
{
    static const char word[] = "experts";
    for (const char *at = name;; at++) {
        size_t length = strcspn(at, ".");
        const char *next = at + length;
        if (length == sizeof word - 1 && !memcmp(at, word, length) &&
            (!*next || awq__is_index(next + 1, strcspn(next + 1, "."))))
            return (size_t)(next - name);
        if (!*next)
            return 0;
        at = next;
    }
}

/* The beginning of a name. */
typedef struct part {
    const char *text;
    size_t length;
} part;

static int compare(const void *a, const void *b)
{
    const part *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

/* Those of names in order, and each once if neighbours have the same; count becomes theirs. */
static size_t find_parts(const char *const *names, size_t count, part *parts)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const part experts = {names[i], awq__experts_length(names[i])};
        if (experts.length && !(found && !compare(&parts[found - 1], &experts)))
            parts[found++] = experts;
    }
    return found;
}

static awq_status fill(awq_context *ctx, const char *const *names, size_t count, const part *others,
                       size_t other_count, awq__name_set *set)
{
    part last = {0};
    for (size_t i = 0; i < count; i++) {
        const part experts = {names[i], awq__experts_length(names[i])};
        if (experts.length && !(last.length && !compare(&last, &experts))) {
            last = experts;
            if (!bsearch(&experts, others, other_count, sizeof *others, compare)) {
                char *name = awq__alloc(ctx, experts.length + 1, 1, "a name of experts");
                AWQ__CHECK_ALLOC(name);
                memcpy(name, experts.text, experts.length);
                set->made[set->count] = true;
                set->names[set->count++] = name;
            }
        }
        set->names[set->count++] = names[i];
    }
    return AWQ_OK;
}

awq_status awq__name_set_create(awq_context *ctx, const char *const *names, size_t count,
                                const char *const *others, size_t other_count, awq__name_set *set)
{
    *set = (awq__name_set){0};
    part *parts = awq__alloc(ctx, other_count, sizeof *parts, "names of experts");
    set->made = awq__alloc(ctx, count, 2 * sizeof *set->made, "names of experts");
    set->names = awq__alloc(ctx, count, 2 * sizeof *set->names, "names of experts");
    awq_status status;
    AWQ__TRY_ALLOC(parts && set->made && set->names);
    size_t found = find_parts(others, other_count, parts);
    qsort(parts, found, sizeof *parts, compare);
    AWQ__TRY(fill(ctx, names, count, parts, found, set));
done:
    awq__free(parts);
    return status;
}

void awq__name_set_free(awq__name_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->made[i])
            awq__free((char *)(uintptr_t)set->names[i]);
    awq__free(set->made);
    awq__free(set->names);
    *set = (awq__name_set){0};
}
