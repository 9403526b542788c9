/* What the plugins say of the models of their families, key by key of config.json. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/arch.h"
#include "temp_files.h"

#include <math.h>

#define LAYERS 4

static const char qwen2[] =
    "{\"model_type\": \"qwen2_moe\", \"hidden_act\": \"silu\", \"hidden_size\": 64, "
    "\"intermediate_size\": 160, \"num_hidden_layers\": 4, \"num_attention_heads\": 4, "
    "\"num_key_value_heads\": 2, \"num_experts\": 8, \"num_experts_per_tok\": 3, "
    "\"moe_intermediate_size\": 96, \"shared_expert_intermediate_size\": 224, "
    "\"rope_theta\": 1000000.0, \"vocab_size\": 128}";
static const char qwen3[] =
    "{\"model_type\": \"qwen3_moe\", \"hidden_act\": \"silu\", \"hidden_size\": 64, "
    "\"intermediate_size\": 160, \"num_hidden_layers\": 4, \"num_attention_heads\": 4, "
    "\"num_key_value_heads\": 2, \"num_experts\": 8, \"num_experts_per_tok\": 3, \"head_dim\": 32, "
    "\"moe_intermediate_size\": 96, \"rope_theta\": 1000000.0, \"vocab_size\": 128}";
static const char gpt_oss[] =
    "{\"model_type\": \"gpt_oss\", \"hidden_size\": 64, \"intermediate_size\": 96, "
    "\"num_hidden_layers\": 4, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
    "\"num_local_experts\": 8, \"num_experts_per_tok\": 3, \"head_dim\": 32, \"sliding_window\": "
    "128, "
    "\"rope_theta\": 150000, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 32.0, "
    "\"beta_fast\": 32.0, \"beta_slow\": 1.0, \"truncate\": false, "
    "\"original_max_position_embeddings\": 4096}, \"vocab_size\": 128}";
static const char mixtral[] =
    "{\"model_type\": \"mixtral\", \"hidden_act\": \"silu\", \"hidden_size\": 64, "
    "\"intermediate_size\": 96, \"num_hidden_layers\": 4, \"num_attention_heads\": 4, "
    "\"num_local_experts\": 8, \"num_experts_per_tok\": 3, \"vocab_size\": 128}";
static const char demo[] =
    "{\"model_type\": \"demo_moe\", \"hidden_size\": 64, \"moe_intermediate_size\": 96, "
    "\"num_hidden_layers\": 4, \"num_attention_heads\": 4, \"num_experts\": 8, "
    "\"num_experts_per_tok\": 3, \"rms_norm_eps\": 1e-5, \"norm_topk_prob\": true, "
    "\"vocab_size\": 128}";

/* ---- a model that consists of a config.json and the names of some tensors ---- */

typedef struct described {
    awq_status status;
    awq_arch_model model;
    awq_arch_layer layers[LAYERS];
} described;

