/* Kernels of the forward pass against the reference table. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "on_device.h"
#include "compute/weight.h"
#include "core/convert.h"
#include "forward/layer.h"

/* ---- weights ---- */

/* The same weight here and there; the caller frees the three. */
typedef struct both {
    awq__weight host;
    awq__cuda_weight device;
    void *data;
    float *row_scale, *col_scale;
} both;

static const awq_dtype dtypes[] = {AWQ_F32, AWQ_F16, AWQ_BF16};

static both make_weight(device *d, int kind, int64_t N, int64_t K, bool scaled, uint64_t *random)
{
    both w = {.row_scale = floats(N), .col_scale = floats(K)};
    float *values = normals(random, N * K);
    size_t size = kind ? 2 : 4;
    for (int64_t n = 0; n < N; n++)
        w.row_scale[n] = between(random, 0.5f, 2);
    for (int64_t k = 0; k < K; k++)
        w.col_scale[k] = between(random, 0.5f, 2);
    w.data = space_for(N * K, size);
    assert_int_equal(awq__narrow(NULL, dtypes[kind], values, (size_t)(N * K), w.data), AWQ_OK);
    w.host = awq__weight_plain("w", dtypes[kind], w.data, N, K);
    w.device = (awq__cuda_weight){.dtype = (awq__cuda_dtype)kind,
                                  .rows = N,
                                  .cols = K,
                                  .data = sent(d, w.data, N * K, size),
                                  .row_stride = K,
                                  .col_stride = 1};
    if (scaled) {
        w.host.row_scale = w.row_scale;
        w.host.col_scale = w.col_scale;
        w.device.row_scale = sent_floats(d, w.row_scale, N);
        w.device.col_scale = sent_floats(d, w.col_scale, K);
    }
    free(values);
    return w;
}

static void free_weight(both *w)
{
    free(w->data);
    free(w->row_scale);
    free(w->col_scale);
}

static void test_widen(void **state)
{
    device *d = device_of(state);
    uint64_t random = 1;
    for (int kind = 0; kind < 3; kind++)
        for (int scaled = 0; scaled < 2; scaled++) {
            int64_t N = 37, K = 96;
            both w = make_weight(d, kind, N, K, scaled, &random);
            float *expected = floats(N * K), *out = room_for(d, N * K);
            awq__weight_read(awq__compute_reference(), &w.host, 3, N - 3, expected);
            done(awq__cuda_widen(d->queue, &w.device, 3, N - 3, out));
            assert_same(d, out, expected, (N - 3) * K);
            free(expected);
            free_weight(&w);
        }
}

static void test_strided_rows_and_embedding(void **state)
{
    device *d = device_of(state);
    uint64_t random = 2;
    int64_t N = 40, K = 24;
    both w = make_weight(d, 2, K, N, false, &random); /* stored as [K,N] */
    awq__weight turned = awq__weight_strided("w", AWQ_BF16, w.data, N, K, 1, N);
    int32_t ids[] = {5, 0, 39, 5};
    float *expected = floats(4 * K), *out = room_for(d, 4 * K);
    w.device.rows = N;
    w.device.cols = K;
    w.device.row_stride = 1;
    w.device.col_stride = N;
    for (int i = 0; i < 4; i++)
        awq__weight_read(awq__compute_reference(), &turned, ids[i], 1, expected + i * K);
    done(awq__cuda_embed(d->queue, &w.device, 4, sent(d, ids, 4, sizeof *ids), out));
    assert_same(d, out, expected, 4 * K);
    free(expected);
    free_weight(&w);
}

