/* What a recipe sets, typed and read once: nothing below the orders of work sees a recipe. */
#ifndef AWQ__SETTINGS_H
#define AWQ__SETTINGS_H

#include "plan/recipe.h"

typedef struct awq__texts {
    const char *const *items; /* never NULL */
    size_t count;
} awq__texts;

typedef enum awq__packing {
    AWQ__PACKING_PACK,
    AWQ__PACKING_CUT,
} awq__packing;

typedef enum awq__method {
    AWQ__METHOD_AWQ,
    AWQ__METHOD_GPTQ,
    AWQ__METHOD_RTN,
} awq__method;

typedef enum awq__rounding {
    AWQ__ROUNDING_NEAREST,
    AWQ__ROUNDING_GPTQ,
} awq__rounding;

typedef enum awq__symmetric {
    AWQ__SYMMETRIC_AUTO,
    AWQ__SYMMETRIC_TRUE,
    AWQ__SYMMETRIC_FALSE,
} awq__symmetric;

typedef enum awq__target_unit {
    AWQ__TARGET_UNIT_LAYER,
    AWQ__TARGET_UNIT_EXPERT,
} awq__target_unit;

/*
 * A member has the name of its option, where also its meaning and bounds are (options.c). An option
 * without a value is 0, "" or an empty list. Texts are borrowed from the recipe; those that name a
 * format, an engine, a plugin or a preset are keys of the tables of these.
 */
typedef struct awq__settings {
    const char *model, *output, *format, *engine, *device, *plugin;
    bool ignore_engine;
    int64_t tensor_parallel;
    uint64_t shard_size, memory_limit, device_memory; /* bytes */
    struct {
        awq__texts data;
        const char *field;
        int64_t samples, sequence_length, seed, min_expert_tokens;
        awq__packing packing;
    } calibration;
    struct {
        const char *preset;
        awq__method method;
        awq__rounding rounding;
        int64_t bits, group_size; /* group_size: 0 is auto, -1 a row */
        awq__symmetric symmetric;
        const char *type; /* of blocks; "auto" */
        bool clip;
        double target_bits;
        uint64_t target_size; /* bytes */
        const char *target_schemes;
        awq__target_unit target_unit;
        awq__texts modules;
        int64_t gptq_sweeps, ratio_steps, sketch_rows;
    } quantize;
    struct {
        awq__texts data;
        const char *field;
        int64_t sequence_length, windows;
    } evaluation;
    bool stores_ends; /* the format, once it is chosen, stores embedding and head quantized */
    bool has_target;  /* schemes are to be chosen within a size */
    bool calibrates;  /* some method of the recipe, or its target, needs activations */
} awq__settings;

/* Of a recipe that awq__recipe_check has found whole, and that stays unchanged. What
   quantize.preset means is in the members of bits, group_size and symmetric where the recipe does
   not set them. */
void awq__settings_read(const awq_recipe *recipe, awq__settings *settings);
/* The settings with what a rule says, by the same names, in place of quantize.*. */
void awq__settings_of_rule(const awq_recipe *recipe, const awq__settings *settings, size_t rule,
                           awq__settings *own);

/* ---- which member an option sets, for the test that all do ---- */

typedef enum awq__setting_kind {
    AWQ__SETTING_TEXT,
    AWQ__SETTING_TEXTS,
    AWQ__SETTING_INTEGER,
    AWQ__SETTING_BYTES,
    AWQ__SETTING_NUMBER,
    AWQ__SETTING_BOOLEAN,
    AWQ__SETTING_WORD, /* an enum */
} awq__setting_kind;

typedef struct awq__setting {
    const char *option;
    awq__setting_kind kind;
    size_t offset;            /* in awq__settings */
    const char *const *words; /* of WORD: by value of the enum, NULL at the end */
} awq__setting;
const awq__setting *awq__setting_list(size_t *count);

#endif
