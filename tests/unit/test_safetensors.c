/* Reading safetensors files: good ones, and every way of being bad. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_files.h"
#include "support/tensor_bytes.h"

#define TENSOR(name, dtype, shape, offsets)                                                        \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static awq_status open_named(fixture *f, const char *name, awq__safetensors **file)
{
    awq__clear(f->ctx);
    return awq__safetensors_open(f->ctx, path_of(f, name), file);
}

static void good_file(void **state)
{
    fixture *f = *state;
    awq__safetensors *file;
    write_safetensors(
        f, "good.safetensors",
        "{\"__metadata__\":{\"format\":\"pt\"}," TENSOR("z", "F32", "[2,3]", "[8,32]") "," TENSOR(
            "a", "BF16", "[4]",
            "[0,8]") "," TENSOR("scalar", "U8", "[]",
                                "[32,33]") "," TENSOR("empty", "I64", "[0,7]",
                                                      "[8,8]") "," TENSOR("f4", "F4", "[3,2]",
                                                                          "[33,36]") "}   ",
        36);
    assert_int_equal(open_named(f, "good.safetensors", &file), AWQ_OK);
    assert_int_equal(awq__safetensors_count(file), 5);
    const char *names[] = {"a", "empty", "f4", "scalar", "z"};
    for (size_t i = 0; i < 5; i++) {
        const awq__tensor *tensor = awq__safetensors_at(file, i);
        assert_string_equal(tensor->name, names[i]);
        assert_ptr_equal(awq__safetensors_find(file, names[i]), tensor);
        assert_string_equal(tensor->file, path_of(f, "good.safetensors"));
    }
    const awq__tensor *z = awq__safetensors_find(file, "z");
    assert_int_equal(z->dtype, AWQ_F32);
    assert_int_equal(z->rank, 2);
    assert_int_equal(z->shape[0], 2);
    assert_int_equal(z->shape[1], 3);
    assert_int_equal(z->bytes, 24);
    uint8_t *data = tensor_bytes(f->ctx, z);
    assert_int_equal(data[0], 8);
    assert_int_equal(data[23], 31);
    awq__free(data);
    assert_int_equal(awq__tensor_elements(z), 6);
    const awq__tensor *scalar = awq__safetensors_find(file, "scalar");
    assert_int_equal(scalar->rank, 0);
    assert_int_equal(awq__tensor_elements(scalar), 1);
    assert_true(tensor_is(f->ctx, scalar, (const uint8_t[]){32}, 1));
    assert_int_equal(awq__tensor_elements(awq__safetensors_find(file, "empty")), 0);
    assert_int_equal(awq__safetensors_find(file, "f4")->bytes, 3);
    assert_null(awq__safetensors_find(file, "b"));
    assert_null(awq__safetensors_find(file, "__metadata__"));
    assert_null(awq__safetensors_at(file, 5));
    awq__safetensors_free(file);
    awq__safetensors_free(NULL);
}

static void odd_but_legal(void **state)
{
    fixture *f = *state;
    const struct {
        const char *header;
        size_t data_bytes, count;
    } cases[] = {
        {"{}", 0, 0},
        {"{}      ", 0, 0},
        {"{\"__metadata__\":{}}", 0, 0},
        {"{ \"a\" : {\"data_offsets\":[0 , 2],\n\"shape\":[1],\"dtype\":\"F16\"} }", 2, 1},
        {"{" TENSOR("", "U8", "[1]", "[0,1]") "}", 1, 1},
        {"{" TENSOR("e", "U8", "[0]", "[0,0]") "," TENSOR("g", "F32", "[0]", "[0,0]") "}", 0, 2},
        {"{" TENSOR("e", "U8", "[0]", "[1,1]") "," TENSOR("g", "U8", "[1]", "[0,1]") "}", 1, 2},
        {"{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, 1},
        {"{" TENSOR("a\\\\u0000", "U8", "[]", "[0,1]") "}", 1, 1},
        {"{" TENSOR("\xc3\xa9\\u00e9\\n", "U8", "[]", "[0,1]") "}", 1, 1},
        {"{" TENSOR("a", "F6_E2M3", "[4]", "[0,3]") "}", 3, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__safetensors *file;
        write_safetensors(f, "odd", cases[i].header, cases[i].data_bytes);
        awq_status status = open_named(f, "odd", &file);
        if (status != AWQ_OK)
            fail_msg("%s: %s", cases[i].header, awq_context_message(f->ctx));
        assert_int_equal(awq__safetensors_count(file), cases[i].count);
        awq__safetensors_free(file);
    }
}

static const struct bad_header {
    const char *header;
    size_t data_bytes;
    awq_status status;
    const char *message;
} bad_headers[] = {
    /* JSON */
    {"", 4, AWQ_ERROR_FORMAT, "begin with '{'"},
    {" {}", 0, AWQ_ERROR_FORMAT, "begin with '{'"},
    {"[]", 0, AWQ_ERROR_FORMAT, "begin with '{'"},
    {"{", 0, AWQ_ERROR_FORMAT, "not valid JSON"},
    {"{}x", 0, AWQ_ERROR_FORMAT, "text after the JSON value"},
    {"{}{}", 0, AWQ_ERROR_FORMAT, "text after the JSON value"},
    {"{\"a\xff\":1}", 0, AWQ_ERROR_FORMAT, "not UTF-8"},
    {"{" TENSOR("a\\u0000b", "U8", "[]", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, ":1:4: \\u0000"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("a", "U8", "[1]", "[1,2]") "}", 2,
     AWQ_ERROR_FORMAT, "\"a\" stands twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1,
     AWQ_ERROR_FORMAT, "\"dtype\" stands twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, AWQ_ERROR_FORMAT, "stands twice"},
    /* metadata */
    {"{\"__metadata__\":1}", 0, AWQ_ERROR_FORMAT, "__metadata__ is not an object"},
    {"{\"__metadata__\":[\"a\"]}", 0, AWQ_ERROR_FORMAT, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"n\":1}}", 0, AWQ_ERROR_FORMAT, "\"n\" is not a string"},
    {"{\"__metadata__\":{\"n\":null}}", 0, AWQ_ERROR_FORMAT, "\"n\" is not a string"},
    /* the three fields */
    {"{\"a\":1}", 0, AWQ_ERROR_FORMAT, "tensor \"a\": not an object"},
    {"{\"a\":[]}", 0, AWQ_ERROR_FORMAT, "tensor \"a\": not an object"},
    {"{\"a\":{}}", 0, AWQ_ERROR_FORMAT, "tensor \"a\": no dtype"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", 0, AWQ_ERROR_FORMAT, "no shape"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, AWQ_ERROR_FORMAT, "no data_offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":0}}", 0, AWQ_ERROR_FORMAT,
     "key \"x\""},
    {"{\"a\":{\"dtype\":7,\"shape\":[0],\"data_offsets\":[0,0]}}", 0, AWQ_ERROR_FORMAT,
     "dtype is not a string"},
    {"{" TENSOR("a", "Q4", "[0]", "[0,0]") "}", 0, AWQ_ERROR_UNSUPPORTED, "dtype \"Q4\""},
    {"{" TENSOR("a", "f32", "[0]", "[0,0]") "}", 0, AWQ_ERROR_UNSUPPORTED, "dtype \"f32\""},
    /* shape */
    {"{" TENSOR("a", "U8", "1", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "shape is not an array"},
    {"{" TENSOR("a", "U8", "{\"x\":1}", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "shape is not an array"},
    {"{" TENSOR("a", "U8", "[\"1\"]", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "shape holds"},
    {"{" TENSOR("a", "U8", "[true]", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "shape holds"},
    {"{" TENSOR("a", "U8", "[-1]", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "shape holds"},
    {"{" TENSOR("a", "U8", "[0.5]", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "shape holds"},
    {"{" TENSOR("a", "U8", "[1e300]", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "shape holds"},
    {"{" TENSOR("a", "U8", "[[1]]", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "shape holds"},
    {"{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, AWQ_ERROR_UNSUPPORTED,
     "more than 8 dimensions"},
    {"{" TENSOR("a", "U8", "[4294967296,4294967296]", "[0,0]") "}", 0, AWQ_ERROR_FORMAT,
     "overflows"},
    {"{" TENSOR("a", "U64", "[4503599627370496,512]", "[0,0]") "}", 0, AWQ_ERROR_FORMAT,
     "overflows"},
    {"{" TENSOR("a", "U8", "[4503599627370496,4503599627370496,0]", "[0,0]") "}", 0,
     AWQ_ERROR_FORMAT, "overflows"},
    {"{" TENSOR("a", "F4", "[3]", "[0,2]") "}", 2, AWQ_ERROR_FORMAT, "do not fill whole bytes"},
    {"{" TENSOR("a", "F6_E3M2", "[2]", "[0,2]") "}", 2, AWQ_ERROR_FORMAT,
     "do not fill whole bytes"},
    /* offsets */
    {"{" TENSOR("a", "U8", "[1]", "1") "}", 1, AWQ_ERROR_FORMAT, "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "[]") "}", 1, AWQ_ERROR_FORMAT, "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "[0]") "}", 1, AWQ_ERROR_FORMAT, "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1,1]") "}", 1, AWQ_ERROR_FORMAT,
     "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "{\"b\":0,\"e\":1}") "}", 1, AWQ_ERROR_FORMAT,
     "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "[0,\"1\"]") "}", 1, AWQ_ERROR_FORMAT,
     "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "[-1,0]") "}", 1, AWQ_ERROR_FORMAT, "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "[0.5,1.5]") "}", 1, AWQ_ERROR_FORMAT,
     "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "[18446744073709551615,0]") "}", 1, AWQ_ERROR_FORMAT,
     "data_offsets is not a pair"},
    {"{" TENSOR("a", "U8", "[1]", "[1,0]") "}", 1, AWQ_ERROR_FORMAT, "data_offsets 1 to 0"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "}", 1, AWQ_ERROR_FORMAT, "within the 1 bytes"},
    {"{" TENSOR("a", "U8", "[1]", "[9007199254740991,9007199254740992]") "}", 1, AWQ_ERROR_FORMAT,
     "within the 1 bytes"},
    {"{" TENSOR("a", "F32", "[1]", "[0,3]") "}", 3, AWQ_ERROR_FORMAT, "F32 make 4"},
    {"{" TENSOR("a", "F32", "[2]", "[0,4]") "}", 4, AWQ_ERROR_FORMAT, "F32 make 8"},
    {"{" TENSOR("a", "U8", "[0]", "[0,1]") "}", 1, AWQ_ERROR_FORMAT, "U8 make 0"},
    /* places */
    {"{}", 1, AWQ_ERROR_FORMAT, "tensors end at 0"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1]") "}", 2, AWQ_ERROR_FORMAT, "tensors end at 1"},
    {"{" TENSOR("a", "U8", "[1]", "[1,2]") "}", 2, AWQ_ERROR_FORMAT, "a hole"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("b", "U8", "[1]", "[2,3]") "}", 3,
     AWQ_ERROR_FORMAT, "a hole"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[1,3]") "}", 3,
     AWQ_ERROR_FORMAT, "they overlap"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[0,2]") "}", 2,
     AWQ_ERROR_FORMAT, "they overlap"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[0]", "[1,1]") "}", 2,
     AWQ_ERROR_FORMAT, "they overlap"},
};