static cJSON *parse(fixture *f, const char *text)
{
    cJSON *json;
    if (awq__json_parse(f->ctx, "config.json", text, strlen(text), &json) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    return json;
}

/* The base with some members replaced, or added. */
static cJSON *configuration(fixture *f, const char *base, const char *changes)
{
    cJSON *config = parse(f, base), *changed = changes ? parse(f, changes) : NULL;
    while (changed && changed->child) {
        cJSON *item = cJSON_DetachItemViaPointer(changed, changed->child);
        cJSON_DeleteItemFromObjectCaseSensitive(config, item->string);
        assert_true(cJSON_AddItemToObject(config, item->string, item));
    }
    cJSON_Delete(changed);
    return config;
}

/* A checkpoint with these tensors, all empty; names end with NULL. */
static awq__checkpoint *checkpoint_of(fixture *f, const char *const *names)
{
    char header[4096] = "{";
    size_t length = 1;
    for (; names && *names; names++)
        length += (size_t)snprintf(header + length, sizeof header - length,
                                   "%s\"%s\": {\"dtype\": \"BF16\", \"shape\": [0], "
                                   "\"data_offsets\": [0, 0]}",
                                   length > 1 ? ", " : "", *names);
    snprintf(header + length, sizeof header - length, "}");
    write_safetensors(f, "model.safetensors", header, 0);
    awq__checkpoint *checkpoint;
    if (awq__checkpoint_open(f->ctx, f->directory, &checkpoint) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    return checkpoint;
}

/* Asks the plugin as the library does, and checks what it says as the library does. */
static described ask(fixture *f, const cJSON *config, const awq__checkpoint *checkpoint)
{
    described d = {.status = AWQ_OK};
    awq__plugins plugins;
    const awq__plugin *plugin;
    awq__host host;
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItem(config, "model_type"));
    awq__clear(f->ctx);
    assert_int_equal(awq__plugins_load(f->ctx, &plugins), AWQ_OK);
    if (awq__plugins_choose(f->ctx, &plugins, type, NULL, &plugin) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    const awq_plugin *table = &plugin->table;
    awq__host_init(&host, f->ctx, "config.json", config, checkpoint);
    d.model.struct_size = sizeof d.model;
    d.status = table->describe_model(&host.table, &d.model);
    if (d.status == AWQ_OK)
        d.status = awq__check_model(f->ctx, table->id, &d.model);
    for (int64_t n = 0; d.status == AWQ_OK && n < awq__min(d.model.layer_count, LAYERS); n++) {
        d.layers[n].struct_size = sizeof d.layers[n];
        d.status = table->describe_layer(&host.table, n, &d.layers[n]);
        if (d.status == AWQ_OK)
            d.status = awq__check_layer(f->ctx, table->id, n, &d.model, &d.layers[n]);
    }
    awq__plugins_free(&plugins);
    return d;
}

static described describe(fixture *f, const char *base, const char *changes,
                          const char *const *tensors)
{
    cJSON *config = configuration(f, base, changes);
    awq__checkpoint *checkpoint = checkpoint_of(f, tensors);
    described d = ask(f, config, checkpoint);
    awq__checkpoint_free(checkpoint);
    cJSON_Delete(config);
    return d;
}

static described describe_well(fixture *f, const char *base, const char *changes,
                               const char *const *tensors)
{
    described d = describe(f, base, changes, tensors);
    if (d.status != AWQ_OK)
        fail_msg("%s: %s", changes ? changes : base, awq_context_message(f->ctx));
    return d;
}

static void refuses(fixture *f, const char *base, const char *changes, awq_status status,
                    const char *message)
{
    described d = describe(f, base, changes, NULL);
    if (d.status != status)
        fail_msg("%s: %s, expected %s", changes, awq_status_name(d.status),
                 awq_status_name(status));
    assert_message(f, message);
}

static int set_up_plugins(void **state)
{
    if (set_up(state) != 0)
        return -1;
    fixture *f = *state;
    awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS);
    awq_context_add_plugin_path(f->ctx, AWQ_TEST_BAD_PLUGINS "/awq-arch-template.so");
    return 0;
}

static void windows_are(fixture *f, const char *base, const char *changes,
                        const int64_t expected[LAYERS])
{
    described d = describe_well(f, base, changes, NULL);
    for (int n = 0; n < LAYERS; n++)
        if (d.layers[n].attention.window != expected[n])
            fail_msg("%s: the window of layer %d is %lld, expected %lld", changes, n,
                     (long long)d.layers[n].attention.window, (long long)expected[n]);
}

/* ---- what the families share ---- */

static void test_model(void **state)
{
    fixture *f = *state;
    const struct {
        const char *base, *format;
        double epsilon;
    } families[] = {{mixtral, "awq", 1e-5},
                    {qwen2, "compressed-tensors", 1e-6},
                    {qwen3, "compressed-tensors", 1e-6},
                    {gpt_oss, "mxfp4", 1e-5}};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        described d = describe_well(f, families[i].base, NULL, NULL);
        assert_int_equal(d.model.layer_count, 4);
        assert_int_equal(d.model.hidden_size, 64);
        assert_int_equal(d.model.vocabulary_size, 128);
        assert_true(d.model.norm_epsilon == families[i].epsilon);
        assert_string_equal(d.model.embedding, "model.embed_tokens");
        assert_string_equal(d.model.final_norm, "model.norm");
        assert_string_equal(d.model.head, "lm_head");
        assert_string_equal(d.model.preferred_format, families[i].format);
        d = describe_well(f, families[i].base,
                          "{\"tie_word_embeddings\": true, \"rms_norm_eps\": 0.25}", NULL);
        assert_string_equal(d.model.head, "");
        assert_true(d.model.norm_epsilon == 0.25);
    }
}

