/* A recipe: the values that were set over the defaults of the option table. */
#include "plan/recipe.h"
#include "plan/value.h"
#include "core/utf8.h"

#include <string.h>

/* The values of one option. Unset, its default is in force. */
typedef struct values {
    bool set;
    char **items;
    size_t count, capacity;
} values;

/* What a rule says, in the order of the rule options; NULL where it says nothing. */
typedef struct rule {
    char **texts;
} rule;

struct awq_recipe {
    awq_context *ctx;
    char *source;   /* the file it was read from; NULL: none is known */
    values *values; /* one for each option, in the order of the table */
    rule *rules;
    size_t rule_count, rule_capacity;
};

bool awq__option_is_list(const awq_option *option)
{
    return option->type == AWQ_OPTION_TEXT_LIST || option->type == AWQ_OPTION_PATH_LIST;
}

bool awq__option_is_path(const awq_option *option)
{
    return option->type == AWQ_OPTION_PATH || option->type == AWQ_OPTION_PATH_LIST;
}

static values *values_of(const awq_recipe *recipe, const awq_option *option)
{
    size_t count;
    return &recipe->values[option - awq_option_list(&count)];
}

const char *const *awq__recipe_values(const awq_recipe *recipe, const awq_option *option,
                                      size_t *count)
{
    const values *own = values_of(recipe, option);
    *count = own->set ? own->count : option->fallback[0] != 0;
    return own->set ? (const char *const *)own->items : &option->fallback;
}

static void drop(values *own)
{
    for (size_t i = 0; i < own->count; i++)
        awq__free(own->items[i]);
    own->count = 0;
    own->set = false;
}

static void free_rule(rule *r)
{
    size_t count;
    awq_rule_option_list(&count);
    for (size_t i = 0; r->texts && i < count; i++)
        awq__free(r->texts[i]);
    awq__free(r->texts);
    *r = (rule){0};
}

awq_status awq_recipe_create(awq_context *ctx, awq_recipe **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_recipe_create", (awq__argument[]){{"out", out}, {0}}));
    size_t count;
    awq_option_list(&count);
    awq_recipe *recipe = awq__alloc(ctx, 1, sizeof *recipe, "a recipe");
    AWQ__CHECK_ALLOC(recipe);
    recipe->ctx = ctx;
    recipe->values = awq__alloc(ctx, count, sizeof *recipe->values, "a recipe");
    if (!recipe->values) {
        awq__free(recipe);
        return AWQ_ERROR_MEMORY;
    }
    *out = recipe;
    return AWQ_OK;
}

void awq_recipe_free(awq_recipe *recipe)
{
    if (!recipe)
        return;
    size_t count;
    awq_option_list(&count);
    for (size_t i = 0; i < count; i++) {
        drop(&recipe->values[i]);
        awq__free(recipe->values[i].items);
    }
    awq__free(recipe->values);
    for (size_t r = 0; r < recipe->rule_count; r++)
        free_rule(&recipe->rules[r]);
    awq__free(recipe->rules);
    awq__free(recipe->source);
    awq__free(recipe);
}

awq_status awq_recipe_set_source(awq_recipe *recipe, const char *path)
{
    AWQ__CHECK(awq__enter(recipe ? recipe->ctx : NULL, "awq_recipe_set_source", NULL));
    char *source = path ? awq__strdup(recipe->ctx, path) : NULL;
    AWQ__CHECK_ALLOC(!path || source);

    awq__free(recipe->source);
    recipe->source = source;
    return AWQ_OK;
}

const char *awq__recipe_source(const awq_recipe *recipe)
{
    return recipe->source;
}

/* ---- setting ---- */

static awq_status no_option(awq_context *ctx, const char *name)
{
    const awq_removed_option *removed = awq_option_removed(name, NULL);
    if (removed)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: is gone since version %s: %s; leave it out",
                         name, removed->since, removed->why);
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "there is no option \"%s\"; did you mean \"%s\"?",
                     name, awq_option_nearest(name)->name);
}