static void bad_headers_are_refused(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        const struct bad_header *bad = &bad_headers[i];
        awq__safetensors *file;
        write_safetensors(f, "bad.safetensors", bad->header, bad->data_bytes);
        awq_status status = open_named(f, "bad.safetensors", &file);
        assert_null(file);
        if (status != bad->status)
            fail_msg("%s: %s: %s", bad->header, awq_status_name(status),
                     awq_context_message(f->ctx));
        assert_message(f, bad->message);
        assert_message(f, "bad.safetensors");
    }
}

static void bad_lengths_are_refused(void **state)
{
    fixture *f = *state;
    const struct {
        uint64_t length;
        size_t bytes; /* of the file */
        const char *message;
    } cases[] = {
        {0, 0, "too few"},
        {0, 7, "too few"},
        {0, 8, "begin with '{'"},
        {3, 10, "passes the end"},
        {100000000, 16, "passes the end"},
        {100000001, 16, "at most 100000000"},
        {UINT64_MAX, 16, "at most 100000000"},
        {UINT64_MAX - 7, 16, "at most 100000000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[16] = {0};
        memcpy(bytes, &cases[i].length, 8);
        memcpy(bytes + 8, "{}      ", 8);
        write_file(f, "length", bytes, cases[i].bytes);
        awq__safetensors *file;
        assert_int_equal(open_named(f, "length", &file), AWQ_ERROR_FORMAT);
        assert_message(f, cases[i].message);
    }
    awq__safetensors *file;
    assert_int_equal(open_named(f, "absent", &file), AWQ_ERROR_IO);
    assert_message(f, "absent");
    assert_int_equal(open_named(f, ".", &file), AWQ_ERROR_IO);
}

/* Opens what may be anything and reads all that it claims to hold. */
static awq_status open_and_touch(fixture *f, const uint8_t *bytes, size_t count)
{
    write_file(f, "any", bytes, count);
    awq__safetensors *file;
    awq_status status = open_named(f, "any", &file);
    if (status != AWQ_OK) {
        assert_null(file);
        assert_message(f, "any");
        return status;
    }
    uint64_t hash = AWQ__HASH_SEED;
    for (size_t i = 0; i < awq__safetensors_count(file); i++) {
        const awq__tensor *tensor = awq__safetensors_at(file, i);
        uint8_t *data = tensor_bytes(f->ctx, tensor);
        assert_non_null(data);
        hash = awq__hash(hash, data, tensor->bytes);
        awq__free(data);
        assert_ptr_equal(awq__safetensors_find(file, tensor->name), tensor);
    }
    assert_true(hash != 0);
    awq__safetensors_free(file);
    return AWQ_OK;
}

static char *small_valid_file(fixture *f, size_t *bytes)
{
    write_safetensors(
        f, "valid",
        "{\"__metadata__\":{\"k\":\"v\"}," TENSOR("a.b", "F32", "[2,1]", "[2,10]") "," TENSOR(
            "c", "BF16", "[1]", "[0,2]") "} ",
        10);
    return read_file(f, "valid", bytes);
}

static void truncations_are_refused(void **state)
{
    fixture *f = *state;
    size_t bytes;
    char *valid = small_valid_file(f, &bytes);
    assert_int_equal(open_and_touch(f, (uint8_t *)valid, bytes), AWQ_OK);
    for (size_t length = 0; length < bytes; length++)
        assert_int_equal(open_and_touch(f, (uint8_t *)valid, length), AWQ_ERROR_FORMAT);
    awq__free(valid);
}

static void mutations_do_no_harm(void **state)
{
    fixture *f = *state;
    static const uint8_t values[] = {0,    1,   '"', ',', '-',  '0', '9',
                                     '\\', ']', '{', '}', 0x7f, 0xff};
    size_t bytes, refused = 0;
    char *valid = small_valid_file(f, &bytes);
    uint8_t *mutant = malloc(bytes);
    assert_non_null(mutant);
    for (size_t at = 0; at < bytes; at++)
        for (size_t i = 0; i < sizeof values; i++) {
            memcpy(mutant, valid, bytes);
            mutant[at] = values[i];
            refused += open_and_touch(f, mutant, bytes) != AWQ_OK;
        }
    assert_true(refused > bytes);
    uint64_t random = 7;
    for (int round = 0; round < 3000; round++) {
        memcpy(mutant, valid, bytes);
        for (int i = 0; i < 3; i++) {
            uint64_t r = awq__random(&random);
            mutant[r % bytes] = (uint8_t)(r >> 56);
        }
        open_and_touch(f, mutant, bytes);
    }
    free(mutant);
    awq__free(valid);
}

/* As many tensors as a large model of unfused experts has. */
static void many_tensors(void **state)
{
    fixture *f = *state;
    enum { COUNT = 60000 };
    awq__text header = {0};
    awq_status status = awq__text_append(f->ctx, &header, "{");
    for (int i = 0; i < COUNT && status == AWQ_OK; i++) {
        int place = (int)((int64_t)i * 7919 % COUNT); /* stored in another order than listed */
        status = awq__text_append(f->ctx, &header,
                                  "%s\"layers.%d.experts.%d.weight\":{\"dtype\":\"U8\",\"shape\":"
                                  "[1],\"data_offsets\":[%d,%d]}",
                                  i ? "," : "", i % 48, i, place, place + 1);
    }
    assert_int_equal(status, AWQ_OK);
    assert_int_equal(awq__text_append(f->ctx, &header, "}"), AWQ_OK);
    write_safetensors(f, "many", header.data, COUNT);
    awq__text_free(&header);
    awq__safetensors *file;
    assert_int_equal(open_named(f, "many", &file), AWQ_OK);
    assert_int_equal(awq__safetensors_count(file), COUNT);
    for (int i = 0; i < COUNT; i += 1001) {
        char name[64];
        snprintf(name, sizeof name, "layers.%d.experts.%d.weight", i % 48, i);
        const awq__tensor *tensor = awq__safetensors_find(file, name);
        assert_non_null(tensor);
        uint8_t byte = (uint8_t)((int64_t)i * 7919 % COUNT);
        assert_true(tensor_is(f->ctx, tensor, &byte, 1));
    }
    awq__safetensors_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(good_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(odd_but_legal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_headers_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_lengths_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(truncations_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mutations_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_tensors, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
