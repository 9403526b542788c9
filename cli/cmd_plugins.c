/* awqc plugins: which architectures there are. */
#include "cli.h"

#include <stdio.h>

static int run(awq_context *ctx, const cli_arguments *arguments)
{
    (void)arguments;
    awq_plugin_list *list;
    awq_status status = awq_plugin_list_create(ctx, &list);
    if (status != AWQ_OK)
        return report_failure(ctx, status);
    cli_table table = {.column_count = 4, .titles = {"id", "version", "model types", "file"}};
    for (size_t i = 0; i < awq_plugin_list_count(list); i++) {
        const awq_plugin_info *plugin = awq_plugin_list_at(list, i);
        if (plugin->error[0])
            continue;
        table_add(&table, "%s", plugin->id);
        table_add(&table, "%s", plugin->version);
        table_add(&table, "%s", plugin->model_types);
        table_add(&table, "%s", plugin->path);
    }
    table_print(&table);
    for (size_t i = 0; i < awq_plugin_list_count(list); i++) {
        const awq_plugin_info *plugin = awq_plugin_list_at(list, i);
        if (plugin->error[0])
            print_field("refused", "%s: %s", plugin->path, plugin->error);
    }
    awq_plugin_list_free(list);
    return DONE;
}

const cli_command command_plugins = {
    "plugins",
    NULL,
    "List the architecture plugins that were found.",
    "Plugins are files awq-arch-*.so. They are searched in the paths of --plugin-path, then "
    "in those of AWQ_PLUGIN_PATH (separated by colons), then in the directory installed "
    "with awqc. Files that were refused are listed with the reason.",
    NULL,
    0,
    run,
    false,
};