static void test_expert_count_under_both_keys(void **state)
{
    fixture *f = *state;
    const char *bases[] = {qwen2, qwen3, gpt_oss};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        described d =
            describe_well(f, bases[i], "{\"num_experts\": 5, \"num_local_experts\": null}", NULL);
        assert_int_equal(d.layers[0].experts.count, 5);
        d = describe_well(f, bases[i], "{\"num_experts\": null, \"num_local_experts\": 6}", NULL);
        assert_int_equal(d.layers[0].experts.count, 6);
    }
    const char *neither = "{\"num_experts\": null, \"num_local_experts\": null}";
    refuses(f, qwen3, neither, AWQ_ERROR_FORMAT, "\"num_experts\" is missing");
    refuses(f, gpt_oss, neither, AWQ_ERROR_FORMAT, "\"num_local_experts\" is missing");
}

static void test_head_dim(void **state)
{
    fixture *f = *state;
    const char *bases[] = {qwen2, qwen3, gpt_oss};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        described d = describe_well(f, bases[i], "{\"head_dim\": null}", NULL);
        assert_int_equal(d.layers[0].attention.heads, 4);
        assert_int_equal(d.layers[0].attention.kv_heads, 2);
        assert_int_equal(d.layers[0].attention.head_dim, 16);
        assert_int_equal(d.model.rope.pairs, 8);
        d = describe_well(f, bases[i], "{\"head_dim\": 32}", NULL);
        assert_int_equal(d.layers[0].attention.head_dim, 32);
        assert_int_equal(d.model.rope.pairs, 16);
        refuses(f, bases[i], "{\"num_attention_heads\": 0}", AWQ_ERROR_UNSUPPORTED,
                "config.json: num_attention_heads is 0, expected 1 or more");
        refuses(f, bases[i], "{\"num_key_value_heads\": null}", AWQ_ERROR_FORMAT,
                "\"num_key_value_heads\" is missing");
    }
}

/* ---- Qwen ---- */

static void experts_are_qwens(const awq_arch_layer *layer)
{
    assert_int_equal(layer->folds,
                     AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM | AWQ_FOLD_UP);
    assert_string_equal(layer->attention_norm.name, "model.layers.3.input_layernorm");
    assert_string_equal(layer->moe_norm.name, "model.layers.3.post_attention_layernorm");
    assert_string_equal(layer->attention.q, "model.layers.3.self_attn.q_proj");
    assert_string_equal(layer->attention.k, "model.layers.3.self_attn.k_proj");
    assert_string_equal(layer->attention.v, "model.layers.3.self_attn.v_proj");
    assert_string_equal(layer->attention.o, "model.layers.3.self_attn.o_proj");
    assert_string_equal(layer->attention.sinks, "");
    assert_string_equal(layer->router.name, "model.layers.3.mlp.gate");
    assert_int_equal(layer->router.scoring, AWQ_SCORING_SOFTMAX_TOPK);
    assert_int_equal(layer->router.bias, 0);
    assert_int_equal(layer->router.renormalize, 0);
    const awq_arch_experts *x = &layer->experts;
    assert_int_equal(x->count, 8);
    assert_int_equal(x->per_token, 3);
    assert_int_equal(x->intermediate_size, 96);
    assert_string_equal(x->gate, "model.layers.3.mlp.experts.{e}.gate_proj");
    assert_string_equal(x->up, "model.layers.3.mlp.experts.{e}.up_proj");
    assert_string_equal(x->down, "model.layers.3.mlp.experts.{e}.down_proj");
    assert_string_equal(x->fused_gate_up, "model.layers.3.mlp.experts.gate_up_proj");
    assert_string_equal(x->fused_down, "model.layers.3.mlp.experts.down_proj");
    assert_int_equal(x->layout, AWQ_EXPERTS_SEPARATE);
    assert_int_equal(x->interleaved | x->bias | x->mxfp4, 0);
    assert_true(x->activation.alpha == 0 && x->activation.limit == 0);
}

static void test_qwen2(void **state)
{
    fixture *f = *state;
    described d = describe_well(f, qwen2, NULL, NULL);
    const awq_arch_layer *layer = &d.layers[3];
    experts_are_qwens(layer);
    assert_int_equal(layer->attention.qkv_bias, 1);
    assert_int_equal(layer->attention.o_bias, 0);
    assert_string_equal(layer->attention.q_norm, "");
    assert_string_equal(layer->attention.k_norm, "");
    assert_int_equal(layer->shared.intermediate_size, 224);
    assert_string_equal(layer->shared.gate, "model.layers.3.mlp.shared_expert.gate_proj");
    assert_string_equal(layer->shared.up, "model.layers.3.mlp.shared_expert.up_proj");
    assert_string_equal(layer->shared.down, "model.layers.3.mlp.shared_expert.down_proj");
    assert_string_equal(layer->shared.token_gate, "model.layers.3.mlp.shared_expert_gate");
    /* attention_bias is another model's key. */
    d = describe_well(f, qwen2, "{\"qkv_bias\": false, \"attention_bias\": true}", NULL);
    assert_int_equal(d.layers[0].attention.qkv_bias, 0);
    assert_int_equal(d.layers[0].attention.o_bias, 0);
}

