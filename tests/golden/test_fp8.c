/* Models in FP8, and in codes, are the same models as those of the floats that they stand for. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "golden/families.h"
#include "model/model.h"
#include "support/fp8_copy.h"
#include "support/synthetic.h"

#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"
#define QWEN2 AWQ_TEST_DATA "/qwen2_moe-tiny"

/* Blocks are partial at the edges of all matrices. */
static const fp8_copy copies[] = {
    {FP8_OF_BLOCKS, 48, 80, AWQ_F32, .compressed = false},
    {FP8_OF_BLOCKS, 128, 128, AWQ_BF16, .compressed = true},
    {FP8_OF_BLOCKS, 7, 300, AWQ_F8_E8M0, .compressed = false},
    {FP8_OF_BLOCKS, 100, 1, AWQ_U8, .compressed = false, .kept = "self_attn.o_proj"},
    {FP8_OF_ROWS, .scale_dtype = AWQ_BF16, .compressed = true, .kept = "self_attn.v_proj"},
};

/* A copy in FP8 and one of its values, by number. */
typedef struct pair {
    char fp8[1024], twin[1024];
} pair;

static pair make_pair(const fixture *f, const char *model, const fp8_copy *how, int number)
{
    pair p;
    snprintf(p.fp8, sizeof p.fp8, "%s/fp8-%d", f->directory, number);
    snprintf(p.twin, sizeof p.twin, "%s/twin-%d", f->directory, number);
    assert_ok(f, fp8_copy_write(f->ctx, model, p.fp8, p.twin, how));
    return p;
}

static awq_eval_result evaluate(const fixture *f, const char *model, const char *reference)
{
    char text[1100];
    const char *texts[] = {text};
    awq_eval_options options = {.struct_size = sizeof options,
                                .directory = model,
                                .reference = reference,
                                .texts = texts,
                                .text_count = 1,
                                .windows = 4};
    awq_eval_result result;
    snprintf(text, sizeof text, "%.1000s/eval.txt", model);
    assert_ok(f, awq_evaluate(f->ctx, &options, &result));
    return result;
}

static void evaluations_are_the_same(void **state)
{
    const fixture *f = *state;
    for (int i = 0; i < (int)COUNT(copies); i++) {
        pair p = make_pair(f, i % 2 ? MIXTRAL : QWEN2, &copies[i], i);
        awq_eval_result found = evaluate(f, p.fp8, p.twin), right = evaluate(f, p.twin, p.twin);
        assert_true(found.perplexity == right.perplexity && found.kl == right.kl);
        assert_true(found.top1_agreement == 1);
    }
}

static void assert_verifies(const fixture *f, const char *source)
{
    const awq_verify_options options = {
        .struct_size = sizeof options, .directory = output, .source = source};
    awq_verification *verification;
    assert_ok(f, awq_verify(f->ctx, &options, &verification));
    if (awq_verification_problem_count(verification))
        fail_msg("%s", awq_verification_problem_at(verification, 0));
    awq_verification_free(verification);
}

static char expected[1024]; /* the result from the twin */

/* Runs from both; what is written of weights is the same, and says nothing of FP8. */
static void assert_same_runs(const fixture *f, const pair *p, const char *const *options,
                             const char *file)
{
    snprintf(output, sizeof output, "%s/expected", f->directory);
    snprintf(expected, sizeof expected, "%s", output);
    run_short(f, p->twin, options, true);
    snprintf(output, sizeof output, "%s/found", f->directory);
    run_short(f, p->fp8, options, true);
    assert_same_file(f, expected, output, file);
}

static void results_are_the_same(void **state)
{
    const fixture *f = *state;
    static const char *const ways[COUNT(copies)][7] = {
        {"quantize.modules", "*", NULL},
        {"format", "awq", NULL},
        {"format", "bitsandbytes", "quantize.preset", "nf4", NULL},
        {"quantize.method", "rtn", "format", "gptq", NULL},
        {"quantize.rounding", "gptq", "format", "awq", NULL},
    };
    for (int i = 0; i < (int)COUNT(copies); i++) {
        pair p = make_pair(f, i % 2 ? MIXTRAL : QWEN2, &copies[i], i);
        assert_same_runs(f, &p, ways[i], "model.safetensors");
        assert_same_file(f, expected, output, "config.json");
        assert_verifies(f, p.fp8);
    }
}

