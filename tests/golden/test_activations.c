/* Every activation of a trained model of each architecture against what the reference
   implementation computed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/cpu.h"
#include "stream/stream.h"
#include "support/tensor_bytes.h"
#include "text/text_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-4 /* of the largest magnitude of each tensor */

typedef struct fixture {
    const char *name; /* of the model */
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

/* A file of the model, or with "" its directory; overwritten by the next call but one. */
static const char *path_of(const fixture *f, const char *file)
{
    static char paths[2][1024];
    static int next;
    next = !next;
    snprintf(paths[next], sizeof paths[next], "%s/%s%s%s", AWQ_TEST_DATA, f->name, *file ? "/" : "",
             file);
    return paths[next];
}

/* *state is the model's name until it is the fixture. */
static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->name = *state;
    *state = f;
    assert_int_equal(awq_context_create(&f->ctx), AWQ_OK);
    assert_int_equal(awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS), AWQ_OK);
    if (awq_model_open(f->ctx, path_of(f, ""), NULL, &f->model) != AWQ_OK ||
        awq__safetensors_open(f->ctx, path_of(f, "golden.safetensors"), &f->golden) != AWQ_OK) {
        print_error("%s\n", awq_context_message(f->ctx));
        return -1;
    }
    const awq__tensor *ids = golden(f, "input_ids");
    f->sequences.count = ids->shape[0];
    f->sequences.offsets = awq__alloc(f->ctx, (size_t)ids->shape[0] + 1, sizeof(int64_t), "ids");
    for (int64_t i = 0; i <= ids->shape[0]; i++)
        f->sequences.offsets[i] = i * ids->shape[1];
    f->sequences.ids = awq__alloc(f->ctx, ids->bytes, 1, "ids");
    assert_int_equal(awq__tensor_read(f->ctx, ids, 0, ids->bytes, f->sequences.ids), AWQ_OK);
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

static void assert_close(const fixture *f, const awq__tensor *expected, const float *found)
{
    size_t count = (size_t)awq__tensor_elements(expected);
    double largest = 0, worst = 0;
    float *values = (float *)(void *)tensor_bytes(f->ctx, expected);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)values[i]));
        double error = fabs((double)found[i] - (double)values[i]);
        worst = error <= worst ? worst : error; /* NaN is kept */
    }
    awq__free(values);
    if (!(worst <= TOLERANCE * largest))
        fail_msg("%s: error %g, more than %g of %g", expected->name, worst, TOLERANCE, largest);
}

/* Of what is chosen for a token, the place of an expert. */
static int64_t place_of_expert(const awq__routes *routes, int64_t t, int32_t expert)
{
    for (int64_t i = t * routes->per_token; i < (t + 1) * routes->per_token; i++)
        if (routes->index[i] == expert)
            return i;
    fail_msg("token %lld is not routed to expert %d", (long long)t, (int)expert);
    return 0;
}

/* Choices of the router, in any order; a shared expert, which comes after them, is not in the
   golden data. Where weights multiply inputs, those of outputs are 1. */
static void assert_same_experts(fixture *f, const awq__layer *layer, const awq__routes *routes)
{
    int64_t n = layer->number;
    const awq__tensor *index = golden_of(f, n, "router_topk_index");
    int32_t *indices = (int32_t *)(void *)tensor_bytes(f->ctx, index);
    float *weights = (float *)(void *)tensor_bytes(f->ctx, golden_of(f, n, "router_topk_weight"));
    int64_t k = index->shape[1];
    assert_true(indices && weights);
    assert_int_equal(index->shape[0], routes->tokens);
    assert_int_equal(routes->per_token, k + routes->experts - routes->routed);
    for (int64_t t = 0; t < routes->tokens; t++)
        for (int64_t i = 0; i < k; i++) {
            int32_t e = indices[t * k + i];
            float weight = routes->weight[place_of_expert(routes, t, e)];
            if (layer->moe.scales_input)
                weight *= awq__input_weight(&layer->moe, routes->logits[t * routes->routed + e]);
            assert_true(fabsf(weight - weights[t * k + i]) <= TOLERANCE);
        }
    awq__free(indices);
    awq__free(weights);
}

/* What the tap must be shown, and what it has seen. */
typedef struct watch {
    const awq__stream *stream;
    const awq__layer *layer;
    const awq__routes *routes;
    int64_t *seen; /* [experts] tokens of each so far */
    float *gate;   /* [AWQ__TOKEN_BLOCK, I] of each worker */
} watch;

