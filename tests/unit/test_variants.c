/* The forward pass of models that differ from the golden one in what an architecture may say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/cpu.h"
#include "stream/stream.h"
#include "support/synthetic.h"
#include "temp_files.h"

#include <math.h>

#define TOLERANCE 2e-5 /* of the largest magnitude */

static int set_up_plugins(void **state)
{
    if (set_up(state) != 0)
        return -1;
    fixture *f = *state;
    return awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS) == AWQ_OK &&
                   awq_context_add_plugin_path(f->ctx, AWQ_TEST_BAD_PLUGINS
                                               "/awq-arch-template.so") == AWQ_OK &&
                   awq_context_add_plugin_path(f->ctx, AWQ_TEST_BAD_PLUGINS "/own_functions.so") ==
                       AWQ_OK
               ? 0
               : -1;
}

static void ok(const fixture *f, awq_status status)
{
    if (status != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
}

static float *floats(int64_t count)
{
    float *values = calloc((size_t)count, sizeof *values);
    assert_non_null(values);
    return values;
}

static void assert_near(int64_t count, const float *expected, const float *found, const char *what)
{
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        double error = fabs((double)found[i] - (double)expected[i]);
        largest = fmax(largest, fabs((double)expected[i]));
        worst = error <= worst ? worst : error; /* NaN is kept */
    }
    if (!(largest > 0 && worst <= TOLERANCE * largest))
        fail_msg("%s: error %g, more than %g of %g", what, worst, TOLERANCE, largest);
}

/* Largest difference, as a part of the largest magnitude. */
static double distance(int64_t count, const float *a, const float *b)
{
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)a[i]));
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    }
    return worst / largest;
}

/* Three sequences of this model's ids; the middle one is longer than a block of queries. */
enum { SEQUENCES = 3, TOKENS = 5 + 300 + 40 };
static int64_t offsets[SEQUENCES + 1] = {0, 5, 305, TOKENS};

static awq__sequences sequences_of(int32_t ids[TOKENS])
{
    uint64_t random = 7;
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)(awq__random(&random) % 128);
    return (awq__sequences){.count = SEQUENCES, .offsets = offsets, .ids = ids};
}

static awq_model *make(fixture *f, const synthetic *wanted, const char *plugin)
{
    awq_model *model;
    ok(f, synthetic_remove(f->ctx, path_of(f, "model")));
    ok(f, synthetic_write(f->ctx, path_of(f, "model"), wanted));
    ok(f, awq_model_open(f->ctx, path_of(f, "model"), plugin, &model));
    return model;
}

/* The hidden states after the last layer, to be freed, and the routes of the last layer. */
static float *run(fixture *f, const awq_model *model, awq__routes *last)
{
    int32_t ids[TOKENS];
    awq__sequences sequences = sequences_of(ids);
    awq__stream stream;
    ok(f, awq__stream_begin(f->ctx, model, &sequences, &stream));
    for (int64_t n = 0; n < model->arch->model.layer_count; n++) {
        awq__loaded_layer loaded;
        awq__routes routes;
        ok(f, awq__model_layer(model, n, &loaded));
        ok(f, awq__stream_layer(&stream, &loaded.layer, &routes));
        awq__loaded_layer_free(&loaded);
        if (last && n + 1 == model->arch->model.layer_count)
            *last = routes;
        else
            awq__routes_free(&routes);
    }
    int64_t count = stream.tokens * model->arch->model.hidden_size;
    float *hidden = floats(count);
    memcpy(hidden, stream.states->hidden, (size_t)count * sizeof *hidden);
    awq__stream_free(&stream);
    return hidden;
}

static float *run_synthetic(fixture *f, const synthetic *wanted, const char *plugin)
{
    awq_model *model = make(f, wanted, plugin);
    float *hidden = run(f, model, NULL);
    awq_model_free(model);
    return hidden;
}

/* ---- attention, by hand ---- */

/* y[N] = W x */
static void by_hand_linear(const awq__weight *weight, const double *x, double *y)
{
    float *row = floats(weight->cols);
    for (int64_t n = 0; n < weight->rows; n++) {
        awq__weight_read(awq__compute_fastest(), weight, n, 1, row);
        y[n] = 0;
        for (int64_t k = 0; k < weight->cols; k++)
            y[n] += (double)row[k] * x[k];
    }
    free(row);
}

static void by_hand_rotate(const awq_rope *rope, int64_t position, int64_t heads, int64_t D,
                           double *x)
{
    for (int64_t head = 0; head < heads; head++)
        for (int64_t i = 0; i < rope->pairs; i++) {
            double *a = x + head * D + i, *b = a + rope->pairs, first = *a, second = *b;
            double angle = (double)((float)position * (float)rope->inverse_frequency[i]);
            *a = first * cos(angle) - second * sin(angle);
            *b = second * cos(angle) + first * sin(angle);
        }
}

