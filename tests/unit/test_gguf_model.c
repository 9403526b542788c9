/* Models as GGUF has them: names, key values, tokenizers, and what it cannot say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/gguf_model.h"
#include "temp_output.h"

#define MODEL(name) AWQ_TEST_DATA "/" name "-tiny"

static int set_up_plugins(void **state)
{
    if (set_up(state) != 0)
        return -1;
    fixture *f = *state;
    return awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS) == AWQ_OK ? 0 : -1;
}

static awq__arch *open_arch(fixture *f, const char *path)
{
    awq__arch *arch;
    check(f, awq__arch_open(f->ctx, path, NULL, &arch));
    return arch;
}

/* ---- names ---- */

static const awq__module *module_named(const awq__arch *arch, const char *name)
{
    for (size_t i = 0; i < arch->module_count; i++)
        if (!strcmp(arch->modules[i].name, name))
            return &arch->modules[i];
    fail_msg("no module %s", name);
    return NULL;
}

static const struct placed {
    const char *model, *module;
    bool bias;
    const char *name;
    int rank;
    int64_t shape[3], index, paired_head;
    bool is_matrix;
} places[] = {
    {MODEL("mixtral"),
     "model.embed_tokens",
     false,
     "token_embd.weight",
     2,
     {1024, 128},
     0,
     0,
     true},
    {MODEL("mixtral"), "lm_head", false, "output.weight", 2, {1024, 128}, 0, 0, true},
    {MODEL("mixtral"), "model.norm", false, "output_norm.weight", 1, {128}, 0, 0, false},
    {MODEL("mixtral"),
     "model.layers.1.input_layernorm",
     false,
     "blk.1.attn_norm.weight",
     1,
     {128},
     0,
     0,
     false},
    {MODEL("mixtral"),
     "model.layers.1.post_attention_layernorm",
     false,
     "blk.1.ffn_norm.weight",
     1,
     {128},
     0,
     0,
     false},
    {MODEL("mixtral"),
     "model.layers.0.self_attn.q_proj",
     false,
     "blk.0.attn_q.weight",
     2,
     {128, 128},
     0,
     32,
     true},
    {MODEL("mixtral"),
     "model.layers.0.self_attn.k_proj",
     false,
     "blk.0.attn_k.weight",
     2,
     {64, 128},
     0,
     32,
     true},
    {MODEL("mixtral"),
     "model.layers.0.self_attn.v_proj",
     false,
     "blk.0.attn_v.weight",
     2,
     {64, 128},
     0,
     0,
     true},
    {MODEL("mixtral"),
     "model.layers.0.self_attn.o_proj",
     false,
     "blk.0.attn_output.weight",
     2,
     {128, 128},
     0,
     0,
     true},
    {MODEL("mixtral"),
     "model.layers.0.block_sparse_moe.gate",
     false,
     "blk.0.ffn_gate_inp.weight",
     2,
     {4, 128},
     0,
     0,
     false},
    {MODEL("mixtral"),
     "model.layers.1.block_sparse_moe.experts.3.w1",
     false,
     "blk.1.ffn_gate_exps.weight",
     3,
     {4, 256, 128},
     3,
     0,
     true},
    {MODEL("mixtral"),
     "model.layers.1.block_sparse_moe.experts.2.w2",
     false,
     "blk.1.ffn_down_exps.weight",
     3,
     {4, 128, 256},
     2,
     0,
     true},
    {MODEL("mixtral"),
     "model.layers.1.block_sparse_moe.experts.2.w3",
     false,
     "blk.1.ffn_up_exps.weight",
     3,
     {4, 256, 128},
     2,
     0,
     true},
    {MODEL("qwen2_moe"),
     "model.layers.0.self_attn.q_proj",
     false,
     "blk.0.attn_q.weight",
     2,
     {128, 128},
     0,
     0,
     true},
    {MODEL("qwen2_moe"),
     "model.layers.0.self_attn.q_proj",
     true,
     "blk.0.attn_q.bias",
     1,
     {128},
     0,
     0,
     false},
    {MODEL("qwen2_moe"),
     "model.layers.0.mlp.shared_expert.up_proj",
     false,
     "blk.0.ffn_up_shexp.weight",
     2,
     {128, 128},
     0,
     0,
     true},
    {MODEL("qwen2_moe"),
     "model.layers.0.mlp.shared_expert_gate",
     false,
     "blk.0.ffn_gate_inp_shexp.weight",
     1,
     {128},
     0,
     0,
     false},
    {MODEL("qwen3_moe"),
     "model.layers.0.self_attn.k_norm",
     false,
     "blk.0.attn_k_norm.weight",
     1,
     {32},
     0,
     0,
     false},
    {MODEL("gpt_oss"),
     "model.layers.1.post_attention_layernorm",
     false,
     "blk.1.post_attention_norm.weight",
     1,
     {128},
     0,
     0,
     false},
    {MODEL("gpt_oss"),
     "model.layers.1.self_attn.sinks",
     false,
     "blk.1.attn_sinks.weight",
     1,
     {4},
     0,
     0,
     false},
    {MODEL("gpt_oss"),
     "model.layers.1.mlp.router",
     true,
     "blk.1.ffn_gate_inp.bias",
     1,
     {8},
     0,
     0,
     false},
    {MODEL("gpt_oss"),
     "model.layers.1.mlp.experts.7.down_proj",
     true,
     "blk.1.ffn_down_exps.bias",
     2,
     {8, 128},
     7,
     0,
     false},
};

