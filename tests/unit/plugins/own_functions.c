/*
 * Mixtral with a routing and an activation of its own. They compute what the built-in ones do, but
 * the description says something else (sigmoid scores, another activation), so that the result
 * tells whether they were called.
 */
#define awq_plugin_v1 first_plugin
#include "../../../plugins/mixtral/mixtral.c"
#undef awq_plugin_v1

#include <math.h>

static awq_status describe_otherwise(const awq_host *host, int64_t n, awq_arch_layer *layer)
{
    awq_status status = describe_layer(host, n, layer);
    layer->router.scoring = AWQ_SCORING_SIGMOID_TOPK;
    layer->router.renormalize = 0;
    layer->experts.activation.alpha = 3;
    return status;
}

/* The k largest logits, falling, with their softmax. */
static void route_token(const float *logits, int64_t experts, int64_t per_token, int32_t *index,
                        float *weight)
{
    double sum = 0;
    for (int64_t i = 0; i < per_token; i++) {
        int64_t best = -1;
        for (int64_t e = 0; e < experts; e++) {
            int taken = 0;
            for (int64_t j = 0; j < i; j++)
                taken |= index[j] == e;
            if (!taken && (best < 0 || logits[e] > logits[best]))
                best = e;
        }
        index[i] = (int32_t)best;
        sum += exp((double)logits[best] - (double)logits[index[0]]);
    }
    for (int64_t i = 0; i < per_token; i++)
        weight[i] = (float)(exp((double)logits[index[i]] - (double)logits[index[0]]) / sum);
}

static void route(int64_t layer, const float *logits, int64_t tokens, int64_t experts,
                  int64_t per_token, int32_t *index, float *weight)
{
    (void)layer;
    for (int64_t t = 0; t < tokens; t++)
        route_token(logits + t * experts, experts, per_token, index + t * per_token,
                    weight + t * per_token);
}

static void activate(int64_t layer, const float *gate, const float *up, int64_t count, float *out)
{
    (void)layer;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)((double)up[i] * (double)gate[i] / (1 + exp(-(double)gate[i])));
}

extern AWQ_API const awq_plugin awq_plugin_v1;
const awq_plugin awq_plugin_v1 = {
    .magic = AWQ_PLUGIN_MAGIC,
    .struct_size = sizeof(awq_plugin),
    .abi_minor = AWQ_PLUGIN_ABI_MINOR,
    .id = "own-functions",
    .version = "1",
    .model_types = model_types,
    .describe_model = describe_model,
    .describe_layer = describe_otherwise,
    .route = route,
    .activate = activate,
};
