/* UTF-8: finding and decoding what is valid. */
#include "core/utf8.h"

#include <string.h>

size_t awq__utf8_sequence(const char *text, size_t bytes, size_t *bad)
{
    uint8_t lead = (uint8_t)text[0], low = 0x80, high = 0xBF;
    size_t length;
    *bad = 1;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        low = lead == 0xE0 ? 0xA0 : low;
        high = lead == 0xED ? 0x9F : high;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        low = lead == 0xF0 ? 0x90 : low;
        high = lead == 0xF4 ? 0x8F : high;
    } else {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if (i >= bytes || (uint8_t)text[i] < low || (uint8_t)text[i] > high)
            return 0;
        low = 0x80;
        high = 0xBF;
        *bad = i + 1;
    }
    return length;
}

size_t awq__utf8_valid(const char *text, size_t bytes)
{
    size_t at = 0, bad;
    while (at < bytes) {
        size_t length = awq__utf8_sequence(text + at, bytes - at, &bad);
        if (!length)
            break;
        at += length;
    }
    return at;
}

bool awq__is_utf8(const void *text, size_t bytes)
{
    return awq__utf8_valid(text, bytes) == bytes;
}

size_t awq__utf8_next(const char *text, uint32_t *code_point)
{
    const uint8_t *byte = (const uint8_t *)text;
    if (byte[0] < 0x80) {
        *code_point = byte[0];
        return 1;
    }
    size_t length = byte[0] < 0xE0 ? 2 : byte[0] < 0xF0 ? 3 : 4;
    uint32_t value = byte[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++)
        value = value << 6 | (byte[i] & 0x3Fu);
    *code_point = value;
    return length;
}

size_t awq__utf8_put(uint32_t code_point, char out[4])
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    size_t length = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = length; i-- > 1; code_point >>= 6)
        out[i] = (char)(0x80 | (code_point & 0x3F));
    out[0] = (char)(0xF00u >> length | code_point);
    return length;
}

/* ---- what is shown to people ---- */

/* Controls; marks, embeddings, overrides and isolates of the writing direction; line and paragraph
   separators. */
static bool commands_terminal(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x61C || c == 0x200E || c == 0x200F ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

void awq__clean_line(char *text, size_t size, bool cut)
{
    size_t length = strnlen(text, size - 1), at = 0, to = 0, bad;
    if (cut && length >= 3)
        length -= 3;
    while (at < length) {
        uint32_t code_point;
        size_t step = awq__utf8_sequence(text + at, length - at, &bad);
        bool shown =
            step && (awq__utf8_next(text + at, &code_point), !commands_terminal(code_point));
        if (!step && cut && at + bad == length)
            break; /* the rest of a character that was cut */
        if (shown)
            memmove(text + to, text + at, step);
        else
            text[to] = '?';
        to += shown ? step : 1;
        at += step ? step : bad;
    }
    memcpy(text + to, "...", cut ? 3 : 0);
    text[to + (cut ? 3 : 0)] = 0;
}
