/* GGUF files: good ones, every way of being bad, and what is written as an output. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "temp_output.h"
#include "checkpoint/gguf.h"

/* ---- files as bytes ---- */

typedef struct bytes {
    uint8_t data[4096];
    size_t count;
} bytes;

static void put(bytes *b, const void *data, size_t count)
{
    assert_true(b->count + count <= sizeof b->data);
    memcpy(b->data + b->count, data, count);
    b->count += count;
}

static void put_u32(bytes *b, uint32_t number)
{
    put(b, &number, 4);
}

static void put_u64(bytes *b, uint64_t number)
{
    put(b, &number, 8);
}

static void put_text(bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static void put_start(bytes *b, uint32_t version, uint64_t tensors, uint64_t values)
{
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, values);
}

static void put_u32_value(bytes *b, const char *key, uint32_t number)
{
    put_text(b, key);
    put_u32(b, AWQ__GGUF_U32);
    put_u32(b, number);
}

static void put_tensor(bytes *b, const char *name, uint32_t type, uint32_t rank,
                       const uint64_t *sizes, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, rank);
    for (uint32_t i = 0; i < rank; i++)
        put_u64(b, sizes[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

static void pad(bytes *b, size_t alignment)
{
    while (b->count % alignment)
        put(b, "", 1);
}

/* Data of so many bytes 0, 1, 2 ... */
static void put_data(bytes *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put(b, &(uint8_t){(uint8_t)i}, 1);
}

/* Two tensors: b [2,3] of F32, and a [2,64] of Q4_0. */
static void put_good(bytes *b)
{
    put_start(b, 3, 2, 3);
    put_text(b, "general.architecture");
    put_u32(b, AWQ__GGUF_STRING);
    put_text(b, "llama");
    put_text(b, "flags");
    put_u32(b, AWQ__GGUF_ARRAY);
    put_u32(b, AWQ__GGUF_BOOL);
    put_u64(b, 2);
    put(b, "\1\0", 2);
    put_text(b, "words");
    put_u32(b, AWQ__GGUF_ARRAY);
    put_u32(b, AWQ__GGUF_STRING);
    put_u64(b, 3);
    put_text(b, "one");
    put_text(b, "");
    put_text(b, "\xff");
    put_tensor(b, "b", AWQ__GGML_F32, 2, (const uint64_t[]){3, 2}, 0);
    put_tensor(b, "a", AWQ__GGML_Q4_0, 2, (const uint64_t[]){64, 2}, 32);
    pad(b, 32);
    put_data(b, 32 + 72);
    pad(b, 32);
}

static awq_status open_bytes(fixture *f, const bytes *b, awq__gguf **gguf)
{
    awq__clear(f->ctx);
    write_file(f, "file.gguf", b->data, b->count);
    return awq__gguf_open(f->ctx, path_of(f, "file.gguf"), gguf);
}

static void assert_refused(fixture *f, const bytes *b, const char *message)
{
    awq__gguf *gguf;
    assert_int_equal(open_bytes(f, b, &gguf), AWQ_ERROR_FORMAT);
    assert_null(gguf);
    assert_message(f, message);
    assert_message(f, "file.gguf: byte ");
}

/* ---- reading ---- */

static void good_file(void **state)
{
    fixture *f = *state;
    bytes b = {0};
    awq__gguf *gguf;
    put_good(&b);
    check(f, open_bytes(f, &b, &gguf));
    assert_int_equal(awq__gguf_count(gguf), 2);
    const awq__gguf_tensor *a = awq__gguf_find_tensor(gguf, "a"), *first = awq__gguf_at(gguf, 1);
    assert_ptr_equal(awq__gguf_at(gguf, 0), a);
    assert_string_equal(a->type->name, "q4_0");
    assert_int_equal(a->shape[0], 2);
    assert_int_equal(a->shape[1], 64);
    assert_int_equal(a->stored.dtype, AWQ_U8);
    assert_int_equal(a->stored.shape[1], 36);
    assert_int_equal(a->stored.bytes, 72);
    uint8_t expected[72];
    for (int i = 0; i < 72; i++)
        expected[i] = (uint8_t)(32 + i);
    assert_true(tensor_is(f->ctx, &a->stored, expected, 72));
    assert_string_equal(first->stored.name, "b");
    assert_int_equal(first->stored.dtype, AWQ_F32);
    assert_int_equal(first->shape[0], 2);
    assert_int_equal(first->shape[1], 3);
    assert_int_equal(first->stored.bytes, 24);
    assert_null(awq__gguf_find_tensor(gguf, "c"));
    assert_null(awq__gguf_at(gguf, 2));
    awq__gguf_free(gguf);
    awq__gguf_free(NULL);
}

static bool is_text(awq__gguf_string string, const char *text)
{
    return string.bytes == strlen(text) && !memcmp(string.data, text, string.bytes);
}

static void values_of_a_file(void **state)
{
    fixture *f = *state;
    bytes b = {0};
    awq__gguf *gguf;
    awq__gguf_string string;
    int64_t number;
    size_t at = 0;
    put_good(&b);
    check(f, open_bytes(f, &b, &gguf));
    assert_int_equal(awq__gguf_value_count(gguf), 3);
    assert_string_equal(awq__gguf_value_at(gguf, 0)->key, "flags");
    assert_null(awq__gguf_value_at(gguf, 3));
    assert_null(awq__gguf_find(gguf, "flag"));
    check(f, awq__gguf_text(f->ctx, awq__gguf_find(gguf, AWQ__GGUF_ARCHITECTURE), &string));
    assert_true(is_text(string, "llama"));
    const awq__gguf_value *flags = awq__gguf_find(gguf, "flags");
    assert_int_equal(flags->count, 2);
    assert_true(flags->data[0] && !flags->data[1]);
    assert_int_equal(awq__gguf_integer(f->ctx, flags, 2, &number), AWQ_ERROR_FORMAT);
    assert_message(f, "\"flags\" has 2 elements");
    assert_int_equal(awq__gguf_integer(f->ctx, flags, 0, &number), AWQ_ERROR_FORMAT);
    assert_message(f, "\"flags\" has an array of bool, expected a whole number");
    const awq__gguf_value *words = awq__gguf_find(gguf, "words");
    assert_int_equal(awq__gguf_text(f->ctx, words, &string), AWQ_ERROR_FORMAT);
    assert_true(awq__gguf_next_text(words, &at, &string) && is_text(string, "one"));
    assert_true(awq__gguf_next_text(words, &at, &string) && is_text(string, ""));
    assert_true(awq__gguf_next_text(words, &at, &string) && is_text(string, "\xff"));
    assert_false(awq__gguf_next_text(words, &at, &string));
    awq__gguf_free(gguf);
}

/* A value of each kind is read as the number that it is. */
static void numbers(void **state)
{
    fixture *f = *state;
    static const struct number {
        awq__gguf_kind kind;
        uint64_t bits;
        double value;
    } cases[] = {
        {AWQ__GGUF_U8, 0xff, 255},
        {AWQ__GGUF_I8, 0xff, -1},
        {AWQ__GGUF_U16, 0xffff, 65535},
        {AWQ__GGUF_I16, 0xffff, -1},
        {AWQ__GGUF_U32, 0xffffffff, 4294967295.0},
        {AWQ__GGUF_I32, 0xffffffff, -1},
        {AWQ__GGUF_F32, 0x3fc00000, 1.5},
        {AWQ__GGUF_U64, 1, 1},
        {AWQ__GGUF_I64, UINT64_MAX, -1},
        {AWQ__GGUF_F64, 0x3ff8000000000000, 1.5},
    };
    static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = {0};
        awq__gguf *gguf;
        double number;
        put_start(&b, 2, 0, 1);
        put_text(&b, "n");
        put_u32(&b, cases[i].kind);
        put(&b, &cases[i].bits, sizes[cases[i].kind]);
        check(f, open_bytes(f, &b, &gguf));
        check(f, awq__gguf_number(f->ctx, awq__gguf_find(gguf, "n"), 0, &number));
        assert_true(number == cases[i].value);
        awq__gguf_free(gguf);
    }
}

static void bad_starts(void **state)
{
    fixture *f = *state;
    bytes b = {0};
    put(&b, "GGUP", 4);
    assert_refused(f, &b, "byte 0: no GGUF file begins like this");
    static const struct start {
        uint32_t version;
        uint64_t tensors, values;
        const char *message;
    } cases[] = {
        {1, 0, 0, "byte 4: version 1"},
        {0, 0, 0, "byte 4: version 0"},
        {4, 0, 0, "byte 4: version 4"},
        {0x03000000, 0, 0, "the file is big-endian"},
        {3, 1, 0, "byte 8: the number of tensors is 1"},
        {3, UINT64_MAX, 0, "the number of tensors"},
        {3, 0, 2, "byte 16: the number of values is 2"},
        {3, 0, UINT64_MAX, "the number of values"},
        {3, 0, 1, "byte 24: a key of 8 bytes passes the end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        b.count = 0;
        put_start(&b, cases[i].version, cases[i].tensors, cases[i].values);
        assert_refused(f, &b, cases[i].message);
    }
}

static void bad_values(void **state)
{
    fixture *f = *state;
    static const struct bad {
        uint32_t kind;
        const char *data;
        size_t bytes;
        const char *message;
    } cases[] = {
        {13, "", 0, "the type of a value is 13, expected 0 to 12"},
        {AWQ__GGUF_U64, "\0\0\0\0\0\0\0", 7, "a value of 8 bytes passes the end"},
        {AWQ__GGUF_BOOL, "\2", 1, "a bool is 2"},
        {AWQ__GGUF_STRING, "\1\0\0\0\0\0\0\0", 8, "a string of 1 bytes passes the end"},
        {AWQ__GGUF_STRING, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "passes the end"},
        {AWQ__GGUF_ARRAY, "\11\0\0\0\0\0\0\0\0\0\0\0", 12, "arrays hold no arrays"},
        {AWQ__GGUF_ARRAY, "\15\0\0\0\0\0\0\0\0\0\0\0", 12, "array's elements is 13"},
        {AWQ__GGUF_ARRAY, "\4\0\0\0\0\0\0\0\0\0\0\x80", 12, "longer than any file"},
        {AWQ__GGUF_ARRAY, "\4\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0", 16, "a value of 8 bytes passes"},
        {AWQ__GGUF_ARRAY, "\7\0\0\0\2\0\0\0\0\0\0\0\1\3", 14, "a bool is 3"},
        {AWQ__GGUF_ARRAY, "\10\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12, "length of a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = {0};
        put_start(&b, 3, 0, 1);
        put_text(&b, "k");
        put_u32(&b, cases[i].kind);
        put(&b, cases[i].data, cases[i].bytes);
        assert_refused(f, &b, cases[i].message);
    }
}

static void bad_keys(void **state)
{
    fixture *f = *state;
    static const char *const keys[] = {"", "\xff"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        bytes b = {0};
        put_start(&b, 3, 0, 1);
        put_u32_value(&b, keys[i], 1);
        assert_refused(f, &b, "a key ");
    }
    bytes b = {0};
    put_start(&b, 3, 0, 1);
    put_u64(&b, 3);
    put(&b, "a\0b\0\0\0\0\0", 8);
    assert_refused(f, &b, "a key is not UTF-8 without NUL");
    b.count = 0;
    put_start(&b, 3, 0, 2);
    put_u32_value(&b, "k", 1);
    put_u32_value(&b, "k", 2);
    assert_refused(f, &b, "the key \"k\" stands twice");
}

static void bad_tensors(void **state)
{
    fixture *f = *state;
    static const struct bad {
        const char *name;
        uint32_t type, rank;
        uint64_t sizes[5], offset;
        const char *message;
    } cases[] = {
        {"", AWQ__GGML_F32, 1, {1}, 0, "the name of a tensor of 0 bytes"},
        {"0123456789012345678901234567890123456789012345678901234567890123",
         AWQ__GGML_F32,
         1,
         {1},
         0,
         "the name of a tensor of 64 bytes, expected 1 to 63"},
        {"t", AWQ__GGML_F32, 0, {0}, 0, "a tensor of 0 dimensions"},
        {"t", AWQ__GGML_F32, 5, {1, 1, 1, 1, 1}, 0, "a tensor of 5 dimensions"},
        {"t", 4, 1, {1}, 0, "4 is no known type"},
        {"t", 43, 1, {1}, 0, "43 is no known type"},
        {"t", AWQ__GGML_F32, 1, {UINT64_C(1) << 63}, 0, "negative as int64"},
        {"t", AWQ__GGML_F32, 2, {1 << 30, UINT64_C(1) << 40}, 0, "more bytes than 64 bits"},
        {"t", AWQ__GGML_Q4_0, 1, {33}, 0, "rows of 33 elements are no whole blocks of 32"},
        {"t", AWQ__GGML_Q4_K, 1, {128}, 0, "no whole blocks of 256, which q4_k has"},
        {"t", AWQ__GGML_F32, 1, {1}, 32, "begins at byte 32 of the data, expected 0"},
        {"t", AWQ__GGML_F32, 1, {9}, 0, "passes the end of the file"},
        {"t", AWQ__GGML_F32, 1, {UINT64_C(1) << 60}, 0, "passes the end of the file"},
        {"t", AWQ__GGML_I8, 1, {0}, 0, "the file goes on behind its last tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = {0};
        put_start(&b, 3, 1, 0);
        put_tensor(&b, cases[i].name, cases[i].type, cases[i].rank, cases[i].sizes,
                   cases[i].offset);
        pad(&b, 32);
        put_data(&b, 32);
        assert_refused(f, &b, cases[i].message);
    }
}

static void put_two(bytes *b, const char *name, uint64_t offset)
{
    put_start(b, 3, 2, 0);
    put_tensor(b, "t", AWQ__GGML_F32, 1, (const uint64_t[]){9}, 0);
    put_tensor(b, name, AWQ__GGML_F32, 1, (const uint64_t[]){1}, offset);
    pad(b, 32);
    put_data(b, 96);
}

static void bad_places(void **state)
{
    fixture *f = *state;
    static const uint64_t offsets[] = {0, 32, 36, 96};
    for (size_t i = 0; i < 4; i++) {
        bytes b = {0};
        put_two(&b, "u", offsets[i]);
        assert_refused(f, &b, "expected 64");
    }
    bytes b = {0};
    put_two(&b, "t", 64);
    assert_refused(f, &b, "the tensor \"t\" stands twice");
    awq__gguf *gguf;
    b.count = 0;
    put_two(&b, "u", 64);
    b.count -= 28; /* the last padding may be missing */
    check(f, open_bytes(f, &b, &gguf));
    awq__gguf_free(gguf);
}

static void alignments(void **state)
{
    fixture *f = *state;
    static const struct alignment {
        uint32_t value;
        const char *message; /* NULL: good */
    } cases[] = {{64, NULL},
                 {1, NULL},
                 {0, "general.alignment is 0"},
                 {48, "general.alignment is 48"},
                 {1u << 31, "behind the end"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = {0};
        awq__gguf *gguf;
        put_start(&b, 3, 1, 1);
        put_u32_value(&b, "general.alignment", cases[i].value);
        put_tensor(&b, "t", AWQ__GGML_I8, 1, (const uint64_t[]){5}, 0);
        pad(&b, cases[i].message ? 1 : cases[i].value);
        put_data(&b, 5);
        if (cases[i].message) {
            assert_refused(f, &b, cases[i].message);
            continue;
        }
        check(f, open_bytes(f, &b, &gguf));
        assert_true(
            tensor_is(f->ctx, &awq__gguf_at(gguf, 0)->stored, (const uint8_t[]){0, 1, 2, 3, 4}, 5));
        awq__gguf_free(gguf);
    }
}

/* Whatever is cut off or changed, nothing breaks, and what is cut is refused. */
static void damage(void **state)
{
    fixture *f = *state;
    bytes whole = {0}, b;
    awq__gguf *gguf;
    put_good(&whole);
    for (size_t count = 0; count < whole.count - 24; count++) {
        b = whole;
        b.count = count;
        assert_int_equal(open_bytes(f, &b, &gguf), AWQ_ERROR_FORMAT);
        assert_message(f, "file.gguf");
    }
    static const uint8_t values[] = {0, 1, 3, 9, 13, 32, 0x7f, 0x80, 0xff};
    size_t refused = 0;
    for (size_t at = 0; at < whole.count - 128; at++)
        for (size_t i = 0; i < sizeof values; i++) {
            b = whole;
            b.data[at] = values[i];
            awq_status status = open_bytes(f, &b, &gguf);
            assert_int_equal(status == AWQ_OK, gguf != NULL);
            refused += status != AWQ_OK;
            awq__gguf_free(gguf);
        }
    assert_true(refused > whole.count);
}

/* ---- parts ---- */

static void put_part(bytes *b, uint32_t number, uint32_t count, uint32_t total, const char *tensor)
{
    put_start(b, 3, 1, 3);
    put_u32_value(b, "split.no", number);
    put_u32_value(b, "split.count", count);
    put_u32_value(b, "split.tensors.count", total);
    put_tensor(b, tensor, AWQ__GGML_I8, 1, (const uint64_t[]){1}, 0);
    pad(b, 32);
    put_data(b, 1);
}

static void write_part(fixture *f, const char *name, uint32_t number, uint32_t total,
                       const char *tensor)
{
    bytes b = {0};
    put_part(&b, number, 2, total, tensor);
    write_file(f, name, b.data, b.count);
}

static void parts(void **state)
{
    fixture *f = *state;
    awq__gguf *gguf;
    static const struct second {
        uint32_t number, total;
        const char *tensor, *message;
    } cases[] = {
        {1, 2, "a", NULL},
        {0, 2, "a", "00002-of-00002.gguf: part 0 by its split.no, expected 1"},
        {1, 3, "a", "2 tensors in all parts, but split.tensors.count is 3"},
        {1, 2, "b", "the tensor \"b\" stands twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_part(f, "m-00001-of-00002.gguf", 0, cases[i].total, "b");
        write_part(f, "m-00002-of-00002.gguf", cases[i].number, cases[i].total, cases[i].tensor);
        awq_status status = awq__gguf_open(f->ctx, path_of(f, "m-00001-of-00002.gguf"), &gguf);
        assert_int_equal(status, cases[i].message ? AWQ_ERROR_FORMAT : AWQ_OK);
        if (cases[i].message)
            assert_message(f, cases[i].message);
        else
            assert_string_equal(awq__gguf_at(gguf, 0)->stored.name, "a");
        awq__gguf_free(gguf);
    }
    assert_int_equal(awq__gguf_open(f->ctx, path_of(f, "m-00002-of-00002.gguf"), &gguf),
                     AWQ_ERROR_FORMAT);
    assert_message(f, "opened by its first part");
    write_part(f, "other.gguf", 0, 2, "b");
    assert_int_equal(awq__gguf_open(f->ctx, path_of(f, "other.gguf"), &gguf), AWQ_ERROR_FORMAT);
    assert_message(f, "-00001-of-00002.gguf");
}

/* ---- writing ---- */

static const struct declared_blocks {
    const char *name, *type;
    int rank;
    int64_t shape[3];
    size_t bytes;
} blocks[] = {
    {"token_embd.weight", "q8_0", 2, {3, 32}, 102},
    {"blk.0.ffn_down_exps.weight", "q4_0", 3, {2, 3, 32}, 108},
    {"output_norm.weight", "f32", 1, {5}, 20},
    {"scalar", "bf16", 0, {0}, 2},
};
enum { BLOCKS = sizeof blocks / sizeof *blocks };

static void add_values(fixture *f, awq__gguf_values *values)
{
    static const char *const words[] = {"a", "", "\xc4\xa0"};
    check(f, awq__gguf_add_text(f->ctx, values, AWQ__GGUF_ARCHITECTURE, "llama"));
    check(f, awq__gguf_add_u32(f->ctx, values, "number", 7));
    check(f, awq__gguf_add_f32(f->ctx, values, "float", 0.5f));
    check(f, awq__gguf_add_bool(f->ctx, values, "truth", true));
    check(f, awq__gguf_add_texts(f->ctx, values, "words", words, 3));
    check(f,
          awq__gguf_add_array(f->ctx, values, "types", AWQ__GGUF_I32, (const int32_t[]){1, -2}, 2));
}

static void write_gguf(fixture *f, const char *name, uint64_t shard_bytes)
{
    awq__gguf_values values = {0};
    awq__output *output = begin(f, name, false, false);
    add_values(f, &values);
    check(f, awq__output_gguf(output, "model", &values));
    assert_null(values.bytes.data);
    for (size_t i = 0; i < BLOCKS; i++)
        check(f, awq__output_declare_typed(output, blocks[i].name,
                                           awq__ggml_type_by_name(blocks[i].type), blocks[i].rank,
                                           blocks[i].shape));
    assert_int_equal(awq__output_declare(output, "plain", AWQ_F32, 0, NULL), AWQ_ERROR_ARGUMENT);
    check(f, awq__output_layout(output, shard_bytes));
    for (size_t i = 0; i < BLOCKS; i++) {
        uint8_t data[128];
        memset(data, (int)i + 1, sizeof data);
        check(f, awq__output_write(output, blocks[i].name, data, blocks[i].bytes));
    }
    check(f, awq__output_commit(output));
    awq__output_free(output);
}

static void check_gguf(fixture *f, const char *path)
{
    awq__gguf *gguf;
    int64_t number;
    double half;
    check(f, awq__gguf_open(f->ctx, path_of(f, path), &gguf));
    assert_int_equal(awq__gguf_count(gguf), BLOCKS);
    for (size_t i = 0; i < BLOCKS; i++) {
        const awq__gguf_tensor *tensor = awq__gguf_find_tensor(gguf, blocks[i].name);
        uint8_t data[128];
        memset(data, (int)i + 1, sizeof data);
        assert_non_null(tensor);
        assert_string_equal(tensor->type->name, blocks[i].type);
        assert_int_equal(tensor->rank, blocks[i].rank ? blocks[i].rank : 1);
        for (int j = 0; j < blocks[i].rank; j++)
            assert_int_equal(tensor->shape[j], blocks[i].shape[j]);
        assert_true(tensor_is(f->ctx, &tensor->stored, data, blocks[i].bytes));
        assert_int_equal(tensor->stored.offset % 32, 0);
    }
    check(f, awq__gguf_integer(f->ctx, awq__gguf_find(gguf, "number"), 0, &number));
    assert_int_equal(number, 7);
    check(f, awq__gguf_integer(f->ctx, awq__gguf_find(gguf, "types"), 1, &number));
    assert_int_equal(number, -2);
    check(f, awq__gguf_number(f->ctx, awq__gguf_find(gguf, "float"), 0, &half));
    assert_true(half == 0.5);
    assert_int_equal(awq__gguf_find(gguf, "words")->count, 3);
    awq__gguf_free(gguf);
}

static void written_files_are_read(void **state)
{
    fixture *f = *state;
    write_gguf(f, "one", 1000);
    assert_listing(f, "one", "model.gguf");
    check_gguf(f, "one/model.gguf");
    write_gguf(f, "parts", 110);
    assert_listing(f, "parts",
                   "model-00001-of-00003.gguf model-00002-of-00003.gguf model-00003-of-00003.gguf");
    check_gguf(f, "parts/model-00001-of-00003.gguf");
}

static void what_cannot_be_declared(void **state)
{
    fixture *f = *state;
    awq__gguf_values values = {0};
    awq__output *output = begin(f, "out", false, false);
    const awq__ggml_type *q4_k = awq__ggml_type_by_name("q4_k");
    const int64_t shape[] = {2, 128, 1, 1, 1};
    assert_int_equal(awq__output_declare_typed(output, "t", q4_k, 2, shape), AWQ_ERROR_ARGUMENT);
    assert_message(f, "not an output of GGUF");
    check(f, awq__output_gguf(output, "model", &values));
    assert_int_equal(awq__output_declare_typed(output, "t", q4_k, 2, shape), AWQ_ERROR_ARGUMENT);
    assert_message(f, "128 columns are no whole blocks of 256");
    assert_int_equal(
        awq__output_declare_typed(output, "t", awq__ggml_type_by_name("f32"), 5, shape),
        AWQ_ERROR_ARGUMENT);
    assert_message(f, "rank 5");
    char name[65] = {0};
    memset(name, 'n', 64);
    assert_int_equal(awq__output_declare_typed(output, name, q4_k, 2, shape), AWQ_ERROR_ARGUMENT);
    assert_message(f, "names of 1 to 63 bytes");
    discard(f, output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(good_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(values_of_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_starts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(alignments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(written_files_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_declared, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
