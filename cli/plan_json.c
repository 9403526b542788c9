/* A plan as JSON: what programs read. Members are added at need, and keep their names. */
#include "cli.h"

#include <math.h>
#include <stdio.h>

static void print_group_object(const awq_plan_group *group)
{
    fputs("    {", stdout);
    json_text("pattern", group->pattern);
    json_comma();
    json_text("role", awq_role_name(group->role));
    json_comma();
    json_text("layers", group->layers);
    json_comma();
    json_whole("count", group->count);
    json_comma();
    json_text("treatment", group->treatment);
    json_comma();
    json_truth("quantized", group->quantized);
    json_comma();
    json_number("bits_per_weight", group->bits_per_weight);
    json_comma();
    json_whole("bytes_before", group->bytes_before);
    json_comma();
    json_whole("bytes_after", group->bytes_after);
    putchar('}');
}

static void print_groups(const awq_plan *plan)
{
    fputs("  \"groups\": [", stdout);
    for (size_t i = 0; i < awq_plan_group_count(plan); i++) {
        puts(i ? "," : "");
        print_group_object(awq_plan_group_at(plan, i));
    }
    puts("\n  ],");
}

static void print_totals(const awq_plan *plan)
{
    fputs("  ", stdout);
    json_whole("bytes_before", awq_plan_bytes_before(plan));
    fputs(",\n  ", stdout);
    json_whole("bytes_after", awq_plan_bytes_after(plan));
    puts(",");
    if (isnan(awq_plan_predicted_loss(plan)))
        return;
    fputs("  ", stdout);
    json_number("predicted_loss", awq_plan_predicted_loss(plan));
    puts(",");
}

/* What a run is expected to need; null where that cannot be told. */
static void print_estimate(awq_context *ctx, const awq_plan *plan)
{
    awq_estimate e;
    fputs("  \"estimate\": ", stdout);
    if (awq_plan_estimate(ctx, plan, &e) != AWQ_OK) {
        puts("null,");
        return;
    }
    putchar('{');
    json_whole("memory_bytes", e.memory_bytes);
    json_comma();
    json_whole("least_memory_bytes", e.least_memory_bytes);
    json_comma();
    if (e.memory_limit_bytes)
        json_whole("memory_limit_bytes", e.memory_limit_bytes);
    else
        fputs("\"memory_limit_bytes\": null", stdout);
    json_comma();
    json_text("memory_limit_source", e.memory_limit_source);
    json_comma();
    json_whole("disk_bytes", e.disk_bytes);
    json_comma();
    json_number("seconds", e.seconds);
    json_comma();
    json_whole("threads", (uint64_t)e.threads);
    json_comma();
    json_whole("calibration_tokens", e.calibration_tokens);
    json_comma();
    json_number("operations", e.operations);
    json_comma();
    json_number("operations_per_second", e.operations_per_second);
    json_comma();
    json_number("read_bytes_per_second", e.read_bytes_per_second);
    if (e.device[0]) {
        json_comma();
        json_text("device", e.device);
        json_comma();
        json_whole("device_memory_bytes", e.device_memory_bytes);
    }
    puts("},");
}

/* The last member, which has no comma after it. */
static void print_warnings(const awq_plan *plan)
{
    size_t count = awq_plan_warning_count(plan);
    fputs("  \"warnings\": [", stdout);
    for (size_t i = 0; i < count; i++) {
        fputs(i ? ",\n    " : "\n    ", stdout);
        print_json_text(awq_plan_warning_at(plan, i));
    }
    puts(count ? "\n  ]" : "]");
}

void print_plan_json(awq_context *ctx, const awq_plan *plan, const awq_recipe *recipe)
{
    awq_model_info info;
    awq_plan_describe(plan, &info);
    puts("{");
    json_model(&info);
    fputs("  ", stdout);
    json_text("output", awq_recipe_get(recipe, "output", 0));
    puts(",");
    print_groups(plan);
    print_totals(plan);
    print_estimate(ctx, plan);
    print_warnings(plan);
    puts("}");
}
