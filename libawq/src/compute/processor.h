/* What the processor can, and whether OpenBLAS took kernels that fit it. */
#ifndef AWQ__PROCESSOR_H
#define AWQ__PROCESSOR_H

#include <stdbool.h>

typedef struct awq__processor {
    bool avx2;   /* and FMA */
    bool avx512; /* F, BW, DQ and VL */
    bool amd;
} awq__processor;

awq__processor awq__processor_here(void);

/* The core whose kernels fit the processor when those of `core` are much too slow for it, as
   OPENBLAS_CORETYPE has it; NULL: leave it. */
const char *awq__better_core(const awq__processor *processor, const char *core);
/* An older core, whose kernels may be right where those of `core` are wrong; NULL: there is none.
 */
const char *awq__older_core(const char *core);

#endif
