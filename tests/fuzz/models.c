/* What targets that open models share. */
#include "fuzz.h"
#include "core/json.h"

#include <math.h>

#define MOST_EXPERTS 512 /* of all layers */

const char fuzz_good_config[] =
    "{\"model_type\":\"mixtral\",\"hidden_size\":64,\"intermediate_size\":32,\"head_dim\":8,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"num_local_experts\":2,"
    "\"num_experts_per_tok\":2,\"num_hidden_layers\":1,\"vocab_size\":8}";

/* 1 if it is no number that counts. */
static double count_of(const cJSON *config, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, key);
    return cJSON_IsNumber(item) && item->valuedouble > 1 ? item->valuedouble : 1;
}

bool fuzz_is_large(const fuzz_part *config)
{
    cJSON *root = cJSON_ParseWithLength(config->data, config->size);
    double experts = count_of(root, "num_experts") * count_of(root, "num_local_experts");
    bool large = !(experts * count_of(root, "num_hidden_layers") <= MOST_EXPERTS);
    cJSON_Delete(root);
    return large;
}

static void check_module(const awq_module *module)
{
    MUST(module->name && module->name[0]);
    MUST(module->storage && module->storage[0]);
    MUST(module->rows > 0 && module->columns > 0);
    MUST(module->layer >= -1);
    MUST(isfinite(module->bits_per_weight) && module->bits_per_weight > 0);
}

void fuzz_check_model(const awq_model *model)
{
    awq_model_info info;
    uint64_t bytes = 0;
    size_t count = awq_model_module_count(model);
    MUST(count && !awq_model_module(model, count));
    for (size_t i = 0; i < count; i++) {
        check_module(awq_model_module(model, i));
        bytes += awq_model_module(model, i)->bytes;
    }
    awq_model_describe(model, &info);
    MUST(info.layer_count > 0 && info.hidden_size > 0 && info.vocabulary_size > 0);
    MUST(info.weights > 0);
    MUST(info.described ? bytes == info.bytes : bytes <= info.bytes);
}
