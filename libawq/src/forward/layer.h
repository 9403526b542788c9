/*
 * The forward pass of one decoder layer over all tokens at once, F32.
 *
 * Every loop is cut into tasks of fixed shape (a sequence, an expert's block of tokens), so the
 * bits do not depend on the number of threads.
 */
#ifndef AWQ__LAYER_H
#define AWQ__LAYER_H

#include "awq/plugin.h"
#include "compute/weight.h"
#include "text/text.h"

/* Tokens that are worked on at a time, at most. */
#define AWQ__TOKEN_BLOCK 1024

/* Rotary cosines and sines for positions 0 .. length-1: [length][2 * pairs]. */
typedef struct awq__rotary {
    int64_t pairs, length;
    float *cos_sin;
} awq__rotary;
awq_status awq__rotary_create(awq_context *ctx, const awq_rope *rope, int64_t length,
                              awq__rotary *rotary);
void awq__rotary_free(awq__rotary *rotary);
#define AWQ__ROPES (1 + AWQ_OTHER_ROPES)

/*
 * Latent attention (MLA, arXiv 2405.04434), of `heads` heads of nope + rope channels:
 *   q = q_b(norm(q_a(x))), or attention.q(x); kv = kv_a(x), a latent and a rope key for all heads;
 *   kv_b(norm(latent)) is each head's nope key and value. k = nope key and rope key.
 */
typedef struct awq__latent {
    int64_t kv_rank;           /* 0: another kind of attention */
    int64_t q_rank;            /* 0: attention.q */
    int64_t nope, rope, value; /* channels of a head */
    double epsilon;            /* of both norms */
    awq__weight q_a;           /* [q_rank,H] */
    awq__weight q_b;           /* [heads*(nope+rope),q_rank] */
    awq__weight kv_a;          /* [kv_rank+rope,H] */
    awq__weight kv_b;          /* [heads*(nope+value),kv_rank] */
    const float *q_norm;       /* [q_rank] */
    const float *kv_norm;      /* [kv_rank] */
    awq_dtype q_norm_dtype, kv_norm_dtype;
} awq__latent;

typedef struct awq__attention {
    const float *norm;    /* [H] */
    awq_dtype norm_dtype; /* as it is stored, less norm_shift, which is 1 for norms of 1 + weight */
    float norm_shift;
    awq__weight q, k, v, o;
    int64_t heads, kv_heads, head_dim, window;
    int32_t output_gate; /* 1: q has rows of query and gate for each head; o reads c * sigmoid(gate)
                          */
    const float *q_norm, *k_norm; /* [head_dim], or [heads * head_dim] across heads; or NULL */
    bool norm_across_heads;
    const float *sinks;     /* [heads], or NULL */
    const float *post_norm; /* [H] of the output, or NULL */
    float scale;            /* of q.k */
    int64_t chunk;          /* see awq_arch_attention; 0: none */
    float clip;             /* INFINITY: none */
    double temperature_floor, temperature_scale;
    int rope; /* of the forward's rotary tables; -1: none */
    bool adjacent, norm_after_rope, value_is_key;
    int bare_norms; /* AWQ_BARE_NORM_ bits */
    awq__latent latent;
} awq__attention;

/* A gated delta net, in place of the attention, whose norm is the layer's attention norm. */
typedef struct awq__delta {
    int64_t value_heads; /* N; 0: the layer has an attention */
    int64_t key_heads, key_dim, value_dim;
    /* grouped: qkv has for each key head the rows of q, k, v, z, and b has those of b, a. Else qkv
       has all q, all k, all v, and z, b, a are linears of their own. */
    bool grouped;
    awq__weight qkv, z, b, a;
    awq__weight filter; /* [C,width], C being the rows of all q, k and v, as it is stored */
    const float *conv;  /* the same as floats */
    int64_t width;
    const float *a_log, *dt_bias; /* [N] */
    const float *norm;            /* [value_dim], of each head's output */
    awq_dtype norm_dtype;
} awq__delta;

typedef struct awq__expert {
    awq__weight gate, up, down;
    int64_t intermediate; /* I */
    awq__activation activation;
} awq__expert;

/* Normed inputs [T,H] of the experts, and of the shared one where it has a norm of its own. */
typedef struct awq__normed {
    float *x, *shared;
} awq__normed;

/*
 * The block after the attention: MLPs over a common normed input. The routed ones come first; after
 * them the shared one, which every token passes with weight sigmoid(token_gate(x)), or 1 without
 * that gate. A dense layer has the shared one alone.
 */
