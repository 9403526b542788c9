/* Each layer's error beside that of rounding to nearest (RTN) without scales and ranges. */
#include "page/page.h"

#include <math.h>

/* Squared errors of a layer's experts, weighted by the tokens that they stand for. */
typedef struct errors {
    double rtn, before, after; /* before and after GPTQ; NAN where there is none */
} errors;

/* Errors are of a sample of the expert's tokens. */
static void add_expert(const cJSON *expert, errors *sum)
{
    double tokens = awq__number_of(awq__json_at(expert, "tokens"));
    double sampled = awq__number_of(awq__json_at(expert, "sampled"));
    double weight = sampled > 0 ? tokens / sampled : 1;
    double chosen = awq__number_of(awq__json_at(expert, "error"));
    double gptq = awq__number_of(awq__json_at(expert, "gptq_error"));
    bool by_gptq = cJSON_IsTrue(awq__json_at(expert, "gptq"));
    if (!(tokens > 0) || !isfinite(chosen))
        return;
    sum->rtn += weight * awq__number_of(awq__json_at(expert, "rtn_error"));
    sum->before += weight * chosen;
    sum->after += weight * (by_gptq ? gptq : chosen);
}

static errors errors_of(const awq__page_result *result, int n)
{
    errors sum = {0};
    const cJSON *experts = awq__page_experts(result, n), *expert;
    cJSON_ArrayForEach(expert, awq__json_at(experts, "each")) add_expert(expert, &sum);
    add_expert(awq__json_at(experts, "shared"), &sum);
    add_expert(awq__json_at(experts, "mlp"), &sum);
    return sum;
}

static void add_layer(awq__html *html, const awq__page_result *results, int count, int n)
{
    for (int i = 0; i < count; i++) {
        errors sum = errors_of(&results[i], n);
        awq__html_add(html, "<tr>");
        if (i == 0)
            awq__html_add(html, "<th scope=\"row\" rowspan=\"%d\">%d</th>", count, n);
        awq__page_bar(html, i, sum.after / sum.rtn);
        awq__html_add(html, "<td>");
        awq__html_number(html, sum.before / sum.rtn, 3);
        awq__html_add(html, "</td></tr>\n");
    }
}

void awq__page_losses(awq__html *html, const awq__page_result *results, int count)
{
    awq__html_add(html,
                  "<section>\n<h2>Error of each layer's experts</h2>\n"
                  "<p>The squared error of what the experts of a layer put out, over calibration "
                  "tokens, as a share of the error that rounding to nearest alone would make. The "
                  "mark is at 1: no better than that.</p>\n");
    for (int i = 0; i < count && count > 1; i++) {
        awq__html_add(html, "<span class=\"key %s\"></span>", awq__page_class(i));
        awq__html_text(html, results[i].name);
        awq__html_add(html, " ");
    }
    awq__html_add(html, "<div class=\"scroll\"><table class=\"bars\">\n<tr><th "
                        "scope=\"col\">Layer</th><td></td><th scope=\"col\">Error</th>"
                        "<th scope=\"col\">Before GPTQ</th></tr>\n");
    for (int n = 0; n < awq__page_layer_count(results, count); n++)
        add_layer(html, results, count, n);
    awq__html_add(html, "</table></div>\n</section>\n");
}
