/* What was done to which model, what it saved, and how near the result is to the original. */
#include "page/page.h"

#include <math.h>

static double evaluated(const awq__page_result *result, const char *key)
{
    return awq__number_of(awq__json_at(awq__json_at(result->report, "evaluation"), key));
}

static double at(const awq__page_result *result, const char *path)
{
    return awq__number_of(awq__json_at(result->report, path));
}

static void add_bytes(awq__html *html, const awq__page_result *result)
{
    awq__html_bytes(html, at(result, "bytes_before"));
    awq__html_add(html, " → ");
    awq__html_bytes(html, at(result, "bytes_after"));
}

static void add_saved(awq__html *html, const awq__page_result *result)
{
    awq__html_percent(html, 1 - at(result, "bytes_after") / at(result, "bytes_before"));
}

static void add_perplexity(awq__html *html, const awq__page_result *result)
{
    awq__html_number(html, evaluated(result, "reference_perplexity"), 5);
    awq__html_add(html, " → ");
    awq__html_number(html, evaluated(result, "perplexity"), 5);
}

static void add_kl(awq__html *html, const awq__page_result *result)
{
    awq__html_number(html, evaluated(result, "kl"), 3);
    awq__html_add(html, " nats");
}

static void add_top1(awq__html *html, const awq__page_result *result)
{
    awq__html_percent(html, evaluated(result, "top1_agreement"));
}

static void add_router(awq__html *html, const awq__page_result *result)
{
    awq__html_percent(html, evaluated(result, "router_topk_agreement"));
}

static void add_evaluated(awq__html *html, const awq__page_result *result)
{
    awq__html_number(html, evaluated(result, "tokens"), 6);
}

static void add_calibrated(awq__html *html, const awq__page_result *result)
{
    awq__html_number(html, at(result, "calibration_tokens"), 6);
    awq__html_add(html, " in ");
    awq__html_number(html, at(result, "calibration_sequences"), 6);
    awq__html_add(html, " sequences");
}

static void add_text_at(awq__html *html, const cJSON *root, const char *path)
{
    awq__html_text(html, cJSON_GetStringValue(awq__json_at(root, path)));
}

static void add_format(awq__html *html, const awq__page_result *result)
{
    add_text_at(html, result->report, "format");
}

static void add_model(awq__html *html, const awq__page_result *result)
{
    add_text_at(html, result->report, "model");
    awq__html_add(html, " (");
    add_text_at(html, result->report, "model_type");
    awq__html_add(html, ")");
}

static void add_rounding(awq__html *html, const awq__page_result *result)
{
    add_text_at(html, result->provenance, "rounding");
}

static void add_modules(awq__html *html, const awq__page_result *result)
{
    awq__html_number(html, awq__number_of(awq__json_at(result->provenance, "quantized_modules")),
                     6);
}

typedef struct fact {
    const char *label;
    void (*add)(awq__html *html, const awq__page_result *result);
    bool of_evaluation;
} fact;

static const fact key_figures[] = {
    {"Size of the weights", add_bytes, false},
    {"Saved", add_saved, false},
    {"Perplexity, original → result", add_perplexity, true},
    {"KL divergence from the original", add_kl, true},
    {"Same most likely token", add_top1, true},
    {"Same experts chosen", add_router, true},
};

static const fact other_facts[] = {
    {"Model", add_model, false},
    {"Format", add_format, false},
    {"Quantized modules", add_modules, false},
    {"Rounding", add_rounding, false},
    {"Calibration tokens", add_calibrated, false},
    {"Evaluation tokens", add_evaluated, true},
};

static void add_tiles(awq__html *html, const awq__page_result *result)
{
    awq__html_add(html, "<dl class=\"tiles\">\n");
    for (size_t i = 0; i < sizeof key_figures / sizeof *key_figures; i++) {
        if (key_figures[i].of_evaluation && !awq__json_at(result->report, "evaluation"))
            continue;
        awq__html_add(html, "<div><dt>%s</dt><dd>", key_figures[i].label);
        key_figures[i].add(html, result);
        awq__html_add(html, "</dd></div>\n");
    }
    awq__html_add(html, "</dl>\n");
}

static void add_rows(awq__html *html, const fact *facts, size_t fact_count,
                     const awq__page_result *results, int count)
{
    bool judged = false;
    for (int i = 0; i < count; i++)
        judged |= awq__json_at(results[i].report, "evaluation") != NULL;
    for (size_t f = 0; f < fact_count; f++) {
        if (facts[f].of_evaluation && !judged)
            continue;
        awq__html_add(html, "<tr><th scope=\"row\">%s</th>", facts[f].label);
        for (int i = 0; i < count; i++) {
            awq__html_add(html, "<td>");
            facts[f].add(html, &results[i]);
            awq__html_add(html, "</td>");
        }
        awq__html_add(html, "</tr>\n");
    }
}

void awq__page_overview(awq__html *html, const awq__page_result *results, int count)
{
    awq__html_add(html, "<section>\n<h2>Overview</h2>\n");
    if (count == 1)
        add_tiles(html, results);
    awq__html_add(html, "<div class=\"scroll\"><table>\n");
    if (count > 1) {
        awq__html_add(html, "<tr><td></td>");
        awq__page_names(html, results, count);
        awq__html_add(html, "</tr>\n");
        add_rows(html, key_figures, sizeof key_figures / sizeof *key_figures, results, count);
    }
    add_rows(html, other_facts, sizeof other_facts / sizeof *other_facts, results, count);
    awq__html_add(html, "</table></div>\n");
    if (!awq__json_at(results[0].report, "evaluation"))
        awq__html_add(html, "<p class=\"soft\">The recipe asked for no evaluation: how far the "
                            "result is from the original was not measured.</p>\n");
    awq__html_add(html, "</section>\n");
}

void awq__page_recipe(awq__html *html, const awq__page_result *results, int count)
{
    awq__html_add(html, "<section>\n<h2>Recipe</h2>\n");
    for (int i = 0; i < count; i++) {
        awq__html_add(html, "<details><summary>");
        awq__html_text(html, results[i].name);
        awq__html_add(html, ": every option, as awqc ");
        add_text_at(html, results[i].report, "version");
        awq__html_add(html, " read it</summary>\n<pre>");
        add_text_at(html, results[i].provenance, "recipe");
        awq__html_add(html, "</pre></details>\n");
    }
    awq__html_add(html, "</section>\n");
}
