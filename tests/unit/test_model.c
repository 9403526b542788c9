/* Opening checkpoints, whole and broken, and what is told about them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "stream/stream.h"
#include "support/synthetic.h"
#include "temp_files.h"

#include <math.h>

static int set_up_model(void **state)
{
    if (set_up(state) != 0)
        return -1;
    fixture *f = *state;
    return awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS) == AWQ_OK ? 0 : -1;
}

static void write_model(fixture *f, const char *name, const synthetic *model)
{
    if (synthetic_write(f->ctx, path_of(f, name), model) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
}

static void edit_config(fixture *f, const char *name, const char *from, const char *to)
{
    if (synthetic_edit_config(f->ctx, path_of(f, name), from, to) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
}

static awq_model *open_model(fixture *f, const char *name)
{
    awq_model *model;
    if (awq_model_open(f->ctx, path_of(f, name), NULL, &model) != AWQ_OK)
        fail_msg("%s", awq_context_message(f->ctx));
    assert_string_equal(awq_context_message(f->ctx), "");
    return model;
}

static void fails_to_open(fixture *f, const char *name, awq_status status, const char *message)
{
    awq_model *model;
    assert_int_equal(awq_model_open(f->ctx, path_of(f, name), NULL, &model), status);
    assert_null(model);
    assert_message(f, message);
}

/* ---- tensors that are not what the architecture says ---- */

#define EXPERT "model.layers.1.block_sparse_moe.experts.2."

