/*
 * The seam between the orders of work and the arithmetic: what a device does with arrays that the
 * host never looks into.
 *
 * Operations are as large as the steps of a layer, so that a backend decides by itself about tasks,
 * threads and batches. Weights are handed over as they are stored. What comes back is small:
 * routes, losses, counts, scales, codes. Each operation returns a status, with the message in the
 * context. AWQ_ERROR_CANCELLED may come between its tasks too.
 */
#ifndef AWQ__BACKEND_H
#define AWQ__BACKEND_H

#include "backend/block.h"

/* What makes logits of hidden states. */
typedef struct awq__head {
    awq__states *states;
    const awq__weight *weight; /* [V,H] */
    const float *norm;         /* [H], of the host */
    double epsilon;
    float multiplier, cap; /* awq__finish_logits */
} awq__head;

typedef struct awq__backend {
    const awq__memory *memory; /* of its arrays */

    /* ---- layers ---- */

    /* From here on until layer_end the layer's weights are there, as they are stored: a device
       takes them over once, whatever is done with the layer. The next layer is read meanwhile. */
    awq_status (*layer_begin)(awq_context *ctx, const awq__layer *layer);
    void (*layer_end)(awq_context *ctx, const awq__layer *layer);

    /* ---- hidden states ---- */

    /* hidden = the rows of embedding [V,H] that the ids name, times the model's multiplier, and its
       rotary tables. The sequences are borrowed. *states is NULL after a failure. */
    awq_status (*states_create)(awq_context *ctx, const awq_arch_model *model,
                                const awq__sequences *sequences, const awq__weight *embedding,
                                awq__states **states);
    /* Takes NULL. */
    void (*states_free)(awq__states *states);
    /* hidden += attention(norm(hidden)) */
    awq_status (*attention)(awq__states *states, const awq__layer *layer);
    /* The experts' inputs are norms of hidden; and where the router sends them. *routes is the
       caller's to free. */
    awq_status (*route)(awq__states *states, const awq__layer *layer, awq__routes *routes);
    /* hidden += experts(x) */
    awq_status (*experts)(awq__states *states, const awq__layer *layer, const awq__routes *routes);
    /* The sum of the squares of hidden. */
    awq_status (*sum_squares)(awq__states *states, double *sum);
    /* Logits of all tokens against targets[T], -1 for none, and against those of a reference with
       as many tokens and as large a vocabulary, or NULL. */
    awq_status (*compare_logits)(const awq__head *judged, const awq__head *reference,
                                 const int32_t *targets, awq__logit_stats *stats);

    /* ---- a block, in this order ---- */

    /* Makes room for what will be known. block_end also after a failure of this, and of a block
       that was never begun, whose data is NULL. */
    awq_status (*block_begin)(awq__block *block);
    void (*block_end)(awq__block *block);
    /* Passes the calibration through the source's experts, whose statistics are taken on the way.
       Nothing for an attention, which the calibration passes later. */
    awq_status (*pass)(awq__block *block);
    /* What is missing: statistics of borrowed tokens or of an attention's inputs, row weights,
       salience. */
    awq_status (*statistics)(awq__block *block);
    /* squares[K], of the host: the mean square of each column of what is seen, as the source's
       weights see it; and of how many tokens. Of an expert's tokens each counts the square of its
       weight. After statistics. NULL: this backend does not tell. */
    awq_status (*mean_squares)(awq__block *block, const awq__seen *seen, float *squares,
                               int64_t *tokens);
    /* For each input with room for one the scale, its inverse, and what was found of it. */
    awq_status (*search)(awq__block *block);
    /* losses[readers,choices] of rounding each of these readers by each of its schemes, with the
       scales that were found. */
    awq_status (*scheme_losses)(awq__block *block, const int64_t *readers, int64_t count,
                                const awq__scheme *schemes, int64_t choices, double *losses);
    /* Does the folded float block compute what the source's does? AWQ_ERROR_PROOF, naming the
       layer, if not. */
    awq_status (*prove)(awq__block *block, awq__proof *proof);
    /* Searches clip ranges of all bundles, which each keeps where they are better, and finds their
       errors. */
    awq_status (*clip)(awq__block *block);
    /* Back to RTN without clip ranges; the host has taken the folds back. */
    void (*drop_ranges)(awq__block *block);
    /* Codes of the quantized readers of a bundle, which the caller frees, also after a failure. On
       any thread, for several bundles at a time. */
    awq_status (*round)(awq__block *block, awq__bundle *bundle, awq__codes *codes);
    /* The same of one reader of a bundle without GPTQ. */
    awq_status (*round_reader)(awq__block *block, const awq__reader *reader, awq__codes *codes);
    /* Bytes of work space that a caller of the last two takes. */
    size_t (*round_bytes)(const awq__block *block);
    size_t (*round_reader_bytes)(const awq__block *block);
} awq__backend;

/* The one that works for this context: the CPU's, unless it was given another. */
const awq__backend *awq__backend_of(const awq_context *ctx);
/* Gives it one, in whose memory its arrays are from now on. */
void awq__backend_use(awq_context *ctx, const awq__backend *backend);

/* This machine's processors, by the compute table of the context. */
extern const awq__backend awq__backend_cpu;
/* Tokens, about, of the proof, and of the attention whose inputs are kept at a time. */
#define AWQ__SAMPLE_TOKENS 4096
/* Bytes of work space of one of its workers: on logits of a head [V,H]; on an expert's statistics,
   clip ranges, rounding by GPTQ; on writing one of its linears. */
double awq__cpu_logits_bytes(const awq__weight *head);
size_t awq__cpu_statistics_bytes(const awq__layer *layer);
size_t awq__cpu_clip_bytes(const awq__layer *layer);
size_t awq__cpu_gptq_bytes(const awq__layer *layer);
size_t awq__cpu_store_bytes(const awq__layer *layer);

#endif
