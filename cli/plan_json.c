/* A plan as JSON: what programs read. Members are added at need, and keep their names. */
#include "cli.h"

#include <math.h>
#include <stdio.h>

static void print_text(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    print_json_text(text);
}

static void print_whole(const char *name, uint64_t number)
{
    printf("\"%s\": %llu", name, (unsigned long long)number);
}

static void print_number(const char *name, double number)
{
    char text[TEXT_BYTES];
    printf("\"%s\": %s", name, format_exact(text, number));
}

static void print_truth(const char *name, bool truth)
{
    printf("\"%s\": %s", name, truth ? "true" : "false");
}

static void comma(void)
{
    fputs(", ", stdout);
}

static void print_model_object(const awq_model_info *info)
{
    fputs("  \"model\": {", stdout);
    print_text("directory", info->directory);
    comma();
    print_text("architecture", info->model_type);
    comma();
    print_text("plugin", info->plugin);
    comma();
    print_truth("described", info->described);
    comma();
    print_text("quantization", info->quantization);
    comma();
    print_whole("layers", (uint64_t)info->layer_count);
    comma();
    print_whole("hidden_size", (uint64_t)info->hidden_size);
    comma();
    print_whole("vocabulary_size", (uint64_t)info->vocabulary_size);
    comma();
    print_whole("experts", (uint64_t)info->expert_count);
    comma();
    print_whole("experts_per_token", (uint64_t)info->experts_per_token);
    comma();
    print_whole("weights", info->weights);
    comma();
    print_whole("bytes", info->bytes);
    puts("},");
}

static void print_group_object(const awq_plan_group *group)
{
    fputs("    {", stdout);
    print_text("pattern", group->pattern);
    comma();
    print_text("role", awq_role_name(group->role));
    comma();
    print_text("layers", group->layers);
    comma();
    print_whole("count", group->count);
    comma();
    print_text("treatment", group->treatment);
    comma();
    print_truth("quantized", group->quantized);
    comma();
    print_number("bits_per_weight", group->bits_per_weight);
    comma();
    print_whole("bytes_before", group->bytes_before);
    comma();
    print_whole("bytes_after", group->bytes_after);
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
    print_whole("bytes_before", awq_plan_bytes_before(plan));
    fputs(",\n  ", stdout);
    print_whole("bytes_after", awq_plan_bytes_after(plan));
    puts(",");
    if (isnan(awq_plan_predicted_loss(plan)))
        return;
    fputs("  ", stdout);
    print_number("predicted_loss", awq_plan_predicted_loss(plan));
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
    print_whole("memory_bytes", e.memory_bytes);
    comma();
    print_whole("least_memory_bytes", e.least_memory_bytes);
    comma();
    if (e.memory_limit_bytes)
        print_whole("memory_limit_bytes", e.memory_limit_bytes);
    else
        fputs("\"memory_limit_bytes\": null", stdout);
    comma();
    print_text("memory_limit_source", e.memory_limit_source);
    comma();
    print_whole("disk_bytes", e.disk_bytes);
    comma();
    print_number("seconds", e.seconds);
    comma();
    print_whole("threads", (uint64_t)e.threads);
    comma();
    print_whole("calibration_tokens", e.calibration_tokens);
    comma();
    print_number("operations", e.operations);
    comma();
    print_number("operations_per_second", e.operations_per_second);
    comma();
    print_number("read_bytes_per_second", e.read_bytes_per_second);
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
    print_model_object(&info);
    fputs("  ", stdout);
    print_text("output", awq_recipe_get(recipe, "output", 0));
    puts(",");
    print_groups(plan);
    print_totals(plan);
    print_estimate(ctx, plan);
    print_warnings(plan);
    puts("}");
}
