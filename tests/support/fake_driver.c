/* The plugin of devices "fake": two of reference loops, of which the second cannot be opened. */
#include "support/fake_device.h"
#include "awq/types.h"

#include <stdio.h>
#include <string.h>

#define FAKE_BYTES ((uint64_t)8 << 30)

static int count(char *reason, size_t size)
{
    (void)reason;
    (void)size;
    return 2;
}

static bool describe(int index, awq__device_info *info, char *reason, size_t size)
{
    (void)reason;
    (void)size;
    memset(info, 0, sizeof *info);
    snprintf(info->name, sizeof info->name, "loops %d", index);
    snprintf(info->capability, sizeof info->capability, "no capability");
    info->memory_bytes = FAKE_BYTES;
    info->free_bytes = FAKE_BYTES / 2;
    return true;
}

static void *open_device(int index, uint64_t memory_bytes, char *reason, size_t size)
{
    if (!index)
        return fake_device_open(memory_bytes);
    snprintf(reason, size, "loops 1 is in use by another process");
    return NULL;
}

AWQ_API extern const awq__device_driver awq_device_driver_v1;
const awq__device_driver awq_device_driver_v1 = {
    .magic = AWQ__DEVICE_MAGIC,
    .struct_size = sizeof awq_device_driver_v1,
    .library = AWQ_VERSION_STRING,
    .id = "fake",
    .version = "loops",
    .count = count,
    .describe = describe,
    .open = open_device,
    .close = fake_device_close,
    .operations = &fake_device_operations,
};
