/*
 * Oniguruma's dialect to PCRE2's. The two agree on much and differ quietly on the rest (\h is a hex
 * digit there and a space here; \s, \w and \v are other sets), so nothing is passed on
 * that this file does not know, and every set is spelled out.
 */
#include "text/text_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64
#define MAX_REPEAT 1000

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define NO_SPACES                                                                                  \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{"     \
    "1fff}"                                                                                        \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"                 \
    "\\x{3001}-\\x{10ffff}"

typedef struct translator {
    const awq__source *source;
    const char *regex, *at; /* the whole, and what is left */
    awq__text *out;
    bool caseless[MAX_DEPTH + 1]; /* by depth of groups */
    bool look[MAX_DEPTH + 1];     /* the group only looks ahead or behind */
    int depth;
    char previous_letter; /* a caseless letter just written, or 0 */
    bool repeatable;      /* something stands before that a quantifier may repeat */
} translator;

static awq_status unsupported(const translator *t, const char *what)
{
    return awq__fail(t->source->ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: %s in the regular expression \"%s\" is not supported", t->source->file,
                     what, t->regex);
}

static awq_status malformed(const translator *t, const char *what)
{
    return awq__fail(t->source->ctx, AWQ_ERROR_FORMAT, "%s: %s in the regular expression \"%s\"",
                     t->source->file, what, t->regex);
}

static awq_status put(translator *t, const char *text)
{
    return awq__text_append_bytes(t->source->ctx, t->out, text, strlen(text));
}

