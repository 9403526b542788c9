#include "mutate.h"
#include "core/core.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CHANGES 4
#define MAX_PART 64 /* bytes that a change leaves out, doubles or takes */

void byte_list_add(byte_list *list, bytes item)
{
    bytes *items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items)
        abort();
    list->items = items;
    items[list->count++] = item;
}

void byte_list_free(byte_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].data);
    free(list->items);
    *list = (byte_list){0};
}

/* ---- dictionaries ---- */

static uint8_t hex_value(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* The word between the quotes, of which `at` is behind the first. */
static bytes read_word(const uint8_t *at, const uint8_t *end)
{
    bytes word = {malloc((size_t)(end - at) + 1), 0};
    if (!word.data)
        abort();
    while (at < end && *at != '"') {
        uint8_t c = *at++;
        if (c == '\\' && at < end) {
            c = *at++;
            if (c == 'x' && end - at >= 2) {
                c = (uint8_t)(hex_value((char)at[0]) << 4 | hex_value((char)at[1]));
                at += 2;
            }
        }
        word.data[word.size++] = c;
    }
    return word;
}

void read_dictionary(const bytes *text, byte_list *words)
{
    const uint8_t *at = text->data, *stop = at + text->size;
    while (at < stop) {
        const uint8_t *end = memchr(at, '\n', (size_t)(stop - at));
        end = end ? end : stop;
        const uint8_t *quote = memchr(at, '"', (size_t)(end - at));
        if (quote && *at != '#')
            byte_list_add(words, read_word(quote + 1, end));
        at = end + 1;
    }
}

/* ---- changes ---- */

static size_t below(uint64_t *state, size_t limit)
{
    return limit ? (size_t)(awq__random(state) % limit) : 0;
}

/* Puts `with` in place of `length` bytes. */
static void replace(bytes *b, size_t at, size_t length, const uint8_t *with, size_t with_length)
{
    size_t size = b->size - length + with_length;
    uint8_t *data = malloc(size + 1);
    if (!data)
        abort();
    memcpy(data, b->data, at);
    if (with_length)
        memcpy(data + at, with, with_length);
    memcpy(data + at + with_length, b->data + at + length, b->size - at - length);
    free(b->data);
    *b = (bytes){data, size};
}

/* A number in digits that is at `at` or behind gives way to one at the edge of something. */
static void change_number(bytes *b, size_t at, uint64_t *state)
{
    static const char *const numbers[] = {"0",          "-1",
                                          "1",          "7",
                                          "255",        "65536",
                                          "2147483647", "4294967296",
                                          "1e400",      "9007199254740993",
                                          "0.5",        "18446744073709551616"};
    size_t length = 0;
    while (at < b->size && (b->data[at] < '0' || b->data[at] > '9'))
        at++;
    while (at + length < b->size && b->data[at + length] >= '0' && b->data[at + length] <= '9')
        length++;
    const char *number = numbers[below(state, sizeof numbers / sizeof *numbers)];
    replace(b, at, length, (const uint8_t *)number, strlen(number));
}

/* Puts a part of a list's item at `at`: a whole word, or some bytes of a seed. */
static void insert(bytes *b, size_t at, const byte_list *list, size_t most, uint64_t *state)
{
    if (!list->count)
        return;
    const bytes *from = &list->items[below(state, list->count)];
    size_t first = from->size > most ? below(state, from->size - most) : 0;
    size_t length = from->size - first < most ? from->size - first : most;
    size_t over = below(state, 2) ? 0 : length; /* over what is there, or between */
    replace(b, at, over < b->size - at ? over : b->size - at, from->data + first, length);
}

static void change(bytes *b, const byte_list *seeds, const byte_list *words, uint64_t *state)
{
    size_t at = below(state, b->size + 1), left = b->size - at;
    size_t part = below(state, left < MAX_PART ? left + 1 : MAX_PART);
    uint8_t byte = (uint8_t)awq__random(state);
    switch (below(state, 7)) {
    case 0:
        if (left)
            b->data[at] ^= (uint8_t)(1 << byte % 8);
        break;
    case 1:
        replace(b, at, left > 0, &byte, 1);
        break;
    case 2:
        replace(b, at, part, NULL, 0);
        break;
    case 3: {
        bytes copy = {malloc(part + 1), part};
        if (!copy.data)
            abort();
        memcpy(copy.data, b->data + at, part);
        replace(b, at, 0, copy.data, part);
        free(copy.data);
        break;
    }
    case 4:
        change_number(b, at, state);
        break;
    case 5:
        insert(b, at, words, SIZE_MAX, state);
        break;
    default:
        insert(b, at, seeds, MAX_PART, state);
    }
}

bytes mutate(const bytes *seed, const byte_list *seeds, const byte_list *words, uint64_t *state)
{
    bytes result = {malloc(seed->size + 1), seed->size};
    if (!result.data)
        abort();
    memcpy(result.data, seed->data, seed->size);
    for (size_t changes = 1 + below(state, MAX_CHANGES); changes; changes--)
        change(&result, seeds, words, state);
    return result;
}
