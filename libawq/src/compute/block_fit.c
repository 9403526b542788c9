/* Rounding of rows to blocks, by batches of runs. */
#include "compute/block_fit_internal.h"

#include <string.h>

const awq__block_effort awq__block_effort_full = {.scales = 4, .fits = 1, .passes = 1};

/* Run `run` of the row-major weights, as one lane. */
static void load_run(awq__fit_batch *batch, const float *w, int64_t run, int lane)
{
    const awq__block_fit *fit = batch->fit;
    const float *from = w + run * batch->length;
    const float *h = fit->importance ? fit->importance + run * batch->length % fit->cols : NULL;
    float low = from[0], high = from[0], sum_h = 0, sum_hx = 0;
    for (int i = 0; i < batch->length; i++) {
        float weight = h ? h[i] : 1;
        batch->x[i * AWQ__RUNS + lane] = from[i];
        batch->h[i * AWQ__RUNS + lane] = weight;
        low = from[i] < low ? from[i] : low;
        high = from[i] > high ? from[i] : high;
        sum_h += weight;
        sum_hx += weight * from[i];
    }
    batch->low[lane] = low;
    batch->high[lane] = high;
    batch->sum_h[lane] = sum_h;
    batch->sum_hx[lane] = sum_hx;
}

static void clear_run(awq__fit_batch *batch, int lane)
{
    for (int i = 0; i < batch->length; i++)
        batch->x[i * AWQ__RUNS + lane] = batch->h[i * AWQ__RUNS + lane] = 0;
    batch->low[lane] = batch->high[lane] = batch->sum_h[lane] = batch->sum_hx[lane] = 0;
}

bool awq__block_fit_rows(const awq__block_fit *fit, int64_t rows, const float *w, uint8_t *bytes)
{
    const awq__block_type *type = fit->type;
    awq__fit_batch batch = {.fit = fit, .length = type->run, .per_block = type->block / type->run};
    int64_t runs = rows * fit->cols / type->run;
    bool finite = true;
    for (int64_t first = 0; first < runs; first += AWQ__RUNS) {
        int count = (int)awq__min(AWQ__RUNS, runs - first);
        for (int lane = 0; lane < AWQ__RUNS; lane++)
            if (lane < count)
                load_run(&batch, w, first + lane, lane);
            else
                clear_run(&batch, lane);
        awq__fit_runs(&batch);
        finite &= awq__fit_numbers(&batch);
        for (int b = 0; b < count / batch.per_block; b++, bytes += type->bytes)
            type->pack(&batch.blocks[b], bytes);
    }
    return finite;
}
