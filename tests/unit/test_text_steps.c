/* The steps of a tokenizer one by one: UTF-8, tables, patterns, normalizers, pre-tokenizers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_files.h"
#include "text/text_internal.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define BAD "\xEF\xBF\xBD"

static cJSON *parse(fixture *f, const char *json)
{
    cJSON *root;
    assert_int_equal(awq__json_parse(f->ctx, "steps", json, strlen(json), &root), AWQ_OK);
    return root;
}

/* ---- UTF-8 ---- */

static void utf8_round_trip(void **state)
{
    (void)state;
    for (uint32_t code_point = 0; code_point < 0x110000; code_point++) {
        char text[4];
        uint32_t decoded;
        size_t length = awq__utf8_put(code_point, text);
        bool surrogate = code_point >= 0xD800 && code_point < 0xE000;
        assert_int_equal(awq__utf8_valid(text, length) == length, !surrogate);
        assert_int_equal(awq__utf8_next(text, &decoded), length);
        assert_int_equal(decoded, code_point);
        for (size_t cut = 1; cut < length; cut++)
            assert_int_equal(awq__utf8_valid(text, cut), 0);
    }
}

static void utf8_repair(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *text, *repaired;
    } cases[] = {
        {"plain \xC3\xA9", "plain \xC3\xA9"},
        {"\x80", BAD},
        {"a\xC3", "a" BAD},
        {"\xC3(", BAD "("},
        {"\xC0\xAF", BAD BAD},
        {"\xE0\x80\xBF", BAD BAD BAD},
        {"\xED\xA0\x80x", BAD BAD BAD "x"},
        {"\xE2\x82", BAD},
        {"\xE2\x82g\xE2", BAD "g" BAD},
        {"\xF0\x9F\x99", BAD},
        {"\xF0\x9F\x99\xE2\x82\xAC", BAD "\xE2\x82\xAC"},
        {"\xF4\x90\x80\x80", BAD BAD BAD BAD},
        {"\xF5\xFF\xFE", BAD BAD BAD},
        /* the example of the Unicode standard, table 3-8 and those before it */
        {"\x41\xC0\xAF\x41\xF4\x80\x80\x41", "A" BAD BAD "A" BAD "A"},
        {"\xF0\x80\x80\x41", BAD BAD BAD "A"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", BAD BAD BAD BAD "A"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        awq__text out = {0};
        assert_int_equal(awq__utf8_repair(f->ctx, cases[i].text, strlen(cases[i].text), &out),
                         AWQ_OK);
        assert_string_equal(out.data, cases[i].repaired);
        assert_int_equal(awq__utf8_valid(out.data, out.length), out.length);
        awq__text_free(&out);
    }
}

/* ---- tables ---- */

static void maps(void **state)
{
    fixture *f = *state;
    awq__map map = {0};
    uint64_t value;
    assert_false(awq__map_get(&map, 0, &value));
    for (uint64_t i = 0; i < 5000; i++)
        assert_int_equal(awq__map_set(f->ctx, "map", &map, i << 32 | i * i, i), AWQ_OK);
    assert_int_equal(awq__map_set(f->ctx, "map", &map, 0, 77), AWQ_OK);
    assert_int_equal(map.count, 5000);
    for (uint64_t i = 1; i < 5000; i++) {
        assert_true(awq__map_get(&map, i << 32 | i * i, &value));
        assert_int_equal(value, i);
        assert_false(awq__map_get(&map, i << 32 | (i * i + 1), &value));
    }
    assert_true(awq__map_get(&map, 0, &value));
    assert_int_equal(value, 77);
    awq__map_free(&map);
}

