/*
 * config.json alone, through the plugin of its model_type: the model that it describes is opened
 * and planned.
 */
#include "fuzz.h"

#include <math.h>
#include <string.h>

static awq_recipe *make_recipe(void)
{
    awq_recipe *recipe;
    MUST(awq_recipe_create(fuzz_context(), &recipe) == AWQ_OK);
    MUST(awq_recipe_set(recipe, "model", fuzz_path("m"), NULL) == AWQ_OK);
    MUST(awq_recipe_set(recipe, "output", fuzz_path("out"), NULL) == AWQ_OK);
    MUST(awq_recipe_set(recipe, "quantize.method", "rtn", NULL) == AWQ_OK);
    return recipe;
}

static awq_status plan(void)
{
    awq_recipe *recipe = make_recipe();
    awq_plan *plan;
    awq_status status = awq_plan_create(fuzz_context(), recipe, &plan);
    fuzz_judge_public(status);
    MUST((status == AWQ_OK) == (plan != NULL));
    for (size_t i = 0; plan && i < awq_plan_group_count(plan); i++) {
        const awq_plan_group *group = awq_plan_group_at(plan, i);
        MUST(group->count && isfinite(group->bits_per_weight));
    }
    for (size_t i = 0; plan && i < awq_plan_warning_count(plan); i++)
        MUST(fuzz_is_clean(awq_plan_warning_at(plan, i)));
    awq_plan_free(plan);
    awq_recipe_free(recipe);
    return status;
}

static awq_status open_and_plan(const void *config, size_t size)
{
    awq_model *model;
    fuzz_write("m/config.json", config, size);
    awq_status status = awq_model_open(fuzz_context(), fuzz_path("m"), NULL, &model);
    fuzz_judge_public(status);
    MUST((status == AWQ_OK) == (model != NULL));
    if (model)
        fuzz_check_model(model);
    awq_model_free(model);
    return status == AWQ_OK ? plan() : status;
}

static void begin(void)
{
    fuzz_add_plugins();
    fuzz_make_directory("m");
    MUST(open_and_plan(fuzz_good_config, strlen(fuzz_good_config)) == AWQ_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun;
    fuzz_part config;
    if (!begun)
        begin();
    begun = true;
    fuzz_split(data, size, &config, 1);
    if (!fuzz_is_large(&config))
        open_and_plan(config.data, config.size);
    fuzz_free(&config, 1);
    return 0;
}
