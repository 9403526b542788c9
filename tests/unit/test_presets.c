/* Schemes by the names that people know. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/presets.h"
#include "rules.h"

#include <stdio.h>

typedef struct fixture {
    awq_context *ctx;
    awq__arch *arch;
    awq_recipe *recipe;
    awq__rules rules;
} fixture;

static void renew(fixture *f)
{
    awq__rules_free(&f->rules);
    awq_recipe_free(f->recipe);
    succeeds(f->ctx, awq_recipe_create(f->ctx, &f->recipe));
}

static int open_model(void **state)
{
    static fixture f;
    *state = &f;
    f = (fixture){0};
    if (awq_context_create(&f.ctx) != AWQ_OK)
        return -1;
    succeeds(f.ctx, awq_context_add_plugin_path(f.ctx, AWQ_TEST_PLUGINS));
    succeeds(f.ctx, awq__arch_open(f.ctx, AWQ_TEST_DATA "/mixtral-tiny", NULL, &f.arch));
    renew(&f);
    return 0;
}

static int close_model(void **state)
{
    fixture *f = *state;
    awq__rules_free(&f->rules);
    awq_recipe_free(f->recipe);
    awq__arch_free(f->arch);
    awq_context_free(f->ctx);
    return 0;
}

static void set(fixture *f, const char *name, const char *value)
{
    succeeds(f->ctx, awq_recipe_set(f->recipe, name, value, NULL));
}

/* A format whose `auto` no preset means. */
static void defaults(int bits, bool *symmetric, int64_t *group)
{
    (void)bits;
    *symmetric = false;
    *group = 0;
}

static awq_status format_of(const fixture *f, const char **format)
{
    awq__settings settings;
    awq__settings_read(f->recipe, &settings);
    return awq__preset_format(f->ctx, f->recipe, &settings, format);
}

/* The scheme of a module that a recipe treats. */
static awq__scheme scheme_of(fixture *f, const char *name)
{
    awq__rules_free(&f->rules);
    succeeds(f->ctx, create_rules(f->ctx, f->recipe, f->arch, defaults, &f->rules));
    for (size_t i = 0; i < f->arch->module_count; i++)
        if (!strcmp(f->arch->modules[i].name, name))
            return f->rules.of[i]->scheme;
    fail_msg("there is no %s", name);
    return (awq__scheme){0};
}

#define EXPERT(layer) "model.layers." #layer ".block_sparse_moe.experts.0.w1"

static void assert_scheme(fixture *f, const char *module, int bits, int64_t group, bool symmetric)
{
    awq__scheme scheme = scheme_of(f, module);
    assert_int_equal(scheme.bits, bits);
    assert_int_equal(scheme.group, group);
    assert_int_equal(scheme.symmetric, symmetric);
}

static const struct {
    const char *name;
    int bits;
    int64_t group; /* 0: the largest that fits */
    bool symmetric;
    const char *format;
} presets[] = {
    {"w4a16", 4, 0, true, NULL},     {"w4a16-asym", 4, 0, false, NULL},
    {"w8a16", 8, -1, true, NULL},    {"int8", 8, -1, true, "bitsandbytes"},
    {"mxfp4", 4, 32, true, "mxfp4"}, {"nf4", 4, 64, true, "bitsandbytes"},
};
enum { PRESETS = sizeof presets / sizeof *presets };

static void a_preset_is_bits_groups_and_symmetry(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < PRESETS; i++) {
        const awq__preset *preset = awq__preset_find(presets[i].name);
        assert_string_equal(preset->name, presets[i].name);
        if (presets[i].format)
            assert_string_equal(preset->format, presets[i].format);
        else
            assert_null(preset->format);
        renew(f);
        set(f, "quantize.preset", presets[i].name);
        assert_scheme(f, EXPERT(0), presets[i].bits, presets[i].group, presets[i].symmetric);
        renew(f);
        add_rule(f->ctx, f->recipe, PAIRS("layers", "1", "preset", presets[i].name));
        assert_scheme(f, EXPERT(1), presets[i].bits, presets[i].group, presets[i].symmetric);
        assert_scheme(f, EXPERT(0), 4, 0, false); /* not the rule's */
    }
    assert_null(awq__preset_find("none"));
    assert_null(awq__preset_find(""));
    assert_null(awq__preset_find(NULL));
    assert_null(awq__preset_find("w4a1"));
}

/* Each choice of the options is a preset, and each preset a choice. */
static void options_name_every_preset(void **state)
{
    fixture *f = *state;
    const char *general = awq_option_find("quantize.preset")->choices;
    const char *of_rules = awq_rule_option_find("preset")->choices;
    char joined[256] = "none";
    for (size_t i = 0; i < PRESETS; i++)
        snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "|%s", presets[i].name);
    assert_string_equal(general, joined);
    assert_string_equal(of_rules, joined + strlen("none|"));
    assert_int_equal(awq_recipe_set(f->recipe, "quantize.preset", "w3a16", NULL),
                     AWQ_ERROR_ARGUMENT);
    assert_string_equal(awq_recipe_get(f->recipe, "quantize.preset", 0), "none");
}

