/* Facts on standard output, a line each: what stands above tables. */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>

void print_field(const char *label, const char *format, ...)
{
    char line[4096];
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    clean_line(line);
    printf("%-22s%s\n", label, line);
}

void print_model(const awq_model_info *info)
{
    char bytes[TEXT_BYTES], weights[TEXT_BYTES];
    print_field("model", "%s", info->directory);
    if (info->described)
        print_field("checkpoint", "described by config.json; no weights on disk");
    print_field("architecture", "%s, by plugin %s", info->model_type, info->plugin);
    print_field("layers", "%lld, hidden size %lld, vocabulary %lld", (long long)info->layer_count,
                (long long)info->hidden_size, (long long)info->vocabulary_size);
    if (info->expert_count)
        print_field("experts", "%lld, top-k %lld", (long long)info->expert_count,
                    (long long)info->experts_per_token);
    else
        print_field("experts", "none");
    print_field("quantization", "%s", info->quantization[0] ? info->quantization : "none");
    print_field("weights", "%s", format_count(weights, info->weights));
    print_field("size", "%s", format_bytes(bytes, info->bytes));
}

void print_evaluation(const awq_eval_result *result, const char *reference_label, const char *label)
{
    if (result->has_reference)
        print_field(reference_label, "%.4f", result->reference_perplexity);
    char tokens[TEXT_BYTES];
    print_field(label, "%.4f over %s tokens", result->perplexity,
                format_count(tokens, (uint64_t)result->tokens));
    if (!result->has_reference)
        return;
    print_field("KL divergence", "%.6f nats", result->kl);
    print_field("top-1 agreement", "%.2f %%", 100 * result->top1_agreement);
    print_field("router agreement", "%.2f %%", 100 * result->router_topk_agreement);
}