static void names(void **state)
{
    fixture *f = *state;
    awq__names list = {0};
    char name[16];
    assert_int_equal(awq__names_find(&list, "", 0), -1);
    for (int32_t i = 0; i < 3000; i++) {
        int length = snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(awq__names_add(f->ctx, "list", &list, name, (size_t)length, i * 7),
                         AWQ_OK);
    }
    assert_int_equal(awq__names_add(f->ctx, "list", &list, "", 0, 5), AWQ_OK);
    assert_int_equal(awq__names_add(f->ctx, "list", &list, "n7", 2, 1), AWQ_ERROR_FORMAT);
    assert_message(f, "\"n7\" stands twice");
    assert_int_equal(awq__names_find(&list, "n2999", 5), 2999 * 7);
    assert_int_equal(awq__names_find(&list, "n2999", 4), 299 * 7);
    assert_int_equal(awq__names_find(&list, "", 0), 5);
    assert_int_equal(awq__names_find(&list, "x", 1), -1);
    assert_int_equal(list.longest, 5);
    awq__names_free(&list);
}

/* ---- strings with NUL ---- */

static void json_nul(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *json, *text;
        size_t bytes;
        bool nul;
    } cases[] = {
        {"\"a\"", "a", 1, false},
        {"\"\\u0000\"", "\0", 1, true},
        {"\"a\\u0000b\\u0000\"", "a\0b", 4, true},
        {"\"\\\\u0000\"", "\\u0000", 6, false},
        {"\"\\\\\\u0000\\\"\"", "\\\0\"", 3, true},
        {"\"\\u0000\\uFdD0\xEF\xB7\x90"
         "1\"",
         "\0\xEF\xB7\x90\xEF\xB7\x90"
         "1",
         8, true},
        {"\"\xEF\xB7\x90"
         "0\"",
         "\xEF\xB7\x90"
         "0",
         4, false},
        {"\"\\ud83d\\ude42\\u0000\"", "\xF0\x9F\x99\x82", 5, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cJSON *root;
        bool escaped;
        awq__text out = {0};
        size_t bytes = strlen(cases[i].json);
        assert_int_equal(awq__json_has_nul(cases[i].json, bytes), cases[i].nul);
        assert_int_equal(awq__json_parse_nul(f->ctx, &(awq__json_source){.name = "nul"},
                                             cases[i].json, bytes, &root, &escaped),
                         AWQ_OK);
        assert_int_equal(awq__json_unescape(f->ctx, root->valuestring, escaped, &out), AWQ_OK);
        assert_int_equal(out.length, cases[i].bytes);
        assert_memory_equal(out.data, cases[i].text, cases[i].bytes);
        awq__text_free(&out);
        cJSON_Delete(root);
    }
    cJSON *root;
    bool escaped;
    assert_int_equal(awq__json_parse_nul(f->ctx, &(awq__json_source){.name = "nul"}, "\"a\0b\"", 5,
                                         &root, &escaped),
                     AWQ_ERROR_FORMAT);
    assert_int_equal(awq__json_parse_nul(f->ctx, &(awq__json_source){.name = "nul"}, "\"\\u0000", 7,
                                         &root, &escaped),
                     AWQ_ERROR_FORMAT);
}

/* ---- normalizers ---- */

static void normalized_is(fixture *f, const char *json, const char *text, const char *expected)
{
    awq__source source = {f->ctx, "steps"};
    awq__normalizer normalizer = {0};
    awq__text work[2] = {{0}, {0}};
    awq__match_data *data = awq__match_data_create(f->ctx);
    cJSON *root = parse(f, json);
    size_t bytes = strlen(text);
    assert_non_null(data);
    assert_int_equal(awq__normalizer_load(&source, root, &normalizer), AWQ_OK);
    assert_int_equal(awq__normalize(&source, &normalizer, data, work, &text, &bytes), AWQ_OK);
    if (bytes != strlen(expected) || (bytes && memcmp(text, expected, bytes)))
        fail_msg("%s gives \"%.*s\", expected \"%s\"", json, (int)bytes, text, expected);
    awq__normalizer_free(&normalizer);
    awq__match_data_free(data);
    awq__text_free(&work[0]);
    awq__text_free(&work[1]);
    cJSON_Delete(root);
}

#define NORMALIZERS(list) "{\"type\":\"Sequence\",\"normalizers\":[" list "]}"
#define PREPEND(text) "{\"type\":\"Prepend\",\"prepend\":\"" text "\"}"
#define REPLACE(kind, pattern, content)                                                            \
    "{\"type\":\"Replace\",\"pattern\":{\"" kind "\":\"" pattern "\"},\"content\":\"" content "\"" \
    "}"

