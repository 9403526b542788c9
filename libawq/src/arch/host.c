/* What a plugin may ask of config.json and the checkpoint. */
#include "arch/arch.h"

#include <math.h>
#include <stdio.h>
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

/* The rope type under the names it has had; "default" where nothing is said. */
static awq_status rope_type(const awq_host *table, const char *scaling, const char **type)
{
    char key[64];
    const char *fallback = "default";
    const char *names[] = {"type", "rope_type"};
    for (int i = 0; i < 2; i++) {
        snprintf(key, sizeof key, "%s.%s", scaling, names[i]);
        awq_status status = config_string(table, key, &fallback, type);
        if (status != AWQ_OK)
            return status;
        fallback = *type;
    }
    return AWQ_OK;
}

/* Newer files may have an object for each kind of layer; read as one they would give defaults. */
static awq_status refuse_nested_rope(const awq__host *host)
{
    const cJSON *item = NULL, *parameters = at(host, "rope_parameters");
    cJSON_ArrayForEach(item, parameters)
    {
        if (cJSON_IsObject(item))
            return awq__fail(host->ctx, AWQ_ERROR_UNSUPPORTED,
                             "%s: rope_parameters has an object \"%s\", expected one set of "
                             "parameters for all layers",
                             host->file, item->string ? item->string : "");
    }
    return AWQ_OK;
}

static awq_status config_rope(const awq_host *table, int64_t head_dim, awq_rope *rope)
{
    const awq__host *host = self(table);
    *rope = (awq_rope){0};
    if (head_dim < 2 || head_dim % 2 || head_dim / 2 > AWQ_ROPE_MAX_PAIRS)
        return awq__fail(host->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: a head dimension of %lld, expected an even number up to %d",
                         host->file, (long long)head_dim, 2 * AWQ_ROPE_MAX_PAIRS);
    const double default_theta = 10000;
    double outer_theta, theta, factor = 1;
    const char *type = NULL;
    const char *scaling = at(host, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    const char *factor_key =
        at(host, "rope_parameters") ? "rope_parameters.factor" : "rope_scaling.factor";
    awq_status status = refuse_nested_rope(host);
    if (status == AWQ_OK)
        status = config_number(table, "rope_theta", &default_theta, &outer_theta);
    if (status == AWQ_OK)
        status = config_number(table, "rope_parameters.rope_theta", &outer_theta, &theta);
    if (status == AWQ_OK)
        status = rope_type(table, scaling, &type);
    if (status == AWQ_OK && !strcmp(type, "linear"))
        status = config_number(table, factor_key, NULL, &factor);
    else if (status == AWQ_OK && strcmp(type, "default"))
        status = awq__fail(host->ctx, AWQ_ERROR_UNSUPPORTED,
                           "%s: rope type \"%s\", expected default or linear", host->file, type);
    if (status != AWQ_OK)
        return status;
    if (!(theta > 0 && theta < INFINITY && factor > 0 && factor < INFINITY))
        return awq__fail(host->ctx, AWQ_ERROR_FORMAT,
                         "%s: rope_theta %g and factor %g must be positive", host->file, theta,
                         factor);
    rope->pairs = head_dim / 2;
    rope->attention_factor = 1;
    for (int64_t i = 0; i < rope->pairs; i++)
        rope->inverse_frequency[i] = pow(theta, -2.0 * (double)i / (double)head_dim) / factor;
    return AWQ_OK;
}

static int has_tensor(const awq_host *table, const char *name)
{
    return awq__checkpoint_find(self(table)->checkpoint, name) != NULL;
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
                             .config_rope = config_rope,
                             .has_tensor = has_tensor,
                             .fail = fail};
}
