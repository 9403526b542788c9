#include "plan/budget.h"

#include <math.h>

typedef struct solver {
    const awq__budget *budget;
    int32_t *chosen;
    uint64_t used;
} solver;

static double loss_of(const awq__budget *b, int64_t unit, int64_t choice)
{
    return b->loss[unit * b->choices + choice];
}

static uint64_t bytes_of(const awq__budget *b, int64_t unit, int64_t choice)
{
    return b->bytes[unit * b->choices + choice];
}

/* The smallest choice with a finite loss, of several the one with the least loss; -1 if there is
   none. */
static int32_t smallest(const awq__budget *b, int64_t unit)
{
    int32_t best = -1;
    for (int32_t c = 0; c < b->choices; c++) {
        if (!isfinite(loss_of(b, unit, c)))
            continue;
        bool better = best < 0 || bytes_of(b, unit, c) < bytes_of(b, unit, best) ||
                      (bytes_of(b, unit, c) == bytes_of(b, unit, best) &&
                       loss_of(b, unit, c) < loss_of(b, unit, best));
        if (better)
            best = c;
    }
    return best;
}

/* The step from the present choice that saves most loss a byte and fits; -1 if none does. Taking
   the steepest of all steps to the right walks along the lower convex hull. */
static int32_t steepest(const solver *s, int64_t unit, double *slope)
{
    const awq__budget *b = s->budget;
    int32_t now = s->chosen[unit], best = -1;
    for (int32_t c = 0; c < b->choices; c++) {
        double saved = loss_of(b, unit, now) - loss_of(b, unit, c);
        if (!(saved > 0))
            continue;
        uint64_t from = bytes_of(b, unit, now), to = bytes_of(b, unit, c);
        uint64_t more = to > from ? to - from : 0;
        if (more > b->limit - s->used)
            continue;
        double rate = more ? saved / (double)more : INFINITY;
        if (best < 0 || rate > *slope) {
            best = c;
            *slope = rate;
        }
    }
    return best;
}

/* The best step of all units, the first of several alike. False if none is left. */
static bool take_step(solver *s)
{
    int64_t unit = -1;
    int32_t choice = -1;
    double best = 0;
    for (int64_t u = 0; u < s->budget->units; u++) {
        double slope = 0;
        int32_t c = steepest(s, u, &slope);
        if (c >= 0 && (unit < 0 || slope > best)) {
            unit = u;
            choice = c;
            best = slope;
        }
    }
    if (unit < 0)
        return false;
    s->used -= bytes_of(s->budget, unit, s->chosen[unit]);
    s->used += bytes_of(s->budget, unit, choice);
    s->chosen[unit] = choice;
    return true;
}

awq_status awq__budget_solve(awq_context *ctx, const awq__budget *budget, int32_t *chosen,
                             uint64_t *least_bytes)
{
    solver s = {.budget = budget, .chosen = chosen};
    for (int64_t u = 0; u < budget->units; u++) {
        chosen[u] = smallest(budget, u);
        if (chosen[u] < 0)
            return awq__fail(ctx, AWQ_ERROR_NUMERIC, "unit %lld: no choice has a finite loss",
                             (long long)u);
        s.used += bytes_of(budget, u, chosen[u]);
    }
    *least_bytes = s.used;
    if (s.used > budget->limit)
        return AWQ_ERROR_RECIPE;
    while (take_step(&s))
        ;
    return AWQ_OK;
}
