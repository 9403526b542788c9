/*
 * Llama-4 (Meta), its text model: most layers have rotary embeddings, keys of one chunk and norms
 * without weights, the others none of that; the router's weight multiplies the input of an expert;
 * dense layers may stand between. Facts from transformers' configuration and modeling of
 * model_types "llama4" and "llama4_text".
 */
#include "describe.h"

#define BLOCK "feed_forward."

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    awq_status status = expect_theta(host);
    return status == AWQ_OK ? describe_usual_model(host, 1e-5, 0, model) : status;
}

/* Has the layer a rotary embedding? no_rope_layers has 1 where there is one. */
static awq_status read_turns(const awq_host *host, int64_t n, int64_t *turns)
{
    const int64_t four = 4;
    int64_t interval;
    char key[64];
    awq_status status = read_size(host, "no_rope_layer_interval", &four, &interval);
    if (status != AWQ_OK)
        return status;
    const int64_t usual = (n + 1) % interval != 0;
    snprintf(key, sizeof key, "no_rope_layers.%" PRId64, n);
    return host->config_int(host, key, &usual, turns);
}

static awq_status describe_turning(const awq_host *host, awq_arch_attention *attention)
{
    const int64_t none = 0;
    int32_t norms = 0;
    awq_status status = read_flag(host, "use_qk_norm", 1, &norms);
    attention->adjacent_pairs = 1;
    attention->norm_after_rope = 1;
    if (norms)
        attention->norm_without_weight = AWQ_BARE_NORM_Q | AWQ_BARE_NORM_K;
    return status == AWQ_OK
               ? host->config_int(host, "attention_chunk_size", &none, &attention->chunk)
               : status;
}

static awq_status describe_still(const awq_host *host, awq_arch_attention *attention)
{
    int32_t tuned = 0;
    awq_status status = read_flag(host, "attn_temperature_tuning", 1, &tuned);
    attention->rope = -1;
    if (status != AWQ_OK || !tuned)
        return status;
    status = read_number(host, "floor_scale", 8192, &attention->temperature_floor);
    return status == AWQ_OK ? read_number(host, "attn_scale", 0.1, &attention->temperature_scale)
                            : status;
}

/* In moe_layers, or every interleave_moe_layer_step-th where that is not there. */
static awq_status has_experts(const awq_host *host, int64_t n, int *sparse)
{
    const int64_t end = -1, one = 1;
    int64_t listed = 0, step;
    char key[64];
    awq_status status = AWQ_OK;
    *sparse = 0;
    for (int64_t i = 0; status == AWQ_OK && listed != end; i++) {
        snprintf(key, sizeof key, "moe_layers.%" PRId64, i);
        status = host->config_int(host, key, &end, &listed);
        *sparse |= listed == n;
        if (i > 0 || listed != end)
            continue;
        status = read_size(host, "interleave_moe_layer_step", &one, &step);
        *sparse = status == AWQ_OK && (n + 1) % step == 0;
    }
    return status;
}

static awq_status describe_experts(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_experts *experts = &layer->experts;
    char first[AWQ_NAME_BYTES];
    awq_status status;
    name(layer->router.name, n, BLOCK "router");
    layer->router.scoring = AWQ_SCORING_SIGMOID_TOPK;
    layer->router.scales_input = 1;
    name(experts->gate, n, BLOCK EXPERT("gate_proj"));
    name(experts->up, n, BLOCK EXPERT("up_proj"));
    name(experts->down, n, BLOCK EXPERT("down_proj"));
    name(experts->fused_gate_up, n, BLOCK "experts.gate_up_proj");
    name(experts->fused_down, n, BLOCK "experts.down_proj");
    name(first, n, "input_layernorm.weight");
    experts->layout =
        host->has_tensor(host, first) && !host->has_tensor(host, experts->fused_gate_up)
            ? AWQ_EXPERTS_SEPARATE
            : AWQ_EXPERTS_FUSED_TRANSPOSED;
    name_mlp(&layer->shared, n, BLOCK "shared_expert");
    if ((status = read_size(host, "num_local_experts", NULL, &experts->count)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)) ||
        (status = read_size(host, "intermediate_size", NULL, &experts->intermediate_size)))
        return status;
    layer->shared.intermediate_size = experts->intermediate_size;
    return AWQ_OK;
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_attention *attention = &layer->attention;
    int64_t turns;
    int sparse;
    awq_status status;
    layer->folds = ALL_FOLDS;
    name_norms(layer, n);
    if ((status = expect_text(host, "hidden_act", "silu")) ||
        (status = describe_attention(host, n, attention)) ||
        (status = read_flag(host, "attention_bias", 0, &attention->qkv_bias)) ||
        (status = read_turns(host, n, &turns)) ||
        (status = (turns ? describe_turning : describe_still)(host, attention)) ||
        (status = has_experts(host, n, &sparse)))
        return status;
    attention->o_bias = attention->qkv_bias;
    if (sparse)
        return describe_experts(host, n, layer);
    name_mlp(&layer->shared, n, "feed_forward");
    return read_size(host, "intermediate_size_mlp", NULL, &layer->shared.intermediate_size);
}

static const char *const model_types[] = {"llama4", "llama4_text", NULL};

static const awq_wrapped wrapped[] = {{"llama4", "text_config", "", "language_model."},
                                      {NULL, NULL, NULL, NULL}};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("llama4", model_types), .wrapped = wrapped};