static void what_is_said_goes_before_a_preset(void **state)
{
    fixture *f = *state;
    set(f, "quantize.preset", "w8a16");
    set(f, "quantize.bits", "4"); /* the default, but said */
    assert_scheme(f, EXPERT(0), 4, -1, true);
    set(f, "quantize.group_size", "64");
    assert_scheme(f, EXPERT(0), 4, 64, true);
    set(f, "quantize.symmetric", "auto"); /* the format's */
    assert_scheme(f, EXPERT(0), 4, 64, false);
    succeeds(f->ctx, awq_recipe_clear(f->recipe, "quantize.bits"));
    succeeds(f->ctx, awq_recipe_clear(f->recipe, "quantize.symmetric"));
    assert_scheme(f, EXPERT(0), 8, 64, true);
    set(f, "quantize.preset", "none");
    assert_scheme(f, EXPERT(0), 4, 64, false);
}

/* From what is general to what is particular: the preset, quantize.*, the rule's preset, the rule.
 */
static void a_rules_preset_goes_before_quantize(void **state)
{
    fixture *f = *state;
    set(f, "quantize.preset", "w8a16");
    set(f, "quantize.group_size", "128");
    add_rule(f->ctx, f->recipe, PAIRS("layers", "0", "clip", "false"));
    assert_scheme(f, EXPERT(0), 8, 128, true); /* as quantize has it, preset included */
    succeeds(f->ctx, awq_recipe_rule_set(f->recipe, 0, "preset", "w4a16-asym"));
    assert_scheme(f, EXPERT(0), 4, 0, false);
    succeeds(f->ctx, awq_recipe_rule_set(f->recipe, 0, "symmetric", "true"));
    assert_scheme(f, EXPERT(0), 4, 0, true);
    succeeds(f->ctx, awq_recipe_rule_set(f->recipe, 0, "group_size", "32"));
    succeeds(f->ctx, awq_recipe_rule_set(f->recipe, 0, "bits", "2"));
    assert_scheme(f, EXPERT(0), 2, 32, true);
    assert_scheme(f, EXPERT(1), 8, 128, true);
}

/* ---- formats ---- */

static void assert_format(fixture *f, const char *expected)
{
    const char *format = "?";
    succeeds(f->ctx, format_of(f, &format));
    if (expected)
        assert_string_equal(format, expected);
    else
        assert_null(format);
}

static void presets_ask_for_formats(void **state)
{
    fixture *f = *state;
    assert_format(f, NULL);
    for (size_t i = 0; i < PRESETS; i++) {
        renew(f);
        set(f, "quantize.preset", presets[i].name);
        assert_format(f, presets[i].format);
        renew(f);
        add_rule(f->ctx, f->recipe, PAIRS("layers", "0", "preset", "w8a16"));
        add_rule(f->ctx, f->recipe, PAIRS("role", "expert", "preset", presets[i].name));
        add_rule(f->ctx, f->recipe, PAIRS("layers", "1", "bits", "8"));
        assert_format(f, presets[i].format);
        if (presets[i].format && !strcmp(presets[i].format, "mxfp4")) {
            set(f, "format", "mxfp4");
            assert_format(f, "mxfp4");
        }
    }
}

static void a_checkpoint_has_one_format(void **state)
{
    fixture *f = *state;
    const char *format;
    set(f, "quantize.preset", "mxfp4");
    set(f, "format", "compressed-tensors");
    fails(f->ctx, format_of(f, &format), AWQ_ERROR_RECIPE,
          "preset mxfp4: is stored in the format mxfp4, but the recipe's format is "
          "compressed-tensors; auto or mxfp4 fits");
    renew(f);
    set(f, "format", "awq");
    add_rule(f->ctx, f->recipe, PAIRS("layers", "0", "preset", "w4a16"));
    assert_format(f, NULL);
    add_rule(f->ctx, f->recipe, PAIRS("layers", "0", "preset", "nf4"));
    fails(f->ctx, format_of(f, &format), AWQ_ERROR_RECIPE,
          "preset nf4: is stored in the format bitsandbytes, but the recipe's format is awq");
    renew(f);
    set(f, "quantize.preset", "mxfp4");
    add_rule(f->ctx, f->recipe, PAIRS("layers", "0", "preset", "int8"));
    fails(f->ctx, format_of(f, &format), AWQ_ERROR_RECIPE,
          "preset int8: is stored in the format bitsandbytes, but another preset of the recipe in "
          "mxfp4; a checkpoint has one format");
    renew(f);
    set(f, "quantize.preset", "nf4");
    add_rule(f->ctx, f->recipe, PAIRS("layers", "0", "preset", "int8"));
    assert_format(f, "bitsandbytes"); /* two of one format */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_model, close_model)
    const struct CMUnitTest tests[] = {
        TEST(a_preset_is_bits_groups_and_symmetry),
        TEST(options_name_every_preset),
        TEST(what_is_said_goes_before_a_preset),
        TEST(a_rules_preset_goes_before_quantize),
        TEST(presets_ask_for_formats),
        TEST(a_checkpoint_has_one_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
