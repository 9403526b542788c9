/* The backend that works on a device: which function is which operation. */
#include "backend/gpu.h"

/* Weights cross when they are first used. */
static awq_status layer_begin(awq_context *ctx, const awq__layer *layer)
{
    (void)ctx;
    (void)layer;
    return AWQ_OK;
}

static void drop_ranges(awq__block *block)
{
    awq__backend_cpu.drop_ranges(block);
}

static size_t round_bytes(const awq__block *block)
{
    return awq__backend_cpu.round_bytes(block);
}

static size_t round_reader_bytes(const awq__block *block)
{
    return awq__backend_cpu.round_reader_bytes(block);
}

const awq__backend awq__backend_gpu = {
    .memory = &awq__system_memory,
    .layer_begin = layer_begin,
    .layer_end = awq__gpu_layer_end,
    .states_create = awq__gpu_states_create,
    .states_free = awq__gpu_states_free,
    .attention = awq__gpu_attention,
    .route = awq__gpu_route,
    .experts = awq__gpu_experts,
    .sum_squares = awq__gpu_sum_squares,
    .compare_logits = awq__gpu_compare_logits,
    .block_begin = awq__gpu_block_begin,
    .block_end = awq__gpu_block_end,
    .pass = awq__gpu_pass,
    .statistics = awq__gpu_statistics,
    .mean_squares = awq__gpu_mean_squares,
    .search = awq__gpu_search,
    .scheme_losses = awq__gpu_scheme_losses,
    .prove = awq__gpu_prove,
    .clip = awq__gpu_clip,
    .drop_ranges = drop_ranges,
    .round = awq__gpu_round,
    .round_reader = awq__gpu_round_reader,
    .round_bytes = round_bytes,
    .round_reader_bytes = round_reader_bytes,
};
