/* The rules of a recipe: what may be said, what is refused, and how they are written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/recipe.h"
#include "rules.h"

#include <stdio.h>

typedef struct fixture {
    awq_context *ctx;
    awq_recipe *recipe;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    *state = &f;
    if (awq_context_create(&f.ctx) != AWQ_OK)
        return -1;
    return awq_recipe_create(f.ctx, &f.recipe) != AWQ_OK;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    awq_recipe_free(f->recipe);
    awq_context_free(f->ctx);
    return 0;
}

static void rule(fixture *f, const char *const *pairs)
{
    add_rule(f->ctx, f->recipe, pairs);
}

static char *yaml_of(fixture *f)
{
    awq__text text = {0};
    succeeds(f->ctx, awq__recipe_yaml(f->ctx, f->recipe, &text));
    return text.data;
}

/* ---- the table ---- */

static void every_option_of_a_rule_is_found(void **state)
{
    (void)state;
    size_t count;
    const awq_option *options = awq_rule_option_list(&count);
    assert_int_equal(count, 14);
    for (size_t i = 0; i < count; i++) {
        const awq_option *option = &options[i];
        assert_ptr_equal(awq_rule_option_find(option->name), option);
        assert_ptr_equal(awq_rule_option_nearest(option->name), option);
        assert_true(strlen(option->help) > 10);
        assert_int_equal(option->help[strlen(option->help) - 1], '.');
        assert_string_equal(option->fallback, "");
        assert_false(option->required);
        assert_int_equal(option->type == AWQ_OPTION_CHOICE || option->type == AWQ_OPTION_CHOICES,
                         option->choices[0] != 0);
    }
    assert_null(awq_rule_option_find("layer"));
    assert_null(awq_rule_option_find(""));
    static const char *const misspelt[][2] = {{"layer", "layers"},           {"expert", "experts"},
                                              {"group-size", "group_size"},  {"roles", "role"},
                                              {"projections", "projection"}, {"matches", "match"}};
    for (size_t i = 0; i < sizeof misspelt / sizeof *misspelt; i++)
        assert_string_equal(awq_rule_option_nearest(misspelt[i][0])->name, misspelt[i][1]);
    assert_non_null(awq_rule_option_nearest(""));
}

/* What is said of a treatment is said in the same words as under quantize. */
static void treatments_have_the_choices_of_quantize(void **state)
{
    (void)state;
    static const char *const names[] = {"method",     "rounding",  "bits",
                                        "group_size", "symmetric", "clip"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        snprintf(name, sizeof name, "quantize.%s", names[i]);
        assert_string_equal(awq_rule_option_find(names[i])->choices,
                            awq_option_find(name)->choices);
        assert_int_equal(awq_rule_option_find(names[i])->type, awq_option_find(name)->type);
    }
}

/* ---- setting ---- */

static void rules_say_what_was_set(void **state)
{
    fixture *f = *state;
    assert_int_equal(awq_recipe_rule_count(f->recipe), 0);
    char value[] = "0-3";
    rule(f, PAIRS("layers", value, "bits", "8"));
    memset(value, '#', sizeof value - 1); /* the recipe owns a copy */
    for (int i = 0; i < 40; i++)
        rule(f, PAIRS("match", "a"));
    rule(f, PAIRS("match", "b", "match", "c"));
    assert_int_equal(awq_recipe_rule_count(f->recipe), 42);
    assert_string_equal(awq_recipe_rule_get(f->recipe, 0, "layers"), "0-3");
    assert_string_equal(awq_recipe_rule_get(f->recipe, 0, "bits"), "8");
    assert_null(awq_recipe_rule_get(f->recipe, 0, "match"));
    assert_string_equal(awq_recipe_rule_get(f->recipe, 40, "match"), "a");
    assert_string_equal(awq_recipe_rule_get(f->recipe, 41, "match"), "c"); /* the last one set */
    assert_null(awq_recipe_rule_get(f->recipe, 42, "match"));
    assert_null(awq_recipe_rule_get(f->recipe, SIZE_MAX, "match"));
    assert_null(awq_recipe_rule_get(f->recipe, 0, "layer"));
    assert_null(awq_recipe_rule_get(f->recipe, 0, NULL));
}

