/* The `dynamic` rules of GPTQ. */
#include "format/format.h"

#include <stdlib.h>
#include <string.h>

/* A fused module: several modules that engines make one of; and the scheme of a part of it. */
typedef struct fused {
    char *name;
    const awq__scheme *scheme;
} fused;

typedef struct fused_list {
    fused *items;
    size_t count, capacity;
} fused_list;

static void free_fused(fused_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        awq__free(list->items[i].name);
    awq__free(list->items);
    *list = (fused_list){0};
}

static bool same_treatment(const awq__scheme *a, const awq__scheme *b)
{
    return a && b ? awq__same_scheme(a, b) : a == b;
}

/* The length of "model.layers.0.mlp.experts" in the name of an expert's linear; 0 in others. */
static size_t experts_length(const char *name)
{
    static const char part[] = ".experts.";
    const char *at = strstr(name, part);
    const char *number = at ? at + sizeof part - 1 : NULL;
    return number && number[strspn(number, "0123456789")] == '.' && *number != '.'
               ? (size_t)(number - 1 - name)
               : 0;
}

/* The name of the fused module that the module is a part of: all experts of a layer, q, k and v, or
   gate and up. NULL if it is a part of none. */
static awq_status fused_name(awq_context *ctx, const char *name, char **out)
{
    static const char *const leaves[][2] = {{"q_proj", "qkv_proj"},
                                            {"k_proj", "qkv_proj"},
                                            {"v_proj", "qkv_proj"},
                                            {"gate_proj", "gate_up_proj"},
                                            {"up_proj", "gate_up_proj"}};
    const char *dot = strrchr(name, '.'), *leaf = dot ? dot + 1 : name;
    size_t length = experts_length(name);
    *out = NULL;
    if (length) {
        *out = awq__format(ctx, "%.*s", (int)length, name);
        return *out ? AWQ_OK : AWQ_ERROR_MEMORY;
    }
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        if (strcmp(leaf, leaves[i][0]) != 0)
            continue;
        *out = awq__format(ctx, "%.*s%s", (int)(leaf - name), name, leaves[i][1]);
        return *out ? AWQ_OK : AWQ_ERROR_MEMORY;
    }
    return AWQ_OK;
}

static awq_status add_fused(awq_context *ctx, const awq__treated *module, fused_list *list)
{
    char *name;
    AWQ__CHECK(fused_name(ctx, module->name, &name));
    if (!name)
        return AWQ_OK;
    /* Parts of a fused module stand together as a rule: one entry is enough for them. */
    const fused *last = list->count ? &list->items[list->count - 1] : NULL;
    bool known = last && !strcmp(last->name, name) && same_treatment(last->scheme, module->scheme);
    awq_status status = AWQ_OK;
    if (known)
        goto done;
    AWQ__TRY(awq__grow(ctx, &list->items, &list->capacity, list->count + 1, sizeof *list->items,
                       "names of fused modules"));
    list->items[list->count++] = (fused){name, module->scheme};
    name = NULL;
done:
    awq__free(name);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    const fused *p = a, *q = b;
    return strcmp(p->name, q->name);
}

/* Modules, and the fused modules that engines make of those that are treated alike. No engine loads
   parts of a fused module that are treated differently; they can still be told apart. */
typedef struct asked {
    awq__treated *items;
    size_t count;
    fused_list fused; /* has the names */
} asked;

static void free_asked(asked *all)
{
    free_fused(&all->fused);
    awq__free(all->items);
    *all = (asked){0};
}

static awq_status make_asked(awq_context *ctx, const awq__treated *modules, size_t count,
                             asked *all)
{
    fused_list *list = &all->fused;
    *all = (asked){0};
    for (size_t i = 0; i < count; i++)
        AWQ__CHECK(add_fused(ctx, &modules[i], list));
    all->items = awq__alloc(ctx, count + list->count, sizeof *all->items, "names of modules");
    AWQ__CHECK_ALLOC(all->items);
    if (count)
        memcpy(all->items, modules, count * sizeof *modules);
    all->count = count;
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, compare_names);
    for (size_t i = 0, end; i < list->count; i = end) {
        bool alike = true;
        for (end = i + 1; end < list->count && !strcmp(list->items[i].name, list->items[end].name);
             end++)
            alike &= same_treatment(list->items[i].scheme, list->items[end].scheme);
        if (alike)
            all->items[all->count++] = (awq__treated){list->items[i].name, list->items[i].scheme};
    }
    return AWQ_OK;
}

/* An entry of awq__ignore_list as a key: the sign, and a regular expression, which a whole name
   becomes. NULL when memory is short. */
static char *make_key(awq_context *ctx, const char *sign, const char *entry)
{
    if (!strncmp(entry, "re:", 3))
        return awq__format(ctx, "%s%s", sign, entry + 3);
    awq__text text = {0};
    awq_status status;
    AWQ__TRY(awq__text_append(ctx, &text, "%s", sign));
    for (const char *at = entry; *at; at++)
        AWQ__TRY(awq__text_append(ctx, &text, strchr("\\^$.*+?{}[]|()", *at) ? "\\%c" : "%c", *at));
    AWQ__TRY(awq__text_append(ctx, &text, "$"));
done:
    if (status != AWQ_OK)
        awq__text_free(&text);
    return text.data;
}

/* scheme NULL: the module is kept. */
static awq_status add_rule(awq_context *ctx, cJSON *rules, const char *entry,
                           const awq__scheme *scheme)
{
    char *key = make_key(ctx, scheme ? "+:" : "-:", entry);
    AWQ__CHECK_ALLOC(key);
    cJSON *rule = cJSON_AddObjectToObject(rules, key);

    awq__free(key);
    bool whole =
        rule && (!scheme || (cJSON_AddNumberToObject(rule, "bits", scheme->bits) &&
                             cJSON_AddNumberToObject(rule, "group_size", (double)scheme->group)));
    return whole ? AWQ_OK : awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: dynamic");
}

static awq_status add_rules(awq_context *ctx, const asked *all, const awq__scheme *scheme,
                            cJSON *rules)
{
    awq__partition names;
    char **list = NULL;
    size_t count = 0;
    awq_status status;
    AWQ__TRY(awq__partition_create(ctx, all->items, all->count, scheme, &names));
    AWQ__TRY(
        awq__ignore_list(ctx, names.in, names.in_count, names.out, names.out_count, &list, &count));
    for (size_t i = 0; i < count; i++)
        AWQ__TRY(add_rule(ctx, rules, list[i], scheme));
done:
    awq__partition_free(&names);
    awq__name_list_free(list, count);
    return status;
}

awq_status awq__dynamic_rules(awq_context *ctx, const awq__treated *modules, size_t count,
                              const awq__scheme_use *uses, size_t use_count, cJSON *config)
{
    asked all;
    cJSON *rules = cJSON_AddObjectToObject(config, "dynamic");
    if (!rules)
        return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: dynamic");
    awq_status status;
    AWQ__TRY(make_asked(ctx, modules, count, &all));
    AWQ__TRY(add_rules(ctx, &all, NULL, rules));
    for (size_t i = 1; i < use_count; i++)
        AWQ__TRY(add_rules(ctx, &all, uses[i].scheme, rules));
done:
    free_asked(&all);
    return status;
}
