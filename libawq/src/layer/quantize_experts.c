/* The experts of one layer: statistics, scale search, fold, proof, clip, guard, write. */
#include "layer/experts.h"

#include <string.h>

static awq__part part_of(int part)
{
    return part == 0 ? AWQ__PART_GATE : part == 1 ? AWQ__PART_UP : AWQ__PART_DOWN;
}

const awq__module *awq__expert_module(const awq__experts_job *j, int64_t expert, int part)
{
    const awq__arch *arch = j->job->plan->model->arch;
    return &arch->modules[awq__arch_index(arch, j->layer->number, part_of(part), expert)];
}

const awq__weight *awq__expert_weight(const awq__layer *layer, int64_t expert, int part)
{
    const awq__expert *e = &layer->moe.experts[expert];
    return part == 0 ? &e->gate : part == 1 ? &e->up : &e->down;
}

awq__scheme awq__expert_scheme(const awq__experts_job *j, int64_t expert, int part)
{
    const awq__arch *arch = j->job->plan->model->arch;
    return awq__model_plan_scheme(j->job->plan,
                                  awq__arch_index(arch, j->layer->number, part_of(part), expert),
                                  awq__expert_weight(j->layer, expert, part)->dtype);
}

int64_t awq__expert_group(const awq__experts_job *j, int64_t expert, int input)
{
    const awq__expert_state *state = &j->experts[expert];
    for (int part = input ? 2 : 0; part < (input ? 3 : 2); part++)
        if (state->treatment[part])
            return awq__expert_scheme(j, expert, part).group;
    return input ? j->layer->moe.experts[expert].intermediate : j->layer->hidden;
}

bool awq__expert_scales_down(const awq__experts_job *j, int64_t expert)
{
    const awq__treatment *treatment = j->experts[expert].treatment[2];
    return j->fold_up && treatment && treatment->scale;
}

const float *awq__expert_unscale(const awq__experts_job *j, int64_t expert)
{
    return j->folded->experts[expert].gate.col_scale ? j->folded->moe_unscale : NULL;
}

/* ---- the fold ---- */

static void fold_input(awq__experts_job *j)
{
    awq__folded *folded = j->folded;
    for (int64_t h = 0; h < j->layer->hidden; h++)
        folded->moe_norm[h] =
            awq__fold_norm(j->layer->moe.norm_dtype, j->layer->moe.norm[h], folded->moe_scale[h]);
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++) {
        folded->experts[e].gate.col_scale = folded->moe_scale;
        folded->experts[e].up.col_scale = folded->moe_scale;
    }
    folded->layer.moe.router.col_scale = folded->moe_scale;
    folded->layer.moe.token_gate.col_scale = folded->moe_scale;
}

static void fold_up(awq__experts_job *j)
{
    int64_t I = j->layer->moe.intermediate;
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++) {
        if (!awq__expert_scales_down(j, e))
            continue;
        j->folded->experts[e].up.row_scale = j->folded->down_unscale + e * I;
        j->folded->experts[e].up.bias_scale = j->folded->down_unscale + e * I;
        j->folded->experts[e].down.col_scale = j->folded->down_scale + e * I;
    }
}

/* Back to the source's weights: plain rounding. */
static void unfold(awq__experts_job *j)
{
    awq__folded *folded = j->folded;
    int64_t E = j->layer->moe.expert_count;
    memcpy(folded->experts, j->layer->moe.experts, (size_t)E * sizeof *folded->experts);
    memcpy(folded->moe_norm, j->layer->moe.norm, (size_t)j->layer->hidden * sizeof(float));
    folded->layer.moe.router.col_scale = folded->layer.moe.token_gate.col_scale = NULL;
    for (int64_t e = 0; e < E; e++) {
        awq__expert_state *state = &j->experts[e];
        for (int part = 0; part < 3; part++) {
            awq__free_aligned(state->range[part]);
            state->range[part] = NULL;
        }
        state->clipped = false;
        state->error = state->plain_error;
        state->down = (awq__found_scale){0};
    }
}

/* Is some part rounded by GPTQ? */
static bool compensates(const awq__expert_state *state)
{
    for (int part = 0; part < 3; part++)
        if (state->treatment[part] && state->treatment[part]->gptq)
            return true;
    return false;
}

static bool any_compensates(const awq__experts_job *j)
{
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++)
        if (compensates(&j->experts[e]))
            return true;
    return false;
}

/* ---- the report ---- */

