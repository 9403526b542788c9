/* The option table and the recipe over it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/settings.h"

#include <stdio.h>
#include <string.h>

typedef struct fixture {
    awq_context *ctx;
    awq_recipe *recipe;
} fixture;

static fixture shared;

static int setup(void **state)
{
    *state = &shared;
    if (awq_context_create(&shared.ctx) != AWQ_OK)
        return -1;
    return awq_recipe_create(shared.ctx, &shared.recipe) == AWQ_OK ? 0 : -1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    awq_recipe_free(f->recipe);
    awq_context_free(f->ctx);
    return 0;
}

static awq__settings settings_of(const fixture *f)
{
    awq__settings settings;
    awq__settings_read(f->recipe, &settings);
    return settings;
}

static void set(fixture *f, const char *name, const char *value)
{
    assert_int_equal(awq_recipe_set(f->recipe, name, value, NULL), AWQ_OK);
    assert_string_equal(awq_context_message(f->ctx), "");
}

static void assert_refused(fixture *f, const char *name, const char *value, const char *message)
{
    assert_int_equal(awq_recipe_set(f->recipe, name, value, NULL), AWQ_ERROR_ARGUMENT);
    assert_string_equal(awq_context_message(f->ctx), message);
}

static void every_default_is_a_legal_value(void **state)
{
    fixture *f = *state;
    size_t count;
    const awq_option *options = awq_option_list(&count);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        const awq_option *option = &options[i];
        assert_ptr_equal(awq_option_find(option->name), option);
        assert_ptr_equal(awq_option_nearest(option->name), option);
        assert_true(strlen(option->help) > 10);
        assert_int_equal(option->help[strlen(option->help) - 1], '.');
        assert_int_equal(option->type == AWQ_OPTION_CHOICE || option->type == AWQ_OPTION_CHOICES,
                         option->choices[0] != 0);
        if (option->required)
            assert_string_equal(option->fallback, "");
        if (option->fallback[0]) {
            assert_int_equal(awq_recipe_count(f->recipe, option->name), 1);
            assert_string_equal(awq_recipe_get(f->recipe, option->name, 0), option->fallback);
            assert_null(awq_recipe_get(f->recipe, option->name, 1));
            set(f, option->name, option->fallback);
        } else {
            assert_int_equal(awq_recipe_count(f->recipe, option->name), 0);
            assert_null(awq_recipe_get(f->recipe, option->name, 0));
        }
    }
    assert_null(awq_option_find("quantize"));
}

static void the_options_of_a_section_stand_together(void **state)
{
    (void)state;
    size_t count;
    const awq_option *options = awq_option_list(&count);
    for (size_t i = 1; i < count; i++)
        for (size_t j = 0; j + 1 < i; j++) {
            size_t length = (size_t)(awq__option_last_part(options[i].name) - options[i].name);
            bool same = !strncmp(options[i].name, options[j].name, length) &&
                        !strchr(options[j].name + length, '.');
            bool same_as_last = !strncmp(options[i].name, options[i - 1].name, length) &&
                                !strchr(options[i - 1].name + length, '.');
            assert_false(same && !same_as_last);
        }
}

static void a_misspelt_name_is_recognised(void **state)
{
    fixture *f = *state;
    static const char *const pairs[][2] = {
        {"modle", "model"},
        {"calibration.sample", "calibration.samples"},
        {"samples", "calibration.samples"},
        {"quantise.bits", "quantize.bits"},
        {"quantize.groupsize", "quantize.group_size"},
        {"calib.seed", "calibration.seed"},
        {"evaluation.window", "evaluation.windows"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        assert_string_equal(awq_option_nearest(pairs[i][0])->name, pairs[i][1]);
    char endless[1000];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    assert_non_null(awq_option_nearest(endless));
    assert_non_null(awq_option_nearest(""));

    assert_refused(f, "quantize.bit", "4",
                   "there is no option \"quantize.bit\"; did you mean \"quantize.bits\"?");
    assert_int_equal(awq_recipe_clear(f->recipe, "bits"), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq_recipe_append(f->recipe, "modules", "x", NULL), AWQ_ERROR_ARGUMENT);
    assert_null(awq_recipe_get(f->recipe, "bits", 0));
    assert_int_equal(awq_recipe_count(f->recipe, "bits"), 0);
    assert_int_equal(awq_recipe_set(f->recipe, NULL, "4", NULL), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq_recipe_set(f->recipe, "model", NULL, NULL), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq_recipe_clear(f->recipe, NULL), AWQ_ERROR_ARGUMENT);
}

/* Of what earlier versions had, the message says since when it is gone and why. */
static void what_is_gone_is_told(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"search",        "search_finalists", "search_tokens",
                                        "gate_up_scale", "scale_rounding",   "clip_ends",
                                        "token_weights", "row_weights"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64], message[512];
        snprintf(name, sizeof name, "quantize.%s", names[i]);
        const awq_removed_option *removed = awq_option_removed(name, NULL);
        assert_non_null(removed);
        assert_null(awq_option_find(name));
        assert_string_equal(removed->value, "");
        snprintf(message, sizeof message, "%s: is gone since version %s: %s; leave it out", name,
                 removed->since, removed->why);
        assert_refused(f, name, "moments", message);
        assert_int_equal(awq_recipe_append(f->recipe, name, "1", NULL), AWQ_ERROR_ARGUMENT);
        assert_string_equal(awq_context_message(f->ctx), message);
        assert_int_equal(awq_recipe_clear(f->recipe, name), AWQ_ERROR_ARGUMENT);
        assert_string_equal(awq_context_message(f->ctx), message);
    }
    assert_refused(f, "quantize.bits", "3",
                   "quantize.bits: \"3\" is gone since version 0.2.0: codes of 3 bits were stored "
                   "in 4, so that nothing was gained; allowed is 2|4|8");
    assert_refused(f, "format", "modelopt",
                   "format: \"modelopt\" is gone since version 0.2.0: no engine loads experts that "
                   "are stored so; allowed is "
                   "auto|awq|compressed-tensors|gptq|mxfp4|bitsandbytes|gguf");
    assert_int_equal(awq_recipe_add_rule(f->recipe), AWQ_OK);
    assert_int_equal(awq_recipe_rule_set(f->recipe, 0, "bits", "3"), AWQ_ERROR_ARGUMENT);
    assert_string_equal(
        awq_context_message(f->ctx),
        "bits: \"3\" is gone since version 0.2.0: codes of 3 bits were stored in 4, "
        "so that nothing was gained; allowed is 2|4|8");
    assert_null(awq_option_removed("quantize.bits", "5"));
    assert_null(awq_option_removed("quantize.bits", NULL));
    assert_null(awq_option_removed("quantize.clip", "together"));
}

