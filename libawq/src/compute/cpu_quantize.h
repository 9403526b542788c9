/*
 * Rounding in the fast tables: a part of cpu_loops.h, which is included once for each instruction
 * set. What is done once for a group is done for many groups at once.
 */
INLINE float clamp(float value, float low, float high)
{
    float raised = value > low ? value : low; /* NaN gives low */
    return raised < high ? raised : high;
}

/* Bits of floats as integers in the order of their values, NaN beyond all; its own inverse. Integer
   minima and maxima vectorize without lanes. */
INLINE int32_t ordered(int32_t bits)
{
    return bits ^ ((bits >> 31) & 0x7fffffff);
}

INLINE float from_ordered(int32_t key)
{
    return awq__f32_from_bits((uint32_t)ordered(key));
}

/* As ordered integers: the least and the largest of x[count] and 0. The largest is NaN if any is.
 */
INLINE awq__range extent_of(int64_t count, const float *restrict x, const float *restrict factor)
{
    int32_t lowest = 0, highest = 0;
    for (int64_t k = 0; k < count; k++) {
        float value = factor ? x[k] * factor[k] : x[k];
        int32_t key = ordered((int32_t)awq__f32_bits(value));
        lowest = key < lowest ? key : lowest;
        highest = key > highest ? key : highest;
    }
    float low = from_ordered(lowest), high = from_ordered(highest);
    return (awq__range){low, isnan(low) ? low : high};
}

FUNCTION void group_extents(int64_t N, int64_t K, int64_t g, const float *w, awq__range *range)
{
    for (int64_t i = 0; i < N * K / g; i++)
        range[i] = extent_of(g, w + i * g, NULL);
}

/* Groups in work at the same time: what is done once for each is done for all of them at once. With
   16, compilers unroll the loops over them before they would vectorize them. */
#define BATCH 32
typedef struct batch {
    float low[BATCH], high[BATCH]; /* what the codes cover */
    float scale[BATCH], inverse[BATCH], zero[BATCH];
} batch;

