/* What calibration each expert saw: a map of layers and experts. */
#include "page/page.h"

#include <math.h>
#include <stdlib.h>

#define CELL 10 /* units of a cell of the map, of which 9 are filled */
#define LEVELS 6

/* What a cell is drawn as: 1 to LEVELS by tokens, and marks of few tokens and of none. */
enum { MARK_RARE = LEVELS + 1, MARK_DEAD, MARKS };

static const char *const labels[MARKS] = {
    [1] = "under ¼ of the mean",
    [2] = "¼ to ½",
    [3] = "½ to 1",
    [4] = "1 to 2",
    [5] = "2 to 4",
    [6] = "4 times the mean and more",
    [MARK_RARE] = "few: borrowed tokens of others",
    [MARK_DEAD] = "none",
};
static const char *const classes[MARKS] = {
    [1] = "l1", [2] = "l2", [3] = "l3",           [4] = "l4",
    [5] = "l5", [6] = "l6", [MARK_RARE] = "rare", [MARK_DEAD] = "dead",
};

static double tokens_of(const cJSON *expert)
{
    return awq__number_of(awq__json_at(expert, "tokens"));
}

static bool is_rare(const cJSON *expert)
{
    return awq__number_of(awq__json_at(expert, "borrowed")) > 0;
}

static double mean_of(const cJSON *each)
{
    double sum = 0;
    const cJSON *expert;
    cJSON_ArrayForEach(expert, each) sum += tokens_of(expert);
    return sum / cJSON_GetArraySize(each);
}

static int level_of(double tokens, double mean)
{
    int level = 1;
    for (double limit = mean / 4; level < LEVELS && tokens >= limit; level++)
        limit *= 2;
    return level;
}

/* Is a cell of this expert drawn with this mark? */
static bool has_mark(const cJSON *expert, double mean, int mark)
{
    double tokens = tokens_of(expert);
    if (mark == MARK_DEAD)
        return tokens == 0;
    if (mark == MARK_RARE)
        return tokens > 0 && is_rare(expert);
    return tokens > 0 && level_of(tokens, mean) == mark;
}

/* One cell at x, y: filled, outlined or crossed out. */
static void add_cell(awq__html *html, int mark, int x, int y)
{
    if (mark == MARK_DEAD)
        awq__html_add(html, "M%d %dl7 7m0-7l-7 7", x + 1, y + 1);
    else if (mark == MARK_RARE)
        awq__html_add(html, "M%d %dh7v7h-7z", x + 1, y + 1);
    else
        awq__html_add(html, "M%d %dh9v9h-9z", x, y);
}

/* All cells with one mark are one path. */
static void add_marks(awq__html *html, const awq__page_result *result, int mark)
{
    int layers = cJSON_GetArraySize(awq__page_layers(result));
    awq__html_add(html, "<path class=\"%s\" d=\"", classes[mark]);
    for (int n = 0; n < layers; n++) {
        const cJSON *each = awq__json_at(awq__page_experts(result, n), "each"), *expert;
        double mean = mean_of(each);
        int x = 0;
        cJSON_ArrayForEach(expert, each)
        {
            if (has_mark(expert, mean, mark))
                add_cell(html, mark, x, n * CELL);
            x += CELL;
        }
    }
    awq__html_add(html, "\"/>\n");
}

static void add_map(awq__html *html, const awq__page_result *result)
{
    int layers = cJSON_GetArraySize(awq__page_layers(result)), width = awq__page_width(result);
    awq__html_add(html,
                  "<div class=\"scroll\"><svg class=\"map\" role=\"img\" viewBox=\"0 0 %d %d\" "
                  "style=\"max-width:%dpx;min-width:%dpx\" aria-label=\"Calibration tokens of %d "
                  "experts in each of %d layers; the table has the figures.\">\n",
                  width * CELL, layers * CELL, width * 28, width * 4, width, layers);
    for (int mark = 1; mark < MARKS; mark++)
        add_marks(html, result, mark);
    awq__html_add(html, "</svg></div>\n");
}

