/* What the machine gives at this moment: to set a run's stages against. */
#ifndef MACHINE_H
#define MACHINE_H

#include "core/core.h"

typedef struct speed {
    double best, mean; /* of rounds */
    double processor; /* the best for a second of processor time: what others take does not count */
} speed;

/* Of all threads of this process so far. */
double processor_seconds(void);

typedef struct machine {
    int threads;
    speed one;    /* GFLOP/s of single-precision products on one thread */
    speed all;    /* of as many products at a time as there are threads, each on its own */
    speed memory; /* GB/s of a[i] = b[i] + s * c[i] on all threads, 12 bytes an i */
} machine;

/* Each figure is measured for so many seconds, on the context's number of threads. */
awq_status machine_measure(awq_context *ctx, double seconds, machine *m);

#endif
