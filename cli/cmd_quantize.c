/* awqc quantize: does what a recipe says. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

enum { SET, IGNORE_ENGINE, FORCE, RESTART, DEVICE, THREADS, QUIET };
static const cli_option options[] = {
    [SET] = {"--set", "KEY=VALUE", true,
             "Set an option over the recipe; a VALUE in [ ] is a list. Relative paths are taken "
             "from the working directory. May be repeated."},
    [IGNORE_ENGINE] = {"--ignore-engine", NULL, false, IGNORE_ENGINE_HELP},
    [FORCE] = {"--force", NULL, false,
               "Replace an existing output that awqc has made, once the new one is whole.", true},
    [RESTART] = {"--restart", NULL, false,
                 "Discard what an interrupted run has done instead of going on with it.", true},
    [DEVICE] = {"--device", "DEVICE", false, DEVICE_HELP},
    [THREADS] = {"--threads", "N", false, "Work on N threads; the result does not depend on it."},
    [QUIET] = {"--quiet", NULL, false, "Do not show progress."},
};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void print_summary(const awq_report *report, double seconds)
{
    char one[TEXT_BYTES], two[TEXT_BYTES];
    struct rusage usage;
    print_field("output", "%s", awq_report_output(report));
    print_field("size", "%s -> %s", format_bytes(one, awq_report_bytes_before(report)),
                format_bytes(two, awq_report_bytes_after(report)));
    print_field("time", "%s", format_duration(one, seconds));
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        print_field("peak memory", "%s", format_bytes(one, (uint64_t)usage.ru_maxrss * 1024));
    const awq_eval_result *evaluation = awq_report_evaluation(report);
    if (evaluation)
        print_evaluation(evaluation, "perplexity before", "perplexity after");
}

/* Is there work that the same command goes on with? */
static bool has_partial(const char *output)
{
    size_t length = strlen(output);
    char *path = must_realloc(NULL, length + sizeof ".partial", 1);
    memcpy(path, output, length);
    memcpy(path + length, ".partial", sizeof ".partial");
    struct stat info;
    bool there = stat(path, &info) == 0;
    free(path);
    return there;
}

static int report_end(const awq_context *ctx, awq_status status, const awq_recipe *recipe,
                      const cli_arguments *arguments)
{
    if (status != AWQ_ERROR_CANCELLED)
        return report_failure(ctx, status);
    const char *output = awq_recipe_get(recipe, "output", 0);
    const char *without = is_given(arguments, RESTART) ? ", without --restart," : "";
    if (has_partial(output))
        print_error("interrupted; the work so far is kept in %s.partial: run the same command "
                    "again%s to go on with it",
                    output, without);
    else
        print_error("interrupted; nothing was written yet: the same command begins anew");
    return INTERRUPTED;
}

static int quantize(awq_context *ctx, const cli_arguments *arguments, const awq_recipe *recipe)
{
    awq_quantize_options how = {.struct_size = sizeof how,
                                .force = is_given(arguments, FORCE),
                                .restart = is_given(arguments, RESTART)};
    awq_report *report;
    double start = now_seconds();
    progress_start(ctx, is_given(arguments, QUIET));
    awq_status status = awq_quantize(ctx, recipe, &how, &report);
    progress_clear();
    if (status == AWQ_OK)
        print_summary(report, now_seconds() - start);
    awq_report_free(report);
    return status == AWQ_OK ? DONE : report_end(ctx, status, recipe, arguments);
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    int64_t threads = 0;
    int code = number_argument(&command_quantize, arguments, THREADS, 1, 1024, &threads);
    if (code != DONE)
        return code;
    awq_status status = awq_context_set_threads(ctx, (int)threads);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    awq_recipe *recipe;
    code = load_recipe(ctx, arguments->operand, arguments->given[SET].texts,
                       arguments->given[SET].count, &recipe);
    if (code == DONE)
        code = set_device(ctx, recipe, argument_of(arguments, DEVICE));
    if (code == DONE && is_given(arguments, IGNORE_ENGINE))
        code = ignore_engine(ctx, recipe);
    if (code != DONE)
        return code;
    code = quantize(ctx, arguments, recipe);
    awq_recipe_free(recipe);
    return code;
}

const cli_command command_quantize = {
    "quantize",
    "RECIPE",
    "Quantize a checkpoint as a recipe says.",
    "The result is built in OUTPUT.partial and renamed when it is whole. After an "
    "interruption the same command goes on with the first layer that was not finished. "
    "Relative paths in the recipe are taken from the recipe's directory.",
    options,
    sizeof options / sizeof options[0],
    run,
    true,
};
