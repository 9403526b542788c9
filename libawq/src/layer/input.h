/*
 * The unit of the work on a layer is an input: a vector that some linears read. q, k and v read
 * one, o another, gate and up of all experts a third, each expert's down its own.
 *
 * A scale multiplies the columns of all readers of an input, and its fold site takes the inverse.
 * Attention and experts only describe their inputs and gather what is known of them. Scales, folds,
 * clip ranges, rounding and writing are one loop each over inputs, readers or bundles.
 */
#ifndef AWQ__INPUT_H
#define AWQ__INPUT_H

#include "layer/proof.h"
#include "layer/quantize.h"
#include "quant/quant.h"

typedef struct awq__input awq__input;
typedef struct awq__reader awq__reader;
typedef struct awq__bundle awq__bundle;
typedef struct awq__block awq__block;

/* Readers of a bundle, and of what is known from the same tokens, at most. */
#define AWQ__MOST_READERS 8

/* What is known of an input from the tokens that reach some of its readers, which lie one after the
   other. */
typedef struct awq__seen {
    awq__input *input;
    awq__reader *readers;
    int64_t reader_count;
    awq__stats stats;  /* whole, or a sketch */
    awq__stats blocks; /* exact for each group, where stats is a sketch and a reader clips */
    double *w_mean;    /* [K] of the quantized readers: see awq__w_mean */
    int64_t w_rows;    /* of these */
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
    bool clips;         /* clip ranges are searched */
    float *row_weight;  /* [N] what an output's squared error counts; NULL: 1 */
    awq__range *ranges; /* [N,K/g] clip ranges; NULL: all is covered */
};

typedef enum awq__fold_kind {
    AWQ__FOLD_NORM, /* the weights of the norm that makes the input are divided */
    AWQ__FOLD_ROWS, /* rows of the linear that makes the input are divided */
} awq__fold_kind;

/* What makes an input, and takes the inverse of its scale. */
typedef struct awq__fold_site {
    awq__fold_kind kind;
    const float *norm;         /* [K] the source's weights */
    const float **folded_norm; /* where the folded layer has them */
    awq_dtype norm_dtype;
    awq__weight *others[2]; /* folded: what else reads the norm, and stays float; NULL: nothing */
    awq__weight *producer;  /* folded */
    /* Columns of the input lie in runs of `run`; `shared` runs, one after the other, are made by
       the same rows, and have the same scales. */
    int64_t run, shared;
    float *inverse; /* the divided norm, or the factors of the producer's rows */
} awq__fold_site;

struct awq__input {
    int64_t cols; /* K */
    awq__reader *readers;
    int64_t reader_count;
    awq__seen *seen;
    int64_t seen_count;
    awq__fold_site site;
    double *salience;       /* [K] mean |x|. NULL, as the next two, where no scale is searched. */
    float *scale, *unscale; /* [K] of its columns, and 1/scale */
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
    /* Squared errors of its output on a sample: by plain rounding (RTN), as chosen, and by GPTQ,
       which is used where it is no worse. */
    double rtn_error, error, gptq_error;
    bool by_gptq;
};

/* What differs between the blocks of a layer. */
typedef struct awq__block_kind {
    double shares[5]; /* of the layer's work that is done before STATISTICS, SCALES ... WRITE */
    /* Passes the calibration through the source's block, for statistics, salience and row weights.
       Enters the stage STATISTICS. */
    awq_status (*gather)(awq__block *block);
    /* The pass where nothing is to be gathered; NULL: there is none. */
    awq_status (*pass)(awq__block *block);
    awq_status (*prove)(const awq__block *block, awq__proof *proof);
    /* Searches clip ranges of a bundle, and keeps them where they are better. */
    awq_status (*clip)(const awq__block *block, awq__bundle *bundle);
    /* Are scales and clip ranges, over all bundles, worse than RTN? NULL: never. */
    bool (*worse_than_rtn)(const awq__block *block);
    /* The whole x^T x of what a reader's folded weight sees, for GPTQ, and its damping. *whole is
       the caller's to free also after a failure. */
    awq_status (*gram)(const awq__block *block, const awq__bundle *bundle,
                       const awq__reader *reader, awq__stats *whole, double *damping);
    /* The bundle's error with these codes; NULL: GPTQ is used unseen. */
    awq_status (*error)(const awq__block *block, const awq__bundle *bundle, const awq__codes *codes,
                        double *error);
    /* Norms and what else is no reader. */
    awq_status (*write_others)(const awq__block *block);
    void (*report)(const awq__block *block, const awq__proof *proof, cJSON *report);
} awq__block_kind;

