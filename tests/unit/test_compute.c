/* Every operation of every table against the reference, and the reference against its meaning. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/plugin.h"
#include "tables.h"

#define FLOAT_ROUNDING 0x1p-24

static void there_are_tables(void **state)
{
    (void)state;
    const awq__compute *const *all = awq__compute_all();
    assert_ptr_equal(all[0], awq__compute_reference());
    bool fastest = false;
    FOR_EACH_TABLE(table)
    {
        fastest |= table == awq__compute_fastest();
        print_message("table %s\n", table->name);
        for (const awq__compute *const *other = all; *other != table; other++)
            assert_string_not_equal((*other)->name, table->name);
    }
    assert_true(fastest);
}

/* ---- products ---- */

typedef void (*product)(int64_t T, int64_t N, int64_t K, const float *x, int64_t ldx,
                        const float *w, int64_t ldw, float beta, float *y, int64_t ldy);

/* One product at one size, transposed or not, with room between the rows. */
static void check_product(product multiply, bool nt, int64_t T, int64_t N, int64_t K, float beta,
                          uint64_t *random)
{
    int64_t ldx = K + 3, ldw = (nt ? K : N) + 1, ldy = N + 2, rows = nt ? N : K;
    float *x = normals(random, T * ldx), *w = normals(random, rows * ldw);
    float *y = normals(random, T * ldy), *before = copy_of(y, T * ldy);
    for (int64_t i = 0; i < T * ldy && beta == 0; i++)
        if (i % ldy < N)
            y[i] = NAN; /* must be written, not multiplied by 0 */
    multiply(T, N, K, x, ldx, w, ldw, beta, y, ldy);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t n = 0; n < N; n++) {
            double sum = (double)beta * (double)before[t * ldy + n], size = fabs(sum);
            for (int64_t k = 0; k < K; k++) {
                double term =
                    (double)x[t * ldx + k] * (double)(nt ? w[n * ldw + k] : w[k * ldw + n]);
                sum += term;
                size += fabs(term);
            }
            assert_near(y[t * ldy + n], sum, (double)(K + 3) * FLOAT_ROUNDING * size);
        }
        assert_memory_equal(&y[t * ldy + N], &before[t * ldy + N], 2 * sizeof *y);
    }
    free(x);
    free(w);
    free(y);
    free(before);
}

static void products_are_right(void **state)
{
    (void)state;
    uint64_t random = 1;
    static const int64_t shapes[][3] = {{1, 1, 1},    {1, 257, 33}, {7, 31, 32},
                                        {33, 7, 257}, {100, 64, 1}, {32, 33, 100},
                                        {5, 0, 4},    {0, 4, 4},    {2, 3, 0}};
    static const float betas[] = {0, 1, -0.5f};
    FOR_EACH_TABLE(table)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int b = 0; b < 3; b++) {
            const int64_t *s = shapes[i];
            check_product(table->multiply_nt, true, s[0], s[1], s[2], betas[b], &random);
            check_product(table->multiply_nn, false, s[0], s[1], s[2], betas[b], &random);
        }
}

static void gram_blocks_are_right(void **state)
{
    (void)state;
    uint64_t random = 2;
    static const int64_t shapes[][3] = {{1, 1, 1},    {7, 33, 33},   {100, 64, 32},
                                        {257, 96, 1}, {31, 128, 64}, {0, 8, 4}};
    FOR_EACH_TABLE(table)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int64_t T = shapes[i][0], K = shapes[i][1], g = shapes[i][2], ldx = K + 5;
        float *x = normals(&random, T * ldx), *gram = normals(&random, K * g);
        float *before = copy_of(gram, K * g);
        table->gram(T, K, g, x, ldx, gram);
        for (int64_t at = 0; at < K * g; at++) {
            int64_t a = at / g, b = a / g * g + at % g;
            double sum = 0, size = fabs((double)before[at]);
            for (int64_t t = 0; t < T; t++) {
                double term = (double)x[t * ldx + a] * (double)x[t * ldx + b];
                sum += term;
                size += fabs(term);
            }
            assert_near_at(gram[at], (double)before[at] + sum,
                           (double)(T + 3) * FLOAT_ROUNDING * size, table->name, at);
        }
        free(x);
        free(gram);
        free(before);
    }
}

/* ---- a layer's operations ---- */

