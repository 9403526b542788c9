/* What texts of options mean: sets of numbers, lists of words, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "plan/value.h"

/* ---- sets of numbers ---- */

/* The members among 0 .. count - 1, as a text of 0 and 1. */
static void assert_set(const char *text, int64_t count, const char *expected)
{
    char found[64] = {0};
    assert_true(awq__index_set_valid(text));
    assert_true(count < (int64_t)sizeof found && (int64_t)strlen(expected) == count);
    for (int64_t i = 0; i < count; i++)
        found[i] = awq__index_set_has(text, i, count) ? '1' : '0';
    if (strcmp(found, expected) != 0)
        fail_msg("\"%s\" of %lld is %s, expected %s", text, (long long)count, found, expected);
}

static void sets_have_the_numbers_they_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *of_eight;
    } cases[] = {
        {"0", "10000000"},
        {"7", "00000001"},
        {"8", "00000000"},
        {"007", "00000001"},
        {"-1", "00000001"},
        {"-8", "10000000"},
        {"-9", "00000000"},
        {"1,3,3", "01010000"},
        {" 1 ,  3", "01010000"},
        {"even", "10101010"},
        {"odd", "01010101"},
        {"odd,0", "11010101"},
        {"0-3", "11110000"},
        {"0-3,-1", "11110001"},
        {"2-2", "00100000"},
        {"5-100", "00000111"},
        {"9-12", "00000000"},
        {"0-9223372036854775806", "11111111"},
        {":", "11111111"},
        {"::", "11111111"},
        {"::2", "10101010"},
        {"1::2", "01010101"},
        {"1:7:3", "01001000"},
        {"1:7", "01111110"},
        {"1:8:3", "01001001"},
        {"::3", "10010010"},
        {"2:", "00111111"},
        {":2", "11000000"},
        {":2:", "11000000"},
        {"3:3", "00000000"},
        {"5:2", "00000000"},
        {"-2:", "00000011"},
        {":-2", "11111100"},
        {"-6:-2:2", "00101000"},
        {"-3::2", "00000101"},
        {"-100:", "11111111"},
        {"-100::3", "10010010"}, /* from the first there is */
        {":-100", "00000000"},
        {"1:7:9223372036854775807", "01000000"},
        {"0:9223372036854775807", "11111111"},
        {"-9223372036854775807:", "11111111"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_set(cases[i].text, 8, cases[i].of_eight);
    assert_set("-1", 1, "1");
    assert_set("-1,0", 2, "11");
    assert_set("even", 3, "101");
    assert_set("-2:", 1, "1");
}

static void what_is_no_set_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        ",",
        "1,",
        ",1",
        "1,,2",
        "all",
        "evens",
        "Even",
        "even odd",
        "1 2",
        "+1",
        "1.0",
        "0x1",
        "-",
        "--1",
        "1-",
        "-1-2",
        "1--2",
        "3-1",
        "1-2-3",
        "1:2:0",
        "::0",
        "::-1",
        "1:2:-1",
        ":::",
        "1:::",
        "1:2:3:4",
        "a:b",
        "1:b",
        "1:2:c",
        "1 : 2",
        "even:",
        "-:",
        "::x",
        "1;2",
        "1-even",
        "0-3x",
        "\t1",
        "1\n",
        "9223372036854775808",
        "0-9223372036854775807",
        "1:9223372036854775808",
        "::9223372036854775808",
        "1111111111111111111111111111111111111111111111111111111111111111111111111"};
    awq_context *ctx = *state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (awq__index_set_valid(wrong[i]))
            fail_msg("\"%s\" is taken", wrong[i]);
        fails(ctx, awq__value_check(ctx, awq_rule_option_find("layers"), wrong[i]),
              AWQ_ERROR_ARGUMENT,
              "allowed is even, odd, numbers, ranges as in 0-3 and slices as in");
    }
    fails(ctx, awq__value_check(ctx, awq_rule_option_find("experts"), "3-1"), AWQ_ERROR_ARGUMENT,
          "experts: \"3-1\" is not allowed; allowed is even, odd");
}

