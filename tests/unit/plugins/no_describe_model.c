/* No describe_model. */
#include "plugin.h"

static const char *const model_types[] = {"loader_test", NULL};

const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "no_describe_model",
    .version = "1",
    .model_types = model_types,
    .describe_model = NULL,
    .describe_layer = describe_layer,
};
