/* Stored weights as floats, and as terms for the tensor cores. */
#include "inside.h"

static __global__ void widen(awq__cuda_weight w, int64_t first, int64_t count, float *out)
{
    FOR_EACH (i, count * w.cols)
        out[i] = weight_value(w, first + i / w.cols, i % w.cols);
}

int awq__cuda_widen(const awq__cuda_queue *queue, const awq__cuda_weight *weight, int64_t first,
                    int64_t count, float *out)
{
    widen<<<blocks_for(count * weight->cols), THREADS, 0, queue->stream>>>(*weight, first, count,
                                                                           out);
    return LAUNCHED();
}

static __global__ void embed(awq__cuda_weight w, int64_t T, const int32_t *ids, float *hidden)
{
    FOR_EACH (i, T * w.cols)
        hidden[i] = weight_value(w, ids[i / w.cols], i % w.cols);
}

int awq__cuda_embed(const awq__cuda_queue *queue, const awq__cuda_weight *weight, int64_t T,
                    const int32_t *ids, float *hidden)
{
    embed<<<blocks_for(T * weight->cols), THREADS, 0, queue->stream>>>(*weight, T, ids, hidden);
    return LAUNCHED();
}

/* ---- terms ---- */

static bool serves_as_it_is(const awq__cuda_weight *w)
{
    bool aligned = (uintptr_t)w->data % 16 == 0 && w->row_stride % 8 == 0;
    return w->dtype == AWQ__CUDA_BF16 && w->col_stride == 1 && aligned;
}

static int term_count(const awq__cuda_weight *w)
{
    return w->dtype == AWQ__CUDA_BF16 || w->dtype == AWQ__CUDA_MXFP4 ? 1 : 2;
}

/* Rows begin at 16 bytes, as the tensor cores like them. */
static int64_t row_of(const awq__cuda_weight *w)
{
    return ceil_div(w->cols, 8) * 8;
}

size_t awq__cuda_weight_terms_bytes(const awq__cuda_weight *weight)
{
    if (serves_as_it_is(weight))
        return 0;
    return (size_t)(weight->rows * row_of(weight) * term_count(weight)) * sizeof(uint16_t);
}

static __global__ void split_weight(awq__cuda_weight w, int64_t ld, uint16_t *high, uint16_t *low)
{
    FOR_EACH (i, w.rows * ld) {
        int64_t k = i % ld;
        float value = k < w.cols ? stored_value(w, i / ld, k) : 0;
        high[i] = bf16_bits(value);
        if (low)
            low[i] = bf16_bits(value - bf16_value(high[i]));
    }
}

int awq__cuda_weight_terms(const awq__cuda_queue *queue, const awq__cuda_weight *weight,
                           void *space, awq__cuda_terms *terms)
{
    const uint16_t *stored = (const uint16_t *)weight->data;
    if (serves_as_it_is(weight)) {
        *terms = {weight->rows, weight->cols, weight->row_stride, stored, NULL};
        return 0;
    }
    int64_t ld = row_of(weight), count = weight->rows * ld;
    uint16_t *high = (uint16_t *)space, *low = term_count(weight) == 2 ? high + count : NULL;
    *terms = {weight->rows, weight->cols, ld, high, low};
    split_weight<<<blocks_for(count), THREADS, 0, queue->stream>>>(*weight, ld, high, low);
    return LAUNCHED();
}

/* ---- terms of inputs ---- */

/* A value that is not finite has itself as its first term and NaN as its second. */
static __device__ inline void split_value(float value, uint16_t *high, uint16_t *low)
{
    uint16_t first = bf16_bits(value);
    *high = first;
    *low = bf16_bits(value - bf16_value(first));
}

typedef struct split_job {
    int64_t T, K, ldx, step;
    const float *x, *factor, *column;
    const int32_t *index;
    uint16_t *high, *low;
} split_job;

static __device__ inline float input_value(const split_job &j, int64_t t, int64_t k)
{
    int64_t row = j.index ? j.index[t] / j.step : t;
    float value = j.x[row * j.ldx + k];
    if (j.factor)
        value *= j.factor[t];
    return j.column ? value * j.column[k] : value;
}

static __global__ void split_one(split_job j)
{
    FOR_EACH (i, j.T * j.K)
        split_value(input_value(j, i / j.K, i % j.K), &j.high[i], &j.low[i]);
}

/* Four values a thread, where rows allow it. */
static __global__ void split_four(split_job j)
{
    int64_t quarter = j.K / 4;
    FOR_EACH (i, j.T * quarter) {
        int64_t t = i / quarter, k = i % quarter * 4;
        int64_t row = j.index ? j.index[t] / j.step : t;
        float4 x = *(const float4 *)(j.x + row * j.ldx + k);
        float values[4] = {x.x, x.y, x.z, x.w};
        ushort4 high, low;
        uint16_t *to_high = &high.x, *to_low = &low.x;
        for (int c = 0; c < 4; c++) {
            float value = j.factor ? values[c] * j.factor[t] : values[c];
            split_value(j.column ? value * j.column[k + c] : value, to_high + c, to_low + c);
        }
        ((ushort4 *)j.high)[i] = high;
        ((ushort4 *)j.low)[i] = low;
    }
}

int awq__cuda_split(const awq__cuda_queue *queue, int64_t T, int64_t K, const float *x, int64_t ldx,
                    const int32_t *index, int64_t step, const float *factor, const float *column,
                    uint16_t *high, uint16_t *low)
{
    split_job j = {T, K, ldx, step, x, factor, column, index, high, low};
    if (T == 0)
        return 0;
    if (K % 4 == 0 && ldx % 4 == 0)
        split_four<<<blocks_for(T * K / 4), THREADS, 0, queue->stream>>>(j);
    else
        split_one<<<blocks_for(T * K), THREADS, 0, queue->stream>>>(j);
    return LAUNCHED();
}