typedef struct awq__moe {
    const float *norm;        /* [H] */
    awq_dtype norm_dtype;     /* as it is stored, less norm_shift */
    float norm_shift;         /* of shared_norm, too */
    const float *shared_norm; /* [H] the shared one's own, or NULL */
    awq_dtype shared_norm_dtype;
    /* [H] of outputs, before they are added; NULL: none */
    const float *experts_post_norm, *shared_post_norm, *post_norm;
    const float *layer_scalar; /* one number that multiplies the sum with the residual; or NULL */
    const float *router_input_scale; /* [H], or NULL */
    bool reads_residual;    /* the router has its own norm, without weights, of the residual */
    bool scales_input;      /* awq__input_weight multiplies the expert's input; its weight is 1 */
    awq__weight router;     /* [E,H]; rows 0 in a dense layer */
    awq__weight token_gate; /* [1,H]; rows 0: there is none */
    awq__expert *experts;   /* [expert_count] */
    int64_t routed_count;   /* E */
    int64_t expert_count;   /* E, and 1 for the shared one */
    int64_t per_token;      /* k of top-k, and 1 for the shared one */
    int64_t intermediate;   /* the largest I */
    awq__routing routing;
    void (*route)(int64_t layer, const float *logits, int64_t tokens, int64_t experts,
                  int64_t per_token, int32_t *index, float *weight); /* the plugin's, or NULL */
    void (*activate)(int64_t layer, const float *gate, const float *up, int64_t count, float *out);
} awq__moe;

typedef struct awq__layer {
    int64_t number, hidden; /* hidden is H */
    double epsilon;
    float branch_multiplier;  /* of what attention and experts add */
    awq__attention attention; /* with a delta net: the norm and o alone */
    awq__delta delta;
    awq__moe moe;
} awq__layer;

/* What a forward pass needs besides a layer. */
typedef struct awq__forward {
    awq_context *ctx;
    const awq__compute *compute;
    const awq__sequences *sequences;
    const awq__rotary *rotary; /* [AWQ__ROPES], or as many as there are */
} awq__forward;

static inline int64_t awq__token_count(const awq__sequences *sequences)
{
    return sequences->offsets[sequences->count];
}

/* The sequences from `first` on that have at most `most` tokens together, but at least one; their
   offsets are those of all. */
awq__sequences awq__some_sequences(const awq__sequences *all, int64_t first, int64_t most);

/* Vectors of a token inside an attention, which linears read. */
typedef enum awq__vector {
    AWQ__VECTOR_X,         /* [H] the normed hidden state */
    AWQ__VECTOR_Q_LATENT,  /* [q_rank] normed */
    AWQ__VECTOR_KV_LATENT, /* [kv_rank] normed */
    AWQ__VECTOR_C,         /* what o reads */
    AWQ__VECTOR_COUNT,
} awq__vector;

/*
 * Called by awq__attention_forward for each sequence and each vector that its kind of attention
 * has: values [L,K], K columns of what reads it. Called from workers; `slot` is the number of the
 * sequence.
 */
typedef void (*awq__attention_tap)(void *user, int64_t slot, awq__vector vector, int64_t tokens,
                                   const float *values);

/* out[T,H] = attention(norm(hidden)). out may be hidden with `add`, which adds to it; NULL: the tap
 * is all that is wanted. tap may be NULL. */
awq_status awq__attention_forward(const awq__forward *forward, const awq__layer *layer,
                                  const float *hidden, bool add, float *out, awq__attention_tap tap,
                                  void *user);

/* A sequence between the norm and o. */
typedef struct awq__mixing {
    const awq__forward *forward;
    const awq__layer *layer;
    int64_t tokens;         /* L */
    const float *x;         /* [L,H] */
    float *c;               /* [L,K], K columns of o: to be made */
    float *space;           /* awq__mixer.floats of it */
    int64_t slot;           /* for the tap */
    awq__attention_tap tap; /* or NULL */
    void *user;
} awq__mixing;
/* Shows a vector other than x and c to the tap. */
static inline void awq__mixing_show(const awq__mixing *m, awq__vector vector, const float *values)
{
    if (m->tap)
        m->tap(m->user, m->slot, vector, m->tokens, values);
}

/* A kind of attention. */
typedef struct awq__mixer {
    /* Floats of work space for a sequence of so many tokens. */
    size_t (*floats)(const awq__layer *layer, int64_t tokens);
    /* x -> c, on the calling thread. */
    void (*mix)(const awq__mixing *m);
} awq__mixer;
extern const awq__mixer awq__softmax_mixer, awq__delta_mixer, awq__latent_mixer;

/* Queries that share a block of scores, [AWQ__QUERIES, L]. */
#define AWQ__QUERIES 128
/* One head of a sequence; ld are strides of rows. */
typedef struct awq__head_values {
    int64_t key_dim, value_dim; /* channels of q and k, and of v and c */
    const float *q, *k, *v;
    float *c;
    int64_t ldq, ldk, ldv, ldc;
    float sink; /* -INFINITY: none */
} awq__head_values;
/* c = softmax of q k^T times v, causal, within window and chunk. scores: a block of work space. */
void awq__attend(const awq__mixing *m, const awq__head_values *head, float *scores);
/* Where tokens go: of T tokens, in the order in which they came. n and k are the layer's
   expert_count and per_token: the last of a token's k choices is the shared expert, if there is
   one. */
