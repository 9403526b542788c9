/* Where the time of a run goes, and how far it is. */
#ifndef AWQ__STAGES_H
#define AWQ__STAGES_H

#include "core/core.h"

/* The order of awq__stage_names. */
typedef enum awq__stage {
    AWQ__STAGE_SENSITIVITY,
    AWQ__STAGE_READ,
    AWQ__STAGE_FORWARD,
    AWQ__STAGE_STATISTICS,
    AWQ__STAGE_SCALES,
    AWQ__STAGE_PROOF,
    AWQ__STAGE_CLIP,
    AWQ__STAGE_WRITE,
    AWQ__STAGE_EVALUATE,
    AWQ__STAGE_CHECKSUMS,
    AWQ__STAGE_COUNT,
} awq__stage;
extern const char *const awq__stage_names[AWQ__STAGE_COUNT];

typedef struct awq__stages {
    awq_context *ctx;
    int64_t layers;
    double sensitivity; /* share of the whole that the pass for a target takes; 0: there is none */
    bool tight;         /* memory is so scarce that what is freed goes back to the system */
    double start_seconds, seconds[AWQ__STAGE_COUNT];
    uint64_t operations[AWQ__STAGE_COUNT]; /* of matrix products */
    awq__stage current;
    double current_start;
    uint64_t current_first_operation;
} awq__stages;

/* Of a run through so many layers, whose first stage is AWQ__STAGE_READ. */
void awq__stages_begin(awq_context *ctx, int64_t layers, double sensitivity, awq__stages *stages);
/* Books the time of the last stage. */
void awq__stage_begin(awq__stages *stages, awq__stage stage);
/* The same, and tells the caller's progress callback, which may cancel. `share` of the layer's work
   is done. */
awq_status awq__stage_enter(awq__stages *stages, awq__stage stage, int64_t layer, double share);

#endif
