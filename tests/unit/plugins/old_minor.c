/* Mixtral by a plugin whose struct ends before the optional members: what lies after it is not
   the library's to read. */
#define awq_plugin_v1 first_plugin
#include "../../../plugins/mixtral/mixtral.c"
#undef awq_plugin_v1

static void route_wrongly(int64_t layer, const float *logits, int64_t tokens, int64_t experts,
                          int64_t per_token, int32_t *index, float *weight)
{
    (void)layer;
    (void)logits;
    (void)weight;
    for (int64_t i = 0; i < tokens * per_token; i++)
        index[i] = (int32_t)experts;
}

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = offsetof(awq_plugin, route),
    .abi_minor = 0,
    .id = "old-minor",
    .version = "0.1",
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
    .route = route_wrongly,
};
