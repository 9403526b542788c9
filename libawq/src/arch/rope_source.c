/* Where config.json has the parameters of a rotary embedding. */
#include "arch/rope.h"

#include <math.h>
#include <stdio.h>

awq__rope_key awq__rope_key_of(const awq__rope_source *from, const char *member)
{
    awq__rope_key key;
    snprintf(key.text, sizeof key.text, "%s.%s", from->object, member);
    return key;
}

awq_status awq__rope_number(const awq__rope_source *from, const char *member,
                            const double *fallback, double *value)
{
    awq__rope_key key = awq__rope_key_of(from, member);
    return from->table->config_number(from->table, key.text, fallback, value);
}

awq_status awq__rope_positions(const awq__rope_source *from, double *positions)
{
    static const char key[] = "original_max_position_embeddings";
    const awq_host *table = from->table;
    const double absent = NAN;
    AWQ__CHECK(table->config_number(table, key, &absent, positions));
    if (isnan(*positions))
        AWQ__CHECK(awq__rope_number(from, key, &absent, positions));
    if (isnan(*positions))
        AWQ__CHECK(table->config_number(table, "max_position_embeddings", NULL, positions));
    return AWQ_OK;
}

/* Newer files have rope_parameters, older ones rope_scaling. If both are there, rope_scaling
   replaces rope_parameters as a whole, as in transformers. */
awq_status awq__rope_find(awq__rope_source *from)
{
    const awq__host *host = from->host;
    const char *names[] = {"rope_parameters", "rope_scaling"};
    from->object = names[0];
    for (int i = 0; i < 2; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(host->config, names[i]);
        if (!item || cJSON_IsNull(item))
            continue;
        if (!cJSON_IsObject(item))
            return awq__fail(host->ctx, AWQ_ERROR_FORMAT, "%s: \"%s\" is not an object", host->file,
                             names[i]);
        if (!item->child)
            continue;
        from->object = names[i];
        from->count++;
    }
    return AWQ_OK;
}