/* The attention or the experts of a layer. */
struct awq__block {
    const awq__block_kind *kind;
    awq__quantizer *quantizer;
    awq_context *ctx;
    const awq__compute *compute;
    awq__states *states;     /* the calibration's; NULL where nothing is calibrated */
    const awq__layer *layer; /* the source's */
    awq__layer folded;       /* with multipliers and norms of folds */
    awq__input *inputs;
    awq__reader *readers; /* of all inputs, one after the other; so is what is seen */
    awq__seen *seen;
    awq__bundle *bundles;
    int64_t input_count, reader_count, seen_count, bundle_count;
    size_t clip_bytes, round_bytes, store_bytes; /* of a worker: on a bundle, a bundle, a reader */
    int64_t steps;                               /* of ratios */
    bool calibrates;                             /* some reader's treatment does */
    bool fell_back;                              /* to RTN */
    void *own;                                   /* of its kind */
};

/* ---- input.c: describing a block ---- */

/* Room for so many. Free also after a failure. */
typedef struct awq__block_counts {
    int64_t inputs, readers, seen, bundles;
} awq__block_counts;
awq_status awq__block_create(awq__quantizer *quantizer, const awq__layer *layer,
                             const awq__block_kind *kind, awq__block_counts most,
                             awq__block *block);
void awq__block_free(awq__block *block);
/* The next input; the next that is seen of the last input; a reader of the last that is seen, and
   its bundle. */
void awq__add_input(awq__block *block, int64_t cols);
void awq__add_seen(awq__block *block);
void awq__add_reader(awq__block *block, awq__bundle *bundle, awq__part part,
                     const awq__weight *weight, awq__weight *folded);
awq__bundle *awq__add_bundle(awq__block *block, int64_t expert);
/* Of the last input, whose readers are added. Makes room for a scale, if one of them wants it and
   the fold, an AWQ_FOLD_ bit, is legal. */
awq_status awq__add_site(awq__block *block, uint32_t fold, const awq__fold_site *site);
/* What quantized readers of the same tokens have in common: the first of them, or NULL. */
const awq__reader *awq__seen_quantized(const awq__seen *seen);

/* ---- search.c, fold.c ---- */

/* The scales of all inputs that have one, side by side. */
awq_status awq__search_scales(awq__block *block);
void awq__fold(awq__block *block);
/* Back to the source's weights. */
void awq__unfold(awq__block *block);

/* ---- clip.c ---- */

/* What is seen of the bundle's inputs becomes what the folded weights see. */
void awq__fold_seen(const awq__block *block, const awq__bundle *bundle);
bool awq__bundle_clips(const awq__bundle *bundle);
awq_status awq__search_ranges(const awq__block *block, const awq__bundle *bundle);
void awq__drop_ranges(const awq__bundle *bundle);

/* ---- round.c, write_block.c ---- */

/* Is some reader rounded by GPTQ? */
bool awq__bundle_has_gptq(const awq__bundle *bundle);
/* RTN of a reader's weight, folded or the source's, within ranges or NULL. *codes is made. */
awq_status awq__round_reader(const awq__block *block, const awq__reader *reader,
                             const awq__weight *weight, const awq__range *ranges,
                             awq__codes *codes);
/* Share of the mean diagonal that GPTQ adds where tokens are plenty. */
#define AWQ__GPTQ_DAMPING 0.05
/* Codes of the quantized readers of a bundle; the caller frees them, also after a failure. */
awq_status awq__round_bundle(const awq__block *block, awq__bundle *bundle, awq__codes *codes);
/* Rounds and writes all readers. */
awq_status awq__write_readers(awq__block *block);

/* ---- block.c ---- */

awq_status awq__block_enter(const awq__block *block, awq__stage stage);
/* All steps, in their order. */
awq_status awq__quantize_block(awq__block *block, cJSON *report);
/* Adds what the search of an input found, if there was one: NAME_ratio, or "identity"; and losses.
 */
void awq__report_ratio(const awq__block *block, cJSON *object, const char *name,
                       const awq__input *input);
void awq__report_found(const awq__block *block, cJSON *object, const char *name,
                       const awq__input *input);

#endif
