/* tokenizer.json as a whole: golden ids, the model, added tokens, templates, hostile files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_files.h"
#include "text/text_internal.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- golden ids ---- */

/* The first ids, as many as are asked for in steps, are those of the whole text. */
static void first_ids_are(const awq__tokenizer *tokenizer, const awq__text *text, bool special,
                          const awq__ids *whole, size_t step)
{
    awq__ids ids = {0};
    for (size_t most = 0; most <= whole->count + step; most += step) {
        size_t expected = most < whole->count ? most : whole->count;
        ids.count = 0;
        assert_int_equal(
            awq__tokenizer_encode_first(tokenizer, text->data, text->length, special, most, &ids),
            AWQ_OK);
        assert_int_equal(ids.count, expected);
        if (expected)
            assert_memory_equal(ids.data, whole->data, expected * sizeof *ids.data);
    }
    awq__free(ids.data);
}

static void ids_are(const char *what, const awq__ids *ids, const cJSON *expected)
{
    bool same = cJSON_GetArraySize(expected) == (int)ids->count;
    const cJSON *item = expected->child;
    for (size_t i = 0; same && i < ids->count; i++, item = item->next)
        same = item->valuedouble == ids->data[i];
    if (!same)
        fail_msg("the ids of \"%s\" are others", what);
}

/* The texts of golden.json, one of which holds U+0000. */
static void golden(fixture *f, const char *directory)
{
    char path[1024];
    char *json;
    size_t bytes;
    cJSON *root;
    bool escaped;
    awq__tokenizer *tokenizer;
    awq__ids ids = {0};
    awq__text text = {0};
    int texts = 0, with_nul = 0;
    snprintf(path, sizeof path, "%s/tokenizer.json", directory);
    assert_int_equal(awq__tokenizer_load(f->ctx, path, &tokenizer), AWQ_OK);
    snprintf(path, sizeof path, "%s/golden.json", directory);
    assert_int_equal(awq__read_text_file(f->ctx, path, 1 << 24, &json, &bytes), AWQ_OK);
    assert_int_equal(awq__json_parse_nul(f->ctx, &(awq__json_source){.name = path}, json, bytes,
                                         &root, &escaped),
                     AWQ_OK);
    for (const cJSON *item = awq__json_at(root, "tokenizer")->child; item; item = item->next) {
        const char *raw = awq__json_at(item, "text")->valuestring;
        text.length = 0;
        assert_int_equal(awq__json_unescape(f->ctx, raw, escaped, &text), AWQ_OK);
        with_nul += memchr(text.data, 0, text.length) != NULL;
        for (int special = 0; special < 2; special++) {
            ids.count = 0;
            assert_int_equal(
                awq__tokenizer_encode(tokenizer, text.data, text.length, special, &ids), AWQ_OK);
            ids_are(raw, &ids, awq__json_at(item, special ? "ids" : "ids_without_special"));
            first_ids_are(tokenizer, &text, special, &ids, ids.count / 5 + 1);
        }
        texts++;
    }
    assert_true(texts > 20);
    assert_int_equal(with_nul, 1);
    awq__free(json);
    awq__free(ids.data);
    awq__text_free(&text);
    cJSON_Delete(root);
    awq__tokenizer_free(tokenizer);
}

static void golden_of_model(void **state, const char *name)
{
    char directory[1024];
    snprintf(directory, sizeof directory, "%s/%s", AWQ_TEST_MODELS, name);
    if (!awq__is_directory(directory))
        skip();
    golden(*state, directory);
}

static void golden_mixtral(void **state)
{
    golden(*state, AWQ_TEST_DATA "/mixtral-tiny");
}

static void golden_qwen2(void **state)
{
    golden_of_model(state, "qwen2_moe-tiny");
}

static void golden_qwen3(void **state)
{
    golden_of_model(state, "qwen3_moe-tiny");
}

static void golden_gpt_oss(void **state)
{
    golden_of_model(state, "gpt_oss-tiny");
}

/* ---- tokenizers made by hand ---- */

#define FILE_OF(added, normalizer, pre_tokenizer, post_processor, model)                           \
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[" added           \
    "],\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre_tokenizer                             \
    ",\"post_processor\":" post_processor ",\"decoder\":null,\"model\":" model "}"
