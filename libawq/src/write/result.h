/* The tensors of a result: by the names of modules, or shared by the experts of a layer. */
#ifndef AWQ__RESULT_H
#define AWQ__RESULT_H

#include "write/model_plan.h"

/* How the result stores the routed experts of a layer. */
typedef enum awq__experts_storage {
    AWQ__EXPERTS_BY_NAME,   /* each matrix by the name of its module */
    AWQ__EXPERTS_AS_SOURCE, /* in the source's fused tensors */
    AWQ__EXPERTS_PACKED,    /* in fused tensors of the format */
} awq__experts_storage;
awq__experts_storage awq__result_experts(const awq__model_plan *plan, int64_t layer);
/* The *count tensors that store module `index` alone, its bias last; none if it is part of a fused
   one. */
awq_status awq__result_specs(const awq__model_plan *plan, size_t index,
                             awq__spec specs[AWQ__MAX_SPECS], int *count);

/* A tensor that all experts of a layer share. */
typedef struct awq__fused_spec {
    char name[AWQ__FUSED_NAME_BYTES];
    awq_dtype dtype;
    int rank;
    int64_t shape[4];
} awq__fused_spec;
/* Those of a layer of a model with weights; none if its experts are stored by name. */
awq_status awq__result_fused(const awq__model_plan *plan, int64_t layer,
                             awq__fused_spec specs[AWQ__MAX_FUSED], int *count);
/* Bytes of the result that store module `index`. */
awq_status awq__result_bytes(const awq__model_plan *plan, size_t index, uint64_t *bytes);
/* Calls visit for each tensor of a layer of a model with weights; -1 is what comes before the
   layers, layer_count what comes after. Stops at the first failure. */
typedef awq_status (*awq__result_visit)(void *user, const char *name, awq_dtype dtype, int rank,
                                        const int64_t *shape);
awq_status awq__result_tensors(awq_context *ctx, const awq__model_plan *plan, int64_t layer,
                               awq__result_visit visit, void *user);

/* ---- undescribed.c: tensors of the source that no module has ---- */

typedef enum awq__copying {
    AWQ__NOT_COPIED, /* a module has it, or it is a copy of the embedding as a head */
    AWQ__COPIED,
    AWQ__WIDENED,  /* weights of F8_E4M3, which become BF16 */
    AWQ__TAKEN_IN, /* their scales */
} awq__copying;
/* What becomes of a tensor of the source that is in the result because the architecture does not
   describe it. AWQ_ERROR_UNSUPPORTED if it holds codes of the source's format. */
awq_status awq__result_copies(awq_context *ctx, const awq_model *model, const awq__tensor *tensor,
                              awq__copying *copying);
/* Its bytes there. */
uint64_t awq__copied_bytes(const awq__tensor *tensor, awq__copying copying);
/* The values of a tensor that is widened, as BF16, block by block; `at` is in bytes. Stops at the
   first failure. */
typedef awq_status (*awq__widened_visit)(void *user, const awq__tensor *tensor, uint64_t at,
                                         const void *data, size_t bytes);
awq_status awq__widen_undescribed(awq_context *ctx, const awq_model *model,
                                  const awq__tensor *tensor, awq__widened_visit visit, void *user);

#endif
