/* Weights in E4M3 of OCP FP8 v1.0 as F32. */
#ifndef AWQ__E4M3_H
#define AWQ__E4M3_H

#include <stddef.h>
#include <stdint.h>

/* out[count] = the value of each code * scale, rounded once. */
typedef void awq__e4m3_loop(const uint8_t *codes, size_t count, float scale, float *out);

/* The definition, code by code. */
awq__e4m3_loop awq__e4m3_widen_reference;
/* The same bits, with the widest vectors that there are. */
awq__e4m3_loop awq__e4m3_widen;
/* All loops that this machine can run, for tests; ends with NULL. */
awq__e4m3_loop *const *awq__e4m3_loops(void);

#endif
