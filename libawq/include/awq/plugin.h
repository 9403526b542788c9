/*
 * awq/plugin.h - the ABI between libawq and an architecture plugin.
 *
 * A plugin is a shared object awq-arch-NAME.so that exports one constant,
 *
 *     const awq_plugin awq_plugin_v1 = { ... };
 *
 * and links nothing of libawq. It describes: for a model its sizes, for a layer the
 * names and shapes of its parts. The library reads the weights, runs the forward pass
 * and quantizes. Descriptions are structs that the library allocates and clears: 0 and ""
 * mean "none" everywhere. Names are module names as the checkpoint has them, without
 * ".weight" ("model.layers.3.self_attn.q_proj").
 *
 * Versions: the number in the symbol changes when the ABI breaks. Members are only
 * ever appended, to the top-level structs, each of which begins with its size; nested
 * structs have reserved space instead, which must stay zero.
 *
 * Threads: the describe functions are called on one thread. `route` and `activate` are called
 * from several at once and must touch nothing but their arguments.
 */
#ifndef AWQ_PLUGIN_H
#define AWQ_PLUGIN_H

#include "awq/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AWQ_PLUGIN_SYMBOL "awq_plugin_v1"
#define AWQ_PLUGIN_MAGIC UINT64_C(0x0068637261717761) /* "awqarch" and a zero byte */
#define AWQ_PLUGIN_ABI_MINOR 0
#define AWQ_NAME_BYTES 192
#define AWQ_ROPE_MAX_PAIRS 256
/* Stands for the expert's number in the name of an expert's module. */
#define AWQ_EXPERT_PLACEHOLDER "{e}"

/* ---- what a plugin may ask: valid during the call that it was given to ---- */

typedef struct awq_rope awq_rope;
typedef struct awq_host awq_host;
struct awq_host {
    uint32_t struct_size;
    uint32_t abi_minor; /* of the library */
    const void *handle; /* the library's own */

    /*
     * Values of config.json. A key may be a path, "rope_parameters.rope_theta" or
     * "layer_types.3". A key that is absent or null gives *fallback, or, with fallback
     * NULL, a failure that names the key; a value of another type is a failure. On failure return
     * the status from the describe function as it is: the message is recorded.
     */
    awq_status (*config_int)(const awq_host *host, const char *key, const int64_t *fallback,
                             int64_t *value);
    awq_status (*config_number)(const awq_host *host, const char *key, const double *fallback,
                                double *value);
    awq_status (*config_bool)(const awq_host *host, const char *key, const int *fallback,
                              int *value);
    /* *value is borrowed from the host; *fallback may point to a NULL. */
    awq_status (*config_string)(const awq_host *host, const char *key, const char *const *fallback,
                                const char **value);
    /* Fills the rotary frequencies for heads of head_dim from rope_parameters or from rope_theta
       and rope_scaling. Knows rope types default and linear; another is a failure that names it. */
    awq_status (*config_rope)(const awq_host *host, int64_t head_dim, awq_rope *rope);
    /* Does the checkpoint hold this tensor (a full name, with ".weight")? */
    int (*has_tensor)(const awq_host *host, const char *name);
    /* Records a failure of the plugin's own and returns its status: the model is well formed but of
       a kind that the plugin does not know. `text` says what was found and what is supported. */
    awq_status (*fail)(const awq_host *host, const char *text);
};

/* ---- what a plugin says ---- */

/* Rotary embedding: channel pairs (i, i + pairs) of each head turn by position *
   inverse_frequency[i]; cosine and sine are multiplied by attention_factor. pairs 0: no rotary
   embedding. */
struct awq_rope {
    int64_t pairs;
    double inverse_frequency[AWQ_ROPE_MAX_PAIRS];
    double attention_factor;
};

typedef struct awq_arch_model {
    uint32_t struct_size;
    int64_t layer_count;
    int64_t hidden_size;     /* H */
    int64_t vocabulary_size; /* rows of the embedding */
    double norm_epsilon;     /* of every RMS norm */
    awq_rope rope;
    char embedding[AWQ_NAME_BYTES];
    char final_norm[AWQ_NAME_BYTES];
    char head[AWQ_NAME_BYTES]; /* "": the embedding serves as head too */
} awq_arch_model;

/* y = x / sqrt(mean(x^2) + epsilon) * weight */
typedef struct awq_arch_norm {
    char name[AWQ_NAME_BYTES];
    uint64_t reserved[2];
} awq_arch_norm;