#define MODEL(options, vocabulary, merges)                                                         \
    "{\"type\":\"BPE\"" options ",\"vocab\":{" vocabulary "},\"merges\":[" merges "]}"
#define ONLY(model) FILE_OF("", "null", "null", "null", model)

#define VOCABULARY                                                                                 \
    "\"a\":0,\"b\":1,\"c\":2,\"_\":3,\" \":4,\"ab\":5,\"bc\":6,\"abc\":7,\"_a\":8,\"<\":9,"        \
    "\">\":10,\"aa\":11"
#define MERGES "[\"b\",\"c\"],[\"a\",\"b\"],[\"a\",\"bc\"],[\"_\",\"a\"],[\"a\",\"a\"]"
#define PLAIN MODEL("", VOCABULARY, MERGES)

static awq_status load(fixture *f, const char *json, awq__tokenizer **tokenizer)
{
    write_text(f, "tokenizer.json", json);
    awq__clear(f->ctx);
    return awq__tokenizer_load(f->ctx, path_of(f, "tokenizer.json"), tokenizer);
}

/* Encodes and writes the ids as text: "1 2 3". */
static void encode(fixture *f, const awq__tokenizer *tokenizer, const char *text, size_t bytes,
                   bool special, awq__text *out)
{
    awq__ids ids = {0};
    awq__text whole = {.data = (char *)text, .length = bytes};
    assert_int_equal(awq__tokenizer_encode(tokenizer, text, bytes, special, &ids), AWQ_OK);
    first_ids_are(tokenizer, &whole, special, &ids, 1);
    out->length = 0;
    assert_int_equal(awq__text_append_bytes(f->ctx, out, "", 0), AWQ_OK);
    for (size_t i = 0; i < ids.count; i++)
        assert_int_equal(awq__text_append(f->ctx, out, i ? " %d" : "%d", ids.data[i]), AWQ_OK);
    awq__free(ids.data);
}

typedef struct sample {
    const char *text, *ids;
} sample;

static void samples_are(fixture *f, const char *json, const sample *samples, size_t count)
{
    awq__tokenizer *tokenizer;
    awq__text out = {0};
    if (load(f, json, &tokenizer) != AWQ_OK)
        fail_msg("%s: %s", json, awq_context_message(f->ctx));
    for (size_t i = 0; i < count; i++) {
        encode(f, tokenizer, samples[i].text, strlen(samples[i].text), false, &out);
        if (strcmp(out.data, samples[i].ids))
            fail_msg("\"%s\" gives %s, expected %s", samples[i].text, out.data, samples[i].ids);
    }
    awq__text_free(&out);
    awq__tokenizer_free(tokenizer);
}

#define SAMPLES_ARE(f, json, ...)                                                                  \
    do {                                                                                           \
        static const sample list[] = {__VA_ARGS__};                                                \
        samples_are(f, json, list, COUNT(list));                                                   \
    } while (0)

static void merges(void **state)
{
    fixture *f = *state;
    SAMPLES_ARE(f, ONLY(PLAIN), {"", ""}, {"a", "0"}, {"abc", "7"}, {"ab", "5"}, {"aab", "0 5"},
                {"aabc", "0 7"}, {"aaaaa", "11 11 0"}, {"x", ""}, {"axb", "5"}, {"_ab", "3 5"},
                {"_a", "8"}, {"bcabc", "6 7"});
    SAMPLES_ARE(f, ONLY(MODEL("", VOCABULARY, "\"#version: 0.2\",\"b c\",\"a b\",\"a bc\"")),
                {"abc", "7"}, {"_a", "3 0"});
    /* without "type", as old files are, and with empty affixes */
    SAMPLES_ARE(f,
                ONLY("{\"continuing_subword_prefix\":\"\",\"end_of_word_suffix\":\"\",\"dropout\":"
                     "null,\"vocab\":{" VOCABULARY "},\"merges\":[" MERGES "]}"),
                {"abc", "7"});
    /* of a pair that stands twice the last rank counts */
    SAMPLES_ARE(f, ONLY(MODEL("", VOCABULARY, MERGES ",[\"b\",\"c\"]")), {"abc", "5 2"});
    SAMPLES_ARE(f, ONLY(MODEL(",\"ignore_merges\":true", VOCABULARY, "")), {"abc", "7"},
                {"aabc", "0 0 1 2"});
}

