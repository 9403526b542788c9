/* JSON: what is refused and where, look-up, exact integers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "temp_files.h"

#include "core/json.h"

static cJSON *parse(awq_context *ctx, const char *text)
{
    cJSON *root;
    awq__clear(ctx);
    succeeds(ctx, awq__json_parse(ctx, "a.json", text, strlen(text), &root));
    assert_non_null(root);
    return root;
}

static void refuse_bytes(awq_context *ctx, const char *text, size_t bytes, const char *message)
{
    cJSON *root;
    awq__clear(ctx);
    fails(ctx, awq__json_parse(ctx, "a.json", text, bytes, &root), AWQ_ERROR_FORMAT, message);
    assert_null(root);
}

static void refuse(awq_context *ctx, const char *text, const char *message)
{
    refuse_bytes(ctx, text, strlen(text), message);
}

static void values_are_parsed(void **state)
{
    static const char *const texts[] = {
        "{}", "[]", "1", "-1.5e3", "\"x\"", "true", "null", " \t\r\n{\"a\": [1, {\"a\": 2}]} \n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cJSON_Delete(parse(*state, texts[i]));
}

/* The whole text is a copy of exactly its bytes, so that reading past them is seen. */
static void the_text_needs_no_end(void **state)
{
    awq_context *ctx = *state;
    static const char *const texts[] = {"{\"a\":1}", "12", "[1,2]  ", "\"a\""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t bytes = strlen(texts[i]);
        char *copy = malloc(bytes);
        assert_non_null(copy);
        memcpy(copy, texts[i], bytes);
        cJSON *root;
        succeeds(ctx, awq__json_parse(ctx, "a.json", copy, bytes, &root));
        cJSON_Delete(root);
        free(copy);
    }
}

static void errors_tell_line_and_column(void **state)
{
    awq_context *ctx = *state;
    refuse(ctx, "", "a.json:1:1: not valid JSON");
    refuse(ctx, "x", "a.json:1:1: not valid JSON");
    refuse(ctx, "{\n  \"a\": 1,\n  \"b\": x\n}", "a.json:3:8: not valid JSON");
    refuse(ctx, "{\"a\" 1}", "a.json:1:6: not valid JSON");
    refuse(ctx, "[1,", "not valid JSON");
    refuse(ctx, "\"open", "not valid JSON");
    refuse(ctx, "{\"a\":1,}", "not valid JSON");
}

static void text_after_the_value_is_refused(void **state)
{
    awq_context *ctx = *state;
    refuse(ctx, "{} x", "a.json:1:4: text after the JSON value");
    refuse(ctx, "{}\n\n  []", "a.json:3:3: text after the JSON value");
    refuse(ctx, "1 2", "a.json:1:3: text after the JSON value");
    refuse_bytes(ctx, "{}\0", 3, "a.json:1:3: text after the JSON value");
    refuse_bytes(ctx, "{} \0{}", 6, "a.json:1:4: text after the JSON value");
}

static void keys_stand_once(void **state)
{
    awq_context *ctx = *state;
    refuse(ctx, "{\"a\":1,\"b\":2,\"a\":3}", "a.json: the key \"a\" stands twice");
    refuse(ctx, "[0,{\"x\":{\"k\":1,\"k\":1}}]", "\"k\" stands twice");
    refuse(ctx, "{\"a\":1,\"\\u0061\":3}", "\"a\" stands twice");
    cJSON_Delete(parse(ctx, "{\"a\":{\"a\":1},\"A\":[{\"a\":1},{\"a\":1}]}"));
}

/* `depth` arrays in one another, with `inside` in the innermost. */
static char *nest(size_t depth, const char *open, const char *inside, const char *close)
{
    char *text = calloc(depth * (strlen(open) + strlen(close)) + strlen(inside) + 1, 1);
    assert_non_null(text);
    char *at = text;
    for (size_t i = 0; i < depth; i++)
        at += sprintf(at, "%s", open);
    at += sprintf(at, "%s", inside);
    for (size_t i = 0; i < depth; i++)
        at += sprintf(at, "%s", close);
    return text;
}

