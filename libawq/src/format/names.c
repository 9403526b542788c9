/* Lists of names in a quantization_config. */
#include "format/format.h"

void awq__name_list_free(char **list, size_t count)
{
    for (size_t i = 0; list && i < count; i++)
        awq__free(list[i]);
    awq__free(list);
}

awq_status awq__config_names(awq_context *ctx, cJSON *config, const char *key, char **list,
                             size_t count)
{
    cJSON *array = cJSON_AddArrayToObject(config, key);
    bool whole = array != NULL;
    for (size_t i = 0; i < count && whole; i++) {
        cJSON *name = cJSON_CreateString(list[i]);
        whole = name && cJSON_AddItemToArray(array, name);
    }
    awq__name_list_free(list, count);
    return whole ? AWQ_OK : awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: quantization_config");
}