/* c[head] of one query: the keys begin .. position of its sequence, and no others. */
static void by_hand_attend(const awq__attention *a, int64_t position, const double *q,
                           const double *k, const double *v, double *c)
{
    int64_t D = a->head_dim, KV = a->kv_heads * D;
    int64_t begin = a->window && position >= a->window ? position - a->window + 1 : 0;
    for (int64_t head = 0; head < a->heads; head++) {
        int64_t kv = head * a->kv_heads / a->heads;
        double sum = 0;
        for (int64_t d = 0; d < D; d++)
            c[head * D + d] = 0;
        for (int64_t j = begin; j <= position; j++) {
            double score = 0;
            for (int64_t d = 0; d < D; d++)
                score += q[head * D + d] * k[j * KV + kv * D + d];
            double part = exp(score / sqrt((double)D));
            sum += part;
            for (int64_t d = 0; d < D; d++)
                c[head * D + d] += part * v[j * KV + kv * D + d];
        }
        for (int64_t d = 0; d < D; d++)
            c[head * D + d] /= sum;
    }
}

static void by_hand_sequence(const awq_model *model, const awq__layer *layer, int64_t L,
                             const float *hidden, float *out)
{
    const awq__attention *a = &layer->attention;
    const awq_rope *rope = &model->arch->model.rope;
    int64_t H = layer->hidden, Q = a->heads * a->head_dim, KV = a->kv_heads * a->head_dim;
    double *x = calloc((size_t)(2 * H + L * (2 * Q + 2 * KV)), sizeof *x);
    assert_non_null(x);
    double *y = x + H, *q = y + H, *k = q + L * Q, *v = k + L * KV, *c = v + L * KV;
    for (int64_t t = 0; t < L; t++) {
        double sum = 0;
        for (int64_t h = 0; h < H; h++)
            sum += pow((double)hidden[t * H + h], 2);
        for (int64_t h = 0; h < H; h++)
            x[h] = (double)hidden[t * H + h] / sqrt(sum / (double)H + layer->epsilon) *
                   (double)a->norm[h];
        by_hand_linear(&a->q, x, q + t * Q);
        by_hand_linear(&a->k, x, k + t * KV);
        by_hand_linear(&a->v, x, v + t * KV);
        by_hand_rotate(rope, t, a->heads, a->head_dim, q + t * Q);
        by_hand_rotate(rope, t, a->kv_heads, a->head_dim, k + t * KV);
    }
    for (int64_t t = 0; t < L; t++) {
        by_hand_attend(a, t, q + t * Q, k, v, c + t * Q);
        by_hand_linear(&a->o, c + t * Q, y);
        for (int64_t h = 0; h < H; h++)
            out[t * H + h] = (float)y[h];
    }
    free(x);
}

static void check_attention(fixture *f, const synthetic *wanted, const char *what)
{
    awq_model *model = make(f, wanted, "mixtral");
    awq__loaded_layer loaded;
    ok(f, awq__model_layer(model, 0, &loaded));
    const awq__attention *a = &loaded.layer.attention;
    assert_int_equal(a->heads, wanted->heads);
    assert_int_equal(a->kv_heads, wanted->kv_heads);
    assert_int_equal(a->head_dim, wanted->head_dim ? wanted->head_dim : 16);
    assert_int_equal(a->window, wanted->window);
    int64_t H = wanted->hidden;
    float *hidden = floats(TOKENS * H), *expected = floats(TOKENS * H), *out = floats(TOKENS * H);
    uint64_t random = 3;
    for (int64_t i = 0; i < TOKENS * H; i++)
        hidden[i] = (float)((double)(awq__random(&random) >> 11) * 0x1p-52 - 1);
    for (int i = 0; i < SEQUENCES; i++)
        by_hand_sequence(model, &loaded.layer, offsets[i + 1] - offsets[i], hidden + offsets[i] * H,
                         expected + offsets[i] * H);
    int32_t ids[TOKENS];
    awq__sequences sequences = sequences_of(ids);
    awq__rotary rotary;
    ok(f, awq__rotary_create(f->ctx, &model->arch->model.rope, TOKENS, &rotary));
    for (const awq__compute *const *compute = awq__compute_all(); *compute; compute++) {
        awq__forward forward = {f->ctx, *compute, &sequences, &rotary};
        ok(f, awq__attention_forward(&forward, &loaded.layer, hidden, false, out, NULL, NULL));
        assert_near(TOKENS * H, expected, out, what);
    }
    awq__rotary_free(&rotary);
    free(hidden);
    free(expected);
    free(out);
    awq__loaded_layer_free(&loaded);
    awq_model_free(model);
}

