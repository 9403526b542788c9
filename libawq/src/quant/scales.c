/* Candidate scales from salience and weights. */
#include "core/convert.h"
#include "quant/quant.h"

#include <math.h>
#include <string.h>

#define SMALLEST_SCALE 1e-4f

void awq__w_mean(const awq__compute *compute, const awq__weight *const *weights, int64_t count,
                 int64_t group, double *w_mean, float *work)
{
    int64_t K = weights[0]->cols, rows = 0;
    memset(w_mean, 0, (size_t)K * sizeof *w_mean);
    for (int64_t i = 0; i < count; i++) {
        int64_t block = awq__weight_block(weights[i]);
        for (int64_t first = 0; first < weights[i]->rows; first += block) {
            int64_t n = awq__min(block, weights[i]->rows - first);
            awq__weight_read(compute, weights[i], first, n, work);
            compute->add_w_mean(n, K, group, work, w_mean);
        }
        rows += weights[i]->rows;
    }
    for (int64_t k = 0; k < K; k++)
        w_mean[k] /= (double)rows;
}

static float round_scale(const awq__candidates *c, int64_t k, float s)
{
    if (!c->norm)
        return s;
    float weight = c->norm[c->norm_cols ? k % c->norm_cols : k];
    float exact = weight / awq__round_shifted(c->norm_dtype, c->norm_shift, weight / s);
    return isfinite(exact) && exact > 0 ? exact : 1; /* a norm of 0 has nothing to fold */
}

void awq__candidate(const awq__candidates *c, int64_t index, float *scale)
{
    int64_t K = c->cols;
    for (int64_t k = 0; k < K && index == 0; k++)
        scale[k] = 1;
    if (index == 0)
        return;
    double ratio = (double)(index - 1) / (double)c->steps;
    float low = INFINITY, high = 0;
    for (int64_t k = 0; k < K; k++) {
        double s = pow(c->salience[k], ratio) / (pow(c->w_mean[k], 1 - ratio) + 1e-4);
        scale[k] = s > (double)SMALLEST_SCALE ? (float)s : SMALLEST_SCALE;
        low = fminf(low, scale[k]);
        high = fmaxf(high, scale[k]);
    }
    float middle = sqrtf(high * low);
    for (int64_t k = 0; k < K; k++) {
        float s = scale[k] / middle;
        scale[k] = round_scale(c, k, isfinite(s) && s > 0 ? s : 1);
    }
}

awq_status awq__choose(awq_context *ctx, const char *name, const double *losses, int64_t count,
                       awq__found_scale *found)
{
    *found = (awq__found_scale){.identity_loss = losses[0], .loss = losses[0]};
    if (!isfinite(losses[0]))
        return awq__fail(ctx, AWQ_ERROR_NUMERIC,
                         "%s: the calibration loss of RTN is not finite: the activations "
                         "overflow",
                         name);
    for (int64_t i = 1; i < count; i++)
        if (isfinite(losses[i]) && losses[i] < found->loss) {
            found->loss = losses[i];
            found->candidate = i;
        }
    return AWQ_OK;
}
