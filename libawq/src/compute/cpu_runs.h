/*
 * Rounding of runs of GGUF's blocks in the fast tables: a part of cpu_loops.h. Runs lie side by
 * side, so that what is done for one is done for all, and no sum is joined.
 */
INLINE float line_value(float share, float least, float most)
{
    return round_even(clamp(share, least, most));
}

/* As e2m1_value, of values that are doubled: multiples of 1 below 4, of 2 below 8, of 4 from there
   on. */
INLINE float doubled_value(float share)
{
    float value = clamp(share, -12, 12);
    float power = awq__f32_from_bits(awq__f32_bits(value) & 0x7f800000u);
    float magic = (power > 2 ? power : 2) * 0x1.8p22f;
    return (value + magic) - magic;
}

/* Adds to the sums what one weight of each run has become. */
INLINE void add_values(const float *restrict x, const float *restrict shifted,
                       const float *restrict h, const float *restrict scale,
                       const float *restrict v, awq__run_sums *restrict sums)
{
    for (int r = 0; r < AWQ__RUNS; r++) {
        float weighted = h[r] * v[r], error = shifted[r] - scale[r] * v[r];
        sums->error[r] += h[r] * error * error;
        sums->xv[r] += weighted * x[r];
        sums->vv[r] += weighted * v[r];
        sums->v[r] += weighted;
    }
}

/* The values of shares, and their codes as floats. */
INLINE void line_values(const awq__block_type *type, float *restrict v, float *restrict code)
{
    const float zero = (float)type->zero, most = (float)(type->codes - 1 - type->zero);
    for (int r = 0; r < AWQ__RUNS; r++) {
        v[r] = line_value(v[r], -zero, most);
        code[r] = v[r] + zero;
    }
}

INLINE void doubled_values(float *restrict v, float *restrict code)
{
    for (int r = 0; r < AWQ__RUNS; r++) {
        v[r] = doubled_value(v[r]);
        code[r] = e2m1_code(v[r] * 0.5f);
        v[r] += 0.0f; /* -0 is 0 */
    }
}

INLINE void table_values(const float *restrict values, float *restrict v, float *restrict code)
{
    float share[AWQ__RUNS];
    for (int r = 0; r < AWQ__RUNS; r++) {
        share[r] = v[r];
        v[r] = values[0];
        code[r] = 0;
    }
    for (int i = 0; i < 15; i++) {
        const float limit = (values[i] + values[i + 1]) * 0.5f, next = values[i + 1];
        for (int r = 0; r < AWQ__RUNS; r++) {
            v[r] = share[r] > limit ? next : v[r];
            code[r] = share[r] > limit ? (float)(i + 1) : code[r];
        }
    }
}

FUNCTION void round_runs(const awq__block_type *type, int length, const float *x, const float *h,
                         const float scale[AWQ__RUNS], const float min[AWQ__RUNS],
                         awq__run_sums *sums, uint8_t *codes)
{
    const awq__block_values kind = awq__block_values_of(type);
    float inverse[AWQ__RUNS], shifted[AWQ__RUNS], v[AWQ__RUNS], code[AWQ__RUNS];
    awq__run_sums own = {{0}, {0}, {0}, {0}};
    for (int r = 0; r < AWQ__RUNS; r++)
        inverse[r] = fabsf(scale[r]) >= 0x1p-126f ? 1 / scale[r] : 0;
    for (int i = 0; i < length; i++, x += AWQ__RUNS, h += AWQ__RUNS) {
        for (int r = 0; r < AWQ__RUNS; r++) {
            shifted[r] = x[r] + min[r];
            v[r] = shifted[r] * inverse[r];
        }
        if (kind == AWQ__VALUES_LINE)
            line_values(type, v, code);
        else if (kind == AWQ__VALUES_E2M1)
            doubled_values(v, code);
        else
            table_values(type->values, v, code);
        add_values(x, shifted, h, scale, v, &own);
        for (int r = 0; codes && r < AWQ__RUNS; r++)
            codes[i * AWQ__RUNS + r] = (uint8_t)(int)code[r];
    }
    *sums = own;
}
