/* Which modules a recipe quantizes, and how. */
#ifndef AWQ__RULES_H
#define AWQ__RULES_H

#include "arch/arch.h"
#include "compute/compute.h"
#include "plan/recipe.h"

typedef struct awq__rules {
    bool *quantize;     /* [module_count] */
    awq__scheme scheme; /* group is -1 for the whole row; code and grid are the format's to set */
    bool calibrate;     /* activations are needed; else plain rounding */
    bool scale;         /* channel scales are searched and folded */
    bool clip;          /* ranges are searched */
    bool gptq;          /* rounding is error-compensated */
    char **warnings;
    size_t warning_count, warning_capacity;
} awq__rules;

/* What the recipe's `auto` means. */
typedef struct awq__rule_defaults {
    bool symmetric;
    int64_t group; /* 0: the largest of 128, 64 and 32 that divides every module's columns */
} awq__rule_defaults;

/* AWQ_ERROR_RECIPE if a pattern names only what may never be quantized, or if nothing would be
   quantized. */
awq_status awq__rules_create(awq_context *ctx, const awq_recipe *recipe, const awq__arch *arch,
                             const awq__rule_defaults *defaults, awq__rules *rules);
/* Settles a group size of `auto`. AWQ_ERROR_RECIPE if the group size does not divide the columns of
   a module in `quantize`: the message names the module and what fits. */
awq_status awq__rules_settle_group(awq_context *ctx, awq__rules *rules, const awq__arch *arch);
void awq__rules_free(awq__rules *rules);
awq_status awq__rules_warn(awq_context *ctx, awq__rules *rules, const char *format, ...)
    AWQ__PRINTF(3, 4);
/* The scheme of one module: its group is a number of columns. */
awq__scheme awq__rules_scheme(const awq__rules *rules, const awq__module *module);

#endif