static void add_legend(awq__html *html)
{
    awq__html_add(html, "<ul class=\"legend\">\n");
    for (int mark = 1; mark < MARKS; mark++) {
        awq__html_add(html,
                      "<li><svg viewBox=\"0 0 9 9\" aria-hidden=\"true\"><path class=\"%s\" "
                      "d=\"",
                      classes[mark]);
        add_cell(html, mark, 0, 0);
        awq__html_add(html, "\"/></svg>%s</li>\n", labels[mark]);
    }
    awq__html_add(html, "</ul>\n");
}

/* ---- the figures of the map ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Tokens of a layer's experts, sorted. */
static double *sorted_tokens(awq__html *html, const cJSON *each)
{
    size_t count = (size_t)cJSON_GetArraySize(each), i = 0;
    double *tokens = awq__alloc(html->ctx, count, sizeof *tokens, "a page");
    const cJSON *expert;
    if (!tokens) {
        html->status = AWQ_ERROR_MEMORY;
        return NULL;
    }
    cJSON_ArrayForEach(expert, each) tokens[i++] = tokens_of(expert);
    qsort(tokens, count, sizeof *tokens, compare);
    return tokens;
}

static void add_numbers(awq__html *html, const cJSON *each, const double *tokens)
{
    int count = cJSON_GetArraySize(each), rare = 0, dead = 0;
    const cJSON *expert;
    cJSON_ArrayForEach(expert, each)
    {
        rare += has_mark(expert, 1, MARK_RARE);
        dead += has_mark(expert, 1, MARK_DEAD);
    }
    const double cells[] = {tokens[0], tokens[count / 2], tokens[count - 1], rare, dead};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        awq__html_add(html, "<td>");
        awq__html_number(html, cells[i], 6);
        awq__html_add(html, "</td>");
    }
}

static void add_table(awq__html *html, const awq__page_result *result)
{
    int layers = cJSON_GetArraySize(awq__page_layers(result));
    awq__html_add(html, "<details><summary>Figures</summary><div class=\"scroll\"><table>\n<tr><th "
                        "scope=\"col\">Layer</th><th scope=\"col\">Fewest tokens</th><th "
                        "scope=\"col\">Median</th><th scope=\"col\">Most</th><th "
                        "scope=\"col\">Experts with few</th><th scope=\"col\">With none</th>"
                        "</tr>\n");
    for (int n = 0; n < layers; n++) {
        const cJSON *each = awq__json_at(awq__page_experts(result, n), "each");
        if (!cJSON_GetArraySize(each))
            continue;
        double *tokens = sorted_tokens(html, each);
        awq__html_add(html, "<tr><th scope=\"row\">%d</th>", n);
        if (tokens)
            add_numbers(html, each, tokens);
        awq__html_add(html, "</tr>\n");
        awq__free(tokens);
    }
    awq__html_add(html, "</table></div></details>\n");
}

void awq__page_tokens(awq__html *html, const awq__page_result *results, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++)
        any |= awq__page_width(&results[i]) > 0;
    if (!any)
        return;
    awq__html_add(html, "<section>\n<h2>Calibration tokens of each expert</h2>\n<p>A row is a "
                        "layer, a column an expert. Shades are relative to the mean of the "
                        "layer.</p>\n");
    add_legend(html);
    awq__html_add(html, "<div class=\"pair\">\n");
    for (int i = 0; i < count; i++) {
        awq__html_add(html, "<figure><figcaption>");
        awq__html_text(html, results[i].name);
        awq__html_add(html, "</figcaption>\n");
        add_map(html, &results[i]);
        add_table(html, &results[i]);
        awq__html_add(html, "</figure>\n");
    }
    awq__html_add(html, "</div>\n");
    awq__html_add(html, "</section>\n");
}
