/*
 * ERNIE-4.5 (Baidu): a softmax router that is corrected for the choice, beside a shared MLP; some
 * layers have a dense MLP. Adjacent pairs of channels turn. Facts from transformers' configuration
 * and modeling of model_type "ernie4_5_moe".
 */
#include "describe.h"

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    awq_status status = expect_theta(host);
    return status == AWQ_OK ? describe_usual_model(host, 1e-5, 1, model) : status;
}

static awq_status has_experts(const awq_host *host, int64_t n, int *sparse)
{
    const int64_t one = 1, last = -1;
    int64_t start, end, interval;
    awq_status status;
    if ((status = host->config_int(host, "moe_layer_start_index", &one, &start)) ||
        (status = host->config_int(host, "moe_layer_end_index", &last, &end)) ||
        (status = read_size(host, "moe_layer_interval", &one, &interval)))
        return status;
    *sparse = (n + 1) % interval == 0 && n >= start && (end == last || n <= end);
    return AWQ_OK;
}

static awq_status describe_experts(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    const int64_t two = 2;
    int64_t shared;
    awq_arch_experts *experts = &layer->experts;
    awq_status status;
    name(layer->router.name, n, "mlp.gate");
    name(layer->router_correction, n, "mlp.moe_statics.e_score_correction_bias");
    layer->router.scoring = AWQ_SCORING_SOFTMAX_TOPK;
    layer->router.renormalize = 1;
    name_experts(host, experts, n);
    if ((status = read_number(host, "moe_norm_min", 1e-12, &layer->router.weight_floor)) ||
        (status = read_size(host, "moe_num_experts", NULL, &experts->count)) ||
        (status = read_size(host, "moe_k", NULL, &experts->per_token)) ||
        (status = read_size(host, "moe_intermediate_size", NULL, &experts->intermediate_size)) ||
        (status = host->config_int(host, "moe_num_shared_experts", &two, &shared)) || shared < 1)
        return status;
    name_mlp(&layer->shared, n, "mlp.shared_experts");
    layer->shared.intermediate_size = shared * experts->intermediate_size;
    return AWQ_OK;
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    int32_t bias;
    int sparse;
    awq_status status;
    layer->folds = ALL_FOLDS;
    layer->attention.adjacent_pairs = 1;
    name_norms(layer, n);
    if ((status = expect_text(host, "hidden_act", "silu")) ||
        (status = read_flag(host, "use_bias", 0, &bias)) ||
        (status = describe_attention(host, n, &layer->attention)) ||
        (status = has_experts(host, n, &sparse)))
        return status;
    if (bias)
        return host->fail(host, "use_bias is true: MLPs with biases are not known of ERNIE-4.5");
    if (sparse)
        return describe_experts(host, n, layer);
    name_mlp(&layer->shared, n, "mlp");
    return read_size(host, "intermediate_size", NULL, &layer->shared.intermediate_size);
}

static const char *const model_types[] = {"ernie4_5_moe", NULL};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("ernie_moe", model_types)};
