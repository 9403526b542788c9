#include "core/json.h"
#include "core/json_scan.h"
#include "core/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)256 << 20)

/* ---- the strict pass ---- */

/* Line and column, from 1, of `at` in text; a column is a character. */
static void locate(const char *text, const char *at, size_t *line, size_t *column)
{
    *line = 1;
    *column = 1;
    for (const char *c = text; c < at; c++) {
        *column += (*c & 0xC0) != 0x80;
        if (*c == '\n') {
            ++*line;
            *column = 1;
        }
    }
}

/* What stands at a place, in words. */
static void describe(const awq__json_scan *scan, char *out, size_t bytes)
{
    size_t left = (size_t)(scan->end - scan->at), length = 0;
    if (left && (unsigned char)*scan->at >= 0x20 && *scan->at != 0x7f)
        length = awq__utf8_valid(scan->at, 1);
    for (size_t i = 2; !length && i <= left && i <= 4 && (unsigned char)*scan->at >= 0x80; i++)
        length = awq__utf8_valid(scan->at, i);
    if (!left)
        snprintf(out, bytes, "not valid JSON: the text ends ");
    else if (length)
        snprintf(out, bytes, "not valid JSON: %.*s stands ", (int)length, scan->at);
    else
        snprintf(out, bytes, "not valid JSON: byte 0x%02X stands ", (unsigned char)*scan->at);
}

static awq_status refuse(awq_context *ctx, const awq__json_source *source, const char *text,
                         const awq__json_scan *scan)
{
    size_t line, column;
    char what[64] = "";
    locate(text, scan->at, &line, &column);
    if (scan->misplaced)
        describe(scan, what, sizeof what);
    return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s:%zu:%zu: %s%s", source->name,
                     line + source->lines_before, column, what, scan->problem);
}

/* The literals of the text, which are *count, in an array. NULL without a failure if it has none.
 */
static awq_status scan_text(awq_context *ctx, const awq__json_source *source, const char *text,
                            size_t bytes, awq__json_literal **literals, size_t *count)
{
    const awq__json_scan begin = {.at = text, .end = text + bytes, .allowed = source->allowed};
    awq__json_scan scan = begin;
    *literals = NULL;
    if (!awq__json_scan_text(&scan))
        return refuse(ctx, source, text, &scan);
    *count = scan.literal_count;
    if (!*count)
        return AWQ_OK;
    *literals = awq__alloc(ctx, *count, sizeof **literals, source->name);
    scan = begin;
    scan.literals = *literals;
    return *literals && awq__json_scan_text(&scan) ? AWQ_OK : AWQ_ERROR_MEMORY;
}

awq_status awq__json_check(awq_context *ctx, const awq__json_source *source, const char *text,
                           size_t bytes)
{
    awq__json_scan scan = {.at = text, .end = text + bytes, .allowed = source->allowed};
    return awq__json_scan_text(&scan) ? AWQ_OK : refuse(ctx, source, text, &scan);
}

/* ---- the tree ---- */

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A key that stands twice in an object, here or deeper. */
typedef struct twice {
    const cJSON *object; /* NULL: none is */
    const char *key;
} twice;

static awq_status find_twice(awq_context *ctx, const cJSON *item, twice *found)
{
    size_t count = 0;
    for (const cJSON *child = item->child; child && !found->object; child = child->next) {
        count++;
        AWQ__CHECK(find_twice(ctx, child, found));
    }
    if (found->object || !cJSON_IsObject(item) || count < 2)
        return AWQ_OK;
    const char **keys = awq__alloc(ctx, count, sizeof *keys, "JSON keys");
    AWQ__CHECK_ALLOC(keys);
    count = 0;
    for (const cJSON *child = item->child; child; child = child->next)
        keys[count++] = child->string;
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 1; i < count && !found->object; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            *found = (twice){item, keys[i]};
    awq__free(keys);
    return AWQ_OK;
}

/* Counts the keys of the tree in the order of the text, up to the second one that is meant. */
static bool count_keys(const cJSON *item, const twice *found, size_t *count)
{
    int times = 0;
    for (const cJSON *child = item->child; child; child = child->next) {
        *count += cJSON_IsObject(item);
        if (item == found->object && !strcmp(child->string, found->key) && ++times == 2)
            return true;
        if (count_keys(child, found, count))
            return true;
    }
    return false;
}

