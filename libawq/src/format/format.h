/* One file per on-disk format behind one small table. */
#ifndef AWQ__FORMAT_H
#define AWQ__FORMAT_H

#include "checkpoint/checkpoint.h"
#include "compute/codes.h"
#include "core/json.h"

#define AWQ__MAX_SPECS 4

/* One tensor that stores (a part of) a module: its name is the module's and the suffix. */
typedef struct awq__spec {
    const char *suffix; /* ".qweight" */
    awq_dtype dtype;
    int rank;
    int64_t shape[2];
} awq__spec;

/* What a checkpoint's quantization_config says. */
typedef struct awq__stored {
    int bits;
    int64_t group; /* -1: the whole row */
} awq__stored;

typedef struct awq__disk_format {
    const char *name;   /* of the recipe's `format` and of messages */
    const char *method; /* "quant_method" in config.json */

    /* ---- writing ---- */

    /* AWQ_ERROR_RECIPE, naming the module, if the format cannot store [rows, cols] with the scheme.
     */
    awq_status (*check)(awq_context *ctx, const char *module, int64_t rows, int64_t cols,
                        const awq__scheme *scheme);
    /* The tensors that will store it; returns their number. */
    int (*specs)(int64_t rows, int64_t cols, const awq__scheme *scheme,
                 awq__spec specs[AWQ__MAX_SPECS]);
    /* Packs the codes for spec number `index` into out, which has the spec's size. */
    void (*pack)(const awq__codes *codes, int index, void *out);
    /* The quantization_config object; `kept` are the linears that stay float, `quantized` the rest.
       NULL, with the failure recorded, where memory or awq__skip_list fails. */
    cJSON *(*config)(awq_context *ctx, const awq__scheme *scheme, const char *const *kept,
                     size_t kept_count, const char *const *quantized, size_t quantized_count);

    /* ---- reading ---- */

    /* Checks quantization_config of `file`. */
    awq_status (*read_config)(awq_context *ctx, const char *file, const cJSON *config,
                              awq__stored *stored);
    /* Finds the module's packed tensors and checks their shapes. *found false, and no failure, if
     * it has none. */
    awq_status (*open)(awq_context *ctx, const awq__checkpoint *checkpoint,
                       const awq__stored *stored, const char *module, int64_t rows, int64_t cols,
                       awq__weight *weight, bool *found);
} awq__disk_format;

/* By the recipe's name or by quant_method; NULL if unknown. */
const awq__disk_format *awq__disk_format_by_name(const char *name);
const awq__disk_format *awq__disk_format_by_method(const char *method);

extern const awq__disk_format awq__disk_format_awq;
/* The inverse of its pack, for tensors in memory; codes has been created with the shape. */
void awq__gemm_unpack(awq__codes *codes, const uint32_t *qweight, const uint32_t *qzeros,
                      const uint16_t *scales);

/* Bytes of one spec. */
uint64_t awq__spec_bytes(const awq__spec *spec);

/*
 * A short list of name endings: each name of `kept` ends with an entry and no name of `quantized`
 * contains one, so that readers agree whether they look for an entry anywhere in a name or at its
 * end. A kept name that no earlier entry covers adds its last component if that is safe, else more
 * of its end, at last all of it. The caller frees the list and each entry. AWQ_ERROR_RECIPE if a
 * whole kept name is part of a quantized one.
 */
awq_status awq__skip_list(awq_context *ctx, const char *const *kept, size_t kept_count,
                          const char *const *quantized, size_t quantized_count, char ***list,
                          size_t *count);

#endif
