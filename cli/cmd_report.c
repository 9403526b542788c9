/* awqc report: the report of a result, or of two, as a page to look at. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BESIDE, OUTPUT, FORCE };
static const cli_option options[] = {
    [BESIDE] = {"--beside", "DIR", false, "Show the result in this directory beside it."},
    [OUTPUT] = {"--output", "FILE", false, "Write the page here (report.html)."},
    [FORCE] = {"--force", NULL, false, "Replace the file if it is there.", true},
};

static int write_page(const char *path, const char *html, bool force)
{
    FILE *file = fopen(path, force ? "w" : "wx");
    if (!file) {
        print_error(errno == EEXIST ? "%s: is there already; --force replaces it" : "%s: %s", path,
                    strerror(errno));
        return FAILED;
    }
    bool written = fputs(html, file) >= 0;
    written &= fclose(file) == 0;
    if (!written) {
        print_error("%s: %s", path, strerror(errno));
        return FAILED;
    }
    print_field("page", "%s", path);
    return DONE;
}

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    const char *path = argument_of(arguments, OUTPUT);
    awq_page *page;
    awq_status status =
        awq_page_create(ctx, arguments->operand, argument_of(arguments, BESIDE), &page);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    int code =
        write_page(path ? path : "report.html", awq_page_html(page), is_given(arguments, FORCE));
    awq_page_free(page);
    return code;
}

const cli_command command_report = {
    "report",
    "DIR",
    "Show what was done to a result, as a page of HTML, or compare two.",
    "The page shows size and distance to the original, each layer's error beside rounding to "
    "nearest, calibration tokens of each expert, scales, outlier channels, clip ranges, proofs and "
    "the schemes that were chosen. It needs no network, and its numbers are those of "
    "awq_report.json. Every result has its own as awq_report.html.",
    options,
    sizeof options / sizeof options[0],
    run,
    false,
};
