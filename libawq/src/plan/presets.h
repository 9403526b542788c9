/* Schemes by the names that people know. */
#ifndef AWQ__PRESETS_H
#define AWQ__PRESETS_H

#include "plan/settings.h"

typedef struct awq__preset {
    const char *name; /* "w4a16" */
    int64_t bits, group_size;
    awq__symmetric symmetric;
    const char *format; /* that the recipe's format must be; NULL: any */
} awq__preset;
/* NULL for a name that is none, such as "none". */
const awq__preset *awq__preset_find(const char *name);
/* The format that the recipe's presets ask for; NULL if none does. AWQ_ERROR_RECIPE if they ask for
   different ones, or for another than the recipe names. */
awq_status awq__preset_format(awq_context *ctx, const awq_recipe *recipe,
                              const awq__settings *settings, const char **format);

#endif
