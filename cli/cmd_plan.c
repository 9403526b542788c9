/* awqc plan: what quantize would do. */
#include "cli.h"

#include <math.h>
#include <stdio.h>

enum { SET, IGNORE_ENGINE, DEVICE, JSON };
static const cli_option options[] = {
    [SET] = {"--set", "KEY=VALUE", true,
             "Set an option over the recipe; a VALUE in [ ] is a list. Relative paths are taken "
             "from the working directory. May be repeated."},
    [IGNORE_ENGINE] = {"--ignore-engine", NULL, false, IGNORE_ENGINE_HELP},
    [DEVICE] = {"--device", "DEVICE", false, DEVICE_HELP},
    [JSON] = {"--json", NULL, false, "Print one JSON object with all digits."},
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

static void print_estimate(awq_context *ctx, const awq_plan *plan)
{
    awq_estimate e;
    char text[TEXT_BYTES], rate[TEXT_BYTES], limit[TEXT_BYTES];
    if (awq_plan_estimate(ctx, plan, &e) != AWQ_OK) {
        print_field("estimate", "none: %s", awq_context_message(ctx));
        return;
    }
    if (e.memory_limit_bytes)
        print_field("peak memory", "up to %s; at least %s, allowed %s by %s",
                    format_bytes(text, e.memory_bytes), format_bytes(rate, e.least_memory_bytes),
                    format_bytes(limit, e.memory_limit_bytes), e.memory_limit_source);
    else
        print_field("peak memory", "up to %s; at least %s", format_bytes(text, e.memory_bytes),
                    format_bytes(rate, e.least_memory_bytes));
    if (e.device[0])
        print_field("device", "%s; about %s of its memory", e.device,
                    format_bytes(text, e.device_memory_bytes));
    print_field("time", "about %s, without evaluation", format_duration(text, e.seconds));
    snprintf(limit, sizeof limit, "%d threads", e.threads);
    print_field("assumed", "%s calibration tokens, %.3g TFLOP of products at %.0f GFLOP/s on %s",
                format_count(text, e.calibration_tokens), 1e-12 * e.operations,
                1e-9 * e.operations_per_second, e.device[0] ? "the device" : limit);
    if (e.read_bytes_per_second > 0)
        print_field("", "weights read at %s/s",
                    format_bytes(rate, (uint64_t)e.read_bytes_per_second));
}

static void print_plan(awq_context *ctx, const awq_plan *plan, const awq_recipe *recipe)
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
    if (!isnan(awq_plan_predicted_loss(plan)))
        print_field("predicted loss", "%.3g", awq_plan_predicted_loss(plan));
    print_estimate(ctx, plan);
    for (size_t i = 0; i < awq_plan_warning_count(plan); i++)
        print_field("warning", "%s", awq_plan_warning_at(plan, i));
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    awq_recipe *recipe;
    int code = load_recipe(ctx, arguments->operand, arguments->given[SET].texts,
                           arguments->given[SET].count, &recipe);
    if (code == DONE)
        code = set_device(ctx, recipe, argument_of(arguments, DEVICE));
    if (code == DONE && is_given(arguments, IGNORE_ENGINE))
        code = ignore_engine(ctx, recipe);
    if (code != DONE)
        return code;
    awq_plan *plan;
    progress_start(ctx, false);
    awq_status status = awq_plan_create(ctx, recipe, &plan);
    progress_clear();
    if (status != AWQ_OK)
        code = report_failure(ctx, status);
    else if (is_given(arguments, JSON))
        print_plan_json(ctx, plan, recipe);
    else
        print_plan(ctx, plan, recipe);
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
    "rescaled stays float but takes up the scales of its neighbours. Memory and time of "
    "a run are estimated, from a short measurement of this machine. Needs no weights: a model "
    "that is not on disk yet can be planned from its config.json alone. But with "
    "quantize.target_bits or target_size the calibration is run through the model, to choose "
    "schemes by their predicted loss: the sum over layers of the mean squared error of what "
    "the experts add to the hidden state, over the mean square of that.",
    options,
    sizeof options / sizeof options[0],
    run,
    true,
};
