/* The experts of a layer: their inputs, what is written and told of them. */
#include "layer/experts.h"

#include <string.h>

static const awq__arch *arch_of(const awq__block *block)
{
    return block->quantizer->plan->model->arch;
}

/* ---- steps that are the experts' own ---- */

/* The fold is proved on hidden states as they are before the pass. */
static awq_status gather(awq__block *block)
{
    awq__experts *experts = block->own;
    experts->sample = awq__proof_sample(block->ctx, block->states, &experts->sampled);
    AWQ__CHECK_ALLOC(experts->sample);
    AWQ__CHECK(awq__experts_pass(experts));
    AWQ__CHECK(awq__block_enter(block, AWQ__STAGE_STATISTICS));
    return awq__experts_statistics(experts);
}

static awq_status pass(awq__block *block)
{
    const awq__experts *experts = block->own;
    awq__states *states = block->states;
    if (!block->quantizer->plan->rules.calibrate)
        return AWQ_OK;
    return awq__moe_experts(&states->forward, block->layer, states->x, experts->routes,
                            states->hidden, NULL, NULL);
}

static awq_status prove(const awq__block *block, awq__proof *proof)
{
    awq__experts *experts = block->own;
    AWQ__CHECK(awq__prove_experts(&block->states->forward, block->layer, &block->folded,
                                  experts->sample, experts->sampled, proof));
    awq__free_aligned(experts->sample);
    experts->sample = NULL;
    return AWQ_OK;
}

/* Over all experts, in proportion to their tokens. */
static bool worse_than_rtn(const awq__block *block)
{
    const awq__experts *experts = block->own;
    double rtn = 0, chosen = 0;
    for (int64_t e = 0; e < block->bundle_count; e++) {
        int64_t sampled = awq__expert_sampled(&experts->states[e]);
        double weight = sampled ? (double)experts->states[e].routed / (double)sampled : 0;
        rtn += weight * block->bundles[e].rtn_error;
        chosen += weight * block->bundles[e].error;
    }
    return !(chosen <= rtn);
}

static awq_status write_others(const awq__block *block)
{
    const awq__arch *arch = arch_of(block);
    const awq__writer *writer = block->quantizer->writer;
    const awq__moe *moe = &block->folded.moe;
    int64_t n = block->layer->number;
    size_t norm = awq__arch_index(arch, n, AWQ__PART_MOE_NORM, -1);
    AWQ__CHECK(awq__store_vector(writer, &arch->modules[norm], moe->norm));
    const awq__weight *gates[] = {&moe->router, &moe->token_gate};
    for (awq__part part = AWQ__PART_ROUTER; part <= AWQ__PART_TOKEN_GATE; part++)
        if (awq__arch_has(arch, n, part))
            AWQ__CHECK(awq__store_weight(writer, &arch->modules[awq__arch_index(arch, n, part, -1)],
                                         gates[part - AWQ__PART_ROUTER]));
    return AWQ_OK;
}

/* ---- the report ---- */

static void report_expert(const awq__block *block, int64_t e, cJSON *object)
{
    const awq__experts *experts = block->own;
    const awq__bundle *bundle = &block->bundles[e];
    awq__json_builder *b = &block->quantizer->built;
    awq__json_add_number(b, object, "tokens", (double)experts->states[e].routed);
    awq__json_add_number(b, object, "borrowed", (double)experts->states[e].borrowed);
    awq__report_ratio(block, object, "down", bundle->readers[AWQ__EXPERT_DOWN]->input);
    awq__json_add_bool(b, object, "clipped", bundle->clipped);
    awq__json_add_number(b, object, "plain_error", bundle->rtn_error);
    awq__json_add_number(b, object, "error", bundle->error);
    if (awq__bundle_has_gptq(bundle)) {
        awq__json_add_number(b, object, "compensated_error", bundle->gptq_error);
        awq__json_add_bool(b, object, "compensated", bundle->by_gptq);
    }
}

static void report(const awq__block *block, const awq__proof *proof, cJSON *report)
{
    awq__json_builder *b = &block->quantizer->built;
    const awq__moe *moe = &block->layer->moe;
    cJSON *object = awq__json_add_object(b, report, "experts");
    awq__report_found(block, object, "gate_up", &block->inputs[0]);
    awq__json_add_number(b, object, "fold_error", proof->largest_error);
    awq__json_add_number(b, object, "fold_tokens", (double)proof->tokens);
    awq__json_add_number(b, object, "stored_router_agreement", proof->stored_agreement);
    awq__json_add_bool(b, object, "fell_back_to_plain_rounding", block->fell_back);
    cJSON *list = moe->routed_count ? awq__json_add_array(b, object, "each") : NULL;
    for (int64_t e = 0; e < moe->routed_count; e++)
        report_expert(block, e, awq__json_add_object(b, list, NULL));
    const char *other = moe->routed_count ? "shared" : "mlp";
    if (moe->expert_count > moe->routed_count)
        report_expert(block, moe->routed_count, awq__json_add_object(b, object, other));
}

static const awq__block_kind kind = {.shares = {0.1, 0.2, 0.8, 0.85, 0.95},
                                     .gather = gather,
                                     .pass = pass,
                                     .prove = prove,
                                     .clip = awq__expert_clip,
                                     .worse_than_rtn = worse_than_rtn,
                                     .gram = awq__expert_gram,
                                     .error = awq__expert_error,
                                     .write_others = write_others,
                                     .report = report};

