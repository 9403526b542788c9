/*
 * What OpenBLAS keeps for the whole process. Nothing else here touches it.
 *
 * Each product runs on the thread that asks for it, since work is cut into tasks by this library.
 * How OpenBLAS is made to do so depends on its flavour: see blas.c.
 */
#ifndef AWQ__BLAS_H
#define AWQ__BLAS_H

#include "core/core.h"

/*
 * Every call of OpenBLAS stands between these two, on one thread: from the first on, OpenBLAS
 * starts no threads. What the first returns, the second takes. Both are cheap.
 */
int awq__blas_enter(void);
void awq__blas_leave(int host_threads);

/* "OpenBLAS 0.3.21" */
const char *awq__blas_name(void);
/* The kind of processor that its kernels were written for, "SkylakeX". */
const char *awq__blas_core(void);
/* How it would run on several threads: "POSIX threads", "OpenMP" or "one thread". */
const char *awq__blas_threading(void);
/* Whether it has kernels for several, among which OPENBLAS_CORETYPE chooses. */
bool awq__blas_chooses(void);

/*
 * Address space that OpenBLAS maps while products run on so many threads at once, and keeps. It is
 * not memory: little of it is touched. Where it cannot be mapped, OpenBLAS tries for ever.
 */
size_t awq__blas_bytes(int threads);
/*
 * Where the address space is limited (RLIMIT_AS): makes OpenBLAS map what products on all threads
 * need, so that it never has to later. The context works on fewer
 * threads, with a warning, where there is not room for all; AWQ_ERROR_MEMORY, with the limit that
 * works, where there is none for one.
 */
awq_status awq__blas_reserve(awq_context *ctx);

#endif
