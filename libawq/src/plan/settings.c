/* From the texts of a recipe to typed settings. */
#include "plan/settings.h"
#include "plan/presets.h"
#include "plan/value.h"

#include <stddef.h>
#include <string.h>

static const char *const packings[] = {
    [AWQ__PACKING_PACK] = "pack", [AWQ__PACKING_CUT] = "cut", NULL};
static const char *const methods[] = {
    [AWQ__METHOD_AWQ] = "awq", [AWQ__METHOD_GPTQ] = "gptq", [AWQ__METHOD_RTN] = "rtn", NULL};
static const char *const roundings[] = {
    [AWQ__ROUNDING_NEAREST] = "nearest", [AWQ__ROUNDING_GPTQ] = "gptq", NULL};
static const char *const symmetries[] = {[AWQ__SYMMETRIC_AUTO] = "auto",
                                         [AWQ__SYMMETRIC_TRUE] = "true",
                                         [AWQ__SYMMETRIC_FALSE] = "false",
                                         NULL};
static const char *const units[] = {
    [AWQ__TARGET_UNIT_LAYER] = "layer", [AWQ__TARGET_UNIT_EXPERT] = "expert", NULL};

/* The member tells the option's name and how its text is read, so that neither can be wrong. */
#define MEMBER(member) (((awq__settings *)0)->member)
/* clang-format off */
#define KIND(member)                         \
    _Generic(MEMBER(member),                 \
             const char *: AWQ__SETTING_TEXT, \
             awq__texts: AWQ__SETTING_TEXTS,  \
             int64_t: AWQ__SETTING_INTEGER,   \
             uint64_t: AWQ__SETTING_BYTES,    \
             double: AWQ__SETTING_NUMBER,     \
             bool: AWQ__SETTING_BOOLEAN)
#define SETTING(member) {#member, KIND(member), offsetof(awq__settings, member), NULL}
#define WORD(member, words) {#member, AWQ__SETTING_WORD, offsetof(awq__settings, member), words}
/* clang-format on */

static const awq__setting settings_list[] = {
    SETTING(model),
    SETTING(output),
    SETTING(format),
    SETTING(engine),
    SETTING(ignore_engine),
    SETTING(tensor_parallel),
    SETTING(shard_size),
    SETTING(memory_limit),
    SETTING(device),
    SETTING(device_memory),
    SETTING(plugin),

    SETTING(calibration.data),
    SETTING(calibration.field),
    SETTING(calibration.samples),
    SETTING(calibration.sequence_length),
    WORD(calibration.packing, packings),
    SETTING(calibration.seed),
    SETTING(calibration.min_expert_tokens),

    SETTING(quantize.preset),
    WORD(quantize.method, methods),
    WORD(quantize.rounding, roundings),
    SETTING(quantize.gptq_sweeps),
    SETTING(quantize.bits),
    SETTING(quantize.group_size),
    WORD(quantize.symmetric, symmetries),
    SETTING(quantize.type),
    SETTING(quantize.target_bits),
    SETTING(quantize.target_size),
    SETTING(quantize.target_schemes),
    WORD(quantize.target_unit, units),
    SETTING(quantize.clip),
    SETTING(quantize.modules),
    SETTING(quantize.ratio_steps),
    SETTING(quantize.sketch_rows),

    SETTING(evaluation.data),
    SETTING(evaluation.field),
    SETTING(evaluation.sequence_length),
    SETTING(evaluation.windows),
};

enum { SETTING_COUNT = sizeof settings_list / sizeof *settings_list };

/* The section whose options a rule may have by their last part. */
#define GENERAL "quantize."

const awq__setting *awq__setting_list(size_t *count)
{
    *count = SETTING_COUNT;
    return settings_list;
}

static int word_at(const char *const *words, const char *text)
{
    int at = 0;
    while (words[at] && strcmp(words[at], text))
        at++;
    return at;
}

/* The text is a value of the option, which was checked when it was set, or "" for none. */
static void set(const awq__setting *setting, const char *text, void *member)
{
    int64_t number = 0;
    switch (setting->kind) {
    case AWQ__SETTING_TEXT:
        *(const char **)member = text;
        break;
    case AWQ__SETTING_INTEGER: /* "auto" is no integer */
        *(int64_t *)member = awq__value_integer(text, &number) ? number : 0;
        break;
    case AWQ__SETTING_BYTES:
        *(uint64_t *)member = awq__value_size(text, &number) ? (uint64_t)number : 0;
        break;
    case AWQ__SETTING_NUMBER:
        if (!awq__value_number(text, member))
            *(double *)member = 0;
        break;
    case AWQ__SETTING_BOOLEAN:
        *(bool *)member = !strcmp(text, "true");
        break;
    case AWQ__SETTING_WORD:
        *(int *)member = word_at(setting->words, text);
        break;
    case AWQ__SETTING_TEXTS:
        break;
    }
}

static awq__texts texts_of(const awq_recipe *recipe, const char *option)
{
    awq__texts texts;
    texts.items = awq__recipe_list(recipe, option, &texts.count);
    return texts;
}

static void read(const awq_recipe *recipe, const awq__setting *setting, awq__settings *settings)
{
    void *member = (char *)settings + setting->offset;
    if (setting->kind == AWQ__SETTING_TEXTS)
        *(awq__texts *)member = texts_of(recipe, setting->option);
    else
        set(setting, awq__recipe_text(recipe, setting->option), member);
}

static void take_preset(const char *name, awq__settings *settings)
{
    const awq__preset *preset = awq__preset_find(name);
    if (!preset)
        return;
    settings->quantize.bits = preset->bits;
    settings->quantize.group_size = preset->group_size;
    settings->quantize.symmetric = preset->symmetric;
}

void awq__settings_read(const awq_recipe *recipe, awq__settings *settings)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        read(recipe, &settings_list[i], settings);
    take_preset(settings->quantize.preset, settings);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (awq__recipe_says(recipe, settings_list[i].option))
            read(recipe, &settings_list[i], settings);
    settings->stores_ends = false;
    settings->has_target = awq__recipe_has_target(recipe);
    settings->calibrates = awq__recipe_calibrates(recipe);
}

void awq__settings_of_rule(const awq_recipe *recipe, const awq__settings *settings, size_t rule,
                           awq__settings *own)
{
    *own = *settings;
    take_preset(awq_recipe_rule_get(recipe, rule, "preset"), own);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const awq__setting *setting = &settings_list[i];
        bool general = strncmp(setting->option, GENERAL, sizeof GENERAL - 1) == 0;
        const char *name = awq__option_last_part(setting->option);
        const char *text = general ? awq_recipe_rule_get(recipe, rule, name) : NULL;
        if (text)
            set(setting, text, (char *)own + setting->offset);
    }
}
