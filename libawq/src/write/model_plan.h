/* What a recipe does to each module of a model, as known before any weight is read. */
#ifndef AWQ__MODEL_PLAN_H
#define AWQ__MODEL_PLAN_H

#include "model/model.h"
#include "plan/rules.h"
#include "plan/settings.h"

typedef struct awq__model_plan {
    awq__settings settings;
    awq_model *model; /* the source */
    awq__rules rules;
    const awq__disk_format *format;
    awq__scheme *fp8; /* [modules] of E4M3 where a module stays bit for bit; NULL: none does */
    /* Of tensors that the architecture does not describe, in the source and in the result. */
    uint64_t undescribed_before, undescribed_bytes;
} awq__model_plan;
void awq__model_plan_free(awq__model_plan *plan);
/* The scheme of module `index`, which is quantized and whose weights are of this dtype. */
awq__scheme awq__model_plan_scheme(const awq__model_plan *plan, size_t index, awq_dtype dtype);
/* linears.c: quantization_config of the result, for formats that have one. */
awq_status awq__model_plan_config(awq_context *ctx, const awq__model_plan *plan, cJSON **config);
/* Does module `index` stay float, but with values changed by a fold that leaves the model's
 * function as it is? */
bool awq__model_plan_rescales(const awq__model_plan *plan, size_t index);

/* ---- kept_fp8.c ---- */

/* Chooses the modules that stay in F8_E4M3 bit for bit. */
awq_status awq__model_plan_keep_fp8(awq_context *ctx, awq__model_plan *plan);
/* The scheme of one that does; else NULL. */
const awq__scheme *awq__model_plan_kept_fp8(const awq__model_plan *plan, size_t index);

#endif