static void test_mxfp4(void **state)
{
    device *d = device_of(state);
    uint64_t random = 3;
    enum { N = 19, K = 64 };
    uint8_t blocks[N * K / 2], scales[N * K / 32];
    float expected[N * K], *out = room_for(d, N * K);
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = (uint8_t)awq__random(&random);
    for (size_t i = 0; i < sizeof scales; i++)
        scales[i] = (uint8_t)(120 + awq__random(&random) % 16);
    awq__weight host = awq__weight_mxfp4("w", blocks, scales, N, K, 1);
    awq__cuda_weight w = {.dtype = AWQ__CUDA_MXFP4,
                          .rows = N,
                          .cols = K,
                          .data = sent(d, blocks, sizeof blocks, 1),
                          .row_stride = 1,
                          .scales = sent(d, scales, sizeof scales, 1)};
    awq__weight_read(awq__compute_reference(), &host, 0, N, expected);
    done(awq__cuda_widen(d->queue, &w, 0, N, out));
    assert_same(d, out, expected, N * K);
}

/* ---- products ---- */

/* y = x w^T with the weight's multipliers, as a caller does it. */
static void multiply(device *d, const both *w, int64_t T, const float *x, float *y)
{
    int64_t N = w->device.rows, K = w->device.cols;
    awq__cuda_terms of_w;
    uint16_t *high = room(d, T * K, 2), *low = room(d, T * K, 2);
    void *space = room(d, (int64_t)awq__cuda_weight_terms_bytes(&w->device), 1);
    done(awq__cuda_weight_terms(d->queue, &w->device, space, &of_w));
    done(awq__cuda_split(d->queue, T, K, x, K, NULL, 1, NULL, w->device.col_scale, high, low));
    done(awq__cuda_product(d->queue, &(awq__cuda_terms){T, K, K, high, low}, &of_w, false, y, N));
    done(awq__cuda_finish(d->queue, T, N, w->device.row_scale, NULL, NULL, y, N));
}

static void test_products(void **state)
{
    device *d = device_of(state);
    uint64_t random = 4;
    int64_t T = 70, N = 120;
    for (int kind = 0; kind < 3; kind++)
        for (int64_t K = 64; K <= 2048; K *= 32) {
            both w = make_weight(d, kind, N, K, K > 64, &random);
            float *x = normals(&random, T * K), *wide = floats(N * K), *expected = floats(T * N);
            float *y = room_for(d, T * N), *again = room_for(d, T * N), *first;
            awq__weight_read(awq__compute_reference(), &w.host, 0, N, wide);
            awq__compute_reference()->multiply_nt(T, N, K, x, K, wide, K, 0, expected, N);
            multiply(d, &w, T, sent_floats(d, x, T * K), y);
            assert_array(d, y, expected, T * N, 1e-5);
            multiply(d, &w, T, sent_floats(d, x, T * K), again);
            first = back(d, y, T * N, sizeof *y);
            assert_same(d, again, first, T * N);
            free(x);
            free(wide);
            free(expected);
            free(first);
            free_weight(&w);
        }
}

static void test_float_products_and_bias(void **state)
{
    device *d = device_of(state);
    uint64_t random = 5;
    int64_t T = 33, N = 65, K = 320;
    float *x = normals(&random, T * K), *w = normals(&random, N * K), *y = floats(T * N);
    float *bias = normals(&random, N), *scale = normals(&random, N), *out = room_for(d, T * N);
    float *there_x = sent_floats(d, x, T * K), *there_w = sent_floats(d, w, N * K);
    awq__compute_reference()->multiply_nt(T, N, K, x, K, w, K, 0, y, N);
    done(awq__cuda_product_f32(d->queue, T, N, K, there_x, K, there_w, K, true, false, out, N));
    assert_array(d, out, y, T * N, 1e-3);
    done(awq__cuda_product_f32(d->queue, T, N, K, there_x, K, there_w, K, false, false, out, N));
    assert_array(d, out, y, T * N, 2e-6);
    awq__compute_reference()->add_row(T, N, bias, scale, y, N);
    done(awq__cuda_finish(d->queue, T, N, NULL, sent_floats(d, bias, N), sent_floats(d, scale, N),
                          out, N));
    assert_array(d, out, y, T * N, 2e-6);
    free(x);
    free(w);
    free(y);
    free(bias);
    free(scale);
}

