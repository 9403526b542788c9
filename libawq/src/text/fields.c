/* Members of the objects in tokenizer.json. */
#include "text/text_internal.h"

#include <string.h>

static bool among(const char *name, const char *allowed)
{
    size_t length = strlen(name);
    for (const char *word = allowed; *word;) {
        size_t word_length = strcspn(word, " ");
        if (word_length == length && !memcmp(word, name, length))
            return true;
        word += word_length + (word[word_length] == ' ');
    }
    return false;
}

awq_status awq__field_names(const awq__source *source, const cJSON *object, const char *what,
                            const char *allowed)
{
    if (!cJSON_IsObject(object))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: %s is not an object", source->file,
                         what);
    for (const cJSON *child = object->child; child; child = child->next)
        if (!among(child->string, allowed))
            return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: %s has the member \"%s\", known are: %s", source->file, what,
                             child->string, allowed);
    return AWQ_OK;
}

const cJSON *awq__field(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(item) ? NULL : item;
}

static awq_status wrong(const awq__source *source, const char *what, const char *name,
                        const cJSON *item, const char *expected)
{
    return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: %s: \"%s\" is %s, expected %s",
                     source->file, what, name, item ? "of another type" : "missing", expected);
}

awq_status awq__field_bool(const awq__source *source, const cJSON *object, const char *what,
                           const char *name, int fallback, bool *out)
{
    const cJSON *item = awq__field(object, name);
    if (item ? !cJSON_IsBool(item) : fallback < 0)
        return wrong(source, what, name, item, "true or false");
    *out = item ? cJSON_IsTrue(item) : fallback;
    return AWQ_OK;
}

awq_status awq__field_string(const awq__source *source, const cJSON *object, const char *what,
                             const char *name, bool optional, const char **out)
{
    const cJSON *item = awq__field(object, name);
    *out = NULL;
    if (item ? !cJSON_IsString(item) : !optional)
        return wrong(source, what, name, item, "a string");
    if (item)
        *out = item->valuestring;
    return AWQ_OK;
}

awq_status awq__field_id(const awq__source *source, const cJSON *item, const char *what,
                         int32_t *out)
{
    int64_t id;
    if (!awq__json_int(item, &id) || id < 0 || id >= INT32_MAX)
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: the id of %s is not a whole number from 0 to %d", source->file, what,
                         INT32_MAX - 1);
    *out = (int32_t)id;
    return AWQ_OK;
}

awq_status awq__field_type(const awq__source *source, const cJSON *object, const char *what,
                           const char **out)
{
    if (!cJSON_IsObject(object))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: %s is not an object", source->file,
                         what);
    return awq__field_string(source, object, what, "type", false, out);
}
