/* The fast loops for the instruction set that the whole library is compiled for. */
#define AWQ__TARGET
#define AWQ__TABLE awq__compute_cpu_base
#define AWQ__LABEL "cpu"
#define AWQ__TILE_ROWS 0
#include "compute/cpu_loops.h"
