/* A recipe: the values that were set over the defaults of the option table. */
#include "plan/recipe.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The values of one option. Unset, its default is in force. */
typedef struct values {
    bool set;
    char **items;
    size_t count, capacity;
} values;

struct awq_recipe {
    awq_context *ctx;
    values *values; /* one for each option, in the order of the table */
};

static bool is_list(const awq_option *option)
{
    return option->type == AWQ_OPTION_TEXT_LIST || option->type == AWQ_OPTION_PATH_LIST;
}

static bool is_path(const awq_option *option)
{
    return option->type == AWQ_OPTION_PATH || option->type == AWQ_OPTION_PATH_LIST;
}

static values *values_of(const awq_recipe *recipe, const awq_option *option)
{
    size_t count;
    return &recipe->values[option - awq_option_list(&count)];
}

/* The values in force: *count texts. */
static const char *const *in_force(const awq_recipe *recipe, const awq_option *option,
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

awq_status awq_recipe_create(awq_context *ctx, awq_recipe **out)
{
    awq__clear(ctx);
    *out = NULL;
    size_t count;
    awq_option_list(&count);
    awq_recipe *recipe = awq__alloc(ctx, 1, sizeof *recipe, "a recipe");
    if (!recipe)
        return AWQ_ERROR_MEMORY;
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
    awq__free(recipe);
}

/* ---- from text to a checked value ---- */

/* Moves *text past a decimal number without sign. False where there is none or it is over 2^63-1.
 */
static bool scan_digits(const char **text, int64_t *number)
{
    const char *c = *text;
    *number = 0;
    for (; *c >= '0' && *c <= '9'; c++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, *c - '0', number))
            return false;
    bool found = c > *text;
    *text = c;
    return found;
}

static bool parse_integer(const char *text, int64_t *number)
{
    bool negative = *text == '-';
    text += negative;
    if (!scan_digits(&text, number) || *text)
        return false;
    if (negative)
        *number = -*number;
    return true;
}

static bool parse_size(const char *text, int64_t *bytes)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } units[] = {
        {"", 1},
        {"kB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", 1000000000000},
        {"KiB", INT64_C(1) << 10},
        {"MiB", INT64_C(1) << 20},
        {"GiB", INT64_C(1) << 30},
        {"TiB", INT64_C(1) << 40},
    };
    int64_t number;
    if (!scan_digits(&text, &number))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (!strcmp(text, units[i].name))
            return !__builtin_mul_overflow(number, units[i].bytes, bytes);
    return false;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (const char *choice = choices; length; choice++) {
        size_t end = strcspn(choice, "|");
        if (end == length && !memcmp(choice, text, length))
            return true;
        choice += end;
        if (!*choice)
            break;
    }
    return false;
}

/* Decodes one code point; 0 bytes where the text is not UTF-8. */
static size_t decode(const char *text, size_t length, int32_t *code_point)
{
    utf8proc_ssize_t bytes =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, code_point);
    return bytes > 0 ? (size_t)bytes : 0;
}

static bool is_utf8(const char *text)
{
    int32_t code_point;
    for (size_t left = strlen(text), step; left; text += step, left -= step)
        if (!(step = decode(text, left, &code_point)))
            return false;
    return true;
}

/* Removes "." steps, doubled slashes and a slash at the end, in place. ".." stays: what it means
   depends on links. */
static void tidy_path(char *path)
{
    bool absolute = path[0] == '/';
    char *to = path + absolute;
    for (const char *from = path; *from;) {
        from += strspn(from, "/");
        size_t length = strcspn(from, "/");
        bool nothing = length == 0 || (length == 1 && from[0] == '.');
        if (!nothing) {
            if (to > path + absolute)
                *to++ = '/';
            memmove(to, from, length);
            to += length;
        }
        from += length;
    }
    if (to == path)
        *to++ = '.';
    *to = 0;
}

/* Records that value is refused. */
static awq_status wrong(awq_context *ctx, const awq_option *option, const char *value,
                        const char *allowed)
{
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: \"%s\" is not allowed; allowed is %s",
                     option->name, value, allowed);
}

