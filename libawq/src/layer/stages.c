/* Where the time of a run goes, and how far it is. */
#include "layer/stages.h"
#include "compute/compute.h"

const char *const awq__stage_names[AWQ__STAGE_COUNT] = {
    "sensitivity", "read", "forward",         "statistics", "scale search",
    "proof",       "clip", "round and write", "evaluate",   "checksums"};

void awq__stages_begin(awq_context *ctx, int64_t layers, double sensitivity, awq__stages *stages)
{
    double now = awq__now_seconds();
    *stages = (awq__stages){.ctx = ctx,
                            .layers = layers,
                            .sensitivity = sensitivity,
                            .start_seconds = now,
                            .current = AWQ__STAGE_READ,
                            .current_start = now,
                            .current_first_operation = awq__product_operations()};
}

void awq__stage_begin(awq__stages *stages, awq__stage stage)
{
    if (stages->tight)
        awq__give_back();
    double now = awq__now_seconds();
    uint64_t operations = awq__product_operations();
    stages->seconds[stages->current] += now - stages->current_start;
    stages->operations[stages->current] += operations - stages->current_first_operation;
    stages->current = stage;
    stages->current_start = now;
    stages->current_first_operation = operations;
}

awq_status awq__stage_enter(awq__stages *stages, awq__stage stage, int64_t layer, double share)
{
    awq__stage_begin(stages, stage);
    double fraction = ((double)layer + share) / (double)(stages->layers + 1);
    if (stage == AWQ__STAGE_SENSITIVITY)
        fraction *= stages->sensitivity;
    else
        fraction = stages->sensitivity + (1 - stages->sensitivity) * fraction;
    awq_progress progress = {.stage = awq__stage_names[stage],
                             .layer = layer,
                             .layer_count = stages->layers,
                             .fraction = fraction,
                             .elapsed_seconds = stages->current_start - stages->start_seconds};
    return awq__progress(stages->ctx, &progress);
}