static void integers_are_strict(void **state)
{
    fixture *f = *state;
    const char *name = "calibration.samples";
    static const char *const wrong[] = {"",
                                        " 8",
                                        "8 ",
                                        "+8",
                                        "8_0",
                                        "8.0",
                                        "0x8",
                                        "1e3",
                                        "-8",
                                        "0",
                                        "1048577",
                                        "-",
                                        "--8",
                                        "9223372036854775808",
                                        "99999999999999999999999999"};
    set(f, name, "77");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char message[200];
        snprintf(message, sizeof message,
                 "calibration.samples: \"%s\" is not allowed; allowed is an integer from 1 to "
                 "1048576",
                 wrong[i]);
        assert_refused(f, name, wrong[i], message);
        assert_int_equal(settings_of(f).calibration.samples, 77);
    }
    set(f, name, "1");
    assert_int_equal(settings_of(f).calibration.samples, 1);
    set(f, name, "1048576");
    assert_int_equal(settings_of(f).calibration.samples, 1048576);
    set(f, "calibration.seed", "9007199254740992");
    assert_int_equal(settings_of(f).calibration.seed, INT64_C(1) << 53);
    set(f, "evaluation.windows", "1099511627776");
    assert_int_equal(settings_of(f).evaluation.windows, INT64_C(1) << 40);
    set(f, "quantize.sketch_rows", "0");
    assert_int_equal(settings_of(f).quantize.sketch_rows, 0);
    assert_refused(f, "quantize.sketch_rows", "1048577",
                   "quantize.sketch_rows: \"1048577\" is not allowed; allowed is an integer from 0 "
                   "to 1048576");
}

static void booleans_are_true_or_false(void **state)
{
    fixture *f = *state;
    assert_true(settings_of(f).quantize.clip);
    set(f, "quantize.clip", "false");
    assert_false(settings_of(f).quantize.clip);
    static const char *const wrong[] = {"", "True", "TRUE", "yes", "on", "1", "0", "true "};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char message[200];
        snprintf(message, sizeof message,
                 "quantize.clip: \"%s\" is not allowed; allowed is true or false", wrong[i]);
        assert_refused(f, "quantize.clip", wrong[i], message);
    }
    assert_false(settings_of(f).quantize.clip);
}

