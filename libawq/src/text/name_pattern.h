/* Patterns for the names of modules: whole names, globs and regular expressions. */
#ifndef AWQ__NAME_PATTERN_H
#define AWQ__NAME_PATTERN_H

#include "core/core.h"

typedef enum awq__name_kind {
    AWQ__NAME_EXACT,
    /* A shell glob in which "*" also matches dots; it may leave out the first components of a
       name: "mlp.experts.*" matches model.layers.0.mlp.experts.1.up_proj. */
    AWQ__NAME_GLOB,
    /* From the beginning of the name, but not to its end: what Python's re.match does. */
    AWQ__NAME_REGEX,
} awq__name_kind;

typedef struct awq__name_pattern {
    awq__name_kind kind;
    char *text;
    struct pcre2_real_code_8 *code; /* of a regular expression */
} awq__name_pattern;

/* "re:" before the text makes it a regular expression, else it is of kind `other`. AWQ_ERROR_FORMAT
   if it does not compile; `where` names what it stands in, for messages. */
awq_status awq__name_pattern_create(awq_context *ctx, const char *where, const char *text,
                                    awq__name_kind other, awq__name_pattern *pattern);
void awq__name_pattern_free(awq__name_pattern *pattern);
/* AWQ_ERROR_UNSUPPORTED for a regular expression that backtracks without end. */
awq_status awq__name_pattern_match(awq_context *ctx, const awq__name_pattern *pattern,
                                   const char *name, bool *matches);

#endif
