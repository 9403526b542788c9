/* Scales and mins of runs as blocks can say them: F16 numbers, whole numbers, powers of two. */
#include "core/half.h"
#include "compute/block_fit_internal.h"

#include <math.h>
#include <string.h>

#define MOST_RUNS AWQ__BLOCK_RUNS
#define TRIED_ENDS                                                                                 \
    5 /* of the numbers that the largest scale of a block becomes, from END_FROM on */
#define END_FROM (-0.6f)
#define END_STEP 0.3f
#define LARGEST_UE4M3 0x7e
#define LARGEST_SCALE 464 /* what is rounded to that */

/* ---- the error of numbers ---- */

static int block_count(const awq__fit_batch *batch)
{
    return AWQ__RUNS / batch->per_block;
}

/* Scales and mins as the blocks have them now, and the sums of rounding at these. */
static void round_at(const awq__fit_batch *batch, const awq__ggml_block *blocks,
                     awq__run_sums *sums, uint8_t *codes)
{
    float scale[AWQ__RUNS + MOST_RUNS], min[AWQ__RUNS + MOST_RUNS];
    for (int b = 0; b < block_count(batch); b++)
        awq__block_scales(batch->fit->type, &blocks[b], scale + b * batch->per_block,
                          min + b * batch->per_block);
    batch->fit->compute->round_runs(batch->fit->type, batch->length, batch->x, batch->h, scale, min,
                                    sums, codes);
}

static float block_error(const awq__fit_batch *batch, const awq__run_sums *sums, int block)
{
    float error = 0;
    for (int r = 0; r < batch->per_block; r++)
        error += sums->error[block * batch->per_block + r];
    return error;
}

static void copy_run(awq__run_sums *to, const awq__run_sums *from, int r)
{
    to->error[r] = from->error[r];
    to->xv[r] = from->xv[r];
    to->vv[r] = from->vv[r];
    to->v[r] = from->v[r];
}

/* Blocks that are better than what the batch has take its place. NaN never is. */
static void keep_better_blocks(awq__fit_batch *batch, const awq__ggml_block *tried)
{
    awq__run_sums sums;
    round_at(batch, tried, &sums, NULL);
    for (int b = 0; b < block_count(batch); b++) {
        if (!(block_error(batch, &sums, b) < block_error(batch, &batch->sums, b)))
            continue;
        batch->blocks[b] = tried[b];
        for (int r = b * batch->per_block; r < (b + 1) * batch->per_block; r++)
            copy_run(&batch->sums, &sums, r);
    }
}

/* The same for the whole numbers of single runs. */
static void keep_better_runs(awq__fit_batch *batch, const awq__ggml_block *tried)
{
    awq__run_sums sums;
    round_at(batch, tried, &sums, NULL);
    for (int r = 0; r < AWQ__RUNS; r++) {
        int b = r / batch->per_block, run = r % batch->per_block;
        if (!(sums.error[r] < batch->sums.error[r]))
            continue;
        batch->blocks[b].scale[run] = tried[b].scale[run];
        batch->blocks[b].min[run] = tried[b].min[run];
        copy_run(&batch->sums, &sums, r);
    }
}

/* ---- one number for the numbers of a block: d and whole numbers for scales ---- */

static int16_t whole(float number, int low, int high)
{
    float rounded = rintf(number);
    return (int16_t)(rounded > (float)low ? rounded < (float)high ? rounded : (float)high
                                          : (float)low);
}

typedef struct numbers {
    int count, low, high;
    const float *values, *weights; /* of the runs of a block */
} numbers;

/* Rounds the values at an inverse of d, and fits d to that: d^2 times this is what is explained. */
static float fit_unit(const numbers *n, float inverse, int16_t *wholes, float *unit)
{
    float vw = 0, ww = 0;
    for (int r = 0; r < n->count; r++) {
        wholes[r] = whole(n->values[r] * inverse, n->low, n->high);
        vw += n->weights[r] * n->values[r] * (float)wholes[r];
        ww += n->weights[r] * (float)wholes[r] * (float)wholes[r];
    }
    *unit = ww > 0 ? vw / ww : 0;
    return *unit * vw;
}

