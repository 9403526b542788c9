/* Models of which nothing is on disk but config.json. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run/job.h"
#include "temp_files.h"

#include <math.h>

#define CONFIGS AWQ_TEST_DATA "/configs/"
#define GPT_OSS_BYTES UINT64_C(13761264768) /* in mxfp4, as it was released */

static int set_up_plugins(void **state)
{
    if (set_up(state) != 0)
        return -1;
    fixture *f = *state;
    return awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS) == AWQ_OK ? 0 : -1;
}

static awq_model *open_path(fixture *f, const char *path, awq_model_info *info)
{
    awq_model *model;
    if (awq_model_open(f->ctx, path, NULL, &model) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    awq_model_describe(model, info);
    return model;
}

static void fails_to_open(fixture *f, const char *name, awq_status status, const char *message)
{
    awq_model *model;
    assert_string_equal(awq_status_name(awq_model_open(f->ctx, path_of(f, name), NULL, &model)),
                        awq_status_name(status));
    assert_null(model);
    assert_message(f, message);
}

/* Writes config.json, or another, with members replaced, added, or, where they are null, left out.
 */
static void write_config(fixture *f, const char *name, const char *source, const char *changes)
{
    cJSON *config, *changed;
    assert_int_equal(awq__json_read(f->ctx, source, &config), AWQ_OK);
    assert_int_equal(awq__json_parse(f->ctx, "changes", changes, strlen(changes), &changed),
                     AWQ_OK);
    while (changed->child) {
        cJSON *item = cJSON_DetachItemViaPointer(changed, changed->child);
        cJSON_DeleteItemFromObjectCaseSensitive(config, item->string);
        if (cJSON_IsNull(item))
            cJSON_Delete(item);
        else
            assert_true(cJSON_AddItemToObject(config, item->string, item));
    }
    char *text = cJSON_Print(config);
    assert_non_null(text);
    write_text(f, name, text);
    cJSON_free(text);
    cJSON_Delete(changed);
    cJSON_Delete(config);
}

/* ---- the models that people have ---- */

static const struct released {
    const char *name;
    size_t modules;
    uint64_t weights, parameters; /* parameters: with biases */
    double published;
    int64_t layers, experts, per_token;
} released[] = {
    {"Mixtral-8x7B", 995, 46702792704, 46702792704, 46.7e9, 32, 8, 2},
    {"Qwen1.5-MoE-A2.7B", 4587, 14315636736, 14315784192, 14.3e9, 24, 60, 4},
    {"Qwen2-57B-A14B", 5687, 57408529920, 57408658944, 57.4e9, 28, 64, 8},
    {"Qwen3-30B-A3B", 18867, 30532122624, 30532122624, 30.5e9, 48, 128, 8},
    {"Qwen3-235B-A22B", 36945, 235093634560, 235093634560, 235e9, 94, 128, 8},
    {"gpt-oss-20b", 2499, 20907928896, 20914757184, 20.9e9, 24, 32, 4},
    {"OLMoE-1B-7B", 3219, 6919161856, 6919161856, 6.92e9, 16, 64, 8},
    {"GLM-4.5-Air", 17787, 106851591808, 106852251264, 106e9, 46, 128, 8},
    {"MiniMax-M2", 48239, 228689764864, 228689764864, 230e9, 62, 256, 8},
    {"ERNIE-4.5-21B-A3B", 5492, 21825437888, 21825437888, 21.8e9, 28, 64, 6},
    {"Hunyuan-A13B", 6530, 80393183232, 80393183232, 80e9, 32, 64, 8},
    {"granite-3.1-3b-a800m", 4066, 3298793472, 3298793472, 3.3e9, 32, 40, 8},
    {"Llama-4-Scout", 2787, 107769861120, 107769861120, 108e9, 48, 16, 1},
    {"gemma-4-26B-A4B", 12117, 25233141790, 25233141790, 25.2e9, 30, 128, 8},
    {"Qwen3-Next-80B-A3B", 74391, 79674391296, 79674391296, 80e9, 48, 512, 10},
    {"Qwen3.6-35B-A3B", 31333, 34660610688, 34660610688, 34.7e9, 40, 256, 8},
    {"DeepSeek-V2-Lite", 5291, 15706484224, 15706484224, 15.7e9, 27, 64, 6},
    {"DeepSeek-V3", 45395, 671026419200, 671026419200, 671e9, 61, 256, 8},
    {"Kimi-K2", 69975, 1026408232448, 1026408232448, 1026e9, 61, 384, 8},
};

static void is_as_released(fixture *f, const char *path, const struct released *expected)
{
    awq_model_info info;
    awq_model *model = open_path(f, path, &info);
    uint64_t bytes = 0;
    assert_true(info.described);
    assert_string_equal(info.directory, path);
    assert_string_equal(info.quantization, "");
    assert_int_equal(info.layer_count, expected->layers);
    assert_int_equal(info.expert_count, expected->experts);
    assert_int_equal(info.experts_per_token, expected->per_token);
    assert_int_equal(awq_model_module_count(model), expected->modules);
    assert_int_equal(info.weights, expected->weights);
    assert_true(fabs((double)info.weights - expected->published) < 0.01 * expected->published);
    assert_int_equal(info.bytes, 2 * expected->parameters);
    for (size_t i = 0; i < expected->modules; i++) {
        const awq_module *module = awq_model_module(model, i);
        assert_string_equal(module->storage, "BF16");
        assert_false(module->quantized);
        bytes += module->bytes;
    }
    assert_int_equal(bytes, info.bytes);
    awq_model_free(model);
}

static void test_released_models(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof released / sizeof *released; i++) {
        char source[512], directory[2048], path[512];
        snprintf(source, sizeof source, CONFIGS "%s/config.json", released[i].name);
        make_directory(f, released[i].name);
        snprintf(directory, sizeof directory, "%s", path_of(f, released[i].name));
        snprintf(path, sizeof path, "%s/config.json", released[i].name);
        write_config(f, path, source, "{\"quantization_config\": null}");
        is_as_released(f, directory, &released[i]);
        is_as_released(f, path_of(f, path), &released[i]);
    }
}