#define BYTES3 ",\"<0xC3>\":12,\"<0xA9>\":13,\"<0x0A>\":14,\"?\":15"

static void unknown_characters(void **state)
{
    fixture *f = *state;
    SAMPLES_ARE(f, ONLY(MODEL(",\"unk_token\":\"?\"", VOCABULARY BYTES3, MERGES)),
                {"axyb", "0 15 15 1"}, {"x", "15"}, {"a?", "0 15"});
    SAMPLES_ARE(f, ONLY(MODEL(",\"unk_token\":\"?\",\"fuse_unk\":true", VOCABULARY BYTES3, MERGES)),
                {"axyb", "0 15 1"}, {"xayz", "15 0 15"});
    SAMPLES_ARE(f, ONLY(MODEL(",\"byte_fallback\":true", VOCABULARY BYTES3, MERGES)),
                {"a\xC3\xA9\n", "0 12 13 14"}, {"a\xC3\xA8", "0"}, {"<0x0A>", "9 10"});
    /* bytes overtake an unknown character that was not written yet */
    SAMPLES_ARE(f,
                ONLY(MODEL(",\"byte_fallback\":true,\"unk_token\":\"?\",\"fuse_unk\":true",
                           VOCABULARY BYTES3, MERGES)),
                {"x\xC3\xA9za", "12 13 15 0"});
    /* merges of the unknown token reach across characters that no merge names */
    SAMPLES_ARE(f, ONLY(MODEL(",\"unk_token\":\"a\"", VOCABULARY BYTES3, "[\"a\",\"b\"]")),
                {"xb", "5"}, {"ayb", "0 5"});
    awq__tokenizer *tokenizer;
    awq__ids ids = {0};
    assert_int_equal(
        load(f, ONLY(MODEL(",\"unk_token\":\"none\"", VOCABULARY, MERGES)), &tokenizer), AWQ_OK);
    assert_int_equal(awq__tokenizer_encode(tokenizer, "ab", 2, false, &ids), AWQ_OK);
    assert_int_equal(awq__tokenizer_encode(tokenizer, "abx", 3, false, &ids), AWQ_ERROR_FORMAT);
    assert_message(f, "U+0078");
    assert_int_equal(ids.count, 1);
    assert_int_equal(ids.data[0], 5);
    awq__free(ids.data);
    awq__tokenizer_free(tokenizer);
}

/* The definition of BPE: the pair of the lowest rank, of these the leftmost, again and again. */
static void naive_bpe(int *ids, size_t *count, const int (*pairs)[2], int pair_count)
{
    for (;;) {
        int best = pair_count;
        size_t at = 0;
        for (size_t i = 0; i + 1 < *count; i++)
            for (int rank = 0; rank < best; rank++)
                if (pairs[rank][0] == ids[i] && pairs[rank][1] == ids[i + 1]) {
                    best = rank;
                    at = i;
                }
        if (best == pair_count)
            return;
        ids[at] = 4 + best;
        memmove(ids + at + 1, ids + at + 2, (*count - at - 2) * sizeof *ids);
        --*count;
    }
}

/* Tokens 0 to 3 are letters, token 4+r is what merge r makes; names double as their spelling. */
static void random_model(fixture *f, uint64_t *random, int pairs[][2], int pair_count,
                         awq__tokenizer **tokenizer)
{
    char names[64][64] = {"a", "b", "c", "d"};
    awq__text json = {0}, list = {0};
    assert_int_equal(awq__text_append(f->ctx, &json,
                                      "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,"
                                      "\"c\":2,\"d\":3"),
                     AWQ_OK);
    for (int rank = 0; rank < pair_count;) {
        int left = (int)(awq__random(random) % (uint64_t)(4 + rank));
        int right = (int)(awq__random(random) % (uint64_t)(4 + rank));
        bool taken = strlen(names[left]) + strlen(names[right]) > 12;
        char name[sizeof names[0]];
        snprintf(name, sizeof name, "%.31s%.31s", names[left], names[right]);
        for (int i = 0; i < 4 + rank && !taken; i++)
            taken = !strcmp(names[i], name);
        if (taken)
            continue;
        memcpy(names[4 + rank], name, sizeof name);
        pairs[rank][0] = left;
        pairs[rank][1] = right;
        awq__text_append(f->ctx, &json, ",\"%s\":%d", name, 4 + rank);
        awq__text_append(f->ctx, &list, "%s\"%s %s\"", rank ? "," : "", names[left], names[right]);
        rank++;
    }
    assert_int_equal(awq__text_append(f->ctx, &json, "},\"merges\":[%s]}}", list.data), AWQ_OK);
    assert_int_equal(load(f, json.data, tokenizer), AWQ_OK);
    awq__text_free(&json);
    awq__text_free(&list);
}