/* ---- the inputs ---- */

/* The router and the gate of the shared expert read the same norm. */
static awq_status add_gate_up(awq__experts *experts)
{
    awq__block *block = &experts->block;
    const awq__moe *moe = &block->layer->moe;
    awq__moe *folded = &block->folded.moe;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = moe->norm,
                                 .folded_norm = &folded->norm,
                                 .norm_dtype = moe->norm_dtype,
                                 .others = {&folded->router, &folded->token_gate}};
    awq__add_input(block, block->layer->hidden);
    for (int64_t e = 0; e < moe->expert_count; e++) {
        const awq__expert *from = &moe->experts[e];
        awq__expert *to = &experts->folded[e];
        awq__bundle *bundle = awq__add_bundle(block, e);
        awq__add_seen(block);
        awq__add_reader(block, bundle, AWQ__PART_GATE, &from->gate, &to->gate);
        awq__add_reader(block, bundle, AWQ__PART_UP, &from->up, &to->up);
    }
    return awq__add_site(block, AWQ_FOLD_EXPERT_NORM, &site);
}

static awq_status add_down(awq__experts *experts, int64_t e)
{
    awq__block *block = &experts->block;
    const awq__weight *down = &block->layer->moe.experts[e].down;
    awq__expert *folded = &experts->folded[e];
    const awq__fold_site site = {
        .kind = AWQ__FOLD_ROWS, .producer = &folded->up, .run = down->cols, .shared = 1};
    awq__add_input(block, down->cols);
    awq__add_seen(block);
    awq__add_reader(block, &block->bundles[e], AWQ__PART_DOWN, down, &folded->down);
    return awq__add_site(block, AWQ_FOLD_UP, &site);
}

static awq_status add_inputs(awq__experts *experts)
{
    awq__block *block = &experts->block;
    const awq__moe *moe = &block->layer->moe;
    awq__experts_storage storage =
        awq__result_experts(block->quantizer->plan, block->layer->number);
    block->folded.moe.experts = experts->folded;
    memcpy(experts->folded, moe->experts, (size_t)moe->expert_count * sizeof *experts->folded);
    AWQ__CHECK(add_gate_up(experts));
    for (int64_t e = 0; e < moe->expert_count; e++) {
        AWQ__CHECK(add_down(experts, e));
        block->bundles[e].fused = storage != AWQ__EXPERTS_BY_NAME && e < moe->routed_count;
    }
    return AWQ_OK;
}

awq_status awq__experts_create(awq__quantizer *quantizer, const awq__layer *layer,
                               const awq__routes *routes, bool slopes, awq__experts *experts)
{
    int64_t E = layer->moe.expert_count;
    awq__block *block = &experts->block;
    const awq__block_counts most = {.inputs = 1 + E, .readers = 3 * E, .seen = 2 * E, .bundles = E};
    *experts = (awq__experts){.routes = routes};
    AWQ__CHECK(awq__block_create(quantizer, layer, &kind, most, block));
    block->own = experts;
    block->clip_bytes = awq__expert_clip_bytes(layer);
    block->round_bytes = awq__expert_round_bytes(layer);
    block->store_bytes = awq__expert_store_bytes(layer);
    experts->states = awq__alloc(quantizer->ctx, (size_t)E, sizeof *experts->states, "experts");
    experts->folded = awq__alloc(quantizer->ctx, (size_t)E, sizeof *experts->folded, "experts");
    AWQ__CHECK_ALLOC(experts->states && experts->folded);
    AWQ__CHECK(add_inputs(experts));
    experts->slopes = slopes || block->inputs[0].scale;
    return AWQ_OK;
}

void awq__experts_free(awq__experts *experts)
{
    for (int64_t e = 0; experts->states && e < experts->block.bundle_count; e++) {
        awq__free(experts->states[e].tokens);
        awq__free(experts->states[e].weights);
        awq__free(experts->states[e].slopes);
    }
    awq__free(experts->states);
    awq__free(experts->folded);
    awq__free_aligned(experts->sample);
    awq__block_free(&experts->block);
    *experts = (awq__experts){0};
}

awq_status awq__quantize_experts(awq__quantizer *quantizer, const awq__layer *layer,
                                 const awq__routes *routes, cJSON *report)
{
    awq_status status;
    awq__experts experts;
    AWQ__TRY(awq__experts_create(quantizer, layer, routes, false, &experts));
    AWQ__TRY(awq__quantize_block(&experts.block, report));
done:
    awq__experts_free(&experts);
    return status;
}

size_t awq__expert_round_bytes(const awq__layer *layer)
{
    size_t codes = 3 * (size_t)layer->hidden * (size_t)layer->moe.intermediate;
    return awq__expert_gram_bytes(layer) + codes;
}

/* Its codes with their scales, what they are packed into, and a block of weights. */
size_t awq__expert_store_bytes(const awq__layer *layer)
{
    size_t weights = (size_t)layer->hidden * (size_t)layer->moe.intermediate;
    return 2 * weights + (size_t)awq__expert_work(layer) * sizeof(float);
}
