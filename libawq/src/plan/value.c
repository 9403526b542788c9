/* What the texts of options mean, and which are allowed. */
#include "plan/value.h"
#include "core/utf8.h"

#include <string.h>

/* Moves *text past a decimal number without sign. False where there is none or it is over 2^63-1.
 */
static bool scan_digits(const char **text, int64_t *number)
{
    const char *c = *text;
    *number = 0;
    for (; *c >= '0' && *c <= '9'; c++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, *c - '0', number))
            return false;
    bool found = c > *text;
    *text = c;
    return found;
}

bool awq__value_integer(const char *text, int64_t *number)
{
    bool negative = *text == '-';
    text += negative;
    if (!scan_digits(&text, number) || *text)
        return false;
    if (negative)
        *number = -*number;
    return true;
}

bool awq__value_number(const char *text, double *number)
{
    double unit = 1;
    bool point = false, digits = false;
    *number = 0;
    for (const char *c = text; *c; c++) {
        if (*c == '.' && !point) {
            point = true;
            continue;
        }
        if (*c < '0' || *c > '9')
            return false;
        digits = true;
        *number = *number * 10 + (*c - '0');
        unit *= point ? 10 : 1;
    }
    *number /= unit;
    return digits;
}

bool awq__value_size(const char *text, int64_t *bytes)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } units[] = {
        {"", 1},
        {"kB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", 1000000000000},
        {"KiB", INT64_C(1) << 10},
        {"MiB", INT64_C(1) << 20},
        {"GiB", INT64_C(1) << 30},
        {"TiB", INT64_C(1) << 40},
    };
    int64_t number;
    if (!scan_digits(&text, &number))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (!strcmp(text, units[i].name))
            return !__builtin_mul_overflow(number, units[i].bytes, bytes);
    return false;
}

bool awq__word_in(const char *words, char separator, const char *word)
{
    size_t length = strlen(word);
    const char ends[] = {separator, 0};
    for (const char *at = words; length; at++) {
        size_t end = strcspn(at, ends);
        if (end == length && !memcmp(at, word, length))
            return true;
        at += end;
        if (!*at)
            break;
    }
    return false;
}

/* The next item of a comma-separated list, without the spaces around it, in a buffer. False at the
   end; an item that does not fit is cut, and no value has it. */
static bool next_item(const char **at, char *item, size_t bytes)
{
    if (!*at)
        return false;
    size_t length = strcspn(*at, ",");
    const char *begin = *at, *end = begin + length;
    *at = *end ? end + 1 : NULL;
    while (begin < end && *begin == ' ')
        begin++;
    while (end > begin && end[-1] == ' ')
        end--;
    length = (size_t)(end - begin) < bytes - 1 ? (size_t)(end - begin) : bytes - 1;
    memcpy(item, begin, length);
    item[length] = 0;
    return true;
}

/* Removes "." steps, doubled slashes and a slash at the end, in place. ".." stays: what it means
   depends on links. */
void awq__value_tidy_path(char *path)
{
    bool absolute = path[0] == '/';
    char *to = path + absolute;
    for (const char *from = path; *from;) {
        from += strspn(from, "/");
        size_t length = strcspn(from, "/");
        bool nothing = length == 0 || (length == 1 && from[0] == '.');
        if (!nothing) {
            if (to > path + absolute)
                *to++ = '/';
            memmove(to, from, length);
            to += length;
        }
        from += length;
    }
    if (to == path)
        *to++ = '.';
    *to = 0;
}

/* Records that value is refused. */
static awq_status wrong(awq_context *ctx, const awq_option *option, const char *value,
                        const char *allowed)
{
    const awq_removed_option *removed = awq_option_removed(option->name, value);
    if (removed)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%s: \"%s\" is gone since version %s: %s; allowed is %s", option->name,
                         value, removed->since, removed->why, allowed);
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: \"%s\" is not allowed; allowed is %s",
                     option->name, value, allowed);
}

bool awq__value_lists(const char *text, const char *word)
{
    char item[64];
    for (const char *at = text; next_item(&at, item, sizeof item);)
        if (!strcmp(item, word))
            return true;
    return false;
}

/* One or more of the choices, separated by commas. */
static awq_status check_choices(awq_context *ctx, const awq_option *option, const char *value)
{
    char item[64];
    for (const char *at = value; next_item(&at, item, sizeof item);)
        if (!awq__word_in(option->choices, '|', item))
            return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                             "%s: \"%s\" is not allowed; allowed are %s, or several of them with "
                             "commas between",
                             option->name, item, option->choices);
    return AWQ_OK;
}

static awq_status check_integer(awq_context *ctx, const awq_option *option, const char *value)
{
    int64_t number;
    if (awq__value_integer(value, &number) && number >= option->minimum &&
        number <= option->maximum)
        return AWQ_OK;
    if (option->minimum == option->maximum)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: \"%s\" is not allowed; allowed is %lld",
                         option->name, value, (long long)option->minimum);
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                     "%s: \"%s\" is not allowed; allowed is an integer from %lld to %lld",
                     option->name, value, (long long)option->minimum, (long long)option->maximum);
}