static void test_gathered_terms(void **state)
{
    device *d = device_of(state);
    uint64_t random = 6;
    int64_t T = 21, K = 40;
    int32_t index[21];
    float *x = normals(&random, 8 * K), *factor = normals(&random, T),
          *column = normals(&random, K);
    float *expected = floats(T * K);
    uint16_t *high = room(d, T * K, 2), *low = room(d, T * K, 2);
    for (int64_t t = 0; t < T; t++)
        index[t] = (int32_t)(awq__random(&random) % 16);
    for (int64_t i = 0; i < T * K; i++)
        expected[i] = x[index[i / K] / 2 * K + i % K] * factor[i / K] * column[i % K];
    done(awq__cuda_split(d->queue, T, K, sent_floats(d, x, 8 * K), K, sent(d, index, T, 4), 2,
                         sent_floats(d, factor, T), sent_floats(d, column, K), high, low));
    uint16_t *h = back(d, high, T * K, 2), *l = back(d, low, T * K, 2);
    for (int64_t i = 0; i < T * K; i++) {
        float value = expected[i], found, rest;
        awq__widen(NULL, AWQ_BF16, &h[i], 1, &found);
        awq__widen(NULL, AWQ_BF16, &l[i], 1, &rest);
        assert_near_at(found + rest, value, fabs((double)value) * 0x1p-16, "terms", i);
    }
    free(x);
    free(factor);
    free(column);
    free(expected);
    free(h);
    free(l);
}

/* ---- rows ---- */

static void test_norm(void **state)
{
    device *d = device_of(state);
    uint64_t random = 7;
    for (int64_t H = 24; H < 4096; H *= 9) {
        int64_t T = 70;
        float *x = normals(&random, T * H), *w = normals(&random, H), *expected = floats(T * H);
        float *out = room_for(d, T * H), *there = sent_floats(d, x, T * H);
        awq__compute_reference()->rms_norm(T, H, x, w, 1e-6, expected);
        done(awq__cuda_rms_norm(d->queue, T, H, there, sent_floats(d, w, H), 0, 1e-6, out));
        assert_array(d, out, expected, T * H, 2e-7);
        for (int64_t h = 0; h < H; h++)
            w[h] -= 1;
        done(awq__cuda_rms_norm(d->queue, T, H, there, sent_floats(d, w, H), 1, 1e-6, there));
        assert_array(d, there, expected, T * H, 2e-6);
        free(x);
        free(w);
        free(expected);
    }
}

static void check_rotary(device *d, bool adjacent)
{
    uint64_t random = 8;
    enum { T = 9, HEADS = 3, D = 20, PAIRS = 8 };
    int32_t position[T];
    float turns[T * 2 * PAIRS], *x = normals(&random, T * HEADS * D);
    float *table = normals(&random, T * 2 * PAIRS), *there = sent_floats(d, x, T * HEADS * D);
    for (int t = 0; t < T; t++) {
        position[t] = (int32_t)(awq__random(&random) % T);
        memcpy(turns + t * 2 * PAIRS, table + position[t] * 2 * PAIRS, 2 * PAIRS * sizeof *table);
    }
    awq__compute_reference()->rotate(T, HEADS, D, PAIRS, adjacent, turns, x);
    done(awq__cuda_rotate(d->queue, T, HEADS, D, PAIRS, adjacent, sent(d, position, T, 4),
                          sent_floats(d, table, T * 2 * PAIRS), there, HEADS * D));
    assert_array(d, there, x, T * HEADS * D, 2e-7);
    free(x);
    free(table);
}

static void test_rotary(void **state)
{
    device *d = device_of(state);
    check_rotary(d, false);
    check_rotary(d, true);
}

