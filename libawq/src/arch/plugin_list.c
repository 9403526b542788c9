/* The public list of plugins. */
#include "arch/arch.h"

struct awq_plugin_list {
    awq__plugins plugins;
    awq_plugin_info *infos;
};

static awq_status describe(awq_context *ctx, const awq__plugin *plugin, awq_plugin_info *info)
{
    *info = (awq_plugin_info){.path = plugin->path,
                              .id = plugin->error ? "" : plugin->table.id,
                              .version = plugin->error ? "" : plugin->table.version,
                              .model_types = NULL,
                              .error = plugin->error ? plugin->error : ""};
    awq__text types = {0};
    awq_status status;
    AWQ__TRY(awq__text_append(ctx, &types, "%s", ""));
    if (!plugin->error)
        for (const char *const *type = plugin->table.model_types; *type; type++)
            AWQ__TRY(awq__text_append(ctx, &types, "%s%s", types.length ? "," : "", *type));
done:
    info->model_types = types.data;
    return status;
}

awq_status awq_plugin_list_create(awq_context *ctx, awq_plugin_list **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_plugin_list_create", (awq__argument[]){{"out", out}, {0}}));
    awq_plugin_list *list = awq__alloc(ctx, 1, sizeof *list, "the plugin list");
    AWQ__CHECK_ALLOC(list);
    awq_status status;
    AWQ__TRY(awq__plugins_load(ctx, &list->plugins));
    list->infos = awq__alloc(ctx, list->plugins.count, sizeof *list->infos, "the plugin list");
    AWQ__TRY_ALLOC(list->infos);
    for (size_t i = 0; i < list->plugins.count; i++)
        AWQ__TRY(describe(ctx, &list->plugins.items[i], &list->infos[i]));
    *out = list;
done:
    if (status != AWQ_OK)
        awq_plugin_list_free(list);
    return awq__leave(ctx, status);
}

void awq_plugin_list_free(awq_plugin_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; list->infos && i < list->plugins.count; i++)
        awq__free((char *)(uintptr_t)list->infos[i].model_types);
    awq__free(list->infos);
    awq__plugins_free(&list->plugins);
    awq__free(list);
}

size_t awq_plugin_list_count(const awq_plugin_list *list)
{
    return list ? list->plugins.count : 0;
}

const awq_plugin_info *awq_plugin_list_at(const awq_plugin_list *list, size_t index)
{
    return list && index < list->plugins.count ? &list->infos[index] : NULL;
}
