/* Models as GGUF has them: names, key values, tokenizers, and what it cannot say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/rope.h"
#include "format/gguf_model.h"
#include "model/model.h"
#include "temp_output.h"

#include <math.h>

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
    check(f, awq__output_gguf(output, "model", &values));
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
        {MODEL("mixtral"), "rope_parameters", "{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":16}",
         "a beta_fast other than 32"},
        {MODEL("mixtral"), "rope_parameters", "{\"type\":\"yarn\",\"factor\":4,\"beta_slow\":2}",
         "a beta_slow not 1"},
        {MODEL("mixtral"), "rope_parameters",
         "{\"type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":99.5}",
         "a broken number of original positions"},
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

/* ---- rotary embeddings ---- */

static double number_of(const fixture *f, const awq__gguf *gguf, const char *key)
{
    double number = 0;
    const awq__gguf_value *value = awq__gguf_find(gguf, key);
    if (value)
        check(f, awq__gguf_number(f->ctx, value, 0, &number));
    return number;
}

static void check_near(const char *what, double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-6 * fabs(expected)))
        fail_msg("%s is %g, expected %g", what, found, expected);
}

/* Keys are of the rotary embedding that is computed, wherever config.json says it. */
static void keys_of_yarn(void **state)
{
    fixture *f = *state;
    static const struct yarn {
        const char *model, *key, *value, *prefix;
        double theta, factor, positions, attention; /* attention 0: no key */
    } cases[] = {
        {MODEL("qwen3_moe"), "rope_scaling",
         "{\"rope_type\":\"yarn\",\"rope_theta\":5e5,\"factor\":2,"
         "\"original_max_position_embeddings\":256}",
         "qwen3moe", 5e5, 2, 256, 0},
        {MODEL("gpt_oss"), "rope_scaling", "{}", "gpt-oss", 150000, 4, 512, 0},
        {MODEL("gpt_oss"), "original_max_position_embeddings", "256", "gpt-oss", 150000, 4, 256, 0},
        {MODEL("mixtral"), "rope_parameters",
         "{\"type\":\"yarn\",\"rope_theta\":1e4,\"original_max_position_embeddings\":256,"
         "\"beta_fast\":0}",
         "llama", 1e4, 8, 256, 0},
        {MODEL("mixtral"), "rope_parameters",
         "{\"type\":\"yarn\",\"factor\":4,\"mscale\":2,\"mscale_all_dim\":0.5}", "llama", 1e4, 4,
         2048,
         (0.2 * 1.3862943611198906 + 1) / (0.05 * 1.3862943611198906 + 1) / 1.1386294361119891},
        {MODEL("mixtral"), "rope_parameters",
         "{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":1}", "llama", 1e4, 4, 2048,
         1 / 1.1386294361119891},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct yarn *expected = &cases[i];
        const struct keyed_number {
            const char *key;
            double number;
        } numbers[] = {{"freq_base", expected->theta},
                       {"scaling.factor", expected->factor},
                       {"scaling.original_context_length", expected->positions},
                       {"scaling.attn_factor", expected->attention},
                       {"scaling.yarn_beta_fast", 32},
                       {"scaling.yarn_beta_slow", 1}};
        awq__arch *arch = open_changed(f, expected->model, expected->key, expected->value);
        awq__gguf *gguf = values_of(f, expected->model, arch);
        for (size_t j = 0; j < sizeof numbers / sizeof *numbers; j++) {
            char key[96];
            snprintf(key, sizeof key, "%s.rope.%s", expected->prefix, numbers[j].key);
            check_near(key, number_of(f, gguf, key), numbers[j].number);
        }
        awq__gguf_free(gguf);
        awq__arch_free(arch);
    }
}

/* An embedding of the plugin's own could not be said. */
static void another_rotary_embedding_is_refused(void **state)
{
    fixture *f = *state;
    const awq__gguf_family *family;
    awq__arch *arch = open_arch(f, MODEL("mixtral"));
    arch->model.rope.inverse_frequency[3] *= 2;
    assert_int_equal(awq__gguf_family_of(f->ctx, arch, &family), AWQ_ERROR_UNSUPPORTED);
    assert_message(f, "a rotary embedding that these parameters do not give");
    awq__arch_free(arch);
}

/* ---- read back ---- */

