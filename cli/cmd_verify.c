/* awqc verify: is a checkpoint what was written, and made of its source? */
#include "cli.h"

#include <stdio.h>

enum { SOURCE, PLUGIN, THREADS, QUIET };
static const cli_option options[] = {
    [SOURCE] = {"--source", "DIR", false,
                "Compare every value with the checkpoint that this one was made of."},
    [PLUGIN] = {"--plugin", "ID", false,
                "Use this architecture plugin, where several serve the model's type."},
    [THREADS] = {"--threads", "N", false, "Work on N threads; the result does not depend on it."},
    [QUIET] = {"--quiet", NULL, false, "Do not show progress."},
};

static int show(const awq_verification *verification, bool with_source)
{
    awq_verify_result result = {.struct_size = sizeof result};
    awq_verification_describe(verification, &result);
    size_t shown = awq_verification_problem_count(verification);
    for (size_t i = 0; i < awq_verification_note_count(verification); i++)
        print_warning(awq_verification_note_at(verification, i));
    for (size_t i = 0; i < shown; i++)
        print_error("%s", awq_verification_problem_at(verification, i));
    if ((size_t)result.problems > shown)
        print_error("and %lld problems more", (long long)result.problems - (long long)shown);
    if (result.problems)
        return FAILED;
    print_field("checksums", "%lld files", (long long)result.files);
    print_field("structure", "%lld modules, %lld of them quantized", (long long)result.modules,
                (long long)result.quantized);
    if (with_source)
        print_field("source", "%lld modules are its bit for bit, %lld rescaled, %lld rounded",
                    (long long)result.copied, (long long)result.rescaled,
                    (long long)result.rounded);
    return DONE;
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    awq_verify_options what = {.struct_size = sizeof what,
                               .directory = arguments->operand,
                               .source = argument_of(arguments, SOURCE),
                               .plugin = argument_of(arguments, PLUGIN)};
    int64_t threads = 0;
    int code = number_argument(&command_verify, arguments, THREADS, 1, 1024, &threads);
    if (code != DONE)
        return code;
    awq_verification *verification = NULL;
    awq_status status = awq_context_set_threads(ctx, (int)threads);
    if (status == AWQ_OK) {
        progress_start(ctx, is_given(arguments, QUIET));
        status = awq_verify(ctx, &what, &verification);
        progress_clear();
    }
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    code = show(verification, what.source != NULL);
    awq_verification_free(verification);
    return code;
}

const cli_command command_verify = {
    "verify",
    "DIR",
    "Check that a finished checkpoint is whole, and made of its source.",
    "Every file is compared with its sum in SHA256SUMS, which sha256sum -c reads too, and every "
    "module must be there as config.json says. With --source what is not quantized must be the "
    "source's bit for bit, or within the rounding of a fold, and each code must stand for the "
    "folded weight. What is wrong is named; files that are not listed are only told.",
    options,
    sizeof options / sizeof options[0],
    run,
    false,
};
