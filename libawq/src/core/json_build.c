/* Building JSON of which nothing is missing: a failed allocation is remembered. */
#include "core/json.h"

/* Into nothing, because there was no memory for it, nothing is added. */
cJSON *awq__json_add_item(awq__json_builder *builder, cJSON *parent, const char *key, cJSON *item)
{
    bool added =
        item && parent &&
        (key ? cJSON_AddItemToObject(parent, key, item) : cJSON_AddItemToArray(parent, item));
    if (added)
        return item;
    cJSON_Delete(item);
    builder->failed = true;
    return NULL;
}

cJSON *awq__json_root(awq__json_builder *builder)
{
    cJSON *root = cJSON_CreateObject();
    builder->failed |= !root;
    return root;
}

cJSON *awq__json_add_object(awq__json_builder *builder, cJSON *parent, const char *key)
{
    return awq__json_add_item(builder, parent, key, cJSON_CreateObject());
}

cJSON *awq__json_add_array(awq__json_builder *builder, cJSON *parent, const char *key)
{
    return awq__json_add_item(builder, parent, key, cJSON_CreateArray());
}

void awq__json_add_number(awq__json_builder *builder, cJSON *parent, const char *key, double number)
{
    awq__json_add_item(builder, parent, key, cJSON_CreateNumber(number));
}

void awq__json_add_bool(awq__json_builder *builder, cJSON *parent, const char *key, bool truth)
{
    awq__json_add_item(builder, parent, key, cJSON_CreateBool(truth));
}

void awq__json_add_text(awq__json_builder *builder, cJSON *parent, const char *key,
                        const char *text)
{
    awq__json_add_item(builder, parent, key, cJSON_CreateString(text));
}

/* cJSON's own function loses the reference where there is no memory for its key. */
static cJSON *refer_to(const cJSON *item)
{
    return cJSON_IsString(item)   ? cJSON_CreateStringReference(item->valuestring)
           : cJSON_IsObject(item) ? cJSON_CreateObjectReference(item->child)
           : cJSON_IsArray(item)  ? cJSON_CreateArrayReference(item->child)
                                  : NULL;
}

void awq__json_add_reference(awq__json_builder *builder, cJSON *parent, const char *key,
                             const cJSON *item)
{
    awq__json_add_item(builder, parent, key, refer_to(item));
}

awq_status awq__json_built(awq_context *ctx, const awq__json_builder *builder, const char *what)
{
    return builder->failed ? awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: %s", what) : AWQ_OK;
}

awq_status awq__json_print(awq_context *ctx, const cJSON *item, const char *what, awq__text *out)
{
    char *printed = item ? cJSON_Print(item) : NULL;
    awq_status status = printed ? awq__text_append(ctx, out, "%s", printed)
                                : awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: %s", what);
    cJSON_free(printed);
    return status;
}
