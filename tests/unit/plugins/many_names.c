/* One other name more than there may be. */
#include "plugin.h"

static const char *const model_types[] = {"loader_test", NULL};

static const awq_other_name other_names[] = {
    {".a.", ".1."}, {".b.", ".2."}, {".c.", ".3."}, {".d.", ".4."}, {".e.", ".5."},
    {".f.", ".6."}, {".g.", ".7."}, {".h.", ".8."}, {".i.", ".9."}, {NULL, NULL}};

const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "many_names",
    .version = "1",
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_layer,
    .other_names = other_names,
};
