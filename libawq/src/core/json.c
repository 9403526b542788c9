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

/* ---- changing one member of a text ---- */

/* Past the value, string or member name that begins at `at`; brackets with all that is in them. */
static const char *skip_value(const char *at)
{
    int depth = 0;
    do {
        if (*at == '"')
            for (at++; *at != '"'; at++)
                at += *at == '\\';
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        at++;
    } while (depth || !strchr(",:}] \t\r\n", *at));
    return at;
}

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* The value of an object's member. *end: of the last member, or of the opening bracket. */
static const char *find_member(const char *text, const char *key, const char **end)
{
    size_t length = strlen(key);
    const char *at = skip_space(text) + 1;
    *end = at;
    for (at = skip_space(at); *at == '"'; at = skip_space(at)) {
        const char *name = at + 1, *name_end = skip_value(at);
        const char *value = skip_space(skip_space(name_end) + 1);
        if ((size_t)(name_end - 1 - name) == length && !memcmp(name, key, length))
            return value;
        *end = skip_value(value);
        at = skip_space(*end);
        at += *at == ',';
    }
    return NULL;
}

awq_status awq__json_set_member(awq_context *ctx, const char *name, const char *text,
                                const char *key, const char *value, awq__text *out)
{
    const char *end, *old = find_member(text, key, &end), *rest = old ? skip_value(old) : end;
    bool first = !old && end == skip_space(text) + 1;
    awq_status status = awq__text_append_bytes(ctx, out, text, (size_t)((old ? old : end) - text));
    if (status == AWQ_OK && !old)
        status = awq__text_append(ctx, out, "%s\n  \"%s\": ", first ? "" : ",", key);
    if (status == AWQ_OK)
        status = awq__text_append(ctx, out, "%s%s", value, rest);
    cJSON *root = NULL;
    if (status == AWQ_OK)
        status = awq__json_parse(ctx, name, out->data, out->length, &root);
    cJSON_Delete(root);
    return status;
}

bool awq__json_is_text(const cJSON *item, const char *text)
{
    return cJSON_IsString(item) && !strcmp(item->valuestring, text);
}
