/* A plugin of devices with one fault, FAULT: see the tests of the loader. */
#include "backend/device.h"
#include "awq/types.h"

#include <stdio.h>
#include <string.h>

enum {
    WRONG_MAGIC = 1,
    SHORT_STRUCT,
    OTHER_VERSION,
    BAD_ID,
    NO_OPEN,
    SHORT_OPERATIONS,
    MISSING_OPERATION,
    NO_DRIVER,
    NO_DEVICE,
    REFUSED_DEVICE,
    LITTLE_MEMORY,
};

static int count(char *reason, size_t size)
{
    if (FAULT == NO_DRIVER)
        snprintf(reason, size, "no driver: libfault.so.1 was not found");
    return FAULT == NO_DRIVER ? -1 : FAULT != NO_DEVICE;
}

static bool describe(int index, awq__device_info *info, char *reason, size_t size)
{
    (void)index;
    memset(info, 0, sizeof *info);
    snprintf(info->name, sizeof info->name, "small");
    info->memory_bytes = 2000000;
    info->free_bytes = 1500000;
    if (FAULT == REFUSED_DEVICE)
        snprintf(reason, size, "capability 3.5, expected 8.0 or more");
    return FAULT != REFUSED_DEVICE;
}

static void *open_device(int index, uint64_t memory_bytes, char *reason, size_t size)
{
    (void)index;
    snprintf(reason, size, "too little memory: %llu bytes", (unsigned long long)memory_bytes);
    return NULL;
}

static void close_device(void *d)
{
    (void)d;
}

static void nothing(void)
{
}

enum { FUNCTIONS = sizeof(awq__device_operations) / sizeof(void (*)(void)) };
typedef union operations {
    awq__device_operations table;
    void (*functions[FUNCTIONS])(void);
} operations;
static operations all;

AWQ_API extern awq__device_driver awq_device_driver_v1;
awq__device_driver awq_device_driver_v1 = {
    .magic = AWQ__DEVICE_MAGIC + (FAULT == WRONG_MAGIC),
    .struct_size = sizeof awq_device_driver_v1 - 8 * (FAULT == SHORT_STRUCT),
    .library = FAULT == OTHER_VERSION ? "0.0.1" : AWQ_VERSION_STRING,
    .id = FAULT == BAD_ID ? "Fault 1" : "fault",
    .version = "1",
    .count = count,
    .describe = describe,
    .open = FAULT == NO_OPEN ? NULL : open_device,
    .close = close_device,
    .operations = &all.table,
};

/* All functions are there but for the fault; none is called. */
__attribute__((constructor)) static void fill(void)
{
    for (size_t i = 1; i < FUNCTIONS; i++)
        all.functions[i] = FAULT == MISSING_OPERATION && i + 1 == FUNCTIONS ? NULL : nothing;
    all.table.struct_size = sizeof all.table - 8 * (FAULT == SHORT_OPERATIONS);
}