static awq_status see_block(void *user, int worker, const awq__expert_block *block)
{
    watch *w = user;
    const awq__routes *routes = w->routes;
    const awq__expert *expert = &w->layer->moe.experts[block->expert];
    int64_t H = w->layer->hidden, I = expert->intermediate;
    int64_t begin = routes->first[block->expert] + block->first;
    float *inner = w->gate + (int64_t)worker * AWQ__TOKEN_BLOCK * w->layer->moe.intermediate;
    bool right = block->first == w->seen[block->expert] && block->tokens <= AWQ__TOKEN_BLOCK &&
                 begin + block->tokens <= routes->first[block->expert + 1];
    float *x = calloc((size_t)(block->tokens * H), sizeof *x);
    awq__gather_inputs(&w->stream->states->forward, w->layer, routes, block->expert,
                       &w->stream->states->normed, block->tokens, routes->slots + begin,
                       routes->per_token, x);
    right = right && !memcmp(block->x, x, (size_t)(block->tokens * H) * sizeof *x);
    free(x);
    w->seen[block->expert] += block->tokens;
    awq__expert_activate(&w->stream->states->forward, w->layer, expert, block->tokens * I,
                         block->gate, block->up, inner);
    right = right && !memcmp(inner, block->inner, (size_t)(block->tokens * I) * sizeof(float));
    memset(block->x, 0, (size_t)(block->tokens * H) * sizeof(float)); /* it may */
    return right ? AWQ_OK : AWQ_ERROR_NUMERIC;
}

static awq_status refuse_block(void *user, int worker, const awq__expert_block *block)
{
    const awq__routes *routes = user; /* of a dense layer: one expert */
    (void)worker;
    return block->expert % 2 || routes->experts == 1 ? AWQ_ERROR_NUMERIC : AWQ_OK;
}

/* All slots are shown, in order, and the output is what it is without a tap. */
static void check_tap(fixture *f, const awq__stream *stream, const awq__layer *layer,
                      const awq__routes *routes, const float *expected)
{
    size_t floats = (size_t)(stream->tokens * layer->hidden);
    size_t work = (size_t)(awq__threads(f->ctx) * AWQ__TOKEN_BLOCK * layer->moe.intermediate);
    watch w = {stream, layer, routes, calloc((size_t)routes->experts, sizeof *w.seen),
               malloc(work * sizeof(float))};
    float *out = calloc(floats, sizeof *out);
    assert_int_equal(awq__moe_experts(&stream->states->forward, layer, &stream->states->normed,
                                      routes, out, see_block, &w),
                     AWQ_OK);
    assert_memory_equal(out, expected, floats * sizeof *out);
    for (int64_t e = 0; e < routes->experts; e++)
        assert_int_equal(w.seen[e], routes->first[e + 1] - routes->first[e]);
    assert_int_equal(awq__moe_experts(&stream->states->forward, layer, &stream->states->normed,
                                      routes, out, refuse_block, (void *)(uintptr_t)routes),
                     AWQ_ERROR_NUMERIC);
    free(out);
    free(w.seen);
    free(w.gate);
}

static void check_layer(fixture *f, awq__stream *stream, int64_t n)
{
    size_t bytes = (size_t)(stream->tokens * f->model->arch->model.hidden_size) * sizeof(float);
    awq__loaded_layer loaded;
    awq__routes routes;
    float *before = malloc(bytes), *out = malloc(bytes);
    assert_int_equal(awq__model_layer(f->model, n, &loaded), AWQ_OK);
    memcpy(before, stream->states->hidden, bytes);
    assert_int_equal(awq__attention_forward(&stream->states->forward, &loaded.layer, before, false,
                                            out, NULL, NULL),
                     AWQ_OK);
    assert_close(f, golden_of(f, n, "attention_output"), out);
    assert_int_equal(awq__stream_to_experts(stream, &loaded.layer, &routes), AWQ_OK);
    assert_close(f, golden_of(f, n, "moe_input"), stream->states->normed.x);
    if (routes.routed) {
        assert_close(f, golden_of(f, n, "router_logits"), routes.logits);
        assert_same_experts(f, &loaded.layer, &routes);
    }
    memset(out, 0, bytes);
    assert_int_equal(awq__moe_experts(&stream->states->forward, &loaded.layer,
                                      &stream->states->normed, &routes, out, NULL, NULL),
                     AWQ_OK);
    assert_close(f, golden_of(f, n, "moe_output"), out);
    check_tap(f, stream, &loaded.layer, &routes, out);
    assert_int_equal(awq__moe_experts(&stream->states->forward, &loaded.layer,
                                      &stream->states->normed, &routes, stream->states->hidden,
                                      NULL, NULL),
                     AWQ_OK);
    assert_close(f, golden_of(f, n, "output"), stream->states->hidden);
    awq__routes_free(&routes);
    awq__loaded_layer_free(&loaded);
    free(before);
    free(out);
}

