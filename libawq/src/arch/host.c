/* What a plugin may ask of config.json and the checkpoint. */
#include "arch/arch.h"
#include "arch/rope.h"

#include <stdlib.h>
#include <string.h>

static const awq__host *self(const awq_host *host)
{
    return host->handle;
}

/* Follows "a.b.3"; a number indexes an array. A JSON null counts as absent. */
static const cJSON *at(const awq__host *host, const char *path)
{
    char step[128];
    const cJSON *item = host->config;
    while (item && *path) {
        size_t length = strcspn(path, ".");
        if (length >= sizeof step)
            return NULL;
        memcpy(step, path, length);
        step[length] = 0;
        char *end;
        long index = strtol(step, &end, 10);
        if (cJSON_IsArray(item))
            item = *step && !*end && index >= 0 && index <= 1 << 20
                       ? cJSON_GetArrayItem(item, (int)index)
                       : NULL;
        else
            item = cJSON_GetObjectItemCaseSensitive(item, step);
        path += length + (path[length] == '.');
    }
    return item && !cJSON_IsNull(item) ? item : NULL;
}

static awq_status missing(const awq__host *host, const char *key)
{
    return awq__fail(host->ctx, AWQ_ERROR_FORMAT, "%s: \"%s\" is missing", host->file, key);
}

static awq_status mistyped(const awq__host *host, const char *key, const char *expected)
{
    return awq__fail(host->ctx, AWQ_ERROR_FORMAT, "%s: \"%s\" is not %s", host->file, key,
                     expected);
}

static awq_status config_int(const awq_host *table, const char *key, const int64_t *fallback,
                             int64_t *value)
{
    const awq__host *host = self(table);
    const cJSON *item = at(host, key);
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
    const awq__host *host = self(table);
    const cJSON *item = at(host, key);
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
    const awq__host *host = self(table);
    const cJSON *item = at(host, key);
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
    const awq__host *host = self(table);
    const cJSON *item = at(host, key);
    if (!item && !fallback)
        return missing(host, key);
    if (item && !cJSON_IsString(item))
        return mistyped(host, key, "a text");
    *value = item ? item->valuestring : *fallback;
    return AWQ_OK;
}

static int has_tensor(const awq_host *table, const char *name)
{
    const awq__checkpoint *checkpoint = self(table)->checkpoint;
    return checkpoint && awq__checkpoint_find(checkpoint, name);
}

static awq_status fail(const awq_host *table, const char *text)
{
    const awq__host *host = self(table);
    return awq__fail(host->ctx, AWQ_ERROR_UNSUPPORTED, "%s: %s", host->file, text);
}

void awq__host_init(awq__host *host, awq_context *ctx, const char *file, const cJSON *config,
                    const awq__checkpoint *checkpoint)
{
    *host = (awq__host){.ctx = ctx, .file = file, .config = config, .checkpoint = checkpoint};
    host->table = (awq_host){.struct_size = sizeof host->table,
                             .abi_minor = AWQ_PLUGIN_ABI_MINOR,
                             .handle = host,
                             .config_int = config_int,
                             .config_number = config_number,
                             .config_bool = config_bool,
                             .config_string = config_string,
                             .config_rope = awq__config_rope,
                             .has_tensor = has_tensor,
                             .fail = fail};
}
