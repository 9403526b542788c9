/*
 * To be preloaded: OpenBLAS says that it took the kernels of an old processor, unless it was told
 * which to take, as it does where it does not know the processor. With OLD_CORE_ALWAYS in the
 * environment it says so whatever it was told; with OLD_CORE_STAYS no memory is left to set a
 * variable, so that it cannot be told.
 */
#define _GNU_SOURCE
#include <cblas.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

char *openblas_get_corename(void)
{
    static char old[] = "Prescott", fitting[] = "SkylakeX";
    return getenv("OPENBLAS_CORETYPE") && !getenv("OLD_CORE_ALWAYS") ? fitting : old;
}

int setenv(const char *name, const char *value, int overwrite)
{
    int (*real)(const char *, const char *, int);
    void *found = dlsym(RTLD_NEXT, "setenv");
    if (!found || getenv("OLD_CORE_STAYS")) {
        errno = ENOMEM;
        return -1;
    }
    memcpy(&real, &found, sizeof real);
    return real(name, value, overwrite);
}
