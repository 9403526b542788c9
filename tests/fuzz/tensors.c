/* Safetensors files from lists that are easy to mutate. */
#include "fuzz.h"
#include "checkpoint/checkpoint.h"

#include <stdio.h>
#include <string.h>

#define MAX_TENSORS 256
#define MAX_BYTES ((size_t)1 << 20)

typedef struct tensor {
    const char *name, *dtype, *shape, *data; /* "" where the line ends before */
    size_t bytes;
} tensor;

typedef struct list {
    tensor tensors[MAX_TENSORS];
    size_t count, bytes;
} list;

/* Cuts off the word that *at begins with. */
static const char *next_word(char **at)
{
    char *word = *at;
    *at += strcspn(word, " ");
    if (**at)
        *(*at)++ = 0;
    return word;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes that the data stands for. */
static size_t data_bytes(const char *data)
{
    if (*data == '"')
        return strlen(data + 1);
    size_t digits = 0;
    while (hex_digit(data[digits]) >= 0)
        digits++;
    return digits / 2;
}

static uint8_t data_byte(const char *data, size_t index)
{
    if (*data == '"')
        return (uint8_t)data[1 + index];
    return (uint8_t)(hex_digit(data[2 * index]) << 4 | hex_digit(data[2 * index + 1]));
}

/* False where the shape cannot be read or asks for too much. */
static bool count_bytes(tensor *t)
{
    awq_dtype dtype = awq__dtype_from_name(t->dtype);
    if (dtype == AWQ_DTYPE_COUNT || *t->shape == '*') {
        t->bytes = data_bytes(t->data);
        return true;
    }
    size_t bits = (size_t)awq_dtype_bits(dtype);
    for (const char *at = t->shape; *at && *at != '-';) {
        char *end;
        size_t size = strtoul(at, &end, 10);
        if (end == at || awq__mul_overflows(bits, size, &bits) || bits > 8 * MAX_BYTES)
            return false;
        at = end + (*end == 'x');
    }
    t->bytes = bits / 8;
    return true;
}

static void add_line(list *l, char *line)
{
    tensor t = {.name = next_word(&line)};
    t.dtype = next_word(&line);
    t.shape = next_word(&line);
    t.data = line;
    size_t at = 0;
    if (!*t.name || !*t.shape || !count_bytes(&t))
        return;
    while (at < l->count && strcmp(l->tensors[at].name, t.name))
        at++;
    size_t before = at < l->count ? l->tensors[at].bytes : 0;
    if (at == MAX_TENSORS || l->bytes - before + t.bytes > MAX_BYTES)
        return;
    l->bytes += t.bytes - before;
    l->count += at == l->count;
    l->tensors[at] = t;
}

/* Cuts the text into lines. */
static void add_lines(list *l, char *text)
{
    while (*text) {
        char *line = text;
        text += strcspn(text, "\n");
        if (*text)
            *text++ = 0;
        add_line(l, line);
    }
}

/* What would need an escape in JSON becomes "?". */
static void append_name(awq__text *out, const char *name)
{
    for (; *name; name++) {
        bool plain = (unsigned char)*name >= 0x20 && *name != '"' && *name != '\\';
        MUST(awq__text_append_bytes(fuzz_context(), out, plain ? name : "?", 1) == AWQ_OK);
    }
}

static void append_shape(awq__text *out, const tensor *t)
{
    if (*t->shape == '*') {
        MUST(awq__text_append(fuzz_context(), out, "%zu", t->bytes) == AWQ_OK);
        return;
    }
    for (const char *c = t->shape; *c && *c != '-'; c++)
        MUST(awq__text_append_bytes(fuzz_context(), out, *c == 'x' ? "," : c, 1) == AWQ_OK);
}

static void append_header(awq__text *out, const list *l)
{
    awq_context *ctx = fuzz_context();
    size_t offset = 0;
    for (size_t i = 0; i < l->count; i++) {
        const tensor *t = &l->tensors[i];
        MUST(awq__text_append(ctx, out, "%c\"", i ? ',' : '{') == AWQ_OK);
        append_name(out, t->name);
        MUST(awq__text_append(ctx, out, "\":{\"dtype\":\"") == AWQ_OK);
        append_name(out, t->dtype);
        MUST(awq__text_append(ctx, out, "\",\"shape\":[") == AWQ_OK);
        append_shape(out, t);
        MUST(awq__text_append(ctx, out, "],\"data_offsets\":[%zu,%zu]}", offset,
                              offset + t->bytes) == AWQ_OK);
        offset += t->bytes;
    }
    MUST(awq__text_append(ctx, out, l->count ? "}" : "{}") == AWQ_OK);
}

static void fill(uint8_t *at, const tensor *t)
{
    size_t given = data_bytes(t->data);
    memset(at, 0, t->bytes);
    for (size_t i = 0; i < t->bytes && given; i++)
        at[i] = data_byte(t->data, i % given);
}

static void write_list(const char *name, const list *l)
{
    awq__text header = {0};
    append_header(&header, l);
    uint64_t length = header.length;
    size_t size = sizeof length + header.length + l->bytes;
    uint8_t *file = malloc(size), *at = file;
    MUST(file);
    memcpy(at, &length, sizeof length);
    memcpy(at + sizeof length, header.data, header.length);
    at += sizeof length + header.length;
    for (size_t i = 0; i < l->count; at += l->tensors[i++].bytes)
        fill(at, &l->tensors[i]);
    fuzz_write(name, file, size);
    free(file);
    awq__text_free(&header);
}

void fuzz_write_tensors(const char *name, const char *base, const char *more)
{
    static list l;
    char *first = strdup(base), *second = strdup(more);
    MUST(first && second);
    l.count = l.bytes = 0;
    add_lines(&l, first);
    add_lines(&l, second);
    write_list(name, &l);
    free(first);
    free(second);
}
