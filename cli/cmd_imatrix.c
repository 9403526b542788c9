/* awqc imatrix: an importance matrix for llama.cpp. */
#include "cli.h"

#include <stdio.h>

enum { SET, THREADS, QUIET };
static const cli_option options[] = {
    [SET] = {"--set", "KEY=VALUE", true,
             "Set an option over the recipe; a VALUE in [ ] is a list. Relative paths are taken "
             "from the working directory. May be repeated."},
    [THREADS] = {"--threads", "N", false, "Work on N threads; the result does not depend on it."},
    [QUIET] = {"--quiet", NULL, false, "Do not show progress."},
};

static int measure(awq_context *ctx, const cli_arguments *arguments, const awq_recipe *recipe)
{
    progress_start(ctx, is_given(arguments, QUIET));
    awq_status status = awq_imatrix(ctx, recipe);
    progress_clear();
    if (status == AWQ_OK)
        print_field("output", "%s/imatrix.gguf", awq_recipe_get(recipe, "output", 0));
    if (status != AWQ_ERROR_CANCELLED)
        return status == AWQ_OK ? DONE : report_failure(ctx, status);
    print_error("interrupted; the same command begins anew");
    return INTERRUPTED;
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    int64_t threads = 0;
    awq_recipe *recipe;
    int code = number_argument(&command_imatrix, arguments, THREADS, 1, 1024, &threads);
    if (code != DONE)
        return code;
    awq_status status = awq_context_set_threads(ctx, (int)threads);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    code = load_recipe(ctx, arguments->operand, arguments->given[SET].texts,
                       arguments->given[SET].count, &recipe);
    if (code != DONE)
        return code;
    code = measure(ctx, arguments, recipe);
    awq_recipe_free(recipe);
    return code;
}

const cli_command command_imatrix = {
    "imatrix",
    "RECIPE",
    "Write an importance matrix for llama.cpp.",
    "The recipe's output becomes a directory with imatrix.gguf, for llama-quantize --imatrix: "
    "what the inputs of all linears of the layers are like in the calibration. Of the recipe only "
    "model, plugin, output, calibration and memory_limit matter.",
    options,
    sizeof options / sizeof options[0],
    run,
    true,
};