static void rms_norm_is_right(void **state)
{
    (void)state;
    uint64_t random = 3;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++) {
        const int64_t T = 3, H = odd_sizes[i];
        float *x = normals(&random, T * H), *weight = normals(&random, H);
        float *out = floats(T * H);
        memset(x + H, 0, (size_t)H * sizeof *x); /* a row of zeros stays one */
        shifted s = shift(x, T * H, i % 4);
        table->rms_norm(T, H, s.x, weight, 1e-5, out);
        for (int64_t at = 0; at < T * H; at++) {
            double sum = 0;
            for (int64_t h = 0; h < H; h++)
                sum += (double)x[at / H * H + h] * (double)x[at / H * H + h];
            double expected = (double)x[at] / sqrt(sum / (double)H + 1e-5) * (double)weight[at % H];
            assert_near_at(out[at], expected, 2.1 * FLOAT_ROUNDING * fabs(expected), table->name,
                           at);
        }
        table->rms_norm(T, H, s.x, weight, 1e-5, s.x); /* in place */
        assert_memory_equal(s.x, out, (size_t)(T * H) * sizeof *out);
        free(s.base);
        free(x);
        free(weight);
        free(out);
    }
}

/* cos_sin of random angles. */
static float *random_turns(uint64_t *random, int64_t T, int64_t pairs)
{
    float *cos_sin = floats(T * 2 * pairs);
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < pairs; i++) {
            double angle = 7 * (double)uniform(random);
            cos_sin[t * 2 * pairs + i] = (float)cos(angle);
            cos_sin[t * 2 * pairs + pairs + i] = (float)sin(angle);
        }
    return cos_sin;
}

/* The other channel of the pair of channel d, and the pair's number. */
static int64_t other_of(int64_t d, int64_t pairs, bool adjacent, int64_t *pair)
{
    *pair = adjacent ? d / 2 : d % pairs;
    if (adjacent)
        return d ^ 1;
    return d < pairs ? d + pairs : d - pairs;
}

static void rotate_turns_pairs(void **state)
{
    (void)state;
    uint64_t random = 4;
    static const int64_t shapes[][2] = {{2, 1}, {16, 8}, {66, 33}, {80, 16}, {514, 257}, {8, 0}};
    const int64_t T = 5, heads = 3, shape_count = sizeof shapes / sizeof *shapes;
    FOR_EACH_TABLE(table)
    for (int64_t i = 0; i < 2 * shape_count; i++) {
        int64_t D = shapes[i / 2][0], pairs = shapes[i / 2][1], count = T * heads * D, pair;
        float *x = normals(&random, count), *turns = random_turns(&random, T, pairs);
        float *y = copy_of(x, count);
        table->rotate(T, heads, D, pairs, i % 2, turns, y);
        for (int64_t at = 0; at < count; at++) {
            int64_t d = at % D, t = at / (heads * D);
            if (d >= 2 * pairs) {
                assert_true(y[at] == x[at]); /* the rest of the head stays */
                continue;
            }
            int64_t other = other_of(d, pairs, i % 2, &pair);
            const float *turn = turns + t * 2 * pairs + pair;
            double c = (double)turn[0], s = (double)turn[pairs];
            double a = (double)x[at], b = (double)x[at - d + other];
            double expected = d < other ? a * c - b * s : a * c + b * s;
            assert_near_at(y[at], expected, 3 * FLOAT_ROUNDING * (fabs(a) + fabs(b)), table->name,
                           at);
        }
        for (int64_t at = 0; at < count; at += D) { /* a rotation keeps lengths */
            double before = 0, after = 0;
            for (int64_t d = at; d < at + D; d++) {
                before += (double)x[d] * (double)x[d];
                after += (double)y[d] * (double)y[d];
            }
            assert_near(after, before, 8 * FLOAT_ROUNDING * before);
        }
        free(x);
        free(y);
        free(turns);
    }
}

