/* The public plan. */
#include "compute/begin.h"
#include "run/job.h"

#include <math.h>
#include <string.h>

struct awq_plan {
    awq__model_plan plan;
    awq__memory_need need;
    awq__memory_limit limit;
    double predicted_loss; /* of schemes that were chosen; NAN if none were */
    awq__plan_groups groups;
};

/* A target needs a pass through the model. */
static awq_status choose_schemes(awq_context *ctx, awq_plan *plan)
{
    plan->predicted_loss = NAN;
    if (!plan->plan.settings.has_target)
        return AWQ_OK;
    if (!awq__model_has_weights(plan->plan.model))
        return awq__rules_warn(ctx, &plan->plan.rules,
                               "quantize.target_bits and target_size: schemes are chosen by what "
                               "they do to the weights, which are not there; shown are "
                               "quantize.bits and group_size for all");
    awq__job job;
    awq__job_begin(ctx, &plan->plan, 1, &job);
    awq_status status;
    AWQ__TRY(awq__compute_begin(ctx));
    AWQ__TRY(awq__job_load_calibration(&job));
    AWQ__TRY(awq__job_choose_schemes(&job));
    const cJSON *loss = awq__json_at(job.mixed, "predicted_loss");
    if (cJSON_IsNumber(loss))
        plan->predicted_loss = loss->valuedouble;
done:
    awq__job_free(&job);
    return status;
}

/* Refuses an output that is impossible; warns of one that only needs the overwrite option. */
static awq_status look_at_output(awq_context *ctx, awq__model_plan *plan)
{
    const char *output = plan->settings.output;
    awq__place_found found;
    AWQ__CHECK(awq__output_look(ctx, output, &found));
    if (found.replaces)
        AWQ__CHECK(awq__rules_warn(ctx, &plan->rules,
                                   "output: %s exists already, and is replaced only where that is "
                                   "asked for (force)",
                                   output));
    if (found.unwritable)
        AWQ__CHECK(awq__rules_warn(ctx, &plan->rules, "output: %s cannot be created: %s", output,
                                   strerror(found.unwritable)));
    return AWQ_OK;
}

/* A model that is not on disk will hardly run here, so that only the recipe's own limit counts. The
 * number of an evaluation's tokens is known only when its files are read; the most that their sizes
 * allow may be too many. */
static awq_status fit_memory(awq_context *ctx, awq_plan *plan)
{
    const awq__memory_tokens tokens = awq__memory_tokens_of(&plan->plan);
    awq__memory_tokens sure = tokens;
    awq__memory_need least;
    sure.windows = sure.longest_window = 0;
    AWQ__CHECK(awq__memory_need_of(ctx, &plan->plan, &tokens, &plan->need));
    AWQ__CHECK(awq__memory_need_of(ctx, &plan->plan, &sure, &least));
    awq__memory_limit_find(plan->plan.settings.memory_limit, &plan->limit);
    if (!awq__model_has_weights(plan->plan.model) && !plan->limit.asked)
        plan->limit = (awq__memory_limit){0};
    AWQ__CHECK(awq__memory_fit(ctx, &least, &plan->limit));
    double most = plan->need.process + plan->need.least;
    if (!plan->limit.source[0] || most <= (double)plan->limit.bytes)
        return AWQ_OK;
    return awq__rules_warn(ctx, &plan->plan.rules,
                           "evaluation.data: if it has as many tokens as its size allows, the run "
                           "needs %.2f MB of memory, and is refused with %s of %.2f MB; "
                           "evaluation.windows bounds them",
                           most / 1e6, plan->limit.source, (double)plan->limit.bytes / 1e6);
}

static awq_status fill(awq_context *ctx, const awq_recipe *recipe, awq_plan *plan)
{
    AWQ__CHECK(awq__model_plan_create(ctx, recipe, &plan->plan));
    AWQ__CHECK(look_at_output(ctx, &plan->plan));
    /* Without weights there is no run yet, and often no data. */
    if (awq__model_has_weights(plan->plan.model)) {
        AWQ__CHECK(awq__look_at_data(ctx, &plan->plan));
        AWQ__CHECK(
            awq__device_begin(ctx, plan->plan.settings.device, plan->plan.settings.device_memory));
    }
    AWQ__CHECK(fit_memory(ctx, plan));
    AWQ__CHECK(choose_schemes(ctx, plan));
    return awq__plan_groups_find(ctx, &plan->plan, &plan->groups);
}

awq_status awq_plan_create(awq_context *ctx, const awq_recipe *recipe, awq_plan **out)
{
    if (out)
        *out = NULL;
    AWQ__CHECK(awq__enter(ctx, "awq_plan_create",
                          (awq__argument[]){{"recipe", recipe}, {"out", out}, {0}}));
    awq_plan *plan = awq__alloc(ctx, 1, sizeof *plan, "the plan");
    AWQ__CHECK_ALLOC(plan);
    awq_status status = fill(ctx, recipe, plan);
    if (status == AWQ_OK)
        *out = plan;
    else
        awq_plan_free(plan);
    awq__device_end(ctx);
    awq__memory_end(ctx);
    return awq__leave(ctx, status);
}

void awq_plan_free(awq_plan *plan)
{
    if (!plan)
        return;
    awq__plan_groups_free(&plan->groups);
    awq__model_plan_free(&plan->plan);
    awq__free(plan);
}

size_t awq_plan_group_count(const awq_plan *plan)
{
    return plan ? plan->groups.count : 0;
}

const awq_plan_group *awq_plan_group_at(const awq_plan *plan, size_t index)
{
    return plan && index < plan->groups.count ? &plan->groups.list[index].shown : NULL;
}

size_t awq_plan_warning_count(const awq_plan *plan)
{
    return plan ? plan->plan.rules.warning_count : 0;
}

const char *awq_plan_warning_at(const awq_plan *plan, size_t index)
{
    return plan && index < plan->plan.rules.warning_count ? plan->plan.rules.warnings[index] : NULL;
}

uint64_t awq_plan_bytes_before(const awq_plan *plan)
{
    return plan ? plan->groups.before : 0;
}

uint64_t awq_plan_bytes_after(const awq_plan *plan)
{
    return plan ? plan->groups.after : 0;
}

awq_status awq_plan_estimate(awq_context *ctx, const awq_plan *plan, awq_estimate *estimate)
{
    AWQ__CHECK(awq__enter(ctx, "awq_plan_estimate",
                          (awq__argument[]){{"plan", plan}, {"estimate", estimate}, {0}}));
    AWQ__CHECK(awq__compute_begin(ctx));
    return awq__estimate(ctx, &plan->plan, &plan->need, &plan->limit, plan->groups.after, estimate);
}

double awq_plan_predicted_loss(const awq_plan *plan)
{
    return plan ? plan->predicted_loss : NAN;
}

void awq_plan_describe(const awq_plan *plan, awq_model_info *info)
{
    awq_model_describe(plan ? plan->plan.model : NULL, info);
}