static void test_released_in_mxfp4(void **state)
{
    fixture *f = *state;
    awq_model_info info;
    awq_model *model = open_path(f, CONFIGS "gpt-oss-20b", &info);
    assert_true(info.described);
    assert_string_equal(info.quantization, "mxfp4");
    assert_int_equal(info.bytes, GPT_OSS_BYTES);
    assert_int_equal(info.weights, 20907928896);
    for (size_t i = 0; i < awq_model_module_count(model); i++) {
        const awq_module *module = awq_model_module(model, i);
        bool expert = module->role == AWQ_ROLE_EXPERT;
        assert_int_equal(module->quantized, expert);
        assert_string_equal(module->storage, expert ? "mxfp4" : "BF16");
        /* Blocks, scales and a bias. */
        if (expert)
            assert_int_equal(module->bytes, 2880 * 2880 / 2 + 2880 * 2880 / 32 + 2880 * 2);
    }
    awq_model_free(model);
}

/* ---- as on disk ---- */

/* What is told from config.json alone is what the checkpoint itself tells. */
static void test_as_on_disk(void **state)
{
    fixture *f = *state;
    const char *const models[] = {"mixtral-tiny", "qwen2_moe-tiny", "qwen3_moe-tiny",
                                  "gpt_oss-tiny"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char directory[512], config[1024];
        awq_model_info on_disk, described;
        snprintf(directory, sizeof directory, AWQ_TEST_DATA "/%s", models[i]);
        snprintf(config, sizeof config, "%s/config.json", directory);
        awq_model *a = open_path(f, directory, &on_disk), *b = open_path(f, config, &described);
        assert_false(on_disk.described);
        assert_true(described.described);
        assert_int_equal(described.bytes, on_disk.bytes);
        assert_int_equal(described.weights, on_disk.weights);
        assert_int_equal(awq_model_module_count(b), awq_model_module_count(a));
        for (size_t m = 0; m < awq_model_module_count(a); m++) {
            const awq_module *x = awq_model_module(a, m), *y = awq_model_module(b, m);
            assert_string_equal(y->name, x->name);
            assert_string_equal(y->storage, x->storage);
            assert_int_equal(y->rows, x->rows);
            assert_int_equal(y->columns, x->columns);
            assert_int_equal(y->bytes, x->bytes);
        }
        awq_model_free(b);
        awq_model_free(a);
    }
}