static void test_activation(void **state)
{
    device *d = device_of(state);
    uint64_t random = 9;
    const awq__activation kinds[] = {{.alpha = 1, .limit = INFINITY},
                                     {.alpha = 1.702f, .limit = 7, .up_offset = 1}};
    int64_t T = 11, I = 100;
    for (int i = 0; i < 2; i++) {
        float *gate = normals(&random, T * I), *up = normals(&random, T * I);
        float *expected = floats(T * I), *out = room_for(d, T * I), *rebuilt = floats(T * I);
        uint16_t *high = room(d, T * I, 2), *low = room(d, T * I, 2);
        awq__cuda_activation a = {kinds[i].alpha, kinds[i].limit, kinds[i].up_offset};
        for (int64_t at = 0; at < T * I; at++)
            gate[at] *= 5;
        awq__compute_reference()->activate(T * I, &kinds[i], gate, up, expected);
        done(awq__cuda_activate(d->queue, T, I, &a, sent_floats(d, gate, T * I),
                                sent_floats(d, up, T * I), I, NULL, out, high, low));
        assert_array(d, out, expected, T * I, 5e-7);
        uint16_t *h = back(d, high, T * I, 2), *l = back(d, low, T * I, 2);
        for (int64_t at = 0; at < T * I; at++) {
            float first, rest;
            awq__widen(NULL, AWQ_BF16, &h[at], 1, &first);
            awq__widen(NULL, AWQ_BF16, &l[at], 1, &rest);
            rebuilt[at] = first + rest;
        }
        assert_true(distance(rebuilt, expected, T * I) < 2e-5);
        free(gate);
        free(up);
        free(expected);
        free(rebuilt);
        free(h);
        free(l);
    }
}

/* ---- experts ---- */

static void check_grouping(device *d, int64_t count, int64_t E, const int32_t *index)
{
    int32_t *first = room(d, E + 1, 4), *slots = room(d, count, 4), *place = room(d, count, 4);
    int32_t *begin = space_for(E + 1, 4), *listed = space_for(count, 4), *at = space_for(count, 4);
    int32_t next = 0;
    for (int64_t e = 0; e < E; e++) {
        for (int64_t i = 0; i < count; i++)
            if (index[i] == e) {
                at[i] = next;
                listed[next++] = (int32_t)i;
            }
        begin[e + 1] = next;
    }
    done(awq__cuda_group(d->queue, count, E, sent(d, index, count, 4), first, slots, place));
    assert_same(d, first, begin, E + 1);
    assert_same(d, slots, listed, count);
    assert_same(d, place, at, count);
    free(begin);
    free(listed);
    free(at);
}

static void test_routing(void **state)
{
    device *d = device_of(state);
    uint64_t random = 10;
    enum { T = 700, E = 60, K = 6, LD = K + 1 };
    for (int scoring = 0; scoring < 3; scoring++) {
        awq__routing routing = {.scoring = scoring, .renormalize = scoring != 1, .scaling = 2.5f};
        awq__cuda_routing there = {(awq__cuda_scoring)scoring, scoring != 1, 2.5f};
        float *logits = normals(&random, T * E), *weight = floats(T * K);
        int32_t *index = space_for(T * K, 4), *out = room(d, T * LD, 4);
        float *out_weight = room_for(d, T * LD);
        for (int64_t i = 0; i < T * E; i++)
            logits[i] = rintf(logits[i] * 4) / 4; /* ties */
        awq__compute_reference()->route(T, E, K, &routing, logits, index, weight);
        done(awq__cuda_route(d->queue, T, E, K, &there, sent_floats(d, logits, T * E), LD, out,
                             out_weight));
        done(awq__cuda_route_shared(d->queue, T, LD, K, E, NULL, out, out_weight));
        int32_t *found = back(d, out, T * LD, 4);
        float *found_weight = back(d, out_weight, T * LD, 4);
        for (int64_t t = 0; t < T; t++) {
            for (int64_t i = 0; i < K; i++) {
                assert_int_equal(found[t * LD + i], index[t * K + i]);
                assert_near_at(found_weight[t * LD + i], weight[t * K + i], 3e-7, "weight", t);
            }
            assert_int_equal(found[t * LD + K], E);
            assert_true(found_weight[t * LD + K] == 1);
        }
        check_grouping(d, T * LD, E + 1, found);
        free(logits);
        free(weight);
        free(index);
        free(found);
        free(found_weight);
    }
}

