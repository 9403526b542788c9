/* What the files of the fit share, for them alone. */
#ifndef AWQ__BLOCK_FIT_INTERNAL_H
#define AWQ__BLOCK_FIT_INTERNAL_H

#include "compute/block_fit.h"

#define AWQ__RUN_MAX 32 /* weights of a run */

/* What blocks say of runs, side by side: F16 numbers of a run's block, as floats, and its own. */
typedef struct awq__run_numbers {
    float d[AWQ__RUNS], dmin[AWQ__RUNS];
    int16_t scale[AWQ__RUNS], min[AWQ__RUNS]; /* as awq__ggml_block has them */
} awq__run_numbers;

/* Runs in work side by side, as round_runs has them. Those behind the last have zeros. */
typedef struct awq__fit_batch {
    const awq__block_fit *fit;
    int length, per_block; /* weights of a run, runs of a block */
    float x[AWQ__RUN_MAX * AWQ__RUNS], h[AWQ__RUN_MAX * AWQ__RUNS];
    float sum_h[AWQ__RUNS], sum_hx[AWQ__RUNS], low[AWQ__RUNS], high[AWQ__RUNS];
    float scale[AWQ__RUNS], min[AWQ__RUNS]; /* the best so far */
    float vv[AWQ__RUNS];                    /* of the codes that these fit */
    awq__run_numbers numbers;               /* the best so far */
    float error[AWQ__RUNS];                 /* with these */
    awq__ggml_block blocks[AWQ__RUNS];
} awq__fit_batch;

/* The scale and min that fit the codes behind the sums best: *gain is how much less than that of no
   weights the error is. */
void awq__fit_to_codes(const awq__fit_batch *batch, const awq__run_sums *sums,
                       float scale[AWQ__RUNS], float min[AWQ__RUNS], float gain[AWQ__RUNS]);
/* ---- run_fit.c: scales and mins of runs, as any number can be ---- */
void awq__fit_runs(awq__fit_batch *batch);
/* ---- block_numbers.c: as blocks can say them; false if F16 cannot ---- */
bool awq__fit_numbers(awq__fit_batch *batch);

#endif