/* The sink is one more column, which is dropped. */
static void check_sink(const awq__compute *table, int64_t T, int64_t S, int64_t first,
                       int64_t window, float spread, float sink, uint64_t *random)
{
    float *x = normals(random, T * S);
    for (int64_t i = 0; i < T * S; i++)
        x[i] *= spread;
    float *y = copy_of(x, T * S);
    table->causal_softmax(T, S, first, window, 0.25f, sink, y);
    for (int64_t t = 0; t < T; t++) {
        double total = 0, largest = (double)sink;
        for (int64_t j = 0; j < S; j++)
            if (j <= first + t && (!window || j > first + t - window))
                largest = fmax(largest, 0.25 * (double)x[t * S + j]);
        double sum = isinf(sink) ? 0 : exp((double)sink - largest), rest = sum;
        for (int64_t j = 0; j < S; j++)
            if (j <= first + t && (!window || j > first + t - window))
                sum += exp(0.25 * (double)x[t * S + j] - largest);
        for (int64_t j = 0; j < S; j++) {
            bool seen = j <= first + t && (!window || j > first + t - window);
            double argument = 0.25 * (double)x[t * S + j] - largest;
            double expected = seen ? exp(argument) / sum : 0;
            assert_near_at(y[t * S + j], expected,
                           seen ? (1e-6 + 2 * FLOAT_ROUNDING * fabs(argument)) * expected + 1e-37
                                : 0,
                           table->name, t * S + j);
            total += (double)y[t * S + j];
        }
        assert_near(total, sum > 0 ? 1 - rest / sum : 0, 1e-5);
    }
    free(x);
    free(y);
}

static void check_softmax(const awq__compute *table, int64_t T, int64_t S, int64_t first,
                          int64_t window, float spread, uint64_t *random)
{
    check_sink(table, T, S, first, window, spread, -INFINITY, random);
}

static void causal_softmax_sees_the_past(void **state)
{
    (void)state;
    uint64_t random = 5;
    FOR_EACH_TABLE(table)
    {
        for (int i = 0; i < ODD_SIZES; i++) {
            int64_t T = odd_sizes[i];
            check_softmax(table, T, T, 0, 0, 10, &random);
            check_softmax(table, 1, T, T - 1, 0, 200, &random); /* one query, all keys */
            check_softmax(table, T, T + 9, 9, 0, 1, &random);   /* queries after 9 keys */
            check_softmax(table, T, T, 0, 5, 10, &random);
            check_softmax(table, T, T + 40, 40, 33, 10, &random);
            check_softmax(table, T, T, 0, 1, 10, &random); /* itself alone */
        }
        check_softmax(table, 4, 60, 5, 0, 10, &random);  /* keys that nobody sees yet */
        check_softmax(table, 4, 6, 20, 10, 10, &random); /* no key within the window */
        check_softmax(table, 4, 16, 20, 10, 10, &random);
        check_softmax(table, 0, 16, 0, 0, 1, &random);
    }
}

static void sinks_join_the_sum(void **state)
{
    (void)state;
    static const float sinks[] = {0, 1.5f, -3, 40, -40, 300, -300};
    uint64_t random = 13;
    FOR_EACH_TABLE(table)
    for (size_t i = 0; i < sizeof sinks / sizeof *sinks; i++) {
        check_sink(table, 33, 33, 0, 0, 10, sinks[i], &random);
        check_sink(table, 40, 77, 37, 20, 3, sinks[i], &random);
        check_sink(table, 1, 1, 0, 1, 1, sinks[i], &random);
        check_sink(table, 4, 6, 20, 10, 10, sinks[i], &random); /* nothing but the sink */
    }
}

static void no_sink_is_one_far_below(void **state)
{
    (void)state;
    enum { T = 65, S = 100 };
    uint64_t random = 14;
    float *x = normals(&random, T * S);
    FOR_EACH_TABLE(table)
    {
        float *none = copy_of(x, T * S), *low = copy_of(x, T * S);
        table->causal_softmax(T, S, S - T, 50, 2, -INFINITY, none);
        table->causal_softmax(T, S, S - T, 50, 2, -1e30f, low);
        assert_memory_equal(none, low, T * S * sizeof *x);
        free(none);
        free(low);
    }
    free(x);
}

static void activation_is_right(void **state)
{
    (void)state;
    uint64_t random = 6;
    static const awq__activation kinds[] = {{1, INFINITY, 0, 0},
                                            {1.702f, 7, 1, 0},
                                            {1, 2, 0, 0},
                                            {-0.5f, INFINITY, 0.25f, 0},
                                            {0, 1, 0, 0}};
    const int64_t count = 3 * 512 + 77;
    float *gate = normals(&random, count), *up = normals(&random, count), *out = floats(count);
    for (int64_t i = 0; i < count; i++) {
        gate[i] *= i % 3 ? 4 : 60;
        up[i] *= 5;
    }
    gate[0] = 0;
    gate[1] = 1000;
    gate[2] = -1000;
    FOR_EACH_TABLE(table)
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        const awq__activation *a = &kinds[kind];
        table->activate(count, a, gate, up, out);
        for (int64_t i = 0; i < count; i++) {
            double limit = (double)a->limit, g = fmin((double)gate[i], limit);
            double u = fmax(-limit, fmin((double)up[i], limit)) + (double)a->up_offset;
            double expected = u * g / (1 + exp(-(double)a->alpha * g));
            double slope = 1 + fabs((double)a->alpha * g); /* of the float product alpha * g */
            assert_near_at(out[i], expected,
                           4 * slope * FLOAT_ROUNDING * fabs(expected) + 1e-22 * fabs(u * g),
                           table->name, i);
        }
        for (int64_t n = 0; n < 700; n += 69) { /* in place, any length, any place */
            shifted s = shift(gate, n, (int)(n % 5));
            table->activate(n, a, s.x, up, s.x);
            assert_memory_equal(s.x, out, (size_t)n * sizeof *out);
            free(s.base);
        }
    }
    free(gate);
    free(up);
    free(out);
}