static void choices_are_exact(void **state)
{
    fixture *f = *state;
    const char *name = "quantize.group_size";
    static const char *const wrong[] = {"",  "16", "3", "2|64", "32|64",
                                        "|", "-",  "1", "12",   "1280"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char message[200];
        snprintf(message, sizeof message,
                 "quantize.group_size: \"%s\" is not allowed; allowed is auto|32|64|128|-1",
                 wrong[i]);
        assert_refused(f, name, wrong[i], message);
    }
    assert_string_equal(awq__recipe_text(f->recipe, name), "auto");
    static const struct {
        const char *text;
        int64_t value;
    } right[] = {{"32", 32}, {"64", 64}, {"128", 128}, {"-1", -1}};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        set(f, name, right[i].text);
        assert_int_equal(settings_of(f).quantize.group_size, right[i].value);
    }
    set(f, "quantize.method", "rtn");
    assert_string_equal(awq__recipe_text(f->recipe, "quantize.method"), "rtn");
    assert_refused(f, "quantize.method", "moments",
                   "quantize.method: \"moments\" is not allowed; allowed is awq|gptq|rtn");
    set(f, "quantize.target_unit", "expert");
    assert_string_equal(awq__recipe_text(f->recipe, "quantize.target_unit"), "expert");
    assert_refused(f, "quantize.target_unit", "experts",
                   "quantize.target_unit: \"experts\" is not allowed; allowed is layer|expert");
}

static void sizes_have_units(void **state)
{
    fixture *f = *state;
    const char *name = "shard_size";
    static const struct {
        const char *text;
        uint64_t bytes;
    } right[] = {
        {"1000000", 1000000}, {"1000kB", 1000000},         {"1MB", 1000000},
        {"5GB", 5000000000},  {"2TB", 2000000000000},      {"977KiB", 977 * 1024},
        {"1MiB", 1048576},    {"2GiB", UINT64_C(2) << 30}, {"1TiB", UINT64_C(1) << 40},
    };
    assert_int_equal(settings_of(f).shard_size, 5000000000);
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        set(f, name, right[i].text);
        assert_int_equal(settings_of(f).shard_size, right[i].bytes);
    }
    static const char *const wrong[] = {"",
                                        "GB",
                                        "5 GB",
                                        "5.5GB",
                                        "5gb",
                                        "5G",
                                        "-5GB",
                                        "5GBx",
                                        "5B",
                                        "5GB ",
                                        "1_0GB",
                                        "9223372036854775808",
                                        "9223372036854775807GB"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(awq_recipe_set(f->recipe, name, wrong[i], NULL), AWQ_ERROR_ARGUMENT);
        assert_non_null(strstr(awq_context_message(f->ctx), "as in 5GB"));
    }
    assert_refused(f, name, "999999",
                   "shard_size: \"999999\" is not allowed; allowed are 1000000 to "
                   "9007199254740992 bytes");
    assert_int_equal(awq_recipe_set(f->recipe, name, "9007199254740993", NULL), AWQ_ERROR_ARGUMENT);
    assert_int_equal(settings_of(f).shard_size, UINT64_C(1) << 40);
}

