#include "support/handmade.h"

#include "awq/tensor.h"
#include "support/synthetic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = MADE_H, I = MADE_I, E = MADE_E, T = MADE_T };

/* ---- the model ---- */

static void draw(uint64_t *state, float deviation, float *values, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *values; i++) {
        double sum = -2;
        for (int n = 0; n < 4; n++)
            sum += (double)(awq__random(state) >> 11) * 0x1p-53;
        values[i] = deviation * (float)(sum * sqrt(3));
    }
}

void handmade_draw(handmade *m, uint64_t seed)
{
    m->per_token = 2;
    draw(&seed, 1, &m->embedding[0][0], sizeof m->embedding);
    draw(&seed, 0.2f, &m->router[0][0], sizeof m->router);
    draw(&seed, 0.2f, &m->gate_up[0][0][0][0], sizeof m->gate_up);
    draw(&seed, 0.2f, &m->down[0][0][0], sizeof m->down);
    for (int h = 0; h < H; h++)
        m->norm[h] = h == H / 2 ? 8 : 1;
}

void handmade_starve(handmade *m, int expert)
{
    for (int t = 0; t < T; t++)
        m->embedding[t][0] = 4;
    for (int e = 0; e < E; e++)
        m->router[e][0] = e == expert ? -8 : 0;
}

static void take(const void *by, const char *name, int64_t rows, int64_t cols, float *values)
{
    const handmade *m = by;
    const float *from = NULL;
    const char *expert = strstr(name, "experts.");
    size_t bytes = (size_t)(rows * (cols ? cols : 1)) * sizeof *values;
    int64_t e = expert ? strtol(expert + strlen("experts."), NULL, 10) : 0;
    if (strstr(name, "o_proj"))
        memset(values, 0, bytes);
    if (strstr(name, "embed_tokens"))
        from = m->embedding[0];
    else if (strstr(name, "post_attention_layernorm"))
        from = m->norm;
    else if (strstr(name, "moe.gate"))
        from = m->router[0];
    else if (strstr(name, ".w2."))
        from = m->down[e][0];
    else if (expert)
        from = m->gate_up[e][strstr(name, ".w3.") != NULL][0];
    if (from)
        memcpy(values, from, bytes);
}

awq_status handmade_write(awq_context *ctx, const char *directory, const char *ids,
                          const handmade *m)
{
    const synthetic model = {.layers = 1,
                             .hidden = H,
                             .intermediate = I,
                             .experts = E,
                             .per_token = m->per_token,
                             .heads = 2,
                             .kv_heads = 1,
                             .vocabulary = T,
                             .dtype = AWQ_F32,
                             .starved = -1,
                             .edit = take,
                             .by = m};
    int32_t tokens[T];
    for (int t = 0; t < T; t++)
        tokens[t] = t;
    AWQ__CHECK(synthetic_write(ctx, directory, &model));
    return synthetic_ids(ctx, ids, 1, T, tokens);
}

/* ---- the layer ---- */

static double dot(const double *x, const float *w, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += x[i] * (double)w[i];
    return sum;
}

static void route(const handmade *m, const double *logits, double *weight)
{
    double sum = 0;
    for (int n = 0; n < m->per_token; n++) {
        int best = -1;
        for (int e = 0; e < E; e++)
            if (weight[e] == 0 && (best < 0 || logits[e] > logits[best]))
                best = e;
        weight[best] = exp(logits[best]);
        sum += weight[best];
    }
    for (int e = 0; e < E; e++)
        weight[e] /= sum;
}

void handmade_run(const handmade *m, handmade_pass *pass)
{
    memset(pass, 0, sizeof *pass);
    for (int t = 0; t < T; t++) {
        double square = 0;
        for (int h = 0; h < H; h++)
            square += (double)m->embedding[t][h] * (double)m->embedding[t][h];
        for (int h = 0; h < H; h++)
            pass->x[t][h] =
                (double)m->embedding[t][h] / sqrt(square / H + 1e-5) * (double)m->norm[h];
        for (int e = 0; e < E; e++)
            pass->logits[t][e] = dot(pass->x[t], m->router[e], H);
        route(m, pass->logits[t], pass->weight[t]);
    }
    pass->mean_weight = 1.0 / m->per_token; /* those of a token add up to 1 */
}

void handmade_list(const handmade_pass *pass, int expert, int least, bool farthest,
                   handmade_tokens *list)
{
    double sign = farthest ? -1 : 1;
    bool taken[T] = {false};
    list->count = 0;
    for (int t = 0; t < T; t++)
        if (pass->weight[t][expert] > 0) {
            taken[t] = true;
            list->weight[list->count] = pass->weight[t][expert];
            list->index[list->count++] = t;
        }
    list->routed = list->count;
    while (list->count < least) {
        int best = -1;
        for (int t = 0; t < T; t++)
            if (!taken[t] &&
                (best < 0 || sign * pass->logits[t][expert] > sign * pass->logits[best][expert]))
                best = t;
        taken[best] = true;
        list->weight[list->count] = pass->mean_weight;
        list->index[list->count++] = best;
    }
}

