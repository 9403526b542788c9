/*
 * A recipe and a config.json: the plan of the model that the config describes. Nothing of what the
 * recipe names is opened but the model, which is the target's own.
 */
#include "recipe_text.h"

#include <math.h>
#include <string.h>

static void set(awq_recipe *recipe, const char *name, const char *value)
{
    MUST(awq_recipe_set(recipe, name, value, NULL) == AWQ_OK);
}

static void check(const awq_plan *plan)
{
    uint64_t before = 0, after = 0;
    for (size_t i = 0; i < awq_plan_group_count(plan); i++) {
        const awq_plan_group *group = awq_plan_group_at(plan, i);
        MUST(group->count && group->pattern[0] && group->treatment[0]);
        MUST(isfinite(group->bits_per_weight));
        before += group->bytes_before;
        after += group->bytes_after;
    }
    MUST(before <= awq_plan_bytes_before(plan) && after <= awq_plan_bytes_after(plan));
    for (size_t i = 0; i < awq_plan_warning_count(plan); i++)
        MUST(fuzz_is_clean(awq_plan_warning_at(plan, i)));
}

static awq_status make_plan(awq_recipe *recipe)
{
    awq_plan *plan;
    set(recipe, "model", fuzz_path("m"));
    set(recipe, "output", fuzz_path("out"));
    set(recipe, "calibration.data", fuzz_path("ids.safetensors"));
    MUST(awq_recipe_clear(recipe, "evaluation.data") == AWQ_OK);
    awq_status status = awq_plan_create(fuzz_context(), recipe, &plan);
    fuzz_judge_public(status);
    MUST((status == AWQ_OK) == (plan != NULL));
    if (plan)
        check(plan);
    awq_plan_free(plan);
    return status;
}

static void begin(void)
{
    awq_recipe *recipe;
    fuzz_add_plugins();
    fuzz_make_directory("m");
    fuzz_write_tensors("ids.safetensors", "", "input_ids I32 1x6 0100000003000000");
    fuzz_write("m/config.json", fuzz_good_config, strlen(fuzz_good_config));
    MUST(awq_recipe_create(fuzz_context(), &recipe) == AWQ_OK);
    MUST(make_plan(recipe) == AWQ_OK);
    awq_recipe_free(recipe);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun;
    fuzz_part parts[2];
    if (!begun)
        begin();
    begun = true;
    fuzz_split(data, size, parts, 2);
    awq_recipe *recipe = fuzz_read_recipe(parts[0].data, parts[0].size, NULL);
    if (recipe && !fuzz_is_large(&parts[1])) {
        fuzz_write_part("m/config.json", &parts[1]);
        make_plan(recipe);
    }
    awq_recipe_free(recipe);
    fuzz_free(parts, 2);
    return 0;
}
