/*
 * Quadratic forms in the fast tables: a part of cpu_loops.h, which is included once for each
 * instruction set.
 *
 * e m e^T of a symmetric m is the sum over panels j of columns of e_j . (2 sum over earlier panels
 * i of e_i m_ij + e_j m_jj): little more than half of the product.
 */
/* Products of few rows: OpenBLAS multiplies them without packing, and they are still in the first
   cache when their sums are taken (measured). */
#define QUADRATIC_BLOCK 16384
#define QUADRATIC_PANEL 256

FUNCTION void quadratic_by_products(int64_t N, int64_t K, const float *e, const float *m,
                                    float *product, double *sums)
{
    int64_t panel = awq__min(awq__max(K / 4 / LANES * LANES, LANES), QUADRATIC_PANEL);
    int64_t block = K <= QUADRATIC_PANEL ? QUADRATIC_BLOCK / K : N;
    for (int64_t first = 0; first < N; first += block) {
        int64_t n = awq__min(block, N - first);
        const float *x = e + first * K;
        for (int64_t j = 0; j < K; j += panel) {
            int64_t width = awq__min(panel, K - j);
            if (j)
                awq__blas_multiply_nn(n, width, j, x, K, m + j, K, 0, product + j, K);
            awq__blas_multiply_nn(n, width, width, x + j, K, m + j * K + j, K, j ? 2 : 0,
                                  product + j, K);
        }
        for (int64_t r = 0; r < n; r++)
            sums[first + r] = dot_of_product(K, product + r * K, x + r * K);
    }
}

#if AWQ__TILE_ROWS
/*
 * Groups of weights are small, so that m stays in the cache. A third of the cost of products is
 * then no arithmetic: it copies both sides, and writes and reads the result. Here LANES columns of
 * the product of AWQ__TILE_ROWS rows stay in registers from their first term to their place in the
 * sum. A product and its sum are one operation, fmaf, as in OpenBLAS.
 */
#define TILED_COLUMNS 256 /* m of more leaves the cache */
/* Under a sanitizer these loops take a hundred times longer: there they get what tests of them
   give, and OpenBLAS the rest. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TILED_ROWS 32
#else
#define TILED_ROWS INT64_MAX
#endif
#define ALWAYS_INLINE AWQ__TARGET static inline __attribute__((always_inline))

/* sum += x[rows,K] m[K,LANES] over the columns from .. to-1 of x; both of stride K. */
ALWAYS_INLINE void add_products(int rows, int64_t K, int64_t from, int64_t to, const float *x,
                                const float *m, float (*sum)[LANES])
{
    for (int64_t k = from; k < to; k++) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            for (int l = 0; l < LANES; l++)
                sum[r][l] = fmaf(x[r * K + k], m[k * K + l], sum[r][l]);
    }
}

/* `rows` is a constant where this is inlined, so that the sums are registers. */
ALWAYS_INLINE void tile_forms(int rows, int64_t K, const float *restrict x, const float *restrict m,
                              double *sums)
{
    float lanes[AWQ__TILE_ROWS][LANES] = {{0}};
    for (int64_t j = 0; j < K; j += LANES) {
        float sum[AWQ__TILE_ROWS][LANES] = {{0}};
        add_products(rows, K, 0, j, x, m + j, sum);
        for (int r = 0; r < rows; r++)
            for (int l = 0; l < LANES; l++)
                sum[r][l] *= 2;
        add_products(rows, K, j, j + LANES, x, m + j, sum);
        for (int r = 0; r < rows; r++)
            for (int l = 0; l < LANES; l++)
                lanes[r][l] += sum[r][l] * x[r * K + j + l];
    }
    for (int r = 0; r < rows; r++)
        sums[r] = join_floats(lanes[r]);
}

FUNCTION void quadratic_by_tiles(int64_t N, int64_t K, const float *e, const float *m, double *sums)
{
    int64_t n = 0;
    awq__count_product(N, K / 2 + LANES / 2, K);
    for (; n + AWQ__TILE_ROWS <= N; n += AWQ__TILE_ROWS)
        tile_forms(AWQ__TILE_ROWS, K, e + n * K, m, sums + n);
    for (; n < N; n++)
        tile_forms(1, K, e + n * K, m, sums + n);
}
#endif

FUNCTION void quadratic(int64_t N, int64_t K, const float *e, const float *m, float *product,
                        double *sums)
{
#if AWQ__TILE_ROWS
    if (K % LANES == 0 && K <= TILED_COLUMNS && N <= TILED_ROWS) {
        quadratic_by_tiles(N, K, e, m, sums);
        return;
    }
#endif
    quadratic_by_products(N, K, e, m, product, sums);
}