static void report_expert(const awq__experts_job *j, int64_t e, cJSON *object)
{
    const awq__expert_state *state = &j->experts[e];
    awq__json_builder *b = &j->job->built;
    awq__json_add_number(b, object, "tokens", (double)state->routed);
    awq__json_add_number(b, object, "borrowed", (double)state->borrowed);
    if (awq__expert_scales_down(j, e))
        awq__report_ratio(b, object, "down_ratio", &state->down, j->steps);
    awq__json_add_bool(b, object, "clipped", state->clipped);
    awq__json_add_number(b, object, "plain_error", state->plain_error);
    awq__json_add_number(b, object, "error", state->error);
    if (compensates(state)) {
        awq__json_add_number(b, object, "compensated_error", state->gptq_error);
        awq__json_add_bool(b, object, "compensated", state->compensated);
    }
}

/* What became of a layer's experts. */
typedef struct outcome {
    awq__found_scale input;
    awq__proof proof;
    bool guarded; /* plain rounding was better */
} outcome;

static void report_layer(const awq__experts_job *j, const outcome *out, cJSON *report)
{
    awq__json_builder *b = &j->job->built;
    cJSON *object = awq__json_add_object(b, report, "experts");
    if (j->fold_input) {
        awq__report_ratio(b, object, "gate_up_ratio", &out->input, j->steps);
        awq__json_add_number(b, object, "gate_up_plain_loss", out->input.identity_loss);
        awq__json_add_number(b, object, "gate_up_loss", out->input.loss);
    }
    awq__json_add_number(b, object, "fold_error", out->proof.largest_error);
    awq__json_add_number(b, object, "fold_tokens", (double)out->proof.tokens);
    awq__json_add_number(b, object, "stored_router_agreement", out->proof.stored_agreement);
    awq__json_add_bool(b, object, "fell_back_to_plain_rounding", out->guarded);
    const awq__moe *moe = &j->layer->moe;
    cJSON *list = moe->routed_count ? awq__json_add_array(b, object, "each") : NULL;
    for (int64_t e = 0; e < moe->routed_count; e++)
        report_expert(j, e, awq__json_add_object(b, list, NULL));
    const char *other = moe->routed_count ? "shared" : "mlp";
    if (moe->expert_count > moe->routed_count)
        report_expert(j, moe->routed_count, awq__json_add_object(b, object, other));
}

/* ---- writing ---- */

/* One part of an expert that is stored by name. codes NULL: it is rounded to nearest. */
static awq_status store_one(const awq__experts_job *j, int64_t e, int part, const awq__codes *codes)
{
    const awq__weight *weight = awq__expert_weight(&j->folded->layer, e, part);
    const awq__module *module = awq__expert_module(j, e, part);
    if (!j->experts[e].treatment[part])
        return awq__store_weight(j->job->writer, module, weight);
    return codes ? awq__store_codes(j->job->writer, module, weight, codes)
                 : awq__store_rounded(j->job->writer, module, weight, j->experts[e].range[part]);
}

/* Three tasks an expert. */
static awq_status store_part(void *arg, int64_t index, int worker)
{
    awq__experts_job *j = arg;
    (void)worker;
    return store_one(j, j->first_by_name + index / 3, (int)(index % 3), NULL);
}

/* A task for each expert whose matrices share tensors with those of others. */
static awq_status store_fused(void *arg, int64_t index, int worker)
{
    awq__experts_job *j = arg;
    (void)worker;
    return awq__store_fused(j->job->writer, &j->folded->layer, index, j->experts[index].range,
                            NULL);
}

/* A task for each expert, with codes that compensate errors. */
static awq_status store_compensated(void *arg, int64_t e, int worker)
{
    awq__experts_job *j = arg;
    (void)worker;
    bool rounds = compensates(&j->experts[e]);
    awq__codes codes[3] = {0};
    awq_status status = rounds ? awq__expert_round(j, e, codes) : AWQ_OK;
    if (status == AWQ_OK && e < j->first_by_name)
        status = awq__store_fused(j->job->writer, &j->folded->layer, e, j->experts[e].range,
                                  rounds ? codes : NULL);
    for (int part = 0; part < 3 && status == AWQ_OK && e >= j->first_by_name; part++)
        status = store_one(j, e, part, rounds ? &codes[part] : NULL);
    for (int part = 0; part < 3; part++)
        awq__codes_free(&codes[part]);
    return status;
}

/* Of a worker that stores one part: its codes with their scales, what they are packed into, and a
   block of weights. */
size_t awq__expert_store_bytes(const awq__layer *layer)
{
    size_t weights = (size_t)layer->hidden * (size_t)layer->moe.intermediate;
    return 2 * weights + (size_t)awq__expert_work(layer) * sizeof(float);
}

