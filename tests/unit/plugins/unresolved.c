/* Needs a function that nobody has: refused when it is loaded, not when it is called. */
#include "plugin.h"

extern awq_status function_that_nobody_has(const awq_host *host, awq_arch_model *model);

static awq_status call_nobody(const awq_host *host, awq_arch_model *model)
{
    return function_that_nobody_has(host, model);
}

static const char *const model_types[] = {"loader_test", NULL};

const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "unresolved",
    .version = "1",
    .model_types = model_types,
    .describe_model = call_nobody,
    .describe_layer = describe_layer,
};