static void names_and_shapes(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const struct placed *expected = &places[i];
        const awq__gguf_family *family;
        awq__gguf_place place;
        awq__arch *arch = open_arch(f, expected->model);
        check(f, awq__gguf_family_of(f->ctx, arch, &family));
        assert_ptr_equal(awq__gguf_family_by_name(family->name), family);
        awq__gguf_place_of(family, arch, module_named(arch, expected->module), expected->bias,
                           &place);
        assert_string_equal(place.name, expected->name);
        assert_int_equal(place.rank, expected->rank);
        assert_memory_equal(place.shape, expected->shape, sizeof place.shape);
        assert_int_equal(place.index, expected->index);
        assert_int_equal(place.paired_head, expected->paired_head);
        assert_int_equal(place.is_matrix, expected->is_matrix);
        awq__arch_free(arch);
    }
    assert_null(awq__gguf_family_by_name("falcon"));
}

/* ---- key values ---- */

/* All values of a model, as a file that has no tensors. */
static awq__gguf *values_of(fixture *f, const char *directory, awq__arch *arch)
{
    const awq__gguf_family *family;
    awq__gguf_values values = {0};
    awq__gguf *gguf;
    awq__output *output = begin(f, "values", true, false);
    check(f, awq__gguf_family_of(f->ctx, arch, &family));
    check(f, awq__gguf_add_model(f->ctx, arch, family, &values));
    check(f, awq__gguf_add_tokenizer(f->ctx, directory, arch, &values));
    check(f, awq__output_gguf(output, &values));
    check(f, awq__output_layout(output, 1 << 20));
    check(f, awq__output_text(output, AWQ__PROVENANCE_FILE, PROVENANCE, strlen(PROVENANCE)));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    check(f, awq__gguf_open(f->ctx, path_of(f, "values/model.gguf"), &gguf));
    return gguf;
}

static const struct keyed {
    const char *model, *key, *text; /* text NULL: a number */
    double number;
} keys[] = {
    {MODEL("mixtral"), "general.architecture", "llama", 0},
    {MODEL("mixtral"), "llama.block_count", NULL, 2},
    {MODEL("mixtral"), "llama.context_length", NULL, 2048},
    {MODEL("mixtral"), "llama.feed_forward_length", NULL, 256},
    {MODEL("mixtral"), "llama.attention.head_count_kv", NULL, 2},
    {MODEL("mixtral"), "llama.expert_used_count", NULL, 2},
    {MODEL("mixtral"), "llama.rope.dimension_count", NULL, 32},
    {MODEL("mixtral"), "llama.rope.freq_base", NULL, 1e6},
    {MODEL("mixtral"), "tokenizer.ggml.model", "llama", 0},
    {MODEL("mixtral"), "tokenizer.ggml.bos_token_id", NULL, 1},
    {MODEL("mixtral"), "tokenizer.ggml.unknown_token_id", NULL, 0},
    {MODEL("qwen2_moe"), "qwen2moe.expert_shared_feed_forward_length", NULL, 128},
    {MODEL("qwen2_moe"), "qwen2moe.feed_forward_length", NULL, 512},
    {MODEL("qwen2_moe"), "tokenizer.ggml.pre", "qwen2", 0},
    {MODEL("qwen3_moe"), "qwen3moe.attention.key_length", NULL, 32},
    {MODEL("qwen3_moe"), "qwen3moe.expert_feed_forward_length", NULL, 128},
    {MODEL("qwen3_moe"), "tokenizer.ggml.eos_token_id", NULL, 1021},
    {MODEL("gpt_oss"), "gpt-oss.attention.sliding_window", NULL, 64},
    {MODEL("gpt_oss"), "gpt-oss.rope.scaling.type", "yarn", 0},
    {MODEL("gpt_oss"), "gpt-oss.rope.scaling.factor", NULL, 4},
    {MODEL("gpt_oss"), "gpt-oss.rope.scaling.original_context_length", NULL, 512},
    {MODEL("gpt_oss"), "tokenizer.ggml.pre", "gpt-4o", 0},
};

static void key_values(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        awq__arch *arch = open_arch(f, keys[i].model);
        awq__gguf *gguf = values_of(f, keys[i].model, arch);
        const awq__gguf_value *value = awq__gguf_find(gguf, keys[i].key);
        awq__gguf_string text;
        double number;
        if (!value)
            fail_msg("%s has no %s", keys[i].model, keys[i].key);
        if (keys[i].text) {
            check(f, awq__gguf_text(f->ctx, value, &text));
            assert_int_equal(text.bytes, strlen(keys[i].text));
            assert_memory_equal(text.data, keys[i].text, text.bytes);
        } else {
            check(f, awq__gguf_number(f->ctx, value, 0, &number));
            assert_true(number == keys[i].number);
        }
        awq__gguf_free(gguf);
        awq__arch_free(arch);
    }
}