static awq_status check_integer(awq_context *ctx, const awq_option *option, const char *value)
{
    int64_t number;
    if (parse_integer(value, &number) && number >= option->minimum && number <= option->maximum)
        return AWQ_OK;
    if (option->minimum == option->maximum)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: \"%s\" is not allowed; allowed is %lld",
                         option->name, value, (long long)option->minimum);
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                     "%s: \"%s\" is not allowed; allowed is an integer from %lld to %lld",
                     option->name, value, (long long)option->minimum, (long long)option->maximum);
}

static awq_status check_size(awq_context *ctx, const awq_option *option, const char *value)
{
    int64_t bytes;
    if (!parse_size(value, &bytes))
        return wrong(
            ctx, option, value,
            "a whole number of bytes, or of kB, MB, GB, TB, KiB, MiB, GiB, TiB, as in 5GB");
    if (bytes < option->minimum || bytes > option->maximum)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%s: \"%s\" is not allowed; allowed are %lld to %lld bytes", option->name,
                         value, (long long)option->minimum, (long long)option->maximum);
    return AWQ_OK;
}

static awq_status check_value(awq_context *ctx, const awq_option *option, const char *value)
{
    switch (option->type) {
    case AWQ_OPTION_INTEGER:
        return check_integer(ctx, option, value);
    case AWQ_OPTION_SIZE:
        return check_size(ctx, option, value);
    case AWQ_OPTION_BOOLEAN:
        if (strcmp(value, "true") && strcmp(value, "false"))
            return wrong(ctx, option, value, "true or false");
        return AWQ_OK;
    case AWQ_OPTION_CHOICE:
        if (!is_choice(option->choices, value))
            return wrong(ctx, option, value, option->choices);
        return AWQ_OK;
    case AWQ_OPTION_TEXT:
    case AWQ_OPTION_PATH:
    case AWQ_OPTION_TEXT_LIST:
    case AWQ_OPTION_PATH_LIST:
        break;
    }
    if (!value[0] && (option->type != AWQ_OPTION_TEXT || option->fallback[0]))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: an empty value is not allowed",
                         option->name);
    if (!is_utf8(value))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: \"%s\" is not UTF-8", option->name, value);
    return AWQ_OK;
}

/* Finds the option and makes the text that will be stored. */
static awq_status prepare(awq_recipe *recipe, const char *name, const char *value,
                          const char *base_dir, const awq_option **option, char **text)
{
    awq_context *ctx = recipe->ctx;
    awq__clear(ctx);
    *text = NULL;
    if (!name || !value)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "a recipe option: its %s is NULL",
                         name ? "value" : "name");
    *option = awq_option_find(name);
    if (!*option)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "there is no option \"%s\"; did you mean \"%s\"?",
                         name, awq_option_nearest(name)->name);
    awq_status status = check_value(ctx, *option, value);
    if (status != AWQ_OK)
        return status;
    if (!is_path(*option)) {
        *text = awq__strdup(ctx, value);
        return *text ? AWQ_OK : AWQ_ERROR_MEMORY;
    }
    *text = awq__path_join(ctx, base_dir, value);
    if (!*text)
        return AWQ_ERROR_MEMORY;
    tidy_path(*text);
    if (!is_utf8(*text)) {
        status = awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: \"%s\" is not UTF-8", name, *text);
        awq__free(*text);
        *text = NULL;
    }
    return status;
}

/* Appends to own, taking text over also on failure. */
static awq_status push(awq_context *ctx, values *own, char *text)
{
    awq_status status = awq__grow(ctx, &own->items, &own->capacity, own->count + 1,
                                  sizeof *own->items, "values of a recipe option");
    if (status != AWQ_OK) {
        awq__free(text);
        return status;
    }
    own->items[own->count++] = text;
    return AWQ_OK;
}

/* Puts text in place of all values. */
static awq_status replace(awq_context *ctx, values *own, char *text)
{
    values fresh = {.set = true};
    awq_status status = push(ctx, &fresh, text);
    if (status != AWQ_OK)
        return status;
    drop(own);
    awq__free(own->items);
    *own = fresh;
    return AWQ_OK;
}

