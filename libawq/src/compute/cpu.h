/* The fast tables and what they share; for the files of this folder. */
#ifndef AWQ__CPU_H
#define AWQ__CPU_H

#include "compute/compute.h"

const awq__compute *awq__compute_cpu_base(void);
#if defined(__x86_64__)
const awq__compute *awq__compute_cpu_avx2(void);
const awq__compute *awq__compute_cpu_avx512(void);
#endif

/* For awq__product_operations. */
void awq__count_product(int64_t T, int64_t N, int64_t K);

void awq__blas_multiply_nt(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                           const float *w, int64_t ldw, float beta, float *y, int64_t ldy);
void awq__blas_multiply_nn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                           const float *w, int64_t ldw, float beta, float *y, int64_t ldy);
void awq__blas_multiply_tn(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                           const float *w, int64_t ldw, float beta, float *y, int64_t ldy);
void awq__blas_gram(int64_t T, int64_t K, int64_t g, const float *x, int64_t ldx, float *gram);
void awq__reference_delta_rule(int64_t T, int64_t K, int64_t V, const float *q, const float *k,
                               const float *v, int64_t ld, const float *decay, const float *beta,
                               float *work, float *out, int64_t ldo);
void awq__chunked_delta_rule(int64_t T, int64_t K, int64_t V, const float *q, const float *k,
                             const float *v, int64_t ld, const float *decay, const float *beta,
                             float *work, float *out, int64_t ldo);
bool awq__reference_factor(int64_t K, float *h);
bool awq__lapack_factor(int64_t K, float *h);
void awq__reference_gather(int64_t T, int64_t K, const int64_t *index, int64_t step, const float *x,
                           float *out);
void awq__reference_scatter(int64_t T, int64_t K, const int64_t *index, int64_t first,
                            const float *x, float *out);
void awq__reference_round_runs(const struct awq__block_type *type, int length, const float *x,
                               const float *h, const float scale[AWQ__RUNS],
                               const float min[AWQ__RUNS], awq__run_sums *sums, uint8_t *codes);
void awq__reference_run_errors(const struct awq__block_type *type, int length, const float *x,
                               const float *h, const float scale[AWQ__RUNS],
                               const float min[AWQ__RUNS], float error[AWQ__RUNS]);
void awq__reference_round_columns(const awq__columns *columns);
void awq__reference_range_losses(const awq__scheme *scheme, const float *w, const float *weight,
                                 const float *scale, const float *zero, float *loss);
/* Of a weight in units of its scale, with its min: the code of the value that is nearest. */
int awq__reference_block_code(const struct awq__block_type *type, float share);
double awq__reference_largest_difference(int64_t count, const float *a, const float *b);
void awq__tiled_mirror(int64_t K, float *m);
/* What the sketch does with a row: where to, and whether with its sign changed. */
int64_t awq__sketch_place(uint64_t seed, int64_t count, bool *negative);
void awq__reference_route(int64_t T, int64_t E, int64_t k, const awq__routing *routing,
                          const float *logits, int32_t *index, float *weight);

#endif
