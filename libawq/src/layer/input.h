/* Attention and experts describe their inputs; scales, folds, clip ranges, rounding and writing are
   the same steps for both. */
#ifndef AWQ__INPUT_H
#define AWQ__INPUT_H

#include "backend/backend.h"
#include "layer/quantize.h"

/* A block in work. */
typedef struct awq__work {
    awq__block block;
    const struct awq__block_steps *steps;
    awq__quantizer *quantizer;
    const awq__backend *backend;
    bool calibrates; /* some reader's treatment does */
    bool fell_back;  /* to RTN */
} awq__work;

/* What differs between the blocks of a layer. */
typedef struct awq__block_steps {
    double shares[5]; /* of the layer's work that is done before STATISTICS, SCALES ... WRITE */
    /* The pass where nothing is to be gathered; NULL: there is none. */
    awq_status (*pass)(awq__work *work);
    /* Are scales and clip ranges, over all bundles, worse than RTN? NULL: never. */
    bool (*worse_than_rtn)(const awq__block *block);
    /* Norms and what else is no reader. */
    awq_status (*write_others)(const awq__work *work);
    void (*report)(const awq__work *work, const awq__proof *proof, cJSON *report);
} awq__block_steps;

/* ---- input.c: describing a block ---- */

/* Room for so many. Free also after a failure. */
typedef struct awq__block_counts {
    int64_t inputs, readers, seen, bundles;
} awq__block_counts;
awq_status awq__work_create(awq__quantizer *quantizer, const awq__layer *layer,
                            const awq__block_steps *steps, awq__block_kind kind,
                            awq__block_counts most, awq__work *work);
void awq__work_free(awq__work *work);
/* The next input; the next that is seen of the last input; a reader of the last that is seen, and
   its bundle. */
void awq__add_input(awq__work *work, const char *name, int64_t cols);
void awq__add_seen(awq__work *work);
void awq__add_reader(awq__work *work, awq__bundle *bundle, awq__part part,
                     const awq__weight *weight, awq__weight *folded);
awq__bundle *awq__add_bundle(awq__work *work, int64_t expert);
/* The next input, a vector inside an attention, and the bundle of its readers. */
awq__bundle *awq__add_vector(awq__work *work, const char *name, awq__vector vector, int64_t cols);
/* Of the last input, whose readers are added. Makes room for a scale, if one of them wants it and
   the fold, an AWQ_FOLD_ bit, is legal. */
awq_status awq__add_site(awq__work *work, uint32_t fold, const awq__fold_site *site);

/* ---- attention.c ---- */

/* Its inputs, with their readers. awq__work_free also after a failure. */
awq_status awq__attention_create(awq__quantizer *quantizer, const awq__layer *layer,
                                 awq__work *work);

/* ---- latent.c ---- */

awq_status awq__latent_create(awq__quantizer *quantizer, const awq__layer *layer, awq__work *work);

/* ---- fold.c ---- */

void awq__fold(awq__block *block);
/* Back to the source's weights. */
void awq__unfold(awq__block *block);

/* ---- delta.c ---- */

/* The same of a gated delta net in place of an attention. */
awq_status awq__delta_create(awq__quantizer *quantizer, const awq__layer *layer, awq__work *work);

/* ---- write_block.c ---- */

/* A vector that is no reader: as the source's layer has it and as the folded one has. Nothing where
   there is none. */
awq_status awq__write_vector(const awq__work *work, awq__part part, const float *source,
                             const float *values);

/* Rounds and writes all readers. */
awq_status awq__write_readers(awq__work *work);

/* ---- block.c ---- */

/* What is known of the block, from the calibration: before any scale is searched. */
awq_status awq__gather(awq__work *work);
/* All steps, in their order. */
awq_status awq__quantize_block(awq__work *work, cJSON *report);
/* Adds what the search of an input found, if there was one: NAME_ratio, or "identity"; and losses.
 */
void awq__report_ratio(const awq__work *work, cJSON *object, const awq__input *input);
void awq__report_found(const awq__work *work, cJSON *object, const awq__input *input);

#endif
