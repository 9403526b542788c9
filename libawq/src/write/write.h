/* Writes a result: packed codes, changed floats, and copies. */
#ifndef AWQ__WRITE_H
#define AWQ__WRITE_H

#include "compute/codes.h"
#include "write/result.h"

/* Counts group scales in F16 that are so small that BF16 would hold more digits of them. */
typedef struct awq__small_scales {
    _Atomic size_t count;
    _Atomic size_t first; /* the first module with one, plus 1 */
} awq__small_scales;

typedef struct awq__writer {
    awq_context *ctx;
    const awq__model_plan *plan;
    awq__output *output;
    awq__small_scales *small_scales; /* counted where it is not NULL */
} awq__writer;

/* ---- whole.c: all tensors ---- */

/* Declares every tensor of the result, and lays them out in shards. */
awq_status awq__write_layout(const awq__writer *writer, uint64_t shard_bytes);
/* Writes what stands outside the layers, what no module has, and constants. */
awq_status awq__write_ends(const awq__writer *writer);
/* Counts the tensors of a layer as written: an earlier run has done it. */
awq_status awq__write_keep(const awq__writer *writer, int64_t layer);

/* ---- store.c: what goes to the output by the names of modules ---- */

/* Writes a module that stays float, with its bias: bit for bit where the weight has no multipliers,
   else rounded to its stored type. */
awq_status awq__store_weight(const awq__writer *writer, const awq__module *module,
                             const awq__weight *weight);
/* values stand for what the source's array holds, or are that array. The 1 that a norm adds to its
   weights is in them. */
awq_status awq__store_vector(const awq__writer *writer, const awq__module *module,
                             const float *source, const float *values);
/* Writes what is constant of the codes that module `index` will have: nothing if it has none. It
   is in place before them, so that the hash of its shard need not wait for it. */
awq_status awq__store_constants(const awq__writer *writer, size_t index);
/* Writes the rest of the codes, and the bias of the weight that they stand for. */
awq_status awq__store_codes(const awq__writer *writer, const awq__module *module,
                            const awq__weight *weight, const awq__codes *codes);
/* ---- range.c ---- */

/* Converts values to dtype. AWQ_ERROR_NUMERIC if a fold has made one too large for that type. */
awq_status awq__store_narrow(awq_context *ctx, const char *name, awq_dtype dtype,
                             const float *values, int64_t count, void *stored);

/* ---- small_scales.c ---- */

/* Counts those of module `index`, if the writer does. Safe on any thread. */
void awq__note_small_scales(const awq__writer *writer, size_t index, const awq__codes *codes);
/* Warns if there were any, with the format that holds them better. */
awq_status awq__tell_small_scales(const awq__writer *writer, awq__rules *rules);

/* ---- store_fused.c: what goes to tensors that experts share ---- */

/* One expert's part of its layer's fused tensors. codes [3]: of gate, up and down where they are
   quantized. */
awq_status awq__store_fused(const awq__writer *writer, const awq__layer *layer, int64_t expert,
                            const awq__codes *codes);

/* ---- side_files.c ---- */

/* The model card of a result, and that of its source beside it. */
#define AWQ__CARD_FILE "README.md"
#define AWQ__SOURCE_CARD_FILE "README.source.md"

/* AWQ_ERROR_IO if one of the source's files that a result has too is a link out of the source.
   Warns of what the result will lack. */
awq_status awq__side_files_check(awq_context *ctx, awq__model_plan *plan);
/* Writes config.json with quantization_config, and copies those that are there. */
awq_status awq__write_side_files(const awq__writer *writer);

#endif
