/* Which channels of an input carry large activations. */
#include "quant/quant.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

awq_status awq__salience_summarize(awq_context *ctx, const double *salience, int64_t K,
                                   awq__salience *summary)
{
    double *sorted = awq__alloc(ctx, (size_t)K, sizeof *sorted, "salience");
    AWQ__CHECK_ALLOC(sorted);
    memcpy(sorted, salience, (size_t)K * sizeof *sorted);
    qsort(sorted, (size_t)K, sizeof *sorted, compare);
    *summary = (awq__salience){.median = sorted[K / 2], .largest = sorted[K - 1]};
    awq__free(sorted);
    for (int64_t k = 0; k < K; k++) {
        if (!(salience[k] >= AWQ__OUTLIER * summary->median) || !(summary->median > 0))
            continue;
        if (summary->outlier_count < AWQ__MOST_OUTLIERS)
            summary->outliers[summary->outlier_count] = k;
        summary->outlier_count++;
    }
    return AWQ_OK;
}
