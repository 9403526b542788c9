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
#define AWQ_PLUGIN_ABI_MINOR 2
#define AWQ_NAME_BYTES 192
#define AWQ_ROPE_MAX_PAIRS 256
#define AWQ_OTHER_ROPES 3
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
    /* Fills the rotary frequencies from rope_parameters or from rope_theta and rope_scaling.
       head_dim: how many channels of a head turn. Knows rope types default, linear and yarn (arXiv
       2309.00071); since minor 2 also llama3, longrope (of sequences within the original length),
       dynamic (with alpha, or within max_position_embeddings) and proportional, whose
       partial_rotary_factor of the pairs turns. Another is a failure that names it. */
    awq_status (*config_rope)(const awq_host *host, int64_t head_dim, awq_rope *rope);
    /* Does the checkpoint hold this tensor (a full name, such as "lm_head.weight")? A model can be
       planned before its weights are on disk: then no tensor is there, not even the embedding. The
       plugin then describes from config.json alone what the family's checkpoints usually hold. It
       fails if only a tensor could tell and a guess could be wrong. */
    int (*has_tensor)(const awq_host *host, const char *name);
    /* Records a failure of the plugin's own and returns its status: the model is well formed but of
       a kind that the plugin does not know. `text` says what was found and what is supported. */
    awq_status (*fail)(const awq_host *host, const char *text);

    /* ---- since minor 2 ---- */

    /* config_rope from the object at this path alone ("rope_parameters.full_attention"), which must
       name its rope_theta. */
    awq_status (*config_rope_at)(const awq_host *host, const char *object, int64_t head_dim,
                                 awq_rope *rope);
    /* The size of a tensor along an axis, from 0; 0 where has_tensor says no, or it has fewer. */
    int64_t (*tensor_size)(const awq_host *host, const char *name, int axis);
};

/* ---- what a plugin says ---- */

/* Rotary embedding: channel pairs (i, i + pairs) of each head turn by position *
   inverse_frequency[i]; cosine and sine are multiplied by attention_factor. pairs 0: no rotary
   embedding. An attention may have its pairs side by side instead (adjacent_pairs). */
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

    /* ---- since minor 2 ---- */

    int32_t norms_plus_one; /* nonzero: RMS norms multiply by 1 + weight, but for delta.norm */
    awq_rope other_ropes[AWQ_OTHER_ROPES]; /* see awq_arch_attention.rope */
    double embedding_multiplier;           /* of the embedding's rows; 0 means 1 */
    double logits_multiplier;              /* of the head's outputs; 0 means 1 */
    double logits_cap;                     /* logits become cap * tanh(logits / cap); 0: none */
} awq_arch_model;

/* y = x / sqrt(mean(x^2) + epsilon) * weight */
typedef struct awq_arch_norm {
    char name[AWQ_NAME_BYTES];
    uint64_t reserved[2];
} awq_arch_norm;

/* Norms of heads that have no weights: bits of norm_without_weight. */
enum { AWQ_BARE_NORM_Q = 1, AWQ_BARE_NORM_K = 2, AWQ_BARE_NORM_V = 4 };

/* Causal grouped-query attention. A bias is the tensor NAME.bias. Queries, keys and values are
   normed, clipped, turned, normed if it is after that, and queries multiplied for their position.
 */
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

    /* ---- since minor 2 ---- */

    double logit_scale; /* multiplies q.k; 0 means 1/sqrt(head_dim) */
    int64_t chunk;      /* keys come from the query's own chunk of so many positions; 0: from all */
    double clip;        /* q, k and v are clamped to +-clip; 0: they are not */
    /* q *= 1 + temperature_scale * log(1 + floor((position + 1) / temperature_floor)), positions
       from 0; floor 0: no factor. */
    double temperature_floor, temperature_scale;
    int32_t rope;           /* 0: the model's; n: its other_ropes[n - 1]; -1: no rotary embedding */
    int32_t adjacent_pairs; /* nonzero: channels (2i, 2i + 1) turn together */
    int32_t norm_after_rope;
    int32_t norm_without_weight; /* AWQ_BARE_NORM_ bits, of each head's channels */
    /* Nonzero: q has 2 * head_dim rows for each head, of its query and then of its gate; o reads
       what the head gives times sigmoid(gate). */
    int32_t output_gate;
    int32_t value_is_key; /* nonzero: there is no v; values are what k gives, before its norm */
} awq_arch_attention;

/* What groups of experts are compared by. */
typedef enum awq_group_score {
    AWQ_GROUP_MAX = 0,      /* the largest score of the group */
    AWQ_GROUP_TOP2_SUM = 1, /* the sum of its two largest */
} awq_group_score;
/*
 * Latent attention (MLA, arXiv 2405.04434): an attention whose heads have nope_dim + rope_dim
 * channels in q and k, and value_dim in v.
 *
 *     q = q_b(n(q_a(x))), or attention.q(x) with q_rank 0; of each head [nope | rope]
 *     kv_a(x) = [latent | rope key, one for all heads]
 *     kv_b(n(latent)), of each head [nope key | value]; n(y) = RMS norm with weights
 *
 * The rotary embedding turns rope channels alone. attention.heads = kv_heads, head_dim is nope_dim
 * + rope_dim, k and v are "", and o is [H, heads * value_dim].
 */
