/* Schemes by the names that people know. */
#include "plan/presets.h"

#include <string.h>

static const awq__preset presets[] = {
    {"w4a16", 4, 0, AWQ__SYMMETRIC_TRUE, NULL},
    {"w4a16-asym", 4, 0, AWQ__SYMMETRIC_FALSE, NULL},
    /* A scale a row is what every engine's kernels of 8 bits take. */
    {"w8a16", 8, -1, AWQ__SYMMETRIC_TRUE, NULL},
    {"int8", 8, -1, AWQ__SYMMETRIC_TRUE, "bitsandbytes"},
    {"mxfp4", 4, 32, AWQ__SYMMETRIC_TRUE, "mxfp4"},
    {"nf4", 4, 64, AWQ__SYMMETRIC_TRUE, "bitsandbytes"},
};

const awq__preset *awq__preset_find(const char *name)
{
    for (size_t i = 0; name && i < sizeof presets / sizeof *presets; i++)
        if (!strcmp(presets[i].name, name))
            return &presets[i];
    return NULL;
}

/* One more preset that the recipe names. */
static awq_status add(awq_context *ctx, const char *wanted, const awq__preset *preset,
                      const char **format)
{
    if (!preset || !preset->format)
        return AWQ_OK;
    if (strcmp(wanted, "auto") && strcmp(wanted, preset->format))
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "preset %s: is stored in the format %s, but the recipe's format is %s; "
                         "auto or %s fits",
                         preset->name, preset->format, wanted, preset->format);
    if (*format && strcmp(*format, preset->format))
        return awq__fail(ctx, AWQ_ERROR_RECIPE,
                         "preset %s: is stored in the format %s, but another preset of the recipe "
                         "in %s; a checkpoint has one format",
                         preset->name, preset->format, *format);
    *format = preset->format;
    return AWQ_OK;
}

awq_status awq__preset_format(awq_context *ctx, const awq_recipe *recipe,
                              const awq__settings *settings, const char **format)
{
    *format = NULL;
    AWQ__CHECK(add(ctx, settings->format, awq__preset_find(settings->quantize.preset), format));
    for (size_t r = 0; r < awq_recipe_rule_count(recipe); r++) {
        const awq__preset *preset = awq__preset_find(awq_recipe_rule_get(recipe, r, "preset"));
        AWQ__CHECK(add(ctx, settings->format, preset, format));
    }
    return AWQ_OK;
}
