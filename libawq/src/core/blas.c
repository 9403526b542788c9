/* What OpenBLAS keeps for the whole process. */
#include "core/blas.h"
#include "core/limits.h"

#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* The buffer of one product: a constant of OpenBLAS 0.3, on some processors less. */
#define BUFFER_BYTES ((size_t)128 << 20)
#define STACK_BYTES ((size_t)8 << 20)  /* of a thread, unless the system was told otherwise */
#define ARENA_BYTES ((size_t)64 << 20) /* malloc's, for each of several threads */
#define OTHER_BYTES ((size_t)32 << 20) /* what the smallest of runs needs beside */

/* Where the buffers come from. Other programs do not call these, but every build exports them. */
void *blas_memory_alloc(int unused) __attribute__((weak));
void blas_memory_free(void *buffer) __attribute__((weak));

static pthread_once_t begun = PTHREAD_ONCE_INIT, named = PTHREAD_ONCE_INIT;
static int flavour;
static char name[64];
static bool chooses;
static pthread_mutex_t reserving = PTHREAD_MUTEX_INITIALIZER;
static int buffers; /* that are mapped already */

/* The one change that this library makes to its process. The OpenMP flavour would also set OpenMP's
   own number of threads, which belongs to the host, and free the buffers of all threads but one,
   which products need. */
static void begin(void)
{
    int host_threads = omp_get_max_threads();
    flavour = openblas_get_parallel();
    if (flavour == OPENBLAS_OPENMP)
        buffers = openblas_get_num_threads() - 1;
    openblas_set_num_threads(1);
    if (flavour == OPENBLAS_OPENMP)
        omp_set_num_threads(host_threads);
}

/*
 * The OpenMP flavour takes as many threads as a parallel region would get here, but one within such
 * a region. So that number, which belongs to the calling thread, is 1 during the call.
 */
int awq__blas_enter(void)
{
    pthread_once(&begun, begin);
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

/* ---- what it is ---- */

/* "OpenBLAS 0.3.21" of "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..." */
static void find_name(void)
{
    const char *config = openblas_get_config();
    size_t length = strcspn(config, " ");
    if (config[length])
        length += 1 + strcspn(config + length + 1, " ");
    snprintf(name, sizeof name, "%.*s", (int)length, config);
    chooses = strstr(config, "DYNAMIC_ARCH") != NULL;
}

const char *awq__blas_name(void)
{
    pthread_once(&named, find_name);
    return name;
}

const char *awq__blas_core(void)
{
    return openblas_get_corename();
}

const char *awq__blas_threading(void)
{
    switch (openblas_get_parallel()) {
    case OPENBLAS_THREAD:
        return "POSIX threads";
    case OPENBLAS_OPENMP:
        return "OpenMP";
    default:
        return "one thread";
    }
}

bool awq__blas_chooses(void)
{
    pthread_once(&named, find_name);
    return chooses;
}

/* ---- its buffers in a limited address space ---- */

size_t awq__blas_bytes(int threads)
{
    return (size_t)threads * BUFFER_BYTES;
}

/* What so many threads still need, with one more that writes, and the arrays that the context
   expects, or else those of the smallest run. Arenas need room too. Without it malloc would still
   work, but take the room of a stack, and OpenMP ends the process if it cannot start a thread. */
static size_t missing_bytes(const awq_context *ctx, int threads)
{
    int missing = threads > buffers ? threads - buffers : 0;
    size_t stacks = (size_t)threads * STACK_BYTES;
    size_t arenas = threads > 1 ? (size_t)(threads + 1) * ARENA_BYTES : 0;
    size_t arrays = (size_t)awq__context_expected_bytes(ctx);
    return awq__blas_bytes(missing) + stacks + arenas +
           (arrays > OTHER_BYTES ? arrays + OTHER_BYTES / 2 : OTHER_BYTES);
}

/* The limit, as ulimit -v has it, with which so many threads have room. */
static size_t enough_kib(const awq_context *ctx, int threads)
{
    return ((awq__address_space_used() + missing_bytes(ctx, threads)) >> 10) / 1000 * 1000 + 1000;
}

static void map_buffers(int threads)
{
    void *taken[AWQ__MAX_THREADS];
    if (!blas_memory_alloc || !blas_memory_free)
        return;
    for (int i = 0; i < threads; i++)
        taken[i] = blas_memory_alloc(0);
    for (int i = 0; i < threads; i++)
        if (taken[i])
            blas_memory_free(taken[i]);
    buffers = threads;
}

static awq_status reserve(awq_context *ctx, size_t limit)
{
    int wanted = awq__threads(ctx), possible = wanted;
    if (wanted <= buffers)
        return AWQ_OK;
    while (possible > 0 && awq__address_space_used() + missing_bytes(ctx, possible) > limit)
        possible--;
    if (!possible)
        return awq__fail(
            ctx, AWQ_ERROR_MEMORY,
            "the address space is limited to %zu kB (ulimit -v), in which this run, with the "
            "buffers of OpenBLAS, has no room; at least %zu kB are needed",
            limit >> 10, enough_kib(ctx, 1));
    if (possible < wanted) {
        awq__log(ctx, AWQ_LOG_WARNING,
                 "the address space is limited to %zu kB (ulimit -v), in which OpenBLAS has room "
                 "for %d of %d threads; %zu kB are enough for all",
                 limit >> 10, possible, wanted, enough_kib(ctx, wanted));
        awq__context_limit_threads(ctx, possible);
    }
    map_buffers(possible);
    return AWQ_OK;
}

awq_status awq__blas_reserve(awq_context *ctx)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return AWQ_OK;
    pthread_once(&begun, begin);
    pthread_mutex_lock(&reserving);
    awq_status status = reserve(ctx, limit.rlim_cur);
    pthread_mutex_unlock(&reserving);
    return status;
}