static void activation_keeps_nan(void **state)
{
    (void)state;
    static const float gate[] = {NAN, 1, -INFINITY}, up[] = {1, NAN, NAN};
    static const awq__activation kinds[] = {{1, INFINITY, 0, 0}, {1.702f, 7, 1, 0}};
    FOR_EACH_TABLE(table)
    for (int kind = 0; kind < 2; kind++) {
        float out[3] = {0};
        table->activate(3, &kinds[kind], gate, up, out);
        for (int i = 0; i < 3; i++)
            assert_true(isnan(out[i]));
    }
}

/* ---- routing ---- */

static void check_routing(const awq__compute *table, int64_t E, int64_t k, awq__routing routing,
                          const float *logits)
{
    int32_t index[16];
    float weight[16];
    table->route(1, E, k, &routing, logits, index, weight);
    double total = 0, chosen = 0;
    for (int64_t e = 0; e < E; e++)
        total += exp((double)logits[e]);
    for (int64_t i = 0; i < k; i++)
        chosen += routing.scoring == AWQ_SCORING_SIGMOID_TOPK
                      ? 1 / (1 + exp(-(double)logits[index[i]]))
                      : exp((double)logits[index[i]]);
    for (int64_t i = 0; i < k; i++) {
        double logit = (double)logits[index[i]], score = exp(logit) / total;
        if (routing.scoring == AWQ_SCORING_TOPK_SOFTMAX)
            score = exp(logit) / chosen;
        if (routing.scoring == AWQ_SCORING_SIGMOID_TOPK)
            score = 1 / (1 + exp(-logit));
        if (routing.scoring == AWQ_SCORING_SIGMOID_TOPK && routing.renormalize)
            score /= chosen;
        if (routing.scoring == AWQ_SCORING_SOFTMAX_TOPK && routing.renormalize)
            score = exp(logit) / chosen;
        score *= (double)routing.scaling;
        assert_near_at(weight[i], score, 1e-6 * score, table->name, i);
        int64_t better = 0; /* experts that come before this one */
        for (int64_t e = 0; e < E; e++)
            better +=
                logits[e] > logits[index[i]] || (logits[e] == logits[index[i]] && e < index[i]);
        assert_int_equal(better, i);
    }
}

static void routing_takes_the_largest(void **state)
{
    (void)state;
    uint64_t random = 7;
    FOR_EACH_TABLE(table)
    for (int round = 0; round < 100; round++)
        for (int scoring = 0; scoring < 3; scoring++)
            for (int renormalize = 0; renormalize < 2; renormalize++) {
                float logits[64];
                int64_t E = 1 + (int64_t)(awq__random(&random) % 64);
                int64_t k = 1 + (int64_t)(awq__random(&random) % (uint64_t)awq__min(E, 16));
                for (int64_t e = 0; e < E; e++) /* whole numbers, so that many are equal */
                    logits[e] = round % 2 ? rintf(2 * normal(&random)) : 3 * normal(&random);
                check_routing(table, E, k,
                              (awq__routing){.scoring = scoring,
                                             .renormalize = renormalize != 0,
                                             .scaling = round % 3 ? 1 : 2.5f},
                              logits);
            }
}

static void both_softmax_orders_agree_when_renormalized(void **state)
{
    (void)state;
    uint64_t random = 8;
    enum { T = 50, E = 8, K = 3 };
    float *logits = normals(&random, T * E), weight[2][T * K];
    int32_t index[2][T * K];
    FOR_EACH_TABLE(table)
    {
        for (int i = 0; i < 2; i++) {
            const awq__routing routing = {.scoring = i ? AWQ_SCORING_TOPK_SOFTMAX
                                                       : AWQ_SCORING_SOFTMAX_TOPK,
                                          .renormalize = i == 0,
                                          .scaling = 1};
            table->route(T, E, K, &routing, logits, index[i], weight[i]);
        }
        assert_memory_equal(index[0], index[1], sizeof index[0]);
        for (int64_t i = 0; i < T * K; i++)
            assert_near_at(weight[0][i], weight[1][i], 3e-7, table->name, i);
    }
    free(logits);
}

