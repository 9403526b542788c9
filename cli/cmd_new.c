/* awqc new: a commented recipe to start from, made from the library's table of options. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_COLUMNS = 79 };

/* ---- which architecture ---- */

/* Is the word one of a comma-separated list? */
static bool lists(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; *at; at += at[strspn(at, ", ")] ? strspn(at, ", ") : 1) {
        size_t end = strcspn(at, ", ");
        if (end == length && !memcmp(at, word, length))
            return true;
        at += end;
        if (!*at)
            break;
    }
    return false;
}

/* The plugin that has this id or serves this model_type; NULL if none does. */
static const awq_plugin_info *find_plugin(const awq_plugin_list *plugins, const char *name)
{
    for (size_t i = 0; i < awq_plugin_list_count(plugins); i++) {
        const awq_plugin_info *plugin = awq_plugin_list_at(plugins, i);
        if (!plugin->error[0] && (!strcmp(plugin->id, name) || lists(plugin->model_types, name)))
            return plugin;
    }
    return NULL;
}

static int refuse_architecture(const awq_plugin_list *plugins, const char *name)
{
    size_t count = awq_plugin_list_count(plugins), length = 0;
    char *known = must_copy("", 0);
    for (size_t i = 0; i < count; i++) {
        const awq_plugin_info *plugin = awq_plugin_list_at(plugins, i);
        if (plugin->error[0])
            continue;
        known = must_realloc(known, length + strlen(plugin->model_types) + 3, 1);
        length += (size_t)sprintf(known + length, "%s%s", length ? ", " : "", plugin->model_types);
    }
    print_error("new: no plugin serves the architecture \"%s\"; known are %s", name,
                length ? known : "none: see awqc plugins");
    free(known);
    return WRONG_USAGE;
}

/* ---- the recipe ---- */

/* A sentence in lines "  # ...". */
static void print_comment(const char *text, int indent)
{
    int column = 0;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column && column + 1 + length > LINE_COLUMNS) {
            putchar('\n');
            column = 0;
        }
        column +=
            column ? printf(" %.*s", length, text) : printf("%*s# %.*s", indent, "", length, text);
        text += length + (text[length] == ' ');
    }
    putchar('\n');
}

/* Of options without a default whose type has no empty value. */
static const char *example(const awq_option *option)
{
    return option->type == AWQ_OPTION_NUMBER ? "4.25" : "20GB";
}

/* What stands after "# KEY: " where the recipe leaves the default. */
static void print_default(const awq_option *option)
{
    bool list = option->type == AWQ_OPTION_TEXT_LIST || option->type == AWQ_OPTION_PATH_LIST;
    bool has_example = option->type == AWQ_OPTION_NUMBER || option->type == AWQ_OPTION_SIZE;
    if (has_example && !option->fallback[0])
        printf("%s   # for example; no default", example(option));
    else if (list && !option->fallback[0])
        printf("[]");
    else
        printf(list ? "[\"%s\"]" : option->fallback[0] ? "%s" : "\"\"", option->fallback);
}

static void print_option(const awq_option *option, const char *value)
{
    const char *dot = strrchr(option->name, '.');
    const char *key = dot ? dot + 1 : option->name;
    int indent = dot ? 2 : 0;
    print_comment(option->help, indent);
    if (value) {
        printf("%*s%s: %s\n", indent, "", key, value);
        return;
    }
    if (option->type == AWQ_OPTION_CHOICE) {
        printf("%*s# %s: %s", indent, "", key, option->fallback);
        printf("   # %s\n", option->choices);
        return;
    }
    printf("%*s# %s: ", indent, "", key);
    print_default(option);
    putchar('\n');
}

/* What a new recipe says itself; NULL for what it leaves to the default. */
static const char *own_value(const awq_option *option)
{
    if (!strcmp(option->name, "model"))
        return "PATH/TO/MODEL";
    if (!strcmp(option->name, "output"))
        return "PATH/TO/RESULT";
    if (!strcmp(option->name, "calibration.data"))
        return "[calib.jsonl]";
    return NULL;
}

static void print_options(void)
{
    size_t count, section = 0;
    const awq_option *list = awq_option_list(&count);
    for (size_t i = 0; i < count; i++) {
        size_t length = strcspn(list[i].name, ".");
        bool inside = list[i].name[length] == '.';
        putchar('\n');
        if (inside && (length != section || strncmp(list[i].name, list[i - 1].name, length)))
            printf("%.*s:\n", (int)length, list[i].name);
        section = inside ? length : 0;
        print_option(&list[i], own_value(&list[i]));
    }
}

static void print_rules(void)
{
    puts("\n# Rules treat modules in another way than quantize says; the first that matches a\n"
         "# module counts. Selectors: match, role, layers, experts, projection; treatment:\n"
         "# keep, or preset, method, rounding, bits, group_size, symmetric, type, clip.\n"
         "# rules:\n"
         "#   - layers: 0,-1         # the experts of the first and the last layer stay as they "
         "are\n"
         "#     role: expert\n"
         "#     keep: true\n"
         "#   - role: attention      # attention in 8 bits\n"
         "#     preset: w8a16\n"
         "#   - experts: odd         # every second expert stays as it is\n"
         "#     keep: true");
}

static void print_recipe(const awq_plugin_info *plugin, const char *name)
{
    printf("# A recipe for %s models (plugin %s). Run: awqc plan RECIPE, then awqc quantize\n"
           "# RECIPE. Paths are relative to this file. Keys after # have their defaults; awqc\n"
           "# help recipe explains all.\n",
           name, plugin->id);
    print_options();
    print_rules();
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    awq_plugin_list *plugins;
    awq_status status = awq_plugin_list_create(ctx, &plugins);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    const awq_plugin_info *plugin = find_plugin(plugins, arguments->operand);
    int code = DONE;
    if (plugin)
        print_recipe(plugin, arguments->operand);
    else
        code = refuse_architecture(plugins, arguments->operand);
    awq_plugin_list_free(plugins);
    return code;
}

const cli_command command_new = {
    "new",
    "ARCH",
    "Print a commented recipe to start from.",
    "ARCH is an architecture as config.json names it in model_type, such as mixtral, or the id of "
    "a plugin. The recipe has every key with its default and what it means.",
    NULL,
    0,
    run,
    false,
};
