/*
 * A recipe in YAML as the CLI reads it, and a list as it stands behind --set. What is read is
 * written as YAML that reads back to the same.
 */
#include "recipe_text.h"
#include "plan/recipe.h"

#include <string.h>

static void compare_texts(const char *a, const char *b)
{
    MUST(!a == !b);
    MUST(!a || !strcmp(a, b));
}

static void compare(const awq_recipe *a, const awq_recipe *b)
{
    size_t count, rule_count;
    const awq_option *options = awq_option_list(&count);
    const awq_option *rule_options = awq_rule_option_list(&rule_count);
    for (size_t i = 0; i < count; i++) {
        const char *name = options[i].name;
        MUST(awq_recipe_count(a, name) == awq_recipe_count(b, name));
        for (size_t j = 0; j < awq_recipe_count(a, name); j++)
            compare_texts(awq_recipe_get(a, name, j), awq_recipe_get(b, name, j));
    }
    MUST(awq_recipe_rule_count(a) == awq_recipe_rule_count(b));
    for (size_t r = 0; r < awq_recipe_rule_count(a); r++)
        for (size_t i = 0; i < rule_count; i++)
            compare_texts(awq_recipe_rule_get(a, r, rule_options[i].name),
                          awq_recipe_rule_get(b, r, rule_options[i].name));
}

static void write_and_read(const awq_recipe *recipe)
{
    awq__text yaml = {0};
    MUST(awq__recipe_yaml(fuzz_context(), recipe, &yaml) == AWQ_OK);
    awq_recipe *again = fuzz_read_recipe(yaml.data, yaml.length, NULL);
    MUST(again);
    compare(recipe, again);
    awq_recipe_free(again);
    awq__text_free(&yaml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part parts[2];
    fuzz_split(data, size, parts, 2);
    awq_recipe *recipe = fuzz_read_recipe(parts[0].data, parts[0].size, "base");
    if (recipe && parts[1].size)
        fuzz_read_list(recipe, "quantize.modules", parts[1].data, parts[1].size);
    if (recipe) {
        fuzz_judge(awq__recipe_check(recipe));
        write_and_read(recipe);
    }
    awq_recipe_free(recipe);
    fuzz_free(parts, 2);
    return 0;
}
