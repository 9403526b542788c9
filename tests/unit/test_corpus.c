/* Corpora: documents to sequences, choice by seed, evaluation windows, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_files.h"
#include "text/text_internal.h"

#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MAX_FILES 4

/* Letters a to j are 1 to 10, a line end 11, a space 12, NUL and others unknown: 13. */
#define VOCABULARY                                                                                 \
    "{\"<s>\":0,\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,"          \
    "\"j\":10,\"\\n\":11,\" \":12,\"?\":13}"
#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":" VOCABULARY ",\"merges\":[]}"
#define WITH_BOS                                                                                   \
    "{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"  \
    "\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"            \
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]}}}," MODEL "}"
#define WITHOUT_BOS "{" MODEL "}"

typedef awq_status (*load_fn)(awq_context *ctx, const awq__corpus_options *options,
                              const char *tokenizer_path, int64_t vocabulary, awq__sequences *out);

/* A call: files by name in the test's directory, and options. */
typedef struct request {
    load_fn load;
    const char *files[MAX_FILES];
    const char *field;
    int64_t samples, length;
    uint64_t seed;
    bool cut;
} request;

#define CUT(...)                                                                                   \
    (request)                                                                                      \
    {                                                                                              \
        .load = awq__corpus_load, .cut = true, .files = { __VA_ARGS__ }                            \
    }
#define PACK(...)                                                                                  \
    (request)                                                                                      \
    {                                                                                              \
        .load = awq__corpus_load, .files = { __VA_ARGS__ }                                         \
    }
#define WINDOWS(...)                                                                               \
    (request)                                                                                      \
    {                                                                                              \
        .load = awq__windows_load, .files = { __VA_ARGS__ }                                        \
    }

static awq_status load(fixture *f, const request *r, awq__sequences *out)
{
    char paths[MAX_FILES][1024], tokenizer[1024];
    const char *files[MAX_FILES];
    awq__corpus_options options = {.files = files,
                                   .field = r->field,
                                   .samples = r->samples,
                                   .sequence_length = r->length,
                                   .seed = r->seed,
                                   .cut = r->cut};
    for (; options.file_count < MAX_FILES && r->files[options.file_count]; options.file_count++) {
        snprintf(paths[options.file_count], sizeof paths[0], "%s/%s", f->directory,
                 r->files[options.file_count]);
        files[options.file_count] = paths[options.file_count];
    }
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer.json", f->directory);
    awq__clear(f->ctx);
    return r->load(f->ctx, &options, tokenizer, 14, out);
}

/* The sequences as text: "0 1 2|0 3|". */
static char *spell(fixture *f, const awq__sequences *sequences)
{
    awq__text out = {0};
    assert_int_equal(sequences->offsets[0], 0);
    for (int64_t i = 0; i < sequences->count; i++) {
        for (int64_t j = sequences->offsets[i]; j < sequences->offsets[i + 1]; j++)
            assert_int_equal(awq__text_append(f->ctx, &out, "%d%s", sequences->ids[j],
                                              j + 1 < sequences->offsets[i + 1] ? " " : "|"),
                             AWQ_OK);
    }
    return out.data;
}