static awq_status store_layer(awq__experts_job *j)
{
    const awq__arch *arch = j->job->plan->model->arch;
    int64_t n = j->layer->number;
    const awq__moe *moe = &j->folded->layer.moe;
    const awq__weight *gates[] = {&moe->router, &moe->token_gate};
    awq_status status = awq__store_vector(
        j->job->writer, &arch->modules[awq__arch_index(arch, n, AWQ__PART_MOE_NORM, -1)],
        j->folded->moe_norm);
    for (awq__part part = AWQ__PART_ROUTER; part <= AWQ__PART_TOKEN_GATE && status == AWQ_OK;
         part++)
        if (awq__arch_has(arch, n, part))
            status = awq__store_weight(j->job->writer,
                                       &arch->modules[awq__arch_index(arch, n, part, -1)],
                                       gates[part - AWQ__PART_ROUTER]);
    if (awq__result_experts(j->job->plan, n) != AWQ__EXPERTS_BY_NAME)
        j->first_by_name = moe->routed_count;
    if (status == AWQ_OK && any_compensates(j))
        return awq__parallel_nested(j->job->ctx, awq__expert_round_bytes(j->layer),
                                    moe->expert_count, store_compensated, j);
    if (status == AWQ_OK)
        status = awq__parallel_nested(j->job->ctx, 3 * awq__expert_store_bytes(j->layer),
                                      j->first_by_name, store_fused, j);
    if (status == AWQ_OK)
        status = awq__parallel_nested(j->job->ctx, awq__expert_store_bytes(j->layer),
                                      3 * (moe->expert_count - j->first_by_name), store_part, j);
    return status;
}

/* ---- the whole ---- */

/* Is the layer, over its experts and in proportion to their tokens, no worse than by plain
 * rounding? */
static bool no_worse_than_plain(const awq__experts_job *j)
{
    double plain = 0, chosen = 0;
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++) {
        const awq__expert_state *state = &j->experts[e];
        int64_t seen = state->routed ? state->routed : state->borrowed;
        int64_t sampled = awq__ceil_div(seen, awq__max(1, awq__ceil_div(seen, AWQ__TOKEN_BLOCK)));
        double weight = sampled ? (double)state->routed / (double)sampled : 0;
        plain += weight * state->plain_error;
        chosen += weight * state->error;
    }
    return chosen <= plain;
}

/* Scales are chosen: where ranges have statistics of their own, the others make room. */
static void drop_sketches(awq__experts_job *j)
{
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++) {
        awq__expert_state *state = &j->experts[e];
        if (state->blocks[0].cols)
            awq__stats_free(&state->input);
        if (state->blocks[1].cols)
            awq__stats_free(&state->inner);
    }
}

/* The fold of the layer is proved on a sample of hidden states as they were before the pass. */
static awq_status run_awq(awq__experts_job *j, const float *sample, int64_t sampled, outcome *out)
{
    awq__quantizer *job = j->job;
    int64_t n = j->layer->number;
    awq_status status = awq__experts_pass(j);
    if (status == AWQ_OK)
        status = awq__stage_enter(job->stages, AWQ__STAGE_STATISTICS, n, 0.1);
    if (status == AWQ_OK)
        status = awq__experts_statistics(j);
    if (status == AWQ_OK)
        status = awq__stage_enter(job->stages, AWQ__STAGE_SCALES, n, 0.2);
    if (status == AWQ_OK)
        status = awq__experts_search(j, &out->input);
    drop_sketches(j);
    if (status == AWQ_OK && j->fold_input)
        fold_input(j);
    if (status == AWQ_OK && j->fold_up)
        fold_up(j);
    if (status == AWQ_OK)
        status = awq__stage_enter(job->stages, AWQ__STAGE_PROOF, n, 0.8);
    if (status == AWQ_OK)
        status = awq__prove_experts(job, j->layer, &j->folded->layer, sample, sampled, &out->proof);
    if (status == AWQ_OK)
        status = awq__stage_enter(job->stages, AWQ__STAGE_CLIP, n, 0.85);
    if (status == AWQ_OK)
        status = awq__experts_clip(j);
    if (status == AWQ_OK && !no_worse_than_plain(j)) {
        out->guarded = true;
        unfold(j);
        awq__log(job->ctx, AWQ_LOG_WARNING,
                 "layer %lld: scales and clipping made the experts' output worse than plain "
                 "rounding does, "
                 "which is used instead",
                 (long long)n);
    }
    return status;
}

