/* Scales and mins of runs as blocks can say them: F16 numbers, whole numbers, powers of two. */
#include "core/half.h"
#include "compute/block_fit_internal.h"

#include <math.h>
#include <string.h>

#define MOST_RUNS AWQ__BLOCK_RUNS
/* Of the numbers that the largest scale of a block becomes: how many are tried, from which on. */
#define TRIED_ENDS 3
#define END_FROM (-0.6f)
#define END_STEP 0.6f
#define LARGEST_UE4M3 0x7e
#define LARGEST_SCALE 464 /* what is rounded to that */

/* ---- the error of numbers ---- */

static int block_count(const awq__fit_batch *batch)
{
    return AWQ__RUNS / batch->per_block;
}

/* The F16 that is nearest, as a float. */
static float to_f16(float number)
{
    return awq__f16_to_f32(awq__f32_to_f16(number));
}

/* Scales and mins that numbers mean. */
static void scales_of(const awq__fit_batch *batch, const awq__run_numbers *numbers, float *scale,
                      float *min)
{
    const awq__block_type *type = batch->fit->type;
    const bool times = type->kind == AWQ__RUN_TIMES;
    if (times)
        for (int r = 0; r < AWQ__RUNS; r++)
            scale[r] = numbers->d[r] * (float)numbers->scale[r];
    else
        for (int r = 0; r < AWQ__RUNS; r++)
            scale[r] = awq__block_scale(type->kind, numbers->d[r], numbers->scale[r]);
    if (type->has_min)
        for (int r = 0; r < AWQ__RUNS; r++)
            min[r] = times ? numbers->dmin[r] * (float)numbers->min[r] : -numbers->dmin[r];
    else
        memset(min, 0, AWQ__RUNS * sizeof *min);
}

/* The sums of rounding at the batch's numbers. */
static void round_at(const awq__fit_batch *batch, awq__run_sums *sums, uint8_t *codes)
{
    float scale[AWQ__RUNS], min[AWQ__RUNS];
    scales_of(batch, &batch->numbers, scale, min);
    batch->fit->compute->round_runs(batch->fit->type, batch->length, batch->x, batch->h, scale, min,
                                    sums, codes);
}

static void errors_at(const awq__fit_batch *batch, const awq__run_numbers *numbers,
                      float error[AWQ__RUNS])
{
    float scale[AWQ__RUNS], min[AWQ__RUNS];
    scales_of(batch, numbers, scale, min);
    batch->fit->compute->run_errors(batch->fit->type, batch->length, batch->x, batch->h, scale, min,
                                    error);
}

static float block_error(const awq__fit_batch *batch, const float error[AWQ__RUNS], int block)
{
    float sum = 0;
    for (int r = 0; r < batch->per_block; r++)
        sum += error[block * batch->per_block + r];
    return sum;
}

static void take_run(awq__fit_batch *batch, const awq__run_numbers *from, const float *error, int r)
{
    batch->numbers.d[r] = from->d[r];
    batch->numbers.dmin[r] = from->dmin[r];
    batch->numbers.scale[r] = from->scale[r];
    batch->numbers.min[r] = from->min[r];
    batch->error[r] = error[r];
}

/* Numbers of blocks that are better than what the batch has take their place. NaN never is. */
static void keep_better_blocks(awq__fit_batch *batch, const awq__run_numbers *tried)
{
    float error[AWQ__RUNS];
    errors_at(batch, tried, error);
    for (int b = 0; b < block_count(batch); b++)
        if (block_error(batch, error, b) < block_error(batch, batch->error, b))
            for (int r = b * batch->per_block; r < (b + 1) * batch->per_block; r++)
                take_run(batch, tried, error, r);
}

/* The same of single runs, whose blocks have the numbers that they had. */
static void keep_better_runs(awq__fit_batch *batch, const awq__run_numbers *tried)
{
    float error[AWQ__RUNS];
    errors_at(batch, tried, error);
    for (int r = 0; r < AWQ__RUNS; r++) {
        bool better = error[r] < batch->error[r];
        batch->numbers.scale[r] = better ? tried->scale[r] : batch->numbers.scale[r];
        batch->numbers.min[r] = better ? tried->min[r] : batch->numbers.min[r];
        batch->error[r] = better ? error[r] : batch->error[r];
    }
}

