/* A run, from its beginning to its end. */
#include "run/job.h"

void awq__job_begin(awq_context *ctx, awq__model_plan *plan, double sensitivity, awq__job *job)
{
    *job = (awq__job){
        .ctx = ctx,
        .plan = plan,
        .writer = {.ctx = ctx, .plan = plan, .small_scales = &job->small_scales},
        .quantizer = {.ctx = ctx, .plan = plan, .writer = &job->writer, .stages = &job->stages},
    };
    awq__stages_begin(ctx, plan->model->arch->model.layer_count, sensitivity, &job->stages);
}

void awq__job_free(awq__job *job)
{
    awq__evaluation_free(&job->evaluation);
    awq_model_free(job->result);
    awq__stream_free(&job->quantizer.calibration);
    awq__sequences_free(&job->sequences);
    awq__output_free(job->writer.output);
    awq__journal_free(&job->journal);
    cJSON_Delete(job->mixed);
    *job = (awq__job){0};
}