static void merges_against_definition(void **state)
{
    fixture *f = *state;
    enum { MODELS = 40, TEXTS = 20, PAIRS = 12, LENGTH = 60 };
    uint64_t random = 11;
    for (int model = 0; model < MODELS; model++) {
        int pairs[PAIRS][2];
        awq__tokenizer *tokenizer;
        random_model(f, &random, pairs, PAIRS, &tokenizer);
        for (int i = 0; i < TEXTS; i++) {
            char text[LENGTH];
            int expected[LENGTH];
            size_t count = 1 + awq__random(&random) % LENGTH;
            awq__ids ids = {0};
            for (size_t j = 0; j < count; j++) {
                expected[j] = (int)(awq__random(&random) % 4);
                text[j] = (char)('a' + expected[j]);
            }
            assert_int_equal(awq__tokenizer_encode(tokenizer, text, count, false, &ids), AWQ_OK);
            naive_bpe(expected, &count, (const int(*)[2])pairs, PAIRS);
            assert_int_equal(ids.count, count);
            assert_memory_equal(ids.data, expected, count * sizeof *expected);
            awq__free(ids.data);
        }
        awq__tokenizer_free(tokenizer);
    }
}

/* ---- added tokens ---- */

#define ADDED(id, content, word, left, right, normalized, special)                                 \
    "{\"id\":" #id ",\"content\":\"" content "\",\"single_word\":" #word ",\"lstrip\":" #left      \
    ",\"rstrip\":" #right ",\"normalized\":" #normalized ",\"special\":" #special "}"

static void added_tokens(void **state)
{
    fixture *f = *state;
    SAMPLES_ARE(f,
                FILE_OF(ADDED(12, "<s>", false, false, false, false, true) "," ADDED(
                            13, "<s>>", false, false, false, false,
                            false) "," ADDED(7, "abc", false, false, false, false, false),
                        "null", "null", "null", PLAIN),
                {"a<s>b", "0 12 1"}, {"<s>>", "13"}, {"<s><s>", "12 12"}, {"<s", "9"},
                {"aabcc", "0 7 2"}, {"<<s>", "9 12"});
    SAMPLES_ARE(f,
                FILE_OF(ADDED(12, "L", false, true, false, false, false) "," ADDED(
                            13, "R", false, false, true, false,
                            false) "," ADDED(14, "W", true, false, false, false, false),
                        "null", "null", "null", PLAIN),
                {"a  L b", "0 12 4 1"}, {"a R  b", "0 4 13 1"}, {"aR \xE3\x80\x80\n L", "0 13 12"},
                {"aW", "0"}, {"a W,", "0 4 14"}, {"WW", ""}, {"\xC3\xA9W", ""}, {"-W-", "14"});
}

#define NORMALIZE                                                                                  \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"_\"},"            \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"}]}"

static void added_and_normalized(void **state)
{
    fixture *f = *state;
    /* each part between raw tokens gets its own prefix; so does a normalized token itself */
    SAMPLES_ARE(f,
                FILE_OF(ADDED(12, "<s>", false, false, false, false,
                              true) "," ADDED(13, "<n>", false, false, false, true, false),
                        NORMALIZE, "null", "null", MODEL("", VOCABULARY ",\"<s>\":12", MERGES)),
                {"a", "8"}, {"a<s>a", "8 12 8"}, {"a<s> a", "8 12 3 8"}, {"<s>", "12"}, {"", ""},
                {"<n>", "13"}, {"a <n>", "8 13"}, {"a<n>", "8 9 10"}, {"<s><n>b", "12 13 1"});
}

