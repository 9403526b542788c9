/* A second plugin for model_type "mixtral", under another id. */
#define awq_plugin_v1 first_plugin
#include "../../../plugins/mixtral/mixtral.c"
#undef awq_plugin_v1

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "second-mixtral_2",
    .version = "2.5",
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
};