static void nesting_has_a_limit(void **state)
{
    static const char *const kinds[][3] = {
        {"[", "", "]"}, {"[", "1", "]"}, {"{\"a\":", "{}", "}"}, {"[0,", "[]", "]"}};
    static const size_t inner[] = {0, 0, 1, 1}; /* containers that `inside` adds */
    awq_context *ctx = *state;
    for (int i = 0; i < 4; i++) {
        char *text = nest(100 - inner[i], kinds[i][0], kinds[i][1], kinds[i][2]);
        cJSON_Delete(parse(ctx, text));
        free(text);
        text = nest(101 - inner[i], kinds[i][0], kinds[i][1], kinds[i][2]);
        refuse(ctx, text, "a.json: nested more than 100 deep");
        free(text);
        text = nest(100000, kinds[i][0], kinds[i][1], kinds[i][2]);
        refuse(ctx, text, "a.json:");
        free(text);
    }
}

static void values_are_looked_up_by_path(void **state)
{
    cJSON *root = parse(*state, "{\"a\":{\"b\":{\"c\":5},\"B\":6,\"\":7},\"l\":[1,2],\"n\":null}");
    int64_t value = 0;
    assert_true(awq__json_int(awq__json_at(root, "a.b.c"), &value));
    assert_int_equal(value, 5);
    assert_true(awq__json_int(awq__json_at(root, "a.B"), &value));
    assert_int_equal(value, 6);
    assert_ptr_equal(awq__json_at(root, ""), root);
    assert_true(cJSON_IsNull(awq__json_at(root, "n")));
    static const char *const absent[] = {"x", "a.x", "a.b.c.d", "l.0", "A", "n.x", "a..c"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_null(awq__json_at(root, absent[i]));
    assert_null(awq__json_at(NULL, "a"));
    char long_key[300];
    memset(long_key, 'a', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = 0;
    assert_null(awq__json_at(root, long_key));
    cJSON_Delete(root);
}

static void integers_are_exact(void **state)
{
    static const struct {
        const char *text;
        bool integer;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"7", true, 7},
        {"-12", true, -12},
        {"1e3", true, 1000},
        {"2.0", true, 2},
        {"9007199254740992", true, INT64_C(9007199254740992)},
        {"-9007199254740992", true, -INT64_C(9007199254740992)},
        {"9007199254740994", false, 0},
        {"1e300", false, 0},
        {"1e999", false, 0},
        {"-1e999", false, 0},
        {"0.5", false, 0},
        {"1e-9", false, 0},
        {"true", false, 0},
        {"\"1\"", false, 0},
        {"null", false, 0},
        {"[1]", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *root = parse(*state, cases[i].text);
        int64_t value = 77;
        if (awq__json_int(root, &value) != cases[i].integer)
            fail_msg("%s", cases[i].text);
        assert_int_equal(value, cases[i].integer ? cases[i].value : 77);
        cJSON_Delete(root);
    }
    int64_t value;
    assert_false(awq__json_int(NULL, &value));
}

static void files_are_read_and_named(void **state)
{
    fixture *f = *state;
    cJSON *root;
    write_text(f, "a.json", "{\"a\": 3}\n");
    succeeds(f->ctx, awq__json_read(f->ctx, path_of(f, "a.json"), &root));
    assert_non_null(awq__json_at(root, "a"));
    cJSON_Delete(root);
    write_text(f, "b.json", "{\n\"a\": }");
    fails(f->ctx, awq__json_read(f->ctx, path_of(f, "b.json"), &root), AWQ_ERROR_FORMAT,
          "b.json:2:6: not valid JSON");
    assert_null(root);
    fails(f->ctx, awq__json_read(f->ctx, path_of(f, "absent.json"), &root), AWQ_ERROR_IO,
          "absent.json");
    assert_null(root);
}

/* ---- one member changed ---- */

static void set_to(awq_context *ctx, const char *text, const char *value, const char *expected)
{
    awq__text out = {0};
    awq__clear(ctx);
    succeeds(ctx, awq__json_set_member(ctx, "a.json", text, "key", value, &out));
    assert_string_equal(out.data, expected);
    assert_int_equal(out.length, strlen(expected));
    awq__text_free(&out);
}

static void a_member_is_put_in_place_of_the_old(void **state)
{
    awq_context *ctx = *state;
    set_to(ctx, "{\"key\":1}", "2", "{\"key\":2}");
    set_to(ctx, "{\"a\":1,\"key\":{\"b\":[1,{}]},\"c\":3}", "[4, 5]",
           "{\"a\":1,\"key\":[4, 5],\"c\":3}");
    set_to(ctx, "\t{ \"key\"\n:\r\"x\" , \"a\" : null }\n", "{\"b\": 1}",
           "\t{ \"key\"\n:\r{\"b\": 1} , \"a\" : null }\n");
    set_to(ctx, "{\"a\": 0.0, \"key\": true\n}\n", "-1e5", "{\"a\": 0.0, \"key\": -1e5\n}\n");
    set_to(ctx, "{\"key\": [\"]\", \"}\\\"]\", {\"key\": \"{\"}], \"z\": 1}", "0",
           "{\"key\": 0, \"z\": 1}");
    set_to(ctx, "{\"key\":\"\\\\\",\"a\":1}", "0", "{\"key\":0,\"a\":1}");
    set_to(ctx, "{\"key\":\"\"}", "0", "{\"key\":0}");
}

static void a_new_member_comes_last(void **state)
{
    awq_context *ctx = *state;
    set_to(ctx, "{}", "2", "{\n  \"key\": 2}");
    set_to(ctx, " { \n} ", "2", " {\n  \"key\": 2 \n} ");
    set_to(ctx, "{\n  \"a\": 1\n}\n", "{}", "{\n  \"a\": 1,\n  \"key\": {}\n}\n");
    set_to(ctx, "{\"a\":[],\"b\":\",\"  }", "2", "{\"a\":[],\"b\":\",\",\n  \"key\": 2  }");
}

/* All that looks like the member and is not it stays. */
static void only_the_outermost_key_counts(void **state)
{
    awq_context *ctx = *state;
    static const char *const others[] = {
        "\"a\": {\"key\": 1}",
        "\"a\": [{\"key\": 1}, [[{\"key\": [\"key\"]}]]]",
        "\"a\": \"key\"",
        "\"a\": \"\\\"key\\\": 1, \"",
        "\"a\": \"\\\\\", \"b\": \", \\\"key\\\": 7\"",
        "\"a\": \"}\", \"b\": \"{\", \"c\": \"]\"",
        "\"Key\": 1, \"keys\": 2, \"ke\": 3, \"\": 4, \" key\": 5",
        "\"key\\\"\": 1, \"\\\"key\": 2",
        "\"a\": 1.0, \"b\": 1e-05, \"c\": 12345678901234567890, \"\\u00e9\\/\": \"\\ud83c\\udf0d\"",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char text[300], expected[300];
        snprintf(text, sizeof text, "{%s}", others[i]);
        snprintf(expected, sizeof expected, "{%s,\n  \"key\": [9]}", others[i]);
        set_to(ctx, text, "[9]", expected);
        snprintf(text, sizeof text, "{\"key\" : {\"key\":1},%s\n}", others[i]);
        snprintf(expected, sizeof expected, "{\"key\" : [9],%s\n}", others[i]);
        set_to(ctx, text, "[9]", expected);
        snprintf(text, sizeof text, "{%s , \"key\":0.10}", others[i]);
        snprintf(expected, sizeof expected, "{%s , \"key\":[9]}", others[i]);
        set_to(ctx, text, "[9]", expected);
    }
}

/* An escape may spell the same key: an error rather than a key that stands twice. */
static void what_would_be_no_json_is_refused(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *text, *value, *message;
    } cases[] = {
        {"{\"\\u006bey\": 1}", "2", "a.json: the key \"key\" stands twice"},
        {"{\"a\": 1, \"k\\u0065y\": {}}", "2", "a.json: the key \"key\" stands twice"},
        {"{\"key\": 1}", "", "a.json:1:"},
        {"{\"key\": 1}", "1, \"key\": 2", "stands twice"},
        {"{\"a\": 1}", "[", "a.json:2:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__text out = {0};
        awq__clear(ctx);
        fails(ctx, awq__json_set_member(ctx, "a.json", cases[i].text, "key", cases[i].value, &out),
              AWQ_ERROR_FORMAT, cases[i].message);
        awq__text_free(&out);
    }
}

static const char *any_of(uint64_t *random, const char *const *list, uint64_t count)
{
    return list[awq__random(random) % count];
}

/* An object of random members with random space about them. The one at `place` is the member, and
   has this value in place of its own. */
static char *random_object(awq_context *ctx, uint64_t random, int members, int place,
                           const char *value)
{
    static const char *const values[] = {"0.0",      "\"key\"",  "{\"key\":{}}", "[ ]",
                                         "\"\\\\\"", "\"}, {\"", "true",         "[[\"]\"],{}]"};
    static const char *const spaces[] = {"", " ", "\n\t", "\r\n  "};
    awq__text text = {0};
    succeeds(ctx, awq__text_append(ctx, &text, "%s{", any_of(&random, spaces, 4)));
    for (int i = 0; i < members; i++) {
        char name[20];
        snprintf(name, sizeof name, i == place ? "key" : "key\\\"%d", i);
        succeeds(ctx, awq__text_append(ctx, &text, "%s", any_of(&random, spaces, 4)));
        succeeds(ctx, awq__text_append(ctx, &text, "\"%s\"%s", name, any_of(&random, spaces, 4)));
        succeeds(ctx, awq__text_append(ctx, &text, ":%s", any_of(&random, spaces, 4)));
        const char *old = any_of(&random, values, 8);
        succeeds(ctx, awq__text_append(ctx, &text, "%s", i == place && value ? value : old));
        const char *after = any_of(&random, spaces, 4);
        succeeds(ctx, awq__text_append(ctx, &text, "%s%s", after, i < members - 1 ? "," : ""));
    }
    succeeds(ctx, awq__text_append(ctx, &text, "}%s", any_of(&random, spaces, 4)));
    return text.data;
}

static void any_object_keeps_its_bytes(void **state)
{
    for (uint64_t round = 0; round < 1000; round++) {
        int members = 1 + (int)(round % 5), place = (int)(round / 5 % (uint64_t)members);
        char *text = random_object(*state, round << 32, members, place, NULL);
        char *expected = random_object(*state, round << 32, members, place, "[{}, 5]");
        set_to(*state, text, "[{}, 5]", expected);
        awq__free(text);
        awq__free(expected);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_context, free_context)
    const struct CMUnitTest tests[] = {
        TEST(values_are_parsed),
        TEST(the_text_needs_no_end),
        TEST(errors_tell_line_and_column),
        TEST(text_after_the_value_is_refused),
        TEST(keys_stand_once),
        TEST(nesting_has_a_limit),
        TEST(values_are_looked_up_by_path),
        TEST(integers_are_exact),
        TEST(a_member_is_put_in_place_of_the_old),
        TEST(a_new_member_comes_last),
        TEST(only_the_outermost_key_counts),
        TEST(what_would_be_no_json_is_refused),
        TEST(any_object_keeps_its_bytes),
        cmocka_unit_test_setup_teardown(files_are_read_and_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
