/* Whole runs on small random checkpoints: the shapes and corners that the trained models do not
 * have. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "awq/awq.h"
#include "checkpoint/checkpoint.h"
#include "core/json.h"
#include "golden/kl.h"
#include "support/synthetic.h"
#include "support/tensor_bytes.h"
#include "../unit/temp_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEQUENCES 8
#define LENGTH 64

static char source[1024], output[1024], ids[1024]; /* of the test that runs */

static int set_up_run(void **state)
{
    if (set_up(state))
        return -1;
    const fixture *f = *state;
    snprintf(source, sizeof source, "%s/source", f->directory);
    snprintf(output, sizeof output, "%s/out", f->directory);
    snprintf(ids, sizeof ids, "%s/ids/model.safetensors", f->directory);
    return awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS) != AWQ_OK;
}

static void assert_ok(const fixture *f, awq_status status)
{
    if (status != AWQ_OK)
        fail_msg("%s: %s", awq_status_name(status), awq_context_message(f->ctx));
}

static awq_recipe *begin(const fixture *f, const synthetic *model)
{
    awq_recipe *recipe;
    char directory[1024];
    snprintf(directory, sizeof directory, "%s/ids", f->directory);
    assert_ok(f, synthetic_write(f->ctx, source, model));
    assert_ok(f, synthetic_random_ids(f->ctx, directory, SEQUENCES, LENGTH, model->vocabulary, 7));
    assert_ok(f, awq_recipe_create(f->ctx, &recipe));
    assert_ok(f, awq_recipe_set(recipe, "model", source, NULL));
    assert_ok(f, awq_recipe_set(recipe, "output", output, NULL));
    assert_ok(f, awq_recipe_set(recipe, "calibration.data", ids, NULL));
    assert_ok(f, awq_recipe_set(recipe, "calibration.samples", "8", NULL));
    assert_ok(f, awq_recipe_set(recipe, "calibration.sequence_length", "64", NULL));
    assert_ok(f, awq_recipe_set(recipe, "evaluation.data", ids, NULL));
    assert_ok(f, awq_recipe_set(recipe, "quantize.group_size", "32", NULL));
    return recipe;
}

/* Quantizes, frees the recipe, and gives the evaluation and the report. */
static awq_eval_result finish(const fixture *f, awq_recipe *recipe, cJSON **report)
{
    awq_report *done;
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, &done));
    awq_eval_result result = *awq_report_evaluation(done);
    const char *text = awq_report_json(done);
    if (report)
        assert_ok(f, awq__json_parse(f->ctx, "report", text, strlen(text), report));
    awq_report_free(done);
    awq_recipe_free(recipe);
    return result;
}

static double quantized_kl(const fixture *f, const synthetic *model, const char *modules,
                           const char *method)
{
    awq_recipe *recipe = begin(f, model);
    assert_ok(f, awq_recipe_set(recipe, "quantize.modules", modules, NULL));
    assert_ok(f, awq_recipe_set(recipe, "quantize.method", method, NULL));
    awq_eval_result result = finish(f, recipe, NULL);
    assert_true(result.reference_perplexity > 1);
    return result.kl;
}

static void test_an_expert_without_tokens_borrows(void **state)
{
    synthetic model = SYNTHETIC_SMALL;
    model.starved = 1;
    cJSON *report;
    awq_recipe *recipe = begin(*state, &model);
    assert_ok(*state, awq_recipe_set(recipe, "calibration.min_expert_tokens", "40", NULL));
    finish(*state, recipe, &report);
    const cJSON *layer, *expert;
    cJSON_ArrayForEach(layer, awq__json_at(report, "layers"))
    {
        int64_t index = 0, tokens = 0, borrowed = 0, all = 0;
        cJSON_ArrayForEach(expert, awq__json_at(layer, "experts.each"))
        {
            assert_true(awq__json_int(awq__json_at(expert, "tokens"), &tokens));
            assert_true(awq__json_int(awq__json_at(expert, "borrowed"), &borrowed));
            assert_int_equal(borrowed, tokens < 40 ? 40 - tokens : 0);
            if (index++ == 1)
                assert_int_equal(tokens, 0);
            all += tokens;
        }
        assert_int_equal(all, SEQUENCES * LENGTH * model.per_token);
    }
    cJSON_Delete(report);
}

