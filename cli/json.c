/* Members of JSON objects on standard output. Members are added at need, and keep their names. */
#include "cli.h"

#include <stdio.h>

void json_text(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    print_json_text(text);
}

void json_whole(const char *name, uint64_t number)
{
    printf("\"%s\": %llu", name, (unsigned long long)number);
}

void json_number(const char *name, double number)
{
    char text[TEXT_BYTES];
    printf("\"%s\": %s", name, format_exact(text, number));
}

void json_truth(const char *name, bool truth)
{
    printf("\"%s\": %s", name, truth ? "true" : "false");
}

void json_comma(void)
{
    fputs(", ", stdout);
}

void json_model(const awq_model_info *info)
{
    fputs("  \"model\": {", stdout);
    json_text("directory", info->directory);
    json_comma();
    json_text("architecture", info->model_type);
    json_comma();
    json_text("plugin", info->plugin);
    json_comma();
    json_truth("described", info->described);
    json_comma();
    json_text("quantization", info->quantization);
    json_comma();
    json_whole("layers", (uint64_t)info->layer_count);
    json_comma();
    json_whole("hidden_size", (uint64_t)info->hidden_size);
    json_comma();
    json_whole("vocabulary_size", (uint64_t)info->vocabulary_size);
    json_comma();
    json_whole("experts", (uint64_t)info->expert_count);
    json_comma();
    json_whole("experts_per_token", (uint64_t)info->experts_per_token);
    json_comma();
    json_whole("weights", info->weights);
    json_comma();
    json_whole("bytes", info->bytes);
    puts("},");
}