static void test_attention(void **state)
{
    fixture *f = *state;
    const struct {
        const char *what;
        int64_t heads, kv_heads, head_dim, window;
        synthetic_rope rope;
    } cases[] = {
        {"grouped queries", 4, 2, 0, 0, SYNTHETIC_ROPE_THETA},
        {"as many keys as queries", 4, 4, 0, 0, SYNTHETIC_ROPE_THETA},
        {"one key head", 4, 1, 0, 0, SYNTHETIC_ROPE_THETA},
        {"three queries a key", 6, 2, 8, 0, SYNTHETIC_ROPE_THETA},
        {"wide heads", 4, 2, 32, 0, SYNTHETIC_ROPE_PARAMETERS},
        {"narrow heads", 4, 2, 2, 0, SYNTHETIC_ROPE_THETA},
        {"a window of 1", 4, 2, 0, 1, SYNTHETIC_ROPE_THETA},
        {"a window of 7", 4, 2, 0, 7, SYNTHETIC_ROPE_THETA},
        {"a window longer than a block", 4, 2, 0, 140, SYNTHETIC_ROPE_THETA},
        {"a window longer than a sequence", 4, 2, 0, 1000, SYNTHETIC_ROPE_THETA},
        {"positions scaled", 4, 2, 0, 0, SYNTHETIC_ROPE_SCALING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        synthetic wanted = SYNTHETIC_SMALL;
        wanted.layers = 1;
        wanted.heads = cases[i].heads;
        wanted.kv_heads = cases[i].kv_heads;
        wanted.head_dim = cases[i].head_dim;
        wanted.window = cases[i].window;
        wanted.rope = cases[i].rope;
        check_attention(f, &wanted, cases[i].what);
    }
}

/* ---- rope ---- */

static void test_rope_forms(void **state)
{
    fixture *f = *state;
    float *hidden[4];
    for (int rope = 0; rope < 4; rope++) {
        synthetic wanted = SYNTHETIC_SMALL;
        wanted.rope = (synthetic_rope)rope;
        hidden[rope] = run_synthetic(f, &wanted, "mixtral");
    }
    const int64_t count = (int64_t)TOKENS * 64;
    size_t bytes = (size_t)count * sizeof(float);
    assert_memory_equal(hidden[SYNTHETIC_ROPE_THETA], hidden[SYNTHETIC_ROPE_PARAMETERS], bytes);
    assert_memory_equal(hidden[SYNTHETIC_ROPE_SCALING], hidden[SYNTHETIC_ROPE_PARAMETERS_LINEAR],
                        bytes);
    assert_true(distance(count, hidden[SYNTHETIC_ROPE_THETA], hidden[SYNTHETIC_ROPE_SCALING]) >
                0.01);
    for (int rope = 0; rope < 4; rope++)
        free(hidden[rope]);
}

/* ---- routing and activation ---- */

/* The template describes a model that computes what the Mixtral one does, under other names. */
static void test_template(void **state)
{
    fixture *f = *state;
    synthetic wanted = SYNTHETIC_SMALL;
    float *mixtral = run_synthetic(f, &wanted, "mixtral");
    wanted.naming = SYNTHETIC_DEMO;
    float *demo = run_synthetic(f, &wanted, "demo");
    assert_near(TOKENS * wanted.hidden, mixtral, demo, "template");
    free(mixtral);
    free(demo);
}

static int set_up_minor_1(void **state)
{
    if (set_up(state) != 0)
        return -1;
    const fixture *f = *state;
    return awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS) == AWQ_OK &&
                   awq_context_add_plugin_path(f->ctx, AWQ_TEST_BAD_PLUGINS "/minor1.so") == AWQ_OK
               ? 0
               : -1;
}

static void test_template_without_norm_topk_prob(void **state)
{
    fixture *f = *state;
    synthetic wanted = SYNTHETIC_SMALL;
    awq__routes routes;
    wanted.naming = SYNTHETIC_DEMO;
    awq_model *model = make(f, &wanted, NULL);
    awq_model_free(model);
    ok(f, synthetic_edit_config(f->ctx, path_of(f, "model"), "\"norm_topk_prob\": true",
                                "\"norm_topk_prob\": false"));
    ok(f, awq_model_open(f->ctx, path_of(f, "model"), NULL, &model));
    free(run(f, model, &routes));
    for (int64_t t = 0; t < routes.tokens; t++) {
        double sum = 0;
        for (int64_t e = 0; e < routes.experts; e++)
            sum += exp((double)routes.logits[t * routes.experts + e]);
        for (int64_t i = 0; i < routes.per_token; i++) {
            int64_t at = t * routes.per_token + i;
            double logit = (double)routes.logits[t * routes.experts + routes.index[at]];
            assert_true(fabs((double)routes.weight[at] - exp(logit) / sum) < 1e-6);
        }
    }
    awq__routes_free(&routes);
    awq_model_free(model);
}