static void test_sums_of_experts(void **state)
{
    device *d = device_of(state);
    uint64_t random = 11;
    enum { T = 13, K = 3, H = 70 };
    int32_t place[T * K], index[T];
    float *parts = normals(&random, T * K * H), *weight = normals(&random, T * K);
    float *out = normals(&random, T * H), *moved = floats(T * K * H),
          *rows = normals(&random, T * H);
    float *there = sent_floats(d, out, T * H), *weights = sent_floats(d, weight, T * K);
    for (int i = 0; i < T * K; i++) {
        place[i] = (i * 7 + 3) % (T * K); /* 7 and 39 have no factor in common */
        memcpy(moved + place[i] * H, parts + i * H, H * sizeof *parts);
    }
    awq__compute_reference()->combine(T, K, H, weight, parts, out);
    done(awq__cuda_combine(d->queue, T, K, H, weights, sent(d, place, T * K, 4), 0, T * K,
                           sent_floats(d, moved, T * K * H), there));
    assert_array(d, there, out, T * H, 1e-6);
    for (int t = 0; t < T; t++) {
        index[t] = (T - 1 - t) * K + 1;
        for (int h = 0; h < H; h++)
            out[(T - 1 - t) * H + h] += weight[index[t]] * rows[t * H + h];
    }
    done(awq__cuda_scatter_add(d->queue, T, H, sent(d, index, T, 4), K, weights,
                               sent_floats(d, rows, T * H), there));
    assert_array(d, there, out, T * H, 1e-6);
    free(parts);
    free(weight);
    free(out);
    free(moved);
    free(rows);
}

static void test_what_is_not_finite(void **state)
{
    device *d = device_of(state);
    uint64_t random = 12;
    float *x = normals(&random, 100000);
    int64_t *found = room(d, 1, 8), expected = 100000;
    done(awq__cuda_first_unbounded(d->queue, 100000, sent_floats(d, x, 100000), found));
    assert_same(d, found, &expected, 1);
    x[99000] = INFINITY;
    x[77777] = NAN;
    expected = 77777;
    done(awq__cuda_first_unbounded(d->queue, 100000, sent_floats(d, x, 100000), found));
    assert_same(d, found, &expected, 1);
    free(x);
}

/* ---- attention ---- */

/* One head of one sequence, plainly. */
static void attend_plainly(const awq__cuda_attention *a, int64_t begin, int64_t length,
                           int64_t head, float sink)
{
    const awq__compute *c = awq__compute_reference();
    int64_t kv = head / (a->heads / a->kv_heads);
    float *scores = floats(length * length);
    c->multiply_nt(length, length, a->D, a->q + begin * a->ldq + head * a->D, a->ldq,
                   a->k + begin * a->ldk + kv * a->D, a->ldk, 0, scores, length);
    c->causal_softmax(length, length, 0, a->window, a->scale, sink, scores);
    c->multiply_nn(length, a->Dv, length, scores, length, a->v + begin * a->ldv + kv * a->Dv,
                   a->ldv, 0, a->c + begin * a->ldc + head * a->Dv, a->ldc);
    free(scores);
}