/* What is too long for any number is no number, even if its beginning is one. */
static void long_items_are_refused(void **state)
{
    (void)state;
    char text[200];
    memset(text, '0', sizeof text);
    strcpy(text + 100, "5"); /* 5 in truth, 0 if it were cut */
    assert_false(awq__index_set_valid(text));
    strcpy(text + 61, "5-7");
    assert_false(awq__index_set_valid(text));
    strcpy(text + 61, "5");
    assert_true(awq__index_set_valid(text));
    assert_true(awq__index_set_has(text, 5, 8) && !awq__index_set_has(text, 0, 8));
    memset(text, ' ', sizeof text - 1);
    text[sizeof text - 1] = 0;
    text[100] = '3'; /* spaces count for nothing */
    assert_true(awq__index_set_valid(text));
    assert_true(awq__index_set_has(text, 3, 8));
    memcpy(text, "1,0-2", 5);
    memset(text + 5, '7', 100);
    assert_false(awq__index_set_valid(text));
}

/* ---- lists of words ---- */

static void words_are_whole_between_separators(void **state)
{
    (void)state;
    assert_true(awq__word_in("a|bc|d", '|', "a"));
    assert_true(awq__word_in("a|bc|d", '|', "bc"));
    assert_true(awq__word_in("a|bc|d", '|', "d"));
    static const char *const not_in[] = {"", "b", "c", "ab", "a|bc", "bc|", "|", "e", "bcd"};
    for (size_t i = 0; i < sizeof not_in / sizeof *not_in; i++)
        assert_false(awq__word_in("a|bc|d", '|', not_in[i]));
    assert_false(awq__word_in("", '|', "a"));
    assert_false(awq__word_in("a,b", '|', "a"));
    assert_true(awq__word_in("a,b", ',', "b"));
}

static void lists_may_have_spaces_at_commas(void **state)
{
    (void)state;
    static const char *const texts[] = {"q,up", "q, up", " q ,up ", "q,q,up", "x,q,  up,y"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_true(awq__value_lists(texts[i], "q"));
        assert_true(awq__value_lists(texts[i], "up"));
        assert_false(awq__value_lists(texts[i], "u"));
        assert_false(awq__value_lists(texts[i], "q,up"));
        assert_false(awq__value_lists(texts[i], "gate_up"));
    }
    assert_false(awq__value_lists("gate_up", "up"));
    assert_false(awq__value_lists("q up", "q"));
    assert_false(awq__value_lists("", "q"));
}

static void choices_are_checked_one_by_one(void **state)
{
    awq_context *ctx = *state;
    const awq_option *role = awq_rule_option_find("role");
    static const char *const right[] = {"expert", "attention,expert", "attention, router",
                                        " head ,embedding", "mlp,mlp"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        succeeds(ctx, awq__value_check(ctx, role, right[i]));
    static const char *const wrong[][2] = {
        {"", "role: \"\" is not allowed"},
        {"norm", "role: \"norm\" is not allowed; allowed are expert|shared_expert|attention|mlp|"
                 "router|embedding|head, or several of them with commas between"},
        {"expert,", "role: \"\" is not allowed"},
        {"expert,,mlp", "role: \"\" is not allowed"},
        {"expert router", "role: \"expert router\" is not allowed"},
        {"expert|router", "role: \"expert|router\" is not allowed"},
        {"expert, Router", "role: \"Router\" is not allowed"},
        {"experts", "role: \"experts\" is not allowed"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        fails(ctx, awq__value_check(ctx, role, wrong[i][0]), AWQ_ERROR_ARGUMENT, wrong[i][1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(sets_have_the_numbers_they_name), TEST(what_is_no_set_is_refused),
        TEST(long_items_are_refused),          TEST(words_are_whole_between_separators),
        TEST(lists_may_have_spaces_at_commas), TEST(choices_are_checked_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
