/*
 * Granite 3 mixtures of experts (IBM): multipliers of embedding, residual stream, attention and
 * logits, and experts in fused tensors. Facts from transformers' configuration, modeling and
 * conversion of model_type "granitemoe".
 */
#include "describe.h"

#define BLOCK "block_sparse_moe."

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    double scaling = 1;
    awq_status status;
    if ((status = describe_usual_model(host, 1e-6, 0, model)) ||
        (status = read_number(host, "embedding_multiplier", 1, &model->embedding_multiplier)) ||
        (status = read_number(host, "logits_scaling", 1, &scaling)))
        return status;
    if (!(scaling > 0))
        return host->fail(host, "logits_scaling is not positive");
    model->logits_multiplier = 1 / scaling;
    return AWQ_OK;
}

static void name_fused(const awq_host *host, int64_t n, awq_arch_experts *experts)
{
    name(experts->gate, n, BLOCK EXPERT("w1"));
    name(experts->up, n, BLOCK EXPERT("w3"));
    name(experts->down, n, BLOCK EXPERT("w2"));
    name(experts->fused_gate_up, n, BLOCK "input_linear.weight");
    name(experts->fused_down, n, BLOCK "output_linear.weight");
    /* Separate in what awqc has written; without weights on disk fused, as the hub has them. */
    char first[AWQ_NAME_BYTES];
    name(first, n, "input_layernorm.weight");
    experts->layout =
        host->has_tensor(host, first) && !host->has_tensor(host, experts->fused_gate_up)
            ? AWQ_EXPERTS_SEPARATE
            : AWQ_EXPERTS_FUSED;
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_attention *attention = &layer->attention;
    awq_arch_experts *experts = &layer->experts;
    awq_status status;
    layer->folds = ALL_FOLDS;
    name_norms(layer, n);
    name(layer->router.name, n, BLOCK "router.layer");
    layer->router.scoring = AWQ_SCORING_TOPK_SOFTMAX;
    name_fused(host, n, experts);
    if ((status = expect_text(host, "hidden_act", "silu")) ||
        (status = describe_attention(host, n, attention)) ||
        (status = read_flag(host, "attention_bias", 0, &attention->qkv_bias)) ||
        (status = read_number(host, "attention_multiplier", 1, &attention->logit_scale)) ||
        (status = read_number(host, "residual_multiplier", 1, &layer->residual_multiplier)) ||
        (status = read_size(host, "num_local_experts", NULL, &experts->count)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)))
        return status;
    attention->o_bias = attention->qkv_bias;
    return read_size(host, "intermediate_size", NULL, &experts->intermediate_size);
}

static const char *const model_types[] = {"granitemoe", NULL};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("granite_moe", model_types)};
