/* A tool of somebody else's: sees the installed headers and library, and lists the plugins. */
#include <awq/awq.h>

#include <stdio.h>
#include <string.h>

static int list_plugins(awq_context *ctx)
{
    awq_plugin_list *list = NULL;
    if (awq_context_add_plugin_path(ctx, PLUGIN_DIR) != AWQ_OK ||
        awq_plugin_list_create(ctx, &list) != AWQ_OK) {
        fprintf(stderr, "consumer: %s\n", awq_context_message(ctx));
        return 1;
    }
    int found = 0;
    for (size_t i = 0; i < awq_plugin_list_count(list); i++) {
        const awq_plugin_info *plugin = awq_plugin_list_at(list, i);
        printf("%s: %s%s\n", plugin->path, plugin->id, plugin->error);
        found |= strcmp(plugin->id, "mixtral") == 0;
    }
    awq_plugin_list_free(list);
    if (!found)
        fprintf(stderr, "consumer: no plugin \"mixtral\" in %s\n", PLUGIN_DIR);
    return !found;
}

int main(void)
{
    if (strcmp(awq_version(), AWQ_VERSION_STRING) != 0) {
        fprintf(stderr, "consumer: header %s, library %s\n", AWQ_VERSION_STRING, awq_version());
        return 1;
    }
    awq_context *ctx = NULL;
    if (awq_context_create(&ctx) != AWQ_OK)
        return 1;
    int status = list_plugins(ctx);
    awq_context_free(ctx);
    return status;
}
