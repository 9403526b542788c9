/* Which modules a recipe quantizes, and how. */
#ifndef AWQ__RULES_H
#define AWQ__RULES_H

#include "arch/arch.h"
#include "compute/compute.h"
#include "plan/recipe.h"

typedef struct awq__rules {
    bool *quantize;     /* [module_count] */
    awq__scheme scheme; /* group is -1 for the whole row; the grid is set for each module */
    bool awq;           /* method: scales are searched; else plain rounding */
    bool clip;
    char **warnings;
    size_t warning_count, warning_capacity;
} awq__rules;

/* AWQ_ERROR_RECIPE if a pattern names only what may never be quantized, if nothing would be
   quantized, or if the group size does not divide a module's columns: the message names the module
   and what fits. */
awq_status awq__rules_create(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                             awq__rules *rules);
void awq__rules_free(awq__rules *rules);
awq_status awq__rules_warn(awq_context *ctx, awq__rules *rules, const char *format, ...)
    AWQ__PRINTF(3, 4);
/* The scheme of one module: its group, and the grid for weights stored as dtype. */
awq__scheme awq__rules_scheme(const awq__rules *rules, const awq__module *module, awq_dtype dtype);

#endif