/* Every id has a token, and each kind its type. */
static void tokens(void **state)
{
    fixture *f = *state;
    static const struct typed {
        const char *model;
        int64_t id, type;
    } types[] = {{MODEL("mixtral"), 0, 2},      {MODEL("mixtral"), 1, 3},
                 {MODEL("mixtral"), 3, 6},      {MODEL("mixtral"), 700, 1},
                 {MODEL("qwen3_moe"), 1021, 3}, {MODEL("qwen3_moe"), 5, 1}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        awq__arch *arch = open_arch(f, types[i].model);
        awq__gguf *gguf = values_of(f, types[i].model, arch);
        int64_t type;
        assert_int_equal(awq__gguf_find(gguf, "tokenizer.ggml.tokens")->count, 1024);
        check(f, awq__gguf_integer(f->ctx, awq__gguf_find(gguf, "tokenizer.ggml.token_type"),
                                   (uint64_t)types[i].id, &type));
        assert_int_equal(type, types[i].type);
        bool llama = i < 4;
        assert_int_equal(awq__gguf_find(gguf, "tokenizer.ggml.scores") != NULL, llama);
        assert_int_equal(awq__gguf_find(gguf, "tokenizer.ggml.merges") != NULL, !llama);
        awq__gguf_free(gguf);
        awq__arch_free(arch);
    }
}

/* ---- what cannot be said ---- */

/* A directory with the config.json of a model, changed, and nothing else. */
static awq__arch *open_changed(fixture *f, const char *source, const char *key, const char *value)
{
    char path[512];
    cJSON *config, *item;
    snprintf(path, sizeof path, "%s/config.json", source);
    check(f, awq__json_read(f->ctx, path, &config));
    check(f, awq__json_parse(f->ctx, "value", value, strlen(value), &item));
    cJSON_DeleteItemFromObjectCaseSensitive(config, key);
    assert_true(cJSON_AddItemToObject(config, key, item));
    char *text = cJSON_Print(config);
    write_text(f, "config.json", text);
    cJSON_free(text);
    cJSON_Delete(config);
    return open_arch(f, f->directory);
}

static void what_cannot_be_said_is_refused(void **state)
{
    fixture *f = *state;
    static const struct refused {
        const char *model, *key, *value, *message;
    } cases[] = {
        {MODEL("qwen3_moe"), "norm_topk_prob", "false", "experts that are not renormalized"},
        {MODEL("qwen2_moe"), "norm_topk_prob", "true", "experts that are renormalized"},
        {MODEL("qwen3_moe"), "decoder_sparse_step", "2", "layer 0 has a dense MLP"},
        {MODEL("qwen3_moe"), "mlp_only_layers", "[1]", "layer 1 has a dense MLP"},
        {MODEL("qwen3_moe"), "attention_bias", "true", "q, k and v with biases"},
        {MODEL("qwen2_moe"), "qkv_bias", "false", "q, k and v without biases"},
        {MODEL("qwen2_moe"), "head_dim", "64", "not as wide as the hidden state"},
        {MODEL("mixtral"), "sliding_window", "64", "a window of attention"},
        {MODEL("gpt_oss"), "layer_types", "[\"full_attention\",\"full_attention\"]",
         "a window of attention where others have none"},
        {MODEL("gpt_oss"), "swiglu_limit", "6", "another activation"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const awq__gguf_family *family;
        awq__arch *arch = open_changed(f, cases[i].model, cases[i].key, cases[i].value);
        awq__clear(f->ctx);
        assert_int_equal(awq__gguf_family_of(f->ctx, arch, &family), AWQ_ERROR_UNSUPPORTED);
        assert_message(f, cases[i].message);
        assert_message(f, "config.json");
        awq__arch_free(arch);
    }
}

static void tokenizers_of_others_are_refused(void **state)
{
    fixture *f = *state;
    static const struct other {
        const char *text, *message;
    } cases[] = {
        {"{\"model\":{\"type\":\"Unigram\"}}", "neither BPE of bytes"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}",
         "none that llama.cpp has a name for"},
        {"{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":1024}}}",
         "\"a\" has the id 1024, but the model has 1024"},
        {"{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":0.5}}}",
         "no whole number"},
    };
    awq__arch *arch = open_arch(f, MODEL("mixtral"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        awq__gguf_values values = {0};
        write_text(f, "tokenizer.json", cases[i].text);
        assert_true(awq__gguf_add_tokenizer(f->ctx, f->directory, arch, &values) < 0);
        assert_message(f, cases[i].message);
        awq__text_free(&values.bytes);
    }
    awq__arch_free(arch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_and_shapes, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(key_values, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(tokens, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_said_is_refused, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(tokenizers_of_others_are_refused, set_up_plugins,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
