/*
 * To be preloaded: OpenBLAS says that it took the kernels of an old processor, unless it was told
 * which to take, as it does where it does not know the processor. With OLD_CORE_ALWAYS in the
 * environment it says so whatever it was told.
 */
#include <cblas.h>
#include <stdlib.h>

char *openblas_get_corename(void)
{
    static char old[] = "Prescott", fitting[] = "SkylakeX";
    return getenv("OPENBLAS_CORETYPE") && !getenv("OLD_CORE_ALWAYS") ? fitting : old;
}
