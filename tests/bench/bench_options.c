/*
 * What each refinement of the search is worth: for each scheme of a model's reference.json, with
 * scales and clip, the KL with the default options, and with one option switched the KL over that.
 *
 *   bench_options PLUGIN_DIR MODEL_DIR... [OPTION=VALUE...]
 *
 * OPTION=VALUE is set on every recipe; only= names the one column to measure. Calibrates and
 * evaluates as bench_quality does. Prints a Markdown table with the mean of each column beneath.
 */
#include "quality.h"

#include <stdio.h>
#include <string.h>

typedef struct column {
    const char *title, *name, *value;
    bool asymmetric; /* changes nothing where codes are symmetric */
} column;

static const column columns[] = {
    {"tokens equal", "quantize.token_weights", "equal", false},
    {"rows equal", "quantize.row_weights", "equal", false},
    {"nothing borrowed", "calibration.min_expert_tokens", "0", false},
    {"ends together", "quantize.clip_ends", "together", true},
    {"powers of two", "quantize.scale_rounding", "power_of_two", false},
    {"scales not rounded", "quantize.scale_rounding", "none", false},
    {"joined", "quantize.gate_up_scale", "joined", false},
    {"by output", "quantize.search", "output", false},
    {"7 finalists", "quantize.search_finalists", "7", false},
    {"GPTQ", "quantize.rounding", "gptq", false},
};

enum { COLUMNS = sizeof columns / sizeof *columns };

typedef struct table {
    quality quality;
    const char *only;
    double sums[COLUMNS];
    int counts[COLUMNS];
} table;

static bool is_shown(const table *t, int i)
{
    return !t->only || !strcmp(t->only, columns[i].title);
}

static void print_head(const table *t)
{
    printf("| model | scheme | KL |");
    for (int i = 0; i < COLUMNS; i++)
        if (is_shown(t, i))
            printf(" %s |", columns[i].title);
    printf("\n| --- | --- | --- |");
    for (int i = 0; i < COLUMNS; i++)
        if (is_shown(t, i))
            printf(" --- |");
    printf("\n");
}

/* The reference searches no exponents for MXFP4; its row is of the scales alone. */
static bool is_measured(quality_row *row)
{
    if (!strcmp(row->bits, "mx") && !strcmp(row->method, "awq"))
        row->method = "awq+clip";
    return !strcmp(row->method, "awq+clip");
}

static void run_cell(table *t, const quality_row *row, double kl, int i)
{
    double seconds;
    if (columns[i].asymmetric && row->symmetric) {
        printf("  |");
        return;
    }
    int options = t->quality.options;
    quality_add(&t->quality, columns[i].name, columns[i].value);
    double ratio = quality_measure(&t->quality, row, &seconds) / kl;
    t->quality.options = options;
    t->sums[i] += ratio;
    t->counts[i]++;
    printf(" %.3f |", ratio);
    fflush(stdout);
}

static void run_row(table *t, const cJSON *item)
{
    quality_row row;
    if (!quality_read(item, &row) || !is_measured(&row))
        return;
    const char *slash = strrchr(t->quality.model, '/');
    double seconds, kl = quality_measure(&t->quality, &row, &seconds);
    printf("| %s | %s, %s, %s | %.6f |", slash ? slash + 1 : t->quality.model, row.bits, row.group,
           row.symmetric ? "symmetric" : "asymmetric", kl);
    fflush(stdout);
    for (int i = 0; i < COLUMNS; i++)
        if (is_shown(t, i))
            run_cell(t, &row, kl, i);
    printf("\n");
}

static void run_model(table *t, const char *model)
{
    cJSON *root = quality_references(model);
    const cJSON *row;
    t->quality.model = model;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "rows"))
    {
        run_row(t, row);
    }
    cJSON_Delete(root);
}

static void print_means(const table *t)
{
    printf("| mean | | |");
    for (int i = 0; i < COLUMNS; i++)
        if (is_shown(t, i))
            printf(" %.3f |", t->sums[i] / t->counts[i]);
    printf("\n");
}

int main(int count, char **arguments)
{
    table t = {0};
    int models = 2;
    if (count < 3) {
        fprintf(stderr, "usage: bench_options PLUGIN_DIR MODEL_DIR... [OPTION=VALUE...]\n");
        return 2;
    }
    quality_begin(&t.quality, arguments[1]);
    while (models < count && !strchr(arguments[models], '='))
        models++;
    for (int i = models; i < count; i++) {
        const char *value = quality_split(arguments[i]);
        if (!strcmp(arguments[i], "only"))
            t.only = value;
        else
            quality_add(&t.quality, arguments[i], value);
    }
    print_head(&t);
    for (int i = 2; i < models; i++)
        run_model(&t, arguments[i]);
    print_means(&t);
    quality_end(&t.quality);
    return 0;
}
