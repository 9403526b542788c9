/*
 * DeepSeek-V2, V3 and R1, Kimi-K2 and GLM-4.7-Flash: attention by latents (MLA), the first layers
 * dense, beside the experts a shared MLP. V2's router takes a softmax, and may choose among groups
 * by their best expert; the others take sigmoids with a correction, and compare groups by their two
 * best. Facts from transformers' configuration and modeling of these model types, and from the
 * models' own config.json. The layers of prediction (MTP) behind the last one are not described:
 * they are copied.
 */
#include "describe.h"

#include <math.h>

#define LATENT_EPSILON 1e-6 /* of the latents' norms, whatever the model's is */

typedef struct family {
    int v2, glm;
} family;

static awq_status read_family(const awq_host *host, family *f)
{
    const char *type;
    awq_status status = host->config_string(host, "model_type", NULL, &type);
    if (status != AWQ_OK)
        return status;
    *f = (family){.v2 = !strcmp(type, "deepseek_v2"), .glm = !strcmp(type, "glm4_moe_lite")};
    return AWQ_OK;
}

/* ---- attention ---- */

/* A number of the rotary embedding, by the newer or the older name of the object; 0: it is not
   there. */
static awq_status read_rope(const awq_host *host, const char *member, double *number)
{
    char key[64];
    double newer;
    awq_status status;
    snprintf(key, sizeof key, "rope_scaling.%s", member);
    if ((status = read_number(host, key, 0, number)))
        return status;
    snprintf(key, sizeof key, "rope_parameters.%s", member);
    if ((status = read_number(host, key, *number, &newer)))
        return status;
    *number = newer;
    return AWQ_OK;
}

/* YaRN with mscale_all_dim makes logits larger (arXiv 2309.00071, and DeepSeek's code). */
static awq_status read_logit_scale(const awq_host *host, awq_arch_attention *attention)
{
    double factor, weight, scale = 1;
    awq_status status;
    if ((status = read_rope(host, "factor", &factor)) ||
        (status = read_rope(host, "mscale_all_dim", &weight)))
        return status;
    if (weight != 0 && factor > 1)
        scale = 0.1 * weight * log(factor) + 1;
    attention->logit_scale = scale * scale / sqrt((double)attention->head_dim);
    return AWQ_OK;
}

/* q is made at once, or of a latent too. */
static awq_status describe_queries(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    const int64_t none = 0;
    awq_arch_latent *latent = &layer->latent;
    awq_status status = host->config_int(host, "q_lora_rank", &none, &latent->q_rank);
    if (status != AWQ_OK || !latent->q_rank) {
        name(layer->attention.q, n, "self_attn.q_proj");
        return status;
    }
    name(latent->q_a, n, "self_attn.q_a_proj");
    name(latent->q_a_norm, n, "self_attn.q_a_layernorm");
    name(latent->q_b, n, "self_attn.q_b_proj");
    layer->folds |= AWQ_FOLD_LATENT_Q;
    return AWQ_OK;
}

static awq_status describe_attention_by_latents(const awq_host *host, int64_t n,
                                                awq_arch_layer *layer)
{
    awq_arch_attention *attention = &layer->attention;
    awq_arch_latent *latent = &layer->latent;
    awq_status status;
    layer->folds |= AWQ_FOLD_LATENT_KV;
    name(latent->kv_a, n, "self_attn.kv_a_proj_with_mqa");
    name(latent->kv_a_norm, n, "self_attn.kv_a_layernorm");
    name(latent->kv_b, n, "self_attn.kv_b_proj");
    name(attention->o, n, "self_attn.o_proj");
    latent->norm_epsilon = LATENT_EPSILON;
    if ((status = describe_queries(host, n, layer)) ||
        (status = read_size(host, "num_attention_heads", NULL, &attention->heads)) ||
        (status = read_size(host, "kv_lora_rank", NULL, &latent->kv_rank)) ||
        (status = read_size(host, "qk_nope_head_dim", NULL, &latent->nope_dim)) ||
        (status = read_size(host, "qk_rope_head_dim", NULL, &latent->rope_dim)) ||
        (status = read_size(host, "v_head_dim", NULL, &latent->value_dim)) ||
        (status = read_flag(host, "attention_bias", 0, &latent->a_bias)) ||
        (status = read_flag(host, "rope_interleave", 1, &attention->adjacent_pairs)))
        return status;
    attention->kv_heads = attention->heads;
    attention->head_dim = latent->nope_dim + latent->rope_dim;
    attention->o_bias = latent->a_bias;
    return read_logit_scale(host, attention);
}

/* ---- router ---- */

/* V2: "greedy", or "group_limited_greedy". */
static awq_status describe_softmax(const awq_host *host, awq_arch_router *router)
{
    const char *greedy = "greedy", *method;
    awq_status status;
    router->scoring = AWQ_SCORING_SOFTMAX_TOPK;
    router->group_score = AWQ_GROUP_MAX;
    if ((status = host->config_string(host, "topk_method", &greedy, &method)) ||
        (status = read_flag(host, "norm_topk_prob", 0, &router->renormalize)))
        return status;
    if (router->renormalize)
        return host->fail(host, "norm_topk_prob is true in a deepseek_v2, for which "
                                "implementations differ; expected false, as in the models that "
                                "are known");
    if (!strcmp(method, "group_limited_greedy"))
        return AWQ_OK;
    router->groups = router->groups_kept = 0;
    return !strcmp(method, greedy) ? AWQ_OK
                                   : host->fail(host, "topk_method is neither greedy nor "
                                                      "group_limited_greedy");
}