typedef struct awq__routes {
    int64_t tokens, experts, per_token;
    int64_t routed; /* E: experts that the router chooses from; 0 in a dense layer */
    float *logits;  /* [T,E] */
    int32_t *index; /* [T,k] */
    float *weight;  /* [T,k] */
    int64_t *first; /* [n+1] into `slots` */
    int64_t *slots; /* [T*k]: t*k + j, grouped by expert, rising in each group */
} awq__routes;
void awq__routes_free(awq__routes *routes);
/* Has token t the same set of experts in both, which have as many for each token? */
bool awq__routes_same(const awq__routes *a, const awq__routes *b, int64_t t);
int64_t awq__routes_same_count(const awq__routes *a, const awq__routes *b);
/* Weight of a token that no router has sent: the mean of the layer's routed ones. */
float awq__unrouted_weight(const awq__routes *routes);

/* normed = norms of hidden[T,H]. */
awq_status awq__moe_input(const awq__forward *forward, const awq__layer *layer, int64_t T,
                          const float *hidden, const awq__normed *normed);
/* Router of x[T,H], or of hidden. */
awq_status awq__moe_route(const awq__forward *forward, const awq__layer *layer, int64_t T,
                          const float *hidden, const float *x, awq__routes *routes);

/* What an expert's input is multiplied with where the router scales inputs. */
float awq__input_weight(const awq__moe *moe, float logit);
/* out[T,H] = the expert's input from token index[t] / step, for each t. */
void awq__gather_inputs(const awq__forward *forward, const awq__layer *layer,
                        const awq__routes *routes, int64_t expert, const awq__normed *normed,
                        int64_t T, const int64_t *index, int64_t step, float *out);

/* As awq__moe_route, where the products are there: logits[T,E], and those of the token gate [T] or NULL. */
awq_status awq__moe_route_logits(const awq__forward *forward, const awq__layer *layer, int64_t T,
                                 const float *logits, const float *token_gate, awq__routes *routes);

/* A block of an expert's tokens that has passed it; the arrays may be changed. I is the expert's
 * own.
 */
typedef struct awq__expert_block {
    int64_t expert, first, tokens; /* T; first: counted from the expert's first slot */
    float *x;                      /* [T,H] normed input */
    float *gate, *up, *inner;      /* [T,I] outputs of gate and up, and a(gate, up) */
} awq__expert_block;
/* Called from workers: for the blocks of an expert one after the other, in the order of its tokens;
   for those of different experts at the same time. */
typedef awq_status (*awq__expert_tap)(void *user, int worker, const awq__expert_block *block);
/* out[T,H] += sum over the chosen experts, the shared one last, of weight * expert(x), with the
   layer's norms of it and multipliers. tap may be NULL. */
awq_status awq__moe_experts(const awq__forward *forward, const awq__layer *layer,
                            const awq__normed *normed, const awq__routes *routes, float *out,
                            awq__expert_tap tap, void *user);
/* Floats of work space of one worker of these, and, of awq__moe_experts with T tokens, of outputs
   that wait for their sum. */
int64_t awq__attention_work(const awq__layer *layer, int64_t longest);
int64_t awq__experts_work(const awq__layer *layer);
int64_t awq__experts_waiting(const awq__layer *layer, int64_t T);
/* The most tokens of one expert that are worked on at a time. */
int64_t awq__expert_tokens(const awq__layer *layer);
/* Those of the block that begins at this slot, of an expert whose slots end at `end`. */
int64_t awq__expert_block_tokens(const awq__layer *layer, const awq__routes *routes, int64_t slot,
                                 int64_t end);

/* gate[T,I], up[T,I] and y[T,I] = a(gate, up) of one expert, I its own; y may be gate. work:
   awq__weight_work of gate and up at most. */
void awq__expert_parts(const awq__forward *forward, const awq__layer *layer,
                       const awq__expert *expert, int64_t T, const float *x, float *gate, float *up,
                       float *y, float *work);
/* out[i] = a(gate[i], up[i]) for count values of one expert; out may be gate. */
void awq__expert_activate(const awq__forward *forward, const awq__layer *layer,
                          const awq__expert *expert, int64_t count, const float *gate,
                          const float *up, float *out);
/* The largest awq__weight_work of the layer's expert matrices. */
int64_t awq__expert_work(const awq__layer *layer);

/* embedding rows of the ids, times multiplier -> hidden[T,H]. */
awq_status awq__embed(const awq__forward *forward, const awq__weight *embedding, float multiplier,
                      float *hidden);
/* logits[T,V] = head(norm(hidden)), for a block of T tokens, on the calling thread. work: of the
 * head. x [T,H]. */
void awq__head_logits(const awq__compute *compute, const awq__weight *head, const float *norm,
                      double epsilon, int64_t T, const float *hidden, float *x, float *logits,
                      float *work);
/* In place: cap * tanh(multiplier * logits / cap); cap 0: none. */
void awq__finish_logits(int64_t count, float multiplier, float cap, float *logits);

/* ---- finite.c ---- */

/* AWQ_ERROR_NUMERIC that names the module if one of the values is infinite or no number; `what`
   they are, "outputs". */
awq_status awq__check_finite(const awq__forward *forward, const char *module, const char *what,
                             int64_t count, const float *values);
/* Its message. */
awq_status awq__not_finite(awq_context *ctx, const char *module, const char *what);

#endif
