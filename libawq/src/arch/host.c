/* What a plugin may ask of config.json and the checkpoint. */
#include "arch/arch.h"
#include "arch/rope.h"

#include <stdlib.h>
#include <string.h>

static awq__host *self(const awq_host *host)
{
    return (awq__host *)(uintptr_t)host->handle;
}

/* A value stands where "a.b" needs a list or an object. `length` is that of "a" in the key. */
static awq_status in_the_way(const awq__host *host, const char *key, size_t length,
                             const char *expected)
{
    return awq__fail(host->ctx, AWQ_ERROR_FORMAT, "%s: \"%.*s\" is not %s", host->file, (int)length,
                     key, expected);
}

/* One step of a path: a member, or by a number an element. */
static awq_status step_into(const awq__host *host, const char *key, const char *step,
                            const cJSON **item)
{
    size_t before = (size_t)(step - key), length = strcspn(step, ".");
    char name[128];
    bool number = length && strspn(step, "0123456789") >= length;
    const cJSON *parent = *item;
    *item = NULL;
    if (length >= sizeof name)
        return AWQ_OK;
    memcpy(name, step, length);
    name[length] = 0;
    if (cJSON_IsArray(parent) && number)
        *item = length < 8 ? cJSON_GetArrayItem(parent, (int)strtol(name, NULL, 10)) : NULL;
    else if (cJSON_IsObject(parent))
        *item = cJSON_GetObjectItemCaseSensitive(parent, name);
    bool fits = number ? cJSON_IsArray(parent) || *item : cJSON_IsObject(parent);
    return fits || !before ? AWQ_OK
                           : in_the_way(host, key, before - 1, number ? "a list" : "an object");
}

/* Follows "a.b.3"; a number indexes an array. A JSON null counts as absent: *found is NULL. */
static awq_status find_in(awq__host *host, const cJSON *config, const char *key,
                          const cJSON **found)
{
    const cJSON *item = config;
    for (const char *step = key; item && *step;) {
        AWQ__CHECK(step_into(host, key, step, &item));
        if (step == key)
            awq__host_note(host, key, item != NULL);
        step += strcspn(step, ".");
        step += *step == '.';
        if (cJSON_IsNull(item))
            item = NULL;
    }
    *found = item;
    return AWQ_OK;
}

/* In the text model's part of config.json first. */
static awq_status find(awq__host *host, const char *key, const cJSON **found)
{
    AWQ__CHECK(find_in(host, host->config, key, found));
    if (*found || host->config == host->whole_config)
        return AWQ_OK;
    return find_in(host, host->whole_config, key, found);
}

static awq_status missing(const awq__host *host, const char *key)
{
    const char *other = awq__host_similar(host, key);
    return awq__fail(host->ctx, AWQ_ERROR_FORMAT, "%s: \"%s\" is missing%s%s%s", host->file, key,
                     other ? "; is \"" : "", other ? other : "", other ? "\" meant for it?" : "");
}

static awq_status mistyped(const awq__host *host, const char *key, const char *expected)
{
    return awq__fail(host->ctx, AWQ_ERROR_FORMAT, "%s: \"%s\" is not %s", host->file, key,
                     expected);
}

static awq_status config_int(const awq_host *table, const char *key, const int64_t *fallback,
                             int64_t *value)
{
    awq__host *host = self(table);
    const cJSON *item;
    AWQ__CHECK(find(host, key, &item));
    if (!item && !fallback)
        return missing(host, key);
    if (!item)
        *value = *fallback;
    else if (!awq__json_int(item, value))
        return mistyped(host, key, "an integer");
    return AWQ_OK;
}

static awq_status config_number(const awq_host *table, const char *key, const double *fallback,
                                double *value)
{
    awq__host *host = self(table);
    const cJSON *item;
    AWQ__CHECK(find(host, key, &item));
    if (!item && !fallback)
        return missing(host, key);
    if (item && !cJSON_IsNumber(item))
        return mistyped(host, key, "a number");
    *value = item ? item->valuedouble : *fallback;
    return AWQ_OK;
}

static awq_status config_bool(const awq_host *table, const char *key, const int *fallback,
                              int *value)
{
    awq__host *host = self(table);
    const cJSON *item;
    AWQ__CHECK(find(host, key, &item));
    if (!item && !fallback)
        return missing(host, key);
    if (item && !cJSON_IsBool(item))
        return mistyped(host, key, "true or false");
    *value = item ? cJSON_IsTrue(item) : *fallback;
    return AWQ_OK;
}

static awq_status config_string(const awq_host *table, const char *key, const char *const *fallback,
                                const char **value)
{
    awq__host *host = self(table);
    const cJSON *item;
    AWQ__CHECK(find(host, key, &item));
    if (!item && !fallback)
        return missing(host, key);
    if (item && !cJSON_IsString(item))
        return mistyped(host, key, "a text");
    *value = item ? item->valuestring : *fallback;
    return AWQ_OK;
}

/* By the name that is described, or the one that the checkpoint has instead. */
static const awq__tensor *find_tensor(const awq__host *host, const char *name)
{
    char stored[2 * AWQ_NAME_BYTES];
    const awq__tensor *tensor =
        host->checkpoint ? awq__checkpoint_find(host->checkpoint, name) : NULL;
    if (tensor || !host->checkpoint || !host->wrapped ||
        !awq__wrapped_name(host->wrapped, name, stored, sizeof stored))
        return tensor;
    return awq__checkpoint_find(host->checkpoint, stored);
}

static int has_tensor(const awq_host *table, const char *name)
{
    return find_tensor(self(table), name) != NULL;
}

static int64_t tensor_size(const awq_host *table, const char *name, int axis)
{
    const awq__tensor *tensor = find_tensor(self(table), name);
    return tensor && axis >= 0 && axis < tensor->rank ? tensor->shape[axis] : 0;
}

static awq_status fail(const awq_host *table, const char *text)
{
    const awq__host *host = self(table);
    return awq__fail(host->ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s", host->file, text);
}

void awq__host_init(awq__host *host, awq_context *ctx, const char *file, const cJSON *config,
                    const awq__checkpoint *checkpoint)
{
    *host = (awq__host){.ctx = ctx,
                        .file = file,
                        .config = config,
                        .whole_config = config,
                        .checkpoint = checkpoint};
    host->table = (awq_host){.struct_size = sizeof host->table,
                             .abi_minor = AWQ_PLUGIN_ABI_MINOR,
                             .handle = host,
                             .config_int = config_int,
                             .config_number = config_number,
                             .config_bool = config_bool,
                             .config_string = config_string,
                             .config_rope = awq__config_rope,
                             .has_tensor = has_tensor,
                             .fail = fail,
                             .config_rope_at = awq__config_rope_at,
                             .tensor_size = tensor_size};
}
