/* What OpenBLAS keeps for the whole process. */
#include "core/blas.h"

#include <cblas.h>
#include <omp.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int flavour;

/* The one change that this library makes to its process. The flavour that uses OpenMP has no such
   setting: there it would be OpenMP's own, which belongs to the host. */
static void begin(void)
{
    flavour = openblas_get_parallel();
    if (flavour == OPENBLAS_THREAD)
        openblas_set_num_threads(1);
}

/*
 * The OpenMP flavour takes as many threads as a parallel region would get here, but one within such
 * a region. So that number, which belongs to the calling thread, is 1 during the call.
 */
int awq__blas_enter(void)
{
    pthread_once(&once, begin);
    if (flavour != OPENBLAS_OPENMP)
        return 1;
    int host_threads = omp_get_max_threads();
    if (host_threads > 1)
        omp_set_num_threads(1);
    return host_threads;
}

void awq__blas_leave(int host_threads)
{
    if (host_threads > 1)
        omp_set_num_threads(host_threads);
}
