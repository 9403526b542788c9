/* awqc eval: how good a checkpoint is, alone or against another. */
#include "cli.h"

#include <stdio.h>

enum { TEXT, IDS, REFERENCE, FIELD, WINDOW, WINDOWS, PLUGIN, DEVICE, THREADS, QUIET, JSON };
static const cli_option options[] = {
    [TEXT] = {"--text", "FILE", true,
              "Evaluate on a .txt or .jsonl file. May be repeated: the texts are joined."},
    [IDS] = {"--ids", "FILE", false,
             "Evaluate on the token ids of a .safetensors file, a window in each row."},
    [REFERENCE] = {"--reference", "DIR", false, "Compare with this checkpoint."},
    [FIELD] = {"--field", "NAME", false, "Field of a .jsonl line that holds its text (text)."},
    [WINDOW] = {"--window", "N", false, "Cut texts into windows of N tokens (256)."},
    [WINDOWS] = {"--windows", "N", false, "Evaluate at most N windows (all)."},
    [PLUGIN] = {"--plugin", "ID", false,
                "Use this architecture plugin, where several serve the model's type."},
    [DEVICE] = {"--device", "DEVICE", false, DEVICE_HELP},
    [THREADS] = {"--threads", "N", false, "Work on N threads; the result does not depend on it."},
    [QUIET] = {"--quiet", NULL, false, "Do not show progress."},
    [JSON] = {"--json", NULL, false, "Print one JSON object with all digits."},
};

static void print_member(const char *name, double number)
{
    char text[TEXT_BYTES];
    printf(", \"%s\": %s", name, format_exact(text, number));
}

static void print_json(const awq_eval_result *result)
{
    char text[TEXT_BYTES];
    printf("{\"perplexity\": %s, \"tokens\": %lld", format_exact(text, result->perplexity),
           (long long)result->tokens);
    if (result->has_reference) {
        print_member("reference_perplexity", result->reference_perplexity);
        print_member("kl", result->kl);
        print_member("top1_agreement", result->top1_agreement);
        print_member("router_topk_agreement", result->router_topk_agreement);
    }
    puts("}");
}

/* Reads the numbers and checks what belongs together. */
static int check_arguments(const cli_arguments *arguments, awq_eval_options *what, int64_t *threads)
{
    if (is_given(arguments, TEXT) == is_given(arguments, IDS)) {
        print_error(is_given(arguments, TEXT)
                        ? "eval: --text and --ids cannot be given together"
                        : "eval: --text FILE or --ids FILE is missing: what to evaluate on");
        return WRONG_USAGE;
    }
    int code =
        number_argument(&command_eval, arguments, WINDOW, 2, 1048576, &what->sequence_length);
    if (code == DONE)
        code =
            number_argument(&command_eval, arguments, WINDOWS, 1, INT64_C(1) << 40, &what->windows);
    if (code == DONE)
        code = number_argument(&command_eval, arguments, THREADS, 1, 1024, threads);
    return code;
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    awq_eval_options what = {.struct_size = sizeof what,
                             .directory = arguments->operand,
                             .reference = argument_of(arguments, REFERENCE),
                             .plugin = argument_of(arguments, PLUGIN),
                             .texts = arguments->given[TEXT].texts,
                             .text_count = arguments->given[TEXT].count,
                             .field = argument_of(arguments, FIELD),
                             .ids = argument_of(arguments, IDS),
                             .device = argument_of(arguments, DEVICE)};
    int64_t threads = 0;
    int code = check_arguments(arguments, &what, &threads);
    if (code != DONE)
        return code;
    awq_eval_result result;
    awq_status status = awq_context_set_threads(ctx, (int)threads);
    if (status == AWQ_OK) {
        progress_start(ctx, is_given(arguments, QUIET));
        status = awq_evaluate(ctx, &what, &result);
        progress_clear();
    }
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    if (is_given(arguments, JSON))
        print_json(&result);
    else
        print_evaluation(&result, "reference perplexity", "perplexity");
    return DONE;
}

const cli_command command_eval = {
    "eval",
    "DIR",
    "Measure perplexity, and the distance to a reference checkpoint.",
    "Perplexity is exp of the mean negative log likelihood of a window's tokens after the "
    "first. With a reference: the mean KL divergence of the judged model's predictions from "
    "the reference's in nats, the share of positions with the same most likely token, and "
    "the share of tokens and layers with the same set of experts. With --json these are "
    "perplexity, tokens, reference_perplexity, kl, top1_agreement, router_topk_agreement.",
    options,
    sizeof options / sizeof options[0],
    run,
    true,
};
