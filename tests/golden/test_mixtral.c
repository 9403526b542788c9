/* Every activation of a trained Mixtral against what the reference implementation computed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run/stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL AWQ_TEST_DATA "/mixtral-tiny"
#define TOLERANCE 1e-4 /* of the largest magnitude of each tensor */

typedef struct fixture {
    awq_context *ctx;
    awq_model *model;
    awq__safetensors *golden;
    awq__sequences sequences;
} fixture;

static const awq__tensor *golden(const fixture *f, const char *name)
{
    const awq__tensor *tensor = awq__safetensors_find(f->golden, name);
    if (!tensor)
        fail_msg("%s is not in the golden file", name);
    return tensor;
}

static const awq__tensor *golden_of(const fixture *f, int64_t layer, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "layers.%d.%s", (int)layer, name);
    return golden(f, full);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    assert_int_equal(awq_context_create(&f->ctx), AWQ_OK);
    assert_int_equal(awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS), AWQ_OK);
    if (awq_model_open(f->ctx, MODEL, NULL, &f->model) != AWQ_OK ||
        awq__safetensors_open(f->ctx, MODEL "/golden.safetensors", &f->golden) != AWQ_OK) {
        print_error("%s\n", awq_context_message(f->ctx));
        return -1;
    }
    const awq__tensor *ids = golden(f, "input_ids");
    f->sequences.count = ids->shape[0];
    f->sequences.offsets = awq__alloc(f->ctx, (size_t)ids->shape[0] + 1, sizeof(int64_t), "ids");
    for (int64_t i = 0; i <= ids->shape[0]; i++)
        f->sequences.offsets[i] = i * ids->shape[1];
    f->sequences.ids = awq__alloc(f->ctx, ids->bytes, 1, "ids");
    memcpy(f->sequences.ids, ids->data, ids->bytes);
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    awq__sequences_free(&f->sequences);
    awq__safetensors_free(f->golden);
    awq_model_free(f->model);
    awq_context_free(f->ctx);
    free(f);
    return 0;
}

static void assert_close(const awq__tensor *expected, const float *found)
{
    size_t count = (size_t)awq__tensor_elements(expected);
    double largest = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, expected->data + 4 * i, 4);
        largest = fmax(largest, fabs((double)value));
        double error = fabs((double)found[i] - (double)value);
        worst = error <= worst ? worst : error; /* NaN is kept */
    }
    if (!(worst <= TOLERANCE * largest))
        fail_msg("%s: error %g, more than %g of %g", expected->name, worst, TOLERANCE, largest);
}

static void assert_same_experts(const awq__tensor *expected, const awq__routes *routes)
{
    int64_t k = routes->per_token;
    assert_int_equal(awq__tensor_elements(expected), routes->tokens * k);
    for (int64_t i = 0; i < routes->tokens * k; i++) {
        int32_t value;
        memcpy(&value, expected->data + 4 * i, 4);
        assert_int_equal(value, routes->index[i]);
    }
}

static void check_layer(fixture *f, awq__stream *stream, int64_t n)
{
    size_t bytes = (size_t)(stream->tokens * f->model->arch->model.hidden_size) * sizeof(float);
    awq__loaded_layer loaded;
    awq__routes routes;
    float *before = malloc(bytes), *out = malloc(bytes);
    assert_int_equal(awq__model_layer(f->model, n, &loaded), AWQ_OK);
    memcpy(before, stream->hidden, bytes);
    assert_int_equal(
        awq__attention_forward(&stream->forward, &loaded.layer, before, false, out, NULL, NULL),
        AWQ_OK);
    assert_close(golden_of(f, n, "attention_output"), out);
    assert_int_equal(awq__stream_to_experts(stream, &loaded.layer, &routes), AWQ_OK);
    assert_close(golden_of(f, n, "moe_input"), stream->x);
    assert_close(golden_of(f, n, "router_logits"), routes.logits);
    assert_same_experts(golden_of(f, n, "router_topk_index"), &routes);
    assert_close(golden_of(f, n, "router_topk_weight"), routes.weight);
    memset(out, 0, bytes);
    assert_int_equal(awq__moe_experts(&stream->forward, &loaded.layer, stream->x, &routes, out),
                     AWQ_OK);
    assert_close(golden_of(f, n, "moe_output"), out);
    assert_int_equal(
        awq__moe_experts(&stream->forward, &loaded.layer, stream->x, &routes, stream->hidden),
        AWQ_OK);
    assert_close(golden_of(f, n, "output"), stream->hidden);
    awq__routes_free(&routes);
    awq__loaded_layer_free(&loaded);
    free(before);
    free(out);
}

static void check_model(fixture *f, const awq__compute *compute)
{
    awq__stream stream;
    assert_int_equal(awq__stream_begin(f->ctx, f->model, &f->sequences, &stream), AWQ_OK);
    stream.forward.compute = compute;
    for (int64_t n = 0; n < f->model->arch->model.layer_count; n++)
        check_layer(f, &stream, n);
    awq__ends ends;
    assert_int_equal(awq__model_ends(f->model, &ends), AWQ_OK);
    int64_t T = stream.tokens, H = ends.head.cols, V = ends.head.rows;
    float *x = malloc((size_t)(T * H) * 4), *logits = malloc((size_t)(T * V) * 4);
    float *work = malloc((size_t)awq__weight_work(&ends.head) * 4);
    awq__head_logits(compute, &ends.head, ends.norm, f->model->arch->model.norm_epsilon, T,
                     stream.hidden, x, logits, work);
    assert_close(golden(f, "logits"), logits);
    free(x);
    free(logits);
    free(work);
    awq__ends_free(&ends);
    awq__stream_free(&stream);
}

static void test_activations(void **state)
{
    fixture *f = *state;
    for (const awq__compute *const *compute = awq__compute_all(); *compute; compute++)
        check_model(f, *compute);
}

static void test_perplexity(void **state)
{
    fixture *f = *state;
    const char *texts[] = {MODEL "/eval.txt"};
    awq_eval_options options = {
        .struct_size = sizeof options, .directory = MODEL, .texts = texts, .text_count = 1};
    awq_eval_result result;
    cJSON *root;
    assert_int_equal(awq_evaluate(f->ctx, &options, &result), AWQ_OK);
    assert_int_equal(awq__json_read(f->ctx, MODEL "/golden.json", &root), AWQ_OK);
    double expected = awq__json_at(root, "perplexity_fp32")->valuedouble;
    assert_int_equal(result.tokens, awq__json_at(root, "eval_tokens_scored")->valueint);
    assert_true(fabs(result.perplexity - expected) <= 1e-4 * expected);
    assert_false(result.has_reference);
    cJSON_Delete(root);
}

static void test_same_model_is_its_own_reference(void **state)
{
    fixture *f = *state;
    const char *texts[] = {MODEL "/eval.txt"};
    awq_eval_options options = {.struct_size = sizeof options,
                                .directory = MODEL,
                                .reference = MODEL,
                                .texts = texts,
                                .text_count = 1,
                                .windows = 4};
    awq_eval_result result;
    assert_int_equal(awq_evaluate(f->ctx, &options, &result), AWQ_OK);
    assert_true(result.has_reference);
    assert_true(fabs(result.kl) < 1e-12);
    assert_true(result.top1_agreement == 1);
    assert_true(result.router_topk_agreement == 1);
    assert_true(result.perplexity == result.reference_perplexity);
    assert_int_equal(result.tokens, 4 * 255);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_perplexity),
        cmocka_unit_test(test_same_model_is_its_own_reference),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
