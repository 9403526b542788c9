/* A recipe from its file and the command line. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RECIPE_BYTES ((size_t)1 << 20)

/* The whole file, which the caller frees whatever the code. */
static int read_file(const char *path, char **text, size_t *bytes)
{
    *text = NULL;
    FILE *file = fopen(path, "rb");
    int error = errno;
    if (!file) {
        print_error("%s: %s", path, strerror(error));
        return error == ENOMEM ? FAILED : WRONG_USAGE;
    }
    int code = WRONG_USAGE;
    *text = must_realloc(NULL, MAX_RECIPE_BYTES + 1, 1);
    errno = 0;
    *bytes = fread(*text, 1, MAX_RECIPE_BYTES + 1, file);
    if (ferror(file))
        print_error("%s: %s", path, errno ? strerror(errno) : "cannot be read");
    else if (*bytes > MAX_RECIPE_BYTES)
        print_error("%s: larger than %zu bytes, which no recipe is", path, MAX_RECIPE_BYTES);
    else
        code = DONE;
    fclose(file);
    return code;
}

static int read_recipe_file(awq_context *ctx, awq_recipe *recipe, const char *path)
{
    size_t bytes;
    char *text;
    int code = read_file(path, &text, &bytes);
    if (code != DONE) {
        free(text);
        return code;
    }
    const char *slash = strrchr(path, '/');
    char *base_dir = must_copy(path, slash ? (size_t)(slash - path) + 1 : 0);
    yaml_source source = {path, true, text, bytes, base_dir};
    code = yaml_read_recipe(ctx, recipe, &source);
    if (code == DONE && awq_recipe_set_source(recipe, path) != AWQ_OK)
        code = report_failure(ctx, AWQ_ERROR_MEMORY);
    free(base_dir);
    free(text);
    return code;
}

/* --set KEY=VALUE. What begins with [ is a list in YAML; all else is one value as it stands. */
static int apply_set(awq_context *ctx, awq_recipe *recipe, const char *text)
{
    size_t length = strcspn(text, "=");
    if (!text[length] || !length) {
        print_error("--set \"%s\": expected KEY=VALUE", text);
        return WRONG_USAGE;
    }
    char *key = must_copy(text, length);
    char name[256];
    snprintf(name, sizeof name, "--set %s", text);
    const char *value = text + length + 1;
    int code = DONE;
    if (!strcmp(key, "rules")) {
        print_error("%s: rules stand in the recipe's file alone", name);
        code = WRONG_USAGE;
    } else if (value[0] == '[' && awq_option_find(key)) {
        yaml_source source = {name, false, value, strlen(value), NULL};
        code = yaml_read_list(ctx, recipe, key, &source);
    } else {
        awq_status status = awq_recipe_set(recipe, key, value, NULL);
        if (status != AWQ_OK)
            print_error("%s: %s", name, awq_context_message(ctx));
        code = status == AWQ_OK ? DONE : status == AWQ_ERROR_MEMORY ? FAILED : WRONG_USAGE;
    }
    free(key);
    return code;
}

int load_recipe(awq_context *ctx, const char *path, const char *const *sets, size_t set_count,
                awq_recipe **recipe)
{
    awq_status status = awq_recipe_create(ctx, recipe);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    int code = read_recipe_file(ctx, *recipe, path);
    for (size_t i = 0; i < set_count && code == DONE; i++)
        code = apply_set(ctx, *recipe, sets[i]);
    if (code != DONE) {
        awq_recipe_free(*recipe);
        *recipe = NULL;
    }
    return code;
}

static int set_option(awq_context *ctx, awq_recipe *recipe, const char *key, const char *value)
{
    awq_status status = awq_recipe_set(recipe, key, value, NULL);
    if (status == AWQ_OK)
        return DONE;
    awq_recipe_free(recipe);
    return report_failure(ctx, status);
}

int ignore_engine(awq_context *ctx, awq_recipe *recipe)
{
    return set_option(ctx, recipe, "ignore_engine", "true");
}

int set_device(awq_context *ctx, awq_recipe *recipe, const char *device)
{
    return device ? set_option(ctx, recipe, "device", device) : DONE;
}
