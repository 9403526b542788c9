/* Texts of others, made fit for a terminal and for JSON. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

/* The bytes of the character that text begins with; 0 if it is none. *shown: no control, and
   nothing that changes the direction of writing or breaks a line. */
static size_t character_at(const char *text, bool *shown)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &c);
    if (length < 1)
        return 0;
    *shown = utf8proc_category(c) != UTF8PROC_CATEGORY_CC && c != 0x61c && c != 0x200e &&
             c != 0x200f && !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069);
    return (size_t)length;
}

void clean_line(char *text)
{
    char *to = text;
    while (*text) {
        bool shown = false;
        size_t length = character_at(text, &shown);
        if (shown)
            memmove(to, text, length);
        else
            *to = '?';
        to += shown ? length : 1;
        text += length ? length : 1;
    }
    *to = 0;
}

/* Writes a character as its UTF-16 escapes. */
static void print_escaped(const char *text)
{
    utf8proc_int32_t c;
    utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &c);
    printf("\\u%04x", (unsigned)c); /* none that is escaped is beyond U+FFFF */
}

void print_json_text(const char *text)
{
    putchar('"');
    while (*text) {
        bool shown = false;
        size_t length = character_at(text, &shown);
        if (!length)
            fputs("\\ufffd", stdout);
        else if (!shown)
            print_escaped(text);
        else if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            fwrite(text, 1, length, stdout);
        text += length ? length : 1;
    }
    putchar('"');
}