static float extreme_of(const numbers *n)
{
    float extreme = 0;
    for (int r = 0; r < n->count; r++)
        if (fabsf(n->values[r]) > fabsf(extreme))
            extreme = n->values[r];
    return extreme;
}

/* The unit and whole numbers by which values are said best. */
static float choose_unit(const numbers *n, int16_t *wholes)
{
    float extreme = extreme_of(n), best = -1, unit = 0;
    memset(wholes, 0, (size_t)n->count * sizeof *wholes);
    for (int i = 0; i < TRIED_ENDS && extreme != 0; i++) {
        int16_t tried[MOST_RUNS];
        float end = n->low ? (float)n->low : (float)n->high, found;
        float step = END_FROM + END_STEP * (float)i;
        float gain = fit_unit(n, (end + (end < 0 ? -step : step)) / extreme, tried, &found);
        if (!(gain > best))
            continue;
        best = gain;
        unit = found;
        memcpy(wholes, tried, (size_t)n->count * sizeof *wholes);
    }
    return unit;
}

/* Weights of scales are how much the error grows with them. */
static void start_times(awq__fit_batch *batch, const awq__run_sums *sums)
{
    const awq__block_type *type = batch->fit->type;
    for (int b = 0; b < block_count(batch); b++) {
        int at = b * batch->per_block;
        const numbers scales = {batch->per_block, type->scale_low, type->scale_high,
                                batch->scale + at, sums->vv + at};
        const numbers mins = {batch->per_block, 0, type->min_high, batch->min + at,
                              batch->sum_h + at};
        batch->blocks[b].d = awq__f32_to_f16(choose_unit(&scales, batch->blocks[b].scale));
        if (type->has_min)
            batch->blocks[b].dmin = awq__f32_to_f16(choose_unit(&mins, batch->blocks[b].min));
    }
}

/* d and dmin that fit codes and whole numbers: of two unknowns where there are mins. */
static void fit_block(const awq__fit_batch *batch, int b, awq__ggml_block *block)
{
    double xs = 0, ss = 0, sm = 0, xm = 0, mm = 0;
    for (int r = 0; r < batch->per_block; r++) {
        int at = b * batch->per_block + r;
        double scale = block->scale[r], min = block->min[r];
        xs += scale * (double)batch->sums.xv[at];
        ss += scale * scale * (double)batch->sums.vv[at];
        sm -= scale * min * (double)batch->sums.v[at];
        xm -= min * (double)batch->sum_hx[at];
        mm += min * min * (double)batch->sum_h[at];
    }
    double determinant = ss * mm - sm * sm;
    if (batch->fit->type->has_min && determinant > 1e-9 * ss * mm) {
        block->d = awq__f32_to_f16((float)((mm * xs - sm * xm) / determinant));
        block->dmin = awq__f32_to_f16((float)((ss * xm - sm * xs) / determinant));
    } else if (ss > 0) {
        block->d = awq__f32_to_f16((float)((xs - sm * (double)awq__f16_to_f32(block->dmin)) / ss));
    }
}

static void try_fitted_blocks(awq__fit_batch *batch)
{
    awq__ggml_block tried[AWQ__RUNS];
    memcpy(tried, batch->blocks, sizeof tried);
    for (int b = 0; b < block_count(batch); b++)
        fit_block(batch, b, &tried[b]);
    keep_better_blocks(batch, tried);
}

static int16_t moved(int number, int by, int low, int high)
{
    int to = number + by;
    return (int16_t)(to < low ? low : to > high ? high : to);
}

/* Each run's whole numbers, moved by so much. */
static void try_moved(awq__fit_batch *batch, int scale_by, int min_by)
{
    const awq__block_type *type = batch->fit->type;
    awq__ggml_block tried[AWQ__RUNS];
    memcpy(tried, batch->blocks, sizeof tried);
    for (int b = 0; b < block_count(batch); b++)
        for (int r = 0; r < batch->per_block; r++) {
            awq__ggml_block *block = &tried[b];
            block->scale[r] = moved(block->scale[r], scale_by, type->scale_low, type->scale_high);
            block->min[r] = moved(block->min[r], min_by, 0, type->min_high);
        }
    keep_better_runs(batch, tried);
}