static char *loaded(fixture *f, request r, int64_t length)
{
    awq__sequences sequences;
    r.length = length;
    if (load(f, &r, &sequences) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    char *text = spell(f, &sequences);
    awq__sequences_free(&sequences);
    assert_null(sequences.ids);
    return text;
}

static void gives(fixture *f, request r, int64_t length, const char *expected)
{
    char *text = loaded(f, r, length);
    assert_string_equal(text, expected);
    awq__free(text);
}

static void refused(fixture *f, request r, int64_t length, awq_status status, const char *message)
{
    awq__sequences sequences = {.count = 7};
    if (!r.length)
        r.length = length;
    if (load(f, &r, &sequences) != status)
        fail_msg("expected %s: \"%s\", message \"%s\"", awq_status_name(status), message,
                 awq_context_message(f->ctx));
    assert_message(f, message);
    assert_int_equal(sequences.count, 0);
    assert_null(sequences.ids);
    assert_null(sequences.offsets);
}

/* One tensor of ids. */
static void write_ids(fixture *f, const char *file, const char *name, const char *dtype, int rows,
                      int length, const int32_t *ids)
{
    char header[256];
    size_t bytes = (size_t)rows * (size_t)length * (strcmp(dtype, "I64") ? 4 : 8);
    int header_length = snprintf(header, sizeof header,
                                 "{\"%s\":{\"dtype\":\"%s\",\"shape\":[%d,%d],\"data_offsets\":"
                                 "[0,%zu]}}",
                                 name, dtype, rows, length, bytes);
    uint64_t header_bytes = (uint64_t)header_length;
    char *whole = malloc(8 + header_bytes + bytes);
    assert_non_null(whole);
    memcpy(whole, &header_bytes, 8);
    memcpy(whole + 8, header, header_bytes);
    memcpy(whole + 8 + header_bytes, ids, bytes);
    write_file(f, file, whole, 8 + header_bytes + bytes);
    free(whole);
}

/* ---- calibration ---- */

static void cut_into_documents(void **state)
{
    fixture *f = *state;
    static const int32_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    write_text(f, "tokenizer.json", WITH_BOS);
    write_text(f, "a.txt", "abcdef");
    write_text(f, "empty.txt", "");
    write_text(f, "b.jsonl",
               "{\"text\":\"gh\"}\r\n\n  \t\n{\"text\":\"\"}\n{\"id\":1,\"text\":\"a\\nb\"}");
    write_ids(f, "c.safetensors", "input_ids", "I32", 2, 5, rows);
    gives(f, CUT("a.txt"), 9, "0 1 2 3 4 5 6|");
    gives(f, CUT("a.txt"), 3, "0 1 2|");
    gives(f, CUT("b.jsonl"), 9, "0 7 8|0 1 11 2|");
    gives(f, CUT("a.txt", "empty.txt", "b.jsonl"), 2, "0 1|0 7|0 1|");
    gives(f, CUT("c.safetensors"), 9, "1 2 3 4 5|6 7 8 9 10|");
    gives(f, CUT("c.safetensors"), 3, "1 2 3|4 5|6 7 8|9 10|");
    gives(f, CUT("c.safetensors"), 4, "1 2 3 4|6 7 8 9|"); /* a rest of one id is no sequence */
    gives(f, CUT("b.jsonl", "c.safetensors", "a.txt"), 4,
          "0 7 8|0 1 11 2|1 2 3 4|6 7 8 9|0 1 2 3|");
    /* without a BOS a text of one token has no successor to predict */
    write_text(f, "tokenizer.json", WITHOUT_BOS);
    write_text(f, "short.jsonl", "{\"text\":\"a\"}\n{\"text\":\"ab\"}\n");
    gives(f, CUT("short.jsonl"), 9, "1 2|");
}

static void packed(void **state)
{
    fixture *f = *state;
    static const int32_t rows[] = {9, 9, 9};
    write_text(f, "tokenizer.json", WITH_BOS);
    write_text(f, "a.jsonl", "{\"text\":\"abc\"}\n{\"text\":\"d\"}\n{\"text\":\"\"}\n");
    write_text(f, "b.txt", "efghij");
    write_ids(f, "c.safetensors", "input_ids", "I32", 1, 3, rows);
    gives(f, PACK("a.jsonl"), 3, "0 1 2|3 0 4|");
    gives(f, PACK("a.jsonl"), 7, "0 1 2 3 0 4 0|");
    gives(f, PACK("a.jsonl", "b.txt"), 4, "0 1 2 3|0 4 0 0|5 6 7 8|");
    gives(f, PACK("a.jsonl", "c.safetensors", "b.txt"), 4, "0 1 2 3|9 9 9|0 4 0 0|5 6 7 8|");
    gives(f, PACK("c.safetensors"), 2, "9 9|");
    refused(f, PACK("a.jsonl"), 8, AWQ_ERROR_FORMAT, "no sequence of up to 8 ids");
    assert_message(f, "in 3 documents with 7 ids");
}

static void strings_of_lines(void **state)
{
    fixture *f = *state;
    write_text(f, "tokenizer.json", WITH_BOS);
    write_text(f, "a.jsonl",
               "\xEF\xBB\xBF{\"text\":\"a\\u0000b\"}\n{\"text\":\"\\u0061\\u006A\"}\n"
               "{\"text\":\"c\\\\u0000\"}\n{\"score\":NaN,\"text\":\"\xEF\xBF\xBD\"}");
    gives(f, CUT("a.jsonl"), 9, "0 1 13 2|0 1 10|0 3 13 13 13 13 13 13|0 13|");
    write_text(f, "b.jsonl", "{\"text\":7,\"prompt\":\"ab\"}");
    request r = CUT("b.jsonl");
    r.field = "prompt";
    gives(f, r, 9, "0 1 2|");
    refused(f, CUT("b.jsonl"), 9, AWQ_ERROR_FORMAT, "b.jsonl:1: \"text\" is of another type");
    r.field = "none";
    refused(f, r, 9, AWQ_ERROR_FORMAT, "b.jsonl:1: \"none\" is missing");
}

static void bad_lines(void **state)
{
    fixture *f = *state;
    static const char *const lines[] = {"{",
                                        "7",
                                        "[\"text\"]",
                                        "{\"text\":null}",
                                        "{} {}",
                                        "{\"text\":\"a\",\"text\":\"b\"}",
                                        "{\"text\":\"\\ud800\"}",
                                        "{\"text\":\"\xFF\"}",
                                        "{\"text\":\"a\tb\"}",
                                        "\"text\""};
    char text[256];
    write_text(f, "tokenizer.json", WITH_BOS);
    for (size_t i = 0; i < COUNT(lines); i++) {
        snprintf(text, sizeof text, "{\"text\":\"a\"}\n\n%s\n", lines[i]);
        write_text(f, "a.jsonl", text);
        refused(f, CUT("a.jsonl"), 9, AWQ_ERROR_FORMAT, "a.jsonl:3");
        refused(f, PACK("a.jsonl"), 2, AWQ_ERROR_FORMAT, "a.jsonl:3");
        refused(f, WINDOWS("a.jsonl"), 9, AWQ_ERROR_FORMAT, "a.jsonl:3");
    }
    write_file(f, "a.jsonl", "{\"text\":\"a\0\"}", 13);
    refused(f, CUT("a.jsonl"), 9, AWQ_ERROR_FORMAT,
            "a.jsonl:1:11: not valid JSON: byte 0x00 stands in a string, where it must");
}

static void elements_of_an_array(void **state)
{
    static const char *const wrong[][2] = {
        {"{\"text\":\"a\"}", "a.json:1: no array begins here"},
        {"", "a.json:1: the array does not end"},
        {"[{\"text\":\"a\"}", "a.json:1: the array does not end"},
        {"[{\"text\":\"a\"},\n\"b\"]", "a.json:2: the line is not an object"},
        {"[{\"text\":\"a\"},\n{\"text\":\"]\"}] 1", "a.json:2: text after the array"},
        {"[\n}", "a.json:2: a bracket that nothing opened"},
        {"[{\"text\":\"a\"},]", "a.json:1:"},
        {"[{\"text\":\"a\"},,{\"text\":\"a\"}]", "a.json:1:"},
        {"[{\"text\":[}]", "a.json:1: the array does not end"},
        {"[{\"text\":7}]", "a.json:1: \"text\" is of another type"},
    };
    fixture *f = *state;
    write_text(f, "tokenizer.json", WITH_BOS);
    write_text(f, "a.json",
               " [{\"text\":\"gh\"},\n\n{\"x\":[1,{\"y\":\"]},\\\"\"}],\"text\":\"a\\nb\"}\n]\n");
    gives(f, CUT("a.json"), 9, "0 7 8|0 1 11 2|");
    write_text(f, "b.json", "[]");
    gives(f, CUT("a.json", "b.json"), 9, "0 7 8|0 1 11 2|");
    for (size_t i = 0; i < COUNT(wrong); i++) {
        write_text(f, "a.json", wrong[i][0]);
        refused(f, CUT("a.json"), 9, AWQ_ERROR_FORMAT, wrong[i][1]);
    }
}

static void wide_ids(void **state)
{
    fixture *f = *state;
    static const int64_t ids[] = {1, 2, 3, 4}, large[] = {1, 2, INT64_C(1) << 32, 4};
    write_text(f, "tokenizer.json", WITH_BOS);
    write_ids(f, "a.safetensors", "input_ids", "I64", 2, 2, (const int32_t *)ids);
    gives(f, CUT("a.safetensors"), 9, "1 2|3 4|");
    write_ids(f, "a.safetensors", "input_ids", "I64", 2, 2, (const int32_t *)large);
    refused(f, CUT("a.safetensors"), 9, AWQ_ERROR_FORMAT,
            "input_ids has 4294967296, which is no id of any model");
    write_ids(f, "a.safetensors", "input_ids", "F32", 2, 2, (const int32_t *)ids);
    refused(f, CUT("a.safetensors"), 9, AWQ_ERROR_FORMAT, "expected I32 or I64 of rank 2");
}

/* ---- choice by seed ---- */

/* Lines whose first letters tell them apart: 100 of them, "aa", "ab" ... "jj", all with a BOS. */
static void write_hundred(fixture *f)
{
    awq__text text = {0};
    for (int i = 0; i < 100; i++)
        assert_int_equal(
            awq__text_append(f->ctx, &text, "{\"text\":\"%c%c\"}\n", 'a' + i / 10, 'a' + i % 10),
            AWQ_OK);
    write_text(f, "tokenizer.json", WITH_BOS);
    write_text(f, "a.jsonl", text.data);
    awq__text_free(&text);
}

/* Loads and checks that the sequences are of the hundred, each once, in their order; a bit each. */
static void chosen_of_hundred(fixture *f, request r, int64_t expected, bool chosen[100])
{
    awq__sequences sequences;
    int last = -1;
    r.length = 3;
    assert_int_equal(load(f, &r, &sequences), AWQ_OK);
    assert_int_equal(sequences.count, expected);
    memset(chosen, 0, 100 * sizeof *chosen);
    for (int64_t i = 0; i < sequences.count; i++) {
        const int32_t *ids = sequences.ids + sequences.offsets[i];
        assert_int_equal(sequences.offsets[i + 1] - sequences.offsets[i], 3);
        int line = (ids[1] - 1) * 10 + ids[2] - 1;
        assert_true(line > last && line < 100);
        chosen[line] = true;
        last = line;
    }
    awq__sequences_free(&sequences);
}

static void choice_by_seed(void **state)
{
    fixture *f = *state;
    write_hundred(f);
    for (int kind = 0; kind < 2; kind++) {
        request r = kind ? PACK("a.jsonl") : CUT("a.jsonl");
        bool all[100], first[100], again[100], other[100], seen[100] = {false};
        chosen_of_hundred(f, r, 100, all);
        r.samples = 100;
        chosen_of_hundred(f, r, 100, all);
        r.samples = 1000;
        chosen_of_hundred(f, r, 100, all);
        r.samples = 10;
        chosen_of_hundred(f, r, 10, first);
        chosen_of_hundred(f, r, 10, again);
        assert_memory_equal(first, again, sizeof first);
        r.seed = 1;
        chosen_of_hundred(f, r, 10, other);
        assert_true(memcmp(first, other, sizeof first) != 0);
        /* every document can be chosen */
        for (r.seed = 0; r.seed < 200; r.seed++) {
            chosen_of_hundred(f, r, 10, again);
            for (int i = 0; i < 100; i++)
                seen[i] |= again[i];
        }
        for (int i = 0; i < 100; i++)
            assert_true(seen[i]);
    }
}

/* What a seed chooses is part of the promise that the same input gives the same bytes. */
static void choice_is_fixed(void **state)
{
    fixture *f = *state;
    write_hundred(f);
    request r = CUT("a.jsonl");
    r.samples = 3;
    r.seed = 42;
    gives(f, r, 3, "0 2 4|0 9 4|0 9 7|");
}

static void short_ones_are_replaced(void **state)
{
    fixture *f = *state;
    write_text(f, "tokenizer.json", WITHOUT_BOS);
    write_text(f, "a.jsonl",
               "{\"text\":\"a\"}\n{\"text\":\"\"}\n{\"text\":\"bc\"}\n{\"text\":\"d\"}\n"
               "{\"text\":\"ef\"}\n{\"text\":\"g\"}\n");
    for (uint64_t seed = 0; seed < 20; seed++) {
        request r = CUT("a.jsonl");
        r.samples = 2;
        r.seed = seed;
        gives(f, r, 9, "2 3|5 6|");
    }
    write_text(f, "b.jsonl", "{\"text\":\"a\"}\n{\"text\":\"\"}\n");
    refused(f, CUT("b.jsonl"), 9, AWQ_ERROR_FORMAT, "no sequence");
}

/* ---- rows of ids ---- */

static void rows_of_ids(void **state)
{
    fixture *f = *state;
    static const int32_t good[] = {1, 2, 3, 13}, bad[] = {1, 2, 14, 3}, negative[] = {1, 2, 3, -1};
    /* there is no tokenizer.json in this test: ids need none */
    write_ids(f, "other.safetensors", "mix", "I32", 2, 2, good);
    gives(f, CUT("other.safetensors"), 9, "1 2|3 13|");
    gives(f, WINDOWS("other.safetensors"), 9, "1 2|3 13|");
    write_ids(f, "bad.safetensors", "input_ids", "I32", 2, 2, bad);
    refused(f, CUT("bad.safetensors"), 9, AWQ_ERROR_FORMAT,
            "bad.safetensors: id 14 at position 0 of row 1 is not in 0 to 13");
    write_ids(f, "bad.safetensors", "input_ids", "I32", 1, 4, negative);
    refused(f, WINDOWS("bad.safetensors"), 9, AWQ_ERROR_FORMAT, "id -1 at position 3 of row 0");
    write_ids(f, "bad.safetensors", "input_ids", "F32", 2, 2, good);
    refused(f, CUT("bad.safetensors"), 9, AWQ_ERROR_FORMAT, "input_ids is F32 of rank 2");
    write_ids(f, "bad.safetensors", "mix", "F32", 2, 2, good);
    refused(f, CUT("bad.safetensors"), 9, AWQ_ERROR_FORMAT, "neither a tensor input_ids nor");
    write_ids(f, "none.safetensors", "input_ids", "I32", 1000000, 0, good);
    refused(f, CUT("none.safetensors"), 9, AWQ_ERROR_FORMAT, "no sequence");
    write_ids(f, "one.safetensors", "input_ids", "I32", 4, 1, good);
    refused(f, CUT("one.safetensors"), 9, AWQ_ERROR_FORMAT, "no sequence");
    refused(f, WINDOWS("one.safetensors"), 9, AWQ_ERROR_FORMAT, "a window needs two");
    write_text(f, "bad.safetensors", "not a header");
    refused(f, CUT("bad.safetensors"), 9, AWQ_ERROR_FORMAT, "bad.safetensors");
}

static void two_tensors_of_ids(void **state)
{
    fixture *f = *state;
    write_safetensors(f, "two.safetensors",
                      "{\"a\":{\"dtype\":\"I32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
                      "\"b\":{\"dtype\":\"I32\",\"shape\":[1,2],\"data_offsets\":[8,16]}}",
                      16);
    refused(f, CUT("two.safetensors"), 9, AWQ_ERROR_FORMAT, "nor a single I32");
}

/* ---- texts that are tokenized again ---- */

/* `count` lines of one to nine letters, behind so many bytes of blank lines. */
static void write_lines(fixture *f, const char *name, size_t blank, int count)
{
    awq__text text = {0};
    assert_int_equal(awq__grow(f->ctx, &text.data, &text.capacity, blank + 1, 1, "a file"), AWQ_OK);
    memset(text.data, '\n', blank);
    text.length = blank;
    for (int i = 0; i < count; i++)
        assert_int_equal(awq__text_append(f->ctx, &text, "{\"text\":\"%.*s\"}\n", 1 + i * i % 9,
                                          "abcdefghij" + i % 2),
                         AWQ_OK);
    write_file(f, name, text.data, text.length);
    awq__text_free(&text);
}

/* Ids are kept of the beginning of a file alone: the others are counted, and made again. */
static void far_lines_are_packed_alike(void **state)
{
    fixture *f = *state;
    request near = PACK("near.jsonl"), far = PACK("far.jsonl");
    write_text(f, "tokenizer.json", WITH_BOS);
    write_lines(f, "near.jsonl", 0, 300);
    write_lines(f, "far.jsonl", AWQ__KEPT_TEXT_BYTES, 300);
    for (near.samples = 0; near.samples < 40; near.samples += 39)
        for (int threads = 1; threads < 4; threads += 2) {
            far.samples = near.samples;
            far.seed = near.seed = (uint64_t)threads;
            assert_int_equal(awq_context_set_threads(f->ctx, 1), AWQ_OK);
            char *expected = loaded(f, near, 11);
            assert_int_equal(awq_context_set_threads(f->ctx, threads), AWQ_OK);
            gives(f, near, 11, expected);
            gives(f, far, 11, expected);
            awq__free(expected);
        }
}

/* A long document is tokenized by itself, and joins its neighbours as any other. */
static void long_lines_are_packed_alike(void **state)
{
    fixture *f = *state;
    enum { LETTERS = 1 << 20 };
    awq__text text = {0};
    awq__sequences sequences;
    request r = PACK("a.jsonl");
    write_text(f, "tokenizer.json", WITH_BOS);
    assert_int_equal(awq__text_append(f->ctx, &text, "{\"text\":\"abc\"}\n{\"text\":\""), AWQ_OK);
    for (int i = 0; i < LETTERS; i++)
        assert_int_equal(awq__text_append_bytes(f->ctx, &text, &"jihg"[i % 4], 1), AWQ_OK);
    assert_int_equal(awq__text_append(f->ctx, &text, "\"}\n{\"text\":\"def\"}\n"), AWQ_OK);
    write_file(f, "a.jsonl", text.data, text.length);
    awq__text_free(&text);
    r.length = LETTERS + 9;
    assert_int_equal(load(f, &r, &sequences), AWQ_OK);
    assert_int_equal(sequences.count, 1);
    const int32_t first[] = {0, 1, 2, 3, 0, 10, 9}, last[] = {8, 7, 0, 4, 5, 6};
    assert_memory_equal(sequences.ids, first, sizeof first);
    assert_memory_equal(sequences.ids + r.length - 6, last, sizeof last);
    awq__sequences_free(&sequences);
}

/* ---- evaluation ---- */

static void windows(void **state)
{
    fixture *f = *state;
    static const int32_t rows[] = {9, 9, 9, 8, 8, 8};
    write_text(f, "tokenizer.json", WITH_BOS);
    write_text(f, "a.txt", "abcdefg");
    write_text(f, "b.jsonl", "{\"text\":\"ab\"}\n{\"text\":\"c\"}\n");
    write_ids(f, "c.safetensors", "input_ids", "I32", 2, 3, rows);
    gives(f, WINDOWS("a.txt"), 4, "0 1 2 3|0 4 5 6|");
    gives(f, WINDOWS("a.txt"), 8, "0 1 2 3 4 5 6 7|");
    gives(f, WINDOWS("b.jsonl"), 6, "0 1 2 11 11 3|");
    gives(f, WINDOWS("b.jsonl", "a.txt"), 5, "0 1 2 11 11|0 3 11 11 1|0 2 3 4 5|");
    gives(f, WINDOWS("c.safetensors"), 9, "9 9 9|8 8 8|");
    gives(f, WINDOWS("a.txt", "c.safetensors", "b.jsonl"), 4,
          "0 1 2 3|0 4 5 6|9 9 9|8 8 8|0 1 2 11|");
    request r = WINDOWS("a.txt", "c.safetensors");
    r.samples = 3;
    gives(f, r, 4, "0 1 2 3|0 4 5 6|9 9 9|");
    r.samples = 1;
    gives(f, r, 4, "0 1 2 3|");
    r = WINDOWS("b.jsonl", "a.txt");
    r.samples = 2;
    gives(f, r, 5, "0 1 2 11 11|0 3 11 11 1|");
    refused(f, WINDOWS("a.txt"), 9, AWQ_ERROR_FORMAT, "no sequence");
    write_text(f, "tokenizer.json", WITHOUT_BOS);
    gives(f, WINDOWS("a.txt"), 3, "1 2 3|4 5 6|");
}

/* The protocol that the golden perplexity was measured with. */
static void golden_windows(void **state)
{
    fixture *f = *state;
    const char *files[] = {AWQ_TEST_DATA "/mixtral-tiny/eval.txt"};
    awq__corpus_options options = {.files = files, .file_count = 1, .sequence_length = 256};
    awq__sequences sequences;
    assert_int_equal(awq__windows_load(f->ctx, &options,
                                       AWQ_TEST_DATA "/mixtral-tiny/tokenizer.json", 1024,
                                       &sequences),
                     AWQ_OK);
    assert_int_equal(sequences.count, 96);
    for (int64_t i = 0; i < sequences.count; i++) {
        assert_int_equal(sequences.offsets[i], 256 * i);
        assert_int_equal(sequences.ids[256 * i], 1);
    }
    assert_int_equal(sequences.offsets[96], 256 * 96);
    awq__sequences_free(&sequences);
}

/* ---- what is refused ---- */

static void bad_requests(void **state)
{
    fixture *f = *state;
    request none = {.load = awq__corpus_load};
    request negative = CUT("a.txt");
    negative.samples = -1;
    write_text(f, "tokenizer.json", WITH_BOS);
    write_text(f, "a.txt", "abc");
    write_text(f, "a.csv", "{}");
    write_text(f, "empty.jsonl", "\n\n");
    refused(f, none, 9, AWQ_ERROR_ARGUMENT, "at least one file");
    refused(f, negative, 9, AWQ_ERROR_ARGUMENT, "samples");
    refused(f, CUT("a.txt"), 1, AWQ_ERROR_ARGUMENT, "sequence length");
    refused(f, CUT("a.txt"), INT64_MAX, AWQ_ERROR_ARGUMENT, "sequence length");
    refused(f, CUT("a.csv"), 9, AWQ_ERROR_UNSUPPORTED, "none of .txt");
    refused(f, CUT("absent.txt"), 9, AWQ_ERROR_IO, "absent.txt");
    refused(f, CUT("empty.jsonl"), 9, AWQ_ERROR_FORMAT, "empty.jsonl: no sequence");
    write_text(f, "tokenizer.json", "{}");
    refused(f, CUT("a.txt"), 9, AWQ_ERROR_FORMAT, "tokenizer.json");
}

/* A tokenizer that knows more tokens than the model has embeddings. */
static void foreign_tokenizer(void **state)
{
    fixture *f = *state;
    char path[2048], tokenizer[2048];
    const char *files[] = {path};
    awq__corpus_options options = {
        .files = files, .file_count = 1, .sequence_length = 9, .cut = true};
    awq__sequences sequences;
    write_text(f, "a.jsonl", "\n{\"text\":\"abj\"}");
    snprintf(path, sizeof path, "%s", path_of(f, "a.jsonl"));
    write_text(f, "tokenizer.json", WITH_BOS);
    snprintf(tokenizer, sizeof tokenizer, "%s", path_of(f, "tokenizer.json"));
    assert_int_equal(awq__corpus_load(f->ctx, &options, tokenizer, 11, &sequences), AWQ_OK);
    awq__sequences_free(&sequences);
    assert_int_equal(awq__corpus_load(f->ctx, &options, tokenizer, 10, &sequences),
                     AWQ_ERROR_FORMAT);
    assert_message(f, "a.jsonl:2: token 3 has the id 10, the model has 0 to 9");
    assert_int_equal(awq__corpus_load(f->ctx, &options, tokenizer, 0, &sequences),
                     AWQ_ERROR_FORMAT);
    assert_message(f, "the BOS is 0");
    assert_int_equal(awq__corpus_load(f->ctx, &options, NULL, 11, &sequences), AWQ_ERROR_ARGUMENT);
    assert_message(f, "needs a tokenizer.json");
}

/* Files are looked through by blocks of a mebibyte. */
static void lines_across_blocks(void **state)
{
    fixture *f = *state;
    enum { BLOCK = 1 << 20 };
    write_text(f, "tokenizer.json", WITH_BOS);
    for (int shift = -16; shift <= 16; shift++) {
        awq__text text = {0};
        assert_int_equal(
            awq__text_append(f->ctx, &text, "{\"text\":\"ab\"}\n%*s\n", BLOCK + shift - 16, ""),
            AWQ_OK);
        assert_int_equal(awq__text_append(f->ctx, &text, "{\"text\":\"cd\"}\n \n{\"text\":7}"),
                         AWQ_OK);
        write_file(f, "a.jsonl", text.data, text.length);
        refused(f, CUT("a.jsonl"), 9, AWQ_ERROR_FORMAT, "a.jsonl:5: \"text\" is of another type");
        write_file(f, "a.jsonl", text.data, text.length - 10);
        gives(f, CUT("a.jsonl"), 9, "0 1 2|0 3 4|");
        awq__text_free(&text);
    }
}

/* A text is read when it is asked for, and may have changed by then. */
static void a_corpus_that_shrinks(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"a.txt", "a.jsonl"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[2048];
        const char *paths[] = {path};
        awq__documents documents;
        awq__text text = {0};
        snprintf(path, sizeof path, "%s", path_of(f, names[i]));
        write_text(f, names[i], "{\"text\":\"abj\"}");
        assert_int_equal(awq__documents_open(f->ctx, paths, 1, 11, &documents), AWQ_OK);
        assert_int_equal(awq__document_text(&documents, documents.items, "text", &text), AWQ_OK);
        assert_int_equal(truncate(path, 4), 0);
        assert_int_equal(awq__document_text(&documents, documents.items, "text", &text),
                         AWQ_ERROR_IO);
        assert_message(f, names[i]);
        assert_message(f, "only 4 of the 14 bytes from byte 0 on could be read");
        awq__documents_close(&documents);
        awq__text_free(&text);
    }
}

int main(void)
{
#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FILES(cut_into_documents),
        WITH_FILES(packed),
        WITH_FILES(strings_of_lines),
        WITH_FILES(bad_lines),
        WITH_FILES(elements_of_an_array),
        WITH_FILES(wide_ids),
        WITH_FILES(choice_by_seed),
        WITH_FILES(choice_is_fixed),
        WITH_FILES(short_ones_are_replaced),
        WITH_FILES(rows_of_ids),
        WITH_FILES(two_tensors_of_ids),
        WITH_FILES(windows),
        WITH_FILES(golden_windows),
        WITH_FILES(bad_requests),
        WITH_FILES(foreign_tokenizer),
        WITH_FILES(lines_across_blocks),
        WITH_FILES(a_corpus_that_shrinks),
        WITH_FILES(far_lines_are_packed_alike),
        WITH_FILES(long_lines_are_packed_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