/* ---- sums ---- */

static void sums_are_right(void **state)
{
    (void)state;
    uint64_t random = 9;
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++) {
        const int64_t T = 5, K = odd_sizes[i], ld = K + 3;
        float *a = normals(&random, T * ld), *b = normals(&random, T * ld);
        float *weight = normals(&random, T);
        shifted s = shift(a, T * ld, 1 + i % 3);
        double *sums = space_for(K, sizeof *sums), dot = 0, size = 0, error = 0, weighted = 0;
        double row_dot = 0, row_size = 0;
        sums[0] = 3;
        table->add_abs(T, K, s.x, ld, sums);
        for (int64_t k = 0; k < K; k++) {
            double expected = k ? 0 : 3;
            for (int64_t t = 0; t < T; t++)
                expected += fabs((double)a[t * ld + k]);
            assert_near_at(sums[k], expected, 1e-14 * expected, table->name, k);
        }
        for (int64_t j = 0; j < T * K; j++) {
            double d = (double)a[j] - (double)b[j], w = (double)weight[j / K];
            dot += (double)a[j] * (double)b[j];
            size += fabs((double)a[j] * (double)b[j]);
            error += d * d;
            weighted += w * w * d * d;
            row_dot += w * (double)a[j] * (double)b[j];
            row_size += fabs(w * (double)a[j] * (double)b[j]);
        }
        assert_near(table->dot(T * K, s.x, b), dot, 1e-13 * size);
        assert_near(table->weighted_dot(T, K, s.x, b, NULL), dot, 1e-13 * size);
        assert_near(table->weighted_dot(T, K, s.x, b, weight), row_dot, 1e-13 * row_size);
        assert_true(table->weighted_dot(0, K, s.x, b, weight) == 0);
        assert_near(table->squared_error(T, K, s.x, b, NULL), error, 1e-13 * error);
        assert_near(table->squared_error(T, K, s.x, b, weight), weighted, 1e-13 * weighted);
        free(s.base);
        free(a);
        free(b);
        free(weight);
        free(sums);
    }
}

/* ---- logits ---- */

static double log_probability(int64_t V, const float *logits, int64_t v)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < V; i++)
        largest = fmax(largest, (double)logits[i]);
    for (int64_t i = 0; i < V; i++)
        sum += exp((double)logits[i] - largest);
    return (double)logits[v] - largest - log(sum);
}

static int64_t most_likely(int64_t V, const float *logits)
{
    int64_t best = 0;
    for (int64_t v = 1; v < V; v++)
        best = logits[v] > logits[best] ? v : best;
    return best;
}

static void logits_are_compared(void **state)
{
    (void)state;
    uint64_t random = 11;
    enum { ROWS = 6 };
    FOR_EACH_TABLE(table)
    for (int i = 0; i < ODD_SIZES; i++) {
        int64_t V = odd_sizes[i];
        float *p = normals(&random, ROWS * V), *q = copy_of(p, ROWS * V);
        int32_t targets[ROWS];
        double nll = 0, reference_nll = 0, kl = 0;
        int64_t same = 0;
        for (int64_t at = 0; at < ROWS * V; at++) {
            p[at] = p[at] * 6 + 20;
            q[at] = p[at] + normal(&random) * (at / V == 2 ? 0 : 1.5f);
        }
        for (int64_t r = 0; r < ROWS; r++) {
            targets[r] = r == 3 ? -1 : (int32_t)(awq__random(&random) % (uint64_t)V);
            if (r != 3) {
                nll -= log_probability(V, q + r * V, targets[r]);
                reference_nll -= log_probability(V, p + r * V, targets[r]);
            }
            for (int64_t v = 0; v < V; v++) {
                double log_p = log_probability(V, p + r * V, v);
                kl += exp(log_p) * (log_p - log_probability(V, q + r * V, v));
            }
            same += most_likely(V, p + r * V) == most_likely(V, q + r * V);
        }
        awq__logit_stats stats = {.nll = 100, .kl = 200};
        table->compare_logits(ROWS, V, q, p, targets, &stats); /* adds to what there is */
        assert_near(stats.nll, nll + 100, 1e-5);
        assert_near(stats.reference_nll, reference_nll, 1e-5);
        assert_near(stats.kl, kl + 200, 1e-5);
        assert_int_equal(stats.same_top1, same);
        awq__logit_stats alone = {0};
        table->compare_logits(ROWS, V, q, NULL, targets, &alone);
        assert_near(alone.nll, nll, 1e-5);
        assert_true(alone.kl == 0 && alone.reference_nll == 0 && alone.same_top1 == 0);
        awq__logit_stats equal = {0};
        table->compare_logits(ROWS, V, p, p, targets, &equal);
        assert_near(equal.kl, 0, 1e-12);
        assert_int_equal(equal.same_top1, ROWS);
        free(p);
        free(q);
    }
}

