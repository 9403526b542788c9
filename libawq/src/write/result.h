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
/* Is a tensor copied because the architecture does not describe it? A copy of the embedding that is
 * stored as head is not. */
awq_status awq__result_copies(awq_context *ctx, const awq__arch *arch, const awq__tensor *tensor,
                              bool *copies);
/* Bytes of the result that store module `index`. */
awq_status awq__result_bytes(const awq__model_plan *plan, size_t index, uint64_t *bytes);
/* Calls visit for each tensor of a layer of a model with weights; -1 is what comes before the
   layers, layer_count what comes after. Stops at the first failure. */
typedef awq_status (*awq__result_visit)(void *user, const char *name, awq_dtype dtype, int rank,
                                        const int64_t *shape);
awq_status awq__result_tensors(awq_context *ctx, const awq__model_plan *plan, int64_t layer,
                               awq__result_visit visit, void *user);

#endif
