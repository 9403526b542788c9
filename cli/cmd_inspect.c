/* awqc inspect: what is in a checkpoint. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALL, PLUGIN, JSON };
static const cli_option options[] = {
    [ALL] = {"--all", NULL, false, "List every module, instead of one line for each kind."},
    [PLUGIN] = {"--plugin", "ID", false,
                "Use this architecture plugin, where several serve the model's type."},
    [JSON] = {"--json", NULL, false, "Print one JSON object, with every module."},
};

/* Modules of one name pattern, stored alike. */
typedef struct module_group {
    char *pattern;
    const awq_module *first;
    uint64_t count, bytes;
    double bits; /* of all weights */
} module_group;

typedef struct module_groups {
    module_group *items;
    size_t count, capacity;
} module_groups;

/* The name with every part that is a number as *. */
static char *pattern_of(const char *name)
{
    char *pattern = must_copy(name, strlen(name));
    char *to = pattern;
    for (const char *part = name; *part;) {
        size_t length = strcspn(part, ".");
        if (length && strspn(part, "0123456789") >= length) {
            *to++ = '*';
        } else {
            memcpy(to, part, length);
            to += length;
        }
        part += length;
        if (*part)
            *to++ = *part++;
    }
    *to = 0;
    return pattern;
}

static bool is_alike(const module_group *group, const char *pattern, const awq_module *module)
{
    const awq_module *first = group->first;
    return first->rows == module->rows && first->columns == module->columns &&
           first->role == module->role && !strcmp(first->storage, module->storage) &&
           !strcmp(group->pattern, pattern);
}

/* The group the module belongs to, or NULL. */
static module_group *find_group(const module_groups *groups, const char *pattern,
                                const awq_module *module)
{
    for (size_t i = 0; i < groups->count; i++)
        if (is_alike(&groups->items[i], pattern, module))
            return &groups->items[i];
    return NULL;
}

/* Takes pattern over. */
static module_group *append_group(module_groups *groups, char *pattern, const awq_module *first)
{
    if (groups->count == groups->capacity) {
        groups->capacity = groups->capacity * 2 + 32;
        groups->items = must_realloc(groups->items, groups->capacity, sizeof *groups->items);
    }
    groups->items[groups->count] = (module_group){.pattern = pattern, .first = first};
    return &groups->items[groups->count++];
}

/* One group for each module if `all`, else for each kind. */
static void add_module(module_groups *groups, const awq_module *module, bool all)
{
    char *pattern = all ? must_copy(module->name, strlen(module->name)) : pattern_of(module->name);
    module_group *group = all ? NULL : find_group(groups, pattern, module);
    if (group)
        free(pattern);
    else
        group = append_group(groups, pattern, module);
    group->count++;
    group->bytes += module->bytes;
    group->bits += module->bits_per_weight * (double)module->rows * (double)module->columns;
}

static void print_groups(const module_groups *groups)
{
    char text[TEXT_BYTES];
    cli_table table = {.column_count = 7,
                       .titles = {"modules", "role", "count", "shape", "storage", "bits", "bytes"},
                       .right = {[2] = true, [5] = true, [6] = true}};
    for (size_t i = 0; i < groups->count; i++) {
        const module_group *group = &groups->items[i];
        const awq_module *first = group->first;
        double weights = (double)group->count * (double)first->rows * (double)first->columns;
        table_add(&table, "%s", group->pattern);
        table_add(&table, "%s", awq_role_name(first->role));
        table_add(&table, "%s", format_count(text, group->count));
        if (first->columns == 1)
            table_add(&table, "%lld", (long long)first->rows);
        else
            table_add(&table, "%lld x %lld", (long long)first->rows, (long long)first->columns);
        table_add(&table, "%s", first->storage);
        table_add(&table, "%.2f", weights > 0 ? group->bits / weights : 0.0);
        table_add(&table, "%s", format_bytes(text, group->bytes));
    }
    table_print(&table);
}

static void print_modules(const awq_model *model, bool all)
{
    module_groups groups = {0};
    for (size_t i = 0; i < awq_model_module_count(model); i++)
        add_module(&groups, awq_model_module(model, i), all);
    print_groups(&groups);
    for (size_t i = 0; i < groups.count; i++)
        free(groups.items[i].pattern);
    free(groups.items);
}

static void print_json(const awq_model *model, const awq_model_info *info)
{
    puts("{");
    json_model(info);
    fputs("  \"modules\": [", stdout);
    for (size_t i = 0; i < awq_model_module_count(model); i++) {
        const awq_module *module = awq_model_module(model, i);
        fputs(i ? ",\n    {" : "\n    {", stdout);
        json_text("name", module->name);
        json_comma();
        json_text("role", awq_role_name(module->role));
        json_comma();
        json_whole("rows", (uint64_t)module->rows);
        json_comma();
        json_whole("columns", (uint64_t)module->columns);
        json_comma();
        json_text("storage", module->storage);
        json_comma();
        json_number("bits_per_weight", module->bits_per_weight);
        json_comma();
        json_whole("bytes", module->bytes);
        putchar('}');
    }
    puts("\n  ]\n}");
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    awq_model *model;
    awq_status status =
        awq_model_open(ctx, arguments->operand, argument_of(arguments, PLUGIN), &model);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    awq_model_info info;
    awq_model_describe(model, &info);
    if (is_given(arguments, JSON)) {
        print_json(model, &info);
    } else {
        print_model(&info);
        putchar('\n');
        print_modules(model, is_given(arguments, ALL));
    }
    awq_model_free(model);
    return DONE;
}

const cli_command command_inspect = {
    "inspect",
    "DIR",
    "Show what is in a checkpoint, plain or quantized.",
    "Modules whose names differ in numbers alone and that are stored alike share a line. "
    "\"bits\" are all stored bits of a module, scales included, over its weights. Of a "
    "model that is not on disk yet DIR has a config.json alone, or is the path of one.",
    options,
    sizeof options / sizeof options[0],
    run,
    false,
};
