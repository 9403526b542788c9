/*
 * What OpenBLAS keeps for the whole process. Nothing else here touches it.
 *
 * Each product runs on the thread that asks for it, since work is cut into tasks by this library.
 * How OpenBLAS is made to do so depends on its flavour: see blas.c.
 */
#ifndef AWQ__BLAS_H
#define AWQ__BLAS_H

/*
 * Every call of OpenBLAS stands between these two, on one thread: from the first on, OpenBLAS
 * starts no threads. What the first returns, the second takes. Both are cheap.
 */
int awq__blas_enter(void);
void awq__blas_leave(int host_threads);

#endif
