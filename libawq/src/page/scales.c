/* What was found for each layer: ratios of the scales, salient channels, clip ranges, the proof. */
#include "page/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BINS 11 /* of ratios, a tenth wide */
#define SHOWN_CHANNELS 4

/* ---- ratios of the down projections, counted ---- */

/* The share of experts in each bin; *identity: of those without a scale. */
static void count_ratios(const awq__page_result *result, double bins[BINS], double *identity)
{
    double all = 0;
    memset(bins, 0, BINS * sizeof *bins);
    *identity = 0;
    for (int n = 0; n < cJSON_GetArraySize(awq__page_layers(result)); n++) {
        const cJSON *expert;
        cJSON_ArrayForEach(expert, awq__json_at(awq__page_experts(result, n), "each"))
        {
            const cJSON *ratio = awq__json_at(expert, "down_ratio");
            all += ratio != NULL;
            *identity += cJSON_IsString(ratio);
            if (cJSON_IsNumber(ratio) && ratio->valuedouble >= 0 && ratio->valuedouble <= 1)
                bins[(int)(10 * ratio->valuedouble + 1e-9)]++;
        }
    }
    for (int i = 0; i < BINS; i++)
        bins[i] /= all;
    *identity /= all;
}

static void add_bin(awq__html *html, const char *label, const double *shares, int count)
{
    for (int i = 0; i < count; i++) {
        awq__html_add(html, "<tr>");
        if (i == 0)
            awq__html_add(html, "<th scope=\"row\" rowspan=\"%d\">%s</th>", count, label);
        awq__html_add(html, "<td class=\"track\"><svg viewBox=\"0 0 100 10\" aria-hidden=\"true\" "
                            "preserveAspectRatio=\"none\">");
        if (isfinite(shares[i]))
            awq__html_add(html, "<rect class=\"%s\" width=\"%.1f\" height=\"10\"/>",
                          awq__page_class(i), 100 * shares[i]);
        awq__html_add(html, "</svg></td><td>");
        awq__html_percent(html, shares[i]);
        awq__html_add(html, "</td></tr>\n");
    }
}

static void add_ratios(awq__html *html, const awq__page_result *results, int count)
{
    double bins[AWQ__MOST_RESULTS][BINS], identity[AWQ__MOST_RESULTS], shares[AWQ__MOST_RESULTS];
    for (int i = 0; i < count; i++)
        count_ratios(&results[i], bins[i], &identity[i]);
    awq__html_add(html, "<div class=\"scroll\"><table class=\"bars\">\n<caption>Ratios of the down "
                        "projections: the share of all experts</caption>\n");
    add_bin(html, "no scale", identity, count);
    for (int b = 0; b < BINS; b++) {
        char label[32];
        snprintf(label, sizeof label, b < BINS - 1 ? "%.1f to %.2f" : "%.1f", 0.1 * b,
                 0.1 * b + 0.09);
        for (int i = 0; i < count; i++)
            shares[i] = bins[i][b];
        add_bin(html, label, shares, count);
    }
    awq__html_add(html, "</table></div>\n");
}

/* ---- a table of layers ---- */

static void add_ratio(awq__html *html, const cJSON *ratio)
{
    awq__html_add(html, "<td>");
    if (cJSON_IsString(ratio))
        awq__html_text(html, "none");
    else
        awq__html_number(html, awq__number_of(ratio), 3);
    awq__html_add(html, "</td>");
}

static void add_number(awq__html *html, double number)
{
    awq__html_add(html, "<td>");
    awq__html_number(html, number, 3);
    awq__html_add(html, "</td>");
}

/* The length of NAME in "NAME_ratio", a name of letters and '_'; 0: it is another key, or none. */
static int input_length(const char *key)
{
    size_t length = key ? strlen(key) : 0, end = strlen("_ratio");
    bool fits = length > end && length < 40 && !strcmp(key + length - end, "_ratio") &&
                strspn(key, "abcdefghijklmnopqrstuvwxyz_") == length;
    return fits ? (int)(length - end) : 0;
}

/* The ratios of the attention's inputs, whatever their names are: "qkv 0.45, o none". */
static void add_attention(awq__html *html, const cJSON *attention)
{
    const cJSON *member;
    int shown = 0;
    awq__html_add(html, "<td class=\"text\">");
    cJSON_ArrayForEach(member, attention)
    {
        int length = input_length(member->string);
        if (!length)
            continue;
        awq__html_add(html, "%s%.*s ", shown++ ? ", " : "", length, member->string);
        if (cJSON_IsString(member))
            awq__html_add(html, "none");
        else
            awq__html_number(html, awq__number_of(member), 3);
    }
    awq__html_add(html, "</td>");
}

