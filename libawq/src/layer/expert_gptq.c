/* Error-compensated rounding of one expert. */
#include "layer/experts.h"

#include <string.h>

/* Of experts with few tokens, which take more than AWQ__GPTQ_DAMPING. */
#define MOST_DAMPING 0.3

static bool compensates(const awq__expert_state *state, int part)
{
    return state->treatment[part] && state->treatment[part]->gptq;
}

/* Those of gate and up, or down (inner), which share an input, that GPTQ rounds. */
static awq_status round_parts(awq__experts_job *j, int64_t e, bool inner, awq__codes codes[3])
{
    const awq__expert_state *state = &j->experts[e];
    const int first = inner ? 2 : 0, last = inner ? 2 : 1;
    awq__stats stats = {0};
    awq__gptq gptq = {0};
    awq_status status = AWQ_OK;
    bool any = false;
    for (int part = first; part <= last; part++)
        any |= compensates(state, part);
    if (!any)
        return AWQ_OK;
    status = awq__expert_moments(j, e, inner, &stats);
    if (status == AWQ_OK) {
        double own = (double)(state->routed + state->borrowed), cols = (double)stats.cols;
        double damping = own > 0 ? AWQ__GPTQ_DAMPING * (1 + cols / own) : MOST_DAMPING;
        status = awq__gptq_create(j->job->ctx, j->job->calibration.forward.compute,
                                  awq__expert_module(j, e, first)->name, stats.moments, stats.cols,
                                  awq__expert_group(j, e, inner),
                                  damping < MOST_DAMPING ? damping : MOST_DAMPING, &gptq);
    }
    for (int part = first; part <= last && status == AWQ_OK; part++)
        if (compensates(state, part))
            status = awq__store_compensate(j->job->writer, awq__expert_module(j, e, part),
                                           awq__expert_weight(&j->folded->layer, e, part), &gptq,
                                           &codes[part]);
    awq__gptq_free(&gptq);
    awq__stats_free(&stats);
    return status;
}

/* Those that GPTQ has rounded already too, if `all`. */
static awq_status round_to_nearest(awq__experts_job *j, int64_t e, bool all, awq__codes codes[3])
{
    awq_status status = AWQ_OK;
    for (int part = 0; part < 3 && status == AWQ_OK; part++) {
        if (!j->experts[e].treatment[part] || (!all && compensates(&j->experts[e], part)))
            continue;
        awq__codes_free(&codes[part]);
        status = awq__store_round(j->job->writer, awq__expert_module(j, e, part),
                                  awq__expert_weight(&j->folded->layer, e, part),
                                  j->experts[e].range[part], &codes[part]);
    }
    return status;
}

awq_status awq__expert_round(awq__experts_job *j, int64_t e, awq__codes codes[3])
{
    awq__expert_state *state = &j->experts[e];
    memset(codes, 0, 3 * sizeof *codes);
    awq_status status = round_parts(j, e, false, codes);
    if (status == AWQ_OK)
        status = round_parts(j, e, true, codes);
    if (status == AWQ_OK)
        status = round_to_nearest(j, e, false, codes);
    if (status == AWQ_OK)
        status = awq__expert_error(j, e, codes, &state->gptq_error);
    state->compensated = status == AWQ_OK && state->gptq_error <= state->error;
    if (status == AWQ_OK && !state->compensated)
        status = round_to_nearest(j, e, true, codes);
    return status;
}

size_t awq__expert_round_bytes(const awq__layer *layer)
{
    size_t codes = 3 * (size_t)layer->hidden * (size_t)layer->moe.intermediate;
    return awq__expert_moments_bytes(layer) + codes;
}
