/* Whether a text is JSON, word for word by the grammar of RFC 8259. */
#include "fuzz.h"
#include "core/json.h"
#include "core/utf8.h"

#include <string.h>

#define MAX_DEPTH 100
#define MAX_NUMBER_BYTES 63

typedef struct reader {
    const char *at, *end;
    int depth;
    unsigned allowed; /* AWQ__JSON_... */
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

/* The four digits behind \u, or -1. */
static long read_hex(reader *r)
{
    char digits[5] = "";
    if (r->end - r->at < 4)
        return -1;
    memcpy(digits, r->at, 4);
    r->at += 4;
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

/* What follows \u. Surrogates come in pairs, the high one first. */
static bool read_unicode(reader *r)
{
    long code = read_hex(r);
    if (code >= 0xd800 && code < 0xdc00) {
        long low = take(r, "\\u") ? read_hex(r) : -1;
        return low >= 0xdc00 && low < 0xe000;
    }
    return code >= 0 && (code < 0xdc00 || code >= 0xe000) && (code || (r->allowed & AWQ__JSON_NUL));
}

/* What follows a backslash. */
static bool read_escape(reader *r)
{
    if (r->at == r->end)
        return false;
    char kind = *r->at++;
    return kind == 'u' ? read_unicode(r) : kind && strchr("\"\\/bfnrt", kind);
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

static bool read_any_number(reader *r)
{
    take(r, "-");
    if ((r->allowed & AWQ__JSON_LITERALS) && take(r, "Infinity"))
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

static bool read_number(reader *r)
{
    const char *begin = r->at;
    return read_any_number(r) && r->at - begin <= MAX_NUMBER_BYTES;
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
        valid = r->depth++ < MAX_DEPTH && read_items(r, object ? "}" : "]", object) && r->depth--;
    else if (take(r, "true") || take(r, "false") || take(r, "null"))
        valid = true;
    else if ((r->allowed & AWQ__JSON_LITERALS) && take(r, "NaN"))
        valid = true;
    else
        valid = r->at < r->end && *r->at == '"' ? read_string(r) : read_number(r);
    skip_space(r);
    return valid;
}

bool fuzz_is_json(const char *text, size_t size, unsigned allowed)
{
    reader r = {text, text + size, 0, allowed};
    return read_value(&r) && r.at == r.end;
}
