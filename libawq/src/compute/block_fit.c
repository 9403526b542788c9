/* Rounding of rows to blocks, by batches of runs. */
#include "compute/block_fit_internal.h"

#include <string.h>

const awq__block_effort awq__block_effort_full = {.scales = 4, .fits = 1, .passes = 1};

#define TILE 4 /* lanes that are stored at once */

/* Runs `first` on of the row-major weights, as lanes; those behind the last have zeros. */
static void load_runs(awq__fit_batch *batch, const float *w, int64_t first, int count)
{
    const int length = batch->length;
    const float *from = w + first * length;
    int lane = 0;
    if (count < AWQ__RUNS)
        memset(batch->x, 0, sizeof batch->x);
    for (; lane + TILE <= count; lane += TILE, from += TILE * length)
        for (int i = 0; i < length; i++)
            for (int l = 0; l < TILE; l++)
                batch->x[i * AWQ__RUNS + lane + l] = from[l * length + i];
    for (; lane < count; lane++, from += length)
        for (int i = 0; i < length; i++)
            batch->x[i * AWQ__RUNS + lane] = from[i];
}

/* What their weights count. */
static void load_importance(awq__fit_batch *batch, int64_t first, int count)
{
    const awq__block_fit *fit = batch->fit;
    const int length = batch->length;
    if (count < AWQ__RUNS)
        memset(batch->h, 0, sizeof batch->h);
    for (int lane = 0; lane < count; lane++) {
        const float *h =
            fit->importance ? fit->importance + (first + lane) * length % fit->cols : NULL;
        for (int i = 0; i < length; i++)
            batch->h[i * AWQ__RUNS + lane] = h ? h[i] : 1;
    }
}

/* Extents and sums of all runs. */
static void look_at_runs(awq__fit_batch *batch)
{
    float low[AWQ__RUNS], high[AWQ__RUNS], sum_h[AWQ__RUNS] = {0}, sum_hx[AWQ__RUNS] = {0};
    memcpy(low, batch->x, sizeof low);
    memcpy(high, batch->x, sizeof high);
    for (int i = 0; i < batch->length; i++) {
        const float *x = batch->x + i * AWQ__RUNS, *h = batch->h + i * AWQ__RUNS;
        for (int r = 0; r < AWQ__RUNS; r++) {
            low[r] = x[r] < low[r] ? x[r] : low[r];
            high[r] = x[r] > high[r] ? x[r] : high[r];
            sum_h[r] += h[r];
            sum_hx[r] += h[r] * x[r];
        }
    }
    memcpy(batch->low, low, sizeof low);
    memcpy(batch->high, high, sizeof high);
    memcpy(batch->sum_h, sum_h, sizeof sum_h);
    memcpy(batch->sum_hx, sum_hx, sizeof sum_hx);
}

/* Runs from `first` on to their blocks. */
static bool fit_runs(awq__fit_batch *batch, const float *w, int64_t first, int count,
                     uint8_t *bytes)
{
    const awq__block_type *type = batch->fit->type;
    load_runs(batch, w, first, count);
    look_at_runs(batch);
    awq__fit_runs(batch);
    bool finite = awq__fit_numbers(batch);
    bytes += first / batch->per_block * type->bytes;
    for (int b = 0; b < count / batch->per_block; b++, bytes += type->bytes)
        type->pack(&batch->blocks[b], bytes);
    return finite;
}

/* Where rows are whole batches, one comes after the other in the same columns, whose importance is
   loaded once. */
bool awq__block_fit_rows(const awq__block_fit *fit, int64_t rows, const float *w, uint8_t *bytes)
{
    const awq__block_type *type = fit->type;
    awq__fit_batch batch = {.fit = fit, .length = type->run, .per_block = type->block / type->run};
    int64_t in_row = fit->cols / type->run, runs = rows * in_row;
    int64_t stride = in_row % AWQ__RUNS ? AWQ__RUNS : in_row;
    bool finite = true;
    for (int64_t begin = 0; begin < stride; begin += AWQ__RUNS)
        for (int64_t first = begin; first < runs; first += stride) {
            int count = (int)awq__min(AWQ__RUNS, runs - first);
            if (first == begin || in_row % AWQ__RUNS)
                load_importance(&batch, first, count);
            finite &= fit_runs(&batch, w, first, count, bytes);
        }
    return finite;
}
