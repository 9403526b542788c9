/* Finding, loading and checking architecture plugins. All checks come before any call into one. */
#define _DEFAULT_SOURCE /* realpath */
#include "arch/arch.h"
#include "core/utf8.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_PREFIX "awq-arch-"
#define FILE_SUFFIX ".so"
/* The first version of the ABI ends before the optional members. */
#define SMALLEST_STRUCT offsetof(awq_plugin, route)

static bool plain_id(const char *id)
{
    return id && *id && !id[strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_-")];
}

/* Says why a plugin is refused, once. */
AWQ__PRINTF(3, 4)
static awq_status refuse(awq_context *ctx, awq__plugin *item, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[AWQ__REASON_BYTES];
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    awq__clean_line(text, sizeof text, length >= (int)sizeof text);
    item->error = awq__strdup(ctx, text);
    return item->error ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* Fills item->table, or says why the plugin is refused. */
static awq_status check_table(awq_context *ctx, const awq_plugin *plugin, awq__plugin *item)
{
    awq_plugin *table = &item->table;
    if (plugin->magic != AWQ_PLUGIN_MAGIC)
        return refuse(ctx, item, "wrong magic 0x%016llx, expected 0x%016llx: not a libawq plugin",
                      (unsigned long long)plugin->magic, (unsigned long long)AWQ_PLUGIN_MAGIC);
    /* A size between two members would give half a pointer. */
    if (plugin->struct_size < SMALLEST_STRUCT || plugin->struct_size % sizeof(void *))
        return refuse(ctx, item,
                      "its awq_plugin has %u bytes, expected at least %zu and a multiple of %zu",
                      (unsigned)plugin->struct_size, SMALLEST_STRUCT, sizeof(void *));
    memcpy(table, plugin,
           plugin->struct_size < sizeof *table ? plugin->struct_size : sizeof *table);
    if (!plain_id(table->id))
        return refuse(ctx, item,
                      "its id is missing or has characters other than a-z, 0-9, _ and -");
    if (!table->version || !awq__is_utf8(table->version, strlen(table->version)))
        return refuse(ctx, item, "its version is %s, expected a text in UTF-8",
                      table->version ? "not UTF-8" : "NULL"); /* results name it, in JSON */
    if (!table->model_types || !table->model_types[0])
        return refuse(ctx, item, "it serves no model_type, expected at least one");
    if (!table->describe_model || !table->describe_layer)
        return refuse(ctx, item, "describe_model or describe_layer is NULL, expected functions");
    if (awq__count_other_names(table->other_names) > AWQ__MAX_OTHER_NAMES)
        return refuse(ctx, item, "it has more than %d other_names", AWQ__MAX_OTHER_NAMES);
    return AWQ_OK;
}

static awq__plugin *add(awq_context *ctx, awq__plugins *plugins, const char *path)
{
    if (awq__grow(ctx, &plugins->items, &plugins->capacity, plugins->count + 1,
                  sizeof *plugins->items, "plugins") != AWQ_OK)
        return NULL;
    awq__plugin *item = &plugins->items[plugins->count];
    *item = (awq__plugin){.path = awq__strdup(ctx, path)};
    if (!item->path)
        return NULL;
    plugins->count++;
    return item;
}

/* No reason to refuse a plugin, which would be said to be the fault. */
static awq_status no_memory(awq_context *ctx, const char *path)
{
    return awq__fail(ctx, AWQ_ERROR_MEMORY, "out of memory: loading %s", path);
}

static awq_status load_file(awq_context *ctx, awq__plugins *plugins, const char *path)
{
    char *real = realpath(path, NULL);
    int error = real ? 0 : errno;
    if (error == ENOMEM)
        return no_memory(ctx, path);
    const char *name = real ? real : path;
    awq__plugin *item = NULL;
    bool known = false;
    for (size_t i = 0; i < plugins->count; i++)
        known |= !strcmp(plugins->items[i].path, name);
    if (!known)
        item = add(ctx, plugins, name);
    free(real);
    if (!item)
        return known ? AWQ_OK : AWQ_ERROR_MEMORY;
    if (error)
        return refuse(ctx, item, "%s", strerror(error));
    char reason[AWQ__REASON_BYTES];
    if (!awq__plugin_file_check(item->path, reason))
        return refuse(ctx, item, "%s", reason);
    errno = 0; /* dlerror does not tell a shortage of memory from a damaged file */
    item->library = dlopen(item->path, RTLD_NOW | RTLD_LOCAL);
    if (!item->library && errno == ENOMEM)
        return no_memory(ctx, path);
    if (!item->library) {
        const char *why = dlerror();
        return refuse(ctx, item, "cannot be loaded: %s", why ? why : "unknown reason");
    }
    const awq_plugin *symbol = dlsym(item->library, AWQ_PLUGIN_SYMBOL);
    return symbol ? check_table(ctx, symbol, item)
                  : refuse(ctx, item, "has no symbol " AWQ_PLUGIN_SYMBOL);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool plugin_file_name(const char *name)
{
    size_t length = strlen(name), prefix = strlen(FILE_PREFIX), suffix = strlen(FILE_SUFFIX);
    return length > prefix + suffix && !strncmp(name, FILE_PREFIX, prefix) &&
           !strcmp(name + length - suffix, FILE_SUFFIX);
}

typedef struct name_list {
    char **items;
    size_t count, capacity;
} name_list;

/* The plugins of a directory, in the order of their names: nothing depends on the order in which
   the file system lists them. */
static awq_status list_directory(awq_context *ctx, DIR *directory, const char *path,
                                 name_list *names)
{
    for (struct dirent *entry; (errno = 0, entry = readdir(directory));) {
        if (!plugin_file_name(entry->d_name))
            continue;
        AWQ__CHECK(awq__grow(ctx, &names->items, &names->capacity, names->count + 1,
                             sizeof *names->items, "plugin names"));
        char *name = awq__path_join(ctx, path, entry->d_name);
        AWQ__CHECK_ALLOC(name);
        names->items[names->count++] = name;
    }
    if (errno)
        return awq__cannot_list(ctx, path, errno);
    if (names->count)
        qsort(names->items, names->count, sizeof *names->items, compare_names);
    return AWQ_OK;
}

static awq_status load_directory(awq_context *ctx, awq__plugins *plugins, const char *path)
{
    DIR *directory = opendir(path);
    if (!directory) {
        int error = errno;
        if (error == ENOMEM)
            return no_memory(ctx, path);
        awq__plugin *item = add(ctx, plugins, path);
        return item ? refuse(ctx, item, "cannot be listed: %s", strerror(error)) : AWQ_ERROR_MEMORY;
    }
    name_list names = {0};
    awq_status status;
    AWQ__TRY(list_directory(ctx, directory, path, &names));
    for (size_t i = 0; i < names.count; i++)
        AWQ__TRY(load_file(ctx, plugins, names.items[i]));
done:
    closedir(directory);
    for (size_t i = 0; i < names.count; i++)
        awq__free(names.items[i]);
    awq__free(names.items);
    return status;
}

awq_status awq__plugins_load(awq_context *ctx, awq__plugins *plugins)
{
    *plugins = (awq__plugins){0};
    const awq__plugin_sources *sources = awq__context_plugins(ctx);
    awq_status status = AWQ_OK;
    for (size_t i = 0; i < sources->linked_count; i++) {
        awq__plugin *item = add(ctx, plugins, "(linked)");
        AWQ__TRY(item ? check_table(ctx, sources->linked[i], item) : AWQ_ERROR_MEMORY);
    }
    for (size_t i = 0; i < sources->path_count; i++)
        if (awq__is_directory(sources->paths[i]))
            AWQ__TRY(load_directory(ctx, plugins, sources->paths[i]));
        else if (!awq__plugin_computes(sources->paths[i]))
            AWQ__TRY(load_file(ctx, plugins, sources->paths[i]));
done:
    if (status != AWQ_OK)
        awq__plugins_free(plugins);
    return status;
}

void awq__plugins_free(awq__plugins *plugins)
{
    for (size_t i = 0; i < plugins->count; i++) {
        if (plugins->items[i].library)
            dlclose(plugins->items[i].library);
        awq__free(plugins->items[i].path);
        awq__free(plugins->items[i].error);
    }
    awq__free(plugins->items);
    *plugins = (awq__plugins){0};
}

static bool serves(const awq__plugin *plugin, const char *model_type)
{
    for (const char *const *type = plugin->table.model_types; *type; type++)
        if (!strcmp(*type, model_type))
            return true;
    return false;
}

/* Says which model types are served. */
static awq_status none_serves(awq_context *ctx, const awq__plugins *plugins, const char *model_type,
                              const char *wanted)
{
    awq__text served = {0};
    awq_status status;
    for (size_t i = 0; i < plugins->count; i++)
        for (const char *const *type = plugins->items[i].table.model_types; *type; type++)
            AWQ__TRY(awq__text_append(ctx, &served, "%s%s", served.length ? ", " : "", *type));
    AWQ__TRY(awq__fail(ctx, AWQ_ERROR_PLUGIN,
                       "no plugin%s%s serves model_type \"%s\"; %zu plugins were found%s%s",
                       wanted ? " of id " : "", wanted ? wanted : "", model_type, plugins->count,
                       served.length ? ", for " : "", served.length ? served.data : ""));
done:
    awq__text_free(&served);
    return status;
}

awq_status awq__plugins_choose(awq_context *ctx, const awq__plugins *plugins,
                               const char *model_type, const char *wanted,
                               const awq__plugin **chosen)
{
    const awq__plugin *found = NULL, *refused = NULL;
    bool named = wanted && *wanted;
    *chosen = NULL;
    for (size_t i = 0; i < plugins->count; i++) {
        const awq__plugin *item = &plugins->items[i];
        if (item->error) {
            refused = refused ? refused : item;
            awq__log(ctx, AWQ_LOG_WARNING, "plugin %s: %s", item->path, item->error);
            continue;
        }
        if (!serves(item, model_type) || (named && strcmp(item->table.id, wanted)))
            continue;
        if (found && named) /* an id in two places: the search order decides */
            continue;
        if (found)
            return awq__fail(
                ctx, AWQ_ERROR_PLUGIN,
                "two plugins serve model_type \"%s\": %s (id %s) and %s (id %s); name one "
                "with the option plugin, or take one away",
                model_type, found->path, found->table.id, item->path, item->table.id);
        found = item;
    }
    if (found) {
        *chosen = found;
        return AWQ_OK;
    }
    if (refused)
        return awq__fail(ctx, AWQ_ERROR_PLUGIN,
                         "no usable plugin serves model_type \"%s\"; refused: %s: %s", model_type,
                         refused->path, refused->error);
    return none_serves(ctx, plugins, model_type, named ? wanted : NULL);
}