static awq_status check_keys(awq_context *ctx, const awq__json_source *source, const char *text,
                             size_t bytes, const cJSON *root)
{
    twice found = {0};
    AWQ__CHECK(find_twice(ctx, root, &found));
    if (!found.object)
        return AWQ_OK;
    awq__json_scan scan = {.at = text, .end = text + bytes, .allowed = source->allowed};
    size_t line, column;
    count_keys(root, &found, &scan.refused_key);
    awq__json_scan_text(&scan);
    locate(text, scan.at, &line, &column);
    return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s:%zu:%zu: the key \"%s\" stands twice in one object",
                     source->name, line + source->lines_before, column, found.key);
}

/* What is left of the literals, and how many numbers of the tree were passed. */
typedef struct literal_walk {
    const awq__json_literal *next, *end;
    size_t numbers;
} literal_walk;

/* Gives the numbers that stand for literals their values, in the order of the text. */
static void set_literals(cJSON *item, literal_walk *walk)
{
    if (cJSON_IsNumber(item)) {
        if (walk->next < walk->end && walk->next->number == walk->numbers)
            item->valuedouble = walk->next++->value;
        walk->numbers++;
    }
    for (cJSON *child = item->child; child; child = child->next)
        set_literals(child, walk);
}

/* cJSON knows no NaN and Infinity: it reads a copy with numbers in their place. */
static awq_status build_with_literals(awq_context *ctx, const char *name, const char *text,
                                      size_t bytes, const awq__json_literal *literals, size_t count,
                                      cJSON **root)
{
    char *copy = awq__alloc(ctx, bytes, 1, name);
    AWQ__CHECK_ALLOC(copy);
    memcpy(copy, text, bytes);
    for (size_t i = 0; i < count; i++) {
        char *at = copy + (literals[i].at - text);
        memset(at, ' ', literals[i].bytes);
        *at = '0';
    }
    *root = cJSON_ParseWithLength(copy, bytes);
    awq__free(copy);
    literal_walk walk = {literals, literals + count, 0};
    if (*root)
        set_literals(*root, &walk);
    return AWQ_OK;
}

awq_status awq__json_parse_from(awq_context *ctx, const awq__json_source *source, const char *text,
                                size_t bytes, cJSON **root)
{
    awq__json_literal *literals = NULL;
    size_t count = 0;
    *root = NULL;
    awq_status status;
    AWQ__TRY(scan_text(ctx, source, text, bytes, &literals, &count));
    if (count)
        AWQ__TRY(build_with_literals(ctx, source->name, text, bytes, literals, count, root));
    else
        *root = cJSON_ParseWithLength(text, bytes);
    /* What the strict pass lets through is JSON for cJSON too. */
    if (!*root)
        AWQ__TRY(awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: the JSON of %s", source->name));
    AWQ__TRY(check_keys(ctx, source, text, bytes, *root));
done:
    awq__free(literals);
    if (status != AWQ_OK) {
        cJSON_Delete(*root);
        *root = NULL;
    }
    return status;
}

awq_status awq__json_parse(awq_context *ctx, const char *name, const char *text, size_t bytes,
                           cJSON **root)
{
    awq__json_source source = {.name = name};
    return awq__json_parse_from(ctx, &source, text, bytes, root);
}

static awq_status read_file(awq_context *ctx, const awq__json_source *source, cJSON **root)
{
    *root = NULL;
    char *text;
    size_t bytes;
    awq_status status;
    AWQ__TRY(awq__read_text_file(ctx, source->name, MAX_FILE_BYTES, &text, &bytes));
    AWQ__TRY(awq__json_parse_from(ctx, source, text, bytes, root));
done:
    awq__free(text);
    return status;
}

awq_status awq__json_read(awq_context *ctx, const char *path, cJSON **root)
{
    return read_file(ctx, &(awq__json_source){.name = path}, root);
}

awq_status awq__json_read_python(awq_context *ctx, const char *path, cJSON **root)
{
    return read_file(ctx, &(awq__json_source){.name = path, .allowed = AWQ__JSON_LITERALS}, root);
}

const cJSON *awq__json_at(const cJSON *root, const char *path)
{
    char key[128];
    const cJSON *item = root;
    while (item && *path) {
        size_t length = strcspn(path, ".");
        if (length >= sizeof key)
            return NULL;
        memcpy(key, path, length);
        key[length] = 0;
        item = cJSON_IsObject(item) ? cJSON_GetObjectItemCaseSensitive(item, key) : NULL;
        path += length + (path[length] == '.');
    }
    return item;
}

bool awq__json_int(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item))
        return false;
    double value = item->valuedouble;
    if (!(fabs(value) <= 0x1p53) || value != floor(value))
        return false;
    *out = (int64_t)value;
    return true;
}

