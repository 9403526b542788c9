/* JSON: what is refused and where, look-up, exact integers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "temp_files.h"

#include "core/json.h"

#include <math.h>

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
    refuse(ctx, "", "a.json:1:1: not valid JSON: the text ends where a value is expected");
    refuse(ctx, "x", "a.json:1:1: not valid JSON: x stands where a value is expected");
    refuse(ctx, "{\n  \"a\": 1,\n  \"b\": x\n}", "a.json:3:8: not valid JSON: x stands");
    refuse(ctx, "{\"a\" 1}", "a.json:1:6: not valid JSON: 1 stands where ':' is expected");
    refuse(ctx, "{a: 1}", "a.json:1:2: not valid JSON: a stands where a key in double quotes");
    refuse(ctx, "[1,", "a.json:1:4: not valid JSON: the text ends where a value");
    refuse(ctx, "[1 2]", "a.json:1:4: not valid JSON: 2 stands where ',' or ']' is expected");
    refuse(ctx, "\"open", "a.json:1:6: not valid JSON: the text ends in a string");
    refuse(ctx, "{\"a\":1,}", "a.json:1:8: not valid JSON: } stands where a key");
    refuse(ctx, "{\"a\":1;\"b\":2}", "a.json:1:7: not valid JSON: ; stands where ',' or '}'");
    refuse(ctx, "[\xC2\xABx]", "a.json:1:2: not valid JSON: \xC2\xAB stands where a value");
    /* A column is a character. */
    refuse(ctx, "[\"\xC2\xAB\xE2\x82\xAC\xF0\x9F\x99\x82\", x]", "a.json:1:9: not valid JSON: x");
}

/* What cJSON alone would let through, or cut. */
static void bytes_are_those_of_the_standard(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"zz\":\x08\t\"BF16\"\x08\x08}", "a.json:1:7: not valid JSON: byte 0x08 stands where"},
        {"{\"a\":\f1}", "a.json:1:6: not valid JSON: byte 0x0C stands where a value"},
        {"{\"a\":1\v}", "a.json:1:7: not valid JSON: byte 0x0B stands where ',' or '}'"},
        {"\x1F{}", "a.json:1:1: not valid JSON: byte 0x1F stands"},
        {"{}\x01", "a.json:1:3: text after the JSON value"},
        {"[\"\xFF\xFE\"]", "a.json:1:3: not valid JSON: byte 0xFF stands in a string that is not"},
        {"{\"\x80\":1}", "a.json:1:3: not valid JSON: byte 0x80 stands in a string that is not"},
        {"[\"a\xC3\"]", "a.json:1:4: not valid JSON: byte 0xC3 stands in a string that is not"},
        {"[\"\xED\xA0\x80\"]", "byte 0xED stands in a string that is not UTF-8"},
        {"[\"\xC0\x80\"]", "byte 0xC0 stands in a string that is not UTF-8"},
        {"[\"\xF4\x90\x80\x80\"]", "byte 0xF4 stands in a string that is not UTF-8"},
        {"[\xFF]", "a.json:1:2: not valid JSON: byte 0xFF stands where a value"},
        {"[\"a\tb\"]", "a.json:1:4: not valid JSON: byte 0x09 stands in a string, where it must"},
        {"[\"a\nb\"]", "a.json:1:4: not valid JSON: byte 0x0A stands in a string, where it must"},
        {"[\"a\\u0000b\"]", "a.json:1:4: \\u0000, which no name or value here may hold"},
        {"{\"a\\u0000b\":1}", "a.json:1:4: \\u0000"},
        {"[\"\\ud800\"]", "a.json:1:3: not valid JSON: half of a surrogate pair"},
        {"[\"\\udc00\"]", "half of a surrogate pair"},
        {"[\"\\ud800\\ud800\"]", "half of a surrogate pair"},
        {"[\"\\ud83dx\"]", "half of a surrogate pair"},
        {"[\"\\ud83d\\", "half of a surrogate pair"},
        {"[\"\\u12\"]", "a.json:1:3: not valid JSON: \\u without four hexadecimal digits"},
        {"[\"\\u12G4\"]", "\\u without four hexadecimal digits"},
        {"[\"\\u+123\"]", "\\u without four hexadecimal digits"},
        {"[\"\\x41\"]", "a.json:1:3: not valid JSON: a backslash before what is not escaped"},
        {"[\"\\'\"]", "a backslash before what is not escaped"},
        {"[\"\\", "a.json:1:3: not valid JSON: the text ends in a string"},
        {"\xEF\xBB\xBF{}", "a.json:1:1: not valid JSON: begins with a byte order mark"},
        {"[01]", "a.json:1:3: not valid JSON: 1 stands after a leading 0"},
        {"[-01]", "1 stands after a leading 0"},
        {"[1.]", "a.json:1:4: not valid JSON: ] stands where a digit is expected"},
        {"[.5]", "a.json:1:2: not valid JSON: . stands where a value"},
        {"[+1]", "+ stands where a value"},
        {"[1e]", "] stands where a digit is expected"},
        {"[1e+]", "] stands where a digit is expected"},
        {"[-]", "] stands where a digit is expected"},
        {"[- 1]", "  stands where a digit is expected"},
        {"[0x10]", "x stands where ',' or ']'"},
        {"[truth]", "t stands where a value"},
        {"[True]", "T stands where a value"},
        {"[NULL]", "N stands where a value"},
        {"[NaN]", "N stands where a value"},
        {"[Infinity]", "I stands where a value"},
        {"[-Infinity]", "I stands where a digit"},
        {"['a']", "' stands where a value"},
        {"[1,,2]", ", stands where a value"},
        {"[1] // so", "text after the JSON value"},
        {"{\"a\":1 /* so */}", "/ stands where ',' or '}'"},
        {"[10000000000000000000000000000000000000000000000000000000000000000]",
         "a.json:1:2: a number of more than 63 characters is not read"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(*state, cases[i].text, cases[i].message);
    cJSON_Delete(
        parse(*state, "[\"\xC2\xA1\",\"\\ud83d\\uDE42\\b\\/\x7F\xEF\xBF\xBF\xEF\xB7\x90\"]"));
    cJSON_Delete(parse(*state, "[0,-0,0.5,1E-7,1e+9,-10.25e01,"
                               "100000000000000000000000000000000000000000000000000000000000000]"));
}