/* No module points to data, its bias included. */
static void test_no_data(void **state)
{
    fixture *f = *state;
    awq_model_info info;
    write_config(f, "bf16.json", CONFIGS "gpt-oss-20b/config.json",
                 "{\"quantization_config\": null}");
    const char *const paths[] = {CONFIGS "Qwen1.5-MoE-A2.7B", CONFIGS "gpt-oss-20b",
                                 path_of(f, "bf16.json")};
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
        awq_model *model = open_path(f, paths[p], &info);
        for (size_t i = 0; i < model->arch->module_count; i++) {
            awq__found found;
            assert_int_equal(awq__model_find(model, &model->arch->modules[i], NULL, &found),
                             AWQ_OK);
            assert_null(found.weight.data);
            assert_null(found.weight.scales);
            assert_null(found.bias);
            assert_true(found.bytes > 0);
        }
        awq_model_free(model);
    }
}

/* ---- dtype ---- */

static void test_dtype(void **state)
{
    fixture *f = *state;
    const struct {
        const char *changes, *storage;
    } right[] = {
        {"{\"dtype\": null}", "BF16"},
        {"{\"dtype\": \"float16\"}", "F16"},
        {"{\"dtype\": \"float32\"}", "F32"},
        {"{\"dtype\": null, \"torch_dtype\": \"float16\"}", "F16"},
        {"{\"dtype\": null, \"torch_dtype\": \"bfloat16\"}", "BF16"},
        {"{\"dtype\": \"float32\", \"torch_dtype\": \"float16\"}", "F32"},
    };
    const struct {
        const char *changes, *message;
    } wrong[] = {
        {"{\"dtype\": \"float8_e4m3fn\"}",
         "/wrong.json: dtype is \"float8_e4m3fn\", expected bfloat16, float16 or float32"},
        {"{\"dtype\": 16}", "dtype is \"not a text\", expected"},
        {"{\"dtype\": null, \"torch_dtype\": \"\"}", "torch_dtype is \"\", expected"},
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        awq_model_info info;
        write_config(f, "right.json", CONFIGS "Mixtral-8x7B/config.json", right[i].changes);
        awq_model *model = open_path(f, path_of(f, "right.json"), &info);
        assert_string_equal(awq_model_module(model, 0)->storage, right[i].storage);
        assert_int_equal(info.bytes,
                         (strcmp(right[i].storage, "F32") ? 2 : 4) * released[0].parameters);
        awq_model_free(model);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_config(f, "wrong.json", CONFIGS "Mixtral-8x7B/config.json", wrong[i].changes);
        fails_to_open(f, "wrong.json", AWQ_ERROR_UNSUPPORTED, wrong[i].message);
    }
}

/* ---- what is not absent, but broken ---- */