awq_status awq_recipe_set(awq_recipe *recipe, const char *name, const char *value,
                          const char *base_dir)
{
    const awq_option *option;
    char *text;
    awq_status status = prepare(recipe, name, value, base_dir, &option, &text);
    if (status != AWQ_OK)
        return status;
    values *own = values_of(recipe, option);
    if (!text[0]) { /* only where empty is the default */
        awq__free(text);
        drop(own);
        return AWQ_OK;
    }
    return replace(recipe->ctx, own, text);
}

awq_status awq_recipe_append(awq_recipe *recipe, const char *name, const char *value,
                             const char *base_dir)
{
    const awq_option *option;
    char *text;
    awq_status status = prepare(recipe, name, value, base_dir, &option, &text);
    if (status != AWQ_OK)
        return status;
    awq_context *ctx = recipe->ctx;
    values *own = values_of(recipe, option);
    if (!is_list(option)) {
        awq__free(text);
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: has one value, not a list", name);
    }
    if (own->set || !option->fallback[0]) {
        status = push(ctx, own, text);
        own->set = own->set || status == AWQ_OK;
        return status;
    }
    /* The list is its default so far: make that an own value first. */
    values both = {.set = true};
    char *first = awq__strdup(ctx, option->fallback);
    status = first ? push(ctx, &both, first) : AWQ_ERROR_MEMORY;
    if (status == AWQ_OK)
        status = push(ctx, &both, text);
    else
        awq__free(text);
    if (status != AWQ_OK) {
        drop(&both);
        awq__free(both.items);
        return status;
    }
    awq__free(own->items);
    *own = both;
    return AWQ_OK;
}

awq_status awq_recipe_clear(awq_recipe *recipe, const char *name)
{
    awq__clear(recipe->ctx);
    const awq_option *option = name ? awq_option_find(name) : NULL;
    if (!option)
        return awq__fail(recipe->ctx, AWQ_ERROR_ARGUMENT,
                         "there is no option \"%s\"; did you mean \"%s\"?", name ? name : "",
                         awq_option_nearest(name ? name : "")->name);
    values *own = values_of(recipe, option);
    drop(own);
    own->set = is_list(option);
    return AWQ_OK;
}

/* ---- reading ---- */

size_t awq_recipe_count(const awq_recipe *recipe, const char *name)
{
    const awq_option *option = awq_option_find(name);
    size_t count = 0;
    if (option)
        in_force(recipe, option, &count);
    return count;
}

const char *awq_recipe_get(const awq_recipe *recipe, const char *name, size_t index)
{
    const awq_option *option = awq_option_find(name);
    if (!option)
        return NULL;
    size_t count;
    const char *const *texts = in_force(recipe, option, &count);
    return index < count ? texts[index] : NULL;
}

const char *awq__recipe_text(const awq_recipe *recipe, const char *name)
{
    const char *text = awq_recipe_get(recipe, name, 0);
    return text ? text : "";
}

int64_t awq__recipe_int(const awq_recipe *recipe, const char *name)
{
    const char *text = awq__recipe_text(recipe, name);
    int64_t number;
    return parse_integer(text, &number) || parse_size(text, &number) ? number : 0;
}

uint64_t awq__recipe_size(const awq_recipe *recipe, const char *name)
{
    int64_t bytes;
    return parse_size(awq__recipe_text(recipe, name), &bytes) ? (uint64_t)bytes : 0;
}

bool awq__recipe_bool(const awq_recipe *recipe, const char *name)
{
    return !strcmp(awq__recipe_text(recipe, name), "true");
}

const char *const *awq__recipe_list(const awq_recipe *recipe, const char *name, size_t *count)
{
    static const char *const nothing[] = {NULL};
    const awq_option *option = awq_option_find(name);
    *count = 0;
    const char *const *texts = option ? in_force(recipe, option, count) : nothing;
    return texts ? texts : nothing;
}