/* ---- one number for the numbers of a block: d and whole numbers for scales ---- */

/* The nearest from low to high, ties to even, as a float; NaN gives low. */
static inline float nearest(float number, float low, float high)
{
    const float magic = 0x1.8p23f; /* drops the fraction of |x| < 2^22 */
    float raised = number > low ? number : low;
    float inside = raised < high ? raised : high;
    return (inside + magic) - magic;
}

static int16_t whole(float number, int low, int high)
{
    return (int16_t)nearest(number, (float)low, (float)high);
}

#define UNIT_LANES 4 /* sums side by side; a block has 8 or 16 runs */

typedef struct numbers {
    int count, low, high;
    const float *values, *weights; /* of the runs of a block */
} numbers;

static float join(const float sums[UNIT_LANES])
{
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* Rounds the values at an inverse of d, and fits d to that: d^2 times this is what is explained. */
static float fit_unit(const numbers *n, float inverse, float *wholes, float *unit)
{
    float vw[UNIT_LANES] = {0}, ww[UNIT_LANES] = {0};
    const float low = (float)n->low, high = (float)n->high;
    for (int r = 0; r < n->count; r += UNIT_LANES)
        for (int l = 0; l < UNIT_LANES; l++) {
            float number = nearest(n->values[r + l] * inverse, low, high);
            float weighted = n->weights[r + l] * number;
            vw[l] += weighted * n->values[r + l];
            ww[l] += weighted * number;
            wholes[r + l] = number;
        }
    float square = join(ww), product = join(vw);
    *unit = square > 0 ? product / square : 0;
    return *unit * product;
}

static float extreme_of(const numbers *n)
{
    float low = 0, high = 0;
    for (int r = 0; r < n->count; r++) {
        low = n->values[r] < low ? n->values[r] : low;
        high = n->values[r] > high ? n->values[r] : high;
    }
    return -low > high ? low : high;
}

/* The unit and whole numbers by which values are said best. */
static float choose_unit(const numbers *n, int16_t *wholes)
{
    float extreme = extreme_of(n), best = -1, unit = 0, kept[MOST_RUNS] = {0};
    for (int i = 0; i < TRIED_ENDS && extreme != 0; i++) {
        float end = n->low ? (float)n->low : (float)n->high, found, tried[MOST_RUNS];
        float step = END_FROM + END_STEP * (float)i;
        float gain = fit_unit(n, (end + (end < 0 ? -step : step)) / extreme, tried, &found);
        if (!(gain > best))
            continue;
        best = gain;
        unit = found;
        memcpy(kept, tried, sizeof kept);
    }
    for (int r = 0; r < n->count; r++)
        wholes[r] = (int16_t)kept[r];
    return unit;
}

/* Weights of scales are how much the error grows with them. */
static void start_times(awq__fit_batch *batch)
{
    const awq__block_type *type = batch->fit->type;
    awq__run_numbers *to = &batch->numbers;
    for (int at = 0; at < AWQ__RUNS; at += batch->per_block) {
        const numbers scales = {batch->per_block, type->scale_low, type->scale_high,
                                batch->scale + at, batch->vv + at};
        const numbers mins = {batch->per_block, 0, type->min_high, batch->min + at,
                              batch->sum_h + at};
        float d = to_f16(choose_unit(&scales, to->scale + at));
        float dmin = type->has_min ? to_f16(choose_unit(&mins, to->min + at)) : 0;
        for (int r = at; r < at + batch->per_block; r++) {
            to->d[r] = d;
            to->dmin[r] = dmin;
        }
    }
}

/* d and dmin that fit codes and whole numbers: of two unknowns where there are mins. */
static void fit_block(const awq__fit_batch *batch, const awq__run_sums *sums, int first, float *d,
                      float *dmin)
{
    double xs = 0, ss = 0, sm = 0, xm = 0, mm = 0;
    for (int r = first; r < first + batch->per_block; r++) {
        double scale = batch->numbers.scale[r], min = batch->numbers.min[r];
        xs += scale * (double)sums->xv[r];
        ss += scale * scale * (double)sums->vv[r];
        sm -= scale * min * (double)sums->v[r];
        xm -= min * (double)batch->sum_hx[r];
        mm += min * min * (double)batch->sum_h[r];
    }
    double determinant = ss * mm - sm * sm;
    if (batch->fit->type->has_min && determinant > 1e-9 * ss * mm) {
        *d = to_f16((float)((mm * xs - sm * xm) / determinant));
        *dmin = to_f16((float)((ss * xm - sm * xs) / determinant));
    } else if (ss > 0) {
        *d = to_f16((float)((xs - sm * (double)*dmin) / ss));
    }
}

static void try_fitted_blocks(awq__fit_batch *batch)
{
    awq__run_numbers tried = batch->numbers;
    awq__run_sums sums;
    round_at(batch, &sums, NULL);
    for (int first = 0; first < AWQ__RUNS; first += batch->per_block) {
        float d = tried.d[first], dmin = tried.dmin[first];
        fit_block(batch, &sums, first, &d, &dmin);
        for (int r = first; r < first + batch->per_block; r++) {
            tried.d[r] = d;
            tried.dmin[r] = dmin;
        }
    }
    keep_better_blocks(batch, &tried);
}

static inline int16_t moved(int number, int by, int low, int high)
{
    int to = number + by;
    to = to < low ? low : to;
    return (int16_t)(to > high ? high : to);
}

/* Each run's whole numbers, moved by so much. */
static void try_moved(awq__fit_batch *batch, int scale_by, int min_by)
{
    const awq__block_type *type = batch->fit->type;
    awq__run_numbers tried = batch->numbers;
    for (int r = 0; r < AWQ__RUNS; r++) {
        tried.scale[r] = moved(tried.scale[r], scale_by, type->scale_low, type->scale_high);
        tried.min[r] = moved(tried.min[r], min_by, 0, type->min_high);
    }
    keep_better_runs(batch, &tried);
}

/* A scale and a min that grow together keep the middle of a run where it is; one that grows while
   the other shrinks has not paid. */
static void try_neighbours(awq__fit_batch *batch)
{
    for (int by = -1; by <= 1; by += 2) {
        try_moved(batch, by, 0);
        if (!batch->fit->type->has_min)
            continue;
        try_moved(batch, 0, by);
        try_moved(batch, by, by);
    }
}

static void improve_times(awq__fit_batch *batch)
{
    try_neighbours(batch);
    try_fitted_blocks(batch);
}

/* ---- blocks of one run, with F16 numbers ---- */

static void say_plain(const float *scale, const float *min, awq__run_numbers *to)
{
    for (int r = 0; r < AWQ__RUNS; r++) {
        to->d[r] = to_f16(scale[r]);
        to->dmin[r] = to_f16(-min[r]);
    }
}

/* The runs' fits to their codes. */
static void improve_plain(awq__fit_batch *batch)
{
    awq__run_numbers tried = batch->numbers;
    float scale[AWQ__RUNS], min[AWQ__RUNS], gain[AWQ__RUNS];
    awq__run_sums sums;
    round_at(batch, &sums, NULL);
    awq__fit_to_codes(batch, &sums, scale, min, gain);
    say_plain(scale, min, &tried);
    keep_better_blocks(batch, &tried);
}

/* ---- scales of a byte ---- */

/* The exponent by which the extreme becomes 4 to 8 times the scale, of values that are doubled. */
static int16_t byte_of_e8m0(float extreme)
{
    int exponent;
    if (!(extreme > 0) || extreme == INFINITY)
        return 0;
    frexpf(extreme, &exponent); /* extreme < 2^exponent */
    return moved(exponent - 3 + 127, 0, 0, 254);
}

/* The nearest E4M3 to twice the scale, which is of values that are doubled. */
static int16_t byte_of_ue4m3(float scale)
{
    float number = scale * 2;
    if (!(number >= 0x1p-6f))
        return whole(number * 512, 0, 7);
    if (number >= 448)
        return LARGEST_UE4M3;
    uint32_t bits = awq__f32_bits(number) + 0x7ffff + (awq__f32_bits(number) >> 20 & 1);
    return moved((int)(bits >> 20) - (120 << 3), 0, 0, LARGEST_UE4M3);
}

static int16_t byte_of_run(const awq__fit_batch *batch, int r)
{
    if (batch->fit->type->kind == AWQ__RUN_UE4M3)
        return byte_of_ue4m3(fabsf(batch->scale[r]));
    return byte_of_e8m0(fmaxf(-batch->low[r], batch->high[r]));
}

static void move_bytes(awq__fit_batch *batch, int by)
{
    int most = batch->fit->type->kind == AWQ__RUN_UE4M3 ? LARGEST_UE4M3 : 254;
    awq__run_numbers tried = batch->numbers;
    for (int r = 0; r < AWQ__RUNS; r++)
        tried.scale[r] = moved(tried.scale[r], by, 0, most);
    keep_better_runs(batch, &tried);
}

static void start_bytes(awq__fit_batch *batch)
{
    for (int r = 0; r < AWQ__RUNS; r++)
        batch->numbers.scale[r] = byte_of_run(batch, r);
}

static void improve_bytes(awq__fit_batch *batch)
{
    move_bytes(batch, -1);
    move_bytes(batch, 1);
}

/* ---- all of it ---- */

/* Can the scales that were found be said? An error that overflows tells that none was found. */
static bool all_fit(const awq__fit_batch *batch)
{
    bool fit = true;
    for (int r = 0; r < AWQ__RUNS; r++)
        fit &= isfinite(batch->numbers.d[r]) && isfinite(batch->numbers.dmin[r]);
    for (int r = 0; r < AWQ__RUNS && batch->fit->type->kind != AWQ__RUN_E8M0; r++)
        fit &= isfinite(batch->scale[r]) && isfinite(batch->min[r]) && isfinite(batch->error[r]);
    for (int r = 0; r < AWQ__RUNS && batch->fit->type->kind == AWQ__RUN_UE4M3; r++)
        fit &= fabsf(batch->scale[r]) * 2 <= LARGEST_SCALE;
    return fit;
}

/* Blocks with all that they say. */
static void make_blocks(awq__fit_batch *batch)
{
    uint8_t codes[AWQ__RUN_MAX * AWQ__RUNS];
    const awq__run_numbers *from = &batch->numbers;
    awq__run_sums sums;
    round_at(batch, &sums, codes);
    for (int r = 0; r < AWQ__RUNS; r++) {
        int run = r % batch->per_block;
        awq__ggml_block *block = &batch->blocks[r / batch->per_block];
        uint8_t *to = block->codes + run * batch->length;
        block->d = awq__f32_to_f16(from->d[r]);
        block->dmin = awq__f32_to_f16(from->dmin[r]);
        block->scale[run] = from->scale[r];
        block->min[run] = from->min[r];
        for (int i = 0; i < batch->length; i++)
            to[i] = codes[i * AWQ__RUNS + r];
    }
}

static void start(awq__fit_batch *batch)
{
    memset(&batch->numbers, 0, sizeof batch->numbers);
    if (batch->fit->type->kind == AWQ__RUN_PLAIN)
        say_plain(batch->scale, batch->min, &batch->numbers);
    else if (batch->fit->type->kind == AWQ__RUN_TIMES)
        start_times(batch);
    else
        start_bytes(batch);
}

static void improve(awq__fit_batch *batch)
{
    if (batch->fit->type->kind == AWQ__RUN_PLAIN)
        improve_plain(batch);
    else if (batch->fit->type->kind == AWQ__RUN_TIMES)
        improve_times(batch);
    else
        improve_bytes(batch);
}

bool awq__fit_numbers(awq__fit_batch *batch)
{
    start(batch);
    errors_at(batch, &batch->numbers, batch->error);
    bool fit = all_fit(batch);
    for (int i = 0; i < batch->fit->effort.passes; i++)
        improve(batch);
    make_blocks(batch);
    return fit;
}