static void prefix_of_first(void **state)
{
    fixture *f = *state;
#define META(scheme)                                                                               \
    FILE_OF(ADDED(12, "<s>", false, false, false, false, true), "null",                            \
            "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"" scheme           \
            "\",\"split\":false}",                                                                 \
            "null", PLAIN)
    SAMPLES_ARE(f, META("first"), {"a<s>a", "8 12 0"}, {"<s>a", "12 0"}, {"a a", "8 8"});
    SAMPLES_ARE(f, META("always"), {"a<s>a", "8 12 8"}, {"<s>a", "12 8"});
    SAMPLES_ARE(f, META("never"), {"a<s>a", "0 12 0"}, {"a a", "0 8"});
}

/* ---- what the post-processor adds ---- */

#define SPECIAL(name) "{\"SpecialToken\":{\"id\":\"" name "\",\"type_id\":0}}"
#define TEXT_A "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define TEMPLATE(single)                                                                           \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[],\"special_tokens\":{"    \
    "\"s\":{\"id\":\"s\",\"ids\":[20,3],\"tokens\":[\"s\",\"_\"]},"                                \
    "\"e\":{\"id\":\"e\",\"ids\":[2],\"tokens\":[\"e\"]}}}"
#define LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":false}"

static void templates(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *json, *ids;
        int32_t bos, size;
    } cases[] = {
        {FILE_OF("", "null", "null", "null", PLAIN), "7", -1, 12},
        {FILE_OF("", "null", "null", LEVEL, PLAIN), "7", -1, 12},
        {FILE_OF("", "null", "null", TEMPLATE(SPECIAL("s") "," TEXT_A), PLAIN), "20 3 7", 20, 21},
        {FILE_OF("", "null", "null", TEMPLATE(TEXT_A "," SPECIAL("e")), PLAIN), "7 2", -1, 12},
        {FILE_OF("", "null", "null",
                 "{\"type\":\"Sequence\",\"processors\":[" LEVEL
                 "," TEMPLATE(SPECIAL("e") "," TEXT_A "," SPECIAL("s")) "]}",
                 PLAIN),
         "2 7 20 3", 2, 21},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        awq__tokenizer *tokenizer;
        awq__text out = {0};
        assert_int_equal(load(f, cases[i].json, &tokenizer), AWQ_OK);
        encode(f, tokenizer, "abc", 3, true, &out);
        assert_string_equal(out.data, cases[i].ids);
        encode(f, tokenizer, "abc", 3, false, &out);
        assert_string_equal(out.data, "7");
        assert_int_equal(awq__tokenizer_bos(tokenizer), cases[i].bos);
        assert_int_equal(awq__tokenizer_size(tokenizer), cases[i].size);
        awq__text_free(&out);
        awq__tokenizer_free(tokenizer);
    }
}

/* ---- any bytes ---- */

static void bytes_that_are_no_text(void **state)
{
    fixture *f = *state;
    awq__tokenizer *tokenizer;
    awq__text out = {0};
    assert_int_equal(
        load(f, ONLY(MODEL("", VOCABULARY ",\"\xEF\xBF\xBD\":12", MERGES)), &tokenizer), AWQ_OK);
    encode(f, tokenizer,
           "a\xFF\xE2\x82"
           "bc",
           6, false, &out);
    assert_string_equal(out.data, "0 12 12 6");
    encode(f, tokenizer, "a\0b", 3, false, &out); /* U+0000 has no token here, and vanishes */
    assert_string_equal(out.data, "5");
    encode(f, tokenizer, NULL, 0, true, &out);
    assert_string_equal(out.data, "");
    awq__text_free(&out);
    awq__tokenizer_free(tokenizer);
    awq__tokenizer_free(NULL);
}

typedef struct job {
    const awq__tokenizer *tokenizer;
    awq__ids ids[16];
} job;

static awq_status encode_job(void *arg, int64_t index, int worker)
{
    job *j = arg;
    char text[64];
    (void)worker;
    int length = snprintf(text, sizeof text, "abc aab %d _a bc", (int)(index % 2));
    for (int i = 0; i < 50; i++) {
        j->ids[index].count = 0;
        awq_status status =
            awq__tokenizer_encode(j->tokenizer, text, (size_t)length, true, &j->ids[index]);
        if (status != AWQ_OK)
            return status;
    }
    return AWQ_OK;
}