static void test_qwen3(void **state)
{
    fixture *f = *state;
    described d = describe_well(f, qwen3, NULL, NULL);
    const awq_arch_layer *layer = &d.layers[3];
    experts_are_qwens(layer);
    assert_int_equal(layer->attention.qkv_bias, 0);
    assert_int_equal(layer->attention.o_bias, 0);
    assert_string_equal(layer->attention.q_norm, "model.layers.3.self_attn.q_norm");
    assert_string_equal(layer->attention.k_norm, "model.layers.3.self_attn.k_norm");
    assert_int_equal(layer->shared.intermediate_size, 0);
    d = describe_well(f, qwen3, "{\"attention_bias\": true, \"norm_topk_prob\": true}", NULL);
    assert_int_equal(d.layers[0].attention.qkv_bias, 1);
    assert_int_equal(d.layers[0].attention.o_bias, 1);
    assert_int_equal(d.layers[0].router.renormalize, 1);
}

/* S: sparse, with experts; D: dense. */
static void test_qwen_dense_layers(void **state)
{
    fixture *f = *state;
    const struct {
        const char *changes, *pattern;
    } cases[] = {
        {NULL, "SSSS"},
        {"{\"mlp_only_layers\": []}", "SSSS"},
        {"{\"mlp_only_layers\": null}", "SSSS"},
        {"{\"mlp_only_layers\": [3, 0]}", "DSSD"},
        {"{\"mlp_only_layers\": [-1, 2, 9]}", "SSDS"},
        {"{\"mlp_only_layers\": [0, 1, 2, 3]}", "DDDD"},
        {"{\"decoder_sparse_step\": 2}", "DSDS"},
        {"{\"decoder_sparse_step\": 3}", "DDSD"},
        {"{\"decoder_sparse_step\": 5}", "DDDD"},
        {"{\"decoder_sparse_step\": 2, \"mlp_only_layers\": [1]}", "DDDS"},
        {"{\"num_experts\": 0}", "DDDD"},
    };
    const char *bases[] = {qwen2, qwen3};
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof *cases); i++) {
        const char *pattern = cases[i / 2].pattern;
        described d = describe_well(f, bases[i % 2], cases[i / 2].changes, NULL);
        for (int n = 0; n < LAYERS; n++) {
            const awq_arch_layer *layer = &d.layers[n];
            if ((layer->experts.count == 0) != (pattern[n] == 'D'))
                fail_msg("%s: layer %d is not as in %s", cases[i / 2].changes, n, pattern);
            if (pattern[n] == 'S')
                continue;
            char name[64];
            snprintf(name, sizeof name, "model.layers.%d.mlp.gate_proj", n);
            assert_string_equal(layer->shared.gate, name);
            snprintf(name, sizeof name, "model.layers.%d.mlp.up_proj", n);
            assert_string_equal(layer->shared.up, name);
            snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj", n);
            assert_string_equal(layer->shared.down, name);
            assert_string_equal(layer->shared.token_gate, "");
            assert_int_equal(layer->shared.intermediate_size, 160);
            assert_int_equal(layer->attention.q_norm[0] != 0, i % 2); /* of qwen3_moe alone */
            assert_int_equal(layer->folds & AWQ_FOLD_UP, AWQ_FOLD_UP);
        }
    }
}

static void test_qwen_windows(void **state)
{
    fixture *f = *state;
    const int64_t none[] = {0, 0, 0, 0}, all[] = {7, 7, 7, 7}, even[] = {7, 0, 7, 0},
                  first[] = {7, 0, 0, 0}, last[] = {0, 0, 0, 7};
    const char *unused = "{\"use_sliding_window\": false, \"sliding_window\": 7}";
    const char *used = "{\"use_sliding_window\": true, \"sliding_window\": 7}";
    windows_are(f, qwen2, "{\"sliding_window\": 7}", none);
    windows_are(f, qwen3, "{\"sliding_window\": 7}", none);
    windows_are(f, qwen2, unused, none);
    windows_are(f, qwen3, unused, none);
    windows_are(f, qwen2, used, even);
    windows_are(f, qwen3, used, all);
    windows_are(f, qwen2,
                "{\"use_sliding_window\": true, \"sliding_window\": 7, \"max_window_layers\": 2}",
                first);
    windows_are(f, qwen2,
                "{\"use_sliding_window\": true, \"sliding_window\": 7, \"layer_types\": "
                "[\"full_attention\", \"full_attention\", \"full_attention\", "
                "\"sliding_attention\"]}",
                last);
    windows_are(f, qwen2,
                "{\"layer_types\": [\"full_attention\", \"full_attention\", \"full_attention\", "
                "\"full_attention\"]}",
                none);
}

