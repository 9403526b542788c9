/* The strict pass over the bytes of a JSON text. cJSON takes more for JSON than others do: each
   byte up to 0x20 for space, and any byte in a string. */
#include "core/json_scan.h"
#include "core/json.h"
#include "core/utf8.h"

#include <math.h>
#include <string.h>

#define MAX_NUMBER 63 /* cJSON before 1.7.19 reads no longer one */
#define BYTE_ORDER_MARK "\xEF\xBB\xBF"

static bool wrong(awq__json_scan *scan, const char *problem)
{
    scan->problem = problem;
    return false;
}

/* What stands here does not belong here. */
static bool misplaced(awq__json_scan *scan, const char *where)
{
    scan->misplaced = true;
    return wrong(scan, where);
}

/* 0 at the end, where no NUL is. */
static char here(const awq__json_scan *scan)
{
    return scan->at < scan->end ? *scan->at : 0;
}

static bool take(awq__json_scan *scan, char c)
{
    bool there = scan->at < scan->end && *scan->at == c;
    scan->at += there;
    return there;
}

static bool take_word(awq__json_scan *scan, const char *word)
{
    size_t length = strlen(word);
    bool there = (size_t)(scan->end - scan->at) >= length && !memcmp(scan->at, word, length);
    scan->at += there ? length : 0;
    return there;
}

void awq__json_skip_space(awq__json_scan *scan)
{
    while (scan->at < scan->end && *scan->at && strchr(" \t\r\n", *scan->at))
        scan->at++;
}

/* ---- strings ---- */

