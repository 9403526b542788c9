/* What the files of the CPU's backend share. */
#ifndef AWQ__BACKEND_CPU_H
#define AWQ__BACKEND_CPU_H

#include "backend/backend.h"

struct awq__states {
    awq__forward forward;
    awq__rotary rotary[AWQ__ROPES];
    int64_t tokens, width; /* T, H */
    float *hidden;         /* [T,H] */
    awq__normed normed;
    /* Of a backend that works on a device: the arrays are there, and here where the CPU needs them.
     */
    struct awq__gpu_states *device;
};

/* Of an input's readers that see the same tokens. */
struct awq__seen_data {
    awq__stats stats;  /* whole, or a sketch */
    awq__stats blocks; /* exact for each group, where clip ranges are searched and stats is a
                          sketch */
    awq__stats whole;  /* x^T x above its diagonal, as it was gathered for GPTQ beside a sketch; in
                          coordinates of the source */
    bool folded;       /* stats and blocks are what folded weights see */
    double *w_mean;    /* [K] of the quantized readers: see awq__w_mean */
    int64_t w_rows;    /* of these */
    float *importance; /* [K] the diagonal of what folded weights see; NULL: no reader has blocks */
};

struct awq__reader_data {
    float *row_weight;  /* [N] what an output's squared error counts; NULL: 1 */
    awq__range *ranges; /* [N,K/g] clip ranges; NULL: all is covered */
};

/* What is known of one expert's tokens. */
typedef struct awq__expert_state {
    int64_t *tokens; /* the routed ones, then the borrowed ones */
    float *weights;  /* how much each token counts */
    int64_t routed, borrowed;
    double *slopes; /* [2][I] of gate and up: sums over tokens of the squared derivative of what it
                       activates; NULL: not needed */
} awq__expert_state;

/* What differs between attention and experts. */
typedef struct awq__cpu_steps {
    awq_status (*pass)(awq__block *block);
    awq_status (*statistics)(awq__block *block);
    awq_status (*prove)(awq__block *block, awq__proof *proof);
    awq_status (*clip)(awq__block *block, awq__bundle *bundle);
    /* The whole x^T x of what a reader's folded weight sees, for GPTQ, and its damping. *gram is
       the caller's to free also after a failure. */
    awq_status (*gram)(awq__block *block, const awq__reader *reader, awq__stats *gram,
                       double *damping);
    /* The bundle's error with these codes; NULL: GPTQ is used unseen. */
    awq_status (*error)(awq__block *block, const awq__bundle *bundle, const awq__codes *codes,
                        double *error);
    /* Of work space of a worker: on a bundle's clip ranges; on its rounding, with GPTQ or without;
       on the rounding of a reader. */
    size_t (*clip_bytes)(const awq__layer *layer);
    size_t (*gptq_bytes)(const awq__layer *layer);
    size_t (*bundle_bytes)(const awq__layer *layer);
    size_t (*reader_bytes)(const awq__layer *layer);
} awq__cpu_steps;

struct awq__block_data {
    const awq__cpu_steps *steps;
    const awq__compute *compute;
    double **salience;         /* [input_count][K] mean |x|; NULL where no scale is searched */
    awq__seen_data *seen;      /* [seen_count] */
    awq__reader_data *readers; /* [reader_count] */
    awq__expert_state *states; /* [bundle_count] of the experts */
    bool gathers[3];           /* by part: the pass gathers seen->whole */
    awq__stats pooled;         /* x^T x above its diagonal of tokens of the layer, for experts with
                                  few; cols 0: none needs it */
    float *sample;             /* [sampled,H] hidden states before the experts, for the proof */
    int64_t sampled;
    struct awq__gpu_block *device; /* see awq__states */
};

/* Readers of an expert's bundle. */
typedef enum awq__expert_part {
    AWQ__EXPERT_GATE,
    AWQ__EXPERT_UP,
    AWQ__EXPERT_DOWN,
} awq__expert_part;

static inline double *awq__cpu_salience(const awq__block *block, const awq__input *input)
{
    return block->data->salience[input - block->inputs];
}

static inline awq__reader *awq__expert_reader(const awq__block *block, int64_t expert,
                                              awq__expert_part part)
{
    return block->bundles[expert].readers[part];
}

/* ---- cpu_block.c ---- */

awq_status awq__cpu_block_begin(awq__block *block, const awq__cpu_steps *steps);
void awq__cpu_block_end(awq__block *block);

/* ---- cpu_attention.c ---- */

awq_status awq__cpu_attention_statistics(awq__block *block);
awq_status awq__cpu_attention_clip(awq__block *block, awq__bundle *bundle);
awq_status awq__cpu_attention_gram(awq__block *block, const awq__reader *reader, awq__stats *gram,
                                   double *damping);

/* ---- cpu_expert_stats.c ---- */

awq_status awq__cpu_experts_pass(awq__block *block);
awq_status awq__cpu_experts_statistics(awq__block *block);
/* An expert's tokens, and how many its bundle has. */
awq_status awq__cpu_list_tokens(const awq__block *block, int64_t e);
/* The step of the differences that stand for the derivatives of the activation. */
#define AWQ__SLOPE_STEP 0.01f
/* Tokens in the sample that an expert is judged by: every stride-th of the routed ones, or, where
   there are none, of the borrowed ones. */
int64_t awq__sample_stride(const awq__expert_state *state);
int64_t awq__sample_tokens(const awq__expert_state *state);

