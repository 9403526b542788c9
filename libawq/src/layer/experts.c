/* The experts of a layer: their inputs, what is written and told of them. */
#include "layer/experts.h"

#include <string.h>

enum { READER_GATE, READER_UP, READER_DOWN };

static const awq__arch *arch_of(const awq__work *work)
{
    return work->quantizer->plan->model->arch;
}

/* ---- steps that are the experts' own ---- */

static awq_status pass(awq__work *work)
{
    const awq__block *block = &work->block;
    if (!work->quantizer->plan->rules.calibrate)
        return AWQ_OK;
    return work->backend->experts(block->states, block->layer, block->routes);
}

/* Over all experts, in proportion to their tokens. */
static bool worse_than_rtn(const awq__block *block)
{
    double rtn = 0, chosen = 0;
    for (int64_t e = 0; e < block->bundle_count; e++) {
        const awq__bundle *bundle = &block->bundles[e];
        double weight = bundle->sampled ? (double)bundle->routed / (double)bundle->sampled : 0;
        rtn += weight * bundle->rtn_error;
        chosen += weight * bundle->error;
    }
    return !(chosen <= rtn);
}

/* The norm after the attention, too: it is of none of the attention's kinds. */
static awq_status write_vectors(const awq__work *work)
{
    const awq__layer *source = work->block.layer;
    const awq__moe *moe = &source->moe, *folded = &work->block.folded.moe;
    const struct {
        awq__part part;
        const float *source, *values;
    } vectors[] = {
        {AWQ__PART_ATTENTION_POST_NORM, source->attention.post_norm, source->attention.post_norm},
        {AWQ__PART_MOE_NORM, moe->norm, folded->norm},
        {AWQ__PART_SHARED_NORM, moe->shared_norm, folded->shared_norm},
        {AWQ__PART_EXPERTS_POST_NORM, moe->experts_post_norm, moe->experts_post_norm},
        {AWQ__PART_SHARED_POST_NORM, moe->shared_post_norm, moe->shared_post_norm},
        {AWQ__PART_MOE_POST_NORM, moe->post_norm, moe->post_norm},
        {AWQ__PART_LAYER_SCALAR, moe->layer_scalar, moe->layer_scalar},
        {AWQ__PART_ROUTER_CORRECTION, moe->routing.correction, moe->routing.correction},
        {AWQ__PART_ROUTER_INPUT_SCALE, moe->router_input_scale, moe->router_input_scale},
        {AWQ__PART_ROUTER_EXPERT_SCALE, moe->routing.expert_scale, moe->routing.expert_scale},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        AWQ__CHECK(awq__write_vector(work, vectors[i].part, vectors[i].source, vectors[i].values));
    return AWQ_OK;
}

static awq_status write_others(const awq__work *work)
{
    const awq__arch *arch = arch_of(work);
    const awq__writer *writer = work->quantizer->writer;
    const awq__block *block = &work->block;
    const awq__moe *moe = &block->folded.moe;
    int64_t n = block->layer->number;
    AWQ__CHECK(write_vectors(work));
    const awq__weight *gates[] = {&moe->router, &moe->token_gate};
    for (awq__part part = AWQ__PART_ROUTER; part <= AWQ__PART_TOKEN_GATE; part++)
        if (awq__arch_has(arch, n, part))
            AWQ__CHECK(awq__store_weight(writer, &arch->modules[awq__arch_index(arch, n, part, -1)],
                                         gates[part - AWQ__PART_ROUTER]));
    return AWQ_OK;
}

/* ---- the report ---- */

static void report_expert(const awq__work *work, int64_t e, cJSON *object)
{
    const awq__bundle *bundle = &work->block.bundles[e];
    awq__json_builder *b = &work->quantizer->built;
    awq__json_add_number(b, object, "tokens", (double)bundle->routed);
    awq__json_add_number(b, object, "borrowed", (double)bundle->borrowed);
    awq__json_add_number(b, object, "sampled", (double)bundle->sampled);
    awq__report_ratio(work, object, bundle->readers[READER_DOWN]->input);
    awq__json_add_bool(b, object, "clipped", bundle->clipped);
    awq__json_add_number(b, object, "rtn_error", bundle->rtn_error);
    awq__json_add_number(b, object, "error", bundle->error);
    if (awq__bundle_has_gptq(bundle)) {
        awq__json_add_number(b, object, "gptq_error", bundle->gptq_error);
        awq__json_add_bool(b, object, "gptq", bundle->by_gptq);
    }
}

static void report(const awq__work *work, const awq__proof *proof, cJSON *report)
{
    const awq__block *block = &work->block;
    awq__json_builder *b = &work->quantizer->built;
    const awq__moe *moe = &block->layer->moe;
    cJSON *object = awq__json_add_object(b, report, "experts");
    awq__report_found(work, object, &block->inputs[0]);
    if (moe->shared_norm)
        awq__report_found(work, object, &block->inputs[1]);
    awq__json_add_number(b, object, "fold_error", proof->largest_error);
    awq__json_add_number(b, object, "fold_tokens", (double)proof->tokens);
    awq__json_add_number(b, object, "stored_router_agreement", proof->stored_agreement);
    awq__json_add_bool(b, object, "fell_back_to_rtn", work->fell_back);
    cJSON *list = moe->routed_count ? awq__json_add_array(b, object, "each") : NULL;
    for (int64_t e = 0; e < moe->routed_count; e++)
        report_expert(work, e, awq__json_add_object(b, list, NULL));
    const char *other = moe->routed_count ? "shared" : "mlp";
    if (moe->expert_count > moe->routed_count)
        report_expert(work, moe->routed_count, awq__json_add_object(b, object, other));
}

static const awq__block_steps steps = {.shares = {0.1, 0.2, 0.8, 0.85, 0.95},
                                       .pass = pass,
                                       .worse_than_rtn = worse_than_rtn,
                                       .write_others = write_others,
                                       .report = report};

/* ---- the inputs ---- */

static void add_gate_and_up(awq__experts *experts, int64_t e)
{
    awq__work *work = &experts->work;
    const awq__expert *from = &work->block.layer->moe.experts[e];
    awq__expert *to = &experts->folded[e];
    awq__bundle *bundle = awq__add_bundle(work, e);
    awq__add_seen(work);
    awq__add_reader(work, bundle, AWQ__PART_GATE, &from->gate, &to->gate);
    awq__add_reader(work, bundle, AWQ__PART_UP, &from->up, &to->up);
}

/* Experts of the common norm: all, unless the shared one has its own. */
static int64_t common_count(const awq__moe *moe)
{
    return moe->shared_norm ? moe->routed_count : moe->expert_count;
}

/* The router, unless it reads the residual, and the gate of the shared expert read the same norm.
 */
static awq_status add_gate_up(awq__experts *experts)
{
    awq__work *work = &experts->work;
    awq__block *block = &work->block;
    const awq__moe *moe = &block->layer->moe;
    awq__moe *folded = &block->folded.moe;
    const awq__fold_site site = {
        .kind = AWQ__FOLD_NORM,
        .norm = moe->norm,
        .folded_norm = &folded->norm,
        .norm_dtype = moe->norm_dtype,
        .norm_shift = moe->norm_shift,
        .run = block->layer->hidden,
        .shared = 1,
        .others = {moe->reads_residual ? NULL : &folded->router, &folded->token_gate}};
    awq__add_input(work, "gate_up", block->layer->hidden);
    for (int64_t e = 0; e < common_count(moe); e++)
        add_gate_and_up(experts, e);
    return awq__add_site(work, AWQ_FOLD_EXPERT_NORM, &site);
}

/* Of a shared expert with a norm of its own. */
static awq_status add_shared_gate_up(awq__experts *experts)
{
    awq__work *work = &experts->work;
    const awq__moe *moe = &work->block.layer->moe;
    const awq__fold_site site = {.kind = AWQ__FOLD_NORM,
                                 .norm = moe->shared_norm,
                                 .folded_norm = &work->block.folded.moe.shared_norm,
                                 .norm_dtype = moe->shared_norm_dtype,
                                 .norm_shift = moe->norm_shift,
                                 .run = work->block.layer->hidden,
                                 .shared = 1};
    awq__add_input(work, "shared_gate_up", work->block.layer->hidden);
    add_gate_and_up(experts, moe->routed_count);
    return awq__add_site(work, AWQ_FOLD_SHARED_NORM, &site);
}

static awq_status add_down(awq__experts *experts, int64_t e)
{
    awq__work *work = &experts->work;
    awq__block *block = &work->block;
    const awq__weight *down = &block->layer->moe.experts[e].down;
    awq__expert *folded = &experts->folded[e];
    const awq__fold_site site = {.kind = AWQ__FOLD_ROWS,
                                 .producer = &folded->up,
                                 .run = down->cols,
                                 .shared = 1,
                                 .stride = down->cols};
    awq__add_input(work, "down", down->cols);
    awq__add_seen(work);
    awq__add_reader(work, &block->bundles[e], AWQ__PART_DOWN, down, &folded->down);
    return awq__add_site(work, AWQ_FOLD_UP, &site);
}

static awq_status add_inputs(awq__experts *experts)
{
    awq__work *work = &experts->work;
    awq__block *block = &work->block;
    const awq__moe *moe = &block->layer->moe;
    awq__experts_storage storage = awq__result_experts(work->quantizer->plan, block->layer->number);
    block->folded.moe.experts = experts->folded;
    memcpy(experts->folded, moe->experts, (size_t)moe->expert_count * sizeof *experts->folded);
    AWQ__CHECK(add_gate_up(experts));
    if (moe->shared_norm)
        AWQ__CHECK(add_shared_gate_up(experts));
    for (int64_t e = 0; e < moe->expert_count; e++) {
        AWQ__CHECK(add_down(experts, e));
        block->bundles[e].fused = storage != AWQ__EXPERTS_BY_NAME && e < moe->routed_count;
    }
    return AWQ_OK;
}

awq_status awq__experts_create(awq__quantizer *quantizer, const awq__layer *layer,
                               const awq__routes *routes, bool row_weights, awq__experts *experts)
{
    int64_t E = layer->moe.expert_count;
    awq__block *block = &experts->work.block;
    const awq__block_counts most = {.inputs = 2 + E, .readers = 3 * E, .seen = 2 * E, .bundles = E};
    *experts = (awq__experts){0};
    AWQ__CHECK(
        awq__work_create(quantizer, layer, &steps, AWQ__BLOCK_EXPERTS, most, &experts->work));
    block->routes = routes;
    experts->folded = awq__alloc(quantizer->ctx, (size_t)E, sizeof *experts->folded, "experts");
    AWQ__CHECK_ALLOC(experts->folded);
    AWQ__CHECK(add_inputs(experts));
    block->row_weights =
        row_weights || block->inputs[0].scale || (layer->moe.shared_norm && block->inputs[1].scale);
    return AWQ_OK;
}

void awq__experts_free(awq__experts *experts)
{
    awq__work_free(&experts->work);
    awq__free(experts->folded);
    *experts = (awq__experts){0};
}

awq_status awq__quantize_experts(awq__quantizer *quantizer, const awq__layer *layer,
                                 const awq__routes *routes, cJSON *report)
{
    awq_status status;
    awq__experts experts;
    AWQ__TRY(awq__experts_create(quantizer, layer, routes, false, &experts));
    AWQ__TRY(awq__quantize_block(&experts.work, report));
done:
    awq__experts_free(&experts);
    return status;
}
