/* The CPU's backend: which function is which operation. */
#include "backend/cpu.h"

static awq_status pass(awq__block *block)
{
    return block->kind == AWQ__BLOCK_EXPERTS ? awq__cpu_experts_pass(block) : AWQ_OK;
}

static awq_status statistics(awq__block *block)
{
    return block->kind == AWQ__BLOCK_EXPERTS ? awq__cpu_experts_statistics(block)
                                             : awq__cpu_attention_statistics(block);
}

static void drop_ranges(awq__block *block)
{
    for (int64_t i = 0; i < block->bundle_count; i++)
        awq__cpu_drop_ranges(&block->bundles[i]);
}

static bool is_attention(const awq__block *block)
{
    return block->kind == AWQ__BLOCK_ATTENTION;
}

static size_t round_bytes(const awq__block *block)
{
    bool gptq = false;
    for (int64_t i = 0; i < block->bundle_count; i++)
        gptq |= awq__bundle_has_gptq(&block->bundles[i]);
    if (is_attention(block))
        return AWQ__ONE_TASK_BYTES;
    return gptq ? awq__cpu_gptq_bytes(block->layer) : 3 * awq__cpu_store_bytes(block->layer);
}

static size_t round_reader_bytes(const awq__block *block)
{
    return is_attention(block) ? AWQ__ONE_TASK_BYTES : awq__cpu_store_bytes(block->layer);
}

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

const awq__backend awq__backend_cpu = {
    .name = "cpu",
    .memory = &awq__system_memory,
    .states_create = awq__cpu_states_create,
    .states_free = awq__cpu_states_free,
    .attention = awq__cpu_attention,
    .route = awq__cpu_route,
    .experts = awq__cpu_experts,
    .sum_squares = awq__cpu_sum_squares,
    .compare_logits = awq__cpu_compare_logits,
    .block_begin = awq__cpu_block_begin,
    .block_end = awq__cpu_block_end,
    .pass = pass,
    .statistics = statistics,
    .search = awq__cpu_search,
    .scheme_losses = awq__cpu_scheme_losses,
    .prove = awq__cpu_prove,
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
