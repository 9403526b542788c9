/* What mixed precision chose: for each layer, how many of its parts have which scheme. */
#include "page/page.h"

static const cJSON *mixed_of(const awq__page_result *result)
{
    return awq__json_at(result->report, "mixed");
}

/* Units of layer n that have scheme c; *loss: what the chosen schemes of the layer do together. */
static int count_units(const cJSON *mixed, int n, int c, double *loss)
{
    int units = 0;
    const cJSON *unit;
    *loss = 0;
    cJSON_ArrayForEach(unit, awq__json_at(mixed, "units"))
    {
        const cJSON *losses = awq__json_at(unit, "loss");
        int64_t chosen;
        if (awq__number_of(awq__json_at(unit, "layer")) != n ||
            !awq__json_int(awq__json_at(unit, "chosen"), &chosen) || chosen < 0 ||
            chosen >= cJSON_GetArraySize(losses))
            continue;
        units += chosen == c;
        *loss += awq__number_of(cJSON_GetArrayItem(losses, (int)chosen));
    }
    return units;
}

static void add_layer(awq__html *html, const cJSON *mixed, int n)
{
    double loss = 0;
    awq__html_add(html, "<tr><th scope=\"row\">%d</th>", n);
    for (int c = 0; c < cJSON_GetArraySize(awq__json_at(mixed, "schemes")); c++)
        awq__html_add(html, "<td>%d</td>", count_units(mixed, n, c, &loss));
    awq__html_add(html, "<td>");
    awq__html_number(html, loss, 3);
    awq__html_add(html, "</td></tr>\n");
}

static void add_table(awq__html *html, const awq__page_result *result)
{
    const cJSON *mixed = mixed_of(result), *scheme;
    if (!mixed)
        return;
    awq__html_add(html, "<p>");
    awq__html_text(html, result->name);
    awq__html_add(html, ": ");
    awq__html_number(html, awq__number_of(awq__json_at(mixed, "bits_per_weight")), 4);
    awq__html_add(html, " bits a weight, predicted loss ");
    awq__html_number(html, awq__number_of(awq__json_at(mixed, "predicted_loss")), 3);
    awq__html_add(html, "</p>\n<div class=\"scroll\"><table>\n<tr><th scope=\"col\">Layer</th>");
    cJSON_ArrayForEach(scheme, awq__json_at(mixed, "schemes"))
    {
        awq__html_add(html, "<th scope=\"col\">");
        awq__html_text(html, cJSON_GetStringValue(scheme));
        awq__html_add(html, "</th>");
    }
    awq__html_add(html, "<th scope=\"col\">Loss</th></tr>\n");
    for (int n = 0; n < cJSON_GetArraySize(awq__page_layers(result)); n++)
        add_layer(html, mixed, n);
    awq__html_add(html, "</table></div>\n");
}

void awq__page_schemes(awq__html *html, const awq__page_result *results, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++)
        any |= mixed_of(&results[i]) != NULL;
    if (!any)
        return;
    awq__html_add(html, "<section>\n<h2>Chosen schemes</h2>\n<p>Layers or experts with each scheme "
                        "(bits:group). A pass through the model measured the loss of every scheme: "
                        "the squared error of the layer's output relative to the hidden state. The "
                        "choice has the least sum within the target size.</p>\n");
    for (int i = 0; i < count; i++)
        add_table(html, &results[i]);
    awq__html_add(html, "</section>\n");
}