static void normalizers(void **state)
{
    fixture *f = *state;
    normalized_is(f, "null", "a b", "a b");
    normalized_is(f, NORMALIZERS(""), "a b", "a b");
    normalized_is(f, PREPEND("_"), "a", "_a");
    normalized_is(f, PREPEND("_"), "", "");
    normalized_is(f, REPLACE("String", " ", "_"), " a  b ", "_a__b_");
    normalized_is(f, REPLACE("String", "aa", "b"), "aaaaa", "bba");
    normalized_is(f, REPLACE("String", ".", "-"), "a.b", "a-b");
    normalized_is(f, REPLACE("Regex", "[ab]+", "x"), "abcab", "xcx");
    normalized_is(f, REPLACE("Regex", "x*", "-"), "abxxc", "-a-b-c-");
    normalized_is(f, REPLACE("Regex", "\\\\p{M}", ""), "e\xCC\x81", "e");
    normalized_is(f, REPLACE("Regex", "(a)", "$1\\\\1"), "a", "$1\\1");
    normalized_is(f, NORMALIZERS(PREPEND("_") "," REPLACE("String", " ", "_")), " a b", "__a_b");
    normalized_is(f, NORMALIZERS(NORMALIZERS(PREPEND("1")) "," PREPEND("2")), "a", "21a");
}

static void unicode_forms(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *text, *nfc, *nfd, *nfkc, *nfkd;
    } cases[] = {
        {"abc", "abc", "abc", "abc", "abc"},
        {"e\xCC\x81x", "\xC3\xA9x", "e\xCC\x81x", "\xC3\xA9x", "e\xCC\x81x"},
        {"\xC3\xA9", "\xC3\xA9", "e\xCC\x81", "\xC3\xA9", "e\xCC\x81"},
        {"\xEF\xAC\x81", "\xEF\xAC\x81", "\xEF\xAC\x81", "fi", "fi"},
        {"\xE2\x84\xAB", "\xC3\x85", "A\xCC\x8A", "\xC3\x85", "A\xCC\x8A"},
        /* marks are put in order: below (220) before above (230) */
        {"q\xCC\x87\xCC\xA3", "q\xCC\xA3\xCC\x87", "q\xCC\xA3\xCC\x87", "q\xCC\xA3\xCC\x87",
         "q\xCC\xA3\xCC\x87"},
        /* and marks of one class stay as they are */
        {"q\xCC\x87\xCC\x81", "q\xCC\x87\xCC\x81", "q\xCC\x87\xCC\x81", "q\xCC\x87\xCC\x81",
         "q\xCC\x87\xCC\x81"},
        {"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C",
         "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C",
         "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"},
        /* U+1ABF and U+11938 came after Unicode 9: nothing moves, nothing is taken apart */
        {"a\xCC\x81\xE1\xAA\xBF", "\xC3\xA1\xE1\xAA\xBF", "a\xCC\x81\xE1\xAA\xBF",
         "\xC3\xA1\xE1\xAA\xBF", "a\xCC\x81\xE1\xAA\xBF"},
        {"\xF0\x91\xA4\xB8", "\xF0\x91\xA4\xB8", "\xF0\x91\xA4\xB8", "\xF0\x91\xA4\xB8",
         "\xF0\x91\xA4\xB8"},
        {"\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0", "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0",
         "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0", "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0",
         "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        normalized_is(f, "{\"type\":\"NFC\"}", cases[i].text, cases[i].nfc);
        normalized_is(f, "{\"type\":\"NFD\"}", cases[i].text, cases[i].nfd);
        normalized_is(f, "{\"type\":\"NFKC\"}", cases[i].text, cases[i].nfkc);
        normalized_is(f, "{\"type\":\"NFKD\"}", cases[i].text, cases[i].nfkd);
    }
}