static void paths_are_taken_from_the_base(void **state)
{
    fixture *f = *state;
    static const char *const cases[][3] = {
        /* value, base, result */
        {"m", NULL, "m"},       {"m/", NULL, "m"},       {"./m//n/.", NULL, "m/n"},
        {"../m", NULL, "../m"}, {".", NULL, "."},        {"./", NULL, "."},
        {"/", NULL, "/"},       {"//a/./", NULL, "/a"},  {"/a/../b", "base", "/a/../b"},
        {"m", "", "m"},         {"m", "base", "base/m"}, {"../m/", "base/", "base/../m"},
        {"m", "/", "/m"},       {"...", ".", "..."},     {".m", "./.", ".m"},
        {"m", "..", "../m"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(awq_recipe_set(f->recipe, "model", cases[i][0], cases[i][1]), AWQ_OK);
        assert_string_equal(awq__recipe_text(f->recipe, "model"), cases[i][2]);
    }
    assert_refused(f, "model", "", "model: an empty value is not allowed");
    assert_refused(f, "model", "a\xff", "model: \"a?\" is not UTF-8");
    assert_int_equal(awq_recipe_set(f->recipe, "model", "a", "\xc3"), AWQ_ERROR_ARGUMENT);
    assert_string_equal(awq__recipe_text(f->recipe, "model"), "../m");
    set(f, "calibration.field", "a/./b"); /* a text is no path */
    assert_string_equal(awq__recipe_text(f->recipe, "calibration.field"), "a/./b");
}

static void lists_grow_from_their_default(void **state)
{
    fixture *f = *state;
    const char *name = "quantize.modules";
    size_t count;
    const char *const *texts = awq__recipe_list(f->recipe, name, &count);
    assert_int_equal(count, 1);
    assert_string_equal(texts[0], "*.experts.*");

    char value[] = "*.mlp.*";
    assert_int_equal(awq_recipe_append(f->recipe, name, value, NULL), AWQ_OK);
    memset(value, '#', sizeof value - 1); /* the recipe owns a copy */
    texts = awq__recipe_list(f->recipe, name, &count);
    assert_int_equal(count, 2);
    assert_string_equal(texts[0], "*.experts.*");
    assert_string_equal(texts[1], "*.mlp.*");

    assert_int_equal(awq_recipe_clear(f->recipe, name), AWQ_OK);
    assert_int_equal(awq_recipe_count(f->recipe, name), 0);
    assert_null(awq_recipe_get(f->recipe, name, 0));
    assert_non_null(awq__recipe_list(f->recipe, name, &count));
    assert_int_equal(count, 0);
    for (size_t i = 0; i < 40; i++) {
        char text[16];
        snprintf(text, sizeof text, "m%zu", i);
        assert_int_equal(awq_recipe_append(f->recipe, name, text, NULL), AWQ_OK);
    }
    assert_int_equal(awq_recipe_count(f->recipe, name), 40);
    assert_string_equal(awq_recipe_get(f->recipe, name, 39), "m39");
    assert_int_equal(awq_recipe_append(f->recipe, name, "", NULL), AWQ_ERROR_ARGUMENT);
    assert_int_equal(awq_recipe_count(f->recipe, name), 40);

    set(f, name, "one");
    assert_int_equal(awq_recipe_count(f->recipe, name), 1);
    assert_string_equal(awq_recipe_get(f->recipe, name, 0), "one");

    assert_int_equal(awq_recipe_append(f->recipe, "evaluation.data", "a/", "b"), AWQ_OK);
    assert_string_equal(awq_recipe_get(f->recipe, "evaluation.data", 0), "b/a");
    assert_int_equal(awq_recipe_append(f->recipe, "model", "a", NULL), AWQ_ERROR_ARGUMENT);
    assert_string_equal(awq_context_message(f->ctx), "model: has one value, not a list");
}

static void clearing_puts_a_default_back(void **state)
{
    fixture *f = *state;
    set(f, "calibration.samples", "3");
    assert_int_equal(awq_recipe_clear(f->recipe, "calibration.samples"), AWQ_OK);
    assert_int_equal(settings_of(f).calibration.samples, 128);
    set(f, "plugin", "mixtral");
    assert_int_equal(awq_recipe_count(f->recipe, "plugin"), 1);
    set(f, "plugin", "");
    assert_int_equal(awq_recipe_count(f->recipe, "plugin"), 0);
    assert_string_equal(awq__recipe_text(f->recipe, "plugin"), "");
    assert_refused(f, "calibration.field", "", "calibration.field: an empty value is not allowed");
}

static void unknown_names_read_as_nothing(void **state)
{
    fixture *f = *state;
    size_t count = 9;
    assert_string_equal(awq__recipe_text(f->recipe, "nothing"), "");
    assert_non_null(awq__recipe_list(f->recipe, "nothing", &count));
    assert_int_equal(count, 0);
}

static void the_check_names_all_that_is_missing(void **state)
{
    fixture *f = *state;
    assert_int_equal(awq__recipe_check(f->recipe), AWQ_ERROR_RECIPE);
    assert_string_equal(awq_context_message(f->ctx),
                        "the recipe does not say model, output, calibration.data");
    set(f, "model", "m");
    set(f, "quantize.method", "rtn");
    assert_int_equal(awq__recipe_check(f->recipe), AWQ_ERROR_RECIPE);
    assert_string_equal(awq_context_message(f->ctx), "the recipe does not say output");
    set(f, "output", "o");
    assert_int_equal(awq__recipe_check(f->recipe), AWQ_OK);
    set(f, "quantize.method", "awq");
    assert_int_equal(awq__recipe_check(f->recipe), AWQ_ERROR_RECIPE);
    set(f, "calibration.data", "c.txt");
    assert_int_equal(awq__recipe_check(f->recipe), AWQ_OK);
    assert_int_equal(awq_recipe_clear(f->recipe, "calibration.data"), AWQ_OK);
    assert_int_equal(awq__recipe_check(f->recipe), AWQ_ERROR_RECIPE);
}

/* Moves *at past the line, which must be the next one. */
static void assert_line(const char **at, const char *line)
{
    size_t length = strcspn(*at, "\n");
    if (strlen(line) != length || memcmp(*at, line, length) != 0)
        fail_msg("expected the line: %s\nfound: %.*s", line, (int)length, *at);
    *at += length + ((*at)[length] == '\n');
}

/* What the recipe below says itself, as it is written; NULL for what it leaves to the table. */
static const char *own_text(const char *name)
{
    static const char *const pairs[][2] = {
        {"model", "\"a \\\"b\\\\c\""},
        {"output", "\"\xc3\xa9\\u0007\\u0085\\u2028\\uFEFF\xf0\x9f\x8c\x8d\""},
        {"calibration.data", "[\"a.txt\", \"b.jsonl\"]"},
        {"quantize.group_size", "-1"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!strcmp(pairs[i][0], name))
            return pairs[i][1];
    return NULL;
}

static void expected_line(const awq_option *option, char *line, size_t size)
{
    const char *own = own_text(option->name);
    bool list = option->type == AWQ_OPTION_TEXT_LIST || option->type == AWQ_OPTION_PATH_LIST;
    const char *quote = list || option->type == AWQ_OPTION_TEXT ? "\"" : "";
    if (own || !option->fallback[0])
        quote = "";
    snprintf(line, size, "%s%s: %s%s%s%s%s", strchr(option->name, '.') ? "  " : "",
             awq__option_last_part(option->name), list && !own ? "[" : "", quote,
             own ? own : option->fallback, quote, list && !own ? "]" : "");
}

/* Every option in the table's order, under its section. */
static void the_recipe_in_force_is_written_as_yaml(void **state)
{
    fixture *f = *state;
    set(f, "model", "a \"b\\c");
    set(f, "output", "\xc3\xa9\a\xc2\x85\xe2\x80\xa8\xef\xbb\xbf\xf0\x9f\x8c\x8d");
    set(f, "calibration.data", "a.txt");
    assert_int_equal(awq_recipe_append(f->recipe, "calibration.data", "b.jsonl", NULL), AWQ_OK);
    set(f, "quantize.group_size", "-1");
    awq__text text = {0};
    assert_int_equal(awq__recipe_yaml(f->ctx, f->recipe, &text), AWQ_OK);

    const char *at = text.data;
    char section[64] = "", line[256];
    size_t count;
    const awq_option *options = awq_option_list(&count);
    for (size_t i = 0; i < count; i++) {
        const awq_option *option = &options[i];
        size_t length = (size_t)(awq__option_last_part(option->name) - option->name);
        if (!awq_recipe_count(f->recipe, option->name) && !awq__option_is_list(option))
            continue; /* unset, and without a default */
        snprintf(line, sizeof line, "%.*s:", length ? (int)length - 1 : 0, option->name);
        if (length && strcmp(line, section) != 0) {
            assert_line(&at, line);
            snprintf(section, sizeof section, "%s", line);
        }
        expected_line(option, line, sizeof line);
        assert_line(&at, line);
    }
    assert_string_equal(at, "");
    awq__text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_default_is_a_legal_value, setup, teardown),
        cmocka_unit_test(the_options_of_a_section_stand_together),
        cmocka_unit_test_setup_teardown(a_misspelt_name_is_recognised, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_gone_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(integers_are_strict, setup, teardown),
        cmocka_unit_test_setup_teardown(booleans_are_true_or_false, setup, teardown),
        cmocka_unit_test_setup_teardown(choices_are_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_have_units, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_are_taken_from_the_base, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_grow_from_their_default, setup, teardown),
        cmocka_unit_test_setup_teardown(clearing_puts_a_default_back, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_names_read_as_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_check_names_all_that_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_recipe_in_force_is_written_as_yaml, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