static void many_threads(void **state)
{
    fixture *f = *state;
    awq__tokenizer *tokenizer;
    assert_int_equal(
        load(f,
             FILE_OF("", "{\"type\":\"NFC\"}", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}",
                     "null", PLAIN),
             &tokenizer),
        AWQ_OK);
    job j = {.tokenizer = tokenizer};
    assert_int_equal(awq_context_set_threads(f->ctx, 4), AWQ_OK);
    assert_int_equal(awq__parallel_for(f->ctx, 16, encode_job, &j), AWQ_OK);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(j.ids[i].count, j.ids[i % 2].count);
        assert_true(j.ids[i].count > 3);
        assert_memory_equal(j.ids[i].data, j.ids[i % 2].data, j.ids[i].count * sizeof(int32_t));
    }
    for (size_t i = 0; i < 16; i++)
        awq__free(j.ids[i].data);
    awq__tokenizer_free(tokenizer);
}

/* ---- files that are refused ---- */

static void refused_files(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *json;
        awq_status status;
        const char *message;
    } cases[] = {
        {"", AWQ_ERROR_FORMAT, "not valid JSON"},
        {"[]", AWQ_ERROR_FORMAT, "not an object"},
        {"{}", AWQ_ERROR_FORMAT, "\"model\""},
        {"{\"model\":{}}", AWQ_ERROR_FORMAT, "\"vocab\""},
        {"{\"model\":null,\"extra\":1}", AWQ_ERROR_UNSUPPORTED, "\"extra\""},
        {"{\"version\":\"2.0\",\"model\":" PLAIN "}", AWQ_ERROR_UNSUPPORTED, "\"2.0\""},
        {"{\"version\":1,\"model\":" PLAIN "}", AWQ_ERROR_FORMAT, "\"version\""},
        {ONLY("7"), AWQ_ERROR_FORMAT, "\"model\""},
        {ONLY("{\"type\":\"Unigram\",\"vocab\":[]}"), AWQ_ERROR_UNSUPPORTED, "\"Unigram\""},
        {ONLY("{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}"), AWQ_ERROR_FORMAT, "\"vocab\""},
        {ONLY("{\"type\":\"BPE\",\"vocab\":{\"a\":0}}"), AWQ_ERROR_FORMAT, "\"merges\""},
        {ONLY(MODEL(",\"dropout\":0.1", "\"a\":0", "")), AWQ_ERROR_UNSUPPORTED, "dropout"},
        {ONLY(MODEL(",\"end_of_word_suffix\":\"</w>\"", "\"a\":0", "")), AWQ_ERROR_UNSUPPORTED,
         "end_of_word_suffix"},
        {ONLY(MODEL(",\"continuing_subword_prefix\":\"##\"", "\"a\":0", "")), AWQ_ERROR_UNSUPPORTED,
         "continuing_subword_prefix"},
        {ONLY(MODEL(",\"fuse_unk\":1", "\"a\":0", "")), AWQ_ERROR_FORMAT, "fuse_unk"},
        {ONLY(MODEL("", "\"a\":-1", "")), AWQ_ERROR_FORMAT, "whole number"},
        {ONLY(MODEL("", "\"a\":2147483647", "")), AWQ_ERROR_FORMAT, "whole number"},
        {ONLY(MODEL("", "\"a\":1e300", "")), AWQ_ERROR_FORMAT, "whole number"},
        {ONLY(MODEL("", "\"a\":0.5", "")), AWQ_ERROR_FORMAT, "whole number"},
        {ONLY(MODEL("", "\"a\":0,\"b\":0", "")), AWQ_ERROR_FORMAT, "two tokens have the id 0"},
        {ONLY(MODEL("", "\"a\":0,\"a\":1", "")), AWQ_ERROR_FORMAT, "twice"},
        {ONLY(MODEL("", "\"a\\u0000\":0", "")), AWQ_ERROR_UNSUPPORTED, "U+0000"},
        {ONLY(MODEL("", "\"\xFF\":0", "")), AWQ_ERROR_FORMAT,
         "stands in a string that is not UTF-8"},
        {ONLY(MODEL("", "\"a\":0,\"aa\":1", "[\"a\",\"a\"],[\"a\",\"b\"]")), AWQ_ERROR_FORMAT,
         "merge 1 needs the token \"b\""},
        {ONLY(MODEL("", "\"a\":0", "[\"a\",\"a\"]")), AWQ_ERROR_FORMAT, "the token \"aa\""},
        {ONLY(MODEL("", "\"a\":0,\"aa\":1", "\"a a a\"")), AWQ_ERROR_FORMAT, "merge 0"},
        {ONLY(MODEL("", "\"a\":0,\"aa\":1", "\"aa\"")), AWQ_ERROR_FORMAT, "merge 0"},
        {ONLY(MODEL("", "\"a\":0,\"aa\":1", "[\"a\"]")), AWQ_ERROR_FORMAT, "merge 0"},
        {ONLY(MODEL("", "\"a\":0,\"aa\":1", "[\"a\",\"a\",\"a\"]")), AWQ_ERROR_FORMAT, "merge 0"},
        {ONLY(MODEL("", "\"a\":0,\"aa\":1", "[\"a\",1]")), AWQ_ERROR_FORMAT, "merge 0"},
        {ONLY(MODEL("", "\"a\":0,\"aa\":1", "[\"a\",\"a\"],\"a a\"")), AWQ_ERROR_FORMAT, "merge 1"},
        {FILE_OF("", "{\"type\":\"Lowercase\"}", "null", "null", PLAIN), AWQ_ERROR_UNSUPPORTED,
         "\"Lowercase\""},
        {FILE_OF("", "{\"type\":\"NFC\",\"strength\":2}", "null", "null", PLAIN),
         AWQ_ERROR_UNSUPPORTED, "\"strength\""},
        {FILE_OF("", "{\"type\":\"Prepend\"}", "null", "null", PLAIN), AWQ_ERROR_FORMAT,
         "\"prepend\""},
        {FILE_OF("", "{\"type\":\"Sequence\",\"normalizers\":[7]}", "null", "null", PLAIN),
         AWQ_ERROR_FORMAT, "not an object"},
        {FILE_OF("", "null", "{\"type\":\"BertPreTokenizer\"}", "null", PLAIN),
         AWQ_ERROR_UNSUPPORTED, "\"BertPreTokenizer\""},
        {FILE_OF("", "null", "null", "{\"type\":\"RobertaProcessing\"}", PLAIN),
         AWQ_ERROR_UNSUPPORTED, "\"RobertaProcessing\""},
        {FILE_OF("", "null", "null", TEMPLATE(SPECIAL("s")), PLAIN), AWQ_ERROR_UNSUPPORTED,
         "leaves out the text"},
        {FILE_OF("", "null", "null", TEMPLATE(TEXT_A "," TEXT_A), PLAIN), AWQ_ERROR_UNSUPPORTED,
         "\"A\" once"},
        {FILE_OF("", "null", "null", TEMPLATE(SPECIAL("x") "," TEXT_A), PLAIN), AWQ_ERROR_FORMAT,
         "no ids for \"x\""},
        {FILE_OF(
             "", "null", "null",
             "{\"type\":\"Sequence\",\"processors\":[" TEMPLATE(TEXT_A) "," TEMPLATE(TEXT_A) "]}",
             PLAIN),
         AWQ_ERROR_UNSUPPORTED, "after another"},
        {FILE_OF("7", "null", "null", "null", PLAIN), AWQ_ERROR_FORMAT, "added token"},
        {FILE_OF("{\"id\":12,\"content\":\"x\"}", "null", "null", "null", PLAIN), AWQ_ERROR_FORMAT,
         "\"single_word\""},
        {FILE_OF(ADDED(-1, "x", false, false, false, false, false), "null", "null", "null", PLAIN),
         AWQ_ERROR_FORMAT, "whole number"},
        {FILE_OF(ADDED(13, "x", false, false, false, false, false), "null", "null", "null", PLAIN),
         AWQ_ERROR_FORMAT, "has the id 13, but its place gives it 12"},
        {FILE_OF(ADDED(12, "abc", false, false, false, false, false), "null", "null", "null",
                 PLAIN),
         AWQ_ERROR_FORMAT, "its place gives it 7"},
        {FILE_OF(ADDED(12, "x", false, false, false, false, false) "," ADDED(13, "x", false, false,
                                                                             false, false, false),
                 "null", "null", "null", PLAIN),
         AWQ_ERROR_FORMAT, "\"x\" stands twice"},
        {FILE_OF(ADDED(12, "x", false, false, false, true, false),
                 "{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":\"\"}", "null",
                 "null", PLAIN),
         AWQ_ERROR_UNSUPPORTED, "0 bytes"},
        {FILE_OF(ADDED(12, "x", false, false, false, true, false), "{\"type\":\"NFC\"}",
                 "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}",
                 "null", PLAIN),
         AWQ_ERROR_UNSUPPORTED, "\"first\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        awq__tokenizer *tokenizer = (awq__tokenizer *)f;
        awq_status status = load(f, cases[i].json, &tokenizer);
        if (status != cases[i].status)
            fail_msg("%s: status %d, message \"%s\"", cases[i].json, status,
                     awq_context_message(f->ctx));
        assert_null(tokenizer);
        assert_message(f, "tokenizer.json");
        assert_message(f, cases[i].message);
    }
    awq__tokenizer *tokenizer;
    assert_int_equal(awq__tokenizer_load(f->ctx, path_of(f, "absent.json"), &tokenizer),
                     AWQ_ERROR_IO);
    assert_null(tokenizer);
}

