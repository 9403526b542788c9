/* HTML in the making. Pages are well-formed XML too, so that any parser reads them. */
#ifndef AWQ__HTML_H
#define AWQ__HTML_H

#include "core/json.h"

/* Zero-initialise but for ctx. After a failure nothing more is added, and `status` keeps it. */
typedef struct awq__html {
    awq_context *ctx;
    awq__text text;
    awq_status status;
} awq__html;

/* Markup, as it stands. */
void awq__html_add(awq__html *html, const char *format, ...) AWQ__PRINTF(2, 3);
/* Text of others: what would be markup is escaped. NULL: nothing. */
void awq__html_text(awq__html *html, const char *text);
/* A number for people, of at most `digits` significant digits, with its exact value beside it:
   <data value="EXACT">ROUNDED</data>. One that is not finite is a dash. */
void awq__html_number(awq__html *html, double number, int digits);
/* The same of a share, in percent. */
void awq__html_percent(awq__html *html, double share);
/* The same of a size in bytes: "13.42 MB". */
void awq__html_bytes(awq__html *html, double bytes);
/* The number of a JSON item; NAN where it is no number. */
double awq__number_of(const cJSON *item);

#endif
