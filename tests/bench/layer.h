/* What bench_layer measures, and how it shows it. */
#ifndef LAYER_H
#define LAYER_H

#include "machine.h"

#define MAX_STAGES 32

typedef struct stage {
    char name[64];
    double seconds, gflop;    /* as the library logs them */
    double processor_seconds; /* of all threads */
    double peak;              /* bytes of memory */
    double bytes;             /* that the stage must at least read and write */
    bool transfer;            /* bytes are what it is about */
} stage;

typedef struct run {
    int threads;
    machine before, after;
    stage stages[MAX_STAGES];
    int stage_count;
    double seconds, processor_seconds, peak_bytes, tokens;
    double least, median, most; /* tokens of an expert of layer 0 */
} run;

/* The model that is quantized. */
typedef struct layer_subject {
    const char *model; /* its directory */
    int64_t layers, hidden;
    double bytes, layer_bytes; /* of all tensors; of the largest layer's weights in BF16 */
    bool floor;                /* whether the floor is wanted */
} layer_subject;

/* NULL if there is none of this name. */
stage *layer_find_stage(stage *stages, int count, const char *name);
/* The median of runs that rise in seconds, and how far they lie apart. */
void layer_print(const layer_subject *model, const run *runs, int count);
void layer_print_scaling(run *one, run *many);
/* False if the file cannot be written. */
bool layer_write_json(const layer_subject *model, const run *runs, int count, const char *path);

#endif
