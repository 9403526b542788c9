/*
 * awq/plugin.h as it was with ABI minor 1: what plugins were compiled against before.
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
#define AWQ_PLUGIN_ABI_MINOR 1
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
     * "layer_types.3". A key that is absent or null gives *fallback; with fallback NULL it is a
     * failure that names the key. A value of another type is a failure. So is a value on the path
     * that is not the list or object it should be. On failure, return the status from the describe
     * function as it is: the message is recorded. The user is told of a key that nobody asks for
     * and that looks like one that was absent.
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
       and rope_scaling. Knows rope types default, linear and yarn (arXiv 2309.00071); another is a
       failure that names it. */
    awq_status (*config_rope)(const awq_host *host, int64_t head_dim, awq_rope *rope);
    /* Does the checkpoint hold this tensor (a full name, such as "lm_head.weight")? A model can be
       planned before its weights are on disk: then no tensor is there, not even the embedding. The
       plugin then describes from config.json alone what the family's checkpoints usually hold. It
       fails if only a tensor could tell and a guess could be wrong. */
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
    char head[AWQ_NAME_BYTES]; /* lm_head; "": tied, the embedding serves as head too */
    /* The recipe's `format` that most engines load for this architecture: what `auto` means. "":
       compressed-tensors. */
    char preferred_format[32];
} awq_arch_model;

/* y = x / sqrt(mean(x^2) + epsilon) * weight */
typedef struct awq_arch_norm {
    char name[AWQ_NAME_BYTES];
    uint64_t reserved[2];
} awq_arch_norm;

/* Causal grouped-query attention with logits scaled by 1/sqrt(head_dim). A bias is the tensor
   NAME.bias. */
typedef struct awq_arch_attention {
    char q[AWQ_NAME_BYTES], k[AWQ_NAME_BYTES], v[AWQ_NAME_BYTES], o[AWQ_NAME_BYTES];
    int64_t heads, kv_heads, head_dim;
    int64_t window;   /* keys that a query sees, itself included; 0: all before it */
    int32_t qkv_bias; /* nonzero: q, k and v have biases */
    int32_t o_bias;
    /* RMS norms of q and k before the rotary embedding: of each head's head_dim channels, or, with
       norm_across_heads nonzero, of all heads together. */
    char q_norm[AWQ_NAME_BYTES], k_norm[AWQ_NAME_BYTES];
    int32_t norm_across_heads;
    /* A tensor [heads] (its full name): attention sinks. Each is a logit of its head that joins the
       softmax unscaled; its share of the softmax is dropped. */
    char sinks[AWQ_NAME_BYTES];
    uint64_t reserved[8];
} awq_arch_attention;

typedef enum awq_scoring {
    AWQ_SCORING_SOFTMAX_TOPK = 0, /* softmax over all experts, then the k largest */
    AWQ_SCORING_TOPK_SOFTMAX = 1, /* the k largest logits, then softmax over those */
    AWQ_SCORING_SIGMOID_TOPK = 2, /* sigmoid of each logit, then the k largest */
} awq_scoring;

