/* A linear with inputs of which some channels are outliers, for tests of searches. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include "context.h"
#include "numbers.h"
#include "quant/quant.h"

typedef struct problem {
    int64_t T, N, K;
    float *x, *w;
    awq__weight weight;
    awq__stats stats; /* whole */
    double *salience, *w_mean;
    awq__candidates candidates;
} problem;

static inline void make_problem(awq_context *ctx, problem *p, int64_t T, int64_t N, int64_t K,
                                float outlier, uint64_t *random)
{
    *p = (problem){.T = T, .N = N, .K = K};
    p->x = normals(random, T * K);
    p->w = normals(random, N * K);
    for (int64_t i = 0; i < T * K; i++)
        p->x[i] *= i % K % 37 == 5 ? outlier : 1;
    p->weight = awq__weight_plain("layer.w", AWQ_F32, p->w, N, K);
    succeeds(ctx, awq__stats_create(ctx, K, K, &p->stats));
    awq__stats_add(awq__compute_fastest(), &p->stats, T, p->x, K);
    p->salience = space_for(K, sizeof(double));
    p->w_mean = space_for(K, sizeof(double));
    for (int64_t k = 0; k < K; k++)
        p->salience[k] = p->stats.abs_sums[k] / (double)T;
    const awq__weight *list[] = {&p->weight};
    float *work = floats(awq__weight_work(&p->weight));
    awq__w_mean(awq__compute_reference(), list, 1, K % 32 ? K : 32, p->w_mean, work);
    free(work);
    p->candidates =
        (awq__candidates){.cols = K, .salience = p->salience, .w_mean = p->w_mean, .steps = 10};
}

static inline void free_problem(problem *p)
{
    awq__stats_free(&p->stats);
    free(p->x);
    free(p->w);
    free(p->salience);
    free(p->w_mean);
}

#endif
