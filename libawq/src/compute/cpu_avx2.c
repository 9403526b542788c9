/* The fast loops for AVX2. */
#if defined(__x86_64__)
#define AWQ__TARGET __attribute__((target("avx2,fma")))
#define AWQ__TABLE awq__compute_cpu_avx2
#define AWQ__LABEL "cpu-avx2"
#define AWQ__TILE_ROWS 3
#include "compute/cpu_loops.h"
#else
typedef int awq__cpu_avx2_is_for_x86_64;
#endif