/* Every byte of a good file damaged in turn: accepted or refused, never worse. */
static void damaged_files(void **state)
{
    fixture *f = *state;
    static const char good[] =
        FILE_OF(ADDED(12, "<s>", true, true, true, true, true), NORMALIZE,
                "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s)|[^\\\\s\\\\p{L}]+\"},"
                "\"behavior\":\"Removed\",\"invert\":true}",
                TEMPLATE(SPECIAL("s") "," TEXT_A), PLAIN);
    char damaged[sizeof good];
    int accepted = 0, refused = 0;
    for (size_t i = 0; i < sizeof good - 1; i++)
        for (int kind = 0; kind < 3; kind++) {
            awq__tokenizer *tokenizer;
            awq__ids ids = {0};
            memcpy(damaged, good, sizeof good);
            damaged[i] = kind == 0 ? (char)(good[i] ^ 1) : kind == 1 ? '"' : '9';
            if (load(f, damaged, &tokenizer) != AWQ_OK) {
                assert_message(f, "tokenizer.json");
                refused++;
                continue;
            }
            awq__tokenizer_encode(tokenizer, "a <s> b'S abc", 13, true, &ids);
            awq__free(ids.data);
            awq__tokenizer_free(tokenizer);
            accepted++;
        }
    assert_true(accepted > 0 && refused > accepted);
}