static void test_damaged_tensors(void **state)
{
    const struct {
        const char *tensor;
        synthetic_damage damage;
        awq_status status;
        const char *message;
    } cases[] = {
        {"model.layers.1.self_attn.o_proj.weight", SYNTHETIC_MISSING, AWQ_ERROR_FORMAT,
         "/damaged: the tensor model.layers.1.self_attn.o_proj.weight is missing, which the "
         "mixtral "
         "architecture has"},
        {"model.norm.weight", SYNTHETIC_MISSING, AWQ_ERROR_FORMAT,
         "the tensor model.norm.weight is missing"},
        {"lm_head.weight", SYNTHETIC_MISSING, AWQ_ERROR_FORMAT,
         "the tensor lm_head.weight is missing"},
        {EXPERT "w3.weight", SYNTHETIC_ROW_MORE, AWQ_ERROR_FORMAT,
         "/damaged/model.safetensors: " EXPERT "w3.weight is BF16 [97, 64], expected [96, 64]"},
        {"model.layers.0.block_sparse_moe.gate.weight", SYNTHETIC_ROW_MORE, AWQ_ERROR_FORMAT,
         "model.layers.0.block_sparse_moe.gate.weight is BF16 [5, 64], expected [4, 64]"},
        {"model.layers.0.input_layernorm.weight", SYNTHETIC_ROW_MORE, AWQ_ERROR_FORMAT,
         "model.layers.0.input_layernorm.weight is BF16 [65], expected [64]"},
        {EXPERT "w2.weight", SYNTHETIC_I32, AWQ_ERROR_UNSUPPORTED,
         EXPERT "w2.weight is I32, expected BF16, F16 or F32"},
        {"model.layers.1.post_attention_layernorm.weight", SYNTHETIC_I32, AWQ_ERROR_UNSUPPORTED,
         "model.layers.1.post_attention_layernorm.weight is I32, expected BF16, F16 or F32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture *f = *state;
        synthetic model = SYNTHETIC_SMALL;
        model.damage = cases[i].damage;
        model.damaged = cases[i].tensor;
        write_model(f, "damaged", &model);
        fails_to_open(f, "damaged", cases[i].status, cases[i].message);
        assert_int_equal(synthetic_remove(f->ctx, path_of(f, "damaged")), AWQ_OK);
    }
}

/* The stored shape has more dimensions than any message expects. */
static void test_shape_of_many_dimensions(void **state)
{
    fixture *f = *state;
    const synthetic small = SYNTHETIC_SMALL;
    awq__output *output;
    const int64_t largest = (int64_t)1 << 53;
    const int64_t shape[] = {0, largest, largest, largest, largest, largest, largest, largest};
    write_model(f, "whole", &small);
    assert_int_equal(awq__output_begin(f->ctx, path_of(f, "odd"), false, &output), AWQ_OK);
    assert_int_equal(awq__output_declare(output, "model.embed_tokens.weight", AWQ_F32, 8, shape),
                     AWQ_OK);
    assert_int_equal(awq__output_layout(output, 1024), AWQ_OK);
    assert_int_equal(awq__output_write(output, "model.embed_tokens.weight", shape, 0), AWQ_OK);
    assert_int_equal(awq__output_copy(output, path_of(f, "whole/config.json")), AWQ_OK);
    assert_int_equal(awq__output_commit(output), AWQ_OK);
    awq__output_free(output);
    fails_to_open(f, "odd", AWQ_ERROR_FORMAT,
                  "model.embed_tokens.weight is F32 [0, 9007199254740992, 9007199254740992");
}

static void test_values_that_are_not_finite(void **state)
{
    const struct {
        const char *module;
        synthetic_damage damage;
        const char *message;
    } cases[] = {
        {EXPERT "w1", SYNTHETIC_NAN, "w1: row 95, column 63 is NaN, expected a finite number"},
        {EXPERT "w2", SYNTHETIC_INFINITE, "w2: row 63, column 95 is infinite"},
        {"model.layers.1.self_attn.q_proj", SYNTHETIC_NAN, "row 63, column 63 is NaN"},
        {"model.layers.1.self_attn.k_proj", SYNTHETIC_NAN, "row 31, column 63 is NaN"},
        {"model.layers.1.self_attn.v_proj", SYNTHETIC_INFINITE, "row 31, column 63 is infinite"},
        {"model.layers.1.self_attn.o_proj", SYNTHETIC_NAN, "row 63, column 63 is NaN"},
        {"model.layers.1.block_sparse_moe.gate", SYNTHETIC_NAN, "row 3, column 63 is NaN"},
        {"model.layers.1.input_layernorm", SYNTHETIC_NAN, "row 63, column 0 is NaN"},
        {"model.layers.1.post_attention_layernorm", SYNTHETIC_INFINITE, "row 63, column 0 is inf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture *f = *state;
        synthetic small = SYNTHETIC_SMALL;
        awq__loaded_layer layer;
        char tensor[128];
        snprintf(tensor, sizeof tensor, "%s.weight", cases[i].module);
        small.damage = cases[i].damage;
        small.damaged = tensor;
        write_model(f, "damaged", &small);
        awq_model *model = open_model(f, "damaged"); /* reads no weights */
        assert_int_equal(awq__model_layer(model, 0, &layer), AWQ_OK);
        awq__loaded_layer_free(&layer);
        assert_int_equal(awq__model_layer(model, 1, &layer), AWQ_ERROR_NUMERIC);
        assert_message(f, cases[i].module);
        assert_message(f, cases[i].message);
        awq_model_free(model);
        assert_int_equal(synthetic_remove(f->ctx, path_of(f, "damaged")), AWQ_OK);
    }
}

/* ---- config.json ---- */

static void test_config_is_missing(void **state)
{
    fixture *f = *state;
    const synthetic small = SYNTHETIC_SMALL;
    write_model(f, "model", &small);
    assert_int_equal(unlink(path_of(f, "model/config.json")), 0);
    fails_to_open(f, "model", AWQ_ERROR_IO, "/model/config.json: ");
    fails_to_open(f, "absent", AWQ_ERROR_IO, "/absent/config.json: ");
}

static void test_config_is_wrong(void **state)
{
    const struct {
        const char *text;
        awq_status status;
        const char *message;
    } cases[] = {
        {"", AWQ_ERROR_FORMAT, "config.json:1:1: not valid JSON"},
        {"{\"model_type\": \"mixtral\",\n \"vocab_size\": }", AWQ_ERROR_FORMAT, "config.json:2:"},
        {"[]", AWQ_ERROR_FORMAT, "config.json: \"model_type\" is missing or not a text"},
        {"{}", AWQ_ERROR_FORMAT, "\"model_type\" is missing or not a text"},
        {"{\"model_type\": null}", AWQ_ERROR_FORMAT, "\"model_type\" is missing or not a text"},
        {"{\"model_type\": 4}", AWQ_ERROR_FORMAT, "\"model_type\" is missing or not a text"},
        {"{\"model_type\": \"mixtral\"}", AWQ_ERROR_FORMAT, "\"num_hidden_layers\" is missing"},
        {"{\"model_type\": \"m\\nx\"}", AWQ_ERROR_PLUGIN, "serves model_type \"m?x\""},
    };
    fixture *f = *state;
    const synthetic small = SYNTHETIC_SMALL;
    write_model(f, "model", &small);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(f, "model/config.json", cases[i].text);
        fails_to_open(f, "model", cases[i].status, cases[i].message);
    }
}

/* Members that the synthetic config.json does not have yet, so that they can be added. */
static void test_config_contradicts(void **state)
{
    const struct {
        const char *more;
        awq_status status;
        const char *message;
    } cases[] = {
        {"\"quantization_config\": {\"quant_method\": \"hqq\"}", AWQ_ERROR_UNSUPPORTED,
         "config.json: quantization_config.quant_method \"hqq\", expected awq"},
        {"\"quantization_config\": {\"bits\": 4}", AWQ_ERROR_FORMAT,
         "quantization_config.quant_method is missing or not a text"},
        {"\"quantization_config\": {\"quant_method\": 4}", AWQ_ERROR_FORMAT,
         "quantization_config.quant_method is missing or not a text"},
        {"\"quantization_config\": 4", AWQ_ERROR_FORMAT,
         "quantization_config.quant_method is missing or not a text"},
        {"\"rope_scaling\": {\"type\": \"ntk\", \"factor\": 2}", AWQ_ERROR_UNSUPPORTED,
         "rope type \"ntk\""},
        {"\"quantization_config\": null", AWQ_OK, NULL},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        synthetic small = SYNTHETIC_SMALL;
        small.config_more = cases[i].more;
        write_model(f, "model", &small);
        if (cases[i].message)
            fails_to_open(f, "model", cases[i].status, cases[i].message);
        else
            awq_model_free(open_model(f, "model"));
        assert_int_equal(synthetic_remove(f->ctx, path_of(f, "model")), AWQ_OK);
    }
}

static void test_mixtral_refuses(void **state)
{
    const struct {
        const char *member, *other, *message;
        awq_status status;
    } cases[] = {
        {"\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"",
         "config.json: hidden_act is not silu", AWQ_ERROR_UNSUPPORTED},
        {"\"num_attention_heads\": 4", "\"num_attention_heads\": 0",
         "config.json: num_attention_heads is 0, expected 1 or more", AWQ_ERROR_UNSUPPORTED},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0",
         "config.json: num_hidden_layers is 0, expected 1 or more", AWQ_ERROR_UNSUPPORTED},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "the tensor model.layers.2.input_layernorm.weight is missing", AWQ_ERROR_FORMAT},
        {"\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 9",
         "plugin mixtral: layer 0: experts.per_token is 9, expected 1 to 4", AWQ_ERROR_PLUGIN},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3",
         "plugin mixtral: layer 0: attention.kv_heads is not a divisor", AWQ_ERROR_PLUGIN},
        {"\"head_dim\": null", "\"head_dim\": 15", "a head dimension of 15", AWQ_ERROR_UNSUPPORTED},
        {"\"head_dim\": null", "\"head_dim\": 32",
         "model.layers.0.self_attn.q_proj.weight is BF16 [64, 64], expected [128, 64]",
         AWQ_ERROR_FORMAT},
        {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": -1", "plugin mixtral: norm_epsilon",
         AWQ_ERROR_PLUGIN},
    };
    fixture *f = *state;
    const synthetic small = SYNTHETIC_SMALL;
    write_model(f, "model", &small);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        edit_config(f, "model", cases[i].member, cases[i].other);
        fails_to_open(f, "model", cases[i].status, cases[i].message);
        edit_config(f, "model", cases[i].other, cases[i].member);
    }
    awq_model_free(open_model(f, "model"));
}

