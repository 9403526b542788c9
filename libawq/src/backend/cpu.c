/* The CPU's backend: which function is which operation. */
#include "backend/cpu.h"

/* ---- attention, experts ---- */

static awq_status nothing(awq__block *block)
{
    (void)block;
    return AWQ_OK;
}

/* One task at a time, with all threads in its own loops. */
static size_t one_task(const awq__layer *layer)
{
    (void)layer;
    return SIZE_MAX / 4;
}

static const awq__cpu_steps attention_steps = {
    .pass = nothing,
    .statistics = awq__cpu_attention_statistics,
    .prove = awq__cpu_prove_attention,
    .clip = awq__cpu_attention_clip,
    .gram = awq__cpu_attention_gram,
    .clip_bytes = one_task,
    .gptq_bytes = one_task,
    .bundle_bytes = one_task,
    .reader_bytes = one_task,
};

size_t awq__cpu_gptq_bytes(const awq__layer *layer)
{
    size_t codes = 3 * (size_t)layer->hidden * (size_t)layer->moe.intermediate;
    return awq__cpu_expert_gram_bytes(layer) + codes;
}

/* Its codes with their scales, what they are packed into, and a block of weights. */
size_t awq__cpu_store_bytes(const awq__layer *layer)
{
    size_t weights = (size_t)layer->hidden * (size_t)layer->moe.intermediate;
    return 2 * weights + (size_t)awq__expert_work(layer) * sizeof(float);
}

static size_t three_parts(const awq__layer *layer)
{
    return 3 * awq__cpu_store_bytes(layer);
}

static const awq__cpu_steps expert_steps = {
    .pass = awq__cpu_experts_pass,
    .statistics = awq__cpu_experts_statistics,
    .prove = awq__cpu_prove_experts,
    .clip = awq__cpu_expert_clip,
    .gram = awq__cpu_expert_gram,
    .error = awq__cpu_expert_error,
    .clip_bytes = awq__cpu_clip_bytes,
    .gptq_bytes = awq__cpu_gptq_bytes,
    .bundle_bytes = three_parts,
    .reader_bytes = awq__cpu_store_bytes,
};

/* ---- the operations ---- */

/* The CPU reads weights where they are. */
static awq_status layer_begin(awq_context *ctx, const awq__layer *layer)
{
    (void)ctx;
    (void)layer;
    return AWQ_OK;
}

static void layer_end(awq_context *ctx, const awq__layer *layer)
{
    (void)ctx;
    (void)layer;
}

static awq_status block_begin(awq__block *block)
{
    return awq__cpu_block_begin(block, block->kind == AWQ__BLOCK_EXPERTS ? &expert_steps
                                                                         : &attention_steps);
}

static awq_status pass(awq__block *block)
{
    return block->data->steps->pass(block);
}

static awq_status statistics(awq__block *block)
{
    return block->data->steps->statistics(block);
}

static awq_status prove(awq__block *block, awq__proof *proof)
{
    return block->data->steps->prove(block, proof);
}

static void drop_ranges(awq__block *block)
{
    for (int64_t i = 0; i < block->bundle_count; i++)
        awq__cpu_drop_ranges(&block->bundles[i]);
    for (int64_t i = 0; i < block->seen_count; i++) {
        awq__free(block->seen[i].data->importance); /* of folded weights */
        block->seen[i].data->importance = NULL;
    }
}

static size_t round_bytes(const awq__block *block)
{
    const awq__cpu_steps *steps = block->data->steps;
    for (int64_t i = 0; i < block->bundle_count; i++)
        if (awq__bundle_has_gptq(&block->bundles[i]))
            return steps->gptq_bytes(block->layer);
    return steps->bundle_bytes(block->layer);
}

static size_t round_reader_bytes(const awq__block *block)
{
    return block->data->steps->reader_bytes(block->layer);
}

const awq__backend awq__backend_cpu = {
    .memory = &awq__system_memory,
    .layer_begin = layer_begin,
    .layer_end = layer_end,
    .states_create = awq__cpu_states_create,
    .states_free = awq__cpu_states_free,
    .attention = awq__cpu_attention,
    .route = awq__cpu_route,
    .experts = awq__cpu_experts,
    .sum_squares = awq__cpu_sum_squares,
    .compare_logits = awq__cpu_compare_logits,
    .block_begin = block_begin,
    .block_end = awq__cpu_block_end,
    .pass = pass,
    .statistics = statistics,
    .mean_squares = awq__cpu_mean_squares,
    .search = awq__cpu_search,
    .scheme_losses = awq__cpu_scheme_losses,
    .prove = prove,
    .clip = awq__cpu_clip,
    .drop_ranges = drop_ranges,
    .round = awq__cpu_round,
    .round_reader = awq__cpu_round_reader,
    .round_bytes = round_bytes,
    .round_reader_bytes = round_reader_bytes,
};

const awq__backend *awq__backend_of(const awq_context *ctx)
{
    const awq__backend *given = awq__context_backend(ctx);
    return given ? given : &awq__backend_cpu;
}

void awq__backend_use(awq_context *ctx, const awq__backend *backend)
{
    awq__context_set_backend(ctx, backend, backend->memory);
}
