/* Finding and choosing what computes: plugins awq-compute-NAME.so and their devices. */
#ifndef AWQ__DRIVER_H
#define AWQ__DRIVER_H

#include "awq/awq.h"
#include "backend/device.h"
#include "core/core.h"

/* A plugin that was found. */
typedef struct awq__driver {
    char *path, *error; /* error: why it was refused, or NULL */
    void *library;      /* of dlopen */
    const awq__device_driver *table;
    int count; /* of its devices */
} awq__driver;

typedef struct awq__drivers {
    awq__driver *items;
    size_t count, capacity;
} awq__drivers;

/* ---- driver.c ---- */

/* Loads and checks all of the context's plugin paths. Fails only for want of memory: what is
   refused has its error set. */
awq_status awq__drivers_load(awq_context *ctx, awq__drivers *drivers);
void awq__drivers_free(awq__drivers *drivers);

/* ---- choose.c ---- */

/* What "cuda:1" says. */
typedef struct awq__device_choice {
    char id[32];
    int index; /* -1: any */
} awq__device_choice;
/* AWQ_ERROR_RECIPE for a text that names no device. */
awq_status awq__device_parse(awq_context *ctx, const char *text, awq__device_choice *choice);

/* From here to awq__device_end the context computes on what `device` names: NULL and "auto" choose,
   which is the processor in this version. memory: the most bytes to take of the device, 0 for what
   it has. Fails with what was found. */
awq_status awq__device_begin(awq_context *ctx, const char *device, uint64_t memory);
void awq__device_end(awq_context *ctx);
/* "cuda:0, NVIDIA H100 80GB HBM3"; NULL for the processor. */
const char *awq__device_name(const awq_context *ctx);

/* ---- gpu_rate.c ---- */

/* Operations of exact products that the context's device does in a second, as just measured. */
awq_status awq__device_rate(awq_context *ctx, double *operations_per_second);

#endif