typedef struct awq_arch_latent {
    int64_t kv_rank; /* 0: the attention is of another kind */
    int64_t q_rank;  /* 0: attention.q makes queries of x */
    int64_t nope_dim, rope_dim, value_dim;
    double norm_epsilon;                                  /* of n; 0: the model's */
    char q_a[AWQ_NAME_BYTES], q_a_norm[AWQ_NAME_BYTES];   /* [q_rank, H] */
    char q_b[AWQ_NAME_BYTES];                             /* [heads * head_dim, q_rank] */
    char kv_a[AWQ_NAME_BYTES], kv_a_norm[AWQ_NAME_BYTES]; /* [kv_rank + rope_dim, H] */
    char kv_b[AWQ_NAME_BYTES]; /* [heads * (nope_dim + value_dim), kv_rank] */
    int32_t a_bias;            /* nonzero: q_a and kv_a have biases */
    int32_t reserved_flag;
    uint64_t reserved[8];
} awq_arch_latent;

typedef enum awq_scoring {
    AWQ_SCORING_SOFTMAX_TOPK = 0, /* softmax over all experts, then the k largest */
    AWQ_SCORING_TOPK_SOFTMAX = 1, /* the k largest logits, then softmax over those */
    AWQ_SCORING_SIGMOID_TOPK = 2, /* sigmoid of each logit, then the k largest */
} awq_scoring;

/* Logits = x W^T + b; equal scores go to the lower expert. Since minor 2: a layer's
   router_correction is added to the scores for the choice alone, and with groups only the experts
   of the best groups, judged by corrected scores, are chosen from. */
typedef struct awq_arch_router {
    char name[AWQ_NAME_BYTES];
    int32_t bias;        /* nonzero: b is the tensor NAME.bias */
    int32_t scoring;     /* awq_scoring */
    int32_t renormalize; /* nonzero: divide the k weights by their sum */
    double scaling;      /* multiplies the weights; 0 means 1 */
    double weight_floor; /* renormalize divides by the sum, but at least by this */
    int32_t groups;      /* the experts lie in so many equal runs; 0: no groups */
    int32_t groups_kept; /* of them */
    int32_t group_score; /* awq_group_score */
    /* Nonzero: the weight multiplies the expert's input, and its output counts as it is. */
    int32_t scales_input;
    /* Nonzero: the router does not read the experts' norm, but h / sqrt(mean(h^2) + epsilon) *
       router_input_scale / sqrt(H). */
    int32_t reads_residual;
    int32_t reserved_flag;
    uint64_t reserved[4];
} awq_arch_router;

/* What stands in the place of g' * sigmoid(alpha * g'). */
typedef enum awq_activation_kind {
    AWQ_ACTIVATION_SILU = 0,      /* nothing else */
    AWQ_ACTIVATION_GELU_TANH = 1, /* GELU by its approximation with tanh (arXiv 1606.08415) */
    AWQ_ACTIVATION_GELU = 2,      /* GELU by the error function */
} awq_activation_kind;

/* down(a(gate(x), up(x))) with
   a(g, u) = (clamp(u, -limit, limit) + up_offset) * g' * sigmoid(alpha * g'), g' = min(g, limit).
   SwiGLU is alpha 1 and the rest 0; limit 0 means none; alpha 0 means 1, and is 0 with GELU. */