/* Finds the option and makes the text that will be stored. */
static awq_status prepare(awq_recipe *recipe, const char *name, const char *value,
                          const char *base_dir, const awq_option **option, char **text)
{
    awq_context *ctx = recipe ? recipe->ctx : NULL;
    *text = NULL;
    AWQ__CHECK(awq__enter(ctx, "a recipe option",
                          (awq__argument[]){{"its name", name}, {"its value", value}, {0}}));
    *option = awq_option_find(name);
    if (!*option)
        return no_option(ctx, name);
    AWQ__CHECK(awq__value_check(ctx, *option, value));
    if (!awq__option_is_path(*option)) {
        *text = awq__strdup(ctx, value);
        return *text ? AWQ_OK : AWQ_ERROR_MEMORY;
    }
    *text = awq__path_join(ctx, base_dir, value);
    AWQ__CHECK_ALLOC(*text);
    awq__value_tidy_path(*text);
    if (awq__is_utf8(*text, strlen(*text)))
        return AWQ_OK;
    awq_status status = awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: \"%s\" is not UTF-8", name, *text);
    awq__free(*text);
    *text = NULL;
    return status;
}

/* Appends to own, taking text over also on failure. */
static awq_status push(awq_context *ctx, values *own, char *text)
{
    awq_status status;
    AWQ__TRY(awq__grow(ctx, &own->items, &own->capacity, own->count + 1, sizeof *own->items,
                       "values of a recipe option"));
    own->items[own->count++] = text;
done:
    if (status != AWQ_OK)
        awq__free(text);
    return status;
}

/* Puts text in place of all values. */
static awq_status replace(awq_context *ctx, values *own, char *text)
{
    values fresh = {.set = true};
    AWQ__CHECK(push(ctx, &fresh, text));
    drop(own);

    awq__free(own->items);
    *own = fresh;
    return AWQ_OK;
}

awq_status awq_recipe_set(awq_recipe *recipe, const char *name, const char *value,
                          const char *base_dir)
{
    const awq_option *option = NULL;
    char *text;
    AWQ__CHECK(prepare(recipe, name, value, base_dir, &option, &text));
    values *own = values_of(recipe, option);
    if (!text[0]) {
        /* only where empty is the default */
        awq__free(text);
        drop(own);
        return AWQ_OK;
    }
    return replace(recipe->ctx, own, text);
}

/* The list is its default so far, which becomes a value of its own. Takes text over also on
   failure. */
static awq_status push_behind_default(awq_context *ctx, values *own, const char *fallback,
                                      char *text)
{
    values both = {.set = true};
    awq_status status;
    AWQ__TRY(awq__grow(ctx, &both.items, &both.capacity, 2, sizeof *both.items,
                       "values of a recipe option"));
    both.items[0] = awq__strdup(ctx, fallback);
    AWQ__TRY_ALLOC(both.items[0]);
    both.items[1] = text;
    both.count = 2;
    awq__free(own->items);
    *own = both;
done:
    if (status != AWQ_OK) {
        awq__free(both.items);
        awq__free(text);
    }
    return status;
}

awq_status awq_recipe_append(awq_recipe *recipe, const char *name, const char *value,
                             const char *base_dir)
{
    const awq_option *option = NULL;
    char *text;
    AWQ__CHECK(prepare(recipe, name, value, base_dir, &option, &text));
    awq_context *ctx = recipe->ctx;
    values *own = values_of(recipe, option);
    if (!awq__option_is_list(option)) {
        awq__free(text);
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: has one value, not a list", name);
    }
    if (!own->set && option->fallback[0])
        return push_behind_default(ctx, own, option->fallback, text);
    AWQ__CHECK(push(ctx, own, text));
    own->set = true;
    return AWQ_OK;
}

awq_status awq_recipe_clear(awq_recipe *recipe, const char *name)
{
    AWQ__CHECK(awq__enter(recipe ? recipe->ctx : NULL, "awq_recipe_clear",
                          (awq__argument[]){{"name", name}, {0}}));
    const awq_option *option = awq_option_find(name);
    if (!option)
        return no_option(recipe->ctx, name);
    values *own = values_of(recipe, option);
    drop(own);
    own->set = awq__option_is_list(option);
    return AWQ_OK;
}

/* ---- rules ---- */

awq_status awq_recipe_add_rule(awq_recipe *recipe)
{
    awq_context *ctx = recipe ? recipe->ctx : NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_recipe_add_rule", NULL));
    size_t options;
    awq_rule_option_list(&options);
    AWQ__CHECK(awq__grow(ctx, &recipe->rules, &recipe->rule_capacity, recipe->rule_count + 1,
                         sizeof *recipe->rules, "rules"));
    rule added = {0};
    added.texts = awq__alloc(ctx, options, sizeof *added.texts, "a rule");
    AWQ__CHECK_ALLOC(added.texts);
    recipe->rules[recipe->rule_count++] = added;
    return AWQ_OK;
}

size_t awq_recipe_rule_count(const awq_recipe *recipe)
{
    return recipe ? recipe->rule_count : 0;
}