awq_status awq__experts_create(awq__experts_job *j)
{
    awq__quantizer *job = j->job;
    const awq__rules *rules = &job->plan->rules;
    const awq__arch *arch = job->plan->model->arch;
    uint32_t folds = arch->layers[j->layer->number].folds;
    int64_t E = j->layer->moe.expert_count, I = j->layer->moe.intermediate;
    size_t H = (size_t)j->layer->hidden, inner = (size_t)E * (size_t)I;
    j->steps = job->plan->settings.quantize.ratio_steps;
    j->min_tokens = job->plan->settings.calibration.min_expert_tokens;
    j->experts = awq__alloc(job->ctx, (size_t)E, sizeof *j->experts, "experts");
    if (!j->experts)
        return AWQ_ERROR_MEMORY;
    bool input = false, up = false;
    for (int64_t e = 0; e < E; e++)
        for (int part = 0; part < 3; part++) {
            const awq__treatment *treatment =
                rules->of[awq__expert_module(j, e, part) - arch->modules];
            j->experts[e].treatment[part] = treatment;
            input |= treatment && treatment->scale && part < 2;
            up |= treatment && treatment->scale && part == 2;
        }
    j->fold_input = input && (folds & AWQ_FOLD_EXPERT_NORM);
    j->slopes |= j->fold_input;
    j->fold_up = up && (folds & AWQ_FOLD_UP);
    awq__folded *folded = j->folded;
    if (j->fold_input) {
        folded->moe_scale = awq__alloc_aligned(job->ctx, H, sizeof(float), "scales");
        folded->moe_unscale = awq__alloc_aligned(job->ctx, H, sizeof(float), "scales");
    }
    if (j->fold_up) {
        folded->down_scale = awq__alloc_aligned(job->ctx, inner, sizeof(float), "scales");
        folded->down_unscale = awq__alloc_aligned(job->ctx, inner, sizeof(float), "scales");
    }
    bool whole = (!j->fold_input || (folded->moe_scale && folded->moe_unscale)) &&
                 (!j->fold_up || (folded->down_scale && folded->down_unscale));
    return whole ? AWQ_OK : AWQ_ERROR_MEMORY;
}

void awq__experts_free(awq__experts_job *j)
{
    for (int64_t e = 0; j->experts && e < j->layer->moe.expert_count; e++) {
        awq__expert_state *state = &j->experts[e];
        awq__stats_free(&state->input);
        awq__stats_free(&state->inner);
        awq__stats_free(&state->blocks[0]);
        awq__stats_free(&state->blocks[1]);
        awq__free(state->tokens);
        awq__free(state->weights);
        awq__free(state->relative);
        awq__free(state->slope);
        awq__free(state->row_weight[0]);
        awq__free(state->row_weight[1]);
        for (int part = 0; part < 3; part++)
            awq__free_aligned(state->range[part]);
    }
    awq__free(j->experts);
    j->experts = NULL;
}

static bool any_calibrates(const awq__experts_job *j)
{
    for (int64_t e = 0; e < j->layer->moe.expert_count; e++)
        for (int part = 0; part < 3; part++)
            if (j->experts[e].treatment[part] && j->experts[e].treatment[part]->calibrate)
                return true;
    return false;
}

static awq_status calibrate(awq__experts_job *j, outcome *out)
{
    int64_t sampled;
    float *sample =
        awq__proof_sample(j->job->ctx, &j->job->calibration, j->layer->hidden, &sampled);
    awq_status status = sample ? run_awq(j, sample, sampled, out) : AWQ_ERROR_MEMORY;
    awq__free_aligned(sample);
    return status;
}

awq_status awq__quantize_experts(awq__quantizer *job, const awq__layer *layer, awq__folded *folded,
                                 const awq__routes *routes, cJSON *report)
{
    awq__experts_job j = {.job = job, .layer = layer, .folded = folded, .routes = routes};
    awq__stream *stream = &job->calibration;
    outcome out = {0};
    awq_status status = awq__experts_create(&j);
    bool calibrated = status == AWQ_OK && any_calibrates(&j);
    if (calibrated)
        status = calibrate(&j, &out);
    else if (status == AWQ_OK && job->plan->rules.calibrate)
        status = awq__moe_experts(&stream->forward, layer, stream->x, routes, stream->hidden, NULL,
                                  NULL);
    if (status == AWQ_OK)
        status = awq__stage_enter(job->stages, AWQ__STAGE_WRITE, layer->number, 0.95);
    if (status == AWQ_OK)
        status = store_layer(&j);
    if (status == AWQ_OK && calibrated)
        report_layer(&j, &out, report);
    awq__experts_free(&j);
    return status;
}