static void test_part_of_a_checkpoint(void **state)
{
    fixture *f = *state;
    const struct {
        const char *name, *text;
        awq_status status;
        const char *message;
    } cases[] = {
        {"model.safetensors", "", AWQ_ERROR_FORMAT, "m/model.safetensors"},
        {"model.safetensors.index.json",
         "{\"weight_map\": {\"lm_head.weight\": \"model-00001-of-00002.safetensors\"}}",
         AWQ_ERROR_IO, "is placed in \"model-00001-of-00002.safetensors\", which is not there"},
        {"model-00002-of-00002.safetensors", "", AWQ_ERROR_IO,
         "m: model-00001-of-00002.safetensors is not there, one of 2 files of weights"},
        {"model.safetensors.incomplete", "", AWQ_ERROR_IO, "neither model.safetensors nor"},
        {"pytorch_model.bin", "", AWQ_ERROR_IO, "is not read, only safetensors is"},
    };
    awq_model_info info;
    make_directory(f, "m");
    write_config(f, "m/config.json", CONFIGS "Mixtral-8x7B/config.json", "{}");
    write_text(f, "m/tokenizer.json", "{}");
    awq_model_free(open_path(f, path_of(f, "m"), &info));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[256];
        snprintf(name, sizeof name, "m/%s", cases[i].name);
        write_text(f, name, cases[i].text);
        fails_to_open(f, "m", cases[i].status, cases[i].message);
        awq_model_free(open_path(f, path_of(f, "m/config.json"), &info));
        assert_true(info.described);
        assert_int_equal(unlink(path_of(f, name)), 0);
    }
    fails_to_open(f, "m/tokenizer.json", AWQ_ERROR_FORMAT, "\"model_type\" is missing");
}

/* ---- what releases quantize ---- */

#define KIMI(ignore, group)                                                                        \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "                  \
    "\"ignore\": " ignore ", \"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], "        \
    "\"weights\": {\"num_bits\": 4, "                                                              \
    "\"type\": \"int\", \"symmetric\": true, \"strategy\": \"group\", \"group_size\": " group      \
    "}}}}"

static const awq_module *module_named(const awq_model *model, const char *name)
{
    for (size_t i = 0; i < awq_model_module_count(model); i++)
        if (!strcmp(awq_model_module(model, i)->name, name))
            return awq_model_module(model, i);
    fail_msg("no %s", name);
    return NULL;
}

/* Linears but for routers, the head, and what is listed. */
static void test_quantized_releases(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *quantization, *k_proj, *expert;
        uint64_t expert_bytes;
    } cases[] = {
        {"{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}", "F8_E4M3", "F8_E4M3",
         14336 * 4096 + 4 * 112 * 32},
        {"{\"quant_method\": \"fp8\", \"ignored_layers\": [\"model.layers.0.self_attn\"]}", "BF16",
         "F8_E4M3", 14336 * 4096 + 4},
        {KIMI("[\"lm_head\", \"re:.*self_attn.*\"]", "32"), "BF16", "int4 g32",
         14336 * 4096 / 2 + 14336 * 128 * 2 + 16},
    };
    awq_model_info info;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char changes[1024];
        snprintf(changes, sizeof changes, "{\"quantization_config\": %s}", cases[i].quantization);
        write_config(f, "config.json", CONFIGS "Mixtral-8x7B/config.json", changes);
        awq_model *model = open_path(f, path_of(f, "config.json"), &info);
        const awq_module *expert =
            module_named(model, "model.layers.1.block_sparse_moe.experts.2.w1");
        assert_string_equal(expert->storage, cases[i].expert);
        assert_int_equal(expert->bytes, cases[i].expert_bytes);
        assert_string_equal(module_named(model, "model.layers.0.self_attn.k_proj")->storage,
                            cases[i].k_proj);
        assert_string_equal(module_named(model, "lm_head")->storage, "BF16");
        assert_string_equal(module_named(model, "model.layers.0.block_sparse_moe.gate")->storage,
                            "BF16");
        awq_model_free(model);
    }
}