static void test_qwen_layouts(void **state)
{
    fixture *f = *state;
    const char *const fused[] = {"model.layers.1.mlp.experts.gate_up_proj",
                                 "model.layers.2.mlp.experts.gate_up_proj.weight", NULL};
    const char *bases[] = {qwen2, qwen3};
    for (int i = 0; i < 2; i++) {
        described d = describe_well(f, bases[i], NULL, fused);
        assert_int_equal(d.layers[0].experts.layout, AWQ_EXPERTS_SEPARATE);
        assert_int_equal(d.layers[1].experts.layout, AWQ_EXPERTS_FUSED);
        assert_int_equal(d.layers[1].experts.interleaved, 0);
        assert_int_equal(d.layers[2].experts.layout, AWQ_EXPERTS_SEPARATE);
    }
}

static void test_qwen_refused(void **state)
{
    fixture *f = *state;
    const awq_status unsupported = AWQ_ERROR_UNSUPPORTED, format = AWQ_ERROR_FORMAT;
    refuses(f, qwen2, "{\"hidden_act\": \"gelu\"}", unsupported, "hidden_act is not silu");
    refuses(f, qwen3, "{\"decoder_sparse_step\": 0}", unsupported,
            "decoder_sparse_step is not positive");
    refuses(f, qwen3, "{\"mlp_only_layers\": [1, \"2\"]}", format,
            "\"mlp_only_layers.1\" is not an integer");
    static const char *const no_lists[] = {"\"x\"", "\"\"", "{}", "{\"a\": 1}", "5", "true"};
    for (size_t i = 0; i < sizeof no_lists / sizeof *no_lists; i++) {
        char changes[64];
        snprintf(changes, sizeof changes, "{\"mlp_only_layers\": %s}", no_lists[i]);
        refuses(f, qwen3, changes, format, "config.json: \"mlp_only_layers\" is not a list");
        snprintf(changes, sizeof changes, "{\"layer_types\": %s}", no_lists[i]);
        refuses(f, qwen2, changes, format, "config.json: \"layer_types\" is not a list");
    }
    refuses(f, qwen2, "{\"layer_types\": []}", unsupported,
            "layer_types is not a list with the kind of each layer");
    refuses(f, qwen3, "{\"mlp_only_layers\": [9, 9, 9, 9, 9]}", unsupported,
            "mlp_only_layers has more members than there are layers");
    refuses(f, qwen2, "{\"layer_types\": [\"sliding_attention\"]}", unsupported,
            "use_sliding_window is not true");
    refuses(f, qwen2, "{\"layer_types\": [\"chunked_attention\"]}", unsupported,
            "layer_types has a kind");
    refuses(f, qwen2, "{\"layer_types\": [\"full_attention\"]}", format,
            "\"layer_types.1\" is missing");
    refuses(f, qwen2, "{\"use_sliding_window\": true}", format, "\"sliding_window\" is missing");
    refuses(f, qwen3, "{\"use_sliding_window\": true, \"sliding_window\": 0}", unsupported,
            "sliding_window is 0, expected 1 or more");
    refuses(f, qwen3, "{\"num_experts\": -8}", AWQ_ERROR_PLUGIN, "experts.count is -8");
    refuses(f, qwen3, "{\"num_experts_per_tok\": 9}", AWQ_ERROR_PLUGIN,
            "plugin qwen_moe: layer 0: experts.per_token is 9, expected 1 to 8");
    refuses(f, qwen2, "{\"shared_expert_intermediate_size\": null}", format,
            "\"shared_expert_intermediate_size\" is missing");
    refuses(f, qwen2, "{\"num_experts\": 0, \"intermediate_size\": null}", format,
            "\"intermediate_size\" is missing");
}

/* ---- GPT-OSS ---- */

