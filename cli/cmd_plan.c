/* awqc plan: what quantize would do. */
#include "cli.h"

#include <stdio.h>

enum { SET, IGNORE_ENGINE };
static const cli_option options[] = {
    [SET] = {"--set", "KEY=VALUE", true,
             "Set an option over the recipe; a VALUE in [ ] is a list. Relative paths are taken "
             "from the working directory. May be repeated."},
    [IGNORE_ENGINE] = {"--ignore-engine", NULL, false, IGNORE_ENGINE_HELP},
};

static void print_groups(const awq_plan *plan)
{
    char text[TEXT_BYTES];
    cli_table table = {
        .column_count = 8,
        .titles = {"modules", "role", "layers", "count", "treatment", "bits", "before", "after"},
        .right = {[3] = true, [5] = true, [6] = true, [7] = true}};
    for (size_t i = 0; i < awq_plan_group_count(plan); i++) {
        const awq_plan_group *group = awq_plan_group_at(plan, i);
        table_add(&table, "%s", group->pattern);
        table_add(&table, "%s", awq_role_name(group->role));
        table_add(&table, "%s", group->layers);
        table_add(&table, "%s", format_count(text, group->count));
        table_add(&table, "%s", group->treatment);
        table_add(&table, "%.2f", group->bits_per_weight);
        table_add(&table, "%s", format_bytes(text, group->bytes_before));
        table_add(&table, "%s", format_bytes(text, group->bytes_after));
    }
    table_print(&table);
}

static void print_plan(const awq_plan *plan, const awq_recipe *recipe)
{
    char before[TEXT_BYTES], after[TEXT_BYTES];
    awq_model_info info;
    awq_plan_describe(plan, &info);
    print_model(&info);
    print_field("output", "%s", awq_recipe_get(recipe, "output", 0));
    putchar('\n');
    print_groups(plan);
    putchar('\n');
    print_field("size", "%s -> %s", format_bytes(before, awq_plan_bytes_before(plan)),
                format_bytes(after, awq_plan_bytes_after(plan)));
    for (size_t i = 0; i < awq_plan_warning_count(plan); i++)
        print_field("warning", "%s", awq_plan_warning_at(plan, i));
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    awq_recipe *recipe;
    int code = load_recipe(ctx, arguments->operand, arguments->given[SET].texts,
                           arguments->given[SET].count, &recipe);
    if (code == DONE && is_given(arguments, IGNORE_ENGINE))
        code = ignore_engine(ctx, recipe);
    if (code != DONE)
        return code;
    awq_plan *plan;
    awq_status status = awq_plan_create(ctx, recipe, &plan);
    if (status == AWQ_OK)
        print_plan(plan, recipe);
    else
        code = report_failure(ctx, status);
    awq_plan_free(plan);
    awq_recipe_free(recipe);
    return code;
}

const cli_command command_plan = {
    "plan",
    "RECIPE",
    "Show what quantize would do, and write nothing.",
    "Checks the recipe against the model and shows how each kind of module would be "
    "stored and how large the result would be: what is kept stays bit for bit, what is "
    "rescaled stays float but takes up the scales of its neighbours. Reads no weights: "
    "a model that is not on disk yet can be planned from its config.json alone.",
    options,
    sizeof options / sizeof options[0],
    run,
};