/* awq__round_scale of positive numbers. */
INLINE float round_to_bf16(float s)
{
    uint32_t bits = awq__f32_bits(s);
    return awq__f32_from_bits((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
}

INLINE float round_to_f16(float s)
{
    uint32_t bits = awq__f32_bits(s);
    float normal = awq__f32_from_bits((bits + 0xfffu + ((bits >> 13) & 1u)) & 0xffffe000u);
    float small = (s + 0.5f) - 0.5f; /* multiples of 2^-24 */
    float rounded = s < 0x1p-14f ? small : normal;
    return s < 65520.0f ? rounded : INFINITY;
}

INLINE void round_scales(awq__scale_grid grid, float *s)
{
    if (grid == AWQ__GRID_BF16)
        for (int i = 0; i < BATCH; i++)
            s[i] = round_to_bf16(s[i]);
    if (grid == AWQ__GRID_BF16_F16)
        for (int i = 0; i < BATCH; i++)
            s[i] = round_to_f16(s[i] >= 0x1p-16f ? round_to_bf16(s[i]) : s[i]);
    if (grid == AWQ__GRID_F16)
        for (int i = 0; i < BATCH; i++)
            s[i] = round_to_f16(s[i]);
    if (grid == AWQ__GRID_F32_127)
        for (int i = 0; i < BATCH; i++)
            s[i] = s[i] * 127 / 127;
    float least = grid == AWQ__GRID_F16 || grid == AWQ__GRID_BF16_F16 ? 0x1p-24f : 0x1p-126f;
    for (int i = 0; i < BATCH; i++)
        s[i] = s[i] > least ? s[i] : least;
}

/* Scales and zero points from what the codes cover. */
INLINE void integer_scales(const awq__scheme *scheme, batch *b)
{
    const float top = (float)((1 << scheme->bits) - 1), middle = (float)(1 << (scheme->bits - 1));
    const bool symmetric = scheme->symmetric;
    const float steps = symmetric ? middle - 1 : top;
    float step[BATCH], rounded[BATCH];
    for (int i = 0; i < BATCH; i++) {
        float larger = -b->low[i] > b->high[i] ? -b->low[i] : b->high[i];
        step[i] = (symmetric ? larger : b->high[i] - b->low[i]) / steps;
        rounded[i] = step[i];
    }
    round_scales(scheme->grid, rounded);
    for (int i = 0; i < BATCH; i++) {
        float scale = step[i] < INFINITY ? rounded[i] : INFINITY; /* NaN gives INFINITY */
        b->scale[i] = b->low[i] == b->high[i] ? 1 : scale;        /* both are 0 */
        b->inverse[i] = 1 / b->scale[i];
        float zero = clamp(round_even(clamp(-b->low[i] / b->scale[i], 0, 512)), 0, top);
        b->zero[i] = symmetric ? middle : zero;
    }
}

INLINE void e2m1_scales(batch *b)
{
    for (int i = 0; i < BATCH; i++) {
        float larger = -b->low[i] > b->high[i] ? -b->low[i] : b->high[i];
        b->scale[i] = awq__e2m1_scale(larger);
        b->inverse[i] = 1 / b->scale[i]; /* exact */
        b->zero[i] = 0;
    }
}

INLINE void nf4_scales(batch *b)
{
    for (int i = 0; i < BATCH; i++) {
        float larger = -b->low[i] > b->high[i] ? -b->low[i] : b->high[i];
        b->scale[i] = larger < INFINITY ? larger : INFINITY; /* NaN gives INFINITY */
        b->inverse[i] = awq__nf4_inverse(b->scale[i]);
        b->zero[i] = 0;
    }
}

/* A walk over the groups of w[N,K], by batches. */
typedef struct walk {
    const awq__scheme *scheme;
    const awq__range *range;
    const float *factor; /* [K] of the weights, or NULL */
    const float *w;
    int64_t K, groups, at; /* of all of them, the next one */
    int64_t column;        /* where it begins; counted, because dividing takes as long as a group */
    batch b;
} walk;

INLINE walk begin_walk(const awq__scheme *scheme, int64_t N, int64_t K, const float *w,
                       const float *factor, const awq__range *range)
{
    return (walk){.scheme = scheme,
                  .range = range,
                  .factor = factor,
                  .w = w,
                  .K = K,
                  .groups = N * (K / scheme->group)};
}

INLINE int64_t next_column(const walk *at, int64_t column)
{
    return column + at->scheme->group == at->K ? 0 : column + at->scheme->group;
}

INLINE void measure_batch(walk *at)
{
    const int64_t g = at->scheme->group, count = awq__min(BATCH, at->groups - at->at);
    const bool e2m1 = at->scheme->code == AWQ__CODE_E2M1;
    const float *w = at->w + at->at * g;
    int64_t column = at->column;
    batch *b = &at->b;
    memset(b->low, 0, sizeof b->low);
    memset(b->high, 0, sizeof b->high);
    for (int64_t i = 0; i < count; i++, column = next_column(at, column)) {
        const awq__range *given = at->range ? &at->range[at->at + i] : NULL;
        bool is_given = given && given->high < INFINITY;
        awq__range range = is_given     ? *given
                           : at->factor ? extent_of(g, w + i * g, at->factor + column)
                                        : extent_of(g, w + i * g, NULL);
        b->low[i] = is_given && e2m1 ? 0 : range.low; /* E2M1 takes its scale from the high end */
        b->high[i] = range.high;
    }
    if (e2m1)
        e2m1_scales(b);
    else if (at->scheme->code == AWQ__CODE_NF4)
        nf4_scales(b);
    else
        integer_scales(at->scheme, b);
}

/* The next group's place in the batch, -1 at the end; *column is where it begins in its row. */
INLINE int64_t next_group(walk *at, int64_t *column)
{
    if (at->at == at->groups)
        return -1;
    int64_t place = at->at % BATCH;
    if (place == 0)
        measure_batch(at);
    *column = at->column;
    at->column = next_column(at, at->column);
    at->at++;
    return place;
}

/* The E2M1 value nearest to w times a power of two, ties to even, never -0. Values are multiples of
   a half below 2, of 1 below 4 and of 2 from there on: adding 1.5 * 2^22 times the power of two
   below drops what is finer. */
INLINE float e2m1_value(float w, float inverse)
{
    float value = clamp(w * inverse, -6, 6);
    float power = awq__f32_from_bits(awq__f32_bits(value) & 0x7f800000u);
    float magic = (power > 1 ? power : 1) * 0x1.8p22f;
    return (value + magic) - magic;
}

/* The code of an E2M1 value: the magnitudes 0 to 1.5, 2 and 3, 4 and 6 lie on three lines, each the
   lowest where it counts. */
INLINE float e2m1_code(float value)
{
    float magnitude = fabsf(value), code = magnitude * 2;
    code = magnitude + 2 < code ? magnitude + 2 : code;
    code = magnitude * 0.5f + 4 < code ? magnitude * 0.5f + 4 : code;
    return value < 0 ? code + 8 : code;
}

/* The code of w less the zero point. */
INLINE float rounded(float w, float inverse, float zero, float top)
{
    return round_even(clamp(w * inverse, -zero, top - zero));
}

FUNCTION bool quantize(int64_t N, int64_t K, const awq__scheme *scheme, const float *w,
                       const awq__range *range, uint8_t *codes, float *scales, uint8_t *zeros)
{
    const int64_t g = scheme->group;
    const float top = (float)((1 << scheme->bits) - 1);
    bool finite = true;
    int64_t column, j;
    walk at = begin_walk(scheme, N, K, w, NULL, range);
    for (int64_t i = 0; (j = next_group(&at, &column)) >= 0; i++) {
        const float *restrict x = w + i * g, inverse = at.b.inverse[j], zero = at.b.zero[j];
        uint8_t *restrict code = codes + i * g;
        if (scheme->code == AWQ__CODE_E2M1)
            for (int64_t k = 0; k < g; k++)
                code[k] = (uint8_t)(int)e2m1_code(e2m1_value(x[k], inverse));
        else if (scheme->code == AWQ__CODE_NF4)
            for (int64_t k = 0; k < g; k++)
                code[k] = awq__nf4_code(x[k] * inverse);
        else
            for (int64_t k = 0; k < g; k++)
                code[k] = (uint8_t)(int)(rounded(x[k], inverse, zero, top) + zero);
        scales[i] = at.b.scale[j];
        zeros[i] = (uint8_t)zero;
        finite &= isfinite(scales[i]) != 0;
    }
    return finite;
}

/* The errors of one group with what is in place j of the batch. Inlined for each kind: with what is
   NULL to be skipped, compilers make masked loads from address 0, which are slow. */
INLINE void group_error(awq__code kind, const float *restrict factor, const float *restrict unscale,
                        const walk *at, int64_t j, const float *restrict w, float *restrict error)
{
    const int64_t g = at->scheme->group;
    const float top = (float)((1 << at->scheme->bits) - 1);
    const float scale = at->b.scale[j], inverse = at->b.inverse[j], zero = at->b.zero[j];
    for (int64_t k = 0; k < g; k++) {
        float x = factor ? w[k] * factor[k] : w[k];
        float value = kind == AWQ__CODE_E2M1  ? e2m1_value(x, inverse)
                      : kind == AWQ__CODE_NF4 ? awq__nf4_value(x * inverse)
                                              : rounded(x, inverse, zero, top);
        value *= scale;
        error[k] = (unscale ? value * unscale[k] : value) - w[k];
    }
}

INLINE void group_errors(awq__code kind, const float *scale, const float *unscale, walk *at,
                         float *error)
{
    int64_t column, j;
    const float *w = at->w;
    for (; (j = next_group(at, &column)) >= 0; w += at->scheme->group, error += at->scheme->group)
        if (scale && unscale)
            group_error(kind, scale + column, unscale + column, at, j, w, error);
        else if (scale)
            group_error(kind, scale + column, NULL, at, j, w, error);
        else if (unscale)
            group_error(kind, NULL, unscale + column, at, j, w, error);
        else
            group_error(kind, NULL, NULL, at, j, w, error);
}

FUNCTION void quantize_error(int64_t N, int64_t K, const awq__scheme *scheme,
                             const awq__range *range, const float *scale, const float *unscale,
                             const float *w, float *error)
{
    walk at = begin_walk(scheme, N, K, w, scale, range);
    if (scheme->code == AWQ__CODE_E2M1)
        group_errors(AWQ__CODE_E2M1, scale, unscale, &at, error);
    else if (scheme->code == AWQ__CODE_NF4)
        group_errors(AWQ__CODE_NF4, scale, unscale, &at, error);
    else
        group_errors(AWQ__CODE_INTEGER, scale, unscale, &at, error);
}
