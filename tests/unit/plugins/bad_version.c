/* A version that is not UTF-8. */
#include "plugin.h"

static const char *const model_types[] = {"loader_test", NULL};

const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "bad_version",
    .version = "1.0\xff",
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
};