/* Logits = x W^T + b; equal scores go to the lower expert. */
typedef struct awq_arch_router {
    char name[AWQ_NAME_BYTES];
    int32_t bias;        /* nonzero: b is the tensor NAME.bias */
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

/* How a checkpoint stores the matrices of the routed experts. */
typedef enum awq_expert_layout {
    AWQ_EXPERTS_SEPARATE = 0,         /* one tensor a matrix: gate, up [I,H], down [H,I] */
    AWQ_EXPERTS_FUSED = 1,            /* gate_up [E,2I,H] and down [E,H,I] */
    AWQ_EXPERTS_FUSED_TRANSPOSED = 2, /* gate_up [E,H,2I] and down [E,I,H] */
    AWQ_EXPERTS_FUSED_MXFP4 = 3,      /* gate_up_blocks U8 [E,2I,H/32,16] and gate_up_scales U8
                                         [E,2I,H/32], down alike */
} awq_expert_layout;

/*
 * The routed experts. gate, up and down name each expert's modules for people, rules and formats
 * with one matrix per expert, and hold AWQ_EXPERT_PLACEHOLDER. In AWQ_EXPERTS_SEPARATE they name
 * the tensors too. fused_gate_up and fused_down are the full names of the tensors of the fused
 * layouts; MXFP4 appends "_blocks" and "_scales", biases append "_bias".
 */
typedef struct awq_arch_experts {
    int64_t count;             /* E; 0: a dense layer, whose only block is `shared` */
    int64_t per_token;         /* k of top-k */
    int64_t intermediate_size; /* I */
    char gate[AWQ_NAME_BYTES]; /* [I, H] */
    char up[AWQ_NAME_BYTES];   /* [I, H] */
    char down[AWQ_NAME_BYTES]; /* [H, I] */
    awq_arch_activation activation;
    int32_t layout;      /* awq_expert_layout */
    int32_t interleaved; /* nonzero: gate_up alternates rows of gate and up, gate first; zero: all
                            rows of gate come first */
    int32_t bias; /* nonzero: NAME.bias, or fused_gate_up_bias [E,2I] and fused_down_bias [E,H] */
    int32_t
        mxfp4; /* nonzero: engines read these experts from the MXFP4 layout, by the fused names */
    char fused_gate_up[AWQ_NAME_BYTES], fused_down[AWQ_NAME_BYTES];
    uint64_t reserved[16];
} awq_arch_experts;

/* An MLP that every token passes: down(a(gate(x), up(x))), times sigmoid(token_gate(x)) if there is
   such a gate. In a layer without experts it is the dense MLP. */
typedef struct awq_arch_shared {
    int64_t intermediate_size; /* 0: there is none */
    char gate[AWQ_NAME_BYTES], up[AWQ_NAME_BYTES], down[AWQ_NAME_BYTES];
    char token_gate[AWQ_NAME_BYTES]; /* [1, H], or "" for none */
    awq_arch_activation activation;
    uint64_t reserved[8];
} awq_arch_shared;

/* Folds that leave the float model's function as it is. */
enum {
    AWQ_FOLD_ATTENTION_NORM = 1, /* q, k, v columns times s, attention norm divided by s */
    AWQ_FOLD_VALUE = 2,          /* o columns times s, v rows divided by s */
    AWQ_FOLD_EXPERT_NORM = 4,    /* columns of router, token gate, gate and up (all experts and the
                                    shared one) times s, expert norm divided by s */
    AWQ_FOLD_UP = 8,             /* down columns times s, up rows divided by s */
};

/* h += attention(attention_norm(h)); h += experts(x) + shared(x), x = moe_norm(h) */
typedef struct awq_arch_layer {
    uint32_t struct_size;
    uint32_t folds; /* those of the bits above that are legal */
    awq_arch_norm attention_norm;
    awq_arch_attention attention;
    awq_arch_norm moe_norm;
    awq_arch_router router; /* of no meaning in a dense layer */
    awq_arch_experts experts;
    awq_arch_shared shared;
} awq_arch_layer;

/* {".block_sparse_moe.", ".mlp."} */
typedef struct awq_other_name {
    const char *described, *stored;
} awq_other_name;

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
    /* gate, up [count] -> out [count], which may be gate. Replaces awq_arch_activation, of the
     * shared expert too. */
    void (*activate)(int64_t layer, const float *gate, const float *up, int64_t count, float *out);
    /* Parts of names that some checkpoints of the family have in another spelling; the last has NULL
       members. Where no tensor has the name that the description has, the other spellings are
       looked for, of several parts too. The result has the description's names. At most 8. */
    const awq_other_name *other_names;
} awq_plugin;

#ifdef __cplusplus
}
#endif
#endif
