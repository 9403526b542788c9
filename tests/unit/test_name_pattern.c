/* Patterns for the names of modules. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/plugin.h"
#include "context.h"
#include "text/name_pattern.h"

#include <stdlib.h>

#define EXPERT "model.layers.10.mlp.experts.1.up_proj"

static bool matches(awq_context *ctx, const char *text, awq__name_kind kind, const char *name)
{
    awq__name_pattern pattern;
    bool found;
    succeeds(ctx, awq__name_pattern_create(ctx, "here", text, kind, &pattern));
    assert_string_equal(pattern.text, text);
    succeeds(ctx, awq__name_pattern_match(ctx, &pattern, name, &found));
    awq__name_pattern_free(&pattern);
    assert_null(pattern.text);
    return found;
}

static void assert_matches(awq_context *ctx, const char *text, awq__name_kind kind,
                           const char *const *right, const char *const *wrong)
{
    for (; *right; right++)
        if (!matches(ctx, text, kind, *right))
            fail_msg("%s does not match %s", text, *right);
    for (; *wrong; wrong++)
        if (matches(ctx, text, kind, *wrong))
            fail_msg("%s matches %s", text, *wrong);
}
#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_NAMES ((const char *const[]){NULL})

static void whole_names_are_themselves(void **state)
{
    assert_matches(*state, EXPERT, AWQ__NAME_EXACT, NAMES(EXPERT),
                   NAMES("", EXPERT "2", "x" EXPERT, "mlp.experts.1.up_proj"));
    assert_matches(*state, "a*", AWQ__NAME_EXACT, NAMES("a*"), NAMES("ab", "x.a*"));
    assert_matches(*state, "r", AWQ__NAME_EXACT, NAMES("r"), NAMES("re:r", "re:"));
}

/* The first components may be left out, no other part may. */
static void globs_may_leave_out_the_first_components(void **state)
{
    static const char *const right[] = {
        EXPERT,           "*",
        "*.up_proj",      "up_proj",
        "mlp.experts.*",  "*.experts.*",
        "experts.1.*",    "model.layers.10.*",
        "layers.1?.*",    "layers.10.mlp.*",
        "*up_proj",       "experts.[0-3].up*",
        "model.*up_proj", "layers.*.experts.1.up_proj",
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_matches(*state, right[i], AWQ__NAME_GLOB, NAMES(EXPERT), NO_NAMES);
    static const char *const wrong[] = {
        "p_proj",    "xperts.*", "up",      "mlp.experts",    "model.layers.1.*", "0.mlp.*x",
        "experts.?", ".up_proj", "Up_proj", "experts.[!1].*", "mlp.experts.1",    "up_proj.",
        "layers",    "",         "re",      "ayers.10.*",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_matches(*state, wrong[i], AWQ__NAME_GLOB, NO_NAMES, NAMES(EXPERT));
    assert_matches(*state, "gate", AWQ__NAME_GLOB,
                   NAMES("gate", "model.layers.0.block_sparse_moe.gate"),
                   NAMES("model.layers.0.gate_proj", "model.layers.0.gate.x", "investigate"));
    assert_matches(*state, "mlp.experts.*", AWQ__NAME_GLOB, NAMES("mlp.experts.1", EXPERT),
                   NAMES("mlp.shared_experts.1", "dense_mlp.experts.1"));
}

static void regular_expressions_begin_at_the_beginning(void **state)
{
    static const char *const right[] = {
        "re:model",
        "re:.*experts",
        "re:.*\\.experts\\.(0|1)\\.",
        "re:model\\.layers\\.\\d+\\.mlp\\..*_proj$",
        "re:^model",
        "re:",
        "re:.*(?<=up_)proj$",
        "re:(?i)MODEL",
        "re:(?P<a>model)",
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        for (awq__name_kind kind = AWQ__NAME_EXACT; kind <= AWQ__NAME_GLOB; kind++)
            assert_matches(*state, right[i], kind, NAMES(EXPERT), NO_NAMES);
    static const char *const wrong[] = {"re:experts", "re:odel", "re:model$", "re:.*\\.1$",
                                        "re:x|up_proj"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_matches(*state, wrong[i], AWQ__NAME_GLOB, NO_NAMES, NAMES(EXPERT));
    assert_matches(*state, "re:.h\\.x", AWQ__NAME_EXACT, NAMES("\xc3\xa9h.x", "oh.x"),
                   NAMES("\xc3\xa9\xc3\xa9h.x"));
}

static void what_does_not_compile_is_refused(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"re:a(b", "here: the regular expression \"a(b\" does not compile at character 3: missing"},
        {"re:*", "\"*\" does not compile at character 0"},
        {"re:[a", "does not compile"},
        {"re:a{2,1}", "does not compile"},
        {"re:(?<=a*)b", "does not compile"},
        {"re:\\", "does not compile"},
        {"re:\xff", "does not compile"},
        {"re:(?P<a>x)(?P<a>y)", "does not compile"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__name_pattern pattern;
        fails(ctx, awq__name_pattern_create(ctx, "here", cases[i].text, AWQ__NAME_GLOB, &pattern),
              AWQ_ERROR_FORMAT, cases[i].message);
        assert_null(pattern.text);
        assert_null(pattern.code);
        awq__name_pattern_free(&pattern); /* nothing is left */
    }
}

/* Hostile expressions cost a bounded number of steps, and are an error, not a "no". */
static void endless_backtracking_is_an_error(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"re:(a|aa)+$", "match limit exceeded"},
        {"re:(a*)*(a*)*(a*)*\\1x|y", "match limit exceeded"},
        {"re:((?1)|a)*$", "nested recursion"},
    };
    char name[200];
    memset(name, 'a', sizeof name);
    memcpy(name + sizeof name - 2, "!", 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__name_pattern pattern;
        bool found = true;
        succeeds(ctx,
                 awq__name_pattern_create(ctx, "here", cases[i].text, AWQ__NAME_GLOB, &pattern));
        awq_status status = awq__name_pattern_match(ctx, &pattern, name, &found);
        fails(ctx, status, AWQ_ERROR_UNSUPPORTED, cases[i].reason);
        fails(ctx, status, AWQ_ERROR_UNSUPPORTED, cases[i].text);
        fails(ctx, status, AWQ_ERROR_UNSUPPORTED, "cannot be matched with the name \"aaa");
        assert_false(found);
        awq__name_pattern_free(&pattern);
    }
}

/* An honest expression on the longest names is far from the limit. */
static void long_names_are_matched(void **state)
{
    char name[AWQ_NAME_BYTES];
    memset(name, 'a', sizeof name - 1);
    memcpy(name + sizeof name - 5, ".up\0", 4);
    name[sizeof name - 1] = 0;
    assert_matches(*state, "re:.*\\.(up|down)$", AWQ__NAME_EXACT, NAMES(name), NO_NAMES);
    assert_matches(*state, "re:([a-z]+\\.)*up$", AWQ__NAME_EXACT, NAMES(name), NO_NAMES);
    assert_matches(*state, "*.up", AWQ__NAME_GLOB, NAMES(name), NO_NAMES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(whole_names_are_themselves),
        TEST(globs_may_leave_out_the_first_components),
        TEST(regular_expressions_begin_at_the_beginning),
        TEST(what_does_not_compile_is_refused),
        TEST(endless_backtracking_is_an_error),
        TEST(long_names_are_matched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