static void test_an_expert_without_any_token_is_rounded(void **state)
{
    synthetic model = SYNTHETIC_SMALL;
    model.starved = 0;
    awq_recipe *recipe = begin(*state, &model);
    assert_ok(*state, awq_recipe_set(recipe, "calibration.min_expert_tokens", "0", NULL));
    assert_kl("/synthetic", "no-token-for-an-expert", finish(*state, recipe, NULL).kl);
}

static void test_element_types(void **state)
{
    static const awq_dtype types[] = {AWQ_F16, AWQ_F32};
    static const char *const names[] = {"all-f16", "all-f32"};
    for (int i = 0; i < 2; i++) {
        synthetic model = SYNTHETIC_SMALL;
        model.dtype = types[i];
        assert_kl("/synthetic", names[i], quantized_kl(*state, &model, "*", "awq"));
        tear_down(state);
        assert_int_equal(set_up_run(state), 0);
    }
}

/* As many key/value heads as heads; an explicit head_dim; a sliding window; a tied head. The random
   tied model has logits so large that only a comparison with RTN means anything. */
static void test_attention_shapes(void **state)
{
    synthetic models[4] = {SYNTHETIC_SMALL, SYNTHETIC_SMALL, SYNTHETIC_SMALL, SYNTHETIC_SMALL};
    models[0].kv_heads = models[0].heads;
    models[1].head_dim = 32;
    models[2].window = 9;
    models[3].tied = true;
    for (int i = 0; i < 4; i++) {
        double searched = quantized_kl(*state, &models[i], "*", "awq");
        tear_down(state);
        assert_int_equal(set_up_run(state), 0);
        double plain = quantized_kl(*state, &models[i], "*", "rtn");
        tear_down(state);
        assert_int_equal(set_up_run(state), 0);
        assert_true(searched < plain);
    }
}

static void test_shards(void **state)
{
    fixture *f = *state;
    synthetic model = SYNTHETIC_SMALL;
    model.intermediate = 2048; /* the output needs more than one shard of the smallest size */
    model.experts = 8;
    model.shard_bytes = 1 << 20;
    awq_recipe *recipe = begin(f, &model);
    assert_ok(f, awq_recipe_set(recipe, "shard_size", "1MB", NULL));
    awq_eval_result reported = finish(f, recipe, NULL), found;
    assert_true(awq__is_file(path_of(f, "out/model.safetensors.index.json")));
    awq_eval_options options = {
        .struct_size = sizeof options, .directory = output, .reference = source, .ids = ids};
    assert_ok(f, awq_evaluate(f->ctx, &options, &found));
    assert_true(found.kl == reported.kl);
}

/* What no rule names stays bit for bit, RTN changes nothing else at all. */
static void test_what_is_not_quantized_is_copied(void **state)
{
    fixture *f = *state;
    synthetic model = SYNTHETIC_SMALL;
    awq_recipe *recipe = begin(f, &model);
    awq__checkpoint *before, *after;
    int64_t copied = 0;
    assert_ok(f, awq_recipe_set(recipe, "quantize.method", "rtn", NULL));
    finish(f, recipe, NULL);
    assert_ok(f, awq__checkpoint_open(f->ctx, source, &before));
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &after));
    for (size_t i = 0; i < awq__checkpoint_count(before); i++) {
        const awq__tensor *tensor = awq__checkpoint_at(before, i);
        const awq__tensor *same = awq__checkpoint_find(after, tensor->name);
        bool expert = strstr(tensor->name, ".experts.") != NULL;
        assert_int_equal(expert, same == NULL);
        if (!same)
            continue;
        assert_int_equal(same->bytes, tensor->bytes);
        assert_true(same_bytes(f->ctx, same, tensor));
        copied++;
    }
    assert_true(copied > 10);
    awq__checkpoint_free(before);
    awq__checkpoint_free(after);
}

/* The scale that the norm was divided by is the one that the router's columns were multiplied by.
 */