static void results_in_gguf_are_the_same(void **state)
{
    const fixture *f = *state;
    static const char *const options[] = {"format", "gguf", "quantize.type", "q4_0", NULL};
    pair p = make_pair(f, MIXTRAL, &copies[0], 0);
    assert_same_runs(f, &p, options, "model.gguf");
}

static void assert_same_tensor(const fixture *f, const awq_model *a, const char *a_name,
                               const awq_model *b, const char *b_name)
{
    const awq__tensor *x = awq__checkpoint_find(a->arch->checkpoint, a_name);
    const awq__tensor *y = awq__checkpoint_find(b->arch->checkpoint, b_name);
    bool same;
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(x->dtype, y->dtype);
    assert_int_equal(x->bytes, y->bytes);
    assert_ok(f, awq__tensor_compare(f->ctx, x, y, &same));
    assert_true(same);
}

/* Tensors that stay are the source's; what a fold changes is BF16. */
static void check_kept(const fixture *f, const char *source, const fp8_copy *how)
{
    awq_model *from, *to;
    const bool exponents = awq_dtype_bits(how->scale_dtype) == 8;
    char *config;
    size_t bytes;
    assert_ok(f, awq_model_open(f->ctx, source, NULL, &from));
    assert_ok(f, awq_model_open(f->ctx, output, NULL, &to));
    for (size_t i = 0; i < awq_model_module_count(to); i++) {
        const awq_module *m = awq_model_module(to, i);
        bool listed = how->kept && strstr(m->name, how->kept);
        if (m->role == AWQ_ROLE_ATTENTION && strstr(m->name, "o_proj"))
            assert_string_equal(m->storage, listed ? "BF16" : "F8_E4M3");
        if (strstr(m->name, "k_proj"))
            assert_string_equal(m->storage,
                                how->kept && strstr(how->kept, "v_proj") ? "BF16" : "F8_E4M3");
        if (m->role == AWQ_ROLE_SHARED_EXPERT && strstr(m->name, "up_proj"))
            assert_string_equal(m->storage, "BF16");
    }
#define K_PROJ "model.layers.1.self_attn.k_proj.weight"
    if (!how->kept)
        assert_same_tensor(f, from, K_PROJ, to, K_PROJ);
    if (!how->kept && !exponents)
        assert_same_tensor(f, from, how->compressed ? K_PROJ "_scale" : K_PROJ "_scale_inv", to,
                           K_PROJ "_scale");
    char path[1100];
    snprintf(path, sizeof path, "%s/config.json", output);
    read_all(f, path, &config, &bytes);
    assert_non_null(strstr(config, "\"mixed-precision\""));
    assert_non_null(strstr(config, "\"float-quantized\""));
    assert_null(strstr(config, "weight_block_size"));
    awq__free(config);
    awq_model_free(from);
    awq_model_free(to);
}

/* Of q, k and v all stay, or none: case 4 has v in BF16. */
static void what_is_not_quantized_stays_bit_for_bit(void **state)
{
    const fixture *f = *state;
    static const char *const options[] = {"format", "compressed-tensors", NULL};
    for (int i = 0; i < (int)COUNT(copies); i += 2) {
        pair p = make_pair(f, QWEN2, &copies[i], i);
        snprintf(output, sizeof output, "%s/from-twin", f->directory);
        awq_eval_result right = run_short(f, p.twin, options, true);
        snprintf(output, sizeof output, "%s/kept", f->directory);
        awq_eval_result reported = run_short(f, p.fp8, options, true);
        awq_eval_result found = evaluate_output(f, p.fp8);
        assert_true(reported.kl == right.kl && reported.perplexity == right.perplexity);
        assert_true(found.kl == right.kl && found.perplexity == right.perplexity);
        check_kept(f, p.fp8, &copies[i]);
        assert_verifies(f, p.fp8);
    }
}

/* A layer that the model does not have, as releases bring layers that predict further tokens. */
static void what_no_module_has_becomes_floats(void **state)
{
    const fixture *f = *state;
    static const char *const options[] = {NULL};
    pair p = make_pair(f, MIXTRAL, &copies[0], 0);
    const char *both[] = {p.fp8, p.twin};
    for (int i = 0; i < 2; i++)
        assert_ok(f, synthetic_edit_config(f->ctx, both[i], "\"num_hidden_layers\": 2",
                                           "\"num_hidden_layers\": 1"));
    assert_same_runs(f, &p, options, "model.safetensors");
    assert_same_file(f, expected, output, "config.json");
    assert_verifies(f, p.fp8);
}