static void errors_leave_the_recipe_unchanged(void **state)
{
    fixture *f = *state;
    rule(f, PAIRS("layers", "0", "role", "expert", "bits", "8", "keep", "false", "match", "x"));
    static const struct {
        size_t rule;
        const char *name, *value, *message;
    } cases[] = {
        {0, "layer", "0", "a rule has no \"layer\"; did you mean \"layers\"?"},
        {0, "quantize.bits", "4", "a rule has no \"quantize.bits\"; did you mean \"bits\"?"},
        {0, "", "4", "a rule has no \"\""},
        {0, "bits", "5", "bits: \"5\" is not allowed; allowed is 2|4|8"},
        {0, "bits", "", "bits: \"\" is not allowed"},
        {0, "preset", "none", "preset: \"none\" is not allowed; allowed is w4a16|"},
        {0, "keep", "yes", "keep: \"yes\" is not allowed; allowed is true or false"},
        {0, "layers", "3-1", "layers: \"3-1\" is not allowed"},
        {0, "layers", "", "layers: \"\" is not allowed"},
        {0, "role", "experts", "role: \"experts\" is not allowed; allowed are expert|"},
        {0, "match", "", "match: an empty value is not allowed"},
        {0, "match", "a\xff", "match: \"a?\" is not UTF-8"},
        {0, "group_size", "16", "group_size: \"16\" is not allowed"},
        {0, NULL, "4", "a rule: its name is NULL"},
        {0, "bits", NULL, "a rule: its value is NULL"},
        {1, "bits", "4", "there is no rule 1, only 1"},
        {SIZE_MAX, "bits", "4", "there is no rule 18446744073709551615, only 1"},
    };
    char *before = yaml_of(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fails(f->ctx, awq_recipe_rule_set(f->recipe, cases[i].rule, cases[i].name, cases[i].value),
              AWQ_ERROR_ARGUMENT, cases[i].message);
        char *after = yaml_of(f);
        assert_string_equal(after, before);
        awq__free(after);
    }
    awq__free(before);
    assert_int_equal(awq_recipe_rule_count(f->recipe), 1);
    /* Values of rules are no options of the recipe. */
    assert_int_equal(awq_recipe_set(f->recipe, "layers", "0", NULL), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq_recipe_set(f->recipe, "rules", "0", NULL), AWQ_ERROR_ARGUMENT);
    assert_null(awq_recipe_get(f->recipe, "layers", 0));
}

/* ---- as YAML ---- */

static void rules_are_written_behind_the_options(void **state)
{
    fixture *f = *state;
    char *without = yaml_of(f);
    assert_null(strstr(without, "rules"));
    rule(f, PAIRS("bits", "8", "layers", "0-3, -1")); /* written in the order of the table */
    rule(f, PAIRS(NULL));
    rule(f, PAIRS("match", "re:.*\\.\"x\"", "experts", "even", "role", "expert, router",
                  "projection", "gate_up", "keep", "true", "preset", "w4a16", "method", "rtn",
                  "rounding", "gptq", "group_size", "-1", "symmetric", "auto", "clip", "false"));
    char *with = yaml_of(f);
    assert_memory_equal(with, without, strlen(without));
    assert_string_equal(with + strlen(without), "rules:\n"
                                                "  - layers: \"0-3, -1\"\n"
                                                "    bits: \"8\"\n"
                                                "  - {}\n"
                                                "  - match: \"re:.*\\\\.\\\"x\\\"\"\n"
                                                "    role: \"expert, router\"\n"
                                                "    experts: \"even\"\n"
                                                "    projection: \"gate_up\"\n"
                                                "    keep: \"true\"\n"
                                                "    preset: \"w4a16\"\n"
                                                "    method: \"rtn\"\n"
                                                "    rounding: \"gptq\"\n"
                                                "    group_size: \"-1\"\n"
                                                "    symmetric: \"auto\"\n"
                                                "    clip: \"false\"\n");
    awq__free(with);
    awq__free(without);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_of_a_rule_is_found),
        cmocka_unit_test(treatments_have_the_choices_of_quantize),
        TEST(rules_say_what_was_set),
        TEST(errors_leave_the_recipe_unchanged),
        TEST(rules_are_written_behind_the_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
