/* Grams of inputs, as estimates of memory and time foresee them. */
#include "run/job.h"

#include <math.h>

double awq__gram_rows(const awq__model_plan *plan, const awq__module *module, double seen)
{
    double cols = (double)module->cols, rows = (double)plan->settings.quantize.sketch_rows;
    bool of_experts = module->part >= AWQ__PART_GATE && module->part <= AWQ__PART_DOWN;
    if (!of_experts || rows <= 0 || cols <= rows)
        return cols;
    return fmax(1, fmin(rows, seen));
}

bool awq__has_own_gram(awq__part part)
{
    return awq__first_beside(part) == part;
}