/* A run of marks of a whole text must not take quadratic time, and comes out sorted. */
static void many_marks(void **state)
{
    fixture *f = *state;
    enum { PAIRS = 200000 };
    static const char above[2] = {'\xCC', '\x87'}, below[2] = {'\xCC', '\xA3'};
    char *text = malloc(4 * PAIRS + 2), *expected = malloc(4 * PAIRS + 2);
    assert_non_null(text);
    assert_non_null(expected);
    text[0] = expected[0] = 'q';
    for (size_t i = 0; i < PAIRS; i++) {
        memcpy(text + 1 + 4 * i, above, 2);
        memcpy(text + 3 + 4 * i, below, 2);
        memcpy(expected + 1 + 2 * i, below, 2);
        memcpy(expected + 1 + 2 * (PAIRS + i), above, 2);
    }
    text[4 * PAIRS + 1] = expected[4 * PAIRS + 1] = 0;
    normalized_is(f, "{\"type\":\"NFC\"}", text, expected);
    free(text);
    free(expected);
}

static void growing_normalizers(void **state)
{
    fixture *f = *state;
    awq__source source = {f->ctx, "steps"};
    awq__normalizer normalizer = {0};
    awq__text work[2] = {{0}, {0}};
    awq__match_data *data = awq__match_data_create(f->ctx);
#define TEN REPLACE("String", "a", "aaaaaaaaaa")
    cJSON *root =
        parse(f, NORMALIZERS(TEN "," TEN "," TEN "," TEN "," TEN "," TEN "," TEN "," TEN));
    const char *text = "a";
    size_t bytes = 1;
    assert_int_equal(awq__normalizer_load(&source, root, &normalizer), AWQ_OK);
    assert_int_equal(awq__normalize(&source, &normalizer, data, work, &text, &bytes),
                     AWQ_ERROR_UNSUPPORTED);
    assert_message(f, "times longer");
    assert_true(work[0].capacity < (1 << 20) && work[1].capacity < (1 << 20));
    awq__normalizer_free(&normalizer);
    awq__match_data_free(data);
    awq__text_free(&work[0]);
    awq__text_free(&work[1]);
    cJSON_Delete(root);
}

/* ---- pre-tokenizers ---- */

static awq_status collect(void *arg, const char *piece, size_t bytes)
{
    fixture *f = ((void **)arg)[0];
    awq__text *out = ((void **)arg)[1];
    assert_true(bytes > 0);
    assert_int_equal(awq__text_append_bytes(f->ctx, out, piece, bytes), AWQ_OK);
    return awq__text_append_bytes(f->ctx, out, "|", 1);
}

static awq_status cut(fixture *f, const char *json, const char *text, bool first, awq__text *out)
{
    awq__source source = {f->ctx, "steps"};
    awq__pretokenizer pretokenizer = {0};
    void *arg[2] = {f, out};
    awq__cutter cutter = {.source = &source,
                          .pretokenizer = &pretokenizer,
                          .data = awq__match_data_create(f->ctx),
                          .piece = collect,
                          .arg = arg};
    cJSON *root = parse(f, json);
    assert_non_null(cutter.data);
    awq_status status = awq__pretokenizer_load(&source, root, &pretokenizer);
    if (status == AWQ_OK)
        status = awq__cut(&cutter, text, strlen(text), first);
    awq__pretokenizer_free(&pretokenizer);
    awq__match_data_free(cutter.data);
    for (size_t i = 0; i < AWQ__MAX_PIECE_STEPS; i++)
        awq__text_free(&cutter.work[i]);
    cJSON_Delete(root);
    return status;
}

/* `expected` has a | behind each piece. */
static void pieces_are(fixture *f, const char *json, const char *text, const char *expected)
{
    awq__text out = {0};
    awq_status status = cut(f, json, text, true, &out);
    if (status != AWQ_OK)
        fail_msg("%s: %s", json, awq_context_message(f->ctx));
    if (strcmp(out.data ? out.data : "", expected))
        fail_msg("%s gives \"%s\", expected \"%s\"", json, out.data, expected);
    awq__text_free(&out);
}