static void check_model(fixture *f, const awq__compute *compute)
{
    awq__stream stream;
    assert_int_equal(awq__stream_begin(f->ctx, f->model, &f->sequences, &stream), AWQ_OK);
    stream.states->forward.compute = compute;
    for (int64_t n = 0; n < f->model->arch->model.layer_count; n++)
        check_layer(f, &stream, n);
    awq__loaded_module loaded;
    float *norm;
    assert_int_equal(awq__model_end(f->model, AWQ__PART_HEAD, &loaded), AWQ_OK);
    assert_int_equal(awq__model_final_norm(f->model, &norm), AWQ_OK);
    const awq__weight *head = &loaded.found.weight;
    int64_t T = stream.tokens, H = head->cols, V = head->rows;
    float *x = malloc((size_t)(T * H) * 4), *logits = malloc((size_t)(T * V) * 4);
    float *work = malloc((size_t)awq__weight_work(head) * 4);
    awq__head_logits(compute, head, norm, f->model->arch->model.norm_epsilon, T,
                     stream.states->hidden, x, logits, work);
    const awq_arch_model *model = &f->model->arch->model;
    double multiplier = model->logits_multiplier;
    awq__finish_logits(T * V, multiplier != 0 ? (float)multiplier : 1, (float)model->logits_cap,
                       logits);
    assert_close(f, golden(f, "logits"), logits);
    free(x);
    free(logits);
    free(work);
    awq__loaded_module_free(&loaded);
    awq__free_aligned(norm);
    awq__stream_free(&stream);
}

static void test_activations(void **state)
{
    fixture *f = *state;
    for (const awq__compute *const *compute = awq__compute_all(); *compute; compute++)
        check_model(f, *compute);
}

/* What an evaluation reads: a text, or ids where the model has no tokenizer. */
typedef struct paths {
    char directory[1024], data[1024];
    const char *texts[1];
} paths;

static awq_eval_options options_of(const fixture *f, paths *of)
{
    awq_eval_options options = {.struct_size = sizeof options, .directory = of->directory};
    snprintf(of->directory, sizeof of->directory, "%s", path_of(f, ""));
    snprintf(of->data, sizeof of->data, "%s", path_of(f, "eval_ids.safetensors"));
    if (awq__is_file(of->data)) {
        options.ids = of->data;
        return options;
    }
    snprintf(of->data, sizeof of->data, "%s", path_of(f, "eval.txt"));
    of->texts[0] = of->data;
    options.texts = of->texts;
    options.text_count = 1;
    return options;
}

static void test_perplexity(void **state)
{
    fixture *f = *state;
    paths of;
    awq_eval_options options = options_of(f, &of);
    awq_eval_result result;
    cJSON *root;
    assert_int_equal(awq_evaluate(f->ctx, &options, &result), AWQ_OK);
    const awq__json_source source = {.name = path_of(f, "golden.json")};
    char *json;
    size_t bytes;
    bool escaped; /* a text of the tokenizer's part has NUL */
    assert_int_equal(awq__read_text_file(f->ctx, source.name, 1 << 24, &json, &bytes), AWQ_OK);
    assert_int_equal(awq__json_parse_nul(f->ctx, &source, json, bytes, &root, &escaped), AWQ_OK);
    awq__free(json);
    double expected = awq__json_at(root, "perplexity_fp32")->valuedouble;
    assert_int_equal(result.tokens, awq__json_at(root, "eval_tokens_scored")->valueint);
    assert_true(fabs(result.perplexity - expected) <= 1e-4 * expected);
    assert_false(result.has_reference);
    cJSON_Delete(root);
}

static void test_same_model_is_its_own_reference(void **state)
{
    fixture *f = *state;
    paths of;
    awq_eval_options options = options_of(f, &of);
    options.reference = options.directory;
    options.windows = 4;
    awq_eval_result result;
    assert_int_equal(awq_evaluate(f->ctx, &options, &result), AWQ_OK);
    assert_true(result.has_reference);
    assert_true(fabs(result.kl) < 1e-12);
    assert_true(result.top1_agreement == 1);
    assert_true(result.router_topk_agreement == 1);
    assert_true(result.perplexity == result.reference_perplexity);
    assert_int_equal(result.tokens % 4, 0);
}

#define CASES(model)                                                                               \
    {model ": activations", test_activations, set_up, tear_down, (void *)(uintptr_t)model},        \
        {model ": perplexity", test_perplexity, set_up, tear_down, (void *)(uintptr_t)model},      \
    {                                                                                              \
        model ": is its own reference", test_same_model_is_its_own_reference, set_up, tear_down,   \
            (void *)(uintptr_t)model                                                               \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES("mixtral-tiny"),     CASES("qwen2_moe-tiny"),    CASES("qwen3_moe-tiny"),
        CASES("gpt_oss-tiny"),     CASES("olmoe-tiny"),        CASES("glm_moe-tiny"),
        CASES("minimax_m2-tiny"),  CASES("ernie_moe-tiny"),    CASES("hunyuan_moe-tiny"),
        CASES("granite_moe-tiny"), CASES("llama4-tiny"),       CASES("gemma4_moe-tiny"),
        CASES("deepseek_v2-tiny"), CASES("deepseek_v3-tiny"),  CASES("qwen3_next-tiny"),
        CASES("qwen3_5_moe-tiny"), CASES("qwen3_vl_moe-tiny"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