/* ---- changing one member of a text ---- */

/* How many members stand before the one with this key, which the text may write with escapes; all
   of them if there is none. */
static size_t count_before(const cJSON *object, const char *key)
{
    size_t count = 0;
    for (const cJSON *child = object->child; child && strcmp(child->string, key);
         child = child->next)
        count++;
    return count;
}

/* The value behind so many members of an object at the scan, which ends behind it; where there are
   no more, the scan ends behind the last one, or behind the opening bracket. The text has passed
   the strict pass. */
static const char *find_member(awq__json_scan *scan, size_t before)
{
    const char *end = ++scan->at;
    for (awq__json_skip_space(scan); *scan->at == '"'; awq__json_skip_space(scan)) {
        awq__json_skip_string(scan);
        awq__json_skip_space(scan);
        scan->at++;
        awq__json_skip_space(scan);
        const char *value = scan->at;
        awq__json_skip_value(scan, 1);
        if (!before--)
            return value;
        end = scan->at;
        awq__json_skip_space(scan);
        scan->at += *scan->at == ',';
    }
    scan->at = end;
    return NULL;
}

/* Where a member's value stands or a new member goes. */
typedef struct place {
    const char *old, *end; /* old: NULL if there is no such member */
    bool first;            /* a new one would be the only member */
} place;

/* Looks for the member. AWQ_ERROR_FORMAT if the text is no JSON or no object. */
static awq_status find_in_text(awq_context *ctx, const awq__json_source *source, const char *text,
                               size_t bytes, const char *key, place *found)
{
    cJSON *root;
    AWQ__CHECK(awq__json_parse_from(ctx, source, text, bytes, &root));
    bool is_object = cJSON_IsObject(root);
    size_t before = is_object ? count_before(root, key) : 0;
    cJSON_Delete(root);
    if (!is_object)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: not a JSON object", source->name);
    awq__json_scan scan = {.at = text, .end = text + bytes, .allowed = source->allowed};
    awq__json_skip_space(&scan);
    const char *begin = scan.at + 1;
    found->old = find_member(&scan, before);
    found->first = scan.at == begin;
    found->end = scan.at;
    return AWQ_OK;
}

awq_status awq__json_set_member(awq_context *ctx, const char *name, const char *text, size_t bytes,
                                const char *key, const char *value, awq__text *out)
{
    const awq__json_source source = {.name = name, .allowed = AWQ__JSON_LITERALS};
    place at = {0};
    cJSON *root = NULL;
    awq_status status;
    AWQ__TRY(find_in_text(ctx, &source, text, bytes, key, &at));
    AWQ__TRY(awq__text_append_bytes(ctx, out, text, (size_t)((at.old ? at.old : at.end) - text)));
    if (!at.old)
        AWQ__TRY(awq__text_append(ctx, out, "%s\n  \"%s\": ", at.first ? "" : ",", key));
    AWQ__TRY(awq__text_append(ctx, out, "%s", value));
    AWQ__TRY(awq__text_append_bytes(ctx, out, at.end, (size_t)(text + bytes - at.end)));
    AWQ__TRY(awq__json_parse_from(ctx, &source, out->data, out->length, &root));
done:
    cJSON_Delete(root);
    return status;
}

bool awq__json_is_text(const cJSON *item, const char *text)
{
    return cJSON_IsString(item) && !strcmp(item->valuestring, text);
}
