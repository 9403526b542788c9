/* Where the elements of a JSON array lie in a file, which is scanned block by block. */
#include "text/text_internal.h"

#include <string.h>

#define SCAN_BYTES ((size_t)1 << 20)

typedef enum place {
    BEFORE, /* the array */
    FIRST,  /* element, or the end of the array */
    NEXT,   /* element, after a comma */
    WITHIN, /* an element */
    BEHIND, /* the array */
} place;

typedef struct array_scan {
    awq_context *ctx;
    const char *path;
    awq__element_fn see;
    void *user;
    size_t begin; /* of the element */
    int64_t line, first_line;
    place place;
    int64_t depth; /* of brackets within the element */
    bool text, escaped;
} array_scan;

static awq_status wrong(const array_scan *scan, const char *what)
{
    return awq__fail(scan->ctx, AWQ_ERROR_FORMAT,
                     "%s:%lld: %s; a .json file of a corpus is one array of objects", scan->path,
                     (long long)scan->line, what);
}

/* A byte within a string. */
static void pass_text(array_scan *scan, char byte)
{
    if (scan->escaped)
        scan->escaped = false;
    else if (byte == '\\')
        scan->escaped = true;
    else
        scan->text = byte != '"';
}

/* A byte of an element: its end is the comma or bracket on the array's own level. */
static awq_status pass_element(array_scan *scan, char byte, size_t at)
{
    if (scan->text) {
        pass_text(scan, byte);
    } else if (!scan->depth && (byte == ',' || byte == ']')) {
        AWQ__CHECK(scan->see(scan->user, scan->begin, at - scan->begin, scan->first_line));
        scan->place = byte == ',' ? NEXT : BEHIND;
    } else {
        scan->text = byte == '"';
        scan->depth += (byte == '{' || byte == '[') - (byte == '}' || byte == ']');
        if (scan->depth < 0)
            return wrong(scan, "a bracket that nothing opened");
    }
    return AWQ_OK;
}

static awq_status pass_byte(array_scan *scan, char byte, size_t at)
{
    bool blank = byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
    if (scan->place == WITHIN)
        AWQ__CHECK(pass_element(scan, byte, at));
    else if (scan->place == BEFORE && byte == '[')
        scan->place = FIRST;
    else if (scan->place == FIRST && byte == ']')
        scan->place = BEHIND;
    else if ((scan->place == FIRST || scan->place == NEXT) && !blank) {
        scan->place = WITHIN;
        scan->begin = at;
        scan->first_line = scan->line;
        AWQ__CHECK(pass_element(scan, byte, at));
    } else if (!blank)
        return wrong(scan, scan->place == BEFORE ? "no array begins here" : "text after the array");
    scan->line += byte == '\n';
    return AWQ_OK;
}

awq_status awq__scan_array(awq_context *ctx, const awq__file *file, int fd, awq__element_fn see,
                           void *user)
{
    size_t size = (size_t)file->size;
    array_scan scan = {.ctx = ctx, .path = file->path, .see = see, .user = user, .line = 1};
    char *block = awq__alloc(ctx, SCAN_BYTES, 1, "elements of a corpus");
    awq_status status;
    AWQ__TRY_ALLOC(block);
    for (size_t first = 0; first < size; first += SCAN_BYTES) {
        size_t bytes = size - first < SCAN_BYTES ? size - first : SCAN_BYTES;
        AWQ__TRY(awq__read_at(ctx, file->path, fd, first, bytes, block));
        for (size_t i = 0; i < bytes; i++)
            AWQ__TRY(pass_byte(&scan, block[i], first + i));
    }
    if (scan.place != BEHIND)
        AWQ__TRY(wrong(&scan, "the array does not end"));
done:
    awq__free(block);
    return status;
}