static void equal_logits_go_to_the_lower_token(void **state)
{
    (void)state;
    float p[40] = {0}, q[40] = {0};
    const int32_t none = -1;
    p[5] = p[37] = q[5] = 2;
    FOR_EACH_TABLE(table)
    {
        awq__logit_stats stats = {0};
        table->compare_logits(1, 40, q, p, &none, &stats);
        assert_int_equal(stats.same_top1, 1);
    }
}

/* All instruction sets give the same bits: what a machine has does not change a result. */
static void fast_tables_agree_to_the_bit(void **state)
{
    (void)state;
    enum { T = 9, K = 257, OUTPUTS = 6 };
    uint64_t random = 12;
    float *x = normals(&random, T * K), *w = normals(&random, T * K), *first[OUTPUTS] = {0};
    float *moments = floats(K * K);
    awq__compute_reference()->gram(T, K, K, x, K, moments);
    double first_sums[5] = {0}, first_forms[T];
    const int32_t targets[T] = {0, 1, 2, 3, -1, 5, 6, 7, 256};
    for (const awq__compute *const *at = awq__compute_all() + 1; *at; at++) {
        const awq__compute *table = *at;
        float *out[OUTPUTS];
        for (int i = 0; i < OUTPUTS; i++)
            out[i] = copy_of(x, T * K);
        awq__logit_stats stats = {0};
        const awq__activation activation = {1.702f, 1, 1, 0};
        table->rms_norm(T, K, x, w, 1e-6, out[0]);
        table->causal_softmax(T, K, K - T, 200, 3, 1.25f, out[1]);
        table->activate(T * K, &activation, x, w, out[2]);
        table->rotate(T, 1, K, K / 2, true, w, out[3]);
        table->rotate(T, 1, K, K / 2, false, w, out[3]);
        table->multiply_nt(T, T, K, x, K, w, K, 0, out[4], K);
        table->compare_logits(T, K, x, w, targets, &stats);
        double forms[T];
        table->quadratic(T, K, x, moments, out[5], forms);
        const double sums[] = {stats.nll, stats.kl, table->dot(T * K, x, w),
                               table->squared_error(T, K, x, w, x),
                               table->weighted_dot(T, K, x, w, w)};
        if (!first[0]) {
            memcpy(first, out, sizeof out);
            memcpy(first_sums, sums, sizeof sums);
            memcpy(first_forms, forms, sizeof forms);
            continue;
        }
        assert_memory_equal(sums, first_sums, sizeof sums);
        assert_memory_equal(forms, first_forms, sizeof forms);
        for (int i = 0; i < OUTPUTS; i++) {
            assert_memory_equal(out[i], first[i], T * K * sizeof(float));
            free(out[i]);
        }
    }
    for (int i = 0; i < OUTPUTS; i++)
        free(first[i]);
    free(x);
    free(w);
    free(moments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_tables),
        cmocka_unit_test(products_are_right),
        cmocka_unit_test(gram_blocks_are_right),
        cmocka_unit_test(rms_norm_is_right),
        cmocka_unit_test(rotate_turns_pairs),
        cmocka_unit_test(causal_softmax_sees_the_past),
        cmocka_unit_test(sinks_join_the_sum),
        cmocka_unit_test(no_sink_is_one_far_below),
        cmocka_unit_test(activation_is_right),
        cmocka_unit_test(activation_keeps_nan),
        cmocka_unit_test(routing_takes_the_largest),
        cmocka_unit_test(both_softmax_orders_agree_when_renormalized),
        cmocka_unit_test(sums_are_right),
        cmocka_unit_test(logits_are_compared),
        cmocka_unit_test(equal_logits_go_to_the_lower_token),
        cmocka_unit_test(fast_tables_agree_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
