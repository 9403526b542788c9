/* The report as a page: of a finished run, and of results on disk. */
#include "page/page.h"

#include "run/job.h"

#include <string.h>

struct awq_page {
    awq__text html;
};

awq_status awq__write_page(awq__job *job)
{
    bool on_hub;
    char *name = NULL;
    awq__page_result result = {0};
    awq__text html = {0};
    awq_status status;
    AWQ__TRY(awq__base_model(job->ctx, job->plan->model->directory, &name, &on_hub));
    AWQ__TRY(awq__page_read(job->ctx, awq__output_partial(job->writer.output), name, &result));
    AWQ__TRY(awq__page_make(job->ctx, &result, 1, &html));
    AWQ__TRY(awq__output_text(job->writer.output, AWQ__PAGE_FILE, html.data, html.length));
done:
    awq__page_free(&result);
    awq__text_free(&html);
    awq__free(name);
    return status;
}

/* Reads a result by the name of its directory. */
static awq_status read_result(awq_context *ctx, const char *directory, awq__page_result *result)
{
    char *real;
    AWQ__CHECK(awq__resolve(ctx, directory, &real));
    awq_status status = awq__page_read(ctx, directory, strrchr(real, '/') + 1, result);
    awq__free(real);
    return status;
}

static awq_status create(awq_context *ctx, const char *directory, const char *other,
                         awq_page **page)
{
    awq__page_result results[AWQ__MOST_RESULTS] = {0};
    awq_page *made = awq__alloc(ctx, 1, sizeof *made, "a page");
    AWQ__CHECK_ALLOC(made);
    awq_status status;
    AWQ__TRY(read_result(ctx, directory, &results[0]));
    if (other)
        AWQ__TRY(read_result(ctx, other, &results[1]));
    AWQ__TRY(awq__page_make(ctx, results, other ? 2 : 1, &made->html));
    *page = made;
    made = NULL;
done:
    awq__page_free(&results[0]);
    awq__page_free(&results[1]);
    awq_page_free(made);
    return status;
}

awq_status awq_page_create(awq_context *ctx, const char *directory, const char *other,
                           awq_page **page)
{
    if (page)
        *page = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_page_create",
                          (awq__argument[]){{"directory", directory}, {"page", page}, {0}}));
    return awq__leave(ctx, create(ctx, directory, other, page));
}

const char *awq_page_html(const awq_page *page)
{
    return page ? page->html.data : "";
}

void awq_page_free(awq_page *page)
{
    if (page)
        awq__text_free(&page->html);
    awq__free(page);
}