static void test_the_router_is_compensated(void **state)
{
    fixture *f = *state;
    synthetic model = SYNTHETIC_SMALL;
    model.dtype = AWQ_F32; /* no rounding hides an error */
    awq_recipe *recipe = begin(f, &model);
    awq__checkpoint *before, *after;
    finish(f, recipe, NULL);
    assert_ok(f, awq__checkpoint_open(f->ctx, source, &before));
    assert_ok(f, awq__checkpoint_open(f->ctx, output, &after));
    const char *norm_name = "model.layers.1.post_attention_layernorm.weight";
    const char *router_name = "model.layers.1.block_sparse_moe.gate.weight";
    uint8_t *norms[] = {tensor_bytes(f->ctx, awq__checkpoint_find(before, norm_name)),
                        tensor_bytes(f->ctx, awq__checkpoint_find(after, norm_name))};
    uint8_t *routers[] = {tensor_bytes(f->ctx, awq__checkpoint_find(before, router_name)),
                          tensor_bytes(f->ctx, awq__checkpoint_find(after, router_name))};
    float changed = 0;
    for (int64_t h = 0; h < model.hidden; h++) {
        float norm, folded, weight, compensated;
        memcpy(&norm, norms[0] + 4 * h, 4);
        memcpy(&folded, norms[1] + 4 * h, 4);
        memcpy(&weight, routers[0] + 4 * h, 4);
        memcpy(&compensated, routers[1] + 4 * h, 4);
        float error = norm * weight - folded * compensated;
        assert_true(error * error <= 1e-10f * norm * weight * norm * weight);
        changed += folded != norm;
    }
    assert_true(changed > 0);
    for (int i = 0; i < 2; i++) {
        awq__free(norms[i]);
        awq__free(routers[i]);
    }
    awq__checkpoint_free(before);
    awq__checkpoint_free(after);
}

/* Returns the message of a run that must fail, without leaving an output. */
static const char *failure(const fixture *f, awq_recipe *recipe, awq_status expected)
{
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), expected);
    awq_recipe_free(recipe);
    assert_false(awq__is_directory(output));
    return awq_context_message(f->ctx);
}

static void test_a_weight_that_is_not_finite_is_named(void **state)
{
    static const char *const names[] = {"model.layers.1.block_sparse_moe.experts.2.w2", "lm_head",
                                        "model.embed_tokens", "model.layers.0.input_layernorm"};
    for (int i = 0; i < 4; i++) {
        char tensor[128];
        synthetic model = SYNTHETIC_SMALL;
        snprintf(tensor, sizeof tensor, "%s.weight", names[i]);
        model.damage = SYNTHETIC_NAN;
        model.damaged = tensor;
        const char *message = failure(*state, begin(*state, &model), AWQ_ERROR_NUMERIC);
        assert_non_null(strstr(message, names[i]));
        assert_non_null(strstr(message, "NaN"));
        tear_down(state);
        assert_int_equal(set_up_run(state), 0);
    }
}

static void test_ids_outside_the_vocabulary_are_refused(void **state)
{
    synthetic model = SYNTHETIC_SMALL;
    awq_recipe *recipe = begin(*state, &model);
    synthetic smaller = SYNTHETIC_SMALL;
    smaller.vocabulary = 16;
    assert_ok(*state, awq_recipe_set(recipe, "model", path_of(*state, "smaller"), NULL));
    assert_ok(*state,
              synthetic_write(((fixture *)*state)->ctx, path_of(*state, "smaller"), &smaller));
    const char *message = failure(*state, recipe, AWQ_ERROR_FORMAT);
    assert_non_null(strstr(message, "ids/model.safetensors"));
}

static void test_a_quantized_model_is_not_quantized_again(void **state)
{
    const fixture *f = *state;
    synthetic model = SYNTHETIC_SMALL;
    finish(f, begin(f, &model), NULL);
    awq_recipe *recipe;
    assert_ok(f, awq_recipe_create(f->ctx, &recipe));
    assert_ok(f, awq_recipe_set(recipe, "model", output, NULL));
    assert_ok(f, awq_recipe_set(recipe, "output", source, NULL));
    assert_ok(f, awq_recipe_set(recipe, "quantize.method", "rtn", NULL));
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, NULL), AWQ_ERROR_RECIPE);
    assert_non_null(strstr(awq_context_message(f->ctx), "quantized already"));
    awq_recipe_free(recipe);
}

/* ---- a tied head ---- */

/* Writes the embedding's bytes, as they are stored, over those of the head; `changed` of them are
   something else. */