/* ---- what is told ---- */

static void test_description(void **state)
{
    fixture *f = *state;
    synthetic small = SYNTHETIC_SMALL;
    small.dtype = AWQ_F16;
    write_model(f, "model", &small);
    awq_model *model = open_model(f, "model");
    awq_model_info info;
    awq_model_describe(model, &info);
    assert_string_equal(info.directory, path_of(f, "model"));
    assert_string_equal(info.model_type, "mixtral");
    assert_string_equal(info.plugin, "mixtral");
    assert_string_equal(info.quantization, "");
    assert_int_equal(info.layer_count, 2);
    assert_int_equal(info.hidden_size, 64);
    assert_int_equal(info.vocabulary_size, 128);
    assert_int_equal(info.expert_count, 4);
    assert_int_equal(info.experts_per_token, 2);
    const uint64_t H = 64;
    uint64_t layer = H * 2 + H * H * 2 + H * 32 * 2 + H * 4 + H * 96 * 3 * 4;
    assert_int_equal(info.weights, layer * 2 + H + H * 128 * 2);
    assert_int_equal(info.bytes, 2 * info.weights);
    uint64_t bytes = 0;
    for (size_t i = 0; i < awq_model_module_count(model); i++) {
        const awq_module *module = awq_model_module(model, i);
        assert_string_equal(module->storage, "F16");
        assert_true(module->bits_per_weight == 16);
        assert_false(module->quantized);
        bytes += module->bytes;
    }
    assert_int_equal(bytes, info.bytes);
    awq_model_free(model);
    awq_model_free(NULL);
}

static void test_role_names(void **state)
{
    (void)state;
    assert_string_equal(awq_role_name(AWQ_ROLE_OTHER), "other");
    assert_string_equal(awq_role_name(AWQ_ROLE_ROUTER), "router");
    assert_string_equal(awq_role_name(AWQ_ROLE_SHARED_EXPERT), "shared_expert");
    assert_string_equal(awq_role_name(AWQ_ROLE_HEAD), "head");
    assert_string_equal(awq_role_name((awq_role)(AWQ_ROLE_HEAD + 1)), "?");
    assert_string_equal(awq_role_name((awq_role)-1), "?");
}