/* The share of a layer's experts, the shared one included, for which `key` is true. */
static double share_of(const cJSON *experts, const char *key)
{
    double all = 0, those = 0;
    const cJSON *expert,
        *others[] = {awq__json_at(experts, "shared"), awq__json_at(experts, "mlp")};
    cJSON_ArrayForEach(expert, awq__json_at(experts, "each"))
    {
        all++;
        those += cJSON_IsTrue(awq__json_at(expert, key));
    }
    for (size_t i = 0; i < 2; i++) {
        all += others[i] != NULL;
        those += cJSON_IsTrue(awq__json_at(others[i], key));
    }
    return those / all;
}

static void add_share(awq__html *html, double share)
{
    awq__html_add(html, "<td>");
    awq__html_percent(html, share);
    awq__html_add(html, "</td>");
}

/* How far the channel with the largest activations is above the median one, and the first
   outliers. */
static void add_channels(awq__html *html, const cJSON *salience)
{
    const cJSON *outliers = awq__json_at(salience, "outliers"), *channel;
    double largest = awq__number_of(awq__json_at(salience, "largest"));
    int shown = 0;
    add_number(html, largest / awq__number_of(awq__json_at(salience, "median")));
    awq__html_add(html, "<td class=\"text\">");
    cJSON_ArrayForEach(channel, outliers)
    {
        if (shown < SHOWN_CHANNELS)
            awq__html_add(html, "%s%.0f", shown ? ", " : "", awq__number_of(channel));
        shown++;
    }
    if (shown > SHOWN_CHANNELS)
        awq__html_add(html, " and %d more", shown - SHOWN_CHANNELS);
    awq__html_add(html, "</td>");
}

static void add_layer(awq__html *html, const awq__page_result *result, int n)
{
    const cJSON *layer = cJSON_GetArrayItem(awq__page_layers(result), n);
    const cJSON *experts = awq__json_at(layer, "experts");
    bool fell_back = cJSON_IsTrue(awq__json_at(experts, "fell_back_to_rtn"));
    awq__html_add(html, "<tr><th scope=\"row\">%d</th>", n);
    add_attention(html, awq__json_at(layer, "attention"));
    add_ratio(html, awq__json_at(experts, "gate_up_ratio"));
    add_channels(html, awq__json_at(experts, "gate_up_salience"));
    add_share(html, share_of(experts, "clipped"));
    add_share(html, share_of(experts, "gptq"));
    add_number(html, awq__number_of(awq__json_at(experts, "fold_error")));
    add_share(html, awq__number_of(awq__json_at(experts, "stored_router_agreement")));
    awq__html_add(html, "<td class=\"text%s</td></tr>\n",
                  fell_back ? " warn\">fell back to RTN" : "\">");
}

static const char *const titles[] = {"attention",
                                     "gate, up",
                                     "Largest activation / median",
                                     "Outlier channels",
                                     "Clipped",
                                     "GPTQ",
                                     "Error of the fold",
                                     "Same experts after rounding norm and router",
                                     "Remark"};

static void add_table(awq__html *html, const awq__page_result *result)
{
    awq__html_add(html, "<details><summary>");
    awq__html_text(html, result->name);
    awq__html_add(html, ": every layer</summary><div class=\"scroll\"><table>\n<tr><td></td><th "
                        "colspan=\"2\" scope=\"colgroup\">Ratio</th><th colspan=\"2\" "
                        "scope=\"colgroup\">Input of gate and up</th><th colspan=\"2\" "
                        "scope=\"colgroup\">Experts</th><th colspan=\"3\" "
                        "scope=\"colgroup\">Proof</th></tr>\n<tr><th scope=\"col\">Layer</th>");
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        awq__html_add(html, "<th scope=\"col\">%s</th>", titles[i]);
    awq__html_add(html, "</tr>\n");
    for (int n = 0; n < cJSON_GetArraySize(awq__page_layers(result)); n++)
        add_layer(html, result, n);
    awq__html_add(html, "</table></div></details>\n");
}

void awq__page_scales(awq__html *html, const awq__page_result *results, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++)
        any |=
            awq__json_at(cJSON_GetArrayItem(awq__page_layers(&results[i]), 0), "experts") != NULL;
    if (!any)
        return;
    awq__html_add(html,
                  "<section>\n<h2>Scales, ranges and proofs</h2>\n<p>The ratio says how much "
                  "of a channel's activation went into its scale: 0 none, 1 all. A channel "
                  "is an outlier if its activations are 8 times the median or more. The fold "
                  "was proved before rounding: its error is that of the float block, relative "
                  "to the largest output.</p>\n");
    add_ratios(html, results, count);
    for (int i = 0; i < count; i++)
        add_table(html, &results[i]);
    awq__html_add(html, "</section>\n");
}
