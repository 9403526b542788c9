/*
 * Rounding of runs of GGUF's blocks in the fast tables: a part of cpu_loops.h. Runs lie side by
 * side, so that what is done for one is done for all, and no sum is joined. Sums are registers: of
 * each kind of values there is a loop of its own.
 */
#define RUN_INLINE AWQ__TARGET static inline __attribute__((always_inline))

/* The values of shares, and their codes as floats. */
RUN_INLINE void line_values(const awq__block_type *type, float *restrict v, float *restrict code)
{
    const float zero = (float)type->zero, most = (float)(type->codes - 1 - type->zero);
    for (int r = 0; r < AWQ__RUNS; r++) {
        v[r] = round_even(clamp(v[r], -zero, most));
        code[r] = v[r] + zero;
    }
}

/* As e2m1_value, of values that are doubled: multiples of 1 below 4, of 2 below 8, of 4 from there
   on. */
RUN_INLINE float doubled_value(float share)
{
    float value = clamp(share, -12, 12);
    float power = awq__f32_from_bits(awq__f32_bits(value) & 0x7f800000u);
    float magic = (power > 2 ? power : 2) * 0x1.8p22f;
    return (value + magic) - magic;
}

RUN_INLINE void doubled_values(float *restrict v, float *restrict code)
{
    for (int r = 0; r < AWQ__RUNS; r++) {
        v[r] = doubled_value(v[r]);
        code[r] = e2m1_code(v[r] * 0.5f);
        v[r] += 0.0f; /* -0 is 0 */
    }
}

RUN_INLINE void table_values(const float *restrict values, float *restrict v, float *restrict code)
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

/* Of a column of runs: what is rounded, and its values and codes. */
RUN_INLINE void round_lanes(awq__block_values kind, const awq__block_type *type,
                            const float *restrict x, const float *restrict min,
                            const float *restrict inverse, float *restrict shifted,
                            float *restrict v, float *restrict code)
{
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
}

RUN_INLINE void invert(const float *restrict scale, float *restrict inverse)
{
    for (int r = 0; r < AWQ__RUNS; r++)
        inverse[r] = fabsf(scale[r]) >= 0x1p-126f ? 1 / scale[r] : 0;
}

RUN_INLINE void sums_of(awq__block_values kind, const awq__block_type *type, int length,
                        const float *restrict x, const float *restrict h,
                        const float *restrict scale, const float *restrict min,
                        awq__run_sums *restrict sums, uint8_t *restrict codes)
{
    float inverse[AWQ__RUNS], shifted[AWQ__RUNS], v[AWQ__RUNS], code[AWQ__RUNS];
    float xv[AWQ__RUNS] = {0}, vv[AWQ__RUNS] = {0}, sv[AWQ__RUNS] = {0};
    invert(scale, inverse);
    for (int i = 0; i < length; i++, x += AWQ__RUNS, h += AWQ__RUNS) {
        round_lanes(kind, type, x, min, inverse, shifted, v, code);
        for (int r = 0; r < AWQ__RUNS; r++) {
            float weighted = h[r] * v[r];
            xv[r] += weighted * x[r];
            vv[r] += weighted * v[r];
            sv[r] += weighted;
        }
        for (int r = 0; codes && r < AWQ__RUNS; r++)
            codes[i * AWQ__RUNS + r] = (uint8_t)(int)code[r];
    }
    memcpy(sums->xv, xv, sizeof xv);
    memcpy(sums->vv, vv, sizeof vv);
    memcpy(sums->v, sv, sizeof sv);
}

RUN_INLINE void errors_of(awq__block_values kind, const awq__block_type *type, int length,
                          const float *restrict x, const float *restrict h,
                          const float *restrict scale, const float *restrict min,
                          float *restrict error)
{
    float inverse[AWQ__RUNS], shifted[AWQ__RUNS], v[AWQ__RUNS], code[AWQ__RUNS];
    float sum[AWQ__RUNS] = {0};
    invert(scale, inverse);
    for (int i = 0; i < length; i++, x += AWQ__RUNS, h += AWQ__RUNS) {
        round_lanes(kind, type, x, min, inverse, shifted, v, code);
        for (int r = 0; r < AWQ__RUNS; r++) {
            float off = shifted[r] - scale[r] * v[r];
            sum[r] += h[r] * off * off;
        }
    }
    memcpy(error, sum, sizeof sum);
}

FUNCTION void round_runs(const awq__block_type *type, int length, const float *x, const float *h,
                         const float scale[AWQ__RUNS], const float min[AWQ__RUNS],
                         awq__run_sums *sums, uint8_t *codes)
{
    const awq__block_values kind = awq__block_values_of(type);
    if (kind == AWQ__VALUES_LINE && !codes)
        sums_of(AWQ__VALUES_LINE, type, length, x, h, scale, min, sums, NULL);
    else if (kind == AWQ__VALUES_LINE)
        sums_of(AWQ__VALUES_LINE, type, length, x, h, scale, min, sums, codes);
    else if (kind == AWQ__VALUES_E2M1)
        sums_of(AWQ__VALUES_E2M1, type, length, x, h, scale, min, sums, codes);
    else
        sums_of(AWQ__VALUES_TABLE, type, length, x, h, scale, min, sums, codes);
}

FUNCTION void run_errors(const awq__block_type *type, int length, const float *x, const float *h,
                         const float scale[AWQ__RUNS], const float min[AWQ__RUNS],
                         float error[AWQ__RUNS])
{
    const awq__block_values kind = awq__block_values_of(type);
    if (kind == AWQ__VALUES_LINE)
        errors_of(AWQ__VALUES_LINE, type, length, x, h, scale, min, error);
    else if (kind == AWQ__VALUES_E2M1)
        errors_of(AWQ__VALUES_E2M1, type, length, x, h, scale, min, error);
    else
        errors_of(AWQ__VALUES_TABLE, type, length, x, h, scale, min, error);
}