static void test_gpt_oss(void **state)
{
    fixture *f = *state;
    described d = describe_well(f, gpt_oss, NULL, NULL);
    const awq_arch_layer *layer = &d.layers[3];
    assert_int_equal(layer->folds, AWQ_FOLD_ATTENTION_NORM | AWQ_FOLD_VALUE | AWQ_FOLD_EXPERT_NORM);
    assert_string_equal(layer->attention_norm.name, "model.layers.3.input_layernorm");
    assert_string_equal(layer->moe_norm.name, "model.layers.3.post_attention_layernorm");
    assert_string_equal(layer->attention.q, "model.layers.3.self_attn.q_proj");
    assert_string_equal(layer->attention.k, "model.layers.3.self_attn.k_proj");
    assert_string_equal(layer->attention.v, "model.layers.3.self_attn.v_proj");
    assert_string_equal(layer->attention.o, "model.layers.3.self_attn.o_proj");
    assert_string_equal(layer->attention.sinks, "model.layers.3.self_attn.sinks");
    assert_string_equal(layer->attention.q_norm, "");
    assert_int_equal(layer->attention.qkv_bias, 1);
    assert_int_equal(layer->attention.o_bias, 1);
    assert_string_equal(layer->router.name, "model.layers.3.mlp.router");
    assert_int_equal(layer->router.bias, 1);
    assert_int_equal(layer->router.scoring, AWQ_SCORING_TOPK_SOFTMAX);
    assert_int_equal(layer->router.renormalize, 0);
    const awq_arch_experts *x = &layer->experts;
    assert_int_equal(x->count, 8);
    assert_int_equal(x->per_token, 3);
    assert_int_equal(x->intermediate_size, 96);
    assert_string_equal(x->gate, "model.layers.3.mlp.experts.{e}.gate_proj");
    assert_string_equal(x->up, "model.layers.3.mlp.experts.{e}.up_proj");
    assert_string_equal(x->down, "model.layers.3.mlp.experts.{e}.down_proj");
    assert_string_equal(x->fused_gate_up, "model.layers.3.mlp.experts.gate_up_proj");
    assert_string_equal(x->fused_down, "model.layers.3.mlp.experts.down_proj");
    assert_int_equal(x->interleaved, 1);
    assert_int_equal(x->bias, 1);
    assert_int_equal(x->mxfp4, 1);
    assert_true(x->activation.alpha == 1.702 && x->activation.limit == 7 &&
                x->activation.up_offset == 1);
    assert_int_equal(layer->shared.intermediate_size, 0);
    d = describe_well(f, gpt_oss,
                      "{\"attention_bias\": false, \"swiglu_alpha\": 2.5, \"swiglu_limit\": 3}",
                      NULL);
    assert_int_equal(d.layers[0].attention.qkv_bias, 0);
    assert_int_equal(d.layers[0].attention.o_bias, 0);
    assert_true(d.layers[0].experts.activation.alpha == 2.5);
    assert_true(d.layers[0].experts.activation.limit == 3);
}

static void test_gpt_oss_windows(void **state)
{
    fixture *f = *state;
    const int64_t even[] = {128, 0, 128, 0}, two[] = {0, 64, 64, 0};
    windows_are(f, gpt_oss, NULL, even);
    windows_are(f, gpt_oss, "{\"layer_types\": null}", even);
    windows_are(f, gpt_oss,
                "{\"sliding_window\": 64, \"layer_types\": [\"full_attention\", "
                "\"sliding_attention\", \"sliding_attention\", \"full_attention\"]}",
                two);
}

static void test_gpt_oss_layouts(void **state)
{
    fixture *f = *state;
    const char *const tensors[] = {"model.embed_tokens.weight",
                                   "model.layers.0.mlp.experts.gate_up_proj_blocks",
                                   "model.layers.0.mlp.experts.gate_up_proj_bias",
                                   "model.layers.1.mlp.experts.gate_up_proj",
                                   "model.layers.1.mlp.experts.gate_up_proj_bias",
                                   "model.layers.2.mlp.experts.0.gate_proj.weight",
                                   NULL};
    described d = describe_well(f, gpt_oss, NULL, tensors);
    assert_int_equal(d.layers[0].experts.layout, AWQ_EXPERTS_FUSED_MXFP4);
    assert_int_equal(d.layers[1].experts.layout, AWQ_EXPERTS_FUSED_TRANSPOSED);
    assert_int_equal(d.layers[2].experts.layout, AWQ_EXPERTS_SEPARATE);
}