/* What the strict pass lets through, cJSON reads: else memory would be said to be short. */
static void what_passes_is_read(void **state)
{
    static const char *const pieces[] = {"{",         "}",       "[",
                                         "]",         ",",       ":",
                                         "\"",        "\"a\"",   "\"\\u0041\"",
                                         "\\",        "u0000",   "\\ud83d",
                                         "\\u",       "dE42",    "1",
                                         "-",         "0",       ".",
                                         "e",         "E+",      "true",
                                         "false",     "null",    "NaN",
                                         "-Infinity", " ",       "\t",
                                         "\n",        "\f",      "\x01",
                                         "\xC3",      "\xA9",    "\xEF\xBB\xBF",
                                         "\x7F",      "{\"k\":", "[1,",
                                         "1e999",     "\"b\":",  "nul",
                                         "Inf"};
    size_t count = sizeof pieces / sizeof *pieces, passed = 0;
    uint64_t random = 5;
    awq_context *ctx = *state;
    for (int round = 0; round < 200000; round++) {
        awq__text text = {0};
        for (uint64_t n = awq__random(&random) % 9; n; n--)
            succeeds(ctx, awq__text_append(ctx, &text, "%s", pieces[awq__random(&random) % count]));
        const awq__json_source source = {.name = "a.json", .allowed = round % 2};
        cJSON *root;
        awq__clear(ctx);
        awq_status status =
            awq__json_parse_from(ctx, &source, text.data ? text.data : "", text.length, &root);
        if (status == AWQ_OK)
            passed++;
        else
            assert_int_equal(status, AWQ_ERROR_FORMAT);
        cJSON_Delete(root);
        awq__text_free(&text);
    }
    assert_true(passed > 1000);
}

