/* A struct that ends in the middle of a pointer. */
#include "plugin.h"

static const char *const model_types[] = {"loader_test", NULL};

const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = offsetof(awq_plugin, route) + 4,
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "half_member",
    .version = "1",
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
};