/* Where a rule's text stands, or NULL. */
static char **rule_text(const awq_recipe *recipe, size_t index, const char *name)
{
    size_t count;
    const awq_option *option = name ? awq_rule_option_find(name) : NULL;
    if (!recipe || !option || index >= recipe->rule_count)
        return NULL;
    return &recipe->rules[index].texts[option - awq_rule_option_list(&count)];
}

awq_status awq_recipe_rule_set(awq_recipe *recipe, size_t index, const char *name,
                               const char *value)
{
    awq_context *ctx = recipe ? recipe->ctx : NULL;
    AWQ__CHECK(awq__enter(ctx, "a rule",
                          (awq__argument[]){{"its name", name}, {"its value", value}, {0}}));
    if (index >= recipe->rule_count)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "there is no rule %zu, only %zu", index,
                         recipe->rule_count);
    char **text = rule_text(recipe, index, name);
    if (!text)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "a rule has no \"%s\"; did you mean \"%s\"?",
                         name, awq_rule_option_nearest(name)->name);
    AWQ__CHECK(awq__value_check(ctx, awq_rule_option_find(name), value));
    if (!value[0])
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: an empty value is not allowed", name);
    char *copy = awq__strdup(ctx, value);
    AWQ__CHECK_ALLOC(copy);

    awq__free(*text);
    *text = copy;
    return AWQ_OK;
}

const char *awq_recipe_rule_get(const awq_recipe *recipe, size_t index, const char *name)
{
    char **text = rule_text(recipe, index, name);
    return text ? *text : NULL;
}

/* ---- reading ---- */

bool awq__recipe_says(const awq_recipe *recipe, const char *name)
{
    const awq_option *option = awq_option_find(name);
    return option && values_of(recipe, option)->set;
}

size_t awq_recipe_count(const awq_recipe *recipe, const char *name)
{
    const awq_option *option = awq_option_find(name);
    size_t count = 0;
    if (recipe && option)
        awq__recipe_values(recipe, option, &count);
    return count;
}

const char *awq_recipe_get(const awq_recipe *recipe, const char *name, size_t index)
{
    const awq_option *option = awq_option_find(name);
    if (!recipe || !option)
        return NULL;
    size_t count;
    const char *const *texts = awq__recipe_values(recipe, option, &count);
    return index < count ? texts[index] : NULL;
}

const char *awq__recipe_text(const awq_recipe *recipe, const char *name)
{
    const char *text = awq_recipe_get(recipe, name, 0);
    return text ? text : "";
}

const char *const *awq__recipe_list(const awq_recipe *recipe, const char *name, size_t *count)
{
    static const char *const nothing[] = {NULL};
    const awq_option *option = awq_option_find(name);
    *count = 0;
    const char *const *texts = option ? awq__recipe_values(recipe, option, count) : nothing;
    return texts ? texts : nothing;
}

bool awq__recipe_has_target(const awq_recipe *recipe)
{
    return awq_recipe_count(recipe, "quantize.target_bits") ||
           awq_recipe_count(recipe, "quantize.target_size");
}

bool awq__recipe_calibrates(const awq_recipe *recipe)
{
    bool calibrates = strcmp(awq__recipe_text(recipe, "quantize.method"), "rtn") != 0 ||
                      awq__recipe_has_target(recipe);
    for (size_t r = 0; r < recipe->rule_count && !calibrates; r++) {
        const char *method = awq_recipe_rule_get(recipe, r, "method");
        calibrates = method && strcmp(method, "rtn") != 0;
    }
    return calibrates;
}

awq_status awq__recipe_check(const awq_recipe *recipe)
{
    awq_context *ctx = recipe->ctx;
    awq__text missing = {0};
    awq_status status = AWQ_OK;
    size_t option_count;
    const awq_option *options = awq_option_list(&option_count);
    bool calibrates = awq__recipe_calibrates(recipe);
    for (size_t i = 0; i < option_count; i++) {
        bool needed =
            options[i].required || (calibrates && !strcmp(options[i].name, "calibration.data"));
        if (needed && awq_recipe_count(recipe, options[i].name) == 0)
            AWQ__TRY(awq__text_append(ctx, &missing, "%s%s", missing.length ? ", " : "",
                                      options[i].name));
    }
    if (missing.length)
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_RECIPE, "the recipe does not say %s", missing.data));
    if (awq_recipe_count(recipe, "quantize.target_bits") &&
        awq_recipe_count(recipe, "quantize.target_size"))
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_RECIPE,
                           "quantize.target_bits and quantize.target_size: only one of them can be "
                           "the target"));
done:
    awq__text_free(&missing);
    return status;
}
