/* Typed settings: every option sets one member, as what it is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/settings.h"
#include "plan/value.h"

#include <stdio.h>
#include <string.h>

typedef struct fixture {
    awq_context *ctx;
    awq_recipe *recipe;
    awq__settings settings;
} fixture;

static int begin(void **state)
{
    static fixture f;
    f = (fixture){0};
    *state = &f;
    if (awq_context_create(&f.ctx) != AWQ_OK)
        return -1;
    return awq_recipe_create(f.ctx, &f.recipe) == AWQ_OK ? 0 : -1;
}

static int end(void **state)
{
    fixture *f = *state;
    awq_recipe_free(f->recipe);
    awq_context_free(f->ctx);
    return 0;
}

static const awq__setting *setting_of(const char *option, size_t *times)
{
    const awq__setting *found = NULL;
    size_t count;
    const awq__setting *list = awq__setting_list(&count);
    *times = 0;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(list[i].option, option)) {
            found = &list[i];
            ++*times;
        }
    return found;
}

static size_t kind_bytes(awq__setting_kind kind)
{
    static const size_t bytes[] = {
        [AWQ__SETTING_TEXT] = sizeof(char *),     [AWQ__SETTING_TEXTS] = sizeof(awq__texts),
        [AWQ__SETTING_INTEGER] = sizeof(int64_t), [AWQ__SETTING_BYTES] = sizeof(uint64_t),
        [AWQ__SETTING_NUMBER] = sizeof(double),   [AWQ__SETTING_BOOLEAN] = sizeof(bool),
        [AWQ__SETTING_WORD] = sizeof(int)};
    return bytes[kind];
}

static void every_option_sets_one_member(void **state)
{
    size_t option_count, count, times;
    const awq_option *options = awq_option_list(&option_count);
    const awq__setting *list = awq__setting_list(&count);
    (void)state;
    assert_int_equal(count, option_count);
    for (size_t i = 0; i < option_count; i++) {
        print_message("%s\n", options[i].name);
        assert_non_null(setting_of(options[i].name, &times));
        assert_int_equal(times, 1);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++)
            if (i != j && list[i].offset <= list[j].offset)
                assert_true(list[i].offset + kind_bytes(list[i].kind) <= list[j].offset);
}

/* May an option of this type set a member of this kind? */
static bool fits(awq_option_type type, awq__setting_kind kind)
{
    switch (type) {
    case AWQ_OPTION_TEXT:
    case AWQ_OPTION_PATH:
        return kind == AWQ__SETTING_TEXT;
    case AWQ_OPTION_INTEGER:
        return kind == AWQ__SETTING_INTEGER;
    case AWQ_OPTION_BOOLEAN:
        return kind == AWQ__SETTING_BOOLEAN;
    case AWQ_OPTION_SIZE:
        return kind == AWQ__SETTING_BYTES;
    case AWQ_OPTION_NUMBER:
        return kind == AWQ__SETTING_NUMBER;
    case AWQ_OPTION_TEXT_LIST:
    case AWQ_OPTION_PATH_LIST:
        return kind == AWQ__SETTING_TEXTS;
    case AWQ_OPTION_CHOICE: /* of words, of keys of a table, or of numbers */
        return kind == AWQ__SETTING_WORD || kind == AWQ__SETTING_TEXT ||
               kind == AWQ__SETTING_INTEGER;
    case AWQ_OPTION_CHOICES:
    case AWQ_OPTION_INDICES: /* of rules alone */
        break;
    }
    return false;
}

static void members_have_the_types_of_their_options(void **state)
{
    size_t option_count, times;
    const awq_option *options = awq_option_list(&option_count);
    (void)state;
    for (size_t i = 0; i < option_count; i++) {
        print_message("%s\n", options[i].name);
        assert_true(fits(options[i].type, setting_of(options[i].name, &times)->kind));
    }
}