/* ---- an expert ---- */

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double silu_slope(double x)
{
    double s = 1 / (1 + exp(-x));
    return s * (1 + x * (1 - s));
}

static void inner_of(const float (*gate_up)[I][H], const double *x, double *inner)
{
    for (int n = 0; n < I; n++)
        inner[n] = silu(dot(x, gate_up[0][n], H)) * dot(x, gate_up[1][n], H);
}

double handmade_square(const handmade *m, const handmade_pass *pass)
{
    double square = 0;
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) {
            double hidden = (double)m->embedding[t][h], inner[I];
            for (int e = 0; e < E; e++) {
                inner_of(m->gate_up[e], pass->x[t], inner);
                hidden += pass->weight[t][e] * dot(inner, m->down[e][h], I);
            }
            square += hidden * hidden;
        }
    return square;
}

double handmade_output_error(const handmade *m, int expert, const handmade_pass *pass,
                             const handmade_tokens *list, const handmade_rounded *rounded)
{
    double error = 0, inner[I], other[I];
    int count = list->routed ? list->routed : list->count;
    for (int i = 0; i < count; i++) {
        const double *x = pass->x[list->index[i]];
        inner_of(m->gate_up[expert], x, inner);
        inner_of(rounded->gate_up, x, other);
        for (int h = 0; h < H; h++) {
            double d = dot(other, rounded->down[h], I) - dot(inner, m->down[expert][h], I);
            error += d * d;
        }
    }
    return error;
}

/* Of output n of gate (0) or up (1). */
static double row_weight(const handmade *m, int expert, const handmade_pass *pass,
                         const handmade_tokens *list, int part, int n)
{
    double slopes = 0, weights = 0, column = 0;
    for (int i = 0; i < list->count; i++) {
        const double *x = pass->x[list->index[i]], w = list->weight[i];
        double gate = dot(x, m->gate_up[expert][0][n], H), up = dot(x, m->gate_up[expert][1][n], H);
        double slope = part ? silu(gate) : silu_slope(gate) * up;
        slopes += w * w * slope * slope;
        weights += w * w;
    }
    for (int h = 0; h < H; h++)
        column += (double)m->down[expert][h][n] * (double)m->down[expert][h][n];
    return slopes / weights * column;
}

double handmade_gate_up_loss(const handmade *m, int expert, const handmade_pass *pass,
                             const handmade_tokens *list, const handmade_rounded *rounded)
{
    double loss = 0;
    for (int part = 0; part < 2; part++)
        for (int n = 0; n < I; n++) {
            double sum = 0;
            for (int i = 0; i < list->count; i++) {
                const double *x = pass->x[list->index[i]];
                double d = list->weight[i] * (dot(x, rounded->gate_up[part][n], H) -
                                              dot(x, m->gate_up[expert][part][n], H));
                sum += d * d;
            }
            loss += row_weight(m, expert, pass, list, part, n) * sum;
        }
    return loss;
}

double handmade_down_loss(const handmade *m, int expert, const handmade_pass *pass,
                          const handmade_tokens *list, const handmade_rounded *rounded)
{
    double loss = 0, inner[I];
    for (int i = 0; i < list->count; i++) {
        inner_of(m->gate_up[expert], pass->x[list->index[i]], inner);
        for (int h = 0; h < H; h++) {
            double d = list->weight[i] *
                       (dot(inner, rounded->down[h], I) - dot(inner, m->down[expert][h], I));
            loss += d * d;
        }
    }
    return loss;
}

/* ---- rounding: all matrices are square ---- */

_Static_assert(MADE_H == MADE_I, "gate, up and down are rounded by one function");

static void round_matrix(awq_context *ctx, const float *w, int bits, const float *scale, float *out)
{
    const awq_matrix matrix = {.data = w, .dtype = AWQ_F32, .rows = H, .columns = H};
    const awq_scheme scheme = {.bits = bits, .group_size = 32, .scale_type = AWQ_SCALE_F16};
    awq_quantized *quantized;
    if (awq_quantized_create(ctx, &matrix, &scheme, scale, NULL, &quantized) != AWQ_OK)
        abort();
    awq_quantized_values(quantized, out);
    awq_quantized_free(quantized);
    for (int64_t i = 0; scale && i < H * H; i++)
        out[i] /= scale[i % H];
}

void handmade_round(awq_context *ctx, const handmade *m, int expert, int bits, const double *scale,
                    handmade_rounded *rounded)
{
    float columns[H];
    for (int h = 0; scale && h < H; h++)
        columns[h] = (float)scale[h];
    for (int part = 0; part < 2; part++)
        round_matrix(ctx, m->gate_up[expert][part][0], bits, scale ? columns : NULL,
                     rounded->gate_up[part][0]);
    round_matrix(ctx, m->down[expert][0], bits, NULL, rounded->down[0]);
}
