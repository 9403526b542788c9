/* Finding, loading and checking the plugins of devices. All checks come before any call into one.
 */
#define _DEFAULT_SOURCE /* realpath */
#include "backend/driver.h"
#include "arch/arch.h"
#include "core/utf8.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

AWQ__PRINTF(3, 4)
static awq_status refuse(awq_context *ctx, awq__driver *driver, const char *format, ...)
{
    char text[AWQ__REASON_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    awq__clean_line(text, sizeof text, length >= (int)sizeof text);
    driver->error = awq__strdup(ctx, text);
    return driver->error ? AWQ_OK : AWQ_ERROR_MEMORY;
}

/* ---- one plugin ---- */

static bool has_all(const awq__device_operations *operations)
{
    /* Behind its size there are pointers to functions alone. */
    void *const *function = (void *const *)(const void *)operations;
    for (size_t i = 1; i < sizeof *operations / sizeof *function; i++)
        if (!function[i])
            return false;
    return true;
}

static awq_status check_table(awq_context *ctx, awq__driver *driver,
                              const awq__device_driver *table)
{
    if (table->magic != AWQ__DEVICE_MAGIC)
        return refuse(ctx, driver, "wrong magic 0x%016llx, expected 0x%016llx",
                      (unsigned long long)table->magic, (unsigned long long)AWQ__DEVICE_MAGIC);
    if (table->struct_size != sizeof *table)
        return refuse(ctx, driver, "its awq__device_driver has %u bytes, expected %zu",
                      (unsigned)table->struct_size, sizeof *table);
    if (!table->library || strcmp(table->library, awq_version()) != 0)
        return refuse(ctx, driver, "built for libawq %s, expected %s",
                      table->library ? table->library : "without a version", awq_version());
    if (!table->id || !*table->id || table->id[strspn(table->id, "abcdefghijklmnopqrstuvwxyz")])
        return refuse(ctx, driver, "its id is missing or has characters other than a-z");
    if (!table->version || !table->count || !table->describe || !table->open || !table->close)
        return refuse(ctx, driver, "its version or one of its functions is NULL");
    if (!table->operations || table->operations->struct_size != sizeof *table->operations)
        return refuse(ctx, driver, "its awq__device_operations has %u bytes, expected %zu",
                      table->operations ? (unsigned)table->operations->struct_size : 0,
                      sizeof *table->operations);
    if (!has_all(table->operations))
        return refuse(ctx, driver, "one of its operations is NULL");
    driver->table = table;
    return AWQ_OK;
}

static awq_status count_devices(awq_context *ctx, awq__driver *driver)
{
    char reason[AWQ__REASON_BYTES] = "";
    driver->count = driver->table->count(reason, sizeof reason);
    if (driver->count > 0)
        return AWQ_OK;
    return refuse(ctx, driver, "%s", driver->count < 0 && *reason ? reason : "no device was found");
}

static awq_status load_library(awq_context *ctx, awq__driver *driver)
{
    char reason[AWQ__REASON_BYTES];
    if (!awq__plugin_file_check(driver->path, reason))
        return refuse(ctx, driver, "%s", reason);
    /* What it stands on may have threads of its own, which outlive it. */
    driver->library = dlopen(driver->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!driver->library) {
        const char *why = dlerror();
        return refuse(ctx, driver, "cannot be loaded: %s", why ? why : "unknown reason");
    }
    const awq__device_driver *table = dlsym(driver->library, AWQ__DEVICE_SYMBOL);
    if (!table)
        return refuse(ctx, driver, "has no symbol " AWQ__DEVICE_SYMBOL);
    AWQ__CHECK(check_table(ctx, driver, table));
    return driver->error ? AWQ_OK : count_devices(ctx, driver);
}

/* ---- all of them ---- */

static bool is_known(const awq__drivers *drivers, const char *path)
{
    for (size_t i = 0; i < drivers->count; i++)
        if (!strcmp(drivers->items[i].path, path))
            return true;
    return false;
}

/* Takes over path, NULL where memory failed. */
static awq_status add(awq_context *ctx, awq__drivers *drivers, char *path)
{
    awq_status status;
    AWQ__TRY_ALLOC(path);
    if (is_known(drivers, path))
        goto done;
    AWQ__TRY(awq__grow(ctx, &drivers->items, &drivers->capacity, drivers->count + 1,
                       sizeof *drivers->items, "drivers"));
    drivers->items[drivers->count++] = (awq__driver){.path = path};
    return load_library(ctx, &drivers->items[drivers->count - 1]);
done:
    awq__free(path);
    return status;
}

static awq_status add_file(awq_context *ctx, awq__drivers *drivers, const char *path)
{
    char *real = realpath(path, NULL);
    char *copy = awq__strdup(ctx, real ? real : path);
    free(real);
    return add(ctx, drivers, copy);
}

typedef struct names {
    awq_context *ctx;
    const char *directory;
    char **paths;
    size_t count, capacity;
} names;

static awq_status see_name(void *user, const char *name)
{
    names *n = user;
    if (!awq__plugin_computes(name))
        return AWQ_OK;
    AWQ__CHECK(
        awq__grow(n->ctx, &n->paths, &n->capacity, n->count + 1, sizeof *n->paths, "drivers"));
    n->paths[n->count] = awq__path_join(n->ctx, n->directory, name);
    AWQ__CHECK_ALLOC(n->paths[n->count]);
    n->count++;
    return AWQ_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In the order of their names. A directory that cannot be listed is told by the plugins of
   architectures. */
static awq_status add_directory(awq_context *ctx, awq__drivers *drivers, const char *path)
{
    awq_status status;
    names n = {.ctx = ctx, .directory = path};
    awq_status listed = awq__list_directory(ctx, path, see_name, &n);
    AWQ__TRY(listed == AWQ_ERROR_IO ? AWQ_OK : listed);
    if (n.count)
        qsort(n.paths, n.count, sizeof *n.paths, compare_names);
    for (size_t i = 0; i < n.count; i++)
        AWQ__TRY(add_file(ctx, drivers, n.paths[i]));
done:
    for (size_t i = 0; i < n.count; i++)
        awq__free(n.paths[i]);
    awq__free(n.paths);
    return status;
}

awq_status awq__drivers_load(awq_context *ctx, awq__drivers *drivers)
{
    awq_status status = AWQ_OK;
    const awq__plugin_sources *sources = awq__context_plugins(ctx);
    *drivers = (awq__drivers){0};
    for (size_t i = 0; i < sources->path_count; i++)
        if (awq__is_directory(sources->paths[i]))
            AWQ__TRY(add_directory(ctx, drivers, sources->paths[i]));
        else if (awq__plugin_computes(sources->paths[i]))
            AWQ__TRY(add_file(ctx, drivers, sources->paths[i]));
done:
    if (status != AWQ_OK)
        awq__drivers_free(drivers);
    return status;
}

void awq__drivers_free(awq__drivers *drivers)
{
    for (size_t i = 0; i < drivers->count; i++) {
        if (drivers->items[i].library)
            dlclose(drivers->items[i].library);
        awq__free(drivers->items[i].path);
        awq__free(drivers->items[i].error);
    }
    awq__free(drivers->items);
    *drivers = (awq__drivers){0};
}
