/* What a verification finds, shared by the files that look. */
#ifndef AWQ__VERIFY_H
#define AWQ__VERIFY_H

#include "model/model.h"

/* Texts in the order of finding; the first AWQ__MAX_REMARKS are kept, all are counted. */
#define AWQ__MAX_REMARKS 100
typedef struct awq__remarks {
    char *texts[AWQ__MAX_REMARKS];
    size_t kept, count;
} awq__remarks;

struct awq_verification {
    awq_context *ctx;
    double start_seconds;
    awq__remarks problems, notes;
    awq_verify_result result;
};
/* remarks.c: adds one, formatted. AWQ_ERROR_MEMORY alone. */
awq_status awq__find_problem(awq_verification *v, const char *format, ...) AWQ__PRINTF(2, 3);
awq_status awq__find_note(awq_verification *v, const char *format, ...) AWQ__PRINTF(2, 3);

/* ---- verify_values.c ---- */

/* Modules of a result and of its source, in memory: those of a layer, or one outside the layers. */
typedef struct awq__verified {
    const awq_model *result, *source;
    awq__held *result_held, *source_held;
    int64_t layer; /* -1 outside the layers */
    size_t first, count;
    bool gptq; /* modules of the result were rounded by it */
} awq__verified;
/* Compares every value. */
awq_status awq__verify_values(awq_verification *v, const awq__verified *part);

#endif
