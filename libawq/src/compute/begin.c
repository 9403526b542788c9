/* Before anything is computed: is this process fit for it? */
#include "compute/begin.h"
#include "compute/processor.h"
#include "core/blas.h"
#include "awq/awq.h"

#include <string.h>

/* Tables whose products were found right. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const awq__compute *checked[8];
enum { MOST_CHECKED = sizeof checked / sizeof *checked };

static const char *better_core(void)
{
    awq__processor here = awq__processor_here();
    const char *better = awq__blas_chooses() ? awq__better_core(&here, awq__blas_core()) : NULL;
    return better ? better : "";
}

void awq_compute_describe(awq_compute_info *info)
{
    if (!info)
        return;
    *info = (awq_compute_info){.table = awq__compute_fastest()->name,
                               .blas = awq__blas_name(),
                               .core = awq__blas_core(),
                               .threading = awq__blas_threading(),
                               .better_core = better_core()};
}

static void warn_of_slow_kernels(awq_context *ctx)
{
    const char *better = better_core();
    if (*better)
        awq__log(ctx, AWQ_LOG_WARNING,
                 "%s does not know this processor and computes with kernels for %s: with "
                 "OPENBLAS_CORETYPE=%s in the environment when the process starts it is several "
                 "times faster",
                 awq__blas_name(), awq__blas_core(), better);
}

/* One check at a time. The table of a test may come and go; the library's own stay. */
static awq_status check_once(awq_context *ctx, const awq__compute *compute)
{
    int n = 0;
    awq_status status = AWQ_OK;
    pthread_mutex_lock(&lock);
    while (n < MOST_CHECKED && checked[n] && checked[n] != compute)
        n++;
    if (n == MOST_CHECKED || !checked[n])
        AWQ__TRY(awq__compute_check(ctx, compute));
    if (n < MOST_CHECKED)
        checked[n] = compute;
done:
    pthread_mutex_unlock(&lock);
    return status;
}

awq_status awq__compute_begin(awq_context *ctx)
{
    const awq__compute *compute = awq__compute_of(ctx);
    if (compute == awq__compute_reference()) /* it is the definition, and asks nobody */
        return AWQ_OK;
    if (awq__context_begins(ctx))
        warn_of_slow_kernels(ctx);
    AWQ__CHECK(awq__blas_reserve(ctx));
    return check_once(ctx, compute);
}