/* ---- codes ---- */

static void write_values(const fixture *f, const awq_model *model, size_t index, awq__output *to)
{
    awq__loaded_module loaded;
    char name[256];
    assert_ok(f, awq__model_module(model, index, &loaded));
    const awq__weight *w = &loaded.found.weight;
    size_t bytes = (size_t)(w->rows * w->cols) * sizeof(float);
    float *values = malloc(bytes);
    assert_non_null(values);
    awq__weight_read(awq__compute_reference(), w, 0, w->rows, values);
    snprintf(name, sizeof name, "%s.weight", model->arch->modules[index].name);
    assert_ok(f, awq__output_write(to, name, values, bytes));
    free(values);
    awq__loaded_module_free(&loaded);
}

/* The model with F32 in place of all that its experts have. */
static void write_floats(const fixture *f, const char *from, const char *data,
                         const char *directory)
{
    awq_model *model;
    awq__output *to;
    char path[1200];
    assert_ok(f, awq_model_open(f->ctx, from, NULL, &model));
    assert_ok(f, awq__output_begin(f->ctx, directory, false, &to));
    const awq__checkpoint *checkpoint = model->arch->checkpoint;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < awq__checkpoint_count(checkpoint); i++) {
            const awq__tensor *t = awq__checkpoint_at(checkpoint, i);
            if (strstr(t->name, ".experts."))
                continue;
            assert_ok(f, pass ? awq__output_write_from(to, t->name, 0, t, 0, t->bytes)
                              : awq__output_declare(to, t->name, t->dtype, t->rank, t->shape));
        }
        for (size_t i = 0; i < model->arch->module_count; i++) {
            const awq__module *m = &model->arch->modules[i];
            const int64_t shape[] = {m->rows, m->cols};
            snprintf(path, sizeof path, "%s.weight", m->name);
            if (m->role != AWQ_ROLE_EXPERT)
                continue;
            if (pass)
                write_values(f, model, i, to);
            else
                assert_ok(f, awq__output_declare(to, path, AWQ_F32, 2, shape));
        }
        if (!pass)
            assert_ok(f, awq__output_layout(to, UINT64_MAX));
    }
    static const char *const files[] = {"config.json",           "tokenizer.json",
                                        "tokenizer_config.json", "generation_config.json",
                                        "calib.jsonl",           "eval.txt"};
    for (size_t i = 0; i < COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", data, files[i]);
        assert_ok(f, awq__output_copy(to, path));
    }
    assert_ok(f, awq__output_commit(to));
    awq__output_free(to);
    awq_model_free(model);
}

/* As Kimi-K2-Thinking is released. */
static void codes_of_compressed_tensors_are_a_source(void **state)
{
    const fixture *f = *state;
    static const char *const first[] = {"format", "compressed-tensors", "quantize.group_size",
                                        "32",     "quantize.method",    "rtn",
                                        NULL};
    /* Where nothing depends on the type of the floats; and a format that is verified. */
    static const char *const second[] = {"format", "gguf", "quantize.type", "q4_0", NULL};
    static const char *const third[] = {"format", "awq", NULL};
    pair p;
    char file[1100];
    snprintf(p.fp8, sizeof p.fp8, "%s/codes", f->directory);
    snprintf(p.twin, sizeof p.twin, "%s/floats", f->directory);
    snprintf(output, sizeof output, "%s", p.fp8);
    run_short(f, MIXTRAL, first, false);
    write_floats(f, p.fp8, MIXTRAL, p.twin);
    for (int i = 0; i < 2; i++) {
        static const char *const names[] = {"calib.jsonl", "eval.txt"};
        char *text;
        size_t bytes;
        snprintf(file, sizeof file, MIXTRAL "/%s", names[i]);
        read_all(f, file, &text, &bytes);
        snprintf(file, sizeof file, "codes/%s", names[i]);
        write_file(*state, file, text, bytes);
        awq__free(text);
    }
    assert_same_runs(f, &p, second, "model.gguf");
    run_short(f, p.fp8, third, true);
    assert_verifies(f, p.fp8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAMILY_TEST(evaluations_are_the_same),
        FAMILY_TEST(results_are_the_same),
        FAMILY_TEST(results_in_gguf_are_the_same),
        FAMILY_TEST(what_is_not_quantized_stays_bit_for_bit),
        FAMILY_TEST(what_no_module_has_becomes_floats),
        FAMILY_TEST(codes_of_compressed_tensors_are_a_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
