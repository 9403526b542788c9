/* Which modules a recipe quantizes, and how. */
#ifndef AWQ__RULES_H
#define AWQ__RULES_H

#include "arch/arch.h"
#include "compute/compute.h"
#include "plan/settings.h"

/* What is done to the modules that share it. */
typedef struct awq__treatment {
    awq__scheme scheme; /* group is -1 for the whole row; code and grid are the format's to set */
    bool calibrate;     /* activations are needed; else RTN */
    bool scale;         /* channel scales are searched and folded */
    bool clip;          /* ranges are searched */
    bool gptq;          /* rounding is error-compensated */
    bool automatic;     /* bits and group are still to be chosen, within the recipe's target */
} awq__treatment;

/* Kinds of warnings of which there may be thousands. */
typedef enum awq__alike {
    AWQ__ALIKE_UNMATCHED, /* patterns and rules that match nothing */
    AWQ__ALIKE_SHADOWED,  /* rules behind others */
    AWQ__ALIKE_ROUTERS,   /* rules that match routers */
    AWQ__ALIKE_ABSORBED,  /* linears that engines multiply into others */
    AWQ__ALIKE_COUNT,
} awq__alike;

/* The one line for all of a kind. */
typedef struct awq__alike_lines {
    size_t count;        /* of those there are */
    size_t line, length; /* where the line is, and how long without the number of the others */
} awq__alike_lines;

typedef struct awq__rules {
    awq__treatment **treatments; /* the different ones */
    size_t treatment_count, treatment_capacity;
    const awq__treatment **of; /* [module_count]; NULL: stays float */
    bool calibrate;            /* some module's treatment does */
    bool ends;                 /* embedding and head may be quantized */
    char **warnings;
    size_t warning_count, warning_capacity;
    awq__alike_lines alike[AWQ__ALIKE_COUNT];
    bool told; /* warnings are logged as they arise */
} awq__rules;

/* What the recipe's `auto` means for codes of so many bits. A group of 0 is chosen by
   awq__rules_resolve_groups. */
typedef void (*awq__rule_defaults)(int bits, bool *symmetric, int64_t *group);

/* AWQ_ERROR_RECIPE if a pattern or rule names only what may never be quantized, if a rule
   contradicts itself, or if nothing would be quantized. */
awq_status awq__rules_create(awq_context *ctx, const awq_recipe *recipe,
                             const awq__settings *settings, const awq__arch *arch,
                             awq__rule_defaults defaults, awq__rules *rules);
void awq__rules_free(awq__rules *rules);
bool awq__same_treatment(const awq__treatment *a, const awq__treatment *b);
/* Gives module `index` a treatment, a copy of *treatment; NULL lets it stay float. */
awq_status awq__rules_treat(awq_context *ctx, awq__rules *rules, size_t index,
                            const awq__treatment *treatment);
/* Sets rules->calibrate from the treatments. */
void awq__rules_update(awq__rules *rules, const awq__arch *arch);
/* The scheme of module `index`, which is treated: its group is a number of columns. */
awq__scheme awq__rules_scheme(const awq__rules *rules, const awq__arch *arch, size_t index);

/* ---- group_size.c ---- */

/* What shall load the result. */
typedef struct awq__serving {
    const char *engine; /* of the recipe */
    const char *format; /* not "auto" */
    int64_t tensor_parallel;
    bool mixed; /* modules of the format may have different schemes */
} awq__serving;
/*
 * Settles group sizes of `auto`: of 128, 64 and 32 the largest that divides the columns of every
 * module with the treatment and is as good as any for the engine and its devices. A format that
 * is not mixed gets one for all. AWQ_ERROR_RECIPE if a group size does not divide the columns of a
 * module: the message names the module and what fits.
 */
awq_status awq__rules_resolve_groups(awq_context *ctx, awq__rules *rules, const awq__arch *arch,
                                     const awq__serving *serving);

/* ---- warnings.c ---- */

awq_status awq__rules_warn(awq_context *ctx, awq__rules *rules, const char *format, ...)
    AWQ__PRINTF(3, 4);
/* Of a kind there is one line: its first, and how many more there are. Before awq__rules_tell. */
awq_status awq__rules_warn_alike(awq_context *ctx, awq__rules *rules, awq__alike kind,
                                 const char *format, ...) AWQ__PRINTF(4, 5);
/* Logs the warnings so far, each once, and from now on each as it arises. */
void awq__rules_tell(awq_context *ctx, awq__rules *rules);

#endif