/* Sizes that no file bounds, and formats that only tensors could tell. */
static void test_hostile_configs(void **state)
{
    fixture *f = *state;
    const struct {
        const char *model, *changes;
        awq_status status;
        const char *message;
    } cases[] = {
        {"gpt-oss-20b",
         "{\"quantization_config\": null, \"num_local_experts\": 65536, \"hidden_size\": 16777216, "
         "\"intermediate_size\": 16777216, \"num_hidden_layers\": 1}",
         AWQ_ERROR_FORMAT,
         "/hostile.json: the tensor model.layers.0.mlp.experts.gate_up_proj would be larger than "
         "2^53 bytes"},
        {"gpt-oss-20b",
         "{\"num_local_experts\": 65536, \"hidden_size\": 16777216, \"intermediate_size\": "
         "16777216, \"num_hidden_layers\": 1}",
         AWQ_ERROR_FORMAT, "gate_up_proj_blocks would be larger than 2^53 bytes"},
        {"Mixtral-8x7B",
         "{\"hidden_size\": 16777216, \"head_dim\": 64, \"intermediate_size\": 16777216, "
         "\"num_local_experts\": 1000}",
         AWQ_ERROR_FORMAT, "/hostile.json: the model would be larger than 2^53 bytes"},
        {"Mixtral-8x7B", "{\"num_local_experts\": 60000, \"num_hidden_layers\": 100}",
         AWQ_ERROR_PLUGIN, "modules, expected at most"},
        {"Mixtral-8x7B", "{\"vocab_size\": -1}", AWQ_ERROR_UNSUPPORTED,
         "vocab_size is -1, expected 1 or more"},
        {"Mixtral-8x7B", "{\"num_local_experts\": 0}", AWQ_ERROR_UNSUPPORTED,
         "num_local_experts is 0, expected 1 or more"},
        {"Mixtral-8x7B", "{\"num_hidden_layers\": null, \"num_hiden_layers\": 32}",
         AWQ_ERROR_FORMAT,
         "\"num_hidden_layers\" is missing; is \"num_hiden_layers\" meant for it?"},
        {"Mixtral-8x7B",
         "{\"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 128}}",
         AWQ_ERROR_UNSUPPORTED,
         "/hostile.json: quantization_config.quant_method \"awq\", but only tensors could tell"},
        {"gpt-oss-20b", "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\"}}",
         AWQ_ERROR_UNSUPPORTED, "quantization_config: format is missing"},
        {"Mixtral-8x7B", "{\"quantization_config\": " KIMI("[\"lm_head\"]", "96") "}",
         AWQ_ERROR_FORMAT, "is [4096, 4096], which groups of 96 do not divide"},
        {"Mixtral-8x7B", "{\"quantization_config\": {\"quant_method\": \"mxfp4\"}}",
         AWQ_ERROR_UNSUPPORTED, "quant_method \"mxfp4\", but only tensors could tell"},
        {"gpt-oss-20b", "{\"quantization_config\": {\"quant_method\": 4}}", AWQ_ERROR_FORMAT,
         "\"quantization_config.quant_method\" is not a text"},
        {"gpt-oss-20b", "{\"quantization_config\": []}", AWQ_ERROR_FORMAT,
         "\"quantization_config\" is not an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char source[512];
        snprintf(source, sizeof source, CONFIGS "%s/config.json", cases[i].model);
        write_config(f, "hostile.json", source, cases[i].changes);
        fails_to_open(f, "hostile.json", cases[i].status, cases[i].message);
    }
}

/* ---- what can be done to them, and what not ---- */

static awq_recipe *recipe_for(fixture *f, const char *model)
{
    awq_recipe *recipe;
    assert_int_equal(awq_recipe_create(f->ctx, &recipe), AWQ_OK);
    assert_int_equal(awq_recipe_set(recipe, "model", model, NULL), AWQ_OK);
    assert_int_equal(awq_recipe_set(recipe, "output", path_of(f, "out"), NULL), AWQ_OK);
    assert_int_equal(awq_recipe_set(recipe, "calibration.data", path_of(f, "calib.txt"), NULL),
                     AWQ_OK);
    return recipe;
}

static void plans(fixture *f, const char *model, uint64_t before, uint64_t after)
{
    awq_recipe *recipe = recipe_for(f, model);
    awq_plan *plan;
    awq_model_info info;
    if (awq_plan_create(f->ctx, recipe, &plan) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    awq_plan_describe(plan, &info);
    assert_true(info.described);
    assert_int_equal(awq_plan_bytes_before(plan), before);
    assert_int_equal(awq_plan_bytes_after(plan), after);
    awq_plan_free(plan);
    awq_recipe_free(recipe);
}

static void test_plans(void **state)
{
    fixture *f = *state;
    const uint64_t experts = UINT64_C(32) * 8 * 3 * 14336 * 4096;
    /* AWQ's codes, and a scale and a zero point for each 128. */
    const uint64_t packed = experts / 2 + experts / 128 * 2 + experts / 128 / 2;
    plans(f, CONFIGS "Mixtral-8x7B", 2 * released[0].parameters,
          2 * (released[0].parameters - experts) + packed);
    plans(f, CONFIGS "gpt-oss-20b", GPT_OSS_BYTES, GPT_OSS_BYTES);
    write_config(f, "bf16.json", CONFIGS "gpt-oss-20b/config.json",
                 "{\"quantization_config\": null}");
    char bf16[2048];
    snprintf(bf16, sizeof bf16, "%s", path_of(f, "bf16.json"));
    plans(f, bf16, 2 * released[5].parameters, GPT_OSS_BYTES);
}

/* Experts of 512 x 2048 in compressed-tensors: codes, a scale for each 128 and a shape of 16 bytes.
 */
static void test_plans_of_many_experts(void **state)
{
    static const struct {
        const char *path;
        uint64_t parameters, experts;
    } models[] = {{CONFIGS "Qwen3-Next-80B-A3B", UINT64_C(79674391296), 48 * 512},
                  {CONFIGS "Qwen3.6-35B-A3B", UINT64_C(34660610688), 40 * 256}};
    for (int i = 0; i < 2; i++) {
        uint64_t matrices = 3 * models[i].experts, weights = matrices * 512 * 2048;
        plans(*state, models[i].path, 2 * models[i].parameters,
              2 * (models[i].parameters - weights) + weights / 2 + weights / 128 * 2 +
                  16 * matrices);
    }
}

static void refuses_to_quantize(fixture *f, const char *model, const char *message)
{
    awq_report *report;
    awq_recipe *recipe = recipe_for(f, model);
    assert_int_equal(awq_quantize(f->ctx, recipe, NULL, &report), AWQ_ERROR_IO);
    assert_message(f, message);
    assert_null(report);
    assert_false(is_there(f, "out"));
    assert_false(is_there(f, "out.partial"));
    awq_recipe_free(recipe);
}

static void test_cannot_be_quantized(void **state)
{
    fixture *f = *state;
    refuses_to_quantize(f, CONFIGS "Mixtral-8x7B",
                        CONFIGS "Mixtral-8x7B: has a config.json but no safetensors files, so it "
                                "can be planned but not quantized");
    refuses_to_quantize(f, CONFIGS "gpt-oss-20b", "can be planned but not quantized");
    refuses_to_quantize(f, AWQ_TEST_DATA "/mixtral-tiny/config.json",
                        "/mixtral-tiny/config.json: is a config.json by itself, without "
                        "safetensors files, so it can be planned but not quantized");
}

static void test_cannot_be_evaluated(void **state)
{
    fixture *f = *state;
    const char *const texts[] = {AWQ_TEST_DATA "/mixtral-tiny/eval.txt"};
    const char *const message = CONFIGS "Mixtral-8x7B: has a config.json but no safetensors files, "
                                        "so it can be planned but not evaluated";
    awq_eval_result result;
    awq_eval_options options = {.struct_size = sizeof options,
                                .directory = CONFIGS "Mixtral-8x7B",
                                .texts = texts,
                                .text_count = 1};
    assert_int_equal(awq_evaluate(f->ctx, &options, &result), AWQ_ERROR_IO);
    assert_message(f, message);
    options.directory = AWQ_TEST_DATA "/mixtral-tiny";
    options.reference = CONFIGS "Mixtral-8x7B";
    assert_int_equal(awq_evaluate(f->ctx, &options, &result), AWQ_ERROR_IO);
    assert_message(f, message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_released_models, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_released_in_mxfp4, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_as_on_disk, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_no_data, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_dtype, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_part_of_a_checkpoint, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_quantized_releases, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_hostile_configs, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_plans_of_many_experts, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_plans, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_cannot_be_quantized, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_cannot_be_evaluated, set_up_plugins, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
