/* Whether a text is JSON, word for word by the grammar of RFC 8259. */
#include "fuzz.h"
#include "core/utf8.h"

#include <string.h>

#define MAX_DEPTH 1000

typedef struct reader {
    const char *at, *end;
    int depth;
} reader;

static bool read_value(reader *r);

static void skip_space(reader *r)
{
    while (r->at < r->end && memchr(" \t\n\r", *r->at, 4))
        r->at++;
}

static bool take(reader *r, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length))
        return false;
    r->at += length;
    return true;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* What follows a backslash. */
static bool read_escape(reader *r)
{
    if (r->at == r->end)
        return false;
    char kind = *r->at++;
    if (kind != 'u')
        return kind && strchr("\"\\/bfnrt", kind);
    if (r->end - r->at < 4)
        return false;
    for (int i = 0; i < 4; i++)
        if (!is_hex(*r->at++))
            return false;
    return true;
}

static bool read_string(reader *r)
{
    const char *begin = r->at;
    if (!take(r, "\""))
        return false;
    while (r->at < r->end && *r->at != '"') {
        unsigned char c = (unsigned char)*r->at++;
        if (c < 0x20 || (c == '\\' && !read_escape(r)))
            return false;
    }
    return awq__is_utf8(begin, (size_t)(r->at - begin)) && take(r, "\"");
}

static bool read_digits(reader *r)
{
    const char *begin = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > begin;
}

static bool read_number(reader *r)
{
    take(r, "-");
    if (take(r, "Infinity"))
        return true;
    if (!take(r, "0") && !read_digits(r))
        return false;
    if (take(r, ".") && !read_digits(r))
        return false;
    if (!take(r, "e") && !take(r, "E"))
        return true;
    if (!take(r, "+"))
        take(r, "-");
    return read_digits(r);
}

/* What stands between the brackets of an array or object, and the closing one. */
static bool read_items(reader *r, const char *close, bool named)
{
    skip_space(r);
    if (take(r, close))
        return true;
    for (;;) {
        skip_space(r);
        if (named && !read_string(r))
            return false;
        skip_space(r);
        if ((named && !take(r, ":")) || !read_value(r))
            return false;
        if (take(r, close))
            return true;
        if (!take(r, ","))
            return false;
    }
}

/* With the white space on both sides. */
static bool read_value(reader *r)
{
    skip_space(r);
    bool object = take(r, "{"), valid;
    if (object || take(r, "["))
        valid = ++r->depth < MAX_DEPTH && read_items(r, object ? "}" : "]", object) && r->depth--;
    else
        valid = take(r, "true") || take(r, "false") || take(r, "null") || take(r, "NaN") ||
                (r->at < r->end && *r->at == '"' ? read_string(r) : read_number(r));
    skip_space(r);
    return valid;
}

bool fuzz_is_json(const char *text, size_t size)
{
    reader r = {text, text + size, 0};
    return read_value(&r) && r.at == r.end;
}
