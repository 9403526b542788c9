/*
 * A block, the attention or the experts of a layer, as a backend is told of it.
 *
 * The unit of the work on a layer is an input: a vector that some linears read. q, k and v read
 * one, o another, gate and up of all experts a third, each expert's down its own. An attention has
 * as many inputs as vectors that are read, each with one that is seen.
 *
 * A scale multiplies the columns of all readers of an input, and its fold site takes the inverse.
 * What is known of inputs and readers from the calibration is the backend's: the host never looks
 * into it.
 */
#ifndef AWQ__BLOCK_H
#define AWQ__BLOCK_H

#include "arch/arch.h"
#include "forward/layer.h"
#include "plan/rules.h"
#include "plan/settings.h"
#include "quant/quant.h"

/* Hidden states of all tokens of a set of sequences, and the normed input of the last layer's
   experts. They lie where the backend has its arrays. */
typedef struct awq__states awq__states;

typedef struct awq__input awq__input;
typedef struct awq__reader awq__reader;
typedef struct awq__bundle awq__bundle;

/* Each backend has its own: what it keeps of a block and its parts. */
typedef struct awq__block_data awq__block_data;
typedef struct awq__seen_data awq__seen_data;
typedef struct awq__reader_data awq__reader_data;

/* Readers of a bundle, and of what is known from the same tokens, at most. */
#define AWQ__MOST_READERS 8

/* Readers of an input that see the same tokens; they lie one after the other. */
typedef struct awq__seen {
    awq__input *input;
    awq__reader *readers;
    int64_t reader_count;
    awq__seen_data *data;
} awq__seen;

/* A linear that reads an input. */
struct awq__reader {
    const awq__module *module;
    const awq__treatment *treatment; /* NULL: stays float */
    awq__scheme scheme;              /* of a quantized one */
    const awq__weight *weight;       /* the source's */
    awq__weight *folded;             /* the same with the multipliers of folds */
    awq__input *input;
    awq__seen *seen;
    awq__bundle *bundle;
    bool clips; /* clip ranges are searched */
    awq__reader_data *data;
};

typedef enum awq__fold_kind {
    AWQ__FOLD_NORM, /* the weights of the norm that makes the input are divided */
    AWQ__FOLD_ROWS, /* rows of the linear that makes the input are divided */
} awq__fold_kind;

/* What makes an input, and takes the inverse of its scale. */
typedef struct awq__fold_site {
    awq__fold_kind kind;
    const float *norm;         /* [run] what the source's norm multiplies by */
    const float **folded_norm; /* where the folded layer has that */
    awq_dtype norm_dtype;
    float norm_shift;       /* stored is what is multiplied by, less this */
    awq__weight *others[2]; /* folded: what else reads the norm, and stays float; NULL: nothing */
    awq__weight *producer;  /* folded */
    /* Columns of the input lie in runs of `run`; `shared` runs, one after the other, are made by
       the same weights of the norm or the same rows, and have the same scales. */
    int64_t run, shared;
    int64_t stride; /* rows of the producer for each run, the last `run` of which make it */
    float *inverse; /* the divided norm, or the factors of the producer's rows */
} awq__fold_site;

struct awq__input {
    const char *name;   /* for the report: "qkv" */
    awq__vector vector; /* of an attention */
    int64_t cols;       /* K */
    awq__reader *readers;
    int64_t reader_count;
    awq__seen *seen;
    int64_t seen_count;
    awq__fold_site site;
    /* [K] of its columns, and 1/scale, in the host's memory. NULL: none is searched. */
    float *scale, *unscale;
    awq__found_scale found;
    bool folded; /* readers and fold site carry the scale */
};

/* Readers whose rounding is judged together, and is one task: q, k and v; o; gate, up and down of
   an expert. */
struct awq__bundle {
    awq__reader *readers[AWQ__MOST_READERS];
    int count;
    int64_t expert; /* -1 outside the experts */
    bool fused;     /* stored in tensors that the experts share */
    bool clipped;   /* clip ranges are used */
    /* Of an expert's tokens: routed to it, borrowed, and in the sample that it is judged by. */
    int64_t routed, borrowed, sampled;
    /* Squared errors of its output on a sample: by RTN, as chosen, and by GPTQ,
       which is used where it is no worse. */
    double rtn_error, error, gptq_error;
    bool by_gptq;
};

typedef enum awq__block_kind {
    AWQ__BLOCK_ATTENTION,
    AWQ__BLOCK_EXPERTS, /* bundle e is expert e's */
} awq__block_kind;

typedef struct awq__block {
    awq__block_kind kind;
    awq_context *ctx;
    const awq__settings *settings;
    awq__states *states;       /* the calibration's; NULL where nothing is calibrated */
    const awq__layer *layer;   /* the source's */
    awq__layer folded;         /* with multipliers and norms of folds */
    const awq__routes *routes; /* of the experts */
    awq__input *inputs;
    awq__reader *readers; /* of all inputs, one after the other; so is what is seen */
    awq__seen *seen;
    awq__bundle *bundles;
    int64_t input_count, reader_count, seen_count, bundle_count;
    bool row_weights; /* what an output's squared error counts is wanted of gate and up */
    awq__block_data *data;
} awq__block;

/* What a proof has found. */
typedef struct awq__proof {
    double largest_error;     /* of the block's output, relative to its largest magnitude */
    int64_t tokens, rerouted; /* rerouted: other experts than before, near-ties apart */
    double stored_agreement;  /* share of tokens with the same experts once norm and router are
                                 rounded to their stored type */
} awq__proof;

/* ---- block.c ---- */

/* What quantized readers of the same tokens have in common: the first of them, or NULL. */
const awq__reader *awq__seen_quantized(const awq__seen *seen);
bool awq__bundle_clips(const awq__bundle *bundle);
/* Is some reader rounded by GPTQ? */
bool awq__bundle_has_gptq(const awq__bundle *bundle);

#endif
