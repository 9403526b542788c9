/* HTML in the making: markup, escaped text, numbers. */
#include "page/html.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES 64

static void append(awq__html *html, const char *text, size_t length)
{
    if (html->status == AWQ_OK)
        html->status = awq__text_append_bytes(html->ctx, &html->text, text, length);
}

void awq__html_add(awq__html *html, const char *format, ...)
{
    char part[1024];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(part, sizeof part, format, values);
    va_end(values);
    if (length >= 0 && (size_t)length < sizeof part)
        append(html, part, (size_t)length);
    else if (html->status == AWQ_OK)
        html->status =
            awq__fail(html->ctx, AWQ_ERROR_ARGUMENT, "a part of a page is too long: %s", format);
}

static const char *escape_of(char letter)
{
    switch (letter) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    default:
        return NULL;
    }
}

void awq__html_text(awq__html *html, const char *text)
{
    while (text && *text) {
        size_t plain = strcspn(text, "&<>\"");
        append(html, text, plain);
        text += plain;
        if (*text)
            awq__html_add(html, "%s", escape_of(*text++));
    }
}

/* As printf does it, with a point whatever the locale of the process has. */
static void print_number(char text[NUMBER_BYTES], const char *format, int digits, double number)
{
    snprintf(text, NUMBER_BYTES, format, digits, number);
    text[strcspn(text, ",")] = text[strcspn(text, ",")] ? '.' : 0;
}

static bool is_whole(double number)
{
    return number == rint(number) && fabs(number) < 1e15;
}

/* All digits of a whole number, else the fewest that read back to the same number. */
static void print_exact(char text[NUMBER_BYTES], double number)
{
    if (is_whole(number)) {
        print_number(text, "%.*f", 0, number);
        return;
    }
    int digits = 1;
    for (double back = NAN; digits <= 17 && back != number; digits++) {
        snprintf(text, NUMBER_BYTES, "%.*g", digits, number);
        back = strtod(text, NULL);
    }
    print_number(text, "%.*g", digits - 1, number);
}

/* <data>, whose content is `shown` before `unit`. */
static void add_data(awq__html *html, double exact, const char *shown, const char *unit)
{
    char text[NUMBER_BYTES];
    print_exact(text, exact);
    awq__html_add(html, "<data value=\"%s\">%s%s</data>", text, shown, unit);
}

/* Digits in groups of three: 1,234,567. */
static void group_digits(char text[NUMBER_BYTES], double whole)
{
    char plain[NUMBER_BYTES];
    int length = snprintf(plain, sizeof plain, "%.0f", whole);
    size_t at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && plain[i - 1] != '-')
            text[at++] = ',';
        text[at++] = plain[i];
    }
    text[at] = 0;
}

void awq__html_number(awq__html *html, double number, int digits)
{
    char shown[NUMBER_BYTES];
    if (!isfinite(number)) {
        awq__html_add(html, "–");
        return;
    }
    if (is_whole(number))
        group_digits(shown, number);
    else
        print_number(shown, "%.*g", digits, number);
    add_data(html, number, shown, "");
}

void awq__html_percent(awq__html *html, double share)
{
    char shown[NUMBER_BYTES];
    if (!isfinite(share)) {
        awq__html_add(html, "–");
        return;
    }
    print_number(shown, "%.*f", 2, 100 * share);
    add_data(html, share, shown, " %");
}

void awq__html_bytes(awq__html *html, double bytes)
{
    static const char *const units[] = {" B", " kB", " MB", " GB", " TB"};
    char shown[NUMBER_BYTES];
    double value = bytes;
    size_t unit = 0;
    if (!isfinite(bytes)) {
        awq__html_add(html, "–");
        return;
    }
    for (; value >= 1000 && unit + 1 < sizeof units / sizeof *units; unit++)
        value /= 1000;
    print_number(shown, "%.*f", unit ? 2 : 0, value);
    add_data(html, bytes, shown, units[unit]);
}

double awq__number_of(const cJSON *item)
{
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}