static void check_attention(device *d, int64_t D, int64_t Dv, int64_t window, bool sinks)
{
    uint64_t random = 13;
    enum { HEADS = 4, KV = 2, T = 1 + 63 + 64 + 65 + 300 };
    int32_t offsets[] = {0, 1, 64, 128, 193, T};
    float *q = normals(&random, T * HEADS * D), *k = normals(&random, T * KV * D);
    float *v = normals(&random, T * KV * Dv), *c = floats(T * HEADS * Dv);
    float *sink = normals(&random, HEADS), *out = room_for(d, T * HEADS * Dv);
    awq__cuda_attention a = {.sequences = 5,
                             .offsets = offsets,
                             .longest = 300,
                             .heads = HEADS,
                             .kv_heads = KV,
                             .D = D,
                             .Dv = Dv,
                             .window = window,
                             .scale = (float)(1 / sqrt((double)D)),
                             .q = q,
                             .k = k,
                             .v = v,
                             .ldq = HEADS * D,
                             .ldk = KV * D,
                             .ldv = KV * Dv,
                             .c = c,
                             .ldc = HEADS * Dv};
    for (int i = 0; i < 5; i++)
        for (int64_t head = 0; head < HEADS; head++)
            attend_plainly(&a, offsets[i], offsets[i + 1] - offsets[i], head,
                           sinks ? sink[head] : -INFINITY);
    a.offsets = sent(d, offsets, 6, 4);
    a.q = sent_floats(d, q, T * HEADS * D);
    a.k = sent_floats(d, k, T * KV * D);
    a.v = sent_floats(d, v, T * KV * Dv);
    a.sinks = sinks ? sent_floats(d, sink, HEADS) : NULL;
    a.c = out;
    done(awq__cuda_attend(d->queue, &a));
    assert_array(d, out, c, T * HEADS * Dv, 2e-6);
    free(q);
    free(k);
    free(v);
    free(c);
    free(sink);
}

static void test_attention(void **state)
{
    device *d = device_of(state);
    check_attention(d, 128, 128, 0, false);
    check_attention(d, 64, 64, 100, true);
    check_attention(d, 64, 64, 20, false);
    check_attention(d, 192, 128, 0, false);
    check_attention(d, 256, 256, 0, true);
    check_attention(d, 16, 16, 7, true);
}

/* ---- logits ---- */

static void test_logits(void **state)
{
    device *d = device_of(state);
    uint64_t random = 14;
    enum { ROWS = 37, V = 3001 };
    float *p = normals(&random, ROWS * V), *q = copy_of(p, ROWS * V);
    int32_t targets[ROWS];
    awq__logit_stats expected = {0};
    awq__cuda_logit_stats zero = {0}, *stats = sent(d, &zero, 1, sizeof zero), *found;
    for (int64_t i = 0; i < ROWS * V; i++)
        q[i] += 0.02f * normal(&random);
    for (int r = 0; r < ROWS; r++)
        targets[r] = r % 5 ? (int32_t)(awq__random(&random) % V) : -1;
    awq__compute_reference()->compare_logits(ROWS, V, q, p, targets, &expected);
    done(awq__cuda_compare_logits(d->queue, ROWS, V, sent_floats(d, q, ROWS * V),
                                  sent_floats(d, p, ROWS * V), V, sent(d, targets, ROWS, 4),
                                  stats));
    found = back(d, stats, 1, sizeof *found);
    assert_near(found->nll, expected.nll, 1e-6 * expected.nll);
    assert_near(found->reference_nll, expected.reference_nll, 1e-6 * expected.nll);
    assert_near(found->kl, expected.kl, 1e-4 * expected.kl);
    assert_int_equal(found->same_top1, expected.same_top1);
    free(p);
    free(q);
    free(found);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_device, close_device)
    const struct CMUnitTest tests[] = {
        TEST(test_widen),
        TEST(test_strided_rows_and_embedding),
        TEST(test_mxfp4),
        TEST(test_products),
        TEST(test_float_products_and_bias),
        TEST(test_gathered_terms),
        TEST(test_norm),
        TEST(test_rotary),
        TEST(test_activation),
        TEST(test_routing),
        TEST(test_sums_of_experts),
        TEST(test_what_is_not_finite),
        TEST(test_attention),
        TEST(test_logits),
    };
    return cmocka_run_group_tests_name("cuda_forward", tests, NULL, NULL);
}