/* Zeros in F32, but for layer 0's first norm. */
static void declare_modules(fixture *f, awq__output *output, const awq__arch *arch,
                            const awq__gguf_family *family, const char *norm_type, bool write)
{
    static const uint8_t zeros[1024 * 1024];
    for (size_t i = 0; i < arch->module_count; i++) {
        const awq__module *module = &arch->modules[i];
        bool norm = module->part == AWQ__PART_ATTENTION_NORM && module->layer == 0;
        const awq__ggml_type *type = awq__ggml_type_by_name(norm ? norm_type : "f32");
        for (int bias = 0; bias <= (int)module->bias; bias++) {
            awq__gguf_place place;
            int64_t bytes = type->block_bytes;
            awq__gguf_place_of(family, arch, module, bias, &place);
            for (int j = 0; j < place.rank; j++)
                bytes *= place.shape[j];
            if (place.index)
                continue;
            assert_true(bytes / type->block <= (int64_t)sizeof zeros);
            if (write)
                check(f,
                      awq__output_write(output, place.name, zeros, (size_t)(bytes / type->block)));
            else
                check(f,
                      awq__output_declare_typed(output, place.name, type, place.rank, place.shape));
        }
    }
}

/* A whole file, opened as a model. */
static awq_status open_written(fixture *f, const awq__arch *arch, const char *norm_type,
                               awq_model **opened)
{
    const awq__gguf_family *family;
    awq__gguf_values values = {0};
    awq__output *output = begin(f, "whole", true, false);
    check(f, awq__gguf_family_of(f->ctx, arch, &family));
    check(f, awq__gguf_add_model(f->ctx, arch, family, &values));
    check(f, awq__output_gguf(output, "model", &values));
    declare_modules(f, output, arch, family, norm_type, false);
    check(f, awq__output_layout(output, 1 << 30));
    declare_modules(f, output, arch, family, norm_type, true);
    check(f, awq__output_text(output, AWQ__PROVENANCE_FILE, PROVENANCE, strlen(PROVENANCE)));
    check(f, awq__output_commit(output));
    awq__output_free(output);
    return awq_model_open(f->ctx, path_of(f, "whole"), NULL, opened);
}

static void rotary_embeddings_come_back(void **state)
{
    fixture *f = *state;
    static const char *const objects[] = {
        "{\"type\":\"linear\",\"factor\":3}",
        "{\"type\":\"yarn\",\"factor\":4}",
        "{\"type\":\"yarn\",\"rope_theta\":5e5,\"original_max_position_embeddings\":256,"
        "\"attention_factor\":0.75}",
    };
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        awq__arch *arch = open_changed(f, MODEL("mixtral"), "rope_parameters", objects[i]);
        awq_model *opened;
        check(f, open_written(f, arch, "f32", &opened));
        const awq_rope *expected = &arch->model.rope, *found = &opened->arch->model.rope;
        assert_int_equal(found->pairs, expected->pairs);
        check_near("attention_factor", found->attention_factor, expected->attention_factor);
        for (int64_t p = 0; p < found->pairs; p++)
            check_near("a frequency", found->inverse_frequency[p], expected->inverse_frequency[p]);
        awq_model_free(opened);
        awq__arch_free(arch);
    }
}

/* Blocks are of matrices. */
static void vectors_in_blocks_are_refused(void **state)
{
    fixture *f = *state;
    awq__arch *arch = open_arch(f, MODEL("mixtral"));
    awq_model *opened;
    assert_int_equal(open_written(f, arch, "q8_0", &opened), AWQ_ERROR_UNSUPPORTED);
    assert_message(f, "blk.0.attn_norm.weight is of type q8_0, which is not read");
    awq__arch_free(arch);
}

/* Of a directory: a whole model, or the first of its parts, by the end of the name alone. */
static void the_file_of_a_directory(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"best-of-5.gguf", "a-00001-of-b.gguf",
                                        "x-00001-of-00003.gguf"};
    static const char *const parts[] = {"x-00002-of-00003.gguf", "x-of-y-00003-of-00003.gguf",
                                        "x-00001-of-00003.txt"};
    char *found;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        write_text(f, parts[i], "");
    check(f, awq__model_gguf_file(f->ctx, f->directory, &found));
    assert_null(found);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_text(f, names[i], "");
        check(f, awq__model_gguf_file(f->ctx, f->directory, &found));
        assert_string_equal(found, path_of(f, names[i]));
        awq__free(found);
        if (i == 2)
            break;
        assert_int_equal(unlink(path_of(f, names[i])), 0);
    }
    write_text(f, names[0], "");
    assert_int_equal(awq__model_gguf_file(f->ctx, f->directory, &found), AWQ_ERROR_FORMAT);
    assert_message(f, "holds several GGUF models");
    assert_null(found);
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
        cmocka_unit_test_setup_teardown(keys_of_yarn, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(another_rotary_embedding_is_refused, set_up_plugins,
                                        tear_down),
        cmocka_unit_test_setup_teardown(rotary_embeddings_come_back, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(vectors_in_blocks_are_refused, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(the_file_of_a_directory, set_up_plugins, tear_down),
        cmocka_unit_test_setup_teardown(tokenizers_of_others_are_refused, set_up_plugins,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