/* Where no tensor is there, config.json tells. */
static void test_gpt_oss_layouts_without_weights(void **state)
{
    fixture *f = *state;
    const struct {
        const char *changes;
        int32_t layout;
    } cases[] = {
        {"{}", AWQ_EXPERTS_FUSED_TRANSPOSED},
        {"{\"quantization_config\": null}", AWQ_EXPERTS_FUSED_TRANSPOSED},
        {"{\"quantization_config\": {\"quant_method\": \"mxfp4\"}}", AWQ_EXPERTS_FUSED_MXFP4},
        {"{\"quantization_config\": {\"quant_method\": \"awq\"}}", AWQ_EXPERTS_SEPARATE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *config = configuration(f, gpt_oss, cases[i].changes);
        described d = ask(f, config, NULL);
        assert_int_equal(d.status, AWQ_OK);
        assert_int_equal(d.layers[0].experts.layout, cases[i].layout);
        cJSON_Delete(config);
    }
}

static void test_gpt_oss_rope(void **state)
{
    fixture *f = *state;
    described d = describe_well(f, gpt_oss, "{\"head_dim\": 64}", NULL);
    assert_int_equal(d.model.rope.pairs, 32);
    assert_true(fabs(d.model.rope.attention_factor - 1.346574) < 1e-6);
    assert_true(d.model.rope.inverse_frequency[0] == 1);
    double slowest = pow(150000, -62.0 / 64) / 32;
    assert_true(fabs(d.model.rope.inverse_frequency[31] - slowest) < 1e-12 * slowest);

    const awq_status unsupported = AWQ_ERROR_UNSUPPORTED;
    refuses(f, gpt_oss, "{\"rope_scaling\": null}", unsupported,
            "neither rope_parameters nor rope_scaling has a rope_type");
    refuses(f, gpt_oss, "{\"rope_theta\": null}", unsupported, "rope_theta is missing");
    refuses(f, gpt_oss,
            "{\"rope_scaling\": null, \"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": "
            "4, \"original_max_position_embeddings\": 512}, \"rope_theta\": null}",
            unsupported, "rope_theta is missing");
    d = describe_well(f, gpt_oss,
                      "{\"rope_scaling\": null, \"rope_theta\": null, \"rope_parameters\": "
                      "{\"rope_type\": \"default\", \"rope_theta\": 100}}",
                      NULL);
    assert_true(d.model.rope.attention_factor == 1);
    assert_true(fabs(d.model.rope.inverse_frequency[8] - 0.1) < 1e-12);
}

static void test_gpt_oss_refused(void **state)
{
    fixture *f = *state;
    const awq_status unsupported = AWQ_ERROR_UNSUPPORTED, format = AWQ_ERROR_FORMAT;
    refuses(f, gpt_oss, "{\"swiglu_limit\": 0}", unsupported,
            "swiglu_alpha or swiglu_limit is not positive");
    refuses(f, gpt_oss, "{\"swiglu_alpha\": -1}", unsupported, "is not positive");
    refuses(f, gpt_oss, "{\"layer_types\": []}", unsupported,
            "layer_types is not a list with the kind of each layer");
    refuses(f, gpt_oss, "{\"layer_types\": \"x\"}", format, "\"layer_types\" is not a list");
    refuses(f, gpt_oss, "{\"layer_types\": [\"other\"]}", unsupported, "layer_types has a kind");
    refuses(f, gpt_oss, "{\"layer_types\": [\"full_attention\"]}", format,
            "\"layer_types.1\" is missing");
    refuses(f, gpt_oss, "{\"sliding_window\": null}", format, "\"sliding_window\" is missing");
    refuses(f, gpt_oss, "{\"sliding_window\": -1}", unsupported,
            "sliding_window is -1, expected 1 or more");
    refuses(f, gpt_oss, "{\"num_local_experts\": 0}", unsupported,
            "num_local_experts is not positive");
}

/* ---- the template ---- */

static void test_template_norms(void **state)
{
    fixture *f = *state;
    const char *const normed[] = {"model.layers.0.self_attn.q_norm.weight", NULL};
    described d = describe_well(f, demo, NULL, NULL);
    assert_string_equal(d.layers[1].attention.q_norm, "");
    assert_string_equal(d.layers[1].attention.k_norm, "");
    assert_string_equal(d.model.preferred_format, "");
    d = describe_well(f, demo, NULL, normed);
    assert_string_equal(d.layers[1].attention.q_norm, "model.layers.1.self_attn.q_norm");
    assert_string_equal(d.layers[1].attention.k_norm, "model.layers.1.self_attn.k_norm");
}

/* ---- checkpoints that transformers has written ---- */

static void has_module(const awq__checkpoint *checkpoint, const char *module, bool bias)
{
    char tensor[AWQ_NAME_BYTES + 8];
    const char *suffixes[] = {"weight", "bias"};
    for (int i = 0; i < 2; i++) {
        snprintf(tensor, sizeof tensor, "%s.%s", module, suffixes[i]);
        bool wanted = *module && (i == 0 || bias);
        if (wanted != (awq__checkpoint_find(checkpoint, tensor) != NULL))
            fail_msg("%s is %s", tensor, wanted ? "missing" : "there");
    }
}

static void has_experts(const awq__checkpoint *checkpoint, const awq_arch_experts *experts)
{
    if (experts->layout != AWQ_EXPERTS_SEPARATE) {
        assert_non_null(awq__checkpoint_find(checkpoint, experts->fused_gate_up));
        assert_non_null(awq__checkpoint_find(checkpoint, experts->fused_down));
        return;
    }
    const char *names[] = {experts->gate, experts->up, experts->down};
    for (int64_t e = 0; e <= experts->count; e++)
        for (int i = 0; i < 3; i++) {
            char tensor[AWQ_NAME_BYTES + 16];
            const char *hole = strstr(names[i], AWQ_EXPERT_PLACEHOLDER);
            snprintf(tensor, sizeof tensor, "%.*s%lld%s.weight", (int)(hole - names[i]), names[i],
                     (long long)e, hole + strlen(AWQ_EXPERT_PLACEHOLDER));
            assert_int_equal(awq__checkpoint_find(checkpoint, tensor) != NULL, e < experts->count);
        }
}

static void has_layer(const awq__checkpoint *checkpoint, const awq_arch_layer *layer)
{
    const awq_arch_attention *a = &layer->attention;
    has_module(checkpoint, layer->attention_norm.name, false);
    has_module(checkpoint, a->q, a->qkv_bias);
    has_module(checkpoint, a->k, a->qkv_bias);
    has_module(checkpoint, a->v, a->qkv_bias);
    has_module(checkpoint, a->o, a->o_bias);
    has_module(checkpoint, a->q_norm, false);
    has_module(checkpoint, a->k_norm, false);
    has_module(checkpoint, layer->moe_norm.name, false);
    has_module(checkpoint, layer->router.name, layer->router.bias);
    has_experts(checkpoint, &layer->experts);
    has_module(checkpoint, layer->shared.gate, false);
    has_module(checkpoint, layer->shared.up, false);
    has_module(checkpoint, layer->shared.down, false);
    has_module(checkpoint, layer->shared.token_gate, false);
    if (a->sinks[0])
        assert_non_null(awq__checkpoint_find(checkpoint, a->sinks));
}

static void test_written_models(void **state)
{
    fixture *f = *state;
    const char *models[] = {"qwen2_moe-tiny", "qwen3_moe-tiny", "gpt_oss-tiny"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[2048];
        cJSON *config;
        awq__checkpoint *checkpoint;
        snprintf(path, sizeof path, AWQ_TEST_DATA "/%s/config.json", models[i]);
        assert_int_equal(awq__json_read(f->ctx, path, &config), AWQ_OK);
        *strrchr(path, '/') = 0;
        assert_int_equal(awq__checkpoint_open(f->ctx, path, &checkpoint), AWQ_OK);
        described d = ask(f, config, checkpoint);
        if (d.status != AWQ_OK)
            fail_msg("%s", awq_context_message(f->ctx));
        assert_int_equal(d.model.layer_count, 2);
        for (int n = 0; n < 2; n++)
            has_layer(checkpoint, &d.layers[n]);
        has_module(checkpoint, d.model.embedding, false);
        has_module(checkpoint, d.model.head, false);
        awq__checkpoint_free(checkpoint);
        cJSON_Delete(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_model, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_expert_count_under_both_keys, set_up_plugins,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_head_dim, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_qwen2, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_qwen3, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_qwen_dense_layers, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_qwen_windows, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_qwen_layouts, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_qwen_refused, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_gpt_oss, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_gpt_oss_windows, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_gpt_oss_layouts, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_gpt_oss_layouts_without_weights, set_up_plugins,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_gpt_oss_rope, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_gpt_oss_refused, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_template_norms, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(test_written_models, set_up_plugins, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
