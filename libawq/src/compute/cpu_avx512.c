/* The fast loops for AVX-512. */
#if defined(__x86_64__)
#define AWQ__TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define AWQ__TABLE awq__compute_cpu_avx512
#define AWQ__LABEL "cpu-avx512"
#define AWQ__TILE_ROWS 12
#include "compute/cpu_loops.h"
#else
typedef int awq__cpu_avx512_is_for_x86_64;
#endif