/* Causal grouped-query attention with logits scaled by 1/sqrt(head_dim). */
typedef struct awq_arch_attention {
    char q[AWQ_NAME_BYTES], k[AWQ_NAME_BYTES], v[AWQ_NAME_BYTES], o[AWQ_NAME_BYTES];
    int64_t heads, kv_heads, head_dim;
    int64_t window; /* keys that a query sees, itself included; 0: all before it */
    uint64_t reserved[8];
} awq_arch_attention;

typedef enum awq_scoring {
    AWQ_SCORING_SOFTMAX_TOPK = 0, /* softmax over all experts, then the k largest */
    AWQ_SCORING_TOPK_SOFTMAX = 1, /* the k largest logits, then softmax over those */
    AWQ_SCORING_SIGMOID_TOPK = 2, /* sigmoid of each logit, then the k largest */
} awq_scoring;

/* Logits = x W^T; equal scores go to the lower expert. */
typedef struct awq_arch_router {
    char name[AWQ_NAME_BYTES];
    int32_t scoring;     /* awq_scoring */
    int32_t renormalize; /* nonzero: divide the k weights by their sum */
    double scaling;      /* multiplies the weights; 0 means 1 */
    uint64_t reserved[8];
} awq_arch_router;

/* down(a(gate(x), up(x))) with
   a(g, u) = (clamp(u, -limit, limit) + up_offset) * g' * sigmoid(alpha * g'), g' = min(g, limit).
   SwiGLU is alpha 1 and the rest 0; limit 0 means none; alpha 0 means 1. */
typedef struct awq_arch_activation {
    double alpha, limit, up_offset;
    uint64_t reserved[2];
} awq_arch_activation;

/* One matrix per expert; names hold AWQ_EXPERT_PLACEHOLDER. */
typedef struct awq_arch_experts {
    int64_t count;             /* E */
    int64_t per_token;         /* k of top-k */
    int64_t intermediate_size; /* I */
    char gate[AWQ_NAME_BYTES]; /* [I, H] */
    char up[AWQ_NAME_BYTES];   /* [I, H] */
    char down[AWQ_NAME_BYTES]; /* [H, I] */
    awq_arch_activation activation;
    uint64_t reserved[16];
} awq_arch_experts;

/* Folds that leave the float model's function as it is. */
enum {
    AWQ_FOLD_ATTENTION_NORM = 1, /* q, k, v columns times s, attention norm divided by s */
    AWQ_FOLD_VALUE = 2,          /* o columns times s, v rows divided by s */
    AWQ_FOLD_EXPERT_NORM = 4,    /* router, gate and up columns times s, expert norm divided by s */
    AWQ_FOLD_UP = 8,             /* down columns times s, up rows divided by s */
};

/* h += attention(attention_norm(h)); h += moe(moe_norm(h)) */
typedef struct awq_arch_layer {
    uint32_t struct_size;
    uint32_t folds; /* those of the bits above that are legal */
    awq_arch_norm attention_norm;
    awq_arch_attention attention;
    awq_arch_norm moe_norm;
    awq_arch_router router;
    awq_arch_experts experts;
} awq_arch_layer;

typedef struct awq_plugin {
    uint64_t magic;       /* AWQ_PLUGIN_MAGIC */
    uint32_t struct_size; /* sizeof(awq_plugin) as the plugin was compiled */
    uint32_t abi_minor;   /* AWQ_PLUGIN_ABI_MINOR as the plugin was compiled */
    const char *id;       /* "mixtral": lower case letters, digits, '_' and '-' */
    const char *version;
    const char *const *model_types; /* of config.json; ends with NULL */

    awq_status (*describe_model)(const awq_host *host, awq_arch_model *model);
    awq_status (*describe_layer)(const awq_host *host, int64_t layer, awq_arch_layer *layer_out);

    /* Optional, NULL where the description says it all. */

    /* logits [tokens, experts] -> index, weight [tokens, per_token], the experts in falling order
       of weight. Replaces the whole of awq_arch_router's scoring. */
    void (*route)(int64_t layer, const float *logits, int64_t tokens, int64_t experts,
                  int64_t per_token, int32_t *index, float *weight);
    /* gate, up [count] -> out [count], which may be gate. Replaces awq_arch_activation. */
    void (*activate)(int64_t layer, const float *gate, const float *up, int64_t count, float *out);
} awq_plugin;

#ifdef __cplusplus
}
#endif
#endif
