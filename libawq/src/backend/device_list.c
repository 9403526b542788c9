/* The devices that were found, as the public header shows them. */
#include "backend/driver.h"
#include "arch/arch.h"

#include <stdio.h>

typedef struct listed {
    awq_device_info shown;
    awq__device_info info;
    char id[64], reason[AWQ__REASON_BYTES];
} listed;

struct awq_device_list {
    awq__drivers drivers;
    listed *items;
    size_t count;
};

static void show_refused(const awq__driver *driver, listed *item)
{
    item->shown = (awq_device_info){.path = driver->path,
                                    .id = "",
                                    .name = "",
                                    .capability = "",
                                    .version = "",
                                    .error = driver->error};
}

static void show_device(const awq__driver *driver, int index, listed *item)
{
    const awq__device_driver *table = driver->table;
    bool good = table->describe(index, &item->info, item->reason, sizeof item->reason);
    snprintf(item->id, sizeof item->id, "%s:%d", table->id, index);
    item->shown = (awq_device_info){.path = driver->path,
                                    .id = item->id,
                                    .name = good ? item->info.name : "",
                                    .capability = good ? item->info.capability : "",
                                    .version = table->version,
                                    .memory_bytes = good ? item->info.memory_bytes : 0,
                                    .free_bytes = good ? item->info.free_bytes : 0,
                                    .error = good ? "" : item->reason};
}

static size_t count_entries(const awq__drivers *drivers)
{
    size_t count = 0;
    for (size_t i = 0; i < drivers->count; i++)
        count += drivers->items[i].error ? 1 : (size_t)drivers->items[i].count;
    return count;
}

static void fill(awq_device_list *list)
{
    for (size_t i = 0; i < list->drivers.count; i++) {
        const awq__driver *driver = &list->drivers.items[i];
        if (driver->error)
            show_refused(driver, &list->items[list->count++]);
        for (int n = 0; n < driver->count && !driver->error; n++)
            show_device(driver, n, &list->items[list->count++]);
    }
}

awq_status awq_device_list_create(awq_context *ctx, awq_device_list **out)
{
    awq_status status;
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_device_list_create", (awq__argument[]){{"out", out}, {0}}));
    awq_device_list *list = awq__alloc(ctx, 1, sizeof *list, "the list of devices");
    AWQ__CHECK_ALLOC(list);
    AWQ__TRY(awq__drivers_load(ctx, &list->drivers));
    list->items =
        awq__alloc(ctx, count_entries(&list->drivers), sizeof *list->items, "the list of devices");
    AWQ__TRY_ALLOC(list->items);
    fill(list);
    *out = list;
done:
    if (status != AWQ_OK)
        awq_device_list_free(list);
    return awq__leave(ctx, status);
}

void awq_device_list_free(awq_device_list *list)
{
    if (!list)
        return;
    awq__free(list->items);
    awq__drivers_free(&list->drivers);
    awq__free(list);
}

size_t awq_device_list_count(const awq_device_list *list)
{
    return list ? list->count : 0;
}

const awq_device_info *awq_device_list_at(const awq_device_list *list, size_t index)
{
    return list && index < list->count ? &list->items[index].shown : NULL;
}