static awq_status check_number(awq_context *ctx, const awq_option *option, const char *value)
{
    double number;
    if (awq__value_number(value, &number) && number >= (double)option->minimum &&
        number <= (double)option->maximum)
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                     "%s: \"%s\" is not allowed; allowed is a number from %lld to %lld, as 4.25",
                     option->name, value, (long long)option->minimum, (long long)option->maximum);
}

static awq_status check_size(awq_context *ctx, const awq_option *option, const char *value)
{
    int64_t bytes;
    if (!awq__value_size(value, &bytes))
        return wrong(
            ctx, option, value,
            "a whole number of bytes, or of kB, MB, GB, TB, KiB, MiB, GiB, TiB, as in 5GB");
    if (bytes < option->minimum || bytes > option->maximum)
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT,
                         "%s: \"%s\" is not allowed; allowed are %lld to %lld bytes", option->name,
                         value, (long long)option->minimum, (long long)option->maximum);
    return AWQ_OK;
}

awq_status awq__value_check(awq_context *ctx, const awq_option *option, const char *value)
{
    switch (option->type) {
    case AWQ_OPTION_INTEGER:
        return check_integer(ctx, option, value);
    case AWQ_OPTION_SIZE:
        return check_size(ctx, option, value);
    case AWQ_OPTION_BOOLEAN:
        if (strcmp(value, "true") && strcmp(value, "false"))
            return wrong(ctx, option, value, "true or false");
        return AWQ_OK;
    case AWQ_OPTION_CHOICE:
        if (!awq__word_in(option->choices, '|', value))
            return wrong(ctx, option, value, option->choices);
        return AWQ_OK;
    case AWQ_OPTION_CHOICES:
        return check_choices(ctx, option, value);
    case AWQ_OPTION_NUMBER:
        return check_number(ctx, option, value);
    case AWQ_OPTION_INDICES:
        if (!awq__index_set_valid(value))
            return wrong(ctx, option, value,
                         "even, odd, numbers, ranges as in 0-3 and slices as in ::2, several with "
                         "commas between; -1 is the last");
        return AWQ_OK;
    case AWQ_OPTION_TEXT:
    case AWQ_OPTION_PATH:
    case AWQ_OPTION_TEXT_LIST:
    case AWQ_OPTION_PATH_LIST:
        break;
    }
    if (!value[0] && (option->type != AWQ_OPTION_TEXT || option->fallback[0]))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: an empty value is not allowed",
                         option->name);
    if (!awq__is_utf8(value, strlen(value)))
        return awq__fail(ctx, AWQ_ERROR_ARGUMENT, "%s: \"%s\" is not UTF-8", option->name, value);
    return AWQ_OK;
}

/* ---- sets of numbers ---- */

/* One item of a set: first, first + step, ... up to, not including, end. A negative number counts
   from the end; `open_end` stands for all that follow. */
typedef struct span {
    int64_t first, end, step;
    bool open_end, one; /* one: `first` alone */
} span;

/* Moves *text past an integer. False if there is none. */
static bool scan_signed(const char **text, int64_t *number)
{
    bool negative = **text == '-';
    const char *at = *text + negative;
    if (!scan_digits(&at, number))
        return false;
    if (negative)
        *number = -*number;
    *text = at;
    return true;
}

/* "a:b:c", each of which may be missing. */
static bool parse_slice(const char *text, span *s)
{
    *s = (span){.step = 1, .open_end = true};
    if (*text != ':' && !scan_signed(&text, &s->first))
        return false;
    if (*text++ != ':')
        return false;
    if (*text && *text != ':') {
        s->open_end = false;
        if (!scan_signed(&text, &s->end))
            return false;
    }
    if (*text == ':' && *++text && (!scan_digits(&text, &s->step) || s->step < 1))
        return false;
    return !*text;
}

static bool parse_span(const char *text, span *s)
{
    if (!strcmp(text, "even") || !strcmp(text, "odd")) {
        *s = (span){.first = text[0] == 'o', .step = 2, .open_end = true};
        return true;
    }
    if (strchr(text, ':'))
        return parse_slice(text, s);
    *s = (span){.step = 1, .one = true};
    if (!scan_signed(&text, &s->first))
        return false;
    if (!*text)
        return true;
    s->one = false;
    if (*text++ != '-' || s->first < 0 || !scan_digits(&text, &s->end) || *text ||
        s->end < s->first || s->end == INT64_MAX)
        return false;
    s->end++;
    return true;
}

bool awq__index_set_valid(const char *text)
{
    char item[64];
    span s;
    for (const char *at = text; next_item(&at, item, sizeof item);)
        if (strlen(item) == sizeof item - 1 /* it may have been cut */ || !parse_span(item, &s))
            return false;
    return true;
}

static int64_t from_end(int64_t number, int64_t count)
{
    return number < 0 ? number + count : number;
}

bool awq__index_set_has(const char *text, int64_t index, int64_t count)
{
    char item[64];
    span s;
    for (const char *at = text; next_item(&at, item, sizeof item);) {
        if (!parse_span(item, &s))
            continue;
        int64_t first = from_end(s.first, count);
        if (s.one ? index == first
                  : index >= awq__max(first, 0) && (s.open_end || index < from_end(s.end, count)) &&
                        (index - awq__max(first, 0)) % s.step == 0)
            return true;
    }
    return false;
}