/* Copies choice number `index` of "a|b|c" to text; false past the end. */
static bool choice_at(const char *choices, size_t index, char *text, size_t size)
{
    for (; index; index--) {
        choices += strcspn(choices, "|");
        if (!*choices++)
            return false;
    }
    snprintf(text, size, "%.*s", (int)strcspn(choices, "|"), choices);
    return true;
}

static void expect_choice(fixture *f, const awq__setting *setting, const char *text)
{
    const char *member = (const char *)&f->settings + setting->offset;
    int64_t number = 0;
    awq__settings_read(f->recipe, &f->settings);
    switch (setting->kind) {
    case AWQ__SETTING_WORD:
        assert_string_equal(setting->words[*(const int *)member], text);
        break;
    case AWQ__SETTING_TEXT:
        assert_string_equal(*(const char *const *)member, text);
        break;
    default:
        assert_true(!strcmp(text, "auto") || awq__value_integer(text, &number));
        assert_int_equal(*(const int64_t *)member, number);
    }
}

static void every_choice_has_a_value(void **state)
{
    fixture *f = *state;
    size_t option_count, times;
    const awq_option *options = awq_option_list(&option_count);
    for (size_t i = 0; i < option_count; i++) {
        const awq__setting *setting = setting_of(options[i].name, &times);
        size_t choices = 0;
        char text[32];
        if (options[i].type != AWQ_OPTION_CHOICE)
            continue;
        for (; choice_at(options[i].choices, choices, text, sizeof text); choices++) {
            print_message("%s: %s\n", options[i].name, text);
            assert_int_equal(awq_recipe_set(f->recipe, options[i].name, text, NULL), AWQ_OK);
            expect_choice(f, setting, text);
        }
        /* And every value of the enum is a choice. */
        for (size_t w = 0; setting->words && (w < choices || setting->words[w]); w++) {
            assert_non_null(setting->words[w]);
            assert_true(awq__word_in(options[i].choices, '|', setting->words[w]));
        }
    }
}

static void set(fixture *f, const char *name, const char *value)
{
    assert_int_equal(awq_recipe_set(f->recipe, name, value, NULL), AWQ_OK);
}

static void values_of_all_types_are_read(void **state)
{
    fixture *f = *state;
    const awq__settings *s = &f->settings;
    set(f, "model", "/m");
    set(f, "shard_size", "3GiB");
    set(f, "calibration.samples", "7");
    set(f, "quantize.target_bits", "4.25");
    set(f, "quantize.clip", "false");
    set(f, "quantize.group_size", "-1");
    set(f, "quantize.method", "rtn");
    set(f, "evaluation.data", "/a");
    assert_int_equal(awq_recipe_append(f->recipe, "evaluation.data", "/b", NULL), AWQ_OK);
    awq__settings_read(f->recipe, &f->settings);
    assert_string_equal(s->model, "/m");
    assert_true(s->shard_size == UINT64_C(3) << 30);
    assert_int_equal(s->calibration.samples, 7);
    assert_true(s->quantize.target_bits == 4.25);
    assert_false(s->quantize.clip);
    assert_int_equal(s->quantize.group_size, -1);
    assert_int_equal(s->quantize.method, AWQ__METHOD_RTN);
    assert_int_equal(s->evaluation.data.count, 2);
    assert_string_equal(s->evaluation.data.items[1], "/b");
    assert_true(s->has_target && s->calibrates);
}

static void what_is_unset_is_the_default_or_nothing(void **state)
{
    fixture *f = *state;
    const awq__settings *s = &f->settings;
    memset(&f->settings, 0x5a, sizeof f->settings);
    awq__settings_read(f->recipe, &f->settings);
    assert_string_equal(s->output, "");
    assert_string_equal(s->format, "auto");
    assert_int_equal(s->memory_limit, 0);
    assert_int_equal(s->calibration.sequence_length, 512);
    assert_int_equal(s->calibration.data.count, 0);
    assert_non_null(s->calibration.data.items);
    assert_true(s->quantize.target_bits == 0 && s->quantize.target_size == 0);
    assert_int_equal(s->quantize.group_size, 0);
    assert_int_equal(s->quantize.modules.count, 1);
    assert_true(s->quantize.clip);
    assert_true(s->calibrates && !s->has_target);
    set(f, "quantize.method", "rtn");
    awq__settings_read(f->recipe, &f->settings);
    assert_false(s->calibrates);
}

