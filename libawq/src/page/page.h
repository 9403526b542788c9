/*
 * The report of a result, or of two beside each other, as one page of HTML for people.
 *
 * The page stands alone: no script, no file beside it, nothing from the network. Every number is a
 * <data> element with the value of awq_report.json; charts are tables with bars, or maps with their
 * figures in a table.
 */
#ifndef AWQ__PAGE_H
#define AWQ__PAGE_H

#include "page/html.h"

#define AWQ__MOST_RESULTS 2

/* What a result says of itself. */
typedef struct awq__page_result {
    char *name;                 /* for people: what tells the two apart */
    cJSON *report, *provenance; /* of its files */
} awq__page_result;

/* ---- page.c ---- */

/* Reads awq_report.json and awq_provenance.json of a directory; the name is copied.
   AWQ_ERROR_IO if one is not there, AWQ_ERROR_FORMAT if it is no report. */
awq_status awq__page_read(awq_context *ctx, const char *directory, const char *name,
                          awq__page_result *result);
void awq__page_free(awq__page_result *result);
/* The page of `count` results, 1 or 2. Free the text, also after a failure. */
awq_status awq__page_make(awq_context *ctx, const awq__page_result *results, int count,
                          awq__text *html);

/* ---- its sections ---- */

/* style.c: <style>, whose classes the sections use. */
void awq__page_style(awq__html *html);
/* overview.c: size, distance to the original, and what was done. */
void awq__page_overview(awq__html *html, const awq__page_result *results, int count);
void awq__page_recipe(awq__html *html, const awq__page_result *results, int count);
/* losses.c: each layer's error beside that of rounding to nearest. */
void awq__page_losses(awq__html *html, const awq__page_result *results, int count);
/* tokens.c: what calibration each expert saw. */
void awq__page_tokens(awq__html *html, const awq__page_result *results, int count);
/* scales.c: ratios, outlier channels, clip ranges and proofs. */
void awq__page_scales(awq__html *html, const awq__page_result *results, int count);
/* schemes.c: what mixed precision chose. Nothing where no result has it. */
void awq__page_schemes(awq__html *html, const awq__page_result *results, int count);

/* ---- facts.c: what several sections ask of a report ---- */

/* The layers of a report: an array, or NULL. */
const cJSON *awq__page_layers(const awq__page_result *result);
int awq__page_layer_count(const awq__page_result *results, int count);
/* "experts" of layer n, or NULL. */
const cJSON *awq__page_experts(const awq__page_result *result, int n);
/* The largest number of routed experts in a layer. */
int awq__page_width(const awq__page_result *result);
/* The class of a result's marks: "a" or "b". */
const char *awq__page_class(int result);
/* <th> of each result's name, where there are two. */
void awq__page_names(awq__html *html, const awq__page_result *results, int count);
/* A cell with a bar of this share of its width (beyond 1.25 it is cut) and a mark at 1, then a cell
   with the number. */
void awq__page_bar(awq__html *html, int result, double share);

#endif