/* Python's json writes them. */
static void literals_are_numbers_where_they_are_allowed(void **state)
{
    const awq__json_source source = {.name = "a.json", .allowed = AWQ__JSON_LITERALS};
    static const char text[] =
        "{\"a\":1,\"b\":[NaN,2,{\"c\":-Infinity,\"d\":\"NaN\"}],\"e\":Infinity ,\"f\":-3}";
    awq_context *ctx = *state;
    cJSON *root;
    succeeds(ctx, awq__json_parse_from(ctx, &source, text, sizeof text - 1, &root));
    const cJSON *list = awq__json_at(root, "b");
    int64_t value;
    assert_true(isnan(list->child->valuedouble));
    assert_false(awq__json_int(list->child, &value));
    assert_true(list->child->next->valuedouble == 2);
    assert_true(awq__json_at(list->child->next->next, "c")->valuedouble == -INFINITY);
    assert_true(awq__json_is_text(awq__json_at(list->child->next->next, "d"), "NaN"));
    assert_true(awq__json_at(root, "e")->valuedouble == INFINITY);
    assert_true(awq__json_at(root, "f")->valuedouble == -3);
    assert_true(awq__json_at(root, "a")->valuedouble == 1);
    cJSON_Delete(root);
    static const char *const others[] = {"[nan]",       "[NAN]",     "[-NaN]",
                                         "[+Infinity]", "[Infinit]", "[NaNa]"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        fails(ctx, awq__json_parse_from(ctx, &source, others[i], strlen(others[i]), &root),
              AWQ_ERROR_FORMAT, "a.json:1:");
        assert_null(root);
    }
}

/* A text that is a part of a file. */
static void lines_before_are_counted(void **state)
{
    const awq__json_source source = {.name = "a.jsonl", .lines_before = 6};
    cJSON *root;
    fails(*state, awq__json_parse_from(*state, &source, "[x]", 3, &root), AWQ_ERROR_FORMAT,
          "a.jsonl:7:2: not valid JSON");
    fails(*state, awq__json_parse_from(*state, &source, "\n{\"a\":1,\"a\":1}", 14, &root),
          AWQ_ERROR_FORMAT, "a.jsonl:8:8: the key");
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
    refuse(ctx, "{\"a\":1,\"b\":2,\"a\":3}", "a.json:1:14: the key \"a\" stands twice");
    refuse(ctx, "[0,{\"x\":{\"k\":1,\n  \"k\":1}}]", "a.json:2:3: the key \"k\" stands twice");
    refuse(ctx, "{\"a\":{\"b\":1},\"c\":[{\"a\":{}}],\"a\":{\"a\":1,\"a\":1}}",
           "a.json:1:40: the key \"a\" stands twice");
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
        refuse(ctx, text, "nested more than 100 deep");
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

/* The text ends where its bytes end, so that reading past them is seen. */
static awq_status set_member(awq_context *ctx, const char *text, const char *value, awq__text *out)
{
    size_t bytes = strlen(text);
    char *copy = malloc(bytes ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, text, bytes);
    awq_status status = awq__json_set_member(ctx, "a.json", copy, bytes, "key", value, out);
    free(copy);
    return status;
}

static void set_to(awq_context *ctx, const char *text, const char *value, const char *expected)
{
    awq__text out = {0};
    awq__clear(ctx);
    succeeds(ctx, set_member(ctx, text, value, &out));
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
    set_to(ctx, "{\"a\": NaN, \"key\": -Infinity, \"b\": [Infinity]}", "0",
           "{\"a\": NaN, \"key\": 0, \"b\": [Infinity]}");
    /* Escapes may spell the key. */
    set_to(ctx, "{\"\\u006bey\": 1}", "2", "{\"\\u006bey\": 2}");
    set_to(ctx, "{\"a\": 1, \"k\\u0065y\": {}}", "2", "{\"a\": 1, \"k\\u0065y\": 2}");
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

static void what_would_be_no_json_is_refused(void **state)
{
    awq_context *ctx = *state;
    static const struct {
        const char *text, *value, *message;
    } cases[] = {
        {"{\"key\": 1}", "", "a.json:1:"},
        {"{\"key\": 1}", "1, \"key\": 2", "stands twice"},
        {"{\"a\": 1}", "[", "a.json:2:"},
        {"[\"key\"]", "2", "a.json: not a JSON object"},
        {"", "2", "a.json:1:1: not valid JSON"},
        {"{\"a\":1,\"zz\":\x08\t\"BF16\"\x08\x08}", "2", "byte 0x08 stands"},
        {"{\"zz\":\"", "2", "the text ends"},
        {"{\"zz\":1", "2", "the text ends"},
        {"\xEF\xBB\xBF{}", "2", "byte order mark"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__text out = {0};
        awq__clear(ctx);
        fails(ctx, set_member(ctx, cases[i].text, cases[i].value, &out), AWQ_ERROR_FORMAT,
              cases[i].message);
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
        TEST(bytes_are_those_of_the_standard),
        TEST(what_passes_is_read),
        TEST(literals_are_numbers_where_they_are_allowed),
        TEST(lines_before_are_counted),
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