/* What the recipe says goes before its preset, and that before a default. */
static void presets_fill_what_the_recipe_leaves_open(void **state)
{
    fixture *f = *state;
    const awq__settings *s = &f->settings;
    set(f, "quantize.preset", "w8a16");
    awq__settings_read(f->recipe, &f->settings);
    assert_int_equal(s->quantize.bits, 8);
    assert_int_equal(s->quantize.group_size, -1);
    assert_int_equal(s->quantize.symmetric, AWQ__SYMMETRIC_TRUE);
    set(f, "quantize.group_size", "auto");
    set(f, "quantize.symmetric", "false");
    awq__settings_read(f->recipe, &f->settings);
    assert_int_equal(s->quantize.bits, 8);
    assert_int_equal(s->quantize.group_size, 0);
    assert_int_equal(s->quantize.symmetric, AWQ__SYMMETRIC_FALSE);
}

static void set_in_rule(fixture *f, const char *name, const char *value)
{
    assert_int_equal(awq_recipe_rule_set(f->recipe, 0, name, value), AWQ_OK);
}

/* The same names as quantize.* and the same words: what an option takes, a rule takes alike. */
static void a_rule_replaces_what_it_says(void **state)
{
    fixture *f = *state;
    awq__settings own;
    assert_int_equal(awq_recipe_add_rule(f->recipe), AWQ_OK);
    set(f, "quantize.method", "gptq");
    set(f, "quantize.bits", "2");
    set_in_rule(f, "role", "attention");
    set_in_rule(f, "preset", "nf4");
    set_in_rule(f, "group_size", "32");
    set_in_rule(f, "rounding", "gptq");
    set_in_rule(f, "clip", "false");
    awq__settings_read(f->recipe, &f->settings);
    awq__settings_of_rule(f->recipe, &f->settings, 0, &own);
    assert_int_equal(own.quantize.method, AWQ__METHOD_GPTQ);
    assert_int_equal(own.quantize.bits, 4);
    assert_int_equal(own.quantize.group_size, 32);
    assert_int_equal(own.quantize.symmetric, AWQ__SYMMETRIC_TRUE);
    assert_int_equal(own.quantize.rounding, AWQ__ROUNDING_GPTQ);
    assert_string_equal(own.quantize.preset, "nf4");
    assert_false(own.quantize.clip);
    assert_int_equal(f->settings.quantize.bits, 2);
    assert_true(f->settings.quantize.clip);
}

/* The treatments that rules may say are options of quantize, with the same choices. */
static void what_rules_say_is_an_option_of_quantize(void **state)
{
    size_t count, times;
    const awq_option *options = awq_rule_option_list(&count);
    (void)state;
    for (const awq_option *o = awq_rule_option_find("keep") + 1; o < options + count; o++) {
        char name[64];
        snprintf(name, sizeof name, "quantize.%s", o->name);
        const awq_option *general = awq_option_find(name);
        assert_non_null(general);
        assert_non_null(setting_of(name, &times));
        assert_int_equal(general->type, o->type);
        assert_non_null(strstr(general->choices, o->choices));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_sets_one_member),
        cmocka_unit_test(members_have_the_types_of_their_options),
        cmocka_unit_test_setup_teardown(every_choice_has_a_value, begin, end),
        cmocka_unit_test_setup_teardown(values_of_all_types_are_read, begin, end),
        cmocka_unit_test_setup_teardown(what_is_unset_is_the_default_or_nothing, begin, end),
        cmocka_unit_test_setup_teardown(presets_fill_what_the_recipe_leaves_open, begin, end),
        cmocka_unit_test_setup_teardown(a_rule_replaces_what_it_says, begin, end),
        cmocka_unit_test(what_rules_say_is_an_option_of_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