static awq_status put_character(translator *t, uint32_t code_point)
{
    return awq__text_append(t->source->ctx, t->out, "\\x{%x}", (unsigned)code_point);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Hex digits at t->at, at most `most`; -1 if there are fewer than `least`. */
static int64_t hex(translator *t, int least, int most)
{
    int64_t value = 0;
    int count = 0;
    for (; count < most; count++, t->at++) {
        const char *digits = "0123456789abcdef";
        const char *digit =
            *t->at ? strchr(digits, *t->at >= 'A' && *t->at <= 'F' ? *t->at + 32 : *t->at) : NULL;
        if (!digit)
            break;
        value = value * 16 + (digit - digits);
    }
    return count < least ? -1 : value;
}

/* \xHH, \x{H...} and \uHHHH; t->at is behind the letter. */
static awq_status numbered_character(translator *t, char letter, uint32_t *code_point)
{
    int64_t value;
    if (letter == 'u') {
        value = hex(t, 4, 4);
    } else if (*t->at == '{') {
        t->at++;
        value = hex(t, 1, 8);
        if (*t->at != '}')
            value = -1;
        else
            t->at++;
    } else {
        value = hex(t, 1, 2);
        if (value > 0x7F) /* a byte there, a character here */
            return unsupported(t, "\\x above 7F without braces");
    }
    if (value < 0 || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
        return malformed(t, "a \\x or \\u that is no character");
    *code_point = (uint32_t)value;
    return AWQ_OK;
}

typedef struct escape {
    bool is_set; /* else one character */
    uint32_t code_point;
    char letter;      /* of a set: s S d D w W p P */
    char category[3]; /* of p and P */
} escape;

static awq_status property(translator *t, escape *e)
{
    static const char known[] = " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po "
                                "S Sm Sc Sk So Z Zs Zl Zp Cc Cf Co ";
    const char *close = *t->at == '{' ? strchr(t->at, '}') : NULL;
    size_t length = close ? (size_t)(close - t->at - 1) : 0;
    char word[5] = " ";
    if (length == 1 || length == 2) {
        memcpy(word + 1, t->at + 1, length);
        word[length + 1] = ' ';
        memcpy(e->category, t->at + 1, length);
    }
    if (!e->category[0] || strchr(e->category, ' ') || !strstr(known, word))
        return unsupported(t, "a \\p that names no general category by its short name");
    t->at = close + 1;
    return AWQ_OK;
}

/* Reads what follows a backslash. */
static awq_status read_escape(translator *t, escape *e)
{
    static const char controls[] = "rntfvae", values[] = "\r\n\t\f\v\a\x1b";
    *e = (escape){0};
    char c = *t->at;
    if (!c)
        return malformed(t, "a backslash at the end");
    t->at++;
    const char *control = strchr(controls, c);
    if (control) {
        e->code_point = (uint8_t)values[control - controls];
        return AWQ_OK;
    }
    if (c == 'x' || c == 'u')
        return numbered_character(t, c, &e->code_point);
    if (strchr("sSdDwWpP", c)) {
        e->is_set = true;
        e->letter = c;
        return c == 'p' || c == 'P' ? property(t, e) : AWQ_OK;
    }
    if (is_letter(c) || (c >= '0' && c <= '9') || (uint8_t)c >= 0x80) {
        char what[] = "the escape \\?";
        what[sizeof what - 2] = (uint8_t)c < 0x80 ? c : '?';
        return unsupported(t, what);
    }
    e->code_point = (uint8_t)c;
    return AWQ_OK;
}

static awq_status put_category(translator *t, const char *category)
{
    AWQ__CHECK(awq__text_append(t->source->ctx, t->out, "\\p{%s}", category));
    return awq__append_newer(t->source->ctx, category, t->out);
}

/* What \w matches: also circled and squared letters, and, but only where it stands alone, the
   superscript digits and vulgar fractions of Latin-1. */
static awq_status put_word(translator *t, bool alone)
{
    static const char *const categories[] = {"L", "M", "Nd", "Nl", "Pc"};
    AWQ__CHECK(alone ? put(t, "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}") : AWQ_OK);
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        AWQ__CHECK(put_category(t, categories[i]));
    return put(t, "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"
                  "\\x{1f170}-\\x{1f189}");
}

/* The members of a set, to stand within brackets. */
static awq_status put_members(translator *t, const escape *e, bool alone)
{
    switch (e->letter | 0x20) {
    case 's':
        return put(t, SPACES);
    case 'd':
        return put_category(t, "Nd");
    case 'p':
        return put_category(t, e->category);
    default:
        return put_word(t, alone);
    }
}

static awq_status put_set(translator *t, const escape *e)
{
    AWQ__CHECK(put(t, e->letter & 0x20 ? "[" : "[^"));
    AWQ__CHECK(put_members(t, e, true));
    return put(t, "]");
}

/* One literal outside of brackets. */
static awq_status put_literal(translator *t, uint32_t code_point)
{
    static const char *const folds[] = {"ff", "fi", "fl", "ss", "st"};
    if (!t->caseless[t->depth]) {
        t->previous_letter = 0;
        return put_character(t, code_point);
    }
    if (code_point >= 0x80)
        return unsupported(t, "a caseless character outside of ASCII");
    /* There a ligature may match two letters. */
    char pair[3] = {t->previous_letter, (char)(code_point | 0x20), 0};
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++)
        if (!strcmp(pair, folds[i]))
            return unsupported(t, "a caseless ff, fi, fl, ss or st");
    t->previous_letter = pair[1];
    return put_character(t, code_point);
}

/* A member of brackets: a character, or a set written out at once (*is_set). */
static awq_status class_member(translator *t, uint32_t *code_point, bool *is_set)
{
    escape e = {0};
    if (*t->at == '[' || (t->at[0] == '&' && t->at[1] == '&'))
        return unsupported(t, "a class within a class");
    if (*t->at == '\\') {
        t->at++;
        AWQ__CHECK(read_escape(t, &e));
    } else {
        t->at += awq__utf8_next(t->at, &e.code_point);
    }
    *code_point = e.code_point;
    *is_set = e.is_set;
    if (!e.is_set)
        return AWQ_OK;
    if (e.letter == 'S')
        return put(t, NO_SPACES);
    return e.letter & 0x20 ? put_members(t, &e, false)
                           : unsupported(t, "a negated set within a class");
}

/* A member, or a range of two. */
static awq_status class_item(translator *t)
{
    uint32_t first = 0, last = 0;
    bool is_set = false, last_is_set = false;
    bool dash = *t->at == '-';
    AWQ__CHECK(class_member(t, &first, &is_set));
    bool range = *t->at == '-' && t->at[1] != ']';
    if (range && (is_set || dash))
        return unsupported(t, "a dash that is neither first nor last in its class");
    if (is_set)
        return AWQ_OK;
    AWQ__CHECK(put_character(t, first));
    if (!range)
        return AWQ_OK;
    t->at++;
    if (!*t->at)
        return malformed(t, "a class without its end");
    AWQ__CHECK(put(t, "-"));
    if (*t->at == '-')
        return unsupported(t, "a range that ends with a dash");
    size_t before = t->out->length;
    AWQ__CHECK(class_member(t, &last, &last_is_set));
    if (last_is_set || t->out->length != before)
        return unsupported(t, "a range that ends with a set");
    if (last < first)
        return malformed(t, "an empty range");
    if (*t->at == '-' && t->at[1] != ']')
        return unsupported(t, "a dash that is neither first nor last in its class");
    return put_character(t, last);
}

static awq_status class(translator *t)
{
    if (t->caseless[t->depth])
        return unsupported(t, "a caseless class");
    bool negated = t->at[1] == '^';
    t->at += negated ? 2 : 1;
    if (*t->at == ']')
        return unsupported(t, "a class that begins with ]");
    AWQ__CHECK(put(t, negated ? "[^" : "["));
    for (bool first = true; *t->at != ']'; first = false) {
        if (!*t->at)
            return malformed(t, "a class without its end");
        if (*t->at == '-' && !first && t->at[1] != ']')
            return unsupported(t, "a dash that is neither first nor last in its class");
        AWQ__CHECK(class_item(t));
    }
    t->at++;
    t->previous_letter = 0;
    return put(t, "]");
}

static awq_status open_group(translator *t)
{
    static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    if (t->depth == MAX_DEPTH)
        return unsupported(t, "more than 64 nested groups");
    t->depth++;
    t->caseless[t->depth] = t->caseless[t->depth - 1];
    t->look[t->depth] = false;
    if (t->at[1] != '?') { /* nothing can refer to a capture */
        t->at++;
        return put(t, "(?:");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t length = strlen(kinds[i]);
        if (strncmp(t->at, kinds[i], length))
            continue;
        t->at += length;
        t->caseless[t->depth] |= kinds[i][2] == 'i';
        t->look[t->depth] = strchr("=!<", kinds[i][2]) != NULL;
        return put(t, kinds[i]);
    }
    return unsupported(t, "a group other than (?: (?= (?! (?<= (?<! (?> (?i:");
}

/* {n}, {n,} or {n,m}. */
static awq_status interval(translator *t)
{
    char *end;
    const char *digits = t->at + 1;
    if (*digits < '0' || *digits > '9')
        return unsupported(t, "a { that begins no interval");
    unsigned long least = strtoul(digits, &end, 10), most = least;
    if (*end == ',') {
        digits = end + 1;
        end = (char *)(uintptr_t)digits;
        most = MAX_REPEAT;
        if (*digits >= '0' && *digits <= '9')
            most = strtoul(digits, &end, 10);
    }
    if (*end != '}')
        return unsupported(t, "a { that begins no interval");
    if (least > most || most > MAX_REPEAT)
        return unsupported(t, "an interval that falls or passes 1000");
    awq_status status =
        awq__text_append_bytes(t->source->ctx, t->out, t->at, (size_t)(end + 1 - t->at));
    t->at = end + 1;
    return status;
}

static awq_status quantifier(translator *t)
{
    if (!t->repeatable)
        return malformed(t, "a quantifier after nothing");
    t->repeatable = false;
    t->previous_letter = 0;
    bool counted = *t->at == '{';
    if (counted) {
        AWQ__CHECK(interval(t));
    } else {
        /* lazy and possessive mean the same in both, but not after an interval */
        size_t length = t->at[1] == '?' || t->at[1] == '+' ? 2 : 1;
        AWQ__CHECK(awq__text_append_bytes(t->source->ctx, t->out, t->at, length));
        t->at += length;
    }
    if (*t->at && strchr("*+?{", *t->at))
        return unsupported(t, "a quantifier of a quantifier");
    return AWQ_OK;
}

static awq_status close_group(translator *t)
{
    if (!t->depth)
        return malformed(t, "a ) without its (");
    t->repeatable = !t->look[t->depth];
    t->depth--;
    t->at++;
    return put(t, ")");
}

static awq_status escaped(translator *t)
{
    escape e;
    t->at++;
    AWQ__CHECK(read_escape(t, &e));
    t->repeatable = true;
    if (!e.is_set)
        return put_literal(t, e.code_point);
    if (t->caseless[t->depth])
        return unsupported(t, "a caseless set");
    t->previous_letter = 0;
    return put_set(t, &e);
}

static awq_status element(translator *t)
{
    uint32_t code_point;
    switch (*t->at) {
    case '\\':
        return escaped(t);
    case '[':
        t->repeatable = true;
        return class(t);
    case '(':
        t->repeatable = false;
        return open_group(t);
    case ')':
        return close_group(t);
    case '|':
        t->at++;
        t->repeatable = false;
        t->previous_letter = 0;
        return put(t, "|");
    case '*':
    case '+':
    case '?':
    case '{':
        return quantifier(t);
    case '.':
        t->at++;
        t->repeatable = true;
        t->previous_letter = 0;
        return put(t, "[^\\x{a}]");
    case '^':
    case '$':
        return unsupported(t, "an anchor");
    }
    t->at += awq__utf8_next(t->at, &code_point);
    t->repeatable = true;
    return put_literal(t, code_point);
}

awq_status awq__regex_translate(const awq__source *source, const char *regex, awq__text *out)
{
    translator t = {.source = source, .regex = regex, .at = regex, .out = out};
    while (*t.at)
        AWQ__CHECK(element(&t));
    return t.depth ? malformed(&t, "a ( without its )") : AWQ_OK;
}
