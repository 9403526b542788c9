/* A page as a whole: what is read for it, and its sections in their order. */
#include "page/page.h"

#include "checkpoint/checkpoint.h"

static awq_status read_file(awq_context *ctx, const char *directory, const char *file, cJSON **json)
{
    char *path = awq__path_join(ctx, directory, file);
    AWQ__CHECK_ALLOC(path);
    awq_status status = awq__json_read_python(ctx, path, json);
    awq__free(path);
    return status;
}

/* Does it look like a report, so that the sections find what they ask for or nothing? */
static awq_status check_report(awq_context *ctx, const char *directory, const cJSON *report)
{
    if (cJSON_IsArray(awq__json_at(report, "layers")))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_FORMAT,
                     "%s: " AWQ__REPORT_FILE " has no list \"layers\": it is not the report of a "
                     "result of awqc",
                     directory);
}

awq_status awq__page_read(awq_context *ctx, const char *directory, const char *name,
                          awq__page_result *result)
{
    *result = (awq__page_result){0};
    awq_status status;
    AWQ__TRY(read_file(ctx, directory, AWQ__REPORT_FILE, &result->report));
    AWQ__TRY(check_report(ctx, directory, result->report));
    AWQ__TRY(read_file(ctx, directory, AWQ__PROVENANCE_FILE, &result->provenance));
    result->name = awq__strdup(ctx, name);
    AWQ__TRY_ALLOC(result->name);
done:
    if (status != AWQ_OK)
        awq__page_free(result);
    return status;
}

void awq__page_free(awq__page_result *result)
{
    cJSON_Delete(result->report);
    cJSON_Delete(result->provenance);
    awq__free(result->name);
    *result = (awq__page_result){0};
}

static void add_title(awq__html *html, const awq__page_result *results, int count)
{
    for (int i = 0; i < count; i++) {
        awq__html_add(html, "%s", i ? " and " : "");
        awq__html_text(html, results[i].name);
    }
}

awq_status awq__page_make(awq_context *ctx, const awq__page_result *results, int count,
                          awq__text *text)
{
    awq__html html = {.ctx = ctx, .text = *text};
    awq__html_add(&html,
                  "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n"
                  "<head>\n<meta charset=\"utf-8\"/>\n"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n"
                  "<link rel=\"icon\" href=\"data:,\"/>\n<title>");
    add_title(&html, results, count);
    awq__html_add(&html, ": quantization report</title>\n");
    awq__page_style(&html);
    awq__html_add(&html, "</head>\n<body>\n<main>\n<h1>");
    add_title(&html, results, count);
    awq__html_add(&html, "</h1>\n");
    awq__page_overview(&html, results, count);
    awq__page_losses(&html, results, count);
    awq__page_tokens(&html, results, count);
    awq__page_scales(&html, results, count);
    awq__page_schemes(&html, results, count);
    awq__page_recipe(&html, results, count);
    awq__html_add(&html, "</main>\n</body>\n</html>\n");
    *text = html.text;
    return html.status;
}
