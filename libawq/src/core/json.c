#include "core/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NESTING 100
#define MAX_FILE_BYTES ((size_t)256 << 20)

/* Line and column, from 1, of `at` in text. */
static void locate(const char *text, const char *at, size_t *line, size_t *column)
{
    *line = 1;
    *column = 1;
    for (const char *c = text; c < at; c++) {
        ++*column;
        if (*c == '\n') {
            ++*line;
            *column = 1;
        }
    }
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Refuses an object that says a key twice, here or deeper, and nesting past the limit. */
static awq_status check(awq_context *ctx, const char *name, const cJSON *item, int depth)
{
    if (depth > MAX_NESTING)
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s: nested more than %d deep", name, MAX_NESTING);
    size_t count = 0;
    for (const cJSON *child = item->child; child; child = child->next) {
        count++;
        bool container = cJSON_IsObject(child) || cJSON_IsArray(child);
        awq_status status = container ? check(ctx, name, child, depth + 1) : AWQ_OK;
        if (status != AWQ_OK)
            return status;
    }
    if (!cJSON_IsObject(item) || count < 2)
        return AWQ_OK;
    const char **keys = awq__alloc(ctx, count, sizeof *keys, "JSON keys");
    if (!keys)
        return AWQ_ERROR_MEMORY;
    count = 0;
    for (const cJSON *child = item->child; child; child = child->next)
        keys[count++] = child->string;
    qsort(keys, count, sizeof *keys, compare_keys);
    awq_status status = AWQ_OK;
    for (size_t i = 1; i < count && status == AWQ_OK; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            status = awq__fail(ctx, AWQ_ERROR_FORMAT,
                               "%s: the key \"%s\" stands twice in one object", name, keys[i]);
    awq__free(keys);
    return status;
}

awq_status awq__json_parse(awq_context *ctx, const char *name, const char *text, size_t bytes,
                           cJSON **root)
{
    const char *end = NULL;
    *root = cJSON_ParseWithLengthOpts(text, bytes, &end, false);
    const char *stop = text + bytes;
    if (*root && end)
        while (end < stop && strchr(" \t\r\n", *end) && *end)
            end++;
    if (!*root || end != stop) {
        size_t line, column;
        locate(text, end && end >= text && end <= stop ? end : text, &line, &column);
        const char *problem = *root ? "text after the JSON value" : "not valid JSON";
        cJSON_Delete(*root);
        *root = NULL;
        return awq__fail(ctx, AWQ_ERROR_FORMAT, "%s:%zu:%zu: %s", name, line, column, problem);
    }
    awq_status status = check(ctx, name, *root, 1);
    if (status != AWQ_OK) {
        cJSON_Delete(*root);
        *root = NULL;
    }
    return status;
}

awq_status awq__json_read(awq_context *ctx, const char *path, cJSON **root)
{
    *root = NULL;
    char *text;
    size_t bytes;
    awq_status status = awq__read_text_file(ctx, path, MAX_FILE_BYTES, &text, &bytes);
    if (status != AWQ_OK)
        return status;
    status = awq__json_parse(ctx, path, text, bytes, root);
    awq__free(text);
    return status;
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