/* ---- the same model stored in different ways ---- */

/* Every weight of the two models, layer by layer, is equal. */
static void assert_same_weights(fixture *f, const char *one, const char *other)
{
    awq_model *a = open_model(f, one), *b = open_model(f, other);
    size_t count = awq_model_module_count(a);
    assert_int_equal(awq_model_module_count(b), count);
    for (size_t i = 0; i < count; i++) {
        awq__loaded_module x, y;
        assert_int_equal(awq__model_module(a, i, &x), AWQ_OK);
        assert_int_equal(awq__model_module(b, i, &y), AWQ_OK);
        size_t floats = (size_t)(x.found.weight.rows * x.found.weight.cols);
        float *left = malloc(floats * sizeof *left), *right = malloc(floats * sizeof *right);
        awq__weight_read(awq__compute_fastest(), &x.found.weight, 0, x.found.weight.rows, left);
        awq__weight_read(awq__compute_fastest(), &y.found.weight, 0, y.found.weight.rows, right);
        awq__loaded_module_free(&x);
        awq__loaded_module_free(&y);
        assert_memory_equal(left, right, floats * sizeof *left);
        free(left);
        free(right);
    }
    awq_model_free(a);
    awq_model_free(b);
}

static void test_shards_equal_a_single_file(void **state)
{
    fixture *f = *state;
    synthetic small = SYNTHETIC_SMALL;
    write_model(f, "single", &small);
    small.shard_bytes = 50000;
    write_model(f, "shards", &small);
    assert_true(is_there(f, "single/model.safetensors"));
    assert_false(is_there(f, "shards/model.safetensors"));
    assert_true(is_there(f, "shards/model.safetensors.index.json"));
    assert_same_weights(f, "single", "shards");
}

/* F16 and BF16 weights are also F32 ones: what was rounded to them is nearly the same. */
static void test_dtypes(void **state)
{
    fixture *f = *state;
    const awq_dtype dtypes[] = {AWQ_F32, AWQ_F16, AWQ_BF16};
    const double errors[] = {0, 0x1p-11, 0x1p-8}; /* of half a unit in the last place */
    float *exact = NULL;
    for (size_t d = 0; d < 3; d++) {
        synthetic small = SYNTHETIC_SMALL;
        awq__loaded_layer loaded;
        small.dtype = dtypes[d];
        write_model(f, "model", &small);
        awq_model *model = open_model(f, "model");
        assert_string_equal(awq_model_module(model, 0)->storage, awq_dtype_name(dtypes[d]));
        assert_int_equal(awq__model_layer(model, 0, &loaded), AWQ_OK);
        const awq__weight *gate = &loaded.experts[1].gate;
        size_t count = (size_t)(gate->rows * gate->cols);
        float *values = malloc(count * sizeof *values);
        awq__weight_read(awq__compute_fastest(), gate, 0, gate->rows, values);
        exact = exact ? exact : values;
        double largest = 0;
        for (size_t i = 0; i < count; i++) {
            double error = fabs((double)values[i] - (double)exact[i]);
            double bound = errors[d] * fabs((double)exact[i]) + 0x1p-25; /* F16's smallest */
            assert_true(error <= bound);
            largest = fmax(largest, error);
        }
        assert_true((largest > 0) == (d > 0));
        if (values != exact)
            free(values);
        awq__loaded_layer_free(&loaded);
        awq_model_free(model);
        assert_int_equal(synthetic_remove(f->ctx, path_of(f, "model")), AWQ_OK);
    }
    free(exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_damaged_tensors, set_up_model, tear_down),
        cmocka_unit_test_setup_teardown(test_shape_of_many_dimensions, set_up_model, tear_down),
        cmocka_unit_test_setup_teardown(test_values_that_are_not_finite, set_up_model, tear_down),
        cmocka_unit_test_setup_teardown(test_config_is_missing, set_up_model, tear_down),
        cmocka_unit_test_setup_teardown(test_config_is_wrong, set_up_model, tear_down),
        cmocka_unit_test_setup_teardown(test_config_contradicts, set_up_model, tear_down),
        cmocka_unit_test_setup_teardown(test_mixtral_refuses, set_up_model, tear_down),
        cmocka_unit_test_setup_teardown(test_description, set_up_model, tear_down),
        cmocka_unit_test(test_role_names),
        cmocka_unit_test_setup_teardown(test_shards_equal_a_single_file, set_up_model, tear_down),
        cmocka_unit_test_setup_teardown(test_dtypes, set_up_model, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