/* What to do where a model's tokenizer is of a kind that is not read. */
static void other_kinds_are_named(void **state)
{
    fixture *f = *state;
    static const char *const kinds[] = {"tokenizer.model", "tiktoken.model"};
    awq__tokenizer *tokenizer;
    for (size_t i = 0; i < 2; i++) {
        write_text(f, kinds[i], "x");
        assert_int_equal(awq__tokenizer_load(f->ctx, path_of(f, "tokenizer.json"), &tokenizer),
                         AWQ_ERROR_UNSUPPORTED);
        assert_message(f, kinds[i]);
        assert_message(f, "give ids in place of text");
        awq__clear(f->ctx);
    }
}

int main(void)
{
#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FILES(golden_mixtral),  WITH_FILES(golden_qwen2),
        WITH_FILES(golden_qwen3),    WITH_FILES(golden_gpt_oss),
        WITH_FILES(merges),          WITH_FILES(unknown_characters),
        WITH_FILES(added_tokens),    WITH_FILES(added_and_normalized),
        WITH_FILES(prefix_of_first), WITH_FILES(merges_against_definition),
        WITH_FILES(templates),       WITH_FILES(bytes_that_are_no_text),
        WITH_FILES(many_threads),    WITH_FILES(refused_files),
        WITH_FILES(damaged_files),   WITH_FILES(other_kinds_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
