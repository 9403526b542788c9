/* Runs on a layer that the test has made, and what they report of it. */
#ifndef LAYER_RUN_H
#define LAYER_RUN_H

#include "golden/runs.h"
#include "support/handmade.h"

#include <math.h>

static char model_path[1024];

/* What all these runs have; an option that is set again counts as it is set last. */
static inline awq_recipe *layer_recipe(const fixture *f, const handmade *m,
                                       const char *const *options)
{
    char ids[1024], file[1100];
    snprintf(model_path, sizeof model_path, "%s/model", f->directory);
    snprintf(ids, sizeof ids, "%s/ids", f->directory);
    snprintf(file, sizeof file, "%s/model.safetensors", ids);
    if (!awq__is_directory(model_path))
        assert_ok(f, handmade_write(f->ctx, model_path, ids, m));
    const char *common[] = {"calibration.data",
                            file,
                            "calibration.samples",
                            "1",
                            "calibration.sequence_length",
                            "96",
                            "calibration.min_expert_tokens",
                            "0",
                            "format",
                            "awq",
                            "quantize.group_size",
                            "32",
                            NULL};
    awq_recipe *recipe = recipe_of(f, model_path, common);
    for (; *options; options += 2)
        assert_ok(f, awq_recipe_set(recipe, options[0], options[1], NULL));
    return recipe;
}

/* Runs and frees the recipe; the report is the caller's. */
static inline cJSON *report_of(const fixture *f, awq_recipe *recipe)
{
    const awq_quantize_options how = {.struct_size = sizeof how, .force = true};
    awq_report *report;
    cJSON *root;
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, &report));
    const char *text = awq_report_json(report);
    assert_ok(f, awq__json_parse(f->ctx, "report", text, strlen(text), &root));
    awq_report_free(report);
    awq_recipe_free(recipe);
    return root;
}

static inline const cJSON *experts_of(const cJSON *report)
{
    const cJSON *experts =
        awq__json_at(cJSON_GetArrayItem(awq__json_at(report, "layers"), 0), "experts");
    assert_non_null(experts);
    return experts;
}

static inline const cJSON *expert_of(const cJSON *report, int expert)
{
    return cJSON_GetArrayItem(awq__json_at(experts_of(report), "each"), expert);
}

static inline double number_of(const cJSON *object, const char *name)
{
    const cJSON *item = awq__json_at(object, name);
    if (!cJSON_IsNumber(item))
        fail_msg("the report has no number %s", name);
    return item->valuedouble;
}

static inline void assert_near(double found, double expected, double tolerance, const char *what)
{
    if (!(fabs(found - expected) <= tolerance * fabs(expected)))
        fail_msg("%s: %.8g, expected %.8g", what, found, expected);
}

#define LAYER_TEST(test) cmocka_unit_test_setup_teardown(test, set_up_run, tear_down)

#endif