awq_status awq__recipe_check(const awq_recipe *recipe)
{
    awq_context *ctx = recipe->ctx;
    awq__text missing = {0};
    awq_status status = AWQ_OK;
    size_t option_count;
    const awq_option *options = awq_option_list(&option_count);
    bool calibrates = strcmp(awq__recipe_text(recipe, "quantize.method"), "rtn");
    for (size_t i = 0; i < option_count && status == AWQ_OK; i++) {
        bool needed =
            options[i].required || (calibrates && !strcmp(options[i].name, "calibration.data"));
        if (needed && awq_recipe_count(recipe, options[i].name) == 0)
            status = awq__text_append(ctx, &missing, "%s%s", missing.length ? ", " : "",
                                      options[i].name);
    }
    if (status == AWQ_OK && missing.length)
        status = awq__fail(ctx, AWQ_ERROR_RECIPE, "the recipe does not say %s", missing.data);
    awq__text_free(&missing);
    return status;
}

/* ---- writing YAML ---- */

/* What YAML allows to stand in a double-quoted text as it is, on one line. */
static bool is_plain(int32_t c)
{
    if (c == '"' || c == '\\' || c == 0x7f || c == 0xfeff)
        return false;
    return (c >= 0x20 && c < 0x80) || (c >= 0xa0 && c < 0x2028) || (c > 0x2029 && c < 0xfffe) ||
           c >= 0x10000;
}

static awq_status append_quoted(awq_context *ctx, awq__text *out, const char *text)
{
    awq_status status = awq__text_append(ctx, out, "\"");
    for (size_t left = strlen(text), step; left && status == AWQ_OK; text += step, left -= step) {
        int32_t c;
        step = decode(text, left, &c);
        if (!step) /* cannot be: it was checked when it was set */
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "\"%s\" is not UTF-8", text);
        status = is_plain(c) ? awq__text_append_bytes(ctx, out, text, step)
                 : c < 0x80 && c >= 0x20 && c != 0x7f
                     ? awq__text_append(ctx, out, "\\%c", (int)c)
                     : awq__text_append(ctx, out, "\\u%04X", (unsigned)c);
    }
    return status == AWQ_OK ? awq__text_append(ctx, out, "\"") : status;
}

static bool is_free_text(const awq_option *option)
{
    return option->type == AWQ_OPTION_TEXT || is_path(option) || is_list(option);
}

static awq_status append_option(awq_context *ctx, awq__text *out, const awq_option *option,
                                const char *const *texts, size_t count)
{
    bool list = is_list(option);
    awq_status status =
        awq__text_append(ctx, out, "%s:%s", awq__option_last_part(option->name), list ? " [" : " ");
    for (size_t i = 0; i < count && status == AWQ_OK; i++) {
        if (i)
            status = awq__text_append(ctx, out, ", ");
        if (status == AWQ_OK)
            status = is_free_text(option) ? append_quoted(ctx, out, texts[i])
                                          : awq__text_append(ctx, out, "%s", texts[i]);
    }
    return status == AWQ_OK ? awq__text_append(ctx, out, list ? "]\n" : "\n") : status;
}

awq_status awq__recipe_yaml(awq_context *ctx, const awq_recipe *recipe, awq__text *out)
{
    size_t option_count;
    const awq_option *options = awq_option_list(&option_count);
    const char *section = "";
    size_t section_length = 0;
    for (size_t i = 0; i < option_count; i++) {
        const awq_option *option = &options[i];
        size_t count;
        const char *const *texts = in_force(recipe, option, &count);
        if (!count && !is_list(option))
            continue;
        size_t length = (size_t)(awq__option_last_part(option->name) - option->name);
        awq_status status = AWQ_OK;
        if (length && (length != section_length || strncmp(section, option->name, length)))
            status = awq__text_append(ctx, out, "%.*s:\n", (int)length - 1, option->name);
        section = option->name;
        section_length = length;
        if (status == AWQ_OK && length)
            status = awq__text_append(ctx, out, "  ");
        if (status == AWQ_OK)
            status = append_option(ctx, out, option, texts, count);
        if (status != AWQ_OK)
            return status;
    }
    return AWQ_OK;
}
