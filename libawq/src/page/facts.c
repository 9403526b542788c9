/* What several sections ask of a report, and the marks that they share. */
#include "page/page.h"

#include <math.h>

const cJSON *awq__page_layers(const awq__page_result *result)
{
    return awq__json_at(result->report, "layers");
}

int awq__page_layer_count(const awq__page_result *results, int count)
{
    int most = 0;
    for (int i = 0; i < count; i++) {
        int layers = cJSON_GetArraySize(awq__page_layers(&results[i]));
        most = layers > most ? layers : most;
    }
    return most;
}

const cJSON *awq__page_experts(const awq__page_result *result, int n)
{
    return awq__json_at(cJSON_GetArrayItem(awq__page_layers(result), n), "experts");
}

int awq__page_width(const awq__page_result *result)
{
    int most = 0;
    const cJSON *layer;
    cJSON_ArrayForEach(layer, awq__page_layers(result))
    {
        int experts = cJSON_GetArraySize(awq__json_at(layer, "experts.each"));
        most = experts > most ? experts : most;
    }
    return most;
}

const char *awq__page_class(int result)
{
    return result ? "b" : "a";
}

void awq__page_names(awq__html *html, const awq__page_result *results, int count)
{
    for (int i = 0; i < count && count > 1; i++) {
        awq__html_add(html, "<th scope=\"col\"><span class=\"key %s\"></span>", awq__page_class(i));
        awq__html_text(html, results[i].name);
        awq__html_add(html, "</th>");
    }
}

void awq__page_bar(awq__html *html, int result, double share)
{
    double width = share < 1.25 ? share : 1.25; /* NAN is not less */
    awq__html_add(html, "<td class=\"track\"><svg viewBox=\"0 0 125 10\" aria-hidden=\"true\" "
                        "preserveAspectRatio=\"none\">");
    if (isfinite(share))
        awq__html_add(html, "<rect class=\"%s\" width=\"%.1f\" height=\"10\"/>",
                      awq__page_class(result), 100 * width);
    awq__html_add(html, "<path class=\"one\" d=\"M100 0V10\"/></svg></td><td>");
    awq__html_number(html, share, 3);
    awq__html_add(html, "</td>");
}