#define SPLIT(kind, pattern, behavior, invert)                                                     \
    "{\"type\":\"Split\",\"pattern\":{\"" kind "\":\"" pattern "\"},\"behavior\":\"" behavior      \
    "\",\"invert\":" invert "}"
#define BYTE_LEVEL(space, regex)                                                                   \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":" space                                          \
    ",\"trim_offsets\":true,\"use_regex\":" regex "}"
#define METASPACE(scheme, split)                                                                   \
    "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"" scheme                   \
    "\",\"split\":" split "}"
#define STEPS(list) "{\"type\":\"Sequence\",\"pretokenizers\":[" list "]}"
#define REGEX(pattern) SPLIT("Regex", pattern, "Isolated", "false")

static void split_behaviors(void **state)
{
    fixture *f = *state;
    static const char text[] = "-a--b-";
    static const struct {
        const char *json, *expected;
    } cases[] = {
        {SPLIT("String", "-", "Isolated", "false"), "-|a|-|-|b|-|"},
        {SPLIT("String", "-", "Removed", "false"), "a|b|"},
        {SPLIT("String", "-", "MergedWithPrevious", "false"), "-|a-|-|b-|"},
        {SPLIT("String", "-", "MergedWithNext", "false"), "-a|-|-b|-|"},
        {SPLIT("String", "-", "Contiguous", "false"), "-|a|--|b|-|"},
        {SPLIT("String", "-", "Isolated", "true"), "-|a|-|-|b|-|"},
        {SPLIT("String", "-", "Removed", "true"), "-|-|-|-|"},
        {SPLIT("String", "-", "MergedWithPrevious", "true"), "-a|-|-b|-|"},
        {SPLIT("String", "-", "MergedWithNext", "true"), "-|a-|-|b-|"},
        {SPLIT("String", "-", "Contiguous", "true"), "-|a|--|b|-|"},
        {SPLIT("Regex", "-+", "MergedWithNext", "false"), "-a|--b|-|"},
        {SPLIT("Regex", "x*", "Removed", "false"), "-|a|-|-|b|-|"},
        {SPLIT("Regex", "(?=a)|b", "Isolated", "false"), "-|a--|b|-|"},
        {STEPS(SPLIT("String", "-", "Removed", "false") "," REGEX("a")), "a|b|"},
        {"null", "-a--b-|"},
        {STEPS(""), "-a--b-|"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        pieces_are(f, cases[i].json, text, cases[i].expected);
    pieces_are(f, cases[0].json, "", "");
}

static void byte_level(void **state)
{
    fixture *f = *state;
    pieces_are(f, BYTE_LEVEL("false", "true"), "Hello's  12 x!",
               "Hello|'s|\xC4\xA0|\xC4\xA0"
               "12|\xC4\xA0x|!|");
    pieces_are(f, BYTE_LEVEL("true", "true"), "a",
               "\xC4\xA0"
               "a|");
    pieces_are(f, BYTE_LEVEL("true", "false"), " a b",
               "\xC4\xA0"
               "a\xC4\xA0"
               "b|");
    pieces_are(f, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "a b",
               "a|\xC4\xA0"
               "b|");
    /* NUL cannot be in a C string here; 0x01, 0x7F, 0xA0, 0xAD, 0xC2, 0xF0 each have a character */
    pieces_are(f, BYTE_LEVEL("false", "false"), "\x01\x7F\xC2\xA0\xC2\xAD\xF0\x90\x80\x80",
               "\xC4\x81\xC4\xA1\xC3\x82\xC5\x82\xC3\x82\xC5\x83\xC3\xB0\xC4\xB2\xC4\xA2\xC4\xA2|");
}

static void digits(void **state)
{
    fixture *f = *state;
    pieces_are(f, "{\"type\":\"Digits\",\"individual_digits\":true}",
               "a12\xC2\xBD"
               "b3",
               "a|1|2|\xC2\xBD|b|3|");
    pieces_are(f, "{\"type\":\"Digits\",\"individual_digits\":false}", "12a34", "12|a|34|");
    /* U+10D40 is a digit of Unicode 16, U+2167 a Roman numeral */
    pieces_are(f, "{\"type\":\"Digits\",\"individual_digits\":false}",
               "\xF0\x90\xB5\x80\xE2\x85\xA7x", "\xF0\x90\xB5\x80\xE2\x85\xA7|x|");
}

static void metaspace(void **state)
{
    fixture *f = *state;
    awq__text out = {0};
    pieces_are(f, METASPACE("always", "true"), "a  b", "_a|_|_b|");
    pieces_are(f, METASPACE("always", "true"), " a", "_a|");
    pieces_are(f, METASPACE("always", "false"), "a b", "_a_b|");
    pieces_are(f, METASPACE("never", "true"), "a b", "a|_b|");
    pieces_are(f, METASPACE("first", "false"), "a b", "_a_b|");
    pieces_are(f, "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":true}", "a b",
               "_a|_b|");
    assert_int_equal(cut(f, METASPACE("first", "false"), "a b", false, &out), AWQ_OK);
    assert_string_equal(out.data, "a_b|");
    awq__text_free(&out);
}

/* ---- regular expressions ---- */

static void regex_meanings(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *json, *text, *expected;
    } cases[] = {
        /* white space is White_Space: with U+0085 and U+3000, without U+180E, U+200B, U+001C */
        {REGEX("\\\\s"), "a\xC2\x85\xE3\x80\x80\xE1\xA0\x8E\xE2\x80\x8B\x1C",
         "a|\xC2\x85|\xE3\x80\x80|\xE1\xA0\x8E\xE2\x80\x8B\x1C|"},
        {REGEX("[^\\\\S]"), "a b\xE1\xA0\x8E", "a| |b\xE1\xA0\x8E|"},
        {REGEX("\\\\S+"), "a b", "a| |b|"},
        /* \d is Nd; U+00B2 and U+00BD are not */
        {REGEX("\\\\d+"), "1\xD9\xA3\xC2\xB2", "1\xD9\xA3|\xC2\xB2|"},
        {REGEX("\\\\D"), "12a", "12|a|"},
        /* \v is one character, not the vertical white space; \h is refused below */
        {REGEX("\\\\v"), "\x0B\n\x0C", "\x0B|\n\x0C|"},
        {REGEX("."), "a\n\rb", "a|\n|\r|b|"},
        {REGEX("\\\\w+"), "a_\xC3\xA9\xC2\xBD-\xE2\x92\xB6\xCC\x81",
         "a_\xC3\xA9\xC2\xBD|-|\xE2\x92\xB6\xCC\x81|"},
        {REGEX("[\\\\w]+"), "a\xC2\xBD", "a|\xC2\xBD|"},
        /* letters, numbers, marks that are younger than some tables: U+31350, U+1D2C0, U+11F00 */
        {REGEX("\\\\p{L}+"), "\xF0\xB1\x8D\x90.", "\xF0\xB1\x8D\x90|.|"},
        {REGEX("\\\\p{N}"), "a\xF0\x9D\x8B\x80", "a|\xF0\x9D\x8B\x80|"},
        {REGEX("[^\\\\p{Mn}]+"),
         "a\xF0\x91\xBC\x80"
         "b",
         "a|\xF0\x91\xBC\x80|b|"},
        {REGEX("\\\\P{L}+"), "a1\xF0\xB1\x8D\x90", "a|1|\xF0\xB1\x8D\x90|"},
        /* caseless letters know U+017F and U+212A */
        {REGEX("(?i:'s|k)"), "'S'\xC5\xBF'xK\xE2\x84\xAA", "'S|'\xC5\xBF|'x|K|\xE2\x84\xAA|"},
        {REGEX("(?i:a)b"), "AbAB", "Ab|AB|"},
        {REGEX("((?i:a)|b)c"), "AcBcbc", "Ac|Bc|bc|"},
        {REGEX("a{2}|b{1,}|c{1,2}"), "aaabbccc", "aa|a|bb|cc|c|"},
        {REGEX("a+?|b??b|c*+c?"), "aabbcc", "a|a|b|b|cc|"},
        {REGEX("(?>ab|a)c|(?<=x)y|z(?!z)"), "abcacyxyzz", "abc|ac|yx|y|z|z|"},
        {REGEX("[a\\\\-c\\\\]\\\\x{e9}\\\\u00e8x-z-]+"), "a-c]\xC3\xA9\xC3\xA8y-b",
         "a-c]\xC3\xA9\xC3\xA8y-|b|"},
        {REGEX("[^\\\\r\\\\n]+"), "a\nb", "a|\n|b|"},
        {REGEX("]|}|\\\\.|#|\\\\ "), "a]b}c.d#e f", "a|]|b|}|c|.|d|#|e| |f|"},
        {REGEX("\xC3\xA9|[\xE4\xB8\x80-\xE9\xBE\xA5]"), "a\xC3\xA9\xE6\x97\xA5",
         "a|\xC3\xA9|\xE6\x97\xA5|"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        pieces_are(f, cases[i].json, cases[i].text, cases[i].expected);
}

static void regex_refusals(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *json;
        awq_status status;
        const char *message;
    } cases[] = {
        {REGEX("\\\\h"), AWQ_ERROR_UNSUPPORTED, "escape \\h"},
        {REGEX("\\\\R"), AWQ_ERROR_UNSUPPORTED, "escape \\R"},
        {REGEX("\\\\b"), AWQ_ERROR_UNSUPPORTED, "escape \\b"},
        {REGEX("(a)\\\\1"), AWQ_ERROR_UNSUPPORTED, "escape \\1"},
        {REGEX("\\\\xff"), AWQ_ERROR_UNSUPPORTED, "above 7F"},
        {REGEX("^a"), AWQ_ERROR_UNSUPPORTED, "anchor"},
        {REGEX("a$"), AWQ_ERROR_UNSUPPORTED, "anchor"},
        {REGEX("[[:alpha:]]"), AWQ_ERROR_UNSUPPORTED, "class within a class"},
        {REGEX("[a&&b]"), AWQ_ERROR_UNSUPPORTED, "class within a class"},
        {REGEX("[\\\\P{L}]"), AWQ_ERROR_UNSUPPORTED, "negated set within"},
        {REGEX("[\\\\p{L}-z]"), AWQ_ERROR_UNSUPPORTED, "dash"},
        {REGEX("[a-b-c]"), AWQ_ERROR_UNSUPPORTED, "dash"},
        {REGEX("[]a]"), AWQ_ERROR_UNSUPPORTED, "begins with ]"},
        {REGEX("\\\\p{Han}"), AWQ_ERROR_UNSUPPORTED, "general category"},
        {REGEX("\\\\p{^L}"), AWQ_ERROR_UNSUPPORTED, "general category"},
        {REGEX("\\\\p{C}"), AWQ_ERROR_UNSUPPORTED, "general category"},
        {REGEX("\\\\p{ }"), AWQ_ERROR_UNSUPPORTED, "general category"},
        {REGEX("\\\\pL"), AWQ_ERROR_UNSUPPORTED, "general category"},
        {REGEX("(?i)a"), AWQ_ERROR_UNSUPPORTED, "group"},
        {REGEX("(?<n>a)"), AWQ_ERROR_UNSUPPORTED, "group"},
        {REGEX("(?i:ss)"), AWQ_ERROR_UNSUPPORTED, "caseless ff"},
        {REGEX("(?i:[a])"), AWQ_ERROR_UNSUPPORTED, "caseless class"},
        {REGEX("(?i:\xC3\xA9)"), AWQ_ERROR_UNSUPPORTED, "ASCII"},
        {REGEX("(?i:\\\\p{Lu})"), AWQ_ERROR_UNSUPPORTED, "caseless set"},
        {REGEX("a{,2}"), AWQ_ERROR_UNSUPPORTED, "interval"},
        {REGEX("a{2"), AWQ_ERROR_UNSUPPORTED, "interval"},
        {REGEX("a{3,2}"), AWQ_ERROR_UNSUPPORTED, "interval"},
        {REGEX("a{1,2}+"), AWQ_ERROR_UNSUPPORTED, "quantifier of a quantifier"},
        {REGEX("a{99999999999999999999}"), AWQ_ERROR_UNSUPPORTED, "interval"},
        {REGEX("*a"), AWQ_ERROR_FORMAT, "quantifier after nothing"},
        {REGEX("(?=a)*"), AWQ_ERROR_FORMAT, "quantifier after nothing"},
        {REGEX("(a"), AWQ_ERROR_FORMAT, "( without its )"},
        {REGEX("a)"), AWQ_ERROR_FORMAT, ") without its ("},
        {REGEX("[a"), AWQ_ERROR_FORMAT, "without its end"},
        {REGEX("[a-"), AWQ_ERROR_FORMAT, "without its end"},
        {REGEX("[b-a]"), AWQ_ERROR_FORMAT, "empty range"},
        {REGEX("a\\\\"), AWQ_ERROR_FORMAT, "backslash"},
        {REGEX("\\\\x{110000}"), AWQ_ERROR_FORMAT, "no character"},
        {REGEX("\\\\ud800"), AWQ_ERROR_FORMAT, "no character"},
        {REGEX("(?<=a+)b"), AWQ_ERROR_FORMAT, "does not compile"},
        {SPLIT("String", "", "Isolated", "false"), AWQ_ERROR_UNSUPPORTED, "String pattern"},
        {SPLIT("Glob", "a", "Isolated", "false"), AWQ_ERROR_UNSUPPORTED, "\"Glob\""},
        {SPLIT("String", "a", "Sideways", "false"), AWQ_ERROR_UNSUPPORTED, "\"Sideways\""},
        {SPLIT("String", "a", "Isolated", "1"), AWQ_ERROR_FORMAT, "\"invert\""},
        {METASPACE("last", "true"), AWQ_ERROR_UNSUPPORTED, "\"last\""},
        {STEPS(REGEX("a") "," METASPACE("first", "true")), AWQ_ERROR_UNSUPPORTED, "\"first\""},
        {"{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", AWQ_ERROR_FORMAT, "one character"},
        {"{\"type\":\"Metaspace\",\"replacement\":\"a\",\"add_prefix_space\":false}",
         AWQ_ERROR_FORMAT, "contradicts"},
        {"{\"type\":\"Whitespace\"}", AWQ_ERROR_UNSUPPORTED, "\"Whitespace\""},
        {"{\"type\":7}", AWQ_ERROR_FORMAT, "\"type\""},
        {"{\"type\":\"Sequence\",\"pretokenizers\":{}}", AWQ_ERROR_FORMAT, "array"},
        {"[]", AWQ_ERROR_FORMAT, "not an object"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        awq__text out = {0};
        awq_status status = cut(f, cases[i].json, "a", true, &out);
        if (status != cases[i].status)
            fail_msg("%s: status %d, message \"%s\"", cases[i].json, status,
                     awq_context_message(f->ctx));
        assert_message(f, cases[i].message);
        awq__text_free(&out);
    }
}

/* A pattern that backtracks without end is an error, not a wait. */
static void regex_limit(void **state)
{
    fixture *f = *state;
    awq__text out = {0};
    assert_int_equal(cut(f, REGEX("(a|a)+(a|a)+(a|a)+b"),
                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacb", true, &out),
                     AWQ_ERROR_UNSUPPORTED);
    assert_message(f, "cannot be matched");
    awq__text_free(&out);
}

int main(void)
{
#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_round_trip),
        WITH_FILES(utf8_repair),
        WITH_FILES(maps),
        WITH_FILES(names),
        WITH_FILES(json_nul),
        WITH_FILES(normalizers),
        WITH_FILES(unicode_forms),
        WITH_FILES(many_marks),
        WITH_FILES(growing_normalizers),
        WITH_FILES(split_behaviors),
        WITH_FILES(byte_level),
        WITH_FILES(digits),
        WITH_FILES(metaspace),
        WITH_FILES(regex_meanings),
        WITH_FILES(regex_refusals),
        WITH_FILES(regex_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
