/* The best scale and min of runs of weights. */
#include "compute/block_fit_internal.h"

#include <math.h>
#include <string.h>

/* How far scales that are tried lie from the extents: so many codes further in or out. Of E2M1,
   whose values lie far apart at their end, the scale itself is so many times as large. */
#define LEAST_STEP (-1.0f)
#define MOST_STEP 0.9f
#define LEAST_FACTOR 0.8f
#define MOST_FACTOR 1.55f

/* ---- least squares ---- */

static void fit_scale(const awq__run_sums *sums, float *scale, float *min, float *gain)
{
    for (int r = 0; r < AWQ__RUNS; r++) {
        scale[r] = sums->vv[r] > 0 ? sums->xv[r] / sums->vv[r] : 0;
        min[r] = 0;
        gain[r] = scale[r] * sums->xv[r];
    }
}

/* x ~ scale v - min. Where the type cannot subtract less than nothing, or scale less than 0, the
   best without it is taken. */
static void fit_both(const awq__fit_batch *batch, const awq__run_sums *sums, float *scale,
                     float *min, float *gain)
{
    bool any_sign = batch->fit->type->kind == AWQ__RUN_PLAIN;
    fit_scale(sums, scale, min, gain);
    for (int r = 0; r < AWQ__RUNS; r++) {
        float h = batch->sum_h[r], hx = batch->sum_hx[r], v = sums->v[r];
        float determinant = h * sums->vv[r] - v * v;
        float a = (h * sums->xv[r] - v * hx) / determinant;
        float b = (sums->vv[r] * hx - v * sums->xv[r]) / determinant;
        bool fits = determinant > 1e-6f * h * sums->vv[r] && a > 0 && (any_sign || b <= 0);
        scale[r] = fits ? a : scale[r];
        min[r] = fits ? -b : 0;
        gain[r] = fits ? a * sums->xv[r] + b * hx : gain[r];
        scale[r] = scale[r] > 0 ? scale[r] : 0;
    }
}

void awq__fit_to_codes(const awq__fit_batch *batch, const awq__run_sums *sums,
                       float scale[AWQ__RUNS], float min[AWQ__RUNS], float gain[AWQ__RUNS])
{
    if (batch->fit->type->has_min)
        fit_both(batch, sums, scale, min, gain);
    else
        fit_scale(sums, scale, min, gain);
}

/* ---- what is tried ---- */

/* What is tried: to the least or the largest value, and how far from it. */
typedef struct trial {
    bool last;
    float step, factor;
} trial;

static trial trial_at(int index, int count)
{
    float share = count > 1 ? (float)index / (float)(count - 1) : 0;
    return (trial){.last = index % 2,
                   .step = LEAST_STEP + share * (MOST_STEP - LEAST_STEP),
                   .factor = LEAST_FACTOR + share * (MOST_FACTOR - LEAST_FACTOR)};
}

/* The value that the run's extreme weight becomes: it may get the opposite sign. */
static float end_value(const awq__block_type *type, const trial *tried)
{
    float end = awq__block_value(type, tried->last ? type->codes - 1 : 0);
    if (awq__block_values_of(type) == AWQ__VALUES_E2M1)
        return 12 / tried->factor;
    return end * (1 + tried->step / (float)(type->codes - 1) * 2);
}

static void scales_of_extents(const awq__fit_batch *batch, const trial *tried, float *scale,
                              float *min)
{
    const awq__block_type *type = batch->fit->type;
    const float end = end_value(type, tried), top = (float)(type->codes - 1);
    const bool any_sign = type->kind == AWQ__RUN_PLAIN;
    for (int r = 0; r < AWQ__RUNS; r++) {
        float low = batch->low[r], high = batch->high[r];
        float extreme = -low > high ? low : high;
        float base = any_sign || low < 0 ? low : 0;
        scale[r] = type->has_min ? (high - base) / (top + tried->step) : extreme / end;
        min[r] = type->has_min ? -base : 0;
    }
}

typedef struct best {
    float scale[AWQ__RUNS], min[AWQ__RUNS], vv[AWQ__RUNS], gain[AWQ__RUNS];
} best;

/* Rounds at a scale and min, and keeps what fits the codes if that is better. */
static void try_scales(awq__fit_batch *batch, const float *scale, const float *min, best *kept)
{
    best found;
    awq__run_sums sums;
    batch->fit->compute->round_runs(batch->fit->type, batch->length, batch->x, batch->h, scale, min,
                                    &sums, NULL);
    awq__fit_to_codes(batch, &sums, found.scale, found.min, found.gain);
    for (int r = 0; r < AWQ__RUNS; r++) {
        bool better = found.gain[r] > kept->gain[r];
        kept->scale[r] = better ? found.scale[r] : kept->scale[r];
        kept->min[r] = better ? found.min[r] : kept->min[r];
        kept->vv[r] = better ? sums.vv[r] : kept->vv[r];
        kept->gain[r] = better ? found.gain[r] : kept->gain[r];
    }
}

void awq__fit_runs(awq__fit_batch *batch)
{
    const awq__block_effort *effort = &batch->fit->effort;
    /* Scales of either sign, or over a wider range, are twice as many. */
    int count = effort->scales * (batch->fit->type->has_min ? 1 : 2);
    float scale[AWQ__RUNS], min[AWQ__RUNS];
    best kept;
    memset(&kept, 0, sizeof kept);
    scales_of_extents(batch, &(trial){.factor = 1}, scale, min);
    try_scales(batch, scale, min, &kept);
    for (int i = 0; i < count; i++) {
        trial tried = trial_at(i, count);
        scales_of_extents(batch, &tried, scale, min);
        try_scales(batch, scale, min, &kept);
    }
    for (int i = 0; i < effort->fits; i++) {
        memcpy(scale, kept.scale, sizeof scale);
        memcpy(min, kept.min, sizeof min);
        try_scales(batch, scale, min, &kept);
    }
    memcpy(batch->scale, kept.scale, sizeof batch->scale);
    memcpy(batch->min, kept.min, sizeof batch->min);
    memcpy(batch->vv, kept.vv, sizeof batch->vv);
}
