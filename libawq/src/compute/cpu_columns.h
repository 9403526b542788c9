/*
 * Rounding of columns with compensation in the fast tables: a part of cpu_loops.h. Rows lie side by
 * side, so that what is done for one is done for all, and no sum is joined.
 */
#define COLUMN_ROWS AWQ__COLUMN_ROWS

/* target -> weight, what the code stands for, and the code */
INLINE void integer_column(const awq__scheme *scheme, const float *restrict target,
                           const float *restrict scale, const float *restrict zero,
                           float *restrict weight, uint8_t *restrict code)
{
    const float top = (float)((1 << scheme->bits) - 1);
    for (int r = 0; r < COLUMN_ROWS; r++) {
        float c = clamp(round_even(target[r] / scale[r]) + zero[r], 0, top);
        weight[r] = scale[r] * (c - zero[r]);
        code[r] = (uint8_t)(int)c;
    }
}

INLINE void e2m1_column(const float *restrict target, const float *restrict scale,
                        float *restrict weight, uint8_t *restrict code)
{
    for (int r = 0; r < COLUMN_ROWS; r++) {
        float value = e2m1_value(target[r], 1 / scale[r]); /* exact: a power of two */
        code[r] = (uint8_t)(int)e2m1_code(value);
        weight[r] = scale[r] * value;
    }
}

INLINE void nf4_column(const float *restrict target, const float *restrict scale,
                       float *restrict weight, uint8_t *restrict code)
{
    for (int r = 0; r < COLUMN_ROWS; r++) {
        float share = target[r] * awq__nf4_inverse(scale[r]);
        code[r] = awq__nf4_code(share);
        weight[r] = scale[r] * awq__nf4_value(share);
    }
}

/* AWQ__RUNS rows of a column of blocks. */
INLINE void block_part(const awq__block_type *type, const float *restrict target,
                       const float *restrict scale, const float *restrict min,
                       float *restrict weight, uint8_t *restrict to)
{
    const awq__block_values kind = awq__block_values_of(type);
    float v[AWQ__RUNS], code[AWQ__RUNS];
    for (int r = 0; r < AWQ__RUNS; r++) {
        float inverse = fabsf(scale[r]) >= 0x1p-126f ? 1 / scale[r] : 0;
        v[r] = (target[r] + min[r]) * inverse;
    }
    if (kind == AWQ__VALUES_LINE)
        line_values(type, v, code);
    else if (kind == AWQ__VALUES_E2M1)
        doubled_values(v, code);
    else
        table_values(type->values, v, code);
    for (int r = 0; r < AWQ__RUNS; r++) {
        weight[r] = scale[r] * v[r] - min[r];
        to[r] = (uint8_t)(int)code[r];
    }
}

INLINE void round_column(const awq__scheme *scheme, const float *target, const float *scale,
                         const float *zero, float *weight, uint8_t *code)
{
    if (scheme->blocks)
        for (int r = 0; r < COLUMN_ROWS; r += AWQ__RUNS)
            block_part(scheme->blocks, target + r, scale + r, zero + r, weight + r, code + r);
    else if (scheme->code == AWQ__CODE_E2M1)
        e2m1_column(target, scale, weight, code);
    else if (scheme->code == AWQ__CODE_NF4)
        nf4_column(target, scale, weight, code);
    else
        integer_column(scheme, target, scale, zero, weight, code);
}

INLINE void find_target(const float *restrict w, const float *restrict e, const float *restrict x,
                        float inverse, float *restrict target)
{
    for (int r = 0; r < COLUMN_ROWS; r++)
        target[r] = (w[r] - e[r]) + x[r] * inverse;
}

INLINE void take_error(const float *restrict w, const float *restrict weight, float *restrict e,
                       float *restrict change)
{
    for (int r = 0; r < COLUMN_ROWS; r++) {
        float error = w[r] - weight[r];
        change[r] = error - e[r];
        e[r] = error;
    }
}

INLINE void add_change(const float *restrict change, float factor, float *restrict x)
{
    for (int r = 0; r < COLUMN_ROWS; r++)
        x[r] += change[r] * factor;
}

FUNCTION void round_columns(const awq__columns *c)
{
    float target[COLUMN_ROWS], weight[COLUMN_ROWS];
    for (int64_t i = 0; i < c->count; i++) {
        int64_t at = i * COLUMN_ROWS, group = (c->first + i) / c->scheme->group * COLUMN_ROWS;
        find_target(c->w + at, c->e + at, c->x + at, c->diagonal ? 1 / c->diagonal[i] : 1, target);
        round_column(c->scheme, target, c->scales + group, c->zeros + group, weight, c->codes + at);
        take_error(c->w + at, weight, c->e + at, c->change + at);
        for (int64_t j = i + 1; j < c->count; j++)
            add_change(c->change + at, c->matrix[i * c->ld + j], c->x + j * COLUMN_ROWS);
    }
}

INLINE void add_integer_losses(const awq__scheme *scheme, const float *restrict w, float weight,
                               const float *restrict scale, const float *restrict inverse,
                               const float *restrict zero, float *restrict loss)
{
    const float top = (float)((1 << scheme->bits) - 1);
    for (int r = 0; r < COLUMN_ROWS; r++) {
        float code = clamp(round_even(w[r] * inverse[r]) + zero[r], 0, top);
        float error = w[r] - scale[r] * (code - zero[r]);
        loss[r] += weight * error * error;
    }
}

INLINE void add_other_losses(const awq__scheme *scheme, const float *restrict w, float weight,
                             const float *restrict scale, const float *restrict inverse,
                             float *restrict loss)
{
    float value[COLUMN_ROWS];
    if (scheme->code == AWQ__CODE_E2M1)
        for (int r = 0; r < COLUMN_ROWS; r++)
            value[r] = e2m1_value(w[r], inverse[r]);
    else
        for (int r = 0; r < COLUMN_ROWS; r++)
            value[r] = awq__nf4_value(w[r] * inverse[r]);
    for (int r = 0; r < COLUMN_ROWS; r++) {
        float error = w[r] - scale[r] * value[r];
        loss[r] += weight * error * error;
    }
}

FUNCTION void range_losses(const awq__scheme *scheme, const float *w, const float *weight,
                           const float *scale, const float *zero, float *loss)
{
    float inverse[COLUMN_ROWS], sum[COLUMN_ROWS] = {0};
    for (int r = 0; r < COLUMN_ROWS; r++)
        inverse[r] = scheme->code == AWQ__CODE_NF4 ? awq__nf4_inverse(scale[r]) : 1 / scale[r];
    for (int64_t k = 0; k < scheme->group; k++, w += COLUMN_ROWS)
        if (scheme->code == AWQ__CODE_INTEGER)
            add_integer_losses(scheme, w, weight[k], scale, inverse, zero, sum);
        else
            add_other_losses(scheme, w, weight[k], scale, inverse, sum);
    memcpy(loss, sum, sizeof sum);
}