static void test_template_refuses_corrected_choice(void **state)
{
    fixture *f = *state;
    awq_model *model;
    awq__output *output;
    const char *name = "model.layers.0.mlp.experts.0.gate_proj.bias";
    const int64_t shape[] = {4};
    const float ones[4] = {1};
    ok(f, awq__output_begin(f->ctx, path_of(f, "corrected"), false, &output));
    ok(f, awq__output_declare(output, name, AWQ_F32, 1, shape));
    ok(f, awq__output_layout(output, 1024));
    ok(f, awq__output_write(output, name, ones, sizeof ones));
    synthetic wanted = SYNTHETIC_SMALL;
    wanted.naming = SYNTHETIC_DEMO;
    awq_model_free(make(f, &wanted, NULL));
    ok(f, awq__output_copy(output, path_of(f, "model/config.json")));
    ok(f, awq__output_commit(output));
    awq__output_free(output);
    assert_int_equal(awq_model_open(f->ctx, path_of(f, "corrected"), NULL, &model),
                     AWQ_ERROR_UNSUPPORTED);
    assert_message(f, "config.json: the experts have biases");
}

static void test_functions_of_a_plugin(void **state)
{
    fixture *f = *state;
    const synthetic wanted = SYNTHETIC_SMALL;
    int64_t count = TOKENS * wanted.hidden;
    float *built_in = run_synthetic(f, &wanted, "mixtral");
    awq_model *model = make(f, &wanted, "own-functions");
    float *own = run(f, model, NULL);
    assert_near(count, built_in, own, "own functions");
    /* Without either of its functions the description alone counts, which says something else. */
    awq_plugin *table = NULL;
    for (size_t i = 0; i < model->arch->plugins.count; i++)
        if (model->arch->plugin == &model->arch->plugins.items[i])
            table = &model->arch->plugins.items[i].table;
    assert_non_null(table);
    awq_plugin whole = *table;
    table->route = NULL;
    float *without = run(f, model, NULL);
    assert_true(distance(count, built_in, without) > 0.01);
    free(without);
    *table = whole;
    table->activate = NULL;
    without = run(f, model, NULL);
    assert_true(distance(count, built_in, without) > 0.01);
    free(without);
    free(own);
    free(built_in);
    awq_model_free(model);
}

static void route_outside(int64_t layer, const float *logits, int64_t tokens, int64_t experts,
                          int64_t per_token, int32_t *index, float *weight)
{
    (void)layer;
    (void)logits;
    (void)experts;
    for (int64_t i = 0; i < tokens * per_token; i++) {
        index[i] = i == 11 ? 4 : 0;
        weight[i] = 1;
    }
}

static void test_route_to_no_expert(void **state)
{
    fixture *f = *state;
    const synthetic wanted = SYNTHETIC_SMALL;
    awq_model *model = make(f, &wanted, "mixtral");
    awq__loaded_layer loaded;
    awq__routes routes;
    float *x = floats(20 * wanted.hidden);
    awq__forward forward = {.ctx = f->ctx, .compute = awq__compute_fastest()};
    ok(f, awq__model_layer(model, 1, &loaded));
    loaded.layer.moe.route = route_outside;
    assert_int_equal(awq__moe_route(&forward, &loaded.layer, 20, x, x, &routes), AWQ_ERROR_PLUGIN);
    assert_message(f, "model.layers.1.block_sparse_moe.gate: routed to expert 4, expected 0 to 3");
    free(x);
    awq__loaded_layer_free(&loaded);
    awq_model_free(model);
}

static void test_starved_expert(void **state)
{
    fixture *f = *state;
    synthetic wanted = SYNTHETIC_SMALL;
    awq__routes routes;
    wanted.starved = 2;
    awq_model *model = make(f, &wanted, "mixtral");
    float *hidden = run(f, model, &routes);
    for (int64_t t = 0; t < TOKENS; t++)
        assert_true(hidden[t * wanted.hidden] == 4); /* as synthetic.h says */
    for (int64_t e = 0; e < wanted.experts; e++)
        assert_int_equal(routes.first[e + 1] == routes.first[e], e == wanted.starved);
    free(hidden);
    awq__routes_free(&routes);
    awq_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_attention, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_rope_forms, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_template, set_up_plugins, tear_down),
        {"test_template_of_minor_1", test_template, set_up_minor_1, tear_down, NULL},
        cmocka_unit_test_setup_teardown(test_template_without_norm_topk_prob, set_up_plugins,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_template_refuses_corrected_choice, set_up_plugins,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_functions_of_a_plugin, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_route_to_no_expert, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_starved_expert, set_up_plugins, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