typedef struct awq_arch_activation {
    double alpha, limit, up_offset;
    int32_t kind; /* awq_activation_kind */
    int32_t reserved_flag;
    uint64_t reserved[1];
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

/*
 * Gated delta net (arXiv 2412.06464), in place of the attention. Queries, keys and values pass a
 * causal convolution of conv_width tokens, channel by channel, and silu; queries and keys become
 * unit vectors, and each key head serves value_heads / key_heads value heads in a row. With beta =
 * sigmoid(b) and decay = exp(-exp(a_log) * softplus(a + dt_bias)) of each token and value head,
 *
 *     S = decay * S; S += key (beta * (value - S^T key))^T; y = S^T query / sqrt(key_dim)
 *
 * and out reads norm(y) * silu(z), where norm has the same weights for all heads.
 */
typedef struct awq_arch_delta {
    int64_t value_heads; /* 0: the layer has an attention */
    int64_t key_heads, key_dim, value_dim, conv_width;
    /* Nonzero: qkv has for each key head the rows of its query, its key, its values and their z,
       and b those of b and of a; z and a are "". Zero: qkv has all queries, all keys, all values.
     */
    int32_t grouped;
    char qkv[AWQ_NAME_BYTES], z[AWQ_NAME_BYTES], b[AWQ_NAME_BYTES], a[AWQ_NAME_BYTES];
    char conv[AWQ_NAME_BYTES]; /* [2 * key_heads * key_dim + value_heads * value_dim, 1, conv_width]
                                */
    char a_log[AWQ_NAME_BYTES], dt_bias[AWQ_NAME_BYTES]; /* full names of tensors [value_heads] */
    char norm[AWQ_NAME_BYTES];                           /* [value_dim] */
    char out[AWQ_NAME_BYTES];                            /* [H, value_heads * value_dim] */
    uint64_t reserved[8];
} awq_arch_delta;

/* Folds that leave the float model's function as it is. */
enum {
    AWQ_FOLD_ATTENTION_NORM = 1, /* columns of q, k, v, or of qkv, z, b, a of a delta net, times s,
                                    attention norm divided by s */
    AWQ_FOLD_VALUE = 2,          /* o columns times s, v rows divided by s */
    AWQ_FOLD_EXPERT_NORM = 4,    /* columns of router, token gate, gate and up (all experts and the
                                    shared one) times s, expert norm divided by s */
    AWQ_FOLD_UP = 8,             /* down columns times s, up rows divided by s */
    AWQ_FOLD_DELTA = 64,         /* delta.out columns times s, the same for all value heads,
                                    delta.norm divided by s */
    /* With a shared_norm: columns of the shared gate and up times s, shared_norm divided by s;
       AWQ_FOLD_EXPERT_NORM leaves them out. */
    AWQ_FOLD_SHARED_NORM = 128,
    /* Of latent attention: AWQ_FOLD_ATTENTION_NORM is q_a or q, and kv_a, columns times s; and
       AWQ_FOLD_VALUE o columns times s, kv_b rows of values divided by s. */
    AWQ_FOLD_LATENT_Q = 16,  /* q_b columns times s, q_a_norm divided by s */
    AWQ_FOLD_LATENT_KV = 32, /* kv_b columns times s, kv_a_norm divided by s */
};

/*
 * h += attention(attention_norm(h)); h += experts(x) + shared(x), x = moe_norm(h)
 *
 * With all members of minor 2, where norms and multipliers that are not there leave values as they
 * are:
 *
 *     h += m * attention_post_norm(attention(attention_norm(h)))
 *     e = experts_post_norm(experts(moe_norm(h))), s = shared_post_norm(shared(shared_norm(h)))
 *     h = (h + m * moe_post_norm(e + s)) * layer_scalar, m = residual_multiplier
 */
typedef struct awq_arch_layer {
    uint32_t struct_size;
    uint32_t folds; /* those of the bits above that are legal */
    awq_arch_norm attention_norm;
    awq_arch_attention attention;
    awq_arch_norm moe_norm;
    awq_arch_router router; /* of no meaning in a dense layer */
    awq_arch_experts experts;
    awq_arch_shared shared;

    /* ---- since minor 2 ---- */

    awq_arch_delta delta; /* then `attention` is empty */
    awq_arch_norm attention_post_norm, moe_post_norm;
    awq_arch_norm shared_norm; /* the shared MLP's own; "": it reads moe_norm, too */
    awq_arch_norm shared_post_norm, experts_post_norm;
    double residual_multiplier; /* 0 means 1 */
    /* Full names of tensors. */
    char layer_scalar[AWQ_NAME_BYTES];        /* [1] */
    char router_correction[AWQ_NAME_BYTES];   /* [E] or [1, E]; see awq_arch_router */
    char router_input_scale[AWQ_NAME_BYTES];  /* [H]; only with reads_residual */
    char router_expert_scale[AWQ_NAME_BYTES]; /* [E]: multiplies the final weights */
    awq_arch_latent latent;                   /* since minor 2 */
} awq_arch_layer;

/* {".block_sparse_moe.", ".mlp."} */
typedef struct awq_other_name {
    const char *described, *stored;
} awq_other_name;

/* The text model inside a multimodal one of this model_type: keys of config.json are looked up
   beneath `config` first ("text_config"), and names that the plugin describes with `described` at
   their beginning ("model.") have `stored` there ("model.language_model."), in the checkpoint and
   in results. A checkpoint that has the described names after all is taken as it is. */
typedef struct awq_wrapped {
    const char *model_type, *config, *described, *stored;
} awq_wrapped;

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
    /* Parts of names that some checkpoints of the family have in another spelling; the last has
       NULL members. Where no tensor has the name that the description has, the other spellings are
       looked for, of several parts too. The result has the description's names. At most 8. */
    const awq_other_name *other_names;

    /* ---- since minor 2 ---- */

    const awq_wrapped *wrapped; /* the last has NULL members */
} awq_plugin;

#ifdef __cplusplus
}
#endif
#endif
