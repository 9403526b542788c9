/* No id. */
#include "plugin.h"

static const char *const model_types[] = {"loader_test", NULL};

const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = NULL,
    .version = "1",
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
};