/* ---- cpu_expert_gram.c, cpu_expert_sample.c ---- */

/* Says what the pass gathers for GPTQ: all that is no more than half of the memory that is left.
   What it does not gather is summed up later, block by block in the same order, to the same bits.
 */
void awq__cpu_plan_grams(awq__block *block);
/* Whether GPTQ wants the whole x^T x of what the part of expert e sees beside a sketch of it. */
bool awq__cpu_wants_gram(const awq__block *block, int64_t e, awq__expert_part part);
awq_status awq__cpu_pool_grams(awq__block *block);
awq_status awq__cpu_expert_gram(awq__block *block, const awq__reader *reader, awq__stats *gram,
                                double *damping);
size_t awq__cpu_expert_gram_bytes(const awq__layer *layer);
/* Tokens of the layer, spread evenly, that join those of an expert with few: without them its
   x^T x would not tell what other inputs do. */
int64_t awq__pooled_tokens(const awq__block *block, int64_t expert, bool inner);
/* What each of `count` of them is multiplied by, at an input of so many columns. */
float awq__pooled_weight(const awq__block *block, int64_t count, int64_t cols, bool inner);
/* Share of the mean diagonal that GPTQ adds for an input of so many columns. */
double awq__expert_damping(const awq__expert_state *state, int64_t cols);
awq_status awq__cpu_expert_clip(awq__block *block, awq__bundle *bundle);
awq_status awq__cpu_expert_error(awq__block *block, const awq__bundle *bundle,
                                 const awq__codes *codes, double *error);

/* ---- cpu_squares.c ---- */

awq_status awq__cpu_mean_squares(awq__block *block, const awq__seen *seen, float *squares,
                                 int64_t *tokens);

/* ---- cpu_search.c, cpu_clip.c ---- */

awq_status awq__cpu_search(awq__block *block);
/* With salience and w_mean there. Losses are found by a function, whose `user` is the block and
   whose items are of readers; NULL: here. */
awq_status awq__cpu_search_by(awq__block *block, awq__search_losses losses);
awq_status awq__cpu_scheme_losses(awq__block *block, const int64_t *readers, int64_t count,
                                  const awq__scheme *schemes, int64_t choices, double *losses);
/* What is seen of the bundle's inputs becomes what the folded weights see. */
awq_status awq__cpu_fold_seen(const awq__block *block, const awq__bundle *bundle);
awq_status awq__cpu_search_ranges(const awq__block *block, const awq__bundle *bundle);
void awq__cpu_drop_ranges(const awq__bundle *bundle);
awq_status awq__cpu_clip(awq__block *block);

/* ---- cpu_proof.c ---- */

/* Hidden states of tokens spread evenly, before the layer's experts: [*count,H], awq__free_aligned
   takes it. NULL without memory. */
float *awq__proof_sample(awq_context *ctx, const awq__states *states, int64_t *count);
/* What experts give for a sample of tokens. */
typedef struct awq__proof_output {
    float *out; /* [T,H], of awq__alloc_aligned */
    awq__routes routes;
} awq__proof_output;
void awq__proof_output_free(awq__proof_output *output);
/* Fills the proof of a layer's experts, but for stored_agreement; AWQ_ERROR_PROOF. */
awq_status awq__proof_compare(const awq__forward *forward, const awq__layer *layer,
                              const awq__proof_output *before, const awq__proof_output *after,
                              awq__proof *proof);
awq_status awq__proof_check_attention(awq_context *ctx, int64_t layer, const awq__proof *proof);
/* norm [H] and router [E,H] of a folded layer as they will be stored. */
void awq__round_stored(const awq__compute *compute, const awq__layer *folded, float *norm,
                       float *router);
awq_status awq__cpu_prove_attention(awq__block *block, awq__proof *proof);
awq_status awq__cpu_prove_experts(awq__block *block, awq__proof *proof);

/* ---- cpu_round.c ---- */

/* Share of the mean diagonal that GPTQ adds where tokens are plenty. */
#define AWQ__GPTQ_DAMPING 0.05
#define AWQ__GPTQ_RANGES 8 /* that each group chooses from */
/* RTN of a reader's weight, folded or the source's, within ranges or NULL. *codes is made. */
awq_status awq__cpu_round_weight(const awq__block *block, const awq__reader *reader,
                                 const awq__weight *weight, const awq__range *ranges,
                                 awq__codes *codes);
awq_status awq__cpu_round_reader(awq__block *block, const awq__reader *reader, awq__codes *codes);
awq_status awq__cpu_round(awq__block *block, awq__bundle *bundle, awq__codes *codes);

/* ---- cpu_states.c: see awq__backend ---- */

awq_status awq__cpu_states_create(awq_context *ctx, const awq_arch_model *model,
                                  const awq__sequences *sequences, const awq__weight *embedding,
                                  awq__states **states);
void awq__cpu_states_free(awq__states *states);
awq_status awq__cpu_attention(awq__states *states, const awq__layer *layer);
awq_status awq__cpu_route(awq__states *states, const awq__layer *layer, awq__routes *routes);
awq_status awq__cpu_experts(awq__states *states, const awq__layer *layer,
                            const awq__routes *routes);
awq_status awq__cpu_sum_squares(awq__states *states, double *sum);

/* ---- cpu_logits.c ---- */

awq_status awq__cpu_compare_logits(const awq__head *judged, const awq__head *reference,
                                   const int32_t *targets, awq__logit_stats *stats);

#endif