static void try_neighbours(awq__fit_batch *batch)
{
    int mins = batch->fit->type->has_min ? 1 : 0;
    for (int scale_by = -1; scale_by <= 1; scale_by++)
        for (int min_by = -mins; min_by <= mins; min_by++)
            if (scale_by || min_by)
                try_moved(batch, scale_by, min_by);
}

static void improve_times(awq__fit_batch *batch)
{
    try_neighbours(batch);
    try_fitted_blocks(batch);
}

/* ---- blocks of one run, with F16 numbers ---- */

static void start_plain(awq__fit_batch *batch)
{
    for (int r = 0; r < AWQ__RUNS; r++) {
        batch->blocks[r].d = awq__f32_to_f16(batch->scale[r]);
        batch->blocks[r].dmin = awq__f32_to_f16(-batch->min[r]);
    }
}

/* The runs' fits to their codes. */
static void improve_plain(awq__fit_batch *batch)
{
    awq__ggml_block tried[AWQ__RUNS];
    float scale[AWQ__RUNS], min[AWQ__RUNS], gain[AWQ__RUNS];
    awq__fit_to_codes(batch, &batch->sums, scale, min, gain);
    memcpy(tried, batch->blocks, sizeof tried);
    for (int r = 0; r < AWQ__RUNS; r++) {
        tried[r].d = awq__f32_to_f16(scale[r]);
        tried[r].dmin = awq__f32_to_f16(-min[r]);
    }
    keep_better_blocks(batch, tried);
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
    awq__ggml_block tried[AWQ__RUNS];
    memcpy(tried, batch->blocks, sizeof tried);
    for (int r = 0; r < AWQ__RUNS; r++) {
        int16_t *byte = &tried[r / batch->per_block].scale[r % batch->per_block];
        *byte = moved(*byte, by, 0, most);
    }
    keep_better_runs(batch, tried);
}

static void start_bytes(awq__fit_batch *batch)
{
    for (int r = 0; r < AWQ__RUNS; r++)
        batch->blocks[r / batch->per_block].scale[r % batch->per_block] = byte_of_run(batch, r);
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
    for (int b = 0; b < block_count(batch); b++)
        fit &= isfinite(awq__f16_to_f32(batch->blocks[b].d)) &&
               isfinite(awq__f16_to_f32(batch->blocks[b].dmin));
    for (int r = 0; r < AWQ__RUNS && batch->fit->type->kind != AWQ__RUN_E8M0; r++)
        fit &=
            isfinite(batch->scale[r]) && isfinite(batch->min[r]) && isfinite(batch->sums.error[r]);
    for (int r = 0; r < AWQ__RUNS && batch->fit->type->kind == AWQ__RUN_UE4M3; r++)
        fit &= fabsf(batch->scale[r]) * 2 <= LARGEST_SCALE;
    return fit;
}

static void take_codes(awq__fit_batch *batch)
{
    uint8_t codes[AWQ__RUN_MAX * AWQ__RUNS];
    round_at(batch, batch->blocks, &batch->sums, codes);
    for (int r = 0; r < AWQ__RUNS; r++) {
        awq__ggml_block *block = &batch->blocks[r / batch->per_block];
        uint8_t *to = block->codes + r % batch->per_block * batch->length;
        for (int i = 0; i < batch->length; i++)
            to[i] = codes[i * AWQ__RUNS + r];
    }
}

static void start(awq__fit_batch *batch)
{
    awq__run_sums sums;
    memset(batch->blocks, 0, sizeof batch->blocks);
    if (batch->fit->type->kind == AWQ__RUN_PLAIN) {
        start_plain(batch);
    } else if (batch->fit->type->kind != AWQ__RUN_TIMES) {
        start_bytes(batch);
    } else {
        batch->fit->compute->round_runs(batch->fit->type, batch->length, batch->x, batch->h,
                                        batch->scale, batch->min, &sums, NULL);
        start_times(batch, &sums);
    }
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
    round_at(batch, batch->blocks, &batch->sums, NULL);
    bool fit = all_fit(batch);
    for (int i = 0; i < batch->fit->effort.passes; i++)
        improve(batch);
    take_codes(batch);
    return fit;
}
