/*
 * A device of reference loops. Its memory cannot be touched but by its own operations: its
 * addresses are no addresses of this process.
 */
#ifndef TESTS_FAKE_DEVICE_H
#define TESTS_FAKE_DEVICE_H

#include "backend/device.h"

typedef struct fake_device fake_device;
/* Arrays that are there, and that have been. */
long fake_device_arrays(void);
extern const awq__device_operations fake_device_operations;
/* Opens a device with so many bytes. */
void *fake_device_open(uint64_t memory_bytes);
void fake_device_close(void *d);

#endif