/* The value of "\uXXXX", or -1. */
static int32_t unit_at(const awq__json_scan *scan, const char *at)
{
    if (scan->end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    int32_t unit = 0;
    for (int i = 2; i < 6; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = at[i] ? strchr(digits, at[i]) : NULL;
        if (!digit)
            return -1;
        unit = unit << 4 | (int32_t)((digit - digits) & 15);
    }
    return unit;
}

static bool skip_unit(awq__json_scan *scan)
{
    int32_t unit = unit_at(scan, scan->at);
    if (unit < 0)
        return wrong(scan, "not valid JSON: \\u without four hexadecimal digits");
    if (unit == 0 && !(scan->allowed & AWQ__JSON_NUL))
        return wrong(scan, "\\u0000, which no name or value here may hold");
    bool pair = false;
    if (unit >= 0xD800 && unit < 0xE000) {
        int32_t low = unit_at(scan, scan->at + 6 <= scan->end ? scan->at + 6 : scan->end);
        pair = unit < 0xDC00 && low >= 0xDC00 && low < 0xE000;
        if (!pair)
            return wrong(scan, "not valid JSON: half of a surrogate pair, which is no character");
    }
    scan->at += pair ? 12 : 6;
    return true;
}

static bool skip_escape(awq__json_scan *scan)
{
    if (scan->end - scan->at < 2)
        return wrong(scan, "not valid JSON: the text ends in a string");
    char escaped = scan->at[1];
    if (escaped == 'u')
        return skip_unit(scan);
    if (!escaped || !strchr("\"\\/bfnrt", escaped))
        return wrong(scan, "not valid JSON: a backslash before what is not escaped");
    scan->at += 2;
    return true;
}

static bool skip_character(awq__json_scan *scan)
{
    unsigned char c = (unsigned char)*scan->at;
    if (c == '\\')
        return skip_escape(scan);
    if (c < 0x20)
        return misplaced(scan, "in a string, where it must be escaped");
    size_t length = 1;
    if (c >= 0x80) {
        size_t left = (size_t)(scan->end - scan->at);
        uint32_t code_point;
        if (!awq__utf8_valid(scan->at, left < 4 ? left : 4))
            return misplaced(scan, "in a string that is not UTF-8");
        length = awq__utf8_next(scan->at, &code_point);
    }
    scan->at += length;
    return true;
}

bool awq__json_skip_string(awq__json_scan *scan)
{
    if (!take(scan, '"'))
        return misplaced(scan, "where a key in double quotes is expected");
    while (scan->at < scan->end && *scan->at != '"')
        if (!skip_character(scan))
            return false;
    return take(scan, '"') || wrong(scan, "not valid JSON: the text ends in a string");
}

/* ---- numbers and words ---- */

static bool skip_digits(awq__json_scan *scan)
{
    const char *begin = scan->at;
    while (here(scan) >= '0' && here(scan) <= '9')
        scan->at++;
    return scan->at > begin || misplaced(scan, "where a digit is expected");
}

static bool skip_literal(awq__json_scan *scan)
{
    static const struct {
        const char *word;
        double value;
    } literals[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    const char *begin = scan->at;
    for (int i = 0; i < 3 && scan->allowed & AWQ__JSON_LITERALS; i++)
        if (take_word(scan, literals[i].word)) {
            if (scan->literals)
                scan->literals[scan->literal_count] = (awq__json_literal){
                    scan->numbers, begin, (size_t)(scan->at - begin), literals[i].value};
            scan->literal_count++;
            scan->numbers++;
            return true;
        }
    return false;
}

static bool skip_number(awq__json_scan *scan)
{
    const char *begin = scan->at;
    take(scan, '-');
    bool zero = take(scan, '0');
    if (!zero && !skip_digits(scan))
        return false;
    if (zero && here(scan) >= '0' && here(scan) <= '9')
        return misplaced(scan, "after a leading 0");
    if (take(scan, '.') && !skip_digits(scan))
        return false;
    if (take(scan, 'e') || take(scan, 'E')) {
        if (!take(scan, '+'))
            take(scan, '-');
        if (!skip_digits(scan))
            return false;
    }
    scan->numbers++;
    if (scan->at - begin <= MAX_NUMBER)
        return true;
    scan->at = begin;
    return wrong(scan, "a number of more than 63 characters is not read");
}

/* ---- values ---- */

static bool skip_member(awq__json_scan *scan, int depth)
{
    if (++scan->keys == scan->refused_key)
        return wrong(scan, "");
    if (!awq__json_skip_string(scan))
        return false;
    awq__json_skip_space(scan);
    if (!take(scan, ':'))
        return misplaced(scan, "where ':' is expected");
    awq__json_skip_space(scan);
    return awq__json_skip_value(scan, depth);
}

/* An array or an object, from behind its bracket. */
static bool skip_container(awq__json_scan *scan, char close, int depth)
{
    bool object = close == '}';
    awq__json_skip_space(scan);
    if (take(scan, close))
        return true;
    for (;;) {
        awq__json_skip_space(scan);
        if (object ? !skip_member(scan, depth) : !awq__json_skip_value(scan, depth))
            return false;
        awq__json_skip_space(scan);
        if (take(scan, close))
            return true;
        if (!take(scan, ','))
            return misplaced(scan, object ? "where ',' or '}' is expected"
                                          : "where ',' or ']' is expected");
    }
}

bool awq__json_skip_value(awq__json_scan *scan, int depth)
{
    char c = here(scan);
    if ((c == '{' || c == '[') && depth >= AWQ__JSON_MAX_NESTING)
        return wrong(scan, "nested more than 100 deep");
    if (take(scan, '{'))
        return skip_container(scan, '}', depth + 1);
    if (take(scan, '['))
        return skip_container(scan, ']', depth + 1);
    if (c == '"')
        return awq__json_skip_string(scan);
    if (skip_literal(scan) || take_word(scan, "true") || take_word(scan, "false") ||
        take_word(scan, "null"))
        return true;
    if (c == '-' || (c >= '0' && c <= '9'))
        return skip_number(scan);
    return misplaced(scan, "where a value is expected");
}

bool awq__json_scan_text(awq__json_scan *scan)
{
    const char *begin = scan->at;
    if (take_word(scan, BYTE_ORDER_MARK)) {
        scan->at = begin;
        return wrong(scan,
                     "not valid JSON: begins with a byte order mark; save it as UTF-8 without one");
    }
    awq__json_skip_space(scan);
    if (!awq__json_skip_value(scan, 0))
        return false;
    awq__json_skip_space(scan);
    return scan->at == scan->end || wrong(scan, "text after the JSON value");
}
