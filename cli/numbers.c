/* Numbers as texts, for people and for JSON. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *format_bytes(char text[TEXT_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double number = (double)bytes;
    size_t unit = 0;
    while (number >= 999.995 && unit + 1 < sizeof units / sizeof units[0]) {
        number /= 1000;
        unit++;
    }
    snprintf(text, TEXT_BYTES, "%.*f %s", unit ? 2 : 0, number, units[unit]);
    return text;
}

const char *format_count(char text[TEXT_BYTES], uint64_t count)
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    char *to = text;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = 0;
    return text;
}

const char *format_duration(char text[TEXT_BYTES], double seconds)
{
    if (!(seconds >= 0))
        seconds = 0;
    if (seconds < 59.95) {
        snprintf(text, TEXT_BYTES, "%.1f s", seconds);
        return text;
    }
    long long whole = seconds < 1e15 ? (long long)(seconds + 0.5) : 1000000000000000;
    if (whole < 3600)
        snprintf(text, TEXT_BYTES, "%lld min %02lld s", whole / 60, whole % 60);
    else
        snprintf(text, TEXT_BYTES, "%lld h %02lld min", whole / 3600, whole / 60 % 60);
    return text;
}

const char *format_exact(char text[TEXT_BYTES], double number)
{
    if (!isfinite(number))
        return "null";
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, TEXT_BYTES, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    return text;
}
