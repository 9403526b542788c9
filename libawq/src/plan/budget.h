/* Choosing a scheme for each part of a model so that the whole keeps to a size. */
#ifndef AWQ__BUDGET_H
#define AWQ__BUDGET_H

#include "core/core.h"

/* Units, a layer or an expert each, have the same number of choices. */
typedef struct awq__budget {
    int64_t units, choices;
    const double *loss;    /* [units,choices]: what the unit adds to the whole loss; an infinite
                              one is never chosen */
    const uint64_t *bytes; /* [units,choices] */
    uint64_t limit;        /* of the bytes of all units */
} awq__budget;

/*
 * chosen[units] has nearly the least sum of losses within the limit: a multiple-choice knapsack by
 * its linear relaxation. It goes along each unit's lower convex hull of loss over bytes, and takes
 * the step that saves most loss a byte first, until none fits; then it fills up with what still
 * fits. *least_bytes is the smallest possible size. AWQ_ERROR_RECIPE, without a message, if the
 * limit is below it.
 */
awq_status awq__budget_solve(awq_context *ctx, const awq__budget *budget, int32_t *chosen,
                             uint64_t *least_bytes);

#endif