static awq_status describe_sigmoid(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_arch_router *router = &layer->router;
    awq_status status;
    router->scoring = AWQ_SCORING_SIGMOID_TOPK;
    router->group_score = AWQ_GROUP_TOP2_SUM;
    name(layer->router_correction, n, "mlp.gate.e_score_correction_bias");
    if ((status = expect_text(host, "scoring_func", "sigmoid")) ||
        (status = expect_text(host, "topk_method", "noaux_tc")))
        return status;
    return read_flag(host, "norm_topk_prob", 1, &router->renormalize);
}

static awq_status describe_router(const awq_host *host, int64_t n, int v2, awq_arch_layer *layer)
{
    const int64_t one = 1;
    int64_t groups, kept;
    awq_arch_router *router = &layer->router;
    awq_status status;
    name(router->name, n, "mlp.gate");
    if ((status = read_size(host, "n_group", &one, &groups)) ||
        (status = read_size(host, "topk_group", &one, &kept)) ||
        (status = read_number(host, "routed_scaling_factor", 1, &router->scaling)))
        return status;
    if (groups > INT32_MAX || kept > groups)
        return host->fail(host, "topk_group is more than n_group, the groups there are");
    if (groups > 1) {
        router->groups = (int32_t)groups;
        router->groups_kept = (int32_t)kept;
    }
    return v2 ? describe_softmax(host, router) : describe_sigmoid(host, n, layer);
}

/* ---- experts, or one dense MLP ---- */

static awq_status is_dense(const awq_host *host, int64_t n, const family *f, int *dense)
{
    const int64_t usual = f->v2 ? 0 : f->glm ? 1 : 3, every = 1;
    const char *none = NULL, *kind;
    int64_t first, step;
    char key[64];
    awq_status status;
    snprintf(key, sizeof key, "mlp_layer_types.%" PRId64, n);
    if ((status = host->config_int(host, "first_k_dense_replace", &usual, &first)) ||
        (status = host->config_int(host, "moe_layer_freq", &every, &step)) ||
        (status = host->config_string(host, key, &none, &kind)))
        return status;
    if (step != 1)
        return host->fail(host, "moe_layer_freq is not 1, the only one that is known");
    *dense = kind ? !strcmp(kind, "dense") : n < first;
    return AWQ_OK;
}

static awq_status describe_experts(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    const int64_t none = 0;
    int64_t shared;
    awq_arch_experts *experts = &layer->experts;
    awq_status status;
    name_experts(host, experts, n);
    if ((status = read_size(host, "n_routed_experts", NULL, &experts->count)) ||
        (status = read_size(host, "num_experts_per_tok", NULL, &experts->per_token)) ||
        (status = read_size(host, "moe_intermediate_size", NULL, &experts->intermediate_size)) ||
        (status = host->config_int(host, "n_shared_experts", &none, &shared)) || shared < 1)
        return status;
    if (shared > INT32_MAX || experts->intermediate_size > INT32_MAX)
        return host->fail(host, "n_shared_experts or moe_intermediate_size is too large");
    name_mlp(&layer->shared, n, "mlp.shared_experts");
    layer->shared.intermediate_size = shared * experts->intermediate_size;
    return AWQ_OK;
}

/* ---- the two functions of a plugin ---- */

static awq_status describe_model(const awq_host *host, awq_arch_model *model)
{
    int64_t rope;
    awq_status status = describe_sizes(host, 1e-6, 0, model);
    if (status == AWQ_OK)
        status = read_size(host, "qk_rope_head_dim", NULL, &rope);
    return status == AWQ_OK ? host->config_rope(host, rope, &model->rope) : status;
}

static awq_status describe_layer(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    family f;
    int dense = 0;
    awq_status status;
    layer->folds = ALL_FOLDS;
    name_norms(layer, n);
    if ((status = expect_text(host, "hidden_act", "silu")) || (status = read_family(host, &f)) ||
        (status = describe_attention_by_latents(host, n, layer)) ||
        (status = is_dense(host, n, &f, &dense)))
        return status;
    if (!dense)
        return (status = describe_router(host, n, f.v2, layer)) ? status
                                                                : describe_experts(host, n, layer);
    name_mlp(&layer->shared, n, "mlp");
    return read_size(host, "intermediate_size", NULL, &layer->shared.intermediate_size);
}

static const char *const model_types[] = {"deepseek_v2",   "deepseek_v3", "kimi_k2",
                                          "glm4_moe_lite", "kimi_k25",    NULL};

/* Kimi-K2.5 and later see too. */
static const awq_wrapped wrapped[] = {{"kimi_k25", "text_config", "", "language_model."},
                                      {NULL, NULL, NULL, NULL}};

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {AWQ_DESCRIBE("deepseek", model_types), .wrapped = wrapped};