static void copy_embedding_to_head(const fixture *f, size_t changed)
{
    awq__checkpoint *checkpoint;
    char path[1100];
    assert_ok(f, awq__checkpoint_open(f->ctx, source, &checkpoint));
    const awq__tensor *embedding = awq__checkpoint_find(checkpoint, "model.embed_tokens.weight");
    const awq__tensor *head = awq__checkpoint_find(checkpoint, "lm_head.weight");
    size_t bytes = embedding->bytes;
    assert_int_equal(head->bytes, bytes);
    uint8_t *old = tensor_bytes(f->ctx, head), *copy = tensor_bytes(f->ctx, embedding);
    assert_true(old && copy);
    awq__checkpoint_free(checkpoint);
    for (size_t i = 0; i < changed; i++)
        copy[bytes - 1 - i] ^= 1;
    char *file;
    size_t length, at = 0;
    snprintf(path, sizeof path, "%s/model.safetensors", source);
    FILE *stream = fopen(path, "rb+");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, 0, SEEK_END), 0);
    length = (size_t)ftell(stream);
    file = malloc(length);
    assert_non_null(file);
    rewind(stream);
    assert_int_equal(fread(file, 1, length, stream), length);
    while (at + bytes <= length && memcmp(file + at, old, bytes) != 0)
        at++;
    assert_true(at + bytes <= length);
    assert_int_equal(fseek(stream, (long)at, SEEK_SET), 0);
    assert_int_equal(fwrite(copy, 1, bytes, stream), bytes);
    assert_int_equal(fclose(stream), 0);
    free(file);
    awq__free(old);
    awq__free(copy);
}

static bool warns_of_head(const fixture *f, const awq_recipe *recipe)
{
    bool warns = false;
    awq_plan *plan;
    assert_ok(f, awq_plan_create(f->ctx, recipe, &plan));
    for (size_t i = 0; i < awq_plan_warning_count(plan); i++)
        warns |= !strncmp(awq_plan_warning_at(plan, i), "lm_head.weight: is stored", 25);
    awq_plan_free(plan);
    return warns;
}

/* A head that is stored although the embedding is the head too: left out if it is the same, kept
   as it is, and told, if any byte is another; a head that is not tied is a head. */
static void test_a_stored_copy_of_a_tied_head_is_left_out(void **state)
{
    static const struct {
        bool tied;
        size_t changed;
        bool stored;
    } cases[] = {{true, 0, false}, {true, 1, true}, {false, 0, true}};
    for (int i = 0; i < 3; i++) {
        const fixture *f = *state;
        const synthetic model = SYNTHETIC_SMALL;
        awq_recipe *recipe = begin(f, &model);
        assert_ok(f, awq_recipe_set(recipe, "quantize.method", "rtn", NULL));
        copy_embedding_to_head(f, cases[i].changed);
        if (cases[i].tied)
            assert_ok(f, synthetic_edit_config(f->ctx, source, "\"tie_word_embeddings\": false",
                                               "\"tie_word_embeddings\": true"));
        assert_int_equal(warns_of_head(f, recipe), cases[i].tied && cases[i].stored);
        finish(f, recipe, NULL);
        awq__checkpoint *result;
        assert_ok(f, awq__checkpoint_open(f->ctx, output, &result));
        assert_non_null(awq__checkpoint_find(result, "model.embed_tokens.weight"));
        if ((awq__checkpoint_find(result, "lm_head.weight") != NULL) != cases[i].stored)
            fail_msg("case %d: the head is %s", i, cases[i].stored ? "lost" : "stored");
        awq__checkpoint_free(result);
        tear_down(state);
        assert_int_equal(set_up_run(state), 0);
    }
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up_run, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_an_expert_without_tokens_borrows),
        CASE(test_an_expert_without_any_token_is_rounded),
        CASE(test_element_types),
        CASE(test_attention_shapes),
        CASE(test_shards),
        CASE(test_what_is_not_quantized_is_copied),
        CASE(test_the_router_is_compensated),
        CASE(test_a_weight_that_is_not_finite_is_named),
        CASE(test_ids_outside_the_vocabulary_are_refused),
        CASE(test_a_stored_copy_of_a_tied_head_is_left_out),
        CASE(test_a_quantized_model_is_not_quantized_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
